//! Serves a [larder](larder) cache to clients of Redis and memcached.
//!
//! A program that has a [`Cache`](larder::Cache) of [`Bytes`] and [`Value`] starts a [`Server`] for it; both
//! then use one store.

#![forbid(unsafe_code)]

// What a program calls.
mod server;

// The page, the metrics and the probes.
mod http;

// From the socket to the store.
mod net;
mod session;
mod command;
mod commands;
mod readiness;
mod stats;
mod resp;
mod error;

// The store, and those who hear of its changes.
mod store;
mod hub;
mod client;
mod mailbox;

// What is stored.
mod value;
mod hash_map;
mod version;
mod bytes;

pub use crate::bytes::{Bytes, INLINE_BYTES};
pub use crate::hash_map::{HashTooLarge, MAX_HASH_BYTES, SmallHash};
pub use crate::hub::Hub;
pub use crate::readiness::LoadingGuard;
pub use crate::resp::{Protocol, ProtocolError, Reply, RequestLimits, RequestParser};
pub use crate::server::{Server, ServerConfig, StartError};
pub use crate::value::Value;
pub use crate::version::Version;
