//! For users of Caffeine, the cache for Java: its builder, `Cache`, `LoadingCache`, `AsyncCache`,
//! `AsyncLoadingCache`, the map view, and `policy()`.
//!
//! ```
//! use std::time::Duration;
//! use larder::{Cache, Loaded};
//!
//! # struct Graph(u64);
//! # fn create_expensive_graph(key: u64) -> Result<Graph, std::io::Error> { Ok(Graph(key)) }
//! # use std::sync::Arc;
//! // Caffeine.newBuilder()
//! //     .maximumSize(10_000)
//! //     .expireAfterWrite(Duration.ofMinutes(5))
//! //     .refreshAfterWrite(Duration.ofMinutes(1))
//! //     .build(key -> createExpensiveGraph(key));
//! let graphs = Cache::builder()
//!     .capacity(10_000)
//!     .time_to_live(Duration::from_secs(300))
//!     .refresh_after_write(Duration::from_secs(60))
//!     .build_with_loader(|key: &u64, _| create_expensive_graph(*key).map(|graph| Loaded::Store(Arc::new(graph))))?;
//!
//! let graph = graphs.get(&7)?;
//! assert_eq!(graph.0, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What differs
//! - A value is returned as a clone. What Java shares by reference is an `Arc` here, as above; or a call borrows
//!   the value ([`read`](Cache::read)).
//! - The functions of `compute` and similar methods run under a lock of the entry in Caffeine, once. Here the
//!   closure holds nothing, no other call waits for it, and it may run again if the key was changed meanwhile. It
//!   may use the cache.
//! - A loader may load other keys, and change the cache. If it asks for its own key, it gets an error.
//! - A write during a load does not wait for it; it wins, and the loaded value is not stored.
//! - There is no `null`: a loader that finds nothing answers [`Loaded::Missing`](crate::Loaded::Missing), which
//!   can be [remembered](crate::Builder::negative_time_to_live).
//! - The cache of an asynchronous Caffeine holds futures. Here it holds values, and each call of an async method has
//!   a future of its own, which may be dropped.
//!
//! # The builder
//! | there | here |
//! |---|---|
//! | `maximumSize(n)`, `maximumWeight(w)`, `weigher`, `initialCapacity(n)` | [`capacity(n)`](crate::Builder::capacity), [`max_weight(w)`](crate::Builder::max_weight), [`weigher`](crate::Builder::weigher), [`initial_capacity`](crate::Builder::initial_capacity) |
//! | `expireAfterWrite(d)`, `expireAfterAccess(d)` | [`time_to_live(d)`](crate::Builder::time_to_live), [`time_to_idle(d)`](crate::Builder::time_to_idle) |
//! | `expireAfter(expiry)` | [`expiry(expiry)`](crate::Builder::expiry) |
//! | `refreshAfterWrite(d)` | [`refresh_after_write(d)`](crate::Builder::refresh_after_write); there are [more ways](super::super::loading#stale-values-on-purpose) |
//! | `build()` | [`build()?`](crate::Builder::build) |
//! | `build(loader)`, `buildAsync(loader)` | [`build_with_loader`](crate::Builder::build_with_loader), [`build_with_async_loader`](crate::Builder::build_with_async_loader) |
//! | `buildAsync()` | [`build()?`](crate::Builder::build): the async methods are on every cache |
//! | `executor(e)` | [`load_executor(e)`](crate::Builder::load_executor) for loads, [`Listener::executor`](crate::Listener::executor) for listeners |
//! | `executor(Runnable::run)` in tests | [`Maintenance::Inline`](crate::Maintenance::Inline) |
//! | `removalListener(f)` | [`listener`](crate::Builder::listener) |
//! | `evictionListener(f)` | [`atomic_listener`](crate::Builder::atomic_listener), which is notified of every removal, not only of evictions |
//! | `ticker(ticker)` | [`clock(clock)`](crate::Builder::clock), in tests [`FakeClock`](crate::test::FakeClock) |
//! | `scheduler(scheduler)` | not needed: the maintenance thread removes what has expired |
//! | `recordStats()` | [`count_lookups()`](crate::Builder::count_lookups); all else is always counted |
//! | `weakKeys`, `weakValues` | no counterpart |
//! | `softValues` | `pressure::MemoryFollower`, with the feature `memory_pressure`, bounds the cache by the memory in use |
//!
//! # `Cache`
//! | there | here |
//! |---|---|
//! | `getIfPresent(k)`, `put(k, v)`, `invalidate(k)`, `invalidateAll()` | [`get(&k)`](Cache::get), [`insert(k, v)`](Cache::insert), [`remove(&k)`](Cache::remove), [`clear()`](Cache::clear) |
//! | `get(k, f)` | [`get_or_insert_with(&k, f)`](Cache::get_or_insert_with); [`try_get_or_insert_with`](Cache::try_get_or_insert_with) if `f` can fail, [`optionally_get_or_insert_with`](Cache::optionally_get_or_insert_with) if it can find nothing |
//! | `getAllPresent(keys)`, `putAll(m)`, `invalidateAll(keys)` | [`get_many(keys)`](Cache::get_many), which also says which are missing; [`insert_many(m)`](Cache::insert_many), [`remove_many(keys)`](Cache::remove_many) |
//! | `getAll(keys, f)` | [`get_many_or_load(keys, f)`](Cache::get_many_or_load); keys that were not asked for are ignored |
//! | `estimatedSize()`, `cleanUp()`, `stats()` | [`len()`](Cache::len), [`run_pending()`](Cache::run_pending), [`stats()`](Cache::stats) |
//!
//! # `LoadingCache` and `AsyncLoadingCache`
//! | there | here |
//! |---|---|
//! | `get(k)` | [`LoadingCache::get(&k)`](crate::LoadingCache::get), [`get_optional(&k)`](crate::LoadingCache::get_optional) where Caffeine returns `null`; [`AsyncLoadingCache::get(&k).await`](crate::AsyncLoadingCache::get) |
//! | `getAll(keys)` | [`get_many(&keys)`](crate::LoadingCache::get_many), which has a result for each key |
//! | `CacheLoader.loadAll(keys)` | [`with_bulk_loader`](crate::LoadingCache::with_bulk_loader) |
//! | `refresh(k)`, `refreshAll(keys)` | [`refresh(&k)`](crate::LoadingCache::refresh), [`refresh_many(&keys)`](crate::LoadingCache::refresh_many), which return at once; no future of the value |
//! | `CacheLoader.load(k)` | the closure |
//! | `CacheLoader.reload(k, old)` | the same closure, whose context has the [old value](crate::Load::stale); it may answer [`not_modified()`](crate::Load::not_modified) |
//! | `AsyncCache.get(k, f)` | [`get_or_insert_with_async(&k, future)`](Cache::get_or_insert_with_async), and the methods for errors and for nothing |
//! | `AsyncCache.getIfPresent(k)` | [`get(&k)`](Cache::get); a value that is loading is not there yet |
//! | `AsyncCache.put(k, future)` | [`get_or_insert_with_async`](Cache::get_or_insert_with_async), or `insert` after an `await` |
//! | `AsyncCache.getAll(keys, f)` | [`get_many_or_load_async(keys, f)`](Cache::get_many_or_load_async) |
//! | `synchronous()` | not needed: there is one cache for both |
//!
//! # `asMap()`
//! | there | here |
//! |---|---|
//! | `get`, `containsKey`, `size`, `isEmpty`, `forEach`, `keySet`, `values`, `entrySet` | [`peek`](Cache::peek), [`contains_key`](Cache::contains_key), [`len`](Cache::len), [`is_empty`](Cache::is_empty), [`iter`](Cache::iter), [`keys`](Cache::keys), [`values`](Cache::values) |
//! | `put(k, v)`, `remove(k)` for the old value | [`swap`](Cache::swap), [`remove`](Cache::remove) |
//! | `putIfAbsent(k, v)`, `replace(k, v)` | [`insert_if_absent`](Cache::insert_if_absent), [`replace`](Cache::replace) |
//! | `remove(k, v)`, `replace(k, old, new)` | [`remove_if(&k, \|_, it\| *it == v)`](Cache::remove_if); [`entry(k).and_compute_with`](crate::CacheEntry::and_compute_with) |
//! | `computeIfAbsent(k, f)` | [`get_or_insert_with(&k, f)`](Cache::get_or_insert_with) |
//! | `computeIfPresent(k, f)` | [`update(&k, f)`](Cache::update); [`and_compute_with`](crate::CacheEntry::and_compute_with) if it may remove |
//! | `compute(k, f)` | [`entry(k).and_compute_with(f)`](crate::CacheEntry::and_compute_with); `null` is [`Compute::Remove`](crate::Compute::Remove) |
//! | `merge(k, v, f)` | [`entry(k).and_modify(f).or_insert(v)`](crate::CacheEntry::and_modify); for numbers [`fetch_add(&k, n)`](Cache::fetch_add) |
//! | `keySet().removeIf(p)`, `entrySet().removeIf(p)` | [`invalidate_if(p)`](Cache::invalidate_if) |
//!
//! ```
//! use larder::{Cache, Compute};
//!
//! let words: Cache<&str, u32> = Cache::new(1_000);
//! // cache.asMap().merge(word, 1, Integer::sum)
//! words.entry("rose").and_modify(|count| count + 1).or_insert(1);
//! assert_eq!(words.entry("rose").and_modify(|count| count + 1).or_insert(1), 2);
//!
//! // cache.asMap().computeIfPresent(word, (word, count) -> count > 1 ? count - 1 : null)
//! words.entry("rose").and_compute_with(|count| match count {
//!     None => Compute::Keep,
//!     Some(1) => Compute::Remove,
//!     Some(count) => Compute::Put(count - 1),
//! });
//! assert_eq!(words.get("rose"), Some(1));
//! ```
//!
//! # `policy()`
//! | there | here |
//! |---|---|
//! | `getIfPresentQuietly(k)` | [`peek(&k)`](Cache::peek) |
//! | `eviction()`: `coldest`, `hottest`, `getMaximum`, `setMaximum`, `weightedSize`, `weightOf` | [`coldest`](Cache::coldest), [`hottest`](Cache::hottest), [`capacity`](Cache::capacity), [`set_capacity`](Cache::set_capacity), [`set_max_weight`](Cache::set_max_weight), [`weight`](Cache::weight), [`inspect`](Cache::inspect) |
//! | `expireAfterWrite()`, `expireAfterAccess()`: `ageOf`, `getExpiresAfter` | [`inspect`](Cache::inspect) for an entry's age; [`time_to_live()`](Cache::time_to_live), [`time_to_idle()`](Cache::time_to_idle) |
//! | `setExpiresAfter(d)`, `oldest`, `youngest` | no counterpart: the lifetimes of a cache are fixed when it is built |
//! | `expireVariably()`: `put`, `putIfAbsent`, `setExpiresAfter`, `getExpiresAfter` | [`insert_with_ttl`](Cache::insert_with_ttl), [`insert_if_absent_with`](Cache::insert_if_absent_with), [`expire_after`](Cache::expire_after), [`inspect`](Cache::inspect) |
//! | `refreshAfterWrite()`: `refreshes()` | [`Stats::refreshes`](crate::Stats::refreshes) counts them |
//! | `RemovalCause.SIZE`, `EXPLICIT`, `REPLACED`, `EXPIRED` | [`Evicted`, `Explicit`, `Replaced`, `Expired`](crate::RemovalCause), and `Invalidated` for tags |

#[cfg(doc)]
use crate::Cache;
