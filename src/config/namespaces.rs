//! The namespaces of a cache, as they are configured.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::Builder;
use crate::base::error::BuildError;
use crate::cache::ChooseNamespace;
use crate::namespaces::Quotas;
use crate::policy::bounds::Bounds;
use crate::tags::{QuotaUnit, Share};

/// The most namespaces: a cache needs about 300 bytes for each, whether it has entries or not.
const MAX_NAMESPACES: u64 = 1 << 20;

/// The namespaces of a cache, such as its tenants, and what each is guaranteed; for
/// [`Builder::namespaces`].
///
/// Every entry belongs to one namespace. It follows from the key ([`by_name`](Self::by_name),
/// [`by_number`](Self::by_number)), or each insertion names it ([`at_insertion`](Self::at_insertion)). Entries with a
/// name that was not [given](Self::guarantee) share the namespace with the empty name.
///
/// # Examples
/// ```
/// use larder::{Cache, Maintenance, Namespaces};
///
/// // Keys are such as "acme:orders/7".
/// let tenants = Namespaces::by_name(|key: &String| key.split(':').next().unwrap_or(""))
///     .guarantee("acme", 20)
///     .guarantee("umbra", 30);
/// let cache = Cache::builder()
///     .capacity(100)
///     .maintenance(Maintenance::Inline)
///     .namespaces(tenants)
///     .build()?;
/// for order in 0..20 {
///     cache.insert(format!("acme:orders/{order}"), order);
/// }
/// // However much others insert, `acme` keeps its twenty.
/// for order in 0..10_000 {
///     cache.insert(format!("umbra:orders/{order}"), order);
/// }
/// assert_eq!(cache.namespace_stats("acme").map(|stats| stats.entries), Some(20));
/// assert_eq!(cache.namespace_stats("umbra").map(|stats| stats.entries), Some(80));
/// cache.invalidate_namespace("umbra");
/// assert_eq!(cache.get("umbra:orders/9999"), None);
/// # Ok::<(), larder::BuildError>(())
/// ```
#[must_use = "namespaces do nothing until a builder is given them"]
pub struct Namespaces<K> {
    choose: Option<ChooseNamespace<K>>,
    given: Vec<(Arc<str>, Share)>,
}

/// What a cache is built with if it has namespaces.
type Settled<K> = (Option<Arc<Quotas>>, Option<ChooseNamespace<K>>);

impl<K> Namespaces<K> {
    /// Namespaces by a function of the key, which returns their names: a part of the key, for instance.
    ///
    /// The inserting thread calls it once for each new entry, under no lock; it may be pinned. If the function
    /// panics, so does the insertion, and nothing has changed.
    pub fn by_name(name_of: impl Fn(&K) -> &str + Send + Sync + 'static) -> Self {
        Self::new(Some(ChooseNamespace::Name(Arc::new(name_of))))
    }

