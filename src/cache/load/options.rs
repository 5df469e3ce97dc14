//! What a caller asks of a load, what a loader answers, and the context that it may look at.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::base::sync::{self, Mutex};
#[cfg(doc)]
use crate::cache::Cache;
use crate::cache::options::InsertOptions;

/// The answer of a loader that is given its [context](Load).
///
/// # Examples
/// ```
/// use larder::{Cache, LoadOptions, Loaded};
///
/// let cache: Cache<u64, String> = Cache::new(100);
/// let load = |text: &str| {
///     let text = text.to_owned();
///     cache.get_or_load(&1, LoadOptions::new(), move |_| {
///         Ok::<_, std::io::Error>(match text.as_str() {
///             "" => Loaded::Missing,
///             "draft" => Loaded::Reject(text),
///             _ => text.into(),
///         })
///     })
/// };
/// assert_eq!(load("").unwrap(), None);
/// assert_eq!(load("draft").unwrap().as_deref(), Some("draft"));
/// assert_eq!(load("final").unwrap().as_deref(), Some("final"));
/// assert_eq!(load("later").unwrap().as_deref(), Some("final"), "only that one was stored");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loaded<V> {
    /// The value, to be stored and returned.
    Store(V),
    /// The value, to be returned to this caller and to those that wait, and not stored. A value that the
    /// cache has stays; if the load was to renew it, the next try waits for the
    /// [throttle](crate::Builder::refresh_throttle).
    Reject(V),
    /// The [stale value](Load::stale) is still right: it is stored anew, with a new lifetime, and returned.
    NotModified,
    /// There is no value for the key, or none any more: the callers get `None`, a value that was to be renewed is
    /// removed, and with a [negative time to live](crate::Builder::negative_time_to_live) the cache remembers that.
    Missing,
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::Store(value)
    }
}

/// How one call loads: what its value is stored with, and how long the call waits; for
/// [`Cache::get_or_load`] and similar methods.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::{Cache, LoadOptions, Loaded};
///
/// let cache: Cache<&str, u64> = Cache::new(100);
/// let options = LoadOptions::new()
///     .load_deadline(Duration::from_millis(50))
///     .ttl(Duration::from_secs(3600))
///     .tags(&["orders"]);
/// let loaded = cache.get_or_load(&"order", options, |_| Ok::<_, std::io::Error>(Loaded::Store(7)));
/// assert_eq!(loaded.unwrap(), Some(7));
/// assert!(cache.invalidate_tag("orders"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "options do nothing until a value is loaded with them"]
pub struct LoadOptions<'t> {
    pub(super) insert: InsertOptions<'t>,
    pub(super) deadline: Option<Duration>,
}

impl<'t> LoadOptions<'t> {
    /// The cache's lifetimes, no tags, evictable, and no deadline.
    pub const fn new() -> Self {
        Self { insert: InsertOptions::new(), deadline: None }
    }

    /// The call waits for another caller's load for at most `deadline`, by the cache's clock, and then returns
    /// [`LoadError::DeadlineExceeded`](crate::LoadError::DeadlineExceeded). The load goes on for the others.
    /// With `Duration::ZERO` it does not wait at all; a duration beyond 584 years means for ever.
    ///
    /// A future also stops running its own loader then, and another waiter runs its loader instead. A loader
    /// that a thread runs within its own call cannot be stopped, so the deadline does not apply to it.
    pub const fn load_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// As [`InsertOptions::ttl`]. It is for values: that a key has none is remembered for the
    /// [negative time to live](crate::Builder::negative_time_to_live).
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.insert = self.insert.ttl(ttl);
        self
    }

    /// As [`InsertOptions::tags`].
    pub const fn tags(mut self, tags: &'t [&'t str]) -> Self {
        self.insert = self.insert.tags(tags);
        self
    }

    /// As [`InsertOptions::unevictable`].
    pub const fn unevictable(mut self) -> Self {
        self.insert = self.insert.unevictable();
        self
    }

    /// As [`InsertOptions::namespace`]. If there is no such namespace, the value is returned and not stored.
    pub const fn namespace(mut self, namespace: &'t str) -> Self {
        self.insert = self.insert.namespace(namespace);
        self
    }

    /// As [`InsertOptions::cost`]: in the place of the time that the load takes.
    pub const fn cost(mut self, cost: Duration) -> Self {
        self.insert = self.insert.cost(cost);
        self
    }
}

