//! The ends of the ranges: capacities, weights, hashes, sizes of keys and values, and user code
//! that calls the cache back.

mod sizes;
mod callbacks;
mod heavy_entries;
