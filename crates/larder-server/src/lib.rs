//! Serves a [larder](larder) cache to clients of Redis and memcached.
//!
//! A program that has a [`Cache`](larder::Cache) of [`Bytes`] and [`Value`] starts a [`Server`] for it; both
//! then use one store.

#![forbid(unsafe_code)]

// What a program calls.
mod server;
mod persistence;
#[doc(hidden)]
pub mod drive;

// From the socket to the store.
mod net;
mod session;
mod command;
mod commands;
mod memcached;
#[cfg(feature = "scripts")]
mod scripts;
mod info;
mod parameters;
mod stats;
mod resp;
mod error;

// The store, and those who hear of its changes.
mod store;
mod hub;
mod tracking;
mod watch;
mod pubsub;
mod settings;
mod events;
mod client;
mod mailbox;
mod stored_key;

// What is stored.
mod saved_form;
mod value;
mod hash_map;
mod glob;
mod version;
mod unix_time;
mod decimal;
mod bytes;

pub use crate::bytes::{Bytes, INLINE_BYTES};
pub use crate::hash_map::{HashTooLarge, MAX_HASH_BYTES, SmallHash};
pub use crate::hub::Hub;
#[cfg(feature = "tls")]
pub use crate::net::tls::TlsError;
pub use crate::persistence::{Persistence, SaveError, load};
pub use crate::resp::{Protocol, ProtocolError, Reply, RequestLimits, RequestParser};
#[cfg(feature = "tls")]
pub use crate::server::TlsConfig;
pub use crate::server::{Server, ServerConfig, StartError};
pub use crate::value::{ENTRY_BYTES, Value};
pub use crate::version::Version;

/// The README's code runs with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
