//! A task that the library's one maintenance thread does again and again: the removal of what has
//! expired, the look at how much memory there is.
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | idle | waits for its next time | `tick`, when that has come; `stop` |
//! | running | the maintenance thread does the task | `tick`, when it is through |
//! | stopped | the task does not run, and never will | nobody |
//!
//! All of it stands under one lock, which is never held while the task runs: it drops values, and a
//! value may do what it likes then, even drop the cache. The task is held only while it runs, and
//! `stop` waits for that, so what the task holds is gone when a drop that has stopped it returns.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crossbeam_utils::Backoff;

use crate::expiry::clock::{Clock, nanoseconds};
use crate::maintainer::{self, Maintained};
use crate::sync::{self, Mutex};

/// The longest that is slept by a clock that need not go as the system's does.
const STRANGE_CLOCK_PAUSE: Duration = Duration::from_millis(50);

/// What is done; gone once its owner is.
pub(crate) trait Task: Send + Sync {
    fn run(&self);
}

pub(crate) struct Periodic {
    interval_ns: u64,
    clock: Arc<dyn Clock>,
    /// Whether the clock goes as the system's does.
    is_real: bool,
    state: Mutex<State>,
}

struct State {
    task: Option<Weak<dyn Task>>,
    next_ns: u64,
    running: Option<ThreadId>,
}

impl Periodic {
    pub(crate) fn start(
        interval: Duration,
        clock: Arc<dyn Clock>,
        is_real: bool,
        task: Weak<dyn Task>,
    ) -> Arc<Self> {
        let interval_ns = nanoseconds(interval);
        let next_ns = clock.now_ns().saturating_add(interval_ns);
        let state = State { task: Some(task), next_ns, running: None };
        let periodic = Arc::new(Self { interval_ns, clock, is_real, state: Mutex::new(state) });
        let weak: Weak<Self> = Arc::downgrade(&periodic);
        maintainer::register(weak);
        periodic
    }

    /// Returns once the task does not run, unless it is called from within it, and never will.
    pub(crate) fn stop(&self) {
        let backoff = Backoff::new();
        loop {
            let mut state = sync::lock(&self.state);
            state.task = None;
            if state.running.is_none_or(|thread| thread == thread::current().id()) {
                return;
            }
            drop(state);
            backoff.snooze();
        }
    }

    /// The task, if its time has come.
    fn take_due(&self) -> Option<Arc<dyn Task>> {
        // Not under the lock: a clock may be the user's.
        let now_ns = self.clock.now_ns();
        let mut state = sync::lock(&self.state);
        if state.running.is_some() || now_ns < state.next_ns {
            return None;
        }
        let task = state.task.as_ref()?.upgrade()?;
        state.next_ns = now_ns.saturating_add(self.interval_ns);
        state.running = Some(thread::current().id());
        Some(task)
    }
}

impl Maintained for Periodic {
    fn tick(&self) -> bool {
        /// Ends the run also if a value's drop panics.
        struct Running<'s>(&'s Periodic);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                sync::lock(&self.0.state).running = None;
            }
        }
        if let Some(task) = self.take_due() {
            let _running = Running(self);
            // Let go of before that ends, also by a panic.
            let task = task;
            task.run();
        }
        false
    }

    fn has_work(&self) -> bool {
        self.next_timer() == Some(Duration::ZERO)
    }

    fn next_timer(&self) -> Option<Duration> {
        let now_ns = self.clock.now_ns();
        let state = sync::lock(&self.state);
        state.task.as_ref()?;
        let left = Duration::from_nanos(state.next_ns.saturating_sub(now_ns));
        Some(if self.is_real { left } else { left.min(STRANGE_CLOCK_PAUSE) })
    }
}
