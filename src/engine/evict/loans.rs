//! What the partitions of a cache lend each other of the bound on the sum of weights.
//!
//! A partition may hold its equal *share* of the bound. An entry that is heavier than that is
//! called heavy here: for it, its partition borrows from all others, up to the whole bound. This
//! module keeps the accounts, as plain arithmetic; `maintenance::lending` moves the limits of the
//! partitions to what these accounts say.
//!
//! With `B` for the bound, `lent(i)` for what partition `i` has borrowed and `T` for the sum of
//! all loans:
//!
//! ```text
//!   limit(i) = share(i) + lent(i)      share(i) = B − T in equal parts
//!   limit(0) + … + limit(n − 1) = B    T ≤ B
//! ```
//!
//! | change | by | loans | shares |
//! |---|---|---|---|
//! | a heavy entry is about to be inserted | its writer | of its partition: more; of others: less, if all together would pass the most that is lent | smaller |
//! | a heavy entry has left | maintenance | of its partition: as much as it needs now | larger |
//! | another bound | `set_max_weight` | less, if they are above it | as the bound says |
//!
//! Loans that are called back are those of one partition after the other, in turn. There the
//! oldest heavy entry leaves, not what lies beside it. An eighth of the bound is not lent unless a
//! single entry needs it: what is light always fits somewhere without a loan.
#![forbid(unsafe_code)]

use crate::policy::bounds::share_of;

/// One of so many parts of the bound is lent to nothing but one entry that needs it.
const UNLENT_PART: u64 = 8;

/// The accounts of one cache. They change under its lock, and with each change the version does.
#[derive(Clone, Debug)]
pub(crate) struct Loans {
    /// `None` where weight is not bounded: then nothing is heavy.
    max_weight: Option<u64>,
    lent: Box<[u64]>,
    /// The sum of `lent`.
    total: u64,
    /// The partition from which a loan was called back last.
    hand: usize,
    version: u64,
}

impl Loans {
    /// The accounts of partitions with these shares; the bound is their sum. Shares that pass
    /// `u64::MAX` together are those of a cache without such a bound.
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

    /// What the partition of that number may hold without a loan.
    pub(crate) fn share(&self, index: usize) -> u64 {
        let share = |all| share_of(all - self.total, index, self.lent.len());
        self.max_weight.map_or(u64::MAX, share)
    }

    /// What it was lent beside.
    pub(crate) fn lent(&self, index: usize) -> u64 {
        self.lent[index]
    }

    /// Lends `home` so much more, for an entry of that weight. False if the entry is heavier than
    /// the whole bound; nothing has changed then.
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

    /// Takes back what the partition of that number does not need any more.
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

    /// Leaves no more than `most` lent, and takes from `last` after all others.
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

    /// Panics unless the loans are what was summed up, and the limits add up to the bound.
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
    fn a_loan_comes_from_all_others_and_goes_back_to_them() {
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
        // A replacement of what `home` has there already needs only the difference.
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
        fn go(loans: &Loans, depth: usize) {
            loans.validate();
            if depth == 0 {
                return;
            }
            let step = |change: &dyn Fn(&mut Loans)| {
                let mut next = loans.clone();
                change(&mut next);
                go(&next, depth - 1);
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
        go(&of(11, 2), 4);
        go(&of(12, 3), 3);
    }

    #[test]
    fn a_bound_without_end_is_kept_as_it_is() {
        let loans = Loans::new([u64::MAX, u64::MAX].into_iter());
        assert_eq!((loans.share(0), loans.share(1)), (u64::MAX, u64::MAX));
        let mut widest = of(u64::MAX, 1);
        assert_eq!(widest.share(0), u64::MAX);
        widest.set_max_weight(Some(7));
        assert_eq!(widest.share(0), 7);
    }
}
