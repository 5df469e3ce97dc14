//! Iteration: weakly consistent, and pinned only in short steps.
//!
//! Items are cloned in batches and returned later, when their entries may have been freed. So each clone
//! carries what decides whether its entry is valid, which is checked when the item is returned. Tags are checked as
//! they are. A deadline that has not passed is proof as long as no deadline of the cache was brought forward. Otherwise
//! the entry is searched in the table again: a use may have prolonged its life, or it may have left because its new
//! deadline has passed.
#![forbid(unsafe_code)]

use std::fmt;
use std::vec;

use super::{Cache, EntryView};
use crate::base::hash::KeyHash;
use crate::entry::{Entry, EntryPtr};
use crate::reclaim;
use crate::table::Cursor;
use crate::tags::TagSet;

/// An iterator over the keys and values of a cache, cloned; made by [`Cache::iter`].
pub struct Iter<'c, K, V, S> {
    steps: Steps<'c, K, V, S, (K, V)>,
}

/// An iterator over the keys of a cache, cloned; made by [`Cache::keys`].
pub struct Keys<'c, K, V, S> {
    steps: Steps<'c, K, V, S, K>,
}

/// An iterator over the entries of a cache, cloned; made by [`Cache::entries`].
pub struct Entries<'c, K, V, S> {
    steps: Steps<'c, K, V, S, EntryView<K, V>>,
}

/// An iterator over the values of a cache, cloned; made by [`Cache::values`].
pub struct Values<'c, K, V, S> {
    steps: Steps<'c, K, V, S, V>,
}

impl<K, V, S> Cache<K, V, S> {
    /// Every key and value, cloned, in an unspecified order.
    ///
    /// An entry that is in the cache during the whole iteration is returned exactly once; one that is
    /// inserted, replaced or removed meanwhile may be returned or not. About a hundred entries at a time are
    /// cloned, and the thread is pinned only for that: an iterator that is kept delays no freeing. So an
    /// entry that was removed or replaced after it was cloned may still be returned. An entry that has
    /// expired, or whose tag was [invalidated](Self::invalidate_tag), never is, because that is checked when
    /// each item is returned. Iteration counts as neither a use of an entry nor a hit or a miss.
    #[must_use = "iterators do nothing unless they are consumed"]
    #[doc(alias("asMap", "as_map", "entrySet"))]
    pub fn iter(&self) -> Iter<'_, K, V, S>
    where
        K: Clone,
        V: Clone,
    {
        Iter { steps: Steps::new(self, |_, _, entry| (entry.key.clone(), entry.value.clone())) }
    }

    /// Every key, cloned; otherwise as [`iter`](Self::iter).
    #[must_use = "iterators do nothing unless they are consumed"]
    #[doc(alias = "keySet")]
    pub fn keys(&self) -> Keys<'_, K, V, S>
    where
        K: Clone,
    {
        Keys { steps: Steps::new(self, |_, _, entry| entry.key.clone()) }
    }

    /// Every value, cloned; otherwise as [`iter`](Self::iter).
    #[must_use = "iterators do nothing unless they are consumed"]
    pub fn values(&self) -> Values<'_, K, V, S>
    where
        V: Clone,
    {
        Values { steps: Steps::new(self, |_, _, entry| entry.value.clone()) }
    }

    /// Every entry: key and value, cloned, with what the cache knows of it; otherwise as
    /// [`iter`](Self::iter).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = larder::Cache::new(100);
    /// cache.insert_with_ttl("a", 1, Duration::from_secs(60));
    /// let entry = cache.entries().next().expect("one was inserted");
    /// assert_eq!((entry.key, entry.value), ("a", 1));
    /// assert!(entry.info.expires_in <= Some(Duration::from_secs(60)));
    /// ```
    #[must_use = "iterators do nothing unless they are consumed"]
    pub fn entries(&self) -> Entries<'_, K, V, S>
    where
        K: Clone,
        V: Clone,
    {
        Entries {
            steps: Steps::new(self, |cache, pointer, entry| EntryView {
                key: entry.key.clone(),
                value: entry.value.clone(),
                info: cache.info(pointer),
            }),
        }
    }
}

