//! How keys and values become bytes, for stores that keep bytes.

use std::error::Error;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Turns items into bytes and back, for a store that keeps bytes.
///
/// As the codec of keys, it must give equal keys equal bytes, and different keys different bytes.
pub trait Codec<T>: Send + Sync {
    /// Why an item was not encoded or decoded.
    type Error: Error + Send + Sync + 'static;

    /// The bytes of `item`.
    ///
    /// # Errors
    /// If the item has no encoding.
    fn encode(&self, item: &T) -> Result<Vec<u8>, Self::Error>;

    /// The item of `bytes`, which may be anything.
    ///
    /// # Errors
    /// If the bytes are not the encoding of an item.
    fn decode(&self, bytes: &[u8]) -> Result<T, Self::Error>;
}

/// The codec of the crate [`postcard`]: binary and small, for all types that serde can read and write.
///
/// The encoding does not say which type it is of. Change a type in the file only if the old bytes are those of
/// the new type too, or use another table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Postcard;

impl<T: Serialize + DeserializeOwned> Codec<T> for Postcard {
    type Error = PostcardError;

    fn encode(&self, item: &T) -> Result<Vec<u8>, PostcardError> {
        postcard::to_allocvec(item).map_err(PostcardError::Postcard)
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, PostcardError> {
        let (item, rest) = postcard::take_from_bytes(bytes).map_err(PostcardError::Postcard)?;
        match rest.len() {
            0 => Ok(item),
            left => Err(PostcardError::Trailing { left }),
        }
    }
}

/// Why [`Postcard`] did not encode or decode an item.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostcardError {
    /// The error of the crate `postcard`.
    Postcard(postcard::Error),
    /// The item ends before the bytes do.
    Trailing {
        /// How many bytes follow.
        left: usize,
    },
}

impl fmt::Display for PostcardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postcard(_) => f.write_str("postcard failed"),
            Self::Trailing { left } => write!(f, "{left} bytes follow the item"),
        }
    }
}

impl Error for PostcardError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Postcard(error) => Some(error),
            Self::Trailing { .. } => None,
        }
    }
}
