//! How to use the cache: a page for each task.
//!
//! | page | for |
//! |---|---|
//! | [loading] | filling the cache from a database: one load for all callers, stale values on purpose, futures |
//! | [expiry] | entries that live for a limited time |
//! | [tags] | invalidating all entries of a kind at once |
//! | [namespaces] | tenants that share one cache, each with a guaranteed part |
//! | [weights] | bounding bytes instead of entries |
//! | [listeners] | being notified of removals |
//! | [statistics] | counters, gauges, and questions about single keys |
//! | [metrics] | Prometheus, OpenMetrics, and the crates that collect metrics |
//! | [tuning] | finding the right size and policy while the cache runs |
//! | [configuration] | settings from a file |
//! | [snapshots] | a warm start |
//! | [testing] | tests that do not sleep and give the same result every time |
//! | [coming_from] | the same calls in moka, quick_cache, Caffeine, FusionCache, cached, lru and `HashMap` |
//!
//! The folder `examples` of the repository has a program for most of these, and a web service over a database.
//!
//! # The first five minutes
//! A [`Cache`](crate::Cache) is a handle. Clone it, or share a reference, and every thread uses the
//! same cache.
//!
//! ```
//! use larder::Cache;
//!
//! let cache = Cache::new(10_000);
//! cache.insert("greeting".to_owned(), "hello".to_owned());
//!
//! let shared = cache.clone();
//! let reader = std::thread::spawn(move || shared.get("greeting"));
//! assert_eq!(reader.join().unwrap().as_deref(), Some("hello"));
//! ```
//!
//! - [`get_or_insert_with`](crate::Cache::get_or_insert_with) makes a value if there is none, once for all threads
//!   that ask at the same time. See [loading].
//! - A value must be `Clone` for [`get`](crate::Cache::get), which returns a copy. Put large values
//!   into an `Arc`, or borrow them with [`read`](crate::Cache::read).
//! - The result of [`insert`](crate::Cache::insert) may be ignored. It says whether the value was
//!   added, replaced another, or was rejected, and why.
//! - Every cache has a bound, on [entries](crate::Builder::capacity), on
//!   [weight](crate::Builder::max_weight), or on both. A bound of 0 switches the cache off: it stores
//!   nothing.
//! - One maintenance thread serves all caches of the process. The first change of a cache starts it, and it sleeps
//!   while there is nothing to do. With [`Maintenance::Inline`](crate::Maintenance::Inline) there is none: every call
//!   does its own work, and the bounds hold whenever a call returns.
//! - A program may have many caches. One that was never changed takes at most 4 KiB, and what more it needs grows
//!   with its entries and with the threads that use it, not with the cores of the machine.
//! - Calls do no I/O of their own and wait for other threads only briefly, so you can make them from
//!   async code. Your own code can make them slow: a listener that takes long needs an
//!   [executor](crate::Listener::executor), and a loader in async code has to be a future, for which there are
//!   the methods with `_async`.
//!
//! # A whole program
//! ```
//! use std::time::Duration;
//! use larder::{BuildError, Cache, Policy, ShadowConfig};
//!
//! fn main() -> Result<(), BuildError> {
//!     let pages = Cache::<String, String>::builder()
//!         .max_weight(64 << 20)
//!         .weigher(|path, page| (path.len() + page.len()).try_into().unwrap_or(u32::MAX))
//!         .time_to_live(Duration::from_secs(600))
//!         .policy(Policy::s3_fifo())
//!         .explain_misses(10_000)
//!         .shadow(ShadowConfig::new())
//!         .build()?;
//!
//!     let load = |path: &str| format!("<h1>{path}</h1>"); // from the database
//!     let page = |path: &str| pages.get_or_insert_with(path, || load(path));
//!     assert_eq!(page("/index"), page("/index"));
//!
//!     pages.remove("/index");
//!     println!("{}", pages.explain("/index")); // missing: removed
//!     println!("{}", pages.stats()); // inserts=1 replacements=0 evictions=0 …
//!     if let Some(report) = pages.shadow_report() {
//!         println!("{report}"); // hit ratios at 0.5, 1, 2 and 4 times the size
//!     }
//!     Ok(())
//! }
//! ```

pub mod loading;
pub mod expiry;
pub mod tags;
pub mod namespaces;
pub mod weights;
pub mod listeners;
pub mod statistics;
pub mod metrics;
pub mod tuning;
pub mod configuration;
pub mod snapshots;
pub mod testing;
pub mod coming_from;
