//! Requests: the folder of recorded traces, and synthetic traces that are generated in code.
//!
//! A trace is a sequence of key numbers, dense and in order of first appearance. The folder has
//! `manifest.tsv` (name, class, requests, distinct keys, capacities), `NAME.u32.gz` for each name,
//! and `reference.tsv` (the hit ratio in percent of other caches for each trace and capacity).

// Traces that are generated.
pub mod synthetic;
// Traces in files.
mod recorded;

use std::path::Path;

pub use self::recorded::{Reference, Trace, TraceError, manifest};

/// Calls `job` with each trace of the folder `dir`, and then with each synthetic one; only with
/// those named in `only`, unless it is empty.
///
/// # Errors
/// If the folder or one of its traces cannot be read, or if `job` fails.
pub fn for_each<E: From<TraceError>>(
    dir: &Path,
    only: &[String],
    mut job: impl FnMut(&Trace) -> Result<(), E>,
) -> Result<(), E> {
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    for listed in manifest(dir)?.iter().filter(|listed| is_wanted(&listed.name)) {
        job(&listed.load(dir)?)?;
    }
    synthetic::all().iter().filter(|trace| is_wanted(&trace.name)).try_for_each(job)
}
