//! One value that is replaced and freed behind readers that mark themselves.

use std::sync::Mutex;

use super::Watched;
use crate::base::sync::{AtomicPtr, Ordering};
use crate::reclaim::readers::{Phases, Reader};

/// The slot of a value that readers may see. Replaced values stay until the model ends.
pub(super) struct ValueSlot {
    current: AtomicPtr<Watched>,
    /// All values, including the replaced ones.
    values: Mutex<Vec<*mut Watched>>,
}

/// A value that was taken out of its slot.
pub(super) struct Taken(*mut Watched);

// SAFETY: the pointers are to values that live until the model ends.
unsafe impl Send for ValueSlot {}
// SAFETY: as above.
unsafe impl Sync for ValueSlot {}

impl Default for ValueSlot {
    fn default() -> Self {
        let first = Box::into_raw(Box::new(Watched::new(0)));
        Self { current: AtomicPtr::new(first), values: Mutex::new(vec![first]) }
    }
}

impl ValueSlot {
    /// Reads the current value; for a thread that has announced itself as a reader.
    pub(super) fn read(&self) -> u64 {
        // Acquire: pairs with the release in `replace`.
        let value = self.current.load(Ordering::Acquire);
        // SAFETY: values live until the model ends.
        unsafe { &*value }.read()
    }

    /// Replaces the value.
    pub(super) fn replace(&self, value: u64) -> Taken {
        let new = Box::into_raw(Box::new(Watched::new(value)));
        self.values.lock().expect("no panic while locked").push(new);
        // Release: publishes the value; pairs with the acquire in `read`.
        Taken(self.current.swap(new, Ordering::Release))
    }
}

impl Taken {
    /// Stands for freeing the value.
    pub(super) fn free(&self) {
        // SAFETY: values live until the model ends.
        unsafe { &*self.0 }.free();
    }
}

impl Drop for ValueSlot {
    fn drop(&mut self) {
        for value in self.values.lock().expect("no panic while locked").drain(..) {
            // SAFETY: from `Box::into_raw`, once each, and every thread of the model has ended.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

/// A value, and its readers.
pub struct Guarded {
    phases: Phases,
    readers: Vec<Reader>,
    slot: ValueSlot,
}

/// A value that was taken out.
pub struct Unlinked {
    value: Taken,
    end_phase: u64,
}

impl Guarded {
    pub fn new(readers: usize) -> Self {
        Self {
            phases: Phases::new(),
            readers: (0..readers).map(Reader::new).collect(),
            slot: ValueSlot::default(),
        }
    }

    /// Reads the value as the thread with this number.
    pub fn read(&self, reader: usize) -> u64 {
        let reader = &self.readers[reader];
        reader.enter(&self.phases);
        let value = self.slot.read();
        reader.leave();
        value
    }

    /// Replaces the value; for the thread that steps.
    pub fn replace(&self, value: u64) -> Unlinked {
        let value = self.slot.replace(value);
        Unlinked { value, end_phase: self.phases.end_of_now() }
    }

    pub fn step(&self) {
        self.phases.step(&self.readers);
    }

    /// Frees the value if no reader can see it any more.
    pub fn free(&self, unlinked: &Unlinked) -> bool {
        let is_over = self.phases.has_come(unlinked.end_phase);
        if is_over {
            unlinked.value.free();
        }
        is_over
    }
}
