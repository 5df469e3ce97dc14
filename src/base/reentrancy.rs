//! Which user code, and which sections of caches, the calling thread is inside of.
//!
//! This module alone keeps track of that. Every wait for user code asks it first.
//!
//! # The rule
//! A thread that is inside user code of any cache, or inside a section of a cache that waits for
//! user code, never waits for user code without end. So a thread that waits without end is inside
//! of no scope, and no other thread waits for it. Threads cannot wait in a circle, however caches,
//! listeners, executors and values are nested in one another.
//!
//! # The scopes
//! | scope | a thread is inside while | others wait for its end in |
//! |---|---|---|
//! | [`Scope::Listener`] | it delivers the notifications of a queue | a write whose queue is full, `flush`, the end of the cache |
//! | [`Scope::AtomicListener`] | the atomic listener runs | a change of the same key |
//! | [`Scope::Gate`] | it changes a key of a cache with an atomic listener, closures that the change calls included | a change of the same key |
//! | [`Scope::Evicting`] | it takes out an entry that maintenance chose, and notifies the atomic listener | `run_pending` |
//! | [`Scope::Executor`] | it hands a job to the user's executor | `flush`, the end of the cache |
//! | [`Scope::Dropping`] | it drops keys and values | `flush` |
//! | [`Scope::Visit`] | it is the maintenance thread and visits a cache, or runs a job of an executor | the end of the cache |
//! | [`Scope::End`] | it takes a cache apart | the drop of the last handle |
//! | [`Scope::Maintainer`] | it is the maintenance thread | all of the above |
//! | `Scope::Task`, with the features that have periodic tasks | it runs a periodic task | the stop of that task |
//!
//! # The waits
//! Each of these asks [`may_wait`], or [`Patience`], which does. A thread inside any scope does this
//! instead of waiting without end:
//!
//! | wait for | asked in | instead |
//! |---|---|---|
//! | another thread that changes the same key | `Gates::enter` | the change is refused: [`Rejection::WithinListener`](crate::Rejection::WithinListener), or a panic if the call returns no result |
//! | the listener, in a write whose queue is full | `Engine::await_room` | the queue grows beyond its bound, up to the limit of `Channel::offer`; further notifications are dropped and counted |
//! | another thread's deliveries or drops, in `flush` | `Engine::deliver_all`, `Engine::flush` | an error |
//! | another thread's eviction, in `run_pending` | `Engine::await_leaving` | it returns |
//! | the gates of all victims, to bring a partition down to its limits | `Engine::may_notify_soon` | it goes on, and later runs evict |
//! | visits, when the last handle is dropped | `Lifecycle::close` | it waits for a quarter of a second, or not at all on a visit; then the last visitor takes the cache apart |
//! | a periodic task that runs, to stop it | `Periodic::stop` | the task ends by itself |
//! | the maintenance thread, and each lock of a cache, to fork | `maintainer::hold_visits`, `sync::lock_for_fork` | it waits for a second |
//!
//! # What else a scope forbids
//! | question | no, if the thread is inside |
//! |---|---|
//! | may it change a cache with an atomic listener? (`AtomicListening::refuses_changes`) | this cache's `AtomicListener` or `Gate` |
//! | may it notify either listener? (`Engine::may_notify`) | the same, or any `Dropping`; or if it is pinned |
//! | may it deliver notifications? (`Engine::may_deliver`) | the same, or this cache's `Listener` |
//! | may maintenance take entries out of a cache with an atomic listener? (`Engine::cannot_notify`) | where it may not notify, or this cache's `Evicting` |
//! | may it free retired entries? (`Partition::take`) | any `Dropping` |
//!
//! # Life of the memory
//! The stack has a fixed size and no destructor, so it works in the destructors of other
//! thread-locals. A thread that is nested more deeply than the stack can note counts as inside of
//! every scope: it waits for nothing, and leaves to others what they can do.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::time::{Duration, Instant};

/// User code, or a section of the cache's own, that a thread can be inside of.
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

/// How many scopes a thread can note.
const MAX_SCOPES: usize = 24;

/// A scope, and the address of the object that it belongs to.
type OwnedScope = (Scope, usize);

struct Stack {
    depth: Cell<usize>,
    scopes: [Cell<OwnedScope>; MAX_SCOPES],
}

impl Stack {
    const fn new() -> Self {
        let scopes = [const { Cell::new((Scope::Dropping, 0)) }; MAX_SCOPES];
        Self { depth: Cell::new(0), scopes }
    }

    /// The scopes that are noted, the innermost last.
    fn noted(&self) -> &[Cell<OwnedScope>] {
        &self.scopes[..self.depth.get().min(MAX_SCOPES)]
    }

    /// Inlined for the usual case: the thread is inside of no scope.
    #[inline]
    fn has(&self, is_wanted: impl Fn(OwnedScope) -> bool) -> bool {
        self.depth.get() > 0 && self.has_noted(is_wanted)
    }

    #[inline(never)]
    fn has_noted(&self, is_wanted: impl Fn(OwnedScope) -> bool) -> bool {
        self.depth.get() > MAX_SCOPES || self.noted().iter().any(|scope| is_wanted(scope.get()))
    }
}

