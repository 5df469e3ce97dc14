//! A flight: one run of a loader for a key, and the callers that wait for what it loads.
//!
//! The caller that opens a flight ([`Fills::join`]) is its leader, for as long as the flight lasts, and runs
//! its own loader. The others are waiters.
//!
//! | state | left by | to |
//! |---|---|---|
//! | open | the leader, whose loader has returned | ended: a value, nothing, or an error |
//! | open | the leader, who has found a value in the cache before it would load | ended: unneeded |
//! | open | the drop of the leader: its loader panicked, or its future was dropped | ended: abandoned |
//! | open | a waiter that sees the flight's bound pass, or a change of the key | stale: no caller joins any more |
//! | stale | as open | ended |
//! | ended | none | |
//!
//! Hand-over needs no state: a waiter whose flight was abandoned, or has passed its bound, joins the fills
//! anew. The first to do so leads a new flight, with its own loader, and the others wait for that. So a
//! leader that vanishes delays the waiters, and cannot make one of them wait for ever. What a stale flight
//! loads goes to its waiters, who called before the change had returned; the cache does not keep it.
//!
//! # Locks and user code
//! The lock of a flight is held to move a few words. Values are cloned, and wakers are cloned, called and
//! dropped, outside of it. It is taken only under the shard's lock of the fills, which also protects the flight
//! after that has left the shard. So a thread that has taken the locks of all shards knows that no lock of a
//! flight is held.
//!
//! # Forks
//! A forking thread holds the locks of all shards. In the child, flights whose loader does not run on that
//! thread are stale, because the thread that would end them may not exist there; if the loader was running on
//! another thread, they are abandoned. A future that waits in the child sees that when it is polled, and at
//! the flight's bound at the latest.
//!
//! # Re-entrancy
//! A flight notes which thread runs user code for it at the moment: its loader, the drop of that, and what the
//! storing of its value calls. A call for its key on that thread comes from within, and would wait for itself.
//! Between two polls of a loader, no thread is noted.
//!
//! # Orderings
//! The lock orders the outcome before the waiters that read it. `runner` is relaxed: a thread compares it with
//! its own number, which no other thread stores. `Leader::close` skips the lock if it has the only reference
//! to the flight: references are made under the shard's lock of the fills, from which the flight was
//! taken out.
#![forbid(unsafe_code)]

use std::any::Any;
use std::sync::Arc;
use std::task::Waker;

#[cfg(all(unix, not(larder_loom)))]
use super::fills::HeldFills;
use super::fills::{Fills, Joined, OpenFill};
use crate::base::hash::KeyHash;
use crate::base::panics::contain;
use crate::base::reentrancy::ThreadToken;
use crate::base::sync::{self, AtomicUsize, Mutex, Ordering};
use crate::entry::EntryPtr;
use crate::tags::TagSet;

/// One run of a loader for `key`.
pub(crate) struct Flight<K, V> {
    pub(crate) key: K,
    /// The cache's time after which waiters give the flight up.
    pub(crate) until_ns: u64,
    /// The number of the thread that runs user code for the flight at the moment, or 0.
    runner: AtomicUsize,
    /// Locked only under the lock of the shard of the fills.
    state: Mutex<FlightState<V>>,
}

struct FlightState<V> {
    outcome: Option<Arc<Outcome<V>>>,
    waiters: Vec<(usize, Waker)>,
    last_waiter: usize,
}

/// A loader's error, as the callers share it.
pub(crate) type SharedError = Arc<dyn Any + Send + Sync>;

/// How a flight has ended.
pub(crate) enum Outcome<V> {
    Value(V),
    /// The loader has found that there is no value.
    Missing,
    Failed(SharedError),
    /// The leader has loaded nothing, because it has found the answer in the cache after it had joined. Each
    /// waiter looks for itself: some may have come after a change that the leader had not seen.
    Unneeded,
    /// The leader has vanished.
    Abandoned,
}

/// The leader's part of a flight. Dropping it abandons the flight.
pub(crate) struct Leader<K, V> {
    flight: Arc<Flight<K, V>>,
    fill: OpenFill<Flight<K, V>>,
    /// Whether the waiters, if there are any, have the outcome.
    has_ended: bool,
    /// Whether the value takes the place of one that the cache has.
    is_refreshing: bool,
    kept: KeptTraits,
}

