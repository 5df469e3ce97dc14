//! The maintenance thread: one for the process, for all caches in background mode.
//!
//! It applies events and frees garbage that no writer comes by to deal with, and lets the epoch
//! move while garbage waits. It knows which caches have something to do: an idle cache costs nothing,
//! however many there are. The state of a cache's [`Attendance`]:
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `AWAITED` | the thread visits the cache now, or will within a millisecond; also before the cache is registered, when no thread will come | the thread, when it found nothing more to do; a thread that dies, or that cannot be started |
//! | `IDLE` | nothing is to be done until a caller says so, or the cache's next timer is due | `notify`, which puts the cache on the thread's list; the thread, when the timer is due |
//!
//! The thread sleeps when its list is empty. Under the roster's lock it sees that and says that it is
//! asleep, and under the same lock others put a cache on the list and wake it.
//!
//! # Orderings
//! The state is `SeqCst`: the thread stores `IDLE` and then looks once more at the cache's buffers; a
//! writer changes its buffer's state and then looks at the cache's. With both `SeqCst`, the thread
//! sees the event or the writer sees `IDLE`. Model tests: `loom-tests/tests/maintainer.rs`.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::base::panics::contain;
#[cfg(all(unix, not(larder_loom)))]
use crate::base::reentrancy::Patience;
use crate::base::reentrancy::{self, Scope};
#[cfg(all(unix, not(larder_loom)))]
use crate::base::sync::FORK_PATIENCE;
use crate::base::sync::thread::{self, Thread};
use crate::base::sync::{self, AtomicU8, Mutex, Ordering, const_unless_loom};
use crate::memory;

/// What the thread visits.
pub(crate) trait Maintained: Send + Sync {
    /// One visit; true if there may be more to do soon.
    fn tick(&self) -> bool;
    /// Whether another visit is wanted.
    fn has_work(&self) -> bool;
    /// How long it is until another visit is wanted without being asked for.
    fn next_timer(&self) -> Option<Duration>;
}

const AWAITED: u8 = 0;
const IDLE: u8 = 1;

/// Between two visits of a cache while there is something to do.
const PAUSE: Duration = Duration::from_millis(1);

#[cfg(not(larder_loom))]
static MAINTAINER: Maintainer = Maintainer::new();

/// How a cache stands with the maintenance thread. Dropping it takes the cache off the roster.
pub(crate) struct Attendance(Arc<WakeState>);

/// What the thread, and parts of the cache that have something to do for themselves, know of that.
pub(crate) struct WakeState {
    state: AtomicU8,
    registration: OnceLock<RosterKey>,
}

/// On which roster, and under which number.
struct RosterKey {
    maintainer: &'static Maintainer,
    id: u64,
}

impl Attendance {
    pub(crate) fn new() -> Self {
        let (state, registration) = (AtomicU8::new(AWAITED), OnceLock::new());
        Self(Arc::new(WakeState { state, registration }))
    }

    /// For a part of the cache.
    pub(crate) fn wake_state(&self) -> Arc<WakeState> {
        Arc::clone(&self.0)
    }

    /// Notifies the thread that there is something to do; does nothing for a cache that it does not
    /// visit.
    #[inline]
    pub(crate) fn notify(&self) {
        self.0.notify();
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        if let Some(RosterKey { maintainer, id }) = self.0.registration.get() {
            maintainer.forget(*id);
        }
    }
}

