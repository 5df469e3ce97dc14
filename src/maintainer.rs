//! The maintenance thread: one for the process, for all caches in background mode.
//!
//! It applies events and frees garbage where writers do not, and advances the epoch while garbage waits.
//! Its roster says which caches have something to do, so idle caches cost nothing, however many there
//! are. The first notification of a cache puts it on the roster, so a cache that was never used is not
//! there, and starts no thread. The state of a cache's [`Attendance`]:
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `AWAITED` | the thread visits the cache now, or will within a millisecond; also before the cache is registered, when nothing can be done for it | `register`; the thread, when a visit found nothing more to do; a thread that dies, or that cannot be started |
//! | `IDLE` | there is nothing to do until a caller notifies the thread, or the cache's next timer is due | `notify`, which puts the cache on the thread's list; the thread, when the timer is due |
//!
//! The thread sleeps when its list is empty. It checks the list and notes that it sleeps under the
//! roster's lock, and other threads put a cache on the list and wake it under the same lock.
//!
//! # Orderings
//! The state is `SeqCst`: the thread stores `IDLE` and then checks the cache's buffers once more; a
//! writer changes its buffer and then reads the state. As both are `SeqCst`, the thread sees the event
//! or the writer sees `IDLE`. What is left under a lock needs no such order (`is_left`). Model tests:
//! `loom-tests/tests/maintainer.rs`.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::base::lock::Lock;
use crate::base::panics::contain;
#[cfg(all(unix, not(larder_loom)))]
use crate::base::reentrancy::Patience;
use crate::base::reentrancy::{self, Scope};
#[cfg(all(unix, not(larder_loom)))]
use crate::base::sync::FORK_PATIENCE;
use crate::base::sync::thread::{self, Thread};
use crate::base::sync::{self, AtomicU8, AtomicU64, Mutex, Ordering, const_unless_loom};
use crate::memory;

/// A cache, or a periodic task, that the thread visits.
pub(crate) trait Maintained: Send + Sync {
    /// Makes one visit. True if there may be more to do soon.
    fn tick(&self) -> bool;
    /// Whether another visit is wanted.
    fn has_work(&self) -> bool;
    /// How long it is until another visit is wanted without a notification.
    fn next_timer(&self) -> Option<Duration>;
}

/// Whether there is work that a holder of `lock` leaves before it releases the lock, and of which it notifies
/// the thread afterwards, without a fence between the two.
///
/// If the holder came first, the lock hands its changes on to this call, or it still has the lock. If it came
/// later, the lock hands on to it that the cache is idle, which was declared before this call.
pub(crate) fn is_left<T>(lock: &Lock<T>, has_work: impl Fn() -> bool) -> bool {
    has_work() || lock.try_lock().is_none_or(|_held| has_work())
}

const AWAITED: u8 = 0;
const IDLE: u8 = 1;

/// The pause between two visits of a cache while there is something to do.
const PAUSE: Duration = Duration::from_millis(1);
/// The longest sleep before a timer whose clock need not run as fast as the system's.
pub(crate) const STRANGE_CLOCK_PAUSE: Duration = Duration::from_millis(50);

#[cfg(not(larder_loom))]
static MAINTAINER: Maintainer = Maintainer::new();

/// A cache's place on the roster of the maintenance thread. Dropping it takes the cache off the roster.
pub(crate) struct Attendance(Arc<WakeState>);

/// Whether a cache awaits the thread or is idle. The cache, the thread, and parts of the cache that wake
/// the thread by themselves share it.
pub(crate) struct WakeState {
    state: AtomicU8,
    registration: OnceLock<RosterKey>,
}

/// Which roster a cache is on, or will be once the thread is notified of it, and its number there.
struct RosterKey {
    maintainer: &'static Maintainer,
    cache: Weak<dyn Maintained>,
    /// 0 before the cache is on the roster. Written under the roster's lock.
    id: AtomicU64,
}

impl Attendance {
    pub(crate) fn new() -> Self {
        let (state, registration) = (AtomicU8::new(AWAITED), OnceLock::new());
        Self(Arc::new(WakeState { state, registration }))
    }

    /// The state, for a part of the cache that wakes the thread by itself.
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
        let Some(RosterKey { maintainer, id, .. }) = self.0.registration.get() else { return };
        // Relaxed: all notifications happen before the end of the cache.
        let id = id.load(Ordering::Relaxed);
        if id > 0 {
            maintainer.forget(id);
        }
    }
}

