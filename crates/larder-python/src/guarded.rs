//! Data of a cache that is used for a few instructions at a time, in which no Python code runs.

#[cfg(not(Py_GIL_DISABLED))]
use std::cell::RefCell;
#[cfg(Py_GIL_DISABLED)]
use std::sync::{Mutex, PoisonError};

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
    /// Calls `work` with the value. It must run no Python code, and not use the same `Guarded`.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(not(Py_GIL_DISABLED))]
        return work(&mut self.value.borrow_mut());
        #[cfg(Py_GIL_DISABLED)]
        return work(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
