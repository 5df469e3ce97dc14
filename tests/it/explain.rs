//! Explanations why a key is present or missing.

use std::thread;
use std::time::Duration;

use larder::test::FakeClock;
use larder::{
    Absence, Cache, Explanation, InsertOptions, Maintenance, Policy, Presence, ShadowConfig,
};

fn inline(capacity: usize) -> larder::Builder<u32, u32> {
    let builder = Cache::builder().capacity(capacity).partitions(1);
    builder.maintenance(Maintenance::Inline).explain_misses(1_000)
}

fn absence(cache: &Cache<u32, u32>, key: u32) -> Absence {
    match cache.explain(&key) {
        Explanation::Missing(absence) => absence,
        Explanation::Present(presence) => panic!("{key} is there: {presence:?}"),
    }
}

fn presence(cache: &Cache<u32, u32>, key: u32) -> Presence {
    match cache.explain(&key) {
        Explanation::Present(presence) => presence,
        Explanation::Missing(absence) => panic!("{key} is missing: {absence}"),
    }
}

#[test]
fn every_reason_for_leaving_is_distinguished() {
    let clock = FakeClock::new();
    let second = Duration::from_secs(1);
    let builder = inline(4).clock(clock.clone()).policy(Policy::fifo()).max_weight(100);
    let cache = builder.weigher(|_, weight| *weight).build().unwrap();
    assert_eq!(absence(&cache, 1), Absence::NeverSeen);

    cache.insert(1, 1);
    cache.remove(&1);
    assert_eq!(absence(&cache, 1), Absence::Removed);
    cache.insert(2, 1);
    cache.remove_if(&2, |_, _| true);
    assert_eq!(absence(&cache, 2), Absence::Removed);
    cache.insert(2, 1);
    cache.insert(3, 1);
    cache.retain(|key, _| *key != 2);
    assert_eq!(cache.invalidate_if(|key, _| *key == 3), 1);
    assert_eq!([2, 3].map(|key| absence(&cache, key)), [Absence::RemovedByPredicate; 2]);

    cache.insert_with_ttl(4, 1, second);
    clock.advance(2 * second);
    assert_eq!(absence(&cache, 4), Absence::Expired);
    cache.run_pending();
    assert_eq!(absence(&cache, 4), Absence::Expired);

    cache.insert_with_tags(5, 1, ["t"]);
    cache.invalidate_tag("t");
    assert_eq!((cache.len(), absence(&cache, 5)), (1, Absence::Invalidated));
    cache.retain(|_, _| true);
    assert_eq!((cache.len(), absence(&cache, 5)), (0, Absence::Invalidated));

    cache.insert(6, 101);
    assert_eq!(absence(&cache, 6), Absence::Rejected);
    cache.insert(7, 1);
    cache.insert(7, 101);
    assert_eq!(absence(&cache, 7), Absence::Rejected, "though it was removed for that");

    cache.insert_with_tags(8, 1, ["a", "b", "c", "d", "e"]);
    assert_eq!(absence(&cache, 8), Absence::Rejected);
    cache.insert(8, 1);
    cache.insert_with_tags(8, 1, ["a", "b", "c", "d", "e"]);
    presence(&cache, 8);

    for key in 10..15 {
        cache.insert(key, 1);
    }
    assert_eq!(absence(&cache, 10), Absence::Evicted);
    cache.insert(10, 1);
    cache.clear();
    assert_eq!(absence(&cache, 10), Absence::Cleared, "the latest counts");
    assert_eq!(absence(&cache, 99), Absence::NeverSeen);
}

#[test]
fn present_entries_are_described() {
    let clock = FakeClock::new();
    let second = Duration::from_secs(1);
    let cache = inline(100).time_to_live(10 * second).clock(clock.clone()).build().unwrap();
    cache.insert_with_tags(1, 1, ["a", "b"]);
    clock.advance(3 * second);
    cache.get(&1);
    let found = presence(&cache, 1);
    assert_eq!(found.info.age, Some(3 * second));
    assert_eq!(found.info.expires_in, Some(7 * second));
    assert_eq!((found.info.weight, found.tags), (1, 2));
    assert!(found.uses.is_some());
    let names: Vec<_> = cache.segments().iter().map(|segment| segment.name).collect();
    assert!(names.contains(&found.segment.unwrap()), "{found:?}");

    let lfu = inline(100).policy(Policy::lfu()).build().unwrap();
    lfu.insert(1, 1);
    lfu.get(&1);
    lfu.get(&1);
    let found = presence(&lfu, 1);
    assert_eq!((found.uses, found.segment, found.tags), (Some(3), None, 0));
    assert_eq!(presence(&lfu, 1).uses, Some(3), "a question does not count as a use");
}

