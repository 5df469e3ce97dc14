//! What is shown of replays and traces: tables for people, JSON for programs.
//!
//! The structs are the documentation of `--json`: a field's name carries its unit, and fields are
//! only ever added.

mod simulation;
mod csv;

pub(crate) use self::csv::csv;
pub(crate) use self::simulation::{SimulateReport, Simulation, TraceSimulation, simulation_table};

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use indicatif::{HumanBytes, HumanCount};
use larder::Maintenance;
use serde::Serialize;

use crate::capacity::Weights;
use crate::replay::{LATENCY_SAMPLE_EVERY, Measurement, ReplayOptions};
use crate::trace::{Format, TimeSpan, Trace, TtlSummary};

/// The document of `larder replay --json`.
#[derive(Debug, Serialize)]
pub(crate) struct ReplayReport {
    pub(crate) larder_version: &'static str,
    pub(crate) threads: usize,
    pub(crate) maintenance: &'static str,
    pub(crate) passes: u32,
    /// One request in so many is timed; a timing includes the reading of the clock.
    pub(crate) latency_sample_every: u64,
    pub(crate) traces: Vec<TraceReplay>,
}

/// One trace and all replays of it.
#[derive(Debug, Serialize)]
pub(crate) struct TraceReplay {
    #[serde(flatten)]
    pub(crate) trace: TraceInfo,
    /// By capacity, and in the order of `--policies` within one.
    pub(crate) replays: Vec<Replay>,
}

/// A trace without its requests; also an element of the document of `larder info --json`.
#[derive(Debug, Serialize)]
pub(crate) struct TraceInfo {
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) requests: u64,
    pub(crate) distinct_keys: u32,
    /// Keys that are asked for only once.
    pub(crate) one_hit_wonders: u32,
    /// All keys together, each at the size of its last request; `null` without sizes.
    pub(crate) footprint_bytes: Option<u64>,
    /// `null` without TTLs.
    pub(crate) ttl: Option<TtlSummary>,
    /// `null` without times.
    pub(crate) times: Option<TimeSpan>,
}

/// One policy at one capacity.
#[derive(Debug, Serialize)]
pub(crate) struct Replay {
    pub(crate) policy: String,
    /// `null` where entries weigh their size.
    pub(crate) capacity_entries: Option<u64>,
    /// `null` where entries weigh one each.
    pub(crate) capacity_bytes: Option<u64>,
    /// The capacity by the distinct keys or by their bytes; 1.0 holds all.
    pub(crate) capacity_share: f64,
    pub(crate) partitions: usize,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) hit_ratio: f64,
    pub(crate) evictions: u64,
    /// Inserts of entries that were heavier than the whole cache may be.
    pub(crate) rejections: u64,
    pub(crate) elapsed_seconds: f64,
    /// An operation is a request: a get, and an insert on a miss.
    pub(crate) ops_per_second: f64,
    /// How many requests were timed; below a thousand, `p999_ns` is the slowest of them.
    pub(crate) latency_samples: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
}

impl ReplayReport {
    pub(crate) fn new(options: &ReplayOptions) -> Self {
        ReplayReport {
            larder_version: env!("CARGO_PKG_VERSION"),
            threads: options.threads,
            maintenance: match options.maintenance {
                Maintenance::Inline => "inline",
                _ => "background",
            },
            passes: options.passes,
            latency_sample_every: LATENCY_SAMPLE_EVERY,
            traces: Vec::new(),
        }
    }

    /// One line on how the figures of the tables came about.
    pub(crate) fn footer(&self) -> String {
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        let passes =
            if self.passes == 1 { String::new() } else { format!(", {} passes", self.passes) };
        format!(
            "{} {threads}, {} maintenance{passes}. An operation is a get, and an insert on a miss. \
             Latency is of\none operation in {}, the reading of the clock included. \
             * marks the best hit ratio at a capacity.",
            self.threads, self.maintenance, self.latency_sample_every
        )
    }
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

impl Replay {
    /// `whole` is what all keys together fill, in the unit of the weights.
    pub(crate) fn of(measured: &Measurement, weights: Weights, whole: u64) -> Self {
        let (capacity_entries, capacity_bytes) = match weights {
            Weights::Entries => (Some(measured.capacity), None),
            Weights::Bytes => (None, Some(measured.capacity)),
        };
        Replay {
            policy: measured.policy.clone(),
            capacity_entries,
            capacity_bytes,
            capacity_share: measured.capacity as f64 / whole.max(1) as f64,
            partitions: measured.partitions,
            requests: measured.requests,
            hits: measured.hits,
            hit_ratio: measured.hit_ratio(),
            evictions: measured.evictions,
            rejections: measured.rejections,
            elapsed_seconds: measured.elapsed.as_secs_f64(),
            ops_per_second: measured.operations_per_second(),
            latency_samples: measured.latency_ns.len(),
            p50_ns: measured.latency_ns(0.5),
            p99_ns: measured.latency_ns(0.99),
            p999_ns: measured.latency_ns(0.999),
        }
    }

