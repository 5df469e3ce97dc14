//! Client-side caching: which clients may have a copy of which key.
//!
//! A client that tracks keys in the default mode is registered for each key that it reads. The first change of the
//! key takes the key out of the table, and posts an invalidation to those who were registered. A client in
//! broadcasting mode is registered for prefixes instead, until it stops tracking.
//!
//! # No invalidation is missed
//! A client is registered for a key *before* it reads the key. A writer takes the key out of the table
//! *after* the change has taken effect. Both go through the lock of the key's shard, in one of two orders:
//! - The reader registers first. Then the writer finds it, and posts an invalidation.
//! - The writer looks first. Then its change happened before the reader registers, hence before the read, which
//!   returns the new value.
//!
//! A writer asks the table only if the hub's flags say that a client tracks. A client joins with no other
//! command under way (`Store::exclusive`), so each command of the server either has ended by then, and its change
//! is visible to all reads of that client, or sees the flag. Changes that the cache's listener reports, which are
//! made outside commands, are covered by two fences: `Hub::join` sets the flag before its fence, after which
//! the client reads; `Hub::note_removal` loads the flag after its fence, before which the change was made. If
//! the load misses the flag, then the fence of the removal came first, and all later reads see the change.
//!
//! # The order at the client
//! An invalidation is posted to the mailbox, which the connection empties after the replies of a batch. So an
//! invalidation of a value never comes before the reply that has the value: the reply is in the output before
//! the batch ends, and the invalidation is posted after the client was registered, which was in this batch or an
//! earlier one. One that was posted before the read may come after its reply. It takes away a copy that was
//! still valid, which does no harm.
//!
//! # Bounds
//! The table has at most [`Tracking::max_keys`] keys, and not more bytes than that many short keys with a few readers
//! take. With more, random keys are invalidated. Readers that have gone are dropped from a key whenever their number
//! has doubled. A client that does not read its invalidations is disconnected by its mailbox.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crossbeam_utils::CachePadded;
use indexmap::IndexMap;
use smallvec::SmallVec;

use crate::bytes::Bytes;
use crate::client::{Client, ClientId, Clients};
use crate::resp::{Protocol, Reply};

/// How many parts the table has, each with a lock.
const SHARDS: usize = 64;

/// The default of [`Tracking::max_keys`].
const MAX_KEYS: usize = 1_000_000;

/// The bytes that the keys and their readers may take for each key that the table may have, and the least bound on
/// them.
const BYTES_PER_KEY: usize = 256;
const MIN_BYTES: usize = 16 << 20;

/// From this many readers of one key on, those that have gone are swept out.
const SWEPT_FROM_READERS: usize = 64;

/// The channel on which clients of version 2 of the protocol receive the invalidations of another client.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// How a client tracks keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrackingOptions {
    /// It is notified of all keys with its prefixes, whether or not it has read them.
    pub(crate) is_broadcast: bool,
    /// It is not notified of its own changes.
    pub(crate) is_no_loop: bool,
    /// The client that is notified instead of it.
    pub(crate) redirect: Option<ClientId>,
}

/// A client that tracks keys.
#[derive(Debug)]
pub(crate) struct Tracker {
    client: Arc<Client>,
    pub(crate) options: TrackingOptions,
    /// The client that was notified instead of it has gone.
    is_broken: AtomicBool,
}

impl Tracker {
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}

/// The clients that may have read a key, in order.
type Readers = SmallVec<[ClientId; 2]>;
type Shard = IndexMap<Bytes, Readers, ahash::RandomState>;
type Trackers = HashMap<ClientId, Arc<Tracker>, ahash::RandomState>;
type Prefixes = BTreeMap<Box<[u8]>, Vec<ClientId>>;

/// Which clients may have copies of which keys. Keys of the same name in different databases are the same here,
/// as with Redis.
#[derive(Debug)]
pub(crate) struct Tracking {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    hasher: ahash::RandomState,
    keys: AtomicUsize,
    items: AtomicUsize,
    /// What the bytes of the keys take.
    key_bytes: AtomicUsize,
    max_keys: AtomicUsize,
    /// Numbers the draws of keys to invalidate, which are random by their hashes.
    draws: AtomicU64,
    trackers: RwLock<Trackers>,
    /// How many of them track in the default mode and in broadcasting mode. Changed under their lock.
    in_mode: [AtomicUsize; 2],
    prefixes: RwLock<Prefixes>,
}

impl Default for Tracking {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| CachePadded::default()).collect(),
            hasher: ahash::RandomState::new(),
            keys: AtomicUsize::new(0),
            items: AtomicUsize::new(0),
            key_bytes: AtomicUsize::new(0),
            max_keys: AtomicUsize::new(MAX_KEYS),
            draws: AtomicU64::new(0),
            trackers: RwLock::default(),
            in_mode: Default::default(),
            prefixes: RwLock::default(),
        }
    }
}

