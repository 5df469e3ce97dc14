//! `entry`: what the entries of a map do, each in one atomic step of the cache.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::compute::{Compute, Computed, Effect, cloned};
use super::load::LoadOptions;
use super::options::UpdateOptions;
use crate::RandomState;
use crate::reclaim;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// Looks `key` up, to do something that depends on whether it is there.
    ///
    /// In contrast to the entry of a map, this one holds nothing: other threads can change the key meanwhile.
    /// The two sides say what was there when `entry` looked, with a clone of the value. Every method that changes
    /// the cache does so in one atomic step on what is there *then*, and says so where that makes a difference;
    /// no update is lost, and other keys never wait.
    ///
    /// The call is a lookup like [`get`](Self::get): it counts as a use of the entry, and as a hit or a miss.
    ///
    /// # Complexity
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, CacheEntry};
    ///
    /// let words = Cache::new(100);
    /// for word in "a rose is a rose".split(' ') {
    ///     words.entry(word).and_modify(|count| count + 1).or_insert(1);
    /// }
    /// assert_eq!(words.get("rose"), Some(2));
    ///
    /// match words.entry("tulip") {
    ///     CacheEntry::Occupied(entry) => panic!("{} was there", entry.get()),
    ///     CacheEntry::Vacant(entry) => assert_eq!(entry.key(), &"tulip"),
    /// }
    /// ```
    #[doc(alias("entry_by_ref", "compute", "merge"))]
    pub fn entry(&self, key: K) -> CacheEntry<'_, K, V, S> {
        self.entry_with(key, UpdateOptions::new())
    }

    /// As [`entry`](Self::entry), with `options` for every value that is stored through the entry.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, UpdateOptions};
    ///
    /// let cache = Cache::new(100);
    /// let options = UpdateOptions::new().tags(&["customer:7"]);
    /// cache.entry_with("/orders/1", options).or_insert("one");
    /// assert!(cache.invalidate_tag("customer:7"));
    /// assert_eq!(cache.get("/orders/1"), None);
    /// ```
    pub fn entry_with<'c>(&'c self, key: K, options: UpdateOptions<'c>) -> CacheEntry<'c, K, V, S> {
        let hash = self.hash(&key);
        let found = {
            let guard = reclaim::pin();
            self.lookup(&key, hash, &guard).map(|(_, entry)| entry.value.clone())
        };
        let at = Selected { cache: self, key, options };
        match found {
            Some(value) => CacheEntry::Occupied(OccupiedEntry { at, value }),
            None => CacheEntry::Vacant(VacantEntry { at }),
        }
    }
}

/// A key of a cache, and what it had when [`Cache::entry`] looked.
///
/// # Examples
/// A shopping cart that is removed once it is empty:
/// ```
/// use larder::{Cache, Compute, Computed};
///
/// let carts: Cache<u32, Vec<&str>> = Cache::new(1_000);
/// let add = |customer, item| {
///     carts.entry(customer).and_upsert_with(|cart| {
///         let mut cart = cart.cloned().unwrap_or_default();
///         cart.push(item);
///         cart
///     })
/// };
/// let take_out = |customer, item| {
///     carts.entry(customer).and_compute_with(|cart| match cart {
///         None => Compute::Keep,
///         Some(cart) => {
///             let rest: Vec<_> = cart.iter().copied().filter(|other| *other != item).collect();
///             if rest.is_empty() { Compute::Remove } else { Compute::Put(rest) }
///         }
///     })
/// };
/// add(7, "tea");
/// assert_eq!(add(7, "milk"), ["tea", "milk"]);
/// assert_eq!(take_out(7, "tea"), Computed::Replaced(vec!["milk"]));
/// assert_eq!(take_out(7, "milk"), Computed::Removed(vec!["milk"]));
/// assert_eq!(take_out(7, "milk"), Computed::StillAbsent);
/// ```
#[must_use = "an entry does nothing by itself; `Cache::get` looks a key up"]
pub enum CacheEntry<'c, K, V, S = RandomState> {
    /// The key was there.
    Occupied(OccupiedEntry<'c, K, V, S>),
    /// The key was absent.
    Vacant(VacantEntry<'c, K, V, S>),
}

/// A key that was there, with its value at that time.
#[must_use = "an entry does nothing by itself; `Cache::get` looks a key up"]
pub struct OccupiedEntry<'c, K, V, S = RandomState> {
    at: Selected<'c, K, V, S>,
    value: V,
}

