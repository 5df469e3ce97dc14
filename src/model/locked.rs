//! The lock of a partition, by its word.
#![forbid(unsafe_code)]

use crate::base::lock::LockWord;
use crate::base::sync::{AtomicU64, Ordering};

/// A number that one thread at a time may use.
pub struct Locked {
    word: LockWord,
    number: AtomicU64,
}

impl Default for Locked {
    fn default() -> Self {
        Self { word: LockWord::new(), number: AtomicU64::new(0) }
    }
}

impl Locked {
    /// Adds one, in two steps, unless another thread has the lock. Returns the number before.
    pub fn try_add(&self) -> Option<u64> {
        if !self.word.try_take() {
            return None;
        }
        // Relaxed: only the lock orders them.
        let number = self.number.load(Ordering::Relaxed);
        self.number.store(number + 1, Ordering::Relaxed);
        self.word.release();
        Some(number)
    }
}
