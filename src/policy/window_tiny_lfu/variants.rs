//! The variants of the policy, one of which is in force at a time; `mirrors` finds out which one is best.
#![forbid(unsafe_code)]

use crate::policy::budget::Budget;

/// How the segments divide the budget, and what happens to a key that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    /// The window's part of the budget.
    pub(super) window_percent: u64,
    /// The protected segment's part of what is not the window's.
    pub(super) protected_percent: u64,
    pub(super) direct: Direct,
    /// Whether a node that was used within the window goes to the protected segment, and not back to the
    /// head of the window.
    pub(super) protects_used: bool,
}

/// Which keys that the ghost knows go to probation at once, past the window and the duel. Keys do so only
/// while the window is as large as it should be: otherwise a window that has to grow would get too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direct {
    Never,
    /// Those that come back in less than half of the time that the next victim has been unused for.
    Soon,
    Always,
}

/// The variants that are compared.
pub(super) const VARIANTS: [Variant; 6] = [
    usual(1, 80),
    usual(1, 95),
    usual(10, 80),
    usual(35, 80),
    Variant { direct: Direct::Never, ..usual(100, 80) },
    // For keys that are requested twice, and not much more often.
    Variant { direct: Direct::Always, protects_used: true, ..usual(70, 80) },
];

/// The variant with which a policy of that budget begins. Where entries have weights, it takes longer to find a better
/// one, so they begin with one that is nowhere much worse than the best.
pub(super) fn first(budget: Budget) -> usize {
    if budget.counts_entries() { 0 } else { 2 }
}

/// Whether the window of that variant is all there is.
pub(super) fn has_no_main(variant: usize) -> bool {
    VARIANTS[variant].window_percent == 100
}

impl Variant {
    /// Whether a node that is much heavier than others has its duel as soon as it is inserted.
    ///
    /// The smallest windows are best where few of the new keys are requested again. There, a heavy one costs the
    /// room of many.
    pub(super) fn duels_heavy_at_once(self) -> bool {
        self.window_percent == 1
    }
}

const fn usual(window_percent: u64, protected_percent: u64) -> Variant {
    Variant { window_percent, protected_percent, direct: Direct::Soon, protects_used: false }
}
