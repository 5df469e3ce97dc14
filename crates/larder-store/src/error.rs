//! What can go wrong in a tier, by stage: building it, a call, and closing it.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::store::Record;

/// Why a tier was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum TierBuildError {
    /// A bound of the queue or of a batch is 0, so nothing could ever be written.
    Zero {
        /// The setting.
        setting: &'static str,
    },
    /// The system gave no thread for the writer.
    NoThread(io::Error),
}

impl fmt::Display for TierBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { setting } => write!(f, "{setting} 0 lets nothing through; use at least 1"),
            Self::NoThread(_) => f.write_str("the system starts no thread for the writer"),
        }
    }
}

impl Error for TierBuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Zero { .. } => None,
            Self::NoThread(error) => Some(error),
        }
    }
}

/// Why a call of a tier failed. `E` is the store's own error.
#[non_exhaustive]
pub enum TierError<E> {
    /// The store failed. After a failed write it is not known whether the store has carried it out; the
    /// cache has forgotten the key, so the next read asks the store.
    Store(Arc<E>),
    /// The queue of writes is full, and stayed so for as long as the call may wait. The write was not
    /// accepted.
    QueueFull {
        /// How many writes the queue holds, those that were given up among them.
        entries: usize,
        /// How much they weigh.
        weight: u64,
        /// Why the store's last attempt failed; `None` if it did not, or if the store panicked.
        source: Option<Arc<E>>,
    },
    /// The write alone is heavier than the whole queue may be. It was not accepted.
    TooHeavy {
        /// How heavy it is.
        weight: u64,
        /// How much the queue may hold.
        limit: u64,
    },
    /// The store has not committed the write for as long as the call may wait. The write stays in the
    /// queue and is still tried.
    NotCommitted {
        /// How long the call has waited.
        waited: Duration,
        /// Why the store's last attempt failed; `None` if it did not, or if the store panicked.
        source: Option<Arc<E>>,
    },
    /// The writer has given the write up; it is among the dead letters.
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// The store's last error; `None` if the store panicked, or if the tier was closed first.
        source: Option<Arc<E>>,
    },
    /// The tier was closed. The write was not accepted.
    Closed,
    /// The store, asked for a key, asked the tier for the same key.
    Reentrant,
    /// The call has waited for another caller's load until its
    /// [deadline](larder::LoadOptions::load_deadline).
    DeadlineExceeded,
    /// The load of the key took longer than the cache lets a call wait.
    TimedOut,
}

impl<E> Clone for TierError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Store(error) => Self::Store(Arc::clone(error)),
            Self::QueueFull { entries, weight, source } => {
                Self::QueueFull { entries: *entries, weight: *weight, source: source.clone() }
            }
            Self::TooHeavy { weight, limit } => Self::TooHeavy { weight: *weight, limit: *limit },
            Self::NotCommitted { waited, source } => {
                Self::NotCommitted { waited: *waited, source: source.clone() }
            }
            Self::GaveUp { attempts, source } => {
                Self::GaveUp { attempts: *attempts, source: source.clone() }
            }
            Self::Closed => Self::Closed,
            Self::Reentrant => Self::Reentrant,
            Self::DeadlineExceeded => Self::DeadlineExceeded,
            Self::TimedOut => Self::TimedOut,
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for TierError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => f.debug_tuple("Store").field(error).finish(),
            Self::QueueFull { entries, weight, source } => f
                .debug_struct("QueueFull")
                .field("entries", entries)
                .field("weight", weight)
                .field("source", source)
                .finish(),
            Self::TooHeavy { weight, limit } => {
                f.debug_struct("TooHeavy").field("weight", weight).field("limit", limit).finish()
            }
            Self::NotCommitted { waited, source } => f
                .debug_struct("NotCommitted")
                .field("waited", waited)
                .field("source", source)
                .finish(),
            Self::GaveUp { attempts, source } => f
                .debug_struct("GaveUp")
                .field("attempts", attempts)
                .field("source", source)
                .finish(),
            Self::Closed => f.write_str("Closed"),
            Self::Reentrant => f.write_str("Reentrant"),
            Self::DeadlineExceeded => f.write_str("DeadlineExceeded"),
            Self::TimedOut => f.write_str("TimedOut"),
        }
    }
}

