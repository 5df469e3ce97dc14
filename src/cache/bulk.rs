//! Many keys in one call: looking them up, inserting them, removing them.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::block::{Intent, KeyBlock, PairBlock, most_of};
use super::{Cache, InsertOptions};
use crate::base::equivalent::Equivalent;
use crate::base::error::Inserted;
use crate::base::hash::KeyHash;
use crate::reclaim;

/// The outcomes of the insertions of one [`Cache::insert_many`] or [`Cache::insert_many_with`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InsertCounts {
    /// Pairs whose key was absent.
    pub added: u64,
    /// Pairs whose value replaced another, which may be that of an earlier pair.
    pub replaced: u64,
    /// Pairs that were not stored, for one of the reasons in [`Rejection`](crate::Rejection).
    pub rejected: u64,
}

impl InsertCounts {
    #[inline]
    fn add(&mut self, outcome: Inserted) {
        match outcome {
            Inserted::Added => self.added += 1,
            Inserted::Replaced => self.replaced += 1,
            Inserted::Rejected(_) => self.rejected += 1,
        }
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The values of `keys`, cloned, in the order of the keys; `None` for each key that is absent.
    ///
    /// The result and every effect is that of a [`get`](Self::get) for each key, one after the other:
    /// each counts as a use of the entry, and as a hit or a miss, even if a key appears several times. But the
    /// memory that the lookups need is fetched for up to 64 keys at the same time. In a cache that is larger
    /// than the processor's caches, where a `get` mostly waits for memory, this is several times as fast; the
    /// benchmark `bulk` measures it. [`read_many`](Self::read_many) reads the values without cloning them, and
    /// makes no `Vec`.
    ///
    /// Lock-free. Each lookup is atomic by itself, and there is no moment at which all the results were
    /// in the cache together: changes that other threads make meanwhile may be seen by some lookups and not
    /// by others.
    ///
    /// The thread is pinned for up to 64 lookups at a time, so the call holds back the freeing of memory
    /// for no longer, however many keys there are. Keys are read and hashed up to 64 ahead of
    /// their lookups, under no pin.
    ///
    /// # Panics
    /// If the iterator, the key's `Hash` or `Eq`, or the value's `Clone` does. The lookups of the keys before
    /// have taken place.
    ///
    /// # Complexity
    /// O(1) expected for each key.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(100);
    /// cache.insert_many([("a".to_owned(), 1), ("b".to_owned(), 2)]);
    /// assert_eq!(cache.get_many(["b", "c", "a"]), [Some(2), None, Some(1)]);
    ///
    /// let ids = vec!["a".to_owned(), "b".to_owned()];
    /// assert_eq!(cache.get_many(&ids), [Some(1), Some(2)]);
    /// ```
    #[doc(alias("getAllPresent", "get_all_present"))]
    #[must_use = "`read_many` looks up without cloning"]
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
        V: Clone,
    {
        let keys = keys.into_iter();
        let mut values = Vec::with_capacity(keys.size_hint().0);
        self.read_many(keys, |_, value| values.push(value.cloned()));
        values
    }

    /// Asks the processor for the memory that single calls with `keys` are about to need: for a program that
    /// knows its next keys, but has other work to do for each of them than the methods for many keys do.
    ///
    /// It changes nothing, counts as no use of any entry, and takes no lock. Only the first 64 keys are
    /// prefetched: call it again for the next 64 when these are done with. It does nothing where it
    /// would not pay: with fewer than seven keys, and in a cache that mostly is in the processor's caches
    /// anyway.
    ///
    /// # Panics
    /// If the iterator or the key's `Hash` does.
    ///
    /// # Complexity
    /// O(1) for each key.
    ///
    /// # Examples
    /// ```
    /// use larder::Intent;
    ///
    /// let cache: larder::Cache<u32, String> = (0..10).map(|n| (n, n.to_string())).collect();
    /// let requests = [(3, "read"), (12, "read"), (7, "remove")];
    /// cache.prefetch_many(requests.iter().map(|(key, _)| key), Intent::Read);
    /// for (key, verb) in requests {
    ///     match verb {
    ///         "read" => println!("{:?}", cache.get(&key)),
    ///         _ => drop(cache.remove(&key)),
    ///     }
    /// }
    /// ```
    pub fn prefetch_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>, intent: Intent)
    where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
    {
        let mut keys = keys.into_iter();
        if !self.reads_ahead(most_of(&keys)) {
            return;
        }
        let mut block = KeyBlock::new();
        block.read_ahead(self, &mut keys, intent);
        block.prefetch_matches(&self.shared.engine.table, intent, &reclaim::pin());
        // Resumes a panic of the iterator or of a `Hash`.
        block.finish();
    }

