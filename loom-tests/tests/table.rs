//! The split-ordered list: each verb against each other one on one key, growth, bucket heads.
//!
//! Under loom the table starts with 2 buckets, and keys are their own hashes. ORDERINGS.md lists the
//! changes that make a model fail.
#![cfg(larder_loom)]

use larder::model::{FreshMap, Map};
use loom::sync::Arc;
use loom::thread;
use loom_tests::{one_preemption_less, two, two_within};

#[test]
fn insert_publishes_its_value() {
    two::<Map, _, _>(
        |_| {},
        |map| map.insert_if_absent(1, 10),
        |map| map.get(1),
        |map, added, seen| {
            assert!(added);
            assert!(seen.is_none_or(|value| value == 10));
            assert_eq!(map.get(1), Some(10));
        },
    );
}

#[test]
fn the_first_entry_is_found_whole() {
    two::<FreshMap, _, _>(
        |_| {},
        |map| map.insert_if_absent(1, 10),
        |map| (map.get(1), map.remove(1)),
        |map, added, (seen, removed)| {
            assert!(added);
            assert!(seen.is_none_or(|value| value == 10));
            assert_eq!(map.get(1), if removed.is_some() { None } else { Some(10) });
        },
    );
}

#[test]
fn two_first_entries_are_both_in_the_table() {
    // Each thread may make the first segment, which takes many steps.
    two_within::<FreshMap, _, _>(
        &one_preemption_less(),
        |_| {},
        |map| map.insert_if_absent(0, 10),
        |map| map.insert_if_absent(1, 20),
        |map, first, second| {
            assert!(first && second);
            assert_eq!((map.get(0), map.get(1), map.keys().len()), (Some(10), Some(20), 2));
        },
    );
}

#[test]
fn one_of_two_inserts_of_a_key_adds_it() {
    two::<Map, _, _>(
        |_| {},
        |map| map.insert_if_absent(1, 10),
        |map| map.insert_if_absent(1, 20),
        |map, a, b| {
            assert!(a != b, "both or neither added the key");
            assert_eq!(map.get(1), Some(if a { 10 } else { 20 }));
            assert_eq!(map.keys(), [1]);
        },
    );
}

#[test]
fn two_upserts_of_a_key_replace_one_another() {
    two::<Map, _, _>(
        |_| {},
        |map| map.upsert(1, 10),
        |map| map.upsert(1, 20),
        |map, a, b| {
            let last = map.get(1);
            assert!(
                (a, b, last) == (None, Some(10), Some(20))
                    || (a, b, last) == (Some(20), None, Some(10))
            );
            assert_eq!(map.keys(), [1]);
        },
    );
}

#[test]
fn insert_and_remove_agree_on_which_was_first() {
    two::<Map, _, _>(
        |_| {},
        |map| map.insert_if_absent(1, 10),
        |map| map.remove(1),
        |map, added, removed| {
            assert!(added);
            assert_eq!(map.get(1), if removed.is_some() { None } else { Some(10) });
        },
    );
}

#[test]
fn insert_behind_a_removed_neighbour_is_not_lost() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
        },
        |map| map.remove(1),
        |map| map.insert_if_absent(3, 30),
        |map, removed, added| {
            assert_eq!((removed, added), (Some(10), true));
            assert_eq!((map.get(1), map.get(3)), (None, Some(30)));
        },
    );
}

#[test]
fn a_key_removed_and_inserted_at_once_is_in_the_table_once() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
        },
        |map| (map.remove(1), map.insert_if_absent(1, 20)),
        |map| map.insert_if_absent(1, 30),
        |map, (removed, a), b| {
            assert_eq!(removed, Some(10));
            assert!(a || b);
            assert_eq!(map.keys(), [1]);
        },
    );
}

#[test]
fn replace_and_remove_take_each_value_once() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
        },
        |map| map.replace(1, 20),
        |map| map.remove(1),
        |map, replaced, removed| match (replaced, removed) {
            (Some(10), Some(20)) | (None, Some(10)) => assert_eq!(map.get(1), None),
            other => panic!("{other:?}"),
        },
    );
}

