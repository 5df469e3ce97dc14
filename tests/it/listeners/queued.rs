//! Removal listeners: what they are notified of, how often, in which order, and what they may do.

mod order;
mod within;
mod queues;
mod executors;

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::test::FakeClock;
use larder::{Cache, Listener, Maintenance, Policy, Removal, RemovalCause};

/// A notification, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Notified {
    key: u64,
    value: u64,
    new_value: Option<u64>,
    cause: RemovalCause,
}

fn notified(key: u64, value: u64, cause: RemovalCause) -> Notified {
    Notified { key, value, new_value: None, cause }
}

fn replaced(key: u64, value: u64, new_value: u64) -> Notified {
    Notified { key, value, new_value: Some(new_value), cause: RemovalCause::Replaced }
}

fn record(removal: &Removal<'_, u64, u64>) -> Notified {
    Notified {
        key: *removal.key,
        value: *removal.value,
        new_value: removal.new_value.copied(),
        cause: removal.cause,
    }
}

fn recorder() -> (Listener<u64, u64>, Receiver<Notified>) {
    let (sender, receiver) = mpsc::channel();
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        let _ = sender.send(record(removal));
    });
    (listener, receiver)
}

fn inline(capacity: usize, listener: Listener<u64, u64>) -> Cache<u64, u64> {
    Cache::builder()
        .capacity(capacity)
        .policy(Policy::fifo())
        .maintenance(Maintenance::Inline)
        .listener(listener)
        .build()
        .unwrap()
}

type Jobs = Arc<Mutex<Vec<Box<dyn FnOnce() + Send>>>>;

fn run_all(jobs: &Jobs) -> usize {
    let mut count = 0;
    loop {
        let Some(job) = jobs.lock().unwrap().pop() else { return count };
        job();
        count += 1;
    }
}

#[test]
fn a_listener_without_ages_takes_no_room_for_them() {
    let ages = |keeps: bool| {
        let (clock, ages) = (FakeClock::new(), Arc::new(Mutex::new(Vec::new())));
        let told = Arc::clone(&ages);
        let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
            told.lock().unwrap().push(removal.age.as_secs());
        });
        let builder = Cache::builder()
            .capacity(10)
            .clock(clock.clone())
            .maintenance(Maintenance::Inline)
            .listener(listener.without_ages());
        let cache = if keeps { builder.keep_ages() } else { builder }.build().unwrap();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(5));
        let has_age = cache.inspect(&1).unwrap().age.is_some();
        cache.remove(&1);
        let ages = ages.lock().unwrap().clone();
        (has_age, ages)
    };
    assert_eq!(ages(false), (false, vec![0]));
    assert_eq!(ages(true), (true, vec![5]));
}