/// What the old entry of a key was stored with, besides its lifetime, in case its value is still right and has to be
/// stored anew.
#[derive(Clone, Default)]
pub(crate) struct KeptTraits {
    pub(crate) tags: Option<TagSet>,
    pub(crate) is_unevictable: bool,
}

impl KeptTraits {
    /// Those of an entry.
    pub(crate) fn of(entry: EntryPtr) -> Self {
        Self { tags: entry.tags().cloned(), is_unevictable: entry.meta().is_unevictable() }
    }

    /// The number of the namespace, if there are namespaces.
    pub(crate) fn namespace(&self) -> Option<u32> {
        self.tags.as_ref().and_then(TagSet::account).map(|account| account.namespace)
    }
}

/// A waiter's part of a flight. Dropping it ends the waiting.
pub(crate) struct Waiter<K, V> {
    fills: Arc<Fills<Flight<K, V>>>,
    hash: KeyHash,
    flight: Arc<Flight<K, V>>,
    /// Its number among the waiters; 0 if it has left no waker yet.
    number: usize,
}

/// While this exists, the thread runs the loader of a flight.
pub(crate) struct Running<'l, K, V>(&'l Leader<K, V>);

/// What a caller has to do in the flight of its key.
pub(crate) enum Role<K, V> {
    Leader(Leader<K, V>),
    Waiter(Waiter<K, V>),
}

impl<K: Eq, V> Fills<Flight<K, V>> {
    /// Joins the flight of `key`, or opens one that waiters give up at `until_ns`. Calls `Eq` under no lock.
    pub(crate) fn join_flight(
        self: &Arc<Self>,
        hash: KeyHash,
        key: K,
        until_ns: u64,
    ) -> Role<K, V> {
        let new = Arc::new(Flight::new(key, until_ns));
        match self.join(hash, &new, |other| other.key == new.key) {
            Joined::Leader(fill) => Role::Leader(Leader::new(new, fill)),
            Joined::Waiter(flight) => {
                Role::Waiter(Waiter { fills: Arc::clone(self), hash, flight, number: 0 })
            }
        }
    }
}

impl<K, V> Fills<Flight<K, V>> {
    /// Leads a flight that no caller joins.
    pub(crate) fn lead_alone(self: &Arc<Self>, hash: KeyHash, key: K) -> Leader<K, V> {
        Leader::new(Arc::new(Flight::new(key, u64::MAX)), self.open(hash))
    }
}

#[cfg(all(unix, not(larder_loom)))]
impl<K, V> HeldFills<'_, Flight<K, V>> {
    /// In the child, ends what the flights have to do with threads that do not exist there.
    pub(crate) fn forget_other_threads(&mut self) {
        self.forget_flights(|flight| {
            let runner = flight.runner.load(Ordering::Relaxed);
            if runner == ThreadToken::current().number() {
                return true;
            }
            if runner != 0 {
                let mut state = sync::lock(&flight.state);
                state.outcome.get_or_insert_with(|| Arc::new(Outcome::Abandoned));
            }
            false
        });
    }
}

impl<K, V> Flight<K, V> {
    fn new(key: K, until_ns: u64) -> Self {
        let state = FlightState { outcome: None, waiters: Vec::new(), last_waiter: 0 };
        Self { key, until_ns, runner: AtomicUsize::new(0), state: Mutex::new(state) }
    }
}

impl<V> FlightState<V> {
    /// The place of the waiter of that number among the waiters.
    fn place(&self, number: usize) -> Option<usize> {
        // It was put at most at the place `number - 1`, and then only moved to lower ones. Most are found there.
        let waiters = &self.waiters[..number.min(self.waiters.len())];
        waiters.iter().rposition(|(other, _)| *other == number)
    }
}

impl<K, V> Leader<K, V> {
    fn new(flight: Arc<Flight<K, V>>, fill: OpenFill<Flight<K, V>>) -> Self {
        let kept = KeptTraits::default();
        Self { flight, fill, has_ended: false, is_refreshing: false, kept }
    }

    pub(crate) fn key(&self) -> &K {
        &self.flight.key
    }

    /// A waiter's part of this flight, for the caller that lets another thread lead it.
    pub(crate) fn waiter(&self) -> Waiter<K, V> {
        let fills = Arc::clone(self.fill.fills());
        Waiter { fills, hash: self.fill.hash, flight: Arc::clone(&self.flight), number: 0 }
    }

