//! The account of one generation of a namespace: what it holds, and the rule by which it loses entries.
//!
//! # The guarantee
//! An entry may be evicted if the namespace stays at or above its minimum without it. `try_lose` checks
//! that and takes the entry off the account in one compare-and-swap, which is the linearization point of
//! the guarantee: if several partitions choose victims of one namespace at the same time, only as many succeed as it
//! holds above the minimum. An entry that may not leave stays with its partition.
//!
//! A namespace above its maximum loses entries to itself in the same way (`try_lose_excess`), so if several partitions
//! make it smaller, only as many succeed as it holds above the maximum.
//!
//! # Orderings
//! All are relaxed: each account is one word, and no other memory depends on it.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::base::sync::{AtomicU64, AtomicUsize, Ordering};

/// What quotas count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuotaUnit {
    Entries,
    Weight,
}

impl QuotaUnit {
    /// What an entry of that weight takes.
    #[inline]
    pub(crate) fn cost(self, weight: u32) -> u64 {
        match self {
            Self::Entries => 1,
            Self::Weight => u64::from(weight),
        }
    }

    /// The same in the other unit.
    fn other_cost(self, weight: u32) -> u64 {
        match self {
            Self::Entries => u64::from(weight),
            Self::Weight => 1,
        }
    }
}

/// The part of the bound that is a namespace's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// What it is guaranteed.
    pub(crate) minimum: u64,
    /// The most that it may hold; `u64::MAX` if only the bound limits it.
    pub(crate) maximum: u64,
}

impl Share {
    /// The share of a namespace that is only guaranteed a minimum.
    pub(crate) fn at_least(minimum: u64) -> Self {
        Self { minimum, maximum: u64::MAX }
    }

    pub(crate) fn has_maximum(self) -> bool {
        self.maximum != u64::MAX
    }
}

/// Which limit a change of an account has crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crossing {
    None,
    /// The namespace is above its minimum now and was not, or the other way round.
    Minimum,
}

/// The account of a generation.
pub(crate) struct Account {
    /// The number of the namespace.
    pub(crate) namespace: u32,
    unit: QuotaUnit,
    share: Share,
    /// What the generation holds in the unit of the quotas, and in the other one.
    used: AtomicU64,
    other: AtomicU64,
    _counted: Counted,
}

