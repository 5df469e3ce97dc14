//! Metrics as text, in the format of Prometheus or of OpenMetrics, as far as larder's families need it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reading::{Buckets, CacheNumbers, Lookups, SizePoint, TopReading};

/// A line of the text.
#[derive(Debug, PartialEq)]
struct Sample<'t> {
    name: &'t str,
    labels: Vec<(&'t str, String)>,
    value: f64,
}

impl Sample<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// Why a text could not be read.
#[derive(Debug, PartialEq)]
pub(super) enum BadText {
    /// The line of that number is not a sample.
    Line(usize),
    /// No line is of a cache.
    NoCache,
}

/// Reads the metrics of a process. What is not larder's is passed over.
pub(super) fn parse(text: &str) -> Result<TopReading, BadText> {
    let mut samples = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let sample = sample(line).ok_or(BadText::Line(index + 1))?;
        if sample.name.starts_with("larder_") || sample.name.starts_with("process_") {
            samples.push(sample);
        }
    }
    let reading = reading(&samples);
    if reading.caches.is_empty() { Err(BadText::NoCache) } else { Ok(reading) }
}

/// Reads a line. A time stamp and an exemplar may follow the value, and are passed over.
fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            inner = inner.trim_start().trim_start_matches(',').trim_start();
            if let Some(after) = inner.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = inner.split_once('=')?;
            let (value, after) = quoted(after.trim_start())?;
            labels.push((label.trim(), value));
            inner = after;
        }
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then_some(Sample { name, labels, value })
}

/// A text in quotes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let (mut value, mut is_escaped) = (String::new(), false);
    for (index, character) in inner.char_indices() {
        match character {
            'n' if is_escaped => value.push('\n'),
            _ if is_escaped => value.push(character),
            '"' => return Some((value, &inner[index + 1..])),
            '\\' => {
                is_escaped = true;
                continue;
            }
            _ => value.push(character),
        }
        is_escaped = false;
    }
    None
}

fn reading(samples: &[Sample<'_>]) -> TopReading {
    let whole = |name: &str| {
        let found = samples.iter().find(|sample| sample.name == name);
        found.map(|sample| count(sample.value))
    };
    let started = samples.iter().find(|sample| sample.name == "process_start_time_seconds");
    let info = samples.iter().find(|sample| sample.name == "larder_server_build_info");
    let mut reading = TopReading {
        instance: started.map(|sample| sample.value.to_string()).unwrap_or_default(),
        version: info.and_then(|sample| sample.label("version")).map(str::to_owned),
        obstacle: (whole("larder_server_ready") == Some(0)).then(|| "not ready".to_owned()),
        clients: whole("larder_server_connected_clients"),
        bytes_in: whole("larder_server_received_bytes_total"),
        bytes_out: whole("larder_server_sent_bytes_total"),
        resident_bytes: whole("process_resident_memory_bytes"),
        latency: buckets(samples, "larder_server_batch_seconds_bucket", None),
        ..TopReading::default()
    };
    reading.uptime = started.and_then(|sample| uptime(sample.value));
    for sample in samples.iter().filter(|sample| sample.name == "larder_server_commands_total") {
        if let Some(command) = sample.label("command") {
            reading.calls.insert(command.to_owned(), count(sample.value));
        }
    }
    for sample in samples.iter().filter(|sample| sample.name == "larder_cache_info") {
        if let (Some(name), Some(policy)) = (sample.label("cache"), sample.label("policy")) {
            reading.caches.push(cache(samples, name, policy));
        }
    }
    if let [only] = &mut reading.caches[..]
        && only.eviction_ages.is_none()
    {
        only.eviction_ages = buckets(samples, "larder_server_eviction_age_seconds_bucket", None);
    }
    reading
}

fn uptime(started_s: f64) -> Option<Duration> {
    let started = Duration::try_from_secs_f64(started_s).ok()?;
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH + started).ok()
}