    /// Namespaces by a function of the key, which returns their numbers: 0 for the first that
    /// [`guarantee`](Self::guarantee) names, 1 for the next. It is called as by [`by_name`](Self::by_name).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Namespaces};
    ///
    /// // The tenant is in the high bits of the key.
    /// let mut tenants = Namespaces::by_number(|key: &u64| (key >> 32) as usize);
    /// for tenant in 0..1_000 {
    ///     tenants = tenants.guarantee(&format!("tenant-{tenant}"), 10);
    /// }
    /// let cache = Cache::builder().capacity(50_000).namespaces(tenants).build()?;
    /// cache.insert(7 << 32 | 1, "one");
    /// assert_eq!(cache.namespace_of(&(7 << 32 | 1)).as_deref(), Some("tenant-7"));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn by_number(number_of: impl Fn(&K) -> usize + Send + Sync + 'static) -> Self {
        Self::new(Some(ChooseNamespace::Number(Arc::new(number_of))))
    }

    /// Namespaces that each insertion names by [`InsertOptions::namespace`](crate::InsertOptions::namespace).
    ///
    /// An insertion or a load that names none puts the entry into the namespace with the empty name; so does
    /// each other method that stores a value under an absent key. An update keeps the namespace of the entry.
    pub fn at_insertion() -> Self {
        Self::new(None)
    }

    fn new(choose: Option<ChooseNamespace<K>>) -> Self {
        Self { choose, given: Vec::new() }
    }

    /// Adds the namespace `name`, and guarantees it a `minimum` of the cache's bound: entries if the cache has a
    /// [capacity](Builder::capacity), or weight if it has a [maximal weight](Builder::max_weight).
    ///
    /// While the namespace holds no more than that, none of its entries is evicted for an entry of another
    /// namespace. What it holds above that competes with all other entries, as the policy decides. A minimum of 0
    /// guarantees nothing; such a namespace has statistics of its own and can be invalidated. The empty name
    /// is that of all entries that are in no other namespace.
    pub fn guarantee(mut self, name: &str, minimum: u64) -> Self {
        self.given.push((name.into(), Share::at_least(minimum)));
        self
    }

    /// Adds the namespace `name` as [`guarantee`](Self::guarantee) does, and limits it to `maximum`, in the same
    /// unit: at least 1, and at least `minimum`.
    ///
    /// A namespace that holds more loses entries of its own until it does not, even if the cache has room. They leave
    /// by second chance (CLOCK), not by the policy: the oldest one in the partition of the new entry that was not used
    /// since it was last examined. If that partition has no other entry of the namespace, it leaves another partition.
    /// An entry that is heavier than the maximum is evicted as soon as it is stored, and no other entry is.
    ///
    /// What counts is what maintenance has seen, as with the bound of the cache, and what is valid: entries that were
    /// [invalidated](crate::Cache::invalidate_namespace) take room until they leave, beyond the maximum. A maximum is
    /// a bound against noisy neighbours: give each tenant the most that it may take of the others' room.
    /// [`NamespaceStats::maximum`] shows it.
    ///
    /// [`NamespaceStats::maximum`]: crate::NamespaceStats::maximum
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Maintenance, Namespaces};
    ///
    /// let tenants = Namespaces::by_name(|key: &String| key.split(':').next().unwrap_or(""))
    ///     .guarantee("acme", 20)
    ///     .guarantee_up_to("trial", 5, 10);
    /// let cache = Cache::builder()
    ///     .capacity(100)
    ///     .maintenance(Maintenance::Inline)
    ///     .namespaces(tenants)
    ///     .build()?;
    /// for page in 0..1_000 {
    ///     cache.insert(format!("trial:{page}"), page);
    /// }
    /// // The cache has room, but not for `trial`.
    /// assert_eq!(cache.len(), 10);
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn guarantee_up_to(mut self, name: &str, minimum: u64, maximum: u64) -> Self {
        self.given.push((name.into(), Share { minimum, maximum }));
        self
    }
}

impl<K> Clone for Namespaces<K> {
    fn clone(&self) -> Self {
        Self { choose: self.choose.clone(), given: self.given.clone() }
    }
}

impl<K> fmt::Debug for Namespaces<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.choose {
            Some(ChooseNamespace::Name(_)) => "name",
            Some(ChooseNamespace::Number(_)) => "number",
            None => "insertion",
        };
        f.debug_struct("Namespaces").field("by", &by).field("given", &self.given).finish()
    }
}