/// Counts what lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Account {
    /// An account that `accounts` counts until it is dropped, with its generation, after the last entry.
    pub(crate) fn new(
        namespace: u32,
        unit: QuotaUnit,
        share: Share,
        accounts: &Arc<AtomicUsize>,
    ) -> Self {
        let (used, other) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { namespace, unit, share, used, other, _counted: Counted::new(accounts) }
    }

    /// Adds an entry.
    pub(crate) fn add(&self, weight: u32) -> Crossing {
        let cost = self.unit.cost(weight);
        let before = self.used.fetch_add(cost, Ordering::Relaxed);
        self.other.fetch_add(self.unit.other_cost(weight), Ordering::Relaxed);
        self.crossing(before, before.wrapping_add(cost))
    }

    /// Subtracts an entry that has left for another reason than a bound.
    pub(crate) fn subtract(&self, weight: u32) -> Crossing {
        let cost = self.unit.cost(weight);
        let before = self.used.fetch_sub(cost, Ordering::Relaxed);
        self.other.fetch_sub(self.unit.other_cost(weight), Ordering::Relaxed);
        self.crossing(before, before.wrapping_sub(cost))
    }

    /// Takes an entry that is to be evicted off the account. `None` if the namespace must not lose it: it is at or
    /// below its minimum, or would fall below it, unless it `may_cross` it with this entry.
    pub(crate) fn try_lose(&self, weight: u32, may_cross: bool) -> Option<Crossing> {
        let minimum = self.share.minimum;
        self.lose_if(weight, |used, left| used > minimum && (may_cross || left >= minimum))
    }

    /// Takes an entry off the account if the namespace is above its maximum; `None` if it is not.
    pub(crate) fn try_lose_excess(&self, weight: u32) -> Option<Crossing> {
        self.lose_if(weight, |used, _| used > self.share.maximum)
    }

    /// Takes an entry off the account if `may_lose` holds for what is used with it and without it.
    fn lose_if(&self, weight: u32, may_lose: impl Fn(u64, u64) -> bool) -> Option<Crossing> {
        let cost = self.unit.cost(weight);
        let lose = |used: u64| {
            let left = used.checked_sub(cost)?;
            may_lose(used, left).then_some(left)
        };
        let before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lose).ok()?;
        self.other.fetch_sub(self.unit.other_cost(weight), Ordering::Relaxed);
        Some(self.crossing(before, before - cost))
    }

    #[inline]
    fn crossing(&self, before: u64, after: u64) -> Crossing {
        let minimum = self.share.minimum;
        if (before > minimum) == (after > minimum) { Crossing::None } else { Crossing::Minimum }
    }

    /// Whether there is more than the minimum.
    pub(crate) fn is_above_minimum(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.share.minimum
    }

    /// Whether the namespace has a maximum.
    pub(crate) fn has_maximum(&self) -> bool {
        self.share.has_maximum()
    }

    /// Whether there is more than the maximum.
    pub(crate) fn is_above_maximum(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.share.maximum
    }

    /// Whether there would be more than the maximum with another entry of that weight.
    pub(crate) fn exceeds_maximum(&self, weight: u32) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used.saturating_add(self.unit.cost(weight)) > self.share.maximum
    }

    /// Whether an entry of that weight is more than the maximum by itself.
    pub(crate) fn is_too_heavy(&self, weight: u32) -> bool {
        self.unit.cost(weight) > self.share.maximum
    }

    /// The number of entries and their weight.
    pub(crate) fn held(&self) -> (u64, u64) {
        let (used, other) = (self.used.load(Ordering::Relaxed), self.other.load(Ordering::Relaxed));
        match self.unit {
            QuotaUnit::Entries => (used, other),
            QuotaUnit::Weight => (other, used),
        }
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    fn make(unit: QuotaUnit, share: Share) -> Account {
        Account::new(0, unit, share, &Arc::default())
    }

    #[test]
    fn a_namespace_loses_what_is_above_its_minimum_and_no_more() {
        let account = make(QuotaUnit::Entries, Share::at_least(3));
        for count in 1..=5 {
            let crossing = if count == 4 { Crossing::Minimum } else { Crossing::None };
            assert_eq!(account.add(7), crossing);
        }
        assert_eq!(account.held(), (5, 35));
        assert_eq!(account.try_lose(7, false), Some(Crossing::None));
        assert_eq!(account.try_lose(7, false), Some(Crossing::Minimum));
        assert_eq!((account.try_lose(7, false), account.try_lose(7, true)), (None, None));
        assert_eq!((account.held(), account.is_above_minimum()), ((3, 21), false));
        assert_eq!(account.subtract(7), Crossing::None);
        assert_eq!(account.held(), (2, 14));
    }

    #[test]
    fn an_entry_that_crosses_the_minimum_leaves_only_if_it_may() {
        let account = make(QuotaUnit::Weight, Share::at_least(50));
        assert_eq!(account.add(30), Crossing::None);
        assert_eq!(account.add(30), Crossing::Minimum);
        assert_eq!(account.try_lose(30, false), None);
        assert_eq!(account.try_lose(30, true), Some(Crossing::Minimum));
        assert_eq!(account.try_lose(30, true), None, "it is below its minimum");
        let account = make(QuotaUnit::Weight, Share::at_least(50));
        assert_eq!((account.add(50), account.add(0)), (Crossing::None, Crossing::None));
        assert_eq!(account.try_lose(0, true), None, "at its minimum, not even without weight");
    }

    #[test]
    fn threads_together_take_no_more_than_is_above_the_minimum() {
        let account = make(QuotaUnit::Entries, Share::at_least(500));
        (0..2_000).for_each(|_| _ = account.add(1));
        let lost = || (0..1_000).filter_map(|_| account.try_lose(1, false)).count();
        let all: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(lost)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum()
        });
        assert_eq!((all, account.held()), (1_500, (500, 500)));
    }

    #[test]
    fn a_namespace_above_its_maximum_loses_that_and_no_more() {
        let share = Share { minimum: 10, maximum: 50 };
        let account = make(QuotaUnit::Weight, share);
        account.add(30);
        assert!(!account.is_above_maximum() && account.try_lose_excess(30).is_none());
        account.add(30);
        assert!(account.is_above_maximum());
        assert_eq!(account.try_lose_excess(30), Some(Crossing::None));
        assert!(account.try_lose_excess(30).is_none() && account.has_maximum());
        assert!(account.is_too_heavy(51) && !account.is_too_heavy(50));
        assert!(!make(QuotaUnit::Weight, Share::at_least(1)).has_maximum());
    }
}
