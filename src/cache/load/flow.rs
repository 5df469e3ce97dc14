//! The steps of one call that wants the value of a key and may have to load it, from its lookup to its answer.
//!
//! Blocking calls and futures take the same steps. They differ in how they wait and in how they run a loader,
//! so the steps do neither: [`Flow::step`] says what the call has to do next.
//!
//! | state | step | next |
//! |---|---|---|
//! | begun | the key has a value that needs no refresh, or that another call refreshes | done |
//! | begun | the value is due for a refresh, or has expired and may be used meanwhile; no call refreshes it | refreshing: [`LoadStep::Refresh`] |
//! | begun | there is no value, or only one that may be used on an error | outside |
//! | outside | the key has a flight | waiting |
//! | outside | the key has none, and still no value | leading: [`LoadStep::Lead`] |
//! | outside | the key has a value by now | done |
//! | outside | the key has a flight, whose loader makes this call | done, with an error |
//! | waiting | the flight ends with an answer that the call can take | done |
//! | waiting | the flight's leader has found a value in the cache | done if the call finds one too, else outside |
//! | waiting | the flight was abandoned, or ends with an answer that the call cannot take | outside |
//! | waiting | the flight's bound passes | outside, and the flight is stale |
//! | waiting | the call's own deadline passes | done, with an error |
//! | leading, refreshing | the loader returns | done |
//!
//! A leader looks for the value once more before it loads: between its lookup and its joining, the flight
//! before may have stored it. What it finds is for itself alone. A change of the key marks flights before it
//! changes the table, so between the two a flight may begin that is not stale and whose leader finds the old
//! value; a caller that joins after the change has returned must not get that.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::task::Waker;

use super::Answers;
use crate::base::equivalent::ToKey;
use crate::base::hash::KeyHash;
use crate::base::load_error::LoadError;
use crate::base::reentrancy;
use crate::base::stats::Counter;
use crate::cache::Cache;
use crate::engine::flight::{KeptTraits, Leader, Outcome, Role, SharedError, Waiter};
use crate::expiry::Freshness;
use crate::reclaim;

/// One call on its way.
pub(super) struct Flow<'c, K, V, S, Q: ?Sized> {
    cache: &'c Cache<K, V, S>,
    key: &'c Q,
    pub(super) hash: KeyHash,
    answers: Answers,
    /// The cache's time at which the call stops waiting.
    pub(super) deadline_ns: u64,
    has_begun: bool,
    waiter: Option<Waiter<K, V>>,
    has_waited: bool,
    /// Whether a flight that the call has waited for was abandoned or given up.
    is_handed_over: bool,
    /// When the load that the call leads has begun, in the cache's time.
    pub(super) started_ns: u64,
    /// An older value, in case the load fails.
    pub(super) fallback: Option<V>,
    /// How long the call waits if it has a fallback.
    pub(super) soft_timeout_ns: u64,
    /// Whether the value that the call refreshes has expired.
    pub(super) is_overdue: bool,
    /// The random number that decides whether this call renews a value early.
    random: Option<f64>,
    /// The traits of the entry that the call found last.
    kept: KeptTraits,
    /// Whether the call has let another thread or task run its loader, and has not given that up.
    pub(super) has_delegated: bool,
}

/// What a call has to do next.
pub(super) enum LoadStep<K, V> {
    /// Return this value.
    Found(V),
    /// Return that there is no value.
    Missing,
    /// Return this error, if it is of the type of the call; else take another step.
    Failed(SharedError),
    /// Run the loader.
    Lead(Leader<K, V>),
    /// Run the loader, and meanwhile, or if it fails, return this value.
    Refresh(Leader<K, V>, V),
    /// Wait until the waker is used, but not beyond this time of the cache, and take another step.
    Wait(u64),
    /// Return that the call comes from within the loader.
    Reentrant,
    /// Return that the deadline has passed.
    DeadlineExceeded,
}

/// What the cache has of a key when a call begins.
enum Present<V> {
    Nothing,
    /// A value to be returned as it is.
    Current(V),
    /// A value to be returned, and to be renewed.
    Due(V),
    /// The same, of an expired entry.
    Overdue(V),
    /// A value of an expired entry, to be returned without another try to renew it.
    Throttled(V),
    /// A value to be returned if the load fails.
    OnError(V),
}

