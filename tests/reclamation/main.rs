//! When memory is freed, and that every key and value is dropped exactly once.
//!
//! This is a program of its own: all caches of a process share one epoch, and the pins of other
//! tests would delay the memory that is waited for and counted here.

// Most insertions only prepare a test, which ignores what they return.
#![allow(clippy::unwrap_used, unused_must_use)]

#[path = "../support/mod.rs"]
mod support;

mod drops;
mod pins;
