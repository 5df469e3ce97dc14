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

    /// Whether the deadline has passed at `now_ns`; if so, the entry is expired for ever.
    pub(crate) fn expire_if_past(&self, now_ns: u64) -> bool {
        let mut deadline = self.get();
        loop {
            if deadline == Self::EXPIRED {
                return true;
            }
            if now_ns <= deadline {
                return false;
            }
            // AcqRel: before the check of the link; pairs with `read_ordered`.
            match self.0.compare_exchange(
                deadline,
                Self::EXPIRED,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                // A hit has moved it, or another thread has found it passed.
                Err(now) => deadline = now,
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