/// A key that was absent.
#[must_use = "an entry does nothing by itself; `Cache::get` looks a key up"]
pub struct VacantEntry<'c, K, V, S = RandomState> {
    at: Selected<'c, K, V, S>,
}

/// An entry with a change for the value that is there: see [`CacheEntry::and_modify`].
#[must_use = "nothing is modified until `or_insert` or another of its methods is called"]
pub struct ModifyEntry<'c, K, V, F, S = RandomState> {
    at: Selected<'c, K, V, S>,
    change: F,
}

/// What all kinds of entries have.
struct Selected<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    key: K,
    options: UpdateOptions<'c>,
}

impl<'c, K, V, S> CacheEntry<'c, K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// The key that was given to [`Cache::entry`].
    #[must_use]
    pub fn key(&self) -> &K {
        match self {
            Self::Occupied(entry) => entry.key(),
            Self::Vacant(entry) => entry.key(),
        }
    }

    /// The value that was found, if there was one.
    #[must_use]
    pub fn value(&self) -> Option<&V> {
        match self {
            Self::Occupied(entry) => Some(entry.get()),
            Self::Vacant(_) => None,
        }
    }

    /// The value that was found, or the one that the key has now, or `value`, which is then stored.
    ///
    /// An occupied entry returns the value that it was made with, without another lookup. A vacant one stores `value`
    /// if the key is still absent; of several threads that do so at once, one stores its value, and all return that. If
    /// `value` is rejected, it is returned and not stored.
    ///
    /// # Panics
    /// As [`Cache::insert`], and if a `Clone` does.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// assert_eq!(cache.entry("a").or_insert(1), 1);
    /// assert_eq!(cache.entry("a").or_insert(2), 1);
    /// ```
    pub fn or_insert(self, value: V) -> V {
        match self {
            Self::Occupied(entry) => entry.value,
            Self::Vacant(VacantEntry { at }) => at.insert_if_absent(value),
        }
    }

    /// As [`or_insert`](Self::or_insert), with the value that `make` returns, which is called only for a vacant entry.
    /// It runs under no lock and no pin.
    ///
    /// One of several threads that find the key absent at the same time calls its own, as in
    /// [`Cache::get_or_insert_with`], and the others wait for its value. If the key is inserted meanwhile by
    /// another method, that wins: these calls return what was inserted, or what was made, which is not stored.
    ///
    /// # Panics
    /// As `or_insert`, and if `make` does; nothing was stored in that case.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> V {
        match self {
            Self::Occupied(entry) => entry.value,
            Self::Vacant(VacantEntry { at }) => at.load(make),
        }
    }

    /// As [`or_insert_with`](Self::or_insert_with), and gives `make` the key.
    pub fn or_insert_with_key(self, make: impl FnOnce(&K) -> V) -> V {
        match self {
            Self::Occupied(entry) => entry.value,
            Self::Vacant(VacantEntry { at }) => {
                let key = at.key.clone();
                at.load(|| make(&key))
            }
        }
    }

    /// As [`or_insert`](Self::or_insert), with the default value.
    pub fn or_default(self) -> V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Prepares a change for the value that is there. What follows, [`ModifyEntry::or_insert`] or another
    /// method, does both in one atomic step: it replaces the value with what `change` returns for it, or stores another
    /// if the key is absent.
    ///
    /// `change` is given the value that the key has then, not the one that [`Cache::entry`] has found, and it is
    /// called again if the key changes meanwhile; see [`Cache::update`].
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// assert_eq!(cache.entry("hits").and_modify(|hits| hits + 1).or_insert(1), 1);
    /// assert_eq!(cache.entry("hits").and_modify(|hits| hits + 1).or_insert(1), 2);
    /// ```
    pub fn and_modify<F: FnMut(&V) -> V>(self, change: F) -> ModifyEntry<'c, K, V, F, S> {
        ModifyEntry { at: self.selected(), change }
    }

    /// Stores what `make` returns for the value that is there, or for `None`, and returns it.
    ///
    /// `make` is called again if the key changes meanwhile; see [`Cache::update`], which also says when it may be
    /// called and what the entry keeps. If the value is rejected, it is returned and not stored.
    pub fn and_upsert_with(self, make: impl FnMut(Option<&V>) -> V) -> V {
        self.selected().upsert(make)
    }

    /// Asks `compute` what to do with the value that is there, or with `None`, and does it: stores another value,
    /// leaves everything as it is, or removes the key. Returns what was done.
    ///
    /// The answer takes effect in one atomic step, and only on exactly what `compute` was asked about. If another
    /// thread changes the key meanwhile, or if the entry is evicted or expires, then `compute` is asked again. It
    /// is given the value that the key has at that time, not the one that [`Cache::entry`] has found.
    ///
    /// `compute` runs pinned; [`Cache::update`] says what that means, what happens if it changes the key itself,
    /// and what an entry keeps of the one that it replaces. A listener is notified as of a
    /// [replacement](Cache::replace) or a [removal](Cache::remove). A value that is too heavy removes the old one,
    /// as [`Rejection`](crate::Rejection) says.
    ///
    /// # Panics
    /// As [`Cache::update`].
    ///
    /// # Complexity
    /// As [`Cache::update`].
    pub fn and_compute_with(
        self,
        mut compute: impl FnMut(Option<&V>) -> Compute<V>,
    ) -> Computed<V> {
        let Ok(computed) = self.try_and_compute_with(|value| Ok::<_, Infallible>(compute(value)));
        computed
    }

    /// As [`and_compute_with`](Self::and_compute_with), with a closure that can fail.
    ///
    /// # Errors
    /// The error of `compute`. Nothing has changed in that case.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Compute, Computed};
    ///
    /// let stock = Cache::new(100);
    /// stock.insert("apples", 3_u32);
    /// let take = |number: u32| {
    ///     stock.entry("apples").try_and_compute_with(|apples| {
    ///         let rest = apples.and_then(|apples| apples.checked_sub(number));
    ///         rest.map(Compute::Put).ok_or("sold out")
    ///     })
    /// };
    /// assert_eq!(take(2), Ok(Computed::Replaced(1)));
    /// assert_eq!(take(2), Err("sold out"));
    /// ```
    #[doc(alias = "and_try_compute_with")]
    pub fn try_and_compute_with<E>(
        self,
        mut compute: impl FnMut(Option<&V>) -> Result<Compute<V>, E>,
    ) -> Result<Computed<V>, E> {
        let done = self.selected().compute(&mut compute, &mut cloned)?;
        Ok(done.unwrap_or_else(Computed::Rejected))
    }

    /// As [`and_compute_with`](Self::and_compute_with), with a closure that returns a future. It is given a clone
    /// of the value.
    ///
    /// No lock and no pin is held while the future is polled or waits, so it may take long, and other threads
    /// can change the key meanwhile. If one does, the answer is dropped and `compute` is called again with the
    /// value that is there then. A lookup sees only the values before and after.
    ///
    /// The future that this method returns can be dropped at any time: before its last poll has returned, nothing
    /// has changed. It works with any runtime, and it can be sent to another thread if the future of `compute`
    /// can. While it exists, each change of the cache takes a lock for a moment, as with a
    /// [fill](Cache::begin_fill).
    ///
    /// # Panics
    /// As [`Cache::update`].
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Compute, Computed};
    ///
    /// async fn fetch(version: u32) -> u32 {
    ///     version + 1
    /// }
    ///
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut future = std::pin::pin!(future);
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     loop {
    /// #         if let std::task::Poll::Ready(done) = future.as_mut().poll(&mut context) {
    /// #             return done;
    /// #         }
    /// #     }
    /// # }
    /// let cache = Cache::new(100);
    /// cache.insert("page", 1);
    /// let computed = block_on(cache.entry("page").and_compute_with_async(async |page| {
    ///     Compute::Put(fetch(page.unwrap_or(0)).await)
    /// }));
    /// assert_eq!(computed, Computed::Replaced(2));
    /// ```
    pub async fn and_compute_with_async<F>(
        self,
        mut compute: impl FnMut(Option<V>) -> F,
    ) -> Computed<V>
    where
        F: Future<Output = Compute<V>>,
    {
        let answer = |value| {
            let future = compute(value);
            async { Ok::<_, Infallible>(future.await) }
        };
        let Ok(computed) = self.selected().compute_async(answer).await;
        computed
    }

    /// As [`and_compute_with_async`](Self::and_compute_with_async), with a future that can fail.
    ///
    /// # Errors
    /// The error of the future. Nothing has changed in that case.
    pub async fn try_and_compute_with_async<E, F>(
        self,
        compute: impl FnMut(Option<V>) -> F,
    ) -> Result<Computed<V>, E>
    where
        F: Future<Output = Result<Compute<V>, E>>,
    {
        self.selected().compute_async(compute).await
    }

    fn selected(self) -> Selected<'c, K, V, S> {
        match self {
            Self::Occupied(OccupiedEntry { at, .. }) | Self::Vacant(VacantEntry { at }) => at,
        }
    }
}

