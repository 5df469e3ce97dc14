//! What the commands do, a file for each group.
#![forbid(unsafe_code)]

pub(crate) mod connection;
pub(crate) mod persistence;
pub(crate) mod strings;
