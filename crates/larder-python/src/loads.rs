//! The loads that are under way, and which of them a change has made stale.
//!
//! A load may have read its source before a change of its key. So a change notes itself here before it changes the
//! cache, and a load stores its value in one step with finding that nothing was noted since it began. If the
//! note comes first, the value is refused; otherwise the change finds the value, and replaces or removes it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use pyo3::{pyclass, pymethods};

use crate::guarded::Guarded;

/// A load: the hash of its key, and whether the key was changed since it began.
struct Load {
    hash: isize,
    is_stale: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Loads {
    /// Those that were dropped are taken out by the next change.
    open: Guarded<Vec<Weak<Load>>>,
    /// The length of `open`, so that most changes need not look at it.
    len: AtomicUsize,
}

impl Loads {
    /// Notes that a load begins; it ends when the result is dropped, or by `end`.
    pub(crate) fn begin(&self, hash: isize) -> Fill {
        let load = Arc::new(Load { hash, is_stale: AtomicBool::new(false) });
        self.open.with(|open| {
            open.push(Arc::downgrade(&load));
            self.len.store(open.len(), Ordering::Relaxed);
        });
        Fill { load }
    }

    /// Ends a load. `store` is called unless a change was noted; it must run no Python code. If it replaces a value that
    /// another load has stored, it is a change itself.
    pub(crate) fn end<R>(
        &self,
        fill: &Fill,
        replaces: bool,
        store: impl FnOnce() -> R,
    ) -> Option<R> {
        self.open.with(|open| {
            let place = open.iter().position(|load| load.as_ptr() == Arc::as_ptr(&fill.load))?;
            open.swap_remove(place);
            self.len.store(open.len(), Ordering::Relaxed);
            if fill.is_stale() {
                return None;
            }
            if replaces {
                for load in open.iter().filter_map(Weak::upgrade) {
                    if load.hash == fill.load.hash {
                        load.is_stale.store(true, Ordering::Relaxed);
                    }
                }
            }
            Some(store())
        })
    }

    /// Notes a change of the keys of a hash, or of all keys, that is about to happen.
    #[inline]
    pub(crate) fn note(&self, hash: Option<isize>) {
        // Without the interpreter's lock, a change that happens after a load has begun might still find 0.
        if cfg!(Py_GIL_DISABLED) || self.len.load(Ordering::Relaxed) != 0 {
            self.note_now(hash);
        }
    }

    #[cold]
    fn note_now(&self, hash: Option<isize>) {
        self.open.with(|open| {
            open.retain(|load| {
                let Some(load) = load.upgrade() else { return false };
                if hash.is_none_or(|hash| hash == load.hash) {
                    load.is_stale.store(true, Ordering::Relaxed);
                }
                true
            });
            self.len.store(open.len(), Ordering::Relaxed);
        });
    }
}

/// A load that `Core.begin_fill` has begun.
#[pyclass(frozen, module = "larder._native")]
pub(crate) struct Fill {
    load: Arc<Load>,
}

#[pymethods]
impl Fill {
    /// Whether the key was stored, removed or invalidated since the load began.
    #[getter]
    pub(crate) fn is_stale(&self) -> bool {
        self.load.is_stale.load(Ordering::Relaxed)
    }
}
