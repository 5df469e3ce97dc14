//! Walks over the whole list: iteration, and the end of the table.

use std::ptr::NonNull;

use super::{Link, List, bucket, entry_of, precedes};
use crate::entry::Header;

impl List {
    /// Calls `visit` for live entries in split order, from the first one behind the hash `after`
    /// on. Stops once `budget` entries were passed and the run of equal hashes is over; returns
    /// the hash to go on after, or `None` at the end of the list.
    pub(in crate::table) unsafe fn walk(
        &self,
        after: Option<u64>,
        budget: usize,
        mut visit: impl FnMut(NonNull<Header>),
    ) -> Option<u64> {
        let start = after.map_or(0, |hash| bucket(hash, self.buckets.mask()));
        // SAFETY: passed on.
        let mut word = unsafe { self.start(start) }.load();
        let mut passed = 0;
        let mut last = after;
        loop {
            if word.is_head() {
                let head = NonNull::new(word.pointer().cast::<Link>())?;
                // SAFETY: heads live as long as the list.
                word = unsafe { head.as_ref() }.load();
                continue;
            }
            // SAFETY: not a head, so an entry, allocated by the caller's promise.
            let entry = unsafe { entry_of(word) };
            // SAFETY: as above.
            let header = unsafe { entry.as_ref() };
            if passed >= budget && last != Some(header.hash()) {
                return last;
            }
            // One load decides whether the entry is live and where the walk goes on, so that an
            // entry and its replacement are never both visited, and never neither.
            let next = header.next.load();
            let is_behind = after.is_none_or(|after| precedes(after, header.hash()));
            if is_behind {
                passed += 1;
                last = Some(header.hash());
                if !next.is_deleted() {
                    visit(entry);
                }
            }
            word = next;
        }
    }

    /// Whether a walk from the start meets `entry`, deleted or not.
    #[cfg(larder_loom)]
    pub(in crate::table) unsafe fn reaches(&self, entry: NonNull<Header>) -> bool {
        let mut word = self.buckets.head(0).load();
        loop {
            if word.is_head() {
                let Some(head) = NonNull::new(word.pointer().cast::<Link>()) else {
                    return false;
                };
                // SAFETY: heads live as long as the list.
                word = unsafe { head.as_ref() }.load();
                continue;
            }
            // SAFETY: not a head, so an entry, allocated by the caller's promise.
            let met = unsafe { entry_of(word) };
            if met == entry {
                return true;
            }
            // SAFETY: as above.
            word = unsafe { met.as_ref() }.next.load();
        }
    }

    /// Calls `take` for every live entry, which may free it: an entry's link is read before.
    ///
    /// # Safety
    /// Nobody else uses the list, now or later.
    pub(in crate::table) unsafe fn drain(&self, mut take: impl FnMut(NonNull<Header>)) {
        let mut word = self.buckets.head(0).load();
        loop {
            if word.is_head() {
                let Some(head) = NonNull::new(word.pointer().cast::<Link>()) else { return };
                // SAFETY: heads live as long as the list.
                word = unsafe { head.as_ref() }.load();
                continue;
            }
            // SAFETY: not a head, so an entry; none behind this point has been taken yet.
            let entry = unsafe { entry_of(word) };
            // SAFETY: as above.
            word = unsafe { entry.as_ref() }.next.load();
            debug_assert!(
                !word.is_deleted(),
                "all removals have ended, and unlinked what they took"
            );
            take(entry);
        }
    }
}
