//! Loading many keys by one call of a loader.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, LoadError, LoadTask, Loaded as Answer};

type Loaded = Result<u64, LoadError<String>>;

#[test]
fn what_is_missing_is_loaded_once_and_everything_is_returned_in_order() {
    let cache: Cache<u64, u64> = Cache::new(100);
    cache.insert(2, 20);
    let mut asked = Vec::new();
    let values = cache.get_many_or_load(&[3, 2, 1, 3], |missing| {
        asked.push(missing.to_vec());
        Ok::<_, String>(missing.iter().rev().map(|key| (*key, key * 10)).collect::<Vec<_>>())
    });
    assert_eq!(values, [30, 20, 10, 30].map(Ok));
    assert_eq!(asked, [[3, 1]]);
    let none: [u64; 0] = [];
    let present = |_: &[u64]| -> Result<[(u64, u64); 0], String> { unreachable!() };
    assert_eq!(cache.get_many_or_load(&[1, 2, 3], present), [10, 20, 30].map(Ok));
    assert_eq!(cache.get_many_or_load(&none, present), []);
}

#[test]
fn keys_are_given_as_to_get_many() {
    let cache: Cache<String, usize> = Cache::new(100);
    let lengths = |missing: &[String]| -> Result<Vec<(String, usize)>, String> {
        Ok(missing.iter().map(|key| (key.clone(), key.len())).collect())
    };
    assert_eq!(cache.get_many_or_load(["a", "bb"], lengths), [Ok(1), Ok(2)]);
    let owned = vec!["bb".to_owned(), "ccc".to_owned()];
    assert_eq!(cache.get_many_or_load(&owned, lengths), [Ok(2), Ok(3)]);
    assert_eq!(cache.get_many_or_load(owned.iter().map(String::as_str).rev(), lengths).len(), 2);
    let loading = Cache::builder()
        .capacity(100)
        .build_with_loader(|key: &String, _| Ok::<_, String>(Answer::Store(key.len())))
        .unwrap();
    assert_eq!(loading.get_many(["a", "bb"]), [Ok(1), Ok(2)]);
    assert_eq!(loading.refresh_many(["a", "bb"]), 2);
}

#[test]
fn fewer_more_foreign_and_repeated_keys_have_defined_results() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let values = cache.try_get_many_or_load(&[1, 2, 3], |_| {
        Ok([(9, Ok(90)), (1, Ok(5)), (1, Ok(10)), (3, Err("broken".to_owned()))])
    });
    let expected: [Loaded; 3] =
        [Ok(10), Err(LoadError::NotLoaded), Err(LoadError::Failed("broken".to_owned().into()))];
    assert_eq!(values, expected);
    assert_eq!((cache.len(), cache.get(&1), cache.get(&9)), (1, Some(10), None));
    let failed = |_: &[u64]| -> Result<[(u64, u64); 0], String> { Err("down".to_owned()) };
    let values = cache.get_many_or_load(&[1, 2, 3], failed);
    let down = || Err(LoadError::Failed("down".to_owned().into()));
    assert_eq!(values, [Ok(10), down(), down()]);
    assert_eq!(cache.stats().load_failures, 3);
}

#[test]
fn a_loader_that_panics_leaves_its_keys_to_others() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let panicking = std::panic::AssertUnwindSafe(|| {
        cache.get_many_or_load(&[1, 2], |_| -> Result<[(u64, u64); 0], String> {
            panic!("on purpose")
        })
    });
    assert!(std::panic::catch_unwind(panicking).is_err());
    assert_eq!(cache.get_or_insert_with(&1, || 1), 1);
}

