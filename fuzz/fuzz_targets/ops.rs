//! Sequences of operations on a small cache of any policy, bound and mode of maintenance.
//!
//! If the order is exact, every result is compared with the model's; otherwise each entry must be
//! the last written and the bounds must hold.

#![no_main]

use arbitrary::Arbitrary;
use larder::{Cache, Maintenance, Policy};
use libfuzzer_sys::fuzz_target;

// The tests' models and drivers, of which this target uses a part.
#[allow(dead_code)]
#[path = "../../tests/support/rng.rs"]
mod rng;
#[allow(dead_code)]
#[path = "../../tests/support/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../tests/support/driver.rs"]
mod driver;
#[allow(dead_code)]
#[path = "../../tests/support/loose.rs"]
mod loose;
mod input;

use driver::{Bounds, Pair, weight_of};
use input::Step;
use loose::Loose;
use model::Order;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum PolicyKind {
    Lru,
    Lfu,
    Fifo,
    Sieve,
    S3Fifo,
    WindowTinyLfu,
    CostAware,
}

impl PolicyKind {
    fn policy(self) -> Policy {
        match self {
            Self::Lru => Policy::lru(),
            Self::Lfu => Policy::lfu(),
            Self::Fifo => Policy::fifo(),
            Self::Sieve => Policy::sieve(),
            Self::S3Fifo => Policy::s3_fifo(),
            Self::WindowTinyLfu => Policy::window_tiny_lfu(),
            Self::CostAware => Policy::cost_aware(),
        }
    }

    fn order(self) -> Option<Order> {
        match self {
            Self::Lru => Some(Order::Lru),
            Self::Lfu => Some(Order::Lfu),
            Self::Fifo => Some(Order::Fifo),
            Self::Sieve | Self::S3Fifo | Self::WindowTinyLfu | Self::CostAware => None,
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    policy: PolicyKind,
    /// Background maintenance from 250 on: starting a thread for each input would be slow.
    maintenance: u8,
    partitions_log2: u8,
    capacity: u8,
    max_weight: u8,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let maintenance =
        if input.maintenance < 250 { Maintenance::Inline } else { Maintenance::Background };
    let partitions = 1 << (input.partitions_log2 % 3);
    // Low values mean no such bound, but at least one bound is needed.
    let max_weight = (input.max_weight >= 64).then(|| u64::from(input.max_weight) - 59);
    let capacity = (input.capacity >= 64 || max_weight.is_none())
        .then(|| usize::from(input.capacity % 64) + partitions);
    let bounds = Bounds { capacity, max_weight };
    let is_exact = maintenance == Maintenance::Inline && partitions == 1;

    if let (true, Some(order)) = (is_exact, input.policy.order()) {
        let mut pair = Pair::new(order, bounds, "fuzz".to_owned());
        for step in &input.steps {
            pair.apply(step.op());
        }
        pair.check_all();
        pair.check_order_by_evicting_all();
        pair.cache.validate();
        return;
    }
    let mut builder = Cache::<u64, u64>::builder()
        .policy(input.policy.policy())
        .maintenance(maintenance)
        .partitions(partitions);
    if let Some(capacity) = capacity {
        builder = builder.capacity(capacity);
    }
    if let Some(max_weight) = max_weight {
        builder = builder.max_weight(max_weight).weigher(|_, value| weight_of(*value));
    }
    let cache = builder.build().expect("at least as many units as partitions");
    let is_inline = maintenance == Maintenance::Inline;
    let mut loose = Loose::new(cache, is_inline, format!("{:?}", input.policy));
    for step in &input.steps {
        loose.apply(step.op());
    }
    loose.check_all();
});
