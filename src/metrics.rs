//! Metrics of any number of caches, for Prometheus and everything that reads its formats.
//!
//! A [`Collector`] holds caches of any types by their names, and writes what it reads of them as text: in the format of
//! Prometheus, version 0.0.4, or as OpenMetrics 1.0. No client library is needed. Other parts of a program can add
//! metrics of their own to the same text ([`MetricSource`]).
//!
//! ```
//! use larder::Cache;
//! use larder::metrics::{Collector, Exposition};
//!
//! let pages: Cache<String, String> =
//!     Cache::builder().name("pages").capacity(10_000).count_lookups().build()?;
//! let users: Cache<u64, String> = Cache::builder().name("users").capacity(500).build()?;
//! let collector = Collector::new();
//! collector.register(&pages)?;
//! collector.register(&users)?;
//!
//! pages.insert("/".to_owned(), "<h1>Home</h1>".to_owned());
//! pages.get("/");
//! // In the handler of `/metrics`, with the `Accept` header of the request:
//! let format = Exposition::for_accept("text/plain");
//! let (content_type, body) = (format.content_type(), collector.encode(format)?);
//! assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
//! assert!(body.contains("larder_hits_total{cache=\"pages\"} 1\n"));
//! assert!(body.contains("larder_inserts_total{cache=\"users\"} 0\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`docs::guide::metrics`](crate::docs::guide::metrics) has the queries for a dashboard, and the way from here to the
//! crates `prometheus-client`, `metrics` and `opentelemetry`.
//!
//! # What the collector keeps
//! It holds caches weakly: it does not keep a cache alive, and a cache whose last handle is dropped disappears from the
//! text. Its name is free then. A new cache of the same name begins at 0, which Prometheus takes for a restart.
//!
//! # What it costs
//! Nothing between two scrapes, unless a cache was built with
//! [`count_lookups`](crate::Builder::count_lookups), a [shadow](crate::Builder::shadow),
//! [`load_time_histogram`](crate::Builder::load_time_histogram) or
//! [`eviction_age_histogram`](crate::Builder::eviction_age_histogram). A scrape takes O(partitions + cores) for each
//! cache. It walks over no entries, and no metric has a label by key.
//!
//! # The metrics
//! A counter only grows as long as its cache lives: [`clear`](crate::Cache::clear) and
//! [`reset_shadow_counts`](crate::Cache::reset_shadow_counts) reset none. There are no ratios: a query divides what
//! counters have grown by in the same time. The names, kinds and labels below are kept; a release may add some. The
//! samples of a cache have the label `cache`, its name. In the text, a counter's name ends with `_total`, and an info's
//! with `_info`.
//!
//! | metric | kind | more labels | of a cache | what it is |
//! |---|---|---|---|---|
//! | `larder_build` | info | `version` | none | the version of larder |
//! | `larder_cache` | info | `policy` | each | the policy |
//! | `larder_entries` | gauge | | each | entries that take room ([`len`](crate::Cache::len)) |
//! | `larder_capacity_entries` | gauge | | with a capacity | the bound on entries |
//! | `larder_weight` | gauge | | each | the sum of the weights |
//! | `larder_max_weight` | gauge | | with a bound on weight | the bound on weight |
//! | `larder_hits` | counter | | with `count_lookups` or shadows | lookups that found their key |
//! | `larder_misses` | counter | | with `count_lookups` or shadows | lookups that did not |
//! | `larder_stale_hits` | counter | | each | calls answered by an expired value |
//! | `larder_negative_hits` | counter | | each | calls answered by the memory that there is no value |
//! | `larder_dropped_accesses` | counter | | each | accesses that the policy did not learn of |
//! | `larder_inserts` | counter | | each | keys added |
//! | `larder_rejections` | counter | | each | insertions rejected |
//! | `larder_removals` | counter | `cause`: `evicted`, `expired`, `removed`, `replaced`, `invalidated` | each | entries that left, by the [cause](crate::RemovalCause) |
//! | `larder_removed_weight` | counter | `cause`: `evicted`, `expired` | each | the weight of these |
//! | `larder_eviction_age_seconds` | histogram | | with `eviction_age_histogram` | the ages of evicted entries |
//! | `larder_loads` | counter | | each | runs of loaders |
//! | `larder_load_failures` | counter | | each | loads that failed |
//! | `larder_load_waits` | counter | | each | calls that waited for another caller's load |
//! | `larder_load_handovers` | counter | | each | loads that a waiter began anew |
//! | `larder_loads_discarded` | counter | | each | loaded values that were not kept |
//! | `larder_refreshes` | counter | | each | loads that renewed a value |
//! | `larder_load_seconds` | counter | | each | the sum of the times of loads, exact over many |
//! | `larder_load_duration_seconds` | histogram | | with `load_time_histogram` | the times of loads |
//! | `larder_retired_bytes` | counter | | each | bytes of entries that left, without what they own elsewhere |
//! | `larder_freed_bytes` | counter | | each | bytes of these that were freed |
//! | `larder_garbage_bytes` | gauge | | each | bytes of these that wait to be freed |
//! | `larder_reclamation_lag_seconds` | gauge | | none | how long they have waited for a thread that keeps a pin |
//! | `larder_reclamation_refused` | gauge | | none | 1 if [the system refuses](crate::Stats::is_reclamation_refused) to let them be freed |
//! | `larder_maintenance_runs` | counter | | each | runs of maintenance |
//! | `larder_maintenance_panics` | counter | | each | panics of user code in maintenance |
//! | `larder_notifications` | counter | | each | removals of which the listener was notified |
//! | `larder_notifications_dropped` | counter | | each | removals of which it was not |
//! | `larder_notifications_waiting` | gauge | | each | notifications in its queues |
//! | `larder_listener_panics` | counter | | each | its panics |
//! | `larder_shadow_misses` | counter | `policy`, `multiple` | with shadows | estimated misses with this policy at this multiple of the bounds |
//! | `larder_shadow_own_misses` | counter | `policy`, `multiple` | with shadows | misses of the cache, estimated from the same sample |
//! | `larder_shadow_capacity_entries` | gauge | `policy`, `multiple` | with shadows and a capacity | the bound on entries there |
//! | `larder_shadow_max_weight` | gauge | `policy`, `multiple` | with shadows and a bound on weight | the bound on weight there |
//! | `larder_shadow_dropped_records` | counter | | with shadows | records that the shadows lack |
//!
//! The misses of a shadow cache are estimates from a sample of the keys. By chance the sample has too many misses or
//! too few, and the misses of the cache itself are known both in the sample and in all. So the misses at a multiple
//! are about `larder_misses × larder_shadow_misses / larder_shadow_own_misses`, each over the same time, and the hits
//! are the other lookups. There is no counter of a shadow's hits, because too many of them depend on whether the
//! hottest key is in the sample.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use crate::base::sync::{self, Mutex};
use crate::cache::{Cache, Readable};

