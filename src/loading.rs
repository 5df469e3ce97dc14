//! Caches with a loader of their own, which their lookups call.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::Arc;

use crate::RandomState;
use crate::base::equivalent::ToKey;
use crate::base::error::BuildError;
use crate::base::load_error::LoadError;
use crate::cache::{AsyncLoader, BlockingLoader, Cache, Load, Loaded, Loader};
use crate::config::Builder;

/// A cache whose lookups load what is missing, by a loader that was bound to it when it was built
/// ([`Builder::build_with_loader`]).
///
/// [`get`](Self::get) loads, each key by one call at a time, as
/// [`Cache::get_or_load`] does. It renews values and uses stale ones as the
/// [builder](Builder::refresh_after_write) says, and runs these loads in the
/// [background](Builder::load_executor), so that a lookup of a value that the cache still has never waits.
/// All other methods are those of the [`Cache`], to which this dereferences. They load and renew nothing: neither
/// [`peek`](Cache::peek), [`read`](Cache::read) and [`contains_key`](Cache::contains_key), nor
/// [`insert`](Cache::insert). `get` and [`get_many`](Self::get_many) hide those of `Cache`; for a lookup that counts
/// as a use and loads nothing, call `cache.cache().get(&key)`.
///
/// A loader may use its own cache. It should reach it through a `Weak` of an `Arc` around a handle: a handle in the
/// loader would keep the cache, and with it the loader, alive for ever.
///
/// A handle, like `Cache`: its clones are the same cache, with the same loader. The loads that are under way when
/// the last handle is dropped go on, and their values are dropped.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::{Cache, LoadError, Loaded};
///
/// let pages = Cache::builder()
///     .capacity(1_000)
///     .time_to_live(Duration::from_secs(60))
///     .stale_if_error(Duration::from_secs(600))
///     .build_with_loader(|name: &String, load| match name.as_str() {
///         "/index" => {
///             load.set_tags(&["pages"]);
///             Ok("welcome".to_owned().into())
///         }
///         "/unknown" => Ok(Loaded::Missing),
///         _ => Err("the database is down"),
///     })?;
/// assert_eq!(pages.get("/index"), Ok("welcome".to_owned()));
/// assert_eq!(pages.get("/unknown"), Err(LoadError::NotLoaded));
/// assert_eq!(pages.get("/other").unwrap_err().loader_error(), Some(&"the database is down"));
/// assert!(pages.invalidate_tag("pages"));
/// # Ok::<(), larder::BuildError>(())
/// ```
pub struct LoadingCache<K, V, E, S = RandomState> {
    cache: Cache<K, V, S>,
    loader: Loader<K, V, E>,
    many: Option<Arc<ManyLoader<K, V, E>>>,
}

/// A loader of many keys.
type ManyLoader<K, V, E> = dyn Fn(&[K]) -> ManyLoaded<K, V, E> + Send + Sync;
/// The same, as a future.
type AsyncManyLoader<K, V, E> =
    dyn Fn(Vec<K>) -> Pin<Box<dyn Future<Output = ManyLoaded<K, V, E>> + Send>> + Send + Sync;
type ManyLoaded<K, V, E> = Result<Vec<(K, V)>, E>;

/// As [`LoadingCache`], with a loader that returns a future ([`Builder::build_with_async_loader`]).
///
/// # Examples
/// ```
/// use larder::{Cache, Loaded};
///
/// # async fn fetch(id: u64) -> Result<String, std::io::Error> { Ok(format!("row {id}")) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let rows = Cache::builder()
///     .capacity(1_000)
///     .build_with_async_loader(|id: u64, _| async move { fetch(id).await.map(Loaded::Store) })?;
/// assert_eq!(rows.get(&7).await?, "row 7");
/// # Ok(())
/// # }
/// ```
pub struct AsyncLoadingCache<K, V, E, S = RandomState> {
    cache: Cache<K, V, S>,
    loader: Loader<K, V, E>,
    many: Option<Arc<AsyncManyLoader<K, V, E>>>,
}

// As for `Cache`. A loader that panics has been given nothing that it could leave half changed.
impl<K, V, E, S> UnwindSafe for LoadingCache<K, V, E, S> {}
impl<K, V, E, S> RefUnwindSafe for LoadingCache<K, V, E, S> {}
impl<K, V, E, S> UnwindSafe for AsyncLoadingCache<K, V, E, S> {}
impl<K, V, E, S> RefUnwindSafe for AsyncLoadingCache<K, V, E, S> {}

