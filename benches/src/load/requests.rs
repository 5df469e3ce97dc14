//! The bytes of requests in each protocol, and what a reply to them has to be.
//!
//! The value of a key is the key itself, followed by a filler, so that a reply shows whose value it
//! is. What a right reply looks like is known before it arrives: it is compared with that, and
//! parsed only if it differs.

use std::io;

use clap::ValueEnum;

/// The length of every key.
pub const KEY_BYTES: usize = 16;

/// The longest first line of a reply; what has none within this is not a reply.
const MAX_LINE_BYTES: usize = 4_096;

/// One in so many replies is compared byte by byte; the others by length and key.
const COMPARED_EVERY: u64 = 64;

/// A key.
pub type Key = [u8; KEY_BYTES];

/// Writes the number of a key as its name: sixteen hexadecimal digits.
#[inline]
#[must_use]
pub fn key(number: u64) -> Key {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut key = [0; KEY_BYTES];
    for (at, digit) in key.iter_mut().enumerate() {
        *digit = DIGITS[(number >> (60 - 4 * at)) as usize & 15];
    }
    key
}

/// How client and server talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Redis's protocol, version 2
    Resp,
    /// memcached's `get` and `set`
    Text,
    /// memcached's `mg` and `ms`
    Meta,
}

impl Protocol {
    /// The name, as an option takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resp => "resp",
            Self::Text => "text",
            Self::Meta => "meta",
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Reads the value of a key
    Get,
    /// Writes the value of a key
    Set,
}

impl Operation {
    /// The name, as an option takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
        }
    }
}

/// What a reply turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The value of the key, or the confirmation of a write.
    Right,
    /// The key is absent.
    Miss,
    /// An error, or another refusal.
    Refused,
    /// A value of another length, or another value.
    Wrong,
}

/// Makes the requests of one operation in one protocol, and judges the replies.
#[derive(Clone, Debug)]
pub struct Requests {
    protocol: Protocol,
    operation: Operation,
    value_bytes: usize,
    /// The request before the key, and after it.
    before: Vec<u8>,
    after: Vec<u8>,
    /// What follows the key in its value.
    filler: Vec<u8>,
    /// A right reply before the key that repeats the request, if there is one, and from there to
    /// the value.
    reply_before: Vec<u8>,
    repeats_key: bool,
    reply_after: Vec<u8>,
    /// The end of a right reply.
    reply_end: &'static [u8],
    /// The length of a right reply.
    reply_bytes: usize,
    judged: u64,
}

impl Requests {
    /// Requests with values of `value_bytes`, of which the first are the key.
    ///
    /// # Panics
    /// If `value_bytes` is less than the length of a key.
    #[must_use]
    pub fn new(protocol: Protocol, operation: Operation, value_bytes: usize) -> Self {
        assert!(value_bytes >= KEY_BYTES, "a value holds its key");
        let n = value_bytes;
        let (before, after) = match (protocol, operation) {
            (Protocol::Resp, Operation::Get) => ("*2\r\n$3\r\nGET\r\n$16\r\n", "\r\n".to_owned()),
            (Protocol::Resp, Operation::Set) => {
                ("*3\r\n$3\r\nSET\r\n$16\r\n", format!("\r\n${n}\r\n"))
            }
            (Protocol::Text, Operation::Get) => ("get ", "\r\n".to_owned()),
            (Protocol::Text, Operation::Set) => ("set ", format!(" 0 0 {n}\r\n")),
            (Protocol::Meta, Operation::Get) => ("mg ", " v\r\n".to_owned()),
            (Protocol::Meta, Operation::Set) => ("ms ", format!(" {n}\r\n")),
        };
        let (reply_before, reply_after, reply_end) = match (protocol, operation) {
            (Protocol::Resp, Operation::Get) => (format!("${n}\r\n"), String::new(), "\r\n"),
            (Protocol::Resp, Operation::Set) => (String::new(), String::new(), "+OK\r\n"),
            (Protocol::Text, Operation::Get) => {
                ("VALUE ".to_owned(), format!(" 0 {n}\r\n"), "\r\nEND\r\n")
            }
            (Protocol::Text, Operation::Set) => (String::new(), String::new(), "STORED\r\n"),
            (Protocol::Meta, Operation::Get) => (format!("VA {n}\r\n"), String::new(), "\r\n"),
            (Protocol::Meta, Operation::Set) => (String::new(), String::new(), "HD\r\n"),
        };
        let repeats_key = (protocol, operation) == (Protocol::Text, Operation::Get);
        let mut reply_bytes = reply_before.len() + reply_after.len() + reply_end.len();
        reply_bytes += if repeats_key { KEY_BYTES } else { 0 };
        reply_bytes += if operation == Operation::Get { n } else { 0 };
        Self {
            protocol,
            operation,
            value_bytes,
            before: before.into(),
            after: after.into(),
            // No value of a server's own encoding for numbers, nor one that a line could end in.
            filler: (b'a'..=b'z').cycle().take(n - KEY_BYTES).collect(),
            reply_before: reply_before.into(),
            repeats_key,
            reply_after: reply_after.into(),
            reply_end: reply_end.as_bytes(),
            reply_bytes,
            judged: 0,
        }
    }

