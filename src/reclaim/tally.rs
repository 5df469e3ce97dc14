//! Counts what each lookup of a cache does, at almost no cost.
//!
//! Every lookup writes to the line of its thread's reader (`readers`) when it pins. A tally is a
//! word in that line, so counting is one more addition, to a line and an address that are at hand.
//! The process has only a few tallies; a cache takes one and gives it back.
#![forbid(unsafe_code)]

use super::readers::TALLIES;
use super::{barrier, epoch};
use crate::base::sync::{self, Mutex};

/// Which tallies are taken.
static TAKEN: Mutex<[bool; TALLIES]> = Mutex::new([false; TALLIES]);

/// A tally that was taken.
pub(crate) struct Tally {
    at: usize,
    /// The sum of what its earlier owners have counted.
    before: u64,
}

impl Tally {
    /// A tally, if one is free and guards are fast here.
    pub(crate) fn take() -> Option<Self> {
        if !barrier::is_asymmetric() {
            return None;
        }
        let mut taken = sync::lock(&TAKEN);
        let at = taken.iter().position(|is_taken| !is_taken)?;
        taken[at] = true;
        Some(Self { at, before: epoch::tallied(at) })
    }

    /// Its number, for `Guard::tally`.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// What all threads have counted since the tally was taken.
    pub(crate) fn sum(&self) -> u64 {
        epoch::tallied(self.at).wrapping_sub(self.before)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        sync::lock(&TAKEN)[self.at] = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reclaim::pin;

    #[test]
    fn threads_count_apart_and_what_they_counted_stays_when_they_end() {
        let Some(tally) = Tally::take() else { return };
        let count = |times: u64| (0..times).for_each(|_| assert!(pin().tally(tally.at())));
        count(3);
        for _ in 0..5 {
            std::thread::scope(|scope| {
                scope.spawn(|| count(10));
                scope.spawn(|| count(100));
            });
        }
        assert_eq!(tally.sum(), 3 + 5 * 110);
        drop(tally);
        // The next owner of a tally begins at 0.
        let all: Vec<Tally> = std::iter::from_fn(Tally::take).collect();
        assert!((1..=TALLIES).contains(&all.len()));
        assert!(all.iter().all(|tally| tally.sum() == 0));
        assert!(!pin().tally(usize::MAX), "no such tally");
    }
}
