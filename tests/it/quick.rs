//! What `QuickCache` promises.

#[cfg(all(feature = "bincode", feature = "async"))]
mod contract;
#[cfg(feature = "bincode")]
mod defects;
