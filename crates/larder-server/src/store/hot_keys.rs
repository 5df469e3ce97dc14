//! Which keys are read most, from a sample of all reads.
//!
//! About one read in [`SAMPLED_READS`] is counted, by the algorithm of Misra and Gries ("Finding repeated
//! elements", 1982): of N counted reads it misses at most N / [`COUNTERS`] of any key, so no key with a larger share is
//! missing. Counts are kept for the present period and for the one before.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One read in this many is counted, on average.
const SAMPLED_READS: u32 = 64;
const COUNTERS: usize = 512;
const PERIOD: Duration = Duration::from_secs(60);
/// Longer keys are not counted, so that the counters are bounded in memory.
const MAX_KEY_BYTES: usize = 1024;

thread_local! {
    /// How many reads to skip, and the state of the pseudorandom generator.
    static REST: Cell<(u32, u32)> = const { Cell::new((1, 0x9e37_79b9)) };
}

/// Counts of the keys that are read most.
#[derive(Debug, Default)]
pub(crate) struct HotKeys {
    periods: Mutex<Periods>,
}

#[derive(Debug, Default)]
struct Periods {
    /// When the present one began.
    begun: Option<Instant>,
    present: Period,
    last: Period,
}

#[derive(Debug, Default)]
struct Period {
    reads: u64,
    counts: HashMap<Box<[u8]>, u64, ahash::RandomState>,
}

impl HotKeys {
    /// Skips a read, or counts it.
    #[inline]
    pub(crate) fn note(&self, key: &[u8]) {
        let (rest, state) = REST.get();
        if rest > 1 {
            REST.set((rest - 1, state));
        } else {
            self.sample(key, state, Instant::now());
        }
    }

    #[cold]
    fn sample(&self, key: &[u8], state: u32, now: Instant) {
        // Xorshift: the distances vary, so that a pattern of reads cannot be in step with them.
        let mut next = state;
        next ^= next << 13;
        next ^= next >> 17;
        next ^= next << 5;
        REST.set((next % (2 * SAMPLED_READS - 1) + 1, next));
        self.lock(now).present.count(key);
    }

    /// The keys that are read most, as they are stored, with their shares of all reads, the largest first.
    #[cfg(feature = "http")]
    pub(crate) fn top(&self, keys: usize, now: Instant) -> Vec<(Box<[u8]>, f64)> {
        let periods = self.lock(now);
        let mut counts = periods.last.counts.clone();
        for (key, count) in &periods.present.counts {
            *counts.entry(key.clone()).or_default() += count;
        }
        let reads = periods.last.reads + periods.present.reads;
        drop(periods);
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|(one, of_one), (two, of_two)| of_two.cmp(of_one).then(one.cmp(two)));
        counts.truncate(keys);
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
        let share = |count: u64| count as f64 / reads.max(1) as f64;
        counts.into_iter().map(|(key, count)| (key, share(count))).collect()
    }

    fn lock(&self, now: Instant) -> MutexGuard<'_, Periods> {
        let mut periods = self.periods.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = *periods.begun.get_or_insert(now);
        let age = now.saturating_duration_since(begun);
        if age >= PERIOD {
            let present = std::mem::take(&mut periods.present);
            periods.last = if age < 2 * PERIOD { present } else { Period::default() };
            periods.begun = Some(now);
        }
        periods
    }
}

impl Period {
    fn count(&mut self, key: &[u8]) {
        self.reads += 1;
        if key.len() > MAX_KEY_BYTES {
            return;
        }
        if let Some(count) = self.counts.get_mut(key) {
            *count += 1;
        } else if self.counts.len() < COUNTERS {
            self.counts.insert(key.into(), 1);
        } else {
            // The key and all others lose one count.
            self.counts.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_are_read_most_come_first_however_many_others_there_are() {
        let (hot, now) = (HotKeys::default(), Instant::now());
        for round in 0..20_000_u32 {
            let key = match round % 10 {
                0..3 => "first".to_owned(),
                3..5 => "second".to_owned(),
                _ => format!("other:{round}"),
            };
            hot.lock(now).present.count(key.as_bytes());
        }
        let top = hot.top(2, now);
        assert_eq!((&*top[0].0, &*top[1].0), (b"first".as_slice(), b"second".as_slice()));
        assert!((0.297..=0.3).contains(&top[0].1), "{top:?}");
        assert!((0.197..=0.2).contains(&top[1].1), "{top:?}");
        assert!(hot.lock(now).present.counts.len() <= COUNTERS);
    }

    #[test]
    fn counts_are_forgotten_after_two_periods() {
        let (hot, now) = (HotKeys::default(), Instant::now());
        hot.lock(now).present.count(b"key");
        assert_eq!(hot.top(5, now + PERIOD).len(), 1);
        assert_eq!(hot.top(5, now + PERIOD + PERIOD / 2).len(), 1);
        assert_eq!(hot.top(5, now + 2 * PERIOD), []);
        hot.lock(now + 2 * PERIOD).present.count(b"key");
        assert_eq!(hot.top(5, now + 9 * PERIOD), []);
    }

    #[test]
    fn reads_are_sampled_at_about_the_rate() {
        let hot = HotKeys::default();
        for _ in 0..64_000 {
            hot.note(b"key");
        }
        hot.note(&[0; MAX_KEY_BYTES + 1]);
        let reads = hot.lock(Instant::now()).present.reads;
        assert!((800..1200).contains(&reads), "{reads}");
        assert_eq!(hot.top(5, Instant::now()).len(), 1);
    }
}
