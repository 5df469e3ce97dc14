//! The verbs that have to do with tags.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::options::Traits;
use crate::base::equivalent::Equivalent;
use crate::base::error::Inserted;
use crate::reclaim;
use crate::tags::TagSet;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// As [`insert`](Self::insert), and the entry carries `tags`: names by which
    /// [`invalidate_tag`](Self::invalidate_tag) makes all entries invalid that carry one.
    ///
    /// Up to four; one that comes twice counts once. With more the value is rejected
    /// ([`TooManyTags`](crate::Rejection::TooManyTags)), and what the key had stays. An entry keeps its tags for life:
    /// an insertion or replacement without tags has none. If a tag is invalidated while the call
    /// runs, the entry may count as inserted before or after that.
    ///
    /// An entry with tags takes 48 bytes more than one without, but for those that the cache's
    /// lifetimes need anyhow, and a lookup of it reads a word for each tag. A name takes memory once,
    /// as long as a valid entry carries it. Snapshots keep tags, and leave out what was invalidated.
    ///
    /// # Panics
    /// As [`insert`](Self::insert), and if the iterator or a name's `as_ref` does; nothing has
    /// changed then.
    ///
    /// # Complexity
    /// As `insert`, and O(1) for each tag, under a lock of a 32nd of all names.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert_with_tags("/orders/1", "one", ["orders", "customer:7"]);
    /// cache.insert_with_tags("/orders/2", "two", ["orders", "customer:8"]);
    /// assert!(cache.invalidate_tag("customer:7"));
    /// assert_eq!(cache.get("/orders/1"), None);
    /// assert_eq!(cache.get("/orders/2"), Some("two"));
    /// cache.insert_with_tags("/orders/1", "new", ["orders", "customer:7"]);
    /// assert_eq!(cache.get("/orders/1"), Some("new"));
    /// ```
    pub fn insert_with_tags<T: AsRef<str>>(
        &self,
        key: K,
        value: V,
        tags: impl IntoIterator<Item = T>,
    ) -> Inserted {
        match self.hold_tags(tags) {
            Ok(tags) => self.store(key, value, Traits { tags, ..Traits::default() }),
            Err(rejection) => self.reject_stored(rejection, self.hash(&key)),
        }
    }

    /// The tags of the entry of `key`, empty if it has none; `None` if the key is not there. Without
    /// a trace, like [`peek`](Self::peek).
    pub fn tags_of<Q>(&self, key: &Q) -> Option<Vec<String>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let guard = reclaim::pin();
        let (pointer, _) = self.find(key, hash, &guard)?;
        let names = |tags: &TagSet| tags.names().map(str::to_owned).collect();
        Some(pointer.tags().map(names).unwrap_or_default())
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Makes every entry invalid that carries `tag`. False if there was none, nor any that has left
    /// but is not freed yet.
    ///
    /// From the moment it takes effect, which is before it returns, no call of any thread returns
    /// such an entry, and none ever will; what is inserted with the tag afterwards is valid. The
    /// entries themselves leave later: when their key is inserted anew, when they are evicted, or
    /// when [`retain`](Self::retain) or [`clear`](Self::clear) comes by. Until then they count in
    /// [`len`](Self::len) and [`weight`](Self::weight) and take room of the bounds
    /// ([`census`](Self::census) counts them apart); `retain(|_, _| true)` frees it at once.
    /// Listeners are notified of each when it leaves, with the cause
    /// [`Invalidated`](crate::RemovalCause::Invalidated).
    ///
    /// # Complexity
    /// O(1), whatever number of entries carries the tag.
    pub fn invalidate_tag<T: AsRef<str> + ?Sized>(&self, tag: &T) -> bool {
        self.shared.engine.fills.mark_all();
        self.shared.settings.tags.invalidate(tag.as_ref())
    }

    /// How many different tags valid entries carry.
    #[doc(hidden)]
    #[must_use]
    pub fn tag_count(&self) -> usize {
        self.shared.settings.tags.len()
    }
}
