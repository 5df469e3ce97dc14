//! What is done around a fork of the process.
//!
//! A fork copies memory as it is, and of the threads only the caller. A lock that another thread holds at
//! that moment would be held for ever in the child. A [`Hook`] takes such locks before the fork and gives
//! them back after it, in the parent and in the child.
//!
//! Hooks of a lower rank take their locks first and give them back last: a thread that holds a lock of one
//! hook may wait for those of a hook of a higher rank, and never the other way round.
//!
//! Has `unsafe` because the C library calls back.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::Once;

use crate::base::sync::{self, Mutex, MutexGuard};

/// Something whose locks must not be in another thread's hands while the process forks.
pub(crate) struct Hook {
    /// By which hooks are ordered; each has its own.
    pub(crate) rank: u8,
    /// Takes the locks. Must not panic.
    pub(crate) hold: fn() -> Box<dyn HeldAcrossFork>,
}

/// The locks of a hook during a fork. They are given back as this is dropped, which must not panic.
pub(crate) trait HeldAcrossFork {
    /// Makes what the locks protect right for a child, which has only the calling thread. Must not panic.
    fn forget_other_threads(&mut self);
}

/// In ascending order of ranks.
static HOOKS: Mutex<Vec<&'static Hook>> = Mutex::new(Vec::new());

/// Registers a hook, if that has not been done before.
pub(crate) fn register(hook: &'static Hook) {
    {
        let mut hooks = sync::lock(&HOOKS);
        match hooks.binary_search_by_key(&hook.rank, |hook| hook.rank) {
            Ok(_) => return,
            Err(at) => hooks.insert(at, hook),
        }
    }
    install();
}

/// What a forking thread holds.
struct HookLocks {
    // Taken last, so that a thread that registers a hook while it holds a hook's lock is not waited for.
    hooks: MutexGuard<'static, Vec<&'static Hook>>,
    /// In the order in which they were taken.
    locks: Vec<Box<dyn HeldAcrossFork>>,
}

impl HookLocks {
    fn take() -> Self {
        loop {
            let known = sync::lock(&HOOKS).clone();
            let locks = known.iter().map(|hook| (hook.hold)()).collect();
            let held = Self { hooks: sync::lock(&HOOKS), locks };
            if held.hooks.len() == known.len() {
                return held;
            }
            // A hook has been registered meanwhile: once more, with its locks in their place.
            held.release();
        }
    }

    /// Gives everything back, the last taken first.
    fn release(self) {
        let Self { hooks, mut locks } = self;
        drop(hooks);
        while let Some(locks) = locks.pop() {
            drop(locks);
        }
    }
}

/// No destructor, so that threads can fork in those of their other thread-locals. It holds something
/// during a fork alone.
type ForkSlot = RefCell<ManuallyDrop<Option<HookLocks>>>;

const _: () = assert!(!std::mem::needs_drop::<ForkSlot>());

thread_local! {
    static HELD: ForkSlot = const { RefCell::new(ManuallyDrop::new(None)) };
}

// The standard library links the C library anyway.
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> i32;
}

/// Installs the handlers, once for the process.
fn install() {
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
    let _ = HELD.try_with(|held| **held.borrow_mut() = Some(HookLocks::take()));
}

fn take_held() -> Option<HookLocks> {
    HELD.try_with(|held| held.borrow_mut().take()).ok().flatten()
}

extern "C" fn after_in_parent() {
    if let Some(held) = take_held() {
        held.release();
    }
}

extern "C" fn after_in_child() {
    if let Some(mut held) = take_held() {
        for locks in held.locks.iter_mut().rev() {
            locks.forget_other_threads();
        }
        held.release();
    }
}
