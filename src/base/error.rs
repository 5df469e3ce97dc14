//! Errors of the builder, of policies' names, of changed bounds and of `flush`; and the results of
//! insertions.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Why [`Builder::build`](crate::Builder::build) made no cache.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum BuildError {
    /// Neither a capacity nor a maximal weight was given.
    Unbounded,
    /// The capacity of a [simulator](crate::policy::Simulator) was 0. A cache of that capacity stores
    /// nothing.
    ZeroCapacity,
    /// The maximal weight of a simulator was 0.
    ZeroWeight,
    /// The number of partitions is not a power of two from 1 to 4096.
    BadPartitions {
        /// What was given.
        given: usize,
    },
    /// There are more partitions than a bound has units, so one would hold nothing.
    TooManyPartitions {
        /// What was given.
        given: usize,
        /// The smaller of the bounds.
        bound: u64,
    },
    /// The initial capacity is more than a bound allows, or than the buckets of a table can serve.
    BadInitialCapacity {
        /// What was given.
        given: usize,
        /// The most that is allowed.
        limit: u64,
    },
    /// The bound of the listener's queue was 0.
    ZeroListenerQueue,
    /// The time to live was zero.
    ZeroTimeToLive,
    /// The time to idle was zero.
    ZeroTimeToIdle,
    /// The jitter is not a number from 0 to 1.
    BadJitter {
        /// What was given.
        given: f64,
    },
    /// Namespaces share one bound, and the cache has two.
    NamespacesNeedOneBound,
    /// A namespace was given twice.
    DuplicateNamespace {
        /// The name.
        given: String,
    },
    /// The maximum of a namespace is 0, or less than its minimum.
    MaximumTooLow {
        /// Which namespace.
        namespace: String,
        /// What was given.
        given: u64,
        /// The least that it can be.
        least: u64,
    },
    /// The minimums of the namespaces add up to more than the bound.
    MinimumsTooLarge {
        /// Their sum.
        given: u64,
        /// The bound.
        bound: u64,
    },
    /// A duration that must be more than zero was zero.
    ZeroDuration {
        /// The builder's method that it was given to.
        setting: &'static str,
    },
    /// A duration is not shorter than another one, so it would never matter.
    NotShorter {
        /// The builder's method that it was given to.
        setting: &'static str,
        /// What was given.
        given: Duration,
        /// The builder's method of the other duration.
        than: &'static str,
        /// The other duration.
        limit: Duration,
    },
    /// A timeout for loads in the background was set, and the cache is built without a loader.
    NeedsLoader {
        /// The setting.
        setting: &'static str,
    },
    /// A setting is about stale values, and the builder's settings allow none.
    NeedsStaleValues {
        /// The builder's method of that setting.
        setting: &'static str,
    },
    /// The factor of the early refresh is not a finite number above 0.
    BadEarlyRefresh {
        /// What was given.
        given: f64,
    },
    /// The share of the eager refresh is not a number above 0 and below 1.
    BadEagerRefresh {
        /// What was given.
        given: f64,
    },
    /// A multiple of the bounds for a shadow cache is not a finite number above 0.
    BadMultiple {
        /// What was given.
        given: f64,
    },
    /// The configuration has no shadow cache, or too many: one for each policy at each multiple.
    BadShadows {
        /// How many it has.
        given: usize,
        /// The most that are allowed.
        limit: usize,
    },
    /// Shadow caches would hold too few entries to show anything.
    FewSampleEntries {
        /// What was given.
        given: usize,
        /// The fewest that are allowed.
        least: usize,
    },
    /// A number is larger than the cache can use.
    TooLarge {
        /// The builder's method that it was given to.
        setting: &'static str,
        /// What was given.
        given: u64,
        /// The most that is allowed.
        limit: u64,
    },
    /// There is not enough memory for a setting.
    OutOfMemory {
        /// The builder's method of that setting.
        setting: &'static str,
        /// How many bytes it takes.
        bytes: u64,
    },
    /// No policy has that name.
    UnknownPolicy {
        /// What was given.
        given: String,
        /// The names of all policies.
        known: Vec<String>,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbounded => {
                f.write_str("a cache needs a bound; set `capacity`, `max_weight` or both")
            }
            Self::ZeroCapacity => f.write_str("capacity 0 holds nothing; use at least 1"),
            Self::ZeroWeight => f.write_str("max_weight 0 holds nothing; use at least 1"),
            Self::BadPartitions { given } => {
                write!(f, "{given} partitions; use a power of two from 1 to 4096")
            }
            Self::TooManyPartitions { given, bound } => write!(
                f,
                "{given} partitions cannot share a bound of {bound}; use at most one for each unit"
            ),
            Self::BadInitialCapacity { given, limit } => {
                write!(f, "initial_capacity {given}; use at most {limit}")
            }
            Self::ZeroListenerQueue => {
                f.write_str("a listener's queue of 0 holds no notifications; use at least 1")
            }
            Self::ZeroTimeToLive => f.write_str(
                "time_to_live 0 keeps nothing; use more, or leave it out for entries that stay",
            ),
            Self::ZeroTimeToIdle => f.write_str(
                "time_to_idle 0 keeps nothing; use more, or leave it out for entries that stay",
            ),
            Self::BadJitter { given } => write!(f, "jitter {given}; use a fraction from 0 to 1"),
            Self::NamespacesNeedOneBound => f.write_str(
                "namespaces share one bound; set either `capacity` or `max_weight`, not both",
            ),
            Self::DuplicateNamespace { given } => {
                write!(f, "namespace `{given}` was given twice; give each once")
            }
            Self::MaximumTooLow { namespace, given, least } => {
                write!(f, "maximum {given} of namespace `{namespace}`; use at least {least}")
            }
            Self::MinimumsTooLarge { given, bound } => write!(
                f,
                "the minimums of the namespaces add up to {given}; use at most the bound of {bound}"
            ),
            Self::ZeroDuration { setting } => {
                write!(f, "{setting} 0; use more than zero, or leave it out")
            }
            Self::NotShorter { setting, given, than, limit } => {
                write!(
                    f,
                    "{setting} {given:?} never matters; use less than the {limit:?} of {than}"
                )
            }
            Self::NeedsLoader { setting } => write!(
                f,
                "{setting} needs a loader that runs in the background: use `build_with_loader` or \
                 `build_with_async_loader`"
            ),
            Self::NeedsStaleValues { setting } => write!(
                f,
                "{setting} needs stale values; set `stale_while_revalidate` or `stale_if_error` too"
            ),
            Self::BadEarlyRefresh { given } => {
                write!(f, "early_refresh {given}; use a finite number above 0, such as 1")
            }
            Self::BadEagerRefresh { given } => {
                write!(f, "eager_refresh {given}; use a share above 0 and below 1, such as 0.8")
            }
            Self::BadMultiple { given } => {
                write!(f, "multiple {given} of the bounds; use a finite number above 0")
            }
            Self::BadShadows { given, limit } => {
                write!(f, "{given} shadow caches; use from 1 to {limit} policies times multiples")
            }
            Self::FewSampleEntries { given, least } => {
                write!(f, "shadow caches of {given} entries show nothing; use at least {least}")
            }
            Self::TooLarge { setting, given, limit } => {
                write!(f, "{setting} {given} is too large; use at most {limit}")
            }
            Self::OutOfMemory { setting, bytes } => {
                write!(f, "no memory for the {bytes} bytes of {setting}; use a smaller number")
            }
            Self::UnknownPolicy { given, known } => {
                write!(f, "unknown policy `{given}`; known are {}", known.join(", "))
            }
        }
    }
}

