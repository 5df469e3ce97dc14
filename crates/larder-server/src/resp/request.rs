//! Requests: arrays of bulk strings, or lines of words.
//!
//! The parser keeps its place between calls, so a request that arrives in many pieces costs no more than one
//! that arrives whole. It takes no memory for what has not arrived: lengths only move its place.
#![forbid(unsafe_code)]

use thiserror::Error;

/// The longest line: of a request in words, or of a length.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a request may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestLimits {
    /// The most arguments.
    pub arguments: usize,
    /// The longest argument in bytes.
    pub argument_bytes: usize,
    /// The most bytes of all arguments together.
    pub request_bytes: usize,
}

impl RequestLimits {
    /// The limits of a client that has not authenticated yet.
    pub const UNAUTHENTICATED: Self =
        Self { arguments: 10, argument_bytes: 16 * 1024, request_bytes: 64 * 1024 };
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { arguments: 1 << 20, argument_bytes: 512 << 20, request_bytes: 1 << 30 }
    }
}

/// Bytes that are not a request. The connection is closed after the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The number of arguments is not a number, or is too large.
    #[error("Protocol error: invalid multibulk length")]
    ArrayLength,
    /// The same from a client that has to authenticate first.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedArrayLength,
    /// The length of an argument is not a number, or is too large.
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// The same from a client that has to authenticate first.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// An argument does not begin with a dollar sign.
    #[error("Protocol error: expected '$', got '{}'", .0.escape_ascii())]
    ExpectedDollar(u8),
    /// A line of words is too long.
    #[error("Protocol error: too big inline request")]
    LongLine,
    /// The line of the number of arguments is too long.
    #[error("Protocol error: too big mbulk count string")]
    LongArrayLine,
    /// The line of the length of an argument is too long.
    #[error("Protocol error: too big bulk count string")]
    LongBulkLine,
    /// A quote of a line of words is not closed.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The arguments are too long together.
    #[error("Protocol error: request is too large")]
    RequestTooLarge,
}

/// Parses requests out of the bytes of a connection.
///
/// The caller appends what it reads to a buffer and calls [`parse`](Self::parse) with the part of it that was
/// not consumed yet.
#[derive(Debug, Default)]
pub struct RequestParser {
    /// Where the arguments are that have arrived, relative to the start of the request.
    arguments: Vec<(usize, usize)>,
    /// The arguments of a line of words with quotes, which are not what the buffer has.
    words: Vec<Vec<u8>>,
    /// How many arguments are missing; `None` before the line that says how many there are.
    missing: Option<usize>,
    /// The length of the next argument, if its line has arrived.
    next_bytes: Option<usize>,
    /// Up to here, the request was parsed.
    position: usize,
    /// Up to here, no end of the line was found.
    searched: usize,
}

