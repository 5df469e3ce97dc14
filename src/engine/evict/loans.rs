//! The accounts of what partitions lend each other of the bound on weight.
//!
//! A partition may hold its equal *share* of the bound. An entry that weighs more is called heavy: its
//! partition borrows from all others to hold it, up to the whole bound. This module keeps the accounts,
//! as plain arithmetic; `engine::lending` sets the limits of the partitions to what the accounts say.
//!
//! `B` is the bound, `lent(i)` what partition `i` has borrowed, and `T` the sum of all loans:
//!
//! ```text
//!   limit(i) = share(i) + lent(i)      share(i) = B − T in equal parts
//!   limit(0) + … + limit(n − 1) = B    T ≤ B
//! ```
//!
//! | change | by | loans | shares |
//! |---|---|---|---|
//! | a heavy entry is about to be inserted | its writer | its partition's grows; others shrink if the sum would exceed the most that is lent | smaller |
//! | a heavy entry has left | maintenance | its partition's shrinks to what is needed now | larger |
//! | another bound | `set_max_weight` | shrink if their sum exceeds the bound | by the new bound |
//!
//! Loans are called back from one partition after the other, in turn. In such a partition the oldest
//! heavy entry is evicted, and not a lighter one. An eighth of the bound is lent only if a single entry
//! needs it, so that there is always room for light entries without a loan.
#![forbid(unsafe_code)]

use crate::policy::bounds::share_of;

/// This part of the bound is lent only to a single entry that needs it.
const UNLENT_PART: u64 = 8;

/// The accounts of one cache. They change under their lock, and the version changes with them.
#[derive(Clone, Debug)]
pub(crate) struct Loans {
    /// `None` if weight is not bounded: then no entry is heavy.
    max_weight: Option<u64>,
    lent: Box<[u64]>,
    /// The sum of `lent`.
    total: u64,
    /// The partition from which a loan was called back last.
    hand: usize,
    version: u64,
}

impl Loans {
    /// The accounts of partitions with these shares; the bound is their sum. If the sum exceeds
    /// `u64::MAX`, weight is not bounded.
    pub(crate) fn new(mut shares: impl ExactSizeIterator<Item = u64>) -> Self {
        let lent = vec![0; shares.len()].into_boxed_slice();
        let max_weight = shares.try_fold(0_u64, u64::checked_add);
        Self { max_weight, lent, total: 0, hand: 0, version: 0 }
    }