#[test]
fn calls_whose_keys_overlap_wait_for_each_other_only_after_their_own_loads() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let (both_lead, done) = (Barrier::new(2), channel());
    std::thread::scope(|scope| {
        for keys in [[1, 2], [3, 4]] {
            let (cache, both_lead, done) = (&cache, &both_lead, done.0.clone());
            scope.spawn(move || {
                // Each leads two keys, and wants those of the other too.
                let values = cache.get_many_or_load(&keys, |missing| {
                    assert_eq!(missing, keys);
                    both_lead.wait();
                    let others: Vec<u64> = (1..=4).filter(|key| !keys.contains(key)).collect();
                    if keys[0] == 1 {
                        // A circle of one arm: the other call loads these without waiting for us.
                        let waited = cache.get_many_or_load(
                            &others,
                            |_| -> Result<[(u64, u64); 0], String> {
                                unreachable!("they are being loaded")
                            },
                        );
                        assert_eq!(waited, [30, 40].map(Ok));
                    }
                    Ok::<_, String>(missing.iter().map(|key| (*key, key * 10)).collect::<Vec<_>>())
                });
                done.send(values).unwrap();
            });
        }
    });
    let values: Vec<_> = done.1.try_iter().flatten().collect();
    assert!(values.iter().all(Result::is_ok) && values.len() == 4);
}

#[test]
fn a_key_whose_loader_makes_the_call_is_an_error_and_the_others_are_loaded() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let value = cache.get_or_insert_with(&1, || {
        let values = cache.get_many_or_load(&[1, 2], |missing| {
            assert_eq!(missing, [2]);
            Ok::<_, String>([(2, 20)])
        });
        assert_eq!(values, [Err(LoadError::Reentrant), Ok(20)]);
        10
    });
    assert_eq!((value, cache.get(&2)), (10, Some(20)));
}

#[test]
fn futures_load_many_keys_and_wait_for_the_loads_of_others() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let mut is_open = false;
    let mut other = pin!(cache.get_or_insert_with_async(
        &2,
        poll_fn(|_| match std::mem::replace(&mut is_open, true) {
            true => Poll::Ready(20),
            false => Poll::Pending,
        })
    ));
    let mut context = Context::from_waker(Waker::noop());
    assert!(other.as_mut().poll(&mut context).is_pending());
    let mut many = pin!(cache.get_many_or_load_async(&[1, 2, 3], |missing| async move {
        assert_eq!(missing, [1, 3]);
        Ok::<_, String>(vec![(3, 30), (1, 10)])
    }));
    assert!(many.as_mut().poll(&mut context).is_pending());
    assert_eq!(cache.get(&3), Some(30), "its own keys come first");
    assert_eq!(other.as_mut().poll(&mut context), Poll::Ready(20));
    let Poll::Ready(values) = many.as_mut().poll(&mut context) else {
        panic!("all keys are there");
    };
    assert_eq!(values, [10, 20, 30].map(Ok));
}

#[test]
fn a_bulk_loader_serves_the_misses_and_the_loader_the_refreshes() {
    let clock = FakeClock::new();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let bulk = Arc::clone(&asked);
    let cache = Cache::builder()
        .capacity(100)
        .clock(clock.clone())
        .time_to_live(Duration::from_secs(100))
        .refresh_after_write(Duration::from_secs(10))
        .load_executor(LoadTask::run)
        .build_with_loader(|key: &u64, _| Ok::<_, String>(Answer::Store(key + 1)))
        .unwrap()
        .with_bulk_loader(move |missing: &[u64]| {
            bulk.lock().unwrap().push(missing.to_vec());
            Ok(missing.iter().map(|key| (*key, key * 10)).collect())
        });
    assert_eq!(cache.get_many(&[1, 2]), [10, 20].map(Ok));
    assert_eq!(cache.clone().get_many(&[1, 2, 3]), [10, 20, 30].map(Ok));
    assert_eq!(*asked.lock().unwrap(), [vec![1, 2], vec![3]]);
    clock.advance(Duration::from_secs(11));
    assert_eq!(cache.get_many(&[1, 2]), [10, 20].map(Ok), "old values are served");
    assert_eq!(cache.get_many(&[1, 2]), [2, 3].map(Ok));
    assert_eq!(asked.lock().unwrap().len(), 2);
}
