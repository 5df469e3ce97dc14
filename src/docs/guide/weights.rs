//! Bounding bytes, or another unit, instead of entries.
//!
//! A *weigher* computes the weight of an entry when it is inserted, and
//! [`max_weight`](crate::Builder::max_weight) bounds the sum.
//!
//! ```
//! use larder::{Cache, Inserted, Maintenance, Rejection};
//!
//! let cache = Cache::<String, Vec<u8>>::builder()
//!     .max_weight(1_000)
//!     .weigher(|key, value| (key.len() + value.len()).try_into().unwrap_or(u32::MAX))
//!     .maintenance(Maintenance::Inline)
//!     .build()?;
//! for number in 0..100 {
//!     cache.insert(format!("{number:02}"), vec![0; 98]);
//! }
//! assert_eq!((cache.len(), cache.weight()), (10, 1_000));
//!
//! // Nothing is dropped silently: an entry that is heavier than the whole bound is rejected.
//! let heavy = cache.insert("heavy".to_owned(), vec![0; 2_000]);
//! assert!(matches!(heavy, Inserted::Rejected(Rejection::TooHeavy { weight: 2_005, .. })));
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! - `Cache::<String, Vec<u8>>::builder()` names the types of key and value before the closure is checked. After
//!   `Cache::builder()` the compiler knows them only later, and the closure has to spell them out:
//!   `|key: &String, value: &Vec<u8>|`.
//! - A weight is a `u32`. Convert a length by `try_into`, as above: `as u32` would wrap, and 5 GiB would weigh 1 GiB.
//! - The weigher is called once for each insertion, by the thread that inserts and under no lock. The
//!   entry keeps that weight, whatever happens to the value afterwards.
//! - The cache adds nothing for its own bookkeeping, which takes about 80 bytes for each entry. The
//!   weigher can add them.
//! - If a value is rejected as too heavy, the old value of its key is removed too, because it was to be
//!   overwritten and must not be read as current.
//! - An entry of weight 0 takes nothing of `max_weight`, and the policy can evict it like any other. If entries may
//!   weigh 0, set a [`capacity`](crate::Builder::capacity) too.
//! - The default policy goes by how often entries are used, not by their weight, which suits the bytes of hits.
//!   [`Policy::cost_aware`](crate::Policy::cost_aware) divides by the weight: it keeps more, lighter entries.
//! - [`insert_unevictable`](crate::Cache::insert_unevictable) keeps an entry outside of the bounds
//!   until it expires, is removed or is replaced.
//! - [`set_max_weight`](crate::Cache::set_max_weight) changes the bound while the cache runs. With the
//!   feature `memory_pressure`, `pressure::MemoryFollower` does so according to the memory in use.
