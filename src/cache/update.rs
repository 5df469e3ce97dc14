//! Replacing the value of a key by one that is computed from it.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::compute::{Compute, Effect};
use super::options::UpdateOptions;
use crate::base::equivalent::Equivalent;
use crate::base::error::Rejection;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Replaces the value of `key` with what `change` returns for it. Returns the new value, cloned; `None` if the key
    /// is absent, or if the new value was rejected.
    ///
    /// No update is lost: the new value takes the place of exactly the value that `change` was given. If another
    /// thread changes the key meanwhile, or if the entry is evicted or expires, nothing is stored, and `change`
    /// is called again with the value that is there then; once there is none, the call returns `None`. Other
    /// keys never wait. As with [`replace`](Self::replace), a value that expires at the very moment of its
    /// replacement may still count as there.
    ///
    /// The entry keeps its stored key, its tags, and whether it is unevictable; [`UpdateOptions`] says what its
    /// lifetime is. The call is counted as a replacement, and neither as a hit nor as a use of the entry. A
    /// listener is notified that the old value was [replaced](crate::RemovalCause::Replaced). A new value that
    /// is too heavy, or that a cache of capacity 0 cannot store, removes the old one.
    ///
    /// `change` runs pinned, like the closure of [`read`](Self::read), and so do the weigher and the key's `Clone`:
    /// keep them short. A longer computation can be run without a pin by
    /// [`and_compute_with_async`](crate::CacheEntry::and_compute_with_async). It may use the cache. If it changes `key`
    /// itself, that change takes effect, and `change` is called again with the result; if it does so each time, the
    /// call gives up after some calls and counts a rejection.
    ///
    /// # Panics
    /// If `change`, the weigher, or the key's `Hash`, `Eq` or `Clone` panics; nothing has changed. If the new value's
    /// `Clone` panics; the value was stored.
    ///
    /// # Complexity
    /// As [`insert`](Self::insert), with a call of `change` for each change of the key by another thread.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert("visits", 1);
    /// std::thread::scope(|scope| {
    ///     for _ in 0..8 {
    ///         scope.spawn(|| cache.update("visits", |visits| visits + 1));
    ///     }
    /// });
    /// assert_eq!(cache.get("visits"), Some(9));
    /// assert_eq!(cache.update("visitors", |visitors| visitors + 1), None);
    /// ```
    #[doc(alias("computeIfPresent", "compute_if_present"))]
    pub fn update<Q>(&self, key: &Q, change: impl FnMut(&V) -> V) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Clone,
        V: Clone,
    {
        self.update_with(key, UpdateOptions::new(), change).unwrap_or_default()
    }

    /// As [`update`](Self::update), with `options`.
    ///
    /// # Errors
    /// The [`Rejection`] says why the new value was not stored, and what has become of the old one:
    /// [`TooHeavy`](Rejection::TooHeavy), [`StoresNothing`](Rejection::StoresNothing),
    /// [`TooManyTags`](Rejection::TooManyTags), [`WithinListener`](Rejection::WithinListener), or
    /// [`Stale`](Rejection::Stale) if `change` has itself changed the key each time.
    ///
    /// # Panics
    /// As `update`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::{Cache, UpdateOptions};
    ///
    /// let cache = Cache::new(100);
    /// cache.insert("session", 1);
    /// let hour = UpdateOptions::new().ttl(Duration::from_secs(3600));
    /// assert_eq!(cache.update_with("session", hour, |requests| requests + 1), Ok(Some(2)));
    /// assert!(cache.inspect("session").unwrap().expires_in.is_some());
    /// ```
    pub fn update_with<Q>(
        &self,
        key: &Q,
        options: UpdateOptions<'_>,
        change: impl FnMut(&V) -> V,
    ) -> Result<Option<V>, Rejection>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Clone,
        V: Clone,
    {
        self.update_and_read(key, options, change, |_, new| new.clone())
    }

    /// As [`update_with`](Self::update_with), and returns what `reader` returns for the old and the new value, which
    /// are not cloned; `None` if the key is absent.
    ///
    /// `reader` is called once, pinned, after the new value has taken effect.
    ///
    /// # Errors
    /// As `update_with`; `reader` was not called.
    ///
    /// # Panics
    /// As `update`. If `reader` panics, the new value was stored.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, UpdateOptions};
    ///
    /// struct Page { text: String, version: u32 }
    ///
    /// let cache = Cache::new(100);
    /// cache.insert("page", Page { text: "a".to_owned(), version: 1 });
    /// let append = |page: &Page| Page { text: format!("{}b", page.text), version: page.version + 1 };
    /// let versions = |old: &Page, new: &Page| (old.version, new.version);
    /// let read = cache.update_and_read("page", UpdateOptions::new(), append, versions);
    /// assert_eq!(read, Ok(Some((1, 2))));
    /// ```
    pub fn update_and_read<Q, R>(
        &self,
        key: &Q,
        options: UpdateOptions<'_>,
        mut change: impl FnMut(&V) -> V,
        reader: impl FnOnce(&V, &V) -> R,
    ) -> Result<Option<R>, Rejection>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Clone,
    {
        let no_key = || -> K { unreachable!("an update of an absent key stores nothing") };
        let wanted = self.computation(key, no_key, options)?;
        let mut decide = |value: Option<&V>| {
            Ok(value.map_or(Compute::Keep, |value| Compute::Put(change(value))))
        };
        let mut reader = Some(reader);
        let mut see = |effect: Effect<'_, V>| match effect {
            Effect::Replaced { old, new } => reader.take().map(|reader| reader(old, new)),
            _ => None,
        };
        let Ok(done) = self.compute::<_, _, Infallible, _>(&wanted, &mut decide, &mut see);
        done
    }
}
