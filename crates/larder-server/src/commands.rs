//! What the commands do, a file for each group.
#![forbid(unsafe_code)]

pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod pubsub;
pub(crate) mod strings;
pub(crate) mod tracking;
pub(crate) mod transactions;
