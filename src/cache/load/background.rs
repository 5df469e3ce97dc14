//! Loads by a loader that is bound to the cache: in the caller, or in the background.
//!
//! A load in the background holds the leader's part of its flight and no handle of the cache. When its loader
//! has returned, it visits the cache to store the value, if the cache still lives. A task that is dropped, by
//! an executor that does not want it or because its loader panics, abandons the flight, and counts as a
//! failure, after which the [throttle](crate::Builder::refresh_throttle) holds the next try back.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use super::flow::{Flow, LoadStep};
use super::{Answers, Load, LoadOptions, Loaded};
use crate::base::equivalent::ToKey;
use crate::base::hash::KeyHash;
use crate::base::load_error::LoadError;
use crate::base::reentrancy;
use crate::base::stats::Counter;
use crate::cache::lifecycle::visit_cache;
use crate::cache::{Cache, Shared};
use crate::engine::flight::{KeptTraits, Leader, Role};
use crate::expiry::clock::nanoseconds;
use crate::reclaim;
use crate::task::{Alarm, AlarmTime, LoadTask, Parker};

/// A loader that is bound to a cache.
pub(crate) enum Loader<K, V, E> {
    Blocking(Arc<BlockingLoader<K, V, E>>),
    Async(Arc<AsyncLoader<K, V, E>>),
}

/// What a loader returns.
type LoadResult<V, E> = Result<Loaded<V>, E>;

pub(crate) type BlockingLoader<K, V, E> = dyn Fn(&K, &Load<K, V>) -> LoadResult<V, E> + Send + Sync;
pub(crate) type AsyncLoader<K, V, E> =
    dyn Fn(K, Load<K, V>) -> Pin<Box<dyn Future<Output = LoadResult<V, E>> + Send>> + Send + Sync;

impl<K, V, E> Clone for Loader<K, V, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Blocking(loader) => Self::Blocking(Arc::clone(loader)),
            Self::Async(loader) => Self::Async(Arc::clone(loader)),
        }
    }
}

/// A load in the background, until its loader has returned. Dropping it before notes a failure and then abandons
/// the flight: in this order, so that the callers that wait know of the failure.
struct BackgroundLoad<K, V, S> {
    shared: Weak<Shared<K, V, S>>,
    hash: KeyHash,
    /// `None` once the loader has returned.
    leader: Option<Leader<K, V>>,
}

impl<K, V, S> BackgroundLoad<K, V, S> {
    fn leader(&self) -> &Leader<K, V> {
        self.leader.as_ref().expect("the loader has not returned")
    }
}

impl<K, V, S> BackgroundLoad<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn end<E>(mut self, started_ns: u64, load: &Load<K, V>, loaded: LoadResult<V, E>)
    where
        E: Send + Sync + 'static,
    {
        let Some(leader) = self.leader.take() else { return };
        let Some(shared) = self.shared.upgrade() else { return };
        // A cache that is closed takes nothing any more; then the value and the leader are dropped.
        visit_cache(&shared, |cache| {
            let options = LoadOptions::new().insert;
            drop(cache.complete_load(leader, started_ns, options, Some(load), loaded));
        });
    }
}

