//! Hooks that run before and after a fork of the process.
//!
//! A fork copies memory as it is, and only the calling thread. A lock that another thread holds at that
//! moment would be held for ever in the child. A [`Hook`] takes such locks before the fork and releases
//! them after it, in the parent and in the child.
//!
//! Hooks of a lower rank take their locks first and release them last. A thread that holds a lock of one
//! hook may wait for the locks of a hook of a higher rank, never of a lower one.
//!
//! This module has `unsafe` code because it registers callbacks with the C library.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::Once;

use crate::base::sync::{self, Mutex, MutexGuard};

/// Locks that no other thread may hold while the process forks, and how to take them.
pub(crate) struct Hook {
    /// The place of the hook in the order of locks. Each hook has a rank of its own.
    pub(crate) rank: u8,
    /// Takes the locks. Must not panic.
    pub(crate) hold: fn() -> Box<dyn HeldAcrossFork>,
}

/// The locks of a hook during a fork. Dropping this releases them, and must not panic.
pub(crate) trait HeldAcrossFork {
    /// In the child, corrects what the locks protect for a process that has only the calling thread. Must
    /// not panic.
    fn forget_other_threads(&mut self);
}

/// The registered hooks, in ascending order of their ranks.
static HOOKS: Mutex<Vec<&'static Hook>> = Mutex::new(Vec::new());

/// Registers a hook, unless it is registered already.
pub(crate) fn register(hook: &'static Hook) {
    {
        let mut hooks = sync::lock(&HOOKS);
        if let Err(at) = hooks.binary_search_by_key(&hook.rank, |hook| hook.rank) {
            hooks.insert(at, hook);
        }
    }
    // Also if another thread has registered the hook: it may not have installed the handlers yet.
    install();
}

/// The locks that a forking thread holds.
struct HookLocks {
    // Taken last: a thread may register a hook while it holds a lock of another hook.
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
            // A hook was registered meanwhile, so all locks are taken again, in the order of ranks.
            held.release();
        }
    }

    /// Releases all locks, those taken last first.
    fn release(self) {
        let Self { hooks, mut locks } = self;
        drop(hooks);
        while let Some(locks) = locks.pop() {
            drop(locks);
        }
    }
}

/// The locks of the forking thread, during a fork; otherwise `None`. It has no destructor, so that a
/// thread can fork in the destructors of its other thread-locals.
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
        // SAFETY: the handlers are functions of this program, which is never unloaded, and they do not
        // unwind: they take and release locks. After an error (no memory), forks run without handlers.
        let _ =
            unsafe { pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child)) };
    });
}

extern "C" fn before() {
    // Taken before the slot is borrowed: releasing the locks of a first try may run user code.
    let locks = HookLocks::take();
    let _ = HELD.try_with(|held| **held.borrow_mut() = Some(locks));
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
