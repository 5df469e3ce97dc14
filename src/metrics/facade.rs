//! Metrics in the recorder of the crate `metrics`, which takes them when they are published.
#![forbid(unsafe_code)]

use ::metrics::{Key, KeyName, Label, Level, Metadata, Recorder, Unit};

use super::Collector;
use super::error::MetricsError;
use super::family::{Family, MetricSample, SampleValue};
use super::kind::FamilyKind;
use super::text::number;

const METADATA: Metadata<'static> = Metadata::new("larder", Level::INFO, Some(module_path!()));

impl Collector {
    /// Sets all metrics in the recorder of the crate `metrics`: the local recorder of the thread if there is one, and
    /// otherwise the global one. Without a recorder nothing happens. Call it before the recorder is rendered, or every
    /// few seconds.
    ///
    /// Counters are set to their values (`absolute`), so it does not matter how often this is called. The names are
    /// those of the text formats. A recorder takes the values of a histogram only one by one, so the buckets, the sum
    /// and the count of a histogram become metrics of their own, named as in the text formats. A counter with
    /// values that are not whole numbers becomes a gauge, because a recorder's counters are whole numbers.
    ///
    /// # Errors
    /// That of a [source](super::MetricSource); nothing was set in that case.
    ///
    /// # Examples
    /// ```
    /// # let collector = larder::metrics::Collector::new();
    /// collector.publish()?;
    /// # Ok::<(), larder::metrics::MetricsError>(())
    /// ```
    pub fn publish(&self) -> Result<(), MetricsError> {
        let families = self.gather()?;
        ::metrics::with_recorder(|recorder| {
            for family in families.iter() {
                // All samples of a family are of one kind. Asked once: it looks at each of them.
                let has_fractions = family.has_fractions();
                describe(recorder, family, has_fractions);
                for sample in family.samples() {
                    set(recorder, family, has_fractions, sample);
                }
            }
        });
        Ok(())
    }
}

fn describe(recorder: &dyn Recorder, family: &Family, has_fractions: bool) {
    let unit = family.unit_name().and_then(Unit::from_string);
    let help = family.help().to_owned().into();
    match family.kind() {
        FamilyKind::Counter => {
            let name = KeyName::from(format!("{}_total", family.name()));
            if has_fractions {
                recorder.describe_gauge(name, unit, help);
            } else {
                recorder.describe_counter(name, unit, help);
            }
        }
        FamilyKind::Histogram => {
            let name = |end: &str| KeyName::from(format!("{}_{end}", family.name()));
            recorder.describe_counter(name("bucket"), None, help.clone());
            recorder.describe_counter(name("count"), None, help.clone());
            recorder.describe_gauge(name("sum"), unit, help);
        }
        FamilyKind::Info => {
            recorder.describe_gauge(format!("{}_info", family.name()).into(), unit, help);
        }
        FamilyKind::Gauge => recorder.describe_gauge(family.name().to_owned().into(), unit, help),
    }
}

fn set(recorder: &dyn Recorder, family: &Family, has_fractions: bool, sample: &MetricSample) {
    let key = |end: &str, bound: Option<String>| {
        let own =
            sample.labels().iter().map(|(label, text)| Label::new(label.clone(), text.clone()));
        let bound = bound.map(|bound| Label::new("le", bound));
        Key::from_parts(format!("{}{end}", family.name()), own.chain(bound).collect::<Vec<_>>())
    };
    let counter = |key: &Key, value| recorder.register_counter(key, &METADATA).absolute(value);
    let gauge = |key: &Key, value: f64| recorder.register_gauge(key, &METADATA).set(value);
    match (family.kind(), sample.value()) {
        (FamilyKind::Counter, SampleValue::Real(real)) => gauge(&key("_total", None), *real),
        (FamilyKind::Counter, SampleValue::Whole(whole)) if !has_fractions => {
            counter(&key("_total", None), *whole);
        }
        #[expect(clippy::cast_precision_loss, reason = "the recorder's gauges have 52 bits")]
        (kind, SampleValue::Whole(whole)) => {
            let end = if kind == FamilyKind::Counter { "_total" } else { "" };
            gauge(&key(end, None), *whole as f64);
        }
        (_, SampleValue::Real(real)) => gauge(&key("", None), *real),
        (_, SampleValue::Info) => gauge(&key("_info", None), 1.0),
        (_, SampleValue::Histogram(counts)) => {
            for (bound, count) in counts.buckets() {
                counter(&key("_bucket", Some(number(*bound))), *count);
            }
            counter(&key("_bucket", Some("+Inf".to_owned())), counts.count());
            counter(&key("_count", None), counts.count());
            gauge(&key("_sum", None), counts.sum());
        }
    }
}