impl<K, V, S> OccupiedEntry<'_, K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// The key that was given to [`Cache::entry`].
    #[must_use]
    pub fn key(&self) -> &K {
        &self.at.key
    }

    /// The value that was found.
    #[must_use]
    pub fn get(&self) -> &V {
        &self.value
    }

    /// The value that was found.
    #[must_use]
    pub fn into_value(self) -> V {
        self.value
    }

    /// Stores `value` in the place of what the key has now, whether that has changed or not, or has left.
    pub fn insert(self, value: V) -> Computed<V> {
        self.at.put(|_| Compute::Put(value.clone()))
    }

    /// Removes the key and returns the value that it has now; `None` if it has none any more.
    ///
    /// # Panics
    /// As [`Cache::remove`].
    pub fn remove(self) -> Option<V> {
        self.at.cache.remove(&self.at.key)
    }
}

impl<K, V, S> VacantEntry<'_, K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// The key that was given to [`Cache::entry`].
    #[must_use]
    pub fn key(&self) -> &K {
        &self.at.key
    }

    /// The key that was given to [`Cache::entry`].
    #[must_use]
    pub fn into_key(self) -> K {
        self.at.key
    }

    /// Stores `value` if the key is still absent. If it is there by now, it keeps its value, which is returned as
    /// [`Unchanged`](Computed::Unchanged).
    pub fn insert(self, value: V) -> Computed<V> {
        self.at.put(|present| match present {
            Some(_) => Compute::Keep,
            None => Compute::Put(value.clone()),
        })
    }
}

