//! What was saved comes back, with each serializer, compressed or not, in order and with the
//! remaining lifetimes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use larder::snapshot::{Info, Records, RestoreOptions, SaveOptions, Serializers, convert};
use larder::test::FakeClock;
use larder::{Cache, InsertOptions, Maintenance, Policy};

use crate::support::block_on;

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
fn every_entry_comes_back_by_each_serializer_compressed_or_not() {
    let cache = filled(10_000);
    for serializer in SERIALIZERS {
        for options in [options(serializer), options(serializer).zstd(3)] {
            let bytes = save(&cache, &options);
            let loaded_into = Cache::new(10_000);
            let loaded = loaded_into.load_from(&*bytes, &RestoreOptions::new()).unwrap();
            assert_eq!((loaded.entries, loaded.is_whole()), (1000, true));
            assert_eq!(sorted(&loaded_into), sorted(&cache), "{serializer}");
            let info = Info::read(&*bytes, &RestoreOptions::new()).unwrap();
            assert_eq!((info.entries, info.serializer.as_str()), (1000, serializer));
        }
    }
}

#[test]
fn a_switched_off_cache_loads_nothing_from_a_snapshot_and_counts_it() {
    let bytes = save(&filled(10_000), &options("bincode"));
    for mode in [Maintenance::Inline, Maintenance::Background] {
        let builder = || Cache::<String, Vec<u32>>::builder().maintenance(mode);
        for off in [builder().capacity(0), builder().max_weight(0), builder().capacity(4096)] {
            let cache = off.build().unwrap();
            let _ = cache.set_capacity(0);
            let loaded = cache.load_from(&*bytes, &RestoreOptions::new()).unwrap();
            assert_eq!((loaded.entries, loaded.rejected), (0, 1000));
            assert_eq!((cache.len(), cache.stats().rejections), (0, 1000));
            // Its empty contents can be saved and loaded too.
            let empty = save(&cache, &options("json"));
            let loaded = cache.load_from(&*empty, &RestoreOptions::new()).unwrap();
            assert_eq!((loaded.entries, loaded.is_whole()), (0, true));
            cache.validate();
        }
    }
}

#[test]
fn a_conversion_keeps_everything() {
    let bytes = save(&filled(10_000), &options("bincode"));
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let load = RestoreOptions::new();
    convert::<String, Vec<u32>>(&*bytes, &mut there, &load, &options("json").zstd(1)).unwrap();
    convert::<String, Vec<u32>>(&*there, &mut back, &load, &options("bincode")).unwrap();
    assert_eq!(bytes, back);
}

#[test]
fn an_empty_cache_can_be_saved_and_loaded() {
    let bytes = save(&Cache::new(10), &options("json"));
    let cache: Cache<String, Vec<u32>> = Cache::new(10);
    assert_eq!(cache.load_from(&*bytes, &RestoreOptions::new()).unwrap().entries, 0);
}

#[test]
fn entries_age_while_they_are_in_a_snapshot() {
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
        let loaded = cache.load_from(&*bytes, &RestoreOptions::new().at(now)).unwrap();
        let left = cache.inspect("long").map(|info| info.expires_in.unwrap().as_secs());
        (loaded.entries, loaded.expired, left)
    };
    assert_eq!(load_after(0), (3, 0, Some(100)));
    assert_eq!(load_after(9), (3, 0, Some(91)));
    assert_eq!(load_after(10), (2, 1, Some(90)));
    assert_eq!(load_after(100), (1, 2, None));
    // The clock was set back, so no time has passed.
    assert_eq!(load_after(-50), (3, 0, Some(100)));
}

