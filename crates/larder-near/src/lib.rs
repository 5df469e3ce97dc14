//! A near cache over Redis and Valkey: each process keeps its hot keys in a [larder] cache, and the shared
//! server notifies it of what changes.
//!
//! [`NearCache`] is for tasks, [`BlockingNearCache`] for threads. What is promised, and why it holds, is in the
//! heads of the modules `lease` (when a value may be served), `memory` (how one gets in), `link` (the states
//! of a connection) and `topology` (which server has which key).
//!
//! # Features
//! None is on by default.
//! - `metrics`: `NearCache::metrics`, for the collector of [`larder`]; it needs nothing more.
//! - `zstd`: large values can be compressed (`NearBuilder::compress_above`); it needs a C compiler.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The modules from the top to the ground. Each uses those below it and none above.
#[cfg(test)]
mod on_servers;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod garbage;
#[cfg(test)]
mod scripted;
mod blocking;
mod builder;
mod near_cache;
mod memory;
mod envelope;
mod topology;
mod link;
mod transport;
mod flight;
mod pending;
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
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use near_cache::NearMetrics;
pub use near_cache::{NearCache, ValueVersion, WriteMode};
pub use stats::{BreakerState, NearStats};
pub use transport::redis_crate::RedisTransport;
pub use transport::{
    Command, NearConnection, NodeAddress, Opened, PushSink, Redirect, RedirectKind, Reply,
    Tracking, Transport, TransportFuture,
};
