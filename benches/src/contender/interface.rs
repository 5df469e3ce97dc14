//! What every contender can do, and the keys and values that it stores.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// A key that the workloads use: it stands for one number.
pub trait CacheKey: Hash + Eq + Clone + Send + Sync + 'static {
    /// By how much a long sequence of such keys is shorter than one of numbers, so that it needs
    /// about as much memory.
    const SHRINK: usize;

    /// Makes the key for `number`; different numbers have different keys.
    fn new(number: u64) -> Self;
}

impl CacheKey for u64 {
    const SHRINK: usize = 1;

    #[inline]
    fn new(number: u64) -> Self {
        number
    }
}

impl CacheKey for String {
    const SHRINK: usize = 8;

    fn new(number: u64) -> Self {
        format!("user:{number:016x}")
    }
}

/// The types of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Types {
    /// `u64` to `u64`.
    Numbers,
    /// `u64` to `Arc<u64>`.
    Arcs,
    /// `String` to `Arc<[u8]>`.
    Strings,
}

/// A value that the workloads store: it carries one number, that of its key.
pub trait Value: Clone + Send + Sync + 'static {
    /// The types that it belongs to. Only the workloads with these types are compiled for it.
    const TYPES: Types;

    /// Makes the value that carries `number`.
    fn new(number: u64) -> Self;
    /// The number that it carries.
    fn number(&self) -> u64;
}

impl Value for u64 {
    const TYPES: Types = Types::Numbers;

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
    const TYPES: Types = Types::Arcs;

    #[inline]
    fn new(number: u64) -> Self {
        Arc::new(number)
    }

    #[inline]
    fn number(&self) -> u64 {
        **self
    }
}

/// As large as a small record that a service keeps in its encoded form; the number is in front.
const SLICE_BYTES: usize = 64;

impl Value for Arc<[u8]> {
    const TYPES: Types = Types::Strings;

    #[inline]
    fn new(number: u64) -> Self {
        let mut bytes = [0; SLICE_BYTES];
        bytes[..size_of::<u64>()].copy_from_slice(&number.to_le_bytes());
        Self::from(bytes.as_slice())
    }

    #[inline]
    fn number(&self) -> u64 {
        let (number, _) = self.split_first_chunk().expect("made by `new`, of 64 bytes");
        u64::from_le_bytes(*number)
    }
}

/// A cache or map from `CacheKey` to `Value`, shared by threads.
pub trait Contender: Send + Sync + 'static {
    /// What it is looked up by.
    type Key: CacheKey;
    /// What it stores.
    type Value: Value;

    /// Returns a copy of the value under `key`.
    fn get(&self, key: &Self::Key) -> Option<Self::Value>;

    /// Reads the value under `key` in the cheapest way: by reference if the contender can, else
    /// through a copy.
    #[inline]
    fn read(&self, key: &Self::Key) -> Option<u64> {
        self.get(key).map(|value| value.number())
    }

    /// Looks up all of `keys` and returns how many were found: under one pin or guard if the
    /// contender has one, else one by one.
    #[inline]
    fn get_all(&self, keys: &[Self::Key]) -> u64 {
        let mut hits = 0;
        for key in keys {
            if let Some(value) = self.get(key) {
                std::hint::black_box(value.number());
                hits += 1;
            }
        }
        hits
    }

    /// Returns a copy of the value under `key`; if it is missing, makes it by `load` and stores it:
    /// once for all threads that miss it, if the contender can, else by a lookup and an insertion.
    #[inline]
    fn get_or_load(&self, key: &Self::Key, load: impl FnOnce() -> Self::Value) -> Self::Value {
        self.get(key).unwrap_or_else(|| {
            let value = load();
            self.insert(key.clone(), value.clone());
            value
        })
    }

    /// Inserts `value` under `key`.
    fn insert(&self, key: Self::Key, value: Self::Value);

    /// Removes `key` by the cheapest verb that does.
    fn remove(&self, key: &Self::Key);

    /// Visits every entry, and returns how many there were; `None` if the contender has no verb for
    /// that.
    fn iterate(&self) -> Option<usize> {
        None
    }

    /// Finishes deferred work, so that the next measurement does not include it.
    fn run_pending(&self) {}

    /// The number of entries that are present, if the contender knows it.
    fn entries(&self) -> Option<usize>;
}

/// A hasher that builders take: a bound on the type parameter of each contender.
pub trait Seed: BuildHasher + Clone + Send + Sync + 'static {}
impl<S: BuildHasher + Clone + Send + Sync + 'static> Seed for S {}
