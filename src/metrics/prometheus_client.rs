//! Metrics in a registry of the crate `prometheus-client`, read when the registry is encoded.
#![forbid(unsafe_code)]

use std::fmt;

use ::prometheus_client::collector::Collector as PullCollector;
use ::prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use ::prometheus_client::metrics::MetricType;
use ::prometheus_client::metrics::exemplar::Exemplar;
use ::prometheus_client::registry::Unit;

use super::Collector;
use super::family::{Family, SampleValue};
use super::kind::FamilyKind;

/// For `Registry::register_collector`. Encoding fails with `fmt::Error` if a [source](super::MetricSource) fails.
///
/// # Examples
/// ```
/// use larder::Cache;
/// use larder::metrics::Collector;
/// use prometheus_client::registry::Registry;
///
/// let cache: Cache<u32, u32> = Cache::builder().name("pages").capacity(100).build()?;
/// let collector = Collector::new();
/// collector.register(&cache)?;
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(collector));
///
/// cache.insert(1, 1);
/// let mut text = String::new();
/// prometheus_client::encoding::text::encode(&mut text, &registry)?;
/// assert!(text.contains("larder_inserts_total{cache=\"pages\"} 1\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl PullCollector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let families = self.gather().map_err(|_| fmt::Error)?;
        for family in families.iter().filter(|family| !family.samples().is_empty()) {
            encode_family(&mut encoder, family)?;
        }
        Ok(())
    }
}

fn encode_family(encoder: &mut DescriptorEncoder<'_>, family: &Family) -> Result<(), fmt::Error> {
    // The encoder adds the unit to the name.
    let stem =
        family.unit_name().and_then(|unit| family.name().strip_suffix(unit)?.strip_suffix('_'));
    let unit = family.unit_name().map(|unit| match unit {
        "seconds" => Unit::Seconds,
        "bytes" => Unit::Bytes,
        other => Unit::Other(other.to_owned()),
    });
    let kind = match family.kind() {
        FamilyKind::Counter => MetricType::Counter,
        FamilyKind::Gauge => MetricType::Gauge,
        FamilyKind::Histogram => MetricType::Histogram,
        FamilyKind::Info => MetricType::Info,
    };
    // It does not escape the help, in which a line feed would end the line.
    let help = family.help().replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
    let name = stem.unwrap_or(family.name());
    let mut metric = encoder.encode_descriptor(name, &help, unit.as_ref(), kind)?;
    for sample in family.samples() {
        let labels: Vec<(&str, &str)> =
            sample.labels().iter().map(|(label, text)| (label.as_str(), text.as_str())).collect();
        match (family.kind(), sample.value()) {
            (FamilyKind::Info, _) => metric.encode_info(&labels)?,
            (_, value) if labels.is_empty() => encode_value(&mut metric, family.kind(), value)?,
            (kind, value) => encode_value(&mut metric.encode_family(&labels)?, kind, value)?,
        }
    }
    Ok(())
}

fn encode_value(
    metric: &mut MetricEncoder<'_>,
    kind: FamilyKind,
    value: &SampleValue,
) -> Result<(), fmt::Error> {
    const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;
    match (kind, value) {
        (FamilyKind::Counter, SampleValue::Whole(whole)) => {
            metric.encode_counter(whole, NO_EXEMPLAR)
        }
        (FamilyKind::Counter, SampleValue::Real(real)) => metric.encode_counter(real, NO_EXEMPLAR),
        (_, SampleValue::Whole(whole)) => metric.encode_gauge(whole),
        (_, SampleValue::Real(real)) => metric.encode_gauge(real),
        (_, SampleValue::Histogram(counts)) => {
            // This encoder adds the buckets up itself.
            let mut below = 0;
            let bounded = counts.buckets().iter().copied();
            let buckets: Vec<(f64, u64)> = bounded
                .chain([(f64::INFINITY, counts.count())])
                .map(|(bound, count)| {
                    let own = count - below;
                    below = count;
                    (bound, own)
                })
                .collect();
            metric.encode_histogram::<NoLabelSet>(counts.sum(), counts.count(), &buckets, None)
        }
        (_, SampleValue::Info) => Ok(()),
    }
}
