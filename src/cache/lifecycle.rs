//! How long a cache lives: its handles, the visits of threads that have none, and its end.
//!
//! A thread without a handle is inside the cache on a visit: the maintenance thread, or a thread that
//! runs a job of the listener's executor. The state is a count of visits and whether the cache is
//! closed:
//!
//! | state | left by | to |
//! |---|---|---|
//! | open, n visits | a visit that begins or ends | open, n ± 1 |
//! | open, n visits | the drop of the last handle | closed, n visits |
//! | closed, n > 0 visits | a visit that ends; none begins any more | closed, n - 1 |
//! | closed, no visits | the thread that closed the cache or ended the last visit, which takes the cache apart | ended |
//! | ended | none | |
//!
//! So exactly one thread takes the cache apart, and no other thread is inside it then. The drop of the
//! last handle waits for the end, unless its thread is inside of a scope itself
//! ([`crate::base::reentrancy`]). Then it waits for a quarter of a second at most, or not at all on a
//! visit, and the last visitor takes the cache apart.
//!
//! # Orderings
//! `state`: acquire-release, so that everything visitors did happens before the cache is taken apart.
//! `ENDED` is stored with release and awaited with acquire: the drops of entries happen before the drop
//! of the last handle returns. Models: `loom-tests/tests/life.rs`.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::{Cache, Shared};
use crate::base::reentrancy::{self, Inside, Patience, Scope};
use crate::base::sync::{self, AtomicUsize, Backoff, Ordering};
#[cfg(all(unix, not(larder_loom)))]
use crate::engine::{fills::HeldFills, flight::Flight};
use crate::maintainer::Maintained;

const CLOSED: usize = 1;
const ENDED: usize = 2;
const VISIT: usize = 4;

/// How long a thread waits for visitors if it is inside of a scope, but not on a visit itself. Most
/// visits are over by then, so a cache within the value of another one ends with that value.
const PATIENCE: Duration = Duration::from_millis(250);

pub(crate) struct Lifecycle {
    state: AtomicUsize,
}

/// While this exists, a thread is inside the cache without a handle. It ends by [`leave`](Self::leave).
pub(crate) struct Visit<'l> {
    lifecycle: &'l Lifecycle,
    inside: Inside,
}

/// Which thread takes the cache apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// This thread, now; then it calls [`Lifecycle::note_ended`].
    Here,
    /// Another thread, or a later one.
    Elsewhere,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self { state: AtomicUsize::new(0) }
    }

    /// Begins a visit; `None` once the cache is closed.
    pub(crate) fn visit(&self) -> Option<Visit<'_>> {
        let inside = reentrancy::enter(Scope::Visit, self);
        let visited = |state: usize| (state & CLOSED == 0).then_some(state + VISIT);
        // Relaxed: a visitor sees what other threads did inside by the cache's own locks and atomics.
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, visited).ok()?;
        Some(Visit { lifecycle: self, inside })
    }

    /// Closes the cache: its last handle is gone. Waits for its end if the thread may.
    pub(crate) fn close(&self) -> End {
        // AcqRel: acquires everything that earlier visitors did, and releases everything that was done
        // by handles to the thread that takes the cache apart; pairs with `leave`.
        if self.state.fetch_or(CLOSED, Ordering::AcqRel) < VISIT {
            return End::Here;
        }
        let backoff = Backoff::new();
        // A thread on a visit may be awaited by the visitor that it would wait for.
        let limit = if reentrancy::is_visiting() { Duration::ZERO } else { PATIENCE };
        let patience = Patience::new(limit);
        // Acquire: pairs with `note_ended`.
        while patience.lasts() && self.state.load(Ordering::Acquire) & ENDED == 0 {
            sync::snooze_or_nap(&backoff);
        }
        End::Elsewhere
    }

    /// Whether the last handle is gone.
    pub(super) fn is_closed(&self) -> bool {
        // Relaxed: a hint that work is not worth doing any more.
        self.state.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Notes that the cache was taken apart.
    pub(crate) fn note_ended(&self) {
        // Release: pairs with the acquire in `close`.
        self.state.fetch_or(ENDED, Ordering::Release);
    }
}

