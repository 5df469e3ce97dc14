//! The end of a tier.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use larder_store::{FlushError, StoredCache, TierError};

use crate::faulty::{Fault, Faulty, Settings, TestTier, behind, cache, settings, within_a_minute};

#[test]
fn the_drop_of_the_last_handle_writes_what_is_queued() {
    within_a_minute(|| {
        let store = Faulty::new();
        let tier = behind(&store, settings().delay(Duration::MAX));
        for key in 0..100 {
            tier.insert(key, key).unwrap();
        }
        let other = tier.clone();
        drop(tier);
        assert!(store.rows().is_empty());
        drop(other);
        assert_eq!(store.rows().len(), 100);
        assert_eq!(store.flushes(), 1);
        assert_eq!(Arc::strong_count(&store), 1, "the writer has let go of the store");
    });
}

#[test]
fn a_closed_tier_is_read_and_not_written() {
    within_a_minute(|| {
        let store = Faulty::new();
        let tier = behind(&store, settings().delay(Duration::MAX));
        tier.insert(1, 10).unwrap();
        tier.close().unwrap();
        assert_eq!(store.row(1), Some(10));
        assert!(matches!(tier.insert(1, 11), Err(TierError::Closed)));
        assert!(matches!(tier.remove(&1), Err(TierError::Closed)));
        assert_eq!(tier.get(&1).unwrap(), Some(10));
        tier.close().unwrap();
        tier.flush().unwrap();
        assert_eq!(tier.retry_dead_letters(), 0);
    });
}

#[test]
fn closing_ends_the_wait_for_room() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        let tier = behind(&store, settings().max_entries(1));
        tier.insert(0, 0).unwrap();
        store.wait_for_blocked(1);
        thread::scope(|scope| {
            let writer = scope.spawn(|| tier.insert(1, 1));
            let closer = scope.spawn(|| tier.close());
            assert!(matches!(writer.join().unwrap(), Err(TierError::Closed)));
            store.release();
            closer.join().unwrap().unwrap();
        });
        assert_eq!(store.rows().len(), 1);
    });
}

fn reporting(settings: Settings) -> (Settings, Arc<Mutex<Vec<u64>>>) {
    let lost = Arc::new(Mutex::new(Vec::new()));
    let report = Arc::clone(&lost);
    let settings = settings.on_give_up(move |letter| report.lock().unwrap().push(*letter.key));
    (settings, lost)
}

#[test]
fn what_a_store_that_is_down_does_not_take_is_handed_back() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.go_down(Fault::Transient);
        let (settings, lost) = reporting(settings().patience(Duration::ZERO));
        let tier = behind(&store, settings);
        for key in 0..10 {
            tier.insert(key, key).unwrap();
        }
        let closed = tier.close();
        assert!(matches!(closed, Err(FlushError::Unwritten { entries: 10, .. })), "{closed:?}");
        // The batch that the store had when the tier was closed follows when the store returns.
        while lost.lock().unwrap().len() < 10 {
            thread::yield_now();
        }
        let mut keys: Vec<_> = tier.take_dead_letters().iter().map(|letter| *letter.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..10).collect::<Vec<_>>());
        assert_eq!(tier.get(&1).unwrap(), None);
    });
}

#[test]
fn the_drop_does_not_wait_for_a_store_that_blocks_for_ever() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        let (settings, lost) = reporting(settings().patience(Duration::ZERO));
        let tier = behind(&store, settings);
        tier.insert(0, 0).unwrap();
        store.wait_for_blocked(1);
        for key in 1..10 {
            tier.insert(key, key).unwrap();
        }
        drop(tier);
        assert_eq!(lost.lock().unwrap().len(), 9, "all but the one that the store has");
        // The store returns late, and has carried it out.
        store.release();
        while Arc::strong_count(&store) > 1 {
            thread::yield_now();
        }
        assert_eq!(store.row(0), Some(0));
        assert_eq!(lost.lock().unwrap().len(), 9);
    });
}

#[test]
fn an_attempt_that_fails_after_the_end_is_handed_back_too() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        store.fail_writes(&[Fault::Panic]);
        let (settings, lost) = reporting(settings().patience(Duration::ZERO));
        let tier = behind(&store, settings);
        tier.insert(0, 0).unwrap();
        store.wait_for_blocked(1);
        drop(tier);
        store.release();
        while Arc::strong_count(&store) > 1 {
            thread::yield_now();
        }
        assert_eq!(*lost.lock().unwrap(), [0]);
    });
}

#[test]
fn a_flush_of_the_store_that_fails_is_an_error() {
    within_a_minute(|| {
        let store = Faulty::new();
        let tier = behind(&store, settings());
        tier.insert(1, 10).unwrap();
        store.fail_flushes(&[Fault::Transient, Fault::Panic]);
        assert!(matches!(tier.flush(), Err(FlushError::Store(_))));
        assert!(matches!(tier.flush(), Err(FlushError::Panicked)));
        tier.flush().unwrap();
        store.fail_flushes(&[Fault::Panic]);
        drop(tier);
    });
}

#[test]
fn a_flush_within_no_time_says_how_much_is_left() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.block_writes();
        let tier = behind(&store, settings());
        tier.insert(0, 0).unwrap();
        store.wait_for_blocked(1);
        tier.insert(0, 1).unwrap();
        tier.insert(1, 1).unwrap();
        let flushed = tier.flush_within(Duration::ZERO);
        assert!(matches!(flushed, Err(FlushError::Unwritten { entries: 3, .. })), "{flushed:?}");
        store.release();
        tier.flush().unwrap();
    });
}

#[test]
fn a_closure_of_the_writer_may_close_and_drop_the_tier() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.go_down(Fault::Permanent);
        let slot = Arc::new(Mutex::new(None::<TestTier>));
        let own = Arc::clone(&slot);
        let settings = settings().on_give_up(move |_| {
            let tier = own.lock().unwrap().take();
            if let Some(tier) = tier {
                // Nothing is left to wait for, or it is left behind.
                drop(tier.close());
                drop(tier);
            }
        });
        let tier = StoredCache::write_behind(cache(10), Arc::clone(&store), settings).unwrap();
        *slot.lock().unwrap() = Some(tier.clone());
        tier.insert(1, 1).unwrap();
        drop(tier);
        while Arc::strong_count(&store) > 1 {
            thread::yield_now();
        }
    });
}
