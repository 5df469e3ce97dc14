//! How values become bytes: each says by itself how it is to be read.
//!
//! ```text
//! | version: 1 byte | kind: 1 byte | length of the name: 1 byte | name of the serializer | the value |
//! ```
//!
//! A reader takes the serializer that the value names out of its registry. So the processes of a fleet may
//! change from one serializer to another one after the other, if all of them know both. A value that a reader
//! cannot read (another version, an unknown serializer, bytes of another program, a changed type) does not fail
//! the reader: it is taken for absent, and counted.

use std::fmt;
use std::sync::Arc;

use larder::snapshot::{Serializer, SerializerError, Serializers};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of this layout. A reader takes any other for unreadable.
const VERSION: u8 = 1;
/// The value follows.
const KIND_VALUE: u8 = 0;
/// There is no value, by the word of a loader; nothing follows.
const KIND_MISSING: u8 = 1;

/// What the server holds under a key that it has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content<V> {
    Value(V),
    /// A loader has found that there is no value.
    Missing,
}

/// Writes values by one serializer, and reads those of all that it knows.
pub(crate) struct Envelopes {
    writer: Arc<dyn Serializer>,
    readers: Serializers,
}

/// Why bytes are not a value.
#[derive(Debug)]
pub(crate) struct Unreadable;

impl Envelopes {
    /// Writes by the serializer called `name`.
    pub(crate) fn new(
        name: &str,
        readers: Serializers,
    ) -> Result<Self, larder::snapshot::RegistryError> {
        Ok(Self { writer: readers.get(name)?, readers })
    }

    pub(crate) fn write<V: Serialize>(&self, value: &V) -> Result<Vec<u8>, SerializerError> {
        let name = self.writer.name().as_bytes();
        let mut out = Vec::with_capacity(name.len() + 64);
        // The registry lets no name be longer than 64 bytes.
        out.extend_from_slice(&[VERSION, KIND_VALUE, u8::try_from(name.len()).unwrap_or(0)]);
        out.extend_from_slice(name);
        self.writer.serialize(value, &mut out)?;
        Ok(out)
    }

    pub(crate) fn missing() -> Vec<u8> {
        vec![VERSION, KIND_MISSING]
    }

    pub(crate) fn read<V: DeserializeOwned>(&self, bytes: &[u8]) -> Result<Content<V>, Unreadable> {
        let (length, rest) = match bytes {
            [VERSION, KIND_MISSING] => return Ok(Content::Missing),
            [VERSION, KIND_VALUE, length, rest @ ..] => (usize::from(*length), rest),
            _ => return Err(Unreadable),
        };
        let (name, body) = rest.split_at_checked(length).ok_or(Unreadable)?;
        let name = std::str::from_utf8(name).map_err(|_| Unreadable)?;
        let reader = self.readers.get(name).map_err(|_| Unreadable)?;
        let mut value = None;
        reader
            .deserialize(body, &mut |from| {
                value = Some(larder::snapshot::erased_serde::deserialize(from)?);
                Ok(())
            })
            .map_err(|_| Unreadable)?;
        value.map(Content::Value).ok_or(Unreadable)
    }
}

impl fmt::Debug for Envelopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelopes")
            .field("writer", &self.writer.name())
            .field("readers", &self.readers)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelopes() -> Envelopes {
        Envelopes::new("postcard", Serializers::standard()).unwrap()
    }

    #[test]
    fn a_value_is_read_as_it_was_written() {
        let value = (7_u64, "seven".to_owned());
        let bytes = envelopes().write(&value).unwrap();
        assert_eq!(envelopes().read(&bytes).unwrap(), Content::Value(value));
        assert_eq!(envelopes().read::<u64>(&Envelopes::missing()).unwrap(), Content::Missing);
    }

    #[test]
    fn bytes_of_any_other_kind_are_unreadable() {
        let bytes = envelopes().write(&"a value of some length".to_owned()).unwrap();
        for end in 0..bytes.len() {
            assert!(envelopes().read::<String>(&bytes[..end]).is_err(), "cut at {end}");
        }
        for (at, byte) in [(0, 2), (1, 9), (2, 200), (3, b'x'), (3, 255)] {
            let mut forged = bytes.clone();
            forged[at] = byte;
            assert!(envelopes().read::<String>(&forged).is_err(), "{byte} at {at}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(envelopes().read::<String>(&longer).is_err());
        assert!(envelopes().read::<String>(b"plain text").is_err());
    }
}
