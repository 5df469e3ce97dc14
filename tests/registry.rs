//! Policies that are registered by name.
//!
//! This is a program of its own: a name stays registered as long as the process runs, and other
//! tests iterate over all names.

// Most insertions only prepare a test, which ignores what they return.
#![allow(clippy::unwrap_used, unused_must_use)]

#[path = "support/newest_first.rs"]
mod newest_first;

use std::collections::HashSet;

use larder::policy::{Accesses, Policy, PolicyConfig, register_policy};
use larder::{BuildError, Cache, Maintenance, RegisterError};

use newest_first::NewestFirst;

fn own(name: &str) -> Policy {
    Policy::custom(name, |config| Box::new(larder::policy::Fifo::new(config)))
}

#[test]
fn registered_policies_are_chosen_by_name_in_any_case() {
    let unknown = Cache::<u64, u64>::builder().capacity(10).policy(Policy::named("newest")).build();
    match unknown {
        Err(BuildError::UnknownPolicy { given, known }) => {
            assert_eq!(given, "newest");
            assert!(known.iter().any(|name| name == "window_tiny_lfu"));
        }
        _ => panic!("no policy has this name yet"),
    }
    register_policy("Newest", |_: &PolicyConfig| Box::new(NewestFirst::new(Accesses::None)))
        .unwrap();
    for taken in ["newest", "NEWEST", "lru", "Window_Tiny_LFU"] {
        let error =
            register_policy(taken, |_| Box::new(NewestFirst::new(Accesses::None))).unwrap_err();
        let message = error.to_string();
        assert!(matches!(&error, RegisterError::Taken { given, .. } if given == taken));
        assert!(message.contains("sieve") && message.contains("Newest"), "{message}");
    }
    assert_eq!(
        register_policy("  ", |_| Box::new(NewestFirst::new(Accesses::None))),
        Err(RegisterError::EmptyName)
    );
    assert!(Policy::names().any(|name| name == "Newest"));
    let cache = Cache::<u64, u64>::builder()
        .policy(Policy::named("nEWEST"))
        .capacity(2)
        .maintenance(Maintenance::Inline)
        .build()
        .unwrap();
    for key in 0..10 {
        cache.insert(key, key);
    }
    assert!(cache.contains_key(&0) && cache.contains_key(&9));
    assert_eq!(cache.policy_name(), "Newest");
}

#[test]
fn one_of_the_threads_that_register_the_same_name_succeeds() {
    let barrier = std::sync::Barrier::new(8);
    let successes: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let made = register_policy("raced", |config| {
                        Box::new(larder::policy::Lru::new(config))
                    });
                    usize::from(made.is_ok())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(successes, 1);
}

#[test]
fn policies_are_equal_if_they_are_the_same() {
    register_policy("own_one", |config| Box::new(larder::policy::Fifo::new(config))).unwrap();
    let mine = own("mine");
    let all = [
        Policy::lru(),
        Policy::lfu(),
        Policy::fifo(),
        Policy::default(),
        Policy::named("own_one"),
        Policy::named("nobody"),
        mine.clone(),
        own("mine"),
        own("lru"),
    ];
    for (at, one) in all.iter().enumerate() {
        for (other_at, other) in all.iter().enumerate() {
            assert_eq!(one == other, at == other_at, "{one:?} and {other:?}");
        }
    }
    let set: HashSet<Policy> = all.into_iter().collect();
    assert!(set.contains(&Policy::named("LRU")) && set.contains(&Policy::window_tiny_lfu()));
    assert!(set.contains(&Policy::named("Own_One")) && set.contains(&mine));
    assert!(set.contains(&Policy::named("NOBODY")) && !set.contains(&Policy::sieve()));
}

#[cfg(feature = "serde")]
#[test]
fn a_policy_that_could_not_be_read_back_is_not_written() {
    let mut config = larder::CacheConfig::default();
    for policy in [own("unregistered"), own("lru"), Policy::named("nobody")] {
        config.policy = policy;
        let error = serde_json::to_string(&config).unwrap_err().to_string();
        assert!(error.contains("register_policy"), "{error}");
    }
    register_policy("own_two", |config| Box::new(larder::policy::Fifo::new(config))).unwrap();
    let written = serde_json::to_string(&Policy::named("OWN_TWO")).unwrap();
    assert_eq!(written, "\"own_two\"");
    assert_eq!(serde_json::from_str::<Policy>(&written).unwrap(), Policy::named("own_two"));
}
