//! For users of the crate `lru`.
//!
//! For the same exact order, use [`Policy::lru()`](crate::Policy::lru) with
//! [`Maintenance::Inline`](crate::Maintenance::Inline). All calls take `&self`, so no mutex is needed
//! around the cache.
//!
//! ```
//! use larder::{Cache, Maintenance, Policy};
//!
//! // lru: LruCache::new(NonZeroUsize::new(2).unwrap())
//! let cache = Cache::builder()
//!     .capacity(2)
//!     .policy(Policy::lru())
//!     .maintenance(Maintenance::Inline)
//!     .build()?;
//! cache.insert("a", 1); // put
//! cache.insert("b", 2);
//! assert_eq!(cache.get("a"), Some(1)); // now "b" is the least recently used
//! assert_eq!(cache.get_or_insert_with(&"c", || 3), 3); // get_or_insert
//! assert_eq!((cache.peek("b"), cache.hottest(9)), (None, vec!["c", "a"]));
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! | there | here |
//! |---|---|
//! | `LruCache::new(n)` | `Cache::builder().capacity(n).policy(Policy::lru()).maintenance(Maintenance::Inline).build()?` |
//! | `LruCache::unbounded()` | no counterpart: every cache has a bound |
//! | `put(k, v)` | [`insert(k, v)`](Cache::insert); [`swap(k, v)`](Cache::swap) for the old value |
//! | `push(k, v)` for what is evicted | [`insert_displacing`](Cache::insert_displacing) |
//! | `get(&k)`, a reference | [`get(&k)`](Cache::get), a clone; [`read`](Cache::read) or [`pin()`](Cache::pin) for references |
//! | `get_mut(&k)`, `peek_mut(&k)`, `iter_mut()` | no counterpart, as other threads may be reading: [`update`](Cache::update) stores a new value; or keep a mutex or an atomic as the value |
//! | `get_or_insert(k, f)`, `get_or_insert_ref(&k, f)` | [`get_or_insert_with(&k, f)`](Cache::get_or_insert_with), a clone; with an `Arc` as the value it is as good as a reference |
//! | `try_get_or_insert(k, f)`, `try_get_or_insert_ref(&k, f)` | [`try_get_or_insert_with(&k, f)`](Cache::try_get_or_insert_with) |
//! | `get_or_insert_mut`, `try_get_or_insert_mut` and so on | [`entry(k).and_upsert_with(f)`](crate::CacheEntry::and_upsert_with) |
//! | `get_key_value(&k)` | [`get_key_value`](Cache::get_key_value) |
//! | `peek`, `contains` | [`peek`](Cache::peek), [`contains_key`](Cache::contains_key) |
//! | `pop`, `pop_entry` | [`remove`](Cache::remove), [`remove_entry`](Cache::remove_entry) |
//! | `pop_lru`, `pop_mru` | [`pop_coldest`](Cache::pop_coldest), [`pop_hottest`](Cache::pop_hottest) |
//! | `peek_lru`, `peek_mru` | [`coldest_first().next()`](Cache::coldest_first), [`hottest_first().next()`](Cache::hottest_first) |
//! | `promote`, `demote` | [`touch`](Cache::touch), [`demote`](Cache::demote) |
//! | `find_and_promote(f)` | [`hottest_first()`](Cache::hottest_first) and [`touch`](Cache::touch) |
//! | `retain(f)` | [`retain(f)`](Cache::retain) |
//! | `iter()`, most recent first | [`hottest_first()`](Cache::hottest_first); [`iter()`](Cache::iter) has no order |
//! | `len`, `is_empty`, `clear` | the same names |
//! | `cap()`, `resize(n)` | [`capacity()`](Cache::capacity), [`set_capacity(n)?`](Cache::set_capacity) |

#[cfg(doc)]
use crate::Cache;
