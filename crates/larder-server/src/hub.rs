//! The place from which clients are notified of changes.
//!
//! Commands pass each change on after it has taken effect ([`Hub::note`]). The listener of the cache reports
//! evictions, expirations, and changes by the program that shares the cache ([`Hub::note_removal`]).
//! It also reports what commands have replaced and removed. Those removals are recognized by marks on the values and
//! left out (`Value::written_by_command`), since the commands pass them on themselves.
//!
//! # The word of interests
//! As long as nobody tracks keys, watches one or wants keyspace events, a change costs one load of a word.
//! A client sets its bit with no other command under way ([`Store::exclusive`](crate::store::Store::exclusive)),
//! so no command can change a key, miss the bit and hide the change from a read that comes after it; the module
//! of tracking has the whole argument.
//!
//! # What is missed
//! The listener is not called for a key that the program inserts and that had no value before. A client that has
//! read the key as missing is notified only if the program calls [`Hub::notify_changed`].
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering, fence};
use std::sync::{Arc, OnceLock};

use larder::{Listener, Removal, RemovalCause};

use crate::bytes::Bytes;
use crate::client::{Client, ClientId, Clients};
use crate::events::{EventClass, EventMask};
use crate::eviction_ages::EvictionAges;
use crate::pause::Pause;
use crate::pubsub::PubSub;
use crate::settings::Settings;
use crate::stored_key;
use crate::tracking::{Tracking, TrackingOptions};
use crate::value::Value;
use crate::watch::{WatchMark, Watchers};

/// What a change was: its name in keyspace events, and the class under which clients ask for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangeKind {
    pub(crate) name: &'static str,
    pub(crate) class: EventClass,
}

impl ChangeKind {
    pub(crate) const SET: Self = Self::string("set");
    pub(crate) const DEL: Self = Self::generic("del");
    pub(crate) const EXPIRE: Self = Self::generic("expire");
    pub(crate) const PERSIST: Self = Self::generic("persist");
    const EXPIRED: Self = Self { name: "expired", class: EventClass::Expired };
    const EVICTED: Self = Self { name: "evicted", class: EventClass::Evicted };
    const NEW: Self = Self { name: "new", class: EventClass::New };

    /// A change of a string.
    pub(crate) const fn string(name: &'static str) -> Self {
        Self { name, class: EventClass::String }
    }

    /// A change of a hash.
    pub(crate) const fn hash(name: &'static str) -> Self {
        Self { name, class: EventClass::Hash }
    }

    /// A change of a key of any type.
    pub(crate) const fn generic(name: &'static str) -> Self {
        Self { name, class: EventClass::Generic }
    }
}

/// A change of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'c> {
    pub(crate) database: u16,
    pub(crate) key: &'c [u8],
    pub(crate) kind: ChangeKind,
    /// Whether the key had no value before.
    pub(crate) is_new: bool,
    /// The client that made it, if it was one.
    pub(crate) by: Option<ClientId>,
}

/// The place from which clients are notified of the changes of a cache: clients that keep copies, that watch keys
/// for a transaction, or that have subscribed to keyspace events.
///
/// A program that serves a cache that it also uses itself builds the cache with the hub's
/// [`listener`](Self::listener), so that clients are notified of its changes too, and of evictions and expirations.
///
/// # Examples
/// ```
/// use larder::Cache;
/// use larder_server::{Bytes, Hub, Value};
///
/// let hub = Hub::new();
/// let cache: Cache<Bytes, Value> =
///     Cache::builder().capacity(10_000).listener(hub.listener()).build()?;
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Hub {
    state: Arc<HubState>,
}

#[derive(Debug, Default)]
struct HubState {
    /// The interests in changes: the mask of events that are published, and the bits below.
    interests: AtomicU32,
    clients: Clients,
    pubsub: PubSub,
    tracking: Tracking,
    watchers: Watchers,
    eviction_ages: EvictionAges,
    pause: Pause,
    /// The namespace of each database.
    namespaces: OnceLock<Arc<[AtomicU8]>>,
    settings: Settings,
}

