//! One shadow cache: a policy over a sample of the keys, in miniature.
//!
//! A cache of capacity `C` is simulated with a sample of rate `R` and a capacity of `R C`. The rate is
//! chosen so that this is the configured number of entries. If the cache is bounded by weight only, the
//! number of its entries is unknown: the rate begins at 1 and is halved whenever the shadow holds more
//! than twice the configured number. A smaller sample is a part of a larger one, so the remaining entries
//! stay as they were. By chance a sample has more or fewer keys than its rate says, so the shadow's
//! bounds are raised or lowered in proportion (`Density`).

use std::mem;

use super::SAMPLES;
use super::record::{ShadowKind, ShadowRecord};
use super::report::ShadowPoint;
use crate::base::error::BuildError;
use crate::base::panics::{Payload, catch};
use crate::policy::bounds::Bounds;
use crate::policy::{Policy, PolicyConfig, Simulator};

/// An odd number, by which sample values become hashes, and its inverse modulo 2^64, by which the hashes
/// become sample values again.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const INVERSE: u64 = inverse(MULTIPLIER);

pub(super) struct ShadowCache {
    policy: Policy,
    multiple: f64,
    /// The bounds that are simulated: the cache's, times the multiple.
    bounds: Bounds,
    /// Keys with sample values below this are in the sample.
    threshold: u64,
    sample_entries: usize,
    /// `None` once the policy has panicked.
    cache: Option<Simulator>,
    /// Sampled lookups that missed in the shadow, each weighted by the inverse of the rate at that time.
    misses: f64,
    /// The same for those that missed in the cache.
    own_misses: f64,
    samples: u64,
    /// The misses until the counts were last reset.
    earlier: ShadowMisses,
    density: Density,
}

/// The sampled misses since a shadow cache was made, also before counts were reset, each weighted by the inverse of
/// the rate at that time. Both sums only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ShadowMisses {
    /// In the shadow.
    pub(crate) misses: f64,
    /// In the cache.
    pub(crate) own_misses: f64,
}

/// How many misses a cache had since it was built, and which fraction of the records was not dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct MissesSeen {
    pub(super) misses: u64,
    pub(super) known: f64,
}

/// How large the sample is in proportion to its rate: by chance it has more or fewer of the requested keys.
/// The bounds of the shadow are scaled by this, or a loop over the keys that just fits the cache might not
/// fit the shadow.
///
/// Estimated from the misses of the cache itself, which are known for all keys and for the sample.
#[derive(Debug)]
struct Density {
    /// The size of the sample in proportion to its rate.
    factor: f64,
    /// Misses of the cache in the sample, since the cache had `from` misses in all.
    own_misses: u64,
    /// `None` until the first time that an estimate is due.
    from: Option<u64>,
    /// How many own misses the next estimate needs.
    enough: u64,
}

impl Default for Density {
    fn default() -> Self {
        Self { factor: 1.0, own_misses: 0, from: None, enough: 0 }
    }
}

impl Density {
    /// Misses in the sample before the first estimate. The next ones are due whenever these have doubled,
    /// and not more often, because a change of bounds disturbs a policy.
    const FIRST: u64 = 512;
    /// Misses that are added to both sides of the ratio, so that few misses move it little from 1.
    const TRUST: f64 = 64.0;

    fn is_due(&self) -> bool {
        self.own_misses >= self.enough
    }

    /// Estimates the factor, within five standard deviations of the size of a sample of `entries` keys:
    /// chance takes it no further from its rate. A larger difference has another reason, such as a key
    /// that is requested all the time and never stored.
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
    fn estimate(&mut self, seen: MissesSeen, rate: f64, entries: usize) {
        match self.from {
            None => {
                self.own_misses = 0;
                self.from = Some(seen.misses);
            }
            Some(from) => {
                let expected = seen.misses.saturating_sub(from) as f64 * rate * seen.known;
                let factor = (self.own_misses as f64 + Self::TRUST) / (expected + Self::TRUST);
                let most = 5.0 / (entries as f64).sqrt();
                self.factor = factor.clamp((1.0 - most).max(0.5), 1.0 + most);
            }
        }
        self.enough = (self.enough * 2).max(Self::FIRST);
    }
}

/// How many lookups a cache had, and how many of them missed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookups {
    pub(super) lookups: f64,
    pub(super) misses: f64,
}

