//! What the binaries and the criterion benches of this package share.
//!
//! A module uses only those below it.
//!
//! Everything is generic over the contender, and nothing is a trait object: in a loop of a few
//! nanoseconds per get, a virtual call would dominate the measurement.

#![forbid(unsafe_code)]

// A load client for servers, and the servers.
pub mod load;
// All contenders in turn, round by round.
pub mod rounds;
// What a thread does with a contender.
pub mod workload;
// Every cache and map that takes part, behind one trait.
pub mod contender;
// Batches on threads against the clock.
pub mod measure;
// The latencies of single operations.
pub mod stopwatch;
// Recorded and synthetic requests.
pub mod trace;
// Sequences of keys.
pub mod keys;
// Medians, ratios and tables.
pub mod report;
// The resident memory of a process.
pub mod resident;
