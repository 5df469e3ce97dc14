//! The collector's metrics in a recorder of the crate `metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use larder::metrics::{Collector, Exposition, Families};
use larder::test::FakeClock;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};

use super::{collector_of, comparable, full_builder, use_all, values};

type Described = Arc<Mutex<BTreeMap<String, (&'static str, Option<Unit>)>>>;
type Values = Arc<Mutex<BTreeMap<String, f64>>>;

/// A recorder that keeps the last value of each series.
#[derive(Clone, Default)]
struct Kept {
    values: Values,
    described: Described,
    /// The kinds with which samples of each name were registered.
    kinds: Arc<Mutex<BTreeMap<String, BTreeSet<&'static str>>>>,
}

struct Series {
    name: String,
    values: Values,
}

impl CounterFn for Series {
    fn increment(&self, _: u64) {
        panic!("a counter is set, not incremented");
    }
    fn absolute(&self, value: u64) {
        self.values.lock().unwrap().insert(self.name.clone(), value as f64);
    }
}

impl GaugeFn for Series {
    fn increment(&self, _: f64) {
        panic!("a gauge is set, not incremented");
    }
    fn decrement(&self, _: f64) {
        panic!("a gauge is set, not decremented");
    }
    fn set(&self, value: f64) {
        self.values.lock().unwrap().insert(self.name.clone(), value);
    }
}

impl Kept {
    fn series(&self, kind: &'static str, key: &Key) -> Arc<Series> {
        self.kinds.lock().unwrap().entry(key.name().to_owned()).or_default().insert(kind);
        let labels: Vec<String> =
            key.labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        Arc::new(Series {
            name: format!("{}{labels}", key.name()),
            values: Arc::clone(&self.values),
        })
    }

    fn describe(&self, kind: &'static str, key: KeyName, unit: Option<Unit>) {
        self.described.lock().unwrap().insert(key.as_str().to_owned(), (kind, unit));
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("counter", key, unit);
    }
    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("gauge", key, unit);
    }
    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("{} is a histogram, whose values a recorder takes only one by one", key.as_str());
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series("counter", key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series("gauge", key))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("there are no histograms");
    }
}

#[test]
fn publishing_sets_every_series_to_its_present_value() {
    let clock = FakeClock::new();
    let cache = full_builder(&clock).build().unwrap();
    let collector = collector_of(&cache);
    let recorder = Kept::default();
    for round in 0..3 {
        use_all(&cache, &clock, round);
        metrics::with_local_recorder(&recorder, || collector.publish()).unwrap();
        let own = values(&collector.encode(Exposition::Prometheus).unwrap());
        let kept = recorder.values.lock().unwrap().clone();
        assert_eq!(comparable(kept), comparable(own));
    }
    let described = recorder.described.lock().unwrap();
    assert_eq!(described["larder_inserts_total"], ("counter", None));
    assert_eq!(described["larder_freed_bytes_total"], ("counter", Some(Unit::Bytes)));
    assert_eq!(described["larder_load_seconds_total"], ("gauge", Some(Unit::Seconds)));
    assert_eq!(described["larder_cache_info"].0, "gauge");
}

#[test]
fn all_samples_of_a_family_are_of_one_kind() {
    let collector = Collector::new();
    collector.add_source(|families: &mut Families| {
        let seconds = families.counter("app_seconds", "Time.")?;
        seconds.add(&[("of", "a")], 2_u64)?.add(&[("of", "b")], 0.5)?;
        Ok(())
    });
    let recorder = Kept::default();
    metrics::with_local_recorder(&recorder, || collector.publish()).unwrap();
    let kinds = recorder.kinds.lock().unwrap();
    assert_eq!(kinds["app_seconds_total"], BTreeSet::from(["gauge"]));
    let described = recorder.described.lock().unwrap();
    assert!(kinds.iter().all(|(name, kinds)| *kinds == BTreeSet::from([described[name].0])));
}

#[test]
fn publishing_without_a_recorder_does_nothing() {
    let clock = FakeClock::new();
    let collector = collector_of(&full_builder(&clock).build().unwrap());
    collector.publish().unwrap();
}
