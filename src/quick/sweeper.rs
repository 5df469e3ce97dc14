//! The removal of what has expired, by the library's one maintenance thread.
//!
//! | state | meaning | left by |
//! |---|---|---|
//! | idle | waits for its next time | `tick`, when that has come; `stop` |
//! | sweeping | the maintenance thread removes what has expired | `tick`, when it is through |
//! | stopped | no sweep runs, none will | nobody |
//!
//! All of it stands under one lock, which is never held while anything is removed: a value may do
//! what it likes when it is dropped, even drop the cache. The sweeper holds a handle of the cache
//! only while it sweeps, and `stop` waits for that, so a dropped cache is gone when the drop returns.
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

/// What is swept; gone once its owner is.
pub(super) trait Swept: Send + Sync {
    fn sweep(&self);
}

pub(super) struct Sweeper {
    interval_ns: u64,
    clock: Arc<dyn Clock>,
    /// Whether the clock goes as the system's does.
    is_real: bool,
    state: Mutex<State>,
}

struct State {
    swept: Option<Weak<dyn Swept>>,
    next_ns: u64,
    sweeping: Option<ThreadId>,
}

impl Sweeper {
    pub(super) fn start(
        interval: Duration,
        clock: Arc<dyn Clock>,
        is_real: bool,
        swept: Weak<dyn Swept>,
    ) -> Arc<Self> {
        let interval_ns = nanoseconds(interval);
        let next_ns = clock.now_ns().saturating_add(interval_ns);
        let state = State { swept: Some(swept), next_ns, sweeping: None };
        let sweeper = Arc::new(Self { interval_ns, clock, is_real, state: Mutex::new(state) });
        let weak: Weak<Self> = Arc::downgrade(&sweeper);
        maintainer::register(weak);
        sweeper
    }

    /// Returns once no sweep runs, unless it is called from within one, and none ever will.
    pub(super) fn stop(&self) {
        let backoff = Backoff::new();
        loop {
            let mut state = sync::lock(&self.state);
            state.swept = None;
            if state.sweeping.is_none_or(|thread| thread == thread::current().id()) {
                return;
            }
            drop(state);
            backoff.snooze();
        }
    }

    /// What is to be swept now, if its time has come.
    fn take_due(&self) -> Option<Arc<dyn Swept>> {
        // Not under the lock: a clock may be the user's.
        let now_ns = self.clock.now_ns();
        let mut state = sync::lock(&self.state);
        if state.sweeping.is_some() || now_ns < state.next_ns {
            return None;
        }
        let swept = state.swept.as_ref()?.upgrade()?;
        state.next_ns = now_ns.saturating_add(self.interval_ns);
        state.sweeping = Some(thread::current().id());
        Some(swept)
    }
}

impl Maintained for Sweeper {
    fn tick(&self) -> bool {
        /// Ends the sweep also if a value's drop panics.
        struct Sweeping<'s>(&'s Sweeper);
        impl Drop for Sweeping<'_> {
            fn drop(&mut self) {
                sync::lock(&self.0.state).sweeping = None;
            }
        }
        if let Some(swept) = self.take_due() {
            let _sweeping = Sweeping(self);
            // Let go of before that ends, also by a panic.
            let swept = swept;
            swept.sweep();
        }
        false
    }

    fn has_work(&self) -> bool {
        self.next_timer() == Some(Duration::ZERO)
    }

    fn next_timer(&self) -> Option<Duration> {
        let now_ns = self.clock.now_ns();
        let state = sync::lock(&self.state);
        state.swept.as_ref()?;
        let left = Duration::from_nanos(state.next_ns.saturating_sub(now_ns));
        Some(if self.is_real { left } else { left.min(STRANGE_CLOCK_PAUSE) })
    }
}