impl RequestParser {
    /// Parses the request at the beginning of `input`; `None` if it has not arrived whole. Otherwise the number
    /// of bytes that it takes, and [`arguments`](Self::arguments) has its arguments, which may be none. Call
    /// [`reset`](Self::reset) before the next request.
    ///
    /// # Errors
    /// A [`ProtocolError`]. What follows cannot be parsed.
    #[inline]
    pub fn parse(
        &mut self,
        input: &[u8],
        limits: &RequestLimits,
    ) -> Result<Option<usize>, ProtocolError> {
        if self.missing.is_none() {
            match input.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.parse_words(input),
            }
            let long = ProtocolError::LongArrayLine;
            let Some((line, end)) = self.line(input, 1, long)? else { return Ok(None) };
            let count = parse_length(line).ok_or(ProtocolError::ArrayLength)?;
            let count = usize::try_from(count).unwrap_or(0);
            if count > limits.arguments {
                return Err(match limits.is_unauthenticated() {
                    true => ProtocolError::UnauthenticatedArrayLength,
                    false => ProtocolError::ArrayLength,
                });
            }
            self.missing = Some(count);
            self.move_to(end);
        }
        self.parse_arguments(input, limits)
    }

    fn parse_arguments(
        &mut self,
        input: &[u8],
        limits: &RequestLimits,
    ) -> Result<Option<usize>, ProtocolError> {
        while let Some(missing @ 1..) = self.missing {
            let length = match self.next_bytes {
                Some(length) => length,
                None => match self.parse_bulk_length(input, limits)? {
                    Some(length) => length,
                    None => return Ok(None),
                },
            };
            let (start, end) = (self.position, self.position + length);
            // The two bytes after an argument end its line; as with Redis, nobody reads them.
            if input.len() < end + 2 {
                return Ok(None);
            }
            self.arguments.push((start, end));
            self.next_bytes = None;
            self.missing = Some(missing - 1);
            self.move_to(end + 2);
        }
        Ok(Some(self.position))
    }

    fn parse_bulk_length(
        &mut self,
        input: &[u8],
        limits: &RequestLimits,
    ) -> Result<Option<usize>, ProtocolError> {
        match input.get(self.position) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::ExpectedDollar(*other)),
        }
        let start = self.position + 1;
        let Some((line, end)) = self.line(input, start, ProtocolError::LongBulkLine)? else {
            return Ok(None);
        };
        let length = parse_length(line).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or(ProtocolError::BulkLength)?;
        if length > limits.argument_bytes {
            return Err(match limits.is_unauthenticated() {
                true => ProtocolError::UnauthenticatedBulkLength,
                false => ProtocolError::BulkLength,
            });
        }
        if end.saturating_add(length) > limits.request_bytes {
            return Err(ProtocolError::RequestTooLarge);
        }
        self.next_bytes = Some(length);
        self.move_to(end);
        Ok(Some(length))
    }

    /// The line that begins at `start`, without its end, and where the next one begins.
    #[inline]
    fn line<'i>(
        &mut self,
        input: &'i [u8],
        start: usize,
        long: ProtocolError,
    ) -> Result<Option<(&'i [u8], usize)>, ProtocolError> {
        let from = self.searched.max(start);
        let rest = input.get(from..).unwrap_or_default();
        let Some(found) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = input.len();
            return if input.len() - start > MAX_LINE_BYTES { Err(long) } else { Ok(None) };
        };
        let end = from + found;
        if end - start > MAX_LINE_BYTES {
            return Err(long);
        }
        let line = &input[start..end];
        Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1)))
    }

    #[inline]
    fn move_to(&mut self, position: usize) {
        self.position = position;
        self.searched = position;
    }

    fn parse_words(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some((line, end)) = self.line(input, 0, ProtocolError::LongLine)? else {
            return Ok(None);
        };
        self.words = split_words(line).ok_or(ProtocolError::UnbalancedQuotes)?;
        Ok(Some(end))
    }

    /// The arguments of the request at the beginning of `input`, which was parsed.
    pub fn arguments<'i>(&'i self, input: &'i [u8]) -> impl Iterator<Item = &'i [u8]> {
        self.arguments_in(input).chain(self.words.iter().map(Vec::as_slice))
    }

    /// Its arguments that lie in the input: all of them, unless it [is a line of words](Self::has_words).
    #[inline]
    pub(crate) fn arguments_in<'i>(&self, input: &'i [u8]) -> impl Iterator<Item = &'i [u8]> {
        self.arguments.iter().map(|(start, end)| &input[*start..*end])
    }

    /// Whether the request that was parsed is a line of words.
    #[inline]
    pub(crate) fn has_words(&self) -> bool {
        !self.words.is_empty()
    }

    /// At least how many bytes are needed until the request is whole, beyond those that were parsed; a hint for
    /// the size of the buffer.
    #[must_use]
    pub fn missing_bytes(&self, input: &[u8]) -> usize {
        self.next_bytes.map_or(1, |bytes| (self.position + bytes + 2).saturating_sub(input.len()))
    }

    /// What it keeps of a request that has arrived in part, beside the caller's buffer.
    pub(crate) fn held_bytes(&self) -> usize {
        self.arguments.capacity() * size_of::<(usize, usize)>()
    }

    /// Begins the next request.
    #[inline]
    pub fn reset(&mut self) {
        self.arguments.clear();
        if self.arguments.capacity() > 1024 {
            self.arguments = Vec::new();
        }
        if !self.words.is_empty() {
            self.words = Vec::new();
        }
        self.missing = None;
        self.next_bytes = None;
        self.move_to(0);
    }
}

