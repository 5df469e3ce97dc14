//! A process with live caches forks, and both sides go on using them.
//!
//! This program has one test only: in the child only the forking thread lives on, so no other test
//! may be in the middle of anything, and the child leaves by `_exit` without running the harness.

#![cfg(unix)]
// Most insertions only prepare a test, which ignores what they return.
#![allow(clippy::unwrap_used, unused_must_use)]

mod support;

use std::future::pending;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use larder::expiry::TickingClock;
use larder::{
    Cache, Inserted, Listener, LoadError, LoadOptions, Loaded, Maintenance, Namespaces, Policy,
    Removal, ShadowConfig,
};

use support::child::{fork_child, wait_for};
use support::configs::for_each_config;
use support::counted::{Counted, Ledger};
use support::rng::Rng;

/// A child that hangs is killed by its own alarm after this time. If it hangs before it sets the
/// alarm, the parent kills it some time later, so the parent's wait is bounded.
const CHILD_SECONDS: u32 = 30;

// `std` links the C library anyway, so this function needs no dependency.
unsafe extern "C" {
    safe fn alarm(seconds: u32) -> u32;
}

/// Runs `work` in a child process and panics unless it succeeds.
fn in_child(what: &str, work: impl FnOnce()) {
    let child = fork_child(|| {
        alarm(CHILD_SECONDS);
        // The harness captures what tests print, and the captured text would be lost here.
        std::panic::set_hook(Box::new(|panic| {
            let _ = writeln!(std::io::stderr(), "in the child: {panic}");
        }));
        work();
        true
    });
    let status = wait_for(child, Duration::from_secs(2 * u64::from(CHILD_SECONDS)));
    let signal = status & 0x7f;
    assert_eq!(signal, 0, "{what}: the child died of signal {signal} (14 and 9: it hung)");
    assert_eq!((status >> 8) & 0xff, 0, "{what}: the child failed");
}

const CAPACITY: usize = 256;

/// Fewer entries than any partition's share, so none is evicted.
const SETTLED: u64 = 32;

/// Uses every verb on a cache that holds the settled values, then drops the cache.
fn use_up(cache: Cache<u64, Counted>, fresh: &[Counted]) {
    for id in 0..SETTLED {
        assert_eq!(cache.get(&id).map(|value| value.id()), Some(id));
    }
    assert_eq!(cache.pin().get(&5).map(Counted::id), Some(5));
    for (key, value) in (100..).zip(fresh) {
        assert_eq!(cache.insert(key, value.clone()), Inserted::Added);
    }
    cache.run_pending();
    assert!(cache.len() <= CAPACITY, "{} entries", cache.len());
    assert_eq!(cache.iter().count(), cache.len());
    assert_eq!(cache.insert(7_000, fresh[0].clone()), Inserted::Added);
    cache.remove(&7_000);
    cache.retain(|key, _| key % 2 == 0);
    cache.validate();
    let _may_be_held = cache.flush();
    cache.clear();
}

#[test]
fn both_sides_of_a_fork_go_on_using_the_cache() {
    fork_of_a_quiet_process();
    fork_by_a_thread_that_never_used_a_cache();
    fork_amid_maintenance();
    fork_with_a_ticking_clock();
    fork_amid_readers();
    fork_during_a_visit_that_does_not_end();
    fork_during_loads();
    fork_amid_loads();
    fork_with_loads_in_the_pool();
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    barriers_that_a_sandbox_refuses_are_reported_and_one_thread_needs_none();
}

