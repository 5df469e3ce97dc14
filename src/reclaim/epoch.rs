//! Guards, and the state that the threads of the process share for them.
#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crossbeam_epoch::{self as epoch, LocalHandle};

use super::barrier;
pub(crate) use super::governor::Ticket;
use super::governor::{Governor, Participants, Tickets};
use super::readers::{Phases, Reader};
#[cfg(unix)]
use crate::base::sync::MutexGuard;
use crate::base::sync::{self, AtomicU64, AtomicUsize, Mutex, Ordering};

static TICKETS: Tickets = Tickets::new();
static PARTICIPANTS: Participants = Participants::new();
/// The phases of the fast guards. Stepped under the governor's lock.
static PHASES: Phases = Phases::new();
static GOVERNOR: Mutex<Option<Governor>> = Mutex::new(None);
/// When the oldest ticket that is closed but not completed was closed, in nanoseconds since
/// [`start`], plus one; 0 if there is none.
static OLDEST_OPEN_NS: AtomicU64 = AtomicU64::new(0);
static ADVANCES: AtomicUsize = AtomicUsize::new(0);

/// The number of threads that join between two moves of the epoch, if nothing else moves it.
const THREADS_PER_ADVANCE: usize = 32;

/// Registers a participant for a thread.
fn join() -> LocalHandle {
    let (handle, registered) = PARTICIPANTS.register();
    // Each participant that ends leaves some garbage in the epoch machinery, which is freed when
    // the epoch moves. So it has to move even where threads come and go but nothing is retired.
    if registered % THREADS_PER_ADVANCE == 0 {
        advance();
    }
    handle
}

/// The state of a thread: its number, and how it pins.
struct Local {
    number: ThreadNumber,
    /// Its participant, where guards are not fast.
    handle: OnceCell<LocalHandle>,
}

impl Local {
    fn new() -> Self {
        let number = ThreadNumber::take();
        if barrier::is_asymmetric() {
            READER.set(Some(number.0));
        }
        Self { number, handle: OnceCell::new() }
    }

    fn is_pinned(&self) -> bool {
        self.number.0.is_inside() || self.handle.get().is_some_and(LocalHandle::is_pinned)
    }
}

thread_local! {
    static LOCAL: Local = Local::new();

    /// The reader in which this thread marks itself: set while `LOCAL` lives, if guards are fast
    /// here. It is separate because it has no destructor, so a single load reaches it.
    static READER: Cell<Option<&'static Reader>> = const { Cell::new(None) };
}

/// Calls `with` on this thread's state; `None` once the thread's destructors have dropped it.
fn with_local<R>(with: impl FnOnce(&Local) -> R) -> Option<R> {
    LOCAL.try_with(with).ok()
}

