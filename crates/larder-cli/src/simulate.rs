//! Simulation: each combination of a policy and a capacity, called a cell, runs a trace on one
//! thread.
//!
//! The library's policies run in [`Simulator`], which runs the same code as a cache; the reference
//! policies have their own code. A request is a lookup, followed by an insertion on a miss. Nothing
//! is concurrent within a cell, so the figures are exact and reproducible; the cells are spread
//! over threads.
//!
//! If a trace has TTLs and times, entries expire by the trace's own time. Entries of the library's
//! policies are removed at their deadline. Reference policies cannot remove an entry, so an expired
//! one stays until it is evicted, and a request for it is a miss that renews it in place. The
//! optimum ignores TTLs, so it remains an upper bound.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use larder::Policy;
use larder::policy::{PolicyConfig, Simulator};

use crate::capacity::Weights;
use crate::costs::Costs;
use crate::error::ReplayError;
use crate::mix::mixed;
use crate::reference::{OPTIMUM, Optimum, Published, ReferencePolicy, hits_at_most};
use crate::trace::{Lifetimes, Trace};

/// The number of requests between two moves of the progress bar.
const PROGRESS_REQUESTS: usize = 1 << 16;

/// A policy that can be simulated, chosen by its name on the command line.
#[derive(Clone, Debug)]
pub(crate) enum SimPolicy {
    /// A policy of the library.
    Library(Policy),
    Published(Published),
    /// The upper bound of all policies.
    Optimum,
}

/// The kind of a policy, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PolicyKind {
    /// A policy of the library.
    Larder,
    /// A published policy, written for comparison.
    Reference,
    /// No policy has more hits.
    Bound,
}

impl SimPolicy {
    /// The names of all policies that can be simulated.
    pub(crate) fn names() -> impl Iterator<Item = String> {
        let others = Published::names().chain([OPTIMUM]).map(str::to_owned);
        Policy::names().chain(others)
    }

    /// The default: the library's policies, ARC, LIRS and the optimum.
    pub(crate) fn usual() -> Vec<Self> {
        let own = Policy::names().map(|name| Self::Library(Policy::named(&name)));
        let others = [Published::Arc, Published::Lirs].map(Self::Published);
        own.chain(others).chain([Self::Optimum]).collect()
    }

    pub(crate) fn named(name: &str) -> Result<Self, ReplayError> {
        if name.eq_ignore_ascii_case(OPTIMUM) {
            return Ok(Self::Optimum);
        }
        if let Some(published) = Published::named(name) {
            return Ok(Self::Published(published));
        }
        let policy = Policy::named(name);
        if !Policy::names().any(|known| known.eq_ignore_ascii_case(policy.name())) {
            let known = Self::names().collect::<Vec<_>>().join(", ");
            return Err(ReplayError::UnknownPolicy { given: name.to_owned(), known });
        }
        Ok(Self::Library(policy))
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Library(policy) => policy.name(),
            Self::Published(published) => published.name(),
            Self::Optimum => OPTIMUM,
        }
    }

    pub(crate) fn kind(&self) -> PolicyKind {
        match self {
            Self::Library(_) => PolicyKind::Larder,
            Self::Published(_) => PolicyKind::Reference,
            Self::Optimum => PolicyKind::Bound,
        }
    }

    /// Refuses a policy that is not defined for these weights.
    pub(crate) fn check(&self, weights: Weights) -> Result<(), ReplayError> {
        match self {
            Self::Published(published) if !published.supports(weights) => {
                Err(ReplayError::OneWeight { policy: published.name() })
            }
            _ => Ok(()),
        }
    }
}

/// How traces are simulated, the same for all policies and capacities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimulateOptions {
    pub(crate) threads: usize,
    pub(crate) weights: Weights,
    /// The first seed of the keys' hashes, which policies use as random bits.
    pub(crate) seed: u64,
    /// How many seeds there are, one after the other. A policy of the library is simulated with each of them,
    /// and the hits of a cell are the mean.
    pub(crate) seeds: u16,
    /// What misses cost, if it counts.
    pub(crate) costs: Option<Costs>,
}

impl SimulateOptions {
    /// How often a policy is simulated at each capacity.
    pub(crate) fn runs(&self, policy: &SimPolicy) -> u16 {
        if matches!(policy, SimPolicy::Library(_)) { self.seeds.max(1) } else { 1 }
    }
}

