//! Small hashes: fields and their values in one run of bytes.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::fmt;

use ahash::RandomState;
use thiserror::Error;

/// The most bytes that a small hash may take.
pub const MAX_HASH_BYTES: usize = 1 << 20;

// For each field, in the order in which the fields were added:
// | length of the field: 4 | length of the value: 4 | field | value |
const HEADER: usize = 8;

/// A hash is larger than a small hash may be, and was left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a hash takes at most {MAX_HASH_BYTES} bytes; store less in one, or use several keys")]
pub struct HashTooLarge;

/// A small hash: a map from byte strings to byte strings, in one run of bytes.
///
/// Each access searches from the beginning, and each change copies the whole, so it serves for records of a
/// few fields. It takes at most [`MAX_HASH_BYTES`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SmallHash {
    encoded: Vec<u8>,
    fields: usize,
}

impl SmallHash {
    /// A hash without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The hash with this [encoded](Self::encoded) form; `None` if the bytes are not one.
    #[must_use]
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        if encoded.len() > MAX_HASH_BYTES {
            return None;
        }
        let mut hash = Self::new();
        let mut rest = encoded;
        while !rest.is_empty() {
            let (field, value, after) = split(rest)?;
            if hash.get(field).is_some() {
                return None;
            }
            hash.push(field, value);
            rest = after;
        }
        Some(hash)
    }

    /// The encoded form of the hash.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// The value of a field. O(size of the hash).
    #[must_use]
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        self.iter().find_map(|(name, value)| (name == field).then_some(value))
    }

    /// The fields and their values, in the order in which the fields were added.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.encoded.as_slice();
        std::iter::from_fn(move || {
            let (field, value, after) = split(rest)?;
            rest = after;
            Some((field, value))
        })
    }

    /// Sets a field, and says whether it is new.
    ///
    /// # Errors
    /// The hash would become too large. It is as before in that case.
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> Result<bool, HashTooLarge> {
        let new_bytes = HEADER + field.len() + value.len();
        let old_bytes = self.get(field).map_or(0, |old| HEADER + field.len() + old.len());
        if self.encoded.len() - old_bytes + new_bytes > MAX_HASH_BYTES {
            return Err(HashTooLarge);
        }
        let Some(at) = self.position(field) else {
            self.push(field, value);
            return Ok(true);
        };
        let length = u32::try_from(value.len()).map_err(|_| HashTooLarge)?;
        self.encoded[at + 4..at + HEADER].copy_from_slice(&length.to_le_bytes());
        let start = at + HEADER + field.len();
        self.encoded.splice(start..at + old_bytes, value.iter().copied());
        Ok(false)
    }

    /// Sets fields and returns how many are new; if one appears twice, the later value counts. O(size of the
    /// hash and of all fields).
    ///
    /// # Errors
    /// The hash would become too large. It is as before in that case.
    pub fn set_all<'p>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
    ) -> Result<usize, HashTooLarge> {
        let mut order: Vec<&[u8]> = Vec::new();
        let mut new: HashMap<&[u8], &[u8], RandomState> = HashMap::default();
        for (field, value) in pairs {
            if new.insert(field, value).is_none() {
                order.push(field);
            }
        }
        let replaced = |(field, value)| (field, new.get(field).copied().unwrap_or(value));
        let bytes = |pairs: &mut dyn Iterator<Item = (&[u8], &[u8])>| {
            pairs.map(|(field, value)| HEADER + field.len() + value.len()).sum::<usize>()
        };
        let known: HashSet<&[u8], RandomState> = self.iter().map(|(field, _)| field).collect();
        order.retain(|field| !known.contains(field));
        let added = || order.iter().map(|field| (*field, new[field]));
        let needed = bytes(&mut self.iter().map(replaced)) + bytes(&mut added());
        if needed > MAX_HASH_BYTES {
            return Err(HashTooLarge);
        }
        let mut changed = Self { encoded: Vec::with_capacity(needed), fields: 0 };
        for (field, value) in self.iter().map(replaced).chain(added()) {
            changed.push(field, value);
        }
        *self = changed;
        Ok(order.len())
    }

    /// Removes fields, and returns how many of them were there. O(size of the hash and of all fields).
    pub fn remove_all<'p>(&mut self, fields: impl IntoIterator<Item = &'p [u8]>) -> usize {
        let removed: HashSet<&[u8], RandomState> = fields.into_iter().collect();
        let mut rest = Self { encoded: Vec::with_capacity(self.encoded.len()), fields: 0 };
        for (field, value) in self.iter().filter(|(field, _)| !removed.contains(field)) {
            rest.push(field, value);
        }
        let count = self.fields - rest.fields;
        *self = rest;
        count
    }

    /// Removes a field, and says whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let Some(at) = self.position(field) else { return false };
        let bytes = self.get(field).map_or(0, |old| HEADER + field.len() + old.len());
        self.encoded.drain(at..at + bytes);
        self.fields -= 1;
        true
    }

    fn position(&self, field: &[u8]) -> Option<usize> {
        let mut at = 0;
        for (name, value) in self.iter() {
            if name == field {
                return Some(at);
            }
            at += HEADER + name.len() + value.len();
        }
        None
    }

    /// Adds a field that is not there. All lengths are at most [`MAX_HASH_BYTES`].
    fn push(&mut self, field: &[u8], value: &[u8]) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.encoded.extend_from_slice(&length(field));
        self.encoded.extend_from_slice(&length(value));
        self.encoded.extend_from_slice(field);
        self.encoded.extend_from_slice(value);
        self.fields += 1;
    }
}