impl<K, V, S> Drop for BackgroundLoad<K, V, S> {
    fn drop(&mut self) {
        if self.leader.is_some()
            && let Some(shared) = self.shared.upgrade()
        {
            shared.note_failed_refresh(self.hash);
            let counters = &shared.engine.counters;
            counters.add(reclaim::pin().thread(), Counter::LoadFailures, 1);
        }
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Lets `loader` run in the background, for the flight of `leader`. `old` is the value that it renews.
    pub(crate) fn spawn_load<E>(
        &self,
        leader: Leader<K, V>,
        started_ns: u64,
        old: Option<V>,
        loader: &Loader<K, V, E>,
    ) where
        E: Send + Sync + 'static,
    {
        let load = Load::new(leader.key().clone(), old);
        let hash = leader.fill().hash;
        let running =
            BackgroundLoad { shared: Arc::downgrade(&self.shared), hash, leader: Some(leader) };
        let task = match loader.clone() {
            Loader::Blocking(loader) => LoadTask::blocking(move || {
                let loaded = {
                    let _running = running.leader().run();
                    loader(load.key(), &load)
                };
                running.end(started_ns, &load, loaded);
            }),
            Loader::Async(loader) => LoadTask::of(async move {
                let loaded = run_async(running.leader(), &load, &*loader).await;
                running.end(started_ns, &load, loaded);
            }),
        };
        // A task for which there is no room is dropped, here, under no lock.
        drop(self.shared.settings.background.spawn(task));
    }

    /// The value of `key`, which `loader` loads if it is missing; values that are due or have expired are renewed in
    /// the background.
    pub(crate) fn get_or_load_bound<Q, E>(
        &self,
        key: &Q,
        loader: &Loader<K, V, E>,
    ) -> Result<Option<V>, LoadError<E>>
    where
        Q: Hash + ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = self.hash(key);
        if let Some(value) = self.get_current(key, hash) {
            return Ok(Some(value));
        }
        let parker = OnceCell::new();
        let waker = || parker.get_or_init(Parker::new).waker();
        let mut call = BoundCall::new(self, key, hash, loader);
        loop {
            match call.step(waker) {
                BoundStep::Done(result) => return result,
                BoundStep::Wait(until_ns) => {
                    let parker = parker.get_or_init(Parker::new);
                    parker.park_until(&self.shared.engine.timing.time, until_ns);
                }
                BoundStep::Run(leader) => {
                    let load = Load::new(leader.key().clone(), call.flow.fallback.clone());
                    let loaded = match loader {
                        Loader::Blocking(loader) => {
                            let _running = leader.run();
                            loader(load.key(), &load)
                        }
                        Loader::Async(loader) => {
                            crate::task::block_on(run_async(&leader, &load, &**loader))
                        }
                    };
                    return call.complete(leader, &load, loaded);
                }
            }
        }
    }

    /// As [`get_or_load_bound`](Self::get_or_load_bound), without blocking the thread.
    pub(crate) async fn get_or_load_bound_async<Q, E>(
        &self,
        key: &Q,
        loader: &Loader<K, V, E>,
    ) -> Result<Option<V>, LoadError<E>>
    where
        Q: Hash + ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = self.hash(key);
        if let Some(value) = self.get_current(key, hash) {
            return Ok(Some(value));
        }
        let mut call = BoundCall::new(self, key, hash, loader);
        let mut alarm = TaskAlarm::default();
        let leader = poll_fn(|cx| match call.step(|| cx.waker().clone()) {
            BoundStep::Done(result) => Poll::Ready(Err(result)),
            BoundStep::Run(leader) => Poll::Ready(Ok(leader)),
            BoundStep::Wait(until_ns) => {
                alarm.set(self, until_ns, cx);
                Poll::Pending
            }
        });
        let leader = match leader.await {
            Ok(leader) => leader,
            Err(result) => return result,
        };
        drop(alarm);
        let load = Load::new(leader.key().clone(), call.flow.fallback.clone());
        let loaded = match loader {
            Loader::Async(loader) => run_async(&leader, &load, &**loader).await,
            Loader::Blocking(loader) => {
                let _running = leader.run();
                loader(load.key(), &load)
            }
        };
        call.complete(leader, &load, loaded)
    }

    /// Begins to load `key` in the background, whether it is present or not. False if it is being loaded
    /// already.
    pub(crate) fn refresh_bound<Q, E>(&self, key: &Q, loader: &Loader<K, V, E>) -> bool
    where
        Q: Hash + ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let hash = self.hash(key);
        let started_ns = self.load_clock_ns();
        let Role::Leader(mut leader) = self.join_in_time(key, hash, started_ns) else {
            return false;
        };
        let (old, kept) = {
            // Keys are compared, and the value is cloned.
            let _running = leader.run();
            let guard = reclaim::pin();
            self.count(Counter::Loads, &guard);
            self.count(Counter::Refreshes, &guard);
            let stale = || self.find_stale(key, hash, &guard).map(|it| (it.pointer, it.entry));
            match self.find(key, hash, &guard).or_else(stale) {
                Some((old, entry)) => (Some(entry.value.clone()), KeptTraits::of(old)),
                None => (None, KeptTraits::default()),
            }
        };
        leader.set_refreshing();
        leader.keep_traits(kept);
        self.spawn_load(leader, started_ns, old, loader);
        true
    }
}

/// Polls a loader, as that of the flight of `leader`.
async fn run_async<K: Clone, V, E>(
    leader: &Leader<K, V>,
    load: &Load<K, V>,
    loader: &AsyncLoader<K, V, E>,
) -> LoadResult<V, E> {
    /// Is dropped within the flight.
    struct Within<'l, K, V, F> {
        leader: &'l Leader<K, V>,
        future: F,
    }
    impl<K, V, F> Drop for Within<'_, K, V, F> {
        fn drop(&mut self) {
            self.leader.keep_running();
        }
    }
    let future = {
        let _running = leader.run();
        loader(load.key().clone(), load.clone())
    };
    let mut within = Within { leader, future };
    poll_fn(|cx| {
        let _running = leader.run();
        within.future.as_mut().poll(cx)
    })
    .await
}

