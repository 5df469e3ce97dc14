//! How values become bytes: each says by itself how it is to be read.
//!
//! ```text
//! | version: 1 byte | kind: 1 byte | stamp: 8 bytes | tags | length of the name: 1 byte | name of the serializer | body |
//!                                                       |                                                         |
//!                                                       |                     if compressed: | length: 4 bytes | frame |
//!                                                       | number: 1 byte | then for each: length: 1 byte | tag | its stamp: 8 bytes |
//!
//! kind:  7    3         2        1         0
//!       |  0  | packed | tagged | missing |     (the bits 3 to 7 are 0; a missing value ends after its stamp)
//! ```
//!
//! The **stamp** is a random number, another one for each write, so that a conditional write can say which value
//! it has seen. A value is only valid as long as each of its tags has the stamp that the value names for it.
//!
//! A reader takes the serializer that the value names out of its registry. So the processes of a fleet may
//! change from one serializer to another one after the other, if all of them know both. A value that a reader
//! cannot read (another version, an unknown serializer, compression that was not compiled in, bytes of another
//! program, a changed type) does not fail the reader: it is taken for absent, and counted.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use larder::snapshot::{Serializer, SerializerError, Serializers};
use serde::Serialize;
use serde::de::DeserializeOwned;

mod packing;

pub(crate) use packing::Packing;

/// The version of this layout. A reader takes any other for unreadable.
const VERSION: u8 = 1;
/// There is no value, by the word of a loader; nothing follows the stamp.
const MISSING: u8 = 1;
/// Tags follow the stamp.
const TAGGED: u8 = 2;
/// The body is compressed.
const PACKED: u8 = 4;
/// Where the stamp is.
const STAMP: std::ops::Range<usize> = 2..10;
/// The most tags of a value.
pub(crate) const MAX_TAGS: usize = 16;

const _: () = assert!(STAMP.end - STAMP.start == size_of::<u64>() && MAX_TAGS <= u8::MAX as usize);

/// A tag of a value, with the stamp that the tag had when the value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TagStamp {
    pub(crate) tag: Vec<u8>,
    pub(crate) stamp: u64,
}

/// What the server holds under a key that it has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content<V> {
    Value(V),
    /// A loader has found that there is no value.
    Missing,
}

/// An envelope that was read.
pub(crate) struct Unpacked<V> {
    pub(crate) content: Content<V>,
    pub(crate) tags: Vec<TagStamp>,
}

/// Writes values by one serializer, and reads those of all that it knows.
pub(crate) struct Envelopes {
    writer: Arc<dyn Serializer>,
    readers: Serializers,
    packing: Packing,
}

/// Why bytes are not a value.
#[derive(Debug)]
pub(crate) struct Unreadable;

/// A number that no other call returns, in any process.
pub(crate) fn new_stamp() -> u64 {
    // Its keys are random, and others for each call.
    RandomState::new().hash_one(VERSION)
}

/// What tells one write of a key from all others: the stamp of an envelope after a `v`, or all of what is none after
/// a `w`. `compare` has the same as a script.
pub(crate) fn version_of(bytes: &[u8]) -> Vec<u8> {
    match bytes.get(STAMP) {
        Some(stamp) if bytes[0] == VERSION => [b"v", stamp].concat(),
        _ => [b"w", bytes].concat(),
    }
}

impl Envelopes {
    /// Writes by the serializer called `name`.
    pub(crate) fn new(
        name: &str,
        readers: Serializers,
    ) -> Result<Self, larder::snapshot::RegistryError> {
        Ok(Self { writer: readers.get(name)?, readers, packing: Packing::default() })
    }

    pub(crate) fn with_packing(self, packing: Packing) -> Self {
        Self { packing, ..self }
    }

    #[cfg(test)]
    pub(crate) fn write<V: Serialize>(&self, value: &V) -> Result<Vec<u8>, SerializerError> {
        self.write_tagged(value, &[])
    }

    /// Writes `value` with at most [`MAX_TAGS`] tags, none of them longer than 255 bytes.
    pub(crate) fn write_tagged<V: Serialize>(
        &self,
        value: &V,
        tags: &[TagStamp],
    ) -> Result<Vec<u8>, SerializerError> {
        let mut body = Vec::with_capacity(64);
        self.writer.serialize(value, &mut body)?;
        let packed = self.packing.pack(&body);
        let mut kind = 0;
        kind |= if tags.is_empty() { 0 } else { TAGGED };
        kind |= if packed.is_some() { PACKED } else { 0 };
        let mut out = head(kind);
        if !tags.is_empty() {
            out.push(length(tags.len()));
            for tag in tags {
                out.push(length(tag.tag.len()));
                out.extend_from_slice(&tag.tag);
                out.extend_from_slice(&tag.stamp.to_le_bytes());
            }
        }
        let name = self.writer.name().as_bytes();
        // The registry lets no name be longer than 64 bytes.
        out.push(length(name.len()));
        out.extend_from_slice(name);
        out.extend_from_slice(packed.as_ref().unwrap_or(&body));
        Ok(out)
    }