impl WakeState {
    /// As [`Attendance::notify`].
    #[inline]
    pub(crate) fn notify(&self) {
        // SeqCst: after the caller's change to its buffer (module head).
        if self.state.load(Ordering::SeqCst) == IDLE {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if let Some(RosterKey { maintainer, id }) = self.registration.get() {
            let mut roster = sync::lock(&maintainer.roster);
            roster.note_awaited(*id);
            roster.wake_thread(maintainer);
        }
    }

    /// The cache was visited, and is idle unless there is something to do all the same, which
    /// came before that was said and of which the thread was not notified. True if the thread is to
    /// put it on its list; false also if another thread has done that.
    fn is_awaited_again(&self, has_work: impl FnOnce() -> bool) -> bool {
        // SeqCst: before the look at the buffers (module head).
        self.state.store(IDLE, Ordering::SeqCst);
        sync::model_seq_cst();
        has_work() && self.state.swap(AWAITED, Ordering::SeqCst) == IDLE
    }
}

/// The thread's list and its timers. One for the process, and more for tests and models.
pub(crate) struct Maintainer {
    roster: Mutex<Roster>,
    #[cfg(all(test, not(larder_loom)))]
    refuses_threads: sync::AtomicBool,
}

struct Roster {
    members: BTreeMap<u64, RosterEntry>,
    last_id: u64,
    /// Those to visit, of which some may have gone.
    awaited: Vec<u64>,
    /// When which is to be visited without being asked for.
    timers: BTreeSet<(Instant, u64)>,
    thread: Option<Thread>,
    /// The thread waits to be woken.
    is_asleep: bool,
    /// The thread is visiting caches.
    #[cfg(all(unix, not(larder_loom)))]
    is_visiting: bool,
    /// Threads that are about to fork and keep it from doing so.
    #[cfg(all(unix, not(larder_loom)))]
    forks: usize,
}

struct RosterEntry {
    cache: Weak<dyn Maintained>,
    wake_state: Arc<WakeState>,
    timer: Option<Instant>,
}

/// Puts a cache under the thread's care, and starts the thread if there is none.
#[cfg(not(larder_loom))]
pub(crate) fn register(cache: Weak<dyn Maintained>, attendance: &Attendance) {
    MAINTAINER.register(cache, attendance);
}

/// Lets the thread visit all caches once: a clock that they share was moved.
#[cfg(not(larder_loom))]
pub(crate) fn notify_all() {
    let mut roster = sync::lock(&MAINTAINER.roster);
    roster.await_all();
    roster.wake_thread(&MAINTAINER);
}

/// Models of a cache have no thread that comes by itself; that of the thread has its own.
#[cfg(larder_loom)]
pub(crate) fn register(_: Weak<dyn Maintained>, _: &Attendance) {}

#[cfg(larder_loom)]
pub(crate) fn notify_all() {}

/// Keeps the thread between two visits, for the time of a fork.
#[cfg(all(unix, not(larder_loom)))]
pub(crate) struct HeldVisits(());

/// Waits until the thread is between two visits, and keeps it there. `None` in the maintenance thread
/// itself, where a key or value forks as it is dropped. A thread that must not wait for user code, which
/// the visit may be running, gives up after a second: then the child has no visit that could end, and
/// forgets it.
#[cfg(all(unix, not(larder_loom)))]
pub(crate) fn hold_visits() -> Option<HeldVisits> {
    if reentrancy::is_inside_any(Scope::Maintainer) {
        return None;
    }
    sync::lock(&MAINTAINER.roster).forks += 1;
    let held = HeldVisits(());
    let patience = Patience::new(FORK_PATIENCE);
    while sync::lock(&MAINTAINER.roster).is_visiting && patience.lasts() {
        sync::nap();
    }
    Some(held)
}

#[cfg(all(unix, not(larder_loom)))]
impl Drop for HeldVisits {
    fn drop(&mut self) {
        let mut roster = sync::lock(&MAINTAINER.roster);
        // None any more in a forked child.
        roster.forks = roster.forks.saturating_sub(1);
    }
}

/// The roster's lock, for the time of a fork.
#[cfg(all(unix, not(larder_loom)))]
pub(crate) struct HeldRoster(sync::MutexGuard<'static, Roster>);

#[cfg(all(unix, not(larder_loom)))]
pub(crate) fn hold_roster() -> HeldRoster {
    HeldRoster(sync::lock(&MAINTAINER.roster))
}

#[cfg(all(unix, not(larder_loom)))]
impl HeldRoster {
    /// In a forked child: the thread is gone, whatever was noted of it, and so are others that fork.
    pub(crate) fn forget_thread(&mut self) {
        self.0.forget_thread();
        self.0.is_visiting = false;
        self.0.forks = 0;
    }
}

impl Maintainer {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                roster: Mutex::new(Roster {
                    members: BTreeMap::new(),
                    last_id: 0,
                    awaited: Vec::new(),
                    timers: BTreeSet::new(),
                    thread: None,
                    is_asleep: false,
                    #[cfg(all(unix, not(larder_loom)))]
                    is_visiting: false,
                    #[cfg(all(unix, not(larder_loom)))]
                    forks: 0,
                }),
                #[cfg(all(test, not(larder_loom)))]
                refuses_threads: sync::AtomicBool::new(false),
            }
        }
    }

    pub(crate) fn register(&'static self, cache: Weak<dyn Maintained>, attendance: &Attendance) {
        let mut roster = sync::lock(&self.roster);
        roster.last_id += 1;
        let id = roster.last_id;
        roster
            .members
            .insert(id, RosterEntry { cache, wake_state: attendance.wake_state(), timer: None });
        // Set once, here, before the cache can be found idle.
        let _ = attendance.0.registration.set(RosterKey { maintainer: self, id });
        roster.awaited.push(id);
        roster.wake_thread(self);
    }

    fn forget(&'static self, id: u64) {
        let gone = {
            let mut roster = sync::lock(&self.roster);
            let gone = roster.members.remove(&id);
            if let Some(RosterEntry { timer: Some(timer), .. }) = &gone {
                roster.timers.remove(&(*timer, id));
            }
            if roster.members.is_empty() {
                roster.wake_thread(self);
            }
            gone
        };
        // Not under the lock, though it is only the memory of the cache that may be freed.
        drop(gone);
    }

    fn spawn(&'static self) -> io::Result<Thread> {
        #[cfg(all(test, not(larder_loom)))]
        if self.refuses_threads.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let builder = thread::Builder::new().name("larder".to_owned());
        builder.spawn(|| self.run()).map(|handle| handle.thread().clone())
    }

    fn run(&'static self) {
        let _recovery = Recovery(self);
        let _inside = reentrancy::enter(Scope::Maintainer, self);
        loop {
            let next = sync::lock(&self.roster).next();
            match next {
                Next::Visits(ids) => {
                    let is_busy = self.visit(ids);
                    if is_busy {
                        sync::park_timeout(PAUSE);
                    }
                }
                Next::Sleep(wake_at) => {
                    memory::trim();
                    self.sleep(wake_at);
                }
                Next::End => return,
            }
        }
    }

    /// Looks after those caches once; says whether some want to be looked after again soon.
    fn visit(&'static self, ids: Vec<u64>) -> bool {
        let mut is_busy = false;
        #[cfg(all(unix, not(larder_loom)))]
        let visiting = Visiting::begin(self);
        let mut visited = Vec::new();
        for id in ids {
            let Some((cache, wake_state)) = sync::lock(&self.roster).member(id) else { continue };
            // User code is contained further down; should anything else panic, the other
            // caches still want their thread.
            let mut wants_more = contain(|| cache.tick()).unwrap_or(true);
            if !wants_more {
                wants_more = wake_state.is_awaited_again(|| cache.has_work());
            }
            let timer = cache.next_timer();
            // Beyond what the clock can tell: not in this thread's life.
            let timer = timer.and_then(|timer| Instant::now().checked_add(timer));
            let mut roster = sync::lock(&self.roster);
            roster.set_timer(id, timer);
            if wants_more {
                roster.awaited.push(id);
                is_busy = true;
            }
            drop(roster);
            visited.push(cache);
        }
        #[cfg(all(unix, not(larder_loom)))]
        drop(visiting);
        release(visited);
        is_busy
    }

    fn sleep(&'static self, wake_at: Option<Instant>) {
        loop {
            match wake_at.map(|at| at.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => {
                    sync::lock(&self.roster).is_asleep = false;
                    return;
                }
                Some(left) => sync::park_timeout(left),
            }
            if !sync::lock(&self.roster).is_asleep {
                return;
            }
        }
    }
}

