//! Times of the system's clock, in which clients give and receive deadlines.
//!
//! The cache has a clock of its own, which is never set, and knows how long entries have left. A deadline that a
//! client gives becomes a lifetime by the system's clock when it is given; asked for, it follows from that
//! clock again. So a deadline is returned as it was given, to the millisecond, unless the system's clock was
//! set meanwhile: then the lifetime counts.
#![forbid(unsafe_code)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest lifetime: 500 years. The cache counts nanoseconds, and treats what it cannot count as for ever.
pub(crate) const MAX_LIFETIME: Duration = Duration::from_secs(500 * 365 * 24 * 60 * 60);

/// The time since 1970; zero before that.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How long it is from now until a time in milliseconds since 1970: zero if that has passed, and at most
/// [`MAX_LIFETIME`].
pub(crate) fn lifetime_until(unix_ms: i64) -> Duration {
    let until = Duration::from_millis(u64::try_from(unix_ms).unwrap_or_default());
    until.saturating_sub(now()).min(MAX_LIFETIME)
}

/// The time this long after another one, in milliseconds since 1970, rounded to the nearest.
pub(crate) fn ms_after(time: Duration, left: Duration) -> i64 {
    let rounded = time.saturating_add(left).saturating_add(Duration::from_micros(500));
    i64::try_from(rounded.as_millis()).unwrap_or(i64::MAX)
}

/// A duration in milliseconds. Rounded up, so that what lives has at least one left.
pub(crate) fn ms_rounded_up(left: Duration) -> i64 {
    i64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

/// Milliseconds in seconds, rounded to the nearest, as Redis does.
pub(crate) const fn seconds_of(ms: i64) -> i64 {
    ms.saturating_add(500) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_as_clients_expect() {
        let ns = Duration::from_nanos;
        assert_eq!(ms_rounded_up(ns(99_999_999_999)), 100_000);
        assert_eq!((ms_rounded_up(ns(1)), ms_rounded_up(ns(0))), (1, 0));
        assert_eq!(ms_after(ns(1_000_400_000), ns(500_000)), 1001);
        assert_eq!(ms_after(ns(1_000_400_000), ns(99_999)), 1000);
        assert_eq!((seconds_of(99_500), seconds_of(99_499)), (100, 99));
        assert_eq!(seconds_of(i64::MAX), i64::MAX / 1000);
    }

    #[test]
    fn a_time_that_has_passed_leaves_no_lifetime_and_a_far_one_a_bounded_one() {
        let now_ms = ms_after(now(), Duration::ZERO);
        for past in [i64::MIN, -1, 0, 1, now_ms - 1000] {
            assert_eq!(lifetime_until(past), Duration::ZERO);
        }
        assert_eq!(lifetime_until(i64::MAX), MAX_LIFETIME);
        let hour = lifetime_until(now_ms + 3_600_000);
        assert!(hour < Duration::from_secs(3601) && hour > Duration::from_secs(3500));
    }
}
