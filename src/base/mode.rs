//! Who runs maintenance.
#![forbid(unsafe_code)]

/// Who applies what callers did to a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Maintenance {
    /// Writers, in batches, and one thread for the whole process, which sees to what they leave:
    /// it is started with the first cache that wants it, sleeps while there is nothing to do and
    /// ends with the last one. A cache may exceed its bounds for a moment; see
    /// [`Cache`](crate::Cache#bounds).
    #[default]
    Background,
    /// The calling thread, within each call. No thread is started, and bounds hold whenever a call
    /// returns.
    ///
    /// With one partition, one calling thread, a clock that repeats itself
    /// ([`FakeClock`](crate::test::FakeClock)) and a hasher without a random seed, the same calls
    /// give the same answers, evictions and expirations on every run. For the same on every machine
    /// the hasher has to be portable: `BuildHasherDefault<DefaultHasher>` of the standard library is
    /// between builds by one compiler; [`RandomState::with_seeds`](crate::RandomState::with_seeds) is not,
    /// since it takes the processor's instructions where there are such.
    Inline,
}
