//! For how long hits may be served: the word that every hit reads.
//!
//! The server pushes what changes, and a connection may die without a word. So nothing is served on the mere
//! absence of bad news. Each reply that came over the tracked connection **proves** that every change from
//! before its command was sent has been pushed and applied, since pushes and replies are one stream. The lease
//! runs for `max_stale` from the latest moment that is so proven. A hit compares the time with the end of the
//! lease. A process that was stopped for a while, or a timer that fires late, therefore serves nothing too old:
//! nothing has to happen in time.
//!
//! A **generation** is a period in which no change can have been missed. It ends with its connection, and when
//! the server says that all keys may have changed. Each value in memory has the generation in which its command
//! was sent, and is served only in that one. So to begin another generation is to forget everything at once.
//!
//! | event | generation | end of the lease |
//! |---|---|---|
//! | a connection was opened (`begin`) | next | what its first proof allows; never, if nothing is tracked |
//! | a reply to a command sent at `t` (`prove`) | same | the later of what it is and `t + max_stale` |
//! | all keys were invalidated (`turn`) | next | same |
//! | the connection has ended (`end`) | next | 0: nothing is served |
//!
//! Where the server tracks nothing, values are held for `max_stale` at most from when they were asked for, by
//! their own deadlines, and the lease does not end while the connection lives.
//!
//! # The order in which a hit reads
//! A hit reads the clock, then the end of the lease, then the value, then the generation. Let the time that it
//! read be `t`. It may return the value only if it was current at some time after `t - max_stale`:
//! - the lease was of generation `g` and had not ended at `t`, so all changes from before `t - max_stale` had
//!   been applied in `g` when the lease was read;
//! - a value of generation `g` that is found after that was changed, if at all, later than that;
//! - a value of a later generation was fetched by a command that was sent after the lease of `g` had been
//!   ended or turned, hence after `t` or while `g` was proven;
//! - a value of an earlier generation is refused by the comparison, because the generation moves before anything
//!   else happens.
//!
//! # Orderings
//! `until_ns` is stored with release after `generation` has moved, and loaded with acquire before the value is
//! looked up: a hit that sees the lease of a generation sees that generation too. `generation` is loaded with
//! acquire after the value was read. It is stored with release before a later fill can have that number, and
//! a fill's value is published by the cache with release; so a hit that finds a value of a later generation
//! loads that generation or a later one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use larder::expiry::{Clock, MonotonicClock};

/// The lease of one near cache.
#[derive(Debug)]
pub(crate) struct Lease {
    generation: AtomicU64,
    until_ns: AtomicU64,
    max_stale_ns: u64,
    /// Serializes the changes of both words.
    changes: Mutex<Proofs>,
    /// A defect that the tests must find.
    #[cfg(test)]
    pub(crate) planted: std::sync::OnceLock<Defect>,
}

/// Defects that the tests plant to see that they find them.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Values are stored whether or not their reservation has survived.
    LateFill,
    /// Values of earlier generations are served.
    KeptAcrossGap,
    /// The lease never ends.
    EndlessLease,
    /// The deadline counts from the reply.
    LateDeadline,
}

/// The latest proofs, for values that are served when the server cannot be asked.
#[derive(Debug, Default)]
struct Proofs {
    is_live: bool,
    /// The generation before this one.
    previous: u64,
    /// Until when the previous generation was proven, and this one.
    previous_ns: u64,
    current_ns: u64,
}

/// A time that is not before the one at which a hit has read its lease, and little after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeOfHit {
    late_ns: u64,
}

impl TimeOfHit {
    /// Whether a value is still valid whose deadline is `until_ns`.
    #[inline]
    pub(crate) fn is_within(self, until_ns: u64) -> bool {
        self.late_ns <= until_ns || now_ns() <= until_ns
    }
}

/// The present time, in nanoseconds since a fixed moment.
pub(crate) fn now_ns() -> u64 {
    MonotonicClock::default().now_ns()
}

