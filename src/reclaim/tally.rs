//! Counting what each lookup of a cache does, for next to nothing.
//!
//! Every lookup writes to the line of its thread's reader (`readers`) as it pins. A tally is a word
//! there: one more addition, to a line at hand, by an address at hand. There are a few of them for
//! the process; a cache takes one, and gives it back.
#![forbid(unsafe_code)]

use super::readers::TALLIES;
use super::{barrier, epoch};
use crate::base::sync::{self, Mutex};

/// Which tallies are taken.
static TAKEN: Mutex<[bool; TALLIES]> = Mutex::new([false; TALLIES]);

/// A tally that somebody has taken.
pub(crate) struct Tally {
    at: usize,
    /// What those have counted who had it before.
    before: u64,
}

impl Tally {
    /// A tally, if one is left, and guards are fast here.
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

    /// What all threads have counted since it was taken.
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
        // Whoever takes one next begins at 0.
        let all: Vec<Tally> = std::iter::from_fn(Tally::take).collect();
        assert!((1..=TALLIES).contains(&all.len()));
        assert!(all.iter().all(|tally| tally.sum() == 0));
        assert!(!pin().tally(usize::MAX), "no such tally");
    }
}
