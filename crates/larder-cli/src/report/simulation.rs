//! Reports on simulations.

use std::time::Duration;

use comfy_table::Table;
use indicatif::HumanCount;
use serde::Serialize;

use crate::capacity::Weights;
use crate::plot::Panel;
use crate::report::capacity::Capacity;
use crate::report::table::{align_numbers, table};
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
#[derive(Debug, Serialize)]
pub(crate) struct TraceSimulation {
    #[serde(flatten)]
    pub(crate) trace: TraceInfo,
    /// By capacity, and in the order of `--policies` within one.
    pub(crate) simulations: Vec<Simulation>,
}

/// One policy at one capacity.
#[derive(Debug, Serialize)]
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
             none can pass. * marks the best policy.",
            HumanCount(requests),
            requests as f64 / seconds.max(1e-9) / 1e6,
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

/// A table with a row per policy and a column per capacity.
pub(crate) fn simulation_table(simulations: &[Simulation]) -> Table {
    let mut header = vec!["policy".to_owned()];
    let mut policies: Vec<&str> = Vec::new();
    let mut capacities: Vec<u64> = Vec::new();
    for cell in simulations {
        if !policies.contains(&cell.policy.as_str()) {
            policies.push(&cell.policy);
        }
        if !capacities.contains(&cell.capacity.absolute()) {
            capacities.push(cell.capacity.absolute());
            header.push(format!("{}  ", cell.capacity.human()));
        }
    }
    header.push("Mreq/s".to_owned());
    let mut table = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for policy in policies {
        let mut row = vec![policy.to_owned()];
        let own = || simulations.iter().filter(|cell| cell.policy == policy);
        for &capacity in &capacities {
            let best = simulations
                .iter()
                .filter(|other| {
                    other.capacity.absolute() == capacity && other.kind != PolicyKind::Bound
                })
                .map(|other| other.hits)
                .max();
            row.push(match own().find(|cell| cell.capacity.absolute() == capacity) {
                // A mark or a blank, so that the digits stay aligned.
                Some(cell) if best == Some(cell.hits) && cell.kind != PolicyKind::Bound => {
                    format!("{:.2} *", 100.0 * cell.hit_ratio)
                }
                Some(cell) => format!("{:.2}  ", 100.0 * cell.hit_ratio),
                None => "-  ".to_owned(),
            });
        }
        let requests: u64 = own().map(|cell| cell.requests).sum();
        let seconds: f64 = own().map(|cell| cell.elapsed_seconds).sum();
        row.push(format!("{:.1}", requests as f64 / seconds.max(1e-9) / 1e6));
        table.add_row(row);
    }
    align_numbers(table)
}

