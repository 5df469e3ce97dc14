//! `CLIENT PAUSE`: commands that wait.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Which commands wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PauseScope {
    All,
    /// Those that write or publish.
    Writes,
}

/// Whether commands wait, and until when.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    state: Mutex<Option<(Instant, PauseScope)>>,
    /// Whether there is a state, which may have ended by time.
    is_set: AtomicBool,
}

impl Pause {
    fn state(&self) -> MutexGuard<'_, Option<(Instant, PauseScope)>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes commands wait for this long. A pause that ends later, or that is of all commands, is not cut.
    pub(crate) fn begin(&self, time: Duration, scope: PauseScope) {
        let now = Instant::now();
        let end = now.checked_add(time).unwrap_or(now + Duration::from_secs(1 << 30));
        let mut state = self.state();
        *state = match *state {
            Some((old_end, old_scope)) if old_end > now => {
                let keeps_all = old_scope == PauseScope::All;
                Some((end.max(old_end), if keeps_all { PauseScope::All } else { scope }))
            }
            _ => Some((end, scope)),
        };
        // Relaxed: a command that runs at the same moment comes before the pause.
        self.is_set.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        let mut state = self.state();
        *state = None;
        // Relaxed: as in `begin`.
        self.is_set.store(false, Ordering::Relaxed);
    }

    /// Whether there may be a pause.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // Relaxed: as in `begin`.
        self.is_set.load(Ordering::Relaxed)
    }

    /// Which commands wait, and how much longer; `None` if there is no pause.
    pub(crate) fn left(&self) -> Option<(Duration, PauseScope)> {
        let mut state = self.state();
        let (end, scope) = (*state)?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            *state = None;
            // Relaxed: as in `begin`.
            self.is_set.store(false, Ordering::Relaxed);
            return None;
        }
        Some((left, scope))
    }
}
