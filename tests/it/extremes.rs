//! The ends of the ranges: capacities, weights, hashes, sizes of keys and values. Also user code
//! that calls the cache.

mod sizes;
mod callbacks;
mod heavy_entries;
