//! The verbs that have to do with time, and what the others ask about it.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::Cache;
use crate::base::cause::RemovalCause;
use crate::base::equivalent::Equivalent;
use crate::base::error::Inserted;
use crate::base::stats::Counter;
use crate::entry::{Entry, EntryPtr, HitCheck, Owned};
use crate::expiry::{EntryTtl, Expiry};
use crate::reclaim::{self, Guard};
use crate::tags::TagSet;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// As [`insert`](Self::insert), but the entry lives for `ttl`, whatever the cache's
    /// [time to live](crate::Builder::time_to_live) or [`Expiry`] says of new ones.
    ///
    /// The entry is valid as long as no more than `ttl` has passed, by the cache's clock; a
    /// [time to idle](crate::Builder::time_to_idle) may end it before, and
    /// [jitter](crate::Builder::jitter) changes `ttl` by so much. With `Duration::ZERO` the entry
    /// has expired before anybody sees it, and the value it replaced is gone as well. Deadlines
    /// end after 584 years: `Duration::MAX` means for ever. Works with every cache.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = larder::Cache::new(100);
    /// cache.insert_with_ttl("session", 17, Duration::from_secs(3600));
    /// assert_eq!(cache.get("session"), Some(17));
    /// ```
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration) -> Inserted {
        self.store(key, value, EntryTtl::For(ttl).into())
    }

    /// Gives the entry of `key` a new lifetime, which counts from now; `None` for ever. It takes the
    /// place of the cache's [time to live](crate::Builder::time_to_live), of a lifetime given with the
    /// insertion and of what an [`Expiry`] has said, and may be longer than these. False if the
    /// key is not there, or if its entry has no room for a deadline: it was inserted without one
    /// into a cache that has neither a [time to live](crate::Builder::time_to_live) nor
    /// [to idle](crate::Builder::time_to_idle) nor an [`Expiry`].
    ///
    /// No use of the entry, though its time to idle begins anew. The value stays what it is.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = larder::Cache::new(100);
    /// cache.insert_with_ttl("session", 17, Duration::from_secs(60));
    /// assert!(cache.expire_after("session", Some(Duration::from_secs(3600))));
    /// assert!(cache.inspect("session").unwrap().expires_in > Some(Duration::from_secs(3000)));
    /// ```
    pub fn expire_after<Q>(&self, key: &Q, ttl: Option<Duration>) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        loop {
            let Some((pointer, _)) = self.find(key, hash, &guard) else { return false };
            let is_moved = self.shared.engine.set_remaining(pointer, ttl);
            // Else a thread that replaces the value meanwhile would seem to have come before.
            if !is_moved || self.shared.engine.table.is_linked(pointer, &guard) {
                return is_moved;
            }
        }
    }

    /// A new entry, with all that its lifetime needs.
    #[inline]
    pub(super) fn entry(
        &self,
        hash: u64,
        weight: u32,
        key: K,
        value: V,
        lifetime: EntryTtl,
    ) -> Owned<K, V> {
        let new = match self.shared.engine.timing.spec(lifetime, hash) {
            None => Owned::new(hash, weight, key, value),
            Some(spec) => Owned::extended(hash, weight, key, value, spec, None),
        };
        self.sample(&new, hash);
        new
    }

    /// Notes in a new entry whether hits on it are to be reported to shadows.
    #[inline]
    pub(super) fn sample(&self, new: &Owned<K, V>, hash: u64) {
        if self.shared.engine.shadow.as_ref().is_some_and(|shadow| shadow.samples(hash)) {
            new.as_ptr().set_sampled();
        }
    }

    /// Lets the user's [`Expiry`] say how long `new` may live, which is about to take the place of
    /// `old`. It is asked once about each old entry; `answer` has what it said last.
    #[inline]
    pub(super) fn prepare(
        &self,
        new: &Owned<K, V>,
        old: Option<(EntryPtr, &Entry<K, V>)>,
        lifetime: EntryTtl,
        answer: &mut Option<Answer>,
    ) {
        if let (Some(expiry), EntryTtl::Default) = (&self.shared.settings.expiry, lifetime) {
            self.ask_for_lifetime(&**expiry, new, old, answer);
        }
    }

    #[inline(never)]
    fn ask_for_lifetime(
        &self,
        expiry: &dyn Expiry<K, V>,
        new: &Owned<K, V>,
        old: Option<(EntryPtr, &Entry<K, V>)>,
        answer: &mut Option<Answer>,
    ) {
        let timing = &self.shared.engine.timing;
        let old = old.map(|(old, _)| old).filter(|old| self.is_valid(*old));
        let ttl = match answer {
            Some(answer) if answer.old == old => answer.ttl,
            _ => match old {
                None => expiry.after_create(new.key(), new.value()),
                Some(old) => {
                    let remaining = old.extension().and_then(|old| timing.remaining(old));
                    expiry.after_update(new.key(), new.value(), remaining)
                }
            },
        };
        *answer = Some(Answer { old, ttl });
        timing.set_lifetime(new.as_ptr(), ttl);
    }

    /// Lets the user's [`Expiry`] say how long an entry may live that was hit, and had `remaining` to
    /// live before that.
    pub(super) fn note_use(
        &self,
        pointer: EntryPtr,
        entry: &Entry<K, V>,
        remaining: Option<Duration>,
    ) {
        let Some(expiry) = &self.shared.settings.expiry else { return };
        let wanted = expiry.after_read(&entry.key, &entry.value, remaining);
        if wanted != remaining {
            self.shared.engine.set_computed(pointer, wanted);
        }
    }

    /// How long the entry has left, if an [`Expiry`] needs to know.
    pub(super) fn remaining_if_asked(&self, pointer: EntryPtr) -> Option<Duration> {
        self.shared.settings.expiry.as_ref()?;
        pointer.extension().and_then(|extension| self.shared.engine.timing.remaining(extension))
    }
}

