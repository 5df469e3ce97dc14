//! A value on the heap that is made when it is first needed, and then stays where it is.
//!
//! It differs from a `OnceLock` in that no thread waits for another: threads that need the value at the same
//! time each make one, the first to publish wins, and the others drop theirs. So a thread that is suspended
//! while it makes a value holds nobody back, and a process may be copied (`fork`) at any moment. An empty one
//! takes one word.
//!
//! # Orderings
//! The pointer is published by a compare-and-swap with acquire-release, and read with acquire: a thread that
//! gets the value sees it initialized. Model: `loom-tests/tests/lazy_box.rs`.

use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;

use crate::base::sync::{AtomicPtr, Ordering};

/// A value that is made when it is first needed.
pub(crate) struct LazyBox<T> {
    /// From `Box::into_raw`; null until the value is needed.
    value: AtomicPtr<T>,
    /// It owns the value, and shares it among threads, under the same conditions as this.
    owns: PhantomData<OnceLock<T>>,
}

impl<T> LazyBox<T> {
    pub(crate) fn new() -> Self {
        Self { value: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// As [`new`](Self::new). In models, `make` makes the value at once: models of what is in it would
    /// otherwise also try every way in which it can be made.
    #[cfg_attr(not(larder_loom), expect(unused_variables, reason = "it is made when it is needed"))]
    pub(crate) fn new_unless_loom(make: impl FnOnce() -> T) -> Self {
        let lazy = Self::new();
        #[cfg(larder_loom)]
        lazy.get_or_make(make);
        lazy
    }

    /// The value, if it was made before. Wait-free.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: pairs with the release in `publish`.
        let value = self.value.load(Ordering::Acquire);
        // SAFETY: a pointer that is not null is from `publish`, which has released the initialized value;
        // it is freed only by the drop of `self`, which the result borrows.
        unsafe { value.as_ref() }
    }

    /// The value, which `make` makes if it was not made before. Wait-free, apart from `make` and the
    /// allocation.
    #[inline]
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        match self.get() {
            Some(value) => value,
            None => self.publish(Box::new(make())),
        }
    }

    /// Publishes `made`, unless another thread was first; returns the value that was published.
    #[cold]
    fn publish(&self, made: Box<T>) -> &T {
        let made = Box::into_raw(made);
        // AcqRel: the release publishes the value to `get`. Acquire: if another thread was first, this pairs
        // with its release.
        let swapped =
            self.value.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire);
        let value = match swapped {
            Ok(_) => made,
            Err(first) => {
                // SAFETY: from `Box::into_raw` above, and no other thread was given it.
                drop(unsafe { Box::from_raw(made) });
                first
            }
        };
        // SAFETY: as in `get`.
        unsafe { &*value }
    }
}

impl<T> Drop for LazyBox<T> {
    fn drop(&mut self) {
        // Relaxed: every use of the value happens before `&mut self`.
        let value = self.value.load(Ordering::Relaxed);
        if !value.is_null() {
            // SAFETY: from `Box::into_raw` in `publish`, and this is the only drop.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::base::sync::AtomicUsize;

    #[test]
    fn a_value_is_made_once_and_dropped_with_its_box() {
        /// Counts its drops.
        struct Noted<'d>(&'d AtomicUsize);
        impl Drop for Noted<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let drops = AtomicUsize::new(0);
        let lazy = LazyBox::new();
        assert!(lazy.get().is_none());
        let first = ptr::from_ref(lazy.get_or_make(|| Noted(&drops)));
        assert!(ptr::eq(first, lazy.get_or_make(|| unreachable!("it was made"))));
        assert!(lazy.get().is_some_and(|value| ptr::eq(first, value)));
        assert_eq!(drops.load(Ordering::Relaxed), 0);
        drop(lazy);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn all_threads_get_the_same_value_and_every_other_one_is_dropped() {
        const THREADS: usize = 4;
        for _ in 0..50 {
            let (lazy, start) = (LazyBox::new(), Barrier::new(THREADS));
            let addresses: Vec<usize> = std::thread::scope(|scope| {
                let get = |number: usize| {
                    let (lazy, start) = (&lazy, &start);
                    move || {
                        start.wait();
                        ptr::from_ref(lazy.get_or_make(|| vec![number])).addr()
                    }
                };
                let threads: Vec<_> = (0..THREADS).map(|number| scope.spawn(get(number))).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            assert!(addresses.iter().all(|address| *address == addresses[0]));
        }
    }
}
