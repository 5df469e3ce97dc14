//! Numbers and keys as text, and one reading as lines.

use std::fmt::Write;

use super::reading::{Buckets, CacheNumbers, TopReading, causes};
use crate::harmless::harmless;

/// What stands for a number that is not known.
pub(super) const UNKNOWN: &str = "–";

/// A count, with a unit of thousands if it is large.
pub(super) fn count(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e5, "k")];
    for (from, unit) in units {
        if value >= from {
            let scaled = value / if unit == "k" { 1e3 } else { from };
            return format!("{} {unit}", three_digits(scaled));
        }
    }
    let digits = format!("{value:.0}");
    match digits.len() {
        5.. => format!("{},{}", &digits[..digits.len() - 3], &digits[digits.len() - 3..]),
        _ => digits,
    }
}

/// A rate, each second.
pub(super) fn rate(value: Option<f64>) -> String {
    match value {
        None => UNKNOWN.to_owned(),
        Some(value) if value > 0.0 && value < 10.0 => format!("{value:.1}/s"),
        Some(value) => format!("{}/s", count(value)),
    }
}

pub(super) fn percent(value: Option<f64>) -> String {
    match value {
        None => UNKNOWN.to_owned(),
        Some(value) if value >= 0.9995 => "100 %".to_owned(),
        Some(value) => format!("{:.1} %", 100.0 * value),
    }
}

pub(super) fn bytes(value: f64) -> String {
    let (mut value, mut unit) = (value, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{value:.0} B") } else { format!("{} {unit}", three_digits(value)) }
}

/// A duration in the unit that fits it.
pub(super) fn seconds(value: Option<f64>) -> String {
    let Some(value) = value else { return UNKNOWN.to_owned() };
    let units =
        [(86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")];
    let fits = |(size, _): &&(f64, &str)| value >= size * 0.9995;
    let (size, unit) = units.iter().find(fits).unwrap_or(&units[5]);
    format!("{} {unit}", three_digits(value / size))
}

fn three_digits(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A quantile of a histogram.
pub(super) fn quantile(buckets: Option<&Buckets>, part: f64) -> String {
    let value = buckets.and_then(|buckets| buckets.quantile(part));
    let smallest = buckets.and_then(|buckets| buckets.bounds_s.first().copied());
    match (value, smallest) {
        (Some(value), Some(smallest)) if value <= smallest => {
            format!("< {}", seconds(smallest.into()))
        }
        _ => seconds(value),
    }
}

/// The first line: what process it is.
pub(super) fn about(reading: &TopReading, cache: &CacheNumbers) -> String {
    let mut parts = Vec::new();
    parts.extend(reading.version.as_ref().map(|version| format!("version {version}")));
    parts.push(format!("cache {}", cache.name));
    parts.push(cache.policy.clone());
    parts
        .extend(reading.uptime.map(|uptime| format!("up {}", seconds(Some(uptime.as_secs_f64())))));
    parts.extend(reading.obstacle.clone());
    harmless(&parts.join(" · "))
}

/// One reading as lines of a name and its value, for scripts and for a look.
pub(super) fn lines(url: &str, reading: &TopReading) -> String {
    let mut out = format!("{}\n", harmless(url));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<22} {value}");
    };
    if let Some(obstacle) = &reading.obstacle {
        line("not ready", harmless(obstacle));
    }
    if let Some(uptime) = reading.uptime {
        line("up", seconds(Some(uptime.as_secs_f64())));
    }
    if let Some(clients) = reading.clients {
        line("clients", clients.to_string());
    }
    if let (Some(received), Some(sent)) = (reading.bytes_in, reading.bytes_out) {
        line("received, sent", format!("{}, {}", bytes(received as f64), bytes(sent as f64)));
    }
    if let Some(resident) = reading.resident_bytes {
        line("memory of the process", bytes(resident as f64));
    }
    if let Some(latency) = &reading.latency {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|part| quantile(Some(latency), part));
        line("latency", format!("p50 {p50}, p99 {p99}, p99.9 {p999}"));
    }
    let mut calls: Vec<_> = reading.calls.iter().collect();
    calls.sort_by_key(|(name, calls)| (std::cmp::Reverse(**calls), *name));
    for (command, calls) in calls.into_iter().take(10) {
        line(&harmless(command), format!("{calls} calls"));
    }
    for cache in &reading.caches {
        cache_lines(&mut out, cache);
    }
    out
}

fn cache_lines(out: &mut String, cache: &CacheNumbers) {
    let _ = writeln!(out, "{}", harmless(&format!("cache {} ({})", cache.name, cache.policy)));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<22} {value}");
    };
    let of = |used: u64, bound: Option<u64>| match bound {
        Some(bound) => format!("{used} of {bound}"),
        None => used.to_string(),
    };
    match cache.lookups {
        Some(lookups) => {
            line("hits", lookups.hits.to_string());
            line("misses", lookups.misses.to_string());
            line("hit ratio", percent(lookups.hit_ratio()));
        }
        None => line("hit ratio", "lookups are not counted".to_owned()),
    }
    line("entries", of(cache.entries, cache.capacity));
    line("weight", of(cache.weight, cache.max_weight));
    line("waiting to be freed", bytes(cache.waiting_bytes as f64));
    line("inserted", cache.inserts.to_string());
    line("rejected", cache.rejections.to_string());
    for (cause, entries) in causes(cache) {
        line(cause, entries.to_string());
    }
    if let Some(ages) = &cache.eviction_ages {
        let [p10, p50] = [0.1, 0.5].map(|part| quantile(Some(ages), part));
        line("age of evicted", format!("median {p50}, one in ten below {p10}"));
    }
    for point in &cache.sizes {
        let misses = format!("{:.2} times the misses", point.misses_factor);
        line(&format!("{} times the size", point.multiple), misses);
    }
    for entry in &cache.hottest {
        let share = entry.share.map(|share| percent(Some(share))).unwrap_or_default();
        line("hot key", format!("{share:>7} {}", harmless(&entry.key)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_unit_that_fits() {
        let counts = [0.0, 999.0, 9999.0, 12_345.0, 123_456.0, 1_234_567.0, 9.9e12];
        assert_eq!(counts.map(count), ["0", "999", "9999", "12,345", "123 k", "1.2 M", "9.9 T"]);
        assert_eq!([0.0, 1023.0, 1536.0, 5e9].map(bytes), ["0 B", "1023 B", "1.5 KiB", "4.7 GiB"]);
        let times = [4e-7, 1e-3, 0.25, 90.0, 86400.0].map(|value| seconds(Some(value)));
        assert_eq!(times, ["0.4 µs", "1.0 ms", "250 ms", "1.5 min", "1.0 d"]);
        assert_eq!(
            [None, Some(0.0), Some(0.4), Some(1e6)].map(rate),
            ["–", "0/s", "0.4/s", "1.0 M/s"]
        );
        assert_eq!([None, Some(0.4567), Some(1.0)].map(percent), ["–", "45.7 %", "100 %"]);
    }
}
