//! Reports on replays.

use comfy_table::Table;
use larder::Maintenance;
use serde::Serialize;

use crate::capacity::Weights;
use crate::plot::Panel;
use crate::replay::{LATENCY_SAMPLE_EVERY, Measurement, ReplayOptions};
use crate::report::capacity::Capacity;
use crate::report::table::{align_numbers, duration, table};
use crate::report::trace_info::TraceInfo;

/// The document of `larder replay --json`.
#[derive(Debug, Serialize)]
pub(crate) struct ReplayReport {
    pub(crate) larder_version: &'static str,
    pub(crate) threads: usize,
    pub(crate) maintenance: &'static str,
    pub(crate) passes: u32,
    /// One request in this many is timed; a timing includes reading the clock.
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

/// One policy at one capacity.
#[derive(Debug, Serialize)]
pub(crate) struct Replay {
    pub(crate) policy: String,
    #[serde(flatten)]
    pub(crate) capacity: Capacity,
    pub(crate) partitions: usize,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) hit_ratio: f64,
    /// `null` if every entry weighs 1.
    pub(crate) byte_hit_ratio: Option<f64>,
    pub(crate) evictions: u64,
    /// Inserted entries that were rejected because each was heavier than the whole cache may be.
    pub(crate) rejections: u64,
    pub(crate) elapsed_seconds: f64,
    /// An operation is a request: a get, followed by an insert on a miss.
    pub(crate) ops_per_second: f64,
    /// The number of requests that were timed; if it is below a thousand, `p999_ns` is the slowest
    /// of them.
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

    /// A note on how the figures of the tables were measured.
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

impl TraceReplay {
    /// The curves of miss ratios, to be plotted.
    pub(crate) fn panel(&self) -> Panel {
        let is_in_bytes = self.replays.iter().any(|replay| replay.capacity.is_in_bytes());
        let mut panel = Panel::new(&self.trace.name, is_in_bytes);
        for replay in &self.replays {
            panel.add(&replay.policy, false, replay.capacity.absolute(), replay.hit_ratio);
        }
        panel
    }
}

impl Replay {
    /// `footprint` is the weight of all keys together, in the unit of the capacity.
    pub(crate) fn of(measured: &Measurement, weights: Weights, footprint: u64) -> Self {
        Replay {
            policy: measured.policy.clone(),
            capacity: Capacity::of(measured.capacity, weights, footprint),
            partitions: measured.partitions,
            requests: measured.requests,
            hits: measured.hits,
            hit_ratio: measured.hit_ratio(),
            byte_hit_ratio: measured.byte_hit_ratio,
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
}

/// The replays of one trace.
pub(crate) fn replay_table(replays: &[Replay]) -> Table {
    let has_bytes = replays.iter().any(|replay| replay.capacity.is_in_bytes());
    let share = if has_bytes { "of footprint" } else { "of keys" };
    let mut header = vec!["policy", "capacity", share, "hit ratio"];
    if has_bytes {
        header.push("byte hit ratio");
    }
    header.extend(["Mops/s", "p50", "p99", "p99.9"]);
    let mut table = table(&header);
    for replay in replays {
        let best = replays
            .iter()
            .filter(|other| other.capacity.absolute() == replay.capacity.absolute())
            .map(|other| other.hits)
            .max();
        // A mark or a blank, so that the digits stay aligned.
        let mark = if best == Some(replay.hits) { '*' } else { ' ' };
        let mut row = vec![
            replay.policy.clone(),
            replay.capacity.human(),
            format!("{:.1} %", 100.0 * replay.capacity.capacity_share),
            format!("{:.2} % {mark}", 100.0 * replay.hit_ratio),
        ];
        if has_bytes {
            let ratio = replay.byte_hit_ratio.map(|ratio| format!("{:.2} %", 100.0 * ratio));
            row.push(ratio.unwrap_or_default());
        }
        row.extend([
            format!("{:.2}", replay.ops_per_second / 1e6),
            duration(replay.p50_ns),
            duration(replay.p99_ns),
            duration(replay.p999_ns),
        ]);
        table.add_row(row);
    }
    align_numbers(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(policy: &str, capacity: u64, hits: u64) -> Replay {
        Replay {
            policy: policy.into(),
            capacity: Capacity::of(capacity, Weights::Entries, 20 * capacity),
            partitions: 1,
            requests: 1000,
            hits,
            hit_ratio: hits as f64 / 1000.0,
            byte_hit_ratio: None,
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
}
