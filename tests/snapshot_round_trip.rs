//! What is saved comes back, by each serializer, packed or not, in order and with what is left of
//! each life.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use larder::snapshot::{Info, LoadOptions, SaveOptions, Serializers, convert};
use larder::test::FakeClock;
use larder::{Cache, Maintenance, Policy};

const SERIALIZERS: [&str; 3] = ["bincode", "json", "postcard"];

fn options(serializer: &str) -> SaveOptions {
    SaveOptions::new(Serializers::standard().get(serializer).unwrap())
}

fn save(cache: &Cache<String, Vec<u32>>, options: &SaveOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    let saved = cache.save_to(&mut bytes, options).unwrap();
    assert_eq!(saved.entries as usize, cache.len());
    bytes
}

fn filled(capacity: usize) -> Cache<String, Vec<u32>> {
    let cache = Cache::builder().capacity(capacity).partitions(1).build().unwrap();
    for n in 0..1000_u32 {
        cache.insert(format!("key {n}\n\"ä"), (0..n % 7).collect());
    }
    cache.run_pending();
    cache
}

fn sorted(cache: &Cache<String, Vec<u32>>) -> Vec<(String, Vec<u32>)> {
    let mut all: Vec<_> = cache.iter().collect();
    all.sort();
    all
}

#[test]
fn each_serializer_brings_everything_back_packed_or_not() {
    let cache = filled(10_000);
    for serializer in SERIALIZERS {
        for options in [options(serializer), options(serializer).zstd(3)] {
            let bytes = save(&cache, &options);
            let loaded_into = Cache::new(10_000);
            let loaded = loaded_into.load_from(&*bytes, &LoadOptions::new()).unwrap();
            assert_eq!((loaded.entries, loaded.is_whole()), (1000, true));
            assert_eq!(sorted(&loaded_into), sorted(&cache), "{serializer}");
            let info = Info::read(&*bytes, &LoadOptions::new()).unwrap();
            assert_eq!((info.entries, info.serializer.as_str()), (1000, serializer));
        }
    }
}

#[test]
fn a_cache_that_is_switched_off_takes_nothing_from_a_snapshot_and_counts_it() {
    let bytes = save(&filled(10_000), &options("bincode"));
    for mode in [Maintenance::Inline, Maintenance::Background] {
        let builder = || Cache::<String, Vec<u32>>::builder().maintenance(mode);
        for off in [builder().capacity(0), builder().max_weight(0), builder().capacity(4096)] {
            let cache = off.build().unwrap();
            let _ = cache.set_capacity(0);
            let loaded = cache.load_from(&*bytes, &LoadOptions::new()).unwrap();
            assert_eq!((loaded.entries, loaded.rejected), (0, 1000));
            assert_eq!((cache.len(), cache.stats().rejections), (0, 1000));
            // What it holds, nothing, can be saved and loaded too.
            let empty = save(&cache, &options("json"));
            let loaded = cache.load_from(&*empty, &LoadOptions::new()).unwrap();
            assert_eq!((loaded.entries, loaded.is_whole()), (0, true));
            cache.validate();
        }
    }
}

#[test]
fn a_conversion_keeps_everything() {
    let bytes = save(&filled(10_000), &options("bincode"));
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let load = LoadOptions::new();
    convert::<String, Vec<u32>>(&*bytes, &mut there, &load, &options("json").zstd(1)).unwrap();
    convert::<String, Vec<u32>>(&*there, &mut back, &load, &options("bincode")).unwrap();
    assert_eq!(bytes, back);
}

#[test]
fn an_empty_cache_is_a_snapshot_too() {
    let bytes = save(&Cache::new(10), &options("json"));
    let cache: Cache<String, Vec<u32>> = Cache::new(10);
    assert_eq!(cache.load_from(&*bytes, &LoadOptions::new()).unwrap().entries, 0);
}

#[test]
fn time_goes_on_while_a_snapshot_lies_there() {
    let clock = FakeClock::new();
    let builder = || Cache::builder().capacity(10).maintenance(Maintenance::Inline);
    let cache: Cache<String, u32> = builder().clock(clock.clone()).build().unwrap();
    for (key, seconds) in [("short", 10), ("long", 100)] {
        cache.insert_with_ttl(key.to_owned(), 1, Duration::from_secs(seconds));
    }
    cache.insert("for ever".to_owned(), 1);
    let saved_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, &options("bincode").at(saved_at)).unwrap();
    let load_after = |seconds: i64| {
        let cache: Cache<String, u32> = builder().clock(clock.clone()).build().unwrap();
        let moved = Duration::from_secs(seconds.unsigned_abs());
        let now = if seconds < 0 { saved_at - moved } else { saved_at + moved };
        let loaded = cache.load_from(&*bytes, &LoadOptions::new().at(now)).unwrap();
        let left = cache.inspect("long").map(|info| info.expires_in.unwrap().as_secs());
        (loaded.entries, loaded.expired, left)
    };
    assert_eq!(load_after(0), (3, 0, Some(100)));
    assert_eq!(load_after(9), (3, 0, Some(91)));
    assert_eq!(load_after(10), (2, 1, Some(90)));
    assert_eq!(load_after(100), (1, 2, None));
    // Set back: no time has passed.
    assert_eq!(load_after(-50), (3, 0, Some(100)));
}

