//! Namespaces: which one an entry belongs to, what it holds, and invalidating all of its entries.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::Cache;
use crate::base::equivalent::Equivalent;
use crate::base::error::Rejection;
use crate::engine::Engine;
use crate::namespaces::{NamespaceStats, Quotas};
use crate::reclaim;
use crate::tags::TagSet;

/// The name of the namespace of entries that are in no other.
const OTHERS: &str = "";

/// With this, a snapshot begins the name of a namespace that was given at insertion, which it keeps as the
/// first tag of a record. No tag of a user begins so.
#[cfg(feature = "snapshot")]
const SAVED: &str = "\0namespace=";
#[cfg(feature = "snapshot")]
const _: () = assert!(SAVED.as_bytes()[0] == crate::tags::RESERVED as u8);

/// Returns the namespace of a key.
pub(crate) enum ChooseNamespace<K> {
    Name(Arc<dyn Fn(&K) -> &str + Send + Sync>),
    /// The number in the order in which the namespaces were given.
    Number(Arc<dyn Fn(&K) -> usize + Send + Sync>),
}

impl<K> Clone for ChooseNamespace<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Name(name_of) => Self::Name(Arc::clone(name_of)),
            Self::Number(number_of) => Self::Number(Arc::clone(number_of)),
        }
    }
}

impl<K> ChooseNamespace<K> {
    /// The number of the namespace of `key`; `None` if there is none of that name or number.
    fn choose(&self, key: &K, quotas: &Quotas) -> Option<u32> {
        match self {
            Self::Name(name_of) => quotas.number_of(name_of(key)),
            Self::Number(number_of) => {
                u32::try_from(number_of(key)).ok().filter(|at| (*at as usize) < quotas.len())
            }
        }
    }
}

fn quotas<K, V>(engine: &Engine<K, V>) -> Option<&Quotas> {
    engine.quotas.as_deref()
}

