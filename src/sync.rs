//! The one place from which atomics and locks are taken, so that a build with
//! `--cfg larder_loom` can swap in loom's and explore every interleaving.
#![forbid(unsafe_code)]

#[cfg(not(larder_loom))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence,
    fence,
};
#[cfg(not(larder_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, TryLockError};

#[cfg(larder_loom)]
pub(crate) use loom::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

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

/// Takes `lock`, yielding to other threads until its holder is done.
///
/// Built on `try_lock` alone because the slow path of the standard lock lives in the precompiled
/// standard library, where ThreadSanitizer sees no synchronization.
#[cfg(not(larder_loom))]
pub(crate) fn lock<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    let backoff = crossbeam_utils::Backoff::new();
    loop {
        if let Some(guard) = try_lock(lock) {
            return guard;
        }
        backoff.snooze();
    }
}
