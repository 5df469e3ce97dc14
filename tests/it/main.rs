//! What the library promises, in one program for all tests that can share a process.
//!
//! All caches of a process share one epoch, one maintenance thread and one registry of policies. So
//! a test here waits for memory to be freed with [`support::flush`], which allows for the pins of
//! the other tests, and registers no policy. Tests that need a process to themselves are programs
//! beside this one: `background`, `faults`, `fork`, `fork_inline`, `reclamation`, `registry` and
//! `sanitize`. So are `verbs` and `loads`, which the sanitizers run too.

// Most insertions only prepare a test, which ignores what they return.
#![allow(clippy::unwrap_used, unused_must_use)]

#[path = "../support/mod.rs"]
mod support;

mod building;
mod extremes;
mod bulk;
mod iteration;
mod loading;
mod invalidation;
mod expiry;
mod eviction;
mod namespaces;
mod listeners;
mod explain;
mod concurrency;
mod updates;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "snapshot")]
mod snapshot;
#[cfg(all(feature = "quick", feature = "bincode"))]
mod quick;