/// A client tracks the keys that it reads.
const TRACKING: u32 = 1 << 24;
/// A client tracks prefixes.
const BROADCAST: u32 = 1 << 25;
/// A client watches a key.
const WATCH: u32 = 1 << 26;
const _: () = assert!(EventMask::BITS < TRACKING);

/// After this many changes, those of a batch are broadcast before its end.
const MAX_PENDING: usize = 1024;

thread_local! {
    /// The changes of the batch that this thread executes, which are sent at its end in one message to each
    /// client in broadcasting mode; `None` outside a batch.
    static PENDING: RefCell<Option<Pending>> = const { RefCell::new(None) };
}

/// Keys that were changed, each with the client that did it.
type Pending = Vec<(Bytes, Option<ClientId>)>;

impl Hub {
    /// A hub without clients. Clones of a hub are the same hub. A hub is for one cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The listener with which to build the cache. It is quick, and drops no notification.
    pub fn listener(&self) -> Listener<Bytes, Value> {
        let hub = self.clone();
        // A value says itself when it was written.
        Listener::new(move |removal: &Removal<'_, Bytes, Value>| hub.note_removal(removal))
            .without_ages()
    }

    /// Notifies clients that the program has changed a key.
    ///
    /// This is needed only after the program has inserted a key that had no value, for clients that know it
    /// as missing: the cache reports all other changes to the [`listener`](Self::listener), except for those of
    /// [`Cache::invalidate_tag`](larder::Cache::invalidate_tag), which it reports when the entries are swept out.
    /// After that, call [`notify_all_changed`](Self::notify_all_changed).
    ///
    /// Call it after the change, from any thread; otherwise a client may read the old value again and keep it. `key` is
    /// as it is in the cache.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Inserted};
    /// use larder_server::{Bytes, Hub, Value};
    ///
    /// let hub = Hub::new();
    /// let cache: Cache<Bytes, Value> =
    ///     Cache::builder().capacity(10_000).listener(hub.listener()).build()?;
    /// let key = Bytes::from("greeting");
    /// if cache.insert(key.clone(), Value::from("hello")) == Inserted::Added {
    ///     hub.notify_changed(&key);
    /// }
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn notify_changed(&self, key: &Bytes) {
        self.note_change_by_program(key, ChangeKind::SET);
    }

    /// Has clients drop all copies that they keep, because the program has changed many keys at once, for example
    /// by [`Cache::invalidate_tag`](larder::Cache::invalidate_tag). The command `LARDER.INVALIDATE` does so
    /// itself.
    ///
    /// Call it after the change, from any thread.
    pub fn notify_all_changed(&self) {
        self.note_flush(None);
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.state.clients
    }

    /// How long after they were written entries were evicted.
    pub(crate) fn eviction_ages(&self) -> &EvictionAges {
        &self.state.eviction_ages
    }

    pub(crate) fn pubsub(&self) -> &PubSub {
        &self.state.pubsub
    }

    pub(crate) fn tracking(&self) -> &Tracking {
        &self.state.tracking
    }

    /// Whether the commands of clients have to wait.
    pub(crate) fn pause(&self) -> &Pause {
        &self.state.pause
    }

    pub(crate) fn watchers(&self) -> &Watchers {
        &self.state.watchers
    }

    /// Says which namespace each database has. Only the first call counts.
    pub(crate) fn set_namespaces(&self, namespaces: &Arc<[AtomicU8]>) {
        let _ = self.state.namespaces.set(Arc::clone(namespaces));
    }

    /// Sets which keyspace events are published, from the next change on.
    pub(crate) fn set_events(&self, events: EventMask) {
        self.settings().set_events(events);
        let published = if events.publishes() { events.bits() } else { 0 };
        // Relaxed: it holds for commands that begin after the reply to the one that sets it.
        let set = |interests: u32| Some(interests & !EventMask::BITS | published);
        let _ = self.state.interests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, set);
    }