    /// Calls `reader` for each of `keys`, in their order, with the number of the key, from 0, and its value;
    /// `None` if the key is absent. Nothing is cloned, and nothing is allocated.
    ///
    /// `reader` runs pinned, like the closure of [`read`](Self::read), and for up to 64 keys under one pin:
    /// keep it short. It may use the cache: what it changes is seen by the lookups of the keys that follow.
    /// Otherwise as [`get_many`](Self::get_many).
    ///
    /// # Panics
    /// If the iterator, the key's `Hash` or `Eq`, or `reader` does. The lookups of the keys before have taken
    /// place.
    ///
    /// # Complexity
    /// O(1) expected for each key.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, String> = (0..10).map(|n| (n, n.to_string())).collect();
    /// let (mut bytes, mut missing) = (0, Vec::new());
    /// let keys = [3, 12, 7];
    /// cache.read_many(&keys, |index, text| match text {
    ///     Some(text) => bytes += text.len(),
    ///     None => missing.push(keys[index]),
    /// });
    /// assert_eq!((bytes, missing), (2, vec![12]));
    /// ```
    pub fn read_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        mut reader: impl FnMut(usize, Option<&V>),
    ) where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
    {
        let mut keys = keys.into_iter();
        if !self.reads_ahead(most_of(&keys)) {
            for (index, key) in keys.enumerate() {
                if self.read(key, |value| reader(index, Some(value))).is_none() {
                    reader(index, None);
                }
            }
            return;
        }
        let (mut block, mut index) = (KeyBlock::new(), 0);
        loop {
            block.read_ahead(self, &mut keys, Intent::Read);
            let guard = reclaim::pin();
            self.look_up_block(&block, &guard, |value| {
                reader(index, value);
                index += 1;
            });
            drop(guard);
            if !block.finish() {
                return;
            }
        }
    }

    /// Inserts every pair, one after the other, and counts the outcomes.
    ///
    /// The result and every effect is that of an [`insert`](Self::insert) for each pair: each insertion is
    /// atomic by itself, other threads see some of the pairs before the others, and a pair that is evicted
    /// for a later one still counts as added. But the memory that the insertions need is fetched for
    /// several pairs at the same time, which pays in a cache that is larger than the processor's caches.
    ///
    /// Pairs are read ahead of their insertion as far as the iterator promises that there are more
    /// ([`size_hint`](Iterator::size_hint)): up to 64, or 64 KiB of keys and values. An iterator that
    /// promises nothing, such as that of a channel, is asked for the next pair only when all before
    /// are inserted. `Extend` and `FromIterator` insert in the same way.
    ///
    /// # Panics
    /// As `insert`, and if the iterator does. The pairs before are inserted and stay; if an insertion panics,
    /// pairs that were read ahead are dropped with the iterator.
    ///
    /// # Complexity
    /// As `insert` for each pair.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder()
    ///     .max_weight(100)
    ///     .weigher(|_: &u32, text: &&str| (text.len() * 10).try_into().unwrap_or(u32::MAX))
    ///     .build()?;
    /// let counts = cache.insert_many([(1, "one"), (2, "two"), (1, "uno"), (3, "a long text")]);
    /// assert_eq!((counts.added, counts.replaced, counts.rejected), (2, 1, 1));
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    #[doc(alias("putAll", "put_all"))]
    pub fn insert_many(&self, pairs: impl IntoIterator<Item = (K, V)>) -> InsertCounts {
        self.insert_each(pairs, |key, value, hash| self.store_plain(key, value, hash))
    }

    /// As [`insert_many`](Self::insert_many), with the lifetime and the tags in `options`, which also say
    /// whether the entries may be evicted: every pair is inserted as by [`insert_with`](Self::insert_with).
    ///
    /// # Panics
    /// As `insert_many`.
    ///
    /// # Complexity
    /// As `insert_with` for each pair.
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, InsertOptions};
    ///
    /// let cache = Cache::new(100);
    /// let options = InsertOptions::new().tags(&["orders"]);
    /// cache.insert_many_with([(1, "one"), (2, "two")], options);
    /// cache.insert(3, "three");
    /// cache.invalidate_tag("orders");
    /// assert_eq!(cache.get_many(&[1, 2, 3]), [None, None, Some("three")]);
    /// ```
    pub fn insert_many_with(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
        options: InsertOptions<'_>,
    ) -> InsertCounts {
        self.insert_each(pairs, |key, value, hash| self.store_with(key, value, options, hash))
    }

    fn insert_each(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
        insert: impl Fn(K, V, KeyHash) -> Inserted,
    ) -> InsertCounts {
        let (mut pairs, mut block) = (pairs.into_iter(), PairBlock::new());
        let mut counts = InsertCounts::default();
        loop {
            let promised = pairs.size_hint().0;
            if !self.reads_ahead(promised) {
                let Some((key, value)) = pairs.next() else { return counts };
                let hash = self.hash(&key);
                counts.add(insert(key, value, hash));
                continue;
            }
            block.read_ahead(self, &mut pairs, promised);
            for (hash, key, value) in block.drain() {
                counts.add(insert(key, value, hash));
            }
            if !block.finish() {
                return counts;
            }
        }
    }

    /// Removes each of `keys` and returns how many of them were there.
    ///
    /// The effect is that of a [`remove`](Self::remove) for each key, one after the other, but no value is
    /// cloned: each removal is atomic by itself, and other threads see some of them before the others.
    /// A key that appears several times is removed once. An entry that has expired or has an invalidated tag is removed
    /// and not counted. The memory that the removals need is fetched for up to 64 keys at the same time.
    ///
    /// [`extract_many`](Self::extract_many) returns the values, and
    /// [`invalidate_if`](Self::invalidate_if) and [`invalidate_tag`](Self::invalidate_tag) need no list
    /// of keys.
    ///
    /// # Panics
    /// As `remove`, and if the iterator does. The keys before are removed.
    ///
    /// # Complexity
    /// O(1) expected for each key.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, u32> = (0..10).map(|n| (n, n * n)).collect();
    /// assert_eq!(cache.remove_many(&[1, 2, 3, 2, 30]), 3);
    /// assert_eq!(cache.len(), 7);
    /// ```
    #[doc(alias = "invalidateAll")]
    pub fn remove_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> u64
    where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
    {
        let mut removed = 0;
        self.remove_listed(keys, |_, _| (), |key| removed += u64::from(key.is_some()));
        removed
    }

    /// Removes each of `keys` and returns their values, cloned, in the order of the keys; `None` for each
    /// key that is absent.
    ///
    /// Of several calls that remove one key at the same time, one returns the value. Otherwise as
    /// [`remove_many`](Self::remove_many), which clones nothing.
    ///
    /// # Panics
    /// As [`remove`](Self::remove), and if the iterator does. The keys before are removed, and their values
    /// are lost.
    ///
    /// # Complexity
    /// O(1) expected for each key.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u32, u32> = (0..10).map(|n| (n, n * n)).collect();
    /// assert_eq!(cache.extract_many(&[3, 30, 3]), [Some(9), None, None]);
    /// ```
    #[must_use = "`remove_many` removes without cloning"]
    pub fn extract_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
        V: Clone,
    {
        let keys = keys.into_iter();
        let mut values = Vec::with_capacity(keys.size_hint().0);
        self.remove_listed(keys, |_, value| value.clone(), |value| values.push(value));
        values
    }

    /// Removes each of `keys`, and passes what `read` returns for it to `note`.
    fn remove_listed<'q, Q, R>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        read: impl Fn(&K, &V) -> R,
        mut note: impl FnMut(Option<R>),
    ) where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
    {
        let (mut keys, table) = (keys.into_iter(), &self.shared.engine.table);
        if !self.reads_ahead(most_of(&keys)) {
            return keys.for_each(|key| note(self.remove_reading(key, self.hash(key), &read)));
        }
        let mut block = KeyBlock::new();
        loop {
            block.read_ahead(self, &mut keys, Intent::Change);
            block.prefetch_matches(table, Intent::Change, &reclaim::pin());
            for (key, hash) in block.keys() {
                note(self.remove_reading(key, hash, &read));
            }
            if !block.finish() {
                return;
            }
        }
    }
}
