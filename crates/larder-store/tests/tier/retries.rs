//! Failed attempts: what is tried again, and what is given up.

use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use larder::Cache;
use larder_store::{
    Backoff, Durability, ErrorKind, FlushError, Record, Store, StoredCache, TierError, WhenFull,
    Write, WriteBehind,
};

use crate::faulty::{Batch, Fault, Faulty, StoreFailed, behind, settings, within_a_minute};

#[test]
fn a_failed_batch_is_tried_until_the_store_comes_back() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.fail_writes(&[Fault::Transient, Fault::Half, Fault::Panic, Fault::Corrupt]);
        let pauses = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&pauses);
        let backoff = Backoff::custom(move |failures| {
            noted.lock().unwrap().push(failures);
            Duration::ZERO
        });
        let tier = behind(&store, settings().delay(Duration::MAX).backoff(backoff));
        for key in 0..10 {
            tier.insert(key, key).unwrap();
        }
        tier.flush().unwrap();
        assert_eq!(store.rows().len(), 10);
        assert_eq!(*pauses.lock().unwrap(), [1, 2, 3, 4]);
        assert_eq!(tier.stats().failed_batches, 4);
        // The count of failures begins anew after a success.
        store.fail_writes(&[Fault::Transient]);
        tier.insert(1, 11).unwrap();
        tier.flush().unwrap();
        assert_eq!(*pauses.lock().unwrap(), [1, 2, 3, 4, 1]);
        assert!(tier.dead_letters().is_empty());
    });
}

#[test]
fn a_write_that_fails_too_often_is_given_up_and_reported() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.put(1, 10);
        store.poison(1, Fault::Transient);
        let reported = Arc::new(Mutex::new(Vec::new()));
        let report = Arc::clone(&reported);
        let settings = settings().give_up_after(4).on_give_up(move |letter| {
            let error = letter.error.as_ref().map(|error| error.0);
            report.lock().unwrap().push((*letter.key, letter.attempts, error));
            panic!("a closure that panics");
        });
        let tier = behind(&store, settings);
        tier.insert(1, 11).unwrap();
        // The flush may come after the write was given up.
        match tier.flush() {
            Ok(()) | Err(FlushError::GaveUp { entries: 1 }) => {}
            other => panic!("{other:?}"),
        }
        // The closure is called after the flush has been woken.
        tier.insert(2, 20).unwrap();
        tier.flush().unwrap();
        assert_eq!(*reported.lock().unwrap(), [(1, 4, Some(Fault::Transient))]);
        assert_eq!(tier.get(&1).unwrap(), Some(10), "a dead letter is not read");
        let letters = tier.dead_letters();
        assert_eq!(letters.len(), 1);
        assert_eq!((*letters[0].key, letters[0].record.as_ref().unwrap().value), (1, 11));
        assert_eq!((tier.stats().gave_up, tier.stats().dead_letters), (1, 1));
        assert_eq!(store.row(2), Some(20));
    });
}

#[test]
fn a_call_that_waited_too_long_says_why_the_store_fails() {
    fn cause(error: &dyn Error) -> Option<Fault> {
        Some(error.source()?.downcast_ref::<StoreFailed>()?.0)
    }
    within_a_minute(|| {
        for fault in [Fault::Transient, Fault::Panic] {
            let store = Faulty::new();
            store.go_down(fault);
            let settings =
                || settings().max_entries(2).when_full(WhenFull::Fail).patience(Duration::ZERO);
            let durable = behind(&store, settings().durability(Durability::Durable));
            let tier = behind(&store, settings());
            let first = durable.insert(1, 10).unwrap_err();
            assert!(matches!(first, TierError::NotCommitted { .. }), "{first:?}");
            tier.insert(1, 10).unwrap();
            tier.insert(2, 20).unwrap();
            while tier.stats().failed_batches == 0 || durable.stats().failed_batches == 0 {
                std::thread::yield_now();
            }
            let known = (fault == Fault::Transient).then_some(fault);
            let late = durable.insert(2, 20).unwrap_err();
            assert!(matches!(late, TierError::NotCommitted { .. }), "{late:?}");
            let full = tier.insert(3, 30).unwrap_err();
            assert!(matches!(full, TierError::QueueFull { entries: 2, .. }), "{full:?}");
            let flush = tier.flush_within(Duration::ZERO).unwrap_err();
            assert!(matches!(flush, FlushError::Unwritten { entries: 2, .. }), "{flush:?}");
            assert_eq!([cause(&late), cause(&full), cause(&flush)], [known; 3]);
            assert_eq!(tier.last_error().map(|error| error.0), known);
            store.come_back();
            tier.flush_within(Duration::MAX).unwrap();
            assert_eq!(tier.last_error(), None);
            durable.flush_within(Duration::MAX).unwrap();
        }
    });
}