impl Tracking {
    fn trackers(&self) -> RwLockReadGuard<'_, Trackers> {
        self.trackers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn trackers_mut(&self) -> RwLockWriteGuard<'_, Trackers> {
        self.trackers.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn prefixes(&self) -> RwLockReadGuard<'_, Prefixes> {
        self.prefixes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn prefixes_mut(&self) -> RwLockWriteGuard<'_, Prefixes> {
        self.prefixes.write().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a part of the hash is wanted")]
    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        self.lock_shard(self.hasher.hash_one(key) as usize % SHARDS)
    }

    fn lock_shard(&self, number: usize) -> MutexGuard<'_, Shard> {
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a client notified of changes from now on, or changes how it is notified; in broadcasting mode, of keys with
    /// these prefixes besides those that it has already. Calls `joined` with the table of clients locked.
    pub(crate) fn start<'p>(
        &self,
        client: &Arc<Client>,
        options: TrackingOptions,
        new_prefixes: impl Iterator<Item = &'p [u8]>,
        joined: impl FnOnce(),
    ) {
        let mut trackers = self.trackers_mut();
        {
            let mut prefixes = self.prefixes_mut();
            for prefix in new_prefixes {
                let clients = match prefixes.get_mut(prefix) {
                    Some(clients) => clients,
                    None => prefixes.entry(prefix.into()).or_default(),
                };
                if !clients.contains(&client.id) {
                    clients.push(client.id);
                }
            }
        }
        let is_broken = AtomicBool::new(false);
        let tracker = Tracker { client: Arc::clone(client), options, is_broken };
        self.count_mode(&tracker, 1);
        if let Some(old) = trackers.insert(client.id, Arc::new(tracker)) {
            self.count_mode(&old, usize::MAX);
        }
        joined();
    }

    /// Stops notifying a client, which has these prefixes. Its keys stay in the table until they are changed, or until
    /// nobody tracks in the default mode. Calls `left` with whether any client tracks in the default mode, and whether
    /// any does in the other.
    pub(crate) fn stop<'p>(
        &self,
        client: ClientId,
        old_prefixes: impl Iterator<Item = &'p [u8]>,
        left: impl FnOnce(bool, bool),
    ) {
        let mut trackers = self.trackers_mut();
        {
            let mut prefixes = self.prefixes_mut();
            for prefix in old_prefixes {
                let Some(clients) = prefixes.get_mut(prefix) else { continue };
                clients.retain(|other| *other != client);
                if clients.is_empty() {
                    prefixes.remove(prefix);
                }
            }
        }
        if let Some(old) = trackers.remove(&client) {
            self.count_mode(&old, usize::MAX);
        }
        // Relaxed: changed under the lock.
        let any = |mode: usize| self.in_mode[mode].load(Ordering::Relaxed) > 0;
        if !any(0) {
            // No registered client can be notified, and from now on changes do not ask the table.
            self.clear();
        }
        left(any(0), any(1));
    }

    fn clear(&self) {
        for number in 0..SHARDS {
            let shard = std::mem::take(&mut *self.lock_shard(number));
            shard.iter().for_each(|(key, readers)| self.forget(key, readers));
        }
    }

    /// Adds to the number of clients in the mode of this one; the largest number subtracts 1.
    fn count_mode(&self, tracker: &Tracker, amount: usize) {
        self.in_mode[usize::from(tracker.options.is_broadcast)]
            .fetch_add(amount, Ordering::Relaxed);
    }

    /// The client, if it tracks keys.
    pub(crate) fn tracker(&self, client: ClientId) -> Option<Arc<Tracker>> {
        self.trackers().get(&client).cloned()
    }

    /// Notes that a client is about to read a key.
    pub(crate) fn register(&self, clients: &Clients, client: ClientId, key: &[u8]) {
        let readers = {
            let mut shard = self.shard(key);
            let readers = match shard.get_mut(key) {
                Some(readers) => readers,
                None => {
                    self.keys.fetch_add(1, Ordering::Relaxed);
                    self.key_bytes.fetch_add(key.len(), Ordering::Relaxed);
                    shard.entry(Bytes::from(key)).or_default()
                }
            };
            let Err(position) = readers.binary_search(&client) else { return };
            readers.insert(position, client);
            self.items.fetch_add(1, Ordering::Relaxed);
            readers.len()
        };
        if readers >= SWEPT_FROM_READERS && readers.is_power_of_two() {
            self.sweep(key);
        }
        self.shrink(clients);
    }

    /// Drops the readers of a key that do not track keys any more.
    fn sweep(&self, key: &[u8]) {
        // In this order in `stop` too.
        let trackers = self.trackers();
        let mut shard = self.shard(key);
        let Some(readers) = shard.get_mut(key) else { return };
        let before = readers.len();
        readers.retain(|reader| trackers.contains_key(reader));
        self.items.fetch_sub(before - readers.len(), Ordering::Relaxed);
    }

    /// Notifies those clients that may have a copy of a key that it was changed, by the client `by`.
    pub(crate) fn invalidate(&self, clients: &Clients, key: &[u8], by: Option<ClientId>) {
        let readers = {
            let mut shard = self.shard(key);
            let Some(readers) = shard.swap_remove(key) else { return };
            self.forget(key, &readers);
            readers
        };
        self.notify_readers(clients, &readers, key, by);
    }

    fn forget(&self, key: &[u8], readers: &Readers) {
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.key_bytes.fetch_sub(key.len(), Ordering::Relaxed);
        self.items.fetch_sub(readers.len(), Ordering::Relaxed);
    }

    fn notify_readers(
        &self,
        clients: &Clients,
        readers: &Readers,
        key: &[u8],
        by: Option<ClientId>,
    ) {
        let keys = [key];
        let invalidation = Invalidation::new(Some(&keys));
        let trackers = self.trackers();
        for reader in readers {
            let Some(tracker) = trackers.get(reader) else { continue };
            let options = tracker.options;
            let is_own = options.is_no_loop && by == Some(*reader);
            if !options.is_broadcast && !is_own {
                invalidation.send(clients, tracker);
            }
        }
    }

    /// Notifies the clients in broadcasting mode of changes of keys, each with the client that made it.
    pub(crate) fn broadcast(&self, clients: &Clients, changes: &[(Bytes, Option<ClientId>)]) {
        // In this order in `start` and `stop` too.
        let trackers = self.trackers();
        for (prefix, members) in self.prefixes().iter() {
            let matching: Vec<_> =
                changes.iter().filter(|(key, _)| key.starts_with(prefix)).collect();
            if matching.is_empty() {
                continue;
            }
            let all: Vec<&[u8]> = matching.iter().map(|(key, _)| key.as_slice()).collect();
            let to_all = Invalidation::new(Some(&all));
            for member in members {
                let Some(tracker) = trackers.get(member) else { continue };
                let own =
                    |by: &Option<ClientId>| tracker.options.is_no_loop && *by == Some(*member);
                if !matching.iter().any(|(_, by)| own(by)) {
                    to_all.send(clients, tracker);
                    continue;
                }
                let others = matching.iter().filter(|(_, by)| !own(by));
                let others: Vec<&[u8]> = others.map(|(key, _)| key.as_slice()).collect();
                if !others.is_empty() {
                    Invalidation::new(Some(&others)).send(clients, tracker);
                }
            }
        }
    }

    /// Notifies all clients that all keys are gone.
    pub(crate) fn flush(&self, clients: &Clients) {
        self.clear();
        let invalidation = Invalidation::new(None);
        for tracker in self.trackers().values() {
            invalidation.send(clients, tracker);
        }
    }

    /// The most keys in the table; with 0 there is no bound.
    pub(crate) fn max_keys(&self) -> usize {
        self.max_keys.load(Ordering::Relaxed)
    }

    /// Changes the bound, and invalidates what is beyond it.
    pub(crate) fn set_max_keys(&self, clients: &Clients, max_keys: usize) {
        self.max_keys.store(max_keys, Ordering::Relaxed);
        self.shrink(clients);
    }

    /// Invalidates random keys until the table is within its bound.
    fn shrink(&self, clients: &Clients) {
        loop {
            let max_keys = self.max_keys();
            let max_bytes = max_keys.saturating_mul(BYTES_PER_KEY).max(MIN_BYTES);
            let is_within =
                self.keys.load(Ordering::Relaxed) <= max_keys && self.bytes() <= max_bytes;
            if max_keys == 0 || is_within {
                return;
            }
            let Some((key, readers)) = self.take_random() else { return };
            self.notify_readers(clients, &readers, &key, None);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "parts of the hash are wanted")]
    fn take_random(&self) -> Option<(Bytes, Readers)> {
        let draw = self.hasher.hash_one(self.draws.fetch_add(1, Ordering::Relaxed));
        for step in 0..SHARDS {
            let mut shard = self.lock_shard((draw as usize).wrapping_add(step) % SHARDS);
            if !shard.is_empty() {
                let index = (draw >> 32) as usize % shard.len();
                let taken = shard.swap_remove_index(index)?;
                self.forget(&taken.0, &taken.1);
                return Some(taken);
            }
        }
        None
    }

    /// What the keys and their readers take.
    fn bytes(&self) -> usize {
        let readers = self.items.load(Ordering::Relaxed).saturating_mul(size_of::<ClientId>());
        self.key_bytes.load(Ordering::Relaxed).saturating_add(readers)
    }

    /// How many keys are in the table.
    pub(crate) fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// How many pairs of a key and a client are in the table.
    pub(crate) fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    /// How many prefixes clients in broadcasting mode have.
    pub(crate) fn prefix_count(&self) -> usize {
        self.prefixes().len()
    }

    /// How many clients track keys.
    pub(crate) fn clients(&self) -> usize {
        self.trackers().len()
    }
}

