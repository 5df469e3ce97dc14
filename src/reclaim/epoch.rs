//! Guards, tickets and the governor, on crossbeam-epoch.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crossbeam_epoch::{self as epoch, Collector, LocalHandle};

use super::magazine::Magazines;
use crate::sync::{self, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};

/// Counts grace periods; `u64` moves a million times a second for 500,000 years.
pub(crate) type Ticket = u64;

/// The ticket that is given out now: completed once a grace period that starts later is over.
static NEXT: AtomicU64 = AtomicU64::new(1);
/// The last ticket that something waits for.
static TAKEN: AtomicU64 = AtomicU64::new(0);
/// The last ticket whose grace period is over.
static COMPLETED: AtomicU64 = AtomicU64::new(0);
/// Participants registered so far, so that the governor knows whether it is still the newest.
static REGISTERED: AtomicUsize = AtomicUsize::new(0);
static GOVERNOR: Mutex<Option<Governor>> = Mutex::new(None);
/// When the oldest ticket that is closed but not completed was closed, in nanoseconds since
/// [`start`], plus one; 0 if there is none.
static OLDEST_OPEN_NS: AtomicU64 = AtomicU64::new(0);

/// Grace periods under way at once. More would not end sooner, and while a long guard holds the
/// epoch each would cost memory.
const MAX_OPEN: usize = 3;

/// Threads that come between two moves of the epoch, if nothing else moves it.
const THREADS_PER_ADVANCE: usize = 32;

fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<Collector> = OnceLock::new();
    COLLECTOR.get_or_init(Collector::new)
}

/// A new participant, and how many were registered with it.
fn register() -> (LocalHandle, usize) {
    let handle = collector().register();
    (handle, REGISTERED.fetch_add(1, Ordering::Relaxed) + 1)
}

/// A participant of a thread.
fn join() -> LocalHandle {
    let (handle, registered) = register();
    // Each participant that ends leaves a little garbage in the epoch machinery, which goes when
    // the epoch moves: it must do so also where threads come and go but nothing is retired.
    if registered % THREADS_PER_ADVANCE == 0 {
        advance();
    }
    handle
}

/// What a thread keeps: its participant, its number, and memory for its next entries.
pub(super) struct Local {
    handle: LocalHandle,
    number: ThreadNumber,
    pub(super) magazines: Magazines,
}

thread_local! {
    static LOCAL: Local = Local {
        handle: join(),
        number: ThreadNumber::take(),
        magazines: Magazines::default(),
    };
}

/// Calls `with` on this thread's state; `None` once the thread's destructors have taken it.
pub(super) fn with_local<R>(with: impl FnOnce(&Local) -> R) -> Option<R> {
    LOCAL.try_with(with).ok()
}

/// Holds back the freeing of everything that is retired from now on.
pub(crate) struct Guard {
    // Held for its drop.
    _guard: epoch::Guard,
    thread: usize,
}

impl Guard {
    /// A small number that no other living thread has, or `usize::MAX` in a thread that is ending.
    #[inline]
    pub(crate) fn thread(&self) -> usize {
        self.thread
    }
}

/// Pins the calling thread. Wait-free; nests.
#[inline]
pub(crate) fn pin() -> Guard {
    LOCAL
        .try_with(|local| Guard { _guard: local.handle.pin(), thread: local.number.0 })
        .unwrap_or_else(|_| pin_ending_thread())
}

/// A thread whose destructors have run registers for this one guard.
#[cold]
fn pin_ending_thread() -> Guard {
    Guard { _guard: join().pin(), thread: usize::MAX }
}

/// Whether the calling thread holds a guard.
pub(crate) fn is_pinned_here() -> bool {
    with_local(|local| local.handle.is_pinned()).unwrap_or(false)
}

/// The ticket for all that this thread (or one that it synchronized with) unlinked before.
pub(crate) fn ticket() -> Ticket {
    // AcqRel: an RMW rather than a load, so that the governor's later RMW in `advance`
    // synchronizes with it (module head).
    let ticket = NEXT.fetch_add(0, Ordering::AcqRel);
    // Relaxed: only says whether a ticket has to be closed, and `advance` is called again for as
    // long as something waits.
    TAKEN.fetch_max(ticket, Ordering::Relaxed);
    ticket
}

/// The last ticket whose batch may be freed.
pub(crate) fn completed() -> Ticket {
    // Acquire: pairs with the release in `advance`'s deferred function.
    COMPLETED.load(Ordering::Acquire)
}

