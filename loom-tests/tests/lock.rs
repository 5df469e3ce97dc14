//! The lock of a partition: one thread at a time has it, and sees what those before it have done.
//!
//! ORDERINGS.md lists the changes that make a model fail.
#![cfg(larder_loom)]

use larder::model::Locked;
use loom::sync::Arc;
use loom::thread;

#[test]
fn each_holder_sees_what_the_one_before_has_done() {
    loom_tests::model(|| {
        let locked = Arc::new(Locked::default());
        let other = {
            let locked = locked.clone();
            thread::spawn(move || [locked.try_add(), locked.try_add()])
        };
        let own = [locked.try_add(), locked.try_add()];
        let mut seen: Vec<u64> = own.into_iter().chain(other.join().unwrap()).flatten().collect();
        seen.sort_unstable();
        // No addition was lost, and at least one thread has made its own.
        assert_eq!(seen, (0..seen.len() as u64).collect::<Vec<_>>());
        assert!(seen.len() >= 2);
        assert_eq!(locked.try_add(), Some(seen.len() as u64));
    });
}
