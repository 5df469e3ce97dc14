//! The steps of one call that wants the value of a missing key, from the miss to its answer.
//!
//! Blocking calls and futures take the same steps. They differ in how they wait and in how they run a loader,
//! so the steps do neither: [`Flow::step`] says what the call has to do next.
//!
//! | state | step | next |
//! |---|---|---|
//! | outside | the key has a flight | waiting |
//! | outside | the key has none, and still no value | leading: [`Step::Lead`] |
//! | outside | the key has a value by now | done |
//! | outside | the key has a flight, whose loader makes this call | done, with an error |
//! | waiting | the flight ends with an answer that the call can take | done |
//! | waiting | the flight's leader has found a value in the cache | done if the call finds one too, else outside |
//! | waiting | the flight was abandoned, or ends with an answer that the call cannot take | outside |
//! | waiting | the flight's bound passes | outside, and the flight is stale |
//! | waiting | the call's own deadline passes | done, with an error |
//! | leading | the loader returns | done |
//!
//! A leader looks for the value once more before it loads: between its miss and its joining, the flight
//! before may have stored it. What it finds is for itself alone. A change of the key marks flights before it
//! changes the table, so between the two a flight may begin that is not stale and whose leader finds the old
//! value; a caller that joins after the change has returned must not get that.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::task::Waker;

use super::Answers;
use crate::base::equivalent::Equivalent;
use crate::base::hash::KeyHash;
use crate::base::reentrancy;
use crate::base::stats::Counter;
use crate::cache::Cache;
use crate::engine::flight::{Leader, Outcome, Role, SharedError, Waiter};
use crate::reclaim;

/// One call on its way.
pub(super) struct Flow<'c, K, V, S, Q: ?Sized> {
    cache: &'c Cache<K, V, S>,
    key: &'c Q,
    hash: KeyHash,
    answers: Answers,
    /// The cache's time at which the call stops waiting.
    deadline_ns: u64,
    waiter: Option<Waiter<K, V>>,
    has_waited: bool,
    /// Whether a flight that the call has waited for was abandoned or given up.
    is_handed_over: bool,
    /// When the load that the call leads has begun, in the cache's time.
    pub(super) started_ns: u64,
}

/// What a call has to do next.
pub(super) enum Step<K, V> {
    /// Return this value.
    Found(V),
    /// Return that there is no value.
    Missing,
    /// Return this error, if it is of the type of the call; else take another step.
    Failed(SharedError),
    /// Run the loader.
    Lead(Leader<K, V>),
    /// Wait until the waker is used, but not beyond this time of the cache, and take another step.
    Wait(u64),
    /// Return that the call comes from within the loader.
    Reentrant,
    /// Return that the deadline has passed.
    DeadlineExceeded,
}

impl<'c, K, V, S, Q> Flow<'c, K, V, S, Q>
where
    K: Hash + Eq + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
{
    pub(super) fn new(
        cache: &'c Cache<K, V, S>,
        key: &'c Q,
        hash: KeyHash,
        answers: Answers,
        deadline_ns: u64,
    ) -> Self {
        Self {
            cache,
            key,
            hash,
            answers,
            deadline_ns,
            waiter: None,
            has_waited: false,
            is_handed_over: false,
            started_ns: 0,
        }
    }

    /// Takes the next step. `waker` makes a waker, if the call has to wait.
    pub(super) fn step(&mut self, waker: impl Fn() -> Waker) -> Step<K, V> {
        loop {
            let Some(waiter) = &mut self.waiter else {
                match self.join() {
                    Some(step) => return step,
                    None => continue,
                }
            };
            if let Some(outcome) = waiter.poll(waker()) {
                self.waiter = None;
                match &*outcome {
                    Outcome::Value(value) => return Step::Found(value.clone()),
                    Outcome::Missing if self.answers == Answers::ValueOrNone => {
                        return Step::Missing;
                    }
                    Outcome::Failed(error) => return Step::Failed(Arc::clone(error)),
                    Outcome::Missing => continue,
                    Outcome::Unneeded => match self.find() {
                        Some(value) => return Step::Found(value),
                        None => continue,
                    },
                    Outcome::Abandoned => {
                        self.is_handed_over = true;
                        continue;
                    }
                }
            }
            let now_ns = self.cache.now_ns();
            let until_ns = waiter.until_ns();
            if now_ns >= self.deadline_ns {
                self.waiter = None;
                return Step::DeadlineExceeded;
            }
            if now_ns >= until_ns {
                waiter.give_up();
                self.waiter = None;
                self.is_handed_over = true;
                continue;
            }
            return Step::Wait(until_ns.min(self.deadline_ns));
        }
    }

    /// Joins the flight of the key, or begins to lead one. `None` if the call is a waiter now.
    fn join(&mut self) -> Option<Step<K, V>> {
        let engine = &self.cache.shared.engine;
        if self.is_known_missing() {
            return Some(Step::Missing);
        }
        let now_ns = self.cache.now_ns();
        self.started_ns = now_ns;
        let until_ns = now_ns.saturating_add(self.cache.load_timeout_ns());
        match engine.fills.join_flight(self.hash, self.key.to_owned(), until_ns) {
            Role::Waiter(waiter) if waiter.is_within_loader() => Some(Step::Reentrant),
            // A thread that is inside user code of a cache waits for no other thread.
            Role::Waiter(_) if !reentrancy::may_wait() => {
                self.cache.count(Counter::Loads, &reclaim::pin());
                let key = self.key.to_owned();
                Some(Step::Lead(engine.fills.lead_alone(self.hash, key)))
            }
            Role::Waiter(waiter) => {
                if !std::mem::replace(&mut self.has_waited, true) {
                    self.cache.count(Counter::LoadWaits, &reclaim::pin());
                }
                self.waiter = Some(waiter);
                None
            }
            Role::Leader(leader) => {
                if let Some(value) = self.find() {
                    leader.end(|| Outcome::Unneeded);
                    return Some(Step::Found(value));
                }
                if self.is_known_missing() {
                    leader.end(|| Outcome::Unneeded);
                    return Some(Step::Missing);
                }
                let guard = reclaim::pin();
                self.cache.count(Counter::Loads, &guard);
                if self.is_handed_over {
                    self.cache.count(Counter::LoadHandovers, &guard);
                }
                // Until the loader runs. A call for several keys may ask for one of them twice.
                leader.pause();
                Some(Step::Lead(leader))
            }
        }
    }

    /// The value, if there is one by now.
    fn find(&self) -> Option<V> {
        let guard = reclaim::pin();
        let found = self.cache.find(self.key, self.hash, &guard);
        found.map(|(_, entry)| entry.value.clone())
    }

    /// Whether the call can answer that there is no value, and that is known.
    fn is_known_missing(&self) -> bool {
        let missing = self.cache.shared.settings.missing.as_ref();
        let is_known = self.answers == Answers::ValueOrNone
            && missing.is_some_and(|missing| missing.has(self.key, self.hash));
        if is_known {
            self.cache.count(Counter::NegativeHits, &reclaim::pin());
        }
        is_known
    }
}