impl<E> fmt::Display for TierError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(_) => f.write_str("the store failed"),
            Self::QueueFull { entries, weight, .. } => write!(
                f,
                "the queue of writes is full with {entries} of weight {weight}; write less, or take the \
                 dead letters out"
            ),
            Self::TooHeavy { weight, limit } => {
                write!(f, "a write of weight {weight} exceeds the whole queue; use at most {limit}")
            }
            Self::NotCommitted { waited, .. } => {
                write!(
                    f,
                    "the store has not committed the write within {waited:?}; it stays queued"
                )
            }
            Self::GaveUp { attempts, .. } => {
                write!(f, "the write was given up after {attempts} attempts; see the dead letters")
            }
            Self::Closed => f.write_str("the tier was closed and accepts no writes"),
            Self::Reentrant => {
                f.write_str("the store asked the tier for the key that it was asked for")
            }
            Self::DeadlineExceeded => {
                f.write_str("the deadline of the call has passed while another loads the key")
            }
            Self::TimedOut => f.write_str("the load took longer than the cache allows"),
        }
    }
}

impl<E: Error + 'static> Error for TierError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error)
            | Self::QueueFull { source: Some(error), .. }
            | Self::NotCommitted { source: Some(error), .. }
            | Self::GaveUp { source: Some(error), .. } => Some(&**error),
            _ => None,
        }
    }
}

/// Why [`flush`](crate::StoredCache::flush) or [`close`](crate::StoredCache::close) did not make all
/// writes durable.
#[derive(Debug)]
#[non_exhaustive]
pub enum FlushError<E> {
    /// The store has not carried out all writes for as long as the call may wait.
    Unwritten {
        /// How many writes are left. After a flush they stay in the queue. After a close they are dead
        /// letters, except for those that the store has not yet returned from.
        entries: usize,
        /// Why the store's last attempt failed; `None` if it did not, or if the store panicked.
        source: Option<Arc<E>>,
    },
    /// Some writes were given up meanwhile; they are among the dead letters.
    GaveUp {
        /// How many of them.
        entries: usize,
    },
    /// All writes were handed to the store, and its own flush failed.
    Store(E),
    /// All writes were handed to the store, and its own flush panicked.
    Panicked,
}

impl<E> fmt::Display for FlushError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritten { entries, .. } => {
                write!(f, "{entries} writes have not reached the store")
            }
            Self::GaveUp { entries } => {
                write!(f, "{entries} writes were given up; see the dead letters")
            }
            Self::Store(_) => f.write_str("the store failed to make its writes durable"),
            Self::Panicked => f.write_str("the store panicked as it made its writes durable"),
        }
    }
}

impl<E: Error + 'static> Error for FlushError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unwritten { source: Some(error), .. } => Some(&**error),
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// A write that was given up.
#[non_exhaustive]
pub struct DeadLetter<K, V, E> {
    /// The key.
    pub key: Arc<K>,
    /// The record that was to be stored, with the lifetime that it had when it was queued; `None` for a
    /// removal.
    pub record: Option<Arc<Record<V>>>,
    /// How often it was tried.
    pub attempts: u32,
    /// The store's last error; `None` if the store panicked, or if the tier was closed first.
    pub error: Option<Arc<E>>,
}

impl<K, V, E> Clone for DeadLetter<K, V, E> {
    fn clone(&self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            record: self.record.clone(),
            attempts: self.attempts,
            error: self.error.clone(),
        }
    }
}

impl<K: fmt::Debug, V, E: fmt::Debug> fmt::Debug for DeadLetter<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("key", &self.key)
            .field("is_removal", &self.record.is_none())
            .field("attempts", &self.attempts)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
