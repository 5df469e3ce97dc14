//! What was read at one moment: counters since the start, and gauges.

use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that was read of a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TopReading {
    /// When it was read, by a clock that begins with the program.
    pub(crate) at: Duration,
    /// Changes when the process starts anew.
    pub(crate) instance: String,
    pub(crate) version: Option<String>,
    pub(crate) uptime: Option<Duration>,
    /// Why a server is not ready.
    pub(crate) obstacle: Option<String>,
    pub(crate) clients: Option<u64>,
    pub(crate) bytes_in: Option<u64>,
    pub(crate) bytes_out: Option<u64>,
    pub(crate) resident_bytes: Option<u64>,
    /// Calls by command.
    pub(crate) calls: BTreeMap<String, u64>,
    /// The times of batches of commands.
    pub(crate) latency: Option<Buckets>,
    pub(crate) caches: Vec<CacheNumbers>,
}

/// What was read of a cache.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CacheNumbers {
    pub(crate) name: String,
    pub(crate) policy: String,
    pub(crate) entries: u64,
    pub(crate) capacity: Option<u64>,
    pub(crate) weight: u64,
    pub(crate) max_weight: Option<u64>,
    /// `None` if lookups are not counted.
    pub(crate) lookups: Option<Lookups>,
    pub(crate) inserts: u64,
    pub(crate) rejections: u64,
    pub(crate) waiting_bytes: u64,
    pub(crate) evicted: u64,
    pub(crate) expired: u64,
    pub(crate) removed: u64,
    pub(crate) replaced: u64,
    pub(crate) invalidated: u64,
    pub(crate) eviction_ages: Option<Buckets>,
    /// The cache's own policy at other sizes, by multiple.
    pub(crate) sizes: Vec<SizePoint>,
    pub(crate) hottest: Vec<HotEntry>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Lookups {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

/// A histogram: how many values there are from each bound, in seconds, to the next. The first count begins with
/// 0, and the last one has no end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Buckets {
    pub(crate) bounds_s: Vec<f64>,
    pub(crate) counts: Vec<u64>,
}

/// An estimate for another size of a cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SizePoint {
    pub(crate) multiple: f64,
    /// The misses at this size, in proportion to those at the present one.
    pub(crate) misses_factor: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HotEntry {
    pub(crate) key: String,
    /// Its share of all reads.
    pub(crate) share: Option<f64>,
}

/// Why entries leave, with how many have.
pub(crate) fn causes(cache: &CacheNumbers) -> [(&'static str, u64); 5] {
    [
        ("evicted", cache.evicted),
        ("expired", cache.expired),
        ("removed", cache.removed),
        ("replaced", cache.replaced),
        ("invalidated", cache.invalidated),
    ]
}

impl CacheNumbers {
    pub(crate) fn writes(&self) -> u64 {
        self.inserts + self.replaced
    }

    /// How full it is, from 0 to 1, by the bound that is nearer; `None` without a bound.
    pub(crate) fn fill(&self) -> Option<f64> {
        let share = |used: u64, bound: u64| used as f64 / bound.max(1) as f64;
        let entries = self.capacity.map(|bound| share(self.entries, bound));
        let weight = self.max_weight.map(|bound| share(self.weight, bound));
        let fill = match (entries, weight) {
            (Some(one), Some(other)) => one.max(other),
            (one, other) => one.or(other)?,
        };
        Some(fill.min(1.0))
    }
}

impl Lookups {
    pub(crate) fn count(self) -> u64 {
        self.hits + self.misses
    }

    pub(crate) fn hit_ratio(self) -> Option<f64> {
        (self.count() > 0).then(|| self.hits as f64 / self.count() as f64)
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { hits: grown(self.hits, earlier.hits), misses: grown(self.misses, earlier.misses) }
    }
}

/// By how much a counter has grown. One that is less than before was set back, so all of it is new.
pub(crate) fn grown(now: u64, before: u64) -> u64 {
    if now >= before { now - before } else { now }
}

impl Buckets {
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What has come since `earlier`; all of it if that has other bounds.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        if self.bounds_s != earlier.bounds_s {
            return self.clone();
        }
        let pairs = self.counts.iter().zip(&earlier.counts);
        let counts = pairs.map(|(&now, &before)| grown(now, before)).collect();
        Self { bounds_s: self.bounds_s.clone(), counts }
    }

    /// The value, in seconds, below which a part of all values is; `None` if there are no values.
    pub(crate) fn quantile(&self, part: f64) -> Option<f64> {
        let mut rest = self.count() as f64 * part;
        let last = *self.bounds_s.last()?;
        for (index, &count) in self.counts.iter().enumerate() {
            let count = count as f64;
            if count > 0.0 && rest <= count {
                let Some(&to) = self.bounds_s.get(index) else { return Some(last) };
                // The bounds are about in proportion, so values are spread by proportion between them.
                return Some(match index.checked_sub(1).map(|before| self.bounds_s[before]) {
                    Some(from) => from * (to / from).powf(rest / count),
                    None => to,
                });
            }
            rest -= count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_bucket() {
        let buckets = Buckets { bounds_s: vec![1.0, 2.0, 4.0], counts: vec![50, 0, 50, 0] };
        assert_eq!(buckets.quantile(0.5), Some(1.0));
        let upper = buckets.quantile(0.75).unwrap();
        assert!((upper - 2.0 * 2.0_f64.sqrt()).abs() < 1e-9, "{upper}");
        assert_eq!(buckets.quantile(1.0), Some(4.0));
        let beyond = Buckets { counts: vec![0, 0, 0, 9], ..buckets.clone() };
        assert_eq!(beyond.quantile(0.5), Some(4.0));
        assert_eq!(buckets.since(&buckets).quantile(0.5), None);
        assert_eq!(Buckets::default().quantile(0.5), None);
    }

    #[test]
    fn a_counter_that_was_set_back_is_new() {
        assert_eq!((grown(7, 5), grown(5, 7)), (2, 5));
        let (now, before) = (Lookups { hits: 3, misses: 1 }, Lookups { hits: 100, misses: 1 });
        assert_eq!(now.since(before), Lookups { hits: 3, misses: 0 });
        assert_eq!(Lookups::default().hit_ratio(), None);
    }
}
