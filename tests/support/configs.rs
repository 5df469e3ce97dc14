//! Every configuration that behaviour tests run through.

use std::hash::Hash;
use std::time::Duration;

use larder::{Builder, Cache, Maintenance, Policy};

use super::model::Order;

/// The weight of every entry if a weight bounds the cache.
///
/// It is not 1, so that a test notices a weight that is mistaken for a count.
pub(crate) const ENTRY_WEIGHT: u32 = 3;

/// What bounds the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Entries,
    Weight,
    /// Entries and weight; the entries also have deadlines.
    Both,
}

/// The name of a policy, and the function that makes it.
#[derive(Clone, Copy)]
pub(crate) struct NamedPolicy {
    pub(crate) name: &'static str,
    pub(crate) make: fn() -> Policy,
    /// Set for the policies in which a fixed rank decides which entry is evicted (`support::model`). Others
    /// have a reference of their own, with which `it::eviction::exact_order` compares them.
    pub(crate) order: Option<Order>,
}

pub(crate) const POLICIES: [NamedPolicy; 7] = [
    NamedPolicy { name: "lru", make: Policy::lru, order: Some(Order::Lru) },
    NamedPolicy { name: "lfu", make: Policy::lfu, order: Some(Order::Lfu) },
    NamedPolicy { name: "fifo", make: Policy::fifo, order: Some(Order::Fifo) },
    NamedPolicy { name: "sieve", make: Policy::sieve, order: None },
    NamedPolicy { name: "s3_fifo", make: Policy::s3_fifo, order: None },
    NamedPolicy { name: "window_tiny_lfu", make: Policy::window_tiny_lfu, order: None },
    NamedPolicy { name: "cost_aware", make: Policy::cost_aware, order: None },
];

pub(crate) fn policy_of(order: Order) -> Policy {
    match order {
        Order::Lru => Policy::lru(),
        Order::Lfu => Policy::lfu(),
        Order::Fifo => Policy::fifo(),
    }
}

/// One way to build a cache.
#[derive(Clone, Copy)]
pub(crate) struct Config {
    pub(crate) policy: NamedPolicy,
    pub(crate) maintenance: Maintenance,
    pub(crate) partitions: usize,
    pub(crate) bound: Bound,
}

impl Config {
    /// A cache that holds `capacity` entries, whichever bound limits them.
    pub(crate) fn cache<K, V>(&self, capacity: usize) -> Cache<K, V>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        self.builder(capacity).build().expect("a valid configuration")
    }

    /// What [`cache`](Self::cache) is built from.
    pub(crate) fn builder<K, V>(&self, capacity: usize) -> Builder<K, V>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        let builder = Cache::<K, V>::builder()
            .count_lookups()
            .policy((self.policy.make)())
            .maintenance(self.maintenance)
            .partitions(self.partitions);
        let max_weight = capacity as u64 * u64::from(ENTRY_WEIGHT);
        match self.bound {
            Bound::Entries => builder.capacity(capacity),
            Bound::Weight => builder.max_weight(max_weight).weigher(|_, _| ENTRY_WEIGHT),
            // The deadlines never pass, so the rest must behave as without them.
            Bound::Both => builder
                .capacity(capacity)
                .max_weight(max_weight)
                .weigher(|_, _| ENTRY_WEIGHT)
                .time_to_live(Duration::from_secs(1 << 20))
                .time_to_idle(Duration::from_secs(1 << 20)),
        }
    }

    /// Whether the order is exact and the bounds hold whenever a call returns.
    pub(crate) fn is_exact(&self) -> bool {
        self.maintenance == Maintenance::Inline && self.partitions == 1
    }

    /// The weight of one entry as this configuration counts it.
    pub(crate) fn entry_weight(&self) -> u64 {
        match self.bound {
            Bound::Entries => 1,
            Bound::Weight | Bound::Both => u64::from(ENTRY_WEIGHT),
        }
    }

    pub(crate) fn name(&self) -> String {
        let Self { policy, maintenance, partitions, bound } = self;
        let policy = policy.name;
        format!("{policy}, {maintenance:?}, {partitions} partition(s), bound by {bound:?}")
    }
}

/// Runs `check` under every policy, maintenance, number of partitions and bound.
pub(crate) fn for_each_config(mut check: impl FnMut(&Config)) {
    for policy in POLICIES {
        for maintenance in [Maintenance::Inline, Maintenance::Background] {
            for partitions in [1, 4] {
                for bound in [Bound::Entries, Bound::Weight, Bound::Both] {
                    let config = Config { policy, maintenance, partitions, bound };
                    let _named = NameOnPanic(&config);
                    check(&config);
                }
            }
        }
    }
}

/// Prints the configuration that a failed assertion belongs to.
struct NameOnPanic<'a>(&'a Config);

impl Drop for NameOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with configuration: {}", self.0.name());
        }
    }
}
