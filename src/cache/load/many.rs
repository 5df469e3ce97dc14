//! Loading many keys by one call of a loader.
//!
//! The call takes the steps of `flow` for each key that is missing. It leads the flights of those that no other
//! call is loading, loads these first, and only then waits for the flights of others. So two calls whose keys
//! overlap never wait for each other. A key whose flight is handed over is loaded in another round.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::background::TaskAlarm;
use super::flow::{Flow, LoadStep};
use super::{Answers, LoadOptions, Loaded};
use crate::base::equivalent::ToKey;
use crate::base::load_error::LoadError;
use crate::base::reentrancy;
use crate::cache::Cache;
use crate::engine::flight::{Leader, Running};
use crate::task::Parker;

/// What a loader of many keys has loaded for each of them, or why none of them was loaded.
type LoadedMany<V, E> = Result<Vec<Option<Result<V, E>>>, E>;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    /// The values of `keys`, in their order; those that are missing are loaded by one call of `load`, and stored.
    ///
    /// `load` is given the keys that are missing and that no other call is loading, each once, and returns pairs of
    /// keys and values in any order. The call waits for the loads of other calls after that. It calls `load` again,
    /// for fewer keys, only if such a load was given up by its caller. Each key is loaded and stored as by
    /// [`try_get_or_insert_with`](Self::try_get_or_insert_with): other callers wait for it, and a change
    /// meanwhile keeps it from being stored. If no key is missing, `load` is not called.
    ///
    /// A pair whose key was not asked for is ignored; of two pairs with one key the last counts.
    ///
    /// # Errors
    /// Each key has a result of its own: [`LoadError::Failed`], if `load` has failed, for all keys that it was
    /// given; [`LoadError::NotLoaded`] for a key that it has returned no value for; [`LoadError::Reentrant`] for
    /// a key whose loader makes this call.
    ///
    /// # Panics
    /// If `load` panics; the keys that it was given are left to other callers. Otherwise as
    /// [`insert`](Self::insert).
    ///
    /// # Complexity
    /// As `get` and a miss for each key.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<u64, u64> = larder::Cache::new(100);
    /// cache.insert(1, 10);
    /// let values = cache.get_many_or_load(&[1, 2, 3], |missing| {
    ///     assert_eq!(missing, [2, 3]);
    ///     Ok::<_, std::io::Error>([(3, 30), (2, 20)])
    /// });
    /// let values: Result<Vec<u64>, _> = values.into_iter().collect();
    /// assert_eq!(values.unwrap(), [10, 20, 30]);
    /// ```
    #[doc(alias("getAll", "get_all"))]
    pub fn get_many_or_load<'q, Q, E, I>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        mut load: impl FnMut(&[K]) -> Result<I, E>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: Hash + ToKey<K> + ?Sized + 'q,
        E: Send + Sync + 'static,
        I: IntoIterator<Item = (K, V)>,
    {
        self.try_get_many_or_load(keys, |missing| {
            load(missing).map(|loaded| loaded.into_iter().map(|(key, value)| (key, Ok(value))))
        })
    }

    /// As [`get_many_or_load`](Self::get_many_or_load), with a loader that may fail for some keys and not for
    /// others.
    ///
    /// # Errors
    /// As `get_many_or_load`; also [`LoadError::Failed`] for each key that came with an error.
    ///
    /// # Panics
    /// As `get_many_or_load`.
    ///
    /// # Examples
    /// ```
    /// let cache: larder::Cache<&str, u64> = larder::Cache::new(100);
    /// let values = cache.try_get_many_or_load(&["1", "x"], |missing| {
    ///     Ok(missing.iter().map(|text| (*text, text.parse())).collect::<Vec<_>>())
    /// });
    /// assert_eq!(values[0], Ok(1));
    /// assert!(values[1].as_ref().is_err_and(|error| error.loader_error().is_some()));
    /// ```
    pub fn try_get_many_or_load<'q, Q, E, I>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        mut load: impl FnMut(&[K]) -> Result<I, E>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: Hash + ToKey<K> + ?Sized + 'q,
        E: Send + Sync + 'static,
        I: IntoIterator<Item = (K, Result<V, E>)>,
    {
        let keys: Vec<&Q> = keys.into_iter().collect();
        self.load_many(&keys, &mut None, |missing| load(missing))
    }

    /// The values of `keys`. Values that are due are renewed by `refresh`, if it is given, else in this call.
    pub(crate) fn load_many<Q, E, I>(
        &self,
        keys: &[&Q],
        refresh: &mut Option<Refresh<'_, K, V>>,
        mut load: impl FnMut(&[K]) -> Result<I, E>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: Hash + ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
        I: IntoIterator<Item = (K, Result<V, E>)>,
    {
        let mut call = ManyCall::begin(self, keys);
        if !call.waiting.is_empty() {
            let parker = Parker::new();
            loop {
                match call.round(|| parker.waker(), refresh) {
                    Round::Done => break,
                    Round::Wait(until_ns) => {
                        parker.park_until(&self.shared.engine.timing.time, until_ns);
                    }
                    Round::Load(leading) => {
                        let keys = keys_of(&leading);
                        let loaded = {
                            let _running = run_all(&leading);
                            sort_loaded(&keys, load(&keys))
                        };
                        call.complete(leading, loaded);
                    }
                }
            }
        }
        call.results()
    }

    /// As [`get_many_or_load`](Self::get_many_or_load), for a loader that returns a future, as in
    /// [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    ///
    /// # Errors
    /// As `get_many_or_load`.
    ///
    /// # Panics
    /// As `get_many_or_load`, when polled.
    ///
    /// # Examples
    /// ```
    /// # async fn fetch(ids: Vec<u64>) -> Result<Vec<(u64, String)>, std::io::Error> {
    /// #     Ok(ids.into_iter().map(|id| (id, format!("row {id}"))).collect())
    /// # }
    /// # async fn example(cache: larder::Cache<u64, String>) {
    /// let rows = cache.get_many_or_load_async(&[1, 2, 3], |missing| fetch(missing)).await;
    /// assert!(rows.iter().all(Result::is_ok));
    /// # }
    /// ```
    pub async fn get_many_or_load_async<'q, Q, E, I, F>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        mut load: impl FnMut(Vec<K>) -> F,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: Hash + ToKey<K> + ?Sized + 'q,
        E: Send + Sync + 'static,
        F: Future<Output = Result<I, E>>,
        I: IntoIterator<Item = (K, V)>,
    {
        let with_results = |loaded: I| loaded.into_iter().map(|(key, value)| (key, Ok(value)));
        let keys: Vec<&Q> = keys.into_iter().collect();
        self.load_many_async(&keys, &mut None, |missing| {
            let loading = load(missing);
            async move { loading.await.map(with_results) }
        })
        .await
    }

    /// As [`load_many`](Self::load_many), without blocking the thread.
    pub(crate) async fn load_many_async<Q, E, I, F>(
        &self,
        keys: &[&Q],
        refresh: &mut Option<Refresh<'_, K, V>>,
        mut load: impl FnMut(Vec<K>) -> F,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: Hash + ToKey<K> + ?Sized,
        E: Send + Sync + 'static,
        F: Future<Output = Result<I, E>>,
        I: IntoIterator<Item = (K, Result<V, E>)>,
    {
        let mut call = ManyCall::begin(self, keys);
        let mut alarm = TaskAlarm::default();
        while !call.waiting.is_empty() {
            let leading = poll_fn(|cx| match call.round(|| cx.waker().clone(), refresh) {
                Round::Done => Poll::Ready(None),
                Round::Load(leading) => Poll::Ready(Some(leading)),
                Round::Wait(until_ns) => {
                    alarm.set(self, until_ns, cx);
                    Poll::Pending
                }
            });
            let Some(leading) = leading.await else { break };
            let keys = keys_of(&leading);
            let loaded = {
                let future = {
                    let _running = run_all(&leading);
                    Box::pin(load(keys.clone()))
                };
                let mut loading = WithinFlights { future: Some(future), leading: &leading };
                poll_fn(|cx| loading.poll(cx)).await
            };
            call.complete(leading, sort_loaded(&keys, loaded));
        }
        call.results()
    }
}

/// Renews a value elsewhere, given the leader's part, the time when the load began, and the old value.
pub(crate) type Refresh<'r, K, V> = &'r mut (dyn FnMut(Leader<K, V>, u64, V) + Send);

/// One call for many keys on its way.
struct ManyCall<'c, K, V, S, Q: ?Sized, E> {
    /// The keys that have no result yet, with the places of their results.
    waiting: Vec<(usize, Flow<'c, K, V, S, Q>)>,
    results: Vec<Option<Result<V, LoadError<E>>>>,
    cache: &'c Cache<K, V, S>,
}

/// What such a call has to do next.
enum Round<'c, K, V, S, Q: ?Sized> {
    Done,
    /// Load these keys.
    Load(Vec<Led<'c, K, V, S, Q>>),
    /// Wait until the waker is used, but not beyond this time of the cache.
    Wait(u64),
}

/// A key whose flight the call leads.
struct Led<'c, K, V, S, Q: ?Sized> {
    /// The place of its result.
    at: usize,
    leader: Leader<K, V>,
    flow: Flow<'c, K, V, S, Q>,
}

