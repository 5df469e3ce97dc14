//! Fills that replace what they find.

use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, Compute, InsertOptions, Inserted, Maintenance, Rejection, Removal};

use crate::support::configs::for_each_config;
use crate::support::rounds::in_rounds;

const STALE: Inserted = Inserted::Rejected(Rejection::Stale);

#[test]
fn it_stores_unless_the_key_was_changed_since() {
    type Change = fn(&Cache<u32, u64>);
    let changes: [(&str, bool, Change); 12] = [
        ("nothing", false, |_| ()),
        ("another key", false, |cache| _ = cache.insert(2, 2)),
        ("a lookup", false, |cache| _ = cache.get(&1)),
        ("an abandoned fill", false, |cache| drop(cache.begin_fill(&1))),
        ("a computation that keeps the value", false, |cache| {
            cache.entry(1).and_compute_with(|_| Compute::Keep);
        }),
        ("an insertion", true, |cache| _ = cache.insert(1, 2)),
        ("a removal", true, |cache| _ = cache.remove(&1)),
        ("an update", true, |cache| _ = cache.update(&1, |n| n + 1)),
        ("a replacement of an absent key", true, |cache| _ = cache.replace(1, 2)),
        ("clear", true, |cache| cache.clear()),
        ("a tag", true, |cache| _ = cache.invalidate_tag("t")),
        ("another fill", true, |cache| {
            assert!(cache.complete_fill_replacing(cache.begin_fill(&1), 3).is_stored());
        }),
    ];
    for_each_config(|config| {
        for is_present in [false, true] {
            for (what, makes_stale, change) in changes {
                let cache = config.cache(100);
                if is_present {
                    cache.insert_with_tags(1, 1, ["t"]);
                }
                let fill = cache.begin_fill(&1);
                change(&cache);
                let present = cache.get(&1);
                if what == "an update" && !is_present {
                    continue;
                }
                let outcome = cache.complete_fill_replacing(fill, 9);
                let expected = match (makes_stale, is_present) {
                    (true, _) => STALE,
                    (false, true) => Inserted::Replaced,
                    (false, false) => Inserted::Added,
                };
                assert_eq!(outcome, expected, "{what}, present: {is_present}");
                assert_eq!(cache.get(&1), if makes_stale { present } else { Some(9) }, "{what}");
                cache.run_pending();
                cache.validate();
            }
        }
    });
}

#[test]
fn fills_of_both_kinds_heed_each_other() {
    let cache = Cache::<u32, u64>::new(100);
    let (plain, replacing) = (cache.begin_fill(&1), cache.begin_fill(&1));
    assert_eq!(cache.complete_fill(plain, 1), Inserted::Added);
    assert_eq!(cache.complete_fill_replacing(replacing, 2), STALE);
    let (plain, replacing) = (cache.begin_fill(&1), cache.begin_fill(&1));
    assert_eq!(cache.complete_fill_replacing(replacing, 2), Inserted::Replaced);
    assert_eq!(cache.complete_fill(plain, 3), STALE);
    assert_eq!(cache.get(&1), Some(2));
    let plain = cache.begin_fill(&1);
    cache.update(&1, |n| n + 1);
    cache.remove(&1);
    assert_eq!(cache.complete_fill(plain, 3), STALE);
    let other = Cache::<u32, u64>::new(100);
    assert_eq!(cache.complete_fill_replacing(other.begin_fill(&1), 2), STALE);
    assert_eq!(cache.stats().rejections, 4);
}

#[test]
fn a_load_that_is_under_way_does_not_replace_the_value_of_a_fill() {
    let cache = Cache::<u32, u64>::new(100);
    let loaded = cache.get_or_insert_with(&1, || {
        // The loader has read 1. Then another caller writes 2 to the database and to the cache.
        let fill = cache.begin_fill(&1);
        assert_eq!(cache.complete_fill_replacing(fill, 2), Inserted::Added);
        1
    });
    assert_eq!((loaded, cache.get(&1)), (1, Some(2)));
}

