//! The parts of a line of the memcached protocol.
#![forbid(unsafe_code)]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;

use super::error::MemcachedError;
use crate::bytes::Bytes;
use crate::store::Lifetime;
use crate::unix_time;

/// The longest key.
pub(crate) const MAX_KEY_BYTES: usize = 250;
/// The longest token that a client may ask to have repeated, with the letter before it.
const MAX_OPAQUE_BYTES: usize = 32;
/// The flags of all meta commands.
const KNOWN_FLAGS: &[u8] = b"bcfhklqstuvxCDEFIJLMNOPRT";
/// Times up to thirty days are relative, longer ones since 1970.
const MAX_RELATIVE_S: i64 = 60 * 60 * 24 * 30;

/// The words of a line.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

/// A number in decimal digits.
pub(crate) fn number<N: std::str::FromStr>(word: &[u8]) -> Option<N> {
    // `parse` would take a plus sign too.
    if word.first() == Some(&b'+') {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Checks the key of a line.
pub(crate) fn check_key(key: &[u8]) -> Result<&[u8], MemcachedError> {
    let is_control = |byte: &u8| byte.is_ascii_control();
    match key.is_empty() || key.len() > MAX_KEY_BYTES || key.iter().any(is_control) {
        true => Err(MemcachedError::BadLine),
        false => Ok(key),
    }
}

/// When an entry expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expires {
    Never,
    After(Duration),
    /// The time has passed.
    Now,
}

impl Expires {
    /// What a number of seconds means: 0 never, up to thirty days from now, and beyond since 1970.
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        let Ok(positive) = u64::try_from(seconds) else { return Self::Now };
        if positive == 0 {
            return Self::Never;
        }
        if seconds <= MAX_RELATIVE_S {
            return Self::After(Duration::from_secs(positive));
        }
        match unix_time::lifetime_until(seconds.saturating_mul(1000)) {
            Duration::ZERO => Self::Now,
            left => Self::After(left),
        }
    }

    /// The lifetime of a value that is written with it.
    pub(crate) fn lifetime(self) -> Lifetime {
        match self {
            Self::Never => Lifetime::Fresh,
            Self::After(time) => Lifetime::For(time),
            Self::Now => Lifetime::For(Duration::ZERO),
        }
    }

    /// The new lifetime of an existing entry.
    pub(crate) fn ttl(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(time) => Some(time),
            Self::Now => Some(Duration::ZERO),
        }
    }
}

/// The flags of a meta command: a letter each, some with a token.
#[derive(Debug)]
pub(crate) struct MetaFlags<'l> {
    flags: SmallVec<[(u8, &'l [u8]); 12]>,
}

impl<'l> MetaFlags<'l> {
    /// Reads them. All commands know the same flags: one without a meaning for a command is not an error, nor are those
    /// for proxies.
    pub(crate) fn parse(words: &[&'l [u8]]) -> Result<Self, MemcachedError> {
        let mut flags: SmallVec<[(u8, &'l [u8]); 12]> = SmallVec::new();
        for word in words {
            let Some((letter, token)) = word.split_first() else { continue };
            if !KNOWN_FLAGS.contains(letter) {
                return Err(MemcachedError::InvalidFlag);
            }
            if flags.iter().any(|(other, _)| other == letter) {
                return Err(MemcachedError::DuplicateFlag);
            }
            if *letter == b'O' && word.len() > MAX_OPAQUE_BYTES {
                return Err(MemcachedError::LongOpaque);
            }
            flags.push((*letter, token));
        }
        Ok(Self { flags })
    }

    pub(crate) fn has(&self, letter: u8) -> bool {
        self.flags.iter().any(|(flag, _)| *flag == letter)
    }

    /// The token of a flag.
    pub(crate) fn token(&self, letter: u8) -> Option<&'l [u8]> {
        self.flags.iter().find_map(|(flag, token)| (*flag == letter).then_some(*token))
    }

    /// The token of a flag as a number.
    pub(crate) fn number<N: std::str::FromStr>(
        &self,
        letter: u8,
    ) -> Result<Option<N>, MemcachedError> {
        let Some(token) = self.token(letter) else { return Ok(None) };
        number(token).map(Some).ok_or(MemcachedError::BadToken)
    }

    /// The token of a flag as a time.
    pub(crate) fn expires(&self, letter: u8) -> Result<Option<Expires>, MemcachedError> {
        Ok(self.number(letter)?.map(Expires::from_seconds))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &'l [u8])> {
        self.flags.iter().copied()
    }

    /// The key that a word stands for, which may be in base 64.
    pub(crate) fn key(&self, word: &[u8]) -> Result<Bytes, MemcachedError> {
        check_key(word)?;
        if !self.has(b'b') {
            return Ok(Bytes::from(word));
        }
        let decoded = STANDARD.decode(word).map_err(|_| MemcachedError::BadKey)?;
        if decoded.is_empty() || decoded.len() > MAX_KEY_BYTES {
            return Err(MemcachedError::BadKey);
        }
        Ok(Bytes::from(decoded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix_time::MAX_LIFETIME;

    #[test]
    fn times_are_relative_up_to_thirty_days() {
        assert_eq!(Expires::from_seconds(0), Expires::Never);
        assert_eq!(Expires::from_seconds(-1), Expires::Now);
        let month = MAX_RELATIVE_S.unsigned_abs();
        assert_eq!(
            Expires::from_seconds(MAX_RELATIVE_S),
            Expires::After(Duration::from_secs(month))
        );
        assert_eq!(Expires::from_seconds(MAX_RELATIVE_S + 1), Expires::Now, "in January 1970");
        for far in [1 << 40, i64::MAX] {
            assert_eq!(Expires::from_seconds(far), Expires::After(MAX_LIFETIME));
        }
    }

    #[test]
    fn flags_that_are_unknown_or_doubled_are_errors() {
        let parse = |line: &'static [u8]| MetaFlags::parse(&words(line).collect::<Vec<_>>());
        assert_eq!(parse(b"v t v").unwrap_err(), MemcachedError::DuplicateFlag);
        assert_eq!(parse(b"v !").unwrap_err(), MemcachedError::InvalidFlag);
        assert_eq!(parse(b"Oabc v").unwrap().token(b'O'), Some(b"abc".as_slice()));
        assert_eq!(number::<u64>(b"+1"), None);
    }
}
