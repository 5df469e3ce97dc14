//! Replaces `ticking` in models, which cannot have a thread of their own: the system's clock.
#![forbid(unsafe_code)]

use super::clock::Clock;
use crate::base::system_time;

/// The system's monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct TickingClock(());

impl TickingClock {
    /// A clock.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

impl Clock for TickingClock {
    fn now_ns(&self) -> u64 {
        system_time::now_ns()
    }
}

pub(super) fn ticked_ns() -> u64 {
    0
}