    pub(crate) fn missing() -> Vec<u8> {
        head(MISSING)
    }

    #[cfg(test)]
    pub(crate) fn read<V: DeserializeOwned>(&self, bytes: &[u8]) -> Result<Content<V>, Unreadable> {
        self.unpack(bytes).map(|unpacked| unpacked.content)
    }

    pub(crate) fn unpack<V: DeserializeOwned>(
        &self,
        bytes: &[u8],
    ) -> Result<Unpacked<V>, Unreadable> {
        let mut rest = bytes;
        let (version, kind) = (byte(&mut rest)?, byte(&mut rest)?);
        take(&mut rest, STAMP.len())?;
        if version != VERSION || kind & !(MISSING | TAGGED | PACKED) != 0 {
            return Err(Unreadable);
        }
        if kind & MISSING != 0 {
            return match (kind, rest) {
                (MISSING, []) => Ok(Unpacked { content: Content::Missing, tags: Vec::new() }),
                _ => Err(Unreadable),
            };
        }
        let mut tags = Vec::new();
        if kind & TAGGED != 0 {
            for _ in 0..byte(&mut rest)? {
                let length = byte(&mut rest)?.into();
                let tag = take(&mut rest, length)?.to_vec();
                let stamp = take(&mut rest, size_of::<u64>())?;
                let stamp = u64::from_le_bytes(stamp.try_into().map_err(|_| Unreadable)?);
                tags.push(TagStamp { tag, stamp });
            }
        }
        let length = byte(&mut rest)?.into();
        let name = std::str::from_utf8(take(&mut rest, length)?).map_err(|_| Unreadable)?;
        let found;
        let reader = if name == self.writer.name() {
            // Nearly always, and without a search.
            &self.writer
        } else {
            found = self.readers.get(name).map_err(|_| Unreadable)?;
            &found
        };
        let plain;
        let body = if kind & PACKED == 0 {
            rest
        } else {
            plain = packing::unpack(rest).ok_or(Unreadable)?;
            &plain
        };
        let mut value = None;
        reader
            .deserialize(body, &mut |from| {
                value = Some(larder::snapshot::erased_serde::deserialize(from)?);
                Ok(())
            })
            .map_err(|_| Unreadable)?;
        let content = value.map(Content::Value).ok_or(Unreadable)?;
        Ok(Unpacked { content, tags })
    }
}

/// The beginning of an envelope, with a stamp of its own.
fn head(kind: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(&[VERSION, kind]);
    out.extend_from_slice(&new_stamp().to_le_bytes());
    out
}

/// The length of something that is known to be short.
fn length(length: usize) -> u8 {
    u8::try_from(length).expect("names, tags and their number are limited")
}

fn byte(rest: &mut &[u8]) -> Result<u8, Unreadable> {
    Ok(take(rest, 1)?[0])
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Result<&'b [u8], Unreadable> {
    let (taken, left) = rest.split_at_checked(length).ok_or(Unreadable)?;
    *rest = left;
    Ok(taken)
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
    fn tags_come_back_with_their_stamps_and_each_write_has_a_stamp_of_its_own() {
        let tag = |number: u8| TagStamp { tag: vec![number; number.into()], stamp: new_stamp() };
        let tags: Vec<_> = [0, 1, 255].map(tag).to_vec();
        let bytes = envelopes().write_tagged(&7_u64, &tags).unwrap();
        let unpacked = envelopes().unpack::<u64>(&bytes).unwrap();
        assert_eq!((unpacked.content, unpacked.tags), (Content::Value(7), tags));
        for end in 0..bytes.len() {
            assert!(envelopes().read::<u64>(&bytes[..end]).is_err(), "cut at {end}");
        }
        let again = envelopes().write(&7_u64).unwrap();
        assert_eq!(version_of(&again).len(), 9);
        assert_ne!(version_of(&bytes), version_of(&again));
        assert_ne!(version_of(&Envelopes::missing()), version_of(&Envelopes::missing()));
        for foreign in ["", "12", "\u{1}short", "longer than a stamp"] {
            assert_eq!(version_of(foreign.as_bytes()), [b"w", foreign.as_bytes()].concat());
        }
    }

    #[test]
    fn bytes_of_any_other_kind_are_unreadable() {
        let bytes = envelopes().write(&"a value of some length".to_owned()).unwrap();
        for end in 0..bytes.len() {
            assert!(envelopes().read::<String>(&bytes[..end]).is_err(), "cut at {end}");
        }
        for (at, byte) in [(0, 2), (1, 8), (1, 1), (1, 4), (10, 200), (11, b'x'), (11, 255)] {
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