fn cache(samples: &[Sample<'_>], name: &str, policy: &str) -> CacheNumbers {
    let of_cache = |sample: &&Sample<'_>| sample.label("cache") == Some(name);
    let whole = |metric: &str| {
        let mut own = samples.iter().filter(of_cache);
        own.find(|sample| sample.name == metric).map(|sample| count(sample.value))
    };
    let left = |cause: &str| {
        let mut own = samples.iter().filter(of_cache);
        let found = own.find(|sample| {
            sample.name == "larder_removals_total" && sample.label("cause") == Some(cause)
        });
        found.map_or(0, |sample| count(sample.value))
    };
    let lookups = whole("larder_hits_total").zip(whole("larder_misses_total"));
    CacheNumbers {
        name: name.to_owned(),
        policy: policy.to_owned(),
        entries: whole("larder_entries").unwrap_or_default(),
        capacity: whole("larder_capacity_entries"),
        weight: whole("larder_weight").unwrap_or_default(),
        max_weight: whole("larder_max_weight"),
        lookups: lookups.map(|(hits, misses)| Lookups { hits, misses }),
        inserts: whole("larder_inserts_total").unwrap_or_default(),
        rejections: whole("larder_rejections_total").unwrap_or_default(),
        waiting_bytes: whole("larder_garbage_bytes").unwrap_or_default(),
        evicted: left("evicted"),
        expired: left("expired"),
        removed: left("removed"),
        replaced: left("replaced"),
        invalidated: left("invalidated"),
        eviction_ages: buckets(samples, "larder_eviction_age_seconds_bucket", Some(name)),
        sizes: sizes(samples, name, policy),
        hottest: Vec::new(),
    }
}

/// The estimates for the cache's own policy. Those at each multiple are in proportion to the misses of the cache
/// in the same sample.
fn sizes(samples: &[Sample<'_>], name: &str, policy: &str) -> Vec<SizePoint> {
    let of_policy = |metric: &'static str| {
        let own = samples.iter().filter(move |sample| {
            sample.name == metric
                && sample.label("cache") == Some(name)
                && sample.label("policy") == Some(policy)
        });
        own.filter_map(|it| Some((it.label("multiple")?.to_owned(), it.value)))
    };
    let own: BTreeMap<_, _> = of_policy("larder_shadow_own_misses_total").collect();
    let factor = |(multiple, misses): (String, f64)| {
        let own = own.get(&multiple).copied().filter(|own| *own > 0.0)?;
        Some(SizePoint { multiple: multiple.parse().ok()?, misses_factor: misses / own })
    };
    let mut sizes: Vec<_> = of_policy("larder_shadow_misses_total").filter_map(factor).collect();
    // A shadow of the present size may have a few misses more or less than the cache. The others are compared with it.
    let present = sizes.iter().find(|point| point.multiple == 1.0).map(|point| point.misses_factor);
    if let Some(present) = present.filter(|factor| *factor > 0.0) {
        sizes.iter_mut().for_each(|point| point.misses_factor /= present);
    }
    sizes
}

/// A histogram, whose buckets in the text include all smaller ones.
fn buckets(samples: &[Sample<'_>], metric: &str, cache: Option<&str>) -> Option<Buckets> {
    let own =
        samples.iter().filter(|sample| sample.name == metric && sample.label("cache") == cache);
    let bound =
        |sample: &Sample<'_>| Some((sample.label("le")?.parse::<f64>().ok()?, count(sample.value)));
    let mut cumulative: Vec<_> = own.filter_map(bound).collect();
    cumulative.sort_by(|(one, _), (two, _)| one.total_cmp(two));
    cumulative.last().filter(|(bound, _)| bound.is_infinite())?;
    let (mut found, mut before) = (Buckets::default(), 0);
    for (bound, count) in cumulative {
        if bound.is_finite() {
            found.bounds_s.push(bound);
        }
        found.counts.push(count.saturating_sub(before));
        before = count;
    }
    Some(found)
}

/// A count as a number without a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and what is not a number gives 0"
)]
fn count(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP larder_cache_info The policy.
# TYPE larder_cache_info gauge
larder_cache_info{cache="a \"b\\\n",policy="lru"} 1
larder_entries{cache="a \"b\\\n"} 5
larder_capacity_entries{cache="a \"b\\\n"} 10
larder_hits_total{cache="a \"b\\\n"} 3e2
larder_misses_total{cache="a \"b\\\n"} 100
larder_removals_total{cache="a \"b\\\n",cause="evicted"} 7
larder_shadow_misses_total{cache="a \"b\\\n",policy="lru",multiple="2"} 20
larder_shadow_own_misses_total{cache="a \"b\\\n",policy="lru",multiple="2"} 40
larder_shadow_misses_total{cache="a \"b\\\n",policy="lru",multiple="1"} 50
larder_shadow_own_misses_total{cache="a \"b\\\n",policy="lru",multiple="1"} 40
larder_eviction_age_seconds_bucket{cache="a \"b\\\n",le="1"} 2
larder_eviction_age_seconds_bucket{cache="a \"b\\\n",le="10"} 5
larder_eviction_age_seconds_bucket{cache="a \"b\\\n",le="+Inf"} 7
larder_cache_info{cache="other",policy="sieve",} 1 1700000000000

other_metric{x="}"} NaN # {trace="1"} 1
"#;

    #[test]
    fn the_metrics_of_all_caches_are_read() {
        let reading = parse(TEXT).unwrap();
        let [first, second] = &reading.caches[..] else { panic!("{reading:?}") };
        assert_eq!((first.name.as_str(), first.policy.as_str()), ("a \"b\\\n", "lru"));
        assert_eq!((first.entries, first.capacity, first.evicted), (5, Some(10), 7));
        assert_eq!(first.lookups, Some(Lookups { hits: 300, misses: 100 }));
        let sizes = [(2.0, 0.4), (1.0, 1.0)]
            .map(|(multiple, misses_factor)| SizePoint { multiple, misses_factor });
        assert_eq!(first.sizes, sizes);
        let ages = Buckets { bounds_s: vec![1.0, 10.0], counts: vec![2, 3, 2] };
        assert_eq!(first.eviction_ages.as_ref(), Some(&ages));
        assert_eq!((second.name.as_str(), second.lookups), ("other", None));
    }

    #[test]
    fn text_that_is_not_metrics_is_refused_with_its_line() {
        for (text, bad) in [
            ("", BadText::NoCache),
            ("up 1\n", BadText::NoCache),
            ("<html>\n", BadText::Line(1)),
            ("up 1\n\nup{a=\"b} 1\n", BadText::Line(3)),
            ("up{a=b} 1\n", BadText::Line(1)),
            ("up one\n", BadText::Line(1)),
            ("{a=\"b\"} 1\n", BadText::Line(1)),
        ] {
            assert_eq!(parse(text), Err(bad), "{text}");
        }
    }
}