/// A tier that the errors of its store use.
type UsedTier = Arc<OnceLock<StoredCache<u64, u64, Refusing>>>;

/// A store whose first writes fail.
struct Refusing {
    tier: UsedTier,
    attempts: AtomicU32,
    refused: u32,
    kind: ErrorKind,
}

/// An error that uses the tier when it is dropped.
struct Refused(UsedTier);

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refused")
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl Error for Refused {}

impl Drop for Refused {
    fn drop(&mut self) {
        if let Some(tier) = self.0.get() {
            let _ = tier.stats();
        }
    }
}

impl Store<u64, u64> for Refusing {
    type Error = Refused;

    fn get(&self, _: &u64) -> Result<Option<Record<u64>>, Refused> {
        Ok(None)
    }

    fn write(&self, _: &[Write<'_, u64, u64>], _: Durability) -> Result<(), Refused> {
        let attempts = self.attempts.fetch_add(1, Ordering::Relaxed);
        if attempts < self.refused { Err(Refused(Arc::clone(&self.tier))) } else { Ok(()) }
    }

    fn kind(&self, _: &Refused) -> ErrorKind {
        self.kind
    }
}

fn used_tier(
    (refused, kind): (u32, ErrorKind),
    settings: WriteBehind<u64, u64, Refused>,
    tier: &UsedTier,
) {
    let store = Refusing { tier: Arc::clone(tier), attempts: AtomicU32::new(0), refused, kind };
    let settings = settings.backoff(Backoff::custom(|_| Duration::ZERO));
    let behind = StoredCache::write_behind(Cache::new(10), store, settings).unwrap();
    assert!(tier.set(behind).is_ok());
}

#[test]
fn an_error_of_the_store_may_use_the_tier_when_it_is_dropped() {
    within_a_minute(|| {
        let tier = UsedTier::default();
        used_tier((5, ErrorKind::Transient), WriteBehind::new(), &tier);
        let tier = tier.get().unwrap();
        tier.insert(1, 10).unwrap();
        tier.flush().unwrap();
        assert_eq!((tier.stats().failed_batches, tier.stats().written), (5, 1));
    });
}

#[test]
fn the_error_of_a_dead_letter_may_do_so_too() {
    within_a_minute(|| {
        let tier = UsedTier::default();
        let of_letters = Arc::clone(&tier);
        let settings = WriteBehind::new()
            .durability(Durability::Durable)
            .batch_entries(1)
            .on_give_up(move |_| drop(of_letters.get().unwrap().take_dead_letters()));
        used_tier((3, ErrorKind::Permanent), settings, &tier);
        let tier = tier.get().unwrap();
        let failed = tier.insert_many([(1, 10), (2, 20), (3, 30)]).unwrap_err();
        assert!(matches!(failed, TierError::GaveUp { .. }), "{failed:?}");
        assert_eq!(tier.stats().gave_up, 3);
    });
}

#[test]
fn dead_letters_are_tried_again_or_replaced() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.go_down(Fault::Transient);
        let tier =
            behind(&store, settings().give_up_after(1).max_entries(2).when_full(WhenFull::Fail));
        tier.insert(1, 10).unwrap();
        tier.remove(&2).unwrap();
        while tier.stats().dead_letters < 2 {
            std::thread::yield_now();
        }
        assert!(matches!(tier.insert(3, 30), Err(TierError::QueueFull { entries: 2, .. })));
        store.come_back();
        // A newer write of a key replaces its dead letter.
        tier.insert(1, 11).unwrap();
        assert_eq!(tier.retry_dead_letters(), 1);
        tier.flush().unwrap();
        assert_eq!(store.rows().into_iter().collect::<Vec<_>>(), [(1, 11)]);
        assert_eq!(tier.get(&1).unwrap(), Some(11));
        assert!(tier.dead_letters().is_empty());
        // Taking them out makes room.
        store.go_down(Fault::Panic);
        tier.insert(1, 12).unwrap();
        tier.insert(2, 20).unwrap();
        while tier.stats().dead_letters < 2 {
            std::thread::yield_now();
        }
        let letters = tier.take_dead_letters();
        assert_eq!(letters.len(), 2);
        assert!(letters.iter().all(|letter| letter.error.is_none()), "the store has panicked");
        store.come_back();
        tier.insert(3, 30).unwrap();
        tier.flush().unwrap();
        assert_eq!(store.row(3), Some(30));
        assert_eq!(tier.get(&1).unwrap(), Some(11));
    });
}

