//! Prefetching what a lookup or a change is about to need.

use std::mem::offset_of;
use std::ptr::NonNull;

use super::SplitList;
use crate::base::hash::KeyHash;
use crate::base::prefetch::{prefetch_for_read, prefetch_for_write};
use crate::entry::Header;

impl SplitList {
    /// Prefetches the bucket word of `hash`, which is about to be written.
    #[inline]
    pub(in crate::table) fn prefetch_bucket(&self, hash: KeyHash) {
        prefetch_for_write(self.buckets.head(hash.bucket(self.buckets.mask())));
    }

    /// Prefetches the first entry of the bucket of `hash`, which is about to be read. Needs no
    /// guard, since the entry is not accessed.
    #[inline]
    pub(in crate::table) fn prefetch_entry(&self, hash: KeyHash) {
        let word = self.buckets.head(hash.bucket(self.buckets.mask())).load();
        prefetch_for_read(word.pointer().wrapping_byte_add(offset_of!(Header, next)));
    }

    /// Prefetches the bucket word of `hash`, which is about to be read only.
    #[inline]
    pub(in crate::table) fn prefetch_bucket_for_read(&self, hash: KeyHash) {
        prefetch_for_read(self.buckets.head(hash.bucket(self.buckets.mask())));
    }

    /// Reads the first entry of the bucket of `hash`, if the bucket is open and has one. Returns the
    /// entry if its hash may be that one; else prefetches the entry behind it.
    ///
    /// # Safety
    /// As for [`probe_bucket`](Self::probe_bucket).
    #[inline]
    pub(in crate::table) unsafe fn prefetch_match(&self, hash: KeyHash) -> Option<NonNull<Header>> {
        let word = self.buckets.word(hash.bucket(self.buckets.mask()));
        if word.has_tags() {
            return None;
        }
        let first: NonNull<Header> = NonNull::new(word.pointer())?.cast();
        // SAFETY: not a head, so an entry, allocated by the caller's promise.
        let header = unsafe { first.as_ref() };
        if header.may_match(hash) {
            return Some(first);
        }
        // At the end of the bucket this is the next head, which does no harm.
        let next = header.next.load().pointer();
        prefetch_for_read(next.wrapping_byte_add(offset_of!(Header, next)));
        None
    }
}
