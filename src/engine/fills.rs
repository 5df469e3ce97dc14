//! Open fills: keys for which a caller is fetching a value, to store it unless the key is changed
//! meanwhile.
//!
//! A fill is open from [`Fills::open`] until it is dropped. A change marks the open fills of its key as
//! stale before it changes the table; a change of all keys marks all fills. A fill that completes puts
//! its entry into the table unconfirmed, so that no lookup sees the entry. Then it confirms the entry if
//! the fill is not stale, under the lock under which fills are marked.
//!
//! | which is first | outcome |
//! |---|---|
//! | the change marks the fill | the fill is refused, and its entry was never visible |
//! | the fill confirms its entry | the value is stored; the change of the table comes later and finds it |
//!
//! So a fill takes effect when its entry is confirmed. While no fill is open, marking costs one load.
//!
//! # Orderings
//! `open` is `SeqCst` on both sides: a fill is counted before its user reads the data behind the value,
//! and a change reads the count after its user has changed that data. So the change sees the fill, or the
//! user of the fill reads the new data. A fill that ends is subtracted with release, since a change that
//! finds no fill goes on to the table without a lock. The locks order marks and confirmations. Models:
//! `loom-tests/tests/fills.rs`.
#![forbid(unsafe_code)]

use std::sync::{Arc, OnceLock};

use crossbeam_utils::CachePadded;

use crate::base::hash::KeyHash;
use crate::base::sync::{self, AtomicUsize, Mutex, Ordering};

/// The number of locks among which open fills are divided.
const SHARDS: usize = if cfg!(larder_loom) { 1 } else { 32 };

type FillShard = CachePadded<Mutex<Vec<FillState>>>;

/// The open fills of one cache.
pub(crate) struct Fills {
    open: AtomicUsize,
    last: AtomicUsize,
    /// Allocated with the first fill.
    shards: OnceLock<Box<[FillShard]>>,
}

struct FillState {
    hash: KeyHash,
    number: usize,
    is_stale: bool,
}

/// One fill, open until it is dropped.
pub(crate) struct OpenFill {
    fills: Arc<Fills>,
    pub(crate) hash: KeyHash,
    number: usize,
}

impl Fills {
    pub(crate) fn new() -> Arc<Self> {
        let (open, last) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { open, last, shards: OnceLock::new() })
    }

    fn shards(&self) -> &[FillShard] {
        self.shards
            .get_or_init(|| std::iter::repeat_with(FillShard::default).take(SHARDS).collect())
    }

    fn shard(&self, hash: KeyHash) -> &Mutex<Vec<FillState>> {
        let shards = self.shards();
        // Neither the lowest bits, which choose a bucket, nor the highest, which choose a partition.
        &shards[hash.gate(shards.len())]
    }

    pub(crate) fn open(self: &Arc<Self>, hash: KeyHash) -> OpenFill {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        sync::lock(self.shard(hash)).push(FillState { hash, number, is_stale: false });
        // SeqCst: before the user reads the data behind the value; pairs with the load in `mark`.
        self.open.fetch_add(1, Ordering::SeqCst);
        OpenFill { fills: Arc::clone(self), hash, number }
    }

    /// Marks the open fills of that hash as stale, since its key is about to be changed.
    #[inline]
    pub(crate) fn mark(&self, hash: KeyHash) {
        // SeqCst: after the user has changed the data behind the value; pairs with `open`.
        if self.open.load(Ordering::SeqCst) > 0 {
            self.mark_stale(hash);
        }
    }

    #[cold]
    fn mark_stale(&self, hash: KeyHash) {
        let mut open = sync::lock(self.shard(hash));
        open.iter_mut().filter(|open| open.hash == hash).for_each(|open| open.is_stale = true);
    }

    /// As [`mark`](Self::mark), for all hashes.
    pub(crate) fn mark_all(&self) {
        // SeqCst: as in `mark`.
        if self.open.load(Ordering::SeqCst) > 0 {
            for shard in self.shards() {
                sync::lock(shard).iter_mut().for_each(|open| open.is_stale = true);
            }
        }
    }
}

impl OpenFill {
    /// Whether this is a fill of the cache that owns `fills`.
    pub(crate) fn is_of(&self, fills: &Arc<Fills>) -> bool {
        Arc::ptr_eq(&self.fills, fills)
    }

    /// Calls `confirm` unless the fill is stale, under the lock that keeps it from becoming so. Returns
    /// whether it called `confirm`.
    pub(crate) fn confirm(&self, confirm: impl FnOnce()) -> bool {
        let open = sync::lock(self.fills.shard(self.hash));
        let is_fresh = open.iter().any(|open| open.number == self.number && !open.is_stale);
        if is_fresh {
            confirm();
        }
        is_fresh
    }
}

impl Drop for OpenFill {
    fn drop(&mut self) {
        let mut open = sync::lock(self.fills.shard(self.hash));
        if let Some(own) = open.iter().position(|open| open.number == self.number) {
            open.swap_remove(own);
        }
        drop(open);
        // Release: a change that no longer sees the fill sees what it has stored; pairs with the load in
        // `mark`.
        self.fills.open.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_fill_is_stale_once_its_hash_was_marked_and_leaves_nothing_behind() {
        let fills = Fills::new();
        fills.mark(KeyHash::from_raw(1));
        fills.mark_all();
        let (first, second, other) = (
            fills.open(KeyHash::from_raw(1)),
            fills.open(KeyHash::from_raw(1)),
            fills.open(KeyHash::from_raw(2)),
        );
        assert!(first.confirm(|| ()));
        fills.mark(KeyHash::from_raw(1));
        assert!(!first.confirm(|| unreachable!()) && !second.confirm(|| unreachable!()));
        assert!(other.confirm(|| ()) && fills.open(KeyHash::from_raw(1)).confirm(|| ()));
        fills.mark_all();
        assert!(!other.confirm(|| unreachable!()));
        assert!(other.is_of(&fills) && !other.is_of(&Fills::new()));
        drop((first, second, other));
        assert_eq!(fills.open.load(Ordering::Relaxed), 0);
        assert!(fills.shards().iter().all(|shard| sync::lock(shard).is_empty()));
    }
}
