//! A second tier behind a [larder] cache: a database, a file or a server that holds what does not
//! fit into memory, or what must survive the process.
//!
//! [`StoredCache`] puts a [`Cache`](larder::Cache) in front of anything that implements [`Store`], and
//! [`AsyncStoredCache`] in front of an [`AsyncStore`]. It reads through the cache, and writes through it,
//! around it, or behind it: into a bounded queue, which a writer carries to the store in batches, again and
//! again until the store has taken them.
//!
//! # Which way of writing
//! | you want | use | a write costs |
//! |---|---|---|
//! | that a write has reached the store when it returns | [`StoredCache::write_through`] | a call of the store |
//! | the same, for values that are seldom read soon | [`StoredCache::write_around`] | a call of the store |
//! | the same, from many threads at once | [`StoredCache::write_behind`], [`Durability::Durable`] | a share of a batch |
//! | writes that do not wait, and may be lost if the process dies | [`StoredCache::write_behind`], [`Durability::Memory`] | an insertion and a lock |
//!
//! # Features
//! | feature | adds | needs |
//! |---|---|---|
//! | `redb` | `RedbStore`: a database in one file | redb, serde, postcard |
//!
//! None is on by default.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The modules from the top to the ground. Each uses those below it and none above.
#[cfg(feature = "redb")]
mod redb_store;
#[cfg(feature = "redb")]
mod row;
#[cfg(feature = "redb")]
mod codec;
mod async_cache;
mod async_writer;
mod stored_cache;
mod writer;
mod blocking;
mod bulk_read;
mod tier;
mod write_behind;
mod stats;
mod queue;
mod ack;
mod error;
mod store;

/// The README's code runs with the documentation tests.
#[cfg(all(doctest, feature = "redb"))]
#[doc = include_str!("../README.md")]
struct Readme;

pub use async_cache::AsyncStoredCache;
pub use blocking::{Blocking, BlockingError, BlockingJob};
#[cfg(feature = "redb")]
pub use codec::{Codec, Postcard, PostcardError};
pub use error::{DeadLetter, FlushError, TierBuildError, TierError};
#[cfg(feature = "redb")]
pub use redb_store::{RedbError, RedbStore};
#[cfg(feature = "redb")]
pub use row::RowError;
pub use stats::TierStats;
pub use store::{AsyncStore, Durability, ErrorKind, Meta, Record, Store, Write};
pub use stored_cache::StoredCache;
pub use write_behind::{Backoff, WhenFull, WriteBehind};
