//! All contenders in turn, round by round.
//!
//! A round builds, fills and measures the contenders one after the other; each round starts with
//! another one. Ratios are computed within a round, and their median over the rounds is reported: a
//! disturbance that lasts for seconds slows both sides of a ratio.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use crate::contender::{
    CacheKey, Contender, Hashing, Job, Kind, Name, Types, Value, with_contender,
};
use crate::report::{best_by_round, median_ratio};
use crate::stopwatch::Latencies;
use crate::workload::{Inputs, Throughput, Workload};

/// What to measure, and how often and long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The contenders; those that a workload does not allow are left out.
    pub contenders: Vec<Name>,
    /// Numbers of threads to measure with.
    pub threads: Vec<usize>,
    /// How often each contender is built and measured.
    pub rounds: usize,
    /// How long one measurement takes, after a fifth of it as warm-up.
    pub duration: Duration,
    /// How long the pass takes that records latencies, after all that measure rates, if there is to
    /// be one.
    pub timed: Option<Duration>,
    /// The hashers of the contenders.
    pub hashing: Hashing,
}

/// The sequences of keys of all workloads.
#[derive(Debug, Default)]
pub struct AllInputs {
    numbers: Inputs<u64>,
    strings: Inputs<String>,
}

/// One contender in one workload with one number of threads; a value for each round.
#[derive(Clone, Debug)]
pub struct Series {
    /// The workload.
    pub workload: Workload,
    /// The number of threads.
    pub threads: usize,
    /// The contender.
    pub name: Name,
    /// Millions of operations per second.
    pub mops: Vec<f64>,
    /// The same of the threads that write beside an iteration; empty in other workloads.
    pub write_mops: Vec<f64>,
    /// Lookups of all rounds.
    pub lookups: u64,
    /// The lookups of all rounds that found their key.
    pub hits: u64,
    /// The latencies, if they were recorded.
    pub latencies: Vec<Latencies>,
}

impl Series {
    /// Hits divided by lookups, from 0 to 1, if there were lookups.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        (self.lookups > 0).then(|| self.hits as f64 / self.lookups as f64)
    }

    /// Whether it was measured in the same workload, with as many threads.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        self.workload == other.workload && self.threads == other.threads
    }

    /// The median over the rounds of its rate divided by that of the best contender of this kind,
    /// if any of `series` is of this kind.
    #[must_use]
    pub fn ratio_to_best(&self, series: &[Self], kind: Kind) -> Option<f64> {
        let others = series.iter().filter(|other| self.is_beside(other));
        let others = others.filter(|other| other.name.kind() == kind);
        let rates: Vec<&[f64]> = others.map(|other| other.mops.as_slice()).collect();
        (!rates.is_empty()).then(|| median_ratio(&self.mops, &best_by_round(&rates)))
    }
}

/// Measures all contenders that take part in `workload`, in all rounds; calls `finished` after each
/// with the number of those that are done.
pub fn measure_rounds(
    plan: &Plan,
    workload: Workload,
    inputs: &AllInputs,
    mut finished: impl FnMut(usize),
) -> Vec<Series> {
    let allowed = plan.contenders.iter().copied().filter(|&name| workload.allows(name));
    let names: Vec<Name> = allowed.collect();
    let mut series = Vec::new();
    for &name in &names {
        for &threads in &plan.threads {
            series.push(Series {
                workload,
                threads,
                name,
                mops: Vec::new(),
                write_mops: Vec::new(),
                lookups: 0,
                hits: 0,
                latencies: Vec::new(),
            });
        }
    }
    for round in 0..plan.rounds {
        for step in 0..names.len() {
            let index = (round + step) % names.len();
            let Some(measured) = measure_one(plan, workload, inputs, names[index]) else {
                continue;
            };
            let first = index * plan.threads.len();
            for (one, (throughput, latencies)) in series[first..].iter_mut().zip(measured) {
                let Throughput { rate, writes } = throughput;
                one.mops.push(rate.operations_per_second / 1e6);
                one.write_mops.extend(writes.map(|writes| writes.operations_per_second / 1e6));
                one.lookups += rate.lookups;
                one.hits += rate.hits;
                one.latencies.extend(latencies);
            }
        }
        finished(round + 1);
    }
    // Those are left without a rate that cannot take part.
    series.retain(|one| !one.mops.is_empty());
    series
}

