//! The extensions that may precede the metadata and the header of an entry: its deadline and what
//! belongs to it, and its tags.
#![forbid(unsafe_code)]

use super::deadline::Deadline;
use crate::base::sync::AtomicU64;
use crate::tags::TagSet;

/// The deadline of an entry.
//
//  -8           0
//  |  deadline  | metadata, header, key, value
#[repr(C)]
pub(crate) struct Extension {
    pub(crate) deadline: Deadline,
}

/// A deadline, and when the entry was made.
//
//  -16          -8           0
//  |  written   |  deadline  | metadata, header, key, value
#[repr(C)]
pub(super) struct AgeExtension {
    /// The cache's time when the entry was made. Once `CHANGED` is set and hits move the deadline,
    /// it is the limit, as below.
    pub(super) written_ns: AtomicU64,
    pub(super) extension: Extension,
}

/// The same, where hits may move the deadline up to a limit of the entry's own.
//
//  -24         -16          -8           0
//  |  limit    |  written   |  deadline  | metadata, header, key, value
#[repr(C)]
pub(super) struct LimitExtension {
    /// The time beyond which neither the time to idle nor an [`Expiry`](crate::Expiry) can move the
    /// deadline. It is set with the deadline; two threads that set both at once may leave those of
    /// different calls.
    pub(super) limit_ns: AtomicU64,
    pub(super) age: AgeExtension,
}

/// The same where a time to idle and an [`Expiry`](crate::Expiry) both move the deadline.
//
//  -32         -24         -16          -8           0
//  |  computed |  limit    |  written   |  deadline  | metadata, header, key, value
#[repr(C)]
pub(super) struct ComputedExtension {
    /// The deadline that the `Expiry` has computed last, which a use that renews the time to idle
    /// must keep in force. It is set with the deadline, as the limit is.
    pub(super) computed_ns: AtomicU64,
    pub(super) limit: LimitExtension,
}

/// An extension of an entry with tags.
//
//  -48      -16          -8           0
//  |  tags  |  written   |  deadline  | metadata, header, key, value
#[repr(C)]
pub(super) struct TagsExtension {
    pub(super) tags: TagSet,
    pub(super) age: AgeExtension,
}

/// The same where hits move the deadline.
#[repr(C)]
pub(super) struct TagsLimitExtension {
    pub(super) tags: TagSet,
    pub(super) limit: LimitExtension,
}

/// The same where an [`Expiry`](crate::Expiry) moves it too.
#[repr(C)]
pub(super) struct TagsComputedExtension {
    pub(super) tags: TagSet,
    pub(super) computed: ComputedExtension,
}

// They are contiguous and aligned, and each ends in an `Extension`.
const _: () = assert!(size_of::<Extension>().is_multiple_of(8) && align_of::<Extension>() <= 8);
const _: () = assert!(
    size_of::<AgeExtension>() == size_of::<u64>() + size_of::<Extension>()
        && align_of::<AgeExtension>() <= 8
);
const _: () = assert!(
    size_of::<LimitExtension>() == size_of::<AtomicU64>() + size_of::<AgeExtension>()
        && align_of::<LimitExtension>() <= 8
);
const _: () = assert!(
    size_of::<TagsExtension>() == size_of::<TagSet>() + size_of::<AgeExtension>()
        && align_of::<TagsExtension>() <= 8
);
const _: () = assert!(
    size_of::<TagsLimitExtension>() == size_of::<TagSet>() + size_of::<LimitExtension>()
        && align_of::<TagsLimitExtension>() <= 8
);
const _: () = assert!(
    size_of::<ComputedExtension>() == size_of::<AtomicU64>() + size_of::<LimitExtension>()
        && align_of::<ComputedExtension>() <= 8
);
const _: () = assert!(
    size_of::<TagsComputedExtension>() == size_of::<TagSet>() + size_of::<ComputedExtension>()
        && align_of::<TagsComputedExtension>() <= 8
);
// Only tags have to be dropped before their memory is freed.
const _: () = assert!(!std::mem::needs_drop::<ComputedExtension>());
