//! Which threads run maintenance.
#![forbid(unsafe_code)]

/// Which threads run the maintenance of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Maintenance {
    /// Writers, in batches, and one thread for the whole process, which does what writers leave. The
    /// thread is started with the first cache that needs it, sleeps while there is nothing to do, and ends
    /// with the last one. A cache may exceed its bounds for a moment; see [`Cache`](crate::Cache#bounds).
    #[default]
    Background,
    /// The calling thread, within each call. No thread is started, and bounds hold whenever a call
    /// returns.
    ///
    /// With one partition, one calling thread, a deterministic clock
    /// ([`FakeClock`](crate::test::FakeClock)) and a hasher without a random seed, the same calls
    /// give the same answers, evictions and expirations on every run. For the same results on every
    /// machine the hasher must be portable. The standard library's `BuildHasherDefault<DefaultHasher>` is
    /// portable between builds by one compiler; [`RandomState::with_seeds`](crate::RandomState::with_seeds)
    /// is not, because it uses special instructions of the processor if there are any.
    Inline,
}
