//! Open fills: keys for which a caller is fetching a value, to store it unless the key is changed
//! meanwhile.
//!
//! A fill is open from [`Fills::open`] or [`Fills::join`] until it has stored its value or is dropped. A
//! change marks the open fills of its key as stale before it changes the table; a change of all keys marks
//! all fills. A fill that completes puts its entry into the table unconfirmed, so that no lookup sees the
//! entry. Then it confirms the entry if the fill is not stale, under the lock under which fills are marked.
//! Where a valid entry is to be replaced, the change of the table itself is made under that lock.
//!
//! A fill may have a *flight* ([`super::flight`]): then other callers that want the key wait for its
//! value instead of fetching it too. A caller joins only a flight that is not stale. So whoever calls
//! after a change has returned gets a value that was fetched after it. For each key at most one flight
//! is open and not stale. The keys of flights are compared outside of the lock, because `Eq` is user code.
//!
//! | which is first | outcome |
//! |---|---|
//! | the change marks the fill | the fill is refused, and its entry was never visible |
//! | the fill confirms its entry | the value is stored; the change of the table comes later and finds it |
//!
//! So a fill takes effect when its entry is confirmed, or when it replaces an entry. While no fill is open,
//! marking costs one load.
//!
//! A fill that replaces what it finds, an exclusive one, must also notice that another fill of its key has
//! completed. So a fill that completes marks the other open fills of its hash as overtaken, which only an
//! exclusive one heeds. An exclusive fill changes the table by one compare-and-swap under the lock
//! ([`OpenFill::lock_fresh`]), so no lookup ever sees a value of it that is refused. It is a change itself: its
//! value may be one that its user has written elsewhere, and a load that is under way may have read the
//! value before. So it marks the other open fills as stale.
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
use crate::base::sync::{self, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering};

/// The number of locks among which open fills are divided.
const SHARDS: usize = if cfg!(larder_loom) { 1 } else { 32 };

/// The lock of a shard, for the states of its flights. No user code may run before it is dropped.
pub(super) struct FlightLock<'f, F> {
    _open: MutexGuard<'f, Vec<FillState<F>>>,
}

type FillShard<F> = CachePadded<Mutex<Vec<FillState<F>>>>;

/// The open fills of one cache, whose flights are of the type `F`.
pub(crate) struct Fills<F> {
    open: AtomicUsize,
    last: AtomicUsize,
    /// Allocated with the first fill.
    shards: OnceLock<Box<[FillShard<F>]>>,
}

struct FillState<F> {
    hash: KeyHash,
    number: usize,
    /// The key was changed since the fill was opened.
    is_stale: bool,
    /// Another fill of the hash has completed since.
    is_overtaken: bool,
    /// The thread that runs the user code that computes the value, while it does.
    runs_on: Option<ThreadToken>,
    /// That code has itself changed the key.
    has_own_change: bool,
    /// What callers that want the key wait for, if this fill has a flight.
    flight: Option<Arc<F>>,
}

/// One fill, open until it has stored its value or is dropped.
pub(crate) struct OpenFill<F> {
    fills: Arc<Fills<F>>,
    pub(crate) hash: KeyHash,
    number: usize,
    /// Whether the fill was taken out of its shard already.
    is_closed: AtomicBool,
}

/// The part of a caller in the flight that it has joined.
pub(crate) enum Joined<F> {
    /// No other caller was fetching a value for the key.
    Leader(OpenFill<F>),
    /// Another caller is.
    Waiter(Arc<F>),
}