    /// Sets a bit of the interests. The caller holds the lock of what it stands for, and no command is under way.
    fn join(&self, interest: u32) {
        // Relaxed: commands that begin later see it by way of `Store::exclusive`.
        self.state.interests.fetch_or(interest, Ordering::Relaxed);
        // SeqCst: with the fence in `note_removal`, see the module of tracking.
        fence(Ordering::SeqCst);
    }

    /// Clears a bit of the interests. The caller holds the lock of what it stands for.
    fn leave(&self, interest: u32) {
        // Relaxed: a thread that still sees the bit finds no client.
        self.state.interests.fetch_and(!interest, Ordering::Relaxed);
    }

    /// What can be changed while the server runs.
    #[inline]
    pub(crate) fn settings(&self) -> &Settings {
        &self.state.settings
    }

    /// Whether any client may be interested in changes.
    #[inline]
    pub(crate) fn has_interests(&self) -> bool {
        // Relaxed: as in `note`.
        self.state.interests.load(Ordering::Relaxed) != 0
    }

    /// Has a mark touched when the key changes. The caller holds `Store::exclusive`.
    pub(crate) fn watch(&self, database: u16, key: &[u8], mark: &Arc<WatchMark>) {
        self.watchers().add(database, key, mark, || self.join(WATCH));
    }

    pub(crate) fn unwatch(&self, database: u16, key: &[u8], mark: &Arc<WatchMark>) {
        self.watchers().remove(database, key, mark, || self.leave(WATCH));
    }

