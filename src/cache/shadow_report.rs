//! The reports of the shadow caches, and shadows of single namespaces.
#![forbid(unsafe_code)]

use super::Cache;
use crate::base::error::NamespaceShadowError;
use crate::policy::bounds::Bounds;
use crate::shadow::{NamespaceShadows, ShadowConfig, ShadowReport};

impl<K, V, S> Cache<K, V, S> {
    /// Estimates of the hit ratio at other capacities and with other policies; `None` unless the cache was
    /// built with [`Builder::shadow`](crate::Builder::shadow).
    ///
    /// The report covers all calls that have returned before. The call waits for a thread that is playing
    /// records to the shadow caches, and plays the records that are left.
    ///
    /// # Complexity
    /// O(records that wait): at most 1024 for each of up to 16 stripes.
    #[must_use]
    pub fn shadow_report(&self) -> Option<ShadowReport> {
        self.shared.engine.shadow.as_ref().map(|shadow| shadow.report())
    }

    /// Resets the counts of the shadow caches, those of [namespaces](Self::shadow_namespace) too, so that later
    /// reports cover only what happens from now on. The shadow caches keep their entries. Does nothing in a cache
    /// without them.
    pub fn reset_shadow_counts(&self) {
        if let Some(shadow) = &self.shared.engine.shadow {
            shadow.reset_counts();
        }
        if let Some(shadows) = &self.shared.engine.namespace_shadows {
            shadows.reset_counts();
        }
    }