/// The result of one policy at one capacity.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) policy: String,
    pub(crate) kind: PolicyKind,
    /// Entries or bytes, depending on the weights.
    pub(crate) capacity: u64,
    pub(crate) hits: u64,
    /// The bytes of the requests that hit, if the trace has sizes; `None` for bounds, which do not
    /// determine which requests hit.
    pub(crate) hit_bytes: Option<u64>,
    /// The costs of all misses together, if they have costs; `None` for bounds.
    pub(crate) waited: Option<Duration>,
    pub(crate) elapsed: Duration,
}

/// Simulates every policy at every capacity; returns the cells ordered by capacity, then by policy.
/// Advances `progress` by one step for each request of each run of a cell.
pub(crate) fn simulate(
    trace: &Trace,
    policies: &[SimPolicy],
    capacities: &[u64],
    options: &SimulateOptions,
    progress: &ProgressBar,
) -> Result<Vec<Cell>, ReplayError> {
    policies.iter().try_for_each(|policy| policy.check(options.weights))?;
    if let Some(costs) = options.costs {
        costs.check(trace)?;
    }
    let wants_optimum = policies.iter().any(|policy| matches!(policy, SimPolicy::Optimum));
    let grid = Grid {
        trace,
        optimum: wants_optimum.then(|| Optimum::of(trace)),
        options: *options,
        progress,
    };
    let asked: Vec<(u64, &SimPolicy)> = capacities
        .iter()
        .flat_map(|&capacity| policies.iter().map(move |policy| (capacity, policy)))
        .collect();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<Cell, ReplayError>>>> =
        Mutex::new(asked.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..options.threads.min(asked.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(capacity, policy)) = asked.get(index) else { return };
                    let cell = grid.run_cell(policy, capacity);
                    done.lock().expect("no thread panics with the lock")[index] = Some(cell);
                }
            });
        }
    });
    let cells = done.into_inner().expect("no thread panicked with the lock");
    cells.into_iter().map(|cell| cell.expect("every index was taken")).collect()
}

/// What all cells of a trace share.
struct Grid<'a> {
    trace: &'a Trace,
    optimum: Option<Optimum>,
    options: SimulateOptions,
    progress: &'a ProgressBar,
}

impl Grid<'_> {
    fn run_cell(&self, policy: &SimPolicy, capacity: u64) -> Result<Cell, ReplayError> {
        let started = Instant::now();
        let Outcome { hits, hit_bytes, waited } = match policy {
            SimPolicy::Library(policy) => {
                let seeds = u64::from(self.options.seeds.max(1));
                let mut all = Outcome::default();
                for number in 0..seeds {
                    let seed = self.options.seed.wrapping_add(number);
                    all = all.plus(self.run_library(policy, capacity, seed)?);
                }
                all.mean_of(u32::from(self.options.seeds.max(1)))
            }
            SimPolicy::Published(published) => {
                let mut cache: Box<dyn ReferencePolicy> = published.build(self.trace, capacity);
                match &self.trace.lifetimes {
                    None => self.run(|_, key, weight| cache.request(key, weight)),
                    Some(lifetimes) => {
                        let mut deadlines = Deadlines::new(lifetimes, self.trace.distinct_keys);
                        self.run(|at, key, weight| {
                            let is_hit = cache.request(key, weight) && !deadlines.is_past(at, key);
                            if !is_hit {
                                deadlines.set_alone(at, key);
                            }
                            is_hit
                        })
                    }
                }
            }
            SimPolicy::Optimum => {
                let optimum = self.optimum.as_ref().expect("built where it is asked for");
                let hits = match self.options.weights {
                    Weights::Entries => optimum.hits(self.trace, capacity),
                    Weights::Bytes => {
                        hits_at_most(optimum, self.trace, |at| self.weight(at), capacity)
                    }
                };
                self.progress.inc(self.trace.requests.len() as u64);
                Outcome { hits, ..Outcome::default() }
            }
        };
        Ok(Cell {
            policy: policy.name().to_owned(),
            kind: policy.kind(),
            capacity,
            hits,
            hit_bytes,
            waited,
            elapsed: started.elapsed() / u32::from(self.options.runs(policy)),
        })
    }

    /// Runs a policy of the library once; returns the same as [`run`](Self::run).
    fn run_library(
        &self,
        policy: &Policy,
        capacity: u64,
        seed: u64,
    ) -> Result<Outcome, ReplayError> {
        let config = match self.options.weights {
            Weights::Entries => {
                PolicyConfig::new(Some(usize::try_from(capacity).unwrap_or(usize::MAX)), None)
            }
            Weights::Bytes => PolicyConfig::new(None, Some(capacity)),
        };
        let mut cache = Simulator::new(policy, config)
            .map_err(|source| ReplayError::Build { policy: policy.name().to_owned(), source })?;
        Ok(match &self.trace.lifetimes {
            None => self.run(|at, key, weight| {
                cache.request_costing(mixed(key, seed), weight, self.cost(at, key))
            }),
            Some(lifetimes) => {
                let mut deadlines = Deadlines::new(lifetimes, self.trace.distinct_keys);
                self.run(|at, key, weight| {
                    deadlines.due(at, |key| {
                        cache.remove(mixed(key, seed));
                    });
                    let cost = self.cost(at, key);
                    let is_hit = cache.request_costing(mixed(key, seed), weight, cost);
                    if !is_hit {
                        deadlines.set(at, key);
                    }
                    is_hit
                })
            }
        })
    }

    /// Runs all requests in order.
    fn run(&self, mut request: impl FnMut(usize, u32, u32) -> bool) -> Outcome {
        let Trace { requests, sizes_bytes, .. } = self.trace;
        let (mut hits, mut hit_bytes, mut waited) = (0, 0, Duration::ZERO);
        for (part, keys) in requests.chunks(PROGRESS_REQUESTS).enumerate() {
            let from = part * PROGRESS_REQUESTS;
            for (at, &key) in keys.iter().enumerate() {
                if request(from + at, key, self.weight(from + at)) {
                    hits += 1;
                    hit_bytes +=
                        sizes_bytes.as_ref().map_or(0, |sizes| u64::from(sizes[from + at]));
                } else {
                    waited += self.cost(from + at, key);
                }
            }
            self.progress.inc(keys.len() as u64);
        }
        Outcome {
            hits,
            hit_bytes: sizes_bytes.as_ref().map(|_| hit_bytes),
            waited: self.options.costs.map(|_| waited),
        }
    }

    /// What a miss of that request costs; 0 if it does not count.
    #[inline]
    fn cost(&self, at: usize, key: u32) -> Duration {
        let Some(costs) = self.options.costs else { return Duration::ZERO };
        costs.of(self.trace, at, cost_bits(key, self.options.seed))
    }

    /// The weight of the key of that request; as in a replay, it is at least 1.
    #[inline]
    fn weight(&self, at: usize) -> u32 {
        match (self.options.weights, &self.trace.sizes_bytes) {
            (Weights::Bytes, Some(sizes)) => sizes[at].max(1),
            _ => 1,
        }
    }
}

