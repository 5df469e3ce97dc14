//! Every cache and map that takes part, behind one trait.
//!
//! Owns the names, the construction of each contender, and the one place where a name becomes a
//! type (`with_contender`). A `Job`, which is compiled once for each contender, says what to do
//! with it.
//!
//! Each contender keeps its own defaults: shards, policy, admission, and hasher unless
//! `Hashing::Same` is requested.
//!
//! Those that take long to compile are there only with the feature `peers`.

// This library, the other caches, and bare maps.
mod ours;
#[cfg(feature = "peers")]
mod peers;
#[cfg(feature = "peers")]
mod sharded;
mod locked;
mod maps;
// The names of all of them.
mod name;
// The trait that all of them implement.
mod interface;

use std::hash::RandomState;

#[cfg(feature = "peers")]
use foyer_memory::CacheBuilder;
use larder::Cache;

pub use self::interface::{CacheKey, Contender, Seed, Types, Value};
pub use self::locked::{LruMutex, LruSharded, QuickCache};
#[cfg(feature = "peers")]
pub use self::maps::DashMap;
pub use self::maps::Papaya;
pub use self::name::{Hashing, Kind, Name, SameHasher};
pub use self::ours::{Larder, policies};
#[cfg(feature = "peers")]
pub use self::peers::{FibreCache, Foyer, MiniMoka, Moka, Stretto, TinyUfo};
#[cfg(feature = "peers")]
pub use self::sharded::{Cached, SccCache, Sieve};

/// What to do with a contender; compiled once for each of them.
pub trait Job<K: CacheKey, V: Value> {
    /// The result of the job.
    type Output;

    /// Does the job with an empty contender that was just built.
    fn run<C: Contender<Key = K, Value = V>>(self, contender: C) -> Self::Output;
}

