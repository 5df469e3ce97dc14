//! Keeping a forked child usable.
//!
//! A fork copies memory as it is, and of the threads only the caller. Were the maintenance thread
//! inside a cache at that moment, the child would find locks held for ever. So before a fork the
//! caller waits until that thread is between two looks, and that of ticking clocks between two
//! ticks, and takes the process-wide locks; both
//! sides give them back afterwards, and the child starts a maintenance thread of its own when it
//! needs one. What other threads of the user hold inside a cache, nobody can give back: see
//! `docs::limitations`.
//!
//! Has `unsafe` outside of table, entry, reclamation and buffers: the C library calls back.

use std::cell::RefCell;
use std::sync::Once;

use crate::expiry::ticking;
use crate::maintainer;
use crate::reclaim;

/// The locks that a forking thread holds meanwhile.
struct Held {
    // In the order of their taking, reversed: fields are dropped from the first on.
    ticking: ticking::Stopped,
    reclaim: reclaim::Held,
    maintainer: maintainer::Held,
}

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

// The standard library links the C library anyway.
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> i32;
}

/// Registers the handlers, once for the process.
pub(crate) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers are functions of this program, which is never unloaded from under
        // them, and do not unwind: they take and give back locks. An error (no memory) leaves
        // forks as they are without handlers.
        let _ =
            unsafe { pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
    });
}

extern "C" fn before() {
    let _ = HELD.try_with(|held| {
        let maintainer = maintainer::hold();
        let reclaim = reclaim::hold();
        *held.borrow_mut() = Some(Held { ticking: ticking::stop(), reclaim, maintainer });
    });
}

extern "C" fn after_in_parent() {
    let _ = HELD.try_with(|held| drop(held.borrow_mut().take()));
}

extern "C" fn after_in_child() {
    let _ = HELD.try_with(|held| {
        if let Some(mut held) = held.borrow_mut().take() {
            held.maintainer.forget_thread();
            held.reclaim.forget_other_threads();
            held.ticking.forget_thread();
        }
    });
}
