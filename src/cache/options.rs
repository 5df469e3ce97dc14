//! The options of an insertion, and the result of one that returns what it displaced.
#![forbid(unsafe_code)]

use std::time::Duration;

#[cfg(doc)]
use super::Cache;
use crate::base::load_time::LoadTime;
use crate::expiry::EntryTtl;
use crate::tags::TagSet;

/// What an entry is given besides its key and value; for [`Cache::insert_with`],
/// [`Cache::insert_if_absent_with`], [`Cache::replace_with`] and similar methods.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::{Cache, InsertOptions};
///
/// let cache = Cache::new(100);
/// let hour = InsertOptions::new().ttl(Duration::from_secs(3600));
/// cache.insert_with("/orders/1", "one", hour.tags(&["orders", "customer:7"]));
/// cache.insert_if_absent_with("/index", "page", hour.unevictable());
/// assert!(cache.invalidate_tag("orders"));
/// assert_eq!((cache.get("/orders/1"), cache.get("/index")), (None, Some("page")));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "options do nothing until an entry is stored with them"]
pub struct InsertOptions<'t> {
    pub(super) ttl: Option<Duration>,
    pub(super) tags: &'t [&'t str],
    pub(super) is_unevictable: bool,
    pub(super) namespace: Option<&'t str>,
    pub(super) cost: Option<Duration>,
}

impl<'t> InsertOptions<'t> {
    /// The options of [`Cache::insert`]: the cache's lifetimes, no tags, evictable, no namespace, of unknown cost.
    pub const fn new() -> Self {
        Self { ttl: None, tags: &[], is_unevictable: false, namespace: None, cost: None }
    }

    /// The entry belongs to `namespace`, in a cache whose insertions
    /// [name them](crate::Namespaces::at_insertion). Otherwise, or if there is no such namespace, the value is
    /// rejected ([`NoSuchNamespace`](crate::Rejection::NoSuchNamespace)).
    pub const fn namespace(mut self, namespace: &'t str) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// The entry lives for `ttl`, whatever the cache's [time to live](crate::Builder::time_to_live) or
    /// [`Expiry`](crate::Expiry) would give it; see [`Cache::insert_with_ttl`].
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The entry carries `tags`, for [`Cache::invalidate_tag`]; see [`Cache::insert_with_tags`].
    pub const fn tags(mut self, tags: &'t [&'t str]) -> Self {
        self.tags = tags;
        self
    }

    /// The entry is never evicted; see [`Cache::insert_unevictable`].
    pub const fn unevictable(mut self) -> Self {
        self.is_unevictable = true;
        self
    }

    /// A miss on the key would cost `cost`: for [`Policy::cost_aware`](crate::Policy::cost_aware), which evicts the
    /// less costly entries first, and for [`early_refresh`](crate::Builder::early_refresh), in the place of the time
    /// that the value took to load. Otherwise a loader's value has that time, and the cost of other values is unknown,
    /// which 0 means too. It is stored with a precision of an eighth.
    ///
    /// Costs are compared with each other, so another quantity than time may stand for them, if all values have
    /// it: a price, for instance, at a nanosecond for each unit of it.
    pub const fn cost(mut self, cost: Duration) -> Self {
        self.cost = Some(cost);
        self
    }
}

/// How an update stores the value that it has computed; for [`Cache::update_with`], [`Cache::entry_with`],
/// [`Cache::fetch_add_with`] and similar methods.
///
/// A value that takes the place of another one keeps the key, the tags of the entry, and whether it is
/// unevictable. Its lifetime begins anew by the rules of the cache, as with [`Cache::replace`]; in a cache
/// without such rules (neither [time to live](crate::Builder::time_to_live) nor
/// [time to idle](crate::Builder::time_to_idle) nor [`Expiry`](crate::Expiry)), an entry that was given a
/// lifetime keeps it, so that an update never makes an entry immortal. The options change this. A value that
/// is stored where there was none is stored as by [`Cache::insert`], with the options.
///
/// # Examples
/// A limit on the calls of each caller in a minute:
/// ```
/// use std::time::Duration;
/// use larder::{Cache, UpdateOptions};
///
/// let calls: Cache<String, u32> = Cache::new(10_000);
/// // The minute begins with the first call; later ones count within it.
/// let minute = UpdateOptions::new().ttl(Duration::from_secs(60)).keep_lifetime();
/// let is_allowed = |caller: &str| calls.fetch_add_with(caller, 1, minute).unwrap_or(0) < 100;
/// assert!((0..100).all(|_| is_allowed("alice")));
/// assert!(!is_allowed("alice") && is_allowed("bob"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "options do nothing until an entry is updated with them"]
pub struct UpdateOptions<'t> {
    pub(super) ttl: Option<Duration>,
    pub(super) keeps_lifetime: bool,
    pub(super) tags: Option<&'t [&'t str]>,
    pub(super) is_unevictable: bool,
}

impl<'t> UpdateOptions<'t> {
    /// The options of [`Cache::update`] and [`Cache::entry`].
    pub const fn new() -> Self {
        Self { ttl: None, keeps_lifetime: false, tags: None, is_unevictable: false }
    }

    /// The value lives for `ttl` from now on, whatever the cache's rules would give it.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// A value that takes the place of another one expires when that one would have. A
    /// [`ttl`](Self::ttl) then holds only for a value that is stored where there was none.
    pub const fn keep_lifetime(mut self) -> Self {
        self.keeps_lifetime = true;
        self
    }

    /// The entry carries `tags`, and none of those that it had.
    pub const fn tags(mut self, tags: &'t [&'t str]) -> Self {
        self.tags = Some(tags);
        self
    }

    /// The entry is never evicted.
    pub const fn unevictable(mut self) -> Self {
        self.is_unevictable = true;
        self
    }
}

/// What left the cache for a new entry, as returned by [`Cache::insert_displacing`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Displaced<K, V> {
    /// The value that was replaced, if the key had a valid one.
    pub replaced: Option<V>,
    /// Keys and values of the entries that were evicted, in the order of their eviction.
    pub evicted: Vec<(K, V)>,
}

/// The content of [`InsertOptions`] in the form from which an entry is made.
#[derive(Default)]
pub(super) struct Traits {
    pub(super) lifetime: EntryTtl,
    pub(super) tags: Option<TagSet>,
    pub(super) is_unevictable: bool,
    /// The number of the namespace that the insertion names.
    pub(super) namespace: Option<u32>,
    /// Zero if it is unknown.
    pub(super) cost: LoadTime,
}

impl From<EntryTtl> for Traits {
    #[inline]
    fn from(lifetime: EntryTtl) -> Self {
        Self { lifetime, ..Self::default() }
    }
}
