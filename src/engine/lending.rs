//! Loans of weight between partitions, for entries heavier than a partition's share.
//!
//! The accounts (`evict::loans`) say what the limit of each partition should be; this module sets the
//! limits. Every change of the accounts (a loan, its end, another bound) is made in three steps:
//!
//! | | locks | what is done |
//! |---|---|---|
//! | 1 | the accounts', and each partition's in turn | change the accounts, which gives them a new version; lower the limits that have to be lower |
//! | 2 | each partition's in turn, none in between | evict until no partition is above its limit |
//! | 3 | as in 1 | if the version is still the same, raise the other limits; otherwise go back to 1 |
//!
//! # What always holds
//! - The sum of the limits never exceeds the bound, and equals it after each completed third step. The
//!   same is true of what the partitions hold, or may hold while they approach a lower limit: a limit is
//!   raised only by a thread that has seen every partition at or below its limit since the accounts
//!   last changed. So with inline maintenance, the weights of all partitions together never exceed the
//!   bound, however many threads there are.
//! - There is no deadlock: a thread takes the lock of the accounts before a partition's, and holds one
//!   partition's lock at a time. User code (listeners, drops) runs in the second step, under neither.
//! - No thread waits for one that runs user code, except in a cache with an atomic listener, for the
//!   gates of victims. A thread that finds another version repeats the second step itself, for all
//!   partitions. A version is new only because a thread began a call or an entry left, so one of several
//!   threads always completes.
//!
//! # The insertion of a heavy entry
//! Its writer borrows before it changes the table ([`Loan`]), and reserves the loan until maintenance
//! has linked the entry. Other threads see only that there is less room: the call still takes effect
//! with the one step of the table. If the loan is called back meanwhile, because of another thread's
//! entry or another bound, then the entry is evicted right after its insertion.
//!
//! An entry that replaces a heavy one of the same key borrows only the difference.
//!
//! The loan ends when the entry leaves, for whatever reason: a run of maintenance that finds that its
//! partition was lent more than it needs gives the rest back, after it has unlocked the partition.
#![forbid(unsafe_code)]

use super::partition::{Freeing, Partition};
use super::{Engine, sync};
use crate::base::hash::KeyHash;
use crate::base::reentrancy;

/// A loan for one entry, reserved from before the entry is inserted until its insertion has taken effect
/// or failed.
///
/// It has to be created and dropped without a guard, and outside of any [`Change`](super::Change).
#[must_use = "dropping it ends the reservation"]
pub(crate) struct Loan<'e, K, V> {
    engine: &'e Engine<K, V>,
    home: usize,
    weight: u64,
}

impl<K, V> Engine<K, V> {
    /// The most that an entry of `hash` may weigh without a loan.
    #[inline]
    pub(crate) fn weight_share(&self, hash: KeyHash) -> u64 {
        // Partitions that share a bound need no loans.
        let shared = self.quotas.as_ref().and_then(|quotas| quotas.max_weight());
        shared.unwrap_or_else(|| self.partition(hash).weight_share())
    }

    /// The most that any entry may weigh.
    pub(crate) fn max_weight(&self) -> u64 {
        sync::lock(&self.loans).max_weight()
    }

