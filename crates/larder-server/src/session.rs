//! A client's state, and the execution of its commands.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_utils::sync::{ShardedLockReadGuard, ShardedLockWriteGuard};

use crate::client::Client;
use crate::conversation::{self, BatchEnd, Conversation};
use crate::error::CommandError;
use crate::pause::PauseScope;
use crate::resp::{Protocol, Reply, RequestLimits, RequestParser};
use crate::shared::Shared;
use crate::stats::ThreadStats;
use crate::store::{Db, Store};
use crate::version::VersionBatch;

mod ahead;
mod subscriptions;
mod transaction;
pub(crate) mod command;

use ahead::{ParseEnd, ParsedRequests};
use command::{Args, Command, CommandTable, Flags, unknown_command};
pub(crate) use subscriptions::Subscriptions;
pub(crate) use transaction::{Transaction, WatchedKeys};

/// After this many commands or bytes of replies, a client's batch ends, so that others get their turn.
const BATCH_COMMANDS: usize = 256;
const BATCH_REPLY_BYTES: usize = 256 * 1024;

/// A client, as its own task knows it.
pub(crate) struct Session {
    pub(crate) commands: &'static CommandTable,
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: Arc<Client>,
    /// The number of the thread, whose counters it uses.
    thread: usize,
    pub(crate) protocol: Protocol,
    pub(crate) database: u16,
    pub(crate) is_authenticated: bool,
    /// The connection is closed after the replies so far.
    pub(crate) closes: bool,
    /// What distinguishes it from an ordinary client, whose commands are executed without further checks.
    pub(crate) modes: Modes,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) watched: WatchedKeys,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) tracking: Option<SessionTracking>,
    pub(crate) replies: ReplyMode,
    /// The last command, by its name.
    last_command: Option<&'static str>,
    /// The bytes of the requests that have arrived.
    input_bytes: usize,
    /// What is left to do of the last command.
    deferred: Option<Box<dyn FnOnce() -> Vec<u8> + Send>>,
    parser: RequestParser,
}

/// What distinguishes a client from an ordinary one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modes(u8);

impl Modes {
    /// It is within `MULTI`.
    pub(crate) const QUEUEING: Self = Self(1);
    /// `EXEC` executes its commands.
    pub(crate) const EXECUTING: Self = Self(2);
    /// It has subscribed to something.
    pub(crate) const SUBSCRIBED: Self = Self(4);
    /// It tracks the keys that it reads.
    pub(crate) const TRACKING: Self = Self(8);
    /// It wants no replies, or not the next one.
    pub(crate) const QUIET: Self = Self(16);

    pub(crate) fn set(&mut self, mode: Self, is_on: bool) {
        self.0 = if is_on { self.0 | mode.0 } else { self.0 & !mode.0 };
    }

    pub(crate) fn has(self, mode: Self) -> bool {
        self.0 & mode.0 != 0
    }

    fn is_ordinary(self) -> bool {
        self.0 == 0
    }
}

/// What a client that tracks keys has asked for, except for what other clients need to know.
#[derive(Debug, Default)]
pub(crate) struct SessionTracking {
    pub(crate) is_broadcast: bool,
    /// Keys are tracked only after `CLIENT CACHING YES`.
    pub(crate) is_opt_in: bool,
    /// Keys are not tracked after `CLIENT CACHING NO`.
    pub(crate) is_opt_out: bool,
    /// The client has called `CLIENT CACHING` for its next command.
    pub(crate) is_caching_given: bool,
    pub(crate) prefixes: Vec<Box<[u8]>>,
    /// What the prefixes take, here and in the hub.
    pub(crate) prefix_bytes: usize,
}

/// What a name takes that a session and the hub keep, beside its bytes.
const NAME_BYTES: usize = 128;

/// What a name takes that a session and the hub keep.
pub(crate) const fn name_bytes(name: &[u8]) -> usize {
    2 * name.len() + NAME_BYTES
}

impl SessionTracking {
    /// Whether the keys of the next command that reads are tracked.
    fn registers(&self) -> bool {
        !self.is_broadcast
            && match self.is_caching_given {
                true => !self.is_opt_out,
                false => !self.is_opt_in,
            }
    }
}

/// Which replies a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ReplyMode {
    #[default]
    On,
    Off,
    /// None to the command that says so, nor to the next one.
    SkipNext,
    Skip,
}

