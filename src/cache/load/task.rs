//! Loading by futures, under any runtime.
//!
//! A future takes the same steps as a blocking call (`flow`). It polls its loader within its own polls, and
//! between two of them it holds no lock and no pin. Dropping it at any point ends its part: a waiter
//! leaves the flight, and a leader abandons it.
//!
//! The loader's future is put into a box when its call begins to lead, so the call's future is movable, and
//! small while it only waits.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::background::TaskAlarm;
use super::flow::{Flow, LoadStep};
use super::{Answers, Load, LoadOptions, Loaded, Setup, panic_as_reentrant};
use crate::base::equivalent::ToKey;
use crate::base::load_error::LoadError;
use crate::cache::Cache;
use crate::engine::flight::Leader;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync,
{
    /// As [`get_or_insert_with`](Self::get_or_insert_with), for a loader that is a future.
    ///
    /// The result is a future that works under any runtime, and is `Send` if `load` and the reference to the key
    /// are. `load` is polled within its polls, and only if this call leads the load; otherwise it is dropped
    /// unpolled. Blocking calls and futures wait for each other's loads.
    ///
    /// # Cancellation
    /// The future may be dropped at any point. If it was loading, another caller that waits runs its own loader
    /// instead, and nothing was stored. A future that is kept, and polled no more, delays the others until the
    /// [load timeout](crate::Builder::load_timeout) of its load, and no longer. Between two polls it holds
    /// no lock and no pin.
    ///
    /// # Panics
    /// When polled: as `get_or_insert_with`. A load of the same key from within `load` counts as being in the
    /// same task if it is polled by `load` itself; in a task that was spawned, it waits for the load timeout.
    ///
    /// # Examples
    /// ```
    /// # fn block_on<T>(future: impl Future<Output = T>) -> T {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     match std::pin::pin!(future).poll(&mut context) {
    /// #         std::task::Poll::Ready(output) => output,
    /// #         std::task::Poll::Pending => unreachable!(),
    /// #     }
    /// # }
    /// let cache: larder::Cache<String, usize> = larder::Cache::new(100);
    /// let value = block_on(async {
    ///     cache.get_or_insert_with_async("four", async { "four".len() }).await
    /// });
    /// assert_eq!((value, cache.get("four")), (4, Some(4)));
    /// ```
    #[doc(alias = "get_with")]
    pub fn get_or_insert_with_async<'f, Q, F>(
        &'f self,
        key: &'f Q,
        load: F,
    ) -> impl Future<Output = V> + use<'f, K, V, S, Q, F>
    where
        Q: Hash + ToKey<K> + Sync + ?Sized,
        F: Future<Output = V> + 'f,
    {
        let load = |_: &mut Setup<K, V>| async { Ok::<_, Infallible>(Loaded::Store(load.await)) };
        self.load_future(key, LoadOptions::new(), Answers::Value, load, |loaded| match loaded {
            Ok(Some(value)) => value,
            Err(LoadError::Reentrant) => panic_as_reentrant(),
            Ok(None) | Err(_) => unreachable!("without a deadline, a value comes in the end"),
        })
    }

    /// As [`try_get_or_insert_with`](Self::try_get_or_insert_with), for a loader that is a future, as in
    /// [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    ///
    /// # Errors
    /// As `try_get_or_insert_with`.
    ///
    /// # Panics
    /// When polled, if `load` panics; otherwise as [`insert`](Self::insert).
    #[doc(alias("try_get_with", "get_or_insert_async"))]
    pub fn try_get_or_insert_with_async<'f, Q, E, F>(
        &'f self,
        key: &'f Q,
        load: F,
    ) -> impl Future<Output = Result<V, LoadError<E>>> + use<'f, K, V, S, Q, E, F>
    where
        Q: Hash + ToKey<K> + Sync + ?Sized,
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>> + 'f,
    {
        let load = |_: &mut Setup<K, V>| async { load.await.map(Loaded::Store) };
        self.load_future(key, LoadOptions::new(), Answers::Value, load, |loaded| {
            loaded?.ok_or(LoadError::NotLoaded)
        })
    }

    /// As [`optionally_get_or_insert_with`](Self::optionally_get_or_insert_with), for a loader that is a
    /// future, as in [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    ///
    /// # Panics
    /// When polled: as `get_or_insert_with`.
    #[doc(alias = "optionally_get_with")]
    pub fn optionally_get_or_insert_with_async<'f, Q, F>(
        &'f self,
        key: &'f Q,
        load: F,
    ) -> impl Future<Output = Option<V>> + use<'f, K, V, S, Q, F>
    where
        Q: Hash + ToKey<K> + Sync + ?Sized,
        F: Future<Output = Option<V>> + 'f,
    {
        let load = |_: &mut Setup<K, V>| async {
            Ok::<_, Infallible>(load.await.map_or(Loaded::Missing, Loaded::Store))
        };
        let answers = Answers::ValueOrNone;
        self.load_future(key, LoadOptions::new(), answers, load, |loaded| match loaded {
            Ok(found) => found,
            Err(LoadError::Reentrant) => panic_as_reentrant(),
            Err(_) => unreachable!("without a deadline, an answer comes in the end"),
        })
    }

    /// As [`try_optionally_get_or_insert_with`](Self::try_optionally_get_or_insert_with), for a loader that is
    /// a future, as in [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    ///
    /// # Errors
    /// As `try_get_or_insert_with`.
    ///
    /// # Panics
    /// When polled, if `load` panics; otherwise as [`insert`](Self::insert).
    pub fn try_optionally_get_or_insert_with_async<'f, Q, E, F>(
        &'f self,
        key: &'f Q,
        load: F,
    ) -> impl Future<Output = Result<Option<V>, LoadError<E>>> + use<'f, K, V, S, Q, E, F>
    where
        Q: Hash + ToKey<K> + Sync + ?Sized,
        E: Send + Sync + 'static,
        F: Future<Output = Result<Option<V>, E>> + 'f,
    {
        let load = |_: &mut Setup<K, V>| async {
            load.await.map(|found| found.map_or(Loaded::Missing, Loaded::Store))
        };
        let answers = Answers::ValueOrNone;
        self.load_future(key, LoadOptions::new(), answers, load, |loaded| loaded)
    }

    /// As [`get_or_load`](Self::get_or_load), for a loader that is a future, as in
    /// [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    ///
    /// The [deadline](LoadOptions::load_deadline) counts from the first poll, and also ends a load that this call
    /// leads; then another caller that waits runs its own loader. A thread that all caches of the process share wakes
    /// the task.
    ///
    /// # Errors
    /// As `get_or_load`.
    ///
    /// # Panics
    /// When polled, if `load` or its future panics; otherwise as [`insert`](Self::insert).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::{Cache, LoadError, LoadOptions, Loaded};
    ///
    /// # async fn fetch(id: &u64) -> Result<Option<String>, std::io::Error> { Ok(Some("row".into())) }
    /// # async fn example(cache: Cache<u64, String>) -> Result<(), LoadError<std::io::Error>> {
    /// let options = LoadOptions::new().load_deadline(Duration::from_millis(100));
    /// let row = cache
    ///     .get_or_load_async(&7, options, |load| async move {
    ///         load.set_ttl(Duration::from_secs(60));
    ///         let row = fetch(load.key()).await?;
    ///         Ok(row.map_or(Loaded::Missing, Loaded::Store))
    ///     })
    ///     .await?;
    /// # assert_eq!(row.as_deref(), Some("row"));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "get_value_or_guard_async")]
    pub fn get_or_load_async<'f, Q, E, L, F>(
        &'f self,
        key: &'f Q,
        options: LoadOptions<'f>,
        load: L,
    ) -> impl Future<Output = Result<Option<V>, LoadError<E>>> + use<'f, K, V, S, Q, E, L, F>
    where
        Q: Hash + ToKey<K> + Sync + ?Sized,
        E: Send + Sync + 'static,
        L: FnOnce(Load<K, V>) -> F + 'f,
        F: Future<Output = Result<Loaded<V>, E>> + 'f,
    {
        let load = |setup: &mut Setup<K, V>| load(setup.context(key.to_key()).clone());
        self.load_future(key, options, Answers::ValueOrNone, load, |loaded| loaded)
    }

    fn load_future<'f, Q, E, L, F, R>(
        &'f self,
        key: &'f Q,
        options: LoadOptions<'f>,
        answers: Answers,
        load: L,
        answer: fn(Result<Option<V>, LoadError<E>>) -> R,
    ) -> LoadFuture<'f, K, V, S, Q, L, F, E, R>
    where
        Q: ?Sized,
        L: FnOnce(&mut Setup<K, V>) -> F,
    {
        LoadFuture { cache: self, key, options, answers, load: Some(load), answer, missed: None }
    }
}

