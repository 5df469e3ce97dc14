//! Removal listeners: what they are notified of, how often, in which order, and what they may do.

mod order;
mod within;
mod queues;
mod executors;

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};

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
