//! How long a cache lives: its handles, the visits of threads that have none, and its end.
//!
//! A thread without a handle is inside the cache on a visit: the maintenance thread, or a job of the
//! listener's executor. The state is a count of visits and whether the cache is closed:
//!
//! | state | left by | to |
//! |---|---|---|
//! | open, n visits | a visit that begins or ends | open, n ± 1 |
//! | open, n visits | the drop of the last handle | closed, n visits |
//! | closed, n > 0 visits | a visit that ends; none begins any more | closed, n - 1 |
//! | closed, no visits | the thread that has come there, which takes the cache apart | ended |
//! | ended | nobody | |
//!
//! So exactly one thread takes the cache apart, and no other one is inside of it then. The drop of the
//! last handle waits for that, unless its thread is inside of something itself
//! ([`crate::base::reentrancy`]): then it waits for a quarter of a second at most, and not at all on a visit,
//! and the last visitor does it by itself.
//!
//! # Orderings
//! `state`: acquire-release, so that what visitors have done happens before the cache is taken apart.
//! `Ended` is stored with release and awaited with acquire: the drops happen before the drop of the
//! last handle returns. Models: `loom-tests/tests/life.rs`.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;
#[cfg(not(larder_loom))]
use std::time::Instant;

use super::{Cache, Shared};
use crate::base::reentrancy::{self, Inside, Scope};
#[cfg(not(larder_loom))]
use crate::base::sync;
use crate::base::sync::{AtomicUsize, Backoff, Ordering};
use crate::maintainer::Maintained;

const CLOSED: usize = 1;
const ENDED: usize = 2;
const VISIT: usize = 4;

/// How long a thread that is inside of user code, and on no visit itself, waits for visitors.
#[cfg(not(larder_loom))]
const PATIENCE: Duration = Duration::from_millis(250);

pub(crate) struct Lifecycle {
    state: AtomicUsize,
}

/// Being inside the cache without a handle, until [`leave`](Self::leave).
pub(crate) struct Visit<'l> {
    lifecycle: &'l Lifecycle,
    inside: Inside,
}

/// Whose it is to take the cache apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// This thread's, now; then [`Lifecycle::note_ended`].
    Here,
    /// Nobody's yet, or another thread's.
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
        // Relaxed: what others have done inside, a visitor sees by the cache's own locks and atomics.
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, visited).ok()?;
        Some(Visit { lifecycle: self, inside })
    }

    /// The last handle is gone. If that is to be waited for, returns once the cache was taken apart.
    pub(crate) fn close(&self) -> End {
        // AcqRel: all that visitors have done that have left, and for the one that takes the cache apart
        // all that handles have done; pairs with `leave`.
        if self.state.fetch_or(CLOSED, Ordering::AcqRel) < VISIT {
            return End::Here;
        }
        let backoff = Backoff::new();
        let patience = Patience::new();
        // Acquire: pairs with `note_ended`.
        while patience.lasts() && self.state.load(Ordering::Acquire) & ENDED == 0 {
            // What a visitor is inside of may take long.
            #[cfg(not(larder_loom))]
            if backoff.is_completed() {
                sync::nap();
                continue;
            }
            backoff.snooze();
        }
        End::Elsewhere
    }

    /// Whether the last handle is gone.
    fn is_closed(&self) -> bool {
        // Relaxed: a hint for what is not worth doing any more.
        self.state.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// The cache was taken apart.
    pub(crate) fn note_ended(&self) {
        // Release: pairs with the acquire in `close`.
        self.state.fetch_or(ENDED, Ordering::Release);
    }
}

/// For how long a thread may wait for visitors.
struct Patience {
    may_wait: bool,
    #[cfg(not(larder_loom))]
    until: Option<Instant>,
}

impl Patience {
    fn new() -> Self {
        let may_wait = reentrancy::may_wait();
        Self {
            may_wait,
            // Mostly a visit is over soon, and then a cache within the value of another one is gone
            // with that value.
            #[cfg(not(larder_loom))]
            until: (!may_wait && !reentrancy::is_visiting()).then(|| Instant::now() + PATIENCE),
        }
    }

    #[cfg(not(larder_loom))]
    fn lasts(&self) -> bool {
        self.may_wait || self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Under loom no time passes.
    #[cfg(larder_loom)]
    fn lasts(&self) -> bool {
        self.may_wait
    }
}

impl Visit<'_> {
    pub(crate) fn leave(self) -> End {
        let Self { lifecycle, inside } = self;
        // AcqRel: what this visitor has done, for the one that takes the cache apart, and what the
        // others have done.
        let left = lifecycle.state.fetch_sub(VISIT, Ordering::AcqRel) - VISIT;
        drop(inside);
        if left == CLOSED { End::Here } else { End::Elsewhere }
    }
}

impl<K, V, S> Shared<K, V, S> {
    /// Takes the cache apart, if that is for this thread to do.
    fn end(&self, end: End) {
        if end == End::Here {
            let _inside = reentrancy::enter(Scope::End, self);
            self.engine.tear_down();
            self.lifecycle.note_ended();
        }
    }

    /// Does `work` on a visit, unless the cache is closed; then everything is done or will be.
    pub(super) fn visit<R>(&self, work: impl FnOnce() -> R) -> Option<R> {
        /// Ends the visit also if something panics.
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

/// Lets forks leave the cache usable on both sides.
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
        Box::new((self.engine.hold_for_fork(), bounds))
    }
}

impl<K, V, S> Clone for Cache<K, V, S> {
    fn clone(&self) -> Self {
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V, S> Drop for Cache<K, V, S> {
    fn drop(&mut self) {
        // AcqRel: all that other handles did happens before the last one closes.
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            let end = self.shared.lifecycle.close();
            self.shared.end(end);
        }
    }
}