#[cfg(feature = "metrics_prometheus_client")]
mod prometheus_client;
#[cfg(feature = "metrics_facade")]
mod facade;
#[cfg(feature = "metrics_opentelemetry")]
mod opentelemetry;
mod cache_families;
mod text;
mod family;
mod error;
mod kind;

pub use error::MetricsError;
pub use family::{BucketCounts, Families, Family, MetricSample, SampleValue};
pub use kind::FamilyKind;
pub use text::{Exposition, OPENMETRICS_CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE};

/// A part of a program that has metrics of its own.
///
/// Closures of this form are sources too. Names that begin with `larder_` are the library's, and with `larder_server_`
/// and `larder_near_` those of the crates `larder-server` and `larder-near`.
///
/// # Examples
/// ```
/// use std::sync::{Arc, Mutex};
/// use larder::metrics::{Collector, Exposition, Families};
///
/// let requests = Arc::new(Mutex::new(0_u64));
/// let collector = Collector::new();
/// let counted = Arc::clone(&requests);
/// collector.add_source(move |families: &mut Families| {
///     let family = families.counter("app_requests", "Requests that were answered.")?;
///     family.add(&[("path", "/")], *counted.lock().unwrap())?;
///     Ok(())
/// });
/// *requests.lock().unwrap() += 3;
/// let text = collector.encode(Exposition::OpenMetrics)?;
/// assert!(text.contains("app_requests_total{path=\"/\"} 3\n"));
/// # Ok::<(), larder::metrics::MetricsError>(())
/// ```
pub trait MetricSource: Send + Sync + 'static {
    /// Adds the present values to `families`. It is called for each scrape, on the thread that scrapes, under no lock
    /// of the collector.
    ///
    /// # Errors
    /// What [`Families`] and [`Family`] return. The scrape fails in that case.
    fn collect(&self, families: &mut Families) -> Result<(), MetricsError>;
}

impl<F> MetricSource for F
where
    F: Fn(&mut Families) -> Result<(), MetricsError> + Send + Sync + 'static,
{
    fn collect(&self, families: &mut Families) -> Result<(), MetricsError> {
        self(families)
    }
}

