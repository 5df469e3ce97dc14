//! The word that says until when an entry is valid.
//!
//! A deadline is a time of the cache in nanoseconds: the entry is valid while the time is not later.
//! It has these transitions, each by one read-modify-write:
//!
//! | from | to | by which thread, and when |
//! |---|---|---|
//! | a time, or `NEVER` | another time, or `NEVER` | a thread with a hit, where accesses move deadlines; a thread that changes the deadline for the user |
//! | a time | `EXPIRED` | a reader, or the partition's maintenance, that has read a later time from the clock |
//! | `EXPIRED` | none | |
//!
//! So an entry that was once found expired stays expired, whatever the clock says later. A hit that
//! moves the deadline competes with the timer for the same word.
//!
//! # Grace
//! In a cache that uses values after their deadlines, an expired entry stays for a [`Grace`], and the
//! word must still say when it expired. There, all times are odd: [`Grace::align`] makes each that is
//! even one nanosecond earlier. `NEVER` is odd, `EXPIRED` even, and an even word says that the entry was
//! found expired: the number above it is its deadline. So these are the transitions with a grace:
//!
//! | from | to | by which thread, and when |
//! |---|---|---|
//! | a time, or `NEVER` | another time, or `NEVER` | as above |
//! | a time | the even number below it: stale | a reader that has read a later time from the clock |
//! | a time, or stale | another time, or `NEVER` | a thread that renews the entry |
//! | a time, or stale | `EXPIRED` | the partition's maintenance, once the grace is over; a thread that has taken the entry out, or notifies a listener of that, and has found it expired |
//! | `EXPIRED` | none | |
//!
//! A stale entry stays expired too, whatever the clock says, unless it is renewed. A cheap check that
//! compares the word with a time that is surely not before the present one fails for a stale word as it
//! does for the deadline above it, because the clock of such a check does not go back.
//!
//! # Expiry, replacement and removal
//! The table alone still decides which thread takes an entry out, by one CAS on its link. Whether the
//! entry had expired is determined afterwards, by [`Deadline::read_ordered`] and a reading of the
//! clock. A reader that found an entry expired reports a miss only if the entry is still linked after
//! that ([`Table::retry_get`](crate::table::Table::retry_get)); otherwise it looks again. So if a
//! reader and a writer race, either the reader sees the entry replaced, or the writer learns that it
//! had expired. No miss is reported for a key whose value was then replaced as if it were valid.
//! (`Cache::replace`, and changes of which an atomic listener is notified, decide before the CAS
//! instead; their documentation says so.)
//!
//! This holds with a grace too: a reader that finds an entry expired makes its word even, or has
//! acquired the word from the reader that did. A renewal adds one race. It may come after the CAS that
//! takes the entry out, and before that thread determines whether the entry had expired. Whichever of
//! these two changes the word first decides: either the renewal takes effect, just before the entry
//! leaves, and the entry leaves as a valid one; or the entry leaves as an expired one, the word is
//! `EXPIRED`, and the renewal fails. A reader that has reported a miss has found the word even before
//! the renewal made it odd, and so the key was expired then.
//!
//! # Orderings
//! All are acquire-release. The reader changes the deadline and then reads the link; the writer changes
//! the link and then the deadline (`read_ordered` writes it back unchanged). The two changes of the
//! deadline have one order, and the later one has acquired everything before the earlier one. Model
//! tests: `loom-tests/tests/expiry.rs`.
//!
//! A thread that keeps a copy of deadlines, as iterations do, learns from [`BroughtForward`] whether
//! one of them may have become earlier since.
#![forbid(unsafe_code)]

use crate::base::sync::{AtomicU64, Ordering};

/// For how long the entries of a cache stay after their deadlines, so that loads can use their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grace {
    ns: u64,
}

impl Grace {
    /// Entries leave once they have expired.
    pub(crate) const NONE: Self = Self { ns: 0 };

    pub(crate) fn of_ns(ns: u64) -> Self {
        Self { ns }
    }

    #[inline]
    pub(crate) fn is_some(self) -> bool {
        self.ns != 0
    }

    /// The time that is stored for this deadline.
    #[inline]
    pub(crate) fn align(self, deadline_ns: u64) -> u64 {
        match self.is_some() && deadline_ns != Deadline::EXPIRED {
            true => (deadline_ns - 1) | 1,
            false => deadline_ns,
        }
    }

    /// Whether the word of a deadline says that its entry was found expired.
    #[inline]
    pub(crate) fn is_expired(self, word: u64) -> bool {
        word == Deadline::EXPIRED || self.is_some() && word & 1 == 0
    }

    /// The deadline of an entry with this word, which is not `EXPIRED`.
    pub(crate) fn deadline_of(self, word: u64) -> u64 {
        word | u64::from(self.is_some())
    }