    /// The length of a right reply.
    #[must_use]
    pub fn reply_bytes(&self) -> usize {
        self.reply_bytes
    }

    /// Appends the request for `key` to `out`.
    #[inline]
    pub fn push(&self, out: &mut Vec<u8>, key: &Key) {
        out.extend_from_slice(&self.before);
        out.extend_from_slice(key);
        out.extend_from_slice(&self.after);
        if self.operation == Operation::Set {
            out.extend_from_slice(key);
            out.extend_from_slice(&self.filler);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Judges the reply to a request for `key` with which `bytes` begins, and returns its length;
    /// `None` if it is not there as a whole.
    ///
    /// # Errors
    /// If `bytes` does not begin with a reply of the protocol.
    #[inline]
    pub fn judge(&mut self, bytes: &[u8], key: &Key) -> io::Result<Option<(Verdict, usize)>> {
        self.judged += 1;
        if self.is_as_expected(bytes, key) {
            return Ok(Some((Verdict::Right, self.reply_bytes)));
        }
        self.parse(bytes, key)
    }

    fn is_as_expected(&self, bytes: &[u8], key: &Key) -> bool {
        let Some(reply) = bytes.get(..self.reply_bytes) else { return false };
        let Some(rest) = reply.strip_suffix(self.reply_end) else { return false };
        let Some(mut rest) = rest.strip_prefix(&*self.reply_before) else { return false };
        if self.operation == Operation::Set {
            return true;
        }
        if self.repeats_key {
            let Some(after_key) = rest.strip_prefix(key) else { return false };
            rest = after_key;
        }
        let Some(value) = rest.strip_prefix(&*self.reply_after) else { return false };
        let Some(filler) = value.strip_prefix(key) else { return false };
        !self.judged.is_multiple_of(COMPARED_EVERY) || filler == self.filler
    }

    #[cold]
    fn parse(&self, bytes: &[u8], key: &Key) -> io::Result<Option<(Verdict, usize)>> {
        let head = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
        let Some(line_end) = head.windows(2).position(|two| two == b"\r\n") else {
            if head.len() == MAX_LINE_BYTES {
                return Err(unintelligible(self.protocol, head));
            }
            return Ok(None);
        };
        let line = String::from_utf8_lossy(&head[..line_end]);
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let first = words.next().unwrap_or_default();
        let reply = match self.protocol {
            Protocol::Resp if line == "$-1" || line == "_" => Err(Verdict::Miss),
            Protocol::Resp if line.starts_with('$') => Ok((line.get(1..), "\r\n")),
            Protocol::Resp if line.starts_with(['-', '+']) => Err(Verdict::Refused),
            Protocol::Resp => return Err(unintelligible(self.protocol, head)),
            Protocol::Text if first == "VALUE" => Ok((words.nth(2), "\r\nEND\r\n")),
            Protocol::Text if first == "END" => Err(Verdict::Miss),
            Protocol::Meta if first == "VA" => Ok((words.next(), "\r\n")),
            Protocol::Meta if first == "EN" => Err(Verdict::Miss),
            Protocol::Text | Protocol::Meta => Err(Verdict::Refused),
        };
        let line_bytes = line_end + 2;
        let (number, end) = match reply {
            Ok(value) => value,
            Err(verdict) => return Ok(Some((verdict, line_bytes))),
        };
        let Some(len) = number.and_then(|number| number.parse::<usize>().ok()) else {
            return Err(unintelligible(self.protocol, head));
        };
        let total = line_bytes.saturating_add(len).saturating_add(end.len());
        let Some(rest) = bytes.get(line_bytes..total) else { return Ok(None) };
        let (value, rest) = rest.split_at(len);
        if rest != end.as_bytes() {
            return Err(unintelligible(self.protocol, head));
        }
        let is_right = self.operation == Operation::Get
            && len == self.value_bytes
            && value.strip_prefix(key) == Some(&self.filler);
        Ok(Some((if is_right { Verdict::Right } else { Verdict::Wrong }, total)))
    }
}

fn unintelligible(protocol: Protocol, bytes: &[u8]) -> io::Error {
    let shown = bytes[..bytes.len().min(64)].escape_ascii();
    let name = protocol.name();
    io::Error::new(io::ErrorKind::InvalidData, format!("not a reply in {name}: `{shown}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: [Protocol; 3] = [Protocol::Resp, Protocol::Text, Protocol::Meta];

    fn judge(
        protocol: Protocol,
        operation: Operation,
        reply: &str,
    ) -> io::Result<Option<(Verdict, usize)>> {
        let mut requests = Requests::new(protocol, operation, 20);
        // Next is one that is compared byte by byte.
        requests.judged = COMPARED_EVERY - 1;
        requests.judge(reply.as_bytes(), &key(0x1F))
    }

    fn request(protocol: Protocol, operation: Operation) -> String {
        let mut out = Vec::new();
        Requests::new(protocol, operation, 20).push(&mut out, &key(0x1F));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_are_as_the_protocols_want_them() {
        let get = Operation::Get;
        let set = Operation::Set;
        assert_eq!(request(Protocol::Resp, get), "*2\r\n$3\r\nGET\r\n$16\r\n000000000000001f\r\n");
        assert_eq!(
            request(Protocol::Resp, set),
            "*3\r\n$3\r\nSET\r\n$16\r\n000000000000001f\r\n$20\r\n000000000000001fabcd\r\n"
        );
        assert_eq!(request(Protocol::Text, get), "get 000000000000001f\r\n");
        assert_eq!(
            request(Protocol::Text, set),
            "set 000000000000001f 0 0 20\r\n000000000000001fabcd\r\n"
        );
        assert_eq!(request(Protocol::Meta, get), "mg 000000000000001f v\r\n");
        assert_eq!(
            request(Protocol::Meta, set),
            "ms 000000000000001f 20\r\n000000000000001fabcd\r\n"
        );
    }

    #[test]
    fn right_replies_are_right_and_incomplete_ones_wait() {
        for (protocol, operation, reply) in [
            (Protocol::Resp, Operation::Get, "$20\r\n000000000000001fabcd\r\n"),
            (Protocol::Resp, Operation::Set, "+OK\r\n"),
            (
                Protocol::Text,
                Operation::Get,
                "VALUE 000000000000001f 0 20\r\n000000000000001fabcd\r\nEND\r\n",
            ),
            (Protocol::Text, Operation::Set, "STORED\r\n"),
            (Protocol::Meta, Operation::Get, "VA 20\r\n000000000000001fabcd\r\n"),
            // Some versions end the line with a blank.
            (Protocol::Meta, Operation::Get, "VA 20 \r\n000000000000001fabcd\r\n"),
            (Protocol::Meta, Operation::Set, "HD\r\n"),
        ] {
            let more = format!("{reply}$20\r\n");
            let judged = judge(protocol, operation, &more).unwrap();
            assert_eq!(judged, Some((Verdict::Right, reply.len())), "{reply}");
            for len in 0..reply.len() {
                assert_eq!(judge(protocol, operation, &reply[..len]).unwrap(), None, "{reply}");
            }
        }
    }

    #[test]
    fn misses_refusals_and_other_values_are_counted_apart() {
        for (protocol, reply, verdict) in [
            (Protocol::Resp, "$-1\r\n", Verdict::Miss),
            (Protocol::Resp, "-ERR x\r\n", Verdict::Refused),
            (Protocol::Resp, "$20\r\n000000000000001fabce\r\n", Verdict::Wrong),
            (Protocol::Resp, "$20\r\n000000000000002fabcd\r\n", Verdict::Wrong),
            (Protocol::Resp, "$16\r\n000000000000001f\r\n", Verdict::Wrong),
            (Protocol::Text, "END\r\n", Verdict::Miss),
            (Protocol::Text, "SERVER_ERROR x\r\n", Verdict::Refused),
            (Protocol::Text, "VALUE 000000000000001f 0 1\r\na\r\nEND\r\n", Verdict::Wrong),
            (Protocol::Meta, "EN\r\n", Verdict::Miss),
            (Protocol::Meta, "CLIENT_ERROR x\r\n", Verdict::Refused),
            (Protocol::Meta, "VA 20\r\n000000000000001fabc0\r\n", Verdict::Wrong),
        ] {
            let judged = judge(protocol, Operation::Get, reply).unwrap();
            assert_eq!(judged, Some((verdict, reply.len())), "{reply}");
        }
        let refused = judge(Protocol::Text, Operation::Set, "NOT_STORED\r\n").unwrap();
        assert_eq!(refused, Some((Verdict::Refused, 12)));
    }

    #[test]
    fn what_is_not_a_reply_is_an_error() {
        for reply in ["hello\r\n", "$x\r\n", "$1\r\nabc\r\n", &"$".repeat(MAX_LINE_BYTES)] {
            assert!(judge(Protocol::Resp, Operation::Get, reply).is_err(), "{reply}");
        }
    }

    #[test]
    fn a_value_has_the_length_that_its_request_names() {
        for protocol in EACH {
            let mut out = Vec::new();
            Requests::new(protocol, Operation::Set, 4_096).push(&mut out, &key(u64::MAX));
            let line = out.windows(2).rposition(|two| two == b"\r\n").unwrap();
            let start = out[..line].windows(2).rposition(|two| two == b"\r\n").unwrap() + 2;
            assert_eq!(line - start, 4_096);
        }
    }
}
