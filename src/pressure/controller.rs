//! The arithmetic that derives a cache's next bound from the memory in use.
#![forbid(unsafe_code)]

/// Readings to wait for after a step down: the freed memory may appear in them.
const PATIENCE: u32 = 3;
/// The smallest and the largest share of the filled part of a bound that one step down gives up.
const SHRINK: (f64, f64) = (1.0 / 64.0, 0.5);
/// The largest share by which a bound grows in one step.
const GROWTH: f64 = 1.0 / 8.0;

pub(super) struct Range {
    pub(super) least: u64,
    pub(super) most: u64,
}

pub(super) struct Controller {
    target: u64,
    /// How far below the target the bound may grow, as a fraction of the target.
    band: f64,
    /// The bound may grow while less than this is in use.
    low: u64,
    range: Range,
    /// After a step down: how much was in use then, and how many readings are left to wait for.
    settling: Option<(u64, u32)>,
}

impl Controller {
    pub(super) fn new(target: u64, band: f64, range: Range) -> Self {
        let low = target - share(target, band);
        Self { target, band, low, range, settling: None }
    }

    /// Aims at `target` from now on: the limit has changed, or another group is the tightest. The wait after a
    /// step down goes on, so that two groups that alternate do not shrink the bound at each reading.
    pub(super) fn set_target(&mut self, target: u64) {
        self.target = target;
        self.low = target - share(target, self.band);
    }

    /// The next bound while `used` bytes are in use and the cache has filled `filled` of `bound`; `None` if it should
    /// stay. A bound of 0 stays: it switches the cache off, and only the user switches it on again.
    pub(super) fn next_bound(&mut self, used: u64, bound: u64, filled: u64) -> Option<u64> {
        if bound == 0 {
            return None;
        }
        let next = if used > self.target {
            self.shrunk(used, bound, filled)?
        } else if used < self.low {
            self.settling = None;
            self.grown(used, bound, filled)?
        } else {
            return None;
        };
        let next = next.clamp(self.range.least, self.range.most);
        (next != bound).then_some(next)
    }

    fn shrunk(&mut self, used: u64, bound: u64, filled: u64) -> Option<u64> {
        if let Some((before, left)) = &mut self.settling
            && used <= *before
            && *left > 0
        {
            *left -= 1;
            return None;
        }
        self.settling = Some((used, PATIENCE));
        // To the middle of the band, so that a small rise does not cause the next step at once.
        let aim = self.low + (self.target - self.low) / 2;
        let excess = (used - aim) as f64 / used as f64;
        // A bound that was never reached has to fall below the filled part, or nothing is freed.
        let base = bound.min(filled);
        Some(base - share(base, excess.clamp(SHRINK.0, SHRINK.1)).max(1).min(base))
    }

    fn grown(&self, used: u64, bound: u64, filled: u64) -> Option<u64> {
        // A cache that is not full does not need a higher bound.
        if filled < bound - bound / 8 {
            return None;
        }
        let room = (self.low - used) as f64 / self.low as f64;
        Some(bound.saturating_add(share(bound, room.min(GROWTH)).max(1)))
    }
}

fn share(of: u64, fraction: f64) -> u64 {
    // The cast saturates.
    (of as f64 * fraction) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn controller(target: u64) -> Controller {
        Controller::new(target, 0.1, Range { least: 10, most: 1_000_000 })
    }

    /// A full cache of entries of 1 KiB beside `others` bytes: returns the bound after each reading.
    fn follow(controller: &mut Controller, bound: u64, others: u64, readings: usize) -> Vec<u64> {
        let mut bounds = vec![bound];
        for _ in 0..readings {
            let bound = *bounds.last().unwrap();
            bounds.push(controller.next_bound(others + bound * KIB, bound, bound).unwrap_or(bound));
        }
        bounds
    }

    #[test]
    fn a_full_cache_reaches_the_band_and_stays_there() {
        for (bound, others) in
            [(100_000, 0), (100_000, 3 << 20), (10, 0), (12_000, 9 << 20), (1_000_000, 1 << 20)]
        {
            let mut controller = controller(10 << 20);
            let bounds = follow(&mut controller, bound, others, 400);
            let last = bounds[399];
            let used = others + last * KIB;
            assert!(used <= 10 << 20, "{bound}, {others}: {bounds:?}");
            assert!(used + KIB >= controller.low, "{bound}, {others}: {bounds:?}");
            assert!(bounds[300..].iter().all(|bound| *bound == last), "{bounds:?}");
        }
    }

    #[test]
    fn nothing_moves_within_the_band() {
        let mut controller = controller(1000);
        for used in [900, 950, 1000] {
            assert_eq!(controller.next_bound(used, 500, 500), None);
        }
        assert!(controller.next_bound(1001, 500, 500).unwrap() < 500);
        assert!(controller.next_bound(899, 500, 500).unwrap() > 500);
    }

    #[test]
    fn a_step_down_is_at_most_half_and_a_step_up_at_most_an_eighth() {
        let mut controller = controller(1000);
        assert_eq!(controller.next_bound(u64::MAX, 800, 800), Some(400));
        assert_eq!(controller.next_bound(0, 800, 800), Some(900));
    }

    #[test]
    fn a_cache_that_was_switched_off_is_not_switched_on() {
        let mut controller = controller(1000);
        for used in [0, 950, 2000] {
            assert_eq!(controller.next_bound(used, 0, 0), None);
        }
    }

    #[test]
    fn a_bound_that_was_never_reached_falls_below_the_held_entries() {
        let mut controller = controller(1000);
        assert!(controller.next_bound(1100, 1_000_000, 200).unwrap() < 200);
    }

    #[test]
    fn a_second_step_down_waits_for_memory_that_is_not_returned_yet() {
        let mut controller = controller(1000);
        let next = |controller: &mut Controller, used| controller.next_bound(used, 500, 500);
        assert!(next(&mut controller, 1100).is_some());
        for _ in 0..PATIENCE {
            assert_eq!(next(&mut controller, 1100), None);
        }
        assert!(next(&mut controller, 1100).is_some());
        assert!(next(&mut controller, 1101).is_some(), "it rises");
    }

    #[test]
    fn a_bound_keeps_to_its_range_and_grows_only_when_full() {
        let mut controller = controller(1000);
        assert_eq!(controller.next_bound(5000, 12, 12), Some(10));
        assert_eq!(controller.next_bound(5001, 10, 10), None);
        assert_eq!(controller.next_bound(0, 999_999, 999_999), Some(1_000_000));
        assert_eq!(controller.next_bound(0, 1_000_000, 1_000_000), None);
        assert_eq!(controller.next_bound(0, 800, 600), None);
        assert_eq!(controller.next_bound(5000, u64::MAX, 0), Some(10));
        assert_eq!(controller.next_bound(0, u64::MAX, u64::MAX), Some(1_000_000));
    }

    #[test]
    fn a_small_bound_changes_by_at_least_one() {
        let mut controller = Controller::new(1000, 0.0, Range { least: 1, most: 9 });
        assert_eq!(controller.next_bound(1001, 3, 3), Some(2));
        assert_eq!(controller.next_bound(999, 3, 3), Some(4));
    }
}
