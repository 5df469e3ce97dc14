//! How to replay.

use std::thread;

use clap::{Args, ValueEnum, value_parser};

use crate::args::output::ResultArgs;
use crate::args::run::{MAX_THREADS, RunArgs};
use crate::replay::ReplayOptions;

const POLICIES: [&str; 7] =
    ["lru", "lfu", "fifo", "sieve", "s3_fifo", "window_tiny_lfu", "cost_aware"];

/// How to replay and what to show.
#[derive(Debug, Args)]
#[command(next_help_heading = "Replay")]
pub(crate) struct ReplayArgs {
    /// Policies, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values = POLICIES)]
    pub(crate) policies: Vec<String>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Threads that share the cache; 1 keeps the exact order [default: one per core, from 2 to 8]
    #[arg(
        long, value_name = "N",
        value_parser = value_parser!(u16).range(1..=i64::from(MAX_THREADS))
    )]
    threads: Option<u16>,
    /// Which threads evict entries
    #[arg(long, value_enum, default_value_t = MaintenanceArg::Background)]
    maintenance: MaintenanceArg,
    /// Parts that policy and capacity are split into, a power of two [default: the cache decides]
    #[arg(long, value_name = "N")]
    partitions: Option<usize>,
    /// Run the trace N times through the same cache; the figures cover all passes
    #[arg(
        long, value_name = "N", default_value_t = 1,
        value_parser = value_parser!(u32).range(1..)
    )]
    repeat: u32,
    #[command(flatten)]
    pub(crate) output: ResultArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MaintenanceArg {
    /// A thread of the library, helped by threads that write
    Background,
    /// Only the calling threads
    Inline,
}

impl ReplayArgs {
    pub(crate) fn options(&self) -> ReplayOptions {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        ReplayOptions {
            threads: self.threads.map_or_else(|| cores.clamp(2, 8), usize::from),
            maintenance: match self.maintenance {
                MaintenanceArg::Background => larder::Maintenance::Background,
                MaintenanceArg::Inline => larder::Maintenance::Inline,
            },
            partitions: self.partitions,
            weights: self.run.weights(),
            passes: self.repeat,
        }
    }
}
