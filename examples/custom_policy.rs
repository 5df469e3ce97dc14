//! Runs a cache with a custom policy: CLOCK, which gives a second chance to entries that were used.
//!
//! `cargo run --example custom_policy`

use std::collections::VecDeque;

use larder::policy::{Accesses, EvictionPolicy, NodeId, Nodes};
use larder::{Cache, Maintenance, Policy, register_policy};

/// A queue of entries. It has neither locks nor keys: there is one for each partition, which one
/// thread at a time calls, and entries are identified by number.
#[derive(Default)]
struct Clock {
    queue: VecDeque<NodeId>,
}

impl EvictionPolicy for Clock {
    // A hit raises a counter in the entry to 1; further hits leave it there and cost nothing.
    fn accesses(&self) -> Accesses {
        Accesses::Counter { max: 1 }
    }

    fn on_insert(&mut self, id: NodeId, _: &dyn Nodes) {
        self.queue.push_back(id);
    }

    // Not called if hits are counted.
    fn on_access(&mut self, _: NodeId, _: &dyn Nodes) {}

    // A new value counts as a use.
    fn on_update(&mut self, _: NodeId, _: u32, _: &dyn Nodes) {}

    fn on_remove(&mut self, id: NodeId, _: &dyn Nodes) {
        self.queue.retain(|held| *held != id);
    }

    fn evict(&mut self, nodes: &dyn Nodes) -> Option<NodeId> {
        // There are at most two rounds: the first clears every mark.
        for _ in 0..2 * self.queue.len() {
            let id = self.queue.pop_front()?;
            if nodes.frequency(id) == 0 {
                return Some(id);
            }
            nodes.set_frequency(id, 0);
            self.queue.push_back(id);
        }
        self.queue.pop_front()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // From here on, the policy can be chosen by name, also in a configuration file.
    register_policy("clock", |_| Box::new(Clock::default()))?;

    let cache = Cache::builder()
        .capacity(3)
        .policy(Policy::named("clock"))
        .maintenance(Maintenance::Inline)
        .build()?;
    for key in ["a", "b", "c"] {
        cache.insert(key, ());
    }
    cache.get("a");
    cache.insert("d", ());
    assert!(cache.contains_key("a"), "it was used, so it has a second chance");
    assert!(!cache.contains_key("b"), "it was the oldest that was not used");

    // The same policy in a cache that many threads share.
    let shared = Cache::builder().capacity(10_000).policy(Policy::named("clock")).build()?;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shared = shared.clone();
            scope.spawn(move || {
                for key in 0..20_000 {
                    shared.insert(key * 4 + thread, key);
                    shared.get(&(key * 2 + thread));
                }
            });
        }
    });
    shared.run_pending();
    assert_eq!(shared.len(), 10_000);
    println!("policy `{}` keeps {} entries", shared.policy_name(), shared.len());
    Ok(())
}
