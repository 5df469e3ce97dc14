//! Every cache and map that takes part, behind one trait.
//!
//! Owns the names, how each contender is built, and the one place where a name becomes a type
//! (`with_contender`). What is done with it is left to a `Job`, which is compiled once for each
//! contender.
//!
//! Each contender keeps its own defaults: shards, policy, admission, and its own hasher unless
//! `Hashing::Same` is asked for.

mod ours;
mod peers;
mod maps;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use clap::ValueEnum;
use foyer_memory::CacheBuilder;
use larder::Cache;

pub use self::maps::{Dash, Papaya};
pub use self::ours::Larder;
pub use self::peers::{Foyer, LruMutex, Moka, QuickCache, TinyUfo};

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

    /// Looks at the value under `key` in the cheapest way there is: by reference where the
    /// contender can, else through a copy.
    #[inline]
    fn read(&self, key: &u64) -> Option<u64> {
        self.get(key).map(|value| value.number())
    }

    /// Looks up all of `keys` and returns how many were found: under one pin or guard where the
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

    /// Inserts `value` under `key`.
    fn insert(&self, key: u64, value: Self::Value);

    /// Finishes deferred work, so that what is measured next does not pay for it.
    fn settle(&self) {}

    /// How many entries are present, where the contender knows.
    fn entries(&self) -> Option<usize>;
}

/// A hasher that builders take: a bound on the type parameter of each contender.
pub trait Seed: BuildHasher + Clone + Send + Sync + 'static {}
impl<S: BuildHasher + Clone + Send + Sync + 'static> Seed for S {}

/// The hasher that `Hashing::Same` gives to everybody.
pub type SameHasher = ahash::RandomState;

/// Which hasher the contenders get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// Each its own default.
    Own,
    /// `ahash::RandomState` for all that take a hasher.
    Same,
}

/// What a contender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This library.
    Larder,
    /// Another cache.
    Peer,
    /// A bare map: it has no bound, so it takes part only where nothing is evicted.
    Map,
}

/// The contenders by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// larder as `Cache::builder().capacity(n)` builds it.
    Larder,
    /// larder with the policy S3-FIFO.
    #[value(name = "larder-s3fifo")]
    LarderS3Fifo,
    /// larder with the policy SIEVE.
    LarderSieve,
    /// larder with the policy LRU.
    LarderLru,
    /// larder with the policy LFU.
    LarderLfu,
    /// larder with the policy FIFO, which wants to know of no access.
    LarderFifo,
    /// larder without a maintenance thread.
    LarderInline,
    /// larder with the policy FIFO, counting its hits and misses.
    LarderFifoCounted,
    /// moka 0.12, `sync::Cache`.
    Moka,
    /// quick_cache 0.7, `sync::Cache`.
    QuickCache,
    /// foyer 0.22, in memory only.
    Foyer,
    /// TinyUFO 0.9.
    Tinyufo,
    /// lru 0.19 in a `std::sync::Mutex`.
    LruMutex,
    /// papaya 0.2, a map.
    Papaya,
    /// dashmap 6, a map.
    Dashmap,
}

impl Name {
    /// Those that take part unless others are asked for.
    pub const DEFAULT: [Self; 11] = [
        Self::Larder,
        Self::LarderS3Fifo,
        Self::LarderSieve,
        Self::LarderLru,
        Self::Moka,
        Self::QuickCache,
        Self::Foyer,
        Self::Tinyufo,
        Self::LruMutex,
        Self::Papaya,
        Self::Dashmap,
    ];

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Larder
            | Self::LarderS3Fifo
            | Self::LarderSieve
            | Self::LarderLru
            | Self::LarderLfu
            | Self::LarderFifo
            | Self::LarderInline
            | Self::LarderFifoCounted => Kind::Larder,
            Self::Moka | Self::QuickCache | Self::Foyer | Self::Tinyufo | Self::LruMutex => {
                Kind::Peer
            }
            Self::Papaya | Self::Dashmap => Kind::Map,
        }
    }

    /// The hasher that it hashes with.
    #[must_use]
    pub fn hasher(self, hashing: Hashing) -> &'static str {
        match (self, hashing) {
            (Self::Tinyufo, _) => "ahash (fixed)",
            (_, Hashing::Same) => "ahash",
            (Self::Moka | Self::Papaya | Self::Dashmap, Hashing::Own) => "SipHash-1-3 (std)",
            (Self::QuickCache | Self::LruMutex, Hashing::Own) => "foldhash",
            (Self::Foyer, Hashing::Own) => "xxHash64, unseeded",
            (_, Hashing::Own) => "larder's default",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no variant is skipped");
        f.pad(value.get_name())
    }
}