impl<F> Fills<F> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::with_open(0))
    }

    /// Fills whose marks always [say](Self::mark) that some are open.
    pub(crate) fn always_open() -> Arc<Self> {
        Arc::new(Self::with_open(1))
    }

    fn with_open(open: usize) -> Self {
        let (open, last) = (AtomicUsize::new(open), AtomicUsize::new(0));
        Self { open, last, shards: OnceLock::new() }
    }

    fn shards(&self) -> &[FillShard<F>] {
        let shard = || CachePadded::new(Mutex::new(Vec::new()));
        self.shards.get_or_init(|| std::iter::repeat_with(shard).take(SHARDS).collect())
    }

    fn shard(&self, hash: KeyHash) -> &Mutex<Vec<FillState<F>>> {
        let shards = self.shards();
        // Neither the lowest bits, which choose a bucket, nor the highest, which choose a partition.
        &shards[hash.gate(shards.len())]
    }

    /// Takes the lock under which the states of flights of that hash are changed.
    pub(super) fn lock(&self, hash: KeyHash) -> FlightLock<'_, F> {
        FlightLock { _open: sync::lock(self.shard(hash)) }
    }

    /// Opens a fill without a flight.
    pub(crate) fn open(self: &Arc<Self>, hash: KeyHash) -> OpenFill<F> {
        let mut open = sync::lock(self.shard(hash));
        let fill = self.push(&mut open, hash, None);
        drop(open);
        self.count(fill)
    }

    /// Joins the flight of `hash` that `is_same` accepts and that is not stale; opens a fill with the flight
    /// `new` if there is none. `is_same` is called under no lock.
    pub(crate) fn join(
        self: &Arc<Self>,
        hash: KeyHash,
        new: &Arc<F>,
        is_same: impl Fn(&F) -> bool,
    ) -> Joined<F> {
        // Flights of other keys that have the same hash.
        let mut others: Vec<Arc<F>> = Vec::new();
        loop {
            let mut open = sync::lock(self.shard(hash));
            let is_known = |flight: &Arc<F>| others.iter().any(|other| Arc::ptr_eq(other, flight));
            let unknown = open
                .iter()
                .filter(|open| open.hash == hash && !open.is_stale)
                .filter_map(|open| open.flight.as_ref())
                .find(|flight| !is_known(flight))
                .map(Arc::clone);
            let Some(flight) = unknown else {
                let fill = self.push(&mut open, hash, Some(Arc::clone(new)));
                drop(open);
                return Joined::Leader(self.count(fill));
            };
            drop(open);
            if is_same(&flight) {
                return Joined::Waiter(flight);
            }
            others.push(flight);
        }
    }

    fn push(
        self: &Arc<Self>,
        open: &mut Vec<FillState<F>>,
        hash: KeyHash,
        flight: Option<Arc<F>>,
    ) -> OpenFill<F> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        open.push(FillState {
            hash,
            number,
            is_stale: false,
            is_overtaken: false,
            runs_on: None,
            has_own_change: false,
            flight,
        });
        OpenFill { fills: Arc::clone(self), hash, number, is_closed: AtomicBool::new(false) }
    }

    fn count(&self, fill: OpenFill<F>) -> OpenFill<F> {
        // SeqCst: before the user reads the data behind the value; pairs with the load in `mark`.
        self.open.fetch_add(1, Ordering::SeqCst);
        fill
    }

    /// Takes all locks, for the time of a fork. No user code runs under one of them.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn hold_for_fork(&self) -> HeldFills<'_, F> {
        // Allocates the shards, so that no other thread is about to do so when the process forks.
        HeldFills { shards: self.shards().iter().map(|shard| sync::lock(shard)).collect() }
    }

    /// Marks the fill of `flight` as stale: its bound has passed, and no caller joins it any more. Says
    /// whether it was open and not stale.
    pub(crate) fn give_up(&self, hash: KeyHash, flight: &Arc<F>) -> bool {
        let mut open = sync::lock(self.shard(hash));
        let is_its = |open: &&mut FillState<F>| {
            open.flight.as_ref().is_some_and(|other| Arc::ptr_eq(other, flight))
        };
        let found = open.iter_mut().find(is_its);
        found.is_some_and(|open| !std::mem::replace(&mut open.is_stale, true))
    }

    /// Marks the open fills of that hash as stale, since its key is about to be changed. Returns whether any
    /// fills were open.
    #[inline]
    pub(crate) fn mark(&self, hash: KeyHash) -> bool {
        // SeqCst: after the user has changed the data behind the value; pairs with `open`.
        let is_any_open = self.open.load(Ordering::SeqCst) > 0;
        if is_any_open {
            self.mark_stale(hash);
        }
        is_any_open
    }

    #[cold]
    fn mark_stale(&self, hash: KeyHash) {
        let mut open = sync::lock(self.shard(hash));
        open.iter_mut().filter(|open| open.hash == hash).for_each(FillState::mark);
    }

    /// As [`mark`](Self::mark), for all hashes.
    pub(crate) fn mark_all(&self) -> bool {
        // SeqCst: as in `mark`.
        let is_any_open = self.open.load(Ordering::SeqCst) > 0;
        if is_any_open {
            for shard in self.shards() {
                sync::lock(shard).iter_mut().for_each(FillState::mark);
            }
        }
        is_any_open
    }
}

