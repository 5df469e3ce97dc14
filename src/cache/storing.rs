//! The verbs that store, with all that an entry can be given, and the steps that they share.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::Cache;
use crate::entry::{Entry, EntryPtr, Owned};
use crate::error::{Inserted, Rejection};
use crate::expiry::Lifetime;
use crate::fills::OpenFill;
use crate::listener::RemovalCause;
use crate::reclaim;
use crate::stats::Counter;
use crate::table::Step;
use crate::tags::{MAX_TAGS, TagSet};
use crate::write_buffer::Event;

/// What an entry is given besides key and value; for [`Cache::insert_with`] and its kin.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::{Cache, InsertOptions};
///
/// let cache = Cache::new(100);
/// let hour = InsertOptions::new().ttl(Duration::from_secs(3600));
/// cache.insert_with("/orders/1", "one", hour.tags(&["orders", "customer:7"]));
/// cache.insert_if_absent_with("/index", "page", hour.unevictable());
/// assert!(cache.invalidate_tag("orders"));
/// assert_eq!((cache.get("/orders/1"), cache.get("/index")), (None, Some("page")));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "options do nothing until an entry is stored with them"]
pub struct InsertOptions<'t> {
    ttl: Option<Duration>,
    tags: &'t [&'t str],
    is_unevictable: bool,
}

impl<'t> InsertOptions<'t> {
    /// An entry like that of [`Cache::insert`].
    pub const fn new() -> Self {
        Self { ttl: None, tags: &[], is_unevictable: false }
    }

    /// The entry lives for `ttl`, whatever the cache's [time to live](crate::Builder::time_to_live) or
    /// [`Expiry`](crate::Expiry) says of new ones; see [`Cache::insert_with_ttl`].
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The entry carries `tags`, by which [`Cache::invalidate_tag`] finds it; see
    /// [`Cache::insert_with_tags`].
    pub const fn tags(mut self, tags: &'t [&'t str]) -> Self {
        self.tags = tags;
        self
    }

    /// The entry is never evicted; see [`Cache::insert_unevictable`].
    pub const fn unevictable(mut self) -> Self {
        self.is_unevictable = true;
        self
    }
}

/// The same, as an entry is made by it.
#[derive(Default)]
pub(super) struct Traits {
    pub(super) lifetime: Lifetime,
    pub(super) tags: Option<TagSet>,
    pub(super) is_unevictable: bool,
}

