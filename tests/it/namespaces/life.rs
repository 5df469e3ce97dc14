//! What becomes of the namespace of an entry, and how namespaces meet the rest of the cache.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::{
    BuildError, Cache, InsertOptions, Inserted, Listener, LoadOptions, LoadTask, Loaded,
    Maintenance, Namespaces, Policy, Rejection, RemovalCause, UpdateOptions,
};

fn named() -> Namespaces<String> {
    Namespaces::by_name(|key: &String| key.split(':').next().unwrap_or(""))
        .guarantee("a", 2)
        .guarantee("b", 2)
}

fn given() -> Namespaces<String> {
    Namespaces::at_insertion().guarantee("a", 2).guarantee("b", 2)
}

fn build(namespaces: Namespaces<String>) -> Cache<String, u32> {
    let builder = Cache::builder().capacity(8).maintenance(Maintenance::Inline).count_lookups();
    builder.namespaces(namespaces).build().unwrap()
}

fn in_namespace(name: &str) -> InsertOptions<'_> {
    InsertOptions::new().namespace(name)
}

fn entries(cache: &Cache<String, u32>, name: &str) -> u64 {
    cache.namespace_stats(name).unwrap().entries
}

#[test]
fn loads_name_the_namespaces_of_their_entries() {
    let cache = build(given());
    let load = |key: &str, namespace, by_loader: Option<&str>| {
        let options = LoadOptions::new().namespace(namespace);
        let loaded = cache.get_or_load(key, options, |load| {
            if let Some(namespace) = by_loader {
                load.set_namespace(namespace);
            }
            Ok::<_, ()>(Loaded::Store(7))
        });
        assert_eq!(loaded, Ok(Some(7)));
    };
    load("one", "a", None);
    load("two", "a", Some("b"));
    assert_eq!((entries(&cache, "a"), entries(&cache, "b")), (1, 1));
    // Returned, and not stored.
    load("three", "c", None);
    load("four", "a", Some("c"));
    assert_eq!((cache.len(), cache.stats().rejections), (2, 2));
}

/// A value that is renewed stays in its namespace, whatever the loader answers, unless that names another one.
#[test]
fn renewed_values_stay_in_their_namespaces() {
    type Answer = fn(&larder::Load<String, u32>) -> Loaded<u32>;
    let answers: [(Answer, &str); 4] = [
        (|_| Loaded::Store(2), "a"),
        (larder::Load::not_modified, "a"),
        (
            |load| {
                load.set_tags(&["tag"]);
                load.not_modified()
            },
            "a",
        ),
        (
            |load| {
                load.set_namespace("b");
                Loaded::Store(2)
            },
            "b",
        ),
    ];
    for (number, (answer, expected)) in answers.into_iter().enumerate() {
        let cache = Cache::builder()
            .capacity(8)
            .maintenance(Maintenance::Inline)
            .namespaces(given())
            .load_executor(LoadTask::run)
            .build_with_loader(move |_: &String, load| Ok::<_, ()>(answer(load)))
            .unwrap();
        cache.insert_with("key".to_owned(), 1, in_namespace("a"));
        assert!(cache.refresh("key"));
        assert_eq!(cache.namespace_of("key").as_deref(), Some(expected), "answer {number}");
        assert_eq!(entries(&cache, expected), 1, "answer {number}");
        cache.invalidate_namespace(expected);
        assert_eq!(cache.peek("key"), None, "answer {number}");
        cache.validate();
    }
}

#[test]
fn wrong_namespaces_are_refused() {
    let of = |namespaces| Cache::<String, u32>::builder().capacity(10).namespaces(namespaces);
    let error = |builder: larder::Builder<String, u32>| builder.build().map(drop).unwrap_err();
    assert_eq!(
        error(of(named().guarantee("c", 7))),
        BuildError::MinimumsTooLarge { given: 11, bound: 10 }
    );
    assert_eq!(
        error(of(named().guarantee("c", u64::MAX))),
        BuildError::MinimumsTooLarge { given: u64::MAX, bound: 10 }
    );
    assert_eq!(
        error(of(named().with_a_twice())),
        BuildError::DuplicateNamespace { given: "a".into() }
    );
    assert_eq!(error(of(named()).max_weight(10)), BuildError::NamespacesNeedOneBound);
    for (minimum, given) in [(0, 0), (3, 2)] {
        let (namespace, least) = ("c".to_owned(), minimum.max(1));
        assert_eq!(
            error(of(named().guarantee_up_to("c", minimum, given))),
            BuildError::MaximumTooLow { namespace, given, least }
        );
    }
    assert!(of(named().guarantee("c", 6)).build().is_ok());
}

