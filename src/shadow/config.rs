//! The configuration of shadow caches.

use super::miniature::ShadowCache;
use crate::base::error::BuildError;
use crate::policy::Policy;
use crate::policy::bounds::Bounds;

/// The default multiples of the cache's bounds.
const MULTIPLES: [f64; 4] = [0.5, 1.0, 2.0, 4.0];
const SAMPLE_ENTRIES: usize = 1024;
const MIN_SAMPLE_ENTRIES: usize = 16;
/// The most shadows of one cache.
const MAX_SHADOWS: usize = 256;

/// Which shadow caches run beside a cache, for [`Builder::shadow`](crate::Builder::shadow).
///
/// There is one for each policy at each multiple of the cache's bounds.
///
/// # Accuracy and cost
/// Each shadow simulates a sample of the keys in miniature, with about
/// [`sample_entries`](Self::sample_entries) entries. If the capacity is not larger than that, the sample
/// is all keys. The more entries, the more lookups are sampled, and the more exact the hit ratio.
///
/// The benchmark `shadow_error` compared shadows with full simulations, over 116 combinations of trace and
/// capacity, at four multiples of the capacity, for lru and the default policy. With default settings the
/// hit ratios differ by 0.3 points in the mean. In 7 of 928 cases they differ by more than 2 points: by up
/// to 6.5, and in one case by 96. There the trace is a loop over as many keys as the cache holds, so one
/// key more or less decides. With 2,048 entries they differ by 0.2 points in the mean and 2.8 at most, by
/// more than 2 in 9 cases. With 512 entries the results of several loops are wrong.
///
/// Every lookup is counted by one addition, and maintenance plays each lookup of a sampled key to each
/// shadow. The larger the cache, the smaller the sampled part. With default settings, a cache of 1,048,576
/// entries samples one key in 512, which costs too little to be measured. One of 131,072 samples one in 64,
/// which costs 9 % of the rate of hits on one thread, and 14 % on as many threads as there are cores. In a
/// cache of a few hundred entries, every lookup is played to every shadow. The benchmark `shadow_cost`
/// measures these costs.
///
/// A shadow takes 30 to 60 bytes for each of its entries, plus the memory of its policy.
///
/// # What it holds
/// A shadow holds entries that may be evicted. No shadow holds
/// [unevictable](crate::Cache::insert_unevictable) entries, and lookups that find them are hits for all
/// shadows. An entry that is removed from the cache, or expires there, leaves the shadows too. If the cache
/// has evicted it before, a larger shadow does not learn when it expires.
///
/// # Examples
/// ```
/// use larder::{Cache, Maintenance, Policy, ShadowConfig};
///
/// let cache: Cache<u32, ()> = Cache::builder()
///     .capacity(100)
///     .policy(Policy::lru())
///     .maintenance(Maintenance::Inline)
///     .shadow(ShadowConfig::new().policy(Policy::lru()).policy(Policy::default()))
///     .build()?;
/// // A loop over more than the cache holds, but not more than twice as much.
/// for key in (0..150).cycle().take(1500) {
///     if cache.get(&key).is_none() {
///         cache.insert(key, ());
///     }
/// }
/// let report = cache.shadow_report().expect("it has shadows");
/// assert_eq!(report.hit_ratio("lru", 1.0), Some(0.0));
/// assert_eq!(report.hit_ratio("lru", 2.0), Some(0.9));
/// let default = report.hit_ratio(Policy::default().name(), 1.0);
/// assert!(default > Some(0.3));
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until it is given to a builder"]
pub struct ShadowConfig {
    multiples: Vec<f64>,
    policies: Vec<Policy>,
    sample_entries: usize,
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self { multiples: MULTIPLES.to_vec(), policies: Vec::new(), sample_entries: SAMPLE_ENTRIES }
    }
}

impl ShadowConfig {
    /// Configures the cache's own policy at a half, one, two and four times its bounds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the factors by which the cache's bounds are multiplied, each finite and more than 0. Default:
    /// 0.5, 1, 2 and 4.
    pub fn multiples(mut self, multiples: impl IntoIterator<Item = f64>) -> Self {
        // One more than the limit is enough to be refused.
        self.multiples = multiples.into_iter().take(MAX_SHADOWS + 1).collect();
        self
    }

    /// Adds a policy. Default: the cache's own, if none is added.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policies.push(policy);
        self
    }

    /// Sets how many entries each shadow holds, approximately: at least 16. Default: 1024.
    ///
    /// Twice as many entries halve the variance of the hit ratio and double the cost.
    pub fn sample_entries(mut self, entries: usize) -> Self {
        self.sample_entries = entries;
        self
    }

    pub(super) fn caches(
        &self,
        own: &Policy,
        bounds: Bounds,
    ) -> Result<Vec<ShadowCache>, BuildError> {
        let own = [own.clone()];
        let policies = if self.policies.is_empty() { &own[..] } else { &self.policies };
        let shadows = self.multiples.len() * policies.len();
        if !(1..=MAX_SHADOWS).contains(&shadows) {
            return Err(BuildError::BadShadows { given: shadows, limit: MAX_SHADOWS });
        }
        if self.sample_entries < MIN_SAMPLE_ENTRIES {
            let (given, least) = (self.sample_entries, MIN_SAMPLE_ENTRIES);
            return Err(BuildError::FewSampleEntries { given, least });
        }
        let mut caches = Vec::with_capacity(shadows);
        for policy in policies {
            for &multiple in &self.multiples {
                if !(multiple.is_finite() && multiple > 0.0) {
                    return Err(BuildError::BadMultiple { given: multiple });
                }
                caches.push(ShadowCache::new(policy, multiple, bounds, self.sample_entries)?);
            }
        }
        Ok(caches)
    }
}
