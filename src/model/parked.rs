//! A thread that sleeps until a waker wakes it.

use std::task::Waker;

use loom::cell::UnsafeCell;

use crate::task::Parker;

/// A value that one thread hands to another by a waking.
pub struct Handed(UnsafeCell<u64>);

// SAFETY: loom reports any access that is not ordered, which is the purpose.
unsafe impl Send for Handed {}
// SAFETY: as above.
unsafe impl Sync for Handed {}

impl Default for Handed {
    fn default() -> Self {
        Self(UnsafeCell::new(0))
    }
}

impl Handed {
    /// Writes the value, and wakes the thread that waits for it.
    pub fn hand(&self, value: u64, waker: Waker) {
        // SAFETY: the pointer is valid; loom checks that no other thread uses it at the same time.
        self.0.with_mut(|pointer| unsafe { *pointer = value });
        waker.wake();
    }

    /// Waits for the waking, and reads the value.
    pub fn receive(&self, parker: &Waiting) -> u64 {
        parker.0.park();
        // SAFETY: as above.
        self.0.with(|pointer| unsafe { *pointer })
    }
}

/// The calling thread, as one that waits for a waking.
pub struct Waiting(Parker);

impl Default for Waiting {
    fn default() -> Self {
        Self(Parker::new())
    }
}

impl Waiting {
    pub fn waker(&self) -> Waker {
        self.0.waker()
    }
}
