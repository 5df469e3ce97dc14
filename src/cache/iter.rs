//! Iteration: weakly consistent, and pinned only in short steps.
//!
//! Items are cloned in batches and handed out later, when their entries may have been freed. So what
//! decides about an entry's validity travels with the clone, and is asked when it is handed out: tags
//! tell by themselves, and a deadline that lies ahead does as long as no deadline of the cache was
//! brought forward. Otherwise the table is asked for the entry itself: it may have been used since,
//! and live longer, or have left because its new deadline has passed.
#![forbid(unsafe_code)]

use std::fmt;
use std::vec;

use super::{Cache, EntryView};
use crate::entry::Deadline;
use crate::entry::{Entry, EntryPtr};
use crate::reclaim;
use crate::table::Cursor;
use crate::tags::TagSet;

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
    /// nothing. So an entry that was removed or replaced may come back for as long; one that has
    /// expired, or whose tag was [invalidated](Self::invalidate_tag), never does: that is asked as
    /// each item is returned. Iteration is no use of an entry, and neither a hit nor a miss.
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
    ready: vec::IntoIter<Ready<T>>,
    /// Of the engine, before the items were cloned.
    brought_forward: u64,
}

/// An item that was cloned.
struct Ready<T> {
    item: T,
    /// `None` if the entry can neither expire nor be invalidated.
    validity: Option<Validity>,
}

/// What tells of a cloned entry whether it is still valid.
struct Validity {
    deadline_ns: u64,
    tags: Option<Box<TagSet>>,
    hash: u64,
    /// Where the key stood: with the hash, what the entry is found by again. Compared, not followed.
    key_at: usize,
}

impl Validity {
    fn of<K, V>(pointer: EntryPtr, entry: &Entry<K, V>) -> Option<Self> {
        let extension = pointer.extension()?;
        Some(Self {
            deadline_ns: extension.deadline.get(),
            tags: pointer.tags().cloned().map(Box::new),
            hash: pointer.hash(),
            key_at: address(&entry.key),
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
            // Before the deadlines are read.
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

    /// The item, if its entry is valid.
    fn judge(&self, item: T, validity: &Validity) -> Option<T> {
        if validity.tags.as_ref().is_some_and(|tags| tags.is_dead()) {
            return None;
        }
        let engine = &self.cache.shared.engine;
        let is_as_seen = engine.brought_forward.times() == self.brought_forward;
        let is_ahead = validity.deadline_ns == Deadline::NEVER
            || engine.timing.time.is_surely_not_past(validity.deadline_ns)
            || engine.timing.time.now_ns() <= validity.deadline_ns;
        if is_as_seen && is_ahead {
            return Some(item);
        }
        // Dropped before the pin.
        drop(item);
        let guard = reclaim::pin();
        let is_same = |key: &K| address(key) == validity.key_at;
        // Another one of the same key may stand there by now, so it is cloned anew.
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
