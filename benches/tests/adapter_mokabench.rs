//! The adapter for mokabench fits a harness of that form, and counts as the harness wants it.
//!
//! The modules below have what the adapter uses of mokabench, under the same names and with the same
//! signatures, and no more behind them than the tests need.

use std::ops::Range;
use std::time::Duration;

use cache::CacheDriver;
use config::Config;
use counters::EvictionCounters;
use larder::Larder;
use parser::TraceEntry;
use report::{Report, ReportBuilder};

#[path = "../mokabench/larder.rs"]
mod larder;

mod moka {
    pub(crate) mod notification {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum RemovalCause {
            Expired,
            Explicit,
            Replaced,
            Size,
        }
    }
}

mod cache {
    use std::hash::{BuildHasher, DefaultHasher as Hashing};
    use std::sync::Arc;

    use crate::EvictionCounters;
    use crate::config::Config;
    use crate::report::Report;

    pub(crate) type Key = usize;
    pub(crate) type Value = (u32, Arc<[u8]>);

    pub(crate) trait CacheDriver<T> {
        fn get_or_insert(&mut self, entry: &T, report: &mut Report);
        fn get_or_insert_once(&mut self, entry: &T, report: &mut Report);
        fn update(&mut self, entry: &T, report: &mut Report);
        fn invalidate(&mut self, entry: &T);
        fn invalidate_all(&mut self);
        fn invalidate_entries_if(&mut self, entry: &T);
        fn iterate(&mut self);
        fn eviction_counters(&self) -> Option<Arc<EvictionCounters>>;
    }

    #[derive(Default)]
    pub(crate) struct Counters(Report);

    impl Counters {
        pub(crate) fn inserted(&mut self) {
            self.0.insert_count += 1;
        }

        pub(crate) fn read_hit(&mut self) {
            self.0.read_count += 1;
            self.0.hit_count += 1;
        }

        pub(crate) fn read_missed(&mut self) {
            self.0.read_count += 1;
        }

        pub(crate) fn add_to_report(&self, report: &mut Report) {
            report.insert_count += self.0.insert_count;
            report.read_count += self.0.read_count;
            report.hit_count += self.0.hit_count;
        }
    }

    #[derive(Clone, Default)]
    pub(crate) struct DefaultHasher;

    impl BuildHasher for DefaultHasher {
        type Hasher = Hashing;

        fn build_hasher(&self) -> Hashing {
            Hashing::new()
        }
    }

    /// The weight is the number of the request.
    pub(crate) fn make_value(_: &Config, key: usize, request: usize) -> Value {
        (request as u32, Arc::new([(key % 256) as u8]))
    }

    pub(crate) fn sleep_thread_for_insertion(_: &Config) {}
}

mod config {
    use std::time::Duration;

    #[derive(Clone, Default)]
    pub(crate) struct Config {
        pub(crate) ttl: Option<Duration>,
        pub(crate) tti: Option<Duration>,
        pub(crate) size_aware: bool,
        pub(crate) per_key_expiration: bool,
        pub(crate) eviction_listener: bool,
    }

    impl Config {
        pub(crate) fn is_eviction_listener_enabled(&self) -> bool {
            self.eviction_listener
        }
    }
}

mod counters {
    use std::sync::Mutex;

    use crate::moka::notification::RemovalCause;

    /// The causes in the order in which they were counted.
    #[derive(Default)]
    pub(crate) struct EvictionCounters(Mutex<Vec<RemovalCause>>);

    impl EvictionCounters {
        pub(crate) fn increment(&self, cause: RemovalCause) {
            self.0.lock().expect("no panic while locked").push(cause);
        }

        pub(crate) fn causes(&self) -> Vec<RemovalCause> {
            self.0.lock().expect("no panic while locked").clone()
        }
    }
}

mod parser {
    use std::ops::Range;

    pub(crate) struct TraceEntry(pub(crate) Range<usize>);

    impl TraceEntry {
        pub(crate) fn range(&self) -> Range<usize> {
            self.0.clone()
        }

        pub(crate) fn line_number(&self) -> usize {
            1
        }
    }
}

