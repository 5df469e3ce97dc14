//! Entries with tags, and invalidating all entries of a tag.
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
    /// As [`insert`](Self::insert), and the entry carries `tags`: [`invalidate_tag`](Self::invalidate_tag)
    /// invalidates all entries that carry a tag of one name.
    ///
    /// An entry has at most four tags; a name that is given twice counts once. With more the value is rejected
    /// ([`TooManyTags`](crate::Rejection::TooManyTags)), and the key keeps its entry. An entry has its tags
    /// for life: if it is replaced by an insertion without tags, the new entry has none. If a tag is
    /// invalidated while the call runs, the entry counts as inserted either before or after that.
    ///
    /// An entry with tags takes up to 48 bytes more than one without, and a lookup of it reads a word for each
    /// tag. A name takes memory once for all entries that share it, until the last of them is freed. Snapshots
    /// keep tags, and leave out invalidated entries.
    ///
    /// # Panics
    /// As [`insert`](Self::insert), and if the iterator or the `as_ref` of a name does; nothing has
    /// changed in that case.
    ///
    /// # Complexity
    /// As `insert`, and O(1) for each tag, under a lock that is shared with a 32nd of all names.
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
        let tags = self.hold_tags(tags);
        let hash = self.hash(&key);
        match tags {
            Ok(tags) => self.store(key, value, Traits { tags, ..Traits::default() }, hash),
            Err(rejection) => self.reject_and_note(rejection, hash),
        }
    }

    /// The tags of the entry of `key`; `None` if the key is absent. The call does not count as a use, like
    /// [`peek`](Self::peek).
    #[must_use]
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
    /// Invalidates every entry that carries `tag`. False if no entry carries it, not even one that has left
    /// the cache but is not freed yet.
    ///
    /// The call takes effect before it returns; from then on no call of any thread ever returns such an entry.
    /// An entry that is inserted with the tag afterwards is valid.
    ///
    /// The invalidated entries leave the cache later: when their keys are inserted anew, when they expire or
    /// are evicted, or by [`retain`](Self::retain) or [`clear`](Self::clear). Until then they count in
    /// [`len`](Self::len) and [`weight`](Self::weight) and take room ([`census`](Self::census) counts them
    /// separately); `retain(|_, _| true)` removes them at once. Listeners are notified when they leave, with
    /// the cause [`Invalidated`](crate::RemovalCause::Invalidated).
    ///
    /// # Complexity
    /// O(1), however many entries carry the tag.
    pub fn invalidate_tag<T: AsRef<str> + ?Sized>(&self, tag: &T) -> bool {
        self.shared.engine.mark_all_changed();
        self.shared.settings.tags.invalidate(tag.as_ref())
    }

    /// The number of different tags that valid entries carry. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn tag_count(&self) -> usize {
        self.shared.settings.tags.len()
    }
}
