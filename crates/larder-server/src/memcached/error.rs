//! What a command of memcached can fail with.
#![forbid(unsafe_code)]

use thiserror::Error;

use crate::error::CommandError;

/// Why a command failed, with the text that clients of memcached know.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum MemcachedError {
    #[error("ERROR")]
    UnknownCommand,
    #[error("CLIENT_ERROR bad command line format")]
    BadLine,
    #[error("CLIENT_ERROR bad data chunk")]
    BadData,
    #[error("CLIENT_ERROR invalid flag")]
    InvalidFlag,
    #[error("CLIENT_ERROR duplicate flag")]
    DuplicateFlag,
    #[error("CLIENT_ERROR opaque token too long")]
    LongOpaque,
    #[error("CLIENT_ERROR bad token in command line format")]
    BadToken,
    #[error("CLIENT_ERROR error decoding key")]
    BadKey,
    #[error("CLIENT_ERROR invalid mode for M token")]
    BadMode,
    #[error("CLIENT_ERROR invalid exptime argument")]
    BadTime,
    #[error("CLIENT_ERROR invalid numeric delta argument")]
    BadDelta,
    #[error("CLIENT_ERROR cannot increment or decrement non-numeric value")]
    NotANumber,
    #[error("CLIENT_ERROR unauthenticated")]
    Unauthenticated,
    #[error("CLIENT_ERROR authentication failure")]
    WrongPassword,
    #[error("SERVER_ERROR object too large for cache")]
    TooLarge,
    #[error("SERVER_ERROR out of memory storing object")]
    NotStored,
    #[error("SERVER_ERROR the key holds a hash of the Redis protocol")]
    WrongType,
    #[error("CLIENT_ERROR line too long")]
    LongLine,
}

impl From<CommandError> for MemcachedError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::WrongType => Self::WrongType,
            CommandError::NotInteger => Self::NotANumber,
            CommandError::StringTooLong => Self::TooLarge,
            _ => Self::NotStored,
        }
    }
}