impl WakeState {
    /// As [`Attendance::notify`].
    #[inline]
    pub(crate) fn notify(self: &Arc<Self>) {
        // SeqCst: after the caller's change to its buffer (module head).
        if self.state.load(Ordering::SeqCst) == IDLE {
            self.wake();
        }
    }

    #[cold]
    fn wake(self: &Arc<Self>) {
        if let Some(key) = self.registration.get() {
            let mut roster = sync::lock(&key.maintainer.roster);
            let id = roster.enter(key, self);
            roster.note_awaited(id);
            roster.wake_thread(key.maintainer);
        }
    }

    /// Declares the cache idle after a visit, and checks once more for work that came before that and
    /// of which the thread was not notified. True if there is some and the thread must put the cache
    /// on its list; false also if another thread has put it there.
    fn declare_idle(&self, has_work: impl FnOnce() -> bool) -> bool {
        // SeqCst: before the check of the buffers (module head).
        self.state.store(IDLE, Ordering::SeqCst);
        sync::model_seq_cst();
        has_work() && self.state.swap(AWAITED, Ordering::SeqCst) == IDLE
    }
}

/// The thread and its roster. There is one for the process, and more in tests and models.
pub(crate) struct Maintainer {
    roster: Mutex<Roster>,
    #[cfg(all(test, not(larder_loom)))]
    refuses_threads: sync::AtomicBool,
}

struct Roster {
    members: BTreeMap<u64, RosterEntry>,
    last_id: u64,
    /// The caches to visit. Some may be gone.
    awaited: Vec<u64>,
    /// Which cache to visit without a notification, and when.
    timers: BTreeSet<(Instant, u64)>,
    thread: Option<Thread>,
    /// The thread waits to be woken.
    is_asleep: bool,
    /// The thread is visiting caches.
    #[cfg(all(unix, not(larder_loom)))]
    is_visiting: bool,
    /// How many threads are about to fork and keep it from visiting caches.
    #[cfg(all(unix, not(larder_loom)))]
    forks: usize,
}

struct RosterEntry {
    cache: Weak<dyn Maintained>,
    wake_state: Arc<WakeState>,
    timer: Option<Instant>,
}

/// Lets the thread be notified of a cache, whose first notification puts it on the roster.
#[cfg(not(larder_loom))]
pub(crate) fn register(cache: Weak<dyn Maintained>, attendance: &Attendance) {
    MAINTAINER.register(cache, attendance);
}

/// Makes the thread visit all caches once, because a clock that they share was moved.
#[cfg(not(larder_loom))]
pub(crate) fn notify_all() {
    let mut roster = sync::lock(&MAINTAINER.roster);
    roster.await_all();
    roster.wake_thread(&MAINTAINER);
}

/// Models of a cache have no maintenance thread. The model of the thread has a maintainer of its own.
#[cfg(larder_loom)]
pub(crate) fn register(_: Weak<dyn Maintained>, _: &Attendance) {}

#[cfg(larder_loom)]
pub(crate) fn notify_all() {}

/// Keeps the maintenance thread between two visits, for the time of a fork.
#[cfg(all(unix, not(larder_loom)))]
pub(crate) struct HeldVisits(());

