//! Atomics, locks and threads. Every other module takes them from here, so that a build with
//! `--cfg larder_loom` can replace them with loom's and explore every interleaving.
#![forbid(unsafe_code)]

#[cfg(not(larder_loom))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence,
    fence,
};
#[cfg(not(larder_loom))]
use std::thread::sleep;

#[cfg(not(larder_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, TryLockError};
#[cfg(not(larder_loom))]
pub(crate) use std::thread;
#[cfg(not(larder_loom))]
pub(crate) use std::thread::park_timeout;

#[cfg(not(larder_loom))]
pub(crate) use crossbeam_utils::Backoff;

#[cfg(all(unix, not(larder_loom)))]
use crate::base::reentrancy::Patience;

#[cfg(larder_loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(larder_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(larder_loom)]
pub(crate) use loom::thread;
#[cfg(larder_loom)]
pub(crate) use modelled::*;

/// A constructor that is `const`, so that a static can use it; except under loom, whose atomics
/// belong to a run of a model.
macro_rules! const_unless_loom {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident() -> $made:ty $body:block) => {
        $(#[$attribute])*
        #[cfg(not(larder_loom))]
        $visibility const fn $name() -> $made $body

        $(#[$attribute])*
        #[cfg(larder_loom)]
        $visibility fn $name() -> $made $body
    };
}
pub(crate) use const_unless_loom;

/// Stands between a `SeqCst` access and a later one to another variable. A no-op: two `SeqCst`
/// accesses are not reordered. Loom treats them as acquire-release, so it needs a fence.
#[cfg(not(larder_loom))]
#[inline(always)]
pub(crate) fn model_seq_cst() {}

/// Takes `lock` if no thread holds it.
///
/// Ignores poisoning: before every call that may panic, a holder leaves valid what the lock guards,
/// so the next holder can go on.
#[cfg(not(larder_loom))]
pub(crate) fn try_lock<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match lock.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Replacements for what loom lacks.
#[cfg(larder_loom)]
mod modelled {
    use std::time::Duration;

    use super::{Mutex, MutexGuard};

    /// The fence that loom needs; see the function of this name without loom.
    pub(crate) fn model_seq_cst() {
        loom::sync::atomic::fence(super::Ordering::SeqCst);
    }

    /// Under loom time passes at once.
    pub(crate) fn park_timeout(_: Duration) {
        loom::thread::yield_now();
    }

    pub(crate) fn nap() {
        loom::thread::yield_now();
    }

    pub(crate) fn snooze_or_nap(backoff: &Backoff) {
        backoff.snooze();
    }

    pub(crate) fn try_lock<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        lock.try_lock().ok()
    }

    pub(crate) fn lock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
        lock.lock().expect("a panic ends the model")
    }

    pub(crate) struct Backoff;

    impl Backoff {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn snooze(&self) {
            loom::thread::yield_now();
        }
    }
}

/// Takes `lock`, yielding to other threads until its holder releases it.
///
/// Uses `try_lock` alone, because the slow path of the standard lock is in the precompiled
/// standard library, where ThreadSanitizer sees no synchronization.
#[cfg(not(larder_loom))]
pub(crate) fn lock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    let backoff = Backoff::new();
    loop {
        if let Some(guard) = try_lock(lock) {
            return guard;
        }
        backoff.snooze();
    }
}

/// Takes `lock` for the time of a fork. `None` if another thread holds it for longer than this one
/// may wait: that thread may be running user code, for which a thread inside a scope
/// ([`reentrancy`](crate::base::reentrancy)) waits only a second.
#[cfg(all(unix, not(larder_loom)))]
pub(crate) fn lock_for_fork<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    let patience = Patience::new(FORK_PATIENCE);
    let backoff = Backoff::new();
    loop {
        if let Some(guard) = try_lock(lock) {
            return Some(guard);
        }
        if !patience.lasts() {
            return None;
        }
        snooze_or_nap(&backoff);
    }
}

/// How long a forking thread that must not wait without end waits for each of the locks.
#[cfg(all(unix, not(larder_loom)))]
pub(crate) const FORK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Waits for a moment, for user code that another thread runs: yields at first, and naps once that
/// did not help.
#[cfg(not(larder_loom))]
pub(crate) fn snooze_or_nap(backoff: &Backoff) {
    if backoff.is_completed() { nap() } else { backoff.snooze() }
}

/// Sleeps for a moment. Not by parking, which could take a token that the user's code left for this
/// thread.
#[cfg(not(larder_loom))]
pub(crate) fn nap() {
    sleep(std::time::Duration::from_micros(50));
}

/// The number of threads that the machine runs at once. The system is asked once, because its answer takes
/// longer than building a cache: on Linux it reads files. Two threads may both ask at first.
pub(crate) fn cores() -> usize {
    // An atomic of the standard library, which models do not track: it is a plain cached number.
    static CORES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    match CORES.load(Ordering::Relaxed) {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            CORES.store(cores, Ordering::Relaxed);
            cores
        }
        cores => cores,
    }
}
