//! Entries with deadlines.

use super::{Keep, Watched, table};
use crate::base::hash::KeyHash;
use crate::entry::{BroughtForward, Deadline, Grace};
use crate::entry::{DeadlineSpec, EntryPtr, Owned};
use crate::reclaim::pin;
use crate::table::Table;

/// A table with entries that have deadlines. Every call passes the time that its thread has read
/// from the clock. The times may differ, and need not be in the order of the calls, as with a clock
/// that jumps.
pub struct Timed {
    table: Table<u64, Watched>,
    keep: Keep,
    brought_forward: BroughtForward,
    grace: Grace,
}

impl Default for Timed {
    fn default() -> Self {
        let brought_forward = BroughtForward::new();
        Self { table: table(), keep: Keep::default(), brought_forward, grace: Grace::NONE }
    }
}

impl Timed {
    /// The same, where entries stay for `grace` after their deadlines. All deadlines must be odd.
    pub fn with_grace(grace: u64) -> Self {
        Self { grace: Grace::of_ns(grace), ..Self::default() }
    }

    /// As a load does that finds the value current: gives the entry another deadline, whether it has
    /// expired or not. Returns its value; `None` if it is not there, or has expired for ever.
    pub fn renew(&self, key: u64, deadline: u64) -> Option<u64> {
        let guard = pin();
        let found = self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard);
        let (entry, _) = found.filter(|found| self.table.is_linked(found.0, &guard))?;
        let is_renewed = Self::with_deadline(entry, |word| {
            loop {
                let seen = word.get();
                if seen == Deadline::EXPIRED {
                    return false;
                }
                if word.move_from(seen, deadline) {
                    return true;
                }
            }
        });
        is_renewed.then(|| Self::value(entry))
    }

    /// The value, if there is a valid one.
    pub fn get(&self, key: u64, now: u64) -> Option<u64> {
        let guard = pin();
        let is_valid =
            |entry| !Self::with_deadline(entry, |word| word.expire_if_past(now, self.grace));
        let is_match = |other: &u64| *other == key;
        let mut found = self.table.get(KeyHash::from_raw(key), is_match, &guard)?;
        if !is_valid(found.0) {
            found = self.table.retry_get(
                found.0,
                KeyHash::from_raw(key),
                is_match,
                is_valid,
                &guard,
            )?;
        }
        Some(found.1.value.read())
    }

    /// Returns the replaced value, and whether it had expired.
    pub fn upsert(&self, key: u64, value: u64, deadline: u64, now: u64) -> Option<(u64, bool)> {
        self.store(key, value, deadline, now, None)
    }

    /// As [`upsert`](Self::upsert), with a limit beyond which nothing moves the deadline.
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
        let new = Owned::extended(KeyHash::from_raw(key), 1, key, Watched::new(value), spec, None);
        let done = self.table.upsert(new, |_, _| true, &pin());
        let (new, old) = done.ok().expect("nothing declines");
        self.keep.keep(new);
        old.map(|old| {
            let had_expired = Self::with_deadline(old, |word| match self.grace.is_some() {
                true => word.end_if_expired(self.grace, |word| word < now),
                false => word.read_ordered() < now,
            });
            (Self::value(old), had_expired)
        })
    }

    /// As a timer does: takes the entry out if it has expired.
    pub fn fire(&self, key: u64, now: u64) -> bool {
        let guard = pin();
        let Some((entry, _)) =
            self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard)
        else {
            return false;
        };
        Self::with_deadline(entry, |word| word.end_if_past(now, self.grace))
            && self.table.remove_entry(entry, &guard)
    }

    /// As a hit that found the entry valid at `now` does; `None` if it did not find it valid.
    pub fn touch(&self, key: u64, now: u64, deadline: u64) -> Option<bool> {
        let guard = pin();
        let (entry, _) = self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard)?;
        Self::with_deadline(entry, |word| {
            let seen = word.get();
            (now <= seen).then(|| word.move_from(seen, deadline))
        })
    }

    /// As a hit at `now` does if there is a time to idle: moves the deadline that far ahead, but
    /// not beyond the limit. Entries live for `ttl` by default.
    pub fn idle(&self, key: u64, now: u64, idle: u64, ttl: u64) {
        let guard = pin();
        let found = self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard);
        let (entry, _) = found.expect("no thread takes it out");
        Self::with_deadline(entry, |word| {
            let seen = word.get();
            word.move_from(seen, Deadline::after(now, idle).min(entry.limit_ns(ttl)))
        });
    }

    /// Gives the entry a time to live of its own.
    pub fn set_remaining(&self, key: u64, limit: u64, deadline: u64) {
        let guard = pin();
        let found = self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard);
        let (entry, _) = found.expect("no thread takes it out");
        let is_moved = || {
            Self::with_deadline(entry, |word| {
                let seen = word.get();
                entry.set_limit_ns(limit, true);
                word.move_from(seen, deadline)
            })
        };
        while !is_moved() {}
    }

    /// The deadline, and when the entry was made, if it stores that.
    pub fn inspect(&self, key: u64, ttl: u64) -> (u64, Option<u64>) {
        let guard = pin();
        let found = self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard);
        let (entry, _) = found.expect("no thread takes it out");
        let deadline = Self::with_deadline(entry, Deadline::get);
        (deadline, entry.written_at_ns(deadline, ttl))
    }

    /// Moves the deadline to an earlier time; true if that has to be reported to the partition.
    pub fn bring_forward(&self, key: u64, deadline: u64) -> bool {
        let guard = pin();
        let Some((entry, _)) =
            self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard)
        else {
            return false;
        };
        Self::with_deadline(entry, |word| word.move_from(word.get(), deadline));
        self.brought_forward.note();
        entry.meta().set_moved()
    }

    /// As an iteration does: reads how often deadlines were brought forward, and then this
    /// deadline.
    pub fn keep(&self, key: u64) -> (u64, u64) {
        (self.brought_forward.times(), self.inspect(key, Deadline::NEVER).0)
    }

    /// As a hit does for which the user's `Expiry` has computed a deadline.
    pub fn compute(&self, key: u64, deadline: u64) {
        let guard = pin();
        let found = self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard);
        let (entry, _) = found.expect("no thread takes it out");
        entry.move_within_limit(deadline, deadline, self.grace);
    }

    /// The deadline, as seen by the partition that handles a report.
    pub fn take_moved(&self, key: u64) -> Option<u64> {
        let guard = pin();
        let (entry, _) = self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard)?;
        entry.meta().take_moved();
        Some(Self::with_deadline(entry, Deadline::get))
    }

    fn with_deadline<R>(entry: EntryPtr, with: impl FnOnce(&Deadline) -> R) -> R {
        with(&entry.extension().expect("made with one").deadline)
    }

    fn value(entry: EntryPtr) -> u64 {
        // SAFETY: entries live until the model ends.
        unsafe { entry.as_entry::<u64, Watched>() }.value.read()
    }
}
