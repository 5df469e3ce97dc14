//! Serves a [larder] cache to clients of Redis and memcached.
//!
//! A program that has a [`Cache`](larder::Cache) of [`Bytes`] and [`Value`] starts a [`Server`] for it; both
//! then use one store.

#![forbid(unsafe_code)]

// What a program calls.
mod server;
#[doc(hidden)]
pub mod drive;

// The servers: HTTP, and the sockets of both protocols.
#[cfg(feature = "http")]
mod http;
mod net;

// What clients ask for.
mod memcached;
mod commands;
mod info;
#[cfg(feature = "scripts")]
mod interpreter;
mod session;
mod parameters;

// What all threads share.
mod shared;
mod start_error;
mod conversation;
mod readiness;
mod leases;
#[cfg(feature = "scripts")]
mod scripts;
mod stats;
mod buffers;
#[cfg(feature = "tls")]
mod tls;

// The store, and those who are notified of its changes.
mod store;
mod hub;
mod eviction_ages;
mod tracking;
mod watch;
mod pubsub;
mod pause;
mod client;
mod mailbox;

// Settings, and what both sides of a socket know.
mod settings;
mod events;
mod config;
mod persistence;
mod resp;
mod error;
mod identity;

// What is stored.
mod stored_key;
mod saved_form;
mod value;
mod hash_map;
mod glob;
mod version;
mod unix_time;
mod decimal;
mod bytes;

pub use crate::bytes::{Bytes, INLINE_BYTES};
pub use crate::config::ServerConfig;
#[cfg(feature = "tls")]
pub use crate::config::TlsConfig;
pub use crate::hash_map::{HashTooLarge, MAX_HASH_BYTES, SmallHash};
pub use crate::hub::Hub;
pub use crate::persistence::{Persistence, SaveError, load};
pub use crate::readiness::LoadingGuard;
pub use crate::resp::{Protocol, ProtocolError, Reply, RequestLimits, RequestParser};
pub use crate::server::Server;
pub use crate::start_error::StartError;
#[cfg(feature = "tls")]
pub use crate::tls::TlsError;
pub use crate::value::{ENTRY_BYTES, Value};
pub use crate::version::Version;

/// The README's code runs with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
