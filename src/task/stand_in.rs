//! What a thread of the pool does before it waits in the middle of a task: it lets another thread stand in for it.
//!
//! The wait may be for the load of a task that is in the queue behind the one that the thread polls. With no
//! thread left for the queue, it would last until that load is given up.
#![forbid(unsafe_code)]

use std::cell::Cell;

/// A pool of threads.
pub(super) trait StandInPool: Sync {
    /// Allows one thread more, if there may be more. `generation` is that of the thread which is to wait.
    fn begin_stand_in(&'static self, generation: u64) -> bool;

    /// The thread goes on.
    fn end_stand_in(&self, generation: u64);
}

thread_local! {
    /// The pool whose synchronous task the thread polls, and the thread's generation.
    static POLLING: Cell<Option<(&'static dyn StandInPool, u64)>> = const { Cell::new(None) };
}

/// Notes that the thread polls a synchronous task of this pool from now on, or none.
pub(super) fn set_polling(polling: Option<(&'static dyn StandInPool, u64)>) {
    POLLING.set(polling);
}

/// While this exists, the pool may have another thread in place of one that waits.
pub(super) struct StandIn {
    pool: &'static dyn StandInPool,
    generation: u64,
}

impl StandIn {
    /// To be called before the thread waits. `None` if it needs no other to stand in for it.
    pub(super) fn begin() -> Option<Self> {
        let (pool, generation) = POLLING.get()?;
        pool.begin_stand_in(generation).then_some(Self { pool, generation })
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.pool.end_stand_in(self.generation);
    }
}