impl<K, V, S> Builder<K, V, S> {
    /// Divides the entries into namespaces, such as tenants, each with a guaranteed part of the cache's one
    /// bound. Default: there are none. [`Namespaces`] says how an entry gets its namespace.
    ///
    /// - A namespace at or below its minimum loses no entry to another one. It may lose one to itself: its new
    ///   entry may come above the minimum, and then the policy chooses among all.
    /// - What no minimum protects is shared by all, as the policy decides. A namespace may have a
    ///   [maximum](Namespaces::guarantee_up_to) too.
    /// - By weight, an entry that lies across the minimum is evicted if nothing else can be. So a namespace
    ///   is sure of its minimum less the weight of one entry.
    /// - What counts is what maintenance has seen: an entry that another thread has just removed counts until that
    ///   is applied.
    /// - Removal, expiry and invalidation take entries out whatever the minimum is.
    ///   [Unevictable](crate::Cache::insert_unevictable) entries count in no namespace's part.
    ///
    /// [`Cache::namespace_stats`] shows what a namespace holds, and [`Cache::invalidate_namespace`] invalidates
    /// all of its entries at once. Snapshots restore the entries' namespaces.
    ///
    /// The bound then holds for all [partitions](Self::partitions) together: one may hold more than its part, and
    /// borrows nothing for heavy entries. There must be just one bound: a capacity or a maximal weight. The minimums
    /// must not add up to more, and the bound cannot be lowered below them.
    ///
    /// # Cost
    /// Each entry takes 48 bytes more than a plain one, because its namespace takes the place of one of its four tags;
    /// it may have three. An insertion takes a lock of its namespace for a moment and writes counts that all writers
    /// share. A lookup reads a word more. Caches without namespaces pay nothing.
    ///
    /// What is protected is evicted by second chance (CLOCK), not by the policy: the policy has given such entries up,
    /// and the oldest that was not used since leaves when its namespace has a newer entry. [`Cache::coldest`] and
    /// [`Cache::hottest`] leave those entries out, and [`Cache::demote`] refuses them. [Shadow caches](Self::shadow)
    /// simulate caches without namespaces; [`Cache::shadow_namespace`] runs some for one namespace.
    ///
    /// # Examples
    /// [`Namespaces`] has one.
    ///
    /// [`Cache::insert_unevictable`]: crate::Cache::insert_unevictable
    /// [`Cache::namespace_stats`]: crate::Cache::namespace_stats
    /// [`Cache::shadow_namespace`]: crate::Cache::shadow_namespace
    /// [`Cache::invalidate_namespace`]: crate::Cache::invalidate_namespace
    /// [`Cache::coldest`]: crate::Cache::coldest
    /// [`Cache::hottest`]: crate::Cache::hottest
    /// [`Cache::demote`]: crate::Cache::demote
    pub fn namespaces(mut self, namespaces: Namespaces<K>) -> Self {
        self.namespaces = Some(namespaces);
        self
    }

    /// The quotas of the namespaces, if there are any, and how an entry gets its namespace, if that follows
    /// from its key.
    pub(super) fn quotas(&self, bounds: Bounds, cores: usize) -> Result<Settled<K>, BuildError> {
        let Some(Namespaces { given, choose }) = &self.namespaces else { return Ok((None, None)) };
        let (unit, bound) = match (bounds.capacity, bounds.max_weight) {
            (Some(entries), None) => (QuotaUnit::Entries, entries as u64),
            (None, Some(weight)) => (QuotaUnit::Weight, weight),
            _ => return Err(BuildError::NamespacesNeedOneBound),
        };
        let number = given.len() as u64;
        if number > MAX_NAMESPACES {
            let setting = "namespaces";
            return Err(BuildError::TooLarge { setting, given: number, limit: MAX_NAMESPACES });
        }
        let mut names = HashSet::with_capacity(given.len());
        if let Some((name, _)) = given.iter().find(|(name, _)| !names.insert(&**name)) {
            return Err(BuildError::DuplicateNamespace { given: name.to_string() });
        }
        let is_too_low = |share: Share| share.maximum < share.minimum.max(1);
        if let Some((name, Share { minimum, maximum })) =
            given.iter().find(|(_, share)| is_too_low(*share))
        {
            let (namespace, given, least) = (name.to_string(), *maximum, (*minimum).max(1));
            return Err(BuildError::MaximumTooLow { namespace, given, least });
        }
        let minimums = given.iter().map(|(_, share)| share.minimum);
        let minimums = minimums.fold(0_u64, u64::saturating_add);
        if minimums > bound {
            return Err(BuildError::MinimumsTooLarge { given: minimums, bound });
        }
        let mut all = given.clone();
        if !names.contains("") {
            // The last, so that the numbers of the others are those of the user.
            all.push(("".into(), Share::at_least(0)));
        }
        let counted_by = if self.is_counting_lookups { cores } else { 0 };
        Ok((Some(Arc::new(Quotas::new(unit, bound, all, counted_by))), choose.clone()))
    }
}
