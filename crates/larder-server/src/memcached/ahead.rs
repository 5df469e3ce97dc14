//! Requests that have arrived, parsed before the first of them is executed, so that the memory for all of their
//! keys is fetched at the same time.
#![forbid(unsafe_code)]

use larder::Intent;
use smallvec::SmallVec;

use super::error::MemcachedError;
use super::line::{number, words};
use crate::store::Db;

/// The longest line. Lines of keys to read, which clients send in one line however many they are, may be as long as
/// data, up to the second bound.
const MAX_LINE_BYTES: usize = 64 * 1024;
const MAX_READ_LINE_BYTES: usize = 16 << 20;
/// The most requests and words that are parsed ahead.
const MAX_REQUESTS: usize = 64;
const MAX_WORDS: usize = 512;

/// How far a request was parsed that has not arrived whole.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// How far the line was searched for its end.
    searched: usize,
    /// How many bytes the request takes, if its line has arrived.
    needed: usize,
}

impl Place {
    /// At least how many bytes are missing.
    pub(super) fn missing_bytes(&self, input: &[u8]) -> usize {
        self.needed.saturating_sub(input.len()).max(1)
    }
}

/// Why no more requests were parsed.
pub(super) enum LinesEnd<'i> {
    /// The next one has not arrived whole.
    NeedsInput,
    /// There were enough.
    HasMore,
    /// The next one is refused. It takes `bytes`, and the next `skipped` bytes of the input are its data.
    Refused {
        error: MemcachedError,
        bytes: usize,
        skipped: usize,
        /// The key that it was to overwrite, if its data is too long.
        overwritten: Option<&'i [u8]>,
        /// The client waits for no answer.
        is_quiet: bool,
    },
}

/// A request. Its words begin where those of the one before end.
struct ParsedLine<'i> {
    words_end: usize,
    data: &'i [u8],
    bytes: usize,
}

/// Requests that follow one another.
pub(super) struct ParsedLines<'i> {
    words: SmallVec<[&'i [u8]; 64]>,
    requests: SmallVec<[ParsedLine<'i>; 16]>,
    pub(super) end: LinesEnd<'i>,
}

impl<'i> ParsedLines<'i> {
    /// Parses up to `most` requests, whose data has at most `max_data` bytes. The first may have been parsed in
    /// part before.
    pub(super) fn parse(place: &mut Place, input: &'i [u8], max_data: usize, most: usize) -> Self {
        let mut parsed =
            Self { words: SmallVec::new(), requests: SmallVec::new(), end: LinesEnd::HasMore };
        let mut rest = input;
        while parsed.requests.len() < most.min(MAX_REQUESTS) && parsed.words.len() < MAX_WORDS {
            match parsed.parse_one(place, rest, max_data) {
                Ok(bytes) => {
                    *place = Place::default();
                    rest = &rest[bytes..];
                }
                Err(end) => {
                    if matches!(end, LinesEnd::Refused { .. }) {
                        *place = Place::default();
                    }
                    parsed.end = end;
                    break;
                }
            }
        }
        parsed
    }

    /// Parses the request at the beginning of `input`, and returns how many bytes it takes.
    fn parse_one(
        &mut self,
        place: &mut Place,
        input: &'i [u8],
        max_data: usize,
    ) -> Result<usize, LinesEnd<'i>> {
        let refused = |error, bytes, is_quiet| {
            Err(LinesEnd::Refused { error, bytes, skipped: 0, overwritten: None, is_quiet })
        };
        let from = place.searched.min(input.len());
        let Some(found) = input[from..].iter().position(|byte| *byte == b'\n') else {
            place.searched = input.len();
            let reads = [b"get ".as_slice(), b"gets ", b"gat ", b"gats "];
            let max_bytes = match reads.iter().any(|name| input.starts_with(name)) {
                true => max_data.clamp(MAX_LINE_BYTES, MAX_READ_LINE_BYTES),
                false => MAX_LINE_BYTES,
            };
            return match input.len() > max_bytes {
                true => refused(MemcachedError::LongLine, input.len(), false),
                false => Err(LinesEnd::NeedsInput),
            };
        };
        let end = from + found;
        // The line may be parsed again when its data has arrived.
        place.searched = end;
        let line = &input[..end];
        let words_start = self.words.len();
        self.words.extend(words(line.strip_suffix(b"\r").unwrap_or(line)));
        let start = end + 1;
        let is_quiet = is_quiet(&self.words[words_start..]);
        let length = match data_length(&self.words[words_start..]) {
            Ok(None) => return Ok(self.push_request(&[], start)),
            Ok(Some(length)) => length,
            Err(error) => {
                self.words.truncate(words_start);
                return refused(error, start, is_quiet);
            }
        };
        if length > max_data {
            let overwritten = self.words.get(words_start + 1).copied();
            let (error, skipped) = (MemcachedError::TooLarge, length.saturating_add(2));
            self.words.truncate(words_start);
            return Err(LinesEnd::Refused { error, bytes: start, skipped, overwritten, is_quiet });
        }
        let data_end = start + length;
        let Some(terminator) = input.get(data_end..data_end + 2) else {
            self.words.truncate(words_start);
            place.needed = data_end + 2;
            return Err(LinesEnd::NeedsInput);
        };
        if terminator != b"\r\n" {
            self.words.truncate(words_start);
            return refused(MemcachedError::BadData, data_end + 2, is_quiet);
        }
        Ok(self.push_request(&input[start..data_end], data_end + 2))
    }

    /// Adds a request that takes the words since the last one.
    fn push_request(&mut self, data: &'i [u8], bytes: usize) -> usize {
        self.requests.push(ParsedLine { words_end: self.words.len(), data, bytes });
        bytes
    }

    /// The requests in their order: the words, which may be none, the data, and how many bytes of the input the
    /// request takes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[&'i [u8]], &'i [u8], usize)> {
        let mut start = 0;
        self.requests.iter().map(move |request| {
            let from = std::mem::replace(&mut start, request.words_end);
            (&self.words[from..request.words_end], request.data, request.bytes)
        })
    }

    /// Prefetches what the requests need.
    pub(super) fn prefetch_keys(&self, db: Db<'_>) {
        let (mut read, mut changed) = (SmallVec::new(), SmallVec::new());
        for (words, ..) in self.iter() {
            let (keys, list): (_, &mut SmallVec<[&[u8]; 64]>) = match words {
                [b"get" | b"gets", keys @ ..] => (keys, &mut read),
                [b"mg", key, ..] => (std::slice::from_ref(key), &mut read),
                [_, key, ..] => (std::slice::from_ref(key), &mut changed),
                _ => continue,
            };
            list.extend(keys.iter().copied());
        }
        db.prefetch(&read, Intent::Read);
        db.prefetch(&changed, Intent::Change);
    }
}

