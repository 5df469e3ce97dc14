//! A bound that follows the use of memory: the follower with its controller, on a real cache.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::pressure::{Bound, FollowError, MemoryFollower, MemorySource, Usage};
use larder::test::FakeClock;
use larder::{Cache, Maintenance};

fn cache(capacity: usize) -> Cache<u32, u32> {
    Cache::builder()
        .capacity(capacity)
        .partitions(1)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap()
}

fn fill(cache: &Cache<u32, u32>) {
    for key in 0..2 * u32::try_from(cache.capacity().unwrap()).unwrap() {
        cache.insert(key, key);
    }
}

/// A source that reports what was last stored in `used`, and `limit`.
fn source(used: &Arc<AtomicU64>, limit: Option<u64>) -> impl Fn() -> io::Result<Usage> + use<> {
    let used = Arc::clone(used);
    move || Ok(Usage::new(used.load(Ordering::SeqCst), limit))
}

#[test]
fn a_cache_that_fills_memory_shrinks_to_the_target_and_grows_again() {
    let cache = cache(1_000);
    let others = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&others);
    let counted = cache.clone();
    let follower = MemoryFollower::builder(&cache)
        .source(move || {
            let used = read.load(Ordering::SeqCst) + counted.len() as u64 * 1_000;
            Ok::<_, io::Error>(Usage::new(used, None))
        })
        .target(1_200_000)
        .by_hand()
        .start()
        .unwrap();
    fill(&cache);
    assert_eq!(follower.adjust().unwrap(), 1_000, "1.0 MB of 1.2");
    others.store(700_000, Ordering::SeqCst);
    for _ in 0..50 {
        fill(&cache);
        follower.adjust().unwrap();
        cache.validate();
    }
    let pressed = cache.len();
    assert!((379..=500).contains(&pressed), "{pressed}");
    assert_eq!(follower.adjust().unwrap(), pressed as u64, "the bound stays");
    others.store(0, Ordering::SeqCst);
    for _ in 0..50 {
        fill(&cache);
        follower.adjust().unwrap();
    }
    assert_eq!(cache.capacity(), Some(1_000));
    let status = follower.status();
    assert!(status.shrinks > 0 && status.grows > 0 && status.failures == 0, "{status:?}");
}

#[test]
fn a_follower_leaves_a_switched_off_cache_off() {
    let cache = cache(0);
    let used = Arc::new(AtomicU64::new(0));
    let follower = MemoryFollower::builder(&cache)
        .source(source(&used, None))
        .target(1_000)
        .by_hand()
        .start()
        .unwrap();
    for use_now in [0, 950, 5_000, 0] {
        used.store(use_now, Ordering::SeqCst);
        assert_eq!((follower.adjust().unwrap(), cache.capacity()), (0, Some(0)));
    }
}

#[test]
fn the_bound_on_weight_follows_if_there_is_one() {
    let cache: Cache<u32, u32> = Cache::builder()
        .capacity(1_000)
        .max_weight(1_000)
        .weigher(|_, _| 10)
        .partitions(1)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    for key in 0..100 {
        cache.insert(key, key);
    }
    let used = Arc::new(AtomicU64::new(2_000));
    let follow = |bound: Option<Bound>| {
        let builder = MemoryFollower::builder(&cache).source(source(&used, None)).target(1_000);
        let builder = builder.by_hand();
        match bound {
            Some(bound) => builder.bound(bound),
            None => builder,
        }
        .start()
        .unwrap()
    };
    follow(None).adjust().unwrap();
    assert_eq!((cache.max_weight(), cache.capacity()), (Some(500), Some(1_000)));
    assert!(cache.weight() <= 500);
    follow(Some(Bound::Entries)).adjust().unwrap();
    assert_eq!(cache.capacity(), Some(62), "not below a sixteenth");
}

#[test]
fn the_target_is_nine_tenths_of_the_sources_limit_if_none_is_given() {
    let used = Arc::new(AtomicU64::new(0));
    let cache = cache(100);
    let builder = || MemoryFollower::builder(&cache).by_hand();
    let follower = builder().source(source(&used, Some(1_000))).start().unwrap();
    assert_eq!(follower.status().target, 900);
    let follower = builder().source(source(&used, Some(1_000))).target(50).start().unwrap();
    assert_eq!(follower.status().target, 50);
    let none = builder().source(source(&used, None)).start();
    assert!(matches!(none, Err(FollowError::NoTarget)));
}