impl<K, V, S> Builder<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Builds a cache whose lookups call `loader` for a key that is missing. It is given the key and its
    /// [context](Load).
    ///
    /// A lookup that misses runs the loader in its own call, unless the cache has a
    /// [timeout](Self::hard_timeout) after which the lookup must return; then the loader runs in the
    /// [background](Self::load_executor), as all refreshes do. It still runs in the call, which then takes as long
    /// as the loader, if the executor drops the load, or if the call comes from another loader in the background:
    /// all threads of the executor may be waiting in such calls. `loader` runs under no lock and no pin of the cache.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with_loader<E>(
        self,
        loader: impl Fn(&K, &Load<K, V>) -> Result<Loaded<V>, E> + Send + Sync + 'static,
    ) -> Result<LoadingCache<K, V, E, S>, BuildError> {
        let loader: Arc<BlockingLoader<K, V, E>> = Arc::new(loader);
        let cache = self.with_loader().build()?;
        Ok(LoadingCache { cache, loader: Loader::Blocking(loader), many: None })
    }

    /// As [`build_with_loader`](Self::build_with_loader), with a loader that returns a future.
    ///
    /// A lookup that misses polls the future within its own polls, unless the cache has a timeout; then it is
    /// polled in the background, as the futures of all refreshes are.
    ///
    /// # Runtimes
    /// With the feature `tokio`, and called within a runtime of tokio, the background is that runtime, unless the
    /// builder names an [executor](Self::load_executor). Otherwise it is a thread of larder, where futures that use
    /// a runtime's sockets or timers do not work: they panic, and the load has failed. Such loaders need an executor
    /// that spawns on their runtime.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with_async_loader<E, F>(
        self,
        loader: impl Fn(K, Load<K, V>) -> F + Send + Sync + 'static,
    ) -> Result<AsyncLoadingCache<K, V, E, S>, BuildError>
    where
        F: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let loader: Arc<AsyncLoader<K, V, E>> =
            Arc::new(move |key, load| Box::pin(loader(key, load)));
        let cache = self.load_within_runtime().with_loader().build()?;
        Ok(AsyncLoadingCache { cache, loader: Loader::Async(loader), many: None })
    }
}

impl<K, V, E, S> LoadingCache<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The value of `key`, cloned, and loaded if it is missing.
    ///
    /// # Errors
    /// As [`get_optional`](Self::get_optional); [`LoadError::NotLoaded`] if there is no value for the key.
    ///
    /// # Panics
    /// If the loader panics within this call. A load that panics in the background has failed: an old value is
    /// returned, if there is one that may be used, and otherwise the call runs the loader itself.
    pub fn get<Q>(&self, key: &Q) -> Result<V, LoadError<E>>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.get_optional(key)?.ok_or(LoadError::NotLoaded)
    }

    /// As [`get`](Self::get); `None` if the loader has found that there is no value.
    ///
    /// # Errors
    /// [`LoadError::Failed`] with the error of the loader, unless there is a
    /// [value that may be used instead](Builder::stale_if_error); [`LoadError::TimedOut`] after the
    /// [hard timeout](Builder::hard_timeout); [`LoadError::Reentrant`] within the loader of the same key.
    ///
    /// # Panics
    /// As `get`.
    pub fn get_optional<Q>(&self, key: &Q) -> Result<Option<V>, LoadError<E>>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.cache.get_or_load_bound(key, &self.loader)
    }

    /// Lets [`get_many`](Self::get_many) load the keys that are missing by one call of `loader`, which returns
    /// pairs of keys and values in any order, as in [`Cache::get_many_or_load`]. For this handle and the clones
    /// that are made of it afterwards.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Loaded};
    ///
    /// fn fetch(ids: &[u64]) -> Result<Vec<(u64, String)>, std::io::Error> {
    ///     Ok(ids.iter().map(|id| (*id, format!("row {id}"))).collect())
    /// }
    /// let rows = Cache::builder()
    ///     .capacity(1_000)
    ///     .build_with_loader(|id: &u64, _| {
    ///         Ok(fetch(&[*id])?.pop().map_or(Loaded::Missing, |(_, row)| Loaded::Store(row)))
    ///     })?
    ///     .with_bulk_loader(fetch);
    /// let many: Result<Vec<String>, _> = rows.get_many(&[1, 2]).into_iter().collect();
    /// assert_eq!(many.unwrap(), ["row 1", "row 2"]);
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[must_use = "the handle without the loader is gone"]
    pub fn with_bulk_loader(
        mut self,
        loader: impl Fn(&[K]) -> Result<Vec<(K, V)>, E> + Send + Sync + 'static,
    ) -> Self {
        self.many = Some(Arc::new(loader));
        self
    }

    /// The values of `keys`, in their order; those that are missing are loaded by one call of the
    /// [bulk loader](Self::with_bulk_loader), if there is one, and otherwise one after another.
    ///
    /// # Errors
    /// Each key has a result of its own, as that of [`get`](Self::get), without the timeouts.
    ///
    /// # Panics
    /// As `get`.
    pub fn get_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: Hash + ToKey<K> + ?Sized + 'q,
    {
        let keys: Vec<&Q> = keys.into_iter().collect();
        let Some(many) = &self.many else {
            return keys.into_iter().map(|key| self.get(key)).collect();
        };
        let mut refresh = |leader, started_ns, old| {
            self.cache.spawn_load(leader, started_ns, Some(old), &self.loader);
        };
        self.cache
            .load_many(&keys, &mut Some(&mut refresh), |missing| many(missing).map(with_results))
    }

    /// Begins to load `key` in the background, whether it is present or not, and returns. False if it is being
    /// loaded already.
    ///
    /// The old value stays until the new one has come, and for its own lifetime if the load fails. A load for
    /// which the executor has no room is given up.
    pub fn refresh<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.cache.refresh_bound(key, &self.loader)
    }

    /// [Refreshes](Self::refresh) each of `keys`, and returns for how many of them a load has begun.
    pub fn refresh_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> usize
    where
        Q: Hash + ToKey<K> + ?Sized + 'q,
    {
        keys.into_iter().filter(|key| self.refresh(*key)).count()
    }
}