/// An invalidation of some keys, or of all. It is encoded once for each form, when the first client gets it.
struct Invalidation<'k> {
    keys: Option<&'k [&'k [u8]]>,
    push: OnceCell<Arc<[u8]>>,
    message: OnceCell<Arc<[u8]>>,
}

impl<'k> Invalidation<'k> {
    fn new(keys: Option<&'k [&'k [u8]]>) -> Self {
        Self { keys, push: OnceCell::new(), message: OnceCell::new() }
    }

    fn send(&self, clients: &Clients, tracker: &Tracker) {
        let Some(redirect) = tracker.options.redirect else {
            // Version 2 of the protocol has no form for it.
            if tracker.client.protocol() == Protocol::Resp3 {
                self.post_push(&tracker.client);
            }
            return;
        };
        let is_there = |target: &Arc<Client>| !target.mailbox.is_closed();
        let Some(target) = clients.get(redirect).filter(is_there) else {
            tracker.is_broken.store(true, Ordering::Relaxed);
            if tracker.client.protocol() == Protocol::Resp3 {
                tracker.client.mailbox.post(broken_redirection(redirect));
            }
            return;
        };
        if target.protocol() == Protocol::Resp3 {
            self.post_push(&target);
        } else if target.is_subscriber() {
            let message =
                self.message.get_or_init(|| self.encode(Protocol::Resp2, &[b"message", CHANNEL]));
            target.mailbox.post(Arc::clone(message));
        }
    }

    fn post_push(&self, client: &Client) {
        let push = self.push.get_or_init(|| self.encode(Protocol::Resp3, &[b"invalidate"]));
        client.mailbox.post(Arc::clone(push));
    }

    fn encode(&self, protocol: Protocol, heads: &[&[u8]]) -> Arc<[u8]> {
        let mut output = Vec::new();
        let mut reply = Reply::new(&mut output, protocol);
        reply.push(heads.len() + 1);
        heads.iter().for_each(|head| reply.bulk(head));
        match self.keys {
            None => reply.null(),
            Some(keys) => {
                reply.array(keys.len());
                keys.iter().for_each(|key| reply.bulk(key));
            }
        }
        output.into()
    }
}