impl From<Lifetime> for Traits {
    #[inline]
    fn from(lifetime: Lifetime) -> Self {
        Self { lifetime, tags: None, is_unevictable: false }
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// As [`insert`](Self::insert), with a lifetime, tags and whether it may be evicted as `options` say.
    ///
    /// # Panics
    /// As `insert`.
    ///
    /// # Complexity
    /// As `insert`, and O(1) for each tag, under a lock of a 32nd of all names.
    pub fn insert_with(&self, key: K, value: V, options: InsertOptions<'_>) -> Inserted {
        match self.traits(options) {
            Ok(traits) => self.store(key, value, traits),
            Err(rejection) => self.reject_stored(rejection, self.hash(&key)),
        }
    }

    /// As [`insert_if_absent`](Self::insert_if_absent), with `options` as in
    /// [`insert_with`](Self::insert_with).
    pub fn insert_if_absent_with(&self, key: K, value: V, options: InsertOptions<'_>) -> Inserted {
        match self.traits(options) {
            Ok(traits) => self.store_if_absent(key, value, traits, None),
            Err(rejection) => self.reject_stored(rejection, self.hash(&key)),
        }
    }

    /// As [`replace`](Self::replace), with `options` as in [`insert_with`](Self::insert_with).
    pub fn replace_with(&self, key: K, value: V, options: InsertOptions<'_>) -> Inserted {
        match self.traits(options) {
            Ok(traits) => self.store_if_present(key, value, traits),
            Err(rejection) => self.reject_stored(rejection, self.hash(&key)),
        }
    }

    /// As [`insert`](Self::insert), and returns the value that was replaced, cloned; `None` if there was
    /// none.
    ///
    /// Of calls that race on one key, each returns the value of the one before it.
    ///
    /// # Errors
    /// If the value was not stored: why.
    ///
    /// # Panics
    /// As `insert`. If the `Clone` panics, the value was stored.
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

    /// As [`insert_with`](Self::insert_with), and returns what `reader` makes of the key and the value
    /// that were replaced, without cloning them; `None` if there were none.
    ///
    /// `reader` runs pinned, like that of [`read`](Self::read). It sees what has left: other threads may
    /// still be reading it, too.
    ///
    /// # Errors
    /// If the value was not stored: why. `reader` was not called then.
    ///
    /// # Panics
    /// As `insert_with`. If `reader` panics, the value was stored.
    pub fn insert_and_read<R>(
        &self,
        key: K,
        value: V,
        options: InsertOptions<'_>,
        reader: impl FnOnce(&K, &V) -> R,
    ) -> Result<Option<R>, Rejection> {
        let mut read = None;
        let inserted = match self.traits(options) {
            Ok(traits) => self.store_reading(key, value, traits, |old| {
                read = Some(reader(&old.key, &old.value));
            }),
            Err(rejection) => self.reject_stored(rejection, self.hash(&key)),
        };
        match inserted {
            Inserted::Rejected(rejection) => Err(rejection),
            Inserted::Added | Inserted::Replaced => Ok(read),
        }
    }

    pub(super) fn traits(&self, options: InsertOptions<'_>) -> Result<Traits, Rejection> {
        let InsertOptions { ttl, tags, is_unevictable } = options;
        let tags = if tags.is_empty() { None } else { self.hold_tags(tags)? };
        Ok(Traits { lifetime: ttl.map_or(Lifetime::Usual, Lifetime::For), tags, is_unevictable })
    }

    /// The tags of those names; `None` if there is none.
    pub(super) fn hold_tags<T: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = T>,
    ) -> Result<Option<TagSet>, Rejection> {
        let held = self.shared.parts.tags.hold(names);
        let tags = held.ok_or(Rejection::TooManyTags { limit: MAX_TAGS })?;
        Ok((!tags.is_empty()).then_some(tags))
    }

    /// A new entry.
    #[inline]
    fn make(&self, hash: u64, weight: u32, key: K, value: V, traits: Traits) -> Owned<K, V> {
        let Traits { lifetime, tags, is_unevictable } = traits;
        let new = match tags {
            None => self.entry(hash, weight, key, value, lifetime),
            Some(tags) => {
                let terms = self.shared.engine.timing.sure_terms(lifetime, hash);
                let new = Owned::extended(hash, weight, key, value, terms, Some(tags));
                self.sample(&new, hash);
                new
            }
        };
        if is_unevictable {
            new.set_unevictable();
        }
        new
    }

    /// Most entries have no traits of their own: for these the code has none.
    pub(super) fn store_plain(&self, key: K, value: V) -> Inserted {
        self.store_reading(key, value, Traits::default(), |_| ())
    }

    pub(super) fn store(&self, key: K, value: V, traits: Traits) -> Inserted {
        self.store_reading(key, value, traits, |_| ())
    }

