//! Insertion without a walk.

use std::ptr::NonNull;

use super::SplitList;
use crate::base::hash::KeyHash;
use crate::base::link::LinkWord;
use crate::entry::Header;

impl SplitList {
    /// Links `new` if its bucket is open and empty. False if it is not, or another thread was first.
    ///
    /// This is what `find` and the CAS after it do in that case: the head is before another head, so the
    /// run of the hash of `new` is empty.
    #[inline(always)]
    pub(in crate::table) unsafe fn insert_into_empty(
        &self,
        new: NonNull<Header>,
        hash: KeyHash,
    ) -> bool {
        let mask = self.buckets.mask();
        if mask == 0 {
            // There is no segment yet, and the one bucket belongs to all empty tables.
            return false;
        }
        let head = self.buckets.head(hash.bucket(mask));
        let word = head.load();
        // The next head ends the bucket, unless the array is doubled meanwhile (see `probe_bucket`).
        if !word.is_head() || !word.is_usable() || self.buckets.mask() != mask {
            return false;
        }
        // SAFETY: the caller owns `new`.
        unsafe { new.as_ref() }.next.set(word);
        head.replace(word, LinkWord::entry(new.cast())).is_ok()
    }
}