impl Error for BuildError {}

/// Why [`Cache::shadow_namespace`](crate::Cache::shadow_namespace) began nothing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum NamespaceShadowError {
    /// The cache has no namespace of that name.
    NoSuchNamespace {
        /// What was given.
        given: String,
    },
    /// The bound was 0.
    ZeroBound,
    /// As many namespaces as may have shadows have them already.
    TooMany {
        /// The most that may have them at a time.
        limit: usize,
    },
    /// The configuration of the shadows is wrong.
    Config(BuildError),
}

impl fmt::Display for NamespaceShadowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchNamespace { given } => {
                write!(f, "no namespace `{given}`; use one that the builder was given")
            }
            Self::ZeroBound => f.write_str("a bound of 0 holds nothing; use at least 1"),
            Self::TooMany { limit } => write!(
                f,
                "{limit} namespaces have shadow caches already; end those of another one first"
            ),
            Self::Config(_) => f.write_str("the shadow caches are configured wrongly"),
        }
    }
}

impl Error for NamespaceShadowError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            _ => None,
        }
    }
}

/// Why [`register_policy`](crate::policy::register_policy) registered nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name was empty.
    EmptyName,
    /// Another policy has the name.
    Taken {
        /// What was given.
        given: String,
        /// The names of all policies.
        known: Vec<String>,
    },
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyName => f.write_str("a policy needs a name; use one that is not empty"),
            Self::Taken { given, known } => write!(
                f,
                "a policy `{given}` already exists; use a name other than {}",
                known.join(", ")
            ),
        }
    }
}

