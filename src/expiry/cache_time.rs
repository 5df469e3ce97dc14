//! The time of a cache: how long ago it was built, by its clock.
#![forbid(unsafe_code)]

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::clock::{Clock, CoarseClock, MonotonicClock, SLACK_NS};
use super::ticking::{self, TickingClock};
use crate::base::panics::contain;
use crate::base::sync::{AtomicU64, Ordering};
use crate::base::system_time;

/// A cache's clock, and the cache's time by it.
///
/// The cache's time is the number of nanoseconds since it was built, plus one, because a deadline of 0 means
/// expired for ever. It never reaches `u64::MAX`, which means that there is no deadline.
pub(crate) struct CacheTime {
    clock: ClockKind,
    start_ns: u64,
    /// The last reading by maintenance.
    last_ns: AtomicU64,
    panics: AtomicU64,
}

/// The clock that a cache reads. Clocks that every hit may read are called by their types.
#[derive(Clone)]
pub(crate) enum ClockKind {
    /// [`MonotonicClock`], the default.
    Monotonic,
    Coarse,
    Ticking(TickingClock),
    Custom(Arc<dyn Clock>),
}

impl ClockKind {
    pub(crate) fn of<C: Clock>(clock: C) -> Self {
        let any: &dyn Any = &clock;
        if any.is::<MonotonicClock>() {
            Self::Monotonic
        } else if any.is::<CoarseClock>() {
            Self::Coarse
        } else if let Some(clock) = any.downcast_ref::<TickingClock>() {
            Self::Ticking(clock.clone())
        } else {
            Self::Custom(Arc::new(clock))
        }
    }
}

/// A time that is surely not before the cache's time plus some duration. It is stored as the number to add to
/// a time that is cheap to read; the number may have wrapped below 0, and the sum wraps back.
pub(crate) enum DeadlineBound {
    /// There is no such bound.
    Unknown,
    /// The number to add to the system's coarse time.
    AheadOfCoarse(u64),
    /// The number to add to the last tick of the ticking clock.
    AheadOfTick(u64),
}

impl DeadlineBound {
    /// Whether a cheap reading of the clock shows that the bound is at most `deadline_ns`.
    #[inline(always)]
    pub(crate) fn is_surely_at_most(&self, deadline_ns: u64) -> bool {
        match self {
            Self::Unknown => false,
            Self::AheadOfCoarse(offset) => system_time::coarse_ns()
                .is_some_and(|coarse| coarse.wrapping_add(*offset) <= deadline_ns),
            Self::AheadOfTick(offset) => {
                let ticked = ticking::ticked_ns();
                ticked != 0 && ticked.wrapping_add(*offset) <= deadline_ns
            }
        }
    }
}

/// How often a thread that waits for a time has to read a clock that does not simply follow the system's.
pub(crate) const SLICE: Duration = Duration::from_millis(1);

/// A time in the terms of a clock, in nanoseconds.
pub(crate) enum ClockReading {
    /// Of the system's monotonic clock.
    System(u64),
    /// Of a clock that shows the system's monotonic time as of a few milliseconds ago.
    LaggingSystem(u64),
    /// Of a user's clock.
    Custom(Arc<dyn Clock>, u64),
}

impl CacheTime {
    pub(crate) fn new(clock: ClockKind) -> Self {
        let mut time =
            Self { clock, start_ns: 0, last_ns: AtomicU64::new(0), panics: AtomicU64::new(0) };
        time.start_ns = time.read(Clock::now_ns).unwrap_or(0);
        time.last_ns = AtomicU64::new(1);
        time
    }

    /// A bound that is at least `ahead_ns` from now. A deadline that is not below it is valid.
    pub(crate) fn bound_ahead(&self, ahead_ns: u64) -> DeadlineBound {
        // With a larger number, a sum might wrap more than once.
        if ahead_ns >= 1 << 62 {
            return DeadlineBound::Unknown;
        }
        // The cache's time is one more than the clock's since the start.
        let offset = |ahead_ns: u64| (ahead_ns + 1).wrapping_sub(self.start_ns);
        match self.clock {
            ClockKind::Monotonic => DeadlineBound::AheadOfCoarse(offset(ahead_ns.max(SLACK_NS))),
            ClockKind::Coarse => DeadlineBound::AheadOfCoarse(offset(ahead_ns)),
            ClockKind::Ticking(_) => DeadlineBound::AheadOfTick(offset(ahead_ns)),
            ClockKind::Custom(_) => DeadlineBound::Unknown,
        }
    }

