//! The value of a row in a database file.
//!
//! ```text
//! | version 1 | checksum 4 | expires 8 | tags 1 | for each tag: length 2, name | value … |
//! ```
//! Numbers are little-endian. The checksum is the CRC-32 of all that follows it. `expires` is milliseconds
//! since 1970, [`NEVER`] for a record without a time to live. The value has the bytes that its codec gives it,
//! up to the end of the row.

use std::error::Error;
use std::fmt;

/// The version that this build writes and reads.
pub(crate) const VERSION: u8 = 1;
/// `expires` of a record that does not expire.
pub(crate) const NEVER: u64 = u64::MAX;

const CHECKSUM_AT: usize = 1;
const EXPIRES_AT: usize = 5;
const TAGS_AT: usize = 13;
const _: () = assert!(EXPIRES_AT == CHECKSUM_AT + 4 && TAGS_AT == EXPIRES_AT + 8);

/// A row as it was read; the value is still encoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row<'b> {
    pub(crate) expires_ms: u64,
    pub(crate) tags: Vec<String>,
    pub(crate) value: &'b [u8],
}

/// What is wrong with the bytes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowError {
    /// The row ends too early.
    Truncated {
        /// How many bytes it has.
        bytes: usize,
    },
    /// Another version has written the row, or it is not a row.
    UnknownVersion {
        /// The version that the row states.
        found: u8,
    },
    /// The bytes of the row are not those that were written.
    BadChecksum,
    /// A tag is not text.
    BadTag,
    /// A row cannot hold so many tags, or so long a name.
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How many there are, or how long it is.
        given: usize,
    },
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { bytes } => write!(f, "the row ends after {bytes} bytes"),
            Self::UnknownVersion { found } => {
                write!(f, "the row has version {found}; this build reads version {VERSION}")
            }
            Self::BadChecksum => f.write_str("the checksum of the row does not fit its bytes"),
            Self::BadTag => f.write_str("a tag of the row is not UTF-8"),
            Self::TooMuch { what, given } => {
                write!(f, "{what} of {given} exceeds what a row holds")
            }
        }
    }
}

impl Error for RowError {}

/// The bytes of a row.
pub(crate) fn encode(expires_ms: u64, tags: &[String], value: &[u8]) -> Result<Vec<u8>, RowError> {
    let too_much = |what, given| RowError::TooMuch { what, given };
    let count = u8::try_from(tags.len()).map_err(|_| too_much("a number of tags", tags.len()))?;
    let names: usize = tags.iter().map(|tag| 2 + tag.len()).sum();
    let mut row = Vec::with_capacity(TAGS_AT + 1 + names + value.len());
    row.push(VERSION);
    row.extend([0; 4]);
    row.extend(expires_ms.to_le_bytes());
    row.push(count);
    for tag in tags {
        let length = u16::try_from(tag.len()).map_err(|_| too_much("a tag's length", tag.len()))?;
        row.extend(length.to_le_bytes());
        row.extend(tag.as_bytes());
    }
    row.extend(value);
    let checksum = crc32fast::hash(&row[EXPIRES_AT..]);
    row[CHECKSUM_AT..EXPIRES_AT].copy_from_slice(&checksum.to_le_bytes());
    Ok(row)
}

/// When a row expires, without a check of its other bytes; `None` if it is not a row.
pub(crate) fn expires_ms(bytes: &[u8]) -> Option<u64> {
    (bytes.first() == Some(&VERSION)).then_some(())?;
    Some(u64::from_le_bytes(bytes.get(EXPIRES_AT..TAGS_AT)?.try_into().ok()?))
}

/// Reads a row, whatever the bytes are.
pub(crate) fn decode(bytes: &[u8]) -> Result<Row<'_>, RowError> {
    let truncated = || RowError::Truncated { bytes: bytes.len() };
    match bytes.first() {
        None => return Err(truncated()),
        Some(&VERSION) => {}
        Some(&found) => return Err(RowError::UnknownVersion { found }),
    }
    let (checksum, checked) = bytes[CHECKSUM_AT..].split_first_chunk().ok_or_else(truncated)?;
    if crc32fast::hash(checked) != u32::from_le_bytes(*checksum) {
        return Err(RowError::BadChecksum);
    }
    let (expires_ms, rest) = checked.split_first_chunk().ok_or_else(truncated)?;
    let (&count, mut rest) = rest.split_first().ok_or_else(truncated)?;
    let mut tags = Vec::new();
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk().ok_or_else(truncated)?;
        let length = usize::from(u16::from_le_bytes(*length));
        let (name, after) = after.split_at_checked(length).ok_or_else(truncated)?;
        tags.push(str::from_utf8(name).map_err(|_| RowError::BadTag)?.to_owned());
        rest = after;
    }
    Ok(Row { expires_ms: u64::from_le_bytes(*expires_ms), tags, value: rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags() -> Vec<String> {
        vec!["orders".to_owned(), String::new(), "größe".to_owned()]
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        for tags in [Vec::new(), tags()] {
            for value in [&b""[..], b"value"] {
                for expires_ms in [0, 1_700_000_000_000, NEVER] {
                    let bytes = encode(expires_ms, &tags, value).unwrap();
                    assert_eq!(super::expires_ms(&bytes), Some(expires_ms));
                    assert_eq!(decode(&bytes), Ok(Row { expires_ms, tags: tags.clone(), value }));
                }
            }
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let bytes = encode(7, &tags(), b"value").unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(decode(&changed).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn hostile_lengths_of_a_right_checksum_are_errors() {
        let forge = |rest: &[u8]| {
            let mut bytes = vec![VERSION];
            bytes.extend(crc32fast::hash(rest).to_le_bytes());
            bytes.extend(rest);
            bytes
        };
        assert!(matches!(decode(&forge(b"")), Err(RowError::Truncated { .. })));
        assert!(matches!(decode(&forge(&[0; 8])), Err(RowError::Truncated { .. })));
        let many_tags = [&[0; 8][..], &[255]].concat();
        assert!(matches!(decode(&forge(&many_tags)), Err(RowError::Truncated { .. })));
        let long_tag = [&[0; 8][..], &[1, 255, 255, b'x']].concat();
        assert!(matches!(decode(&forge(&long_tag)), Err(RowError::Truncated { .. })));
        let no_text = [&[0; 8][..], &[1, 1, 0, 255]].concat();
        assert_eq!(decode(&forge(&no_text)), Err(RowError::BadTag));
    }

    #[test]
    fn what_a_row_cannot_hold_is_an_error() {
        let many = vec![String::new(); 256];
        assert!(matches!(encode(NEVER, &many, b""), Err(RowError::TooMuch { given: 256, .. })));
        let long = ["x".repeat(65_536)];
        assert!(matches!(encode(NEVER, &long, b""), Err(RowError::TooMuch { given: 65_536, .. })));
    }
}
