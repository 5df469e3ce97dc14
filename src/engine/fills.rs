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
//! A fill that replaces what it finds, an exclusive one, must also notice that another fill of its key has
//! completed. So a fill that completes marks the other open fills of its hash as overtaken, which only an
//! exclusive one heeds. An exclusive fill changes the table by one compare-and-swap under the lock
//! ([`OpenFill::lock_fresh`]), so no lookup ever sees a value of it that is refused.
//!
//! # Telling an entry by its address
//! An exclusive fill may replace exactly the entry that its user has read, though it holds no pin meanwhile:
//! while it is fresh, a valid entry of its key at the address that it has seen is the entry that it has seen.
//! Another entry at that address was allocated after the first was freed, which was after the fill was
//! opened. Every change allocates its entry before it marks fills, and marks them before it changes the table;
//! a fill marks the others when it confirms its entry, which is not valid before that.
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
use crate::base::reentrancy::ThreadToken;
use crate::base::sync::{self, AtomicUsize, Mutex, MutexGuard, Ordering};

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
    /// The key was changed since the fill was opened.
    is_stale: bool,
    /// Another fill of the hash has completed since.
    is_overtaken: bool,
    /// The thread that runs the code of the user's which computes the value, while it does.
    runs_on: Option<ThreadToken>,
    /// That code has itself changed the key.
    has_own_change: bool,
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
        sync::lock(self.shard(hash)).push(FillState {
            hash,
            number,
            is_stale: false,
            is_overtaken: false,
            runs_on: None,
            has_own_change: false,
        });
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
        open.iter_mut().filter(|open| open.hash == hash).for_each(FillState::mark);
    }

    /// As [`mark`](Self::mark), for all hashes.
    pub(crate) fn mark_all(&self) {
        // SeqCst: as in `mark`.
        if self.open.load(Ordering::SeqCst) > 0 {
            for shard in self.shards() {
                sync::lock(shard).iter_mut().for_each(FillState::mark);
            }
        }
    }
}

impl FillState {
    fn mark(&mut self) {
        self.is_stale = true;
        self.has_own_change |= self.runs_on == Some(ThreadToken::current());
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
        let mut open = sync::lock(self.fills.shard(self.hash));
        let is_fresh = open.iter().any(|open| open.number == self.number && !open.is_stale);
        if is_fresh {
            confirm();
            let others = |other: &&mut FillState| self.has_other(other);
            open.iter_mut().filter(others).for_each(|other| other.is_overtaken = true);
        }
        is_fresh
    }

    /// For an exclusive fill: takes the lock that keeps it from becoming stale, if it is not stale and no
    /// other fill of its hash has completed. No code of the user's may run before the result is dropped.
    pub(crate) fn lock_fresh(&self) -> Option<FreshFill<'_>> {
        let open = sync::lock(self.fills.shard(self.hash));
        let is_fresh = open
            .iter()
            .any(|open| open.number == self.number && !(open.is_stale || open.is_overtaken));
        is_fresh.then_some(FreshFill { open, fill: self })
    }

    /// Calls `run`, code of the user's that computes the value, and notes changes of the key that it makes on
    /// this thread.
    pub(crate) fn run<R>(&self, run: impl FnOnce() -> R) -> R {
        let own_state = |change: &mut dyn FnMut(&mut FillState)| {
            let mut open = sync::lock(self.fills.shard(self.hash));
            open.iter_mut().filter(|open| open.number == self.number).for_each(change);
        };
        own_state(&mut |state| state.runs_on = Some(ThreadToken::current()));
        let result = run();
        own_state(&mut |state| state.runs_on = None);
        result
    }

    /// Whether code within [`run`](Self::run) has itself changed the key, or every key.
    pub(crate) fn has_own_change(&self) -> bool {
        let open = sync::lock(self.fills.shard(self.hash));
        open.iter().any(|open| open.number == self.number && open.has_own_change)
    }

    fn has_other(&self, other: &FillState) -> bool {
        other.hash == self.hash && other.number != self.number
    }
}

/// The lock under which a fill is fresh and stays so, for the step of the table by which it takes effect.
pub(crate) struct FreshFill<'f> {
    open: MutexGuard<'f, Vec<FillState>>,
    fill: &'f OpenFill,
}

impl FreshFill<'_> {
    /// Notes that the fill has taken effect as a fill: no other exclusive one of its hash may do so now.
    pub(crate) fn note_completed(mut self) {
        let others = |other: &&mut FillState| self.fill.has_other(other);
        self.open.iter_mut().filter(others).for_each(|other| other.is_overtaken = true);
    }

    /// Notes that the fill has taken effect as a change of the key, which makes all others stale.
    pub(crate) fn note_changed(mut self) {
        let others = |other: &&mut FillState| self.fill.has_other(other);
        self.open.iter_mut().filter(others).for_each(FillState::mark);
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
    fn an_exclusive_fill_is_refused_once_another_has_completed() {
        let (fills, hash) = (Fills::new(), KeyHash::from_raw(1));
        let (first, second, other) =
            (fills.open(hash), fills.open(hash), fills.open(KeyHash::from_raw(2)));
        first.lock_fresh().expect("nothing has changed").note_completed();
        assert!(first.lock_fresh().is_some(), "a fill overtook itself");
        assert!(second.lock_fresh().is_none());
        assert!(second.confirm(|| ()), "one that is not exclusive is refused only if it is stale");
        assert!(first.lock_fresh().is_none() && other.lock_fresh().is_some());
        let third = fills.open(hash);
        third.lock_fresh().expect("it was opened since").note_changed();
        assert!(!second.confirm(|| unreachable!()), "a change makes every fill stale");
        assert!(third.confirm(|| ()) && other.lock_fresh().is_some());
    }

    #[test]
    fn a_change_by_the_code_that_computes_the_value_is_noticed() {
        let (fills, hash) = (Fills::new(), KeyHash::from_raw(1));
        let fill = fills.open(hash);
        fills.mark(hash);
        fill.run(|| {
            let fills = &fills;
            std::thread::scope(|scope| scope.spawn(|| fills.mark_all()).join().unwrap());
        });
        fills.mark(hash);
        assert!(!fill.has_own_change(), "the changes were made by others, or afterwards");
        fill.run(|| fills.mark(hash));
        assert!(fill.has_own_change());
    }

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
