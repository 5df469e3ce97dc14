//! The arrays in which a policy looks up keys, for callers that prefetch before they have the lock.
#![forbid(unsafe_code)]

use std::ptr;

use super::sketch::KeyBits;
use crate::base::prefetch::prefetch_for_write;
use crate::base::sync::{AtomicPtr, AtomicUsize, Ordering};

/// Arrays in which a policy finds a key by [`KeyBits::index`], as far as there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyArrays([Option<KeyArray>; 2]);

/// The memory of one array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KeyArray {
    start: *mut u8,
    bytes: usize,
}

impl KeyArrays {
    pub(super) fn of<A, B>(first: &[A], second: &[B]) -> Self {
        Self([KeyArray::of(first), KeyArray::of(second)].map(Some))
    }
}

impl KeyArray {
    fn of<T>(elements: &[T]) -> Self {
        Self { start: elements.as_ptr().cast_mut().cast(), bytes: size_of_val(elements) }
    }
}

/// The same, for threads that do not have the lock. What they read may be outdated, or a mixture of old and
/// new: they only prefetch.
#[derive(Debug)]
pub(crate) struct SharedKeyArrays([(AtomicPtr<u8>, AtomicUsize); 2]);

impl Default for SharedKeyArrays {
    fn default() -> Self {
        let none = || (AtomicPtr::new(ptr::null_mut()), AtomicUsize::new(0));
        Self([none(), none()])
    }
}

impl SharedKeyArrays {
    /// Publishes where the arrays are now.
    // Otherwise removals pay for a call.
    #[inline(always)]
    pub(crate) fn publish(&self, arrays: &KeyArrays) {
        for ((start, bytes), array) in self.0.iter().zip(arrays.0) {
            if let Some(array) = array
                && (start.load(Ordering::Relaxed) != array.start
                    || bytes.load(Ordering::Relaxed) != array.bytes)
            {
                start.store(array.start, Ordering::Relaxed);
                bytes.store(array.bytes, Ordering::Relaxed);
            }
        }
    }

    /// Prefetches where the policy looks up the key of `hash`.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        for (start, bytes) in &self.0 {
            let bytes = bytes.load(Ordering::Relaxed);
            if bytes > 0 {
                // An array of bytes has the element with this index at the same part of its length.
                let at = KeyBits::of(hash).index(bytes);
                prefetch_for_write(start.load(Ordering::Relaxed).wrapping_add(at));
            }
        }
    }
}