    /// The last time at which an entry with this word stays.
    #[inline]
    pub(crate) fn end_of(self, word: u64) -> u64 {
        match word {
            _ if !self.is_some() => word,
            Deadline::EXPIRED | Deadline::NEVER => word,
            _ => self.deadline_of(word).saturating_add(self.ns).min(Deadline::NEVER - 1),
        }
    }

    /// The word of an entry that was found expired at `deadline_ns`.
    fn expired(self, deadline_ns: u64) -> u64 {
        match self.is_some() {
            true => deadline_ns - 1,
            false => Deadline::EXPIRED,
        }
    }
}

/// Until when an entry is valid.
pub(crate) struct Deadline(AtomicU64);

impl Deadline {
    /// No deadline.
    pub(crate) const NEVER: u64 = u64::MAX;
    /// A deadline that has passed, whatever the time.
    pub(crate) const EXPIRED: u64 = 0;

    /// The deadline that is `ttl_ns` after `now_ns`: never if `ttl_ns` is `NEVER` or the sum is
    /// past the end of time, and expired if `ttl_ns` is zero.
    pub(crate) fn after(now_ns: u64, ttl_ns: u64) -> u64 {
        match ttl_ns {
            0 => Self::EXPIRED,
            _ => now_ns.saturating_add(ttl_ns),
        }
    }

    pub(crate) fn new(deadline_ns: u64) -> Self {
        Self(AtomicU64::new(deadline_ns))
    }

    /// Sets the deadline of an entry that no other thread has yet.
    pub(crate) fn set(&self, deadline_ns: u64) {
        // Relaxed: published with the entry.
        self.0.store(deadline_ns, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        // Acquire: a reader of `EXPIRED` has acquired what its writer had (head of this module).
        self.0.load(Ordering::Acquire)
    }

    /// Whether the deadline has passed at `now_ns`; if so, the entry is expired for ever, or until it
    /// is renewed if there is a grace.
    pub(crate) fn expire_if_past(&self, now_ns: u64, grace: Grace) -> bool {
        let mut deadline = self.get();
        loop {
            if grace.is_expired(deadline) {
                return true;
            }
            if now_ns <= deadline {
                return false;
            }
            // AcqRel: before the check of the link; pairs with `read_ordered`.
            match self.0.compare_exchange(
                deadline,
                grace.expired(deadline),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                // A hit has moved it, or another thread has found it passed.
                Err(now) => deadline = now,
            }
        }
    }

    /// Whether the deadline and the grace have passed at `now_ns`; if so, the entry is expired for ever.
    pub(crate) fn end_if_past(&self, now_ns: u64, grace: Grace) -> bool {
        loop {
            let seen = self.get();
            if seen == Self::EXPIRED || now_ns <= grace.end_of(seen) {
                return seen == Self::EXPIRED;
            }
            if self.move_from(seen, Self::EXPIRED) {
                return true;
            }
        }
    }

    /// As [`read_ordered`](Self::read_ordered), with a grace: whether the entry had expired, that is,
    /// whether `is_past` holds for its word. If so, no renewal takes effect any more.
    #[cold]
    pub(crate) fn end_if_expired(&self, grace: Grace, is_past: impl Fn(u64) -> bool) -> bool {
        loop {
            let seen = self.read_ordered();
            if seen == Self::EXPIRED {
                return true;
            }
            if !grace.is_expired(seen) && !is_past(seen) {
                return false;
            }
            // Otherwise it was renewed, or its deadline was moved, just before.
            if self.move_from(seen, Self::EXPIRED) {
                return true;
            }
        }
    }

    /// Moves the deadline, if it is still `seen`.
    pub(crate) fn move_from(&self, seen: u64, deadline_ns: u64) -> bool {
        // AcqRel: as above; publishes what belongs to the new deadline.
        self.0.compare_exchange(seen, deadline_ns, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The deadline of an entry that the caller has just taken out of the table.
    pub(crate) fn read_ordered(&self) -> u64 {
        // AcqRel: an RMW rather than a load, so that it has one order with the RMW of a reader that
        // has found the entry expired (head of this module).
        self.0.fetch_add(0, Ordering::AcqRel)
    }
}

/// How often deadlines of a cache were moved to an earlier time. As long as the count stays the
/// same, no deadline that was read after it has become earlier.
pub(crate) struct BroughtForward(AtomicU64);

impl BroughtForward {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn times(&self) -> u64 {
        // Acquire: a deadline whose change is counted here is read as changed; pairs with `note`.
        self.0.load(Ordering::Acquire)
    }

    /// Counts a deadline that the caller has moved.
    pub(crate) fn note(&self) {
        // Release: after the change of the deadline; pairs with `times`.
        self.0.fetch_add(1, Ordering::Release);
    }
}