/// The length of the data that follows a line, if any does.
fn data_length(words: &[&[u8]]) -> Result<Option<usize>, MemcachedError> {
    let (at, missing) = match words.first() {
        Some(&b"cas") if words.len() < 6 => (5, MemcachedError::UnknownCommand),
        Some(&(b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas")) => {
            (4, MemcachedError::UnknownCommand)
        }
        Some(&b"ms") => (2, MemcachedError::BadLine),
        _ => return Ok(None),
    };
    let length = number(words.get(at).ok_or(missing)?).ok_or(MemcachedError::BadLine)?;
    Ok(Some(length))
}

/// Whether a client that sends these words waits for no answer, not even for an error. It would mistake one for the
/// answer to its next command.
pub(super) fn is_quiet(words: &[&[u8]]) -> bool {
    words.last() == Some(&b"noreply".as_slice())
        && words.first().is_some_and(|name| QUIETABLE.contains(name))
}

/// The commands whose last word may be `noreply`.
const QUIETABLE: [&[u8]; 12] = [
    b"set",
    b"add",
    b"replace",
    b"append",
    b"prepend",
    b"cas",
    b"incr",
    b"decr",
    b"touch",
    b"delete",
    b"flush_all",
    b"verbosity",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_ends_what_is_parsed_and_names_the_key() {
        let input = b"get a b\r\nset c 0 0 1\r\nx\r\nset d 0 0 100\r\nget e\r\n";
        let mut place = Place::default();
        let parsed = ParsedLines::parse(&mut place, input, 10, 64);
        let requests: Vec<_> = parsed.iter().map(|(words, data, _)| (words.len(), data)).collect();
        assert_eq!(requests, [(3, b"".as_slice()), (5, b"x")]);
        let LinesEnd::Refused { error, bytes, skipped, overwritten, .. } = parsed.end else {
            panic!("the data is too long");
        };
        assert_eq!((error, bytes, skipped), (MemcachedError::TooLarge, 15, 102));
        assert_eq!(overwritten, Some(b"d".as_slice()));
    }

    #[test]
    fn a_request_in_pieces_is_parsed_once_it_is_whole() {
        let input = b"set c 0 0 1\r\nx\r\nmg c v\r\n";
        let (mut place, mut at, mut names) = (Place::default(), 0, Vec::new());
        for end in 0..=input.len() {
            let parsed = ParsedLines::parse(&mut place, &input[at..end], 10, 64);
            for (words, _, bytes) in parsed.iter() {
                names.push(words[0]);
                at += bytes;
            }
        }
        assert_eq!(names, [b"set".as_slice(), b"mg"]);
        assert_eq!(at, input.len());
    }
}
