//! Every cache and map that takes part, behind one trait.
//!
//! Owns the names, the construction of each contender, and the one place where a name becomes a
//! type (`with_contender`). A `Job`, which is compiled once for each contender, says what to do
//! with it.
//!
//! Each contender keeps its own defaults: shards, policy, admission, and hasher unless
//! `Hashing::Same` is requested.

// This library, the other caches, and bare maps.
mod ours;
mod peers;
mod maps;
// The names of all of them.
mod name;
// The trait that all of them implement.
mod interface;

use std::hash::RandomState;

use foyer_memory::CacheBuilder;
use larder::Cache;

pub use self::interface::{Contender, Seed, Value};
pub use self::maps::{DashMap, Papaya};
pub use self::name::{Hashing, Kind, Name, SameHasher};
pub use self::ours::{Larder, policies};
pub use self::peers::{Foyer, LruMutex, Moka, QuickCache, TinyUfo};

/// What to do with a contender; compiled once for each of them.
pub trait Job<V: Value> {
    /// The result of the job.
    type Output;

    /// Does the job with an empty contender that was just built.
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
        (Name::Dashmap, Hashing::Own) => job.run(DashMap::new(std())),
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

    impl<V: Value> Job<V> for FillAndLookUp {
        type Output = ();

        fn run<C: Contender<Value = V>>(self, contender: C) {
            for number in 0..100 {
                contender.insert(number, V::new(number));
            }
            contender.run_pending();
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