/// The locks of all fills of a cache, during a fork.
#[cfg(all(unix, not(larder_loom)))]
pub(crate) struct HeldFills<'f, F> {
    shards: Vec<MutexGuard<'f, Vec<FillState<F>>>>,
}

#[cfg(all(unix, not(larder_loom)))]
impl<F> HeldFills<'_, F> {
    /// In the child, lets no caller join a flight unless `is_own` says that its loader runs on this thread.
    pub(super) fn forget_flights(&mut self, is_own: impl Fn(&F) -> bool) {
        for open in self.shards.iter_mut().flat_map(|shard| shard.iter_mut()) {
            open.is_stale |= open.flight.as_ref().is_some_and(|flight| !is_own(flight));
        }
    }
}

impl<F> FillState<F> {
    fn mark(&mut self) {
        self.is_stale = true;
        self.has_own_change |= self.runs_on == Some(ThreadToken::current());
    }
}

impl<F> OpenFill<F> {
    /// Whether this is a fill of the cache that owns `fills`.
    pub(crate) fn is_of(&self, fills: &Arc<Fills<F>>) -> bool {
        Arc::ptr_eq(&self.fills, fills)
    }

    pub(super) fn fills(&self) -> &Arc<Fills<F>> {
        &self.fills
    }

    /// Whether the key may still be filled. It may become stale at once.
    pub(crate) fn is_fresh(&self) -> bool {
        self.own_fresh(&sync::lock(self.fills.shard(self.hash))).is_some()
    }

    /// The place of this fill among those that are open, if it is not stale.
    fn own_fresh(&self, open: &[FillState<F>]) -> Option<usize> {
        open.iter().position(|open| open.number == self.number && !open.is_stale)
    }

    /// Calls `store` unless the fill is stale, under the lock that keeps it from becoming so. If `store`
    /// says that it has stored the value, the fill is closed. Returns its answer; `None` if the fill is stale.
    /// `store` must not panic, nor run user code.
    pub(crate) fn confirm(&self, store: impl FnOnce() -> bool) -> Option<bool> {
        let mut open = sync::lock(self.fills.shard(self.hash));
        let own = self.own_fresh(&open)?;
        let has_stored = store();
        let closed = has_stored.then(|| {
            let closed = open.swap_remove(own);
            self.overtake_others(&mut open);
            closed
        });
        drop(open);
        if closed.is_some() {
            // Relaxed: only the owner of the fill reads it.
            self.is_closed.store(true, Ordering::Relaxed);
        }
        // Drops the flight outside of the lock.
        drop(closed);
        Some(has_stored)
    }

    /// Takes the fill out of its shard, unless that was done when its value was stored: no caller joins its flight any
    /// more.
    pub(super) fn close(&self) {
        // Relaxed: as in `confirm`.
        if self.is_closed.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut open = sync::lock(self.fills.shard(self.hash));
        let own = open.iter().position(|open| open.number == self.number);
        let closed = own.map(|own| open.swap_remove(own));
        drop(open);
        // Drops the flight, perhaps with a key, outside of the lock.
        drop(closed);
    }

    /// Takes the lock under which the state of the fill's flight is changed.
    pub(super) fn lock(&self) -> FlightLock<'_, F> {
        self.fills.lock(self.hash)
    }

    /// For an exclusive fill: takes the lock that keeps it from becoming stale, if it is not stale and no
    /// other fill of its hash has completed. No user code may run before the result is dropped.
    pub(crate) fn lock_fresh(&self) -> Option<FreshFill<'_, F>> {
        let open = sync::lock(self.fills.shard(self.hash));
        let is_fresh = open
            .iter()
            .any(|open| open.number == self.number && !(open.is_stale || open.is_overtaken));
        is_fresh.then_some(FreshFill { open, fill: self })
    }

    /// Calls `run`, user code that computes the value, and notes changes of the key that it makes on this
    /// thread.
    pub(crate) fn run<R>(&self, run: impl FnOnce() -> R) -> R {
        let own_state = |change: &mut dyn FnMut(&mut FillState<F>)| {
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

    /// Notes that this fill has taken effect as a fill: no other exclusive one of its hash may do so now.
    fn overtake_others(&self, open: &mut [FillState<F>]) {
        let others = open.iter_mut().filter(|other| self.has_other(other));
        others.for_each(|other| other.is_overtaken = true);
    }

    fn has_other(&self, other: &FillState<F>) -> bool {
        other.hash == self.hash && other.number != self.number
    }
}

/// The lock under which a fill is fresh and stays so, for the step of the table by which it takes effect.
pub(crate) struct FreshFill<'f, F> {
    open: MutexGuard<'f, Vec<FillState<F>>>,
    fill: &'f OpenFill<F>,
}

