//! The commands of a transaction, and the keys that it watches.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::hub::Hub;
use crate::session::command::{Args, Command, Flags};
use crate::session::name_bytes;
use crate::store::Store;
use crate::version::Version;
use crate::watch::WatchMark;

/// What one queued command takes besides its arguments, and one argument.
const COMMAND_BYTES: usize = 64;
const ARGUMENT_BYTES: usize = 16;

/// The commands that were queued since `MULTI`.
#[derive(Default)]
pub(crate) struct Transaction {
    /// Their arguments, one after another.
    bytes: Vec<u8>,
    /// Where each argument ends in `bytes`.
    ends: Vec<usize>,
    /// Each command by its index, with the number of arguments before it.
    commands: Vec<(usize, &'static Command, usize)>,
    /// A command could not be queued, so `EXEC` will fail.
    pub(crate) is_aborted: bool,
}

impl Transaction {
    /// Queues a command. Returns false, and empties the queue, if it would take more than `max_bytes`.
    pub(crate) fn push(
        &mut self,
        index: usize,
        command: &'static Command,
        args: &Args<'_>,
        max_bytes: usize,
    ) -> bool {
        let new_bytes: usize = args.iter().map(|arg| arg.len() + ARGUMENT_BYTES).sum();
        let old_bytes = self.bytes.len()
            + self.ends.len() * ARGUMENT_BYTES
            + self.commands.len() * COMMAND_BYTES;
        if old_bytes + new_bytes + COMMAND_BYTES > max_bytes {
            *self = Self { is_aborted: true, ..Self::default() };
            return false;
        }
        self.commands.push((index, command, self.ends.len()));
        for arg in args {
            self.bytes.extend_from_slice(arg);
            self.ends.push(self.bytes.len());
        }
        true
    }

    /// Whether a queued command may let the cache grow.
    pub(crate) fn may_grow(&self) -> bool {
        self.commands.iter().any(|(_, command, _)| command.flags.has(Flags::DENY_OOM))
    }

    pub(crate) fn len(&self) -> usize {
        self.commands.len()
    }

    /// What the queue takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<usize>()
            + self.commands.capacity() * size_of::<(usize, &Command, usize)>()
    }

    /// The queued commands, each with its index and its arguments.
    pub(crate) fn commands(
        &self,
    ) -> impl Iterator<Item = (usize, &'static Command, SmallVec<[&[u8]; 8]>)> {
        self.commands.iter().enumerate().map(|(number, (index, command, first))| {
            let next = self.commands.get(number + 1);
            let last = next.map_or(self.ends.len(), |(_, _, first)| *first);
            let mut start = if *first == 0 { 0 } else { self.ends[*first - 1] };
            let mut args = SmallVec::new();
            for end in &self.ends[*first..last] {
                args.push(&self.bytes[start..*end]);
                start = *end;
            }
            (*index, *command, args)
        })
    }
}

/// The most keys that one client watches.
pub(crate) const MAX_WATCHED_KEYS: usize = 100_000;

/// The keys that a client watches.
#[derive(Default)]
pub(crate) struct WatchedKeys {
    /// The versions of their values when they were watched; `None` if there was none.
    versions: HashMap<(u16, Box<[u8]>), Option<Version>, ahash::RandomState>,
    mark: Arc<WatchMark>,
    /// What the keys take, here and in the hub.
    bytes: usize,
}

impl WatchedKeys {
    pub(crate) fn len(&self) -> usize {
        self.versions.len()
    }

    /// What the keys take, here and in the hub.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins to watch a key. Returns false if there are too many. The caller holds [`Store::exclusive`].
    pub(crate) fn watch(&mut self, store: &Store, database: u16, key: &[u8]) -> bool {
        let name = (database, key.into());
        if self.versions.contains_key(&name) {
            return true;
        }
        if self.versions.len() >= MAX_WATCHED_KEYS {
            return false;
        }
        store.hub().watch(database, key, &self.mark);
        let version = store.db(database, None).peek(key).map(|value| value.version());
        self.versions.insert(name, version);
        self.bytes += name_bytes(key);
        true
    }

    /// Whether a watched key has changed. The caller holds [`Store::exclusive`].
    pub(crate) fn is_changed(&self, store: &Store) -> bool {
        self.mark.is_touched()
            || self.versions.iter().any(|((database, key), version)| {
                let now = store.db(*database, None).peek(key);
                now.map(|value| value.version()) != *version
            })
    }

    /// Watches no key any more.
    pub(crate) fn clear(&mut self, hub: &Hub) {
        if self.versions.is_empty() {
            return;
        }
        for ((database, key), _) in self.versions.drain() {
            hub.unwatch(database, &key, &self.mark);
        }
        self.mark = Arc::default();
        self.bytes = 0;
    }
}