trait Twice {
    fn with_a_twice(self) -> Self;
}

impl Twice for Namespaces<String> {
    fn with_a_twice(self) -> Self {
        self.guarantee("a", 0)
    }
}

#[test]
fn key_or_insertion_says_the_namespace() {
    let cache = build(named());
    cache.insert("a:1".into(), 1);
    cache.insert("other".into(), 1);
    assert_eq!(cache.namespace_of("a:1").as_deref(), Some("a"));
    assert_eq!(cache.namespace_of("other").as_deref(), Some(""));
    assert_eq!(cache.namespace_of("absent"), None);
    let refused = Inserted::Rejected(Rejection::NoSuchNamespace);
    assert_eq!(cache.insert_with("b:1".into(), 1, in_namespace("b")), refused);

    let cache = build(given());
    assert_eq!(cache.insert_with("x".into(), 1, in_namespace("b")), Inserted::Added);
    assert_eq!(cache.insert_with("y".into(), 1, in_namespace("c")), refused);
    assert_eq!((cache.namespace_of("x").as_deref(), cache.len()), (Some("b"), 1));

    let plain: Cache<String, u32> = Cache::new(10);
    assert_eq!(plain.insert_with("x".into(), 1, in_namespace("b")), refused);
    plain.insert("x".into(), 1);
    assert_eq!((plain.namespace_of("x"), plain.namespace_stats("")), (None, None));
    assert!(!plain.invalidate_namespace("") && plain.all_namespace_stats().is_empty());
}

#[test]
fn replacement_moves_an_entry_and_an_update_does_not() {
    let cache = build(given());
    cache.insert_with("x".into(), 1, in_namespace("a"));
    cache.update("x", |value| value + 1);
    assert_eq!((entries(&cache, "a"), cache.get("x")), (1, Some(2)));
    let tagged = UpdateOptions::new().tags(&["t"]);
    cache.update_with("x", tagged, |value| value + 1);
    assert_eq!(cache.namespace_of("x").as_deref(), Some("a"));
    assert_eq!(cache.tags_of("x"), Some(vec!["t".to_owned()]));
    cache.insert_with("x".into(), 5, in_namespace("b"));
    assert_eq!((entries(&cache, "a"), entries(&cache, "b")), (0, 1));
    cache.insert("x".into(), 6);
    assert_eq!((entries(&cache, "b"), entries(&cache, "")), (0, 1));
    cache.fetch_add("x", 1);
    cache.get_or_insert_with("y", || 3);
    assert_eq!((entries(&cache, ""), cache.get("x")), (2, Some(7)));
    cache.validate();
}

#[test]
fn removal_expiry_and_clear_leave_the_account() {
    let clock = larder::test::FakeClock::new();
    let cache: Cache<String, u32> = Cache::builder()
        .capacity(8)
        .maintenance(Maintenance::Inline)
        .clock(clock.clone())
        .namespaces(named())
        .build()
        .unwrap();
    cache.insert_with_ttl("a:1".into(), 1, Duration::from_secs(1));
    cache.insert("a:2".into(), 1);
    cache.insert("b:1".into(), 1);
    cache.insert_unevictable("b:2".into(), 1);
    assert_eq!((entries(&cache, "a"), entries(&cache, "b")), (2, 1));
    clock.advance(Duration::from_secs(60));
    cache.run_pending();
    assert_eq!(entries(&cache, "a"), 1);
    cache.insert_unevictable("b:1".into(), 2);
    assert_eq!(entries(&cache, "b"), 0, "it is evictable no more");
    cache.insert("b:1".into(), 2);
    assert_eq!(entries(&cache, "b"), 1);
    cache.remove("a:2");
    assert_eq!(entries(&cache, "a"), 0);
    cache.clear();
    assert!(cache.all_namespace_stats().iter().all(|stats| stats.entries == 0));
    cache.validate();
}

