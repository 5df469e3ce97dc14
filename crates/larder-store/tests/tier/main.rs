//! Tiers over a store that fails, blocks, panics, returns what it should not, and comes back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod behind;
mod bounds;
mod bulk;
mod closing;
mod durable;
mod faulty;
mod futures;
mod lifetimes;
mod newest;
mod random;
mod reading;
mod retries;
mod through;