#[test]
fn a_key_being_replaced_is_never_absent() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
        },
        |map| map.upsert(1, 20),
        |map| map.get(1),
        |map, old, seen| {
            assert_eq!(old, Some(10));
            assert!(seen == Some(10) || seen == Some(20), "absent while it was replaced");
            assert_eq!(map.get(1), Some(20));
        },
    );
}

#[test]
fn one_of_two_removals_returns_the_value() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
        },
        |map| map.remove(1),
        |map| map.remove(1),
        |map, a, b| {
            assert!(matches!((a, b), (Some(10), None) | (None, Some(10))));
            assert!(map.keys().is_empty());
        },
    );
}

#[test]
fn removals_of_neighbours_leave_neither_linked() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
            map.insert_if_absent(3, 30);
        },
        |map| map.remove(1),
        |map| map.remove(3),
        |map, a, b| {
            assert_eq!((a, b), (Some(10), Some(30)));
            assert!(map.keys().is_empty());
        },
    );
}

#[test]
fn evictions_of_neighbours_leave_neither_linked() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
            map.insert_if_absent(3, 30);
        },
        |map| map.evict(1),
        |map| map.evict(3),
        |map, a, b| {
            assert_eq!((a, b), (Some(10), Some(30)));
            assert!(map.keys().is_empty());
        },
    );
}

#[test]
fn eviction_removes_the_chosen_entry_or_nothing() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
        },
        |map| map.evict(1),
        |map| map.replace(1, 20),
        |map, evicted, replaced| match (evicted, replaced) {
            (Some(10), None) | (Some(20), Some(10)) => assert_eq!(map.get(1), None),
            (None, Some(10)) => assert_eq!(map.get(1), Some(20)),
            other => panic!("{other:?}"),
        },
    );
}

#[test]
fn of_two_replacements_of_one_very_entry_one_succeeds() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
        },
        |map| map.replace_found(1, |value| value + 1),
        |map| map.replace_found(1, |value| value + 2),
        |map, a, b| {
            let expected = match (a, b) {
                (Some(10), None) => 11,
                (None, Some(10)) => 12,
                (Some(10), Some(11)) | (Some(12), Some(10)) => 13,
                other => panic!("{other:?}"),
            };
            assert_eq!(map.get(1), Some(expected), "an update was lost");
            assert_eq!(map.keys(), [1]);
        },
    );
}

#[test]
fn a_removal_takes_the_very_entry_or_its_replacement() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
        },
        |map| map.replace_found(1, |value| value + 1),
        |map| (map.remove(1), map.get(1)),
        |map, replaced, (removed, after)| {
            assert!(matches!((replaced, removed), (None, Some(10)) | (Some(10), Some(11))));
            assert_eq!((after, map.get(1)), (None, None), "resurrected");
        },
    );
}

#[test]
fn replacing_an_entry_keeps_what_is_inserted_behind_it() {
    // Under loom the table starts with 2 buckets, so key 3 stands behind key 1 in its bucket.
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
        },
        |map| map.replace_found(1, |value| value + 1),
        |map| map.insert_if_absent(3, 30) && map.get(1).is_some(),
        |map, replaced, added| {
            assert_eq!((replaced, added), (Some(10), true));
            assert_eq!((map.get(1), map.get(3)), (Some(11), Some(30)));
        },
    );
}

#[test]
fn a_head_being_linked_hides_no_entry() {
    // Bucket 1 is opened by both threads at once, each inserting into it.
    two::<Map, _, _>(
        |_| {},
        |map| map.insert_if_absent(1, 10) && map.get(1) == Some(10),
        |map| map.insert_if_absent(3, 30) && map.get(3) == Some(30),
        |map, a, b| {
            assert!(a && b, "a thread lost its own entry");
            assert_eq!((map.get(1), map.get(3)), (Some(10), Some(30)));
        },
    );
}