/// What a policy has brought at a capacity.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    hits: u64,
    hit_bytes: Option<u64>,
    waited: Option<Duration>,
}

impl Outcome {
    fn plus(self, other: Self) -> Self {
        let bytes = other.hit_bytes.map(|bytes| bytes + self.hit_bytes.unwrap_or(0));
        let waited = other.waited.map(|waited| waited + self.waited.unwrap_or_default());
        Self { hits: self.hits + other.hits, hit_bytes: bytes, waited }
    }

    /// The mean, if this is the sum of so many.
    fn mean_of(self, number: u32) -> Self {
        Self {
            hits: self.hits / u64::from(number),
            hit_bytes: self.hit_bytes.map(|bytes| bytes / u64::from(number)),
            waited: self.waited.map(|waited| waited / number),
        }
    }
}

/// What all requests of a trace would cost without a cache.
pub(crate) fn cost_of_all(trace: &Trace, costs: Costs, seed: u64) -> Duration {
    let keys = trace.requests.iter().enumerate();
    keys.map(|(at, &key)| costs.of(trace, at, cost_bits(key, seed))).sum()
}

/// Random bits that decide what a miss of the key costs, apart from those that its hash has.
fn cost_bits(key: u32, seed: u64) -> u64 {
    mixed(key, !seed)
}

/// The deadlines of the entries of a simulated cache, by the time of the trace.
struct Deadlines<'a> {
    lifetimes: &'a Lifetimes,
    /// The deadline of each key as of its last insertion; 0 before the first.
    of: Vec<u64>,
    /// All deadlines, the earliest first. One that differs from its key's deadline in `of` is
    /// outdated by a later insertion.
    next: BinaryHeap<Reverse<(u64, u32)>>,
}

impl<'a> Deadlines<'a> {
    fn new(lifetimes: &'a Lifetimes, keys: u32) -> Self {
        Deadlines { lifetimes, of: vec![0; keys as usize], next: BinaryHeap::new() }
    }

    /// Removes the keys that have expired at the time of that request.
    fn due(&mut self, at: usize, mut remove: impl FnMut(u32)) {
        let now_ns = self.lifetimes.time_ns(at, 0);
        while let Some(&Reverse((expires_ns, key))) = self.next.peek()
            && expires_ns <= now_ns
        {
            self.next.pop();
            if self.of[key as usize] == expires_ns {
                remove(key);
            }
        }
    }

