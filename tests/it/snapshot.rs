//! What was saved can be loaded again. Damaged and forged snapshots are tested in the program
//! `faults`.

#[cfg(feature = "bincode")]
mod restart;
#[cfg(all(
    feature = "bincode",
    feature = "json",
    feature = "postcard",
    feature = "zstd",
    feature = "async"
))]
mod round_trip;
#[cfg(all(feature = "bincode", feature = "json"))]
mod types;
