//! The collector's metrics as observable instruments of OpenTelemetry.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use larder::Cache;
use larder::metrics::{Collector, Exposition, Families, MetricsError};
use larder::test::FakeClock;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    AsyncInstrument, AsyncInstrumentBuilder, Callback, InstrumentProvider, Meter,
    ObservableCounter, ObservableGauge,
};

use super::{collector_of, comparable, full_builder, use_all, values};

struct Instrument {
    name: String,
    is_counter: bool,
    unit: String,
    callbacks: Vec<Callback<f64>>,
}

/// A meter's provider that keeps the instruments.
#[derive(Default)]
struct KeptInstruments(Mutex<Vec<Instrument>>);

impl KeptInstruments {
    fn keep<I>(&self, builder: AsyncInstrumentBuilder<'_, I, f64>, is_counter: bool) {
        self.0.lock().unwrap().push(Instrument {
            name: builder.name.into_owned(),
            is_counter,
            unit: builder.unit.unwrap_or_default().into_owned(),
            callbacks: builder.callbacks,
        });
    }

    /// What all instruments show in one collection.
    fn collect(&self) -> BTreeMap<String, f64> {
        let mut all = BTreeMap::new();
        for instrument in self.0.lock().unwrap().iter() {
            let shown = Shown::default();
            instrument.callbacks.iter().for_each(|callback| callback(&shown));
            for (labels, value) in shown.0.into_inner().unwrap() {
                let total = if instrument.is_counter { "_total" } else { "" };
                let before = all.insert(format!("{}{total}{labels}", instrument.name), value);
                assert_eq!(before, None);
            }
        }
        all
    }
}

impl InstrumentProvider for KeptInstruments {
    fn f64_observable_counter(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableCounter<f64>, f64>,
    ) -> ObservableCounter<f64> {
        self.keep(builder, true);
        ObservableCounter::new()
    }
    fn f64_observable_gauge(
        &self,
        builder: AsyncInstrumentBuilder<'_, ObservableGauge<f64>, f64>,
    ) -> ObservableGauge<f64> {
        self.keep(builder, false);
        ObservableGauge::new()
    }
}

#[derive(Default)]
struct Shown(Mutex<Vec<(String, f64)>>);

impl AsyncInstrument<f64> for Shown {
    fn observe(&self, value: f64, attributes: &[KeyValue]) {
        let labels: Vec<String> = attributes
            .iter()
            .map(|attribute| format!("{}={:?}", attribute.key, attribute.value.as_str()))
            .collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.0.lock().unwrap().push((labels, value));
    }
}

#[test]
fn a_collection_shows_the_present_values_also_of_later_caches() {
    let clock = FakeClock::new();
    let collector = Collector::new();
    let provider = Arc::new(KeptInstruments::default());
    let instruments = collector.observe(&Meter::new(provider.clone())).unwrap();
    assert_eq!(provider.0.lock().unwrap().len(), instruments);
    let cache = full_builder(&clock).build().unwrap();
    collector.register(&cache).unwrap();
    for round in 0..3 {
        use_all(&cache, &clock, round);
        let own = values(&collector.encode(Exposition::OpenMetrics).unwrap());
        let shown = provider.collect();
        // The parts of a histogram are counters.
        let shown: BTreeMap<_, _> = shown
            .into_iter()
            .map(|(series, value)| {
                let end = ["_bucket", "_count", "_sum"]
                    .into_iter()
                    .find(|end| series.contains(&format!("{end}_total")));
                let part = end.map(|end| series.replace(&format!("{end}_total"), end));
                (part.unwrap_or(series), value)
            })
            .collect();
        assert_eq!(comparable(shown), comparable(own));
    }
    let instruments = provider.0.lock().unwrap();
    let unit = |name: &str| {
        let found = instruments.iter().find(|instrument| instrument.name == name);
        found.unwrap().unit.clone()
    };
    assert_eq!(unit("larder_load_seconds"), "s");
    assert_eq!(unit("larder_garbage_bytes"), "By");
    assert_eq!(unit("larder_eviction_age_seconds_count"), "");
}

#[test]
fn sources_are_read_once_in_a_collection() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let collector = collector_of(&Cache::builder().name("a").capacity(1).build().unwrap());
    collector.add_source(move |families: &mut Families| {
        let calls = counted.fetch_add(1, Ordering::Relaxed) + 1;
        families.gauge("app_calls", "Calls.")?.add(&[], calls)?;
        Ok(())
    });
    let provider = Arc::new(KeptInstruments::default());
    collector.observe(&Meter::new(provider.clone())).unwrap();
    for collection in 2..10 {
        assert_eq!(provider.collect()["app_calls"], f64::from(collection));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 9);
}

#[test]
fn a_source_that_fails_is_reported_at_once_and_later_leaves_a_gap() {
    let is_failing = Arc::new(AtomicUsize::new(1));
    let flag = Arc::clone(&is_failing);
    let collector = Collector::new();
    collector.add_source(move |_: &mut Families| match flag.load(Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err(MetricsError::Unnamed),
    });
    let provider = Arc::new(KeptInstruments::default());
    let meter = Meter::new(provider.clone());
    assert_eq!(collector.observe(&meter).unwrap_err(), MetricsError::Unnamed);
    assert!(provider.0.lock().unwrap().is_empty());
    is_failing.store(0, Ordering::Relaxed);
    collector.observe(&meter).unwrap();
    is_failing.store(1, Ordering::Relaxed);
    assert!(provider.collect().is_empty());
    is_failing.store(0, Ordering::Relaxed);
    assert!(!provider.collect().is_empty());
}
