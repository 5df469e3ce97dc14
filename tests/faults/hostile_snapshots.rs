//! Snapshots that differ from what was written: cut off, damaged, forged, foreign, unreadable, or
//! interrupted by a kill of the process or a full disk. A load always ends with a typed error or
//! the right content, takes little memory, and leaves the cache as it was if it fails.

mod damaged;
mod forged;
mod files;

use larder::snapshot::{RestoreOptions, SaveOptions, Serializers, SnapshotError};
use larder::{Cache, Maintenance};

type Small = Cache<String, u32>;

fn inline<K, V>(capacity: usize) -> Cache<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    Cache::builder().capacity(capacity).maintenance(Maintenance::Inline).build().unwrap()
}

fn options(serializer: &str) -> SaveOptions {
    SaveOptions::new(Serializers::standard().get(serializer).unwrap())
}

/// A snapshot of three entries in each form.
fn small_snapshots() -> Vec<(&'static str, Vec<u8>)> {
    let forms = [
        ("bincode", options("bincode")),
        ("json", options("json")),
        ("bincode, packed", options("bincode").zstd(3)),
        ("json, packed", options("json").zstd(3)),
    ];
    forms.map(|(name, options)| (name, snapshot_of(3, &options))).into()
}

fn snapshot_of(entries: u32, options: &SaveOptions) -> Vec<u8> {
    let cache = Small::new(100_000);
    for n in 0..entries {
        match n {
            1 if entries < 10 => cache.insert_with_tags(format!("key {n}"), n, ["odd", "\u{e4}"]),
            _ => cache.insert(format!("key {n}"), n),
        };
    }
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, options).unwrap();
    bytes
}

fn contents(cache: &Small) -> Vec<(String, u32)> {
    let mut all: Vec<_> = cache.iter().collect();
    all.sort();
    all
}

/// Loads into a cache that has one entry, which must be its only entry if the load fails.
fn load(bytes: &[u8]) -> Result<Vec<(String, u32)>, SnapshotError> {
    let cache: Small = inline(1000);
    cache.insert("own".to_owned(), 7);
    let loaded = cache.load_from(bytes, &RestoreOptions::new());
    cache.validate();
    match loaded {
        Ok(_) => Ok(contents(&cache)),
        Err(error) => {
            assert_eq!(
                contents(&cache),
                [("own".to_owned(), 7)],
                "the cache changed in spite of {error}"
            );
            assert!(!error.to_string().is_empty());
            Err(error)
        }
    }
}

fn whole() -> Vec<(String, u32)> {
    let keys = (0..3).map(|n| (format!("key {n}"), n));
    keys.chain([("own".to_owned(), 7)]).collect()
}