    /// Entries or bytes; one of the two is there.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity_entries.or(self.capacity_bytes).unwrap_or(0)
    }
}

/// A rule above and below the header and at the end: the rows stay together on one screen.
const RULES_ONLY: TableStyle = {
    let rule = LineStyle::none().fill('─').junction('─');
    TableStyle::new().top_border(rule).header_separator(rule).bottom_border(rule)
};

/// The replays of one trace.
pub(crate) fn replay_table(replays: &[Replay]) -> Table {
    let has_bytes = replays.iter().any(|replay| replay.capacity_bytes.is_some());
    let share = if has_bytes { "of footprint" } else { "of keys" };
    let mut table =
        table(&["policy", "capacity", share, "hit ratio", "Mops/s", "p50", "p99", "p99.9"]);
    for replay in replays {
        let capacity = match replay.capacity_bytes {
            Some(bytes) => HumanBytes(bytes).to_string(),
            None => HumanCount(replay.capacity()).to_string(),
        };
        let best = replays
            .iter()
            .filter(|other| other.capacity() == replay.capacity())
            .map(|other| other.hits)
            .max();
        // A column of its own width, so that the digits stay aligned.
        let mark = if best == Some(replay.hits) { '*' } else { ' ' };
        table.add_row([
            replay.policy.clone(),
            capacity,
            format!("{:.1} %", 100.0 * replay.capacity_share),
            format!("{:.2} % {mark}", 100.0 * replay.hit_ratio),
            format!("{:.2}", replay.ops_per_second / 1e6),
            duration(replay.p50_ns),
            duration(replay.p99_ns),
            duration(replay.p999_ns),
        ]);
    }
    align_numbers(table)
}

/// What `larder info` prints.
pub(crate) fn info_table(traces: &[TraceInfo]) -> Table {
    let mut header =
        vec!["trace", "format", "requests", "distinct keys", "asked for once", "footprint"];
    // Most traces have neither.
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

/// A date if the time counts from 1970, else seconds from whatever it counts from.
fn time(seconds: f64) -> String {
    // Traces that count from their own start do not last for twenty years.
    const LEAST_DATE_SECONDS: f64 = 631_152_000.0;
    let date = (seconds >= LEAST_DATE_SECONDS)
        .then(|| chrono::DateTime::from_timestamp_millis((seconds * 1e3) as i64))
        .flatten();
    match date {
        Some(date) => date.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => format!("{seconds} s"),
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(RULES_ONLY);
    table.set_header(header.iter().map(Cell::new));
    table
}

/// All columns but the first hold numbers.
fn align_numbers(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Three digits and a unit.
fn duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", Duration::from_nanos(ns).as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(policy: &str, capacity: u64, hits: u64) -> Replay {
        Replay {
            policy: policy.into(),
            capacity_entries: Some(capacity),
            capacity_bytes: None,
            capacity_share: 0.05,
            partitions: 1,
            requests: 1000,
            hits,
            hit_ratio: hits as f64 / 1000.0,
            evictions: 3,
            rejections: 0,
            elapsed_seconds: 0.5,
            ops_per_second: 2_345_678.0,
            latency_samples: 76,
            p50_ns: 84,
            p99_ns: 1_234,
            p999_ns: 5_678_900,
        }
    }

    #[test]
    fn the_table_shows_units_and_the_best_of_each_capacity() {
        let table = replay_table(&[
            replay("lru", 100, 500),
            replay("sieve", 100, 600),
            replay("lru", 2000, 700),
        ]);
        let rows: Vec<String> = table
            .lines()
            .skip(3)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(rows[0], "lru 100 5.0 % 50.00 % 2.35 84 ns 1.2 µs 5.7 ms");
        assert_eq!(rows[1], "sieve 100 5.0 % 60.00 % * 2.35 84 ns 1.2 µs 5.7 ms");
        assert_eq!(rows[2], "lru 2,000 5.0 % 70.00 % * 2.35 84 ns 1.2 µs 5.7 ms");
    }

    #[test]
    fn field_names_of_the_document_stay() {
        let json = serde_json::to_value(replay("lru", 1, 1)).unwrap();
        for field in ["policy", "capacity_entries", "hit_ratio", "ops_per_second", "p999_ns"] {
            assert!(json.get(field).is_some(), "{field}");
        }
        assert!(json["capacity_bytes"].is_null());
    }

    #[test]
    fn times_are_dates_where_they_count_from_1970() {
        assert_eq!(time(1_717_156_800.0), "2024-05-31 12:00:00 UTC");
        assert_eq!((time(0.0), time(86_400.5)), ("0 s".into(), "86400.5 s".into()));
        assert_eq!(time(1e18), "1000000000000000000 s");
    }

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_000), "1.0 µs");
        assert_eq!(duration(2_500_000), "2.5 ms");
        assert_eq!(duration(60_000_000_000), "60.0 s");
    }
}