/// A call of a verb that loads by a future.
struct LoadFuture<'f, K, V, S, Q: ?Sized, L, F, E, R> {
    cache: &'f Cache<K, V, S>,
    key: &'f Q,
    options: LoadOptions<'f>,
    answers: Answers,
    /// Begins the load; `None` once it has.
    load: Option<L>,
    answer: fn(Result<Option<V>, LoadError<E>>) -> R,
    /// From the miss on. Before that, and for a hit, nothing is allocated.
    missed: Option<BoxedMiss<'f, K, V, S, Q, F>>,
}

type BoxedMiss<'f, K, V, S, Q, F> = Box<Missed<'f, K, V, S, Q, F>>;

/// A call that has missed its key.
struct Missed<'f, K, V, S, Q: ?Sized, F> {
    flow: Flow<'f, K, V, S, Q>,
    deadline_ns: u64,
    alarm: TaskAlarm,
    loading: Option<Loading<K, V, F>>,
}

impl<K, V, S, Q: ?Sized, F> Drop for Missed<'_, K, V, S, Q, F> {
    fn drop(&mut self) {
        if let Some(loading) = &self.loading {
            // The loader's future is dropped while the flight is still open.
            loading.leader.keep_running();
        }
    }
}

/// A load that the call leads.
struct Loading<K, V, F> {
    // First, so that what the loader holds is gone before another caller's loader begins.
    future: Pin<Box<F>>,
    leader: Leader<K, V>,
    context: Option<Load<K, V>>,
}