impl<K, V, F, S> ModifyEntry<'_, K, V, F, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    F: FnMut(&V) -> V,
    S: BuildHasher,
{
    /// Replaces the value that is there with what the change returns for it, or stores `value` if the key is absent, in
    /// one atomic step. Returns the value that was stored.
    ///
    /// If it was rejected, it is returned all the same.
    ///
    /// # Panics
    /// As [`Cache::update`].
    pub fn or_insert(self, value: V) -> V {
        let Self { at, mut change } = self;
        at.upsert(|present| present.map_or_else(|| value.clone(), &mut change))
    }

    /// As [`or_insert`](Self::or_insert), with the value that `make` returns, which is called only if the key is
    /// found absent. It runs under no lock and no pin.
    pub fn or_insert_with(mut self, make: impl FnOnce() -> V) -> V {
        let (change, mut made) = (&mut self.change, None);
        let computed = self.at.put(|present| {
            present.map_or(Compute::Keep, |present| {
                let value = change(present);
                made = Some(value.clone());
                Compute::Put(value)
            })
        });
        match (computed, made) {
            (Computed::Replaced(value) | Computed::Inserted(value), _) => value,
            (Computed::Rejected(_), Some(value)) => value,
            _ => self.or_insert(make()),
        }
    }

    /// As [`or_insert`](Self::or_insert), with the default value.
    pub fn or_default(self) -> V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// Replaces the value that is there with what the change returns for it, as [`Cache::update_with`] does.
    pub fn apply(self) -> Computed<V> {
        let Self { at, mut change } = self;
        at.put(|present| present.map_or(Compute::Keep, |value| Compute::Put(change(value))))
    }
}