/// The number of the namespace of all entries that are in no other.
fn others(quotas: &Quotas) -> u32 {
    quotas.number_of(OTHERS).expect("the builder has added it")
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The name of the namespace to which the entry of `key` belongs; empty if it is in none that was
    /// [given](crate::Namespaces::guarantee). `None` if the key is absent, or the cache has no
    /// [namespaces](crate::Builder::namespaces). The call does not count as a use, like
    /// [`peek`](Self::peek).
    #[must_use]
    pub fn namespace_of<Q>(&self, key: &Q) -> Option<Arc<str>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let quotas = quotas(&self.shared.engine)?;
        let hash = self.hash(key);
        let guard = reclaim::pin();
        let (pointer, _) = self.find(key, hash, &guard)?;
        let account = pointer.tags().and_then(TagSet::account)?;
        Some(Arc::clone(quotas.name(account.namespace)))
    }

    /// As [`get`](Self::get); a miss is counted in [`NamespaceStats::misses`] of `namespace`, if the cache
    /// [counts lookups](crate::Builder::count_lookups) and has that namespace. The key need not belong to it.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, InsertOptions, Namespaces};
    ///
    /// let cache = Cache::builder()
    ///     .capacity(100)
    ///     .count_lookups()
    ///     .namespaces(Namespaces::at_insertion().guarantee("acme", 10))
    ///     .build()?;
    /// cache.insert_with("a", 1, InsertOptions::new().namespace("acme"));
    /// assert_eq!((cache.get_in("acme", "a"), cache.get_in("acme", "b")), (Some(1), None));
    /// let acme = cache.namespace_stats("acme").unwrap();
    /// assert_eq!((acme.hits, acme.misses), (Some(1), Some(1)));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn get_in<Q>(&self, namespace: &str, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        let found = self.get(key);
        if found.is_none()
            && let Some(quotas) = quotas(&self.shared.engine)
            && let Some(number) = quotas.number_of(namespace)
        {
            quotas.count_lookup(number, false, reclaim::pin().thread());
        }
        found
    }

    /// The number of the namespace of that name, where insertions name it.
    #[cold]
    pub(super) fn namespace_at_insertion(&self, name: &str) -> Result<u32, Rejection> {
        let number = quotas(&self.shared.engine).and_then(|quotas| quotas.number_of(name));
        let is_given = self.shared.settings.choose_namespace.is_none();
        number.filter(|_| is_given).ok_or(Rejection::NoSuchNamespace)
    }

    /// The tags of a new entry of `key`, with its namespace, if the cache has namespaces: the one that `tags` have
    /// already, because the entry replaces another; else the `given` one, which the insertion names; else the one that
    /// follows from the key.
    #[inline]
    pub(super) fn with_namespace(
        &self,
        tags: Option<TagSet>,
        given: Option<u32>,
        key: &K,
    ) -> Option<TagSet> {
        match quotas(&self.shared.engine) {
            None => tags,
            Some(quotas) => Some(self.within_namespace(quotas, tags, given, key)),
        }
    }

    #[inline(never)]
    fn within_namespace(
        &self,
        quotas: &Quotas,
        tags: Option<TagSet>,
        given: Option<u32>,
        key: &K,
    ) -> TagSet {
        match tags {
            Some(tags) if tags.namespace().is_some() => tags,
            tags => {
                let choose = self.shared.settings.choose_namespace.as_ref();
                let number = given.or_else(|| choose?.choose(key, quotas));
                let number = number.unwrap_or_else(|| others(quotas));
                TagSet::in_namespace(tags, quotas.current(number))
            }
        }
    }

    /// Splits what a snapshot has as the tags of an entry into the number of the namespace that its insertion named,
    /// and the tags.
    #[cfg(feature = "snapshot")]
    pub(super) fn split_saved_tags<'t>(
        &self,
        tags: impl IntoIterator<Item = &'t str>,
    ) -> (Option<u32>, Vec<&'t str>) {
        let mut tags: Vec<&str> = tags.into_iter().collect();
        let Some(name) = tags.first().and_then(|first| first.strip_prefix(SAVED)) else {
            return (None, tags);
        };
        tags.remove(0);
        let is_given = self.shared.settings.choose_namespace.is_none();
        let number = quotas(&self.shared.engine).and_then(|quotas| quotas.number_of(name));
        (number.filter(|_| is_given), tags)
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// What a snapshot saves of the namespace of an entry with these tags, as one more tag. `None` if it
    /// follows from the key, or is the one without a name.
    #[cfg(feature = "snapshot")]
    pub(super) fn saved_namespace(&self, tags: Option<&TagSet>) -> Option<String> {
        if self.shared.settings.choose_namespace.is_some() {
            return None;
        }
        let quotas = quotas(&self.shared.engine)?;
        let name = quotas.name(tags.and_then(TagSet::account)?.namespace);
        (**name != *OTHERS).then(|| format!("{SAVED}{name}"))
    }

    /// Invalidates every entry of `namespace`. False if the cache has no such namespace.
    ///
    /// The call takes effect before it returns; from then on no call of any thread ever returns such an entry.
    /// An entry that is inserted afterwards is valid. As after [`invalidate_tag`](Self::invalidate_tag), the
    /// entries leave the cache later, and listeners are notified with the cause
    /// [`Invalidated`](crate::RemovalCause::Invalidated) when they do. Until then they take room, but no
    /// minimum protects them.
    ///
    /// # Complexity
    /// O(1), however many entries the namespace has.
    pub fn invalidate_namespace(&self, namespace: &str) -> bool {
        let Some(quotas) = quotas(&self.shared.engine) else { return false };
        let Some(number) = quotas.number_of(namespace) else { return false };
        self.shared.engine.mark_all_changed();
        quotas.invalidate(number);
        if let Some(shadows) = &self.shared.engine.namespace_shadows {
            shadows.clear(number);
        }
        true
    }

    /// What a namespace holds and has done; `None` if the cache has no such namespace. The empty name is that of
    /// all entries that are in no other.
    ///
    /// # Complexity
    /// O(1).
    #[must_use]
    pub fn namespace_stats(&self, namespace: &str) -> Option<NamespaceStats> {
        let quotas = quotas(&self.shared.engine)?;
        Some(quotas.stats(quotas.number_of(namespace)?))
    }

    /// What each namespace holds and has done, in the order in which they were
    /// [given](crate::Namespaces::guarantee); the one without a name is the last, unless it was given too. Empty if the
    /// cache has no namespaces.
    ///
    /// # Complexity
    /// O(namespaces).
    #[must_use]
    pub fn all_namespace_stats(&self) -> Vec<NamespaceStats> {
        let Some(quotas) = quotas(&self.shared.engine) else { return Vec::new() };
        let numbers = 0..u32::try_from(quotas.len()).unwrap_or(u32::MAX);
        numbers.map(|number| quotas.stats(number)).collect()
    }
}
