//! The keys of one database.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use larder::{
    Compute, Computed, EntryInfo, InsertOptions, Inserted, Intent, KeyState, Rejection,
    UpdateOptions,
};
use smallvec::SmallVec;

use super::{ESCAPE, Store};
use crate::bytes::Bytes;
use crate::client::ClientId;
use crate::error::CommandError;
use crate::hub::{self, ChangeKind};
use crate::value::Value;

/// How long a value that is written lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// As long as the cache gives it: for ever, unless the cache has a time to live.
    Fresh,
    /// As long as the value that it replaces; with none, as `Fresh`.
    Keep,
    /// For this long from now on.
    For(Duration),
}

impl Lifetime {
    /// Whether it has ended already.
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::For(ttl) if ttl.is_zero())
    }
}

/// The condition for writing a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetCondition {
    Always,
    IfAbsent,
    IfPresent,
}

/// How long a key has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeToLive {
    Missing,
    Forever,
    Left(Duration),
}

/// What to do with a key, and what to return.
pub(crate) enum Decision<R> {
    /// Write this value.
    Put(Value, R),
    /// Leave the key as it is.
    Keep(R),
    /// Remove the key.
    Remove(R),
}

/// The keys of one database, as one client uses them.
#[derive(Clone, Copy)]
pub(crate) struct Db<'s> {
    pub(crate) store: &'s Store,
    pub(crate) number: u16,
    /// The client, which may not want to be notified of its own changes.
    pub(crate) client: Option<ClientId>,
}

impl Store {
    /// The keys of a database, for a client.
    #[inline]
    pub(crate) fn db(&self, number: u16, client: Option<ClientId>) -> Db<'_> {
        Db { store: self, number, client }
    }
}

impl<'s> Db<'s> {
    /// Calls `f` with the key as it is stored.
    #[inline]
    pub(super) fn with_stored<R>(&self, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> R {
        let namespace = self.store.namespace(self.number);
        if namespace == 0 && key.first() != Some(&ESCAPE) {
            return f(key);
        }
        f(&Bytes::concatenated(&[ESCAPE, namespace], key))
    }

    /// The key as it is stored, to store it.
    #[inline]
    pub(crate) fn owned_key(&self, key: &[u8]) -> Bytes {
        let namespace = self.store.namespace(self.number);
        if namespace == 0 && key.first() != Some(&ESCAPE) {
            return Bytes::from(key);
        }
        if namespace != 0 {
            // Release: with the Acquire in `Store::uses_namespaces`.
            self.store.uses_namespaces.store(true, Ordering::Release);
        }
        Bytes::concatenated(&[ESCAPE, namespace], key)
    }

    /// Passes on that a key was changed.
    #[inline]
    pub(crate) fn note(&self, key: &[u8], kind: ChangeKind) {
        self.note_as(key, kind, false);
    }

    #[inline]
    pub(super) fn note_as(&self, key: &[u8], kind: ChangeKind, is_new: bool) {
        let change = hub::Change { database: self.number, key, kind, is_new, by: self.client };
        self.store.hub.note(&change);
    }

    /// Prefetches the memory that commands with the first 64 of these keys are about to need.
    #[inline]
    pub(crate) fn prefetch(&self, keys: &[&[u8]], intent: Intent) {
        let (namespace, cache) = (self.store.namespace(self.number), &self.store.cache);
        if keys.is_empty() {
            return;
        }
        if namespace == 0 {
            // For a key that begins with `ESCAPE` it has no effect.
            return cache.prefetch_many(keys.iter().copied(), intent);
        }
        let stored = |key: &&[u8]| Bytes::concatenated(&[ESCAPE, namespace], key);
        let stored: SmallVec<[Bytes; 16]> = keys.iter().take(64).map(stored).collect();
        cache.prefetch_many(stored.iter().map(Bytes::as_slice), intent);
    }

    /// Reads a value. It counts as a use of the key.
    #[inline]
    pub(crate) fn read<R>(&self, key: &[u8], read: impl FnOnce(&Value) -> R) -> Option<R> {
        self.with_stored(key, |stored| {
            if let Some(hot_keys) = &self.store.hot_keys {
                hot_keys.note(stored);
            }
            self.store.cache.read(stored, read)
        })
    }

    /// A value, without counting as a use.
    pub(crate) fn peek(&self, key: &[u8]) -> Option<Value> {
        self.with_stored(key, |stored| self.store.cache.peek(stored))
    }

    /// Whether the key has a value. It does not count as a use.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.with_stored(key, |stored| self.store.cache.contains_key(stored))
    }