#[test]
fn growth_hides_no_entry() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
            map.insert_if_absent(3, 30);
        },
        |map| {
            map.grow_for(2);
            map.get(3)
        },
        |map| (map.get(3), map.get(1)),
        |_, a, b| {
            assert_eq!(a, Some(30));
            assert_eq!(b, (Some(30), Some(10)));
        },
    );
}

#[test]
fn insert_during_growth_is_found_by_all() {
    two::<Map, _, _>(
        |map| {
            map.insert_if_absent(1, 10);
        },
        |map| {
            map.grow_for(2);
            map.insert_if_absent(3, 30) && map.get(3) == Some(30)
        },
        |map| map.insert_if_absent(7, 70) && map.get(7) == Some(70),
        |map, a, b| {
            assert!(a && b, "a thread lost its own entry");
            for key in [1, 3, 7] {
                assert_eq!(map.get(key), Some(key * 10));
            }
        },
    );
}

#[test]
fn an_upsert_into_an_empty_bucket_during_growth_is_found_by_all() {
    two::<Map, _, _>(
        |_| {},
        |map| {
            map.grow_for(2);
            (map.upsert(2, 20), map.get(2))
        },
        |map| (map.upsert(6, 60), map.get(6)),
        |map, a, b| {
            assert_eq!((a, b), ((None, Some(20)), (None, Some(60))));
            assert_eq!((map.get(2), map.get(6)), (Some(20), Some(60)));
        },
    );
}

#[test]
fn iteration_sees_each_entry_that_stays_exactly_once() {
    two::<Map, _, _>(
        |map| {
            for key in [1, 3, 2] {
                map.insert_if_absent(key, key * 10);
            }
        },
        |map| {
            map.remove(1);
            map.upsert(3, 33);
        },
        |map| map.keys(),
        |_, (), keys| {
            for stays in [2, 3] {
                assert_eq!(keys.iter().filter(|key| **key == stays).count(), 1, "{keys:?}");
            }
        },
    );
}

#[test]
fn three_threads_on_one_key_agree() {
    loom_tests::model(|| {
        let map = Arc::new(Map::default());
        map.insert_if_absent(1, 10);
        let (a, b, c) = (Arc::clone(&map), Arc::clone(&map), Arc::clone(&map));
        let remover = thread::spawn(move || a.remove(1));
        let writer = thread::spawn(move || b.upsert(1, 20));
        let reader = thread::spawn(move || c.get(1));
        let seen = reader.join().expect("the model's thread panicked");
        let removed = remover.join().expect("the model's thread panicked");
        let replaced = writer.join().expect("the model's thread panicked");
        assert!(seen.is_none_or(|value| value == 10 || value == 20));
        match (removed, replaced) {
            (Some(10), None) => assert_eq!(map.get(1), Some(20)),
            (Some(20), Some(10)) => assert_eq!(map.get(1), None),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn clear_removes_each_present_entry_once_and_no_later_one() {
    // This fails if `Map::clear` counts an entry of which `Table::remove_entry` says that another
    // thread removed it.
    two::<Map, _, _>(
        |map| {
            map.upsert(1, 10);
            map.upsert(3, 30);
        },
        |map| {
            let cleared = map.clear();
            map.upsert(5, 50);
            (cleared, map.get(1), map.get(3))
        },
        |map| map.upsert(1, 20),
        |map, (cleared, one, three), replaced| {
            assert_eq!(three, None, "it was there when the call began");
            assert_eq!(map.get(3), None);
            assert_eq!(map.get(5), Some(50), "it was inserted after the call returned");
            assert!(one.is_none_or(|value| value == 20), "resurrected");
            assert_eq!(map.get(1).or(Some(20)), Some(20));
            // Each value has left once: by `clear` or by the replacement.
            let by_clear = cleared.iter().filter(|value| **value == 10).count();
            assert_eq!(by_clear + usize::from(replaced == Some(10)), 1);
            let stays = map.get(1).is_some();
            assert_eq!(cleared.contains(&20), !stays);
        },
    );
}
