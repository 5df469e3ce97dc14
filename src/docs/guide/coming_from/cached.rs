//! For users of the crate `cached`, of versions 0.5x to 3: its macros and its stores.
//!
//! The feature `macros` has the attribute `#[cached]`. The documentation of `larder::cached` has all its options, and
//! a table with the options of the other crate's macros beside ours.
//!
#![cfg_attr(feature = "macros", doc = "```")]
#![cfg_attr(not(feature = "macros"), doc = "```ignore")]
//! use larder::cached;
//!
//! // cached: #[cached(max_size = 1_000, ttl = 60)]
//! #[cached(capacity = 1_000, ttl = "60s")]
//! fn slow_square(n: u64) -> u64 {
//!     n * n // what takes long
//! }
//!
//! // cached: #[cached(max_size = 1_000, result_fallback = true, ttl = 60)]
//! #[cached(capacity = 1_000, ttl = "60s", result, stale_if_error = "1h")]
//! fn parse(text: &str) -> Result<u64, std::num::ParseIntError> {
//!     text.parse()
//! }
//!
//! assert_eq!((slow_square(12), slow_square(12)), (144, 144));
//! assert!(parse("x").is_err() && parse("7") == Ok(7));
//! assert_eq!((slow_square_cache().len(), parse_cache().len()), (1, 1));
//! ```
//!
//! Without the feature, keep the cache in a static; the attribute expands to just that:
//!
//! ```
//! use std::sync::LazyLock;
//! use larder::Cache;
//!
//! fn slow_square(n: u64) -> u64 {
//!     static SQUARES: LazyLock<Cache<u64, u64>> = LazyLock::new(|| Cache::new(1_000));
//!     SQUARES.get_or_insert_with(&n, || n * n)
//! }
//! assert_eq!((slow_square(12), slow_square(12)), (144, 144));
//! ```
//!
//! # What differs
//! - Every cache has a bound: 10,000 entries, unless `capacity` says otherwise.
//! - Of calls that miss the same key at the same time, one runs the body, without an option for that.
//! - A `Result` is stored whole, unless the option `result` keeps errors out; likewise `option`.
//! - A fallback after an error ends some time: `stale_if_error` says when.
//! - Arguments by reference are looked up as they are.
//!
//! | there | here |
//! |---|---|
//! | `#[cached]`, `#[concurrent_cached]`, `#[once]` on a function | `#[larder::cached]` |
//! | `SizedCache::with_size(n)`, later `LruCache` | [`Cache::new(n)`](Cache::new); with [`Policy::lru()`](crate::Policy::lru) for the same order |
//! | `TimedSizedCache`, later `LruTtlCache` | [`capacity`](crate::Builder::capacity) and [`time_to_live`](crate::Builder::time_to_live) |
//! | `TimedCache`, later `TtlCache`; `TtlSortedCache`; `UnboundCache` | as `TimedSizedCache`, with a bound |
//! | `ExpiringValueCache`, later `ExpiringCache`, `ExpiringLruCache` | [`Expiry`](crate::Expiry), or [`insert_with_ttl`](Cache::insert_with_ttl) |
//! | the sharded stores | not needed: every cache is shared by threads |
//! | `refresh_on_hit` | [`time_to_idle`](crate::Builder::time_to_idle) |
//! | `on_evict` | [`listener`](crate::Builder::listener) |
//! | the stores on disk and in Redis | the crate `larder-store`, with a database in one file or a `Store` of yours; a [snapshot](super::super::snapshots) survives a restart too |
//! | `cache_get`, `cache_set`, `cache_remove`, `cache_delete`, `cache_remove_entry`, `cache_clear`, `cache_size` | [`get`](Cache::get), [`swap`](Cache::swap), [`remove`](Cache::remove), [`remove_entry`](Cache::remove_entry), [`clear`](Cache::clear), [`len`](Cache::len) |
//! | `cache_get_or_set_with`, `cache_try_get_or_set_with`, and async | [`get_or_insert_with`](Cache::get_or_insert_with), [`try_get_or_insert_with`](Cache::try_get_or_insert_with), and with `_async` |
//! | `cache_get_mut` | [`update`](Cache::update), which stores a new value |
//! | `cache_peek`, `cache_get_read` | [`peek`](Cache::peek), [`read`](Cache::read) |
//! | `cache_get_with_expiry_status` | [`has_expired`](Cache::has_expired); with [`stale_if_error`](crate::Builder::stale_if_error) the calls that load use an expired value |
//! | `cache_try_set` | [`insert`](Cache::insert), which says if the value was not stored, and why |
//! | `cache_capacity` | [`capacity()`](Cache::capacity) |
//! | `cache_hits`, `cache_misses`, `cache_evictions`, `metrics` | [`stats()`](Cache::stats), after [`count_lookups()`](crate::Builder::count_lookups) for hits and misses |
//! | `cache_reset`, `cache_reset_metrics` | [`clear`](Cache::clear); counts only grow, and two readings have a [difference](crate::Stats::since) |

#[cfg(doc)]
use crate::Cache;