/// A call of a cache with a bound loader.
struct BoundCall<'c, K, V, S, Q: ?Sized, E> {
    flow: Flow<'c, K, V, S, Q>,
    cache: &'c Cache<K, V, S>,
    loader: &'c Loader<K, V, E>,
}

/// What such a call has to do next.
enum BoundStep<K, V, E> {
    Done(Result<Option<V>, LoadError<E>>),
    /// Run the loader within the call.
    Run(Leader<K, V>),
    Wait(u64),
}

impl<'c, K, V, S, Q, E> BoundCall<'c, K, V, S, Q, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    Q: Hash + ToKey<K> + ?Sized,
    E: Send + Sync + 'static,
{
    fn new(
        cache: &'c Cache<K, V, S>,
        key: &'c Q,
        hash: KeyHash,
        loader: &'c Loader<K, V, E>,
    ) -> Self {
        let loading = &cache.shared.settings.loading;
        let ahead = |timeout| cache.now_ns().saturating_add(nanoseconds(timeout));
        let deadline_ns = loading.hard_timeout.map_or(u64::MAX, ahead);
        let mut flow = Flow::new(cache, key, hash, Answers::ValueOrNone, deadline_ns);
        flow.soft_timeout_ns = loading.soft_timeout.map_or(u64::MAX, nanoseconds);
        Self { flow, cache, loader }
    }

    fn step(&mut self, waker: impl Fn() -> Waker) -> BoundStep<K, V, E> {
        loop {
            let result = match self.flow.step(&waker) {
                LoadStep::Found(value) => Ok(Some(value)),
                LoadStep::Missing => Ok(None),
                LoadStep::Failed(error) => match error.downcast() {
                    Ok(error) => Err(LoadError::Failed(error)),
                    Err(_) => continue,
                },
                LoadStep::Refresh(leader, old) => {
                    let started_ns = self.flow.started_ns;
                    self.cache.spawn_load(leader, started_ns, Some(old.clone()), self.loader);
                    Ok(Some(self.flow.use_old(old)))
                }
                LoadStep::Lead(leader) => {
                    // If the call may have to return before the loader does, the loader runs elsewhere. It runs here if
                    // the executor has dropped it, or within another load that the executor runs: the executor may have
                    // no thread for this one until that has returned.
                    let is_bounded = self.flow.deadline_ns != u64::MAX;
                    if !is_bounded
                        || self.flow.has_delegated
                        || LoadTask::is_within_blocking()
                        || !reentrancy::may_wait()
                    {
                        return BoundStep::Run(leader);
                    }
                    self.flow.wait_for(&leader);
                    let (started_ns, old) = (self.flow.started_ns, self.flow.fallback.clone());
                    self.cache.spawn_load(leader, started_ns, old, self.loader);
                    continue;
                }
                LoadStep::Wait(until_ns) => return BoundStep::Wait(until_ns),
                LoadStep::Reentrant => Err(LoadError::Reentrant),
                LoadStep::DeadlineExceeded => Err(LoadError::TimedOut),
            };
            return BoundStep::Done(self.flow.answer(result));
        }
    }

    fn complete(
        &mut self,
        leader: Leader<K, V>,
        load: &Load<K, V>,
        loaded: LoadResult<V, E>,
    ) -> Result<Option<V>, LoadError<E>> {
        let options = LoadOptions::new().insert;
        let started_ns = self.flow.started_ns;
        let result = self.cache.complete_load(leader, started_ns, options, Some(load), loaded);
        self.flow.answer(result)
    }
}

/// The alarm of a task that waits.
#[derive(Default)]
pub(super) struct TaskAlarm(Option<(u64, Alarm)>);

impl TaskAlarm {
    /// Has the task woken at `until_ns` at the latest.
    pub(super) fn set<K, V, S>(&mut self, cache: &Cache<K, V, S>, until_ns: u64, cx: &Context<'_>) {
        let is_set = self
            .0
            .as_ref()
            .is_some_and(|(at_ns, alarm)| *at_ns == until_ns && alarm.set_waker(cx.waker()));
        if !is_set {
            // The old one first, so that there is at most one.
            self.0 = None;
            let time = &cache.shared.engine.timing.time;
            let alarm = Alarm::register(AlarmTime::at(time, until_ns), cx.waker().clone());
            self.0 = Some((until_ns, alarm));
        }
    }
}