    /// Counts a use of the key, and says whether it has a value.
    pub(crate) fn touch(&self, key: &[u8]) -> bool {
        self.with_stored(key, |stored| self.store.cache.touch(stored))
    }

    /// What the cache knows of the key.
    pub(crate) fn info(&self, key: &[u8]) -> Option<EntryInfo> {
        self.with_stored(key, |stored| self.store.cache.inspect(stored))
    }

    /// How long the key has left.
    pub(crate) fn time_to_live(&self, key: &[u8]) -> TimeToLive {
        match self.info(key) {
            None => TimeToLive::Missing,
            Some(info) => info.expires_in.map_or(TimeToLive::Forever, TimeToLive::Left),
        }
    }

    /// Writes a value if the condition holds, and returns whether it did.
    ///
    /// # Errors
    /// The cache has refused the value.
    #[inline]
    pub(crate) fn set(
        &self,
        key: &[u8],
        value: Value,
        lifetime: Lifetime,
        condition: SetCondition,
        kind: ChangeKind,
    ) -> Result<bool, CommandError> {
        let (owned, options) = (self.owned_key(key), InsertOptions::new());
        let options = match lifetime {
            Lifetime::Fresh => options,
            Lifetime::For(ttl) => options.ttl(ttl),
            Lifetime::Keep => {
                return self.change(key, lifetime, kind, |old| match (condition, old) {
                    (SetCondition::IfAbsent, Some(_)) | (SetCondition::IfPresent, None) => {
                        Ok(Decision::Keep(false))
                    }
                    _ => Ok(Decision::Put(value.clone(), true)),
                });
            }
        };
        let (cache, value) = (&self.store.cache, value.written_by_command());
        let inserted = match condition {
            SetCondition::Always => cache.insert_with(owned, value, options),
            SetCondition::IfAbsent => cache.insert_if_absent_with(owned, value, options),
            SetCondition::IfPresent => cache.replace_with(owned, value, options),
        };
        match inserted {
            Inserted::Added => {
                self.note_as(key, kind, true);
                Ok(true)
            }
            Inserted::Replaced => {
                self.note(key, kind);
                Ok(true)
            }
            Inserted::Rejected(Rejection::Present | Rejection::Absent) => Ok(false),
            Inserted::Rejected(rejection) => {
                // The old value, if there was one, is gone.
                self.note(key, kind);
                Err(CommandError::NotStored(rejection))
            }
        }
    }

    /// Asks `decide` what to do with the key and does it, in one atomic step: if the key is changed meanwhile,
    /// `decide` is asked again. It is given the value, and runs pinned. A removal is a change of `kind`, and then
    /// one of [`ChangeKind::DEL`].
    ///
    /// # Errors
    /// That of `decide`, after which nothing has changed; or the cache has refused the value.
    pub(crate) fn change<R>(
        &self,
        key: &[u8],
        lifetime: Lifetime,
        kind: ChangeKind,
        mut decide: impl FnMut(Option<&Value>) -> Result<Decision<R>, CommandError>,
    ) -> Result<R, CommandError> {
        let cache = &self.store.cache;
        let has_rules = cache.time_to_live().is_some() || cache.time_to_idle().is_some();
        let options = match lifetime {
            Lifetime::Keep => UpdateOptions::new().keep_lifetime(),
            Lifetime::For(ttl) => UpdateOptions::new().ttl(ttl),
            Lifetime::Fresh if has_rules => UpdateOptions::new().tags(&[]),
            Lifetime::Fresh => UpdateOptions::new().ttl(Duration::MAX).tags(&[]),
        };
        let (mut result, mut marked_removed) = (None, false);
        // Without it, a lifetime that `expire` sets meanwhile might not reach the new value.
        let lock = (lifetime == Lifetime::Keep).then(|| self.store.deadline_lock(key));
        let computed = cache.entry_with(self.owned_key(key), options).try_and_compute_with(|old| {
            Ok::<_, CommandError>(match decide(old)? {
                Decision::Put(value, answer) => {
                    result = Some(answer);
                    Compute::Put(value.written_by_command())
                }
                Decision::Keep(answer) => {
                    result = Some(answer);
                    Compute::Keep
                }
                Decision::Remove(answer) => {
                    result = Some(answer);
                    if let Some(old) = old {
                        old.mark_removed_by_command();
                        marked_removed = true;
                    }
                    Compute::Remove
                }
            })
        });
        drop(lock);
        if marked_removed && !matches!(computed, Ok(Computed::Removed(_))) {
            // Another thread has removed the value that was marked, and relied on the mark.
            self.note(key, ChangeKind::DEL);
        }
        match computed? {
            Computed::Inserted(_) => self.note_as(key, kind, true),
            Computed::Replaced(_) => self.note(key, kind),
            Computed::Removed(_) => {
                if kind != ChangeKind::DEL {
                    self.note(key, kind);
                }
                self.note(key, ChangeKind::DEL);
            }
            Computed::Rejected(rejection) => {
                self.note(key, kind);
                return Err(CommandError::NotStored(rejection));
            }
            _ => {}
        }
        result.ok_or(CommandError::NotStored(Rejection::Stale))
    }

