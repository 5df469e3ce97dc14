//! Metrics for Prometheus, OpenMetrics, and the crates that collect metrics.
//!
//! With the feature `metrics`, a `metrics::Collector` writes what any number of caches count, under names that are
//! kept. The head of the module `metrics` lists them.
//!
#![cfg_attr(feature = "metrics", doc = "```")]
#![cfg_attr(not(feature = "metrics"), doc = "```ignore")]
//! use larder::metrics::{Collector, Exposition};
//! use larder::{Cache, ShadowConfig};
//!
//! let pages: Cache<String, String> = Cache::builder()
//!     .name("pages") // the label `cache`
//!     .capacity(100_000)
//!     .count_lookups() // hits and misses
//!     .load_time_histogram() // how long loads take
//!     .eviction_age_histogram() // how old entries are when they are evicted
//!     .shadow(ShadowConfig::new()) // what half and twice the size would bring
//!     .build()?;
//! let collector = Collector::new();
//! collector.register(&pages)?;
//!
//! // A handler of `/metrics`, for any server: the header and the body of the answer.
//! let answer = |accept: &str| -> Result<(&'static str, String), larder::metrics::MetricsError> {
//!     let format = Exposition::for_accept(accept);
//!     Ok((format.content_type(), collector.encode(format)?))
//! };
//! let (content_type, body) = answer("application/openmetrics-text; version=1.0.0")?;
//! assert!(content_type.starts_with("application/openmetrics-text"));
//! assert!(body.contains("larder_entries{cache=\"pages\"} 0\n") && body.ends_with("# EOF\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The example `metrics` of the repository is a whole program.
//!
//! # Queries
//! There are no ratios among the metrics, because a ratio since the start hides what happens now. Divide what two
//! counters have grown by in the same time:
//!
//! | question | query |
//! |---|---|
//! | the hit ratio | `rate(larder_hits_total[5m]) / (rate(larder_hits_total[5m]) + rate(larder_misses_total[5m]))` |
//! | how full the cache is | `larder_entries / larder_capacity_entries`, `larder_weight / larder_max_weight` |
//! | why entries leave | `sum by (cause) (rate(larder_removals_total{cache="pages"}[5m]))` |
//! | how old entries are when they are evicted | `histogram_quantile(0.5, rate(larder_eviction_age_seconds_bucket[1h]))` |
//! | how long loads take | `histogram_quantile(0.99, rate(larder_load_duration_seconds_bucket[5m]))` |
//! | the mean time of loads, without the histogram | `rate(larder_load_seconds_total[5m]) / rate(larder_loads_total[5m])` |
//! | the part of loads that fail | `rate(larder_load_failures_total[5m]) / rate(larder_loads_total[5m])` |
//! | the miss ratio at other sizes | `rate(larder_misses_total[1h]) * on (job, instance, cache) group_right rate(larder_shadow_misses_total[1h]) / rate(larder_shadow_own_misses_total[1h])`, divided by the lookups |
//!
//! Worth an alert: `larder_reclamation_lag_seconds > 10`, which means that some thread keeps a pin and memory grows,
//! and `larder_reclamation_refused == 1`.
//!
//! If evicted entries are much younger than values are useful, a larger cache has more hits. The shadow caches say how
//! many more; see [tuning](super::tuning).
//!
//! # Metrics of your own
//! `Collector::add_source` takes a closure that adds families to the same text: counters, gauges, histograms and infos,
//! with labels. Names and labels that a format could not write are errors.
//! [`TimeHistogram`](crate::TimeHistogram) counts durations from many threads.
//!
//! # With another library
//! | you have | feature | then |
//! |---|---|---|
//! | a registry of `prometheus-client` | `metrics_prometheus_client` | `registry.register_collector(Box::new(collector.clone()))`; it reads the caches whenever it is encoded |
//! | a recorder of the crate `metrics` | `metrics_facade` | call `collector.publish()` every few seconds, or before the recorder is rendered |
//! | a meter of OpenTelemetry | `metrics_opentelemetry` | call `collector.observe(&meter)` once; each collection reads the caches |
//!
//! The names are the same, except for what these libraries add to names. The last two have no histogram that can be
//! set, so they get its buckets, its sum and its count as single metrics.
