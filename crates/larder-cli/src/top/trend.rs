//! The readings of the last minutes, and what has changed between them.

use std::collections::VecDeque;
use std::time::Duration;

use super::reading::{TopReading, grown};

/// How far back readings are kept.
const KEPT: Duration = Duration::from_secs(300);
/// Over how long rates are computed.
const RATE_TIME: Duration = Duration::from_secs(5);

/// Readings of one process, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Trend {
    readings: VecDeque<TopReading>,
    restarts: u32,
}

impl Trend {
    /// Adds a reading. If the process has started anew, the older ones are forgotten.
    pub(super) fn push(&mut self, reading: TopReading) {
        if let Some(last) = self.readings.back_mut() {
            if last.instance != reading.instance {
                self.readings.clear();
                self.restarts += 1;
            } else {
                // Only the newest are shown.
                last.caches.iter_mut().for_each(|cache| cache.hottest = Vec::new());
            }
        }
        self.readings.push_back(reading);
        let newest = self.readings.back().map_or(Duration::ZERO, |newest| newest.at);
        while self.readings.get(1).is_some_and(|second| newest.saturating_sub(second.at) > KEPT) {
            self.readings.pop_front();
        }
    }

    pub(super) fn newest(&self) -> Option<&TopReading> {
        self.readings.back()
    }

    /// How often the process has started anew.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    /// The newest reading that is at least so old; the oldest if none is; `None` if there is only one.
    pub(super) fn earlier(&self, age: Duration) -> Option<&TopReading> {
        let newest = self.newest()?.at;
        // A reading may come a little early.
        let is_old = |reading: &&TopReading| newest.saturating_sub(reading.at) >= age * 9 / 10;
        let found = self.readings.iter().rev().find(is_old).or(self.readings.front())?;
        (found.at < newest).then_some(found)
    }

    /// How fast a counter grows, each second.
    pub(super) fn rate(&self, counter: impl Fn(&TopReading) -> Option<u64>) -> Option<f64> {
        growth(self.earlier(RATE_TIME)?, self.newest()?, &counter)
    }

    /// How fast it grew between each two readings, the oldest first.
    pub(super) fn rates(&self, counter: impl Fn(&TopReading) -> Option<u64>) -> Vec<f64> {
        let pairs = self.readings.iter().zip(self.readings.iter().skip(1));
        pairs.map(|(before, now)| growth(before, now, &counter).unwrap_or_default()).collect()
    }
}

fn growth(
    before: &TopReading,
    now: &TopReading,
    counter: &impl Fn(&TopReading) -> Option<u64>,
) -> Option<f64> {
    let seconds = now.at.saturating_sub(before.at).as_secs_f64();
    (seconds > 0.0).then_some(grown(counter(now)?, counter(before)?) as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at_s: u64, instance: &str, bytes_in: u64) -> TopReading {
        TopReading {
            at: Duration::from_secs(at_s),
            instance: instance.to_owned(),
            bytes_in: Some(bytes_in),
            ..TopReading::default()
        }
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let mut trend = Trend::default();
        trend.push(reading(0, "a", 0));
        assert_eq!(trend.rate(|it| it.bytes_in), None);
        for second in 1..=10 {
            trend.push(reading(second, "a", if second <= 5 { 0 } else { 100 * (second - 5) }));
        }
        assert_eq!(trend.rate(|it| it.bytes_in), Some(100.0));
        assert_eq!(trend.rates(|it| it.bytes_in)[4..7], [0.0, 100.0, 100.0]);
        assert_eq!(trend.rate(|it| it.bytes_out), None);
        assert_eq!(trend.earlier(Duration::from_secs(60)).unwrap().at, Duration::ZERO);
        trend.push(reading(1000, "a", 600));
        assert_eq!(trend.rates(|it| it.bytes_in).len(), 1, "the others are too old");
    }

    #[test]
    fn a_process_that_starts_anew_has_no_past() {
        let mut trend = Trend::default();
        trend.push(reading(0, "a", 1000));
        trend.push(reading(1, "b", 5));
        assert_eq!((trend.restarts(), trend.rate(|it| it.bytes_in)), (1, None));
        trend.push(reading(2, "b", 2));
        assert_eq!(trend.rate(|it| it.bytes_in), Some(2.0), "the counter was set back");
    }
}