impl Error for RegisterError {}

/// Why a name could not be parsed as a [`Policy`](crate::Policy).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParsePolicyError {
    /// No policy has that name.
    Unknown {
        /// What was given.
        given: String,
        /// The names of all policies.
        known: Vec<String>,
    },
}

impl fmt::Display for ParsePolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { given, known } => {
                write!(f, "unknown policy `{given}`; known are {}", known.join(", "))
            }
        }
    }
}

impl Error for ParsePolicyError {}

/// Why [`Cache::set_capacity`](crate::Cache::set_capacity) or
/// [`Cache::set_max_weight`](crate::Cache::set_max_weight) changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResizeError {
    /// The cache was built without that bound.
    Unbounded,
    /// The bound is less than one unit for each partition, and not 0.
    TooFew {
        /// What was given.
        given: u64,
        /// The partitions that the cache has.
        partitions: usize,
    },
    /// The bound is less than the minimums of the namespaces together.
    BelowMinimums {
        /// What was given.
        given: u64,
        /// The sum of the minimums.
        minimums: u64,
    },
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbounded => {
                f.write_str("the cache was built without that bound; set it in the builder")
            }
            Self::TooFew { given, partitions } => write!(
                f,
                "a bound of {given} cannot be shared by {partitions} partitions; use at least one \
                 for each, or 0 to store nothing"
            ),
            Self::BelowMinimums { given, minimums } => write!(
                f,
                "a bound of {given} is less than the {minimums} that namespaces are guaranteed; use \
                 at least that"
            ),
        }
    }
}

impl Error for ResizeError {}

/// The result of an insertion.
///
/// It is not `#[must_use]`, because it may be ignored: a program that reads a cache has to expect that a
/// key is absent. Rejected values are counted in [`Stats::rejections`](crate::Stats::rejections). No
/// fourth variant will be added; [`Rejection`] may get more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inserted {
    /// The key was absent, and was added.
    Added,
    /// The key was present, and its value was replaced.
    Replaced,
    /// The value was not stored.
    Rejected(Rejection),
}

impl Inserted {
    /// Whether the value was stored.
    #[must_use]
    pub fn is_stored(self) -> bool {
        !matches!(self, Self::Rejected(_))
    }
}

