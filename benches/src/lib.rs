//! What the binaries and the criterion benches of this package share.
//!
//! Read in this order, in which each module uses only those below it: `workload` says what a thread
//! does in a batch, `measure` runs batches on threads against the clock, `report` turns the rates of
//! several rounds into medians and ratios, `contender` puts every cache behind one trait, `trace` has
//! recorded and made-up requests, `keys` makes the sequences of keys, and `resident` reads the memory
//! of the process.
//!
//! Everything is generic over the contender, nothing is a trait object: in a loop that takes a few
//! nanoseconds a get, a call through a table of functions would be most of what is measured.

#![forbid(unsafe_code)]

pub mod workload;
pub mod measure;
pub mod report;
pub mod contender;
pub mod trace;
pub mod keys;
pub mod resident;