/// Prevents everything that is retired from now on from being freed. Neither `Send` nor `Sync`.
pub(crate) enum Guard {
    Fast(FastGuard),
    Epoch(#[expect(dead_code, reason = "held for its drop")] epoch::Guard),
}

/// A fast guard: a reader that is inside, as a type of its own so that calls are direct. Neither
/// `Send` nor `Sync`, as with all guards.
pub(crate) struct FastGuard(&'static Reader, PhantomData<*const ()>);

impl From<FastGuard> for Guard {
    #[inline(always)]
    fn from(guard: FastGuard) -> Self {
        Self::Fast(guard)
    }
}

/// A guard of either kind, which prevents freeing.
pub(crate) trait AnyGuard {
    /// See [`Guard::thread`].
    fn thread(&self) -> usize;
    /// See [`Guard::tally`].
    fn tally(&self, at: usize) -> bool;
}

impl AnyGuard for Guard {
    #[inline]
    fn thread(&self) -> usize {
        self.thread()
    }

    #[inline(always)]
    fn tally(&self, at: usize) -> bool {
        self.tally(at)
    }
}

impl AnyGuard for FastGuard {
    #[inline]
    fn thread(&self) -> usize {
        self.0.number()
    }

    #[inline(always)]
    fn tally(&self, at: usize) -> bool {
        self.0.tally(at)
    }
}

impl Drop for FastGuard {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Guard {
    /// A small number that no other living thread has, or `usize::MAX` in a thread that is ending.
    #[inline]
    pub(crate) fn thread(&self) -> usize {
        match self {
            Self::Fast(guard) => guard.0.number(),
            Self::Epoch(_) => with_local(|local| local.number.0.number()).unwrap_or(usize::MAX),
        }
    }

    /// Adds one to a tally (`tally`). False if no tally has this number, or guards are not fast.
    #[inline(always)]
    pub(crate) fn tally(&self, at: usize) -> bool {
        match self {
            Self::Fast(guard) => guard.0.tally(at),
            Self::Epoch(_) => false,
        }
    }
}

/// The sum of what all threads have counted in a tally.
pub(super) fn tallied(at: usize) -> u64 {
    sync::lock(&NUMBERS).readers.iter().map(|reader| reader.tallied(at)).sum()
}

/// Pins the calling thread; nests. Where guards are fast, it is wait-free, except for a thread's
/// first guard; elsewhere crossbeam-epoch pins.
#[inline(always)]
pub(crate) fn pin() -> Guard {
    match pin_fast() {
        Some(guard) => Guard::Fast(guard),
        None => pin_slow(),
    }
}

/// The same, if guards are fast here and the thread has pinned before.
#[inline(always)]
pub(crate) fn pin_fast() -> Option<FastGuard> {
    let reader = READER.get()?;
    reader.enter(&PHASES);
    Some(FastGuard(reader, PhantomData))
}

/// Pins where `pin_fast` cannot: the first guard of a thread, every guard where guards are not
/// fast, and those of a thread whose destructors have run, which registers a participant for each.
#[cold]
fn pin_slow() -> Guard {
    let pin = |local: &Local| match pin_fast() {
        Some(guard) => Guard::Fast(guard),
        None => Guard::Epoch(local.handle.get_or_init(join).pin()),
    };
    with_local(pin).unwrap_or_else(|| Guard::Epoch(join().pin()))
}

/// Whether the calling thread holds a guard.
pub(crate) fn is_pinned_here() -> bool {
    with_local(Local::is_pinned).unwrap_or(false)
}

/// The ticket for everything that this thread, or one that it synchronized with, unlinked before.
pub(crate) fn ticket() -> Ticket {
    TICKETS.take()
}

/// The last ticket whose batch may be freed.
pub(crate) fn completed() -> Ticket {
    TICKETS.completed()
}

/// How long the oldest closed ticket has waited: a guard has been held for that long, or no thread
/// has called `advance` since. Zero if nothing waits.
pub(crate) fn lag() -> Duration {
    // Relaxed: a gauge.
    match OLDEST_OPEN_NS.load(Ordering::Relaxed) {
        0 => Duration::ZERO,
        since => start().elapsed().saturating_sub(Duration::from_nanos(since - 1)),
    }
}

fn start() -> &'static Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now)
}

/// How often the epoch was advanced, which wraps around.
pub(crate) fn advances() -> usize {
    // Relaxed: it only spares advances.
    ADVANCES.load(Ordering::Relaxed)
}

/// Closes the current ticket and lets the epoch move one step, unless another thread is doing so.
///
/// A ticket is completed by the third call after it was taken, if no older guard is held then.
/// Never waits; O(threads).
pub(crate) fn advance() {
    let Some(mut governor) = sync::try_lock(&GOVERNOR) else {
        return;
    };
    let governor = governor.get_or_insert_with(|| Governor::new(&PARTICIPANTS));
    governor.renew(&PARTICIPANTS);
    let phases = barrier::is_asymmetric().then_some(&PHASES);
    ADVANCES.fetch_add(1, Ordering::Relaxed);
    governor.advance(&TICKETS, phases);
    if let Some(phases) = phases
        && governor.has_open()
    {
        // This is left out if another thread takes or gives back a number at the moment.
        if let Some(numbers) = sync::try_lock(&NUMBERS) {
            let readers = numbers.readers.iter().copied();
            if READER.get().is_some() && numbers.has_one_thread() {
                // Only this thread has a reader. Readers that are free or orphaned were given up
                // under this lock, and a thread that takes one later does so after what is unlinked
                // now.
                barrier::note_unneeded();
                phases.step_behind_fence(readers);
            } else {
                phases.step(readers);
            }
        }
    }
    let oldest = governor.note_completed(&TICKETS, phases).map_or(0, |closed| {
        let since_start = closed.duration_since(*start()).as_nanos();
        u64::try_from(since_start).unwrap_or(u64::MAX - 1) + 1
    });
    OLDEST_OPEN_NS.store(oldest, Ordering::Relaxed);
}

thread_local! {
    /// The last ticket that was completed when this thread gave way, plus one.
    static GAVE_WAY: Cell<Ticket> = const { Cell::new(0) };
}

/// Lets other threads run, which may hold guards: once for each grace period that ends. Returns whether it
/// did.
///
/// If there are more threads than processors, grace periods take as long as it takes all threads to get
/// one. If each thread gives way once, that is a moment; if each did so whenever it finds much garbage,
/// all would mostly wait for each other.
pub(crate) fn give_way() -> bool {
    let completed = completed() + 1;
    // A thread that is ending always gives way.
    let is_first = GAVE_WAY.try_with(|last| last.replace(completed) != completed).unwrap_or(true);
    if is_first {
        sync::thread::yield_now();
    }
    is_first
}

/// The locks of this module, for the time of a fork.
#[cfg(unix)]
pub(crate) struct EpochLocks {
    /// The number of the forking thread, if its state lives.
    own: Option<usize>,
    numbers: MutexGuard<'static, Numbers>,
    _governor: MutexGuard<'static, Option<Governor>>,
}

/// Waits until no other thread uses the process-wide state of this module, and keeps it so.
#[cfg(unix)]
pub(crate) fn hold() -> EpochLocks {
    // Before the locks, because a thread that has used no cache yet takes its number here.
    let own = with_local(|local| local.number.0.number());
    EpochLocks { own, numbers: sync::lock(&NUMBERS), _governor: sync::lock(&GOVERNOR) }
}

#[cfg(unix)]
impl EpochLocks {
    /// In a forked child, which has only the calling thread: the marks of the other threads hold
    /// back nothing any more, and their numbers are free.
    pub(crate) fn forget_other_threads(&mut self) {
        let Numbers { free, readers, orphaned } = &mut *self.numbers;
        free.clear();
        // Without a state, this thread is ending, and one of the orphaned readers may be its own.
        if self.own.is_some() {
            orphaned.clear();
        }
        for (number, reader) in readers.iter().enumerate() {
            let is_orphaned = orphaned.iter().any(|orphan| orphan.number() == number);
            if Some(number) != self.own && !is_orphaned {
                reader.forget();
                free.push(Reverse(number));
            }
        }
    }
}

/// Numbers for living threads. The smallest free one is taken first, so that they stay dense.
pub(crate) struct Numbers {
    free: BinaryHeap<Reverse<usize>>,
    /// The readers by number, including the free ones. They are never freed, so a thread comes and
    /// goes by a push and a pop.
    readers: Vec<&'static Reader>,
    /// Readers whose threads ended with a guard. They are free once that is dropped, if ever.
    orphaned: Vec<&'static Reader>,
}

impl Numbers {
    /// Whether exactly one living thread has a reader.
    fn has_one_thread(&self) -> bool {
        self.readers.len() == self.free.len() + self.orphaned.len() + 1
    }
}

static NUMBERS: Mutex<Numbers> =
    Mutex::new(Numbers { free: BinaryHeap::new(), readers: Vec::new(), orphaned: Vec::new() });

/// A thread's number with its reader, given back when the thread ends. The lock of `NUMBERS` hands
/// the counts of the thread's tallies on to the next owner of the number.
struct ThreadNumber(&'static Reader);

impl ThreadNumber {
    fn take() -> Self {
        let mut numbers = sync::lock(&NUMBERS);
        if let Some(Reverse(number)) = numbers.free.pop() {
            return Self(numbers.readers[number]);
        }
        if let Some(at) = numbers.orphaned.iter().position(|reader| reader.has_left()) {
            return Self(numbers.orphaned.swap_remove(at));
        }
        let reader = Box::leak(Box::new(Reader::new(numbers.readers.len())));
        numbers.readers.push(reader);
        Self(reader)
    }
}

impl Drop for ThreadNumber {
    fn drop(&mut self) {
        READER.set(None);
        let mut numbers = sync::lock(&NUMBERS);
        // A guard that was leaked, or that outlives the thread's state, keeps its mark.
        if self.0.is_inside() {
            numbers.orphaned.push(self.0);
        } else {
            numbers.free.push(Reverse(self.0.number()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        static LAST_GUARD: RefCell<Option<Guard>> = const { RefCell::new(None) };
    }

    #[test]
    fn threads_that_end_with_a_guard_give_their_numbers_back() {
        const THREADS: usize = 300;
        let before = sync::lock(&NUMBERS).readers.len();
        for _ in 0..THREADS {
            // It is touched before the first pin, and so dropped after the thread's number.
            let thread = std::thread::spawn(|| {
                LAST_GUARD.with_borrow_mut(|last| *last = None);
                let guard = pin();
                LAST_GUARD.with_borrow_mut(|last| *last = Some(guard));
            });
            thread.join().expect("it only pins");
        }
        // Other tests may have taken some numbers meanwhile.
        let made = sync::lock(&NUMBERS).readers.len() - before;
        assert!(made < THREADS / 2, "{made} numbers for {THREADS} threads, one at a time");
    }
}
