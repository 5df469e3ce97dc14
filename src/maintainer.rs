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
//! thread sees the event or the writer sees it asleep.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::contain::contain;
use crate::sync::{self, AtomicU8, Mutex, MutexGuard, Ordering};

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

static STATE: AtomicU8 = AtomicU8::new(ABSENT);
static ROSTER: Mutex<Roster> = Mutex::new(Roster { caches: Vec::new(), thread: None });
/// Held by the thread while it looks after caches.
static LOOKING: Mutex<()> = Mutex::new(());

thread_local! {
    static IS_MAINTAINER: Cell<bool> = const { Cell::new(false) };
}

/// Between two looks while there is something to do.
const PAUSE: Duration = Duration::from_millis(1);

struct Roster {
    caches: Vec<Weak<dyn Maintained>>,
    thread: Option<Thread>,
}

/// Puts a cache under the thread's care, and starts the thread if there is none.
pub(crate) fn register(cache: Weak<dyn Maintained>) {
    #[cfg(unix)]
    crate::fork::prepare();
    let mut roster = sync::lock(&ROSTER);
    roster.caches.push(cache);
    roster.wake();
}

/// Tells the thread that a cache has something to do, or is gone.
#[inline]
pub(crate) fn notify() {
    // SeqCst: after the caller's change to its buffer (module head).
    if STATE.load(Ordering::SeqCst) != AWAKE {
        sync::lock(&ROSTER).wake();
    }
}

/// The locks that keep the thread out of every cache, for the time of a fork.
pub(crate) struct Held {
    roster: MutexGuard<'static, Roster>,
    /// `None` in the maintenance thread itself: a key or value forks as it is dropped.
    _looking: Option<MutexGuard<'static, ()>>,
}

/// Waits until the thread is between two looks, and keeps it there.
pub(crate) fn hold() -> Held {
    let is_own = IS_MAINTAINER.try_with(Cell::get).unwrap_or(false);
    let looking = (!is_own).then(|| sync::lock(&LOOKING));
    Held { roster: sync::lock(&ROSTER), _looking: looking }
}

impl Held {
    /// In a forked child: the thread is gone, whatever was noted of it.
    pub(crate) fn forget_thread(&mut self) {
        self.roster.thread = None;
        STATE.store(ABSENT, Ordering::SeqCst);
    }
}

impl Roster {
    /// Makes sure that a thread is awake, unless there is no cache for it. Without one (the
    /// system has no more threads) writers still do all the work that bounds depend on.
    fn wake(&mut self) {
        if let Some(thread) = &self.thread {
            STATE.store(AWAKE, Ordering::SeqCst);
            thread.unpark();
        } else if !self.caches.is_empty() {
            STATE.store(AWAKE, Ordering::SeqCst);
            let builder = thread::Builder::new().name("larder".to_owned());
            match builder.spawn(run) {
                Ok(handle) => self.thread = Some(handle.thread().clone()),
                Err(_) => STATE.store(ABSENT, Ordering::SeqCst),
            }
        }
    }

    /// The living caches; forgets the others.
    fn caches(&mut self) -> Vec<Arc<dyn Maintained>> {
        self.caches.retain(|cache| cache.strong_count() > 0);
        self.caches.iter().filter_map(Weak::upgrade).collect()
    }
}

fn run() {
    IS_MAINTAINER.set(true);
    loop {
        let caches = {
            let mut roster = sync::lock(&ROSTER);
            let caches = roster.caches();
            if roster.caches.is_empty() {
                roster.thread = None;
                // Under the lock, so that a cache registered from now on starts another thread.
                STATE.store(ABSENT, Ordering::SeqCst);
                return;
            }
            caches
        };
        let mut is_busy = false;
        let looking = sync::lock(&LOOKING);
        for cache in &caches {
            // User code is contained further down; should anything else panic, the other caches
            // still want their thread.
            is_busy |= contain(|| cache.tick()).unwrap_or(true);
        }
        drop(looking);
        if is_busy {
            release(caches);
            thread::park_timeout(PAUSE);
            continue;
        }
        STATE.store(ASLEEP, Ordering::SeqCst);
        // Once more, for what came before the announcement and was not notified.
        let has_work = caches.iter().any(|cache| cache.has_work());
        let timer = caches.iter().filter_map(|cache| cache.next_timer()).min();
        release(caches);
        // Beyond what the clock can tell: not in this thread's life.
        let wake_at = timer.and_then(|timer| Instant::now().checked_add(timer));
        while !has_work && STATE.load(Ordering::SeqCst) == ASLEEP {
            match wake_at.map(|at| at.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => break,
                Some(left) => thread::park_timeout(left),
            }
        }
        STATE.store(AWAKE, Ordering::SeqCst);
    }
}

/// Lets go of the caches. The thread may be the last to hold one, and then drops the user's
/// hasher, weigher and policy.
fn release(caches: Vec<Arc<dyn Maintained>>) {
    for cache in caches {
        contain(|| drop(cache));
    }
}
