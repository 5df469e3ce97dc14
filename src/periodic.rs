//! A task that the maintenance thread runs at regular intervals, such as the removal of expired entries
//! or a reading of how much memory is in use.
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | idle | the task waits for its next time | `tick`, when that has come; `stop` |
//! | running | the maintenance thread runs the task | `tick`, when the task returns |
//! | stopped | the task does not run, and never will | none |
//!
//! One lock protects the state. It is never held while the task runs, because the task drops values,
//! which run user code that may even drop the cache. The maintenance thread holds a strong reference to
//! the task only while it runs, and `stop` waits for that. So everything the task holds is dropped when
//! the call that stopped it returns.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_utils::Backoff;

use crate::base::panics::contain;
use crate::base::reentrancy::{self, Scope};
use crate::base::sync::{self, AtomicU64, Mutex, Ordering};
use crate::expiry::clock::{Clock, nanoseconds};
use crate::maintainer::{self, Attendance, Maintained, STRANGE_CLOCK_PAUSE};

/// Something that is run periodically, until its owner drops it.
pub(crate) trait Task: Send + Sync {
    fn run(&self);
}

pub(crate) struct Periodic {
    interval_ns: u64,
    clock: Arc<dyn Clock>,
    /// Whether the clock runs as fast as the system's.
    follows_system_clock: bool,
    /// The last reading, which is used when the clock panics.
    last_ns: AtomicU64,
    state: Mutex<TaskState>,
    attendance: Attendance,
}

struct TaskState {
    task: Option<Weak<dyn Task>>,
    next_ns: u64,
    is_running: bool,
}

impl Periodic {
    pub(crate) fn start(
        interval: Duration,
        clock: Arc<dyn Clock>,
        follows_system_clock: bool,
        task: Weak<dyn Task>,
    ) -> Arc<Self> {
        let interval_ns = nanoseconds(interval);
        let state = TaskState { task: Some(task), next_ns: 0, is_running: false };
        let (last_ns, state) = (AtomicU64::new(0), Mutex::new(state));
        let attendance = Attendance::new();
        let periodic =
            Arc::new(Self { interval_ns, clock, follows_system_clock, last_ns, state, attendance });
        sync::lock(&periodic.state).next_ns = periodic.now_ns().saturating_add(interval_ns);
        let weak: Weak<Self> = Arc::downgrade(&periodic);
        maintainer::register(weak, &periodic.attendance);
        periodic.attendance.notify();
        periodic
    }

    /// Stops the task, and returns once it does not run; at once if the thread must not wait, as within
    /// the task itself.
    pub(crate) fn stop(&self) {
        let backoff = Backoff::new();
        loop {
            let mut state = sync::lock(&self.state);
            state.task = None;
            if !state.is_running || !reentrancy::may_wait() {
                return;
            }
            drop(state);
            backoff.snooze();
        }
    }

    /// The clock's time. Must not be called under the lock, because the clock may be user code.
    fn now_ns(&self) -> u64 {
        match contain(|| self.clock.now_ns()) {
            None => self.last_ns.load(Ordering::Relaxed),
            Some(now_ns) => {
                self.last_ns.store(now_ns, Ordering::Relaxed);
                now_ns
            }
        }
    }

    /// The task, if its time has come.
    fn take_due(&self) -> Option<Arc<dyn Task>> {
        let now_ns = self.now_ns();
        let mut state = sync::lock(&self.state);
        if state.is_running || now_ns < state.next_ns {
            return None;
        }
        let task = state.task.as_ref()?.upgrade()?;
        state.next_ns = now_ns.saturating_add(self.interval_ns);
        state.is_running = true;
        Some(task)
    }
}

impl Maintained for Periodic {
    fn tick(&self) -> bool {
        /// Ends the run, also if the task panics.
        struct Running<'s>(&'s Periodic);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                sync::lock(&self.0.state).is_running = false;
            }
        }
        if let Some(task) = self.take_due() {
            let _inside = reentrancy::enter(Scope::Task, self);
            let _running = Running(self);
            // Moved here so that it is dropped before `_running`, also after a panic.
            let task = task;
            task.run();
        }
        false
    }

    fn has_work(&self) -> bool {
        self.next_timer() == Some(Duration::ZERO)
    }

    fn next_timer(&self) -> Option<Duration> {
        let now_ns = self.now_ns();
        let state = sync::lock(&self.state);
        state.task.as_ref()?;
        let left = Duration::from_nanos(state.next_ns.saturating_sub(now_ns));
        Some(if self.follows_system_clock { left } else { left.min(STRANGE_CLOCK_PAUSE) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics while it is set to `u64::MAX`.
    struct FragileClock(AtomicU64);

    impl Clock for FragileClock {
        fn now_ns(&self) -> u64 {
            let now_ns = self.0.load(Ordering::Relaxed);
            assert_ne!(now_ns, u64::MAX, "the clock is broken");
            now_ns
        }
    }

    struct CountingTask(AtomicU64);

    impl Task for CountingTask {
        fn run(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_clock_that_panics_stands_still_and_stops_no_thread() {
        let clock = Arc::new(FragileClock(AtomicU64::new(5)));
        let task = Arc::new(CountingTask(AtomicU64::new(0)));
        let weak: Weak<CountingTask> = Arc::downgrade(&task);
        // Not registered, because the maintenance thread would tick, too.
        let periodic = Periodic {
            interval_ns: 10,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            follows_system_clock: false,
            last_ns: AtomicU64::new(0),
            state: Mutex::new(TaskState { task: Some(weak), next_ns: 10, is_running: false }),
            attendance: Attendance::new(),
        };
        let left = |periodic: &Periodic| periodic.next_timer().map(|left| left.as_nanos());
        assert_eq!(left(&periodic), Some(5));
        clock.0.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(left(&periodic), Some(5));
        periodic.tick();
        assert_eq!(task.0.load(Ordering::Relaxed), 0);
        clock.0.store(10, Ordering::Relaxed);
        assert!(periodic.has_work());
        periodic.tick();
        assert_eq!((task.0.load(Ordering::Relaxed), left(&periodic)), (1, Some(10)));
    }
}