impl<F> FreshFill<'_, F> {
    /// Notes that the fill has taken effect, as a change of the key, which makes all others stale.
    pub(crate) fn note_changed(mut self) {
        let others = self.open.iter_mut().filter(|other| self.fill.has_other(other));
        others.for_each(FillState::mark);
    }
}

impl<F> Drop for OpenFill<F> {
    fn drop(&mut self) {
        self.close();
        // Release: a change that no longer sees the fill sees what it has stored; pairs with the load in
        // `mark`.
        self.fills.open.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    const fn hash(raw: u64) -> KeyHash {
        KeyHash::from_raw(raw)
    }

    #[test]
    fn an_exclusive_fill_is_refused_once_another_has_completed() {
        let (fills, hash): (Arc<Fills<()>>, _) = (Fills::new(), hash(1));
        let (first, second, other) =
            (fills.open(hash), fills.open(hash), fills.open(KeyHash::from_raw(2)));
        assert_eq!(first.confirm(|| true), Some(true));
        assert!(second.lock_fresh().is_none());
        assert!(
            second.confirm(|| true).is_some(),
            "one that is not exclusive is refused only if it is stale"
        );
        assert!(other.lock_fresh().is_some());
        let third = fills.open(hash);
        third.lock_fresh().expect("it was opened since").note_changed();
        assert!(second.confirm(|| unreachable!()).is_none(), "a change makes every fill stale");
        assert!(third.confirm(|| false).is_some() && other.lock_fresh().is_some());
    }

    #[test]
    fn a_change_by_the_code_that_computes_the_value_is_noticed() {
        let (fills, hash): (Arc<Fills<()>>, _) = (Fills::new(), hash(1));
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
        let fills: Arc<Fills<()>> = Fills::new();
        fills.mark(hash(1));
        fills.mark_all();
        let (first, second, other) =
            (fills.open(hash(1)), fills.open(hash(1)), fills.open(hash(2)));
        assert_eq!(first.confirm(|| false), Some(false));
        assert!(first.is_fresh());
        fills.mark(hash(1));
        assert_eq!(first.confirm(|| unreachable!()), None);
        assert_eq!(second.confirm(|| unreachable!()), None);
        assert_eq!(other.confirm(|| true), Some(true));
        assert!(!other.is_fresh(), "it has stored its value");
        let last = fills.open(hash(1));
        assert!(last.is_fresh());
        fills.mark_all();
        assert!(!last.is_fresh());
        assert!(other.is_of(&fills) && !other.is_of(&Fills::new()));
        drop((first, second, other, last));
        assert_eq!(fills.open.load(Ordering::Relaxed), 0);
        assert!(fills.shards().iter().all(|shard| sync::lock(shard).is_empty()));
    }

    #[test]
    fn callers_join_the_flight_of_their_key_unless_it_is_stale() {
        let fills: Arc<Fills<u64>> = Fills::new();
        let join = |key: u64| fills.join(hash(1), &Arc::new(key), |other| *other == key);
        let Joined::Leader(first) = join(1) else { panic!("no flight is open") };
        let Joined::Leader(_other) = join(2) else { panic!("only the hash is the same") };
        let Joined::Waiter(flight) = join(1) else { panic!("the key is being fetched") };
        assert_eq!(*flight, 1);
        fills.mark(hash(1));
        let Joined::Leader(second) = join(1) else { panic!("the flight was stale") };
        assert!(matches!(join(1), Joined::Waiter(_)));
        assert!(!first.is_fresh() && second.is_fresh());
        let Joined::Waiter(flight) = join(1) else { panic!("the second flight is open") };
        assert!(fills.give_up(hash(1), &flight) && !fills.give_up(hash(1), &flight));
        assert!(matches!(join(1), Joined::Leader(_)));
        drop((first, second));
        assert!(!fills.give_up(hash(1), &flight), "it has ended");
    }
}
