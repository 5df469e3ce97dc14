//! Metrics as observable instruments of OpenTelemetry.
#![forbid(unsafe_code)]

use std::sync::Arc;

use ::opentelemetry::KeyValue;
use ::opentelemetry::metrics::{AsyncInstrument, Meter};

use super::Collector;
use super::error::MetricsError;
use super::family::{Families, MetricSample, SampleValue};
use super::kind::FamilyKind;
use super::text::number;
use crate::base::sync::{self, Mutex};

/// What several instruments read, gathered once for all of them in each collection.
struct Gathered {
    collector: Collector,
    last: Mutex<LastGathered>,
}

#[derive(Default)]
struct LastGathered {
    families: Option<Arc<Families>>,
    /// For each instrument whether it has read these families.
    has_read: Vec<bool>,
}

/// A number of a family that an instrument shows.
#[derive(Clone, Copy)]
enum InstrumentPart {
    Value,
    Buckets,
    Count,
    Sum,
}

impl Collector {
    /// Makes an observable instrument of `meter` for each metric that the collector has now. Each collection of the
    /// meter's provider reads the present values. Returns the number of instruments.
    ///
    /// A cache that is registered later is shown too. A metric that did not exist before is not, such as one of a
    /// [source](super::MetricSource) that is added later: call this last, once for each meter, because instruments of
    /// the same name show everything twice.
    ///
    /// Counters and gauges keep their names; the SDK's own exporters add endings such as `_total`. There is no
    /// observable histogram, so a histogram becomes three counters: `…_bucket` with the attribute `le`, `…_count` and
    /// `…_sum`. An info becomes the gauge `…_info`, which is 1. If a source fails, that collection lacks all metrics of
    /// the collector.
    ///
    /// # Errors
    /// That of a source; there is no instrument in that case.
    ///
    /// # Examples
    /// ```
    /// let meter = opentelemetry::global::meter("larder");
    /// let collector = larder::metrics::Collector::new();
    /// assert!(collector.observe(&meter)? > 30);
    /// # Ok::<(), larder::metrics::MetricsError>(())
    /// ```
    pub fn observe(&self, meter: &Meter) -> Result<usize, MetricsError> {
        let families = self.gather()?;
        let gathered = Arc::new(Gathered {
            collector: self.clone(),
            last: Mutex::new(LastGathered::default()),
        });
        let mut instruments = 0;
        for family in families.iter() {
            let unit = match family.unit_name() {
                Some("seconds") => "s",
                Some("bytes") => "By",
                _ => "",
            };
            for &part in parts(family.kind()) {
                let name = format!("{}{}", family.name(), ending(family.kind(), part));
                let observe = {
                    let (gathered, name) = (Arc::clone(&gathered), family.name().to_owned());
                    let index = instruments;
                    move |instrument: &dyn AsyncInstrument<f64>| {
                        let Some(families) = gathered.read(index) else { return };
                        let samples = families.get(&name).map_or(&[][..], |it| it.samples());
                        samples.iter().for_each(|sample| show(instrument, sample, part));
                    }
                };
                let help = family.help().to_owned();
                let unit = if matches!(part, InstrumentPart::Value | InstrumentPart::Sum) {
                    unit
                } else {
                    ""
                };
                if matches!(family.kind(), FamilyKind::Counter | FamilyKind::Histogram) {
                    let counter = meter.f64_observable_counter(name).with_description(help);
                    counter.with_unit(unit).with_callback(observe).build();
                } else {
                    let gauge = meter.f64_observable_gauge(name).with_description(help);
                    gauge.with_unit(unit).with_callback(observe).build();
                }
                instruments += 1;
            }
        }
        Ok(instruments)
    }
}

impl Gathered {
    /// The present families for an instrument. It gathers them if this instrument has read the last ones, which means
    /// that another collection has begun.
    fn read(&self, index: usize) -> Option<Arc<Families>> {
        {
            let mut last = sync::lock(&self.last);
            if last.has_read.len() <= index {
                last.has_read.resize(index + 1, false);
            }
            if !last.has_read[index]
                && let Some(families) = &last.families
            {
                let families = Arc::clone(families);
                last.has_read[index] = true;
                return Some(families);
            }
        }
        // Under no lock, because sources are user code.
        let families = self.collector.gather().ok().map(Arc::new);
        let mut last = sync::lock(&self.last);
        last.has_read.iter_mut().for_each(|has_read| *has_read = false);
        last.has_read[index] = true;
        last.families.clone_from(&families);
        families
    }
}

fn parts(kind: FamilyKind) -> &'static [InstrumentPart] {
    match kind {
        FamilyKind::Histogram => {
            &[InstrumentPart::Buckets, InstrumentPart::Count, InstrumentPart::Sum]
        }
        _ => &[InstrumentPart::Value],
    }
}

fn ending(kind: FamilyKind, part: InstrumentPart) -> &'static str {
    match (kind, part) {
        (FamilyKind::Info, _) => "_info",
        (_, InstrumentPart::Value) => "",
        (_, InstrumentPart::Buckets) => "_bucket",
        (_, InstrumentPart::Count) => "_count",
        (_, InstrumentPart::Sum) => "_sum",
    }
}

#[expect(clippy::cast_precision_loss, reason = "the instruments' numbers have 52 bits")]
fn show(instrument: &dyn AsyncInstrument<f64>, sample: &MetricSample, part: InstrumentPart) {
    let labels =
        || sample.labels().iter().map(|(label, text)| KeyValue::new(label.clone(), text.clone()));
    let own: Vec<KeyValue> = labels().collect();
    match (sample.value(), part) {
        (SampleValue::Whole(whole), _) => instrument.observe(*whole as f64, &own),
        (SampleValue::Real(real), _) => instrument.observe(*real, &own),
        (SampleValue::Info, _) => instrument.observe(1.0, &own),
        (SampleValue::Histogram(counts), InstrumentPart::Sum) => {
            instrument.observe(counts.sum(), &own)
        }
        (SampleValue::Histogram(counts), InstrumentPart::Buckets) => {
            let bounded = counts.buckets().iter().map(|(bound, count)| (number(*bound), *count));
            for (bound, count) in bounded.chain([("+Inf".to_owned(), counts.count())]) {
                let attributes: Vec<_> = labels().chain([KeyValue::new("le", bound)]).collect();
                instrument.observe(count as f64, &attributes);
            }
        }
        (SampleValue::Histogram(counts), _) => instrument.observe(counts.count() as f64, &own),
    }
}
