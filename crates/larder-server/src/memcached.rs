//! The protocols of memcached: text and meta.
//!
//! Both use database 0 of the store, so a value is the same through every door. Values that clients of Redis have
//! stored as hashes are errors here.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use crate::client::Client;
use crate::conversation::{BatchEnd, Conversation};
use crate::leases::Leases;
use crate::shared::Shared;
use crate::stats::{MemcachedCount, ThreadStats};
use crate::store::Db;

mod meta;
mod text;
mod line;
mod error;

use error::MemcachedError;
use line::{Words, number, words};

/// After so many commands or bytes of replies, a client's batch ends, so that others get their turn.
const BATCH_COMMANDS: usize = 256;
const BATCH_REPLY_BYTES: usize = 256 * 1024;
/// The longest line: a `get` of many keys.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// The longest data of a client that has not authenticated yet: a user name and a password.
const MAX_CREDENTIALS_BYTES: usize = 1024;

/// A client of memcached, as its own task knows it.
pub(crate) struct MemcachedSession {
    shared: Arc<Shared>,
    client: Arc<Client>,
    thread: usize,
    is_authenticated: bool,
    closes: bool,
    /// How many bytes of data that was refused are still to come.
    skipped: usize,
    /// How far the line was searched for its end.
    searched: usize,
    /// How many bytes the data of the command needs that has begun to arrive.
    needed: usize,
}

/// What a request needs before it can be executed.
#[expect(clippy::large_enum_variant, reason = "it lives for one step, on the stack")]
enum Request<'i> {
    /// It is whole: its words, its data if it has any, and how many bytes it takes.
    Whole { words: Words<'i>, data: &'i [u8], bytes: usize },
    /// More bytes.
    Incomplete,
    /// Its data is too long, or its end is wrong.
    Refused { error: MemcachedError, bytes: usize, skipped: usize },
}

impl MemcachedSession {
    pub(crate) fn new(shared: Arc<Shared>, client: Arc<Client>, thread: usize) -> Self {
        let is_authenticated = shared.settings().password().is_none();
        Self {
            shared,
            client,
            thread,
            is_authenticated,
            closes: false,
            skipped: 0,
            searched: 0,
            needed: 0,
        }
    }

    fn db(&self) -> Db<'_> {
        self.shared.store.db(0, Some(self.client.id))
    }

    fn leases(&self) -> &Leases {
        &self.shared.leases
    }

    fn count(&self, what: MemcachedCount) {
        ThreadStats::add(&self.stats().memcached[what as usize], 1);
    }

    /// Counts a lookup of a key.
    fn count_lookup(&self, is_hit: bool) {
        self.count(if is_hit { MemcachedCount::GetHits } else { MemcachedCount::GetMisses });
        let stats = self.stats();
        ThreadStats::add(if is_hit { &stats.hits } else { &stats.misses }, 1);
    }

    /// The request at the beginning of `input`.
    fn parse<'i>(&mut self, input: &'i [u8]) -> Request<'i> {
        let from = self.searched.min(input.len());
        let Some(found) = input[from..].iter().position(|byte| *byte == b'\n') else {
            self.searched = input.len();
            if input.len() > MAX_LINE_BYTES {
                self.closes = true;
                let bytes = input.len();
                return Request::Refused { error: MemcachedError::LongLine, bytes, skipped: 0 };
            }
            return Request::Incomplete;
        };
        let end = from + found;
        // The line may be looked at again, when its data has arrived.
        self.searched = end;
        let line = &input[..end];
        let words = words(line.strip_suffix(b"\r").unwrap_or(line));
        let start = end + 1;
        let length = match data_length(&words) {
            Ok(None) => return Request::Whole { words, data: &[], bytes: start },
            Ok(Some(length)) => length,
            Err(error) => return Request::Refused { error, bytes: start, skipped: 0 },
        };
        let max = match self.is_authenticated {
            true => self.shared.settings().max_argument_bytes.as_usize(),
            false => MAX_CREDENTIALS_BYTES,
        };
        if length > max {
            // The old value was to be overwritten, and must not be read as if it were current.
            if let Some(key) = words.get(1).filter(|_| self.is_authenticated) {
                self.db().remove(key);
            }
            let skipped = length.saturating_add(2);
            return Request::Refused { error: MemcachedError::TooLarge, bytes: start, skipped };
        }
        let data_end = start + length;
        let Some(terminator) = input.get(data_end..data_end + 2) else {
            self.needed = data_end + 2;
            return Request::Incomplete;
        };
        if terminator != b"\r\n" {
            let bytes = data_end + 2;
            return Request::Refused { error: MemcachedError::BadData, bytes, skipped: 0 };
        }
        Request::Whole { words, data: &input[start..data_end], bytes: data_end + 2 }
    }

    /// Executes a request.
    fn execute(&mut self, words: &[&[u8]], data: &[u8], output: &mut Vec<u8>) {
        let Some((name, args)) = words.split_first() else {
            return error(output, &MemcachedError::UnknownCommand);
        };
        let start = output.len();
        let done = if self.is_authenticated {
            match name.len() {
                2 if name[0] == b'm' => self.execute_meta(name[1], args, data, output),
                _ => self.execute_text(name, args, data, output),
            }
        } else {
            self.authenticate(name, data, output)
        };
        if let Err(failure) = done {
            output.truncate(start);
            error(output, &failure);
        }
    }

    /// A client authenticates by setting any key to its user name and password.
    fn authenticate(
        &mut self,
        name: &[u8],
        data: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), MemcachedError> {
        if name != b"set" {
            return Err(MemcachedError::Unauthenticated);
        }
        let split =
            data.iter().position(|byte| *byte == b' ').ok_or(MemcachedError::WrongPassword)?;
        if !self.shared.is_password(&data[split + 1..]) {
            return Err(MemcachedError::WrongPassword);
        }
        self.is_authenticated = true;
        output.extend_from_slice(b"STORED\r\n");
        Ok(())
    }
}

