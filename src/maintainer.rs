//! The maintenance thread: one for the process, for all caches in background mode.
//!
//! It looks after events and garbage that no writer comes by to deal with, and lets the epoch
//! move while garbage waits. States of `STATE`:
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | `ABSENT` | no thread | `register`, which starts one |
//! | `AWAKE` | it is looking, or will within a millisecond | the thread, when it found nothing to do |
//! | `ASLEEP` | parked until it is notified, or the next timer of a cache is due | `notify`, which unparks it; the thread itself |
//!
//! # Orderings
//! `STATE` is `SeqCst`: the thread announces `ASLEEP` and then looks once more at every buffer's
//! state; a writer changes its buffer's state and then looks at `STATE`. With both `SeqCst`, the
//! thread sees the event or the writer sees it asleep. Model tests:
//! `loom-tests/tests/maintainer.rs`.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::contain::contain;
use crate::reclaim;
use crate::sync::thread::{self, Thread};
use crate::sync::{self, AtomicU8, Mutex, Ordering, const_unless_loom};

/// What the thread looks after.
pub(crate) trait Maintained: Send + Sync {
    /// One look; true if there may be more to do soon, and if the cache is closed: then it is
    /// soon to be forgotten, perhaps as the last one.
    fn tick(&self) -> bool;
    /// Whether another look is wanted.
    fn has_work(&self) -> bool;
    /// How long it is until another look is wanted though nobody asks for it.
    fn next_timer(&self) -> Option<Duration>;
}

const ABSENT: u8 = 0;
const AWAKE: u8 = 1;
const ASLEEP: u8 = 2;

/// Between two looks while there is something to do.
const PAUSE: Duration = Duration::from_millis(1);

#[cfg(not(larder_loom))]
static MAINTAINER: Maintainer = Maintainer::new();

thread_local! {
    static IS_MAINTAINER: Cell<bool> = const { Cell::new(false) };
}

/// The thread's state and whom it looks after. One for the process, but for tests and models.
pub(crate) struct Maintainer {
    /// `STATE` of the module head.
    state: AtomicU8,
    roster: Mutex<Roster>,
    /// Held by the thread while it looks after caches.
    looking: Mutex<()>,
    #[cfg(all(test, not(larder_loom)))]
    refuses_threads: sync::AtomicBool,
}

struct Roster {
    caches: Vec<Weak<dyn Maintained>>,
    thread: Option<Thread>,
}

/// Puts a cache under the thread's care, and starts the thread if there is none.
#[cfg(not(larder_loom))]
pub(crate) fn register(cache: Weak<dyn Maintained>) {
    MAINTAINER.register(cache);
}

/// Tells the thread that a cache has something to do, or is gone.
#[cfg(not(larder_loom))]
#[inline]
pub(crate) fn notify() {
    MAINTAINER.notify();
}

/// Models of a cache have no thread that comes by itself; that of the thread has its own.
#[cfg(larder_loom)]
pub(crate) fn register(_: Weak<dyn Maintained>) {}

#[cfg(larder_loom)]
pub(crate) fn notify() {}

/// The locks that keep the thread out of every cache, for the time of a fork.
#[cfg(all(unix, not(larder_loom)))]
pub(crate) struct Held {
    roster: sync::MutexGuard<'static, Roster>,
    /// `None` in the maintenance thread itself: a key or value forks as it is dropped.
    _looking: Option<sync::MutexGuard<'static, ()>>,
}

/// Waits until the thread is between two looks, and keeps it there.
#[cfg(all(unix, not(larder_loom)))]
pub(crate) fn hold() -> Held {
    let is_own = IS_MAINTAINER.try_with(Cell::get).unwrap_or(false);
    let looking = (!is_own).then(|| sync::lock(&MAINTAINER.looking));
    Held { roster: sync::lock(&MAINTAINER.roster), _looking: looking }
}

#[cfg(all(unix, not(larder_loom)))]
impl Held {
    /// In a forked child: the thread is gone, whatever was noted of it.
    pub(crate) fn forget_thread(&mut self) {
        self.roster.thread = None;
        MAINTAINER.state.store(ABSENT, Ordering::SeqCst);
    }
}

