//! larder as a contender, with each policy.

use std::hint::black_box;

use larder::{Builder, Cache, Maintenance, Policy};

use crate::contender::interface::{CacheKey, Contender, Seed, Value};
use crate::contender::name::Name;

/// The policies that single operations are measured with, by name.
#[must_use]
pub fn policies() -> [(&'static str, Policy); 5] {
    [
        ("fifo", Policy::fifo()),
        ("sieve", Policy::sieve()),
        ("s3-fifo", Policy::s3_fifo()),
        ("lru", Policy::lru()),
        ("lfu", Policy::lfu()),
    ]
}

/// larder, looked up with `get`, `read` and `pin`.
pub struct Larder<K: CacheKey, V: Value, S: Seed> {
    cache: Cache<K, V, S>,
}

impl<K: CacheKey, V: Value, S: Seed> Larder<K, V, S> {
    /// Builds the variant called `name` for `capacity_entries`; `builder` supplies the hasher.
    ///
    /// # Panics
    /// If `capacity_entries` is 0.
    pub fn new(name: Name, capacity_entries: usize, builder: Builder<K, V, S>) -> Self {
        let builder = builder.capacity(capacity_entries);
        let builder = match name {
            Name::LarderS3Fifo => builder.policy(Policy::s3_fifo()),
            Name::LarderSieve => builder.policy(Policy::sieve()),
            Name::LarderLru => builder.policy(Policy::lru()),
            Name::LarderLfu => builder.policy(Policy::lfu()),
            Name::LarderFifo => builder.policy(Policy::fifo()),
            Name::LarderFifoCounted => builder.policy(Policy::fifo()).count_lookups(),
            Name::LarderInline => builder.maintenance(Maintenance::Inline),
            _ => builder,
        };
        Self { cache: builder.build().expect("a capacity of at least 1 and nothing else was set") }
    }
}

impl<K: CacheKey, V: Value, S: Seed> Contender for Larder<K, V, S> {
    type Key = K;
    type Value = V;

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.cache.get(key)
    }

    #[inline]
    fn read(&self, key: &K) -> Option<u64> {
        self.cache.read(key, V::number)
    }

    #[inline]
    fn get_all(&self, keys: &[K]) -> u64 {
        let pinned = self.cache.pin();
        let mut hits = 0;
        for key in keys {
            if let Some(value) = pinned.get(key) {
                black_box(value.number());
                hits += 1;
            }
        }
        hits
    }

    #[inline]
    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V) -> V {
        self.cache.get_or_insert_with(key, load)
    }

    #[inline]
    fn insert(&self, key: K, value: V) {
        let _ = black_box(self.cache.insert(key, value));
    }

    #[inline]
    fn remove(&self, key: &K) {
        black_box(self.cache.remove(key));
    }

    fn iterate(&self) -> Option<usize> {
        Some(self.cache.iter().map(black_box).count())
    }

    fn run_pending(&self) {
        self.cache.run_pending();
        // An error means that a pin is alive elsewhere; then waiting is pointless.
        let _ = self.cache.flush();
    }

    fn entries(&self) -> Option<usize> {
        Some(self.cache.len())
    }
}