impl RequestLimits {
    fn is_unauthenticated(&self) -> bool {
        *self == Self::UNAUTHENTICATED
    }
}

/// A number in decimal digits, as lengths are written; `None` if it is not one.
fn parse_length(line: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut number = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
    }
    Some(if is_negative { -number } else { number })
}

/// The words of a line, as a shell would split it: words in double quotes may have escapes. `None` if a
/// quote is not closed, or is followed by anything but a space.
fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut words, mut rest) = (Vec::new(), line);
    loop {
        rest = rest.trim_ascii_start();
        match *rest {
            [] => return Some(words),
            [b'"', ref after @ ..] => {
                let (word, after) = double_quoted(after)?;
                words.push(word);
                rest = after;
            }
            [b'\'', ref after @ ..] => {
                let (word, after) = single_quoted(after)?;
                words.push(word);
                rest = after;
            }
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                words.push(word.to_vec());
                rest = after;
            }
        }
        if rest.first().is_some_and(|next| !next.is_ascii_whitespace()) {
            return None;
        }
    }
}

fn double_quoted(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match *rest {
            [] => return None,
            [b'"', ref after @ ..] => return Some((word, after)),
            [b'\\', b'x', high, low, ref after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
                word.push(u8::try_from(digit(high) * 16 + digit(low)).unwrap_or_default());
                rest = after;
            }
            [b'\\', escaped, ref after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                rest = after;
            }
            [byte, ref after @ ..] => {
                word.push(byte);
                rest = after;
            }
        }
    }
}

fn single_quoted(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match *rest {
            [] => return None,
            [b'\'', ref after @ ..] => return Some((word, after)),
            [b'\\', b'\'', ref after @ ..] => {
                word.push(b'\'');
                rest = after;
            }
            [byte, ref after @ ..] => {
                word.push(byte);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(input: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut parser, mut requests, mut rest) = (RequestParser::default(), Vec::new(), input);
        let limits = RequestLimits::default();
        while let Some(consumed) = parser.parse(rest, &limits)? {
            requests.push(parser.arguments(rest).map(<[u8]>::to_vec).collect());
            parser.reset();
            rest = &rest[consumed..];
        }
        Ok(requests)
    }

    #[test]
    fn requests_are_parsed_however_they_are_cut() {
        let input = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING\r\n*0\r\n*-1\r\n*1\r\n$0\r\n\r\nSET a \"b\\x41\\n\"\r\n";
        let whole = parse_all(input).unwrap();
        assert_eq!(whole.len(), 6);
        assert_eq!(whole[0], [b"GET".to_vec(), b"k".to_vec()]);
        assert_eq!(whole[5], [b"SET".to_vec(), b"a".to_vec(), b"bA\n".to_vec()]);
        // Byte by byte.
        let (mut parser, mut requests, mut buffer) =
            (RequestParser::default(), Vec::new(), Vec::new());
        for byte in input {
            buffer.push(*byte);
            while let Some(end) = parser.parse(&buffer, &RequestLimits::default()).unwrap() {
                requests.push(parser.arguments(&buffer).map(<[u8]>::to_vec).collect::<Vec<_>>());
                parser.reset();
                buffer.drain(..end);
            }
        }
        assert_eq!(requests, whole);
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for (input, error) in [
            (&b"*x\r\n"[..], ProtocolError::ArrayLength),
            (b"*20000000\r\n", ProtocolError::ArrayLength),
            (b"*1\r\nx", ProtocolError::ExpectedDollar(b'x')),
            (b"*1\r\n$-1\r\n", ProtocolError::BulkLength),
            (b"*1\r\n$9999999999\r\n", ProtocolError::BulkLength),
            (b"SET a \"b\r\n", ProtocolError::UnbalancedQuotes),
        ] {
            assert_eq!(parse_all(input), Err(error), "{}", input.escape_ascii());
        }
        let long = vec![b'a'; MAX_LINE_BYTES + 2];
        assert_eq!(parse_all(&long), Err(ProtocolError::LongLine));
        assert_eq!(
            parse_all(&[b"*".as_slice(), &long].concat()),
            Err(ProtocolError::LongArrayLine)
        );
    }
}
