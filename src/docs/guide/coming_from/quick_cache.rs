//! For users of quick_cache 0.6 and 0.7: `quick_cache::sync::Cache`.
//!
//! ```
//! use larder::Cache;
//!
//! // quick_cache: Cache::with_weighter(1_000, 1 << 20, weighter)
//! let pages = Cache::<String, String>::builder()
//!     .max_weight(1 << 20)
//!     .weigher(|path, page| (path.len() + page.len()).try_into().unwrap_or(u32::MAX))
//!     .initial_capacity(1_000)
//!     .build()?;
//!
//! // quick_cache: pages.get_or_insert_with("/index", || render("/index"))
//! fn render(path: &str) -> Result<String, std::io::Error> {
//!     Ok(format!("<h1>{path}</h1>"))
//! }
//! let page = pages.try_get_or_insert_with("/index", || render("/index"));
//! assert_eq!(page.unwrap(), "<h1>/index</h1>");
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # What differs
//! - An error of a loader reaches the calls that waited for it, in an `Arc` within a [`LoadError`]; there, each
//!   waiting call runs its own loader in turn.
//! - If the key is changed during a load, the loaded value is returned and not stored.
//! - The guard of a missing key is exclusive there, and other calls wait for it. A [fill](Cache::begin_fill) here
//!   excludes nobody, and knows if the key was changed; where one call is to load for all, use a closure.
//! - The callback of `entry` changes a value in place, under a lock. Here it makes a new value, without a lock.
//! - A listener is notified of every removal, not only of evictions, and under no lock.
//!
//! | there | here |
//! |---|---|
//! | `Cache::new(n)` | [`Cache::new(n)`](Cache::new) |
//! | `with_weighter(n, w, weighter)`, `with(…)` | [`builder()`](Cache::builder) with [`max_weight(w)`](crate::Builder::max_weight), [`weigher(closure)`](crate::Builder::weigher), [`hasher(s)`](crate::Builder::hasher); `n` is [`initial_capacity`](crate::Builder::initial_capacity) |
//! | `with_options`, `OptionsBuilder` | the builder: `weight_capacity` and `estimated_items_capacity` as above, `shards(n)` is [`partitions(n)`](crate::Builder::partitions); the shares of hot and ghost entries are the policy's affair |
//! | weight 0, `Lifecycle::is_pinned` | [`insert_unevictable`](Cache::insert_unevictable); here an entry of weight 0 can be evicted |
//! | `Lifecycle::on_evict` and so on | [`listener`](crate::Builder::listener) with a [`RemovalCause`](crate::RemovalCause) |
//! | `insert_with_lifecycle`, `try_insert_with_lifecycle`, `replace_with_lifecycle`, which collect what was evicted | [`insert_displacing`](Cache::insert_displacing) |
//! | `get`, `peek`, `insert`, `contains_key`, `retain`, `clear`, `iter`, `drain`, `len`, `is_empty`, `weight`, `reserve` | the same names |
//! | `try_get`, `try_peek`, `try_insert`, `try_remove`, `try_contains_key`, which give up if a lock is taken | not needed for lookups, which take none; a write may [wait](Cache#concurrency) for room in a buffer |
//! | `item_stats(&k)`, `try_item_stats(&k)` | [`inspect(&k)`](Cache::inspect) |
//! | `remove(&k)`, `remove_if(&k, f)` | [`remove_entry`](Cache::remove_entry), [`remove_entry_if`](Cache::remove_entry_if), where the condition takes key and value; [`remove`](Cache::remove) returns the value alone |
//! | `replace(k, v, soft)` | [`replace(k, v)`](Cache::replace) |
//! | `get_or_insert_with(&k, f)` | [`try_get_or_insert_with(&k, f)`](Cache::try_get_or_insert_with); without errors [`get_or_insert_with`](Cache::get_or_insert_with) |
//! | `get_or_insert_async(&k, future)` | [`try_get_or_insert_with_async(&k, future)`](Cache::try_get_or_insert_with_async) |
//! | `get_value_or_guard(&k, timeout)`, `get_value_or_guard_async(&k)` | [`get_or_load`](Cache::get_or_load) with a [deadline](crate::LoadOptions::load_deadline), [`get_or_load_async`](Cache::get_or_load_async); [`begin_fill`](Cache::begin_fill) without the exclusion |
//! | `PlaceholderGuard::insert(v)` | what the closure returns; [`complete_fill(fill, v)`](Cache::complete_fill) |
//! | `entry(&k, timeout, f)`, `entry_async(&k, f)` | [`entry(k)`](Cache::entry) and [`and_compute_with`](crate::CacheEntry::and_compute_with), or [`update(&k, f)`](Cache::update) |
//! | `EntryAction::{Retain, Remove, ReplaceWithGuard}` | [`Compute::{Put or Keep, Remove, Put}`](crate::Compute) |
//! | `capacity()`, `set_capacity(w)` | [`max_weight()`](Cache::max_weight), [`set_max_weight(w)`](Cache::set_max_weight); without a weigher [`capacity()`](Cache::capacity), [`set_capacity(n)`](Cache::set_capacity) |
//! | `shard_capacity()`, `num_shards()`, `shard_index(&k)` | no counterpart: the table is one |
//! | `hits()`, `misses()` | [`stats()`](Cache::stats), after [`count_lookups()`](crate::Builder::count_lookups) |
//! | `memory_used()` | no counterpart; a [weigher](crate::Builder::weigher) counts what keys and values own |
//! | `unsync::Cache` | no counterpart |
//!
//! ```
//! use larder::Cache;
//!
//! let counts: Cache<String, u64> = Cache::new(100);
//! // quick_cache: counts.entry("a", None, |_, count| { *count += 1; EntryAction::Retain(*count) })
//! counts.insert("a".to_owned(), 1);
//! assert_eq!(counts.update("a", |count| count + 1), Some(2));
//! assert_eq!(counts.fetch_add("b", 5), 0); // begins at 0 if it is absent
//! ```
//!
//! [`LoadError`]: crate::LoadError

#[cfg(doc)]
use crate::Cache;