    /// Runs shadow caches for one namespace from now on: they show which hit ratio it would have in a cache of its
    /// own at multiples of `bound`.
    ///
    /// `bound` is in entries, or in weight if that is what the [namespaces](crate::Builder::namespaces) of the cache
    /// share. Give the namespace's minimum, or what it [holds](Self::namespace_stats), to learn what half or twice
    /// as much would bring; `config` has the multiples. If the namespace has shadows already, the new ones take
    /// their place. Any thread may call this at any time. Up to 64 namespaces can have shadows at a time; the others,
    /// however many, cost nothing.
    ///
    /// # What is simulated
    /// The requests of this namespace alone. A lookup that finds nothing does not know to which namespace its key
    /// would belong, so an access is a lookup that finds an entry of the namespace, or an insertion of an absent
    /// key into it, which counts as the miss. That suits caches that store what they could not find. Lookups after
    /// which nothing is stored are not seen, and values that are stored without a lookup look like misses.
    ///
    /// The policy is that of the cache unless `config` names others. A namespace of the cache itself does somewhat
    /// worse at its minimum than a cache of its own: what its minimum protects is evicted by second chance (CLOCK). So
    /// the gain from a higher minimum is at most what the curve shows.
    ///
    /// The shadows begin with what the namespace holds now. A larger one takes a while to fill: call
    /// [`reset_shadow_counts`](Self::reset_shadow_counts) then, which resets the counts of all shadow caches.
    /// [Invalidation](Self::invalidate_namespace) of the
    /// namespace empties them. Otherwise they are as [`ShadowConfig`] describes, also in their accuracy: each
    /// follows a sample of the keys, or all of them if it holds few enough.
    ///
    /// # Cost
    /// Every lookup that finds an entry of any namespace reads a word more from the first call on, and one of this
    /// namespace is counted. Lookups of sampled keys leave records, which maintenance plays. The shadows of a
    /// namespace take about as many bytes as [`ShadowReport::bytes`] says, and the memory of their policies; what
    /// all share takes 8 bytes for each namespace, and 8 KiB for each core, up to eight.
    ///
    /// # Errors
    /// [`NamespaceShadowError`] if the cache has no such namespace, `bound` is 0, 64 other namespaces have
    /// shadows, or `config` is wrong. Nothing has changed in that case.
    ///
    /// # Complexity
    /// O(entries of the cache), once: hits on those that are in the sample are reported from now on.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Maintenance, Namespaces, Policy, ShadowConfig};
    ///
    /// // The tenant is in the high bits of the key.
    /// let tenants = Namespaces::by_number(|key: &u64| (key >> 32) as usize)
    ///     .guarantee("acme", 100)
    ///     .guarantee("umbra", 100);
    /// let cache = Cache::builder()
    ///     .capacity(200)
    ///     .policy(Policy::lru())
    ///     .maintenance(Maintenance::Inline)
    ///     .namespaces(tenants)
    ///     .build()?;
    /// let minimum = cache.namespace_stats("acme").expect("it was given").minimum;
    /// cache.shadow_namespace("acme", minimum, ShadowConfig::new())?;
    /// // `acme` loops over 150 keys, `umbra` over 10,000.
    /// for round in 0..15_000 {
    ///     for key in [round % 150, 1 << 32 | round % 10_000] {
    ///         if cache.get(&key).is_none() {
    ///             cache.insert(key, ());
    ///         }
    ///     }
    /// }
    /// let report = cache.namespace_shadow_report("acme").expect("it has shadows");
    /// assert_eq!(report.lookups, 15_000);
    /// assert_eq!(report.hit_ratio("lru", 1.0), Some(0.0));
    /// assert_eq!(report.hit_ratio("lru", 2.0), Some(0.99), "all but the first round");
    /// assert!(cache.end_namespace_shadow("acme"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "miss ratio curve")]
    pub fn shadow_namespace(
        &self,
        namespace: &str,
        bound: u64,
        config: ShadowConfig,
    ) -> Result<(), NamespaceShadowError> {
        let engine = &self.shared.engine;
        let number = engine.quotas.as_ref().and_then(|quotas| quotas.number_of(namespace));
        let (Some(quotas), Some(shadows), Some(number)) =
            (&engine.quotas, &engine.namespace_shadows, number)
        else {
            return Err(NamespaceShadowError::NoSuchNamespace { given: namespace.to_owned() });
        };
        if bound == 0 {
            return Err(NamespaceShadowError::ZeroBound);
        }
        let bounds = match quotas.max_weight() {
            Some(_) => Bounds { capacity: None, max_weight: Some(bound) },
            None => {
                let entries = usize::try_from(bound).unwrap_or(usize::MAX);
                Bounds { capacity: Some(entries), max_weight: None }
            }
        };
        shadows.follow(number, bounds, &config)?;
        engine.sample_namespace(shadows, number);
        Ok(())
    }

    /// What the shadow caches of a namespace estimate: its hit ratio if it had a cache of its own at multiples of
    /// the bound that [`shadow_namespace`](Self::shadow_namespace) was given; `None` if it has no shadows, or the
    /// cache has no such namespace.
    ///
    /// [`ShadowReport::lookups`] counts the accesses of the namespace. Until the first one, hit ratios are `None`.
    /// The report covers all lookups that have returned before, and all changes that maintenance has applied. The
    /// call waits for a thread that is playing records to shadow caches of namespaces, and plays those that are
    /// left.
    ///
    /// # Complexity
    /// O(records that wait): at most 1024 for each of up to 8 stripes, of all namespaces with shadows.
    #[must_use]
    pub fn namespace_shadow_report(&self, namespace: &str) -> Option<ShadowReport> {
        let (shadows, number) = self.shadows_of(namespace)?;
        shadows.report(number)
    }

    /// Ends the shadow caches of a namespace and frees their memory. False if it has none.
    pub fn end_namespace_shadow(&self, namespace: &str) -> bool {
        self.shadows_of(namespace).is_some_and(|(shadows, number)| shadows.end(number))
    }

    fn shadows_of(&self, namespace: &str) -> Option<(&NamespaceShadows, u32)> {
        let engine = &self.shared.engine;
        let number = engine.quotas.as_ref()?.number_of(namespace)?;
        Some((engine.namespace_shadows.as_deref()?, number))
    }
}
