//! Reports on simulations.

use std::time::Duration;

use indicatif::HumanCount;
use serde::Serialize;

use crate::capacity::Weights;
use crate::plot::Panel;
use crate::report::capacity::Capacity;
use crate::report::trace_info::TraceInfo;
use crate::simulate::{Cell, PolicyKind, SimulateOptions};

/// The document of `larder simulate --json`.
#[derive(Debug, Serialize)]
pub(crate) struct SimulateReport {
    pub(crate) larder_version: &'static str,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    pub(crate) seeds: u16,
    pub(crate) traces: Vec<TraceSimulation>,
}

/// One trace and all simulations of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TraceSimulation {
    #[serde(flatten)]
    pub(crate) trace: TraceInfo,
    /// By capacity, and in the order of `--policies` within one.
    pub(crate) simulations: Vec<Simulation>,
}

/// One policy at one capacity.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Simulation {
    pub(crate) policy: String,
    pub(crate) kind: PolicyKind,
    #[serde(flatten)]
    pub(crate) capacity: Capacity,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) hit_ratio: f64,
    /// The bytes of hits divided by the bytes of requests; `null` without sizes and for bounds.
    pub(crate) byte_hit_ratio: Option<f64>,
    /// How long callers wait for misses; `null` without `--costs` and for bounds.
    pub(crate) waiting_seconds: Option<f64>,
    /// The same, divided by what all requests would cost without a cache.
    pub(crate) waiting_share: Option<f64>,
    pub(crate) elapsed_seconds: f64,
    /// On the one thread that ran the simulation.
    pub(crate) requests_per_second: f64,
}

impl SimulateReport {
    pub(crate) fn new(options: &SimulateOptions) -> Self {
        SimulateReport {
            larder_version: env!("CARGO_PKG_VERSION"),
            threads: options.threads,
            seed: options.seed,
            seeds: options.seeds,
            traces: Vec::new(),
        }
    }

    /// A note on how the figures of the tables were measured.
    pub(crate) fn footer(&self) -> String {
        let simulations = || self.traces.iter().flat_map(|trace| &trace.simulations);
        let requests: u64 = simulations().map(|cell| cell.requests).sum();
        let seconds: f64 = simulations().map(|cell| cell.elapsed_seconds).sum();
        format!(
            "Hit ratios in per cent. A request is a lookup, and an insertion on a miss. {} requests \
             took {seconds:.1} s of\none core, {:.1} million a second. opt is no policy but what \
             none can pass. * marks the best policy.\nHashes are those of {}.",
            HumanCount(requests),
            requests as f64 / seconds.max(1e-9) / 1e6,
            match self.seeds {
                0 | 1 => format!("seed {}", self.seed),
                more => {
                    let last = self.seed.wrapping_add(u64::from(more) - 1);
                    format!("the seeds {} to {last}; figures are means", self.seed)
                }
            },
        )
    }
}

impl TraceSimulation {
    /// The curves of miss ratios, to be plotted.
    pub(crate) fn panel(&self) -> Panel {
        let is_in_bytes = self.simulations.iter().any(|cell| cell.capacity.is_in_bytes());
        let mut panel = Panel::new(&self.trace.name, is_in_bytes);
        for cell in &self.simulations {
            panel.add(
                &cell.policy,
                cell.kind == PolicyKind::Bound,
                cell.capacity.absolute(),
                cell.hit_ratio,
            );
        }
        panel
    }
}

impl Simulation {
    /// `footprint` is the weight of all keys together, in the unit of the capacity; `bytes` are those of all
    /// requests, and `cost_of_all` is what these would cost without a cache.
    pub(crate) fn of(
        cell: &Cell,
        weights: Weights,
        footprint: u64,
        requests: u64,
        bytes: u64,
        cost_of_all: Option<Duration>,
    ) -> Self {
        let elapsed_seconds = cell.elapsed.as_secs_f64();
        let waiting_seconds = cell.waited.map(|waited| waited.as_secs_f64());
        let seconds_of_all = cost_of_all.map(|all| all.as_secs_f64().max(1e-9));
        Simulation {
            policy: cell.policy.clone(),
            kind: cell.kind,
            capacity: Capacity::of(cell.capacity, weights, footprint),
            requests,
            hits: cell.hits,
            hit_ratio: cell.hits as f64 / requests as f64,
            byte_hit_ratio: cell.hit_bytes.map(|hit| hit as f64 / bytes.max(1) as f64),
            waiting_seconds,
            waiting_share: waiting_seconds.zip(seconds_of_all).map(|(waited, all)| waited / all),
            elapsed_seconds,
            requests_per_second: requests as f64 / elapsed_seconds.max(1e-9),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::report) fn cell(
        policy: &str,
        kind: PolicyKind,
        capacity: u64,
        hits: u64,
    ) -> Simulation {
        let policy = policy.to_owned();
        let elapsed = Duration::from_millis(1);
        let waited = (kind != PolicyKind::Bound).then(|| Duration::from_millis(1000 - hits));
        let hit_bytes = Some(hits * 2);
        let cell = Cell { policy, kind, capacity, hits, hit_bytes, waited, elapsed };
        let cost_of_all = Some(Duration::from_secs(1));
        Simulation::of(&cell, Weights::Entries, 100, 1000, 4000, cost_of_all)
    }

    #[test]
    fn field_names_of_the_document_stay() {
        let json = serde_json::to_value(cell("lru", PolicyKind::Larder, 10, 500)).unwrap();
        assert_eq!((&json["kind"], &json["capacity_entries"]), (&"larder".into(), &10.into()));
        assert_eq!((&json["hit_ratio"], &json["byte_hit_ratio"]), (&0.5.into(), &0.25.into()));
        assert_eq!((&json["waiting_seconds"], &json["waiting_share"]), (&0.5.into(), &0.5.into()));
        for field in ["hits", "requests", "requests_per_second", "capacity_share"] {
            assert!(json[field].is_number(), "{field}");
        }
    }
}