    /// Removes a key, and says whether it had a value.
    pub(crate) fn remove(&self, key: &[u8]) -> bool {
        if self.store.hub.has_interests() {
            return self.take(key).is_some();
        }
        let state = self.with_stored(key, |stored| self.store.cache.remove_key(stored));
        let was_there = state == KeyState::Valid;
        if was_there {
            self.note(key, ChangeKind::DEL);
        }
        was_there
    }

    /// Removes a key and returns its value.
    pub(crate) fn take(&self, key: &[u8]) -> Option<Value> {
        self.take_as(key, ChangeKind::DEL)
    }

    /// Removes a key by a change of this kind and returns its value.
    pub(super) fn take_as(&self, key: &[u8], kind: ChangeKind) -> Option<Value> {
        let mut found = None;
        let is_removed = self.with_stored(key, |stored| {
            self.store.cache.remove_if(stored, |_, value| {
                value.mark_removed_by_command();
                found = Some(value.clone());
                true
            })
        });
        if found.is_some() {
            // Even if another thread was quicker: it may have relied on the mark.
            self.note(key, kind);
        }
        found.filter(|_| is_removed)
    }

    /// Gives a key a new lifetime, counted from now, if `accept` agrees; it is given how long the key has left. `None`
    /// means for ever. Returns whether the lifetime was set. A lifetime of zero removes the key.
    ///
    /// # Errors
    /// The cache has refused the entry with its deadline.
    pub(crate) fn expire(
        &self,
        key: &[u8],
        lifetime: Option<Duration>,
        accept: impl Fn(Option<Duration>) -> bool,
    ) -> Result<bool, CommandError> {
        let _lock = self.store.deadline_lock(key);
        let cache = &self.store.cache;
        let Some(info) = self.info(key) else { return Ok(false) };
        if !accept(info.expires_in) {
            return Ok(false);
        }
        if lifetime == Some(Duration::ZERO) {
            return Ok(self.remove(key));
        }
        if lifetime.is_none() && info.expires_in.is_none() {
            return Ok(false);
        }
        let is_set = self.with_stored(key, |stored| {
            if let Ok(is_set) = cache.try_expire_after(stored, lifetime) {
                return Ok(is_set);
            }
            // The entry has no room for a deadline, so it is written anew.
            let rewrite = |value: &Value| value.clone().written_by_command();
            let options = UpdateOptions::new().ttl(lifetime.unwrap_or(Duration::MAX));
            let updated = cache.update_and_read(stored, options, rewrite, |_, _| ());
            updated.map(|updated| updated.is_some()).map_err(CommandError::NotStored)
        })?;
        if is_set {
            let kind = if lifetime.is_some() { ChangeKind::EXPIRE } else { ChangeKind::PERSIST };
            self.note(key, kind);
        }
        Ok(is_set)
    }

    /// How many keys the database has.
    pub(crate) fn len(&self) -> usize {
        let namespace = self.store.namespace(self.number);
        match self.store.uses_namespaces() {
            false if namespace == 0 => self.store.cache.len(),
            false => 0,
            true => {
                let mut count = 0;
                self.for_each(|_, _, _| count += 1);
                count
            }
        }
    }

    /// Removes all keys of the database.
    pub(crate) fn clear(&self) {
        let namespace = self.store.namespace(self.number);
        match self.store.uses_namespaces() || self.store.hub.has_interests() {
            false if namespace == 0 => self.store.cache.clear(),
            false => {}
            true => self.store.clear_marked(Some(namespace)),
        }
        self.store.hub.note_flush(Some(self.number));
    }

    /// Visits about `count` keys that follow the cursor, and returns the next cursor; 0 begins, and ends.
    pub(crate) fn scan(
        &self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(&[u8], &Value, EntryInfo),
    ) -> u64 {
        let namespace = self.store.namespace(self.number);
        self.store.cache.scan(cursor, count, |stored, value, info| {
            let (of, key) = Store::split_key(stored);
            if of == namespace {
                visit(key, value, info);
            }
        })
    }

    /// Visits every key.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&[u8], &Value, EntryInfo)) {
        let mut cursor = 0;
        loop {
            cursor = self.scan(cursor, 128, &mut visit);
            if cursor == 0 {
                return;
            }
        }
    }
}
