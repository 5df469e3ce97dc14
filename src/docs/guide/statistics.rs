//! Counters, gauges, and answers about single keys.
//!
//! ```
//! use larder::{Absence, Cache, Explanation};
//!
//! let cache = Cache::builder().capacity(1_000).count_lookups().explain_misses(10_000).build()?;
//! cache.insert("here", 1);
//! let before = cache.stats();
//! cache.get("here");
//! cache.get("gone");
//!
//! let lately = cache.stats() - before;
//! assert_eq!((lately.hits, lately.misses, lately.hit_ratio()), (Some(1), Some(1), Some(0.5)));
//! println!("{lately}"); // name=value pairs, on one line
//!
//! cache.remove("here");
//! assert_eq!(cache.explain("here"), Explanation::Missing(Absence::Removed));
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # Counters
//! [`stats`](crate::Cache::stats) counts insertions, replacements, evictions, expirations, removals,
//! invalidations, rejections and more since the cache was built. All of them only grow, so the
//! difference of two readings is what happened between them. Hits and misses are `None` unless
//! [`count_lookups`](crate::Builder::count_lookups) asks for them, because counting costs up to a fifth of
//! the rate of hits.
//!
//! | of loads | counts |
//! |---|---|
//! | `loads`, `load_failures`, `load_time` | what loaders did, and how long they took in all |
//! | `load_waits` | calls that waited for the load of another caller |
//! | `load_handovers` | loads that a waiter had to begin anew |
//! | `loads_discarded` | loaded values that were not kept, because the key was changed meanwhile; they count in `rejections` too |
//! | `refreshes` | loads that renewed a value that was still there |
//! | `stale_hits`, `negative_hits` | calls that were answered with an expired value, or because the key is known to have none |
//!
//! # Gauges
//! | gauge | says |
//! |---|---|
//! | [`len`](crate::Cache::len), [`weight`](crate::Cache::weight) | the entries and the weight that take room now, in a time that does not depend on them |
//! | [`census`](crate::Cache::census) | the same by a walk over all entries, divided into valid, expired and invalidated ones |
//! | [`Stats::waiting_bytes`](crate::Stats::waiting_bytes) | the bytes of removed entries that are not freed yet |
//! | [`Stats::reclamation_lag`](crate::Stats::reclamation_lag) | how long freeing has waited for a thread that holds a pin; the same for all caches of the process |
//! | [`Stats::notifications_waiting`](crate::Stats::notifications_waiting) | the notifications that the listener has not received yet |
//!
//! With the feature `serde`, `Stats`, `Census`, reports and explanations can be serialized.
//!
//! # Single keys
//! - [`explain`](crate::Cache::explain) describes the state of an entry, or says why there is none:
//!   evicted, expired, removed, invalidated, rejected or never seen. The cache remembers as many removals
//!   as [`explain_misses`](crate::Builder::explain_misses) says, at 8 bytes each.
//! - [`inspect`](crate::Cache::inspect) gives weight, age and the rest of the entry's lifetime.
//! - [`hottest`](crate::Cache::hottest) and [`coldest`](crate::Cache::coldest) list keys in the
//!   policy's order.
//!
//! None of these calls counts as a use of an entry.