    /// Stores, and calls `read` for the entry that was replaced.
    #[inline(always)]
    fn store_reading(
        &self,
        key: K,
        value: V,
        traits: Traits,
        read: impl FnOnce(&Entry<K, V>),
    ) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let hash = self.hash(&key);
        self.shared.engine.table.prefetch_bucket(hash);
        self.shared.engine.prefetch_report(hash);
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_too_heavy(&key, rejection, hash),
        };
        let lifetime = traits.lifetime;
        let new = self.make(hash, weight, key, value, traits);
        self.shared.engine.table.prefetch_entry(hash);
        self.store_entry(new, hash, Some(lifetime), read)
    }

    /// Puts `new` into the table, and calls `read` for the entry that it replaces. Its lifetime is
    /// computed anew if `lifetime` says so.
    #[inline]
    pub(super) fn store_entry(
        &self,
        mut new: Owned<K, V>,
        hash: u64,
        lifetime: Option<Lifetime>,
        read: impl FnOnce(&Entry<K, V>),
    ) -> Inserted {
        let engine = &self.shared.engine;
        let (mut prepared, mut answer) = (None, None);
        loop {
            let Ok(admitted) = engine.admit(hash, prepared.take()) else {
                return self.reject(Rejection::WithinListener);
            };
            let mut change = engine.change(hash, admitted);
            let guard = reclaim::pin();
            let steps = |new: &Owned<K, V>, step: Step<(EntryPtr, &Entry<K, V>)>| match step {
                Step::Found(old) => {
                    if let Some((old, _)) = old
                        && change.must_notify(old, || self.cause_now(old, RemovalCause::Replaced))
                    {
                        return false;
                    }
                    if let Some(lifetime) = lifetime {
                        self.prepare(new, old, lifetime, &mut answer);
                    }
                    change.announce(if old.is_none() { 1 } else { 0 })
                }
                Step::Failed => {
                    change.withdraw();
                    true
                }
            };
            let (new, old) = match engine.table.upsert(new, steps, &guard) {
                Ok(done) => done,
                Err(unused) => {
                    drop(guard);
                    prepared = change.prepare(Some(unused.value()));
                    self.restart_lifetime(&unused, lifetime);
                    new = unused;
                    continue;
                }
            };
            let Some(old) = old else {
                change.made(Event::Inserted(new), RemovalCause::Explicit);
                self.count(Counter::Inserts, &guard);
                drop(guard);
                return Inserted::Added;
            };
            let cause = change.cause_of(old, || self.cause_of(old, RemovalCause::Replaced));
            change.made(Event::Replaced { new, old }, cause);
            self.count_gone(old, cause, &guard);
            if cause == RemovalCause::Replaced {
                // User code. Whatever it does, the change is reported as `change` is dropped.
                read(engine.table.at(old, &guard));
                return Inserted::Replaced;
            }
            // A new entry like any other, not a change of the one that nobody saw any more.
            self.count(Counter::Inserts, &guard);
            return Inserted::Added;
        }
    }

    /// Stores unless the key is there; if `fill` says so, unless that has become stale.
    pub(super) fn store_if_absent(
        &self,
        key: K,
        value: V,
        traits: Traits,
        fill: Option<&OpenFill>,
    ) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let hash = self.hash(&key);
        if self.find(&key, hash, &reclaim::pin()).is_some() {
            if fill.is_none() {
                // The caller has news of the key all the same.
                self.shared.engine.fills.mark(hash);
            }
            return self.reject(Rejection::Present);
        }
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_stored(rejection, hash),
        };
        let lifetime = traits.lifetime;
        let mut new = self.make(hash, weight, key, value, traits);
        if fill.is_some() {
            new.as_ptr().set_unconfirmed();
        }
        let mut answer = None;
        self.prepare(&new, None, lifetime, &mut answer);
        let engine = &self.shared.engine;
        let mut prepared = None;
        loop {
            let admitted = match fill {
                None => engine.admit(hash, prepared.take()),
                Some(_) => engine.admit_fill(hash, prepared.take()),
            };
            let Ok(admitted) = admitted else {
                return self.reject(Rejection::WithinListener);
            };
            let mut removal = engine.change(hash, admitted);
            let mut change = engine.change_within(hash);
            let guard = reclaim::pin();
            let steps = |step: Step<(EntryPtr, &Entry<K, V>)>| match step {
                Step::Found(_) => change.announce(1),
                Step::Failed => {
                    change.withdraw();
                    true
                }
            };
            match engine.table.insert_if_absent(new, steps, &guard) {
                Ok(new) => {
                    change.made(Event::Inserted(new), RemovalCause::Explicit);
                    let is_stale = fill.is_some_and(|fill| !fill.confirm(|| new.confirm()));
                    // Leaves the gate.
                    drop(removal);
                    if is_stale {
                        drop(guard);
                        drop(change);
                        return self.reject_stale(new, hash);
                    }
                    self.count(Counter::Inserts, &guard);
                    return Inserted::Added;
                }
                Err((unused, None)) => {
                    drop(guard);
                    drop(removal);
                    change.prepare(None);
                    self.restart_lifetime(&unused, Some(lifetime));
                    new = unused;
                }
                Err((unused, Some(present))) if self.is_valid(present) => {
                    drop(guard);
                    // Leaves the gate: the drop of the user's may change the cache.
                    drop((change, removal));
                    drop(unused);
                    return self.reject(Rejection::Present);
                }
                Err((unused, Some(fallen))) => {
                    new = unused;
                    let cause = || self.cause_now(fallen, RemovalCause::Explicit);
                    if removal.must_notify(fallen, cause) || !removal.announce(-1) {
                        drop(guard);
                        prepared = removal.prepare(None);
                        self.restart_lifetime(&new, Some(lifetime));
                        self.prepare(&new, None, lifetime, &mut answer);
                    } else if engine.table.remove_entry(fallen, &guard) {
                        let cause = || self.cause_of(fallen, RemovalCause::Explicit);
                        let cause = removal.cause_of(fallen, cause);
                        removal.removed(fallen, cause);
                        self.count_gone(fallen, cause, &guard);
                    }
                }
            }
        }
    }

    pub(super) fn store_if_present(&self, key: K, value: V, traits: Traits) -> Inserted {
        if self.is_within_removal() {
            return self.reject(Rejection::WithinListener);
        }
        let hash = self.hash(&key);
        // Also of a key that is not there the caller has news.
        self.shared.engine.fills.mark(hash);
        if self.find(&key, hash, &reclaim::pin()).is_none() {
            return self.reject(Rejection::Absent);
        }
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_too_heavy(&key, rejection, hash),
        };
        let lifetime = traits.lifetime;
        let mut new = self.make(hash, weight, key, value, traits);
        let engine = &self.shared.engine;
        let (mut prepared, mut answer) = (None, None);
        loop {
            let Ok(admitted) = engine.admit(hash, prepared.take()) else {
                return self.reject(Rejection::WithinListener);
            };
            let mut change = engine.change(hash, admitted);
            let guard = reclaim::pin();
            // What the listener was notified of leaves, even if it has expired since.
            let notified = change.notified().map(|(entry, _)| entry);
            let is_valid = |present| notified == Some(present) || self.is_valid(present);
            let steps = |new: &Owned<K, V>, step: Step<(EntryPtr, &Entry<K, V>)>| match step {
                Step::Found(old) => {
                    if let Some((old, _)) = old
                        && change.must_notify(old, || RemovalCause::Replaced)
                    {
                        return false;
                    }
                    self.prepare(new, old, lifetime, &mut answer);
                    change.announce(0)
                }
                Step::Failed => {
                    change.withdraw();
                    true
                }
            };
            match engine.table.replace(new, is_valid, steps, &guard) {
                Ok((new, old)) => {
                    change.made(Event::Replaced { new, old }, RemovalCause::Replaced);
                    self.count(Counter::Replacements, &guard);
                    return Inserted::Replaced;
                }
                Err(unused) if change.is_unprepared() => {
                    drop(guard);
                    prepared = change.prepare(Some(unused.value()));
                    self.restart_lifetime(&unused, Some(lifetime));
                    new = unused;
                }
                Err(unused) => {
                    drop(guard);
                    // Leaves the gate: the drop of the user's may change the cache.
                    drop(change);
                    drop(unused);
                    return self.reject(Rejection::Absent);
                }
            }
        }
    }
}
