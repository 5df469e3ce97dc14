//! Times and times to live: how they are parsed, and when an entry of a trace expires.
//!
//! A trace has its own time, independent of the machine's: an entry that a request inserts is
//! expired for requests whose time is later by more than its TTL.

use clap::ValueEnum;
use serde::Serialize;

use crate::trace::error::{Excerpt, Problem};

/// The TTL of an entry that does not expire.
pub(crate) const NO_TTL: u64 = u64::MAX;

const NS_PER_SECOND: f64 = 1e9;

/// Times beyond this, in the year 2413, are assumed to be in another unit. It is less than the
/// largest time that a `u64` of nanoseconds can hold.
const FAR_SECONDS: f64 = 1.4e10;

/// The unit of numbers in a column of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimeUnit {
    #[value(name = "s")]
    Seconds,
    #[value(name = "ms")]
    Milliseconds,
    #[value(name = "us")]
    Microseconds,
    #[value(name = "ns")]
    Nanoseconds,
}

impl TimeUnit {
    fn ns(self) -> f64 {
        match self {
            Self::Seconds => 1e9,
            Self::Milliseconds => 1e6,
            Self::Microseconds => 1e3,
            Self::Nanoseconds => 1.0,
        }
    }
}

/// Parses a number of units, or a date, which is not before 1970 and in UTC unless it has a time
/// zone, into nanoseconds.
pub(super) fn parse_time_ns(field: &[u8], unit: TimeUnit) -> Result<u64, Problem> {
    let text = std::str::from_utf8(field).unwrap_or("");
    let of_number = || {
        let number = text.parse::<f64>().ok()?;
        (number.is_finite() && number >= 0.0).then(|| (number * unit.ns()) as u64)
    };
    // Parsed without a float, which would round numbers beyond 2^53.
    let of_digits = || {
        let digits = text.parse::<u64>().ok()?;
        digits.checked_mul(unit.ns() as u64)
    };
    let of_date = || {
        let with_zone = || text.parse::<chrono::DateTime<chrono::FixedOffset>>().ok();
        let without = |format| chrono::NaiveDateTime::parse_from_str(text, format).ok();
        let time = with_zone().map(|time| time.timestamp_nanos_opt()).or_else(|| {
            let found = without("%Y-%m-%d %H:%M:%S%.f").or_else(|| without("%Y-%m-%dT%H:%M:%S%.f"));
            found.map(|time| time.and_utc().timestamp_nanos_opt())
        });
        u64::try_from(time??).ok()
    };
    of_digits()
        .or_else(of_number)
        .or_else(of_date)
        .ok_or_else(|| Problem::NotATime { given: Excerpt::new(field) })
}

/// Parses seconds into nanoseconds.
pub(super) fn parse_ttl_ns(field: &[u8]) -> Result<u64, Problem> {
    std::str::from_utf8(field)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
        // Saturates below `NO_TTL`.
        .map(|seconds| ((seconds * NS_PER_SECOND) as u64).min(NO_TTL - 1))
        .ok_or_else(|| Problem::NotATtl { given: Excerpt::new(field) })
}

/// A summary of the times to live in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct TtlSummary {
    /// The number of requests that have a TTL.
    pub(crate) requests: u64,
    pub(crate) shortest_seconds: f64,
    pub(crate) longest_seconds: f64,
    /// Whether entries expire in a replay and in a simulation, for which times are needed.
    pub(crate) is_replayed: bool,
}

impl TtlSummary {
    /// `None` if no request has one.
    pub(super) fn of(ttls_ns: &[u64], is_replayed: bool) -> Option<Self> {
        let own = || ttls_ns.iter().copied().filter(|&ttl_ns| ttl_ns != NO_TTL);
        Some(TtlSummary {
            requests: own().count() as u64,
            shortest_seconds: own().min()? as f64 / NS_PER_SECOND,
            longest_seconds: own().max()? as f64 / NS_PER_SECOND,
            is_replayed,
        })
    }
}

/// The first and the last time of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct TimeSpan {
    /// Since 1970, or since the origin of the trace's times.
    pub(crate) first_seconds: f64,
    pub(crate) last_seconds: f64,
}

impl TimeSpan {
    pub(super) const NONE: TimeSpan = TimeSpan { first_seconds: f64::INFINITY, last_seconds: 0.0 };

    pub(super) fn add(&mut self, time_ns: u64) {
        let seconds = time_ns as f64 / NS_PER_SECOND;
        self.first_seconds = self.first_seconds.min(seconds);
        self.last_seconds = self.last_seconds.max(seconds);
    }

    pub(super) fn found(self) -> Option<Self> {
        self.first_seconds.is_finite().then_some(self)
    }

    pub(super) fn is_far(self) -> bool {
        self.last_seconds > FAR_SECONDS
    }
}

/// The time of each request, and the time to live of the entry that it inserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    /// Since the first request; never decreasing.
    times_ns: Vec<u64>,
    ttls_ns: Vec<u64>,
}

