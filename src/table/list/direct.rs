//! Insertion without a walk.

use std::mem::offset_of;
use std::ptr::NonNull;

use super::SplitList;
use crate::base::hash::KeyHash;
use crate::base::link::{Link, LinkWord};
use crate::base::prefetch::{prefetch_for_read, prefetch_for_write};
use crate::entry::Header;

/// The head of the bucket of a hash, as long as the array is not doubled.
#[derive(Clone, Copy)]
pub(crate) struct BucketPlace<'t> {
    head: &'t Link,
    /// The mask with which the head was found.
    mask: usize,
}

impl BucketPlace<'_> {
    /// Prefetches the head, which is about to be written.
    #[inline(always)]
    pub(crate) fn prefetch_head(self) {
        prefetch_for_write(self.head);
    }

    /// Prefetches the first entry of the bucket, which is about to be read. Needs no guard, since the entry is
    /// not accessed.
    #[inline(always)]
    pub(crate) fn prefetch_entry(self) {
        let first = self.head.load().pointer();
        prefetch_for_read(first.wrapping_byte_add(offset_of!(Header, next)));
    }
}

impl SplitList {
    /// Where `hash` belongs now.
    #[inline(always)]
    pub(in crate::table) fn place(&self, hash: KeyHash) -> BucketPlace<'_> {
        let mask = self.buckets.mask();
        BucketPlace { head: self.buckets.head(hash.bucket(mask)), mask }
    }

    /// Links `new`, whose place is `place`, if its bucket is open and empty. False if it is not, or another
    /// thread was first.
    ///
    /// This is what `find` and the CAS after it do in that case: the head is before another head, so the
    /// run of the hash of `new` is empty.
    #[inline(always)]
    pub(in crate::table) unsafe fn insert_into_empty(
        &self,
        new: NonNull<Header>,
        place: BucketPlace<'_>,
    ) -> bool {
        let BucketPlace { head, mask } = place;
        if mask == 0 {
            // There was no segment yet, and the one bucket belongs to all empty tables.
            return false;
        }
        let word = head.load();
        // The next head ends the bucket, unless the array was doubled since (see `probe_bucket`).
        if !word.is_head() || !word.is_usable() || self.buckets.mask() != mask {
            return false;
        }
        // SAFETY: the caller owns `new`.
        unsafe { new.as_ref() }.next.set(word);
        head.replace(word, LinkWord::entry(new.cast())).is_ok()
    }
}