/// The length of the data that follows a line, if any does.
fn data_length(words: &[&[u8]]) -> Result<Option<usize>, MemcachedError> {
    let at = match words.first() {
        Some(&(b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas")) => 4,
        Some(&b"ms") => 2,
        _ => return Ok(None),
    };
    let length = words.get(at).and_then(|word| number(word)).ok_or(MemcachedError::BadLine)?;
    Ok(Some(length))
}

/// Writes an error.
fn error(output: &mut Vec<u8>, error: &MemcachedError) {
    output.extend_from_slice(error.to_string().as_bytes());
    output.extend_from_slice(b"\r\n");
}

impl Conversation for MemcachedSession {
    fn run_batch(&mut self, input: &[u8], output: &mut Vec<u8>) -> (usize, BatchEnd) {
        let shared = Arc::clone(&self.shared);
        let begun = Instant::now();
        let _shared = shared.store.shared();
        let (mut consumed, start) = (0, output.len());
        for _ in 0..BATCH_COMMANDS {
            let rest = &input[consumed..];
            if self.skipped > 0 {
                let skipped = self.skipped.min(rest.len());
                self.skipped -= skipped;
                consumed += skipped;
                if self.skipped > 0 {
                    return (consumed, BatchEnd::NeedsInput);
                }
                continue;
            }
            self.needed = 0;
            match self.parse(rest) {
                Request::Incomplete => {
                    if consumed > 0 {
                        self.stats().record_batch(begun.elapsed());
                    }
                    return (consumed, BatchEnd::NeedsInput);
                }
                Request::Whole { words, data, bytes } => {
                    self.execute(&words, data, output);
                    consumed += bytes;
                }
                Request::Refused { error: refusal, bytes, skipped } => {
                    error(output, &refusal);
                    consumed += bytes;
                    self.skipped = skipped;
                }
            }
            self.searched = 0;
            if self.closes {
                return (consumed, BatchEnd::Close);
            }
            if output.len() - start > BATCH_REPLY_BYTES {
                break;
            }
        }
        self.stats().record_batch(begun.elapsed());
        (consumed, BatchEnd::HasMore)
    }

    fn missing_bytes(&self, input: &[u8]) -> usize {
        self.needed.saturating_sub(input.len()).max(1)
    }

    fn held_bytes(&self) -> usize {
        0
    }

    fn client(&self) -> &Arc<Client> {
        &self.client
    }

    fn stats(&self) -> &ThreadStats {
        self.shared.stats.thread(self.thread)
    }
}

impl Drop for MemcachedSession {
    fn drop(&mut self) {
        self.shared.hub().clients().remove(self.client.id);
    }
}