/// Collects the metrics of caches, and of other parts of the program.
///
/// A collector is a handle: its clones are the same collector. All calls may be made from any number of threads. The
/// head of the [module](self) has an example, the list of metrics, and what a scrape costs.
#[derive(Clone, Default)]
pub struct Collector {
    shared: Arc<Mutex<Registered>>,
}

type RegisteredCache = (Arc<str>, Arc<dyn Readable>);

#[derive(Default)]
struct Registered {
    caches: Vec<RegisteredCache>,
    sources: Vec<Arc<dyn MetricSource>>,
}

impl Collector {
    /// A collector without caches and sources.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a cache under its [name](crate::Builder::name).
    ///
    /// # Errors
    /// [`MetricsError::Unnamed`] if it has none, or an empty one, and [`MetricsError::NameTaken`] if another cache that
    /// still exists has this name.
    pub fn register<K, V, S>(&self, cache: &Cache<K, V, S>) -> Result<(), MetricsError>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: Send + Sync + 'static,
    {
        self.register_as(cache.name().unwrap_or_default(), cache)
    }

    /// Adds a cache under another name than its own, which may be any text. A cache may have several names.
    ///
    /// # Errors
    /// As those of [`register`](Self::register), for `name`.
    pub fn register_as<K, V, S>(
        &self,
        name: &str,
        cache: &Cache<K, V, S>,
    ) -> Result<(), MetricsError>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: Send + Sync + 'static,
    {
        if name.is_empty() {
            return Err(MetricsError::Unnamed);
        }
        self.forget_closed();
        let mut registered = sync::lock(&self.shared);
        if registered.caches.iter().any(|(taken, _)| **taken == *name) {
            return Err(MetricsError::NameTaken { name: name.to_owned() });
        }
        registered.caches.push((name.into(), cache.readable()));
        Ok(())
    }

    /// Removes the cache of that name, and says whether there was one.
    pub fn unregister(&self, name: &str) -> bool {
        self.forget_closed();
        let removed = {
            let mut registered = sync::lock(&self.shared);
            let index = registered.caches.iter().position(|(taken, _)| **taken == *name);
            index.map(|index| registered.caches.remove(index))
        };
        removed.is_some()
    }

    /// The names of the caches, in the order in which they were added.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.forget_closed().iter().map(|(name, _)| name.to_string()).collect()
    }

    /// Adds a source of other metrics, for as long as the collector exists. A source of something that may end before
    /// holds that weakly, and adds nothing afterwards.
    pub fn add_source(&self, source: impl MetricSource) {
        sync::lock(&self.shared).sources.push(Arc::new(source));
    }

    /// Reads all metrics: those of the caches, then those of the sources, each in the order in which they were added.
    ///
    /// The values of one cache are read one after the other while it works, so they are not of the same moment.
    ///
    /// # Errors
    /// That of a source.
    pub fn gather(&self) -> Result<Families, MetricsError> {
        let caches = self.forget_closed();
        let sources = sync::lock(&self.shared).sources.clone();
        let read = |(name, cache): RegisteredCache| Some((name, cache.reading()?));
        let readings: Vec<_> = caches.into_iter().filter_map(read).collect();
        let mut families = Families::new();
        cache_families::describe(&mut families)?;
        cache_families::add_process(&mut families, readings.iter().map(|(_, reading)| reading))?;
        for (name, reading) in &readings {
            cache_families::add_cache(&mut families, name, reading)?;
        }
        for source in sources {
            source.collect(&mut families)?;
        }
        Ok(families)
    }

    /// Reads all metrics and writes them as text.
    ///
    /// # Errors
    /// That of a source.
    pub fn encode(&self, format: Exposition) -> Result<String, MetricsError> {
        Ok(self.gather()?.encode(format))
    }

    /// Forgets the caches whose last handle is gone, and returns the others. What is forgotten is dropped under no
    /// lock, because the drop may run code of the user.
    fn forget_closed(&self) -> Vec<RegisteredCache> {
        let caches = sync::lock(&self.shared).caches.clone();
        let (open, closed): (Vec<_>, Vec<_>) =
            caches.into_iter().partition(|(_, cache)| cache.is_open());
        if !closed.is_empty() {
            let is_closed = |cache: &Arc<dyn Readable>| {
                closed.iter().any(|(_, closed)| Arc::ptr_eq(closed, cache))
            };
            sync::lock(&self.shared).caches.retain(|(_, cache)| !is_closed(cache));
        }
        open
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("caches", &self.names()).finish_non_exhaustive()
    }
}