#[test]
fn invalidated_namespace_is_gone_at_once_and_is_protected_no_more() {
    for policy in ["window_tiny_lfu", "lru", "s3_fifo"] {
        let cache: Cache<String, u32> = Cache::builder()
            .capacity(8)
            .maintenance(Maintenance::Inline)
            .policy(Policy::named(policy))
            .namespaces(named().guarantee("c", 4))
            .build()
            .unwrap();
        (0..4).for_each(|at| {
            cache.insert(format!("c:{at}"), at);
        });
        (0..100).for_each(|at| {
            cache.insert(format!("b:{at}"), at);
        });
        assert_eq!((entries(&cache, "c"), entries(&cache, "b")), (4, 4));
        assert!(cache.invalidate_namespace("c"));
        assert_eq!((entries(&cache, "c"), cache.get("c:1")), (0, None));
        cache.insert("c:1".into(), 7);
        assert_eq!((entries(&cache, "c"), cache.get("c:1")), (1, Some(7)));
        (0..100).for_each(|at| {
            cache.insert(format!("b:{at}"), at);
        });
        assert_eq!((entries(&cache, "b"), cache.get("c:1")), (7, Some(7)), "{policy}");
        assert!(!cache.invalidate_namespace("d"));
        cache.validate();
    }
}

#[test]
fn namespace_takes_the_place_of_one_tag_and_is_none() {
    let cache = build(named());
    cache.insert_with_tags("a:1".into(), 1, ["x", "y", "z"]);
    assert_eq!(cache.tags_of("a:1"), Some(vec!["x".into(), "y".into(), "z".into()]));
    let four = cache.insert_with_tags("a:2".into(), 1, ["w", "x", "y", "z"]);
    assert_eq!(four, Inserted::Rejected(Rejection::TooManyTags { limit: 3 }));
    cache.insert("b:1".into(), 1);
    assert_eq!(cache.tags_of("b:1"), Some(Vec::new()));
    assert!(!cache.invalidate_tag("a") && cache.invalidate_tag("y"));
    assert_eq!((cache.get("a:1"), cache.get("b:1")), (None, Some(1)));
}

#[test]
fn listeners_learn_the_causes_as_ever() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let cache: Cache<String, u32> = Cache::builder()
        .capacity(4)
        .maintenance(Maintenance::Inline)
        .policy(Policy::fifo())
        .namespaces(named())
        .listener(Listener::new(move |removal: &larder::Removal<'_, String, u32>| {
            log.lock().unwrap().push((removal.key.clone(), removal.cause));
        }))
        .build()
        .unwrap();
    cache.insert("a:1".into(), 1);
    cache.insert("a:2".into(), 1);
    (0..4).for_each(|at| {
        cache.insert(format!("b:{at}"), at);
    });
    cache.insert("a:1".into(), 2);
    cache.remove("a:2");
    cache.invalidate_namespace("a");
    cache.retain(|_, _| true);
    let heard = heard.lock().unwrap();
    let expected = [
        ("b:0", RemovalCause::Evicted),
        ("b:1", RemovalCause::Evicted),
        ("a:1", RemovalCause::Replaced),
        ("a:2", RemovalCause::Explicit),
        ("a:1", RemovalCause::Invalidated),
    ];
    assert_eq!(*heard, expected.map(|(key, cause)| (key.to_owned(), cause)));
}

#[test]
fn atomic_listener_is_notified_wherever_room_is_made() {
    let count = Arc::new(Mutex::new(0_u64));
    let counted = Arc::clone(&count);
    let cache: Cache<String, u32> = Cache::builder()
        .capacity(16)
        .partitions(4)
        .maintenance(Maintenance::Inline)
        .namespaces(named().guarantee("c", 12))
        .atomic_listener(move |removal| {
            *counted.lock().unwrap() += u64::from(removal.cause == RemovalCause::Evicted);
        })
        .build()
        .unwrap();
    (0..12).for_each(|at| {
        cache.insert(format!("c:{at}"), at);
    });
    (0..200).for_each(|at| {
        cache.insert(format!("{}:{at}", ["a", "b"][at % 2]), 0);
    });
    assert_eq!((entries(&cache, "c"), cache.len()), (12, 16));
    let evictions: u64 = cache.all_namespace_stats().iter().map(|stats| stats.evictions).sum();
    assert_eq!((*count.lock().unwrap(), cache.stats().evictions), (196, 196));
    assert_eq!(evictions, 196);
    cache.validate();
}

#[test]
fn statistics_count_by_namespace() {
    let cache = build(named());
    cache.insert("a:1".into(), 1);
    cache.insert("a:1".into(), 2);
    cache.insert("b:1".into(), 3);
    cache.get("a:1");
    cache.get_many(["a:1", "b:1", "b:2"]);
    assert_eq!((cache.get_in("b", "b:2"), cache.get_in("a", "a:1")), (None, Some(2)));
    let (a, b) = (cache.namespace_stats("a").unwrap(), cache.namespace_stats("b").unwrap());
    assert_eq!((a.hits, a.misses, a.insertions, a.weight), (Some(3), Some(0), 1, 1));
    assert_eq!((b.hits, b.misses, b.insertions, b.minimum), (Some(1), Some(1), 1, 2));
    let uncounted: Cache<String, u32> =
        Cache::builder().capacity(8).namespaces(named()).build().unwrap();
    assert_eq!(uncounted.namespace_stats("a").unwrap().hits, None);
}