// A stack with a destructor would be gone in the destructors of other thread-locals.
const _: () = assert!(!std::mem::needs_drop::<Stack>());

#[cfg(not(larder_loom))]
thread_local! {
    static STACK: Stack = const { Stack::new() };
}
#[cfg(larder_loom)]
loom::thread_local! {
    static STACK: Stack = Stack::new();
}

/// A thread, as long as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadToken(usize);

impl ThreadToken {
    pub(crate) fn current() -> Self {
        // Unlike the standard library's, it can be had in the destructors of other thread-locals.
        STACK.with(|stack| Self(address(stack)))
    }

    /// A number that no other thread has as long as this one runs; never 0.
    pub(crate) fn number(self) -> usize {
        self.0
    }
}

/// While this exists, the thread is inside of a scope.
#[must_use]
pub(crate) struct Inside {
    scope: OwnedScope,
    /// Keeps this on the thread whose stack notes it.
    not_send: PhantomData<*const ()>,
}

/// Notes that the thread is inside of `scope` of `owner`, until the result is dropped.
pub(crate) fn enter<T: ?Sized>(scope: Scope, owner: &T) -> Inside {
    let scope = (scope, address(owner));
    STACK.with(|stack| {
        let depth = stack.depth.get();
        if let Some(free) = stack.scopes.get(depth) {
            free.set(scope);
        }
        stack.depth.set(depth + 1);
    });
    Inside { scope, not_send: PhantomData }
}

impl Drop for Inside {
    fn drop(&mut self) {
        STACK.with(|stack| {
            // Scopes end in the reverse order of their beginnings, except gates, which one attempt
            // at a change hands to the next. Those beyond the stack's size end first.
            if stack.depth.get() <= MAX_SCOPES {
                let noted = stack.noted();
                if let Some(own) = noted.iter().rposition(|scope| scope.get() == self.scope) {
                    noted[own..].windows(2).for_each(|pair| pair[0].set(pair[1].get()));
                }
            }
            stack.depth.set(stack.depth.get() - 1);
        });
    }
}

/// Whether the thread is inside of `scope` of `owner`.
#[inline]
pub(crate) fn is_inside<T: ?Sized>(scope: Scope, owner: &T) -> bool {
    let wanted = (scope, address(owner));
    STACK.with(|stack| stack.has(|scope| scope == wanted))
}

/// Whether the thread is inside of `scope` of any object.
#[inline]
pub(crate) fn is_inside_any(scope: Scope) -> bool {
    STACK.with(|stack| stack.has(|(inside, _)| inside == scope))
}

/// Whether other threads may wait for this one without end: it is on a visit, or is the maintenance
/// thread.
pub(crate) fn is_visiting() -> bool {
    STACK.with(|stack| stack.has(|(scope, _)| matches!(scope, Scope::Visit | Scope::Maintainer)))
}

/// Whether the thread may wait without end for user code that another thread runs: only if it is
/// inside of no scope.
#[inline]
pub(crate) fn may_wait() -> bool {
    STACK.with(|stack| stack.depth.get() == 0)
}

/// For how long a thread waits for user code that another thread may be running.
pub(crate) struct Patience {
    /// `None` if it has no end.
    until: Option<Instant>,
}

impl Patience {
    /// No end for a thread that [may wait](may_wait); `limit` for any other.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { until: (!may_wait()).then(|| Instant::now() + limit) }
    }

    /// Whether the thread may go on waiting. In a model, where no time passes, a limit is over at once.
    pub(crate) fn lasts(&self) -> bool {
        self.until.is_none_or(|until| !cfg!(larder_loom) && Instant::now() < until)
    }
}

fn address<T: ?Sized>(owner: &T) -> usize {
    ptr::from_ref(owner).cast::<()>().addr()
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_inside_of_the_scopes_that_it_has_entered_and_not_left() {
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
        let owners: Vec<u64> = (0..MAX_SCOPES as u64 + 5).collect();
        let mut scopes: Vec<_> = owners.iter().map(|owner| enter(Scope::Visit, owner)).collect();
        assert!(is_inside(Scope::Gate, &0_u64), "it does not count as inside of every scope");
        scopes.truncate(MAX_SCOPES);
        assert!(!is_inside(Scope::Gate, &0_u64));
        assert!(is_inside(Scope::Visit, &owners[MAX_SCOPES - 1]));
        scopes.clear();
        assert!(may_wait());
    }

    #[test]
    fn threads_have_different_tokens() {
        let own = ThreadToken::current();
        assert_eq!(own, ThreadToken::current());
        std::thread::scope(|scope| {
            assert_ne!(scope.spawn(ThreadToken::current).join().unwrap(), own);
        });
    }

    #[test]
    fn patience_ends_only_inside_a_scope() {
        assert!(Patience::new(Duration::ZERO).lasts());
        let _inside = enter(Scope::Visit, &0_u64);
        assert!(!Patience::new(Duration::ZERO).lasts());
        assert!(Patience::new(Duration::from_secs(3600)).lasts());
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
