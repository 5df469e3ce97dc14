//! What may stand in front of the header of an entry, besides what maintenance keeps: how long it lives,
//! and its tags.

use super::deadline::Deadline;
use crate::base::sync::AtomicU64;
use crate::tags::TagSet;

/// Until when an entry is valid.
//
//  -8           0
//  |  deadline  | upkeep, header, key, value
#[repr(C)]
pub(crate) struct Extension {
    pub(crate) deadline: Deadline,
}

/// The same, and when the entry was made.
//
//  -16          -8           0
//  |  written   |  deadline  | upkeep, header, key, value
#[repr(C)]
pub(super) struct TimedExtension {
    /// The cache's time when the entry was made. Once `CHANGED` is set, where there is a time to
    /// idle: the limit, as below.
    pub(super) written_ns: AtomicU64,
    pub(super) extension: Extension,
}

/// The same where hits may move the deadline, and no further than to a limit of the entry's own.
//
//  -24         -16          -8           0
//  |  limit    |  written   |  deadline  | upkeep, header, key, value
#[repr(C)]
pub(super) struct LimitedExtension {
    /// What neither the time to idle nor an [`Expiry`](crate::Expiry) can move the deadline beyond.
    /// Set with the deadline; two that set both at once may leave those of different calls.
    pub(super) limit_ns: AtomicU64,
    pub(super) timed: TimedExtension,
}

/// The same where a time to idle and an [`Expiry`](crate::Expiry) both move the deadline.
//
//  -32         -24         -16          -8           0
//  |  computed |  limit    |  written   |  deadline  | upkeep, header, key, value
#[repr(C)]
pub(super) struct ComputedExtension {
    /// The deadline that the `Expiry` has computed last, which a use that renews the time to idle
    /// must not forget. Set with the deadline, as the limit is.
    pub(super) computed_ns: AtomicU64,
    pub(super) limited: LimitedExtension,
}

/// An extension of an entry with tags.
//
//  -48      -16          -8           0
//  |  tags  |  written   |  deadline  | upkeep, header, key, value
#[repr(C)]
pub(super) struct TaggedExtension {
    pub(super) tags: TagSet,
    pub(super) timed: TimedExtension,
}

/// The same where hits move the deadline.
#[repr(C)]
pub(super) struct TaggedLimitedExtension {
    pub(super) tags: TagSet,
    pub(super) limited: LimitedExtension,
}

/// The same where an [`Expiry`](crate::Expiry) moves it too.
#[repr(C)]
pub(super) struct TaggedComputedExtension {
    pub(super) tags: TagSet,
    pub(super) computed: ComputedExtension,
}

// They stand one against the other, aligned, and each ends in an `Extension`.
const _: () = assert!(size_of::<Extension>().is_multiple_of(8) && align_of::<Extension>() <= 8);
const _: () = assert!(
    size_of::<TimedExtension>() == size_of::<u64>() + size_of::<Extension>()
        && align_of::<TimedExtension>() <= 8
);
const _: () = assert!(
    size_of::<LimitedExtension>() == size_of::<AtomicU64>() + size_of::<TimedExtension>()
        && align_of::<LimitedExtension>() <= 8
);
const _: () = assert!(
    size_of::<TaggedExtension>() == size_of::<TagSet>() + size_of::<TimedExtension>()
        && align_of::<TaggedExtension>() <= 8
);
const _: () = assert!(
    size_of::<TaggedLimitedExtension>() == size_of::<TagSet>() + size_of::<LimitedExtension>()
        && align_of::<TaggedLimitedExtension>() <= 8
);
const _: () = assert!(
    size_of::<ComputedExtension>() == size_of::<AtomicU64>() + size_of::<LimitedExtension>()
        && align_of::<ComputedExtension>() <= 8
);
const _: () = assert!(
    size_of::<TaggedComputedExtension>() == size_of::<TagSet>() + size_of::<ComputedExtension>()
        && align_of::<TaggedComputedExtension>() <= 8
);
// Nothing but tags is to be dropped before their memory is freed.
const _: () = assert!(!std::mem::needs_drop::<ComputedExtension>());