/// What to do with a contender; compiled once for each of them.
pub trait Job<V: Value> {
    /// What comes of it.
    type Output;

    /// Does it with a contender that was just built and is empty.
    fn run<C: Contender<Value = V>>(self, contender: C) -> Self::Output;
}

/// Builds the contender called `name` for `capacity_entries` and does `job` with it.
///
/// # Panics
/// If `capacity_entries` is 0.
pub fn with_contender<V: Value, J: Job<V>>(
    name: Name,
    hashing: Hashing,
    capacity_entries: usize,
    job: J,
) -> J::Output {
    let n = capacity_entries;
    let std = RandomState::new;
    let same = SameHasher::new;
    match (name, hashing) {
        (Name::Moka, Hashing::Own) => job.run(Moka::new(n, std())),
        (Name::Moka, Hashing::Same) => job.run(Moka::new(n, same())),
        (Name::QuickCache, Hashing::Own) => {
            job.run(QuickCache::new(n, quick_cache::DefaultHashBuilder::default()))
        }
        (Name::QuickCache, Hashing::Same) => job.run(QuickCache::new(n, same())),
        (Name::Foyer, Hashing::Own) => job.run(Foyer::new(CacheBuilder::new(n))),
        (Name::Foyer, Hashing::Same) => {
            job.run(Foyer::new(CacheBuilder::new(n).with_hash_builder(same())))
        }
        (Name::Tinyufo, _) => job.run(TinyUfo::new(n)),
        (Name::LruMutex, Hashing::Own) => job.run(LruMutex::new(n, lru::DefaultHasher::default())),
        (Name::LruMutex, Hashing::Same) => job.run(LruMutex::new(n, same())),
        (Name::Papaya, Hashing::Own) => job.run(Papaya::new(std())),
        (Name::Papaya, Hashing::Same) => job.run(Papaya::new(same())),
        (Name::Dashmap, Hashing::Own) => job.run(Dash::new(std())),
        (Name::Dashmap, Hashing::Same) => job.run(Dash::new(same())),
        (_, Hashing::Own) => job.run(Larder::new(name, n, Cache::builder())),
        (_, Hashing::Same) => job.run(Larder::new(name, n, Cache::builder().hasher(same()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct FillAndLookUp;

    impl<V: Value> Job<V> for FillAndLookUp {
        type Output = ();

        fn run<C: Contender<Value = V>>(self, contender: C) {
            for number in 0..100 {
                contender.insert(number, V::new(number));
            }
            contender.settle();
            for number in 0..100 {
                assert_eq!(contender.get(&number).map(|value| value.number()), Some(number));
                assert_eq!(contender.read(&number), Some(number));
            }
            assert_eq!(contender.read(&100), None);
            assert_eq!(contender.get_all(&[1, 2, 3, 1_000]), 3);
            assert!(contender.entries().is_none_or(|entries| entries == 100));
        }
    }

    #[test]
    fn every_contender_keeps_what_fits() {
        for name in Name::value_variants() {
            for hashing in [Hashing::Own, Hashing::Same] {
                with_contender::<u64, _>(*name, hashing, 4_096, FillAndLookUp);
                with_contender::<Arc<u64>, _>(*name, hashing, 4_096, FillAndLookUp);
            }
        }
    }
}
