//! What can go wrong, by stage: building a near cache, and a call.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use larder::snapshot::{RegistryError, SerializerError};

/// Why a near cache was not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum NearBuildError {
    /// The address of the server cannot be understood.
    Address(TransportError),
    /// No server was named.
    NoServer,
    /// There is no such serializer.
    Serializer(RegistryError),
    /// The cache in memory was not built.
    Memory(larder::BuildError),
    /// A setting is 0, so that nothing could ever be done.
    Zero {
        /// The setting.
        setting: &'static str,
    },
    /// There is no tokio runtime here, on which the connection could run.
    NoRuntime,
    /// The system gave no thread for the connection.
    NoThread(io::Error),
    /// The first connection was not opened.
    Connect(NearError),
}

impl fmt::Display for NearBuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(_) => f.write_str(
                "the address of the server cannot be understood; use redis://[user:password@]host[:port][/database]",
            ),
            Self::NoServer => f.write_str(
                "no server was named; use `server`, `cluster` or `sentinel` with at least one address",
            ),
            Self::Serializer(_) => f.write_str("the serializer of values is not known"),
            Self::Memory(_) => f.write_str("the cache in memory was not built"),
            Self::Zero { setting } => write!(f, "{setting} 0 lets nothing through; use more"),
            Self::NoRuntime => f.write_str(
                "no tokio runtime is running here; build the cache within one, or use `connect_blocking`",
            ),
            Self::NoThread(_) => f.write_str("the system starts no thread for the connection"),
            Self::Connect(NearError::WithinRuntime) => f.write_str(
                "a cache for threads is not built within a tokio runtime; use `connect` there",
            ),
            Self::Connect(_) => f.write_str("the server was not reached; see `connect_lazily`"),
        }
    }
}

impl Error for NearBuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Address(error) => Some(error),
            Self::Serializer(error) => Some(error),
            Self::Memory(error) => Some(error),
            Self::NoThread(error) => Some(error),
            Self::Connect(error) => Some(error),
            Self::Zero { .. } | Self::NoServer | Self::NoRuntime => None,
        }
    }
}

/// Why a call of a near cache failed.
///
/// After a write that failed by anything but [`Refused`](Self::Refused) or [`Encode`](Self::Encode), it is not
/// known whether the server has carried it out; the memory has forgotten the key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NearError {
    /// There is no connection, and the last attempt to open one has failed.
    Down(TransportError),
    /// The server has not answered in time.
    TimedOut {
        /// How long the call has waited.
        waited: Duration,
    },
    /// The connection failed during the call.
    Lost(TransportError),
    /// The server has refused the command, in its words.
    Refused(String),
    /// No server of the cluster has the slot of the key.
    Unserved {
        /// The slot.
        slot: u16,
    },
    /// The servers of the cluster have sent the command to each other too often. Nothing was written.
    Redirected {
        /// The slot of the key.
        slot: u16,
        /// How often.
        times: usize,
    },
    /// The server's answer does not fit the command.
    Unexpected,
    /// The value was not encoded.
    Encode(Arc<SerializerError>),
    /// There was no room for another write among those that wait to be sent.
    TooManyPending {
        /// How many keys may have one.
        limit: usize,
    },
    /// A value has more than 16 tags, or one is longer than 255 bytes.
    BadTags {
        /// How many there are.
        number: usize,
        /// The length of the longest, in bytes.
        longest: usize,
    },
    /// The loader failed. Its error is shared by all callers that wanted the value, and each loader may have
    /// an error of another type.
    Loader(Arc<dyn Error + Send + Sync>),
    /// The cache was closed.
    Closed,
    /// A blocking call was made within a tokio runtime, whose thread it would have held up.
    WithinRuntime,
}

impl fmt::Display for NearError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(_) => f.write_str("the server cannot be reached"),
            Self::TimedOut { waited } => {
                write!(f, "the server has not answered within {waited:?}")
            }
            Self::Lost(_) => f.write_str("the connection to the server was lost"),
            Self::Refused(refusal) => write!(f, "the server has refused the command: {refusal}"),
            Self::Unserved { slot } => write!(f, "no server of the cluster has slot {slot}"),
            Self::Redirected { slot, times } => write!(
                f,
                "the servers of the cluster do not agree on who has slot {slot}; {times} redirections were followed"
            ),
            Self::Unexpected => f.write_str("the server's answer does not fit the command"),
            Self::Encode(_) => f.write_str("the value was not encoded"),
            Self::TooManyPending { limit } => write!(
                f,
                "{limit} keys have writes that wait for the server; see `max_pending_writes`"
            ),
            Self::BadTags { number, longest } => write!(
                f,
                "{number} tags, the longest of {longest} bytes; use at most 16, of at most 255 bytes each"
            ),
            Self::Loader(_) => f.write_str("the loader failed"),
            Self::Closed => f.write_str("the near cache was closed"),
            Self::WithinRuntime => f.write_str(
                "a blocking call within a tokio runtime; use the asynchronous near cache there",
            ),
        }
    }
}

impl Error for NearError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Down(error) | Self::Lost(error) => Some(error),
            Self::Encode(error) => Some(&**error),
            Self::Loader(error) => Some(&**error),
            _ => None,
        }
    }
}

/// Why a connection was not opened, or did not answer.
#[derive(Clone, Debug)]
pub struct TransportError {
    // The transport alone knows its type.
    cause: Arc<dyn Error + Send + Sync>,
}

impl TransportError {
    /// Wraps an error of the transport's own.
    pub fn new(cause: impl Error + Send + Sync + 'static) -> Self {
        Self { cause: Arc::new(cause) }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}