/// Waits until the maintenance thread is between two visits, and keeps it there. `None` in the
/// maintenance thread itself, if a key or value forks as it is dropped. The visit may be running user
/// code, so a thread that must not wait for that ([`reentrancy`]) gives up after a second. Then the
/// child, which does not have the visiting thread, forgets the visit.
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
        // The count was reset in a forked child.
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
    /// Notes, in a forked child, that the maintenance thread and other forking threads are gone.
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
        let key = RosterKey { maintainer: self, cache, id: AtomicU64::new(0) };
        // Set once, here, before the cache can be found idle.
        let _ = attendance.0.registration.set(key);
        // SeqCst: as all accesses to the state. Nothing waits yet.
        attendance.0.state.store(IDLE, Ordering::SeqCst);
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
        // After the lock is released, because this may free the memory of the cache.
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

    /// Visits each of those caches once. Says whether some want another visit soon.
    fn visit(&'static self, ids: Vec<u64>) -> bool {
        let mut is_busy = false;
        #[cfg(all(unix, not(larder_loom)))]
        let visiting = Visiting::begin(self);
        let mut visited = Vec::new();
        for id in ids {
            let Some((cache, wake_state)) = sync::lock(&self.roster).member(id) else { continue };
            // Panics of user code are contained further down. If anything else panics, the other
            // caches still need their thread.
            let mut wants_more = contain(|| cache.tick()).unwrap_or(true);
            if !wants_more {
                wants_more = wake_state.declare_idle(|| cache.has_work());
            }
            let timer = cache.next_timer();
            // A timer beyond the clock's range is never due.
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

/// While this exists, the thread is visiting caches.
#[cfg(all(unix, not(larder_loom)))]
struct Visiting(&'static Maintainer);

#[cfg(all(unix, not(larder_loom)))]
impl Visiting {
    /// Waits until no thread is about to fork, and begins the visits.
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

/// The next step of the thread.
enum Next {
    Visits(Vec<u64>),
    /// Until another thread wakes it, or that time has come.
    Sleep(Option<Instant>),
    End,
}

impl Roster {
    /// Puts a cache on the roster, unless it is there; returns its number.
    fn enter(&mut self, key: &RosterKey, wake_state: &Arc<WakeState>) -> u64 {
        // Relaxed: under the lock.
        let id = key.id.load(Ordering::Relaxed);
        if id > 0 {
            return id;
        }
        self.last_id += 1;
        let (cache, wake_state) = (Weak::clone(&key.cache), Arc::clone(wake_state));
        self.members.insert(self.last_id, RosterEntry { cache, wake_state, timer: None });
        key.id.store(self.last_id, Ordering::Relaxed);
        self.last_id
    }

    fn member(&self, id: u64) -> Option<(Arc<dyn Maintained>, Arc<WakeState>)> {
        let member = self.members.get(&id)?;
        Some((member.cache.upgrade()?, Arc::clone(&member.wake_state)))
    }

    fn next(&mut self) -> Next {
        if self.members.is_empty() {
            // Under the lock, so that a cache that is registered later starts another thread.
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

    /// Puts the caches on the list whose timers are due.
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

    /// Puts a cache on the list, unless it is there already.
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

    /// Makes sure that the thread is awake, and starts it if there is none, unless the roster is empty.
    /// If the system starts no thread, writers still do all the work that bounds depend on.
    fn wake_thread(&mut self, maintainer: &'static Maintainer) {
        if let Some(thread) = &self.thread {
            if std::mem::take(&mut self.is_asleep) {
                thread.unpark();
            }
        } else if !self.members.is_empty() {
            // An earlier thread may have left work when it died, or at a fork in the parent.
            self.await_all();
            match maintainer.spawn() {
                Ok(thread) => self.thread = Some(thread),
                Err(_) => self.forget_thread(),
            }
        }
    }

    /// Notes that there is no thread. The next notification of any cache starts one.
    fn forget_thread(&mut self) {
        self.thread = None;
        self.is_asleep = false;
        self.awaited.clear();
        for member in self.members.values() {
            member.wake_state.state.store(IDLE, Ordering::SeqCst);
        }
    }
}

/// If the thread dies by a panic, lets the next notification start another. Until then writers do the
/// work that bounds depend on.
struct Recovery(&'static Maintainer);

impl Drop for Recovery {
    fn drop(&mut self) {
        if std::thread::panicking() {
            sync::lock(&self.0.roster).forget_thread();
        }
    }
}

/// Drops the thread's references. If one is the last, that drops the user's hasher, weigher and policy.
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

    /// Has some work to do, reports each visit, and obeys commands.
    struct Probe {
        attendance: Attendance,
        work: AtomicUsize,
        visits: Mutex<Sender<()>>,
        commands: Mutex<Receiver<Command>>,
    }

    #[derive(PartialEq)]
    enum Command {
        GoOn,
        Die,
    }

    impl Probe {
        fn new() -> (Arc<Self>, Receiver<()>, Sender<Command>) {
            let (visits, visited) = channel();
            let (command, commands) = channel();
            let probe = Self {
                attendance: Attendance::new(),
                work: AtomicUsize::new(0),
                visits: Mutex::new(visits),
                commands: Mutex::new(commands),
            };
            (Arc::new(probe), visited, command)
        }

        fn register(self: &Arc<Self>, maintainer: &'static Maintainer) {
            let weak: Weak<Self> = Arc::downgrade(self);
            maintainer.register(weak, &self.attendance);
            self.attendance.notify();
        }
    }

    impl Maintained for Probe {
        fn tick(&self) -> bool {
            self.work.store(0, Ordering::SeqCst);
            // Fails at a test's end, when the receiver is gone.
            let _ = sync::lock(&self.visits).send(());
            let command = sync::lock(&self.commands).recv();
            // The thread dies in `has_work`, where no panic is contained.
            if command == Ok(Command::Die) {
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

    /// A maintainer for one test. It is leaked, because its thread may outlive the test, and referenced
    /// from a static, so that the leak checker does not report it.
    fn maintainer() -> &'static Maintainer {
        static LEAKED: Mutex<Vec<&'static Maintainer>> = Mutex::new(Vec::new());
        let maintainer: &_ = Box::leak(Box::new(Maintainer::new()));
        sync::lock(&LEAKED).push(maintainer);
        maintainer
    }

    /// Waits until the maintainer has no thread.
    fn await_end(maintainer: &Maintainer) {
        while sync::lock(&maintainer.roster).thread.is_some() {
            thread::yield_now();
        }
    }

    #[test]
    fn a_cache_that_is_registered_during_a_visit_is_visited() {
        let maintainer = maintainer();
        let (first, first_visited, first_command) = Probe::new();
        first.register(maintainer);
        first_visited.recv().unwrap();
        // The thread is within its visit of the first cache, so it is awake and neither call wakes it.
        let (second, second_visited, second_command) = Probe::new();
        second.register(maintainer);
        second.work.store(1, Ordering::SeqCst);
        second.attendance.notify();
        drop(second_command); // without a command, a visit returns at once
        first_command.send(Command::GoOn).unwrap();
        drop(first_command);
        second_visited
            .recv_timeout(Duration::from_secs(60))
            .expect("the thread never visits the second cache");
        drop((first, second));
        await_end(maintainer);
    }

    #[test]
    fn a_cache_that_is_never_notified_of_is_on_no_roster_and_starts_no_thread() {
        let maintainer = maintainer();
        let (probe, visited, command) = Probe::new();
        let weak: Weak<Probe> = Arc::downgrade(&probe);
        maintainer.register(weak, &probe.attendance);
        {
            let roster = sync::lock(&maintainer.roster);
            assert!(roster.members.is_empty() && roster.thread.is_none());
        }
        drop(command);
        probe.attendance.notify();
        visited.recv().expect("the first notification starts the thread");
        drop(probe);
        await_end(maintainer);
        assert!(sync::lock(&maintainer.roster).members.is_empty());
    }

    #[test]
    fn a_thread_that_died_is_started_anew_by_the_next_notification() {
        let maintainer = maintainer();
        let (probe, visited, command) = Probe::new();
        probe.register(maintainer);
        visited.recv().unwrap();
        command.send(Command::Die).unwrap();
        await_end(maintainer);
        probe.work.store(1, Ordering::SeqCst);
        probe.attendance.notify();
        visited.recv().expect("no other thread was started");
        drop(command);
        drop(probe);
        await_end(maintainer);
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_tried_again() {
        let maintainer = maintainer();
        let (probe, visited, command) = Probe::new();
        drop(command);
        maintainer.refuses_threads.store(true, Ordering::SeqCst);
        probe.register(maintainer);
        probe.attendance.notify();
        assert!(sync::lock(&maintainer.roster).thread.is_none());
        maintainer.refuses_threads.store(false, Ordering::SeqCst);
        probe.attendance.notify();
        visited.recv().expect("no thread was started");
        drop(probe);
        await_end(maintainer);
    }

    #[test]
    fn idle_caches_are_not_visited() {
        let maintainer = maintainer();
        let (busy, busy_visited, busy_command) = Probe::new();
        let (idle, idle_visited, idle_command) = Probe::new();
        drop((busy_command, idle_command)); // without commands, visits return at once
        busy.register(maintainer);
        idle.register(maintainer);
        busy_visited.recv().unwrap();
        idle_visited.recv().unwrap();
        for _ in 0..20 {
            busy.work.store(1, Ordering::SeqCst);
            busy.attendance.notify();
            busy_visited.recv().unwrap();
        }
        assert!(idle_visited.try_recv().is_err());
        drop((busy, idle));
        await_end(maintainer);
    }
}