#[test]
fn tags_come_back_and_invalidate_restored_entries() {
    let cache: Cache<String, u32> = Cache::new(100);
    let tags = [&["all"][..], &["all", "odd\n\u{e4}"], &["", "b", "c", "d"], &[]];
    for (n, tags) in (0..).zip(tags) {
        cache.insert_with_tags(format!("key {n}"), n, tags);
    }
    let timed = InsertOptions::new().tags(&["all"]).ttl(Duration::from_secs(99));
    cache.insert_with("timed".to_owned(), 9, timed);
    cache.insert_with_tags("gone".to_owned(), 8, ["dead"]);
    cache.invalidate_tag("dead");
    // This is a new generation of the name, which is valid.
    cache.insert_with_tags("new".to_owned(), 7, ["dead"]);
    for name in SERIALIZERS {
        for options in [options(name), options(name).zstd(3)] {
            let mut bytes = Vec::new();
            let saved = cache.save_to(&mut bytes, &options).unwrap();
            assert_eq!((saved.entries, saved.tagged, saved.invalidated), (6, 5, 1), "{name}");
            assert_eq!(saved.left_out(), 1);
            assert!(saved.to_string().ends_with("; left out: 1 invalidated"), "{saved}");
            let mut converted = Vec::new();
            let to = SaveOptions::new(Serializers::standard().get("json").unwrap());
            let load = RestoreOptions::new();
            let copied = convert::<String, u32>(&*bytes, &mut converted, &load, &to).unwrap();
            assert_eq!((copied.entries, copied.tagged), (6, 5));
            assert_eq!(Info::read(&*bytes, &load).unwrap().tagged, 5);
            for bytes in [&bytes, &converted] {
                let back: Cache<String, u32> = Cache::new(100);
                back.load_from(&**bytes, &load).unwrap();
                for (n, tags) in tags.iter().enumerate() {
                    assert_eq!(back.tags_of(&format!("key {n}")).unwrap(), *tags, "{name}");
                }
                assert!(back.inspect("timed").unwrap().expires_in.is_some());
                assert_eq!(back.tags_of("gone"), None);
                assert!(back.invalidate_tag("all"));
                let left = ["key 0", "key 1", "key 2", "key 3", "timed", "new"]
                    .map(|key| back.contains_key(key));
                assert_eq!(left, [false, false, true, true, false, true]);
                assert!(back.invalidate_tag("") && !back.contains_key("key 2"));
                back.validate();
            }
        }
    }
}

/// Changes its cache while it is serialized.
#[derive(Clone)]
struct Meddling(Option<Arc<dyn Fn() + Send + Sync>>);

impl serde::Serialize for Meddling {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(meddle) = &self.0 {
            meddle();
        }
        serializer.serialize_unit()
    }
}

impl<'de> serde::Deserialize<'de> for Meddling {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Self(None))
    }
}

#[test]
fn an_entry_invalidated_before_its_batch_is_written_is_not_written() {
    let clock = FakeClock::new();
    let builder = Cache::builder().capacity(1000).maintenance(Maintenance::Inline);
    let cache: Cache<u32, Meddling> = builder.clock(clock.clone()).build().unwrap();
    for n in 0..40 {
        cache.insert_with_tags(n, Meddling(None), ["t"]);
        cache.insert_with_ttl(100 + n, Meddling(None), Duration::from_secs(10));
        cache.insert(200 + n, Meddling(None));
    }
    let (handle, clock) = (cache.clone(), clock.clone());
    let meddle = move || {
        handle.invalidate_tag("t");
        clock.advance(Duration::from_secs(11));
    };
    // Wherever it is in the batch, the others are before or behind it.
    cache.insert(300, Meddling(Some(Arc::new(meddle))));
    let mut bytes = Vec::new();
    let saved = cache.save_to(&mut bytes, &options("bincode")).unwrap();
    assert_eq!((saved.entries, saved.invalidated, saved.expired), (41, 40, 40));
    assert_eq!((saved.tagged, saved.left_out()), (0, 80));
    let back: Cache<u32, Meddling> = Cache::new(1000);
    let loaded = back.load_from(&*bytes, &RestoreOptions::new()).unwrap();
    assert_eq!((loaded.entries, loaded.is_whole()), (41, true));
    assert!(back.keys().all(|key| key >= 200));
    // It holds a handle of its own cache.
    cache.remove(&300);
}

#[test]
fn the_duration_of_a_save_does_not_shorten_lifetimes_of_late_entries() {
    let clock = FakeClock::new();
    let builder = || Cache::builder().capacity(10).maintenance(Maintenance::Inline);
    let cache: Cache<u32, Meddling> = builder().clock(clock.clone()).build().unwrap();
    let advance = {
        let clock = clock.clone();
        Arc::new(move || clock.advance(Duration::from_secs(5)))
    };
    for n in 0..4 {
        cache.insert_with_ttl(n, Meddling(Some(advance.clone())), Duration::from_secs(100));
    }
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, &options("bincode").at(SystemTime::UNIX_EPOCH)).unwrap();
    for record in Records::<u32, Meddling>::read(&*bytes, &RestoreOptions::new()).unwrap() {
        assert_eq!(record.unwrap().expires_in, Some(Duration::from_secs(100)));
    }
}

