//! What was measured, where, and how.

use std::env;
use std::fs;

use larder_benches::contender::{Kind, Name};
use larder_benches::load::process::machine;
use larder_benches::report::{median, median_ratio};
use larder_benches::rounds::{Plan, Series};
use larder_benches::stopwatch::{Percentiles, Verb};
use larder_benches::workload::Workload;

use crate::memory::Memory;

/// The lock file that this program was built with.
const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));

/// The packages of the contenders.
const PACKAGES: [&str; 14] = [
    "larder",
    "moka",
    "mini-moka",
    "quick_cache",
    "foyer-memory",
    "TinyUFO",
    "stretto",
    "fibre_cache",
    "sieve-cache",
    "lru",
    "cached",
    "scc",
    "papaya",
    "dashmap",
];

/// All that the pages show.
pub(crate) struct Results {
    pub(crate) plan: Plan,
    pub(crate) conditions: Conditions,
    pub(crate) series: Vec<Series>,
    /// The capacity at which `memory` was measured.
    pub(crate) entries: usize,
    pub(crate) memory: Vec<Memory>,
}

/// The machine, and what it did beside.
pub(crate) struct Conditions {
    pub(crate) machine: String,
    pub(crate) command: String,
    pub(crate) allocator: &'static str,
    /// One reading of the clock by which latencies are taken.
    pub(crate) clock_cost_ns: f64,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    /// Packages and their versions.
    pub(crate) versions: Vec<(&'static str, &'static str)>,
}

impl Conditions {
    pub(crate) fn new(
        allocator: &'static str,
        clock_cost_ns: f64,
        load_before: String,
        load_after: String,
    ) -> Self {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let features = if cfg!(feature = "mimalloc") { " --features mimalloc" } else { "" };
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        Self {
            machine: machine(),
            command: format!(
                "cargo run{profile}{features} -p larder-benches --bin report -- {}",
                arguments.join(" ")
            ),
            allocator,
            clock_cost_ns,
            load_before,
            load_after,
            versions: PACKAGES.iter().filter_map(|&package| version_of(package)).collect(),
        }
    }
}

/// The load of the machine over the last 1, 5 and 15 minutes, as Linux reports it.
pub(crate) fn load_average() -> String {
    let line = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = line.split(' ').take(3).collect();
    averages.join(" ")
}

/// The locked version of `package`. If there are several, the benchmarks' own entry says which is
/// theirs.
fn version_of(package: &'static str) -> Option<(&'static str, &'static str)> {
    let field = |block: &'static str, field: &str| {
        block.lines().find_map(|line| line.strip_prefix(field)).map(|value| value.trim_matches('"'))
    };
    let blocks = || LOCK.split("[[package]]");
    let ours = blocks().find(|block| field(block, "name = ") == Some("larder-benches"))?;
    let named = ours.lines().find_map(|line| {
        let dependency = line.trim_matches([' ', '"', ',']);
        dependency.strip_prefix(package)?.strip_prefix(' ')
    });
    let only =
        || field(blocks().find(|block| field(block, "name = ") == Some(package))?, "version = ");
    Some((package, named.or_else(only)?))
}

impl Results {
    /// The workloads that were measured, in the order of the report.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let is_measured =
            |workload: &Workload| self.series.iter().any(|one| one.workload == *workload);
        Workload::ALL.into_iter().filter(is_measured).collect()
    }

    /// The contenders of a workload, in the order in which they were given.
    pub(crate) fn contenders(&self, workload: Workload) -> Vec<Name> {
        let takes_part = |name: &Name| {
            self.series.iter().any(|one| one.workload == workload && one.name == *name)
        };
        self.plan.contenders.iter().copied().filter(takes_part).collect()
    }

    /// What was measured of one contender, unless it did not take part.
    pub(crate) fn one(&self, workload: Workload, threads: usize, name: Name) -> Option<&Series> {
        self.series
            .iter()
            .find(|one| one.workload == workload && one.threads == threads && one.name == name)
    }

    /// The best other cache of a row: the one with the greatest median rate.
    pub(crate) fn best_peer(&self, workload: Workload, threads: usize) -> Option<&Series> {
        let peers = self.series.iter().filter(|one| {
            one.workload == workload && one.threads == threads && one.name.kind() == Kind::Peer
        });
        peers.max_by(|one, other| median(&one.mops).total_cmp(&median(&other.mops)))
    }
}

/// The percentiles of an operation: medians over the rounds, and the longest of all rounds.
pub(crate) fn percentiles(one: &Series, verb: Verb) -> Option<Percentiles> {
    let rounds: Vec<Percentiles> =
        one.latencies.iter().filter_map(|round| round.percentiles(verb)).collect();
    let middle = |part: fn(&Percentiles) -> u64| {
        let values: Vec<f64> = rounds.iter().map(|round| part(round) as f64).collect();
        median(&values) as u64
    };
    Some(Percentiles {
        count: rounds.iter().map(|round| round.count).sum(),
        p50_ns: middle(|round| round.p50_ns),
        p99_ns: middle(|round| round.p99_ns),
        p999_ns: middle(|round| round.p999_ns),
        max_ns: rounds.iter().map(|round| round.max_ns).max()?,
    })
}

/// The verbs whose latencies were recorded in `series`.
pub(crate) fn verbs<'a>(series: impl Iterator<Item = &'a Series> + Clone) -> Vec<Verb> {
    let is_recorded = |verb: &Verb| series.clone().any(|one| percentiles(one, *verb).is_some());
    Verb::ALL.into_iter().filter(is_recorded).collect()
}

/// The median of the ratios within a round.
pub(crate) fn ratio(one: &Series, other: &Series) -> f64 {
    median_ratio(&one.mops, &other.mops)
}