/// The bounds multiplied by `factor`, each at least 1.
fn times(bounds: Bounds, factor: f64) -> Bounds {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a capacity in proportion, to 52 bits, saturating"
    )]
    Bounds {
        capacity: bounds.capacity.map(|all| ((all as f64 * factor).round() as usize).max(1)),
        max_weight: bounds.max_weight.map(|all| ((all as f64 * factor).round() as u64).max(1)),
    }
}

/// The threshold at which a cache of `entries` has about `sample_entries` in the sample.
fn threshold_for(entries: usize, sample_entries: usize) -> u64 {
    if entries <= sample_entries {
        return SAMPLES;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a part of 2^48"
    )]
    {
        (sample_entries as f64 / entries as f64 * SAMPLES as f64) as u64
    }
}

impl ShadowCache {
    pub(super) fn new(
        policy: &Policy,
        multiple: f64,
        cache: Bounds,
        sample_entries: usize,
    ) -> Result<Self, BuildError> {
        let bounds = times(cache, multiple);
        let threshold =
            bounds.capacity.map_or(SAMPLES, |entries| threshold_for(entries, sample_entries));
        let mut shadow = Self {
            policy: policy.clone(),
            multiple,
            bounds,
            threshold,
            sample_entries,
            cache: None,
            misses: 0.0,
            own_misses: 0.0,
            samples: 0,
            earlier: ShadowMisses::default(),
            density: Density::default(),
        };
        shadow.cache = Some(Simulator::new(policy, shadow.config())?);
        Ok(shadow)
    }

    pub(super) fn threshold(&self) -> u64 {
        self.threshold
    }

    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "both have at most 49 bits")]
        {
            self.threshold as f64 / SAMPLES as f64
        }
    }

    fn config(&self) -> PolicyConfig {
        let part = self.rate() * self.density.factor;
        let Bounds { capacity, max_weight } = times(self.bounds, part);
        PolicyConfig::new(capacity, max_weight)
    }

    /// Follows a change of the cache's bounds. Returns the payload of the policy's panic, if there was one.
    pub(super) fn set_bounds(&mut self, cache: Bounds) -> Option<Payload> {
        self.bounds = times(cache, self.multiple);
        let mut shadow = mem::take(&mut self.cache)?;
        let before = self.threshold;
        if let Some(entries) = self.bounds.capacity {
            self.threshold = threshold_for(entries, self.sample_entries);
        }
        if self.threshold != before {
            self.density = Density::default();
        }
        let resized = catch(|| {
            self.resize(&mut shadow, before);
            shadow
        });
        self.put_back(resized)
    }

    /// Fits `cache` to the present threshold and bounds. If the sample has grown, later records fill it.
    fn resize(&self, cache: &mut Simulator, threshold_before: u64) {
        if self.threshold < threshold_before {
            cache.retain(|hash| sample_value(hash) < self.threshold);
        }
        // Never fails, because scaled bounds are at least 1.
        let _ = cache.resize(self.config());
    }

    /// Plays the records of sampled keys, in order. Returns the payload of the policy's panic, if there was
    /// one; then the shadow ignores all later records.
    pub(super) fn play(
        &mut self,
        records: &[ShadowRecord],
        seen: &dyn Fn() -> MissesSeen,
    ) -> Option<Payload> {
        // Taken out while the policy's code runs, so that it is not used again after a panic.
        let mut cache = mem::take(&mut self.cache)?;
        let played = catch(|| {
            for &record in records {
                if record.sample() < self.threshold {
                    self.step(&mut cache, record);
                }
            }
            if self.density.is_due() && self.threshold < SAMPLES {
                let rate = self.rate();
                self.density.estimate(seen(), rate, self.sample_entries);
                self.resize(&mut cache, self.threshold);
            }
            cache
        });
        self.put_back(played)
    }

    /// Removes all keys. Returns the payload of the policy's panic, if there was one.
    pub(super) fn clear(&mut self) -> Option<Payload> {
        let mut cache = mem::take(&mut self.cache)?;
        let cleared = catch(|| {
            cache.retain(|_| false);
            cache
        });
        self.put_back(cleared)
    }

    fn step(&mut self, cache: &mut Simulator, record: ShadowRecord) {
        let seen = step(cache, record);
        if let Some(is_hit) = seen {
            self.samples += 1;
            if !is_hit {
                self.misses += 1.0 / self.rate();
            }
            if record.kind() == ShadowKind::Miss {
                self.own_misses += 1.0 / self.rate();
                self.density.own_misses += 1;
            }
        }
        if cache.len() > self.sample_entries.saturating_mul(2) && self.threshold > 1 {
            let before = self.threshold;
            self.threshold /= 2;
            self.density = Density::default();
            self.resize(cache, before);
        }
    }

    /// Puts the simulator back, or ends the shadow if its policy has panicked.
    fn put_back(&mut self, cache: Result<Simulator, Payload>) -> Option<Payload> {
        match cache {
            Ok(cache) => {
                self.cache = Some(cache);
                None
            }
            Err(payload) => {
                self.threshold = 0;
                Some(payload)
            }
        }
    }

    /// The results so far. `all` counts the cache's lookups of all keys, sampled or not, and `known` is
    /// the fraction of its records that was not dropped.
    pub(super) fn point(&self, all: Lookups, known: f64) -> ShadowPoint {
        let (misses, own_misses) = (self.misses / known, self.own_misses / known);
        // By chance the sample has too many misses of the cache, or too few. The shadow's misses in the
        // sample are too many or too few to the same degree.
        let misses = if misses <= own_misses && own_misses > 0.0 {
            all.misses * misses / own_misses
        } else {
            all.misses + misses - own_misses
        };
        let ratio = (all.lookups > 0.0 && self.samples > 0).then(|| 1.0 - misses / all.lookups);
        ShadowPoint {
            policy: self.policy.name().to_owned(),
            multiple: self.multiple,
            capacity: self.bounds.capacity,
            max_weight: self.bounds.max_weight,
            hit_ratio: ratio.map(|ratio| ratio.clamp(0.0, 1.0)),
            samples: self.samples,
            sample_rate: self.rate(),
            entries: self.cache.as_ref().map_or(0, Simulator::len),
            has_failed: self.cache.is_none(),
        }
    }

    /// The misses since the shadow was made.
    #[cfg(feature = "metrics")]
    pub(super) fn all_misses(&self) -> ShadowMisses {
        ShadowMisses {
            misses: self.earlier.misses + self.misses,
            own_misses: self.earlier.own_misses + self.own_misses,
        }
    }

    pub(super) fn reset_counts(&mut self) {
        self.earlier.misses += self.misses;
        self.earlier.own_misses += self.own_misses;
        self.misses = 0.0;
        self.own_misses = 0.0;
        self.samples = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.cache.as_ref().map_or(0, Simulator::bytes)
    }
}

