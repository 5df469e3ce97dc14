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

pub mod keys;
pub mod contender;
pub mod workload;
pub mod measure;
pub mod report;
pub mod resident;
pub mod trace;