/// What an [`Expiry`] has said about an entry that takes the place of `old`, or of none that is valid.
pub(super) struct Answer {
    old: Option<EntryPtr>,
    ttl: Option<Duration>,
}

impl<K, V, S> Cache<K, V, S> {
    /// Whether an entry may be seen now.
    #[inline]
    pub(super) fn is_valid(&self, pointer: EntryPtr) -> bool {
        let timing = &self.shared.engine.timing;
        pointer.extension().is_none_or(|extension| timing.is_valid(extension))
            && !pointer.is_invalidated()
    }

    /// Whether a hit on the entry needs no further check: its deadline is far away and stays as it
    /// is, it has no tags, and no shadow samples it.
    #[inline(always)]
    pub(super) fn passes_unchecked(&self, pointer: EntryPtr) -> bool {
        if !pointer.needs_check() {
            return true;
        }
        match pointer.hit_check() {
            HitCheck::Deadline(extension) => self.shared.engine.timing.passes_unchecked(extension),
            HitCheck::More => false,
        }
    }

    /// Why an entry has left that was just taken out of the table: `cause`, unless nobody saw it
    /// any more.
    #[inline]
    pub(super) fn cause_of(&self, pointer: EntryPtr, cause: RemovalCause) -> RemovalCause {
        let timing = &self.shared.engine.timing;
        match pointer.extension() {
            Some(extension) if timing.had_expired(extension) => RemovalCause::Expired,
            Some(_) if pointer.tags().is_some_and(TagSet::read_ordered) => {
                RemovalCause::Invalidated
            }
            _ if pointer.is_unconfirmed() => RemovalCause::Invalidated,
            _ => cause,
        }
    }

    /// The same of an entry that is about to be taken out.
    pub(super) fn cause_now(&self, pointer: EntryPtr, cause: RemovalCause) -> RemovalCause {
        match () {
            () if self.is_valid(pointer) => cause,
            () if pointer.is_invalidated() => RemovalCause::Invalidated,
            () => RemovalCause::Expired,
        }
    }

    /// Whether this thread is within a change, in a cache with an atomic listener, so that it may change
    /// nothing else.
    #[inline]
    pub(super) fn is_within_removal(&self) -> bool {
        self.shared.engine.atomic.as_ref().is_some_and(|atomic| atomic.refuses_changes())
    }

    #[inline]
    pub(super) fn count(&self, counter: Counter, guard: &Guard) {
        self.shared.engine.counters.add(guard.thread(), counter, 1);
    }

    /// Counts an entry that was taken out.
    #[inline]
    pub(super) fn count_gone(&self, pointer: EntryPtr, cause: RemovalCause, guard: &Guard) {
        match cause {
            RemovalCause::Replaced => self.count(Counter::Replacements, guard),
            RemovalCause::Explicit => self.count(Counter::Removals, guard),
            RemovalCause::Invalidated => self.count(Counter::Invalidations, guard),
            _ => self.count_expired(pointer, guard),
        }
    }

    #[cold]
    fn count_expired(&self, pointer: EntryPtr, guard: &Guard) {
        self.count(Counter::Expirations, guard);
        let weight = u64::from(pointer.meta().weight());
        self.shared.engine.counters.add(guard.thread(), Counter::ExpiredWeight, weight);
    }
}