/// Which other commands may run meanwhile.
enum Exclusion<'s> {
    Shared(#[expect(dead_code, reason = "held")] ShardedLockReadGuard<'s, ()>),
    Exclusive(#[expect(dead_code, reason = "held")] ShardedLockWriteGuard<'s, ()>),
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        client: Arc<Client>,
        thread: usize,
        commands: &'static CommandTable,
    ) -> Self {
        let is_authenticated = shared.settings().password().is_none();
        Self {
            commands,
            shared,
            client,
            thread,
            protocol: Protocol::default(),
            database: 0,
            is_authenticated,
            closes: false,
            deferred: None,
            modes: Modes::default(),
            transaction: None,
            watched: WatchedKeys::default(),
            subscriptions: Subscriptions::default(),
            tracking: None,
            replies: ReplyMode::default(),
            last_command: None,
            input_bytes: 0,
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
        self.modes.has(Modes::SUBSCRIBED)
    }

    /// Chooses the version of the protocol.
    pub(crate) fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.client.set_protocol(protocol);
    }

    /// Ends the client's tracking, transaction and subscriptions. Call it when the client has gone.
    pub(crate) fn end(&mut self) {
        self.stop_tracking();
        self.end_transaction();
        self.subscriptions.clear(self.shared.hub(), &self.client);
    }

    /// Makes the client one that has just connected, except for its mailbox.
    pub(crate) fn reset(&mut self) {
        self.end();
        self.modes = Modes::default();
        self.client.set_subscriber(false);
        // This command gets no reply either, if the one before has said so.
        let is_skipped = self.replies == ReplyMode::Skip;
        self.replies = if is_skipped { ReplyMode::Skip } else { ReplyMode::On };
        self.modes.set(Modes::QUIET, is_skipped);
        self.database = 0;
        self.set_protocol(Protocol::Resp2);
        self.is_authenticated = self.shared.settings().password().is_none();
        self.client.description().name.clear();
    }

    /// Leaves `MULTI`, and watches no key any more.
    pub(crate) fn end_transaction(&mut self) {
        self.transaction = None;
        self.modes.set(Modes::QUEUEING, false);
        self.watched.clear(self.shared.hub());
    }

    /// Does not track keys any more.
    pub(crate) fn stop_tracking(&mut self) {
        if let Some(tracking) = self.tracking.take() {
            let prefixes = tracking.prefixes.iter().map(|prefix| &**prefix);
            self.shared.hub().stop_tracking(self.client.id, prefixes);
        }
        self.modes.set(Modes::TRACKING, false);
    }

    /// Updates what others see of the client.
    pub(crate) fn describe(&self, last_command: Option<&'static str>, now: Instant) {
        use crate::pubsub::Topic;
        let mut description = self.client.description();
        description.database = self.database;
        description.last_command = last_command;
        description.last_active = Some(now);
        description.input_bytes = self.input_bytes;
        description.queued_commands = self.transaction.as_ref().map(Transaction::len);
        description.watched_keys = self.watched.len();
        description.channels = self.subscriptions.count_of(Topic::Channel);
        description.patterns = self.subscriptions.count_of(Topic::Pattern);
        description.shard_channels = self.subscriptions.count_of(Topic::ShardChannel);
    }

    /// Has the rest of the batch wait until `job` has run on a thread of its own, whose result is the reply of
    /// this command.
    pub(crate) fn defer(&mut self, job: impl FnOnce() -> Vec<u8> + Send + 'static) {
        let is_quiet = self.modes.has(Modes::QUIET);
        self.deferred = Some(Box::new(move || {
            let reply = job();
            if is_quiet { Vec::new() } else { reply }
        }));
    }

    #[inline]
    fn execute<'s>(
        &mut self,
        found: Option<(usize, &'static Command)>,
        args: &Args<'_>,
        output: &mut Vec<u8>,
        store: &'s Store,
        exclusion: &mut Option<Exclusion<'s>>,
    ) {
        let start = output.len();
        let Some((index, command)) = found else {
            if conversation::is_web_request(args[0]) {
                self.closes = true;
                return;
            }
            self.reject(None, unknown_command(args), &mut Reply::new(output, self.protocol));
            self.settle_replies(output, start, false);
            return;
        };
        let needs_exclusion = command.flags.has(Flags::EXCLUSIVE)
            || command.flags.has(Flags::ADMITS_TRACKERS)
                && args.get(1).is_some_and(|name| name.eq_ignore_ascii_case(b"tracking"));
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
        self.last_command = Some(command.name);
        let mut reply = Reply::new(output, self.protocol);
        // Subscriptions are confirmed by messages, not by replies.
        let mut is_message = command.flags.has(Flags::SUBSCRIBED.and(Flags::PUBSUB));
        if let Err(error) = self.check(command, args) {
            is_message = false;
            ThreadStats::add(&self.stats().calls[index], 1);
            ThreadStats::add(&self.stats().failed_calls[index], 1);
            self.reject(Some(command), error, &mut reply);
        } else if self.modes.is_ordinary() {
            self.call(index, command, args, &mut reply);
        } else if self.modes.has(Modes::QUEUEING) && !command.flags.has(Flags::UNQUEUED) {
            self.queue(index, command, args, &mut reply);
        } else {
            self.call(index, command, args, &mut reply);
            self.forget_caching(command);
        }
        if self.modes.has(Modes::QUIET) {
            self.settle_replies(output, start, is_message);
        }
    }

    /// How long a command has to wait, if commands are paused.
    #[cold]
    fn pause_left(&self, args: &Args<'_>) -> Option<Duration> {
        let (left, scope) = self.shared.hub().pause().left()?;
        let waits = |command: &Command| {
            command.flags.has(Flags::WRITE) || matches!(command.name, "publish" | "spublish")
        };
        let is_held = match (scope, args.first().and_then(|name| self.commands.find(name))) {
            (PauseScope::All, _) => true,
            (PauseScope::Writes, None) => false,
            (PauseScope::Writes, Some((_, command))) if command.name == "exec" => {
                let queued = self.transaction.iter().flat_map(Transaction::commands);
                queued.into_iter().any(|(_, command, _)| waits(command))
            }
            (PauseScope::Writes, Some((_, command))) => {
                waits(command) && !self.modes.has(Modes::QUEUEING)
            }
        };
        is_held.then_some(left)
    }

    /// Whether a command may be executed now, or queued.
    #[inline]
    fn check(&self, command: &Command, args: &Args<'_>) -> Result<(), CommandError> {
        if !command.accepts(args.len()) {
            return Err(CommandError::WrongArity { name: command.name.to_owned() });
        }
        if !self.is_authenticated && !command.flags.has(Flags::NO_AUTH) {
            return Err(CommandError::AuthenticationRequired);
        }
        if command.flags.has(Flags::DENY_OOM) && self.shared.settings().tiny_max_memory.get() > 0 {
            return Err(CommandError::NothingFits);
        }
        if self.modes.is_ordinary() {
            return Ok(());
        }
        // Otherwise a transaction whose command fails for sure would be executed without it.
        (self.commands.check_subcommand)(args)?;
        if self.modes.has(Modes::QUEUEING) && command.flags.has(Flags::NO_MULTI) {
            return Err(CommandError::NotInTransaction);
        }
        if self.is_subscribed()
            && self.protocol == Protocol::Resp2
            && !command.flags.has(Flags::SUBSCRIBED)
        {
            return Err(CommandError::NotForSubscriber { name: command.name });
        }
        Ok(())
    }

    /// Replies that a command is not executed; an open transaction fails for it later.
    #[cold]
    fn reject(&mut self, command: Option<&Command>, error: CommandError, reply: &mut Reply<'_>) {
        if command.is_some_and(|command| command.name == "exec") {
            self.end_transaction();
            let error = error.to_string();
            let because = error.strip_prefix("ERR ").unwrap_or(&error);
            let text = format!("EXECABORT Transaction discarded because of: {because}");
            return self.refuse(&CommandError::Other(text), reply);
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.is_aborted = true;
        }
        self.refuse(&error, reply);
    }

    fn queue(
        &mut self,
        index: usize,
        command: &'static Command,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) {
        let max_bytes = self.shared.settings().max_request_bytes.as_usize();
        let Some(transaction) = &mut self.transaction else { return };
        if transaction.is_aborted || transaction.push(index, command, args, max_bytes) {
            reply.simple("QUEUED");
        } else {
            self.refuse(&CommandError::TransactionTooLarge, reply);
        }
    }

    /// Executes a command that has passed all checks, and writes its reply.
    #[inline]
    pub(crate) fn call(
        &mut self,
        index: usize,
        command: &Command,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) {
        ThreadStats::add(&self.stats().calls[index], 1);
        if self.modes.has(Modes::TRACKING) {
            self.register_keys(command, args);
        }
        let start = reply.len();
        if let Err(error) = (command.handler)(self, args, reply) {
            ThreadStats::add(&self.stats().failed_calls[index], 1);
            reply.truncate(start);
            self.refuse(&error, reply);
        }
    }

    /// Has the client notified of changes of the keys that a command is about to read.
    #[cold]
    fn register_keys(&self, command: &Command, args: &Args<'_>) {
        let Some(tracking) = &self.tracking else { return };
        if !tracking.registers()
            || !command.flags.has(Flags::READ)
            || command.flags.has(Flags::WRITE)
        {
            return;
        }
        let hub = self.shared.hub();
        for key in command.keys.of(args) {
            hub.tracking().register(hub.clients(), self.client.id, key);
        }
    }

    /// `CLIENT CACHING` counts for the next command only, or for the whole of a transaction.
    fn forget_caching(&mut self, command: &Command) {
        if let Some(tracking) = &mut self.tracking
            && !self.modes.has(Modes::QUEUEING)
            && command.name != "client"
        {
            tracking.is_caching_given = false;
        }
    }

    /// Drops replies that the client does not want.
    fn settle_replies(&mut self, output: &mut Vec<u8>, start: usize, is_message: bool) {
        if self.replies != ReplyMode::On && !is_message {
            output.truncate(start);
        }
        match self.replies {
            ReplyMode::On | ReplyMode::Off => {}
            ReplyMode::SkipNext => self.replies = ReplyMode::Skip,
            ReplyMode::Skip => {
                self.replies = ReplyMode::On;
                self.modes.set(Modes::QUIET, false);
            }
        }
    }

    /// Replies with an error.
    #[cold]
    fn refuse(&self, error: &CommandError, reply: &mut Reply<'_>) {
        let text = error.to_string();
        self.shared.stats.record_error(&text);
        reply.error(text);
    }
}