    /// Now.
    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        let now = match &self.clock {
            ClockKind::Monotonic => Some(MonotonicClock.now_ns()),
            ClockKind::Coarse => Some(CoarseClock.now_ns()),
            ClockKind::Ticking(clock) => Some(clock.now_ns()),
            ClockKind::Custom(_) => self.read(Clock::now_ns),
        };
        now.map_or_else(|| self.last_ns.load(Ordering::Relaxed), |now| self.since_start(now))
    }

    /// Two times between which the present time is.
    #[inline]
    pub(crate) fn around_ns(&self) -> (u64, u64) {
        let around = match &self.clock {
            ClockKind::Monotonic => Some(MonotonicClock.around_ns()),
            ClockKind::Coarse => Some(CoarseClock.around_ns()),
            ClockKind::Ticking(clock) => Some(clock.around_ns()),
            ClockKind::Custom(_) => self.read(Clock::around_ns),
        };
        match around {
            Some((early, late)) => (self.since_start(early), self.since_start(late)),
            None => {
                let last = self.last_ns.load(Ordering::Relaxed);
                (last, last)
            }
        }
    }

    /// Whether a cheap reading of the clock shows that `deadline_ns`, which is neither `NEVER` nor `EXPIRED`,
    /// is not past.
    #[inline]
    pub(crate) fn is_surely_not_past(&self, deadline_ns: u64) -> bool {
        let (_, late) = match &self.clock {
            ClockKind::Monotonic => {
                let (early, late) = MonotonicClock.around_ns();
                (early, late.saturating_sub(self.start_ns))
            }
            ClockKind::Coarse | ClockKind::Ticking(_) | ClockKind::Custom(_) => self.around_ns(),
        };
        // With the monotonic clock, `late` is one less than the cache's time, so it must be below the deadline.
        late < deadline_ns
    }

    /// Now, as maintenance reads it. Later readings of a clock that panics return this time.
    pub(crate) fn note_now_ns(&self) -> u64 {
        let now = self.now_ns();
        self.last_ns.store(now, Ordering::Relaxed);
        now
    }

    /// Whether the clock runs as fast as the system's, so that a thread can sleep until one of its times.
    pub(crate) fn follows_system_clock(&self) -> bool {
        !matches!(self.clock, ClockKind::Custom(_))
    }

    /// How long a thread that waits until the cache's time is `remaining_ns` further may sleep before it
    /// must read the time again. Exact by the system's monotonic clock. A clock that is read coarsely may
    /// lag, so a short time is rounded up to a [`SLICE`]; a user's clock, which may be moved at any time, has
    /// to be read after each slice.
    pub(crate) fn real_wait_for(&self, remaining_ns: u64) -> Duration {
        let remaining = Duration::from_nanos(remaining_ns);
        match &self.clock {
            ClockKind::Monotonic => remaining,
            ClockKind::Coarse | ClockKind::Ticking(_) => remaining.max(SLICE),
            ClockKind::Custom(_) => SLICE,
        }
    }

    /// Which clock shows when the cache's time is `time_ns`, and what it shows then.
    pub(crate) fn reading_at(&self, time_ns: u64) -> ClockReading {
        let reading_ns = self.start_ns.saturating_add(time_ns.saturating_sub(1));
        match &self.clock {
            ClockKind::Monotonic => ClockReading::System(reading_ns),
            ClockKind::Coarse | ClockKind::Ticking(_) => ClockReading::LaggingSystem(reading_ns),
            ClockKind::Custom(clock) => ClockReading::Custom(Arc::clone(clock), reading_ns),
        }
    }

    /// How often the clock has panicked.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    #[inline]
    fn since_start(&self, clock_ns: u64) -> u64 {
        clock_ns.saturating_sub(self.start_ns).min(u64::MAX - 2) + 1
    }

    fn read<R>(&self, reading: impl FnOnce(&dyn Clock) -> R) -> Option<R> {
        let read = match &self.clock {
            ClockKind::Monotonic => Some(reading(&MonotonicClock)),
            ClockKind::Coarse => Some(reading(&CoarseClock)),
            ClockKind::Ticking(clock) => Some(reading(clock)),
            ClockKind::Custom(clock) => contain(|| reading(&**clock)),
        };
        if read.is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Deadline;
    use crate::test::FakeClock;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_bound_is_at_least_so_far_ahead_and_not_much_further() {
        let has_coarse = system_time::coarse_ns().is_some();
        let ticking = ClockKind::of(TickingClock::new());
        for (clock, is_known) in
            [(ClockKind::Monotonic, has_coarse), (ClockKind::Coarse, has_coarse), (ticking, true)]
        {
            let time = CacheTime::new(clock);
            // The first coarse times may be before the start, where the cache's time stands still.
            while time.around_ns().0 == 1 {
                std::hint::spin_loop();
            }
            for ahead in [0, 1, SECOND, 10 * SECOND, 1 << 60] {
                let bound = time.bound_ahead(ahead);
                for _ in 0..10_000 {
                    let (early, _) = time.around_ns();
                    assert!(!bound.is_surely_at_most(early + ahead - 1), "less than {ahead} ahead");
                    assert!(
                        !bound.is_surely_at_most(time.now_ns() - 1),
                        "a deadline that is past is valid"
                    );
                }
                assert!(!bound.is_surely_at_most(Deadline::EXPIRED));
                let further = time.now_ns() + ahead + 2 * SECOND;
                assert_eq!(bound.is_surely_at_most(further), is_known);
            }
            assert!(!time.bound_ahead(u64::MAX).is_surely_at_most(Deadline::NEVER));
        }
    }

    #[test]
    fn the_bound_of_a_time_that_begins_later_than_now_is_never_surely_met() {
        let mut time = CacheTime::new(ClockKind::Coarse);
        time.start_ns += 3600 * SECOND;
        assert!(!time.bound_ahead(SECOND).is_surely_at_most(2 * SECOND));
    }

    #[test]
    fn a_custom_clock_has_no_bound() {
        let time = CacheTime::new(ClockKind::of(FakeClock::new()));
        assert!(!time.bound_ahead(0).is_surely_at_most(u64::MAX - 1));
        assert!(matches!(ClockKind::of(CoarseClock), ClockKind::Coarse));
        assert!(matches!(ClockKind::of(MonotonicClock), ClockKind::Monotonic));
    }

    #[test]
    fn a_thread_may_sleep_until_a_time_of_the_system_and_for_a_slice_by_other_clocks() {
        let exact = CacheTime::new(ClockKind::Monotonic);
        assert_eq!(exact.real_wait_for(5), Duration::from_nanos(5));
        let ticking = ClockKind::of(TickingClock::new());
        for lagging in [CacheTime::new(ClockKind::Coarse), CacheTime::new(ticking)] {
            assert_eq!(lagging.real_wait_for(5), SLICE);
            assert_eq!(lagging.real_wait_for(SECOND), Duration::from_secs(1));
        }
        let custom = CacheTime::new(ClockKind::of(FakeClock::new()));
        assert_eq!(custom.real_wait_for(5), SLICE);
        assert_eq!(custom.real_wait_for(u64::MAX), SLICE);
    }

    #[test]
    fn the_clock_shows_its_reading_when_the_time_has_come() {
        let exact = CacheTime::new(ClockKind::Monotonic);
        let ClockReading::System(shown) = exact.reading_at(exact.now_ns() + SECOND) else {
            panic!("the time is the system's");
        };
        let now = system_time::now_ns();
        assert!(now < shown && shown <= now + SECOND);
        let coarse = CacheTime::new(ClockKind::Coarse);
        assert!(matches!(coarse.reading_at(1), ClockReading::LaggingSystem(shown) if shown <= now));

        let clock = FakeClock::new();
        clock.set(Duration::from_secs(5));
        let custom = CacheTime::new(ClockKind::of(clock.clone()));
        clock.advance(Duration::from_secs(2));
        let ClockReading::Custom(own, shown) = custom.reading_at(custom.now_ns()) else {
            panic!("the time is a user's");
        };
        assert_eq!((own.now_ns(), shown), (7 * SECOND, 7 * SECOND));
    }
}
