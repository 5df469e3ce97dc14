//! Insertions with options, and the steps that all insertions share.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::options::{Displaced, InsertOptions, Traits};
use super::stored::try_confirm;
use crate::base::cause::RemovalCause;
use crate::base::error::{Inserted, Rejection};
use crate::base::hash::KeyHash;
use crate::base::load_time::LoadTime;
use crate::base::stats::Counter;
use crate::buffer::write_buffer::{ChangeKind, Event};
use crate::engine::fills::OpenFill;
use crate::engine::flight::Flight;
use crate::engine::history::Absence;
use crate::engine::{Attempt, Incoming, Show};
use crate::entry::{DeadlineSpec, Entry, EntryPtr, Owned};
use crate::expiry::EntryTtl;
use crate::listener::MustNotWait;
use crate::reclaim;
use crate::table::AttemptStage;
use crate::tags::{RESERVED, TagSet};

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// As [`insert`](Self::insert), with the lifetime and the tags in `options`, which also say whether the
    /// entry may be evicted.
    ///
    /// # Panics
    /// As `insert`.
    ///
    /// # Complexity
    /// As `insert`, and O(1) for each tag, under a lock that a 32nd of all names share.
    pub fn insert_with(&self, key: K, value: V, options: InsertOptions<'_>) -> Inserted {
        let hash = self.hash(&key);
        self.store_with(key, value, options, hash)
    }

    /// As [`insert_if_absent`](Self::insert_if_absent), with `options` as in
    /// [`insert_with`](Self::insert_with).
    pub fn insert_if_absent_with(&self, key: K, value: V, options: InsertOptions<'_>) -> Inserted {
        match self.traits(options) {
            Ok(traits) => self.store_if_absent(key, value, traits, None),
            Err(rejection) => self.reject_and_note(rejection, self.hash(&key)),
        }
    }

    /// As [`replace`](Self::replace), with `options` as in [`insert_with`](Self::insert_with).
    pub fn replace_with(&self, key: K, value: V, options: InsertOptions<'_>) -> Inserted {
        match self.traits(options) {
            Ok(traits) => self.store_if_present(key, value, traits),
            Err(rejection) => self.reject_and_note(rejection, self.hash(&key)),
        }
    }

    /// As [`insert`](Self::insert), and returns the value that was replaced, cloned; `None` if there was
    /// none.
    ///
    /// If several calls race on one key, each returns the value that the call before it stored.
    ///
    /// # Errors
    /// The [`Rejection`] says why the value was not stored.
    ///
    /// # Panics
    /// As `insert`. If the `Clone` panics, `value` was stored.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// assert_eq!(cache.swap("a", 1), Ok(None));
    /// assert_eq!(cache.swap("a", 2), Ok(Some(1)));
    /// ```
    pub fn swap(&self, key: K, value: V) -> Result<Option<V>, Rejection>
    where
        V: Clone,
    {
        self.insert_and_read(key, value, InsertOptions::new(), |_, old| old.clone())
    }

    /// As [`insert_with`](Self::insert_with), and returns what `reader` returns for the key and the value that were
    /// replaced, which are not cloned; `None` if there were none.
    ///
    /// `reader` runs pinned, like that of [`read`](Self::read), when the old entry has left the cache; other
    /// threads may still be reading it.
    ///
    /// # Errors
    /// The [`Rejection`] says why the value was not stored. `reader` was not called.
    ///
    /// # Panics
    /// As `insert_with`. If `reader` panics, `value` was stored.
    pub fn insert_and_read<R>(
        &self,
        key: K,
        value: V,
        options: InsertOptions<'_>,
        reader: impl FnOnce(&K, &V) -> R,
    ) -> Result<Option<R>, Rejection> {
        let (mut read, hash) = (None, self.hash(&key));
        let inserted = match self.traits(options) {
            Ok(traits) => {
                let read = |old: &Entry<K, V>| read = Some(reader(&old.key, &old.value));
                self.store_reading(key, value, traits, hash, read, None)
            }
            Err(rejection) => self.reject_and_note(rejection, hash),
        };
        match inserted {
            Inserted::Rejected(rejection) => Err(rejection),
            Inserted::Added | Inserted::Replaced => Ok(read),
        }
    }

    /// As [`insert_with`](Self::insert_with), and returns what left for it: the value that was replaced and
    /// the entries that were evicted, all cloned.
    ///
    /// With inline maintenance, these are the entries that were evicted because of this insertion. In background
    /// mode, they are the entries that the call itself evicts in the partition of its key. To do so it also applies
    /// what earlier insertions have left to maintenance, which other threads may be doing at the same time. So each
    /// evicted entry is returned by at most one call. The call does not return entries that expire, or that make room
    /// in other partitions: for a value heavier than a partition's share, or because of
    /// [namespaces](crate::Builder::namespaces). A [listener](crate::Builder::listener) is notified of all removals.
    ///
    /// # Errors
    /// The [`Rejection`] says why the value was not stored.
    ///
    /// # Panics
    /// As `insert_with`. If the `Clone` of the replaced value panics, `value` was stored; an evicted entry
    /// whose `Clone` panics is left out.
    ///
    /// # Complexity
    /// As `insert_with`; the call always runs maintenance itself, in background mode too.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, InsertOptions, Maintenance, Policy};
    ///
    /// let cache = Cache::builder()
    ///     .capacity(2)
    ///     .policy(Policy::lru())
    ///     .maintenance(Maintenance::Inline)
    ///     .build()?;
    /// cache.insert("a", 1);
    /// cache.insert("b", 2);
    /// let displaced = cache.insert_displacing("c", 3, InsertOptions::new()).unwrap();
    /// assert_eq!((displaced.replaced, displaced.evicted), (None, vec![("a", 1)]));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[doc(alias = "insert_with_lifecycle")]
    pub fn insert_displacing(
        &self,
        key: K,
        value: V,
        options: InsertOptions<'_>,
    ) -> Result<Displaced<K, V>, Rejection>
    where
        K: Clone,
        V: Clone,
    {
        let (mut replaced, hash) = (None, self.hash(&key));
        let evicted = RefCell::new(Vec::new());
        let inserted = match self.traits(options) {
            Ok(traits) => {
                let read = |old: &Entry<K, V>| replaced = Some(old.value.clone());
                let show = |victim: &Entry<K, V>| {
                    let pair = (victim.key.clone(), victim.value.clone());
                    evicted.borrow_mut().push(pair);
                };
                self.store_reading(key, value, traits, hash, read, Some(&show))
            }
            Err(rejection) => self.reject_and_note(rejection, hash),
        };
        match inserted {
            Inserted::Rejected(rejection) => Err(rejection),
            Inserted::Added | Inserted::Replaced => {
                Ok(Displaced { replaced, evicted: evicted.into_inner() })
            }
        }
    }

    pub(super) fn traits(&self, options: InsertOptions<'_>) -> Result<Traits, Rejection> {
        let InsertOptions { ttl, tags, is_unevictable, namespace, cost } = options;
        let tags = if tags.is_empty() { None } else { self.hold_tags(tags)? };
        let namespace = namespace.map(|name| self.namespace_at_insertion(name)).transpose()?;
        let lifetime = ttl.map_or(EntryTtl::Default, EntryTtl::For);
        let cost = cost.map_or(LoadTime::default(), LoadTime::of);
        Ok(Traits { lifetime, tags, is_unevictable, namespace, cost })
    }

    /// The tags of these names; `None` if there are no names.
    pub(super) fn hold_tags<T: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = T>,
    ) -> Result<Option<TagSet>, Rejection> {
        let all = &self.shared.settings.tags;
        let mut is_reserved = false;
        let names =
            names.into_iter().inspect(|name| is_reserved |= name.as_ref().starts_with(RESERVED));
        let tags = all.hold(names);
        if is_reserved {
            return Err(Rejection::ReservedTag);
        }
        let tags = tags.ok_or_else(|| Rejection::TooManyTags { limit: all.limit() })?;
        Ok((!tags.is_empty()).then_some(tags))
    }

    /// Makes a new entry, with the extension that its lifetime and its tags need.
    #[inline]
    pub(super) fn make(
        &self,
        hash: KeyHash,
        weight: u32,
        key: K,
        value: V,
        traits: Traits,
    ) -> Owned<K, V> {
        let Traits { lifetime, tags, is_unevictable, namespace, cost } = traits;
        let tags = self.with_namespace(tags, namespace, &key);
        let timing = &self.shared.engine.timing;
        let new = match tags {
            None => match timing.spec(lifetime, hash) {
                None => Owned::new(hash, weight, key, value),
                Some(spec) => Owned::extended(hash, weight, key, value, spec, None),
            },
            Some(tags) => {
                let spec = timing.spec_always(lifetime, hash);
                self.make_tagged(hash, weight, (key, value), spec, tags)
            }
        };
        if cost != LoadTime::default() {
            new.set_load_time(cost);
        }
        self.finish_new(new, hash, is_unevictable)
    }

    /// Makes a new entry with an extension of this specification. An entry with tags needs one.
    #[inline]
    pub(super) fn make_extended(
        &self,
        hash: KeyHash,
        weight: u32,
        (key, value): (K, V),
        spec: Option<DeadlineSpec>,
        tags: Option<TagSet>,
        is_unevictable: bool,
    ) -> Owned<K, V> {
        let new = match (spec, tags) {
            (None, _) => Owned::new(hash, weight, key, value),
            (Some(spec), None) => Owned::extended(hash, weight, key, value, spec, None),
            (Some(spec), Some(tags)) => self.make_tagged(hash, weight, (key, value), spec, tags),
        };
        self.finish_new(new, hash, is_unevictable)
    }

    /// Makes a new entry with tags, of which the first may be its namespace.
    fn make_tagged(
        &self,
        hash: KeyHash,
        weight: u32,
        (key, value): (K, V),
        spec: DeadlineSpec,
        tags: TagSet,
    ) -> Owned<K, V> {
        let namespace = tags.account().map(|account| account.namespace);
        let new = Owned::extended(hash, weight, key, value, spec, Some(tags));
        if let (Some(namespace), Some(shadows)) = (namespace, &self.shared.engine.namespace_shadows)
            && shadows.samples(namespace, hash)
        {
            new.as_ptr().set_sampled();
        }
        new
    }

    /// Sets what does not depend on the extension of a new entry.
    #[inline]
    fn finish_new(&self, new: Owned<K, V>, hash: KeyHash, is_unevictable: bool) -> Owned<K, V> {
        let engine = &self.shared.engine;
        // Hits on the entries of sampled keys are reported to the shadow caches.
        if engine.shadow.as_ref().is_some_and(|shadow| shadow.samples(hash)) {
            new.as_ptr().set_sampled();
        }
        if is_unevictable {
            new.set_unevictable();
        }
        new
    }

    /// Stores an entry with the traits that `options` ask for.
    pub(super) fn store_with(
        &self,
        key: K,
        value: V,
        options: InsertOptions<'_>,
        hash: KeyHash,
    ) -> Inserted {
        match self.traits(options) {
            Ok(traits) => self.store(key, value, traits, hash),
            Err(rejection) => self.reject_and_note(rejection, hash),
        }
    }

    pub(super) fn store(&self, key: K, value: V, traits: Traits, hash: KeyHash) -> Inserted {
        self.store_reading(key, value, traits, hash, |_| (), None)
    }

    /// Stores an entry. Calls `read` for the entry that it replaced, and `show` for those that it evicted.
    #[inline(always)]
    fn store_reading(
        &self,
        key: K,
        value: V,
        traits: Traits,
        hash: KeyHash,
        read: impl FnOnce(&Entry<K, V>),
        show: Option<Show<'_, K, V>>,
    ) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        self.shared.engine.table.prefetch_bucket(hash);
        self.shared.engine.prefetch_report(hash);
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_and_remove(&key, rejection, hash),
        };
        let lifetime = traits.lifetime;
        let new = self.make(hash, weight.units, key, value, traits);
        let _loan = self.borrow_for(&new, weight, hash);
        self.shared.engine.table.prefetch_entry(hash);
        self.store_showing(new, hash, Some(lifetime), read, show)
    }

    /// Puts `new` into the table, and calls `read` for the entry that it replaced. With a `lifetime`, the
    /// deadline of `new` is computed anew if an attempt had to wait; an entry of a snapshot has none.
    #[inline]
    pub(super) fn store_entry(
        &self,
        new: Owned<K, V>,
        hash: KeyHash,
        lifetime: Option<EntryTtl>,
        read: impl FnOnce(&Entry<K, V>),
    ) -> Inserted {
        self.store_showing(new, hash, lifetime, read, None)
    }

    /// The same; also calls `show` for the entries that are evicted for it.
    fn store_showing(
        &self,
        new: Owned<K, V>,
        hash: KeyHash,
        lifetime: Option<EntryTtl>,
        read: impl FnOnce(&Entry<K, V>),
        show: Option<Show<'_, K, V>>,
    ) -> Inserted {
        let engine = &self.shared.engine;
        let (mut read, mut answer) = (Some(read), None);
        let mut incoming = Incoming::new(new, lifetime);
        let stored = engine.attempt(hash, &mut incoming, |change, incoming, guard| {
            change.show_evicted(show);
            let on_attempt = |new: &Owned<K, V>, stage: AttemptStage<(EntryPtr, &Entry<K, V>)>| {
                change.on_attempt(stage, |change, old| {
                    if let Some((old, _)) = old
                        && change.must_notify(old, || self.cause_now(old, RemovalCause::Replaced))
                    {
                        return None;
                    }
                    if let Some(lifetime) = lifetime {
                        self.apply_expiry(new, old, lifetime, &mut answer);
                    }
                    Some(if old.is_none() { ChangeKind::Insert } else { ChangeKind::Replace })
                })
            };
            let (new, old) = match engine.table.upsert(incoming.take(), on_attempt, guard) {
                Ok(done) => done,
                Err(unused) => {
                    incoming.put_back(unused);
                    return Attempt::Retry;
                }
            };
            let Some(old) = old else {
                self.note_inserted(change, new, guard);
                return Attempt::Done(Inserted::Added);
            };
            let inserted = self.note_replaced(change, (old, new), None, guard);
            if inserted == Inserted::Replaced
                && let Some(read) = read.take()
            {
                // User code. If it panics, the change is still reported when `change` is dropped.
                read(engine.table.at(old, guard));
            }
            Attempt::Done(inserted)
        });
        stored.unwrap_or_else(|MustNotWait| self.reject(Rejection::WithinListener))
    }

    /// Stores an entry unless the key is present or `fill`, if there is one, has become stale.
    pub(super) fn store_if_absent(
        &self,
        key: K,
        value: V,
        traits: Traits,
        fill: Option<&OpenFill<Flight<K, V>>>,
    ) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let hash = self.hash(&key);
        let engine = &self.shared.engine;
        if fill.is_none() {
            // Even if the key is present: the caller knows of a newer value than fills do.
            engine.mark_changed(hash);
        }
        if self.find(&key, hash, &reclaim::pin()).is_some() {
            return self.reject(Rejection::Present);
        }
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_and_note(rejection, hash),
        };
        let lifetime = traits.lifetime;
        let new = self.make(hash, weight.units, key, value, traits);
        let _loan = self.borrow_for(&new, weight, hash);
        if fill.is_some() {
            new.as_ptr().set_unconfirmed();
        }
        let mut answer = None;
        let mut incoming = Incoming::new(new, Some(lifetime));
        // User code, so outside of the gate and of the pin.
        self.apply_expiry(incoming.entry(), None, lifetime, &mut answer);
        loop {
            let attempt =
                engine.attempt_unmarked(hash, &mut incoming, |change, incoming, guard| {
                    if fill.is_none() {
                        // Again: a fill may have begun while the last attempt was prepared.
                        engine.mark_changed(hash);
                    }
                    // The `Expiry` is not asked again: `answer` holds what it said.
                    self.apply_expiry(incoming.entry(), None, lifetime, &mut answer);
                    let new = incoming.take();
                    let on_attempt = |stage: AttemptStage<(EntryPtr, &Entry<K, V>)>| {
                        change.on_attempt(stage, |_, _| Some(ChangeKind::Insert))
                    };
                    match engine.table.insert_if_absent(new, on_attempt, guard) {
                        Ok(new) => {
                            // Also if it is refused below: it counts as invalidated when it leaves.
                            self.note_inserted(change, new, guard);
                            Attempt::Done(match fill {
                                Some(fill) if !try_confirm(new, fill) => Absent::Stale(new),
                                _ => Absent::Added,
                            })
                        }
                        Err((unused, None)) => {
                            incoming.put_back(unused);
                            Attempt::Retry
                        }
                        Err((unused, Some(present))) => {
                            incoming.put_back(unused);
                            let is_present = self.is_valid(present);
                            Attempt::Done(if is_present {
                                Absent::Present
                            } else {
                                Absent::Invalid(present)
                            })
                        }
                    }
                });
            match attempt {
                Ok(Absent::Added) => return Inserted::Added,
                Ok(Absent::Stale(unconfirmed)) => return self.reject_stale(unconfirmed, hash),
                Ok(Absent::Present) => return self.reject(Rejection::Present),
                Ok(Absent::Invalid(invalid)) => {
                    // A valid entry at this address is another one in the same memory, and stays.
                    let removes_valid = &mut |_: &K, _: &V| false;
                    let removed =
                        self.remove_notifying(invalid, hash, removes_valid, Absence::Removed);
                    if removed.is_err() {
                        return self.reject(Rejection::WithinListener);
                    }
                    incoming.restart(&engine.timing);
                }
                Err(MustNotWait) => return self.reject(Rejection::WithinListener),
            }
        }
    }

    pub(super) fn store_if_present(&self, key: K, value: V, traits: Traits) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let hash = self.hash(&key);
        // Even if the key is absent: the caller knows of a newer value than fills do.
        self.shared.engine.mark_changed(hash);
        if self.find(&key, hash, &reclaim::pin()).is_none() {
            return self.reject(Rejection::Absent);
        }
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_and_remove(&key, rejection, hash),
        };
        let lifetime = traits.lifetime;
        let new = self.make(hash, weight.units, key, value, traits);
        let _loan = self.borrow_for(&new, weight, hash);
        let engine = &self.shared.engine;
        let mut answer = None;
        let mut incoming = Incoming::new(new, Some(lifetime));
        let replaced = engine.attempt(hash, &mut incoming, |change, incoming, guard| {
            // The entry of which the listener was notified leaves, even if it has expired since.
            let notified = change.notified().map(|(entry, _)| entry);
            let is_valid = |present| notified == Some(present) || self.is_valid(present);
            let on_attempt = |new: &Owned<K, V>, stage: AttemptStage<(EntryPtr, &Entry<K, V>)>| {
                change.on_attempt(stage, |change, old| {
                    if let Some((old, _)) = old
                        && change.must_notify(old, || RemovalCause::Replaced)
                    {
                        return None;
                    }
                    self.apply_expiry(new, old, lifetime, &mut answer);
                    Some(ChangeKind::Replace)
                })
            };
            match engine.table.replace(incoming.take(), is_valid, on_attempt, guard) {
                Ok((new, old)) => {
                    change.commit(Event::Replaced { new, old }, RemovalCause::Replaced);
                    self.count(Counter::Replacements, guard);
                    Attempt::Done(Inserted::Replaced)
                }
                Err(unused) => {
                    incoming.put_back(unused);
                    if change.is_unprepared() {
                        return Attempt::Retry;
                    }
                    Attempt::Done(Inserted::Rejected(Rejection::Absent))
                }
            }
        });
        match replaced {
            Ok(Inserted::Rejected(rejection)) => self.reject(rejection),
            Ok(done) => done,
            Err(MustNotWait) => self.reject(Rejection::WithinListener),
        }
    }
}

/// The result of an attempt to insert an absent key.
enum Absent {
    Added,
    /// The fill has become stale: its entry is in the table, but invisible.
    Stale(EntryPtr),
    Present,
    /// An entry that is not valid any more is in the way.
    Invalid(EntryPtr),
}
