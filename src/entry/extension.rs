//! What stands in front of the headers of some entries, and where.
//!
//! A cache line holds header and extension of an entry of two words, key and value, whose time to
//! idle nobody limits: 64 bytes, and slabs begin at a line. What a hit looks at, the deadline, is
//! next to the header whatever else there is.
#![forbid(unsafe_code)]

use std::alloc::Layout;

use crate::expiry::Deadline;
use crate::sync::AtomicU64;
use crate::tags::TagSet;

/// What stands in front of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Extent {
    Nothing = 0,
    /// An [`Extension`].
    Timed = 1,
    /// A [`LimitedExtension`].
    Limited = 2,
    /// A [`TaggedExtension`].
    Tagged = 3,
    /// A [`TaggedLimitedExtension`].
    TaggedLimited = 4,
}

/// When an entry was made and until when it is valid.
//
//  -16          -8           0
//  |  written   |  deadline  | header, key, value
#[repr(C)]
pub(crate) struct Extension {
    /// The cache's time when the entry was made.
    pub(crate) written_ns: u64,
    pub(crate) deadline: Deadline,
}

/// The same where hits move the deadline.
//
//  -24         -16          -8           0
//  |  limit    |  written   |  deadline  | header, key, value
#[repr(C)]
pub(super) struct LimitedExtension {
    /// What the time to idle cannot move the deadline beyond. Set with the deadline; two that set
    /// both at once may leave those of different calls.
    pub(super) limit_ns: AtomicU64,
    pub(super) extension: Extension,
}

/// An extension of an entry with tags.
//
//  -48      -16          -8           0
//  |  tags  |  written   |  deadline  | header, key, value
#[repr(C)]
pub(super) struct TaggedExtension {
    pub(super) tags: TagSet,
    pub(super) extension: Extension,
}

/// The same where hits move the deadline.
#[repr(C)]
pub(super) struct TaggedLimitedExtension {
    pub(super) tags: TagSet,
    pub(super) limited: LimitedExtension,
}

// Right before a header, which has the alignment of 8 at least, and each ends in an `Extension`.
const _: () = assert!(size_of::<Extension>().is_multiple_of(8) && align_of::<Extension>() <= 8);
const _: () = assert!(
    size_of::<LimitedExtension>() == size_of::<AtomicU64>() + size_of::<Extension>()
        && align_of::<LimitedExtension>() <= 8
);
const _: () = assert!(
    size_of::<TaggedExtension>() == size_of::<TagSet>() + size_of::<Extension>()
        && align_of::<TaggedExtension>() <= 8
);
const _: () = assert!(
    size_of::<TaggedLimitedExtension>() == size_of::<TagSet>() + size_of::<LimitedExtension>()
        && align_of::<TaggedLimitedExtension>() <= 8
);
// Nothing but tags is to be dropped before their memory is freed.
const _: () = assert!(!std::mem::needs_drop::<LimitedExtension>());

/// How long a new entry may live: what its extension is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) written_ns: u64,
    pub(crate) deadline_ns: u64,
    /// What hits cannot move the deadline beyond, where they move it.
    pub(crate) limit_ns: Option<u64>,
}

impl Terms {
    pub(super) fn extent(&self, has_tags: bool) -> Extent {
        match (self.limit_ns, has_tags) {
            (None, false) => Extent::Timed,
            (Some(_), false) => Extent::Limited,
            (None, true) => Extent::Tagged,
            (Some(_), true) => Extent::TaggedLimited,
        }
    }

    pub(super) fn extension(&self) -> Extension {
        Extension { written_ns: self.written_ns, deadline: Deadline::new(self.deadline_ns) }
    }
}

impl Extent {
    #[inline]
    pub(super) fn is_limited(self) -> bool {
        matches!(self, Self::Limited | Self::TaggedLimited)
    }

    #[inline]
    pub(super) fn is_tagged(self) -> bool {
        self >= Self::Tagged
    }

    /// The memory of an entry whose header, key and value are of `plain`, and where the header is
    /// in it.
    pub(super) const fn around(self, plain: Layout) -> (Layout, usize) {
        let front = match self {
            Self::Nothing => return (plain, 0),
            Self::Timed => Layout::new::<Extension>(),
            Self::Limited => Layout::new::<LimitedExtension>(),
            Self::Tagged => Layout::new::<TaggedExtension>(),
            Self::TaggedLimited => Layout::new::<TaggedLimitedExtension>(),
        };
        match front.extend(plain) {
            Ok((layout, offset)) => (layout.pad_to_align(), offset),
            Err(_) => panic!("an entry that large fits no memory"),
        }
    }
}

#[cfg(all(test, target_pointer_width = "64", not(larder_loom)))]
mod tests {
    use super::*;
    use crate::entry::Entry;

    #[test]
    fn timed_entry_of_two_words_fills_a_cache_line() {
        let plain = Layout::new::<Entry<u64, u64>>();
        assert_eq!(Extent::Timed.around(plain).0.size(), 64);
        assert_eq!(Extent::Limited.around(plain).0.size(), 72);
    }
}
