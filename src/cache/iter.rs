//! Iteration: weakly consistent, and pinned only in short steps.

use std::fmt;
use std::vec;

use super::{Cache, EntryView};
use crate::entry::{Entry, EntryPtr};
use crate::reclaim;
use crate::table::Cursor;

/// Pairs of a cache, cloned; made by [`Cache::iter`].
pub struct Iter<'c, K, V, S> {
    steps: Steps<'c, K, V, S, (K, V)>,
}

/// Keys of a cache, cloned; made by [`Cache::keys`].
pub struct Keys<'c, K, V, S> {
    steps: Steps<'c, K, V, S, K>,
}

/// Entries of a cache, cloned; made by [`Cache::entries`].
pub struct Entries<'c, K, V, S> {
    steps: Steps<'c, K, V, S, EntryView<K, V>>,
}

/// Values of a cache, cloned; made by [`Cache::values`].
pub struct Values<'c, K, V, S> {
    steps: Steps<'c, K, V, S, V>,
}

impl<K, V, S> Cache<K, V, S> {
    /// Every key and value, cloned, in no order that means anything.
    ///
    /// An entry that is there during the whole iteration is seen exactly once; one that is
    /// inserted, replaced or removed meanwhile may be seen or not. Entries are cloned some
    /// hundred at a time, pinned only for that: an iteration that is left lying about holds back
    /// nothing. It is no use of an entry, and neither a hit nor a miss.
    pub fn iter(&self) -> Iter<'_, K, V, S>
    where
        K: Clone,
        V: Clone,
    {
        Iter { steps: Steps::new(self, |_, _, entry| (entry.key.clone(), entry.value.clone())) }
    }

    /// Every key, cloned; otherwise as [`iter`](Self::iter).
    pub fn keys(&self) -> Keys<'_, K, V, S>
    where
        K: Clone,
    {
        Keys { steps: Steps::new(self, |_, _, entry| entry.key.clone()) }
    }

    /// Every value, cloned; otherwise as [`iter`](Self::iter).
    pub fn values(&self) -> Values<'_, K, V, S>
    where
        V: Clone,
    {
        Values { steps: Steps::new(self, |_, _, entry| entry.value.clone()) }
    }

    /// Every entry, key and value cloned, with what the cache knows of it; otherwise as
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

/// What is taken along of an entry.
type Item<K, V, S, T> = fn(&Cache<K, V, S>, EntryPtr, &Entry<K, V>) -> T;

/// The common part: clones a step's worth of items under one pin, then hands them out without.
struct Steps<'c, K, V, S, T> {
    cache: &'c Cache<K, V, S>,
    cursor: Cursor,
    item: Item<K, V, S, T>,
    ready: vec::IntoIter<T>,
}

impl<'c, K, V, S, T> Steps<'c, K, V, S, T> {
    fn new(cache: &'c Cache<K, V, S>, item: Item<K, V, S, T>) -> Self {
        Self { cache, cursor: Cursor::Start, item, ready: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(item) = self.ready.next() {
                return Some(item);
            }
            if self.cursor == Cursor::End {
                return None;
            }
            let mut items = Vec::new();
            let guard = reclaim::pin();
            let table = &self.cache.shared.engine.table;
            self.cursor = table.step(self.cursor, &guard, |pointer, entry| {
                if self.cache.is_valid(pointer) {
                    items.push((self.item)(self.cache, pointer, entry));
                }
            });
            self.ready = items.into_iter();
        }
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