/// A table with a row per policy and a column per capacity: the time that callers wait for misses, as a share of
/// what they would wait without a cache. `None` if misses have no costs.
pub(crate) fn waiting_table(simulations: &[Simulation]) -> Option<Table> {
    let with_costs = || simulations.iter().filter(|cell| cell.waiting_share.is_some());
    let (mut policies, mut capacities) = (Vec::new(), Vec::new());
    let mut header = vec!["waiting".to_owned()];
    for cell in with_costs() {
        if !policies.contains(&cell.policy.as_str()) {
            policies.push(&cell.policy);
        }
        if !capacities.contains(&cell.capacity.absolute()) {
            capacities.push(cell.capacity.absolute());
            header.push(format!("{}  ", cell.capacity.human()));
        }
    }
    if policies.is_empty() {
        return None;
    }
    let mut table = table(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for policy in policies {
        let share = |capacity: u64, policy: &str| {
            let mut own = with_costs().filter(|cell| cell.policy == policy);
            own.find(|cell| cell.capacity.absolute() == capacity)?.waiting_share
        };
        let cells = capacities.iter().map(|&capacity| {
            let all = with_costs().filter(|cell| cell.capacity.absolute() == capacity);
            let least = all.filter_map(|cell| cell.waiting_share).reduce(f64::min);
            let own = share(capacity, policy);
            let mark = if own == least { '*' } else { ' ' };
            own.map_or_else(|| "-  ".to_owned(), |own| format!("{:.2} {mark}", 100.0 * own))
        });
        table.add_row(std::iter::once(policy.to_owned()).chain(cells));
    }
    Some(align_numbers(table))
}

/// A table with a row per policy: its mean over all traces and capacities, and the cell in which it is furthest
/// behind the best of the other policies. `None` if each policy has only one cell.
pub(crate) fn summary_table(traces: &[TraceSimulation]) -> Option<Table> {
    let all =
        || traces.iter().flat_map(|of| of.simulations.iter().map(|cell| (&of.trace.name, cell)));
    let mut policies: Vec<&str> = Vec::new();
    for (_, cell) in all() {
        if !policies.contains(&cell.policy.as_str()) {
            policies.push(&cell.policy);
        }
    }
    if all().count() <= policies.len() {
        return None;
    }
    let mut table = table(&["policy", "mean", "worst, against the best other", "of"]);
    for policy in policies {
        let own: Vec<_> = all().filter(|(_, cell)| cell.policy == policy).collect();
        let mean = own.iter().map(|(_, cell)| cell.hit_ratio).sum::<f64>() / own.len() as f64;
        let behind = |name: &String, cell: &Simulation| {
            let is_rival = |(other_name, other): &(&String, &Simulation)| {
                *other_name == name
                    && other.capacity.absolute() == cell.capacity.absolute()
                    && other.policy != policy
                    && other.kind != PolicyKind::Bound
            };
            let rivals = all().filter(is_rival).map(|(_, other)| other.hit_ratio);
            rivals.reduce(f64::max).map(|best| cell.hit_ratio - best)
        };
        let is_bound = own.iter().all(|(_, cell)| cell.kind == PolicyKind::Bound);
        let worst = own
            .iter()
            .filter(|_| !is_bound)
            .filter_map(|(name, cell)| Some((behind(name, cell)?, name, cell)))
            .min_by(|one, other| one.0.total_cmp(&other.0));
        let (lead, place) = match worst {
            Some((lead, name, cell)) => {
                (format!("{:+.2}", 100.0 * lead), format!("{name}, {}", cell.capacity.human()))
            }
            None => ("-".to_owned(), "-".to_owned()),
        };
        table.add_row([policy.to_owned(), format!("{:.2}", 100.0 * mean), lead, place]);
    }
    Some(align_numbers(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(policy: &str, kind: PolicyKind, capacity: u64, hits: u64) -> Simulation {
        let policy = policy.to_owned();
        let elapsed = Duration::from_millis(1);
        let waited = (kind != PolicyKind::Bound).then(|| Duration::from_millis(1000 - hits));
        let hit_bytes = Some(hits * 2);
        let cell = Cell { policy, kind, capacity, hits, hit_bytes, waited, elapsed };
        let cost_of_all = Some(Duration::from_secs(1));
        Simulation::of(&cell, Weights::Entries, 100, 1000, 4000, cost_of_all)
    }

    #[test]
    fn the_table_has_policies_down_and_capacities_across() {
        let table = simulation_table(&[
            cell("lru", PolicyKind::Larder, 10, 500),
            cell("opt", PolicyKind::Bound, 10, 900),
            cell("lru", PolicyKind::Larder, 2000, 600),
            cell("ref-arc", PolicyKind::Reference, 2000, 650),
        ]);
        let rows: Vec<String> = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(rows[1], "policy 10 2,000 Mreq/s");
        assert_eq!(rows[3], "lru 50.00 * 60.00 1.0");
        assert_eq!(rows[4], "opt 90.00 - 1.0");
        assert_eq!(rows[5], "ref-arc - 65.00 * 1.0");
    }

    #[test]
    fn the_table_of_waiting_marks_who_waits_least_and_leaves_bounds_out() {
        let table = waiting_table(&[
            cell("lru", PolicyKind::Larder, 10, 500),
            cell("cost_aware", PolicyKind::Larder, 10, 700),
            cell("opt", PolicyKind::Bound, 10, 900),
            cell("lru", PolicyKind::Larder, 20, 600),
        ]);
        let rows: Vec<String> = table
            .expect("there are costs")
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(rows[1], "waiting 10 20");
        assert_eq!(rows[3..5], ["lru 50.00 40.00 *", "cost_aware 30.00 * -"]);
        assert!(!rows.iter().any(|row| row.contains("opt")));
        let bare = Simulation { waiting_share: None, ..cell("lru", PolicyKind::Larder, 10, 5) };
        assert!(waiting_table(&[bare]).is_none());
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