/// Makes an item from an entry.
type Item<K, V, S, T> = fn(&Cache<K, V, S>, EntryPtr, &Entry<K, V>) -> T;

/// What the iterators share: it clones the items of one step under a pin, then returns them without one.
struct Steps<'c, K, V, S, T> {
    cache: &'c Cache<K, V, S>,
    cursor: Cursor,
    item: Item<K, V, S, T>,
    ready: vec::IntoIter<Ready<T>>,
    /// The engine's count of deadlines brought forward, from before the items were cloned.
    brought_forward: u64,
}

/// A cloned item that was not returned yet.
struct Ready<T> {
    item: T,
    /// `None` if the entry can neither expire nor be invalidated.
    validity: Option<Validity>,
}

/// What decides whether a cloned entry is still valid.
struct Validity {
    deadline_ns: u64,
    tags: Option<Box<TagSet>>,
    hash: KeyHash,
    /// Finds the entry again, with the hash. It is only compared, not dereferenced.
    key_address: usize,
}

impl Validity {
    fn of<K, V>(pointer: EntryPtr, entry: &Entry<K, V>) -> Option<Self> {
        let extension = pointer.extension()?;
        Some(Self {
            deadline_ns: extension.deadline.get(),
            tags: pointer.tags().cloned().map(Box::new),
            hash: pointer.hash(),
            key_address: address(&entry.key),
        })
    }
}

fn address<K>(key: &K) -> usize {
    std::ptr::from_ref(key).addr()
}

impl<'c, K, V, S, T> Steps<'c, K, V, S, T> {
    fn new(cache: &'c Cache<K, V, S>, item: Item<K, V, S, T>) -> Self {
        let ready = Vec::new().into_iter();
        Self { cache, cursor: Cursor::Start, item, ready, brought_forward: 0 }
    }

    fn next(&mut self) -> Option<T> {
        loop {
            while let Some(Ready { item, validity }) = self.ready.next() {
                let item = match validity {
                    None => Some(item),
                    Some(validity) => self.judge(item, &validity),
                };
                if item.is_some() {
                    return item;
                }
            }
            if self.cursor == Cursor::End {
                return None;
            }
            let mut ready = Vec::new();
            let engine = &self.cache.shared.engine;
            // Read before the deadlines are, so that a later move of one of them is noticed.
            self.brought_forward = engine.brought_forward.times();
            let guard = reclaim::pin();
            self.cursor = engine.table.step(self.cursor, &guard, |pointer, entry| {
                if self.cache.is_valid(pointer) {
                    let validity = Validity::of(pointer, entry);
                    ready.push(Ready { item: (self.item)(self.cache, pointer, entry), validity });
                }
            });
            self.ready = ready.into_iter();
        }
    }

    /// The item, if its entry is still valid.
    fn judge(&self, item: T, validity: &Validity) -> Option<T> {
        if validity.tags.as_ref().is_some_and(|tags| tags.is_dead()) {
            return None;
        }
        let engine = &self.cache.shared.engine;
        let is_unmoved = engine.brought_forward.times() == self.brought_forward;
        if is_unmoved && engine.timing.is_ahead(validity.deadline_ns) {
            return Some(item);
        }
        // Dropped before the thread is pinned.
        drop(item);
        let guard = reclaim::pin();
        let is_same = |key: &K| address(key) == validity.key_address;
        // Another entry may have its key at the same address by now, so the item is cloned anew.
        let (pointer, entry) = engine.table.get(validity.hash, is_same, &guard)?;
        self.cache.is_valid(pointer).then(|| (self.item)(self.cache, pointer, entry))
    }
}

macro_rules! iterator {
    ($name:ident, $item:ty) => {
        impl<K, V, S> Iterator for $name<'_, K, V, S> {
            type Item = $item;

            fn next(&mut self) -> Option<Self::Item> {
                self.steps.next()
            }
        }

        impl<K, V, S> fmt::Debug for $name<'_, K, V, S> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

iterator!(Iter, (K, V));
iterator!(Keys, K);
iterator!(Values, V);
iterator!(Entries, EntryView<K, V>);

impl<'c, K: Clone, V: Clone, S> IntoIterator for &'c Cache<K, V, S> {
    type Item = (K, V);
    type IntoIter = Iter<'c, K, V, S>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
