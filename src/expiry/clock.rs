//! Clocks, and how to read them cheaply.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::base::system_time;

/// The clock by which a cache's entries expire.
///
/// The time of a cache begins when it is built. It reads its clock from several threads, on each lookup
/// of an entry that has a deadline, and under its own locks. So a clock must be fast, and must not use
/// the cache.
///
/// # Strange clocks
/// A clock may stand still: then nothing expires. It may jump ahead: then the entries that are due by the
/// new time are expired. It may jump back: an entry that was found expired stays expired, and
/// every other one lives longer by as much as the clock has jumped. If a clock panics, the cache uses the
/// last reading of maintenance instead; the panic is counted in
/// [`Stats::maintenance_panics`](crate::Stats::maintenance_panics) and not propagated.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since a fixed moment.
    fn now_ns(&self) -> u64;

    /// Two times, the earlier one first, between which the present time is. They can be cheaper to read than
    /// [`now_ns`](Self::now_ns), and suffice for most lookups: an entry whose deadline is after both is valid.
    ///
    /// Default: both are the answer of `now_ns`.
    fn around_ns(&self) -> (u64, u64) {
        let now = self.now_ns();
        (now, now)
    }
}

/// The default: the system's monotonic clock in its full resolution.
///
/// On Linux, if a deadline is more than a second away, lookups only read the time of the kernel's last
/// timer interrupt, which takes a few nanoseconds, and rely on that interrupt being less than a second
/// late. The cache's own time to live, if it is more than a second, counts from that time too, so it may be
/// shorter than requested by the time between two interrupts (1 to 10 milliseconds). A lifetime that is given for
/// one entry counts from the precise time. On other systems the full clock is read each time.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MonotonicClock;

/// How late a timer interrupt may be.
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
/// milliseconds, on Linux; on other systems the same as [`MonotonicClock`].
///
/// On Linux every reading takes a few nanoseconds, even for deadlines less than a second away.
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
