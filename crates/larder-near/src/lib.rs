//! A near cache over Redis and Valkey: each process keeps its hot keys in a [larder] cache, and the shared
//! server notifies it of what changes.
//!
//! [`NearCache`] is for tasks, [`BlockingNearCache`] for threads. What is promised, and why it holds, is in the
//! heads of the modules `lease` (when a value may be served), `memory` (how one gets in) and `link` (the states
//! of the connection).

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The modules from the top to the ground. Each uses those below it and none above.
#[cfg(test)]
mod on_servers;
mod blocking;
mod builder;
mod near_cache;
mod envelope;
mod memory;
mod link;
mod transport;
mod flight;
mod lease;
mod key;
mod stats;
mod error;

/// The README's code is compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use blocking::BlockingNearCache;
pub use builder::NearBuilder;
pub use error::{NearBuildError, NearError, TransportError};
pub use key::NearKey;
pub use near_cache::{NearCache, WriteMode};
pub use stats::NearStats;
pub use transport::redis_crate::RedisTransport;
pub use transport::{
    Command, NearConnection, Opened, PushSink, Reply, Tracking, Transport, TransportFuture,
};