/// Plays one record to a simulator. If it is a lookup, says whether it was a hit.
fn step(cache: &mut Simulator, record: ShadowRecord) -> Option<bool> {
    let hash = hash(record.sample());
    match record.kind() {
        ShadowKind::Hit => Some(cache.request(hash, record.weight())),
        ShadowKind::Miss => Some(cache.get(hash)),
        ShadowKind::Added => {
            if !cache.contains(hash) {
                let _ = cache.insert(hash, record.weight());
            }
            None
        }
        ShadowKind::Replaced => {
            let _ = cache.insert(hash, record.weight());
            None
        }
        ShadowKind::Removed => {
            cache.remove(hash);
            None
        }
    }
}

/// The hash that a shadow uses for a key: policies need all bits to vary, and sample values are small.
fn hash(sample: u64) -> u64 {
    let product = sample.wrapping_mul(MULTIPLIER);
    product ^ product >> 32
}

/// The sample value that has this hash.
fn sample_value(hash: u64) -> u64 {
    (hash ^ hash >> 32).wrapping_mul(INVERSE)
}

/// The inverse of `odd` modulo 2^64, by Newton's iteration: each step doubles the number of correct bits,
/// and three are correct at the start.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut correct_bits = 3;
    while correct_bits < 64 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        correct_bits *= 2;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn density_stays_within_what_chance_explains_whatever_keys_miss() {
        let estimate = |own_misses: u64, misses: u64| {
            let mut density = Density::default();
            assert!(density.is_due());
            density.estimate(MissesSeen { misses: 1_000, known: 1.0 }, 0.01, 1024);
            density.own_misses = own_misses;
            density.estimate(MissesSeen { misses: 1_000 + misses, known: 1.0 }, 0.01, 1024);
            density.factor
        };
        assert!((estimate(10_500, 1_000_000) - 1.05).abs() < 0.001);
        assert!((estimate(9_500, 1_000_000) - 0.95).abs() < 0.001);
        // All misses are of one key: one in the sample, then one that is not.
        assert_eq!(estimate(1_000_000, 1_000_000), 1.0 + 5.0 / 32.0);
        assert_eq!(estimate(600, 1_000_000), 1.0 - 5.0 / 32.0);
    }

    fn unseen() -> MissesSeen {
        MissesSeen { misses: 0, known: 1.0 }
    }

    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state ^ *state >> 29).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
    }

    #[test]
    fn a_hash_gives_back_its_sample_value() {
        let mut state = 1;
        for _ in 0..1000 {
            let sample = random(&mut state);
            assert_eq!(sample_value(hash(sample)), sample);
        }
    }

    #[test]
    fn a_shadow_bounded_by_weight_halves_its_sample_and_keeps_its_part() {
        let bounds = Bounds { capacity: None, max_weight: Some(100_000) };
        let mut shadow = ShadowCache::new(&Policy::lru(), 1.0, bounds, 64).unwrap();
        assert_eq!(shadow.threshold(), SAMPLES);
        let mut state = 5;
        for _ in 0..200_000 {
            // 20,000 keys of weight 10, half of which fit.
            let sample = random(&mut state) % 20_000 * (SAMPLES / 20_000);
            if sample < shadow.threshold() {
                assert!(
                    shadow
                        .play(&[ShadowRecord::new(sample, ShadowKind::Hit, 10)], &unseen)
                        .is_none()
                );
            }
            let cache = shadow.cache.as_ref().unwrap();
            assert!(cache.len() <= 128 && cache.weight() as f64 <= 100_000.0 * shadow.rate() + 1.0);
        }
        // 10,000 entries in all: sampled down to between 64 and 128.
        assert!((shadow.rate() - 1.0 / 128.0).abs() < 1e-9, "{}", shadow.rate());
        shadow.reset_counts();
        let mut lookups = 0.0;
        for _ in 0..400_000 {
            let sample = random(&mut state) % 20_000 * (SAMPLES / 20_000);
            lookups += 1.0;
            if sample < shadow.threshold() {
                shadow.play(&[ShadowRecord::new(sample, ShadowKind::Hit, 10)], &unseen);
            }
        }
        let ratio = shadow.point(Lookups { lookups, misses: 0.0 }, 1.0).hit_ratio.unwrap();
        assert!((ratio - 0.5).abs() < 0.06, "{ratio}");
    }

    #[test]
    fn without_a_sampled_lookup_there_is_no_hit_ratio() {
        let bounds = Bounds { capacity: Some(10), max_weight: None };
        let mut shadow = ShadowCache::new(&Policy::lru(), 1.0, bounds, 64).unwrap();
        let all = || Lookups { lookups: 5.0, misses: 2.0 };
        assert_eq!(shadow.point(all(), 1.0).hit_ratio, None);
        assert!(shadow.play(&[ShadowRecord::new(1, ShadowKind::Added, 1)], &unseen).is_none());
        assert_eq!(shadow.point(all(), 1.0).hit_ratio, None);
        assert!(shadow.play(&[ShadowRecord::new(1, ShadowKind::Hit, 1)], &unseen).is_none());
        assert_eq!(shadow.point(all(), 1.0).hit_ratio, Some(0.6));
    }

    #[test]
    fn a_policy_that_panics_ends_its_shadow_and_nothing_else() {
        let panicking = Policy::custom("panicking", |_| panic!("built in a shadow"));
        let bounds = Bounds { capacity: Some(10), max_weight: None };
        assert!(catch(|| ShadowCache::new(&panicking, 1.0, bounds, 64).map(drop)).is_err());
        let mut shadow = ShadowCache::new(&fragile(), 1.0, bounds, 64).unwrap();
        assert!(shadow.play(&[ShadowRecord::new(1, ShadowKind::Miss, 0)], &unseen).is_none());
        assert!(shadow.play(&[ShadowRecord::new(1, ShadowKind::Added, 1)], &unseen).is_some());
        assert!(shadow.play(&[ShadowRecord::new(1, ShadowKind::Hit, 1)], &unseen).is_none());
        assert!(shadow.point(Lookups { lookups: 2.0, misses: 0.0 }, 1.0).has_failed);
        assert_eq!(shadow.threshold(), 0);
    }

    fn fragile() -> Policy {
        use crate::base::node_id::NodeId;
        use crate::policy::{Accesses, EvictionPolicy, Nodes};
        struct FragilePolicy;
        impl EvictionPolicy for FragilePolicy {
            fn accesses(&self) -> Accesses {
                Accesses::None
            }
            fn on_insert(&mut self, _: NodeId, _: &dyn Nodes) {
                panic!("fragile");
            }
            fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {}
            fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}
            fn on_remove(&mut self, _: NodeId, _: &dyn Nodes) {}
            fn evict(&mut self, _: &dyn Nodes) -> Option<NodeId> {
                None
            }
        }
        Policy::custom("fragile", |_| Box::new(FragilePolicy))
    }
}