    /// The bound, and so the most that a single entry may weigh.
    pub(crate) fn max_weight(&self) -> u64 {
        self.max_weight.unwrap_or(u64::MAX)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What the partition at `index` may hold without a loan.
    pub(crate) fn share(&self, index: usize) -> u64 {
        let share = |all| share_of(all - self.total, index, self.lent.len());
        self.max_weight.map_or(u64::MAX, share)
    }

    /// What the partition at `index` was lent.
    pub(crate) fn lent(&self, index: usize) -> u64 {
        self.lent[index]
    }

    /// Lends `more` to the partition `home`, for an entry that weighs `weight`. False, and changes nothing,
    /// if the entry weighs more than the whole bound.
    pub(crate) fn lend(&mut self, home: usize, weight: u64, more: u64) -> bool {
        let max_weight = self.max_weight();
        if weight > max_weight {
            return false;
        }
        let more = more.min(weight);
        let most = weight.max(max_weight - max_weight / UNLENT_PART);
        self.call_back(most - more, Some(home));
        self.lent[home] += more;
        self.total += more;
        self.version += 1;
        true
    }

    /// Takes back what the partition at `index` no longer needs.
    pub(crate) fn take_back(&mut self, index: usize, needed: u64) {
        let unneeded = self.lent[index].saturating_sub(needed);
        if unneeded > 0 {
            self.lent[index] -= unneeded;
            self.total -= unneeded;
            self.version += 1;
        }
    }

    /// Changes the bound.
    pub(crate) fn set_max_weight(&mut self, max_weight: Option<u64>) {
        self.max_weight = max_weight;
        self.call_back(self.max_weight(), None);
        self.version += 1;
    }

    /// Takes back loans until their sum is at most `most`; those of `last` after all others.
    fn call_back(&mut self, most: u64, last: Option<usize>) {
        let (partitions, hand) = (self.lent.len(), self.hand);
        let in_turn = (1..=partitions).map(|step| (hand + step) % partitions);
        for at in in_turn.filter(|at| Some(*at) != last).chain(last) {
            if self.total <= most {
                return;
            }
            let taken = self.lent[at].min(self.total - most);
            self.lent[at] -= taken;
            self.total -= taken;
            self.hand = at;
        }
    }

    /// Panics unless the sums are right: that of the loans, and that of the limits, which is the bound.
    pub(crate) fn validate(&self) {
        assert_eq!(self.lent.iter().sum::<u64>(), self.total, "loans are miscounted");
        let Some(max_weight) = self.max_weight else { return };
        assert!(self.total <= max_weight, "more is lent than there is");
        let limits = (0..self.lent.len()).map(|at| self.share(at) + self.lent(at));
        assert_eq!(limits.sum::<u64>(), max_weight, "the limits do not add up to the bound");
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    fn of(bound: u64, partitions: usize) -> Loans {
        Loans::new((0..partitions).map(|at| share_of(bound, at, partitions)))
    }

    fn limits(loans: &Loans) -> Vec<u64> {
        (0..loans.lent.len()).map(|at| loans.share(at) + loans.lent(at)).collect()
    }

    #[test]
    fn a_loan_comes_from_all_other_partitions_and_returns_to_them() {
        let mut loans = of(64, 4);
        assert_eq!(limits(&loans), [16; 4]);
        assert!(loans.lend(2, 20, 20));
        assert_eq!(limits(&loans), [11, 11, 31, 11]);
        loans.take_back(2, 20);
        assert_eq!(limits(&loans), [11, 11, 31, 11], "it is needed");
        loans.take_back(2, 0);
        assert_eq!(limits(&loans), [16; 4]);
        assert!(!loans.lend(0, 65, 65));
        assert_eq!(limits(&loans), [16; 4]);
        assert!(loans.lend(0, 64, 64));
        assert_eq!(limits(&loans), [64, 0, 0, 0]);
    }

    #[test]
    fn loans_are_called_back_in_turn_and_an_eighth_stays() {
        let mut loans = of(64, 4);
        for home in 0..3 {
            assert!(loans.lend(home, 18, 18));
            loans.validate();
        }
        assert_eq!((loans.total, limits(&loans)), (54, vec![21, 21, 20, 2]));
        assert!(loans.lend(3, 18, 18));
        assert_eq!((loans.total, &*loans.lent), (56, [18, 2, 18, 18].as_slice()));
        loans.validate();
        // A replacement of a heavy entry needs only the difference.
        assert!(loans.lend(3, 50, 32));
        assert_eq!(loans.lent(3), 50);
        loans.validate();
        loans.set_max_weight(Some(40));
        assert_eq!(loans.total, 40);
        loans.validate();
    }

    /// Every sequence of steps up to a length, over two and three partitions.
    #[test]
    fn limits_add_up_to_the_bound_after_every_sequence_of_steps() {
        fn try_steps(loans: &Loans, depth: usize) {
            loans.validate();
            if depth == 0 {
                return;
            }
            let step = |change: &dyn Fn(&mut Loans)| {
                let mut next = loans.clone();
                change(&mut next);
                try_steps(&next, depth - 1);
            };
            for home in 0..loans.lent.len() {
                for (weight, more) in [(5, 5), (11, 11), (11, 3), (12, 12), (4, 0)] {
                    step(&|next| {
                        let had = next.lent[home];
                        let fits = next.lend(home, weight, more);
                        assert_eq!(fits, weight <= next.max_weight());
                        if fits && had + more >= weight {
                            assert!(next.lent[home] >= weight, "the new entry has its loan");
                        }
                    });
                }
                step(&|next| next.take_back(home, 0));
                step(&|next| next.take_back(home, 4));
            }
            step(&|next| next.set_max_weight(Some(6)));
            step(&|next| next.set_max_weight(Some(12)));
        }
        try_steps(&of(11, 2), 4);
        try_steps(&of(12, 3), 3);
    }

    #[test]
    fn shares_of_an_unbounded_cache_stay_unbounded() {
        let loans = Loans::new([u64::MAX, u64::MAX].into_iter());
        assert_eq!((loans.share(0), loans.share(1)), (u64::MAX, u64::MAX));
        let mut largest = of(u64::MAX, 1);
        assert_eq!(largest.share(0), u64::MAX);
        largest.set_max_weight(Some(7));
        assert_eq!(largest.share(0), 7);
    }
}
