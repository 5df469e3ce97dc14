//! Replies, in the form of the protocol's version that a client has chosen.
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};

use crate::decimal::push_decimal;

/// The version of the protocol of Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The version that clients begin with.
    #[default]
    Resp2,
    /// The version with maps, sets, booleans, doubles, nulls and pushes.
    Resp3,
}

/// Writes replies into the output buffer of a client.
///
/// Each method writes one value. A container writes only its head; the caller then writes its members.
#[derive(Debug)]
pub struct Reply<'o> {
    output: &'o mut Vec<u8>,
    protocol: Protocol,
}

impl<'o> Reply<'o> {
    /// Writes at the end of `output`.
    pub fn new(output: &'o mut Vec<u8>, protocol: Protocol) -> Self {
        Self { output, protocol }
    }

    /// The version in which it writes.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Changes the version, for what follows.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// How many bytes the buffer has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.output.len()
    }

    /// Whether the buffer is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.output.is_empty()
    }

    /// Takes back what was written after the buffer had `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.output.truncate(len);
    }

    fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// `OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.output.extend_from_slice(b"+OK\r\n");
    }

    /// A short text, without line ends.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error, which begins with its code. Line ends in it become spaces.
    pub fn error(&mut self, error: impl fmt::Display) {
        let start = self.output.len();
        self.line(b'-', error);
        let end = self.output.len() - 2;
        for byte in &mut self.output[start..end] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, number: impl Into<i64>) {
        let number = number.into();
        if let Ok(digit @ 0..=9) = u8::try_from(number) {
            self.output.extend_from_slice(&[b':', b'0' + digit, b'\r', b'\n']);
            return;
        }
        self.line(b':', number);
    }

    /// A count as an integer.
    pub fn count(&mut self, count: usize) {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A byte string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.head(b'$', bytes.len());
        self.output.extend_from_slice(bytes);
        self.output.extend_from_slice(b"\r\n");
    }

    /// A byte string, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Something displayed, as a byte string.
    pub fn display(&mut self, shown: impl fmt::Display) {
        self.bulk(shown.to_string().as_bytes());
    }

    /// No value.
    #[inline]
    pub fn null(&mut self) {
        self.output.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// No array.
    pub fn null_array(&mut self) {
        self.output.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The head of an array of `len` members.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.head(b'*', len);
    }

    /// The head of a map of `len` pairs of members; an array of them in version 2.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.head(b'*', len * 2),
            Protocol::Resp3 => self.head(b'%', len),
        }
    }

    /// The head of a set of `len` members; an array in version 2.
    pub fn set(&mut self, len: usize) {
        self.head(if self.is_resp3() { b'~' } else { b'*' }, len);
    }

    /// The head of a push of `len` members; an array in version 2.
    pub fn push(&mut self, len: usize) {
        self.head(if self.is_resp3() { b'>' } else { b'*' }, len);
    }

    /// A boolean; 1 or 0 in version 2.
    pub fn boolean(&mut self, is_true: bool) {
        match (self.protocol, is_true) {
            (Protocol::Resp2, _) => self.integer(is_true),
            (Protocol::Resp3, true) => self.output.extend_from_slice(b"#t\r\n"),
            (Protocol::Resp3, false) => self.output.extend_from_slice(b"#f\r\n"),
        }
    }

    /// A floating-point number; a byte string in version 2.
    pub fn double(&mut self, number: f64) {
        let text = match number {
            f64::INFINITY => "inf".to_owned(),
            f64::NEG_INFINITY => "-inf".to_owned(),
            number if number.is_nan() => "nan".to_owned(),
            number => number.to_string(),
        };
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => self.line(b',', text),
        }
    }

    /// A text to be shown to people; a byte string in version 2.
    pub fn verbatim(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.head(b'=', text.len() + 4);
                self.output.extend_from_slice(b"txt:");
                self.output.extend_from_slice(text.as_bytes());
                self.output.extend_from_slice(b"\r\n");
            }
        }
    }

    /// What another `Reply` has written, or a message that was encoded before.
    pub fn raw(&mut self, encoded: &[u8]) {
        self.output.extend_from_slice(encoded);
    }

    #[inline]
    fn head(&mut self, kind: u8, len: usize) {
        self.output.push(kind);
        push_decimal(self.output, len);
        self.output.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, kind: u8, shown: impl fmt::Display) {
        self.output.push(kind);
        // Writing into a vector cannot fail.
        let _ = write!(Text(self.output), "{shown}");
        self.output.extend_from_slice(b"\r\n");
    }
}

/// Text at the end of a buffer.
struct Text<'o>(&'o mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut output = Vec::new();
        write(&mut Reply::new(&mut output, protocol));
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn values_have_the_form_of_the_version() {
        let write = |reply: &mut Reply<'_>| {
            reply.map(1);
            reply.bulk(b"key");
            reply.null();
            reply.boolean(true);
            reply.double(1.5);
            reply.integer(-7);
            reply.error("ERR a\r\nb");
        };
        assert_eq!(
            written(Protocol::Resp2, write),
            "*2\r\n$3\r\nkey\r\n$-1\r\n:1\r\n$3\r\n1.5\r\n:-7\r\n-ERR a  b\r\n"
        );
        assert_eq!(
            written(Protocol::Resp3, write),
            "%1\r\n$3\r\nkey\r\n_\r\n#t\r\n,1.5\r\n:-7\r\n-ERR a  b\r\n"
        );
        for len in [0, 9, 10, 99, 100, 12_345] {
            assert_eq!(written(Protocol::Resp2, |reply| reply.array(len)), format!("*{len}\r\n"));
        }
    }
}
