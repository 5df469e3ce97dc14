//! Which entry is evicted, and when: what each policy promises, and what bounds the cache.

mod exact_order;
mod direct_runs;
mod default_policy;
mod custom_policies;
mod unevictable;
mod deterministic;
mod golden;
mod costs;
mod shadow;
#[cfg(feature = "memory_pressure")]
mod memory_pressure;
