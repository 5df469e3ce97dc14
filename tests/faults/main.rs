//! Faults of what the library depends on and of what users give it, one at each place and at each
//! call: serializers, readers and writers that panic or fail, memory that is short, and snapshots
//! that differ from what was written. Each time the cache is whole afterwards and stays usable.
//!
//! Panics of keys, values, closures, weighers, listeners, executors, clocks, expiries and policies
//! are tested with the code that calls them: `drops`, `listeners`, `expiry`, `invalidation`,
//! `custom_policies`, `memory_pressure`.
//!
//! This is a program of its own because it has its own allocator.

#![allow(clippy::unwrap_used)]

mod allocator;
mod user_code;
mod short_memory;
#[cfg(feature = "zstd")]
mod hostile_snapshots;
