//! Releasing what entries held that have left, and calling the listener.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use larder::RemovalCause;
use pyo3::types::PyAnyMethods;
use pyo3::{Py, PyAny, Python};

use crate::holdings::{Holdings, Unsettled};

thread_local! {
    /// The caches whose objects this thread is releasing. What an object's `__del__` makes one of them let go of
    /// is released by the outer call, so that a chain of them does not end on the stack.
    static SETTLING: RefCell<Vec<*const Listening>> = const { RefCell::new(Vec::new()) };
}

/// The listener of a cache, if it has one.
pub(crate) struct Listening {
    listener: Option<Py<PyAny>>,
    /// Calls of the listener that raised.
    errors: AtomicU64,
}

impl Listening {
    pub(crate) fn new(listener: Option<Py<PyAny>>) -> Self {
        Self { listener, errors: AtomicU64::new(0) }
    }

    pub(crate) fn listener(&self) -> &Option<Py<PyAny>> {
        &self.listener
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Releases all that waits in the holdings, and notifies the listener. It runs Python code.
    #[cold]
    pub(crate) fn settle(&self, holdings: &Holdings, py: Python<'_>) {
        let this = std::ptr::from_ref(self);
        let is_outer = SETTLING.with_borrow_mut(|caches| {
            let is_new = !caches.contains(&this);
            if is_new {
                caches.push(this);
            }
            is_new
        });
        if !is_outer {
            return;
        }
        while let Some(unsettled) = holdings.settle() {
            match unsettled {
                Unsettled::Dropped(object) => drop(object.into_bound(py)),
                Unsettled::Departed(entry) => {
                    let Some(listener) = &self.listener else { continue };
                    let arguments = (entry.key, entry.value, name_of(entry.cause));
                    if let Err(error) = listener.bind(py).call1(arguments) {
                        self.errors.fetch_add(1, Ordering::Relaxed);
                        error.write_unraisable(py, Some(listener.bind(py)));
                    }
                }
            }
        }
        SETTLING.with_borrow_mut(|caches| caches.retain(|cache| *cache != this));
    }
}

fn name_of(cause: RemovalCause) -> &'static str {
    match cause {
        RemovalCause::Evicted => "evicted",
        RemovalCause::Expired => "expired",
        RemovalCause::Explicit => "removed",
        RemovalCause::Replaced => "replaced",
        RemovalCause::Invalidated => "invalidated",
        _ => "other",
    }
}
