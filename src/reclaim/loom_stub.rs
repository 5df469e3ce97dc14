//! Under loom: guards that protect by never freeing. Models free by hand, or by dropping their
//! cache, once all threads have ended.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::base::sync::{AtomicUsize, Ordering};

pub(crate) use super::governor::Ticket;

pub(crate) struct Guard;

loom::lazy_static! {
    static ref THREADS: AtomicUsize = AtomicUsize::new(0);
}

loom::thread_local! {
    static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

impl Guard {
    pub(crate) fn thread(&self) -> usize {
        NUMBER.with(|number| *number)
    }

    pub(crate) fn tally(&self, _: usize) -> bool {
        false
    }
}

/// There are no tallies in models.
pub(crate) enum Tally {}

impl Tally {
    pub(crate) fn take() -> Option<Self> {
        None
    }

    pub(crate) fn at(&self) -> usize {
        match *self {}
    }

    pub(crate) fn sum(&self) -> u64 {
        match *self {}
    }
}

/// Dropping it is visible to the compiler, as with the real guard.
impl Drop for Guard {
    fn drop(&mut self) {}
}

pub(crate) fn pin() -> Guard {
    Guard
}

/// There are no fast guards in models.
pub(crate) enum FastGuard {}

impl From<FastGuard> for Guard {
    fn from(guard: FastGuard) -> Self {
        match guard {}
    }
}

pub(crate) fn pin_fast() -> Option<FastGuard> {
    None
}

pub(crate) trait AnyGuard {
    fn thread(&self) -> usize;
    fn tally(&self, at: usize) -> bool;
}

impl AnyGuard for Guard {
    fn thread(&self) -> usize {
        self.thread()
    }

    fn tally(&self, at: usize) -> bool {
        self.tally(at)
    }
}

impl AnyGuard for FastGuard {
    fn thread(&self) -> usize {
        match *self {}
    }

    fn tally(&self, _: usize) -> bool {
        match *self {}
    }
}

pub(crate) fn is_pinned_here() -> bool {
    false
}

/// A ticket that is never completed.
pub(crate) fn ticket() -> Ticket {
    1
}

pub(crate) fn completed() -> Ticket {
    0
}

pub(crate) fn advance() {}

/// In models, each partition advances the epoch by itself.
pub(crate) fn advances() -> usize {
    0
}

pub(crate) fn give_way() -> bool {
    false
}

pub(crate) fn lag() -> Duration {
    Duration::ZERO
}