#[test]
fn a_bad_write_does_not_stop_the_others() {
    within_a_minute(|| {
        for fault in [Fault::Transient, Fault::Panic] {
            let store = Faulty::new();
            store.poison(50, fault);
            let tier = behind(&store, settings().delay(Duration::MAX).batch_entries(16));
            for key in 0..100 {
                tier.insert(key, key).unwrap();
            }
            // It is tried for ever, so the flush would never end.
            let flush = tier.flush_within(Duration::ZERO);
            assert!(matches!(flush, Err(FlushError::Unwritten { .. })), "{flush:?}");
            while store.rows().len() < 99 {
                std::thread::yield_now();
            }
            for key in 100..200 {
                tier.insert(key, key).unwrap();
            }
            while store.rows().len() < 199 {
                std::thread::yield_now();
            }
            assert_eq!(store.row(50), None);
            let has_bad = |batch: &Batch| batch.iter().any(|(key, _)| *key == 50);
            let attempts: Vec<_> = store.attempts().into_iter().filter(has_bad).collect();
            assert!(attempts.iter().skip(3).all(|batch| batch.len() == 1), "it is tried alone");
            tier.remove(&50).unwrap();
            assert_eq!(tier.get(&50).unwrap(), None);
            store.cure();
            tier.close().unwrap();
            assert_eq!(store.rows().len(), 199);
        }
    });
}

#[test]
fn batches_are_halved_by_failures_and_doubled_by_successes() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.fail_writes(&[Fault::Transient; 4]);
        // Until all writes are queued.
        store.block_writes();
        let tier =
            behind(&store, settings().delay(Duration::MAX).batch_entries(8).max_entries(100));
        tier.insert_many((0..40).map(|key| (key, key))).unwrap();
        store.wait_for_blocked(1);
        store.release();
        tier.flush().unwrap();
        let sizes: Vec<_> = store.attempts().iter().map(Vec::len).collect();
        // The first four fail; of the writes that they had, none had failed three times.
        assert_eq!(sizes, [8, 4, 2, 1, 1, 2, 4, 8, 8, 8, 8, 1]);
    });
}

#[test]
fn a_permanent_error_is_the_end_of_its_write_alone() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.poison(3, Fault::Permanent);
        let tier = behind(&store, settings().delay(Duration::MAX));
        for key in 0..10 {
            tier.insert(key, key).unwrap();
        }
        match tier.flush() {
            Err(FlushError::GaveUp { entries: 1 }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(store.rows().len(), 9);
        let has_bad = |batch: &&Batch| batch.iter().any(|(key, _)| *key == 3);
        assert_eq!(store.attempts().iter().filter(has_bad).count(), 2, "the second time alone");
        let letters = tier.take_dead_letters();
        assert_eq!(letters.len(), 1);
        assert_eq!(*letters[0].key, 3);
        assert_eq!(letters[0].error.as_deref(), Some(&StoreFailed(Fault::Permanent)));
    });
}

#[test]
fn closures_that_panic_stop_nothing() {
    within_a_minute(|| {
        let store = Faulty::new();
        store.poison(1, Fault::Permanent);
        let tier = behind(&store, settings().on_give_up(|_| panic!("on request")));
        tier.insert(1, 10).unwrap();
        while tier.stats().dead_letters == 0 {
            std::thread::yield_now();
        }
        tier.insert(2, 20).unwrap();
        tier.flush().unwrap();
        assert_eq!(store.row(2), Some(20));
    });
}