    /// Has a client notified of changes. The caller holds `Store::exclusive`.
    pub(crate) fn start_tracking<'p>(
        &self,
        client: &Arc<Client>,
        options: TrackingOptions,
        prefixes: impl Iterator<Item = &'p [u8]>,
    ) {
        let interest = if options.is_broadcast { BROADCAST } else { TRACKING };
        self.tracking().start(client, options, prefixes, || self.join(interest));
    }

    pub(crate) fn stop_tracking<'p>(
        &self,
        client: ClientId,
        prefixes: impl Iterator<Item = &'p [u8]>,
    ) {
        self.tracking().stop(client, prefixes, |has_default, has_broadcast| {
            let bits = [(TRACKING, has_default), (BROADCAST, has_broadcast)];
            for (interest, _) in bits.into_iter().filter(|(_, is_there)| !is_there) {
                self.leave(interest);
            }
        });
    }

    /// Passes a change on that a command has made. It has taken effect.
    #[inline]
    pub(crate) fn note(&self, change: &Change<'_>) {
        // Relaxed: a bit is set with no command under way, and the lock for that orders it with this load.
        let interests = self.state.interests.load(Ordering::Relaxed);
        if interests != 0 {
            self.note_to(interests, change);
        }
    }

    #[cold]
    fn note_to(&self, interests: u32, change: &Change<'_>) {
        if interests & TRACKING != 0 {
            self.tracking().invalidate(self.clients(), change.key, change.by);
        }
        if interests & BROADCAST != 0 {
            self.note_broadcast(change.key, change.by);
        }
        if interests & WATCH != 0 {
            self.watchers().touch(change.database, change.key);
        }
        if interests & EventMask::BITS != 0 {
            let mask = EventMask::from_bits(interests);
            if change.is_new {
                self.publish_event(mask, change.database, change.key, ChangeKind::NEW);
            }
            self.publish_event(mask, change.database, change.key, change.kind);
        }
    }

    /// Keeps a change for the end of the batch, or broadcasts it at once outside one.
    fn note_broadcast(&self, key: &[u8], by: Option<ClientId>) {
        let keep = |pending: &RefCell<Option<Pending>>| match &mut *pending.borrow_mut() {
            None => Some(vec![(Bytes::from(key), by)]),
            Some(pending) => {
                match pending.iter_mut().rev().take(16).find(|(of, _)| **of == *key) {
                    // No client may take the change for its own alone.
                    Some(known) if known.1 != by => known.1 = None,
                    Some(_) => {}
                    None => pending.push((Bytes::from(key), by)),
                }
                (pending.len() >= MAX_PENDING).then(|| std::mem::take(pending))
            }
        };
        // A thread that is ending may have no such variable any more.
        let at_once = PENDING.try_with(keep).unwrap_or_else(|_| Some(vec![(Bytes::from(key), by)]));
        if let Some(changes) = at_once {
            self.tracking().broadcast(self.clients(), &changes);
        }
    }

    /// Begins a batch of commands on this thread, if its changes are to be sent together. A caller that gets
    /// `true` calls [`end_batch`](Self::end_batch).
    #[inline]
    pub(crate) fn begin_batch(&self) -> bool {
        // Relaxed: without the bit, changes are sent one by one.
        let is_wanted = self.state.interests.load(Ordering::Relaxed) & BROADCAST != 0;
        if is_wanted {
            PENDING.set(Some(Vec::new()));
        }
        is_wanted
    }

    /// Ends the batch of this thread, and broadcasts its changes.
    pub(crate) fn end_batch(&self) {
        let changes = PENDING.take().unwrap_or_default();
        if !changes.is_empty() {
            self.tracking().broadcast(self.clients(), &changes);
        }
    }

    fn publish_event(&self, mask: EventMask, database: u16, key: &[u8], kind: ChangeKind) {
        if !mask.has(kind.class.mask()) || self.pubsub().is_empty() {
            return;
        }
        let channel = |space: &str, rest: &[u8]| {
            let mut channel = format!("__{space}@{database}__:").into_bytes();
            channel.extend_from_slice(rest);
            channel
        };
        if mask.has(EventMask::KEYSPACE) {
            self.pubsub().publish(&channel("keyspace", key), kind.name.as_bytes());
        }
        if mask.has(EventMask::KEYEVENT) {
            self.pubsub().publish(&channel("keyevent", kind.name.as_bytes()), key);
        }
    }

    /// Passes on that all keys of a database are gone, or of all databases.
    pub(crate) fn note_flush(&self, _database: Option<u16>) {
        // Relaxed: as in `note`.
        if self.state.interests.load(Ordering::Relaxed) & (TRACKING | BROADCAST) != 0 {
            self.tracking().flush(self.clients());
        }
    }

    /// Passes on what left the cache by itself, and what the program removed.
    fn note_removal(&self, removal: &Removal<'_, Bytes, Value>) {
        let kind = match removal.cause {
            RemovalCause::Evicted => {
                self.eviction_ages().record(removal.value.version().age());
                ChangeKind::EVICTED
            }
            RemovalCause::Expired => ChangeKind::EXPIRED,
            RemovalCause::Replaced => {
                if removal.new_value.is_some_and(Value::is_written_by_command) {
                    return;
                }
                ChangeKind::SET
            }
            _ if removal.value.is_removed_by_command() => return,
            _ => ChangeKind::DEL,
        };
        self.note_change_by_program(removal.key, kind);
    }

    /// Passes on a change that was not made by a command. Watched keys are left out: `EXEC` compares versions.
    fn note_change_by_program(&self, stored: &Bytes, kind: ChangeKind) {
        // SeqCst: with the fence in `join`, see the module of tracking.
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders it.
        let interests = self.state.interests.load(Ordering::Relaxed);
        if interests == 0 {
            return;
        }
        let (namespace, key) = stored_key::split(stored);
        if interests & TRACKING != 0 {
            self.tracking().invalidate(self.clients(), key, None);
        }
        if interests & BROADCAST != 0 {
            self.note_broadcast(key, None);
        }
        if interests & EventMask::BITS != 0 {
            let database = self.database_of(namespace);
            self.publish_event(EventMask::from_bits(interests), database, key, kind);
        }
    }

    /// The database that has this namespace now.
    fn database_of(&self, namespace: u8) -> u16 {
        let namespaces = self.state.namespaces.get().map_or(&[][..], |namespaces| &**namespaces);
        // Relaxed: of two databases that are being swapped, either may be named.
        let found = namespaces.iter().position(|of| of.load(Ordering::Relaxed) == namespace);
        found.and_then(|number| u16::try_from(number).ok()).unwrap_or_default()
    }
}