/// The loader's future is in a box of its own, and no other part is ever pinned.
impl<K, V, S, Q: ?Sized, L, F, E, R> Unpin for LoadFuture<'_, K, V, S, Q, L, F, E, R> {}

impl<K, V, S, Q, L, F, E, R> Future for LoadFuture<'_, K, V, S, Q, L, F, E, R>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    Q: Hash + ToKey<K> + ?Sized,
    L: FnOnce(&mut Setup<K, V>) -> F,
    F: Future<Output = Result<Loaded<V>, E>>,
    E: Send + Sync + 'static,
{
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let this = self.get_mut();
        let result = match this.missed.take() {
            None => this.begin(cx),
            Some(missed) => this.go_on(missed, cx),
        };
        result.map(this.answer)
    }
}

impl<'f, K, V, S, Q, L, F, E, R> LoadFuture<'f, K, V, S, Q, L, F, E, R>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    Q: Hash + ToKey<K> + ?Sized,
    L: FnOnce(&mut Setup<K, V>) -> F,
    F: Future<Output = Result<Loaded<V>, E>>,
    E: Send + Sync + 'static,
{
    /// The first poll: a lookup.
    fn begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<V>, LoadError<E>>> {
        assert!(self.load.is_some(), "a future was polled after it was done");
        let (cache, key) = (self.cache, self.key);
        let hash = cache.hash(key);
        if let Some(value) = cache.get_current(key, hash) {
            self.load = None;
            return Poll::Ready(Ok(Some(value)));
        }
        let deadline_ns = cache.deadline_ns(self.options);
        let flow = Flow::new(cache, key, hash, self.answers, deadline_ns);
        let missed = Missed { flow, deadline_ns, alarm: TaskAlarm::default(), loading: None };
        self.go_on(Box::new(missed), cx)
    }

    /// Takes steps until the call has to wait. If user code panics, `missed` is dropped: then the load is
    /// abandoned, or the waiting ends.
    fn go_on(
        &mut self,
        mut missed: Box<Missed<'f, K, V, S, Q, F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<V>, LoadError<E>>> {
        loop {
            if let Some(mut loading) = missed.loading.take() {
                // Until it is known that the future waits: also if it panics, and while it is dropped.
                loading.leader.keep_running();
                if let Poll::Ready(loaded) = loading.future.as_mut().poll(cx) {
                    let Loading { future, leader, context } = loading;
                    drop(future);
                    let started_ns = missed.flow.started_ns;
                    let options = self.options.insert;
                    let cache = self.cache;
                    let load = context.as_ref();
                    let result = cache.complete_load(leader, started_ns, options, load, loaded);
                    return Poll::Ready(missed.flow.answer(result));
                }
                if missed.deadline_ns == u64::MAX {
                    loading.leader.pause();
                    missed.loading = Some(loading);
                    self.missed = Some(missed);
                    return Poll::Pending;
                }
                if self.cache.now_ns() >= missed.deadline_ns {
                    drop(loading);
                    return self.done(&mut missed, Err(LoadError::DeadlineExceeded));
                }
                loading.leader.pause();
                missed.loading = Some(loading);
                let until_ns = missed.deadline_ns;
                return self.wait(missed, until_ns, cx);
            }
            match missed.flow.step(|| cx.waker().clone()) {
                LoadStep::Found(value) => return self.done(&mut missed, Ok(Some(value))),
                LoadStep::Missing => return self.done(&mut missed, Ok(None)),
                LoadStep::Failed(error) => {
                    if let Ok(error) = error.downcast() {
                        return self.done(&mut missed, Err(LoadError::Failed(error)));
                    }
                }
                LoadStep::Reentrant => return self.done(&mut missed, Err(LoadError::Reentrant)),
                LoadStep::DeadlineExceeded => {
                    return self.done(&mut missed, Err(LoadError::DeadlineExceeded));
                }
                LoadStep::Wait(until_ns) => return self.wait(missed, until_ns, cx),
                LoadStep::Lead(leader) => self.lead(&mut missed, leader, None),
                LoadStep::Refresh(leader, old) => self.lead(&mut missed, leader, Some(old)),
            }
        }
    }

    /// Begins to run the loader, which renews `old` if that is given.
    fn lead(
        &mut self,
        missed: &mut Missed<'f, K, V, S, Q, F>,
        leader: Leader<K, V>,
        old: Option<V>,
    ) {
        missed.flow.keep_as_fallback(old);
        let load = self.load.take().expect("a call leads once");
        let mut setup = Setup::new(&missed.flow.fallback);
        let future = {
            let _running = leader.run();
            Box::pin(load(&mut setup))
        };
        missed.loading = Some(Loading { future, leader, context: setup.load });
    }

    fn done(
        &mut self,
        missed: &mut Missed<'f, K, V, S, Q, F>,
        result: Result<Option<V>, LoadError<E>>,
    ) -> Poll<Result<Option<V>, LoadError<E>>> {
        self.load = None;
        Poll::Ready(missed.flow.answer(result))
    }

    /// Waits, at most until `until_ns`.
    fn wait(
        &mut self,
        mut missed: Box<Missed<'f, K, V, S, Q, F>>,
        until_ns: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<V>, LoadError<E>>> {
        missed.alarm.set(self.cache, until_ns, cx);
        self.missed = Some(missed);
        Poll::Pending
    }
}
