//! What the calling thread is inside of. This is the one place that knows, and every wait asks it.
//!
//! # The rule
//! A thread that is inside user code of any cache, or inside a step of a cache that waits for user
//! code, never waits for user code. Threads that wait are therefore inside of nothing, nobody waits
//! for them, and no circle of waiting threads can close, however caches, listeners, executors and
//! values are nested in one another.
//!
//! | frame | entered where | others wait for its end in |
//! |---|---|---|
//! | [`Scope::Listener`] | notifications of a queue are delivered | a write whose queue is full, `flush`, the end of the cache |
//! | [`Scope::AtomicListener`] | the atomic listener runs | a change of the same key |
//! | [`Scope::Gate`] | a key of a cache with an atomic listener is changed, closures of the user's that the change asks included | a change of the same key |
//! | [`Scope::Evicting`] | maintenance takes out what the atomic listener was notified of | `run_pending` |
//! | [`Scope::Executor`] | the user's executor is handed a job | `flush`, the end of the cache |
//! | [`Scope::Dropping`] | keys and values are dropped | `flush` |
//! | [`Scope::Visit`] | the maintenance thread visits a cache, or an executor's job runs | the end of the cache |
//! | [`Scope::End`] | a cache is taken apart | the drop of its last handle |
//! | [`Scope::Maintainer`] | the maintenance thread lives | all of the above |
//! | `Scope::Task`, with the features that have such tasks, | a periodic task runs | the stop of that task |
//!
//! What a wait does instead of waiting, when the thread is inside any of them:
//!
//! | wait | instead |
//! |---|---|
//! | a change of a key that another thread changes | the change is refused: [`Rejection::WithinListener`](crate::Rejection::WithinListener), or a panic where there is no result to say it in |
//! | a write whose listener's queue is full | the queue grows beyond its bound, up to twice of it; then the notification is dropped and counted |
//! | the drop of a last handle while another thread visits the cache | it waits for a quarter of a second, or on a visit not at all; then the last visitor takes the cache apart |
//! | `flush` | an error |
//! | `run_pending`, for a removal that another thread is in the middle of | it returns |
//! | the stop of a task | the task ends by itself |
//! | `fork` | waits for no longer than a second |
//!
//! # Life of the memory
//! The stack has a fixed size and no destructor, so it works in the destructors of thread-locals, when
//! those that have one are gone. A thread that is nested more deeply than it can note is taken to be
//! inside of everything: it waits for nothing, and leaves to others what they can do.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

/// What a thread can be inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Listener,
    AtomicListener,
    Gate,
    Evicting,
    Executor,
    Dropping,
    Visit,
    End,
    Maintainer,
    #[allow(dead_code, reason = "only some features have periodic tasks")]
    Task,
}

/// How many frames a thread can note.
const FRAMES: usize = 24;

/// What, and of which object: its address.
type Frame = (Scope, usize);

struct Stack {
    depth: Cell<usize>,
    frames: [Cell<Frame>; FRAMES],
}

impl Stack {
    const fn new() -> Self {
        Self { depth: Cell::new(0), frames: [const { Cell::new((Scope::Dropping, 0)) }; FRAMES] }
    }

    /// The frames that are noted, the innermost last.
    fn noted(&self) -> &[Cell<Frame>] {
        &self.frames[..self.depth.get().min(FRAMES)]
    }

    /// Mostly a thread is inside of nothing.
    #[inline]
    fn has(&self, is_wanted: impl Fn(Frame) -> bool) -> bool {
        self.depth.get() > 0 && self.has_noted(is_wanted)
    }

    #[inline(never)]
    fn has_noted(&self, is_wanted: impl Fn(Frame) -> bool) -> bool {
        self.depth.get() > FRAMES || self.noted().iter().any(|frame| is_wanted(frame.get()))
    }
}

// Or the stack would be gone in the destructors of other thread-locals.
const _: () = assert!(!std::mem::needs_drop::<Stack>());

#[cfg(not(larder_loom))]
thread_local! {
    static STACK: Stack = const { Stack::new() };
}
#[cfg(larder_loom)]
loom::thread_local! {
    static STACK: Stack = Stack::new();
}

/// Being inside of something, until it is dropped.
#[must_use]
pub(crate) struct Inside {
    frame: Frame,
    /// It belongs to the thread that made it.
    not_send: PhantomData<*const ()>,
}

