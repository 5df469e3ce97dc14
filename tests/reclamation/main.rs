//! When memory is freed, and that every key and value is dropped exactly once.
//!
//! A program of its own: all caches of a process share one epoch, and the pins of other tests would
//! hold back what is waited for and counted here.

// Most insertions here are made for what comes after them.
#![allow(clippy::unwrap_used, unused_must_use)]

#[path = "../support/mod.rs"]
mod support;

mod drops;
mod pins;
