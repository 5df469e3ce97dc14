//! Scripts in Lua 5.1: the known ones, and the interpreters that run them.
//!
//! A script runs with no other command beside it. Each thread has an interpreter of its own; all share the
//! scripts that were loaded.
//!
//! # Limits
//! The interpreter checks the clock between instructions, not within one: a search for a pattern with many repetitions
//! in a long string is not interrupted. Of the libraries that Redis has, `bit`, `cjson`, `cmsgpack` and `struct` are
//! missing, and so are `getfenv` and `setfenv`, by which a script could reach the globals of others.
#![forbid(unsafe_code)]

use std::sync::Arc;

use larder::Cache;
use larder::policy::Policy;
use sha1::{Digest, Sha1};

/// The most bytes of all scripts that the server knows. The least recently used one is forgotten first; a client that
/// calls it by its digest gets the error for that, and sends it again.
const MAX_SCRIPT_BYTES: u64 = 16 << 20;

/// The SHA-1 digest of a script, in hexadecimal digits, by which clients call it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ScriptDigest([u8; 40]);

impl ScriptDigest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 40];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(Sha1::digest(bytes)) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        Self(digits)
    }

    /// The digest that a client has sent, in upper or lower case; `None` if it cannot be one.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut digits: [u8; 40] = text.try_into().ok()?;
        digits.make_ascii_lowercase();
        Some(Self(digits))
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The scripts that the server knows.
pub(crate) struct Scripts {
    known: Cache<ScriptDigest, Arc<[u8]>>,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        let known = Cache::builder()
            .max_weight(MAX_SCRIPT_BYTES)
            .weigher(|_, source: &Arc<[u8]>| u32::try_from(source.len() + 256).unwrap_or(u32::MAX))
            .policy(Policy::lru())
            .build();
        Self { known: known.expect("the settings are constants that go together") }
    }

    /// Adds a script, unless it is too long to be kept.
    pub(crate) fn add(&self, source: &[u8]) -> ScriptDigest {
        let digest = ScriptDigest::of(source);
        if self.known.get(&digest).is_none() {
            self.known.insert(digest, source.into());
        }
        digest
    }

    pub(crate) fn get(&self, digest: ScriptDigest) -> Option<Arc<[u8]>> {
        self.known.get(&digest)
    }

    pub(crate) fn clear(&self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_that_of_the_standard() {
        let digest = ScriptDigest::of(b"abc");
        assert_eq!(digest.as_str(), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(ScriptDigest::parse(b"A9993E364706816ABA3E25717850C26C9CD0D89D") == Some(digest));
        assert!(ScriptDigest::parse(b"a9993e").is_none());
    }

    #[test]
    fn scripts_stay_within_their_bytes() {
        let scripts = Scripts::new();
        let script = |number: u32| format!("return {number} -- {}", "x".repeat(1 << 20));
        let digests: Vec<_> =
            (0..40).map(|number| scripts.add(script(number).as_bytes())).collect();
        let known = digests.iter().filter(|digest| scripts.get(**digest).is_some()).count();
        assert!((1..=16).contains(&known), "{known}");
        assert!(scripts.get(digests[39]).is_some(), "the newest is known");
    }
}
