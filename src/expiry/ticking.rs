//! A clock that a thread of its own advances, so that reading it is one load.
//!
//! | `NOW` | meaning | next value, and which thread stores it |
//! |---|---|---|
//! | 0 | no thread ticks: a reader asks the system, and starts the thread if there is a clock | a time: the thread that starts the ticking one |
//! | a time | the thread wakes each millisecond | a later time, or 0 when no clock is left: the ticking thread; 0: a forked child |
//!
//! # Orderings
//! `NOW` is relaxed, since it publishes no other data. The lock of `CLOCKS` orders the start and the end of
//! the thread.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::clock::Clock;
#[cfg(unix)]
use crate::base::at_fork::{self, HeldAcrossFork, Hook};
#[cfg(unix)]
use crate::base::sync::MutexGuard;
use crate::base::sync::thread::{self, Thread};
use crate::base::sync::{self, AtomicU64, Mutex, Ordering};
use crate::base::system_time;

/// How often the thread wakes.
const TICK: Duration = Duration::from_millis(1);

/// The thread's last reading of the system's monotonic clock, in nanoseconds.
static NOW: CachePadded<AtomicU64> = CachePadded::new(AtomicU64::new(0));
static CLOCKS: Mutex<Clocks> = Mutex::new(Clocks { count: 0, thread: None, is_refused: false });

struct Clocks {
    /// The number of clocks that exist. Clones are one clock.
    count: usize,
    thread: Option<Thread>,
    /// Whether the system has refused to start a thread.
    is_refused: bool,
}

/// The system's monotonic clock as a thread of the process reads it each millisecond: the cheapest
/// clock to read.
///
/// One thread serves all clocks of this type; it starts with the first and ends with the last. A reading
/// loads the thread's last reading, which is at most about 1.1 milliseconds old while the thread can run. If
/// it cannot, because the machine is too busy or the process was stopped, the clock stands still, and
/// entries live that much longer by other clocks. If the system cannot start a thread, and in a forked child
/// until the thread is started again, the system's clock is read each time.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::{Cache, expiry::TickingClock};
///
/// let cache: Cache<&str, u32> = Cache::builder()
///     .capacity(100)
///     .time_to_live(Duration::from_secs(60))
///     .clock(TickingClock::new())
///     .build()?;
/// cache.insert("key", 1);
/// assert_eq!(cache.get("key"), Some(1));
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone)]
pub struct TickingClock {
    /// Counted in `CLOCKS`.
    _handle: Arc<TickHandle>,
}

struct TickHandle;

impl TickingClock {
    /// A ticking clock. All clocks of the process share one thread.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(unix)]
        at_fork::register(&HOOK);
        let mut clocks = sync::lock(&CLOCKS);
        clocks.count += 1;
        clocks.is_refused = false;
        clocks.start();
        Self { _handle: Arc::new(TickHandle) }
    }
}

impl Default for TickingClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TickingClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TickingClock").finish_non_exhaustive()
    }
}

impl Clock for TickingClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        match ticked_ns() {
            0 => read_system(),
            now => now,
        }
    }
}

impl Drop for TickHandle {
    fn drop(&mut self) {
        let mut clocks = sync::lock(&CLOCKS);
        clocks.count -= 1;
        if clocks.count == 0
            && let Some(thread) = &clocks.thread
        {
            thread.unpark();
        }
    }
}

/// The time of the last tick, or 0 if no thread ticks.
#[inline(always)]
pub(super) fn ticked_ns() -> u64 {
    NOW.load(Ordering::Relaxed)
}

/// The system's time, for a reader that has found no thread ticking.
#[cold]
fn read_system() -> u64 {
    // A clock may be read under any lock, so it must not wait for another one.
    if let Some(mut clocks) = sync::try_lock(&CLOCKS) {
        clocks.start();
    }
    system_time::now_ns()
}

impl Clocks {
    /// Starts the thread if there is none, there is a clock, and the system has not refused before.
    fn start(&mut self) {
        if self.count == 0 || self.thread.is_some() || self.is_refused {
            return;
        }
        match thread::Builder::new().name("larder-clock".to_owned()).spawn(tick) {
            Ok(handle) => {
                self.thread = Some(handle.thread().clone());
                NOW.store(system_time::now_ns(), Ordering::Relaxed);
            }
            Err(_) => self.is_refused = true,
        }
    }
}

fn tick() {
    loop {
        {
            let mut clocks = sync::lock(&CLOCKS);
            if clocks.count == 0 {
                clocks.thread = None;
                NOW.store(0, Ordering::Relaxed);
                return;
            }
            // Under the lock, so that the time does not go back, and does not change during a fork.
            NOW.store(system_time::now_ns(), Ordering::Relaxed);
        }
        sync::park_timeout(TICK);
    }
}

/// Keeps the thread from ticking during a fork.
#[cfg(unix)]
struct Stopped(MutexGuard<'static, Clocks>);

/// Taken after the locks of the caches, because a cache may read the clock under its locks.
#[cfg(unix)]
static HOOK: Hook = Hook { rank: 1, hold: || Box::new(Stopped(sync::lock(&CLOCKS))) };

#[cfg(unix)]
impl HeldAcrossFork for Stopped {
    /// The thread does not exist in the child.
    fn forget_other_threads(&mut self) {
        self.0.thread = None;
        NOW.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because all clocks share one thread.
    #[test]
    fn the_thread_ticks_as_long_as_there_is_a_clock() {
        let clock = TickingClock::new();
        let is_ticking = || sync::lock(&CLOCKS).thread.is_some() && ticked_ns() != 0;
        assert!(is_ticking());
        let began = system_time::now_ns();
        assert!(clock.now_ns() <= began);
        let mut last = 0;
        while last <= began {
            let now = clock.now_ns();
            assert!(last <= now && now <= system_time::now_ns());
            last = now;
            thread::yield_now();
        }
        let other = clock.clone();
        drop(clock);
        assert!(is_ticking(), "a clone is the same clock");
        // The state in which a forked child begins.
        #[cfg(unix)]
        Stopped(sync::lock(&CLOCKS)).forget_other_threads();
        let now = other.now_ns();
        assert!(last <= now && now <= system_time::now_ns());
        assert!(is_ticking(), "the thread was not started again");
        drop(other);
        while is_ticking() {
            thread::yield_now();
        }
    }
}