impl Visit<'_> {
    /// Ends the visit. Says whether this thread takes the cache apart.
    pub(crate) fn leave(self) -> End {
        let Self { lifecycle, inside } = self;
        // AcqRel: releases what this visitor did to the thread that takes the cache apart, and
        // acquires what other visitors and handles did, in case that is this thread; pairs with itself
        // and `close`.
        let left = lifecycle.state.fetch_sub(VISIT, Ordering::AcqRel) - VISIT;
        drop(inside);
        if left == CLOSED { End::Here } else { End::Elsewhere }
    }
}

impl<K, V, S> Shared<K, V, S> {
    /// Takes the cache apart if `end` says that this thread does.
    fn end(&self, end: End) {
        if end == End::Here {
            let _inside = reentrancy::enter(Scope::End, self);
            self.engine.tear_down();
            self.lifecycle.note_ended();
        }
    }

    /// Does `work` on a visit. Returns `None` if the cache is closed: then the thread that takes it apart
    /// does all remaining work.
    pub(super) fn visit<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        /// Ends the visit, also if `work` panics.
        struct VisitGuard<'s, K, V, S>(&'s Shared<K, V, S>, Option<Visit<'s>>);
        impl<K, V, S> Drop for VisitGuard<'_, K, V, S> {
            fn drop(&mut self) {
                if let Some(visit) = self.1.take() {
                    self.0.end(visit.leave());
                }
            }
        }
        let _guard = VisitGuard(self, Some(self.lifecycle.visit()?));
        Some(work())
    }
}

/// Does `work` on a visit with the verbs of the cache. Returns `None` if it is closed.
pub(super) fn visit_cache<K, V, S, R>(
    shared: &Arc<Shared<K, V, S>>,
    work: impl FnOnce(&Cache<K, V, S>) -> R,
) -> Option<R> {
    let cache = Cache { shared: Arc::clone(shared), is_handle: false };
    shared.visit(|| work(&cache))
}

impl<K, V, S> Maintained for Shared<K, V, S>
where
    K: Send + Sync,
    V: Send + Sync,
    S: Send + Sync,
{
    fn tick(&self) -> bool {
        self.visit(|| self.engine.tick()).unwrap_or(false)
    }

    fn next_timer(&self) -> Option<Duration> {
        if self.lifecycle.is_closed() { None } else { self.engine.next_timer() }
    }

    fn has_work(&self) -> bool {
        !self.lifecycle.is_closed() && self.engine.has_work()
    }
}

/// Keeps the cache usable in parent and child after a fork.
#[cfg(all(unix, not(larder_loom)))]
pub(super) fn outlive_forks<K, V, S>(shared: &Arc<Shared<K, V, S>>)
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    crate::fork::prepare();
    let weak: std::sync::Weak<Shared<K, V, S>> = Arc::downgrade(shared);
    shared.forks.register(weak);
}

#[cfg(all(unix, not(larder_loom)))]
impl<K, V, S> crate::fork::Forked for Shared<K, V, S>
where
    K: Send + Sync,
    V: Send + Sync,
    S: Send + Sync,
{
    fn hold(&self) -> Box<dyn crate::fork::Locks + '_> {
        let bounds = sync::lock_for_fork(&self.settings.bounds);
        let fills = self.engine.fills.hold_for_fork();
        let engine = self.engine.hold_for_fork();
        // Last, because the drop of a tag takes one of them, and may come under any of the others.
        let tags = self.settings.tags.hold_for_fork();
        Box::new(HeldLocks { fills, _others: (tags, engine, bounds) })
    }
}

/// The locks of a cache during a fork.
#[cfg(all(unix, not(larder_loom)))]
struct HeldLocks<'c, K, V, L> {
    fills: HeldFills<'c, Flight<K, V>>,
    _others: L,
}

#[cfg(all(unix, not(larder_loom)))]
impl<K, V, L> crate::fork::Locks for HeldLocks<'_, K, V, L> {
    fn forget_other_threads(&mut self) {
        self.fills.forget_other_threads();
    }
}

impl<K, V, S> Clone for Cache<K, V, S> {
    fn clone(&self) -> Self {
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared), is_handle: true }
    }
}

impl<K, V, S> Drop for Cache<K, V, S> {
    fn drop(&mut self) {
        if !self.is_handle {
            return;
        }
        // AcqRel: everything done by other handles happens before the last one closes the cache; pairs
        // with itself.
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            let end = self.shared.lifecycle.close();
            self.shared.end(end);
        }
    }
}