/// Why a value was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// The entry is heavier than the whole cache may be. If the key was present, its old value has been
    /// removed: it was to be overwritten, and must not be read as if it were current.
    TooHeavy {
        /// The weight, as the weigher returned it.
        weight: u64,
        /// The bound on the sum of weights ([`Cache::max_weight`](crate::Cache::max_weight)).
        limit: u64,
    },
    /// The cache's capacity or its maximal weight is 0. If the key was present, its old value has been
    /// removed.
    StoresNothing,
    /// An entry cannot carry that many tags. Nothing has changed.
    TooManyTags {
        /// How many it may carry.
        limit: usize,
    },
    /// A tag begins with a zero byte. Such names are the cache's own: snapshots mark namespaces by them. Nothing has
    /// changed.
    ReservedTag,
    /// The insertion names a namespace that the cache does not have, or the namespaces of the cache follow from
    /// the keys. Nothing has changed.
    NoSuchNamespace,
    /// The cache has an [atomic listener](crate::Builder::atomic_listener), and the insertion was called
    /// from that listener, or from a closure or an [`Expiry`](crate::Expiry) that another change of the
    /// cache called; or from a listener, an executor or the drop of a value of any cache, while another
    /// thread was changing the same key, for which the call must not wait. Nothing has changed.
    WithinListener,
    /// The key was stored, removed or invalidated since the fill began
    /// ([`Cache::complete_fill`](crate::Cache::complete_fill)), so the value may be out of date. Nothing
    /// has changed. Or a closure that computes a new value from the present one has itself changed the key each time it
    /// was called ([`Cache::update`](crate::Cache::update)).
    Stale,
    /// The key is present ([`Cache::insert_if_absent`](crate::Cache::insert_if_absent)).
    Present,
    /// The key is absent ([`Cache::replace`](crate::Cache::replace)).
    Absent,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooHeavy { weight, limit } => {
                write!(
                    f,
                    "weight {weight} is above the {limit} that the whole cache may hold; \
                     raise `max_weight` or store less"
                )
            }
            Self::StoresNothing => {
                f.write_str("a bound of the cache is 0, so it stores nothing; use a higher one")
            }
            Self::TooManyTags { limit } => write!(f, "more than the {limit} tags of an entry"),
            Self::ReservedTag => f.write_str("a tag begins with a zero byte, which is reserved"),
            Self::WithinListener => {
                f.write_str("called from within a change of a cache with an atomic listener")
            }
            Self::Stale => f.write_str("the key was changed since the fill began"),
            Self::Present => f.write_str("the key is there already"),
            Self::NoSuchNamespace => f.write_str(
                "no such namespace can be given; name one of the builder's, and only in a cache whose namespaces \
                 do not follow from the keys",
            ),
            Self::Absent => f.write_str("the key is not there"),
        }
    }
}

impl Error for Rejection {}

/// Why [`Cache::checked_fetch_add`](crate::Cache::checked_fetch_add) added nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CounterError {
    /// The sum is not in the range of the type. The number stays as it is.
    Overflow,
    /// The sum was not stored.
    Rejected(Rejection),
}

impl From<Rejection> for CounterError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl fmt::Display for CounterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overflow => f.write_str(
                "the sum is out of the range of the counter's type; use a wider type or add less",
            ),
            Self::Rejected(_) => f.write_str("the sum was not stored"),
        }
    }
}

impl Error for CounterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Overflow => None,
            Self::Rejected(rejection) => Some(rejection),
        }
    }
}

/// The entry has no room for a deadline; see [`Cache::try_expire_after`](crate::Cache::try_expire_after).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDeadline;

impl fmt::Display for NoDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the entry has no room for a deadline; use `expire_after`, or insert it with a lifetime")
    }
}

impl Error for NoDeadline {}

/// Why [`Cache::flush`](crate::Cache::flush) could not drop everything that had been retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushError {
    /// The calling thread itself holds a [`pin`](crate::Cache::pin), or is inside a `read`.
    PinnedHere,
    /// Another thread has held a pin, or has been inside a `read`, for longer than `flush` waits.
    PinnedElsewhere {
        /// For how long the oldest grace period has waited for it.
        waited: Duration,
    },
    /// Called from this cache's own listener; or from other user code of any cache, while another thread
    /// was delivering notifications of this one or dropping its keys and values.
    WithinListener,
    /// The listener or the executor has been handling one notification for longer than `flush` waits.
    ListenerBusy {
        /// For how long `flush` has waited for it.
        waited: Duration,
    },
    /// Called from the `Drop` of a key or value.
    WithinDrop,
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PinnedHere => {
                f.write_str("this thread holds a pin of a cache; drop it before `flush`")
            }
            Self::PinnedElsewhere { waited } => {
                write!(f, "another thread has held a pin of a cache for {waited:?}")
            }
            Self::WithinListener => {
                f.write_str("called from a listener or other user code that a cache runs")
            }
            Self::ListenerBusy { waited } => {
                write!(f, "the listener has been handling one notification for {waited:?}")
            }
            Self::WithinDrop => f.write_str("called from the drop of a key or a value"),
        }
    }
}

impl Error for FlushError {}