impl<K, V, S> Selected<'_, K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// Makes the value of a key that was found absent, once for all threads that want it.
    fn load(self, make: impl FnOnce() -> V) -> V {
        let UpdateOptions { ttl, tags, is_unevictable, keeps_lifetime: _ } = self.options;
        let mut options = LoadOptions::new().tags(tags.unwrap_or_default());
        if let Some(ttl) = ttl {
            options = options.ttl(ttl);
        }
        if is_unevictable {
            options = options.unevictable();
        }
        let value = self.cache.load_with(&self.key, self.cache.hash(&self.key), options, make);
        // An insertion during the load has won.
        self.cache.peek(&self.key).unwrap_or(value)
    }

    /// Stores `value` if the key is still absent. Returns the value that the key has then, or the one that
    /// could not be stored.
    fn insert_if_absent(self, value: V) -> V {
        let computed = self.put(|present| match present {
            Some(_) => Compute::Keep,
            None => Compute::Put(value.clone()),
        });
        computed.into_value().unwrap_or(value)
    }

    /// Stores what `make` returns; returns the value that was made last.
    fn upsert(&self, mut make: impl FnMut(Option<&V>) -> V) -> V {
        let mut made = None;
        let computed = self.put(|present| {
            let value = make(present);
            made = Some(value.clone());
            Compute::Put(value)
        });
        match (computed.into_value(), made) {
            (Some(value), _) | (None, Some(value)) => value,
            // The call was refused before it asked.
            (None, None) => make(None),
        }
    }

    fn put(&self, mut answer: impl FnMut(Option<&V>) -> Compute<V>) -> Computed<V> {
        let mut answer = |value: Option<&V>| Ok::<_, Infallible>(answer(value));
        let Ok(done) = self.compute(&mut answer, &mut cloned);
        done.unwrap_or_else(Computed::Rejected)
    }

    fn compute<E, R>(
        &self,
        answer: &mut impl FnMut(Option<&V>) -> Result<Compute<V>, E>,
        see: &mut impl FnMut(Effect<'_, V>) -> R,
    ) -> Result<Result<R, crate::Rejection>, E> {
        match self.cache.computation(&self.key, || self.key.clone(), self.options) {
            Ok(wanted) => self.cache.compute(&wanted, answer, see),
            Err(rejection) => Ok(Err(rejection)),
        }
    }

    async fn compute_async<E, F>(self, answer: impl FnMut(Option<V>) -> F) -> Result<Computed<V>, E>
    where
        F: Future<Output = Result<Compute<V>, E>>,
    {
        match self.cache.computation(&self.key, || self.key.clone(), self.options) {
            Ok(wanted) => self.cache.compute_async(&wanted, answer).await,
            Err(rejection) => Ok(Computed::Rejected(rejection)),
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug, S> fmt::Debug for CacheEntry<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(entry) => entry.fmt(f),
            Self::Vacant(entry) => entry.fmt(f),
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug, S> fmt::Debug for OccupiedEntry<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entry = f.debug_struct("OccupiedEntry");
        entry.field("key", &self.at.key).field("value", &self.value).finish_non_exhaustive()
    }
}

impl<K: fmt::Debug, V, S> fmt::Debug for VacantEntry<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VacantEntry").field("key", &self.at.key).finish_non_exhaustive()
    }
}

impl<K: fmt::Debug, V, F, S> fmt::Debug for ModifyEntry<'_, K, V, F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModifyEntry").field("key", &self.at.key).finish_non_exhaustive()
    }
}