#[test]
fn without_a_history_the_answer_is_unknown() {
    let cache = Cache::<u32, u32>::builder().capacity(10).build().unwrap();
    cache.insert(1, 1);
    cache.remove(&1);
    assert_eq!(absence(&cache, 1), Absence::Unknown);
    cache.insert(2, 2);
    presence(&cache, 2);
}

#[test]
fn the_history_is_bounded_and_reports_when_it_may_have_forgotten() {
    let cache = inline(10).explain_misses(160).build().unwrap();
    for key in 0..10_000 {
        cache.insert(key, key);
    }
    let missing: Vec<_> = (0..10_000).filter(|key| !cache.contains_key(key)).collect();
    let evicted = missing.iter().filter(|key| absence(&cache, **key) == Absence::Evicted).count();
    assert_eq!(evicted, 160);
    assert_eq!(absence(&cache, 0), Absence::Unknown);
    assert_eq!(absence(&cache, 1_000_000), Absence::Unknown, "it may have been there");
}

#[test]
fn removals_by_all_threads_are_remembered() {
    let cache: Cache<u32, u32> =
        Cache::builder().capacity(100_000).explain_misses(100_000).build().unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..2_000 {
                    let key = round * 4 + thread;
                    cache.insert(key, key);
                    assert_eq!(cache.remove(&key), Some(key));
                    assert_eq!(absence(cache, key), Absence::Removed);
                }
            });
        }
    });
    assert!((0..8_000).all(|key| absence(&cache, key) == Absence::Removed));
    assert_eq!(absence(&cache, 8_000), Absence::NeverSeen);
}

#[test]
fn reports_of_a_cache_are_readable_by_people() {
    let clock = FakeClock::new();
    let cache: Cache<u32, u32> = Cache::builder()
        .capacity(100)
        .policy(Policy::lru())
        .maintenance(Maintenance::Inline)
        .clock(clock.clone())
        .explain_misses(10)
        .count_lookups()
        .shadow(ShadowConfig::new().multiples([2.0]))
        .build()
        .unwrap();
    let report = cache.shadow_report().unwrap();
    assert_eq!((report.points[0].hit_ratio, report.curve("lru").count()), (None, 0));
    assert!(report.to_string().starts_with("lru at 2 times the bounds: no sample yet"), "{report}");
    let _ =
        cache.insert_with(1, 1, InsertOptions::new().tags(&["tag"]).ttl(Duration::from_secs(60)));
    clock.advance(Duration::from_secs(20));
    let explanation = cache.explain(&1).to_string();
    let wanted = "present: age 20s, expires in 40s, weight 1, counter 0, recent uses 0, tags 1";
    assert_eq!(explanation, wanted);
    assert_eq!(cache.explain(&2).to_string(), "missing: never seen");
    assert_eq!(cache.get(&1), Some(1));
    let report = cache.shadow_report().unwrap().to_string();
    let wanted = "lru at 2 times the bounds: hit ratio 100.00 %, capacity 200, ";
    assert!(report.starts_with(wanted), "{report}");
}

#[cfg(feature = "serde")]
#[test]
fn reports_of_a_cache_can_be_serialized() {
    let cache: Cache<u32, u32> = Cache::builder()
        .capacity(100)
        .explain_misses(10)
        .shadow(ShadowConfig::new().multiples([2.0]))
        .build()
        .unwrap();
    let _ = cache.insert(1, 1);
    let stats = serde_json::to_value(cache.stats()).unwrap();
    assert_eq!((&stats["hits"], &stats["inserts"]), (&serde_json::Value::Null, &1.into()));
    let report = serde_json::to_value(cache.shadow_report().unwrap()).unwrap();
    assert_eq!(report["points"][0]["multiple"], 2.0);
    let here = serde_json::to_value(cache.explain(&1)).unwrap();
    assert_eq!(here["present"]["info"]["weight"], 1);
    let gone = serde_json::to_value(cache.explain(&2)).unwrap();
    assert_eq!(gone, serde_json::json!({ "missing": "never_seen" }));
    assert_eq!(serde_json::to_value(larder::RemovalCause::Evicted).unwrap(), "evicted");
}
