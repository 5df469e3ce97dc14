//! What a thread is in the middle of, and for whom.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::ptr;
use std::thread::LocalKey;

/// For whom, by address.
pub(super) type Nest = RefCell<Vec<*const ()>>;

/// Being in a nest, until it is dropped. Of one nest, they are dropped in whatever order.
pub(crate) struct Nested {
    nest: &'static LocalKey<Nest>,
    owner: *const (),
}

impl Nested {
    pub(super) fn enter<T>(nest: &'static LocalKey<Nest>, owner: &T) -> Self {
        let _ = nest.try_with(|nest| nest.borrow_mut().push(ptr::from_ref(owner).cast()));
        Self { nest, owner: ptr::from_ref(owner).cast() }
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        let _ = self.nest.try_with(|nest| {
            let nest = &mut *nest.borrow_mut();
            if let Some(last) = nest.iter().rposition(|owner| ptr::eq(*owner, self.owner)) {
                nest.swap_remove(last);
            }
        });
    }
}

/// Whether this thread is in the nest for `owner`.
pub(super) fn is_in<T>(nest: &'static LocalKey<Nest>, owner: &T) -> bool {
    let is_own = |other: &*const ()| ptr::eq(*other, ptr::from_ref(owner).cast());
    nest.try_with(|nest| nest.borrow().iter().any(is_own)).unwrap_or(false)
}