    /// Borrows for an entry of that weight. `replaced` is the weight of the heavy entry that it replaces, or
    /// 0.
    #[cold]
    pub(crate) fn borrow_weight(
        &self,
        hash: KeyHash,
        weight: u32,
        replaced: u32,
    ) -> Loan<'_, K, V> {
        let home = hash.partition(self.partition_bits);
        let mut loan = Loan { engine: self, home, weight: 0 };
        let more = u64::from(weight.saturating_sub(replaced));
        if more > 0 {
            let mut loans = sync::lock(&self.loans);
            // False if the bound was just lowered: there is no room for the entry, and it will be evicted.
            if loans.lend(home, u64::from(weight), more) {
                self.partitions[home].core.lock().evictor.reserve(more);
                loan.weight = more;
            }
        }
        if loan.weight > 0 {
            self.settle_loans();
        }
        loan
    }

    /// Sets the limits of all partitions to what the accounts say, and takes back what is not needed: the
    /// three steps of the module head.
    #[cold]
    pub(super) fn settle_loans(&self) {
        loop {
            let version = self.lower_limits();
            for partition in &self.partitions {
                let is_above = {
                    let mut core = partition.core.lock();
                    core.evictor.ratchet();
                    core.evictor.is_above_limits()
                };
                if is_above {
                    self.evict_excess(partition);
                }
            }
            if self.raise_limits(version) {
                break;
            }
        }
    }

    /// After `set_bounds`: applies waiting events, evicts the excess in small steps, and returns once no
    /// partition is above its limits.
    pub(crate) fn lower_bounds(&self) {
        self.lower_shared_bound();
        for partition in &self.partitions {
            self.evict_excess(partition);
        }
        self.settle_loans();
    }

    /// The first step. Returns the version of the accounts.
    fn lower_limits(&self) -> u64 {
        let mut loans = sync::lock(&self.loans);
        for (index, partition) in self.partitions.iter().enumerate() {
            loans.take_back(index, partition.core.lock().evictor.needed_loan());
        }
        for (index, partition) in self.partitions.iter().enumerate() {
            let mut core = partition.core.lock();
            partition.lower_weight(&mut core, loans.share(index), loans.lent(index));
        }
        loans.version()
    }

    /// Runs maintenance of a partition until it is no longer above its limits.
    fn evict_excess(&self, partition: &Partition<K, V>) {
        loop {
            let (after, is_stuck) = {
                let mut core = partition.core.lock();
                let before = (core.evictor.len(), core.evictor.weight());
                let after = partition.run(&mut core, self, None, Freeing::AsRetired, None);
                let is_stuck = before == (core.evictor.len(), core.evictor.weight());
                (after, core.evictor.is_above_limits().then_some(is_stuck))
            };
            self.finish_runs(partition, after, None);
            match is_stuck {
                None => break,
                Some(false) => {}
                // Later runs evict the rest: this thread cannot notify the atomic listener.
                Some(true) if !self.may_notify_soon() => break,
                // Other threads are changing the keys of all victims that were tried.
                Some(true) => sync::nap(),
            }
        }
    }

    /// Whether this thread can notify the atomic listener once other threads have left their gates.
    fn may_notify_soon(&self) -> bool {
        self.atomic.is_some() && !self.cannot_notify() && reentrancy::may_wait()
    }

    /// The third step. False if the accounts have changed since `version`, or if there is something to take
    /// back: then all steps have to be repeated.
    fn raise_limits(&self, version: u64) -> bool {
        let loans = sync::lock(&self.loans);
        if loans.version() != version {
            return false;
        }
        let mut is_done = true;
        for (index, partition) in self.partitions.iter().enumerate() {
            let mut core = partition.core.lock();
            partition.set_weight(&mut core, loans.share(index), loans.lent(index));
            is_done &= !core.evictor.has_unneeded_loan();
        }
        is_done
    }

    /// Applies the events that wait in a partition's write buffer.
    fn apply_waiting(&self, partition: &Partition<K, V>) {
        let end = partition.writes.position();
        while !partition.writes.has_popped(end) {
            self.finish_runs(partition, self.run_locked(partition, None, None), None);
            if !partition.writes.has_popped(end) {
                // A writer has claimed a slot that it has not filled in yet.
                sync::thread::yield_now();
            }
        }
    }

    /// Panics unless limits and accounts agree. For tests, while no other thread uses the cache.
    pub(super) fn validate_loans(&self) {
        let loans = sync::lock(&self.loans);
        loans.validate();
        for (index, partition) in self.partitions.iter().enumerate() {
            let core = partition.core.lock();
            let (share, lent) = (loans.share(index), loans.lent(index));
            assert_eq!(
                core.evictor.limits().weight,
                share.saturating_add(lent),
                "a limit is not that of the accounts"
            );
            assert_eq!(partition.weight_share(), share, "a share is not that of the accounts");
            assert!(lent <= core.evictor.needed_loan(), "a loan was not given back");
            core.evictor.validate_loan(lent);
        }
    }
}

impl<K, V> Drop for Loan<'_, K, V> {
    fn drop(&mut self) {
        if self.weight == 0 {
            return;
        }
        let partition = &self.engine.partitions[self.home];
        // After this, the entry has a node if it was stored.
        self.engine.apply_waiting(partition);
        let is_unneeded = {
            let mut core = partition.core.lock();
            core.evictor.release(self.weight);
            core.evictor.has_unneeded_loan()
        };
        if is_unneeded {
            self.engine.settle_loans();
        }
    }
}

/// Every interleaving of the three steps for threads that borrow, give back, and fill all room that they
/// find.
#[cfg(all(test, not(larder_loom)))]
mod tests {
    use std::collections::HashSet;

    use crate::engine::evict::Loans;

    const PARTITIONS: usize = 3;
    const BOUND: u64 = 12;

