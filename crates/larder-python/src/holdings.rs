//! The references that a cache holds to Python's objects.
//!
//! An entry of the library does not own its key and its value: it has a place here. So the garbage collector
//! finds every reference of a cache, also of entries that have left and that the library has not freed yet,
//! and finds the same ones however often it asks.
//!
//! | reference | held from | released by the first `settle` after |
//! |---|---|---|
//! | value | before the insertion | the entry has left, was dropped, or got another value |
//! | key | before the insertion | the entry was dropped: until then a search may compare it |
//!
//! Without the interpreter's lock, the value is held as long as the key. What is released is moved out first, unless
//! its release runs no Python code.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder::RemovalCause;
#[cfg(not(Py_GIL_DISABLED))]
use pyo3::ffi;
use pyo3::{Py, PyAny, PyTraverseError, PyVisit, Python};

use crate::guarded::Guarded;

type Object = Py<PyAny>;

/// A place of an entry's references.
#[derive(Clone, Copy)]
pub(crate) struct Place(u32);

/// An entry that has left, of which the listener is to be notified.
pub(crate) struct Departed {
    pub(crate) key: Object,
    pub(crate) value: Object,
    pub(crate) cause: RemovalCause,
}

/// The key and the value of an entry, as far as they are held.
type References = (Option<Object>, Option<Object>);

/// What is to be released, once the library has nothing left to do.
pub(crate) enum Unsettled {
    Departed(Departed),
    Dropped(Object),
}

#[derive(Default)]
struct Slots {
    pairs: Vec<References>,
    free: Vec<u32>,
    departed: VecDeque<Departed>,
    dropped: Vec<Object>,
}

#[derive(Default)]
pub(crate) struct Holdings {
    /// Whether the listener is to be notified of departed entries.
    has_listener: bool,
    slots: Guarded<Slots>,
    /// The length of both lists of `slots`, so that most calls need not look at them.
    waiting: AtomicUsize,
}

impl Holdings {
    pub(crate) fn new(has_listener: bool) -> Self {
        Self { has_listener, ..Self::default() }
    }

    /// Holds the key and the value of a new entry.
    ///
    /// # Panics
    /// If there are 2^32 entries, which take more than 200 GB.
    pub(crate) fn hold(&self, key: Object, value: Object) -> Place {
        let pair = (Some(key), Some(value));
        self.slots.with(|slots| {
            if let Some(place) = slots.free.pop() {
                slots.pairs[place as usize] = pair;
                return Place(place);
            }
            slots.pairs.push(pair);
            Place(u32::try_from(slots.pairs.len() - 1).expect("there are fewer than 2^32 entries"))
        })
    }

    /// Holds `value` in the place of the entry's old value.
    pub(crate) fn replace(&self, place: Place, value: Object) {
        self.change(|slots| {
            let old = slots.pairs[place.0 as usize].1.replace(value);
            slots.dropped.extend(old);
        });
    }

    /// Takes the value of an entry that has left the table, for `cause`. Without the interpreter's lock, other threads
    /// may still be reading the value; then it stays until the library drops the entry.
    pub(crate) fn leave(&self, place: Place, cause: RemovalCause, py: Python<'_>) {
        self.change(|slots| {
            let (key, value) = &mut slots.pairs[place.0 as usize];
            #[cfg(not(Py_GIL_DISABLED))]
            let left = value.take();
            #[cfg(Py_GIL_DISABLED)]
            let left = value.as_ref().map(|value| value.clone_ref(py));
            let Some(value) = left else { return };
            match key {
                Some(key) if self.has_listener => {
                    slots.departed.push_back(Departed { key: key.clone_ref(py), value, cause });
                }
                _ => slots.dropped.push(value),
            }
        });
    }

    /// Takes a place back when the library drops the entry.
    pub(crate) fn give_back(&self, place: Place) {
        self.change(|slots| {
            let (key, value) = mem::take(&mut slots.pairs[place.0 as usize]);
            slots.dropped.extend(key);
            slots.dropped.extend(value);
            slots.free.push(place.0);
        });
    }

    /// Whether there is anything to release.
    #[inline]
    pub(crate) fn is_unsettled(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Releases objects for which that runs no Python code. Returns whether others wait: without the interpreter's
    /// lock, all do.
    pub(crate) fn release_quiet(&self, py: Python<'_>) -> bool {
        #[cfg(not(Py_GIL_DISABLED))]
        self.change(|slots| {
            while let Some(object) = slots.dropped.pop_if(|object| is_quiet(object)) {
                drop(object.into_bound(py));
            }
        });
        #[cfg(Py_GIL_DISABLED)]
        let _ = py;
        self.is_unsettled()
    }

    /// The next that is to be released. The caller drops it outside of the library, since that runs Python
    /// code.
    pub(crate) fn settle(&self) -> Option<Unsettled> {
        self.change(|slots| {
            let departed = slots.departed.pop_front().map(Unsettled::Departed);
            departed.or_else(|| slots.dropped.pop().map(Unsettled::Dropped))
        })
    }

    /// Shows every reference to the garbage collector. If a thread is at work here, it shows none, so that all of
    /// them count as used from elsewhere.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let shown = self.slots.try_with(|slots| {
            for (key, value) in &slots.pairs {
                visit.call(key)?;
                visit.call(value)?;
            }
            for entry in &slots.departed {
                visit.call(&entry.key)?;
                visit.call(&entry.value)?;
            }
            slots.dropped.iter().try_for_each(|object| visit.call(object))
        });
        shown.unwrap_or(Ok(()))
    }

    /// The bytes that the places take.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.with(|slots| {
            slots.pairs.capacity() * size_of::<References>()
                + slots.free.capacity() * size_of::<u32>()
        })
    }

    #[inline]
    fn change<R>(&self, work: impl FnOnce(&mut Slots) -> R) -> R {
        self.slots.with(|slots| {
            let result = work(slots);
            self.waiting.store(slots.departed.len() + slots.dropped.len(), Ordering::Relaxed);
            result
        })
    }
}

/// Whether the release of a reference runs no Python code: there are others, or the type has no finalizer.
#[cfg(not(Py_GIL_DISABLED))]
fn is_quiet(object: &Object) -> bool {
    let object = object.as_ptr();
    #[cfg(not(PyPy))]
    {
        // SAFETY: the reference keeps the object alive.
        if unsafe { ffi::Py_REFCNT(object) } > 1 {
            return true;
        }
    }
    // SAFETY: as above.
    let class = unsafe { ffi::Py_TYPE(object) };
    class == &raw mut ffi::PyUnicode_Type
        || class == &raw mut ffi::PyLong_Type
        || class == &raw mut ffi::PyBytes_Type
        || class == &raw mut ffi::PyFloat_Type
}
