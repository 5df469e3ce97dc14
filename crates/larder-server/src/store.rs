//! The cache behind both protocols, and what else each change of it must do.
//!
//! # Databases
//! All databases are in one cache, so they share its bounds. A key of the first namespace is stored as it is;
//! one of another namespace, or that begins with [`ESCAPE`], is stored behind two bytes: [`ESCAPE`] and the
//! namespace. A client's database is a namespace by way of a table, so that two can be swapped in one step.
//!
//! # Who excludes whom
//! Single commands do not exclude each other: each is atomic by a step of the cache. The threads hold
//! [`Store::shared`] while they run a batch of them. A command that must not see others in between, such as
//! `EXEC`, holds [`Store::exclusive`].
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use larder::Cache;

use crate::bytes::Bytes;
use crate::hub::Hub;
use crate::stored_key::{self, ESCAPE};
use crate::value::Value;

mod hot_keys;
mod keys;
mod sample;
mod tags;
pub(crate) mod db;

pub(crate) use db::{Db, Decision, Lifetime, SetCondition, TimeToLive};
pub(crate) use keys::ExpireTime;
pub(crate) use sample::KeyspaceSample;

use self::hot_keys::HotKeys;

/// The most databases.
pub(crate) const MAX_DATABASES: u16 = 256;

/// How many locks there are for steps that read a deadline and then set it, or that keep it.
const DEADLINE_LOCKS: usize = 64;

/// A cache that is served.
pub(crate) struct Store {
    cache: Cache<Bytes, Value>,
    hub: Hub,
    /// The namespace of each database.
    namespaces: Arc<[AtomicU8]>,
    /// Whether a namespace other than the first was ever written to.
    uses_namespaces: AtomicBool,
    /// Counts reads, if somebody wants to know.
    hot_keys: Option<HotKeys>,
    commands: ShardedLock<()>,
    deadlines: [Mutex<()>; DEADLINE_LOCKS],
}

impl Store {
    pub(crate) fn new(cache: Cache<Bytes, Value>, hub: Hub, databases: u16) -> Self {
        let databases = databases.clamp(1, MAX_DATABASES);
        let namespace = |number| AtomicU8::new(u8::try_from(number).unwrap_or_default());
        let namespaces = (0..databases).map(namespace).collect();
        hub.set_namespaces(&namespaces);
        Self {
            cache,
            hub,
            namespaces,
            uses_namespaces: AtomicBool::new(false),
            hot_keys: None,
            commands: ShardedLock::new(()),
            deadlines: [const { Mutex::new(()) }; DEADLINE_LOCKS],
        }
    }

    /// The same store, which counts which keys are read most.
    #[cfg(feature = "http")]
    pub(crate) fn with_hot_keys(self) -> Self {
        Self { hot_keys: Some(HotKeys::default()), ..self }
    }

    /// Which keys are read most, if it counts that.
    #[cfg(feature = "http")]
    pub(crate) fn hot_keys(&self) -> Option<&HotKeys> {
        self.hot_keys.as_ref()
    }

    pub(crate) fn cache(&self) -> &Cache<Bytes, Value> {
        &self.cache
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// How many databases there are.
    pub(crate) fn databases(&self) -> u16 {
        u16::try_from(self.namespaces.len()).unwrap_or(MAX_DATABASES)
    }

    /// Held while commands run that may run beside others. Not across an `await`.
    #[inline]
    pub(crate) fn shared(&self) -> ShardedLockReadGuard<'_, ()> {
        self.commands.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a command runs that no other may run beside. The thread must not hold
    /// [`shared`](Self::shared).
    pub(crate) fn exclusive(&self) -> ShardedLockWriteGuard<'_, ()> {
        self.commands.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock of steps that read the deadline of a key and then set it, or give it to a new value.
    fn deadline_lock(&self, key: &[u8]) -> MutexGuard<'_, ()> {
        let mix = |hash: usize, byte: &u8| hash.wrapping_mul(31).wrapping_add(usize::from(*byte));
        let lock = &self.deadlines[key.iter().fold(0, mix) % DEADLINE_LOCKS];
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespace of a database.
    #[inline]
    fn namespace(&self, database: u16) -> u8 {
        // Relaxed: swapped only with no command under way, by `exclusive`.
        self.namespaces[usize::from(database)].load(Ordering::Relaxed)
    }

    /// The database that has this namespace now.
    pub(crate) fn database_of(&self, namespace: u8) -> u16 {
        let found = (0..self.databases()).find(|database| self.namespace(*database) == namespace);
        found.unwrap_or_default()
    }

    /// Swaps two databases. The caller holds [`exclusive`](Self::exclusive).
    pub(crate) fn swap_databases(&self, first: u16, second: u16) {
        let (a, b) = (self.namespace(first), self.namespace(second));
        // Relaxed: as in `namespace`.
        self.namespaces[usize::from(first)].store(b, Ordering::Relaxed);
        self.namespaces[usize::from(second)].store(a, Ordering::Relaxed);
    }

    /// Whether keys may be stored with a namespace.
    fn uses_namespaces(&self) -> bool {
        // Acquire: with the Release in `Db::owned_key`, before the first such key is stored.
        self.uses_namespaces.load(Ordering::Acquire)
    }

    /// Empties all databases.
    pub(crate) fn clear_all(&self) {
        // Marked even if nobody is interested now: the listener may be notified of a removal late, when a client
        // has read the key again and tracks it.
        self.clear_marked(None);
        self.hub.note_flush(None);
    }

    /// Removes the keys of a namespace, or of all, marked so that the hub does not pass each removal on.
    fn clear_marked(&self, namespace: Option<u8>) {
        self.cache.retain(|key, value| {
            if namespace.is_some_and(|namespace| Self::split_key(key).0 != namespace) {
                return true;
            }
            value.mark_removed_by_command();
            false
        });
    }

    /// The namespace of a stored key, and the key as clients know it.
    pub(crate) fn split_key(stored: &[u8]) -> (u8, &[u8]) {
        stored_key::split(stored)
    }
}