impl<'c, K, V, S, Q, E> ManyCall<'c, K, V, S, Q, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    Q: Hash + ToKey<K> + ?Sized,
    E: Send + Sync + 'static,
{
    /// Looks all keys up.
    fn begin(cache: &'c Cache<K, V, S>, keys: &[&'c Q]) -> Self {
        let mut call = Self { waiting: Vec::new(), results: Vec::new(), cache };
        let current = match cache.shared.settings.refresh_rule {
            None => cache.get_many(keys.iter().copied()),
            Some(_) => keys.iter().map(|key| cache.get_current(*key, cache.hash(*key))).collect(),
        };
        for (at, key) in keys.iter().copied().enumerate().filter(|(at, _)| current[*at].is_none()) {
            let flow = Flow::new(cache, key, cache.hash(key), Answers::Value, u64::MAX);
            call.waiting.push((at, flow));
        }
        call.results = current.into_iter().map(|found| found.map(Ok)).collect();
        call
    }

    /// Takes steps for all keys that have no result yet.
    fn round(
        &mut self,
        waker: impl Fn() -> Waker,
        refresh: &mut Option<Refresh<'_, K, V>>,
    ) -> Round<'c, K, V, S, Q> {
        let mut leading = Vec::new();
        let mut until_ns = u64::MAX;
        let waiting = std::mem::take(&mut self.waiting);
        let may_wait = reentrancy::may_wait();
        for (at, mut flow) in waiting {
            if !may_wait && leading.iter().any(|led: &Led<'_, K, V, S, Q>| flow.is_of(&led.leader))
            {
                // It would lead a flight of its own, for a key that the loader is asked for already.
                self.waiting.push((at, flow));
                continue;
            }
            let result = match flow.step(&waker) {
                LoadStep::Found(value) => Ok(Some(value)),
                LoadStep::Failed(error) => match error.downcast() {
                    Ok(error) => Err(LoadError::Failed(error)),
                    // In the next round it leads.
                    Err(_) => {
                        until_ns = 0;
                        self.waiting.push((at, flow));
                        continue;
                    }
                },
                LoadStep::Missing => Ok(None),
                LoadStep::Reentrant => Err(LoadError::Reentrant),
                LoadStep::DeadlineExceeded => Err(LoadError::DeadlineExceeded),
                LoadStep::Wait(flow_until_ns) => {
                    until_ns = until_ns.min(flow_until_ns);
                    self.waiting.push((at, flow));
                    continue;
                }
                LoadStep::Lead(leader) => {
                    leading.push(Led { at, leader, flow });
                    continue;
                }
                LoadStep::Refresh(leader, old) => match refresh {
                    Some(refresh) => {
                        refresh(leader, flow.started_ns, old.clone());
                        Ok(Some(flow.use_old(old)))
                    }
                    None => {
                        flow.keep_as_fallback(Some(old));
                        leading.push(Led { at, leader, flow });
                        continue;
                    }
                },
            };
            self.results[at] = Some(value_of(flow.answer(result)));
        }
        if !leading.is_empty() {
            Round::Load(leading)
        } else if self.waiting.is_empty() {
            Round::Done
        } else {
            Round::Wait(until_ns)
        }
    }

    /// Ends the flights of the keys that the call has led.
    fn complete(&mut self, leading: Vec<Led<'c, K, V, S, Q>>, loaded: LoadedMany<V, E>) {
        let (mut loaded, failed) = match loaded {
            Ok(loaded) => (loaded.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(Arc::new(error))),
        };
        for Led { at, leader, mut flow } in leading {
            let result = match (loaded.next().flatten(), &failed) {
                (_, Some(error)) => {
                    self.cache.fail_load(leader, flow.started_ns, error);
                    Err(LoadError::Failed(Arc::clone(error)))
                }
                // The leader is dropped: a waiter loads for itself.
                (None, None) => Err(LoadError::NotLoaded),
                (Some(loaded), None) => {
                    let loaded = loaded.map(Loaded::Store);
                    let options = LoadOptions::new().insert;
                    self.cache.complete_load(leader, flow.started_ns, options, None, loaded)
                }
            };
            self.results[at] = Some(value_of(flow.answer(result)));
        }
    }

    fn results(self) -> Vec<Result<V, LoadError<E>>> {
        let no_result = || Err(LoadError::NotLoaded);
        self.results.into_iter().map(|result| result.unwrap_or_else(no_result)).collect()
    }
}

