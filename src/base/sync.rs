//! The one place from which atomics and locks are taken, so that a build with
//! `--cfg larder_loom` can swap in loom's and explore every interleaving.
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

/// A function that is `const`, so that a static can have what it makes; but not under loom, whose
/// atomics belong to a run of a model.
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

/// Stands between a `SeqCst` access and a later one, to another variable, that must not be
/// reordered with it. A no-op: `SeqCst` accesses suffice. Loom treats them as acquire-release, so
/// it needs a fence.
#[cfg(not(larder_loom))]
#[inline(always)]
pub(crate) fn model_seq_cst() {}

/// Takes `lock` if nobody holds it.
///
/// A panic while it was held does not poison it: what the lock guards is kept valid before every
/// call that may panic, so the next holder can go on.
#[cfg(not(larder_loom))]
pub(crate) fn try_lock<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match lock.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What loom lacks.
#[cfg(larder_loom)]
mod modelled {
    use std::time::Duration;

    use super::{Mutex, MutexGuard};

    /// See its twin without loom.
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

/// Takes `lock`, yielding to other threads until its holder is done.
///
/// Built on `try_lock` alone because the slow path of the standard lock lives in the precompiled
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

/// Takes `lock` for the time of a fork. A thread that must not wait for user code, which the holder may
/// be running, gives up after a second.
#[cfg(all(unix, not(larder_loom)))]
pub(crate) fn lock_for_fork<T>(lock: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    let may_wait = crate::base::reentrancy::may_wait();
    let since = std::time::Instant::now();
    let backoff = Backoff::new();
    loop {
        if let Some(guard) = try_lock(lock) {
            return Some(guard);
        }
        if !may_wait && since.elapsed() > std::time::Duration::from_secs(1) {
            return None;
        }
        if backoff.is_completed() { nap() } else { backoff.snooze() }
    }
}

/// Waits for a moment where yielding did not help: for a listener of the user's that is slow.
/// Not by parking, which could take a token that the user's code left for this thread.
#[cfg(not(larder_loom))]
pub(crate) fn nap() {
    sleep(std::time::Duration::from_micros(50));
}
