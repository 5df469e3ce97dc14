//! Lifetimes and tags on their way through the queue.

use std::time::Duration;

use larder::test::FakeClock;
use larder_store::Record;

use crate::faulty::{Fault, Faulty, behind, settings, within_a_minute};

#[test]
fn time_in_the_queue_counts() {
    within_a_minute(|| {
        let (store, clock) = (Faulty::new(), FakeClock::new());
        let tier = behind(&store, settings().delay(Duration::MAX).clock(clock.clone()));
        let second = Duration::from_secs(1);
        tier.insert(1, Record::new(10).ttl(10 * second).tags(["a", "b"])).unwrap();
        tier.insert(2, Record::new(20).ttl(3 * second)).unwrap();
        tier.insert(3, 30).unwrap();
        store.put(2, 19);
        clock.advance(4 * second);
        tier.cache().clear();
        assert_eq!(tier.get(&1).unwrap(), Some(10));
        assert_eq!(tier.get(&2).unwrap(), None, "what it has replaced is not read either");
        tier.flush().unwrap();
        // The write that has expired has become a removal.
        assert_eq!(store.rows().into_iter().collect::<Vec<_>>(), [(1, 10), (3, 30)]);
        let tags = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(store.metas(), [(Some(6 * second), tags), (None, vec![])]);
    });
}

#[test]
fn a_newer_write_does_not_prolong_the_wait_of_its_key() {
    within_a_minute(|| {
        let (store, clock) = (Faulty::new(), FakeClock::new());
        let second = Duration::from_secs(1);
        let tier = behind(&store, settings().delay(10 * second).clock(clock.clone()));
        tier.insert(1, 10).unwrap();
        clock.advance(9 * second);
        tier.insert(1, 11).unwrap();
        clock.advance(second);
        // The next write finds that the first has waited for long enough.
        tier.insert(2, 20).unwrap();
        store.wait_for_attempts(1);
        assert_eq!(store.attempts()[0][0], (1, Some(11)));
    });
}

#[test]
fn the_lifetime_counts_from_the_write_and_not_from_the_retry() {
    within_a_minute(|| {
        let (store, clock) = (Faulty::new(), FakeClock::new());
        let second = Duration::from_secs(1);
        store.block_writes();
        store.fail_writes(&[Fault::Transient]);
        let tier = behind(&store, settings().clock(clock.clone()));
        tier.insert(1, Record::new(10).ttl(10 * second)).unwrap();
        store.wait_for_blocked(1);
        clock.advance(4 * second);
        store.release();
        tier.flush().unwrap();
        assert_eq!(store.metas(), [(Some(6 * second), vec![])]);
    });
}

#[test]
fn entries_of_the_cache_have_the_tags_of_the_write() {
    within_a_minute(|| {
        let store = Faulty::new();
        let tier = behind(&store, settings());
        tier.insert(1, Record::new(10).tags(["a"])).unwrap();
        assert_eq!(tier.get(&1).unwrap(), Some(10));
        assert_eq!(tier.cache().tags_of(&1), Some(vec!["a".to_owned()]));
        tier.flush().unwrap();
        assert!(tier.cache().invalidate_tag("a"));
        assert_eq!(tier.cache().peek(&1), None);
        assert_eq!(tier.get(&1).unwrap(), Some(10), "the store still has it");
    });
}