impl Conversation for Session {
    fn run_batch(&mut self, input: &[u8], output: &mut Vec<u8>) -> (usize, BatchEnd) {
        let shared = Arc::clone(&self.shared);
        let begun = Instant::now();
        let _versions = VersionBatch::begin();
        let mut exclusion = None;
        self.input_bytes = input.len();
        let is_collecting = shared.hub().begin_batch();
        let (mut consumed, start) = (0, output.len());
        let mut end = BatchEnd::HasMore;
        let authenticated = shared.settings().request_limits();
        let unauthenticated = RequestLimits::UNAUTHENTICATED;
        // Taken out, because the arguments may lie in it while the session executes them.
        let mut parser = std::mem::take(&mut self.parser);
        let mut left = BATCH_COMMANDS;
        while left > 0 {
            // The limits may change with the next request.
            let (limits, most) = match self.is_authenticated {
                true => (&authenticated, left),
                false => (&unauthenticated, 1),
            };
            let parsed =
                ParsedRequests::parse(self.commands, &mut parser, &input[consumed..], limits, most);
            parsed.prefetch_keys(self.db());
            let mut stopped = None;
            for (found, args, bytes) in parsed.iter() {
                if shared.hub().pause().is_set()
                    && let Some(left) = self.pause_left(args)
                {
                    stopped = Some(BatchEnd::Paused(left));
                    break;
                }
                if !args.is_empty() {
                    self.execute(found, args, output, &shared.store, &mut exclusion);
                }
                consumed += bytes;
                left -= 1;
                if self.closes {
                    stopped = Some(BatchEnd::Close);
                } else if let Some(job) = self.deferred.take() {
                    stopped = Some(BatchEnd::Deferred(job));
                } else if output.len() - start > BATCH_REPLY_BYTES {
                    stopped = Some(BatchEnd::HasMore);
                }
                if stopped.is_some() {
                    break;
                }
            }
            let parse_end = parsed.into_end();
            if let Some(stopped) = stopped {
                // What was parsed and not executed is parsed again.
                parser.reset();
                end = stopped;
                break;
            }
            match parse_end {
                ParseEnd::HasMore => parser.reset(),
                ParseEnd::NeedsInput => {
                    end = BatchEnd::NeedsInput;
                    break;
                }
                ParseEnd::Error(error) => {
                    Reply::new(output, self.protocol).error(format_args!("ERR {error}"));
                    self.closes = true;
                    end = BatchEnd::Close;
                    break;
                }
            }
        }
        self.parser = parser;
        drop(exclusion);
        if self.closes {
            // Whoever has read the last reply knows that nothing can be redirected to this client any more.
            shared.hub().clients().remove(self.client.id);
        }
        if is_collecting {
            // Before the replies are sent: a client that learns of a change by them may read its own copy.
            shared.hub().end_batch();
        }
        if consumed > 0 {
            self.input_bytes = input.len() - consumed;
            self.describe(self.last_command, begun);
            self.stats().record_batch(begun.elapsed());
        }
        (consumed, end)
    }

    fn missing_bytes(&self, input: &[u8]) -> usize {
        self.parser.missing_bytes(input)
    }

    fn held_bytes(&self) -> usize {
        let transaction = self.transaction.as_ref().map_or(0, Transaction::bytes);
        let prefixes = self.tracking.as_ref().map_or(0, |tracking| tracking.prefix_bytes);
        transaction
            + prefixes
            + self.watched.bytes()
            + self.subscriptions.bytes()
            + self.parser.held_bytes()
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
        // First, so that nobody redirects anything to it any more.
        self.shared.hub().clients().remove(self.client.id);
        self.end();
    }
}