/// The first field of a run of bytes, its value, and what follows.
fn split(encoded: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (field_len, rest) = encoded.split_first_chunk::<4>()?;
    let (value_len, rest) = rest.split_first_chunk::<4>()?;
    let (field, rest) = rest.split_at_checked(u32::from_le_bytes(*field_len) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
    Some((field, value, rest))
}

impl fmt::Debug for SmallHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        f.debug_map().entries(self.iter().map(|(field, value)| (text(field), text(value)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_set_replaced_and_removed() {
        let mut hash = SmallHash::new();
        assert_eq!(hash.set(b"a", b"1"), Ok(true));
        assert_eq!(hash.set(b"bb", b"22"), Ok(true));
        assert_eq!(hash.set(b"a", b"longer"), Ok(false));
        assert_eq!(hash.set(b"bb", b""), Ok(false));
        assert_eq!(hash.get(b"a"), Some(b"longer".as_slice()));
        assert_eq!(hash.get(b"bb"), Some(b"".as_slice()));
        assert_eq!(SmallHash::decode(hash.encoded()), Some(hash.clone()));
        assert!(hash.remove(b"a") && !hash.remove(b"a"));
        assert_eq!((hash.len(), hash.get(b"a")), (1, None));
    }

    #[test]
    fn a_hash_that_would_be_too_large_stays_as_it_is() {
        let mut hash = SmallHash::new();
        hash.set(b"a", b"1").unwrap();
        assert_eq!(hash.set(b"b", &vec![0; MAX_HASH_BYTES]), Err(HashTooLarge));
        assert_eq!(hash.set(b"a", &vec![0; MAX_HASH_BYTES]), Err(HashTooLarge));
        assert_eq!(hash.iter().collect::<Vec<_>>(), [(b"a".as_slice(), b"1".as_slice())]);
    }

    #[test]
    fn many_fields_at_once_are_as_one_by_one() {
        let mut seed = 1_u32;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % below
        };
        let (mut single, mut bulk) = (SmallHash::new(), SmallHash::new());
        for _ in 0..500 {
            let names: Vec<_> = (0..random(6)).map(|_| random(20).to_string()).collect();
            let value = "v".repeat(random(5) as usize);
            if random(3) == 0 {
                let removed = names.iter().filter(|name| single.remove(name.as_bytes())).count();
                assert_eq!(bulk.remove_all(names.iter().map(String::as_bytes)), removed);
            } else {
                let set = |name: &String| single.set(name.as_bytes(), value.as_bytes()).unwrap();
                let added = names.iter().map(set).filter(|is_new| *is_new).count();
                let pairs = names.iter().map(|name| (name.as_bytes(), value.as_bytes()));
                assert_eq!(bulk.set_all(pairs), Ok(added));
            }
            assert_eq!(bulk, single);
        }
        let large = vec![0; MAX_HASH_BYTES];
        assert_eq!(bulk.set_all([(b"x".as_slice(), large.as_slice())]), Err(HashTooLarge));
        assert_eq!(bulk, single);
    }

    #[test]
    fn bytes_that_are_no_hash_are_refused() {
        for bytes in [&[1][..], &[1, 0, 0, 0, 1, 0, 0, 0, 7], &[255; 8]] {
            assert_eq!(SmallHash::decode(bytes), None);
        }
    }
}
