//! Clocks: what time it is, and how cheaply that can be told.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::base::system_time;

/// Tells the time by which a cache's entries expire.
///
/// A cache takes the moment at which it is built for the beginning of its time, and asks its
/// clock from several threads, on each lookup of an entry that has a deadline, and under its own
/// locks: a clock must be quick, and must not use the cache.
///
/// # Strange clocks
/// A clock may stand still: then nothing expires. It may jump ahead: then what is due by the new
/// time is expired. It may jump back: what a lookup has found expired stays so, and everything
/// else gets the time that the jump took longer to live. A clock that panics stands, for that one
/// reading, where maintenance has last read it; the panic is counted in
/// [`Stats::maintenance_panics`](crate::Stats::maintenance_panics) and goes no further.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since some moment that stays the same.
    fn now_ns(&self) -> u64;

    /// Two times between which it is now, the earlier and the later one, for less than the price
    /// of [`now_ns`](Self::now_ns). Most lookups need no more: an entry whose deadline is behind
    /// both is valid.
    ///
    /// Default: both are what `now_ns` says.
    fn around_ns(&self) -> (u64, u64) {
        let now = self.now_ns();
        (now, now)
    }
}

/// The default: the system's monotonic clock, with the full resolution.
///
/// On Linux, where a deadline is further away than a second, lookups only read the time of the
/// kernel's last timer interrupt, which takes a few nanoseconds, and rely on that interrupt to be
/// less than a second late; and a time to live of more than a second counts from there, so that it
/// is up to one interrupt (1 to 10 milliseconds) shorter than was asked for. Elsewhere the full
/// clock is read each time.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MonotonicClock;

/// For how long a timer interrupt may be overdue.
pub(super) const SLACK_NS: u64 = 1_000_000_000;

impl Clock for MonotonicClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        system_time::now_ns()
    }

    #[inline]
    fn around_ns(&self) -> (u64, u64) {
        match system_time::coarse_ns() {
            Some(coarse) => (coarse, coarse.saturating_add(SLACK_NS)),
            None => {
                let now = system_time::now_ns();
                (now, now)
            }
        }
    }
}

/// The system's monotonic clock in the resolution of the kernel's timer interrupt, 1 to 10
/// milliseconds, on Linux; elsewhere the same as [`MonotonicClock`].
///
/// Every reading takes a few nanoseconds, also that of deadlines less than a second away.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CoarseClock;

impl Clock for CoarseClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        system_time::coarse_ns().unwrap_or_else(system_time::now_ns)
    }
}

/// Whole nanoseconds, saturating.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