fn value_of<V, E>(result: Result<Option<V>, LoadError<E>>) -> Result<V, LoadError<E>> {
    result?.ok_or(LoadError::NotLoaded)
}

fn keys_of<K: Clone, V, S, Q: ?Sized>(leading: &[Led<'_, K, V, S, Q>]) -> Vec<K> {
    leading.iter().map(|led| led.leader.key().clone()).collect()
}

/// Notes that this thread runs, or polls, the loader of all of them, until the result is dropped.
fn run_all<'l, K, V, S, Q: ?Sized>(leading: &'l [Led<'_, K, V, S, Q>]) -> Vec<Running<'l, K, V>> {
    leading.iter().map(|led| led.leader.run()).collect()
}

/// The loader's future, which is polled and dropped within the flights of `leading`.
struct WithinFlights<'l, 'c, K, V, S, Q: ?Sized, F> {
    future: Option<Pin<Box<F>>>,
    leading: &'l [Led<'c, K, V, S, Q>],
}

impl<K, V, S, Q: ?Sized, F: Future> WithinFlights<'_, '_, K, V, S, Q, F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _running = run_all(self.leading);
        let future = self.future.as_mut().expect("it is there until the drop");
        future.as_mut().poll(cx)
    }
}

impl<K, V, S, Q: ?Sized, F> Drop for WithinFlights<'_, '_, K, V, S, Q, F> {
    fn drop(&mut self) {
        let _running = run_all(self.leading);
        self.future = None;
    }
}

/// What was loaded for each of `keys`, in their order. Calls the loader's iterator, which is user code.
fn sort_loaded<K, V, E, I>(keys: &[K], loaded: Result<I, E>) -> LoadedMany<V, E>
where
    K: Hash + Eq,
    I: IntoIterator<Item = (K, Result<V, E>)>,
{
    let places: HashMap<&K, usize> = keys.iter().zip(0..).collect();
    let mut sorted: Vec<Option<Result<V, E>>> = keys.iter().map(|_| None).collect();
    for (key, value) in loaded? {
        if let Some(place) = places.get(&key) {
            sorted[*place] = Some(value);
        }
    }
    Ok(sorted)
}