/// For how long the oldest closed ticket has waited: some guard has been held that long, or
/// nobody has advanced since. Zero if nothing waits.
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

/// Closes the current ticket and lets the epoch move one step, unless another thread is at it.
///
/// A ticket is completed by the second call after it was taken, if no older guard is held then.
/// Never waits; O(threads).
pub(crate) fn advance() {
    let Some(mut governor) = sync::try_lock(&GOVERNOR) else {
        return;
    };
    let governor = governor.get_or_insert_with(Governor::new);
    if !governor.is_newest() {
        // The new one is pinned before the old one unpins: the epoch cannot move in between.
        let open = std::mem::take(&mut governor.open);
        *governor = Governor { open, ..Governor::new() };
    }
    governor.advance();
}

/// The locks of this module, for the time of a fork.
#[cfg(unix)]
pub(crate) struct Held {
    _numbers: MutexGuard<'static, Numbers>,
    _governor: MutexGuard<'static, Option<Governor>>,
}

/// Waits until nobody is at the process-wide state of this module, and keeps it so.
#[cfg(unix)]
pub(crate) fn hold() -> Held {
    Held { _numbers: sync::lock(&NUMBERS), _governor: sync::lock(&GOVERNOR) }
}

/// The participant that holds the epoch.
struct Governor {
    // Before `_handle`, so that it is dropped first.
    guard: epoch::Guard,
    _handle: LocalHandle,
    /// `REGISTERED` when it was the newest.
    registered: usize,
    /// Tickets closed but not known to be completed.
    open: VecDeque<(Ticket, Instant)>,
}

// SAFETY: a participant of crossbeam-epoch is not tied to a thread, only to being used by one at
// a time; handle and guard are used and dropped under the lock of `GOVERNOR` alone, together.
unsafe impl Send for Governor {}

impl Governor {
    fn new() -> Self {
        let (handle, registered) = register();
        Self { guard: handle.pin(), _handle: handle, registered, open: VecDeque::new() }
    }

    fn is_newest(&self) -> bool {
        self.registered == REGISTERED.load(Ordering::Relaxed)
    }

    fn advance(&mut self) {
        self.forget_completed();
        // Relaxed: see `ticket`.
        let is_wanted = TAKEN.load(Ordering::Relaxed) >= NEXT.load(Ordering::Relaxed);
        if is_wanted && self.open.len() < MAX_OPEN {
            // AcqRel: pairs with the RMW in `ticket`; see the module head.
            let closed = NEXT.fetch_add(1, Ordering::AcqRel);
            self.guard.defer(move || {
                // Release: pairs with the acquire in `completed`. A maximum, because two threads
                // may run the functions of two tickets at once; not `fetch_max`, which
                // ThreadSanitizer does not see.
                let raise = |last| (last < closed).then_some(closed);
                let _ = COMPLETED.fetch_update(Ordering::Release, Ordering::Relaxed, raise);
            });
            self.open.push_back((closed, Instant::now()));
        }
        self.guard.repin();
        self.guard.flush();
        self.forget_completed();
    }

    fn forget_completed(&mut self) {
        let completed = completed();
        while self.open.front().is_some_and(|(ticket, _)| *ticket <= completed) {
            self.open.pop_front();
        }
        let oldest = self.open.front().map_or(0, |(_, closed)| {
            u64::try_from(closed.duration_since(*start()).as_nanos()).unwrap_or(u64::MAX - 1) + 1
        });
        OLDEST_OPEN_NS.store(oldest, Ordering::Relaxed);
    }
}

/// Numbers for living threads, smallest free one first, so that they stay dense.
struct Numbers {
    free: BinaryHeap<Reverse<usize>>,
    next: usize,
}

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { free: BinaryHeap::new(), next: 0 });

/// A thread's number, given back when the thread ends. The lock of `NUMBERS` hands what the
/// thread counted under its number on to the number's next owner.
struct ThreadNumber(usize);

impl ThreadNumber {
    fn take() -> Self {
        let mut numbers = sync::lock(&NUMBERS);
        if let Some(Reverse(number)) = numbers.free.pop() {
            return Self(number);
        }
        numbers.next += 1;
        Self(numbers.next - 1)
    }
}

impl Drop for ThreadNumber {
    fn drop(&mut self) {
        sync::lock(&NUMBERS).free.push(Reverse(self.0));
    }
}
