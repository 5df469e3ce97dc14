//! Finding the right size and policy while the cache runs.
//!
//! # What another size would bring
//! *Shadow caches* simulate the cache at other sizes and with other policies, with a sample of the keys
//! and without values.
//!
//! ```
//! use larder::{Cache, Maintenance, Policy, ShadowConfig};
//!
//! let shadows = ShadowConfig::new()
//!     .multiples([1.0, 2.0])
//!     .policy(Policy::lru())
//!     .policy(Policy::window_tiny_lfu());
//! let cache = Cache::builder()
//!     .capacity(100)
//!     .policy(Policy::lru())
//!     .shadow(shadows)
//!     .maintenance(Maintenance::Inline)
//!     .build()?;
//! // A loop over 150 keys: `lru` keeps none of them long enough.
//! for key in (0..150).cycle().take(3_000) {
//!     if cache.get(&key).is_none() {
//!         cache.insert(key, ());
//!     }
//! }
//! let report = cache.shadow_report().expect("the cache has shadows");
//! assert_eq!(report.hit_ratio("lru", 1.0), Some(0.0));
//! assert!(report.hit_ratio("lru", 2.0) > Some(0.9)); // twice the size would hold the loop
//! assert!(report.hit_ratio("window_tiny_lfu", 1.0) > Some(0.3)); // and another policy would hold a part of it
//! println!("{report}");
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! [`ShadowConfig`](crate::ShadowConfig) says how exact they are and what they cost. The larger the
//! cache, the smaller the part of its lookups that is simulated.
//! [`reset_shadow_counts`](crate::Cache::reset_shadow_counts) begins a new period of measurement. For a cache that
//! tenants share, [`shadow_namespace`](crate::Cache::shadow_namespace) shows the same for one tenant.
//!
//! Then [`set_capacity`](crate::Cache::set_capacity) and
//! [`set_max_weight`](crate::Cache::set_max_weight) change the size at once. To change the policy, build
//! a new cache.
//!
//! # Which policy
//! | policy | good for | not for |
//! |---|---|---|
//! | [`window_tiny_lfu`](crate::Policy::window_tiny_lfu), the default | nearly everything: it follows recency, frequency and loops | the highest rates of insertion |
//! | [`cost_aware`](crate::Policy::cost_aware) | values whose loads take very different times: it saves waiting, not misses | values that are not loaded, unless each is given its cost |
//! | [`s3_fifo`](crate::Policy::s3_fifo) | skewed popularity with many keys that are asked for once | loops larger than the cache |
//! | [`sieve`](crate::Policy::sieve) | the same, with the cheapest insertions | shifts of what is popular |
//! | [`lru`](crate::Policy::lru) | recency, small working sets | scans, loops |
//! | [`lfu`](crate::Policy::lfu) | stable popularity | shifts: counts do not age |
//! | [`fifo`](crate::Policy::fifo) | streams, a baseline | most other loads |
//!
//! [`Policy::custom`](crate::Policy::custom) takes a policy of your own, in safe single-threaded code;
//! [`crate::policy`] says when it is called. The program `larder` replays recorded traces through
//! any of them: `larder replay` through the cache itself, `larder simulate` beside published policies.
//!
//! # Why a key is missing
//! [`explain`](crate::Cache::explain) answers for single keys; see
//! [statistics](super::statistics#single-keys). If many keys were evicted, give the cache more room. If
//! many have expired, give them longer lifetimes. If many were never seen, the cache cannot help.
//!
//! # Small caches
//! In background mode the bounds are split over [partitions](crate::Builder::partitions) by hash. Keys
//! do not spread evenly, so the hit ratio of a cache with a few hundred entries a partition falls a
//! little. By default no partition is smaller than 1,024 entries. `partitions(1)` keeps one exact order,
//! and makes all writers contend for one lock.