#[test]
fn the_target_follows_a_limit_that_changes() {
    let cache = cache(1_000);
    fill(&cache);
    let limit = Arc::new(AtomicU64::new(1_000));
    let read = Arc::clone(&limit);
    let follower = MemoryFollower::builder(&cache)
        .source(move || Ok::<_, io::Error>(Usage::new(850, Some(read.load(Ordering::SeqCst)))))
        .by_hand()
        .start()
        .unwrap();
    assert_eq!(follower.adjust().unwrap(), 1_000, "850 of 900");
    limit.store(500, Ordering::SeqCst);
    let bound = follower.adjust().unwrap();
    assert!(bound < 1_000, "850 of 450 are used, and the bound is still {bound}");
    assert_eq!(follower.status().target, 450);
    // A limit of zero is not a target.
    limit.store(0, Ordering::SeqCst);
    follower.adjust().unwrap();
    assert_eq!(follower.status().target, 450);
}

#[test]
fn a_source_may_replace_the_target_for_a_reading() {
    struct TwoGroups(Arc<AtomicU64>);
    impl MemorySource for TwoGroups {
        fn read(&self) -> io::Result<Usage> {
            Ok(Usage::new(100, None))
        }
        fn read_with_target(&self, target: u64) -> io::Result<(Usage, u64)> {
            let above = self.0.load(Ordering::SeqCst);
            let is_full = above > 9_000;
            let full = Usage::new(above, Some(10_000));
            Ok(if is_full { (full, 9_000) } else { (self.read()?, target) })
        }
    }
    let cache = cache(1_000);
    fill(&cache);
    let above = Arc::new(AtomicU64::new(5_000));
    let follower = MemoryFollower::builder(&cache)
        .source(TwoGroups(Arc::clone(&above)))
        .target(105)
        .by_hand()
        .start()
        .unwrap();
    assert_eq!((follower.adjust().unwrap(), follower.status().target), (1_000, 105));
    above.store(9_900, Ordering::SeqCst);
    assert!(follower.adjust().unwrap() < 1_000);
    assert_eq!(follower.status().target, 9_000);
}

#[test]
fn settings_out_of_range_are_refused_and_change_nothing() {
    let cache: Cache<u32, u32> = Cache::builder().capacity(100).partitions(4).build().unwrap();
    let used = Arc::new(AtomicU64::new(u64::MAX));
    let builder = || MemoryFollower::builder(&cache).source(source(&used, None)).target(1_000);
    for (least, most) in [(3, 100), (0, 0), (20, 19), (u64::MAX, 4)] {
        let refused = builder().range(least, most).start();
        assert!(matches!(refused, Err(FollowError::BadRange { .. })), "{least} to {most}");
    }
    for band in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        let refused = builder().band(band).start();
        assert!(matches!(refused, Err(FollowError::BadBand { .. })), "{band}");
    }
    assert!(matches!(builder().target(0).start(), Err(FollowError::ZeroTarget)));
    let refused = builder().interval(Duration::ZERO).start();
    assert!(matches!(refused, Err(FollowError::ZeroInterval)));
    let refused = builder().bound(Bound::Weight).start().unwrap_err();
    assert!(matches!(refused, FollowError::Unbounded { bound: Bound::Weight }));
    assert_eq!(
        refused.to_string(),
        "the cache was built without `max_weight`; set it in the builder"
    );
    assert_eq!(cache.capacity(), Some(100));
}

#[test]
fn a_source_that_fails_or_panics_leaves_the_bound_and_is_counted() {
    let cache = cache(100);
    let answers =
        Mutex::new(vec![None, Some(Err(io::Error::other("gone"))), Some(Ok(Usage::new(0, None)))]);
    let follower = MemoryFollower::builder(&cache)
        .source(move || match answers.lock().unwrap().pop().expect("one for each reading") {
            Some(answer) => answer,
            None => std::panic::panic_any("the source's own"),
        })
        .target(10)
        .by_hand()
        .start()
        .unwrap();
    let failed = follower.adjust().unwrap_err();
    assert_eq!(failed.to_string(), "memory in use cannot be read");
    assert_eq!(failed.source().map(ToString::to_string).as_deref(), Some("gone"));
    assert!(matches!(follower.adjust(), Err(FollowError::Panicked)));
    assert_eq!(follower.status().failures, 2);
    assert_eq!(cache.capacity(), Some(100));

    let refused = MemoryFollower::builder(&cache)
        .source(|| Err::<Usage, _>(io::Error::other("gone")))
        .target(10)
        .start();
    assert!(matches!(refused, Err(FollowError::Unreadable(_))));
}