impl Maintainer {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                state: AtomicU8::new(ABSENT),
                roster: Mutex::new(Roster { caches: Vec::new(), thread: None }),
                looking: Mutex::new(()),
                #[cfg(all(test, not(larder_loom)))]
                refuses_threads: sync::AtomicBool::new(false),
            }
        }
    }

    pub(crate) fn register(&'static self, cache: Weak<dyn Maintained>) {
        let mut roster = sync::lock(&self.roster);
        roster.caches.push(cache);
        self.wake(&mut roster);
    }

    #[inline]
    pub(crate) fn notify(&'static self) {
        // SeqCst: after the caller's change to its buffer (module head).
        if self.state.load(Ordering::SeqCst) != AWAKE {
            self.wake_up();
        }
    }

    #[cold]
    fn wake_up(&'static self) {
        self.wake(&mut sync::lock(&self.roster));
    }

    /// Makes sure that a thread is awake, unless there is no cache for it. Without one (the
    /// system has no more threads) writers still do all the work that bounds depend on.
    fn wake(&'static self, roster: &mut Roster) {
        if let Some(thread) = &roster.thread {
            self.state.store(AWAKE, Ordering::SeqCst);
            thread.unpark();
        } else if !roster.caches.is_empty() {
            self.state.store(AWAKE, Ordering::SeqCst);
            match self.spawn() {
                Ok(thread) => roster.thread = Some(thread),
                Err(_) => self.state.store(ABSENT, Ordering::SeqCst),
            }
        }
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
        IS_MAINTAINER.set(true);
        loop {
            let caches = {
                let mut roster = sync::lock(&self.roster);
                let caches = roster.caches();
                if roster.caches.is_empty() {
                    roster.thread = None;
                    // Under the lock, so that a cache registered from now on starts another thread.
                    self.state.store(ABSENT, Ordering::SeqCst);
                    return;
                }
                caches
            };
            let mut is_busy = false;
            let looking = sync::lock(&self.looking);
            for cache in &caches {
                // User code is contained further down; should anything else panic, the other
                // caches still want their thread.
                is_busy |= contain(|| cache.tick()).unwrap_or(true);
            }
            drop(looking);
            release(caches);
            if is_busy {
                sync::park_timeout(PAUSE);
                continue;
            }
            reclaim::trim();
            self.sleep();
        }
    }

    fn sleep(&self) {
        self.state.store(ASLEEP, Ordering::SeqCst);
        sync::model_seq_cst();
        // Once more, for what came before the announcement and was not notified. And at all caches
        // that there are by now: one that came during the look just made has found the thread
        // awake, so nobody has notified it of what that cache has to do.
        let caches = sync::lock(&self.roster).caches();
        let has_work = caches.is_empty() || caches.iter().any(|cache| cache.has_work());
        let timer = caches.iter().filter_map(|cache| cache.next_timer()).min();
        release(caches);
        // Beyond what the clock can tell: not in this thread's life.
        let wake_at = timer.and_then(|timer| Instant::now().checked_add(timer));
        while !has_work && self.state.load(Ordering::SeqCst) == ASLEEP {
            match wake_at.map(|at| at.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => break,
                Some(left) => sync::park_timeout(left),
            }
        }
        self.state.store(AWAKE, Ordering::SeqCst);
    }
}

impl Roster {
    /// The living caches; forgets the others.
    fn caches(&mut self) -> Vec<Arc<dyn Maintained>> {
        self.caches.retain(|cache| cache.strong_count() > 0);
        self.caches.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Should the thread die all the same, the next notification starts another; until then writers do
/// what bounds depend on.
struct Recovery(&'static Maintainer);

impl Drop for Recovery {
    fn drop(&mut self) {
        if std::thread::panicking() {
            sync::lock(&self.0.roster).thread = None;
            self.0.state.store(ABSENT, Ordering::SeqCst);
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
    use crate::sync::AtomicUsize;

    /// Has so much to do; tells of each look, and does as it is told.
    struct Probe {
        work: AtomicUsize,
        looks: Mutex<Sender<()>>,
        orders: Mutex<Receiver<Order>>,
    }

    #[derive(PartialEq)]
    enum Order {
        GoOn,
        Die,
    }

    impl Probe {
        fn new() -> (Arc<Self>, Receiver<()>, Sender<Order>) {
            let (looks, looked) = channel();
            let (order, orders) = channel();
            let probe = Self {
                work: AtomicUsize::new(0),
                looks: Mutex::new(looks),
                orders: Mutex::new(orders),
            };
            (Arc::new(probe), looked, order)
        }

        fn as_weak(self: &Arc<Self>) -> Weak<dyn Maintained> {
            let weak: Weak<Self> = Arc::downgrade(self);
            weak
        }
    }

    impl Maintained for Probe {
        fn tick(&self) -> bool {
            // The receiver has gone at a test's end; then there is nothing more to tell.
            let _ = sync::lock(&self.looks).send(());
            let order = sync::lock(&self.orders).recv();
            self.work.store(0, Ordering::SeqCst);
            // Dies in `has_work`, where nothing contains it.
            if order == Ok(Order::Die) {
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
        while maintainer.state.load(Ordering::SeqCst) != ABSENT {
            thread::yield_now();
        }
    }

    #[test]
    fn a_cache_that_comes_during_a_look_is_not_slept_over() {
        let maintainer = maintainer();
        let (first, first_looked, first_order) = Probe::new();
        maintainer.register(first.as_weak());
        first_looked.recv().unwrap();
        // The thread is within its look at the first cache, and so awake: neither call wakes it.
        let (second, second_looked, second_order) = Probe::new();
        maintainer.register(second.as_weak());
        second.work.store(1, Ordering::SeqCst);
        maintainer.notify();
        drop(second_order); // it is told nothing, and goes on
        first_order.send(Order::GoOn).unwrap();
        drop(first_order);
        second_looked
            .recv_timeout(Duration::from_secs(60))
            .expect("the thread never looks at the second cache");
        drop((first, second));
        maintainer.notify();
        await_end(maintainer);
    }

    #[test]
    fn a_thread_that_died_is_started_anew_by_the_next_notification() {
        let maintainer = maintainer();
        let (probe, looked, order) = Probe::new();
        maintainer.register(probe.as_weak());
        looked.recv().unwrap();
        order.send(Order::Die).unwrap();
        await_end(maintainer);
        probe.work.store(1, Ordering::SeqCst);
        maintainer.notify();
        looked.recv().expect("no other thread was started");
        drop(order);
        drop(probe);
        maintainer.notify();
        await_end(maintainer);
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_tried_again() {
        let maintainer = maintainer();
        let (probe, looked, order) = Probe::new();
        drop(order);
        maintainer.refuses_threads.store(true, Ordering::SeqCst);
        maintainer.register(probe.as_weak());
        maintainer.notify();
        assert_eq!(maintainer.state.load(Ordering::SeqCst), ABSENT);
        maintainer.refuses_threads.store(false, Ordering::SeqCst);
        maintainer.notify();
        looked.recv().expect("no thread was started");
        drop(probe);
        maintainer.notify();
        await_end(maintainer);
    }
}
