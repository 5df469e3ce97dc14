//! What every contender can do, and the values that it stores.

use std::hash::BuildHasher;
use std::sync::Arc;

/// A value that the workloads store: it carries one number, that of its key.
pub trait Value: Clone + Send + Sync + 'static {
    /// Makes the value that carries `number`.
    fn new(number: u64) -> Self;
    /// The number that it carries.
    fn number(&self) -> u64;
}

impl Value for u64 {
    #[inline]
    fn new(number: u64) -> Self {
        number
    }

    #[inline]
    fn number(&self) -> u64 {
        *self
    }
}

impl Value for Arc<u64> {
    #[inline]
    fn new(number: u64) -> Self {
        Arc::new(number)
    }

    #[inline]
    fn number(&self) -> u64 {
        **self
    }
}

/// A cache or map from `u64` to `Value`, shared by threads.
pub trait Contender: Send + Sync + 'static {
    /// What it stores.
    type Value: Value;

    /// Returns a copy of the value under `key`.
    fn get(&self, key: &u64) -> Option<Self::Value>;

    /// Reads the value under `key` in the cheapest way: by reference if the contender can, else
    /// through a copy.
    #[inline]
    fn read(&self, key: &u64) -> Option<u64> {
        self.get(key).map(|value| value.number())
    }

    /// Looks up all of `keys` and returns how many were found: under one pin or guard if the
    /// contender has one, else one by one.
    #[inline]
    fn get_all(&self, keys: &[u64]) -> u64 {
        let mut hits = 0;
        for key in keys {
            if let Some(value) = self.get(key) {
                std::hint::black_box(value.number());
                hits += 1;
            }
        }
        hits
    }

    /// Returns a copy of the value under `key`; if it is missing, makes it by `load` and stores it: once for all
    /// threads that miss it, if the contender can, else by a lookup and an insertion.
    #[inline]
    fn get_or_load(&self, key: &u64, load: impl FnOnce() -> Self::Value) -> Self::Value {
        self.get(key).unwrap_or_else(|| {
            let value = load();
            self.insert(*key, value.clone());
            value
        })
    }

    /// Inserts `value` under `key`.
    fn insert(&self, key: u64, value: Self::Value);

    /// Finishes deferred work, so that the next measurement does not include it.
    fn run_pending(&self) {}

    /// The number of entries that are present, if the contender knows it.
    fn entries(&self) -> Option<usize>;
}

/// A hasher that builders take: a bound on the type parameter of each contender.
pub trait Seed: BuildHasher + Clone + Send + Sync + 'static {}
impl<S: BuildHasher + Clone + Send + Sync + 'static> Seed for S {}