impl<K, V, E, S> AsyncLoadingCache<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`LoadingCache::get`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there, when polled.
    pub async fn get<Q>(&self, key: &Q) -> Result<V, LoadError<E>>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.get_optional(key).await?.ok_or(LoadError::NotLoaded)
    }

    /// As [`LoadingCache::get_optional`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there, when polled.
    pub async fn get_optional<Q>(&self, key: &Q) -> Result<Option<V>, LoadError<E>>
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.cache.get_or_load_bound_async(key, &self.loader).await
    }

    /// As [`LoadingCache::with_bulk_loader`].
    #[must_use = "the handle without the loader is gone"]
    pub fn with_bulk_loader<F>(
        mut self,
        loader: impl Fn(Vec<K>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Vec<(K, V)>, E>> + Send + 'static,
    {
        self.many = Some(Arc::new(move |keys| Box::pin(loader(keys))));
        self
    }

    /// As [`LoadingCache::get_many`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there, when polled.
    pub async fn get_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: Hash + ToKey<K> + ?Sized + 'q,
    {
        let keys: Vec<&Q> = keys.into_iter().collect();
        let Some(many) = &self.many else {
            let mut values = Vec::with_capacity(keys.len());
            for key in keys {
                values.push(self.get(key).await);
            }
            return values;
        };
        let mut refresh = |leader, started_ns, old| {
            self.cache.spawn_load(leader, started_ns, Some(old), &self.loader);
        };
        let load = |missing| {
            let loading = many(missing);
            async move { loading.await.map(with_results) }
        };
        self.cache.load_many_async(&keys, &mut Some(&mut refresh), load).await
    }

    /// As [`LoadingCache::refresh`].
    pub fn refresh<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + ToKey<K> + ?Sized,
    {
        self.cache.refresh_bound(key, &self.loader)
    }

    /// As [`LoadingCache::refresh_many`].
    pub fn refresh_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> usize
    where
        Q: Hash + ToKey<K> + ?Sized + 'q,
    {
        keys.into_iter().filter(|key| self.refresh(*key)).count()
    }
}

fn with_results<K, V, E>(loaded: Vec<(K, V)>) -> impl Iterator<Item = (K, Result<V, E>)> {
    loaded.into_iter().map(|(key, value)| (key, Ok(value)))
}

/// What both kinds of loading caches have.
macro_rules! handle {
    ($name:ident) => {
        impl<K, V, E, S> $name<K, V, E, S> {
            /// The cache without its loader.
            #[must_use]
            pub fn cache(&self) -> &Cache<K, V, S> {
                &self.cache
            }
        }

        /// The other methods.
        impl<K, V, E, S> Deref for $name<K, V, E, S> {
            type Target = Cache<K, V, S>;

            fn deref(&self) -> &Cache<K, V, S> {
                &self.cache
            }
        }

        impl<K, V, E, S> Clone for $name<K, V, E, S> {
            fn clone(&self) -> Self {
                Self {
                    cache: self.cache.clone(),
                    loader: self.loader.clone(),
                    many: self.many.clone(),
                }
            }
        }

        impl<K, V, E, S> fmt::Debug for $name<K, V, E, S>
        where
            Cache<K, V, S>: fmt::Debug,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("cache", &self.cache)
                    .finish_non_exhaustive()
            }
        }
    };
}

handle!(LoadingCache);
handle!(AsyncLoadingCache);
