//! Entries with deadlines.

use super::{Keep, Watched};
use crate::entry::{BroughtForward, Deadline};
use crate::entry::{DeadlineSpec, EntryPtr, Owned};
use crate::reclaim::pin;
use crate::table::Table;

/// The table with entries that have deadlines. Every call says what time its thread has read from
/// the clock: not the same for all, and not in the order of the calls, as of a clock that jumps.
pub struct Timed {
    table: Table<u64, Watched>,
    keep: Keep,
    brought_forward: BroughtForward,
}

impl Default for Timed {
    fn default() -> Self {
        let brought_forward = BroughtForward::new();
        Self { table: Table::new(0), keep: Keep::default(), brought_forward }
    }
}

impl Timed {
    /// The value, if there is one that is valid.
    pub fn get(&self, key: u64, now: u64) -> Option<u64> {
        let guard = pin();
        let is_valid = |entry| !Self::with_deadline(entry, |held| held.expire_if_past(now));
        let is_match = |held: &u64| *held == key;
        let mut found = self.table.get(key, is_match, &guard)?;
        if !is_valid(found.0) {
            found = self.table.retry_get(found.0, key, is_match, is_valid, &guard)?;
        }
        Some(found.1.value.read())
    }

    /// Returns the replaced value, and whether it had expired.
    pub fn upsert(&self, key: u64, value: u64, deadline: u64, now: u64) -> Option<(u64, bool)> {
        self.store(key, value, deadline, now, None)
    }

    /// As [`upsert`](Self::upsert), an entry whose deadline nothing moves beyond `limit`.
    pub fn insert_limited(&self, key: u64, value: u64, deadline: u64, limit: u64) {
        self.store(key, value, deadline, 1, Some(limit));
    }

    fn store(
        &self,
        key: u64,
        value: u64,
        deadline: u64,
        now: u64,
        limit_ns: Option<u64>,
    ) -> Option<(u64, bool)> {
        let spec = DeadlineSpec {
            written_ns: Some(now),
            deadline_ns: deadline,
            limit_ns,
            has_computed: false,
        };
        let new = Owned::extended(key, 1, key, Watched::new(value), spec, None);
        let done = self.table.upsert(new, |_, _| true, &pin());
        let (new, old) = done.ok().expect("nothing declines");
        self.keep.keep(new);
        old.map(|old| {
            (Self::value(old), Self::with_deadline(old, |held| held.read_ordered() < now))
        })
    }

    /// What a timer does: takes the entry out if it has expired.
    pub fn fire(&self, key: u64, now: u64) -> bool {
        let guard = pin();
        let Some((entry, _)) = self.table.get(key, |held| *held == key, &guard) else {
            return false;
        };
        Self::with_deadline(entry, |held| held.expire_if_past(now))
            && self.table.remove_entry(entry, &guard)
    }

    /// What a hit may do that found the entry valid at `now`: `None` if it did not.
    pub fn touch(&self, key: u64, now: u64, deadline: u64) -> Option<bool> {
        let guard = pin();
        let (entry, _) = self.table.get(key, |held| *held == key, &guard)?;
        Self::with_deadline(entry, |held| {
            let seen = held.get();
            (now <= seen).then(|| held.move_from(seen, deadline))
        })
    }

    /// What a hit at `now` does where there is a time to idle: moves the deadline that far ahead, as
    /// far as the limit. Entries live for `ttl` by default.
    pub fn idle(&self, key: u64, now: u64, idle: u64, ttl: u64) {
        let guard = pin();
        let found = self.table.get(key, |held| *held == key, &guard);
        let (entry, _) = found.expect("nobody takes it out");
        Self::with_deadline(entry, |held| {
            let seen = held.get();
            held.move_from(seen, Deadline::after(now, idle).min(entry.limit_ns(ttl)))
        });
    }

    /// Gives the entry a lifetime of its own.
    pub fn set_remaining(&self, key: u64, limit: u64, deadline: u64) {
        let guard = pin();
        let found = self.table.get(key, |held| *held == key, &guard);
        let (entry, _) = found.expect("nobody takes it out");
        let is_moved = || {
            Self::with_deadline(entry, |held| {
                let seen = held.get();
                entry.set_limit_ns(limit, true);
                held.move_from(seen, deadline)
            })
        };
        while !is_moved() {}
    }

    /// The deadline, and when the entry was made as far as it tells.
    pub fn inspect(&self, key: u64, ttl: u64) -> (u64, Option<u64>) {
        let guard = pin();
        let found = self.table.get(key, |held| *held == key, &guard);
        let (entry, _) = found.expect("nobody takes it out");
        let deadline = Self::with_deadline(entry, Deadline::get);
        (deadline, entry.written_at_ns(deadline, ttl))
    }

    /// Moves the deadline to an earlier time; true if that has to be reported to the partition.
    pub fn bring_forward(&self, key: u64, deadline: u64) -> bool {
        let guard = pin();
        let Some((entry, _)) = self.table.get(key, |held| *held == key, &guard) else {
            return false;
        };
        Self::with_deadline(entry, |held| held.move_from(held.get(), deadline));
        self.brought_forward.note();
        entry.meta().set_moved()
    }

    /// What an iteration keeps: how often deadlines were brought forward, and then this one.
    pub fn keep(&self, key: u64) -> (u64, u64) {
        (self.brought_forward.times(), self.inspect(key, Deadline::NEVER).0)
    }

    /// What a hit does for which the user's `Expiry` has computed a deadline.
    pub fn compute(&self, key: u64, deadline: u64) {
        let guard = pin();
        let found = self.table.get(key, |held| *held == key, &guard);
        let (entry, _) = found.expect("nobody takes it out");
        entry.move_within_limit(deadline, deadline);
    }

    /// The deadline, as the partition sees it that works off a report.
    pub fn take_moved(&self, key: u64) -> Option<u64> {
        let guard = pin();
        let (entry, _) = self.table.get(key, |held| *held == key, &guard)?;
        entry.meta().take_moved();
        Some(Self::with_deadline(entry, Deadline::get))
    }

    fn with_deadline<R>(entry: EntryPtr, ask: impl FnOnce(&Deadline) -> R) -> R {
        ask(&entry.extension().expect("made with one").deadline)
    }

    fn value(entry: EntryPtr) -> u64 {
        // SAFETY: entries live until the model ends.
        unsafe { entry.as_entry::<u64, Watched>() }.value.read()
    }
}