#[test]
fn eviction_and_expiry_are_no_changes_and_options_hold() {
    let clock = FakeClock::new();
    let cache = Cache::<u32, u64>::builder()
        .capacity(1)
        .time_to_live(Duration::from_secs(10))
        .clock(clock.clone())
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    cache.insert(1, 1);
    let fill = cache.begin_fill(&1);
    clock.advance(Duration::from_secs(11));
    assert_eq!(cache.complete_fill_replacing(fill, 2), Inserted::Added);
    let fill = cache.begin_fill(&1);
    cache.insert_unevictable(2, 2);
    cache.insert(3, 3);
    assert_eq!(cache.get(&1), None, "evicted");
    let options = InsertOptions::new().ttl(Duration::from_secs(3)).tags(&["t"]).unevictable();
    assert_eq!(cache.complete_fill_replacing_with(fill, 4, options), Inserted::Added);
    assert_eq!(cache.inspect(&1).unwrap().expires_in, Some(Duration::from_secs(3)));
    assert_eq!(cache.tags_of(&1).unwrap(), ["t"]);
    let many = ["a", "b", "c", "d", "e"];
    let too_many = InsertOptions::new().tags(&many);
    let outcome = cache.complete_fill_replacing_with(cache.begin_fill(&1), 5, too_many);
    assert!(matches!(outcome, Inserted::Rejected(Rejection::TooManyTags { .. })));
    assert_eq!(cache.get(&1), Some(4));
}

#[test]
fn a_value_that_is_too_heavy_removes_the_old_one_unless_the_fill_is_stale() {
    let cache = Cache::<u32, u64>::builder()
        .max_weight(10)
        .weigher(|_, value| *value as u32)
        .build()
        .unwrap();
    cache.insert(1, 5);
    let fill = cache.begin_fill(&1);
    cache.insert(1, 6);
    assert_eq!(cache.complete_fill_replacing(fill, 50), STALE);
    assert_eq!(cache.get(&1), Some(6));
    let heavy = Inserted::Rejected(Rejection::TooHeavy { weight: 50, limit: 10 });
    assert_eq!(cache.complete_fill_replacing(cache.begin_fill(&1), 50), heavy);
    assert_eq!(cache.complete_fill_replacing(cache.begin_fill(&1), 50), heavy);
    assert_eq!(cache.get(&1), None);
}

#[test]
fn of_fills_that_race_with_each_other_and_with_changes_none_undoes_another() {
    let builders = [
        Cache::<u64, u64>::builder().capacity(100),
        Cache::<u64, u64>::builder().capacity(100).atomic_listener(|_: &Removal<'_, u64, u64>| ()),
    ];
    for builder in builders {
        let cache = builder.build().unwrap();
        let outcomes = std::sync::Mutex::new(Vec::new());
        in_rounds(
            400,
            |round, thread| {
                let fill = cache.begin_fill(&1);
                let read = cache.get(&1);
                if thread == 0 && round % 2 == 0 {
                    cache.insert(1, round * 10);
                    return;
                }
                let stored = cache.complete_fill_replacing(fill, round * 10 + thread + 1);
                outcomes.lock().unwrap().push((read, stored, round * 10 + thread + 1));
            },
            |round| {
                let outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
                let last = cache.get(&1).unwrap();
                let mut seen: Vec<_> = outcomes
                    .iter()
                    .filter(|(_, stored, _)| stored.is_stored())
                    .map(|(read, ..)| *read)
                    .collect();
                let all = seen.len();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), all, "two replaced the same value: {outcomes:?}");
                let is_known = outcomes.iter().any(|it| it.1.is_stored() && it.2 == last);
                assert!(is_known || last == round * 10, "{last}: {outcomes:?}");
            },
        );
        cache.run_pending();
        cache.validate();
    }
}
