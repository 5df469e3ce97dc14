//! larder as one of the caches of mokabench: a file for its folder `src/cache/`.
//!
//! README.md beside this file says how to add it there. Everything that this file takes from `crate` is
//! the harness's own.

use std::sync::Arc;
use std::time::Duration;

use ::larder::{Cache, Expiry, Listener, Removal, RemovalCause};

use crate::EvictionCounters;
use crate::cache::{
    CacheDriver, Counters, DefaultHasher, Key, Value, make_value, sleep_thread_for_insertion,
};
use crate::config::Config;
use crate::moka::notification::RemovalCause as HarnessCause;
use crate::parser::TraceEntry;
use crate::report::{Report, ReportBuilder};

/// The mean weight of a value in a run that is aware of sizes: weights are spread evenly up to 2^16.
const MEAN_WEIGHT: u64 = 1 << 15;

/// One cache of larder with its default policy. A clone is another handle of the same cache.
#[derive(Clone)]
pub(crate) struct Larder {
    cache: Cache<Key, Value, DefaultHasher>,
    config: Arc<Config>,
    max_capacity: u64,
    eviction_counters: Option<Arc<EvictionCounters>>,
}

impl Larder {
    /// Builds a cache for `capacity` entries, or as many times the mean weight, with what `config` asks for.
    pub(crate) fn new(config: &Config, capacity: usize) -> Self {
        let max_capacity = capacity as u64 * if config.size_aware { MEAN_WEIGHT } else { 1 };
        let mut builder = Cache::builder().initial_capacity(capacity);
        builder = if config.size_aware {
            builder.max_weight(max_capacity).weigher(|_, value: &Value| value.0)
        } else {
            builder.capacity(capacity)
        };
        if let Some(ttl) = config.ttl {
            builder = builder.time_to_live(ttl);
        }
        if config.per_key_expiration {
            builder = builder.expiry(PerKey { ttl: config.ttl, tti: config.tti });
        } else if let Some(tti) = config.tti {
            builder = builder.time_to_idle(tti);
        }
        let eviction_counters = config.is_eviction_listener_enabled().then(Arc::default);
        if let Some(counters) = &eviction_counters {
            builder = builder.listener(counting(Arc::clone(counters)));
        }
        let cache = builder.hasher(DefaultHasher).build().expect("mokabench sets no capacity of 0");
        Self { cache, config: Arc::new(config.clone()), max_capacity, eviction_counters }
    }

    /// The report of this cache for a run with `clients` threads.
    pub(crate) fn report_builder(&self, clients: u16) -> ReportBuilder {
        ReportBuilder::new("Larder", self.max_capacity, Some(clients))
    }

    /// Makes the value for a request as slowly as the run wants.
    fn load(&self, key: Key, request: usize) -> Value {
        let value = make_value(&self.config, key, request);
        sleep_thread_for_insertion(&self.config);
        value
    }

    fn insert(&self, key: Key, request: usize) {
        self.cache.insert(key, self.load(key, request));
    }
}

impl CacheDriver<TraceEntry> for Larder {
    fn get_or_insert(&mut self, entry: &TraceEntry, report: &mut Report) {
        for_each_key(entry, report, |key, request, counters| {
            // A clone of the value, as the harness takes from the other caches too.
            if self.cache.get(&key).is_some() {
                counters.read_hit();
            } else {
                self.insert(key, request);
                counters.inserted();
                counters.read_missed();
            }
        });
    }

    fn get_or_insert_once(&mut self, entry: &TraceEntry, report: &mut Report) {
        for_each_key(entry, report, |key, request, counters| {
            let mut is_loaded = false;
            self.cache.get_or_insert_with(&key, || {
                is_loaded = true;
                self.load(key, request)
            });
            if is_loaded {
                counters.inserted();
                counters.read_missed();
            } else {
                counters.read_hit();
            }
        });
    }

    fn update(&mut self, entry: &TraceEntry, report: &mut Report) {
        for_each_key(entry, report, |key, request, counters| {
            self.insert(key, request);
            counters.inserted();
        });
    }

    fn invalidate(&mut self, entry: &TraceEntry) {
        for key in entry.range() {
            self.cache.remove(&key);
        }
    }

    fn invalidate_all(&mut self) {
        self.cache.clear();
    }

    fn invalidate_entries_if(&mut self, entry: &TraceEntry) {
        for key in entry.range() {
            // The first byte of a value is that of its key.
            let marker = (key % 256) as u8;
            self.cache.invalidate_if(|_, value| value.1[0] == marker);
        }
    }

    fn iterate(&mut self) {
        for pair in &self.cache {
            std::hint::black_box(pair);
        }
    }

    fn eviction_counters(&self) -> Option<Arc<EvictionCounters>> {
        // The counters are read at the end of a run, when notifications may still wait. No client holds a
        // pin then, so this cannot fail.
        let _ = self.cache.flush();
        self.eviction_counters.clone()
    }
}

/// Calls `step` for each key of the entry with the number of its request, and reports what it counts.
fn for_each_key(
    entry: &TraceEntry,
    report: &mut Report,
    mut step: impl FnMut(Key, usize, &mut Counters),
) {
    let mut counters = Counters::default();
    for (key, request) in entry.range().zip(entry.line_number()..) {
        step(key, request, &mut counters);
    }
    counters.add_to_report(report);
}

/// A listener that counts removals by their causes, in the terms of the harness.
fn counting(counters: Arc<EvictionCounters>) -> Listener<Key, Value> {
    let listener = Listener::new(move |removal: &Removal<'_, Key, Value>| {
        counters.increment(match removal.cause {
            RemovalCause::Evicted => HarnessCause::Size,
            RemovalCause::Expired => HarnessCause::Expired,
            RemovalCause::Replaced => HarnessCause::Replaced,
            _ => HarnessCause::Explicit,
        });
    });
    listener.without_ages()
}

/// The lifetimes of a run whose entries have one each. The time to live is a setting of the cache too, so a
/// use cannot prolong it.
struct PerKey {
    ttl: Option<Duration>,
    tti: Option<Duration>,
}

impl Expiry<Key, Value> for PerKey {
    fn after_create(&self, _: &Key, _: &Value) -> Option<Duration> {
        self.tti.or(self.ttl)
    }

    fn after_read(&self, _: &Key, _: &Value, remaining: Option<Duration>) -> Option<Duration> {
        self.tti.or(remaining)
    }
}