/// For each number of threads, what was measured.
type Measured = Option<Vec<(Throughput, Option<Latencies>)>>;

/// Builds and fills the contender `name` and measures it with each number of threads.
fn measure_one(plan: &Plan, workload: Workload, inputs: &AllInputs, name: Name) -> Measured {
    let AllInputs { numbers, strings } = inputs;
    let (hashing, capacity) = (plan.hashing, workload.capacity_entries());
    match workload.types() {
        Types::Numbers => {
            let measuring = Measuring { plan, workload, inputs: numbers };
            with_contender::<u64, u64, _>(name, hashing, capacity, measuring)
        }
        Types::Arcs => {
            let measuring = Measuring { plan, workload, inputs: numbers };
            with_contender::<u64, Arc<u64>, _>(name, hashing, capacity, measuring)
        }
        Types::Strings => {
            let measuring = Measuring { plan, workload, inputs: strings };
            with_contender::<String, Arc<[u8]>, _>(name, hashing, capacity, measuring)
        }
    }
}

struct Measuring<'a, K> {
    plan: &'a Plan,
    workload: Workload,
    inputs: &'a Inputs<K>,
}

impl<K: CacheKey, V: Value> Job<K, V> for Measuring<'_, K> {
    type Output = Measured;

    fn run<C: Contender<Key = K, Value = V>>(self, contender: C) -> Measured {
        let Self { plan, workload, inputs } = self;
        workload.fill(&contender, inputs);
        let rate = |&threads| workload.measure(&contender, inputs, threads, plan.duration);
        let rates: Option<Vec<Throughput>> = plan.threads.iter().map(rate).collect();
        let timed = plan.timed.filter(|_| workload.has_latencies());
        let time = |&threads| timed.map(|timed| workload.time(&contender, inputs, threads, timed));
        rates.map(|rates| rates.into_iter().zip(plan.threads.iter().map(time)).collect())
    }
}

/// The name of a workload, as it is given on the command line.
#[must_use]
pub fn name_of(workload: Workload) -> String {
    let value = workload.to_possible_value().expect("no variant is skipped");
    value.get_name().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(contenders: &[Name]) -> Plan {
        Plan {
            contenders: contenders.to_vec(),
            threads: vec![1, 2],
            rounds: 2,
            duration: Duration::from_millis(2),
            timed: Some(Duration::from_millis(2)),
            hashing: Hashing::Own,
        }
    }

    #[test]
    fn each_workload_runs_with_each_number_of_threads() {
        let inputs = AllInputs::default();
        let plan = plan(&[Name::Larder, Name::QuickCache, Name::Papaya]);
        for workload in Workload::ALL {
            let mut rounds = 0;
            let series = measure_rounds(&plan, workload, &inputs, |_| rounds += 1);
            assert_eq!(rounds, plan.rounds);
            for one in &series {
                assert_eq!(one.mops.len(), plan.rounds);
                assert!(one.mops.iter().all(|&mops| mops > 0.0));
                let timed = if workload.has_latencies() { plan.rounds } else { 0 };
                assert_eq!(one.latencies.len(), timed);
            }
            let names: Vec<Name> = series.iter().map(|one| one.name).collect();
            let mut expected = vec![Name::Larder; 2];
            expected.extend([Name::QuickCache; 2]);
            if workload.allows(Name::Papaya) {
                expected.extend([Name::Papaya; 2]);
            }
            assert_eq!(names, expected, "{workload:?}");
        }
    }

    #[test]
    fn ratios_are_to_the_best_of_a_kind_in_the_same_row() {
        let one = |name, threads, mops: f64| Series {
            workload: Workload::Get,
            threads,
            name,
            mops: vec![mops],
            write_mops: Vec::new(),
            lookups: 0,
            hits: 0,
            latencies: Vec::new(),
        };
        let series = [
            one(Name::Larder, 1, 6.0),
            one(Name::LruMutex, 1, 2.0),
            one(Name::QuickCache, 1, 3.0),
            one(Name::QuickCache, 2, 9.0),
        ];
        assert_eq!(series[0].ratio_to_best(&series, Kind::Peer), Some(2.0));
        assert_eq!(series[0].ratio_to_best(&series, Kind::Map), None);
        assert_eq!(series[0].hit_ratio(), None);
    }
}