    /// The fill under which the value is stored.
    pub(crate) fn fill(&self) -> &OpenFill<Flight<K, V>> {
        &self.fill
    }

    /// Notes that the value is to take the place of one that the cache has.
    pub(crate) fn set_refreshing(&mut self) {
        self.is_refreshing = true;
    }

    /// Notes what the old entry was stored with.
    pub(crate) fn keep_traits(&mut self, kept: KeptTraits) {
        self.kept = kept;
    }

    pub(crate) fn kept_traits(&self) -> &KeptTraits {
        &self.kept
    }

    pub(crate) fn is_refreshing(&self) -> bool {
        self.is_refreshing
    }

    /// Notes that this thread runs, or polls, the loader, until the result is dropped.
    pub(crate) fn run(&self) -> Running<'_, K, V> {
        self.keep_running();
        Running(self)
    }

    /// Notes that this thread runs user code for the flight from now on, which may end the flight.
    pub(crate) fn keep_running(&self) {
        self.flight.runner.store(ThreadToken::current().number(), Ordering::Relaxed);
    }

    /// Notes that no thread does, until the loader is polled again.
    pub(crate) fn pause(&self) {
        self.flight.runner.store(0, Ordering::Relaxed);
    }

    /// Ends the flight: no caller joins it any more, and its waiters go on with the outcome, which is made
    /// only if there are any. If `outcome` panics, the flight is abandoned.
    pub(crate) fn end(mut self, outcome: impl FnOnce() -> Outcome<V>) {
        if self.close() {
            let outcome = outcome();
            self.publish(outcome);
        }
    }

    /// Takes the flight out of the fills, if its value was not stored. Returns whether it has waiters.
    fn close(&mut self) -> bool {
        self.fill.close();
        let has_waiters = Arc::strong_count(&self.flight) > 1;
        self.has_ended = !has_waiters;
        has_waiters
    }

    fn publish(&mut self, outcome: Outcome<V>) {
        self.has_ended = true;
        let outcome = Arc::new(outcome);
        let waiters = {
            let _lock = self.fill.lock();
            let mut state = sync::lock(&self.flight.state);
            state.outcome = Some(outcome);
            std::mem::take(&mut state.waiters)
        };
        for (_, waker) in waiters {
            // A waker is user code; a panic of one must not keep the others asleep.
            contain(|| waker.wake());
        }
    }
}

impl<K, V> Drop for Leader<K, V> {
    fn drop(&mut self) {
        if !self.has_ended && self.close() {
            self.publish(Outcome::Abandoned);
        }
    }
}

impl<K, V> Drop for Running<'_, K, V> {
    fn drop(&mut self) {
        self.0.pause();
    }
}

impl<K, V> Waiter<K, V> {
    /// The cache's time at which the flight may be given up.
    pub(crate) fn until_ns(&self) -> u64 {
        self.flight.until_ns
    }

    /// Whether the call comes from within the loader of the flight, or from other user code that the flight's
    /// leader runs.
    pub(crate) fn is_within_loader(&self) -> bool {
        self.flight.runner.load(Ordering::Relaxed) == ThreadToken::current().number()
    }

    /// The outcome, if the flight has ended; otherwise leaves `waker` to be woken then.
    pub(crate) fn poll(&mut self, waker: Waker) -> Option<Arc<Outcome<V>>> {
        let lock = self.fills.lock(self.hash);
        let mut state = sync::lock(&self.flight.state);
        let outcome = state.outcome.clone();
        let unused = if outcome.is_some() {
            Some(waker)
        } else if let Some(own) = state.place(self.number) {
            Some(std::mem::replace(&mut state.waiters[own].1, waker))
        } else {
            state.last_waiter += 1;
            self.number = state.last_waiter;
            state.waiters.push((self.number, waker));
            None
        };
        drop(state);
        drop(lock);
        // User code.
        drop(unused);
        outcome
    }

    /// Gives the flight up, whose bound has passed: no caller joins it any more.
    pub(crate) fn give_up(&self) {
        self.fills.give_up(self.hash, &self.flight);
    }
}

impl<K, V> Drop for Waiter<K, V> {
    fn drop(&mut self) {
        if self.number != 0 {
            let lock = self.fills.lock(self.hash);
            let mut state = sync::lock(&self.flight.state);
            let own = state.place(self.number);
            let own = own.map(|own| state.waiters.swap_remove(own));
            drop(state);
            drop(lock);
            drop(own);
        }
    }
}