/// Whole nanoseconds, saturating.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Lease {
    pub(crate) fn new(max_stale: Duration) -> Self {
        Self {
            generation: AtomicU64::new(1),
            until_ns: AtomicU64::new(0),
            max_stale_ns: nanoseconds(max_stale),
            changes: Mutex::default(),
            #[cfg(test)]
            planted: std::sync::OnceLock::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn has(&self, defect: Defect) -> bool {
        self.planted.get() == Some(&defect)
    }

    /// The present time, if a value may be served that is looked up after this call.
    #[inline]
    pub(crate) fn time_of_hit(&self) -> Option<TimeOfHit> {
        let (early_ns, late_ns) = MonotonicClock::default().around_ns();
        // Acquire: pairs with the stores in `prove` and `end`; see the head of the module.
        let until = self.until_ns.load(Ordering::Acquire);
        #[cfg(test)]
        let until = if self.has(Defect::EndlessLease) { u64::MAX } else { until };
        let is_open = late_ns <= until || (early_ns <= until && self.allows_hits_at(now_ns()));
        is_open.then_some(TimeOfHit { late_ns })
    }

    /// Whether the lease had not ended at `now`, which was read before this call.
    fn allows_hits_at(&self, now: u64) -> bool {
        // Acquire: as in `time_of_hit`.
        now <= self.until_ns.load(Ordering::Acquire)
    }

    /// Whether a value of `generation`, which was read before this call, is of the present one.
    #[inline]
    pub(crate) fn is_present(&self, generation: u64) -> bool {
        #[cfg(test)]
        if self.has(Defect::KeptAcrossGap) {
            return true;
        }
        // Acquire: after the value was read; pairs with the stores in `turn`.
        self.generation.load(Ordering::Acquire) == generation
    }

    /// The present generation.
    pub(crate) fn generation(&self) -> u64 {
        // Acquire: pairs with the stores in `turn`.
        self.generation.load(Ordering::Acquire)
    }

    /// A connection was opened: begins a generation, which is not proven yet. Returns its number.
    pub(crate) fn begin(&self, is_tracked: bool) -> u64 {
        let mut proofs = self.lock();
        let generation = self.next(&mut proofs);
        proofs.is_live = true;
        if !is_tracked && self.max_stale_ns > 0 {
            // Release: as in `prove`.
            self.until_ns.store(u64::MAX, Ordering::Release);
        }
        generation
    }

    /// The connection of the present generation has ended.
    pub(crate) fn end(&self) {
        let mut proofs = self.lock();
        proofs.is_live = false;
        // Release: no hit is allowed from here on; pairs with the load in `time_of_hit`.
        self.until_ns.store(0, Ordering::Release);
        self.next(&mut proofs);
    }

    /// All keys may have changed: begins another generation on the same connection.
    pub(crate) fn turn(&self) {
        let mut proofs = self.lock();
        let proven = proofs.current_ns;
        self.next(&mut proofs);
        proofs.current_ns = proven;
    }

    fn next(&self, proofs: &mut Proofs) -> u64 {
        // Relaxed: only this function stores it, under the lock.
        let previous = self.generation.load(Ordering::Relaxed);
        proofs.previous = previous;
        proofs.previous_ns = std::mem::take(&mut proofs.current_ns);
        // Release: before any value of the new generation is stored; pairs with the load in `is_present`.
        self.generation.store(previous + 1, Ordering::Release);
        previous + 1
    }

    /// A command that was sent at `sent_ns`, in `generation`, was answered: all changes from before have been
    /// applied.
    pub(crate) fn prove(&self, generation: u64, sent_ns: u64) {
        let until = sent_ns.saturating_add(self.max_stale_ns);
        // Relaxed: a proof that adds little is left out, so that not every reply takes the lock.
        let known = self.until_ns.load(Ordering::Relaxed);
        if until <= known.saturating_add(self.max_stale_ns / 64) && self.max_stale_ns > 0 {
            return;
        }
        let mut proofs = self.lock();
        // A generation that has turned was still proven by its connection; one that has ended was not.
        if !proofs.is_live || !(self.is_present(generation) || proofs.previous == generation) {
            return;
        }
        proofs.current_ns = proofs.current_ns.max(sent_ns);
        // With `max_stale` 0, nothing is ever served from memory.
        if self.max_stale_ns > 0 && until > self.until_ns.load(Ordering::Relaxed) {
            // Release: after all pushes that came before the reply; pairs with the load in `time_of_hit`.
            self.until_ns.store(until, Ordering::Release);
        }
    }

    /// The latest time at which a value of `generation`, fetched at `fetched_ns`, is known to have been current.
    pub(crate) fn known_current_ns(&self, generation: u64, fetched_ns: u64) -> u64 {
        let proofs = self.lock();
        if self.is_present(generation) {
            fetched_ns.max(proofs.current_ns)
        } else if proofs.previous == generation {
            fetched_ns.max(proofs.previous_ns)
        } else {
            fetched_ns
        }
    }

    /// No user code runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Proofs> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_lease_runs_from_the_latest_proof_and_ends_with_its_connection() {
        let lease = Lease::new(Duration::from_secs(2));
        assert!(!lease.allows_hits_at(1), "nothing is proven yet");
        let first = lease.begin(true);
        assert!(!lease.allows_hits_at(1));
        lease.prove(first, 10 * SECOND);
        assert!(lease.allows_hits_at(12 * SECOND) && !lease.allows_hits_at(12 * SECOND + 1));
        lease.prove(first, 9 * SECOND);
        assert!(lease.allows_hits_at(12 * SECOND), "an older proof takes nothing away");
        assert!(lease.is_present(first));
        lease.end();
        assert!(!lease.is_present(first) && !lease.allows_hits_at(1));
        lease.prove(first, 11 * SECOND);
        assert!(!lease.allows_hits_at(1), "a late reply of a connection that has ended");
        let second = lease.begin(true);
        lease.prove(first, 11 * SECOND);
        assert!(!lease.allows_hits_at(1), "a late reply, after another was opened");
        lease.prove(second, 20 * SECOND);
        assert!(lease.allows_hits_at(22 * SECOND));
    }

    #[test]
    fn a_turn_refuses_all_values_and_keeps_the_lease() {
        let lease = Lease::new(Duration::from_secs(2));
        let first = lease.begin(true);
        lease.prove(first, 10 * SECOND);
        lease.turn();
        assert!(!lease.is_present(first) && lease.allows_hits_at(12 * SECOND));
        assert_eq!(lease.known_current_ns(first, SECOND), 10 * SECOND);
        assert_eq!(lease.known_current_ns(lease.generation(), SECOND), 10 * SECOND);
        assert_eq!(lease.known_current_ns(first - 1, SECOND), SECOND);
    }

    #[test]
    fn a_lease_without_tracking_ends_with_its_connection_alone() {
        let lease = Lease::new(Duration::from_secs(2));
        let first = lease.begin(false);
        lease.prove(first, SECOND);
        assert!(lease.allows_hits_at(1_000 * SECOND));
        lease.end();
        assert!(!lease.allows_hits_at(1));
    }

    #[test]
    fn with_max_stale_0_no_hit_is_allowed() {
        let lease = Lease::new(Duration::ZERO);
        let first = lease.begin(true);
        lease.prove(first, 10 * SECOND);
        assert!(!lease.allows_hits_at(10 * SECOND) && lease.time_of_hit().is_none());
        assert_eq!(lease.known_current_ns(first, 0), 10 * SECOND);
    }
}
