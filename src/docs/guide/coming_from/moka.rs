//! For users of moka 0.12: all methods of `moka::sync::Cache`, `moka::future::Cache`, their builders and their
//! entry selectors.
//!
//! There is one [`Cache`] here for threads and for async code. Its methods are not async, because none of them
//! waits for I/O; the exceptions are those that load by a future, whose names end in `_async`. Threads and
//! futures that want the same key share one load.
//!
//! ```
//! use std::time::Duration;
//! use larder::Cache;
//!
//! // moka: Cache::builder().max_capacity(10_000).time_to_live(…).build()
//! let cache: Cache<String, usize> =
//!     Cache::builder().capacity(10_000).time_to_live(Duration::from_secs(600)).build()?;
//!
//! // moka: cache.get_with_by_ref("four", || "four".len())
//! assert_eq!(cache.get_or_insert_with("four", || "four".len()), 4);
//!
//! // moka: cache.try_get_with_by_ref("5", || "5".parse())
//! let five = cache.try_get_or_insert_with("5", || "5".parse::<usize>());
//! assert_eq!(five.unwrap(), 5);
//!
//! // moka: cache.entry("four".to_owned()).and_upsert_with(|entry| …)
//! let upserted = cache.entry("four".to_owned()).and_upsert_with(|old| old.map_or(1, |old| old + 1));
//! assert_eq!(upserted, 5);
//!
//! // moka: cache.invalidate("four")
//! cache.remove("four");
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # What differs
//! - Keys are given by reference to the calls that load, and cloned only if they miss. With keys of type
//!   `&str`, that is a reference to the reference.
//! - `and_compute_with` and similar methods hold a lock for the key in moka, so that the closure runs once. Here the
//!   closure holds nothing, no other call waits for it, and it may run again if the key was changed meanwhile.
//! - If the key is inserted, removed or invalidated during a load, that change wins: the loaded value is returned
//!   and not stored.
//! - The errors of `try_get_with` are in an `Arc`, as in moka, and within a [`LoadError`], which has further
//!   variants.
//! - An invalidation here removes; what it has invalidated is gone when it returns.
//! - What a closure that may run again has written elsewhere, it has to reset when it runs again. To know whether a
//!   value of `or_insert_with` is new, as `is_fresh` tells in moka, let the closure set a flag.
//! - An entry expires here once its deadline has passed, in moka already when that is reached; and
//!   [`len`](crate::Cache::len) counts it for up to a [tick](crate::Builder::timer_tick) more.
//! - The bounds hold closer: in moka a new entry may be beyond them until `run_pending_tasks`.
//! - A listener is notified soon after the call, and one that panics goes on to be notified, which
//!   [`listener_panics`](crate::Stats::listener_panics) counts; moka notifies within the call, and switches a
//!   panicking listener off. [`atomic_listener`](crate::Builder::atomic_listener) is called within the call.
//! - The calls that load need keys that can be cloned. `Debug` lists no entries.
//! - A future that loads and is not polled any more holds up the others of its key until the
//!   [load timeout](crate::Builder::load_timeout), and no longer.
//!
//! # The builder
//! | there | here |
//! |---|---|
//! | `CacheBuilder::new(n)`, `Cache::builder()` | [`Cache::builder()`] and [`capacity(n)`](crate::Builder::capacity); a bound has to be given |
//! | `max_capacity(n)` | [`capacity(n)`](crate::Builder::capacity); with a weigher [`max_weight(n)`](crate::Builder::max_weight) |
//! | `name`, `initial_capacity`, `weigher`, `time_to_live`, `time_to_idle` | the same names |
//! | `expire_after(expiry)` | [`expiry(expiry)`](crate::Builder::expiry); `expire_after_create` is [`after_create`](crate::Expiry::after_create), and so on |
//! | `eviction_policy(EvictionPolicy::tiny_lfu())`, `lru()` | [`policy`](crate::Builder::policy) with [`Policy::window_tiny_lfu()`](crate::Policy::window_tiny_lfu), which is the default, [`Policy::lru()`](crate::Policy::lru), five more, or your own |
//! | `eviction_listener(f)` | [`listener(Listener::new(f))`](crate::Builder::listener); `f` takes one [`Removal`](crate::Removal), which borrows key and value |
//! | `async_eviction_listener(f)` | the same, with an [`executor`](crate::Listener::executor) or a channel; a listener is not awaited |
//! | `RemovalCause::{Expired, Explicit, Replaced, Size}`, `was_evicted()` | [`RemovalCause`](crate::RemovalCause), with `Evicted` for `Size`, and `Invalidated` for tags |
//! | `segments(n)`, `SegmentedCache` and its older names `get_or_insert_with`, `get_or_try_insert_with` | not needed, and the methods below; [`partitions(n)`](crate::Builder::partitions) divides the bounds |
//! | `support_invalidation_closures()` | not needed |
//! | `build()`, `build_with_hasher(s)` | [`build()?`](crate::Builder::build), [`hasher(s).build()?`](crate::Builder::hasher) |
//!
//! # The cache
//! | there | here |
//! |---|---|
//! | `Cache::new(n)` | [`Cache::new(n)`], with a `usize` |
//! | `name()`, `contains_key(&k)`, `get(&k)`, `insert(k, v)`, `remove(&k)` | the same names; [`insert`](Cache::insert) says what became of the value |
//! | `get_with(k, f)`, `get_with_by_ref(&k, f)` | [`get_or_insert_with(&k, f)`](Cache::get_or_insert_with) |
//! | `try_get_with(k, f)`, `try_get_with_by_ref(&k, f)` | [`try_get_or_insert_with(&k, f)`](Cache::try_get_or_insert_with) |
//! | `optionally_get_with(k, f)`, `optionally_get_with_by_ref(&k, f)` | [`optionally_get_or_insert_with(&k, f)`](Cache::optionally_get_or_insert_with) |
//! | `get_with_if(k, f, replace_if)`, which moka has deprecated | [`entry(k).and_compute_with`](crate::CacheEntry::and_compute_with) that answers [`Put`](crate::Compute::Put) or [`Keep`](crate::Compute::Keep); a value that becomes too old by itself is renewed by [`refresh_after_write`](crate::Builder::refresh_after_write) |
//! | `entry(k)` | [`entry(k)`](Cache::entry), below |
//! | `entry_by_ref(&k)` | [`entry(k.clone())`](Cache::entry); [`update(&k, f)`](Cache::update) and [`fetch_add(&k, n)`](Cache::fetch_add) clone the key only to store it |
//! | `invalidate(&k)` | [`remove(&k)`](Cache::remove) |
//! | `invalidate_all()` | [`clear()`](Cache::clear) |
//! | `invalidate_entries_if(p)?`, `PredicateError` | [`invalidate_if(p)`](Cache::invalidate_if): it has removed them when it returns, and returns how many there were |
//! | `iter()` | [`iter()`](Cache::iter), which yields cloned keys, not `Arc`s of them |
//! | `entry_count()`, `weighted_size()` | [`len()`](Cache::len), [`weight()`](Cache::weight), which are exact |
//! | `policy()`: `max_capacity()` | [`capacity()`](Cache::capacity), [`max_weight()`](Cache::max_weight) |
//! | `policy()`: `time_to_live()`, `time_to_idle()` | [`time_to_live()`](Cache::time_to_live), [`time_to_idle()`](Cache::time_to_idle) |
//! | `policy()`: `num_segments()` | no counterpart: nothing depends on it |
//! | `run_pending_tasks()` | [`run_pending()`](Cache::run_pending) |
//! | `debug_stats()` | [`stats()`](Cache::stats) |
//!
//! # `future::Cache`
//! | there | here |
//! |---|---|
//! | `get(&k).await`, `insert(k, v).await`, `remove(&k).await`, `invalidate(&k).await`, `run_pending_tasks().await` | the methods above, without `await` |
//! | `get_with(k, future).await`, `get_with_by_ref(&k, future).await` | [`get_or_insert_with_async(&k, future).await`](Cache::get_or_insert_with_async) |
//! | `try_get_with(k, future).await`, `try_get_with_by_ref(&k, future).await` | [`try_get_or_insert_with_async(&k, future).await`](Cache::try_get_or_insert_with_async) |
//! | `optionally_get_with(k, future).await`, `optionally_get_with_by_ref(&k, future).await` | [`optionally_get_or_insert_with_async(&k, future).await`](Cache::optionally_get_or_insert_with_async) |
//! | `get_with_if(k, future, replace_if).await` | [`and_compute_with_async`](crate::CacheEntry::and_compute_with_async), as above |
//! | `invalidate_all()`, `invalidate_entries_if(p)`, `iter()`, `contains_key(&k)` and the other accessors | as above; they are not async in moka either |
//!
//! # Entry selectors
//! Of `entry(k)` and `entry_by_ref(&k)`; those of `future::Cache` have the same names.
//!
//! | there | here |
//! |---|---|
//! | `or_insert(v)`, `or_default()` | [`or_insert(v)`](crate::CacheEntry::or_insert), [`or_default()`](crate::CacheEntry::or_default), which return the value |
//! | `or_insert_with(f)` | [`or_insert_with(f)`](crate::CacheEntry::or_insert_with), or [`get_or_insert_with(&k, f)`](Cache::get_or_insert_with): one `f` runs for all threads, and others wait |
//! | `or_insert_with_if(f, replace_if)` | [`and_compute_with(f)`](crate::CacheEntry::and_compute_with) |
//! | `or_optionally_insert_with(f)` | [`optionally_get_or_insert_with(&k, f)`](Cache::optionally_get_or_insert_with) |
//! | `or_try_insert_with(f)` | [`try_get_or_insert_with(&k, f)`](Cache::try_get_or_insert_with) |
//! | `and_upsert_with(f)` | [`and_upsert_with(f)`](crate::CacheEntry::and_upsert_with); `f` takes an `Option<&V>` |
//! | `and_compute_with(f)` | [`and_compute_with(f)`](crate::CacheEntry::and_compute_with), [`and_compute_with_async(f)`](crate::CacheEntry::and_compute_with_async) |
//! | `and_try_compute_with(f)` | [`try_and_compute_with(f)`](crate::CacheEntry::try_and_compute_with), [`try_and_compute_with_async(f)`](crate::CacheEntry::try_and_compute_with_async) |
//! | `and_try_compute_if_nobody_else(f)`, of `future::Cache` | no counterpart: a computation does not exclude another, so there is never somebody else to give way to |
//! | `or_insert_with(future).await` and so on | the methods with `_async` of the cache, as above |
//! | `Op::{Put, Remove, Nop}` | [`Compute::{Put, Remove, Keep}`](crate::Compute) |
//! | `CompResult::{Inserted, ReplacedWith, Unchanged, Removed, StillNone}` | [`Computed::{Inserted, Replaced, Unchanged, Removed, StillAbsent}`](crate::Computed), and `Rejected` |
//! | `CompResult::into_entry()`, `unwrap()` | [`Computed::into_value()`](crate::Computed::into_value); a match for a removed value |
//! | `Entry`: `key()`, `value()`, `into_value()` | the methods return the value itself; the key is yours |
//! | `Entry`: `is_fresh()`, `is_old_value_replaced()` | [`Computed::is_stored()`](crate::Computed::is_stored), and its variants `Inserted` and `Replaced`; for a plain value, what [`insert_if_absent`](Cache::insert_if_absent) returns |
//!
//! ```
//! use larder::{Cache, Compute, Computed};
//!
//! let counters: Cache<String, u32> = Cache::new(1_000);
//! // moka: cache.entry(key).and_compute_with(|entry| match entry { … Op::Put(…) … })
//! let down = |name: &str| {
//!     counters.entry(name.to_owned()).and_compute_with(|count| match count {
//!         None => Compute::Keep,
//!         Some(1) => Compute::Remove,
//!         Some(count) => Compute::Put(count - 1),
//!     })
//! };
//! counters.insert("a".to_owned(), 2);
//! assert_eq!([down("a"), down("a")], [Computed::Replaced(1), Computed::Removed(1)]);
//! assert_eq!(down("a"), Computed::StillAbsent);
//! ```
//!
//! What you find here besides: [tags](super::super::tags), [refreshes, stale values and negative
//! entries](super::super::loading), methods for many keys, bounds that change at run time, statistics, explanations of
//! misses, shadow caches and snapshots.
//!
//! [`Cache`]: crate::Cache
//! [`Cache::new(n)`]: crate::Cache::new
//! [`Cache::builder()`]: crate::Cache::builder
//! [`LoadError`]: crate::LoadError
#[cfg(doc)]
use crate::Cache;
