//! What the binaries and the criterion benches of this package share.
//!
//! Read in this order: `keys` makes the sequences of keys, `contender` puts every cache behind one
//! trait, `workload` says what a thread does in a batch, `measure` runs batches on threads against
//! the clock, `report` turns the rates of several rounds into medians and ratios. `resident` and
//! `trace` stand beside them: the memory of the process, and recorded requests.
//!
//! Everything is generic over the contender, nothing is a trait object: in a loop that takes a few
//! nanoseconds a get, a call through a table of functions would be most of what is measured.

#![forbid(unsafe_code)]

// What a thread does with a contender.
pub mod workload;
// Every cache and map that takes part, behind one trait.
pub mod contender;
// Batches on threads against the clock.
pub mod measure;
// Recorded and synthetic requests.
pub mod trace;
// Sequences of keys.
pub mod keys;
// Medians, ratios and tables.
pub mod report;
// The resident memory of the process.
pub mod resident;
