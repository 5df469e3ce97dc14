//! The lowest layer, which every other module uses and which uses none of them: types that callers meet
//! everywhere (errors, causes, statistics), the hash of a key, and the access to the machine (atomics, locks,
//! time, prefetching).

pub(crate) mod error;
pub(crate) mod load_error;
pub(crate) mod equivalent;
pub(crate) mod hash;
pub(crate) mod cause;
pub(crate) mod stats;
pub(crate) mod histogram;
pub(crate) mod load_time;
pub(crate) mod mode;
pub(crate) mod node_id;
pub(crate) mod link;
pub(crate) mod prefetch;
pub(crate) mod panics;
pub(crate) mod system_time;
#[cfg(all(unix, not(larder_loom)))]
pub(crate) mod at_fork;
pub(crate) mod lazy_box;
pub(crate) mod lock;
pub(crate) mod sync;
pub(crate) mod reentrancy;
