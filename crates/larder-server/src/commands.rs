//! What the commands do, a file for each group.
#![forbid(unsafe_code)]

pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod pubsub;
pub(crate) mod persistence;
pub(crate) mod strings;
pub(crate) mod tracking;
pub(crate) mod transactions;
pub(crate) mod lcs;
pub(crate) mod numbers;
pub(crate) mod bits;
pub(crate) mod hashes;
pub(crate) mod scripting;
pub(crate) mod keys;
pub(crate) mod expiry;
pub(crate) mod scan;
pub(crate) mod object;
pub(crate) mod databases;
pub(crate) mod server;
pub(crate) mod config;
pub(crate) mod catalog;
pub(crate) mod larder;

// What several groups need.
pub(crate) mod usage;
pub(crate) mod subcommand;
pub(crate) mod arguments;
pub(crate) mod long_double;