impl Lifetimes {
    /// Takes times in the order of the requests; one that goes back counts as the latest before it.
    pub(super) fn new(mut times_ns: Vec<u64>, ttls_ns: Vec<u64>) -> Self {
        let first_ns = times_ns.first().copied().unwrap_or(0);
        let mut latest_ns = 0;
        for time_ns in &mut times_ns {
            latest_ns = latest_ns.max(time_ns.saturating_sub(first_ns));
            *time_ns = latest_ns;
        }
        Lifetimes { times_ns, ttls_ns }
    }

    /// Makes up times at that many requests per second.
    pub(super) fn at_rate(per_second: f64, ttls_ns: Vec<u64>) -> Self {
        let ns = NS_PER_SECOND / per_second;
        let times_ns = (0..ttls_ns.len()).map(|at| (at as f64 * ns) as u64).collect();
        Lifetimes { times_ns, ttls_ns }
    }

    /// The time of request `at` in the given pass through the trace. A pass begins at the time at
    /// which the previous one ended.
    #[inline]
    pub(crate) fn time_ns(&self, at: usize, pass: u64) -> u64 {
        let whole_ns = self.times_ns.last().copied().unwrap_or(0);
        pass.saturating_mul(whole_ns).saturating_add(self.times_ns[at])
    }

    /// The time to live of the entry that this request inserts.
    #[inline]
    pub(crate) fn ttl_ns(&self, at: usize) -> Option<u64> {
        Some(self.ttls_ns[at]).filter(|&ttl_ns| ttl_ns != NO_TTL)
    }

    /// The time from which the entry that this request inserts is expired, in the first pass. As in
    /// a cache, an entry is still valid at the end of its TTL, but an entry with TTL 0 is never
    /// valid.
    #[inline]
    pub(crate) fn expires_ns(&self, at: usize) -> u64 {
        // Saturates to never if there is no TTL.
        let ttl_ns = self.ttls_ns[at];
        self.times_ns[at].saturating_add(ttl_ns).saturating_add(u64::from(ttl_ns > 0))
    }
}

#[cfg(test)]
impl Lifetimes {
    /// Takes times and TTLs in seconds; a TTL of `u64::MAX` means none.
    pub(crate) fn of_seconds(times: &[u64], ttls: &[u64]) -> Self {
        let ns = |seconds: &u64| seconds.saturating_mul(1_000_000_000);
        Lifetimes::new(times.iter().map(ns).collect(), ttls.iter().map(ns).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_in_their_unit_or_dates() {
        for (text, unit, ns) in [
            ("0", TimeUnit::Seconds, 0),
            ("1.5", TimeUnit::Seconds, 1_500_000_000),
            ("1e+06", TimeUnit::Milliseconds, 1_000_000_000_000),
            ("1700000000000000001", TimeUnit::Nanoseconds, 1_700_000_000_000_000_001),
            ("1970-01-01T00:00:01Z", TimeUnit::Seconds, 1_000_000_000),
            ("1970-01-01 01:00:01.25+01:00", TimeUnit::Seconds, 1_250_000_000),
            ("1970-01-01 00:00:02", TimeUnit::Milliseconds, 2_000_000_000),
            ("1970-01-01T00:00:02.5", TimeUnit::Seconds, 2_500_000_000),
        ] {
            assert_eq!(parse_time_ns(text.as_bytes(), unit).ok(), Some(ns), "{text}");
        }
        for text in ["", "-1", "NaN", "inf", "x", "1969-12-31T23:59:59Z", "2024-13-01", "12:00"] {
            let problem = parse_time_ns(text.as_bytes(), TimeUnit::Seconds).unwrap_err();
            assert!(problem.to_string().starts_with(&format!("time `{text}` is not allowed")));
        }
    }

    #[test]
    fn times_that_go_back_count_as_of_the_same_time() {
        let lifetimes = Lifetimes::of_seconds(&[100, 105, 103, 90, 110], &[5; 5]);
        let times: Vec<u64> = (0..5).map(|at| lifetimes.time_ns(at, 0) / 1_000_000_000).collect();
        assert_eq!(times, [0, 5, 5, 5, 10]);
        assert_eq!(lifetimes.time_ns(1, 2) / 1_000_000_000, 25);
    }

    #[test]
    fn an_entry_without_a_ttl_never_expires() {
        let lifetimes = Lifetimes::of_seconds(&[7, 8], &[u64::MAX, 3]);
        assert_eq!((lifetimes.expires_ns(0), lifetimes.ttl_ns(0)), (u64::MAX, None));
        assert_eq!(lifetimes.expires_ns(1), 4_000_000_001);
        let at_rate = Lifetimes::at_rate(2.0, vec![0, NO_TTL, 1, 0]);
        assert_eq!(at_rate.expires_ns(2), 1_000_000_002);
        assert_eq!(at_rate.expires_ns(3), at_rate.time_ns(3, 0));
    }
}
