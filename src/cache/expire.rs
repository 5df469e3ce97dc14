//! Lifetimes of single entries, and the steps by which the other methods judge and count validity.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::Cache;
use super::options::UpdateOptions;
use crate::base::cause::RemovalCause;
use crate::base::equivalent::Equivalent;
use crate::base::error::{Inserted, NoDeadline};
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
    /// [time to live](crate::Builder::time_to_live) or [`Expiry`] would give it.
    ///
    /// The entry is valid as long as no more than `ttl` has passed by the cache's clock. A
    /// [time to idle](crate::Builder::time_to_idle) may make it expire earlier, and
    /// [jitter](crate::Builder::jitter) lengthens or shortens `ttl`. With `Duration::ZERO` no thread ever
    /// sees the entry, and the value that it replaced is gone as well. A `ttl` of 584 years or more, such as
    /// `Duration::MAX`, means for ever. This works with every cache.
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
        let hash = self.hash(&key);
        self.store(key, value, EntryTtl::For(ttl).into(), hash)
    }

    /// Gives the entry of `key` a new lifetime, which counts from now; `None` means for ever. Says whether it
    /// did.
    ///
    /// The new lifetime replaces the cache's [time to live](crate::Builder::time_to_live), a lifetime given
    /// with the insertion, and the last answer of an [`Expiry`]; it may be longer than these. The call does
    /// not count as a use of the entry, but its time to idle starts anew. The value does not change.
    ///
    /// An entry has no room for a deadline if it was inserted without a lifetime and tags into a cache that has
    /// neither a time to live nor a [time to idle](crate::Builder::time_to_idle) nor an `Expiry`, and does not keep
    /// ages. Such an entry is [updated](Self::update_with) with a clone of its value: the call counts as a
    /// replacement, and a listener is notified of it.
    ///
    /// The call returns false if the key is absent, or if such an update was rejected.
    ///
    /// # Panics
    /// As [`update`](Self::update), if the entry has no room for a deadline.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = larder::Cache::new(100);
    /// cache.insert("session", 17);
    /// assert!(cache.expire_after("session", Some(Duration::from_secs(3600))));
    /// assert!(cache.inspect("session").unwrap().expires_in > Some(Duration::from_secs(3000)));
    /// ```
    pub fn expire_after<Q>(&self, key: &Q, ttl: Option<Duration>) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Clone,
        V: Clone,
    {
        match self.try_expire_after(key, ttl) {
            Ok(is_set) => is_set,
            Err(NoDeadline) => {
                let options = UpdateOptions::new().ttl(ttl.unwrap_or(Duration::MAX));
                let updated = self.update_and_read(key, options, V::clone, |_, _| ());
                matches!(updated, Ok(Some(())))
            }
        }
    }

    /// As [`expire_after`](Self::expire_after), but never stores the value anew, so it need not be cloned.
    ///
    /// # Errors
    /// [`NoDeadline`], if the entry has no room for a deadline and is to have one. Nothing has changed.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::NoDeadline;
    ///
    /// let cache = larder::Cache::new(100);
    /// cache.insert_with_ttl(1, "has a deadline", Duration::from_secs(60));
    /// cache.insert(2, "has no room for one");
    /// let minutes = Some(Duration::from_secs(600));
    /// assert_eq!(cache.try_expire_after(&1, minutes), Ok(true));
    /// assert_eq!(cache.try_expire_after(&2, minutes), Err(NoDeadline));
    /// assert_eq!(cache.try_expire_after(&2, None), Ok(true));
    /// assert_eq!(cache.try_expire_after(&3, minutes), Ok(false));
    /// ```
    pub fn try_expire_after<Q>(&self, key: &Q, ttl: Option<Duration>) -> Result<bool, NoDeadline>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        loop {
            let Some((pointer, _)) = self.find(key, hash, &guard) else { return Ok(false) };
            if !self.shared.engine.set_remaining(pointer, ttl) {
                return match (pointer.extension(), ttl) {
                    // It has just expired.
                    (Some(_), _) => Ok(false),
                    (None, None) => Ok(true),
                    (None, Some(_)) => Err(NoDeadline),
                };
            }
            // An entry that is not linked any more may have been replaced before its deadline moved, and the
            // new one has another deadline. So try again.
            if self.shared.engine.table.is_linked(pointer, &guard) {
                return Ok(true);
            }
        }
    }

    /// Lets the user's [`Expiry`] decide how long `new` may live, which is about to replace `old`. It is
    /// asked once about each old entry; `answer` holds its last answer.
    #[inline]
    pub(super) fn apply_expiry(
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

    /// Lets the user's [`Expiry`] decide how long an entry may live after a hit, before which it had
    /// `remaining` left.
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

    /// How long the entry has left, if there is an [`Expiry`] that is given it.
    pub(super) fn remaining_if_asked(&self, pointer: EntryPtr) -> Option<Duration> {
        self.shared.settings.expiry.as_ref()?;
        pointer.extension().and_then(|extension| self.shared.engine.timing.remaining(extension))
    }
}

/// The answer of an [`Expiry`] about a new entry that replaces `old`; `None` if it replaces no valid entry.
pub(super) struct Answer {
    old: Option<EntryPtr>,
    ttl: Option<Duration>,
}

impl<K, V, S> Cache<K, V, S> {
    /// Whether calls may return the entry: it has not expired, no tag of it was invalidated, and it is not
    /// that of a fill that may yet be refused.
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

    /// Why an entry that was just taken out of the table left: `cause`, unless it was not valid any more.
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

    /// The same for an entry that is about to be taken out.
    pub(super) fn cause_now(&self, pointer: EntryPtr, cause: RemovalCause) -> RemovalCause {
        let timing = &self.shared.engine.timing;
        if self.is_valid(pointer) {
            cause
        } else if pointer.is_invalidated() {
            RemovalCause::Invalidated
        } else if timing.grace.is_some()
            && !pointer.extension().is_some_and(|extension| timing.had_expired(extension))
        {
            // It was renewed since.
            cause
        } else {
            RemovalCause::Expired
        }
    }

    /// Whether this thread must not change the cache, because in a cache with an atomic listener it is
    /// within a change already.
    #[inline]
    pub(super) fn is_within_removal(&self) -> bool {
        self.shared.engine.atomic.as_ref().is_some_and(|atomic| atomic.refuses_changes())
    }

    #[inline]
    pub(super) fn count(&self, counter: Counter, guard: &Guard) {
        self.shared.engine.counters.add(guard.thread(), counter, 1);
    }

    /// Counts an entry that was taken out, by the cause of its removal.
    #[inline]
    pub(super) fn count_removal(&self, pointer: EntryPtr, cause: RemovalCause, guard: &Guard) {
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
