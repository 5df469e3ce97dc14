//! When a value that is still valid is to be renewed.
//!
//! A value is due for a refresh by its age, by the share of its lifetime that has passed, or at random, more
//! probably the nearer its end is and the longer it took to load. The last is XFetch: Vattani,
//! Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention" (VLDB 2015). A caller
//! renews the value if
//!
//! ```text
//! now − load time · beta · ln(random) ≥ end        with a random number above 0, up to 1
//! ```
//!
//! Each entry keeps the time of its own load, in one byte of its metadata that was free, so that a key that
//! is slow to load is renewed earlier than a quick one, and no entry is larger. The byte is exact to an
//! eighth, which changes the moment of a refresh by as much as another beta would.
//!
//! The random numbers come from the key's hash, the time and a counter, so they are the same in each run if
//! the hasher, the clock and the order of calls are.
#![forbid(unsafe_code)]

use crossbeam_utils::CachePadded;

use super::cache_time::CacheTime;
use super::clock::nanoseconds;
use super::loading::LoadingConfig;
use super::timing::{Span, Timing};
use crate::base::hash::{KeyHash, split_mix};
use crate::base::sync::{AtomicU64, Ordering};
use crate::entry::{Deadline, EntryPtr};

/// Whether a valid value is to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    RefreshDue,
}

/// When the values of a cache are to be renewed.
pub(crate) struct RefreshRule {
    /// The age above which a value is renewed; `NEVER` if it is not.
    refresh_after_ns: u64,
    /// The share of the lifetime after which it is.
    share: Option<f64>,
    /// The factor by which XFetch multiplies the time of the load.
    beta: Option<f64>,
    /// Makes the random numbers of calls at the same time differ.
    drawn: CachePadded<AtomicU64>,
}

/// Random numbers have 53 bits, so none is below 2^-53, whose logarithm is a little above this.
const LEAST_LN: f64 = -37.0;

impl RefreshRule {
    /// The rule of a cache with these settings; `None` if no valid value is renewed.
    pub(crate) fn new(config: &LoadingConfig) -> Option<Self> {
        let LoadingConfig { refresh_after_write, eager_refresh, early_refresh, .. } = *config;
        let is_some =
            refresh_after_write.is_some() || eager_refresh.is_some() || early_refresh.is_some();
        is_some.then(|| Self {
            refresh_after_ns: refresh_after_write.map_or(Deadline::NEVER, nanoseconds),
            share: eager_refresh,
            beta: early_refresh,
            drawn: CachePadded::default(),
        })
    }

    /// Whether the value of a valid entry is to be renewed now. `random` keeps the random number of one call, so
    /// that the call comes to the same answer if it asks again.
    pub(crate) fn judge(
        &self,
        entry: EntryPtr,
        timing: &Timing,
        random: &mut Option<f64>,
    ) -> Freshness {
        let span = timing.span(entry);
        let is_due = has_passed(self.due_ns(span), &timing.time)
            || self.may_be_early(span, entry, &timing.time)
                && self.is_early(span, entry, &timing.time, random);
        if is_due { Freshness::RefreshDue } else { Freshness::Fresh }
    }

    /// Whether `judge` may say that the value is to be renewed now.
    pub(crate) fn may_be_due(&self, entry: EntryPtr, timing: &Timing) -> bool {
        let span = timing.span(entry);
        has_passed(self.due_ns(span), &timing.time) || self.may_be_early(span, entry, &timing.time)
    }

    /// The last time at which the value is not to be renewed for its age; `NEVER` if there is none.
    fn due_ns(&self, Span { written_ns, end_ns }: Span) -> u64 {
        let Some(written_ns) = written_ns else { return Deadline::NEVER };
        let by_age = written_ns.saturating_add(self.refresh_after_ns);
        let by_share = match self.share {
            Some(share) if end_ns != Deadline::NEVER => {
                written_ns.saturating_add(scaled(end_ns.saturating_sub(written_ns), share))
            }
            _ => Deadline::NEVER,
        };
        by_age.min(by_share)
    }

