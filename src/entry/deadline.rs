//! The word that says until when an entry is valid.
//!
//! A deadline is a time of the cache in nanoseconds: the entry is valid while the time is not above
//! it. Transitions, each by one read-modify-write:
//!
//! | from | to | who, when |
//! |---|---|---|
//! | a time, or `NEVER` | another time, or `NEVER` | a hit, where accesses move deadlines; a change by the user |
//! | a time | `EXPIRED` | a reader or the partition's maintenance that has read a later time from the clock |
//! | `EXPIRED` | none | |
//!
//! So what has once been found expired stays so, whatever the clock says later, and a hit that
//! moves the deadline competes with the timer for the same word.
//!
//! # Expiry, replacement and removal
//! The table still decides alone who takes an entry out, by one CAS on its link. Whether what was
//! taken out had expired is asked afterwards ([`Deadline::read_ordered`], and a reading of the
//! clock); and a reader that found an entry expired reports a miss only if the entry is still
//! linked after that ([`Table::retry_get`](crate::table::Table::retry_get)), else it looks again.
//! So of a reader and a writer that race, either the reader sees the entry replaced, or the writer
//! learns that it had expired: no miss is reported of a key whose value was then replaced as if it
//! were valid.
//!
//! # Orderings
//! All acquire-release. The reader changes the deadline and then reads the link; the writer changes
//! the link and then the deadline (`read_ordered` writes it back unchanged). The two changes of the
//! deadline stand in one order, and the later one has acquired all that came before the earlier
//! one. Model tests: `loom-tests/tests/expiry.rs`.
//!
//! Whoever keeps a copy of deadlines, as iterations do, learns from [`BroughtForward`] whether one of
//! them may have become earlier since.
#![forbid(unsafe_code)]

use crate::base::sync::{AtomicU64, Ordering};

/// Until when an entry is valid.
pub(crate) struct Deadline(AtomicU64);

impl Deadline {
    /// No deadline.
    pub(crate) const NEVER: u64 = u64::MAX;
    /// Past, whatever the time.
    pub(crate) const EXPIRED: u64 = 0;

    /// The deadline that is `ttl_ns` after `now_ns`: never if that is `NEVER` or past the end of
    /// time, and past at once if it is zero.
    pub(crate) fn after(now_ns: u64, ttl_ns: u64) -> u64 {
        match ttl_ns {
            0 => Self::EXPIRED,
            _ => now_ns.saturating_add(ttl_ns),
        }
    }

    pub(crate) fn new(deadline_ns: u64) -> Self {
        Self(AtomicU64::new(deadline_ns))
    }

    /// Sets the deadline of an entry that nobody else has yet.
    pub(crate) fn set(&self, deadline_ns: u64) {
        // Relaxed: published with the entry.
        self.0.store(deadline_ns, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        // Acquire: who reads `EXPIRED` has acquired what its writer had (module head).
        self.0.load(Ordering::Acquire)
    }

    /// Whether the deadline is past at `now_ns`; if so, it is for ever.
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
                // Moved by a hit, or found past by somebody else.
                Err(now) => deadline = now,
            }
        }
    }

    /// Moves the deadline, unless it is not `seen` any more.
    pub(crate) fn move_from(&self, seen: u64, deadline_ns: u64) -> bool {
        // AcqRel: as above; publishes what belongs to the new deadline.
        self.0.compare_exchange(seen, deadline_ns, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The deadline of an entry that the caller has just taken out of the table.
    pub(crate) fn read_ordered(&self) -> u64 {
        // AcqRel: an RMW rather than a load, so that it stands in one order with that of a reader
        // who has found the entry expired (module head).
        self.0.fetch_add(0, Ordering::AcqRel)
    }
}

/// How often deadlines of a cache were moved to an earlier time. As long as that stays the same,
/// deadlines that were read after it are none too late.
pub(crate) struct BroughtForward(AtomicU64);

impl BroughtForward {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn times(&self) -> u64 {
        // Acquire: a deadline that was counted here is read as it is now; pairs with `note`.
        self.0.load(Ordering::Acquire)
    }

    /// Counts a deadline that the caller has moved.
    pub(crate) fn note(&self) {
        // Release: after the change of the deadline; pairs with `times`.
        self.0.fetch_add(1, Ordering::Release);
    }
}
