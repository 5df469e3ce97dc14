//! Faults of what the library stands on and of what users give it, one at each place and at each
//! call: serializers, readers and writers that panic or fail, and memory that is short. Each time
//! the cache is whole afterwards, and can be used further. Panics of keys, values, closures, weighers,
//! listeners, executors, clocks, expiries and policies: `drops`, `listeners`, `atomic_listener`,
//! `expiry`, `invalidation`, `custom_policies`, `memory_pressure`.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::ptr;

use larder::snapshot::{LoadOptions, SaveOptions, Serializers, SnapshotError};
use larder::{Cache, Maintenance};
use serde::{Deserialize, Serialize};

thread_local! {
    /// Allocations of this thread until one fails, if any is to.
    static COUNTDOWN: Cell<u64> = const { Cell::new(u64::MAX) };
    /// From how many bytes on all fail.
    static LARGEST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Fails when it is told to.
struct Failing;

// SAFETY: hands everything on to the system's allocator, or nothing.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let fails = COUNTDOWN.try_with(|countdown| {
            let left = countdown.get();
            if left != u64::MAX {
                countdown.set(left.saturating_sub(1));
            }
            left == 0
        });
        let is_large = LARGEST.try_with(|largest| layout.size() >= largest.get());
        if fails.unwrap_or(false) || is_large.unwrap_or(false) {
            // What reports that may allocate.
            let _ = COUNTDOWN.try_with(|countdown| countdown.set(u64::MAX));
            return ptr::null_mut();
        }
        // SAFETY: passed on to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

thread_local! {
    /// Calls of this thread until one panics.
    static FUSE: Cell<u32> = const { Cell::new(u32::MAX) };
}

fn burn() {
    let left = FUSE.get();
    if left != u32::MAX {
        FUSE.set(left.saturating_sub(1));
    }
    assert_ne!(left, 0, "planned");
}

/// Panics in the n-th call of its `Serialize` or `Deserialize`.
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

type Held = Cache<u64, Fragile>;

const ENTRIES: u64 = 20;

fn caches() -> [Held; 2] {
    [Maintenance::Inline, Maintenance::Background].map(|mode| {
        let cache = Cache::builder().capacity(100).maintenance(mode).build().unwrap();
        for key in 0..ENTRIES {
            cache.insert(key, Fragile(key));
        }
        cache
    })
}

fn assert_whole(cache: &Held) {
    cache.validate();
    assert_eq!(cache.len() as u64, ENTRIES);
    for key in 0..ENTRIES {
        assert_eq!(cache.get(&key), Some(Fragile(key)));
    }
    // And of further use.
    cache.insert(ENTRIES, Fragile(ENTRIES));
    assert_eq!(cache.remove(&ENTRIES), Some(Fragile(ENTRIES)));
    assert!(cache.flush().is_ok());
    cache.validate();
}

fn options(name: &str) -> SaveOptions {
    SaveOptions::new(Serializers::standard().get(name).unwrap())
}

/// A snapshot of keys that the caches do not have.
fn snapshot(name: &str) -> Vec<u8> {
    let other: Held =
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
            let load = || cache.load_from(&*bytes, &LoadOptions::new());
            let loaded = catch_unwind(AssertUnwindSafe(load));
            FUSE.set(u32::MAX);
            assert!(loaded.is_err(), "the {nth}-th panics");
            assert_whole(cache);
        }
    }
}

/// Takes or gives so many bytes, then fails or panics.
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
            let error = cache.load_from(broken(false), &LoadOptions::new()).unwrap_err();
            assert!(matches!(error, SnapshotError::Io(_)), "{error:?} after {left}");
            let load = || cache.load_from(broken(true), &LoadOptions::new());
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

/// Every verb, on a cache that it makes and drops.
fn use_a_cache() {
    let cache: Cache<u64, Vec<u8>> =
        Cache::builder().capacity(64).maintenance(Maintenance::Inline).build().unwrap();
    for key in 0..200 {
        cache.insert(key, vec![1; 8]);
        cache.insert(key, vec![2; 8]);
        let _ = cache.get(&(key / 2));
        let _ = cache.remove(&(key / 3));
    }
    assert!(cache.len() <= 64);
    cache.validate();
}

/// Runs a test of this file in a process of its own.
fn child(test: &str, variable: &str, value: u64) -> std::process::Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    command.env(variable, value.to_string()).output().unwrap()
}

fn told(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

#[test]
fn child_runs_out_of_memory() {
    let Some(nth) = told("LARDER_CHILD_NTH") else { return };
    COUNTDOWN.set(nth);
    use_a_cache();
    let has_failed = COUNTDOWN.replace(u64::MAX) == u64::MAX;
    println!("{}", if has_failed { "went on" } else { "had enough" });
}

#[cfg(unix)]
#[test]
fn an_allocation_that_fails_ends_the_process_and_says_so() {
    use std::os::unix::process::ExitStatusExt;
    const SIGABRT: i32 = 6;
    let (mut aborted, mut nth) = (0, 0);
    loop {
        let output = child("child_runs_out_of_memory", "LARDER_CHILD_NTH", nth);
        let (out, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if out.contains("had enough") {
            break;
        }
        // Some memory is not needed: without a slab, say, entries come one by one.
        let has_gone_on = output.status.success() && out.contains("went on");
        let has_said_so =
            output.status.signal() == Some(SIGABRT) && error.contains("memory allocation of");
        assert!(has_gone_on || has_said_so, "allocation {nth}: {output:?}");
        aborted += u32::from(has_said_so);
        // Each of the first ones, which build the cache, then some of those that all are alike.
        nth += 1 + nth / 16;
    }
    println!("{aborted} failures up to allocation {nth} ended the process");
    assert!(aborted > 20);
}

#[test]
fn child_gets_no_large_memory() {
    let Some(largest) = told("LARDER_CHILD_LARGEST") else { return };
    LARGEST.set(usize::try_from(largest).unwrap());
    use_a_cache();
    LARGEST.set(usize::MAX);
    println!("went on");
}

#[test]
fn entries_come_one_by_one_where_memory_for_a_slab_is_short() {
    let output = child("child_gets_no_large_memory", "LARDER_CHILD_LARGEST", 30 * 1024);
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("went on"), "{output:?}");
}
