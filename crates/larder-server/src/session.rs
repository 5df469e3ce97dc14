//! A client's state, and the execution of its commands.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use crossbeam_utils::sync::{ShardedLockReadGuard, ShardedLockWriteGuard};
use smallvec::SmallVec;

use crate::client::Client;
use crate::command::{self, Args, Flags};
use crate::error::CommandError;
use crate::net::connection::{BatchEnd, Conversation};
use crate::resp::{Protocol, Reply, RequestLimits, RequestParser};
use crate::server::Shared;
use crate::stats::ThreadStats;
use crate::store::{Db, Store};

/// After so many commands or bytes of replies, a client's batch ends, so that others get their turn.
const BATCH_COMMANDS: usize = 256;
const BATCH_REPLY_BYTES: usize = 256 * 1024;

/// A client, as its own task knows it.
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: Arc<Client>,
    /// The number of the thread, whose counters it uses.
    thread: usize,
    pub(crate) protocol: Protocol,
    pub(crate) database: u16,
    pub(crate) is_authenticated: bool,
    /// The connection is closed after the replies so far.
    pub(crate) closes: bool,
    /// What is left to do of the last command.
    deferred: Option<Box<dyn FnOnce() -> Vec<u8> + Send>>,
    parser: RequestParser,
}

/// Which other commands may run meanwhile.
enum Exclusion<'s> {
    Shared(#[expect(dead_code, reason = "held")] ShardedLockReadGuard<'s, ()>),
    Exclusive(#[expect(dead_code, reason = "held")] ShardedLockWriteGuard<'s, ()>),
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, client: Arc<Client>, thread: usize) -> Self {
        let is_authenticated = shared.config.password.is_none();
        Self {
            shared,
            client,
            thread,
            protocol: Protocol::default(),
            database: 0,
            is_authenticated,
            closes: false,
            deferred: None,
            parser: RequestParser::default(),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    /// The keys of the database that the client has selected.
    #[inline]
    pub(crate) fn db(&self) -> Db<'_> {
        self.shared.store.db(self.database, Some(self.client.id))
    }

    /// Counts a lookup of a key.
    #[inline]
    pub(crate) fn count_lookup(&self, is_hit: bool) {
        let stats = self.stats();
        ThreadStats::add(if is_hit { &stats.hits } else { &stats.misses }, 1);
    }

    /// Whether the client is subscribed to any channel.
    pub(crate) fn is_subscribed(&self) -> bool {
        false
    }

    /// Has the rest of the batch wait until `job` has run on a thread of its own, whose result is the reply of
    /// this command.
    pub(crate) fn defer(&mut self, job: impl FnOnce() -> Vec<u8> + Send + 'static) {
        self.deferred = Some(Box::new(job));
    }

    #[inline]
    fn execute<'s>(
        &mut self,
        args: &Args<'_>,
        output: &mut Vec<u8>,
        store: &'s Store,
        exclusion: &mut Option<Exclusion<'s>>,
    ) {
        let start = output.len();
        let Some((index, command)) = command::find(args[0]) else {
            Reply::new(output, self.protocol).error(unknown_command(args));
            return;
        };
        let needs_exclusion = command.flags.has(Flags::EXCLUSIVE);
        match exclusion {
            Some(Exclusion::Exclusive(_)) if needs_exclusion => {}
            Some(Exclusion::Shared(_)) if !needs_exclusion => {}
            _ => {
                *exclusion = None;
                *exclusion = Some(match needs_exclusion {
                    true => Exclusion::Exclusive(store.exclusive()),
                    false => Exclusion::Shared(store.shared()),
                });
            }
        }
        ThreadStats::add(&self.stats().calls[index], 1);
        let mut reply = Reply::new(output, self.protocol);
        let done = if !command.accepts(args.len()) {
            Err(CommandError::WrongArity { name: command.name.to_owned() })
        } else if !self.is_authenticated && !command.flags.has(Flags::NO_AUTH) {
            Err(CommandError::AuthenticationRequired)
        } else {
            (command.handler)(self, args, &mut reply)
        };
        if let Err(error) = done {
            ThreadStats::add(&self.stats().failed_calls[index], 1);
            output.truncate(start);
            Reply::new(output, self.protocol).error(error);
        }
    }
}

impl Conversation for Session {
    fn run_batch(&mut self, input: &[u8], output: &mut Vec<u8>) -> (usize, BatchEnd) {
        let shared = Arc::clone(&self.shared);
        let begun = Instant::now();
        let mut exclusion = None;
        let (mut consumed, start) = (0, output.len());
        let mut end = BatchEnd::HasMore;
        for _ in 0..BATCH_COMMANDS {
            let rest = &input[consumed..];
            let unauthenticated = RequestLimits::UNAUTHENTICATED;
            let limits = if self.is_authenticated {
                &shared.config.request_limits
            } else {
                &unauthenticated
            };
            // Taken out, because the arguments may lie in it while the session executes them.
            let mut parser = std::mem::take(&mut self.parser);
            match parser.parse(rest, limits) {
                Ok(Some(bytes)) => {
                    let args: SmallVec<[&[u8]; 8]> = parser.arguments(rest).collect();
                    if !args.is_empty() {
                        self.execute(&args, output, &shared.store, &mut exclusion);
                    }
                    consumed += bytes;
                    drop(args);
                    parser.reset();
                    self.parser = parser;
                }
                Ok(None) => {
                    self.parser = parser;
                    end = BatchEnd::NeedsInput;
                    break;
                }
                Err(error) => {
                    Reply::new(output, self.protocol).error(format_args!("ERR {error}"));
                    self.closes = true;
                }
            }
            if self.closes {
                end = BatchEnd::Close;
                break;
            }
            if let Some(job) = self.deferred.take() {
                end = BatchEnd::Deferred(job);
                break;
            }
            if output.len() - start > BATCH_REPLY_BYTES {
                break;
            }
        }
        drop(exclusion);
        if consumed > 0 {
            self.stats().record_batch(begun.elapsed());
        }
        (consumed, end)
    }

    fn missing_bytes(&self, input: &[u8]) -> usize {
        self.parser.missing_bytes(input)
    }

    fn client(&self) -> &Arc<Client> {
        &self.client
    }

    fn stats(&self) -> &ThreadStats {
        self.shared.stats.thread(self.thread)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.hub().clients().remove(self.client.id);
    }
}

/// The error for a name that no command has.
fn unknown_command(args: &Args<'_>) -> CommandError {
    let shown = |bytes: &[u8]| bytes[..bytes.len().min(128)].escape_ascii().to_string();
    let mut arguments = String::new();
    for argument in &args[1..] {
        if arguments.len() > 128 {
            break;
        }
        arguments += &format!("'{}' ", shown(argument));
    }
    CommandError::UnknownCommand { name: shown(args[0]), arguments }
}