#[test]
fn the_maintenance_thread_reads_memory_once_an_interval_until_stopped() {
    let cache = cache(1_000);
    fill(&cache);
    let clock = FakeClock::new();
    let (sender, readings) = mpsc::channel();
    let sender = Mutex::new(sender);
    let follower = MemoryFollower::builder(&cache)
        .source(move || {
            sender.lock().unwrap().send(()).unwrap();
            Ok::<_, io::Error>(Usage::new(2_000, None))
        })
        .target(1_000)
        .interval(Duration::from_secs(1))
        .clock(clock.clone())
        .start()
        .unwrap();
    readings.recv().unwrap(); // by `start`
    for _ in 0..2 {
        clock.advance(Duration::from_secs(1));
        readings.recv().unwrap();
    }
    // The second reading has begun, so the first is over.
    assert!(cache.capacity().unwrap() < 1_000);
    follower.stop();
    clock.advance(Duration::from_secs(100));
    drop(follower);
    assert!(readings.recv().is_err(), "the source went with the follower, and was not read again");
    cache.validate();
}

#[test]
fn a_value_may_drop_the_follower_that_evicts_it() {
    struct Owner(Arc<Mutex<Option<MemoryFollower>>>);
    impl Drop for Owner {
        fn drop(&mut self) {
            drop(self.0.lock().unwrap().take());
        }
    }
    let cache: Cache<u32, Owner> = Cache::builder().capacity(10).partitions(1).build().unwrap();
    let slot = Arc::new(Mutex::new(None));
    for key in 0..10 {
        cache.insert(key, Owner(Arc::clone(&slot)));
    }
    let clock = FakeClock::new();
    let (sender, dropped) = mpsc::channel::<()>();
    let sender = Mutex::new(sender);
    let follower = MemoryFollower::builder(&cache)
        .source(move || {
            let _sender = &sender;
            Ok::<_, io::Error>(Usage::new(2_000, None))
        })
        .target(1_000)
        .clock(clock.clone())
        .start()
        .unwrap();
    *slot.lock().unwrap() = Some(follower);
    clock.advance(Duration::from_secs(1));
    // The source lives as long as the follower.
    while dropped.recv().is_ok() {}
    assert!(cache.len() < 10);
    cache.validate();
}

#[test]
fn many_threads_may_adjust_while_others_insert() {
    let cache: Cache<u32, u32> = Cache::builder().capacity(10_000).partitions(4).build().unwrap();
    let counted = cache.clone();
    let follower = MemoryFollower::builder(&cache)
        .source(move || Ok::<_, io::Error>(Usage::new(counted.len() as u64 * 100, None)))
        .target(500_000)
        .by_hand()
        .start()
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (cache, follower) = (&cache, &follower);
            scope.spawn(move || {
                for key in 0..20_000 {
                    cache.insert(key * 2 + thread, key);
                }
            });
            scope.spawn(move || {
                for _ in 0..200 {
                    follower.adjust().unwrap();
                }
            });
        }
    });
    for _ in 0..100 {
        cache.run_pending();
        follower.adjust().unwrap();
    }
    assert!(cache.len() <= 5_000, "{}", cache.len());
    cache.validate();
}

#[cfg(target_os = "linux")]
#[test]
fn the_systems_own_figures_can_be_followed() {
    use larder::pressure::{CgroupMemory, ProcessMemory};

    let cache = cache(100);
    let follower = MemoryFollower::builder(&cache).source(ProcessMemory).target(1 << 40);
    let follower = follower.by_hand().start().unwrap();
    assert_eq!(follower.adjust().unwrap(), 100);
    assert!(follower.status().usage.unwrap().used > 0);
    let builder = || MemoryFollower::builder(&cache).by_hand();
    match builder().source(CgroupMemory).target(1 << 50).start() {
        Ok(follower) => assert_eq!(follower.adjust().unwrap(), 100),
        Err(error) => assert!(matches!(error, FollowError::Unreadable(_)), "{error}"),
    }
    assert!(builder().target(1 << 50).start().is_ok(), "either of the two works");
}
