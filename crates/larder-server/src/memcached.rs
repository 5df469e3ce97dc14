//! The protocols of memcached: text and meta.
//!
//! Both use database 0 of the store, so a value is the same through every door. Values that clients of Redis have
//! stored as hashes are errors here.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use crate::client::Client;
use crate::conversation::{self, BatchEnd, Conversation};
use crate::leases::Leases;
use crate::shared::Shared;
use crate::stats::{MemcachedCount, ThreadStats};
use crate::store::Db;
use crate::version::VersionBatch;

mod ahead;
mod meta;
mod text;
mod line;
mod error;

use ahead::{LinesEnd, ParsedLines, Place};
use error::MemcachedError;

/// After this many commands or bytes of replies, a client's batch ends, so that others get their turn.
const BATCH_COMMANDS: usize = 256;
const BATCH_REPLY_BYTES: usize = 256 * 1024;
/// The longest data of a client that has not authenticated yet: a user name and a password.
const MAX_CREDENTIALS_BYTES: usize = 1024;

/// A client of memcached, as its own task knows it.
pub(crate) struct MemcachedSession {
    shared: Arc<Shared>,
    client: Arc<Client>,
    thread: usize,
    is_authenticated: bool,
    closes: bool,
    /// How many bytes of refused data are still to come.
    skipped: usize,
    /// How far the request that has begun to arrive was parsed.
    place: Place,
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
            place: Place::default(),
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
            self.closes = conversation::is_web_request(name);
            self.authenticate(name, data, output)
        };
        if let Err(failure) = done {
            output.truncate(start);
            let is_known = failure != MemcachedError::UnknownCommand;
            if !(self.is_authenticated && is_known && ahead::is_quiet(words)) {
                error(output, &failure);
            }
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

/// Writes an error.
fn error(output: &mut Vec<u8>, error: &MemcachedError) {
    output.extend_from_slice(error.to_string().as_bytes());
    output.extend_from_slice(b"\r\n");
}

impl Conversation for MemcachedSession {
    fn run_batch(&mut self, input: &[u8], output: &mut Vec<u8>) -> (usize, BatchEnd) {
        let shared = Arc::clone(&self.shared);
        let begun = Instant::now();
        let _versions = VersionBatch::begin();
        let _shared = shared.store.shared();
        let (mut consumed, start) = (0, output.len());
        let mut left = BATCH_COMMANDS;
        while left > 0 && output.len() - start <= BATCH_REPLY_BYTES {
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
            // The next request may be the first of a client that has authenticated.
            let (max_data, most) = match self.is_authenticated {
                true => (shared.settings().max_argument_bytes.as_usize(), left),
                false => (MAX_CREDENTIALS_BYTES, 1),
            };
            let parsed = ParsedLines::parse(&mut self.place, rest, max_data, most);
            parsed.prefetch_keys(self.db());
            let mut is_stopped = false;
            for (words, data, bytes) in parsed.iter() {
                self.execute(words, data, output);
                consumed += bytes;
                left -= 1;
                if self.closes || output.len() - start > BATCH_REPLY_BYTES {
                    is_stopped = true;
                    break;
                }
            }
            match parsed.end {
                _ if self.closes => return (consumed, BatchEnd::Close),
                // What was parsed and not executed is parsed again.
                _ if is_stopped => self.place = Place::default(),
                LinesEnd::HasMore => {}
                LinesEnd::NeedsInput => {
                    if consumed > 0 {
                        self.stats().record_batch(begun.elapsed());
                    }
                    return (consumed, BatchEnd::NeedsInput);
                }
                LinesEnd::Refused { error: refusal, bytes, skipped, overwritten, is_quiet } => {
                    // The old value must not be read as if it were current.
                    if let Some(key) = overwritten.filter(|_| self.is_authenticated) {
                        self.db().remove(key);
                    }
                    let is_known = refusal != MemcachedError::UnknownCommand;
                    if !(self.is_authenticated && is_known && is_quiet) {
                        error(output, &refusal);
                    }
                    consumed += bytes;
                    left -= 1;
                    self.skipped = skipped;
                    if refusal == MemcachedError::LongLine {
                        self.closes = true;
                        return (consumed, BatchEnd::Close);
                    }
                }
            }
        }
        self.stats().record_batch(begun.elapsed());
        (consumed, BatchEnd::HasMore)
    }

    fn missing_bytes(&self, input: &[u8]) -> usize {
        self.place.missing_bytes(input)
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