    /// Records that request `at` has inserted `key`.
    fn set(&mut self, at: usize, key: u32) {
        let expires_ns = self.set_alone(at, key);
        if expires_ns < u64::MAX {
            self.next.push(Reverse((expires_ns, key)));
        }
    }

    /// Like [`set`](Self::set), for a cache from which expired entries are not removed.
    fn set_alone(&mut self, at: usize, key: u32) -> u64 {
        let expires_ns = self.lifetimes.expires_ns(at);
        self.of[key as usize] = expires_ns;
        expires_ns
    }

    /// Whether the entry of `key`, if there is one, is expired at the time of that request.
    fn is_past(&self, at: usize, key: u32) -> bool {
        self.of[key as usize] <= self.lifetimes.time_ns(at, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: SimulateOptions =
        SimulateOptions { threads: 1, weights: Weights::Entries, seed: 1, seeds: 1, costs: None };

    fn random_trace(seed: u64, keys: u64, length: usize, has_sizes: bool) -> Trace {
        let mut trace = Trace::random(seed, keys, length);
        if has_sizes {
            trace.sizes_bytes = Some(trace.requests.iter().map(|key| key % 9).collect());
        }
        trace
    }

    fn cells(
        trace: &Trace,
        policies: &[SimPolicy],
        capacities: &[u64],
        o: &SimulateOptions,
    ) -> Vec<Cell> {
        simulate(trace, policies, capacities, o, &ProgressBar::hidden()).unwrap()
    }

    fn all(weights: Weights) -> Vec<SimPolicy> {
        let all = SimPolicy::names().map(|name| SimPolicy::named(&name).unwrap());
        all.filter(|policy| policy.check(weights).is_ok()).collect()
    }

    #[test]
    fn exact_policies_of_the_library_equal_their_references() {
        for (seed, weights) in [(1, Weights::Entries), (2, Weights::Bytes), (3, Weights::Bytes)] {
            let trace = random_trace(seed, 300, 20_000, true);
            let policies = ["lru", "ref-lru", "fifo", "ref-fifo", "lfu", "ref-lfu"];
            let policies = policies.map(|name| SimPolicy::named(name).unwrap());
            let options = SimulateOptions { weights, ..OPTIONS };
            let cells = cells(&trace, &policies, &[1, 2, 7, 50, 200, 1000, 5000], &options);
            for pair in cells.chunks(2) {
                assert_eq!(pair[0].hits, pair[1].hits, "{pair:?}, seed {seed}");
                assert_eq!(pair[0].hit_bytes, pair[1].hit_bytes, "{pair:?}, seed {seed}");
            }
        }
    }

    #[test]
    fn no_policy_passes_the_bound() {
        for weights in [Weights::Entries, Weights::Bytes] {
            for seed in 0..20 {
                let trace = random_trace(seed, 20 + 10 * seed, 2000, true);
                let policies = all(weights);
                let options = SimulateOptions { weights, ..OPTIONS };
                for cells in cells(&trace, &policies, &[1, 3, 10, 40, 90, 300], &options)
                    .chunks(policies.len())
                {
                    let bound =
                        cells.iter().find(|cell| cell.kind == PolicyKind::Bound).unwrap().hits;
                    for cell in cells {
                        assert!(cell.hits <= bound, "{cell:?} of {bound}, seed {seed}");
                    }
                }
            }
        }
    }

    #[test]
    fn figures_and_their_order_do_not_depend_on_the_threads() {
        let trace = random_trace(4, 500, 5000, false);
        let policies = all(Weights::Entries);
        let capacities = [5, 50, 200];
        let figures = |threads| {
            let options = SimulateOptions { threads, ..OPTIONS };
            let progress = ProgressBar::hidden();
            let cells = simulate(&trace, &policies, &capacities, &options, &progress).unwrap();
            assert_eq!(progress.position(), 5000 * cells.len() as u64);
            cells
                .into_iter()
                .map(|cell| (cell.policy, cell.capacity, cell.hits))
                .collect::<Vec<_>>()
        };
        let alone = figures(1);
        assert_eq!(alone.len(), policies.len() * capacities.len());
        assert!(alone.iter().all(|cell| cell.2 > 0));
        for threads in [2, 3, 100] {
            assert_eq!(figures(threads), alone);
        }
    }

    #[test]
    fn several_seeds_give_the_mean_of_each() {
        let trace = random_trace(7, 500, 5_000, true);
        let policies = ["window_tiny_lfu", "ref-lru"].map(|name| SimPolicy::named(name).unwrap());
        let hits = |seed, seeds| {
            let options = SimulateOptions { seed, seeds, ..OPTIONS };
            let progress = ProgressBar::hidden();
            let cells = simulate(&trace, &policies, &[100], &options, &progress).unwrap();
            assert_eq!(progress.position(), 5_000 * u64::from(seeds + 1));
            [cells[0].hits, cells[1].hits]
        };
        let each = [8, 9, 10].map(|seed| hits(seed, 1)[0]);
        assert!(each[0] != each[1] || each[1] != each[2], "the policy samples keys by hash");
        assert_eq!(hits(8, 3), [each.iter().sum::<u64>() / 3, hits(8, 1)[1]]);
    }

    #[test]
    fn entries_expire_by_the_time_of_the_trace() {
        let mut timed = Trace::of_ids(&[0, 0, 0, 1, 0, 1, 0], None);
        let ttls = [10, 10, 10, u64::MAX, 5, 1, 5];
        timed.lifetimes = Some(Lifetimes::of_seconds(&[100, 110, 111, 112, 121, 500, 501], &ttls));
        // There are hits at 110, at 121 (inserted again at 111 for 10 s) and at 500 (without a
        // TTL).
        for policy in all(Weights::Entries) {
            if matches!(policy, SimPolicy::Optimum) {
                continue;
            }
            let cell = &cells(&timed, &[policy], &[10], &OPTIONS)[0];
            assert_eq!(cell.hits, 3, "{}", cell.policy);
        }
    }

    #[test]
    fn an_expired_entry_of_the_library_makes_room() {
        // Keys 0 and 1 fill the cache; 0 has expired when 2 is inserted, so 1 stays.
        let mut timed = Trace::of_ids(&[1, 0, 2, 1], None);
        timed.lifetimes = Some(Lifetimes::of_seconds(&[0, 1, 10, 11], &[100, 2, 100, 100]));
        let lru = [SimPolicy::named("lru").unwrap()];
        assert_eq!(cells(&timed, &lru, &[2], &OPTIONS)[0].hits, 1);
        timed.lifetimes = None;
        assert_eq!(cells(&timed, &lru, &[2], &OPTIONS)[0].hits, 0);
    }

    #[test]
    fn unknown_policies_and_weights_are_refused_by_name() {
        let failure = SimPolicy::named("belady").unwrap_err().to_string();
        assert!(failure.contains("`belady`") && failure.contains("ref-caffeine, opt"), "{failure}");
        assert_eq!(SimPolicy::named("OPT").unwrap().name(), "opt");
        let arc = [SimPolicy::named("ref-arc").unwrap()];
        let options = SimulateOptions { weights: Weights::Bytes, ..OPTIONS };
        let trace = random_trace(1, 10, 10, true);
        let failure = simulate(&trace, &arc, &[10], &options, &ProgressBar::hidden()).unwrap_err();
        assert!(failure.to_string().contains("ref-arc"), "{failure}");
    }

    #[test]
    fn who_knows_the_costs_waits_less_and_all_costs_are_counted() {
        let trace = random_trace(3, 4_000, 30_000, true);
        let policies = ["window_tiny_lfu", "cost_aware", "ref-lru", "opt"]
            .map(|name| SimPolicy::named(name).unwrap());
        let run = |costs, weights| {
            let options = SimulateOptions { costs, weights, ..OPTIONS };
            let of_all = costs.map(|costs| cost_of_all(&trace, costs, options.seed));
            (cells(&trace, &policies, &[400], &options), of_all)
        };
        let (heavy, of_all) = run(Some(Costs::Heavy), Weights::Entries);
        let waited = |at: usize| heavy[at].waited.unwrap().as_secs_f64();
        assert!(waited(1) < 0.9 * waited(0), "{} instead of {}", waited(1), waited(0));
        let of_all = of_all.unwrap().as_secs_f64();
        assert!((0..3).all(|at| waited(at) < of_all));
        assert_eq!(heavy[3].waited, None);
        let (uniform, _) = run(Some(Costs::Uniform), Weights::Entries);
        assert!(uniform[0].hits.abs_diff(uniform[1].hits) < 300, "one in a hundred requests");
        let (by_size, _) = run(Some(Costs::BySize), Weights::Bytes);
        assert!(by_size.iter().take(3).all(|cell| cell.waited > Some(Duration::ZERO)));
        assert_eq!(run(None, Weights::Entries).0[1].waited, None);
    }
}