/// The thread is visiting caches, until this is dropped.
#[cfg(all(unix, not(larder_loom)))]
struct Visiting(&'static Maintainer);

#[cfg(all(unix, not(larder_loom)))]
impl Visiting {
    /// Waits until no thread is about to fork.
    fn begin(maintainer: &'static Maintainer) -> Self {
        loop {
            let mut roster = sync::lock(&maintainer.roster);
            if roster.forks == 0 {
                roster.is_visiting = true;
                return Self(maintainer);
            }
            drop(roster);
            sync::nap();
        }
    }
}

#[cfg(all(unix, not(larder_loom)))]
impl Drop for Visiting {
    fn drop(&mut self) {
        sync::lock(&self.0.roster).is_visiting = false;
    }
}

/// What the thread does next.
enum Next {
    Visits(Vec<u64>),
    /// Until it is woken, or that time has come.
    Sleep(Option<Instant>),
    End,
}

impl Roster {
    fn member(&self, id: u64) -> Option<(Arc<dyn Maintained>, Arc<WakeState>)> {
        let member = self.members.get(&id)?;
        Some((member.cache.upgrade()?, Arc::clone(&member.wake_state)))
    }

    fn next(&mut self) -> Next {
        if self.members.is_empty() {
            // Under the lock, so that a cache registered from now on starts another thread.
            self.forget_thread();
            return Next::End;
        }
        if !self.timers.is_empty() {
            self.await_due();
        }
        if self.awaited.is_empty() {
            self.is_asleep = true;
            return Next::Sleep(self.timers.first().map(|(timer, _)| *timer));
        }
        Next::Visits(std::mem::take(&mut self.awaited))
    }

    /// Puts those on the list whose timers are due.
    fn await_due(&mut self) {
        let now = Instant::now();
        while let Some((timer, id)) = self.timers.first().copied()
            && timer <= now
        {
            self.set_timer(id, None);
            self.note_awaited(id);
        }
    }

    fn set_timer(&mut self, id: u64, timer: Option<Instant>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let before = std::mem::replace(&mut member.timer, timer);
        if before == timer {
            return;
        }
        if let Some(before) = before {
            self.timers.remove(&(before, id));
        }
        if let Some(timer) = timer {
            self.timers.insert((timer, id));
        }
    }

    /// Puts a cache on the list, unless it is there or another thread has just done so.
    fn note_awaited(&mut self, id: u64) {
        if let Some(member) = self.members.get(&id)
            && member.wake_state.state.swap(AWAITED, Ordering::SeqCst) == IDLE
        {
            self.awaited.push(id);
        }
    }

    fn await_all(&mut self) {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        ids.into_iter().for_each(|id| self.note_awaited(id));
    }

    /// Makes sure that a thread is awake, unless there is no cache for it. Without one (the
    /// system has no more threads) writers still do all the work that bounds depend on.
    fn wake_thread(&mut self, maintainer: &'static Maintainer) {
        if let Some(thread) = &self.thread {
            if std::mem::take(&mut self.is_asleep) {
                thread.unpark();
            }
        } else if !self.members.is_empty() {
            // What another thread has left that died, or was not in a forked child.
            self.await_all();
            match maintainer.spawn() {
                Ok(thread) => self.thread = Some(thread),
                Err(_) => self.forget_thread(),
            }
        }
    }

    /// There is no thread: the next notification of any cache starts one.
    fn forget_thread(&mut self) {
        self.thread = None;
        self.is_asleep = false;
        self.awaited.clear();
        for member in self.members.values() {
            member.wake_state.state.store(IDLE, Ordering::SeqCst);
        }
    }
}

/// Should the thread die all the same, the next notification starts another; until then writers do
/// what bounds depend on.
struct Recovery(&'static Maintainer);

impl Drop for Recovery {
    fn drop(&mut self) {
        if std::thread::panicking() {
            sync::lock(&self.0.roster).forget_thread();
        }
    }
}

/// Lets go of the caches. The thread may be the last to hold one, and then drops the user's
/// hasher, weigher and policy.
fn release(caches: Vec<Arc<dyn Maintained>>) {
    for cache in caches {
        contain(|| drop(cache));
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::base::sync::AtomicUsize;

    /// Has so much to do; reports each visit, and obeys commands.
    struct Probe {
        attendance: Attendance,
        work: AtomicUsize,
        looks: Mutex<Sender<()>>,
        orders: Mutex<Receiver<Command>>,
    }

    #[derive(PartialEq)]
    enum Command {
        GoOn,
        Die,
    }

    impl Probe {
        fn new() -> (Arc<Self>, Receiver<()>, Sender<Command>) {
            let (looks, looked) = channel();
            let (order, orders) = channel();
            let probe = Self {
                attendance: Attendance::new(),
                work: AtomicUsize::new(0),
                looks: Mutex::new(looks),
                orders: Mutex::new(orders),
            };
            (Arc::new(probe), looked, order)
        }

        fn register(self: &Arc<Self>, maintainer: &'static Maintainer) {
            let weak: Weak<Self> = Arc::downgrade(self);
            maintainer.register(weak, &self.attendance);
        }
    }

    impl Maintained for Probe {
        fn tick(&self) -> bool {
            self.work.store(0, Ordering::SeqCst);
            // The receiver has gone at a test's end; then there is nothing more to tell.
            let _ = sync::lock(&self.looks).send(());
            let order = sync::lock(&self.orders).recv();
            // Dies in `has_work`, where nothing contains it.
            if order == Ok(Command::Die) {
                self.work.store(usize::MAX, Ordering::SeqCst);
            }
            false
        }

        fn has_work(&self) -> bool {
            let work = self.work.load(Ordering::SeqCst);
            assert_ne!(work, usize::MAX, "the thread dies on request");
            work > 0
        }

        fn next_timer(&self) -> Option<Duration> {
            None
        }
    }

    /// One of a test's own. Kept where the leak checker finds it: its thread may outlive the test.
    fn maintainer() -> &'static Maintainer {
        static KEPT: Mutex<Vec<&'static Maintainer>> = Mutex::new(Vec::new());
        let maintainer: &_ = Box::leak(Box::new(Maintainer::new()));
        sync::lock(&KEPT).push(maintainer);
        maintainer
    }

    /// Waits until there is no thread.
    fn await_end(maintainer: &Maintainer) {
        while sync::lock(&maintainer.roster).thread.is_some() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_cache_that_comes_during_a_look_is_not_slept_over() {
        let maintainer = maintainer();
        let (first, first_looked, first_order) = Probe::new();
        first.register(maintainer);
        first_looked.recv().unwrap();
        // The thread is within its visit of the first cache, and so awake: neither call wakes it.
        let (second, second_looked, second_order) = Probe::new();
        second.register(maintainer);
        second.work.store(1, Ordering::SeqCst);
        second.attendance.notify();
        drop(second_order); // it gets no command, and goes on
        first_order.send(Command::GoOn).unwrap();
        drop(first_order);
        second_looked
            .recv_timeout(Duration::from_secs(60))
            .expect("the thread never looks at the second cache");
        drop((first, second));
        await_end(maintainer);
    }

    #[test]
    fn a_thread_that_died_is_started_anew_by_the_next_notification() {
        let maintainer = maintainer();
        let (probe, looked, order) = Probe::new();
        probe.register(maintainer);
        looked.recv().unwrap();
        order.send(Command::Die).unwrap();
        await_end(maintainer);
        probe.work.store(1, Ordering::SeqCst);
        probe.attendance.notify();
        looked.recv().expect("no other thread was started");
        drop(order);
        drop(probe);
        await_end(maintainer);
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_tried_again() {
        let maintainer = maintainer();
        let (probe, looked, order) = Probe::new();
        drop(order);
        maintainer.refuses_threads.store(true, Ordering::SeqCst);
        probe.register(maintainer);
        probe.attendance.notify();
        assert!(sync::lock(&maintainer.roster).thread.is_none());
        maintainer.refuses_threads.store(false, Ordering::SeqCst);
        probe.attendance.notify();
        looked.recv().expect("no thread was started");
        drop(probe);
        await_end(maintainer);
    }

    #[test]
    fn idle_caches_are_not_visited() {
        let maintainer = maintainer();
        let (busy, busy_looked, busy_order) = Probe::new();
        let (idle, idle_looked, idle_order) = Probe::new();
        drop((busy_order, idle_order)); // they get no command, and go on
        busy.register(maintainer);
        idle.register(maintainer);
        busy_looked.recv().unwrap();
        idle_looked.recv().unwrap();
        for _ in 0..20 {
            busy.work.store(1, Ordering::SeqCst);
            busy.attendance.notify();
            busy_looked.recv().unwrap();
        }
        assert!(idle_looked.try_recv().is_err());
        drop((busy, idle));
        await_end(maintainer);
    }
}
