//! The lock of a partition, and of the queue of its listener.
//!
//! Every insertion takes it, and those that find it taken leave their work to its holder. The few callers that
//! have to wait yield to other threads, and none sleeps in the lock. So nobody has to be woken, and releasing it is
//! a plain store, where a lock of the standard library swaps a word and looks for panics.
//!
//! It has no poisoning: before every call that may panic, a holder leaves valid what the lock guards, so the next
//! holder can go on.
//!
//! # Orderings
//! Taking it acquires, and releasing it releases, so each holder sees what earlier ones have done. Model tests:
//! `loom-tests/tests/lock.rs`.

#[cfg(not(larder_loom))]
pub(crate) use real::Lock;

use crate::base::sync::{AtomicBool, Ordering};
#[cfg(larder_loom)]
pub(crate) use modelled::Lock;

/// The word of the lock.
pub(crate) struct LockWord(AtomicBool);

impl LockWord {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Takes the lock, unless it is taken.
    #[inline(always)]
    pub(crate) fn try_take(&self) -> bool {
        // Acquire: pairs with the release in `release`.
        self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Releases the lock, which the caller has taken.
    #[inline(always)]
    pub(crate) fn release(&self) {
        // Release: pairs with the acquire in `try_take`.
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(not(larder_loom))]
mod real {
    use std::cell::UnsafeCell;
    use std::marker::PhantomData;
    use std::ops::{Deref, DerefMut};
    use std::panic::{RefUnwindSafe, UnwindSafe};

    use super::LockWord;
    #[cfg(unix)]
    use crate::base::reentrancy::Patience;
    use crate::base::sync::Backoff;
    #[cfg(unix)]
    use crate::base::sync::{FORK_PATIENCE, snooze_or_nap};

    /// A value that one thread at a time may use.
    #[repr(C)]
    pub(crate) struct Lock<T> {
        word: LockWord,
        value: UnsafeCell<T>,
    }

    // SAFETY: the word lets one thread at a time reach the value (`LockGuard`), so sharing the lock sends the value
    // from thread to thread.
    unsafe impl<T: Send> Sync for Lock<T> {}

    // What a panic interrupts is left valid (module head).
    impl<T> UnwindSafe for Lock<T> {}
    impl<T> RefUnwindSafe for Lock<T> {}

    /// The taken lock, which is released when this is dropped. Not `Send`, as with other locks.
    pub(crate) struct LockGuard<'l, T>(&'l Lock<T>, PhantomData<*const ()>);

    impl<T> Lock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self { word: LockWord::new(), value: UnsafeCell::new(value) }
        }

        /// Takes the lock if no thread holds it.
        #[inline(always)]
        pub(crate) fn try_lock(&self) -> Option<LockGuard<'_, T>> {
            // Made only now, since dropping a guard releases the lock.
            self.word.try_take().then(|| LockGuard(self, PhantomData))
        }

        /// Takes the lock, yielding to other threads until its holder releases it.
        pub(crate) fn lock(&self) -> LockGuard<'_, T> {
            let backoff = Backoff::new();
            loop {
                if let Some(guard) = self.try_lock() {
                    return guard;
                }
                backoff.snooze();
            }
        }

        /// Takes the lock for the time of a fork. `None` as for
        /// [`sync::lock_for_fork`](crate::base::sync::lock_for_fork).
        #[cfg(unix)]
        pub(crate) fn lock_for_fork(&self) -> Option<LockGuard<'_, T>> {
            let patience = Patience::new(FORK_PATIENCE);
            let backoff = Backoff::new();
            loop {
                if let Some(guard) = self.try_lock() {
                    return Some(guard);
                }
                if !patience.lasts() {
                    return None;
                }
                snooze_or_nap(&backoff);
            }
        }
    }

    impl<T> Deref for LockGuard<'_, T> {
        type Target = T;

        #[inline(always)]
        fn deref(&self) -> &T {
            // SAFETY: this guard has taken the lock (`try_lock`), and releases it when it is dropped, so no other
            // guard reaches the value meanwhile.
            unsafe { &*self.0.value.get() }
        }
    }

    impl<T> DerefMut for LockGuard<'_, T> {
        #[inline(always)]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: as in `deref`; and this guard is borrowed mutably, so nobody reads through it meanwhile.
            unsafe { &mut *self.0.value.get() }
        }
    }

    impl<T> Drop for LockGuard<'_, T> {
        #[inline(always)]
        fn drop(&mut self) {
            self.0.word.release();
        }
    }
}

/// Under loom it is loom's mutex, in which waiting threads need no turns of their own. The word has a model of its
/// own.
#[cfg(larder_loom)]
mod modelled {
    use crate::base::sync::{self, Mutex, MutexGuard};

    pub(crate) struct Lock<T>(Mutex<T>);

    impl<T> Lock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            sync::try_lock(&self.0)
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            sync::lock(&self.0)
        }
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::thread;

    use super::Lock;

    #[test]
    fn one_thread_at_a_time_has_it() {
        const ROUNDS: u32 = if cfg!(miri) { 50 } else { 20_000 };
        let (lock, start) = (Lock::new(0), Barrier::new(4));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..ROUNDS {
                        let mut count = lock.lock();
                        assert!(lock.try_lock().is_none());
                        *count += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 4 * ROUNDS);
    }

    #[test]
    fn a_panic_releases_it() {
        let lock = Lock::new(1);
        let panics = || {
            let mut value = lock.lock();
            *value = 2;
            panic!("while it is held");
        };
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert_eq!(lock.try_lock().map(|value| *value), Some(2));
    }
}