mod report {
    #[derive(Debug, Default, PartialEq)]
    pub(crate) struct Report {
        pub(crate) insert_count: u64,
        pub(crate) read_count: u64,
        pub(crate) hit_count: u64,
    }

    #[derive(Debug, PartialEq)]
    pub(crate) struct ReportBuilder(String, u64, Option<u16>);

    impl ReportBuilder {
        pub(crate) fn new(name: &str, capacity: u64, clients: Option<u16>) -> Self {
            Self(name.to_owned(), capacity, clients)
        }
    }
}

/// What a driver counts for one entry of a trace.
fn counted(step: impl FnOnce(&TraceEntry, &mut Report), keys: Range<usize>) -> [u64; 3] {
    let mut report = Report::default();
    step(&TraceEntry(keys), &mut report);
    [report.read_count, report.hit_count, report.insert_count]
}

#[test]
fn a_miss_is_a_read_and_an_insertion_and_a_hit_is_a_read() {
    let mut driver = Larder::new(&Config::default(), 100);
    assert_eq!(counted(|entry, report| driver.get_or_insert(entry, report), 0..3), [3, 0, 3]);
    assert_eq!(counted(|entry, report| driver.get_or_insert(entry, report), 1..5), [4, 2, 2]);
    assert_eq!(counted(|entry, report| driver.get_or_insert_once(entry, report), 4..6), [2, 1, 1]);
    assert_eq!(counted(|entry, report| driver.update(entry, report), 0..2), [0, 0, 2]);
    driver.iterate();
}

#[test]
fn clients_share_one_cache() {
    let mut driver = Larder::new(&Config::default(), 100);
    let mut other = driver.clone();
    assert_eq!(counted(|entry, report| driver.get_or_insert(entry, report), 0..3), [3, 0, 3]);
    assert_eq!(counted(|entry, report| other.get_or_insert(entry, report), 0..3), [3, 3, 0]);
    assert_eq!(driver.report_builder(2), ReportBuilder::new("Larder", 100, Some(2)));
}

#[test]
fn invalidated_keys_are_missed() {
    let mut driver = Larder::new(&Config::default(), 1_000);
    let hits = |driver: &mut Larder, keys: Range<usize>| {
        counted(|entry, report| driver.get_or_insert(entry, report), keys)[1]
    };
    hits(&mut driver, 0..300);
    driver.invalidate(&TraceEntry(0..2));
    assert_eq!(hits(&mut driver, 0..300), 298);
    // Of 300 keys, two have the first byte 7: 7 and 263.
    driver.invalidate_entries_if(&TraceEntry(7..8));
    assert_eq!(hits(&mut driver, 0..300), 298);
    driver.invalidate_all();
    assert_eq!(hits(&mut driver, 0..300), 0);
}

#[test]
fn a_run_aware_of_sizes_bounds_the_weight() {
    let config = Config { size_aware: true, ..Config::default() };
    let driver = Larder::new(&config, 10);
    assert_eq!(driver.report_builder(1), ReportBuilder::new("Larder", 10 << 15, Some(1)));
}

#[test]
fn the_listener_counts_every_cause_once() {
    use moka::notification::RemovalCause::{Explicit, Replaced};

    let config = Config { eviction_listener: true, ..Config::default() };
    let mut driver = Larder::new(&config, 100);
    counted(|entry, report| driver.update(entry, report), 0..1);
    counted(|entry, report| driver.update(entry, report), 0..1);
    driver.invalidate(&TraceEntry(0..1));
    let counters = driver.eviction_counters().unwrap();
    assert_eq!(counters.causes(), [Replaced, Explicit]);
    assert!(Larder::new(&Config::default(), 100).eviction_counters().is_none());
}

#[test]
fn every_kind_of_lifetime_can_be_set() {
    let hour = Some(Duration::from_secs(3600));
    for (ttl, tti) in [(hour, None), (None, hour), (hour, hour)] {
        for per_key_expiration in [false, true] {
            let config = Config { ttl, tti, per_key_expiration, ..Config::default() };
            let mut driver = Larder::new(&config, 100);
            counted(|entry, report| driver.get_or_insert(entry, report), 0..3);
            let again = counted(|entry, report| driver.get_or_insert(entry, report), 0..3);
            assert_eq!(again, [3, 3, 0]);
        }
    }
}