/// Builds the contender called `name` for `capacity_entries` and does `job` with it.
///
/// # Panics
/// If `capacity_entries` is 0.
pub fn with_contender<K: CacheKey, V: Value, J: Job<K, V>>(
    name: Name,
    hashing: Hashing,
    capacity_entries: usize,
    job: J,
) -> J::Output {
    let n = capacity_entries;
    let std = RandomState::new;
    let same = SameHasher::new;
    match (name, hashing) {
        #[cfg(feature = "peers")]
        (Name::Moka, Hashing::Own) => job.run(Moka::new(n, std())),
        #[cfg(feature = "peers")]
        (Name::Moka, Hashing::Same) => job.run(Moka::new(n, same())),
        #[cfg(feature = "peers")]
        (Name::MiniMoka, Hashing::Own) => job.run(MiniMoka::new(n, std())),
        #[cfg(feature = "peers")]
        (Name::MiniMoka, Hashing::Same) => job.run(MiniMoka::new(n, same())),
        (Name::QuickCache, Hashing::Own) => {
            job.run(QuickCache::new(n, quick_cache::DefaultHashBuilder::default()))
        }
        (Name::QuickCache, Hashing::Same) => job.run(QuickCache::new(n, same())),
        #[cfg(feature = "peers")]
        (Name::Foyer, Hashing::Own) => job.run(Foyer::new(CacheBuilder::new(n))),
        #[cfg(feature = "peers")]
        (Name::Foyer, Hashing::Same) => {
            job.run(Foyer::new(CacheBuilder::new(n).with_hash_builder(same())))
        }
        #[cfg(feature = "peers")]
        (Name::Tinyufo, _) => job.run(TinyUfo::new(n)),
        #[cfg(feature = "peers")]
        (Name::Stretto, _) => job.run(Stretto::new(n)),
        #[cfg(feature = "peers")]
        (Name::Fibre, Hashing::Own) => {
            job.run(FibreCache::new(n, fibre_cache::CacheBuilder::default()))
        }
        #[cfg(feature = "peers")]
        (Name::Fibre, Hashing::Same) => {
            job.run(FibreCache::new(n, fibre_cache::CacheBuilder::new().hasher(same())))
        }
        #[cfg(feature = "peers")]
        (Name::SieveCache, Hashing::Own) => job.run(Sieve::new(n, std())),
        #[cfg(feature = "peers")]
        (Name::SieveCache, Hashing::Same) => job.run(Sieve::new(n, same())),
        (Name::LruMutex, Hashing::Own) => job.run(LruMutex::new(n, lru::DefaultHasher::default())),
        (Name::LruMutex, Hashing::Same) => job.run(LruMutex::new(n, same())),
        (Name::LruSharded, Hashing::Own) => {
            job.run(LruSharded::new(n, lru::DefaultHasher::default()))
        }
        (Name::LruSharded, Hashing::Same) => job.run(LruSharded::new(n, same())),
        #[cfg(feature = "peers")]
        (Name::Cached, Hashing::Own) => {
            job.run(Cached::new(n, cached::DefaultShardHasher::default()))
        }
        #[cfg(feature = "peers")]
        (Name::Cached, Hashing::Same) => job.run(Cached::new(n, same())),
        #[cfg(feature = "peers")]
        (Name::Scc, Hashing::Own) => job.run(SccCache::new(n, std())),
        #[cfg(feature = "peers")]
        (Name::Scc, Hashing::Same) => job.run(SccCache::new(n, same())),
        (Name::Papaya, Hashing::Own) => job.run(Papaya::new(std())),
        (Name::Papaya, Hashing::Same) => job.run(Papaya::new(same())),
        #[cfg(feature = "peers")]
        (Name::Dashmap, Hashing::Own) => job.run(DashMap::new(std())),
        #[cfg(feature = "peers")]
        (Name::Dashmap, Hashing::Same) => job.run(DashMap::new(same())),
        (_, Hashing::Own) => job.run(Larder::new(name, n, Cache::builder())),
        (_, Hashing::Same) => job.run(Larder::new(name, n, Cache::builder().hasher(same()))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::ValueEnum;

    use super::*;

    struct FillAndLookUp;

    impl<K: CacheKey, V: Value> Job<K, V> for FillAndLookUp {
        type Output = ();

        fn run<C: Contender<Key = K, Value = V>>(self, contender: C) {
            let keys: Vec<K> = (0..101).map(K::new).collect();
            let (absent, present) = keys.split_last().expect("there are some");
            for (key, number) in present.iter().zip(0..) {
                contender.insert(key.clone(), V::new(number));
            }
            contender.run_pending();
            for (key, number) in present.iter().zip(0..) {
                assert_eq!(contender.get(key).map(|value| value.number()), Some(number));
                assert_eq!(contender.read(key), Some(number));
            }
            assert_eq!(contender.read(absent), None);
            assert_eq!(contender.get_all(&keys[97..]), 3);
            assert!(contender.entries().is_none_or(|entries| entries == 100));
            assert!(contender.iterate().is_none_or(|entries| entries == 100));

            contender.insert(keys[0].clone(), V::new(1_000));
            contender.remove(&keys[1]);
            contender.run_pending();
            assert_eq!(contender.read(&keys[0]), Some(1_000));
            assert_eq!(contender.read(&keys[1]), None);
            assert_eq!(contender.get_or_load(&keys[1], || V::new(2_000)).number(), 2_000);
            contender.run_pending();
            assert_eq!(contender.read(&keys[1]), Some(2_000));
            assert!(contender.iterate().is_none_or(|entries| entries == 100));
        }
    }

    #[test]
    fn every_contender_keeps_what_fits() {
        for name in Name::value_variants() {
            for hashing in [Hashing::Own, Hashing::Same] {
                with_contender::<u64, u64, _>(*name, hashing, 4_096, FillAndLookUp);
                with_contender::<u64, Arc<u64>, _>(*name, hashing, 4_096, FillAndLookUp);
                with_contender::<String, Arc<[u8]>, _>(*name, hashing, 4_096, FillAndLookUp);
            }
        }
    }
}