impl<'c, K, V, S, Q> Flow<'c, K, V, S, Q>
where
    K: Hash + Eq + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    Q: Hash + ToKey<K> + ?Sized,
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
            // In other caches the caller has already looked, and there are no stale values.
            has_begun: !cache.may_use_stale(),
            waiter: None,
            has_waited: false,
            is_handed_over: false,
            started_ns: 0,
            fallback: None,
            soft_timeout_ns: u64::MAX,
            is_overdue: false,
            random: None,
            kept: KeptTraits::default(),
            has_delegated: false,
        }
    }

    /// Takes the next step. `waker` makes a waker, if the call has to wait.
    pub(super) fn step(&mut self, waker: impl Fn() -> Waker) -> LoadStep<K, V> {
        if !std::mem::replace(&mut self.has_begun, true)
            && let Some(step) = self.begin()
        {
            return step;
        }
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
                    Outcome::Value(value) => return LoadStep::Found(value.clone()),
                    Outcome::Missing if self.answers == Answers::ValueOrNone => {
                        return LoadStep::Missing;
                    }
                    Outcome::Failed(error) => return LoadStep::Failed(Arc::clone(error)),
                    Outcome::Missing => continue,
                    Outcome::Unneeded => match self.find() {
                        Some(value) => return LoadStep::Found(value),
                        None => continue,
                    },
                    Outcome::Abandoned => {
                        self.is_handed_over = true;
                        // The loader has panicked, or the executor did not want it.
                        let has_failed = self.has_delegated || !self.cache.may_refresh(self.hash);
                        if has_failed && let Some(old) = self.fallback.take() {
                            return LoadStep::Found(self.use_old(old));
                        }
                        continue;
                    }
                }
            }
            let now_ns = self.cache.now_ns();
            let until_ns = waiter.until_ns();
            if now_ns >= self.deadline_ns {
                self.waiter = None;
                return LoadStep::DeadlineExceeded;
            }
            if now_ns >= until_ns {
                waiter.give_up();
                self.waiter = None;
                self.is_handed_over = true;
                self.has_delegated = false;
                continue;
            }
            return LoadStep::Wait(until_ns.min(self.deadline_ns));
        }
    }

    /// Whether the call asks for the key that `leader` loads.
    pub(super) fn is_of(&self, leader: &Leader<K, V>) -> bool {
        leader.fill().hash == self.hash && self.key.equivalent(leader.key())
    }

    /// Waits for the flight of `leader`, which another thread or task is to lead.
    pub(super) fn wait_for(&mut self, leader: &Leader<K, V>) {
        self.waiter = Some(leader.waiter());
        self.has_delegated = true;
    }

    /// Begins in a cache that renews values or keeps expired ones. `None` if the key has to be loaded.
    fn begin(&mut self) -> Option<LoadStep<K, V>> {
        let (old, is_expired) = match self.present() {
            Present::Nothing => return None,
            Present::Current(value) => return Some(LoadStep::Found(value)),
            Present::Throttled(value) => {
                self.cache.count(Counter::StaleHits, &reclaim::pin());
                return Some(LoadStep::Found(value));
            }
            Present::OnError(value) => {
                self.set_fallback(value);
                return None;
            }
            Present::Due(value) => (value, false),
            Present::Overdue(value) => (value, true),
        };
        let now_ns = self.cache.load_clock_ns();
        self.started_ns = now_ns;
        let mut leader = match self.cache.join_in_time(self.key, self.hash, now_ns) {
            Role::Leader(leader) => leader,
            Role::Waiter(_) => {
                if is_expired {
                    self.cache.count(Counter::StaleHits, &reclaim::pin());
                }
                return Some(LoadStep::Found(old));
            }
        };
        // Keys are compared, and the value is cloned.
        leader.keep_running();
        match self.present() {
            Present::Due(_) | Present::Overdue(_) => {}
            // Another call has refreshed it a moment ago.
            Present::Current(value) => {
                leader.end(|| Outcome::Unneeded);
                return Some(LoadStep::Found(value));
            }
            // Its refresh has failed a moment ago.
            Present::Throttled(value) => {
                self.cache.count(Counter::StaleHits, &reclaim::pin());
                return Some(LoadStep::Found(value));
            }
            // It was removed, or has become older.
            Present::OnError(value) => {
                self.set_fallback(value);
                return None;
            }
            Present::Nothing => return None,
        }
        let guard = reclaim::pin();
        self.cache.count(Counter::Loads, &guard);
        self.cache.count(Counter::Refreshes, &guard);
        self.is_overdue = is_expired;
        leader.set_refreshing();
        leader.keep_traits(std::mem::take(&mut self.kept));
        leader.pause();
        Some(LoadStep::Refresh(leader, old))
    }

    fn set_fallback(&mut self, value: V) {
        (self.fallback, self.is_overdue) = (Some(value), true);
        let soft_ns = self.cache.now_ns().saturating_add(self.soft_timeout_ns);
        self.deadline_ns = self.deadline_ns.min(soft_ns);
    }

    fn present(&mut self) -> Present<V> {
        let cache = self.cache;
        let guard = reclaim::pin();
        if let Some((pointer, entry)) = cache.find(self.key, self.hash, &guard) {
            let value = entry.value.clone();
            self.kept = KeptTraits::of(pointer);
            let is_due = cache.freshness(pointer, &mut self.random) == Freshness::RefreshDue;
            return match is_due && cache.may_refresh(self.hash) {
                true => Present::Due(value),
                false => Present::Current(value),
            };
        }
        let Some(stale) = cache.find_stale(self.key, self.hash, &guard) else {
            return Present::Nothing;
        };
        let may_revalidate = cache.may_revalidate(&stale);
        if !may_revalidate && !cache.may_use_on_error(&stale) {
            return Present::Nothing;
        }
        let value = stale.entry.value.clone();
        self.kept = KeptTraits::of(stale.pointer);
        match (cache.may_refresh(self.hash), may_revalidate) {
            (false, _) => Present::Throttled(value),
            (true, true) => Present::Overdue(value),
            (true, false) => Present::OnError(value),
        }
    }

    /// Joins the flight of the key, or begins to lead one. `None` if the call is a waiter now.
    fn join(&mut self) -> Option<LoadStep<K, V>> {
        let engine = &self.cache.shared.engine;
        if self.is_known_missing() {
            return Some(LoadStep::Missing);
        }
        let now_ns = self.cache.load_clock_ns();
        self.started_ns = now_ns;
        let until_ns = now_ns.saturating_add(self.cache.load_timeout_ns());
        match engine.fills.join_flight(self.hash, self.key.to_key(), until_ns) {
            Role::Waiter(waiter) if waiter.is_within_loader() => Some(LoadStep::Reentrant),
            // A thread that is inside user code of a cache waits for no other thread.
            Role::Waiter(_) if !reentrancy::may_wait() => {
                self.cache.count(Counter::Loads, &reclaim::pin());
                let key = self.key.to_key();
                Some(LoadStep::Lead(engine.fills.lead_alone(self.hash, key)))
            }
            Role::Waiter(waiter) => {
                if !std::mem::replace(&mut self.has_waited, true) {
                    self.cache.count(Counter::LoadWaits, &reclaim::pin());
                }
                self.waiter = Some(waiter);
                None
            }
            Role::Leader(mut leader) => {
                leader.keep_traits(self.kept.clone());
                // Keys are compared.
                leader.keep_running();
                if let Some(value) = self.find() {
                    leader.end(|| Outcome::Unneeded);
                    return Some(LoadStep::Found(value));
                }
                if self.is_known_missing() {
                    leader.end(|| Outcome::Unneeded);
                    return Some(LoadStep::Missing);
                }
                let guard = reclaim::pin();
                self.cache.count(Counter::Loads, &guard);
                if self.is_handed_over {
                    self.cache.count(Counter::LoadHandovers, &guard);
                }
                // Until the loader runs. A call for several keys may ask for one of them twice.
                leader.pause();
                Some(LoadStep::Lead(leader))
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

    /// Keeps the value that the call renews, if any, to return it if the load fails.
    pub(super) fn keep_as_fallback(&mut self, old: Option<V>) {
        self.fallback = old.or(self.fallback.take());
    }

    /// What the call returns for this result of its load.
    pub(super) fn answer<E>(
        &mut self,
        result: Result<Option<V>, LoadError<E>>,
    ) -> Result<Option<V>, LoadError<E>> {
        match (result, self.fallback.take()) {
            (Err(_), Some(old)) => Ok(Some(self.use_old(old))),
            (result, _) => result,
        }
    }

    /// Counts that `old` is returned, if it has expired.
    pub(super) fn use_old(&self, old: V) -> V {
        if self.is_overdue {
            self.cache.count(Counter::StaleHits, &reclaim::pin());
        }
        old
    }
}
