//! Data of a cache that is used for a few instructions at a time, in which no Python code runs.
//!
//! Without the interpreter's lock, a thread waits here for another one while it is attached, and the collector waits
//! for every attached thread. So whoever is inside must not let the interpreter suspend it, which the release of a
//! reference may do: the interpreter takes a lock of its own if the object belongs to another thread. References are
//! released outside.

#[cfg(not(Py_GIL_DISABLED))]
use std::cell::RefCell;
#[cfg(Py_GIL_DISABLED)]
use std::sync::{Mutex, PoisonError, TryLockError};

/// A value that one thread at a time uses: the one that has the interpreter's lock, or a lock of its own if the
/// interpreter has none.
#[derive(Default)]
pub(crate) struct Guarded<T> {
    #[cfg(not(Py_GIL_DISABLED))]
    value: RefCell<T>,
    #[cfg(Py_GIL_DISABLED)]
    value: Mutex<T>,
}

// SAFETY: `with` is called by threads that are attached to the interpreter, since only those call the library, and
// its closures run no Python code, which alone could hand the interpreter's lock to another thread.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// Calls `work` with the value. It must run no Python code, release no reference, and not use the same `Guarded`.
    /// (With the interpreter's lock, it may release a reference if that runs no Python code.)
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(not(Py_GIL_DISABLED))]
        return work(&mut self.value.borrow_mut());
        #[cfg(Py_GIL_DISABLED)]
        return work(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Calls `work` with the value, unless a thread is using it, for which the collector must not wait.
    pub(crate) fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        #[cfg(not(Py_GIL_DISABLED))]
        return Some(work(&mut *self.value.try_borrow_mut().ok()?));
        #[cfg(Py_GIL_DISABLED)]
        return match self.value.try_lock() {
            Ok(mut value) => Some(work(&mut value)),
            Err(TryLockError::Poisoned(error)) => Some(work(&mut error.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        };
    }
}
