//! The references that a cache holds to Python's objects.
//!
//! An entry of the library does not own its key and its value: it has a place here. So the garbage collector
//! finds every reference of a cache, also of entries that have left and that the library has not freed yet,
//! and finds the same ones however often it asks.
//!
//! | reference | held from | released by the first `settle` after |
//! |---|---|---|
//! | value | before the insertion | the entry has left, or was dropped |
//! | key | before the insertion | the entry was dropped: until then a search may compare it |
//!
//! The lock is held for a few instructions that run no Python code; what is released is moved out first.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use larder::RemovalCause;
use pyo3::{Py, PyAny, PyTraverseError, PyVisit, Python};

type Object = Py<PyAny>;

/// A place of an entry's references.
#[derive(Clone, Copy)]
pub(crate) struct Place(u32);

/// An entry that has left: its key if that was asked for, its value, and why it has left.
pub(crate) struct Departed {
    pub(crate) key: Option<Object>,
    pub(crate) value: Object,
    pub(crate) cause: RemovalCause,
}

/// The key and the value of an entry, as far as they are held.
type References = (Option<Object>, Option<Object>);

/// What is to be released, once the library has nothing left to do.
pub(crate) struct Unsettled {
    /// The listener is to be notified of these.
    pub(crate) departed: Vec<Departed>,
    pub(crate) _dropped: Vec<References>,
}

#[derive(Default)]
struct Slots {
    pairs: Vec<References>,
    free: Vec<u32>,
    departed: Vec<Departed>,
    dropped: Vec<References>,
}

#[derive(Default)]
pub(crate) struct Holdings {
    /// Whether departed entries are to have their keys.
    wants_keys: bool,
    slots: Mutex<Slots>,
    /// The length of both lists of `slots`, so that most calls need not lock to find them empty.
    waiting: AtomicUsize,
}

impl Holdings {
    pub(crate) fn new(wants_keys: bool) -> Self {
        Self { wants_keys, ..Self::default() }
    }

    /// Holds the key and the value of a new entry.
    ///
    /// # Panics
    /// If there are 2^32 entries, which take more than 200 GB.
    pub(crate) fn hold(&self, key: Object, value: Object) -> Place {
        let mut slots = self.lock();
        let pair = (Some(key), Some(value));
        if let Some(place) = slots.free.pop() {
            slots.pairs[place as usize] = pair;
            return Place(place);
        }
        slots.pairs.push(pair);
        Place(u32::try_from(slots.pairs.len() - 1).expect("there are fewer than 2^32 entries"))
    }

    /// Takes the value of an entry that has left the table, for `cause`.
    pub(crate) fn leave(&self, place: Place, cause: RemovalCause, py: Python<'_>) {
        let mut slots = self.lock();
        let (key, value) = &mut slots.pairs[place.0 as usize];
        let Some(value) = value.take() else { return };
        let key = key.as_ref().filter(|_| self.wants_keys).map(|key| key.clone_ref(py));
        slots.departed.push(Departed { key, value, cause });
        self.count(&slots);
    }

    /// Takes a place back when the library drops the entry.
    pub(crate) fn give_back(&self, place: Place) {
        let mut slots = self.lock();
        let pair = mem::take(&mut slots.pairs[place.0 as usize]);
        slots.dropped.push(pair);
        slots.free.push(place.0);
        self.count(&slots);
    }

    /// Whether `settle` has anything to do.
    #[inline]
    pub(crate) fn is_unsettled(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) != 0
    }

    /// Takes out what entries that have left held. The caller drops the result outside of the library, since
    /// that runs Python code.
    pub(crate) fn settle(&self) -> Unsettled {
        let mut slots = self.lock();
        let departed = mem::take(&mut slots.departed);
        let dropped = mem::take(&mut slots.dropped);
        self.count(&slots);
        Unsettled { departed, _dropped: dropped }
    }

    /// Shows every reference to the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let slots = self.lock();
        for (key, value) in slots.pairs.iter().chain(&slots.dropped) {
            visit.call(key)?;
            visit.call(value)?;
        }
        for entry in &slots.departed {
            visit.call(&entry.key)?;
            visit.call(&entry.value)?;
        }
        Ok(())
    }

    /// The bytes that the places take.
    pub(crate) fn bytes(&self) -> usize {
        let slots = self.lock();
        slots.pairs.capacity() * size_of::<References>() + slots.free.capacity() * size_of::<u32>()
    }

    fn count(&self, slots: &Slots) {
        self.waiting.store(slots.departed.len() + slots.dropped.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
