//! Keys: immutable byte strings, short ones without an allocation.
#![forbid(unsafe_code)]

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use smallvec::SmallVec;

/// The longest byte string that is stored without an allocation.
pub const INLINE_BYTES: usize = 22;

/// An immutable byte string: the key of a served cache.
///
/// Strings of up to 22 bytes are stored inline, longer ones on the heap. A `Bytes` takes 24 bytes itself. It
/// hashes and compares as `[u8]` does, so a cache is searched by a slice.
///
/// # Examples
/// ```
/// use larder::Cache;
/// use larder_server::Bytes;
///
/// let cache: Cache<Bytes, u32> = Cache::new(100);
/// cache.insert(Bytes::from("key"), 1);
/// assert_eq!(cache.get(b"key".as_slice()), Some(1));
/// ```
#[derive(Clone)]
pub struct Bytes {
    form: Form,
}

#[derive(Clone)]
enum Form {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<[u8]>),
}

const _: () = assert!(size_of::<Bytes>() == 24 || cfg!(target_pointer_width = "32"));

impl Bytes {
    /// The concatenation of `prefix` and `rest`.
    pub(crate) fn concatenated(prefix: &[u8], rest: &[u8]) -> Self {
        if prefix.len() + rest.len() <= INLINE_BYTES {
            let mut bytes: SmallVec<[u8; INLINE_BYTES]> = SmallVec::from_slice(prefix);
            bytes.extend_from_slice(rest);
            return Self::from(bytes.as_slice());
        }
        Self { form: Form::Heap([prefix, rest].concat().into_boxed_slice()) }
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.form {
            Form::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Form::Heap(bytes) => bytes,
        }
    }

    /// How many bytes it takes on the heap, besides its own 24.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Inline { .. } => 0,
            Form::Heap(bytes) => bytes.len(),
        }
    }
}

impl From<&[u8]> for Bytes {
    #[inline]
    fn from(source: &[u8]) -> Self {
        let form = match u8::try_from(source.len()) {
            Ok(len) if source.len() <= INLINE_BYTES => {
                let mut bytes = [0; INLINE_BYTES];
                bytes[..source.len()].copy_from_slice(source);
                Form::Inline { len, bytes }
            }
            _ => Form::Heap(source.into()),
        };
        Self { form }
    }
}

impl From<&str> for Bytes {
    fn from(source: &str) -> Self {
        Self::from(source.as_bytes())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(source: Vec<u8>) -> Self {
        if source.len() <= INLINE_BYTES {
            return Self::from(source.as_slice());
        }
        Self { form: Form::Heap(source.into_boxed_slice()) }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Borrow<[u8]> for Bytes {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Hash for Bytes {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl PartialEq for Bytes {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Bytes {}

impl PartialOrd for Bytes {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bytes {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_slice().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_kept_as_it_is() {
        for len in 0..100_u8 {
            let source: Vec<u8> = (0..len).collect();
            assert_eq!(Bytes::from(source.as_slice()).as_slice(), source);
            assert_eq!(Bytes::from(source.clone()), Bytes::from(source.as_slice()));
            for cut in 0..source.len() {
                let (prefix, rest) = source.split_at(cut);
                assert_eq!(Bytes::concatenated(prefix, rest).as_slice(), source);
            }
        }
    }
}