/// The push for a client that says that the other one, which was to be notified in its stead, has gone.
fn broken_redirection(target: ClientId) -> Arc<[u8]> {
    let mut output = Vec::new();
    let mut reply = Reply::new(&mut output, Protocol::Resp3);
    reply.push(2);
    reply.bulk(b"tracking-redir-broken");
    reply.integer(i64::try_from(target.0).unwrap_or(i64::MAX));
    output.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_that_have_gone_do_not_pile_up_at_a_key() {
        let (clients, tracking) = (Clients::default(), Tracking::default());
        let stays = clients.add(String::new(), String::new(), 1 << 20, 10).unwrap();
        stays.set_protocol(Protocol::Resp3);
        tracking.start(&stays, TrackingOptions::default(), [].into_iter(), || ());
        tracking.register(&clients, stays.id, b"key");
        for gone in 1_000..11_000 {
            tracking.register(&clients, ClientId(gone), b"key");
        }
        assert!(tracking.items() <= 2 * SWEPT_FROM_READERS, "{}", tracking.items());
        tracking.invalidate(&clients, b"key", None);
        assert!(stays.mailbox.has_mail(), "who tracks is told");
        assert_eq!((tracking.keys(), tracking.items(), tracking.bytes()), (0, 0, 0));
    }

    #[test]
    fn long_keys_do_not_fill_the_memory() {
        let (clients, tracking) = (Clients::default(), Tracking::default());
        tracking.set_max_keys(&clients, 1_000);
        for number in 0..64_u8 {
            tracking.register(&clients, ClientId(1), &[number; 1 << 20]);
        }
        assert!((1..=16).contains(&tracking.keys()), "{}", tracking.keys());
    }
}
