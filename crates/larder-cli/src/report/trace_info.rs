//! Reports on traces.

use comfy_table::Table;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::report::table::{align_numbers, table};
use crate::trace::{Format, TimeSpan, Trace, TtlSummary};

/// A trace without its requests; also an element of the document of `larder info --json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TraceInfo {
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) requests: u64,
    pub(crate) distinct_keys: u32,
    /// Keys that are requested only once.
    pub(crate) one_hit_wonders: u32,
    /// The bytes of all keys together, each at the size of its last request; `null` without sizes.
    pub(crate) footprint_bytes: Option<u64>,
    /// `null` without TTLs.
    pub(crate) ttl: Option<TtlSummary>,
    /// `null` without times.
    pub(crate) times: Option<TimeSpan>,
}

impl TraceInfo {
    pub(crate) fn of(trace: &Trace) -> Self {
        TraceInfo {
            name: trace.name.clone(),
            format: trace.format,
            requests: trace.requests.len() as u64,
            distinct_keys: trace.distinct_keys,
            one_hit_wonders: trace.one_hit_wonders(),
            footprint_bytes: trace.footprint_bytes(),
            ttl: trace.ttl,
            times: trace.span,
        }
    }

    fn one_hit_share(&self) -> f64 {
        f64::from(self.one_hit_wonders) / f64::from(self.distinct_keys)
    }

    /// The line above a table of replays.
    pub(crate) fn headline(&self) -> String {
        let footprint = match self.footprint_bytes {
            Some(bytes) => format!(" of {} together", HumanBytes(bytes)),
            None => String::new(),
        };
        let ttl = match self.ttl {
            Some(ttl) if ttl.is_replayed => "; entries expire by the trace's own time",
            _ => "",
        };
        format!(
            "{}: {} requests for {} distinct keys{footprint}, {:.1} % of them asked for only \
             once{ttl}",
            self.name,
            HumanCount(self.requests),
            HumanCount(self.distinct_keys.into()),
            100.0 * self.one_hit_share(),
        )
    }
}

/// What `larder info` prints.
pub(crate) fn info_table(traces: &[TraceInfo]) -> Table {
    let mut header =
        vec!["trace", "format", "requests", "distinct keys", "asked for once", "footprint"];
    // Most traces have neither TTLs nor times.
    let has_ttls = traces.iter().any(|trace| trace.ttl.is_some());
    let has_times = traces.iter().any(|trace| trace.times.is_some());
    header.extend(has_ttls.then_some("TTL"));
    header.extend(if has_times { &["from", "to"][..] } else { &[] });
    let mut table = table(&header);
    for trace in traces {
        let mut row = vec![
            trace.name.clone(),
            trace.format.name(),
            HumanCount(trace.requests).to_string(),
            HumanCount(trace.distinct_keys.into()).to_string(),
            format!("{:.1} %", 100.0 * trace.one_hit_share()),
            trace.footprint_bytes.map_or_else(|| "-".into(), |bytes| HumanBytes(bytes).to_string()),
        ];
        if has_ttls {
            row.push(trace.ttl.map_or_else(
                || "-".into(),
                |ttl| format!("{} s to {} s", ttl.shortest_seconds, ttl.longest_seconds),
            ));
        }
        if has_times {
            let of = |seconds: fn(&TimeSpan) -> f64| {
                trace.times.map_or_else(|| "-".into(), |times| time(seconds(&times)))
            };
            row.extend([of(|times| times.first_seconds), of(|times| times.last_seconds)]);
        }
        table.add_row(row);
    }
    align_numbers(table)
}

/// A date if the time counts from 1970, else the seconds since the origin of the trace's times.
fn time(seconds: f64) -> String {
    // Traces that count from their own start are shorter than twenty years.
    const LEAST_DATE_SECONDS: f64 = 631_152_000.0;
    let date = (seconds >= LEAST_DATE_SECONDS)
        .then(|| chrono::DateTime::from_timestamp_millis((seconds * 1e3) as i64))
        .flatten();
    match date {
        Some(date) => date.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_where_they_count_from_1970() {
        assert_eq!(time(1_717_156_800.0), "2024-05-31 12:00:00 UTC");
        assert_eq!((time(0.0), time(86_400.5)), ("0 s".into(), "86400.5 s".into()));
        assert_eq!(time(1e18), "1000000000000000000 s");
    }
}
