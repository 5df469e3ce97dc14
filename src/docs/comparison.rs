//! What other caches offer, and how fast this one is beside them.
//!
//! # What is documented
//! Each entry links to the page that says so. "–" means: not found in the documentation.
//!
//! | | larder | Caffeine | moka | quick_cache | foyer | otter |
//! |---|---|---|---|---|---|---|
//! | a hit takes no lock | [yes](crate::Cache#concurrency) | [yes][c-design] | [yes][m-cache] | – | – | [yes][o-design] |
//! | eviction policies | [7](crate::Policy) | [1][c-efficiency] | [2][m-policy] | [1][q-crate] | [5][f-policies] | [1][o-design] |
//! | a policy of your own | [yes](crate::policy::EvictionPolicy) | – | – | – | – | – |
//! | bound by weight | [yes](crate::Builder::max_weight) | [yes][c-eviction] | [yes][m-builder] | [yes][q-weighter] | [yes][f-builder] | [yes][o-eviction] |
//! | bound changed at run time | [yes](crate::Cache::set_capacity) | [yes][c-policy] | – | [yes][q-cache] | [yes][f-cache] | [yes][o-extension] |
//! | entries that are never evicted | [yes](crate::Cache::insert_unevictable) | [weight 0][c-weigher] | – | [yes][q-lifecycle] | – | [weight 0][o-eviction] |
//! | time to live, time to idle | [yes](crate::Builder::time_to_live) | [yes][c-eviction] | [yes][m-builder] | – | – | [yes][o-eviction] |
//! | deadline for each entry | [yes](crate::Expiry) | [yes][c-eviction] | [yes][m-expiry] | – | – | [yes][o-eviction] |
//! | jitter on deadlines | [yes](crate::Builder::jitter) | – | – | – | – | – |
//! | expired entries are removed without traffic | [yes](crate::expiry) | [with a scheduler][c-cleanup] | – | – | – | [yes][o-eviction] |
//! | listener of removals | [yes](crate::Listener) | [yes][c-removal] | [yes][m-builder] | [evictions][q-lifecycle] | [yes][f-listener] | [yes][o-deletion] |
//! | listener within the removal | [yes](crate::Builder::atomic_listener) | [evictions][c-removal] | – | [evictions][q-lifecycle] | – | [yes][o-deletion] |
//! | invalidation by predicate | [yes](crate::Cache::invalidate_if) | [by its map view][c-asmap] | [yes][m-cache] | [yes][q-cache] | – | – |
//! | invalidation by tag | [yes](crate::Cache::invalidate_tag) | – | – | – | – | – |
//! | why a key is missing | [yes](crate::Cache::explain) | – | – | – | – | – |
//! | hottest and coldest entries | [yes](crate::Cache::hottest) | [yes][c-policy] | – | – | – | [yes][o-api] |
//! | statistics | [yes](crate::Stats) | [yes][c-statistics] | – | [hits, misses][q-cache] | [yes][f-builder] | [yes][o-statistics] |
//! | hit ratio at other capacities, live | [yes](crate::ShadowConfig) | – | – | – | – | – |
//! | capacity follows memory pressure | [yes](super::guide::weights) | [soft values][c-eviction] | – | – | – | – |
//! | clock of your own | [yes](crate::Clock) | [yes][c-testing] | – | – | – | [yes][o-api] |
//! | snapshots | [yes](super::guide::snapshots) | – | – | – | – | [yes][o-persistence] |
//! | entries on disk beyond memory | – | – | – | – | [yes][f-hybrid] | – |
//! | one computation for a missing key | [yes](super::guide::loading) | [yes][c-population] | [yes][m-cache] | [yes][q-cache] | [yes][f-cache] | [yes][o-loading] |
//! | refresh ahead of expiry | [yes](crate::Builder::refresh_after_write) | [yes][c-refresh] | – | – | – | [yes][o-refresh] |
//! | loading by futures | [yes](crate::Cache::get_or_insert_with_async) | [yes][c-population] | [yes][m-future] | [yes][q-cache] | [yes][f-cache] | – |
//! | one load for many keys | [yes](crate::Cache::get_many_or_load) | [yes][c-population] | – | – | – | [yes][o-loading] |
//! | an expired value if the load fails | [yes](crate::Builder::stale_if_error) | – | – | – | – | – |
//! | missing values remembered for a time | [yes](crate::Builder::negative_time_to_live) | – | – | – | – | – |
//! | a value computed from the old one, atomically | [yes](crate::CacheEntry::and_compute_with) | [by its map view][c-asmap] | [yes][m-cache] | [yes][q-cache] | – | [yes][o-api] |
//!
//! # How fast it is
//! In short: on a machine with two cores, gets that hit are 1.1 to 1.4 times as fast as those of quick_cache
//! on one thread, and 3 to 5 times on two. Insertions into a full cache take three times as long on one
//! thread with the default policy, and not quite twice as long with `sieve`. On two threads insertions with
//! `sieve` or `lru` are as fast or faster.
//!
//! `cargo run --release -p larder-benches --features peers --bin compare` measures larder beside other
//! libraries. The machine was a virtual one with two cores (AMD EPYC, Zen 4) and the system's allocator. Keys
//! and values were `u64`, the keys had a zipf distribution with exponent 0.99, each library had its defaults,
//! and all ran in turn in one process. A figure is larder's rate divided by the other's, first with the default
//! policy, then with `sieve`. It is the median over the five rounds of a run, and the table gives the least
//! and the greatest of five runs.
//!
//! | | threads | / quick_cache | / best of quick_cache, tinyufo, `lru` in a mutex |
//! |---|---|---|---|
//! | get, all hits, 131,072 keys | 1 | 1.10 to 1.37 / 1.02 to 1.49 | 1.07 to 1.37 / 1.02 to 1.49 |
//! | | 2 | 3.2 to 4.7 / 3.0 to 4.2 | the same |
//! | get, one `pin()` for 1,024 | 1 | 1.34 to 1.65 / 1.32 to 1.83 | 1.34 to 1.65 / 1.32 to 1.68 |
//! | | 2 | 3.3 to 5.5 / 3.5 to 5.6 | the same |
//! | get, one hot key | 2 | 6.5 to 10 / 7.0 to 10 | 3.6 to 3.7 / 3.7 |
//! | the same, an `Arc` by `read` | 2 | 19 to 25 / 18 to 34 | 7.2 to 13 / 8.2 to 12 |
//! | read-through, 2^20 keys, capacity 10 % | 1 | 0.54 to 0.59 / 0.93 to 1.07 | 0.50 to 0.58 / 0.86 to 1.03 |
//! | | 2 | 1.5 to 1.8 / 2.3 to 2.8 | the same |
//! | insert of new keys at capacity | 1 | 0.31 to 0.36 / 0.54 to 0.59 | the same |
//! | | 2 | 0.62 to 0.87 / 1.0 to 1.4 | 0.62 to 0.85 / 1.0 to 1.2 |
//!
//! The rows of insertions and of read-through were measured before insertions applied their own events. In
//! that state, one call applied eight events; now a writer that finds its partition free applies its own at once. The
//! slowest insertions in a hundred take a third to a half of the time that they took then. An insertion takes about as
//! many instructions as then with `sieve`, `lru` and `fifo`, and a fifth fewer with the default policy. The rows of
//! gets are about the same code.
//!
//! The figures depend on what else runs on the host of a virtual machine. If that keeps the processor's
//! caches and memory busy, every library waits for memory most of the time, and the differences shrink. On
//! such a machine (Zen 3), measured before the path of a plain hit was made a fifth shorter, the ratios were 0.9 to
//! 1.1 on one thread and 1.3 to 1.6 on two in the rows of gets, and 0.45 to 0.60 and 0.75 to 0.93 in those of
//! read-through. On quiet machines, also before that change, they were 1.2 to 1.4 and 3.6 to 4.2, and 0.6 to 1.1 and
//! 1.6 to 2.6.
//!
//! **On your machine.** The following command measures fourteen workloads with 1, 2 and 16 threads beside
//! twelve other caches and two maps, takes the latencies of single operations and counts the bytes of an
//! entry. It writes tables, plots and all rounds to a folder, with the machine and its load:
//!
//! ```text
//! cargo run --release -p larder-benches --features peers --bin report -- --out target/report
//! ```
//!
//! # Other figures
//! | | | measured by |
//! |---|---|---|
//! | hit ratio, mean of 84 rows of real traces, background maintenance, two seeds | `window_tiny_lfu` 51.3 % (Caffeine's newest 50.0, moka 48.9, quick_cache 46.3, `lru` 39.3) | `hit_ratio` |
//! | the same, 32 synthetic rows | 53.5 % (51.2, 50.0, 51.2, 44.3) | `hit_ratio` |
//! | resident bytes of an entry beyond key and value, 10^6 entries | 86.6 (`window_tiny_lfu`), 67.9 (`sieve`, `fifo`), 68.0 (`lru`) | `memory` |
//! | resident memory while all cores insert at capacity 1,000 for 60 s | 5.3 to 6.7 MiB | `write_storm` |
//! | time of an insertion with a lifetime against one without, at 10^6 timers | 1.07 times | `expiry` |
//! | lateness of a timer among 1,000, idle and with both cores busy | at most 0.56 and 0.78 of a tick | `expiry` |
//! | invalidation of a tag that 10^6 entries carry | 3.7 µs (2.9 to 4.3) | `tags` |
//! | snapshot of 10^6 strings of 100 bytes, `bincode`, one thread | saved at 338 to 409 MB/s, loaded at 327 to 385 MB/s | `snapshot` |
//! | lookups against papaya's, in 10^7, 10^6 and up to 10^5 entries | 0.77 to 0.81, 0.76 to 0.92, 0.62 to 0.75 times as long | `growth` |
//! | the first hit on each of 10^7 entries, which marks it, against papaya's | 1.27 times as long | `growth --first-hits` |
//! | a loop of `get` over 64 uniform keys among 10^7, against `get_many` | 4.2 to 4.8 times as long | `bulk` |
//!
//! Each is a binary of `larder-benches`, whose README explains it, or the program `larder`. The speeds in this
//! table were measured on other machines than those in the first.
//!
//! [c-design]: https://github.com/ben-manes/caffeine/wiki/Design
//! [c-efficiency]: https://github.com/ben-manes/caffeine/wiki/Efficiency
//! [c-eviction]: https://github.com/ben-manes/caffeine/wiki/Eviction
//! [c-policy]: https://github.com/ben-manes/caffeine/wiki/Policy
//! [c-weigher]: https://www.javadoc.io/doc/com.github.ben-manes.caffeine/caffeine/latest/com.github.benmanes.caffeine/com/github/benmanes/caffeine/cache/Caffeine.html#maximumWeight(long)
//! [c-cleanup]: https://github.com/ben-manes/caffeine/wiki/Cleanup
//! [c-removal]: https://github.com/ben-manes/caffeine/wiki/Removal
//! [c-asmap]: https://www.javadoc.io/doc/com.github.ben-manes.caffeine/caffeine/latest/com.github.benmanes.caffeine/com/github/benmanes/caffeine/cache/Cache.html#asMap()
//! [c-statistics]: https://github.com/ben-manes/caffeine/wiki/Statistics
//! [c-testing]: https://github.com/ben-manes/caffeine/wiki/Testing
//! [c-population]: https://github.com/ben-manes/caffeine/wiki/Population
//! [c-refresh]: https://github.com/ben-manes/caffeine/wiki/Refresh
//! [m-cache]: https://docs.rs/moka/latest/moka/sync/struct.Cache.html
//! [m-future]: https://docs.rs/moka/latest/moka/future/struct.Cache.html
//! [m-builder]: https://docs.rs/moka/latest/moka/sync/struct.CacheBuilder.html
//! [m-policy]: https://docs.rs/moka/latest/moka/policy/struct.EvictionPolicy.html
//! [m-expiry]: https://docs.rs/moka/latest/moka/trait.Expiry.html
//! [q-crate]: https://docs.rs/quick_cache/latest/quick_cache/
//! [q-cache]: https://docs.rs/quick_cache/latest/quick_cache/sync/struct.Cache.html
//! [q-weighter]: https://docs.rs/quick_cache/latest/quick_cache/trait.Weighter.html
//! [q-lifecycle]: https://docs.rs/quick_cache/latest/quick_cache/trait.Lifecycle.html
//! [f-cache]: https://docs.rs/foyer/latest/foyer/struct.Cache.html
//! [f-builder]: https://docs.rs/foyer/latest/foyer/struct.CacheBuilder.html
//! [f-policies]: https://docs.rs/foyer/latest/foyer/enum.EvictionConfig.html
//! [f-listener]: https://docs.rs/foyer/latest/foyer/trait.EventListener.html
//! [f-hybrid]: https://docs.rs/foyer/latest/foyer/struct.HybridCacheBuilder.html
//! [o-api]: https://pkg.go.dev/github.com/maypok86/otter/v2
//! [o-design]: https://maypok86.github.io/otter/performance/design/
//! [o-eviction]: https://maypok86.github.io/otter/user-guide/v2/features/eviction/
//! [o-extension]: https://maypok86.github.io/otter/user-guide/v2/features/extension/
//! [o-deletion]: https://maypok86.github.io/otter/user-guide/v2/features/deletion/
//! [o-loading]: https://maypok86.github.io/otter/user-guide/v2/features/loading/
//! [o-refresh]: https://maypok86.github.io/otter/user-guide/v2/features/refresh/
//! [o-statistics]: https://maypok86.github.io/otter/user-guide/v2/features/statistics/
//! [o-persistence]: https://maypok86.github.io/otter/user-guide/v2/features/persistence/
