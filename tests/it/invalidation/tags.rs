//! Tags: what invalidating one does to every verb, and to threads that insert meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::counted::{Counted, Ledger};
use crate::support::flush;
use larder::test::FakeClock;
use larder::{
    Cache, InsertOptions, Inserted, Listener, Maintenance, Policy, Rejection, Removal, RemovalCause,
};

fn inline(capacity: usize) -> larder::Builder<u32, u32> {
    Cache::builder().capacity(capacity).partitions(1).maintenance(Maintenance::Inline)
}

#[test]
fn an_invalidated_entry_is_absent_to_every_verb() {
    let cache = inline(100).build().unwrap();
    let stale = || {
        cache.insert_with_tags(1, 10, ["t"]);
        assert_eq!(cache.get(&1), Some(10));
        assert!(cache.invalidate_tag("t"));
    };
    stale();
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.peek(&1), None);
    assert_eq!(cache.read(&1, |value| *value), None);
    assert!(!cache.contains_key(&1));
    assert_eq!(cache.inspect(&1), None);
    assert_eq!(cache.tags_of(&1), None);
    assert!(!cache.has_expired(&1), "it was invalidated, not expired");
    let pinned = cache.pin();
    assert_eq!((pinned.get(&1), pinned.peek(&1)), (None, None));
    drop(pinned);
    assert_eq!(cache.iter().count() + cache.keys().count() + cache.values().count(), 0);
    assert_eq!(cache.entries().count(), 0);
    assert_eq!((cache.hottest(9), cache.coldest(9)), (vec![], vec![]));
    assert!(!cache.expire_after(&1, Some(Duration::from_secs(1))));
    assert_eq!(cache.replace(1, 11), Inserted::Rejected(Rejection::Absent));
    assert_eq!(cache.remove(&1), None);
    stale();
    assert!(!cache.remove_if(&1, |_, _| true));
    stale();
    assert_eq!(cache.invalidate_if(|_, _| panic!("the predicate must not see it")), 0);
    assert_eq!(cache.len(), 0, "the invalid entry was removed too");
    stale();
    assert_eq!(cache.insert_if_absent(1, 11), Inserted::Added);
    assert_eq!(cache.get(&1), Some(11));
    stale();
    assert_eq!(cache.insert(1, 12), Inserted::Added, "no valid entry was replaced");
    assert_eq!(cache.stats().invalidations, 5);
    cache.validate();
}

#[test]
fn each_tag_of_an_entry_invalidates_it_and_no_other_entry() {
    for dead in 0..4 {
        let cache = inline(100).build().unwrap();
        let names = ["a", "b", "c", "d"];
        cache.insert_with_tags(1, 1, names);
        for (key, name) in (10..).zip(names) {
            cache.insert_with_tags(key, key, [name]);
        }
        cache.insert(2, 2);
        assert!(cache.invalidate_tag(names[dead]));
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.get(&2), Some(2));
        for (key, name) in (10..).zip(names) {
            assert_eq!(cache.get(&key).is_none(), name == names[dead], "{name}");
        }
    }
}

#[test]
fn a_tag_is_valid_again_for_entries_inserted_after_its_invalidation() {
    let cache = inline(100).build().unwrap();
    for round in 0..3 {
        cache.insert_with_tags(1, round, ["t"]);
        assert_eq!(cache.get(&1), Some(round));
        assert!(cache.invalidate_tag(&"t".to_owned()));
        assert!(!cache.invalidate_tag("t"), "no entry carries it now");
        assert_eq!(cache.get(&1), None);
    }
    cache.insert_with_tags(2, 2, ["t"]);
    assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(2)));
}

#[test]
fn a_fifth_tag_is_refused_and_the_old_entry_stays() {
    let cache = inline(100).build().unwrap();
    cache.insert(1, 1);
    let refused = cache.insert_with_tags(1, 2, ["a", "b", "c", "d", "e"]);
    assert_eq!(refused, Inserted::Rejected(Rejection::TooManyTags { limit: 4 }));
    let Inserted::Rejected(refusal) = refused else { unreachable!() };
    assert_eq!(refusal.to_string(), "more than the 4 tags of an entry");
    assert_eq!(cache.get(&1), Some(1));
    assert_eq!(cache.tag_count(), 0);
    assert_eq!(cache.insert_with_tags(1, 3, ["a", "a", "b", "a", "c", "d"]), Inserted::Replaced);
    assert_eq!(cache.tags_of(&1).unwrap(), ["a", "b", "c", "d"]);
    assert_eq!(cache.insert_with_tags::<&str>(1, 4, []), Inserted::Replaced);
    assert_eq!(cache.tags_of(&1), Some(vec![]));
}

#[test]
fn a_value_that_replaces_another_has_only_its_own_tags() {
    let cache = inline(100).build().unwrap();
    cache.insert_with_tags(1, 1, ["old"]);
    cache.insert_with_tags(1, 2, ["new"]);
    cache.invalidate_tag("old");
    assert_eq!(cache.get(&1), Some(2));
    cache.insert(1, 3);
    cache.invalidate_tag("new");
    assert_eq!(cache.get(&1), Some(3));
}

#[test]
fn tag_names_are_stored_only_while_an_entry_carries_them() {
    let cache = inline(10).build().unwrap();
    for key in 0..1000 {
        cache.insert_with_tags(key, key, [format!("tag {key}"), "all".to_owned()]);
    }
    flush(&cache);
    assert_eq!(cache.tag_count(), 11);
    assert!(!cache.invalidate_tag("tag 3"), "evicted");
    cache.clear();
    flush(&cache);
    assert_eq!(cache.tag_count(), 0);
    cache.insert_with_tags(1, 1, ["outlived"]);
    let clone = cache.clone();
    drop(cache);
    assert_eq!(clone.get(&1), Some(1));
}

