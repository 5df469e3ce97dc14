//! The calls of moka, quick_cache, Caffeine, lru and cached, and their counterparts here.
//!
//! Three things are different from all of them:
//!
//! - [`build`](crate::Builder::build) returns a `Result`, because a setting that cannot be kept is an
//!   error and not silently adjusted.
//! - The cache does not call a loader. See [loading](super::loading) for what takes its place,
//!   and for fills, which keep stale values out.
//! - Values have to be `Clone` only for calls that return them. [`read`](crate::Cache::read) borrows a
//!   value instead; large values go into an `Arc`.
//!
//! # moka
//! Of moka 0.12, `moka::sync::Cache`. The calls of `moka::future::Cache` have the same names here and
//! are not async: none waits for I/O.
//!
//! | there | here |
//! |---|---|
//! | `Cache::new(n)` | [`Cache::new(n)`](crate::Cache::new), with a `usize` |
//! | `max_capacity(n)` | [`capacity(n)`](crate::Builder::capacity); with a weigher [`max_weight(n)`](crate::Builder::max_weight) |
//! | `weigher`, `time_to_live`, `time_to_idle`, `initial_capacity`, `name` | the same names |
//! | `expire_after(expiry)` | [`expiry(expiry)`](crate::Builder::expiry); `expire_after_create` is [`after_create`](crate::Expiry::after_create), and so on |
//! | `eviction_listener(f)` | [`listener(Listener::new(f))`](crate::Builder::listener); `f` takes one [`Removal`](crate::Removal) |
//! | `RemovalCause::Size` | [`RemovalCause::Evicted`](crate::RemovalCause::Evicted) |
//! | `eviction_policy(EvictionPolicy::lru())` | [`policy(Policy::lru())`](crate::Builder::policy) |
//! | `build_with_hasher(s)` | [`hasher(s).build()?`](crate::Builder::hasher) |
//! | `support_invalidation_closures()` | not needed |
//! | `get`, `insert`, `remove`, `contains_key`, `iter` | the same names; `iter` yields cloned keys, not `Arc`s of them |
//! | `get_with`, `try_get_with`, `entry(k).or_insert_with(f)` | [`begin_fill`](crate::Cache::begin_fill), load, [`complete_fill`](crate::Cache::complete_fill); threads that miss at the same time all load |
//! | `entry(k).or_insert(v)`, `or_default()` | [the same](crate::CacheEntry::or_insert), which return the value; [`insert_if_absent(k, v)`](crate::Cache::insert_if_absent) for whether it was stored |
//! | `entry(k).and_upsert_with(f)` | [the same](crate::CacheEntry::and_upsert_with); `f` takes an `Option<&V>` |
//! | `entry(k).and_compute_with(f)`, `Op`, `CompResult` | [the same](crate::CacheEntry::and_compute_with), [`Compute`](crate::Compute), [`Computed`](crate::Computed); `f` may be called again, because no other call waits for it |
//! | `entry(k).and_try_compute_with(f)` | [`try_and_compute_with(f)`](crate::CacheEntry::try_and_compute_with) |
//! | `future::Cache`: `entry(k).and_compute_with(f).await` | [`and_compute_with_async(f)`](crate::CacheEntry::and_compute_with_async) |
//! | `entry_by_ref(&k)` | [`entry(k.clone())`](crate::Cache::entry); [`update(&k, f)`](crate::Cache::update) clones the key only to store it |
//! | `invalidate(&k)` | [`remove(&k)`](crate::Cache::remove) |
//! | `invalidate_all()` | [`clear()`](crate::Cache::clear) |
//! | `invalidate_entries_if(p)?` | [`invalidate_if(p)`](crate::Cache::invalidate_if): it has removed them when it returns, and returns how many there were |
//! | `entry_count()`, `weighted_size()` | [`len()`](crate::Cache::len), [`weight()`](crate::Cache::weight) |
//! | `policy().max_capacity()` | [`capacity()`](crate::Cache::capacity), [`max_weight()`](crate::Cache::max_weight) |
//! | `run_pending_tasks()` | [`run_pending()`](crate::Cache::run_pending) |
//!
//! # quick_cache
//! Of quick_cache 0.6 and 0.7, `quick_cache::sync::Cache`.
//!
//! | there | here |
//! |---|---|
//! | `Cache::new(n)` | [`Cache::new(n)`](crate::Cache::new) |
//! | `Cache::with_weighter(n, w, weighter)` | `Cache::builder()` with [`max_weight(w)`](crate::Builder::max_weight) and [`weigher(closure)`](crate::Builder::weigher); `n` is [`initial_capacity`](crate::Builder::initial_capacity) |
//! | weight 0, `Lifecycle::is_pinned` | [`insert_unevictable`](crate::Cache::insert_unevictable); here an entry of weight 0 can be evicted |
//! | `Lifecycle::on_evict` | [`listener`](crate::Builder::listener), which is notified of every removal, not only of evictions |
//! | `get`, `peek`, `insert`, `contains_key`, `retain`, `clear`, `iter`, `drain`, `len`, `weight`, `reserve` | the same names |
//! | `remove(&k)`, `remove_if(&k, f)` | [`remove_entry`](crate::Cache::remove_entry), [`remove_entry_if`](crate::Cache::remove_entry_if), where the condition takes key and value |
//! | `replace(k, v, soft)` | [`replace(k, v)`](crate::Cache::replace) |
//! | `get_value_or_guard`, `get_or_insert_with` | [`begin_fill`](crate::Cache::begin_fill), [`complete_fill`](crate::Cache::complete_fill); threads that miss at the same time all load |
//! | `capacity()`, `set_capacity(w)` | [`max_weight()`](crate::Cache::max_weight), [`set_max_weight(w)`](crate::Cache::set_max_weight); without a weigher [`capacity()`](crate::Cache::capacity), [`set_capacity(n)`](crate::Cache::set_capacity) |
//! | `hits()`, `misses()` | [`stats()`](crate::Cache::stats), after [`count_lookups()`](crate::Builder::count_lookups) |
//! | `unsync::Cache` | no counterpart |
//!
//! # Caffeine
//! | there | here |
//! |---|---|
//! | `maximumSize(n)`, `maximumWeight(w)`, `weigher` | [`capacity(n)`](crate::Builder::capacity), [`max_weight(w)`](crate::Builder::max_weight), [`weigher`](crate::Builder::weigher) |
//! | `expireAfterWrite(d)`, `expireAfterAccess(d)` | [`time_to_live(d)`](crate::Builder::time_to_live), [`time_to_idle(d)`](crate::Builder::time_to_idle) |
//! | `expireAfter(expiry)` | [`expiry(expiry)`](crate::Builder::expiry) |
//! | `refreshAfterWrite`, `build(loader)`, `get(k, f)` | no counterpart; see [loading](super::loading) |
//! | `asMap().compute(k, f)`, `computeIfPresent`, `merge` | [`entry(k).and_compute_with(f)`](crate::CacheEntry::and_compute_with), [`update(&k, f)`](crate::Cache::update), [`entry(k).and_modify(f).or_insert(v)`](crate::CacheEntry::and_modify); `f` holds no lock, and may be called again |
//! | `removalListener(f)` | [`listener`](crate::Builder::listener) |
//! | `evictionListener(f)` | [`atomic_listener`](crate::Builder::atomic_listener), which is notified of every removal, not only of evictions |
//! | `executor(Runnable::run)` in tests | [`Maintenance::Inline`](crate::Maintenance::Inline) |
//! | `ticker(ticker)` | [`clock(clock)`](crate::Builder::clock), in tests [`FakeClock`](crate::test::FakeClock) |
//! | `scheduler(scheduler)` | not needed: the maintenance thread removes what has expired |
//! | `recordStats()`, `stats()` | [`count_lookups()`](crate::Builder::count_lookups), [`stats()`](crate::Cache::stats) |
//! | `weakKeys`, `weakValues` | no counterpart |
//! | `softValues` | `pressure::MemoryFollower`, with the feature `memory_pressure`, bounds the cache by the memory in use |
//! | `getIfPresent(k)`, `put(k, v)` | [`get(&k)`](crate::Cache::get), [`insert(k, v)`](crate::Cache::insert) |
//! | `getAllPresent(keys)`, `putAll(m)`, `invalidateAll(keys)` | [`get_many(keys)`](crate::Cache::get_many), which also says which are missing; [`insert_many(m)`](crate::Cache::insert_many), [`remove_many(keys)`](crate::Cache::remove_many) |
//! | `invalidate(k)`, `invalidateAll()` | [`remove(&k)`](crate::Cache::remove), [`clear()`](crate::Cache::clear) |
//! | `asMap().putIfAbsent(k, v)`, `asMap().replace(k, v)` | [`insert_if_absent`](crate::Cache::insert_if_absent), [`replace`](crate::Cache::replace) |
//! | `asMap().put(k, v)`, `asMap().remove(k)` for the old value | [`swap`](crate::Cache::swap), [`remove`](crate::Cache::remove) |
//! | `asMap().keySet().removeIf(p)` | [`invalidate_if(p)`](crate::Cache::invalidate_if) |
//! | `estimatedSize()`, `cleanUp()` | [`len()`](crate::Cache::len), [`run_pending()`](crate::Cache::run_pending) |
//! | `policy().getIfPresentQuietly(k)` | [`peek(&k)`](crate::Cache::peek) |
//! | `policy().eviction()`: `coldest`, `hottest`, `setMaximum` | [`coldest`](crate::Cache::coldest), [`hottest`](crate::Cache::hottest), [`set_capacity`](crate::Cache::set_capacity), [`set_max_weight`](crate::Cache::set_max_weight) |
//! | `policy().expireVariably()`: `put`, `setExpiresAfter` | [`insert_with_ttl`](crate::Cache::insert_with_ttl), [`expire_after`](crate::Cache::expire_after) |
//! | `RemovalCause.SIZE`, `EXPLICIT`, `REPLACED`, `EXPIRED` | [`Evicted`, `Explicit`, `Replaced`, `Expired`](crate::RemovalCause), and `Invalidated` for tags |
//!
//! # lru
//! For the same exact order: [`Policy::lru()`](crate::Policy::lru) with
//! [`Maintenance::Inline`](crate::Maintenance::Inline). All calls take `&self`, so no mutex is needed
//! around the cache.
//!
//! | there | here |
//! |---|---|
//! | `LruCache::new(n)` | `Cache::builder().capacity(n).policy(Policy::lru()).maintenance(Maintenance::Inline).build()?` |
//! | `LruCache::unbounded()` | no counterpart: every cache has a bound |
//! | `put(k, v)` | [`insert(k, v)`](crate::Cache::insert); [`swap(k, v)`](crate::Cache::swap) for the old value |
//! | `push(k, v)` for what is evicted | [`insert_displacing`](crate::Cache::insert_displacing) |
//! | `get(&k)`, a reference | [`get(&k)`](crate::Cache::get), a clone; [`read`](crate::Cache::read) or [`pin()`](crate::Cache::pin) for references |
//! | `get_mut(&k)`, `iter_mut()` | no counterpart, as other threads may be reading: [`update`](crate::Cache::update) stores a new value; or keep a mutex or an atomic as the value |
//! | `peek`, `contains` | [`peek`](crate::Cache::peek), [`contains_key`](crate::Cache::contains_key) |
//! | `pop`, `pop_entry` | [`remove`](crate::Cache::remove), [`remove_entry`](crate::Cache::remove_entry) |
//! | `pop_lru`, `pop_mru` | [`pop_coldest`](crate::Cache::pop_coldest), [`pop_hottest`](crate::Cache::pop_hottest) |
//! | `peek_lru`, `peek_mru` | [`coldest_first().next()`](crate::Cache::coldest_first), [`hottest_first().next()`](crate::Cache::hottest_first) |
//! | `promote`, `demote` | [`touch`](crate::Cache::touch), [`demote`](crate::Cache::demote) |
//! | `iter()`, most recent first | [`hottest_first()`](crate::Cache::hottest_first); [`iter()`](crate::Cache::iter) has no order |
//! | `cap()`, `resize(n)` | [`capacity()`](crate::Cache::capacity), [`set_capacity(n)?`](crate::Cache::set_capacity) |
//!
//! # cached
//! Of cached 0.5x to 3. The feature `macros` has `#[cached]`, whose documentation has a table of the options of
//! both.
//!
//! | there | here |
//! |---|---|
//! | `#[cached]`, `#[concurrent_cached]`, `#[once]` on a function | `#[larder::cached]`, with the feature `macros`; or by hand, as below |
//! | `SizedCache::with_size(n)`, later `LruCache` | [`Cache::new(n)`](crate::Cache::new); with [`Policy::lru()`](crate::Policy::lru) for the same order |
//! | `TimedSizedCache`, later `LruTtlCache` | [`capacity`](crate::Builder::capacity) and [`time_to_live`](crate::Builder::time_to_live) |
//! | `TimedCache`, later `TtlCache`; `UnboundCache` | as `TimedSizedCache`, with a bound: every cache has one |
//! | `ExpiringValueCache`, later `ExpiringCache` | [`Expiry`](crate::Expiry), or [`insert_with_ttl`](crate::Cache::insert_with_ttl) |
//! | `cache_get`, `cache_set`, `cache_remove`, `cache_clear`, `cache_size` | [`get`](crate::Cache::get), [`swap`](crate::Cache::swap), [`remove`](crate::Cache::remove), [`clear`](crate::Cache::clear), [`len`](crate::Cache::len) |
//! | `cache_hits`, `cache_misses` | [`stats()`](crate::Cache::stats), after [`count_lookups()`](crate::Builder::count_lookups) |
//!
//! ```
//! use std::sync::LazyLock;
//! use larder::Cache;
//!
//! fn slow_square(n: u64) -> u64 {
//!     static SQUARES: LazyLock<Cache<u64, u64>> = LazyLock::new(|| Cache::new(1_000));
//!     SQUARES.get_or_insert_with(&n, || n * n) // what takes long
//! }
//! assert_eq!((slow_square(12), slow_square(12)), (144, 144));
//! ```
