//! What a cache takes before it is used. It has a process of its own, for the allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use larder::{Cache, Maintenance, Policy};

thread_local! {
    /// The requested bytes that this thread has allocated and not freed.
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends allocates after this is gone.
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get() + bytes));
}

/// The system's allocator, which counts for each thread.
struct Counting;

// SAFETY: every call is passed to `System` with its arguments, and its result is returned unchanged. The
// counter does not affect either, and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise about `layout` is the one that `System` requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: `memory` came from `System`, as all that this allocator returns, and with `layout`.
        unsafe { System.dealloc(memory, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Held by each test: caches of other threads may free what this one has allocated for the process's list of
/// caches, or the other way round.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each is built once before it is counted, because the first also makes what belongs to the process.
fn bytes_of<T>(make: impl Fn() -> T) -> isize {
    drop(make());
    let before = LIVE_BYTES.get();
    let made = make();
    let bytes = LIVE_BYTES.get() - before;
    drop(made);
    assert_eq!(LIVE_BYTES.get(), before, "all of it is freed");
    bytes
}

#[test]
fn an_empty_cache_takes_at_most_four_kibibytes() {
    let _alone = alone();
    let with = |policy: fn() -> Policy| {
        move || Cache::<u64, u64>::builder().capacity(1_000).policy(policy()).build()
    };
    for (name, bytes) in [
        ("default", bytes_of(|| Cache::<u64, u64>::new(1_000))),
        ("tiny", bytes_of(|| Cache::<u64, u64>::new(1))),
        ("strings", bytes_of(|| Cache::<String, String>::new(1_000))),
        ("lru", bytes_of(with(Policy::lru))),
        ("lfu", bytes_of(with(Policy::lfu))),
        ("fifo", bytes_of(with(Policy::fifo))),
        ("sieve", bytes_of(with(Policy::sieve))),
        ("s3_fifo", bytes_of(with(Policy::s3_fifo))),
        (
            "inline",
            bytes_of(|| {
                let inline = Cache::<u64, u64>::builder().maintenance(Maintenance::Inline);
                inline.max_weight(1 << 40).build()
            }),
        ),
    ] {
        println!("{name}: {bytes} bytes");
        assert!((1..=4096).contains(&bytes), "{name}: {bytes} bytes");
    }
}

#[test]
fn caches_that_are_only_read_take_no_more() {
    let _alone = alone();
    let cache = Cache::<u64, u64>::new(1_000);
    cache.get(&0); // makes what belongs to the thread
    let before = LIVE_BYTES.get();
    for key in 0..100 {
        assert_eq!(
            (cache.get(&key), cache.remove(&key), cache.contains_key(&key)),
            (None, None, false)
        );
    }
    assert_eq!((cache.len(), cache.iter().count(), cache.stats().inserts), (0, 0, 0));
    cache.clear();
    cache.invalidate_tag("none has it");
    assert_eq!(LIVE_BYTES.get(), before);
}

/// The names of the threads of this process.
#[cfg(target_os = "linux")]
fn threads() -> Vec<String> {
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux lists the threads of a process");
    tasks.filter_map(name).collect()
}

#[test]
#[cfg(target_os = "linux")]
fn empty_caches_start_no_thread_and_the_first_insertion_does() {
    let _alone = alone();
    let has_thread = || threads().iter().any(|name| name.trim() == "larder");
    let caches: Vec<_> = (0..1_000).map(|_| Cache::<u64, u64>::new(1_000)).collect();
    assert!(!has_thread(), "{:?}", threads());
    caches.iter().for_each(|cache| assert_eq!(cache.get(&1), None));
    drop(caches);
    assert!(!has_thread(), "{:?}", threads());
    let cache = Cache::new(1_000);
    cache.insert(1, 2);
    // The thread gives itself its name.
    while !has_thread() {
        std::thread::yield_now();
    }
    assert_eq!(cache.get(&1), Some(2));
}