#[test]
fn listeners_are_notified_once_of_each_invalidated_entry_when_it_leaves() {
    let notified = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&notified);
    let cache = inline(4)
        .listener(Listener::new(move |removal: &Removal<'_, u32, u32>| {
            recorded.lock().unwrap().push((*removal.key, removal.cause));
        }))
        .policy(Policy::fifo())
        .build()
        .unwrap();
    for key in 0..4 {
        cache.insert_with_tags(key, key, ["t"]);
    }
    cache.invalidate_tag("t");
    assert_eq!(notified.lock().unwrap().len(), 0, "they leave later");
    cache.insert(0, 9); // replaces an entry that can no longer be seen
    cache.insert(4, 4); // evicts the first in the policy's order, which is 1 or 0
    cache.remove(&2);
    cache.clear();
    let notified = std::mem::take(&mut *notified.lock().unwrap());
    let of = |cause| {
        let keys = notified.iter().filter(|(_, it)| *it == cause).map(|(key, _)| *key);
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable();
        keys
    };
    let gone = of(RemovalCause::Invalidated);
    assert_eq!(gone, [0, 1, 2, 3], "{notified:?}");
    let rest: Vec<_> = notified.iter().filter(|(_, it)| *it != RemovalCause::Invalidated).collect();
    assert_eq!(rest.len(), 2, "{rest:?}");
    assert_eq!(cache.stats().invalidations, 4);
}

#[test]
fn tags_combine_with_every_kind_of_lifetime() {
    let clock = FakeClock::new();
    let second = Duration::from_secs(1);
    let builders = [
        inline(100),
        inline(100).time_to_live(10 * second),
        inline(100).time_to_idle(10 * second),
        inline(100).time_to_live(30 * second).time_to_idle(10 * second),
    ];
    for builder in builders {
        let cache = builder.clock(clock.clone()).build().unwrap();
        cache.insert_with(1, 1, InsertOptions::new().tags(&["t"]).ttl(5 * second));
        cache.insert_with(2, 2, InsertOptions::new().tags(&["u"]).ttl(5 * second));
        cache.insert_with_tags(3, 3, ["t", "u"]);
        clock.advance(4 * second);
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(1), Some(2), Some(3)));
        cache.invalidate_tag("t");
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (None, Some(2), None));
        clock.advance(2 * second);
        cache.run_pending();
        assert_eq!(cache.get(&2), None);
        cache.validate();
    }
}

#[test]
fn an_entry_with_tags_is_dropped_like_any_other() {
    let ledger = Ledger::new();
    let cache: Cache<u32, Counted> = Cache::builder().capacity(50).partitions(1).build().unwrap();
    for key in 0..500 {
        cache.insert_with_tags(key, ledger.make(u64::from(key)), ["a", "b"]);
        if key % 100 == 0 {
            cache.invalidate_tag("a");
        }
    }
    drop(cache);
    assert_eq!(ledger.made(), 500);
    ledger.assert_living(0, "tagged values");
}

#[test]
fn an_entry_is_never_seen_once_its_invalidation_has_returned() {
    // Each writer counts up, and publishes how far its insertions have returned. Entries whose
    // insertion had returned when an invalidation began must not be seen once the invalidation has
    // returned.
    const WRITERS: usize = 3;
    const ROUNDS: u64 = 10_000;
    let cache: Cache<u64, (usize, u64)> = Cache::builder().capacity(1_000).build().unwrap();
    let written: [AtomicU64; WRITERS] = Default::default();
    let floor: [AtomicU64; WRITERS] = Default::default();
    let is_over = AtomicBool::new(false);
    let start = Barrier::new(WRITERS + 2);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (cache, written, start) = (&cache, &written, &start);
            scope.spawn(move || {
                start.wait();
                for round in 1..=ROUNDS {
                    let tag = if round % 2 == 0 { "even" } else { "odd" };
                    cache.insert_with_tags(round * 7 % 64, (writer, round), ["all", tag]);
                    written[writer].store(round, Ordering::SeqCst);
                }
            });
        }
        let reader = scope.spawn(|| {
            start.wait();
            let mut seen = 0_u64;
            while !is_over.load(Ordering::SeqCst) {
                for key in 0..64 {
                    let floors = floor.each_ref().map(|it| it.load(Ordering::SeqCst));
                    if let Some((writer, round)) = cache.get(&key) {
                        assert!(round > floors[writer], "round {round} of {floors:?}");
                        seen += 1;
                    }
                }
            }
            seen
        });
        start.wait();
        let mut effective = 0_u64;
        while written.iter().any(|it| it.load(Ordering::SeqCst) < ROUNDS) {
            let before = written.each_ref().map(|it| it.load(Ordering::SeqCst));
            effective += u64::from(cache.invalidate_tag("all"));
            for (floor, before) in floor.iter().zip(before) {
                floor.store(before, Ordering::SeqCst);
            }
        }
        is_over.store(true, Ordering::SeqCst);
        let seen = reader.join().unwrap();
        assert!(effective > 0, "nothing was invalidated; {seen} seen");
    });
    assert!(cache.invalidate_tag("all") || cache.tag_count() <= 2);
    assert!((0..64).all(|key| cache.get(&key).is_none()));
    cache.clear();
    flush(&cache);
    assert_eq!(cache.tag_count(), 0);
    cache.validate();
}