    /// What a thread does next. Each is one critical section. The lock of the accounts is also held from
    /// `Change` to the last `Lower`, and from `Check` to the last `Raise`.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum ThreadStep {
        Change,
        Lower(usize),
        Evict(usize),
        Check,
        Raise(usize),
        Done,
    }

    #[derive(Clone, Debug)]
    struct Thread {
        step: ThreadStep,
        home: usize,
        weight: u64,
        has_borrowed: bool,
        is_giving_back: bool,
        version: u64,
    }

    #[derive(Clone, Debug)]
    struct World {
        loans: Loans,
        holder: Option<usize>,
        limits: [u64; PARTITIONS],
        /// What each partition holds, or may grow to before it must evict: others fill all room at once.
        may_hold: [u64; PARTITIONS],
        threads: Vec<Thread>,
    }

    impl World {
        /// Lets a thread take one step. False if it has to wait or has completed.
        fn advance(&mut self, at: usize) -> bool {
            let Self { loans, holder, limits, may_hold, threads } = self;
            let thread = &mut threads[at];
            let target = |loans: &Loans, index| loans.share(index) + loans.lent(index);
            let next = |index: usize| index + 1 < PARTITIONS;
            let needs_lock = matches!(thread.step, ThreadStep::Change | ThreadStep::Check);
            if thread.step == ThreadStep::Done || (needs_lock && holder.is_some()) {
                return false;
            }
            thread.step = match thread.step {
                ThreadStep::Change => {
                    *holder = Some(at);
                    if thread.is_giving_back {
                        loans.take_back(thread.home, 0);
                    } else if !thread.has_borrowed {
                        assert!(loans.lend(thread.home, thread.weight, thread.weight));
                        thread.has_borrowed = true;
                    }
                    thread.version = loans.version();
                    ThreadStep::Lower(0)
                }
                ThreadStep::Lower(index) => {
                    limits[index] = limits[index].min(target(loans, index));
                    if next(index) {
                        ThreadStep::Lower(index + 1)
                    } else {
                        *holder = None;
                        ThreadStep::Evict(0)
                    }
                }
                ThreadStep::Evict(index) => {
                    may_hold[index] = limits[index];
                    if next(index) { ThreadStep::Evict(index + 1) } else { ThreadStep::Check }
                }
                ThreadStep::Check if loans.version() != thread.version => ThreadStep::Change,
                ThreadStep::Check => {
                    *holder = Some(at);
                    ThreadStep::Raise(0)
                }
                ThreadStep::Raise(index) => {
                    limits[index] = target(loans, index);
                    may_hold[index] = may_hold[index].max(limits[index]);
                    if next(index) {
                        ThreadStep::Raise(index + 1)
                    } else {
                        *holder = None;
                        let is_done = thread.is_giving_back;
                        thread.is_giving_back = true;
                        if is_done { ThreadStep::Done } else { ThreadStep::Change }
                    }
                }
                ThreadStep::Done => ThreadStep::Done,
            };
            true
        }
    }

    #[test]
    fn partitions_never_hold_more_than_the_bound_in_any_interleaving() {
        let thread = |(home, weight)| Thread {
            step: ThreadStep::Change,
            home,
            weight,
            has_borrowed: false,
            is_giving_back: false,
            version: 0,
        };
        let begin = |threads: [(usize, u64); 2]| World {
            loans: Loans::new([BOUND / 3; PARTITIONS].into_iter()),
            holder: None,
            limits: [BOUND / 3; PARTITIONS],
            may_hold: [BOUND / 3; PARTITIONS],
            threads: threads.into_iter().map(thread).collect(),
        };
        let mut unvisited = vec![begin([(0, 9), (1, 7)]), begin([(0, 9), (0, 12)])];
        let (mut seen, mut ends) = (HashSet::new(), 0);
        while let Some(world) = unvisited.pop() {
            if !seen.insert(format!("{world:?}")) {
                continue;
            }
            assert!(world.may_hold.iter().sum::<u64>() <= BOUND, "{world:?}");
            assert!(world.limits.iter().sum::<u64>() <= BOUND, "{world:?}");
            let mut has_moved = false;
            for at in 0..world.threads.len() {
                let mut next = world.clone();
                if next.advance(at) {
                    has_moved = true;
                    unvisited.push(next);
                }
            }
            if !has_moved {
                ends += 1;
                let is_done = world.threads.iter().all(|thread| thread.step == ThreadStep::Done);
                assert!(is_done, "the threads wait for each other: {world:?}");
                assert_eq!(world.limits, [BOUND / 3; PARTITIONS], "all was given back");
            }
        }
        assert!(ends > 0 && seen.len() > 1_000, "{} worlds", seen.len());
    }
}