/// Notes that the thread is inside of `kind` of `owner`.
pub(crate) fn enter<T: ?Sized>(scope: Scope, owner: &T) -> Inside {
    let frame = (scope, address(owner));
    STACK.with(|stack| {
        let depth = stack.depth.get();
        if let Some(place) = stack.frames.get(depth) {
            place.set(frame);
        }
        stack.depth.set(depth + 1);
    });
    Inside { frame, not_send: PhantomData }
}

impl Drop for Inside {
    fn drop(&mut self) {
        STACK.with(|stack| {
            // Frames end in the reverse order of their beginnings, except gates, which a change
            // hands on. Those that are too many to be noted end first.
            if stack.depth.get() <= FRAMES {
                let noted = stack.noted();
                if let Some(own) = noted.iter().rposition(|frame| frame.get() == self.frame) {
                    noted[own..].windows(2).for_each(|pair| pair[0].set(pair[1].get()));
                }
            }
            stack.depth.set(stack.depth.get() - 1);
        });
    }
}

/// Whether the thread is inside of `kind` of `owner`.
#[inline]
pub(crate) fn is_inside<T: ?Sized>(scope: Scope, owner: &T) -> bool {
    let wanted = (scope, address(owner));
    STACK.with(|stack| stack.has(|frame| frame == wanted))
}

/// Whether the thread is inside of `kind` of anything.
#[inline]
pub(crate) fn is_inside_any(scope: Scope) -> bool {
    STACK.with(|stack| stack.has(|(inside, _)| inside == scope))
}

/// Whether the thread is one that others wait for without end: on a visit, or the maintenance thread.
#[cfg(not(larder_loom))]
pub(crate) fn is_visiting() -> bool {
    STACK.with(|stack| stack.has(|(scope, _)| matches!(scope, Scope::Visit | Scope::Maintainer)))
}

/// Whether the thread may wait for user code that another one runs: only if it is inside of nothing.
#[inline]
pub(crate) fn may_wait() -> bool {
    STACK.with(|stack| stack.depth.get() == 0)
}

fn address<T: ?Sized>(owner: &T) -> usize {
    ptr::from_ref(owner).cast::<()>().addr()
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_inside_of_what_it_has_entered_and_not_left() {
        let (first, second) = (1_u64, 2_u64);
        assert!(may_wait());
        let outer = enter(Scope::Listener, &first);
        let gate = enter(Scope::Gate, &first);
        let inner = enter(Scope::Listener, &second);
        assert!(is_inside(Scope::Listener, &first) && is_inside(Scope::Listener, &second));
        assert!(is_inside(Scope::Gate, &first) && !is_inside(Scope::Gate, &second));
        assert!(!is_inside_any(Scope::Dropping) && !may_wait());
        drop(gate);
        assert!(!is_inside_any(Scope::Gate));
        assert!(is_inside(Scope::Listener, &first) && is_inside(Scope::Listener, &second));
        drop(inner);
        assert!(is_inside(Scope::Listener, &first) && !is_inside(Scope::Listener, &second));
        std::thread::scope(|scope| scope.spawn(|| assert!(may_wait())).join().unwrap());
        drop(outer);
        assert!(may_wait());
    }

    #[test]
    fn a_thread_that_is_nested_too_deeply_waits_for_nothing_and_recovers() {
        let owners: Vec<u64> = (0..FRAMES as u64 + 5).collect();
        let mut frames: Vec<_> = owners.iter().map(|owner| enter(Scope::Visit, owner)).collect();
        assert!(is_inside(Scope::Gate, &0_u64), "it is taken to be inside of everything");
        frames.truncate(FRAMES);
        assert!(!is_inside(Scope::Gate, &0_u64));
        assert!(is_inside(Scope::Visit, &owners[FRAMES - 1]));
        frames.clear();
        assert!(may_wait());
    }

    #[test]
    fn the_stack_outlives_every_thread_local() {
        struct SendAtExit(std::sync::mpsc::Sender<bool>);
        impl Drop for SendAtExit {
            fn drop(&mut self) {
                let owner = 7_u64;
                let _inside = enter(Scope::Gate, &owner);
                let _ = self.0.send(is_inside(Scope::Gate, &owner) && !may_wait());
            }
        }
        thread_local! {
            static AT_EXIT: Cell<Option<SendAtExit>> = const { Cell::new(None) };
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            AT_EXIT.set(Some(SendAtExit(sender)));
            assert!(may_wait());
        });
        assert_eq!(receiver.recv(), Ok(true));
    }
}