/// A sandbox that allows only the system calls that its author has thought of.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod sandbox {
    const MEMBARRIER: u32 = if cfg!(target_arch = "x86_64") { 324 } else { 283 };
    const SET_NO_NEW_PRIVILEGES: i32 = 38;
    const SET_SECCOMP: i32 = 22;
    const FILTER: usize = 2;

    #[repr(C)]
    struct Instruction {
        code: u16,
        if_true: u8,
        if_false: u8,
        operand: u32,
    }

    #[repr(C)]
    struct Program {
        len: u16,
        instructions: *const Instruction,
    }

    unsafe extern "C" {
        fn prctl(option: i32, ...) -> i32;
    }

    /// Makes the system refuse `membarrier` to this thread from now on. Returns false if it cannot.
    pub(super) fn enter() -> bool {
        let instruction =
            |code, if_false, operand| Instruction { code, if_true: 0, if_false, operand };
        let instructions = [
            // Load the number of the call; if it is `membarrier`, refuse; otherwise allow.
            instruction(0x20, 0, 0),
            instruction(0x15, 1, MEMBARRIER),
            instruction(0x06, 0, 0x0005_0001),
            instruction(0x06, 0, 0x7fff_0000),
        ];
        let len = u16::try_from(instructions.len()).unwrap();
        let program = Program { len, instructions: instructions.as_ptr() };
        let (one, zero) = (1_usize, 0_usize);
        // SAFETY: the call takes integers, and forbids the process to gain privileges.
        let is_bound = unsafe { prctl(SET_NO_NEW_PRIVILEGES, one, zero, zero, zero) } == 0;
        // SAFETY: the program and its instructions have the kernel's layout, and are read within
        // the call.
        is_bound && unsafe { prctl(SET_SECCOMP, FILTER, &raw const program) } == 0
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn barriers_that_a_sandbox_refuses_are_reported_and_one_thread_needs_none() {
    use std::sync::mpsc::channel;

    let overwrite = |cache: &Cache<u64, u64>| {
        for round in 0..20_000 {
            cache.insert(round % 100, round);
        }
    };
    in_child("a sandbox", || {
        let inline = Cache::builder().capacity(1_000).maintenance(Maintenance::Inline);
        let cache: Cache<u64, u64> = inline.build().unwrap();
        overwrite(&cache);
        if !sandbox::enter() {
            return;
        }
        // This is the only thread of the process, so nothing has to wait for others.
        overwrite(&cache);
        cache.flush().unwrap();
        let stats = cache.stats();
        assert_eq!((stats.waiting_bytes(), stats.is_reclamation_refused), (0, false));

        // Another thread reads, and then sleeps.
        let (ready, is_ready) = channel();
        let (stop, is_stopped) = channel::<()>();
        let reader = std::thread::spawn({
            let cache = cache.clone();
            move || {
                ready.send(cache.get(&1)).unwrap();
                let _ = is_stopped.recv();
            }
        });
        is_ready.recv().unwrap();
        overwrite(&cache);
        let stats = cache.stats();
        assert!(
            stats.is_reclamation_refused || stats.waiting_bytes() < 10_000 * 48,
            "{} bytes wait without a reason in the statistics",
            stats.waiting_bytes()
        );
        assert_eq!(cache.get(&1), Some(19_901));

        // The waiting bytes are freed once they can be.
        drop(stop);
        reader.join().unwrap();
        cache.flush().unwrap();
        let stats = cache.stats();
        assert_eq!((stats.waiting_bytes(), stats.is_reclamation_refused), (0, false));
    });
}

fn fork_of_a_quiet_process() {
    for_each_config(|config| {
        let ledger = Ledger::new();
        let cache = config.cache::<u64, Counted>(CAPACITY);
        for id in 0..SETTLED {
            cache.insert(id, ledger.make(id));
        }
        cache.run_pending();
        let fresh: Vec<Counted> = (0..1_000).map(|id| ledger.make(id)).collect();
        let mut slot = Some(cache);
        in_child(&config.name(), || {
            // This is the child's last handle; the values that the parent still holds live in its
            // own memory.
            use_up(slot.take().unwrap(), &fresh);
            ledger.assert_living(fresh.len(), "dropped in the child");
            // A new cache may start a thread if it wants one.
            let young = config.cache::<u64, Counted>(CAPACITY);
            for (id, value) in (0..).zip(&fresh) {
                young.insert(id, value.clone());
            }
            young.run_pending();
            assert!(young.len() <= CAPACITY);
            drop(young);
            ledger.assert_living(fresh.len(), "a young cache dropped in the child");
        });
        // The child's changes do not affect the parent.
        let cache = slot.unwrap();
        for id in 0..SETTLED {
            assert_eq!(cache.get(&id).map(|value| value.id()), Some(id));
        }
        assert_eq!(cache.len() as u64, SETTLED);
        for id in 0..1_000 {
            cache.insert(id, ledger.make(id));
        }
        cache.run_pending();
        cache.flush().unwrap();
        assert!(cache.len() <= CAPACITY);
        ledger.assert_living(cache.len() + fresh.len(), "in the parent");
        cache.validate();
    });
}

/// A process that only starts programs from such a thread must not hang before it starts them.
fn fork_by_a_thread_that_never_used_a_cache() {
    let cache = Cache::<u64, u64>::new(CAPACITY);
    cache.insert(1, 10);
    std::thread::scope(|scope| {
        scope.spawn(|| in_child("a thread new to the library", || ()));
        scope.spawn(|| {
            in_child("a thread new to the library, whose child uses it", || {
                assert_eq!(cache.get(&1), Some(10));
                cache.insert(2, 20);
                cache.run_pending();
                assert_eq!(cache.get(&2), Some(20));
            });
        });
    });
    assert_eq!(cache.get(&1), Some(10));
}

/// The process has no other thread of its own. But the fork may cut off the library's thread
/// anywhere in its work, which cannot be prevented from outside.
fn fork_amid_maintenance() {
    let cache = Cache::<u64, u64>::builder()
        .capacity(CAPACITY)
        .maintenance(Maintenance::Background)
        .partitions(4)
        .build()
        .unwrap();
    let mut rng = Rng::new(0xf02c);
    for round in 0..FORKS {
        // Up to a few hundred insertions, so that the thread was woken a moment ago or long ago.
        for _ in 0..rng.below(400) {
            let key = rng.below(1_000);
            cache.insert(key, key);
            cache.remove(&rng.below(1_000));
        }
        in_child(&format!("fork {round} amid maintenance"), || {
            for key in 0..3_000 {
                assert!(cache.get(&(key % 1_000)).is_none_or(|value| value == key % 1_000));
                cache.insert(key % 1_000, key % 1_000);
                cache.remove(&(key / 3));
            }
            cache.run_pending();
            assert!(cache.len() <= CAPACITY, "{} entries", cache.len());
            let _may_be_held = cache.flush();
            cache.clear();
            assert!(cache.is_empty());
        });
    }
    cache.run_pending();
    assert!(cache.len() <= CAPACITY);
    cache.validate();
}

/// Other threads only read, which sometimes makes one of them run maintenance, of the cache or of
/// its shadows.
fn fork_amid_readers() {
    for mode in [Maintenance::Background, Maintenance::Inline] {
        let caches: Vec<Cache<u64, u64>> = (0..3)
            .map(|kind| {
                let builder = Cache::builder().capacity(CAPACITY).partitions(1).maintenance(mode);
                match kind {
                    0 => {
                        let namespaces = Namespaces::by_number(|key: &u64| *key as usize % 50);
                        let names = (0..50).map(|number| number.to_string());
                        let namespaces =
                            names.fold(namespaces, |all, name| all.guarantee(&name, 1));
                        builder.policy(Policy::lru()).namespaces(namespaces)
                    }
                    1 => builder.policy(Policy::lfu()).time_to_idle(Duration::from_secs(3600)),
                    _ => builder.shadow(ShadowConfig::default()),
                }
                .build()
                .unwrap()
            })
            .collect();
        for cache in &caches {
            (0..CAPACITY as u64).for_each(|key| assert!(cache.insert(key, key).is_stored()));
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (caches, is_over) = (&caches, &is_over);
                scope.spawn(move || {
                    let mut key = thread;
                    while !is_over.load(Ordering::Relaxed) {
                        for cache in caches {
                            key = (key + 7) % CAPACITY as u64;
                            let _ = (cache.get(&key), cache.capacity(), cache.hottest(1));
                            let _ = (cache.all_namespace_stats(), cache.tag_count());
                        }
                    }
                });
            }
            for fork in 0..40 {
                in_child(&format!("fork {fork} amid readers, {mode:?}"), || {
                    for cache in &caches {
                        for key in 0..300 {
                            cache.insert(key, key);
                            cache.get(&key);
                        }
                        cache.run_pending();
                        assert!(cache.len() <= CAPACITY);
                        cache.set_capacity(CAPACITY / 2).unwrap();
                    }
                });
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}

/// A listener forks while the maintenance thread is inside another listener, for which the fork
/// must not wait. The child has a maintenance thread all the same.
fn fork_during_a_visit_that_does_not_end() {
    let (entered, has_entered) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let blocked = Cache::<u64, u64>::builder()
        .capacity(10)
        .listener(Listener::new(move |_: &Removal<'_, u64, u64>| {
            entered.send(()).unwrap();
            // The receiver fails at the end of the test.
            let _ = may_go_on.lock().unwrap().recv();
        }))
        .build()
        .unwrap();
    // Only the maintenance thread visits the cache once the entry has expired.
    blocked.insert_with_ttl(1, 1, Duration::from_millis(20));
    has_entered.recv().unwrap();
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let forking = Cache::<u64, u64>::builder()
        .capacity(10)
        .maintenance(Maintenance::Inline)
        .listener(Listener::new(move |_: &Removal<'_, u64, u64>| {
            in_child("a visit that does not end", || {
                let cache = Cache::<u64, u64>::new(10);
                cache.insert_with_ttl(1, 1, Duration::from_millis(1));
                while !cache.is_empty() {
                    std::thread::yield_now();
                }
            });
            well.store(true, Ordering::SeqCst);
        }))
        .build()
        .unwrap();
    forking.insert(1, 1);
    forking.remove(&1);
    assert!(is_well.load(Ordering::SeqCst));
    drop(go_on);
}

/// Another thread is loading a key, and so is the forking one; a future waits.
fn fork_during_loads() {
    let cache = Cache::<u64, u64>::new(CAPACITY);
    let (entered, has_entered) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let cache = &cache;
        let other = scope.spawn(move || {
            cache.get_or_insert_with(&1, || {
                entered.send(()).unwrap();
                // The sender is dropped once all children are gone.
                let _ = may_go_on.recv();
                10
            })
        });
        has_entered.recv().unwrap();
        let mut waiting = Box::pin(cache.get_or_insert_with_async(&1, async { 11 }));
        assert_eq!(poll(&mut waiting), Poll::Pending);
        in_child("a load by another thread", || {
            assert_eq!(poll(&mut waiting), Poll::Ready(11));
            assert_eq!(cache.get_or_insert_with(&1, || 12), 11);
            cache.remove(&1);
            assert_eq!(cache.get_or_insert_with(&1, || 12), 12);
        });
        let value = cache.get_or_insert_with(&2, || {
            in_child("a load by the thread that forks", || {
                let nested = cache.try_get_or_insert_with(&2, || Ok::<_, ()>(20));
                assert_eq!(nested, Err(LoadError::Reentrant));
                assert_eq!(cache.get_or_insert_with(&1, || 13), 13);
                assert_eq!(cache.get_or_insert_with(&3, || 30), 30);
            });
            20
        });
        assert_eq!(value, 20);
        drop(go_on);
        assert_eq!(other.join().unwrap(), 10);
        assert_eq!(poll(&mut waiting), Poll::Ready(10));
    });
}

fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Other threads load, wait and abandon loads. They store nothing: a write that is under way in another thread at
/// the fork stays unfinished in the child, as `docs::limitations` says.
fn fork_amid_loads() {
    const KEYS: u64 = 4;
    let cache = Cache::<u64, u64>::new(CAPACITY);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (cache, is_over) = (&cache, &is_over);
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                while !is_over.load(Ordering::Relaxed) {
                    let key = rng.below(KEYS);
                    let mut abandoned = Box::pin(cache.get_or_insert_with_async(&key, pending()));
                    let _ = poll(&mut abandoned);
                    drop(abandoned);
                    let load = |_: &_| Ok::<_, ()>(Loaded::Reject(key));
                    assert_eq!(cache.get_or_load(&key, LoadOptions::new(), load), Ok(Some(key)));
                }
            });
        }
        for fork in 0..FORKS {
            in_child(&format!("fork {fork} amid loads"), || {
                for key in 0..100 {
                    assert_eq!(cache.get_or_insert_with(&(key % 10), || key % 10), key % 10);
                    cache.remove(&(key % 7));
                }
            });
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// A loader runs in the pool, whose threads are gone in the child, and other loads wait in its queue.
fn fork_with_loads_in_the_pool() {
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let parent = std::process::id();
    let cache = Cache::<u64, u64>::builder()
        .capacity(CAPACITY)
        .hard_timeout(Duration::from_secs(20))
        .build_with_loader(move |key, _| {
            if std::process::id() == parent {
                // The sender is dropped once all children are gone.
                let _ = may_go_on.lock().unwrap().recv();
            }
            Ok::<_, ()>(Loaded::Store(*key))
        })
        .unwrap();
    cache.insert(0, 100);
    assert_eq!(cache.refresh_many(&Vec::from_iter(0..32)), 32);
    assert_eq!(cache.get(&0), Ok(100));
    in_child("loads in the pool", || {
        assert_eq!(cache.get(&0), Ok(100));
        for key in 1..40 {
            assert_eq!(cache.get(&key), Ok(key));
        }
        cache.refresh(&0);
        while cache.peek(&0) != Some(0) {
            std::thread::yield_now();
        }
    });
    drop(go_on);
    for key in 1..40 {
        assert_eq!(cache.get(&key), Ok(key));
    }
}

/// The thread that advances the clock is gone in the child, where another one is started.
fn fork_with_a_ticking_clock() {
    let cache = Cache::<u64, u64>::builder()
        .capacity(CAPACITY)
        .clock(TickingClock::new())
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    let expire = || {
        for round in 0..3 {
            cache.insert_with_ttl(round, round, Duration::from_millis(2));
            while cache.get(&round).is_some() {
                std::thread::yield_now();
            }
        }
    };
    for fork in 0..20 {
        expire();
        in_child(&format!("fork {fork} with a ticking clock"), expire);
    }
}

/// So many forks that some of them happen while the thread works.
const FORKS: u64 = 120;