/// What a loader is given: the key, the value that has become stale, and settings for the new one.
///
/// A handle: its clones are the same context. It may be sent to other threads and held across `await`s;
/// what is set after the loader has returned has no effect.
///
/// # Examples
/// A loader that asks a server whether its copy is still right, and takes the lifetime from the answer:
/// ```
/// use std::time::Duration;
/// use larder::{Cache, LoadOptions};
///
/// # fn fetch(_: &str, _: Option<&String>) -> Result<Option<(String, Duration)>, std::io::Error> {
/// #     Ok(Some(("page".to_owned(), Duration::from_secs(60))))
/// # }
/// let cache: Cache<String, String> = Cache::new(100);
/// let page = cache.get_or_load("/index", LoadOptions::new(), |load| {
///     // The version that we have goes into the request.
///     let Some((page, max_age)) = fetch(load.key(), load.stale())? else {
///         return Ok::<_, std::io::Error>(load.not_modified());
///     };
///     load.set_ttl(max_age);
///     load.set_tags(&["pages"]);
///     Ok(page.into())
/// });
/// assert_eq!(page.unwrap().as_deref(), Some("page"));
/// ```
pub struct Load<K, V> {
    context: Arc<Context<K, V>>,
}

struct Context<K, V> {
    key: K,
    stale: Option<V>,
    settings: Mutex<LoadSettings>,
}

/// What a loader has set.
#[derive(Default)]
pub(super) struct LoadSettings {
    pub(super) ttl: Option<Duration>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) is_unevictable: bool,
    pub(super) namespace: Option<String>,
    pub(super) cost: Option<Duration>,
}

impl<K, V> Load<K, V> {
    pub(super) fn new(key: K, stale: Option<V>) -> Self {
        let settings = Mutex::new(LoadSettings::default());
        Self { context: Arc::new(Context { key, stale, settings }) }
    }

    /// The key that is loaded.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.context.key
    }

    /// The value that the cache has, if it is due for a refresh or has expired a short time ago, and the cache
    /// [keeps such values](crate::Builder::stale_if_error).
    #[must_use]
    pub fn stale(&self) -> Option<&V> {
        self.context.stale.as_ref()
    }

    /// The new entry lives for `ttl`, as with [`InsertOptions::ttl`]. It takes precedence over the options of
    /// the call. If the loader finds that there is [no value](Loaded::Missing), that is remembered for `ttl`, if the
    /// cache remembers such keys.
    pub fn set_ttl(&self, ttl: Duration) {
        self.set(|settings| settings.ttl = Some(ttl));
    }

    /// The new entry carries `tags`, and not those in the options of the call. With too many of them the value
    /// is returned and not stored, and counts as [rejected](crate::Rejection::TooManyTags).
    pub fn set_tags(&self, tags: &[&str]) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.set(|settings| settings.tags = Some(tags));
    }

    /// The new entry is never evicted, as with [`InsertOptions::unevictable`].
    pub fn set_unevictable(&self) {
        self.set(|settings| settings.is_unevictable = true);
    }

    /// The new entry belongs to `namespace`, as with [`InsertOptions::namespace`]. It takes precedence over the
    /// options of the call. If there is no such namespace, the value is returned and not stored.
    pub fn set_namespace(&self, namespace: &str) {
        self.set(|settings| settings.namespace = Some(namespace.to_owned()));
    }

    /// A miss on the key would cost `cost`, as with [`InsertOptions::cost`]. It takes precedence over the options of
    /// the call, and over the time that the load takes.
    pub fn set_cost(&self, cost: Duration) {
        self.set(|settings| settings.cost = Some(cost));
    }

    /// The answer that the [stale value](Self::stale) is still right. If there is none, the call returns
    /// [`LoadError::NotLoaded`](crate::LoadError::NotLoaded), and a caller that waits loads for itself.
    #[must_use = "the loader has to return it"]
    pub fn not_modified(&self) -> Loaded<V> {
        Loaded::NotModified
    }

    fn set(&self, change: impl FnOnce(&mut LoadSettings)) {
        change(&mut sync::lock(&self.context.settings));
    }

    pub(super) fn take_settings(&self) -> LoadSettings {
        std::mem::take(&mut sync::lock(&self.context.settings))
    }
}

impl<K, V> Clone for Load<K, V> {
    fn clone(&self) -> Self {
        Self { context: Arc::clone(&self.context) }
    }
}

impl<K: fmt::Debug, V> fmt::Debug for Load<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("key", self.key()).finish_non_exhaustive()
    }
}
