//! Requests: the folder of recorded traces, and synthetic traces that are generated in code.
//!
//! A trace is a sequence of key numbers, dense and in order of first appearance. The folder has
//! `manifest.tsv` (name, class, requests, distinct keys, capacities), `NAME.u32.gz` for each name,
//! and `reference.tsv` (the hit ratio in percent of other caches for each trace and capacity).

// Traces that are generated.
pub mod synthetic;
// Sizes of their keys.
pub mod sized;
// Traces in files.
mod recorded;

use std::path::PathBuf;

use clap::Args;

pub use self::recorded::{Reference, Trace, TraceError};

use self::recorded::manifest;

/// Which traces to replay.
#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// The folder with manifest.tsv, reference.tsv and the traces
    #[arg(
        long = "traces",
        value_name = "TRACES",
        env = "LARDER_TRACES",
        default_value = "../shared/traces"
    )]
    pub folder: PathBuf,
    /// Traces to replay [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

impl TraceArgs {
    /// Calls `job` with each trace of the folder and then with each synthetic one; only with those
    /// named by `--only`, if it is given.
    ///
    /// # Errors
    /// If the folder or one of its traces cannot be read, or if `job` fails.
    pub fn for_each<E: From<TraceError>>(
        &self,
        mut job: impl FnMut(&Trace) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_wanted =
            |name: &str| self.only.is_empty() || self.only.iter().any(|wanted| wanted == name);
        for entry in manifest(&self.folder)?.iter().filter(|entry| is_wanted(&entry.name)) {
            job(&entry.load(&self.folder)?)?;
        }
        synthetic::all().iter().filter(|trace| is_wanted(&trace.name)).try_for_each(job)
    }
}
