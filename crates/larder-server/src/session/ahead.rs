//! Requests that have arrived, parsed before the first of them is executed.
//!
//! A request mostly waits for memory: for the bucket of its key, then for the entry, then for the value. With
//! several requests at hand, the memory for all of them is fetched at the same time.
#![forbid(unsafe_code)]

use larder::Intent;
use smallvec::SmallVec;

use super::command::{Args, Command, CommandTable, Flags};
use crate::resp::{ProtocolError, RequestLimits, RequestParser};
use crate::store::Db;

/// The most requests and arguments that are parsed ahead.
const MAX_REQUESTS: usize = 64;
const MAX_ARGUMENTS: usize = 512;

/// Why no more requests were parsed.
pub(super) enum ParseEnd {
    /// The next one has not arrived whole.
    NeedsInput,
    /// There were enough. The caller resets the parser.
    HasMore,
    /// What follows is not a request.
    Error(ProtocolError),
}

/// A request. Its arguments begin where those of the one before end.
struct ParsedRequest {
    command: Option<(usize, &'static Command)>,
    arguments_end: usize,
    bytes: usize,
}

/// Requests that follow one another.
pub(super) struct ParsedRequests<'i> {
    commands: &'static CommandTable,
    arguments: SmallVec<[&'i [u8]; 64]>,
    requests: SmallVec<[ParsedRequest; 16]>,
    end: ParseEnd,
}

impl<'i> ParsedRequests<'i> {
    /// Parses up to `most` requests. The first may have been parsed in part before, from the same input.
    #[inline]
    pub(super) fn parse(
        commands: &'static CommandTable,
        parser: &'i mut RequestParser,
        input: &'i [u8],
        limits: &RequestLimits,
        most: usize,
    ) -> Self {
        let mut parsed = Self {
            commands,
            arguments: SmallVec::new(),
            requests: SmallVec::new(),
            end: ParseEnd::HasMore,
        };
        let (mut rest, mut words_bytes) = (input, None);
        while parsed.requests.len() < most.min(MAX_REQUESTS)
            && parsed.arguments.len() < MAX_ARGUMENTS
        {
            match parser.parse(rest, limits) {
                Ok(Some(bytes)) if parser.has_words() => {
                    // The parser keeps the words of one line at a time.
                    words_bytes = parsed.requests.is_empty().then_some(bytes);
                    break;
                }
                Ok(Some(bytes)) => {
                    parsed.arguments.extend(parser.arguments_in(rest));
                    parsed.push_request(bytes);
                    parser.reset();
                    rest = &rest[bytes..];
                }
                Ok(None) => {
                    parsed.end = ParseEnd::NeedsInput;
                    break;
                }
                Err(error) => {
                    parsed.end = ParseEnd::Error(error);
                    break;
                }
            }
        }
        if let Some(bytes) = words_bytes {
            parsed.arguments.extend(parser.arguments(rest));
            parsed.push_request(bytes);
        }
        parsed
    }

    /// Adds a request that takes the arguments since the last one.
    #[inline]
    fn push_request(&mut self, bytes: usize) {
        let start = self.requests.last().map_or(0, |request| request.arguments_end);
        let command = self.arguments.get(start).and_then(|name| self.commands.find(name));
        self.requests.push(ParsedRequest { command, arguments_end: self.arguments.len(), bytes });
    }

    /// The requests in their order: the command and its index, if there is one of this name, the arguments,
    /// which may be none, and how many bytes of the input the request takes.
    #[inline]
    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (Option<(usize, &'static Command)>, &Args<'i>, usize)> {
        let mut start = 0;
        self.requests.iter().map(move |request| {
            let from = std::mem::replace(&mut start, request.arguments_end);
            let arguments = &self.arguments[from..request.arguments_end];
            (request.command, arguments, request.bytes)
        })
    }

    /// Why there are no more.
    pub(super) fn into_end(self) -> ParseEnd {
        self.end
    }

    /// Prefetches what the requests need, if there are several.
    #[inline]
    pub(super) fn prefetch_keys(&self, db: Db<'_>) {
        if self.requests.len() < 2 {
            return;
        }
        let (mut read, mut changed) = (SmallVec::new(), SmallVec::new());
        for (found, arguments, _) in self.iter() {
            let Some((_, command)) = found else { continue };
            let keys: &mut SmallVec<[&[u8]; 64]> =
                if command.flags.has(Flags::WRITE) { &mut changed } else { &mut read };
            keys.extend(command.keys.of(arguments));
        }
        db.prefetch(&read, Intent::Read);
        db.prefetch(&changed, Intent::Change);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    type Parsed = (Vec<Vec<Vec<u8>>>, usize);

    /// The requests that are parsed at once, and how many bytes they take.
    fn parse(parser: &mut RequestParser, input: &[u8], most: usize) -> Parsed {
        let limits = RequestLimits::default();
        static COMMANDS: LazyLock<CommandTable> =
            LazyLock::new(|| CommandTable::new(Vec::new(), |_| Ok(())));
        let parsed = ParsedRequests::parse(&COMMANDS, parser, input, &limits, most);
        let owned = |args: &Args<'_>| args.iter().map(|arg| arg.to_vec()).collect::<Vec<_>>();
        let requests = parsed.iter().map(|(_, args, _)| owned(args)).collect();
        (requests, parsed.iter().map(|(.., bytes)| bytes).sum())
    }

    #[test]
    fn lines_of_words_stand_between_arrays_and_stay_in_their_order() {
        let input = b"*1\r\n$4\r\nPING\r\nGET a\r\nGET b\r\n*0\r\n*2\r\n$3\r\nGET\r\n$1\r\nc\r\n*1\r\n$4\r\nPI";
        let (mut parser, mut at, mut names) = (RequestParser::default(), 0, Vec::new());
        for step in [1, 1, 1, 2] {
            let (requests, bytes) = parse(&mut parser, &input[at..], 64);
            assert_eq!(requests.len(), step);
            names.extend(requests.iter().map(|args| args.concat()));
            at += bytes;
            if step == 1 {
                parser.reset();
            }
        }
        let expected: [&[u8]; 5] = [b"PING", b"GETa", b"GETb", b"", b"GETc"];
        assert_eq!(names, expected);
        // The last one goes on where it was cut.
        let rest = [&input[at..], b"NG\r\n"].concat();
        assert_eq!(parse(&mut parser, &rest, 64), (vec![vec![b"PING".to_vec()]], rest.len()));
    }

    #[test]
    fn no_more_are_parsed_than_asked_for() {
        let input = b"*1\r\n$4\r\nPING\r\n".repeat(5);
        let mut parser = RequestParser::default();
        assert_eq!(parse(&mut parser, &input, 1).1, input.len() / 5);
        assert_eq!(parse(&mut parser, &input[input.len() / 5..], 3).0.len(), 3);
    }
}