#[test]
fn entries_with_tags_stay_behind() {
    let cache = filled(10_000);
    cache.insert_with_tags("tagged".to_owned(), vec![1], ["t"]);
    let mut bytes = Vec::new();
    let saved = cache.save_to(&mut bytes, &options("json")).unwrap();
    assert_eq!((saved.entries, cache.len()), (1000, 1001));
    let back = Cache::<String, Vec<u32>>::new(10_000);
    back.load_from(&*bytes, &LoadOptions::new()).unwrap();
    assert!(!back.contains_key("tagged"));
}

#[test]
fn the_hottest_remain_if_they_are_too_many() {
    let builder = |capacity| {
        let builder = Cache::builder().capacity(capacity).policy(Policy::lru());
        builder.maintenance(Maintenance::Inline).build().unwrap()
    };
    let cache: Cache<u32, u32> = builder(100);
    cache.extend_all((0..100).map(|n| (n, n)));
    for n in 0..5 {
        cache.get(&n);
    }
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, &options("postcard")).unwrap();
    let small: Cache<u32, u32> = builder(10);
    small.load_from(&*bytes, &LoadOptions::new()).unwrap();
    let mut left: Vec<_> = small.keys().collect();
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2, 3, 4, 95, 96, 97, 98, 99]);
    small.validate();
}

trait ExtendAll {
    fn extend_all(&self, pairs: impl Iterator<Item = (u32, u32)>);
}

impl ExtendAll for Cache<u32, u32> {
    fn extend_all(&self, pairs: impl Iterator<Item = (u32, u32)>) {
        for (key, value) in pairs {
            self.insert(key, value);
        }
    }
}

#[test]
fn weights_are_told_and_what_is_too_heavy_is_counted() {
    let weigh = |max| {
        let builder = Cache::builder().max_weight(max).weigher(|_: &u32, value: &u32| *value);
        builder.maintenance(Maintenance::Inline).build().unwrap()
    };
    let cache: Cache<u32, u32> = weigh(1000);
    cache.extend_all([(1, 100), (2, 200), (3, 5)].into_iter());
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, &options("json")).unwrap();
    assert_eq!(Info::read(&*bytes, &LoadOptions::new()).unwrap().weight, 305);
    let light: Cache<u32, u32> = weigh(150);
    let loaded = light.load_from(&*bytes, &LoadOptions::new()).unwrap();
    assert_eq!((loaded.entries, loaded.rejected, light.weight()), (2, 1, 105));
}

#[test]
fn another_policy_and_other_partitions_take_the_entries_all_the_same() {
    let cache = filled(10_000);
    let bytes = save(&cache, &options("bincode"));
    for policy in Policy::names() {
        let builder = Cache::builder().capacity(64_000).partitions(16);
        let other = builder.policy(Policy::named(&policy)).build().unwrap();
        other.load_from(&*bytes, &LoadOptions::new()).unwrap();
        other.run_pending();
        assert_eq!(sorted(&other), sorted(&cache), "{policy}");
        other.validate();
    }
}

#[test]
fn futures_do_the_same_under_any_runtime() {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    fn block_on<F: Future>(future: F) -> F::Output {
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let mut future = std::pin::pin!(future);
        loop {
            let mut context = std::task::Context::from_waker(&waker);
            match future.as_mut().poll(&mut context) {
                std::task::Poll::Ready(output) => return output,
                std::task::Poll::Pending => std::thread::park(),
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let cache = filled(10_000);
    block_on(cache.save_to_path_async(&path, &options("json"))).unwrap();
    let other: Cache<String, Vec<u32>> = Cache::new(10_000);
    block_on(other.load_from_path_async(&path, &LoadOptions::new())).unwrap();
    assert_eq!(sorted(&other), sorted(&cache));
    assert!(block_on(other.load_from_path_async(folder.path(), &LoadOptions::new())).is_err());
}
