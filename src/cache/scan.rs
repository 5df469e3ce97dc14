//! Iteration in steps whose position is a number, for callers that cannot keep an iterator.
#![forbid(unsafe_code)]

use super::Cache;
use super::entry_info::EntryInfo;
use crate::base::hash::{HASH_BITS, KeyHash};
use crate::reclaim;
use crate::table::Cursor;

impl<K, V, S> Cache<K, V, S> {
    /// Visits about `count` of the entries that follow `cursor`, and returns the cursor of the next step.
    ///
    /// A complete iteration begins with the cursor 0 and goes on with each cursor that was returned, until
    /// that is 0 again. The cursor is a position in the order of the table, not a state of the cache: it
    /// stays valid however many entries come and go and however much the table grows, any number of
    /// iterations may be under way, and one that is abandoned costs nothing. Any number is a valid cursor: a
    /// random one begins at a random place.
    ///
    /// An entry that is in the cache during the whole iteration is visited exactly once; one that is
    /// inserted, replaced or removed meanwhile may be visited or not. Entries whose keys have the same hash
    /// are visited in one step, so a step may visit a few more entries than `count`. It may visit fewer,
    /// because it skips expired entries, and entries with an invalidated tag. A `count` of 0 counts as 1. Visits do not
    /// count as uses, like [`peek`](Self::peek).
    ///
    /// `visit` runs pinned, like the closure of [`read`](Self::read), so it should not take long. It may use
    /// the cache.
    ///
    /// # Complexity
    /// O(`count`), and O(1) for the place of the cursor.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::new(1000);
    /// for key in 0..100 {
    ///     cache.insert(key, key);
    /// }
    /// let (mut cursor, mut sum) = (0, 0);
    /// loop {
    ///     cursor = cache.scan(cursor, 10, |key, _, _| sum += key);
    ///     if cursor == 0 {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(sum, 4950);
    /// ```
    #[must_use = "the cursor is where the next step begins"]
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&K, &V, EntryInfo)) -> u64 {
        let guard = reclaim::pin();
        let table = &self.shared.engine.table;
        let next = table.step_by(decode(cursor), count.max(1), &guard, |pointer, entry| {
            if self.is_valid(pointer) {
                visit(&entry.key, &entry.value, self.info(pointer));
            }
        });
        encode(next)
    }
}

// The table is ordered by the reversed bits of hashes. A cursor is one more than the reversed hash that was
// visited last, so that 0 is left for the start.

/// The bits that hashes have. A cursor that this module has not made may have others, which come last when they are
/// reversed: no hash is between such a cursor and the one without them.
const HASH_MASK: u64 = (1 << HASH_BITS) - 1;

fn decode(cursor: u64) -> Cursor {
    match cursor.checked_sub(1) {
        None => Cursor::Start,
        Some(reversed) => Cursor::After(KeyHash::from_raw(reversed.reverse_bits() & HASH_MASK)),
    }
}

fn encode(cursor: Cursor) -> u64 {
    match cursor {
        Cursor::Start | Cursor::End => 0,
        Cursor::After(hash) => hash.raw().reverse_bits().wrapping_add(1),
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_position() {
        for raw in [0, 1, 2, 1 << 47, HASH_MASK - 1, HASH_MASK] {
            let cursor = Cursor::After(KeyHash::from_raw(raw));
            assert_eq!(decode(encode(cursor)), cursor, "{raw}");
        }
        assert_eq!(decode(0), Cursor::Start);
    }

    #[test]
    fn any_number_is_a_cursor() {
        let cache: crate::Cache<u32, ()> = (0..100).map(|key| (key, ())).collect();
        for cursor in [1, 2, 1 << 15, (1 << 16) + 7, u64::MAX / 3, u64::MAX - 1, u64::MAX] {
            let (mut visited, mut next) = (0, cursor);
            while next != 0 {
                next = cache.scan(next, 10, |_, (), _| visited += 1);
            }
            assert!(visited <= 100);
            if cursor < 1 << 30 {
                assert!(visited >= 90, "it begins near the start: {visited} from {cursor}");
            }
        }
    }
}
