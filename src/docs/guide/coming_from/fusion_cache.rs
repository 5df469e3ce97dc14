//! For users of FusionCache, the cache for .NET: its first level, which is in memory.
//!
//! Options that FusionCache takes with each call are settings of the cache here; what a single value needs, its
//! loader says.
//!
//! ```
//! use std::time::Duration;
//! use larder::{Cache, Loaded};
//!
//! # #[derive(Clone, Debug, PartialEq)] struct Product(u64);
//! # fn from_database(id: u64) -> Result<Option<Product>, std::io::Error> { Ok(Some(Product(id))) }
//! // cache.GetOrSet("product:7", _ => FromDatabase(7), options => options
//! //     .SetDuration(TimeSpan.FromMinutes(1))
//! //     .SetFailSafe(true, TimeSpan.FromHours(2), TimeSpan.FromSeconds(30))
//! //     .SetFactoryTimeouts(TimeSpan.FromMilliseconds(100), TimeSpan.FromSeconds(2)))
//! let products = Cache::builder()
//!     .capacity(10_000)
//!     .time_to_live(Duration::from_secs(60))
//!     .stale_if_error(Duration::from_secs(7_200))
//!     .refresh_throttle(Duration::from_secs(30))
//!     .soft_timeout(Duration::from_millis(100))
//!     .hard_timeout(Duration::from_secs(2))
//!     .build_with_loader(|id: &u64, load| {
//!         load.set_tags(&["products"]);
//!         Ok::<_, std::io::Error>(from_database(*id)?.map_or(Loaded::Missing, Loaded::Store))
//!     })?;
//! assert_eq!(products.get(&7)?, Product(7));
//!
//! // cache.Expire("product:7"): a failing load may still use the value
//! products.expire_after(&7, Some(Duration::from_nanos(1)));
//! assert_eq!(products.cache().get(&7), None);
//! let kept = products.try_get_or_insert_with(&7, || Err("the database is down"));
//! assert_eq!(kept, Ok(Product(7)));
//!
//! // cache.RemoveByTag("products")
//! products.invalidate_tag("products");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | there | here |
//! |---|---|
//! | `GetOrSet(key, factory)`, `GetOrSetAsync` | [`LoadingCache::get`](crate::LoadingCache::get), [`AsyncLoadingCache::get`](crate::AsyncLoadingCache::get); with a loader at the call, [`get_or_load`](crate::Cache::get_or_load), [`get_or_load_async`](crate::Cache::get_or_load_async) |
//! | `TryGet`, `GetOrDefault`, `Set`, `Remove` | [`get`](crate::Cache::get), [`insert`](crate::Cache::insert), [`remove`](crate::Cache::remove) |
//! | `Expire(key)`, after which fail-safe may still use the value | [`expire_after(&key, Some(Duration::from_nanos(1)))`](crate::Cache::expire_after), as above; after a lifetime of zero no call uses the value |
//! | `Clear`, `RemoveByTag`, tags | [`clear`](crate::Cache::clear), [`invalidate_tag`](crate::Cache::invalidate_tag), [tags](super::super::tags) |
//! | `Duration`, `JitterMaxDuration` | [`time_to_live`](crate::Builder::time_to_live) or [`Load::set_ttl`](crate::Load::set_ttl), [`jitter`](crate::Builder::jitter) |
//! | `IsFailSafeEnabled`, `FailSafeMaxDuration`, `FailSafeThrottleDuration` | [`stale_if_error`](crate::Builder::stale_if_error), [`refresh_throttle`](crate::Builder::refresh_throttle) |
//! | a default value for fail-safe | the caller's: `unwrap_or` |
//! | `FactorySoftTimeout`, `FactoryHardTimeout`, background completion | [`soft_timeout`](crate::Builder::soft_timeout), [`hard_timeout`](crate::Builder::hard_timeout); the load always goes on |
//! | `EagerRefreshThreshold` | [`eager_refresh`](crate::Builder::eager_refresh), [`early_refresh`](crate::Builder::early_refresh) |
//! | `LockTimeout` | [`LoadOptions::load_deadline`](crate::LoadOptions::load_deadline), which ends the waiting with an error |
//! | adaptive caching: `ctx.Options` | [`Load::set_ttl`](crate::Load::set_ttl), [`set_tags`](crate::Load::set_tags), [`Loaded::Reject`](crate::Loaded::Reject) |
//! | conditional refresh: `ctx.NotModified()`, `ctx.StaleValue` | [`Load::not_modified`](crate::Load::not_modified), [`Load::stale`](crate::Load::stale) |
//! | `ctx.Fail(message)` | return an error |
//! | events, logging | a [listener](super::super::listeners) for removals, [statistics](super::super::statistics) |
//! | the second level | the crate `larder-store`: a `Store` behind the cache, written through, around or behind |
//! | Redis as the second level, with the backplane | the crate `larder-near`, whose server notifies all processes |
