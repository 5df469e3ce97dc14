//! The verbs that distinguish an expired key from a missing one, and those that remove expired entries. They
//! work with every cache, and serve those with [lazy expiry](crate::Builder::expire_lazily), where no timer
//! removes an expired entry.
//!
//! Each state of a key changes by one atomic step of the table, or by time:
//!
//! | from | to | by |
//! |---|---|---|
//! | missing | valid | an insertion |
//! | valid | valid | an insertion, a replacement |
//! | valid | missing | a removal, an eviction |
//! | valid | expired | time |
//! | valid, expired | invalidated | the invalidation of a tag |
//! | expired, invalidated | missing | a removal, an eviction, and a timer unless expiry is lazy |
//! | expired | valid | a load that finds the value current, in a cache that keeps values after their deadlines |
//! | expired, invalidated | valid | an insertion |
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::{Cache, KeyState};
use crate::base::cause::RemovalCause;
use crate::base::equivalent::Equivalent;
use crate::base::hash::KeyHash;
use crate::buffer::write_buffer::ChangeKind;
use crate::engine::history::Absence;
use crate::engine::{Attempt, Change, Incoming};
use crate::reclaim::Guard;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Removes `key`, whatever its state, and returns the state that it was in.
    ///
    /// Of several calls that remove the same entry, one returns its state, and the others
    /// [`Missing`](KeyState::Missing). In contrast to [`remove`](Self::remove) it clones nothing and tells
    /// an expired key from a missing one.
    ///
    /// # Panics
    /// Within a listener that [must not change the cache](crate::Builder::atomic_listener).
    ///
    /// # Complexity
    /// O(1) expected.
    ///
    /// # Examples
    /// ```
    /// use larder::KeyState;
    ///
    /// let cache = larder::Cache::new(100);
    /// cache.insert("key", 1);
    /// assert_eq!(cache.remove_key("key"), KeyState::Valid);
    /// assert_eq!(cache.remove_key("key"), KeyState::Missing);
    /// ```
    pub fn remove_key<Q>(&self, key: &Q) -> KeyState
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let state = self.shared.engine.attempt(hash, &mut Incoming::none(), |change, _, guard| {
            self.remove_in_state(key, hash, change, guard, |_| true)
        });
        state.unwrap_or_else(|refused| refused.panic())
    }

    /// Removes `key` if its entry has expired, and returns the state in which it found the key.
    ///
    /// The call leaves a valid entry where it is, and does not count as a use of it. Of several calls that find
    /// the same expired entry, one removes it and returns [`Expired`](KeyState::Expired); the others return
    /// what they find afterwards. So each expiry is reported once, unless a timer or
    /// [`remove_expired`](Self::remove_expired) removes the entry first. With [lazy
    /// expiry](crate::Builder::expire_lazily), no timer does. An entry with an invalidated tag is
    /// [`Invalidated`](KeyState::Invalidated), even if it has expired too, and stays.
    ///
    /// # Panics
    /// Within a listener that [must not change the cache](crate::Builder::atomic_listener).
    ///
    /// # Complexity
    /// O(1) expected.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::{Cache, KeyState, Maintenance, test::FakeClock};
    ///
    /// let clock = FakeClock::new();
    /// let sessions = Cache::builder()
    ///     .capacity(1_000)
    ///     .time_to_live(Duration::from_secs(60))
    ///     .expire_lazily()
    ///     .clock(clock.clone())
    ///     .maintenance(Maintenance::Inline)
    ///     .build()?;
    /// sessions.insert("alice", 1);
    /// clock.advance(Duration::from_secs(61));
    /// assert_eq!(sessions.get("alice"), None);
    /// assert_eq!(sessions.remove_if_expired("alice"), KeyState::Expired);
    /// assert_eq!(sessions.remove_if_expired("alice"), KeyState::Missing);
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn remove_if_expired<Q>(&self, key: &Q) -> KeyState
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let engine = &self.shared.engine;
        // No fill becomes stale: an entry that has expired may leave at any time.
        let state = engine.attempt_unmarked(hash, &mut Incoming::none(), |change, _, guard| {
            self.remove_in_state(key, hash, change, guard, |state| state == KeyState::Expired)
        });
        state.unwrap_or_else(|refused| refused.panic())
    }

    /// Makes one attempt to remove `key`, if `is_removed` holds for its state. Returns the state in which
    /// the entry left, or stays.
    fn remove_in_state<Q>(
        &self,
        key: &Q,
        hash: KeyHash,
        change: &mut Change<'_, K, V>,
        guard: &Guard,
        is_removed: impl Fn(KeyState) -> bool,
    ) -> Attempt<KeyState>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let table = &self.shared.engine.table;
        let found = table.get(hash, move |stored| key.equivalent(stored), guard);
        let Some((pointer, _)) = found else { return Attempt::Done(KeyState::Missing) };
        let state = match change.notified() {
            // It has to leave in the state that the listener was notified of, even if a tag was
            // invalidated since.
            Some((notified, cause)) if notified == pointer => KeyState::Valid.removed_for(cause),
            _ => self.state_of(pointer),
        };
        if !is_removed(state) {
            return Attempt::Done(state);
        }
        if change.must_notify(pointer, || self.cause_now(pointer, RemovalCause::Explicit))
            || !change.reserve(ChangeKind::Remove)
            || !table.remove_entry(pointer, guard)
        {
            return Attempt::Retry;
        }
        // The entry may have expired since it was found.
        let cause = self.note_removed(change, pointer, Absence::Removed, guard);
        Attempt::Done(state.removed_for(cause))
    }

    /// Removes every entry that has expired before the call.
    ///
    /// In a cache with [lazy expiry](crate::Builder::expire_lazily) no timer does so; in others this call does
    /// not wait for timers. It finds entries by their timers, so one that expired less than
    /// a [tick](crate::Builder::timer_tick) ago may stay, and after the [clock](crate::Clock) has jumped back,
    /// one whose deadline is before the time that the clock had reached. In a cache with an
    /// [atomic listener](crate::Builder::atomic_listener), an entry whose key another thread is changing may
    /// stay too, and a thread that must not call that listener removes nothing. An entry whose value loads may
    /// still use ([`stale_if_error`](crate::Builder::stale_if_error)) stays. The call first applies pending changes,
    /// and may wait for maintenance that another thread is running. [`Stats::expirations`](crate::Stats::expirations)
    /// counts what it removes.
    ///
    /// # Complexity
    /// O(partitions + e) for e entries that have expired; it does not visit the others.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::{Cache, Maintenance, test::FakeClock};
    ///
    /// let clock = FakeClock::new();
    /// let cache = Cache::builder()
    ///     .capacity(100)
    ///     .expire_lazily()
    ///     .clock(clock.clone())
    ///     .maintenance(Maintenance::Inline)
    ///     .build()?;
    /// cache.insert_with_ttl("short", 1, Duration::from_secs(1));
    /// cache.insert_with_ttl("long", 2, Duration::from_secs(60));
    /// clock.advance(Duration::from_secs(2));
    /// assert_eq!((cache.len(), cache.get("short")), (2, None));
    /// cache.remove_expired();
    /// assert_eq!((cache.len(), cache.get("long")), (1, Some(2)));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn remove_expired(&self) {
        self.shared.engine.remove_expired();
    }
}
