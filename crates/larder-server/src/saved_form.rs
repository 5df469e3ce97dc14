//! How keys and values are written into snapshots, and read from snapshots that may be damaged.
#![forbid(unsafe_code)]

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bytes::Bytes;
use crate::hash_map::SmallHash;
use crate::value::Value;

/// The kinds of a saved value, by its first number.
const BYTES: u8 = 0;
const HASH: u8 = 1;

/// Bytes as serde has them; derived code would write one number after another.
struct Raw<'b>(&'b [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// The same, read.
struct RawBuf(Vec<u8>);

impl<'de> Deserialize<'de> for RawBuf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor;

        impl<'de> Visitor<'de> for RawVisitor {
            type Value = RawBuf;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<RawBuf, E> {
                Ok(RawBuf(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<RawBuf, E> {
                Ok(RawBuf(bytes))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<RawBuf, A::Error> {
                // Grows with what arrives, whatever length was announced.
                let mut bytes = Vec::new();
                while let Some(byte) = members.next_element()? {
                    bytes.push(byte);
                }
                Ok(RawBuf(bytes))
            }
        }

        deserializer.deserialize_byte_buf(RawVisitor)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Raw(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawBuf::deserialize(deserializer).map(|raw| Self::from(raw.0))
    }
}

/// A value is saved without its version: it has a new one once it is loaded.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, bytes) = match self.as_hash() {
            Some(hash) => (HASH, hash.encoded()),
            None => (BYTES, self.as_bytes().unwrap_or_default()),
        };
        let mut tuple = serializer.serialize_tuple(3)?;
        tuple.serialize_element(&kind)?;
        tuple.serialize_element(&self.flags())?;
        tuple.serialize_element(&Raw(bytes))?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (kind, flags, RawBuf(bytes)) = <(u8, u32, RawBuf)>::deserialize(deserializer)?;
        match kind {
            BYTES => Ok(Self::with_flags(bytes.into_boxed_slice(), flags)),
            HASH => {
                let hash = SmallHash::decode(&bytes).filter(|hash| !hash.is_empty());
                hash.map(Self::from_hash).ok_or_else(|| de::Error::custom("not a hash"))
            }
            kind => Err(de::Error::custom(format_args!("there is no kind {kind} of values"))),
        }
    }
}
