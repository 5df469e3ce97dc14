//! What holds while many threads use one cache.

mod promises;
mod linearizability;