#[test]
fn function_that_panics_changes_nothing() {
    let namespaces = Namespaces::by_name(|key: &String| {
        assert!(key != "bad", "on purpose");
        key.as_str()
    });
    let cache = build(namespaces.guarantee("a", 1));
    let insert = || cache.insert("bad".into(), 1);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(insert)).is_err());
    cache.insert("a".into(), 1);
    assert_eq!((cache.len(), entries(&cache, "a")), (1, 1));
    cache.validate();
}

#[test]
fn heavy_entries_need_no_loan_and_respect_the_minimums() {
    let cache: Cache<String, u32> = Cache::builder()
        .max_weight(100)
        .partitions(4)
        .maintenance(Maintenance::Inline)
        .weigher(|_, weight| *weight)
        .namespaces(
            Namespaces::by_name(|key: &String| &key[..1]).guarantee("a", 40).guarantee("b", 60),
        )
        .build()
        .unwrap();
    (0..4).for_each(|at| {
        cache.insert(format!("a{at}"), 10);
    });
    cache.insert("b".into(), 60);
    assert_eq!(cache.weight(), 100);
    let held = |name| cache.namespace_stats(name).unwrap().weight;
    assert_eq!((held("a"), held("b")), (40, 60));
    // Its own entry has to leave for it, with which it crosses its minimum.
    cache.insert("b2".into(), 50);
    assert!(held("a") == 40 && held("b") <= 60, "{} {}", held("a"), held("b"));
    let heavy = cache.insert("a9".into(), 101);
    assert!(matches!(heavy, Inserted::Rejected(Rejection::TooHeavy { .. })));
    cache.validate();
}

#[cfg(feature = "json")]
#[test]
fn snapshot_restores_namespaces() {
    use larder::snapshot::{RestoreOptions, SaveOptions, Serializers};

    let options = SaveOptions::new(Serializers::standard().get("json").unwrap());
    for namespaces in [given(), named()] {
        let saved = build(namespaces.clone());
        let is_given = saved.insert_with("a:1".into(), 1, in_namespace("a")).is_stored();
        if !is_given {
            saved.insert_with_tags("a:1".into(), 1, ["t"]);
        }
        saved.insert("b:1".into(), 2);
        let mut bytes = Vec::new();
        let report = saved.save_to(&mut bytes, &options).unwrap();
        assert_eq!(report.tagged, u64::from(!is_given), "a namespace is no tag");
        let restored = build(namespaces);
        restored.load_from(&*bytes, &RestoreOptions::new()).unwrap();
        for key in ["a:1", "b:1"] {
            assert_eq!(restored.namespace_of(key), saved.namespace_of(key), "{key}");
            assert_eq!(restored.tags_of(key), saved.tags_of(key), "{key}");
        }
        assert_eq!(entries(&restored, "a"), 1);
        restored.validate();
        // A cache without that namespace.
        let other = build(Namespaces::at_insertion());
        other.load_from(&*bytes, &RestoreOptions::new()).unwrap();
        assert_eq!(other.namespace_of("a:1").as_deref(), Some(""));
        // In a cache without namespaces, none of them becomes a tag.
        let plain = Cache::<String, u32>::new(8);
        plain.load_from(&*bytes, &RestoreOptions::new()).unwrap();
        assert_eq!(plain.tags_of("a:1"), saved.tags_of("a:1"));
    }
}

/// A tag must not be taken for a namespace by a cache that loads the snapshot.
#[test]
fn tags_that_begin_as_namespaces_do_in_snapshots_are_refused() {
    let tags: &[&str] = &["fine", "\0namespace=a"];
    for cache in [build(given()), build(named()), Cache::new(8)] {
        let reserved = Inserted::Rejected(Rejection::ReservedTag);
        assert_eq!(cache.insert_with_tags("key".into(), 1, tags), reserved);
        cache.insert("key".into(), 1);
        let options = UpdateOptions::new().tags(tags);
        assert_eq!(cache.update_with("key", options, |value| *value), Err(Rejection::ReservedTag));
        assert_eq!((cache.tags_of("key"), cache.tag_count()), (Some(Vec::new()), 0));
        cache.validate();
    }
}
