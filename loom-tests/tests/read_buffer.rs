//! The read buffer: lossy, but never wrong. A thread with a stripe of its own loses no record that
//! the buffer accepted. Under loom a stripe has 2 slots.
#![cfg(larder_loom)]

use larder::model::Reads;
use loom::sync::Arc;
use loom::thread;

#[test]
fn an_unshared_stripe_loses_no_accepted_record() {
    loom_tests::model(|| {
        let reads = Arc::new(Reads::new(2));
        let other = Arc::clone(&reads);
        let reader =
            thread::spawn(move || (1..5).filter(|node| other.offer(0, *node)).collect::<Vec<_>>());
        let mut seen = reads.drain();
        seen.extend(reads.drain());
        let stored = reader.join().expect("the model's thread panicked");
        seen.extend(reads.drain());
        seen.sort_unstable();
        assert_eq!(seen, stored);
    });
}

#[test]
fn a_shared_stripe_may_lose_records_but_invents_none() {
    loom_tests::model(|| {
        let reads = Arc::new(Reads::new(1));
        let (a, b) = (Arc::clone(&reads), Arc::clone(&reads));
        let first = thread::spawn(move || a.offer(0, 1));
        let second = thread::spawn(move || b.offer(1, 2));
        let mut seen = reads.drain();
        // An offer that meets the other's record before its tail is refused, as if the stripe were
        // full.
        let stored = u8::from(first.join().expect("the model's thread panicked"))
            + u8::from(second.join().expect("the model's thread panicked"));
        seen.extend(reads.drain());
        assert!(!seen.is_empty() && seen.len() <= usize::from(stored), "{seen:?} of {stored}");
        assert!(seen.iter().all(|node| *node == 1 || *node == 2));
        assert!(reads.drain().is_empty(), "a record came out twice");
    });
}