    /// Whether XFetch renews the value now with some random number. Most hits are too far from the end for any.
    fn may_be_early(&self, span: Span, entry: EntryPtr, time: &CacheTime) -> bool {
        let Some(beta) = self.beta.filter(|_| span.end_ns != Deadline::NEVER) else { return false };
        let load_ns = entry.meta().load_time().to_ns();
        let earliest_ns = span.end_ns.saturating_sub(scaled(load_ns, -LEAST_LN * beta));
        load_ns != 0 && has_passed(earliest_ns, time)
    }

    /// Whether XFetch renews the value now.
    fn is_early(
        &self,
        span: Span,
        entry: EntryPtr,
        time: &CacheTime,
        random: &mut Option<f64>,
    ) -> bool {
        let Some(beta) = self.beta else { return false };
        let now_ns = time.now_ns();
        let random = *random.get_or_insert_with(|| self.draw(entry.hash(), now_ns));
        let load_ns = entry.meta().load_time().to_ns();
        now_ns.saturating_add(scaled(load_ns, -random.ln() * beta)) >= span.end_ns
    }

    /// A random number above 0 and up to 1.
    fn draw(&self, hash: KeyHash, now_ns: u64) -> f64 {
        // Not an atomic addition: it does not matter if two threads draw at the same number.
        let drawn = self.drawn.load(Ordering::Relaxed).wrapping_add(1);
        self.drawn.store(drawn, Ordering::Relaxed);
        unit(split_mix(hash.raw() ^ split_mix(now_ns ^ split_mix(drawn))))
    }
}

/// The number above 0 and up to 1 that these bits stand for.
fn unit(random: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    {
        ((random >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// `ns` times a factor that is not negative.
fn scaled(ns: u64, factor: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "52 bits suffice, and casts of floats saturate"
    )]
    {
        (ns as f64 * factor) as u64
    }
}

/// Whether the time is above `limit_ns`, by a cheap reading of the clock if that suffices.
fn has_passed(limit_ns: u64, time: &CacheTime) -> bool {
    if limit_ns == Deadline::NEVER {
        return false;
    }
    let (early, late) = time.around_ns();
    early > limit_ns || late > limit_ns && time.now_ns() > limit_ns
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    fn rule(config: LoadingConfig) -> RefreshRule {
        RefreshRule::new(&config).expect("something is set")
    }

    #[test]
    fn random_numbers_are_above_zero_and_spread_evenly() {
        assert_eq!(unit(u64::MAX), 1.0);
        assert!(unit(0) > 0.0 && unit(0).ln() > LEAST_LN);
        let rule = rule(LoadingConfig { early_refresh: Some(1.0), ..LoadingConfig::default() });
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            let random = rule.draw(KeyHash::from_raw(7), 1);
            counts[((random * 10.0) as usize).min(9)] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn what_is_due_first_counts_and_huge_settings_saturate() {
        let age = std::time::Duration::from_nanos(100);
        let config = LoadingConfig {
            refresh_after_write: Some(age),
            eager_refresh: Some(0.5),
            ..LoadingConfig::default()
        };
        let due = |config, written_ns, end_ns| rule(config).due_ns(Span { written_ns, end_ns });
        assert_eq!(due(config, Some(10), 1010), 110);
        assert_eq!(due(config, Some(10), 110), 60);
        assert_eq!(due(config, Some(10), Deadline::NEVER), 110);
        assert_eq!(due(config, None, 110), Deadline::NEVER);
        let age = Some(std::time::Duration::MAX);
        let config = LoadingConfig { refresh_after_write: age, ..config };
        assert_eq!(due(config, Some(10), Deadline::NEVER), Deadline::NEVER);
        assert_eq!(due(config, Some(2000), 10), 2000, "written after its end");
        assert_eq!(scaled(u64::MAX, 1e300), u64::MAX);
        assert!(RefreshRule::new(&LoadingConfig::default()).is_none());
    }
}
