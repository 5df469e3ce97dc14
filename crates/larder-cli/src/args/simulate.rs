//! What to simulate.

use std::thread;

use clap::{Args, ValueEnum, value_parser};

use crate::args::generate::{GeneratorArgs, PatternArg};
use crate::args::output::ResultArgs;
use crate::args::run::{MAX_THREADS, RunArgs};
use crate::costs::Costs;
use crate::error::ReplayError;
use crate::generate::Pattern;
use crate::simulate::{SimPolicy, SimulateOptions};

/// The most seeds.
const MAX_SEEDS: u16 = 1_000;

/// What to simulate and what to show.
#[derive(Debug, Args)]
#[command(next_help_heading = "Simulation")]
pub(crate) struct SimulateArgs {
    /// Policies, separated by commas: the library's, published ones (ref-lru, ref-fifo, ref-lfu,
    /// ref-arc, ref-lirs, ref-2q, ref-gdsf, ref-adaptsize, ref-caffeine) and opt, the bound of all [default: the library's, ref-arc and
    /// ref-lirs without --weights size, and opt]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) policies: Vec<String>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Threads, each of which simulates one policy at one capacity at a time [default: one per
    /// core]
    #[arg(
        long, value_name = "N",
        value_parser = value_parser!(u16).range(1..=i64::from(MAX_THREADS))
    )]
    threads: Option<u16>,
    /// Seeds of the hashes, from --seed on, with each of which the library's policies are simulated; the
    /// results are the means. The default policy samples keys by hash
    #[arg(
        long, value_name = "N", default_value_t = 1,
        value_parser = value_parser!(u16).range(1..=i64::from(MAX_SEEDS))
    )]
    seeds: u16,
    /// Simulated policies of which the better one is what the summary compares all policies with [default:
    /// the best of the others]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    against: Vec<String>,
    /// How long the values of the keys take to load, from --seed; shows how long callers wait for misses with
    /// each policy. Of the policies, only cost_aware knows the costs
    #[arg(long, value_enum, value_name = "DISTRIBUTION")]
    costs: Option<Costs>,
    /// Generate traces of these patterns and simulate them too, separated by commas
    #[arg(long, value_enum, value_name = "PATTERNS", value_delimiter = ',')]
    generate: Vec<PatternArg>,
    #[command(flatten)]
    pub(crate) generated: GeneratorArgs,
    #[command(flatten)]
    pub(crate) output: ResultArgs,
}

impl SimulateArgs {
    pub(crate) fn options(&self) -> SimulateOptions {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        SimulateOptions {
            threads: self.threads.map_or(cores, usize::from),
            weights: self.run.weights(),
            seed: self.generated.seed,
            seeds: self.seeds,
            costs: self.costs,
        }
    }

    /// The names of the policies that the summary compares with.
    pub(crate) fn against(&self, simulated: &[SimPolicy]) -> Result<Vec<String>, ReplayError> {
        let known = |given: &String| {
            let policy = simulated.iter().find(|policy| policy.name().eq_ignore_ascii_case(given));
            let policy = policy.ok_or_else(|| ReplayError::NotSimulated { given: given.clone() });
            policy.map(|policy| policy.name().to_owned())
        };
        self.against.iter().map(known).collect()
    }

    /// Names and patterns of the traces to generate.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = (String, Pattern)> {
        self.generate.iter().map(|&pattern| {
            let name = pattern.to_possible_value().map_or_else(String::new, |value| {
                format!("{} (seed {})", value.get_name(), self.generated.seed)
            });
            (name, self.generated.pattern(pattern))
        })
    }
}
