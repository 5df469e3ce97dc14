//! Serializers that panic, and readers and writers that panic or fail, at each call: the cache is
//! whole afterwards.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use larder::snapshot::{RestoreOptions, SaveOptions, Serializers, SnapshotError};
use larder::{Cache, Maintenance};
use serde::{Deserialize, Serialize};

thread_local! {
    /// How many calls of this thread are left until one panics.
    static FUSE: Cell<u32> = const { Cell::new(u32::MAX) };
}

fn burn() {
    let left = FUSE.get();
    if left != u32::MAX {
        FUSE.set(left.saturating_sub(1));
    }
    assert_ne!(left, 0, "planned");
}

/// Its `Serialize` and `Deserialize` panic in their n-th call.
#[derive(Clone, Debug, PartialEq)]
struct Fragile(u64);

impl Serialize for Fragile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        burn();
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        burn();
        u64::deserialize(deserializer).map(Self)
    }
}

type FragileCache = Cache<u64, Fragile>;

const ENTRIES: u64 = 20;

fn caches() -> [FragileCache; 2] {
    [Maintenance::Inline, Maintenance::Background].map(|mode| {
        let cache = Cache::builder().capacity(100).maintenance(mode).build().unwrap();
        for key in 0..ENTRIES {
            cache.insert(key, Fragile(key));
        }
        cache
    })
}

fn assert_whole(cache: &FragileCache) {
    cache.validate();
    assert_eq!(cache.len() as u64, ENTRIES);
    for key in 0..ENTRIES {
        assert_eq!(cache.get(&key), Some(Fragile(key)));
    }
    // The cache is still usable.
    cache.insert(ENTRIES, Fragile(ENTRIES));
    assert_eq!(cache.remove(&ENTRIES), Some(Fragile(ENTRIES)));
    assert!(cache.flush().is_ok());
    cache.validate();
}

fn options(name: &str) -> SaveOptions {
    SaveOptions::new(Serializers::standard().get(name).unwrap())
}

/// A snapshot of keys that the caches do not hold.
fn snapshot(name: &str) -> Vec<u8> {
    let other: FragileCache =
        Cache::builder().capacity(100).maintenance(Maintenance::Inline).build().unwrap();
    for key in 100..100 + ENTRIES {
        other.insert(key, Fragile(key));
    }
    let mut bytes = Vec::new();
    other.save_to(&mut bytes, &options(name)).unwrap();
    bytes
}

#[test]
fn a_value_that_panics_while_it_is_saved_leaves_cache_and_file_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot");
    for (cache, name) in caches().iter().flat_map(|cache| [(cache, "bincode"), (cache, "json")]) {
        cache.save_to_path(&path, &options(name)).unwrap();
        let before = std::fs::read(&path).unwrap();
        for nth in 0..ENTRIES as u32 {
            FUSE.set(nth);
            let saved =
                catch_unwind(AssertUnwindSafe(|| cache.save_to_path(&path, &options(name))));
            FUSE.set(u32::MAX);
            assert!(saved.is_err(), "the {nth}-th panics");
            assert_eq!(std::fs::read(&path).unwrap(), before);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a file was left");
            assert_whole(cache);
        }
    }
}

#[test]
fn a_value_that_panics_while_it_is_loaded_leaves_the_cache_as_it_was() {
    for (cache, name) in caches().iter().flat_map(|cache| [(cache, "bincode"), (cache, "json")]) {
        let bytes = snapshot(name);
        for nth in 0..ENTRIES as u32 {
            FUSE.set(nth);
            let load = || cache.load_from(&*bytes, &RestoreOptions::new());
            let loaded = catch_unwind(AssertUnwindSafe(load));
            FUSE.set(u32::MAX);
            assert!(loaded.is_err(), "the {nth}-th panics");
            assert_whole(cache);
        }
    }
}

/// Reads or writes a number of bytes, then fails or panics.
struct Breaking<'b> {
    bytes: &'b [u8],
    left: usize,
    panics: bool,
}

impl Breaking<'_> {
    fn take(&mut self, wanted: usize) -> io::Result<usize> {
        if self.left == 0 {
            assert!(!self.panics, "planned");
            return Err(io::Error::from(io::ErrorKind::ConnectionReset));
        }
        let taken = wanted.min(self.left).min(7);
        self.left -= taken;
        Ok(taken)
    }
}

impl Read for Breaking<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = into.len().min(self.bytes.len());
        let taken = self.take(wanted)?;
        let (now, later) = self.bytes.split_at(taken);
        into[..taken].copy_from_slice(now);
        self.bytes = later;
        Ok(taken)
    }
}

impl Write for Breaking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_breaks_anywhere_leaves_the_cache_as_it_was() {
    for (cache, name) in caches().iter().flat_map(|cache| [(cache, "bincode"), (cache, "json")]) {
        let bytes = snapshot(name);
        for left in (0..bytes.len()).step_by(13) {
            let broken = |panics| Breaking { bytes: &bytes, left, panics };
            let error = cache.load_from(broken(false), &RestoreOptions::new()).unwrap_err();
            assert!(matches!(error, SnapshotError::Io(_)), "{error:?} after {left}");
            let load = || cache.load_from(broken(true), &RestoreOptions::new());
            assert!(catch_unwind(AssertUnwindSafe(load)).is_err());
            assert_whole(cache);
        }
    }
}

#[test]
fn a_writer_that_breaks_anywhere_is_an_error_and_the_cache_is_whole() {
    for (cache, name) in caches().iter().flat_map(|cache| [(cache, "bincode"), (cache, "json")]) {
        let mut bytes = Vec::new();
        cache.save_to(&mut bytes, &options(name)).unwrap();
        for left in (0..bytes.len()).step_by(13) {
            let broken = |panics| Breaking { bytes: &[], left, panics };
            let error = cache.save_to(broken(false), &options(name)).unwrap_err();
            assert!(matches!(error, SnapshotError::Io(_)), "{error:?} after {left}");
            let save = || cache.save_to(broken(true), &options(name));
            assert!(catch_unwind(AssertUnwindSafe(save)).is_err());
            assert_whole(cache);
        }
    }
}
