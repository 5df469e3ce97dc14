//! What can be wrong with a trace, and where.

use std::fmt;
use std::io;

use crate::trace::compression::Compression;

/// A position in a file, counted after decompression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// A line, from 1.
    Line(u64),
    /// An offset in bytes, from 0.
    Byte(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Line(line) => write!(f, ":{line}"),
            Position::Byte(byte) => write!(f, ": byte {byte}"),
        }
    }
}

/// The start of a piece of a file, escaped for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt(String);

impl Excerpt {
    const MAX_CHARS: usize = 40;

    pub(crate) fn new(bytes: &[u8]) -> Self {
        // A character has at most four bytes, so this cut never shortens the excerpt.
        let head = &bytes[..bytes.len().min(4 * Self::MAX_CHARS + 4)];
        let text = String::from_utf8_lossy(head);
        let mut excerpt: String =
            text.chars().take(Self::MAX_CHARS).flat_map(char::escape_debug).collect();
        if text.chars().nth(Self::MAX_CHARS).is_some() {
            excerpt.push_str("...");
        }
        Excerpt(excerpt)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// Why a trace is malformed at some position.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Problem {
    #[error("{field} {given} is not allowed; use a whole number from 0 to {max}")]
    NotANumber { field: &'static str, given: Excerpt, max: u64 },
    #[error("the {field} is empty; use a whole number from 0 to {max}")]
    EmptyNumber { field: &'static str, max: u64 },
    #[error(
        "{field} {given} was rounded by the tool that wrote it, and others with it; write all \
         digits, as `%d` does"
    )]
    Rounded { field: &'static str, given: Excerpt },
    #[error(
        "size {given} is more than an entry can weigh ({max} bytes); give sizes and capacities in \
         another unit, or leave --size-column out"
    )]
    SizeTooLarge { given: Excerpt, max: u64 },
    #[error("the count is missing; a line is `start count`, and what follows is ignored")]
    NoCount,
    #[error("count 0 asks for no block; use at least 1")]
    NoBlock,
    #[error("{count} blocks from {start} run past the last block number {}", u64::MAX)]
    PastLastBlock { start: u64, count: u64 },
    #[error("more than {limit} requests; raise --max-requests if the trace is that long")]
    TooManyRequests { limit: u32 },
    #[error("a line of more than {limit_bytes} bytes; this is no text trace, or a quote is open")]
    LineTooLong { limit_bytes: u64 },
    #[error(
        "a NUL byte in a line of text; if the trace is binary, name its --format; if it is UTF-16 \
         or UTF-32, write it as UTF-8"
    )]
    NulByte,
    #[error("malformed UTF-16; write the file anew, or as UTF-8")]
    BadUtf16,
    #[error("a carriage return within a line; end lines with a line feed")]
    LoneCarriageReturn,
    #[error("a quote is opened here and never closed")]
    OpenQuote,
    #[error(
        "{given} bytes are left of a record of {record}; the file is cut off or another format"
    )]
    TruncatedRecord { given: usize, record: usize },
    #[error("packed with {packing}, which is not read; unpack it, or pack it with gzip or zstd")]
    OtherPacking { packing: &'static str },
    #[error("{compression} data is corrupt or cut off: {reason}")]
    Corrupt { compression: Compression, reason: io::Error },
    #[error("no column is named `{name}`; the first line has {has}")]
    UnknownColumn { name: String, has: Excerpt },
    #[error("column {number} is asked for, but there are {given}")]
    TooFewColumns { number: usize, given: usize },
    #[error("{given} columns, the lines before have {expected}")]
    UnevenColumns { given: usize, expected: usize },
    #[error("more than {limit} columns; this is no trace, or the delimiter is another")]
    TooManyColumns { limit: usize },
    #[error("the key is empty")]
    EmptyKey,
    #[error("TTL {given} is not allowed; use seconds from 0 up, or leave the field empty")]
    NotATtl { given: Excerpt },
    #[error(
        "time {given} is not allowed; use a number from 0 up, in the unit of --time-unit, or a date \
         such as 2024-05-31T12:00:00Z"
    )]
    NotATime { given: Excerpt },
}

/// Why a trace could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TraceError {
    #[error("cannot open {file}")]
    Open { file: String, source: io::Error },
    #[error("cannot read {file}")]
    Read { file: String, source: io::Error },
    #[error("{file}{position}: {problem}")]
    Malformed { file: String, position: Position, problem: Problem },
    #[error("{file} holds no request")]
    Empty { file: String },
    #[error("cannot tell the format of {file} by its name ({known}); pass --format {formats}")]
    UnknownFormat { file: String, known: &'static str, formats: &'static str },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_short_and_free_of_control_characters() {
        assert_eq!(Excerpt::new(b"a\x1b[2Jb").to_string(), r"`a\u{1b}[2Jb`");
        let long = Excerpt::new(&[b'x'; 1000]).to_string();
        assert_eq!(long, format!("`{}...`", "x".repeat(Excerpt::MAX_CHARS)));
    }

    #[test]
    fn excerpt_of_broken_utf8_does_not_panic() {
        assert_eq!(Excerpt::new(&[0xff, b'a']).to_string(), "`\u{fffd}a`");
        let _ = Excerpt::new("€".repeat(100).as_bytes());
    }
}