#[test]
fn reports_count_omitted_entries_by_reason() {
    let clock = FakeClock::new();
    let builder = || Cache::builder().capacity(100).partitions(1).maintenance(Maintenance::Inline);
    let cache: Cache<u32, u32> = builder().clock(clock.clone()).build().unwrap();
    cache.extend_all((0..50).map(|n| (n, n)));
    cache.insert_unevictable(100, 100);
    cache.insert_with_ttl(101, 1, Duration::from_secs(5));
    let mut bytes = Vec::new();
    let now = SystemTime::UNIX_EPOCH;
    let saved = cache.save_to(&mut bytes, &options("json").at(now)).unwrap();
    assert_eq!((saved.entries, saved.unevictable, saved.left_out()), (52, 1, 0));
    assert!(saved.to_string().starts_with("52 entries (1 unevictable), "), "{saved}");
    let weigh = |_: &u32, weight: &u32| *weight;
    let small = builder().capacity(20).max_weight(45).weigher(weigh).build().unwrap();
    let later = RestoreOptions::new().at(now + Duration::from_secs(6));
    let loaded = small.load_from(&*bytes, &later).unwrap();
    assert_eq!((loaded.expired, loaded.rejected), (1, 5), "{loaded}");
    let there = small.len() as u64;
    assert_eq!(loaded.left_out() + there, 52, "{loaded}");
    assert!(loaded.is_whole() && loaded.to_string().contains("1 expired, 5 rejected"), "{loaded}");
    // No key of the snapshot appears in it twice.
    let fresh: Cache<u32, u32> = builder().build().unwrap();
    for replaced in [0, 51] {
        let loaded = fresh.load_from(&*bytes, &later).unwrap();
        assert_eq!((loaded.entries, loaded.replaced, loaded.no_room), (51, replaced, 0));
    }
    let json = serde_json::to_value((saved, loaded)).unwrap();
    assert_eq!((json[0]["entries"].as_u64(), json[1]["expired"].as_u64()), (Some(52), Some(1)));
}

#[test]
fn a_snapshot_larger_than_the_cache_restores_the_hottest() {
    let builder = |capacity| {
        let builder = Cache::builder().capacity(capacity).policy(Policy::lru()).partitions(1);
        builder.maintenance(Maintenance::Inline).build().unwrap()
    };
    let cache: Cache<u32, u32> = builder(20_000);
    cache.extend_all((0..20_000).map(|n| (n, n)));
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, &options("bincode")).unwrap();
    let small: Cache<u32, u32> = builder(10);
    let loaded = small.load_from(&*bytes, &RestoreOptions::new()).unwrap();
    let mut left: Vec<_> = small.keys().collect();
    left.sort_unstable();
    assert_eq!(left, (19_990..20_000).collect::<Vec<_>>());
    assert_eq!((loaded.no_room, loaded.left_out()), (19_990, 19_990), "{loaded}");
    assert!(loaded.entries < 3000, "{loaded}");
}

/// A text frame as written by builds without tags and filler.
#[test]
fn files_of_earlier_builds_are_loaded() {
    let header = b"%larder\n";
    let number = |bytes: &[u8]| -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).chain([" ".to_owned()]).collect()
    };
    let mut file = header.to_vec();
    let put = |file: &mut Vec<u8>, bytes: &[u8]| file.extend(number(bytes).bytes());
    put(&mut file, &1_u32.to_le_bytes());
    put(&mut file, &0_u32.to_le_bytes());
    for name in ["json", "lru", "alloc::string::String, u64"] {
        put(&mut file, &(name.len() as u32).to_le_bytes());
        file.extend(name.bytes());
        file.push(b' ');
    }
    let all = [
        &header[..],
        &1_u32.to_le_bytes(),
        &0_u32.to_le_bytes(),
        &4_u32.to_le_bytes(),
        b"json",
        &3_u32.to_le_bytes(),
        b"lru",
        &26_u32.to_le_bytes(),
        b"alloc::string::String, u64",
        &7_u64.to_le_bytes(),
        &1_u64.to_le_bytes(),
    ]
    .concat();
    file.extend(number(&7_u64.to_le_bytes()).bytes());
    file.extend(number(&1_u64.to_le_bytes()).bytes());
    file.extend(number(&crc32fast::hash(&all).to_le_bytes()).bytes());
    file.push(b'\n');
    let payload = br#"["a",5]"#;
    let mut fields = (payload.len() as u32).to_le_bytes().to_vec();
    fields.extend(u64::MAX.to_le_bytes());
    fields.extend([1_u32, 0, 1, 0].iter().flat_map(|field| field.to_le_bytes()));
    let record = crc32fast::hash(&[&fields[..], payload].concat()).to_le_bytes();
    for range in [0..4, 4..12, 12..16, 16..20, 20..24, 24..28] {
        file.extend(number(&fields[range]).bytes());
    }
    file.extend(number(&record).bytes());
    file.extend_from_slice(payload);
    file.push(b'\n');
    let end = [&u32::MAX.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    file.extend(number(&end[..4]).bytes());
    file.extend(number(&end[4..]).bytes());
    file.extend(number(&crc32fast::hash(&[&record[..], &end].concat()).to_le_bytes()).bytes());
    file.push(b'\n');
    let cache: Cache<String, u64> = Cache::new(10);
    assert_eq!(cache.load_from(&*file, &RestoreOptions::new()).unwrap().entries, 1);
    assert_eq!(cache.get("a"), Some(5));
}

#[test]
fn the_hottest_remain_if_there_are_too_many() {
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
    small.load_from(&*bytes, &RestoreOptions::new()).unwrap();
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
fn weights_are_saved_and_too_heavy_entries_are_counted() {
    let weigh = |max| {
        let builder = Cache::builder().max_weight(max).weigher(|_: &u32, value: &u32| *value);
        builder.maintenance(Maintenance::Inline).build().unwrap()
    };
    let cache: Cache<u32, u32> = weigh(1000);
    cache.extend_all([(1, 100), (2, 200), (3, 5)].into_iter());
    let mut bytes = Vec::new();
    cache.save_to(&mut bytes, &options("json")).unwrap();
    assert_eq!(Info::read(&*bytes, &RestoreOptions::new()).unwrap().weight, 305);
    let light: Cache<u32, u32> = weigh(150);
    let loaded = light.load_from(&*bytes, &RestoreOptions::new()).unwrap();
    assert_eq!((loaded.entries, loaded.rejected, light.weight()), (2, 1, 105));
    // Heavier than a partition's share, but not than the cache's bound.
    let builder = Cache::builder().max_weight(400).weigher(|_: &u32, value: &u32| *value);
    let split = builder.maintenance(Maintenance::Inline).partitions(8).build().unwrap();
    let loaded = split.load_from(&*bytes, &RestoreOptions::new()).unwrap();
    assert_eq!((loaded.entries, loaded.rejected, split.weight()), (3, 0, 305));
    split.validate();
}

#[test]
fn a_cache_with_another_policy_and_other_partitions_loads_the_entries_too() {
    let cache = filled(10_000);
    let bytes = save(&cache, &options("bincode"));
    for policy in Policy::names() {
        let builder = Cache::builder().capacity(64_000).partitions(16);
        let other = builder.policy(Policy::named(&policy)).build().unwrap();
        other.load_from(&*bytes, &RestoreOptions::new()).unwrap();
        other.run_pending();
        assert_eq!(sorted(&other), sorted(&cache), "{policy}");
        other.validate();
    }
}

#[test]
fn futures_do_the_same_under_any_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let cache = filled(10_000);
    block_on(cache.save_to_path_async(&path, &options("json"))).unwrap();
    let other: Cache<String, Vec<u32>> = Cache::new(10_000);
    block_on(other.load_from_path_async(&path, &RestoreOptions::new())).unwrap();
    assert_eq!(sorted(&other), sorted(&cache));
    assert!(block_on(other.load_from_path_async(folder.path(), &RestoreOptions::new())).is_err());
}
