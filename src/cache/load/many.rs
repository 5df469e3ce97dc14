//! Loading many keys by one call of a loader.
//!
//! The call takes the steps of `flow` for each key that is missing. It leads the flights of those that no other
//! call is loading, loads these first, and only then waits for the flights of others. So two calls whose keys
//! overlap never wait for each other. A key whose flight is handed over is loaded in another round.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::flow::{Flow, LoadStep};
use super::{Answers, LoadOptions, Loaded};
use crate::base::equivalent::Equivalent;
use crate::base::load_error::LoadError;
use crate::cache::Cache;
use crate::engine::flight::Leader;
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
    pub fn get_many_or_load<Q, E, I>(
        &self,
        keys: &[Q],
        mut load: impl FnMut(&[K]) -> Result<I, E>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K>,
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
    pub fn try_get_many_or_load<Q, E, I>(
        &self,
        keys: &[Q],
        mut load: impl FnMut(&[K]) -> Result<I, E>,
    ) -> Vec<Result<V, LoadError<E>>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K>,
        E: Send + Sync + 'static,
        I: IntoIterator<Item = (K, Result<V, E>)>,
    {
        let mut results: Vec<Option<Result<V, LoadError<E>>>> = Vec::with_capacity(keys.len());
        let mut waiting = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let hash = self.hash(key);
            let found = self.get_current(key, hash);
            if found.is_none() {
                waiting.push((at, Flow::new(self, key, hash, Answers::Value, u64::MAX)));
            }
            results.push(found.map(Ok));
        }
        let parker = (!waiting.is_empty()).then(Parker::new);
        while let Some(parker) = parker.as_ref().filter(|_| !waiting.is_empty()) {
            let mut leading = Vec::new();
            let mut until_ns = u64::MAX;
            let mut still_waiting = Vec::with_capacity(waiting.len());
            for (at, mut flow) in waiting {
                let result = match flow.step(|| parker.waker()) {
                    LoadStep::Found(value) => Ok(Some(value)),
                    LoadStep::Failed(error) => match error.downcast() {
                        Ok(error) => Err(LoadError::Failed(error)),
                        // In the next round it leads.
                        Err(_) => {
                            until_ns = 0;
                            still_waiting.push((at, flow));
                            continue;
                        }
                    },
                    LoadStep::Missing => Err(LoadError::NotLoaded),
                    LoadStep::Reentrant => Err(LoadError::Reentrant),
                    LoadStep::DeadlineExceeded => Err(LoadError::DeadlineExceeded),
                    LoadStep::Wait(flow_until_ns) => {
                        until_ns = until_ns.min(flow_until_ns);
                        still_waiting.push((at, flow));
                        continue;
                    }
                    LoadStep::Lead(leader) => {
                        leading.push(Led { at, leader, flow });
                        continue;
                    }
                    LoadStep::Refresh(leader, old) => {
                        flow.refreshes(Some(old));
                        leading.push(Led { at, leader, flow });
                        continue;
                    }
                };
                results[at] = Some(value_of(flow.answer(result)));
            }
            waiting = still_waiting;
            if !leading.is_empty() {
                self.load_many(leading, &mut load, &mut results);
            } else if !waiting.is_empty() {
                parker.park_until(&self.shared.engine.timing.time, until_ns);
            }
        }
        results.into_iter().map(|result| result.unwrap_or(Err(LoadError::NotLoaded))).collect()
    }

    /// Loads the keys that this call leads, and ends their flights.
    fn load_many<Q, E, I>(
        &self,
        leading: Vec<Led<'_, K, V, S, Q>>,
        load: &mut impl FnMut(&[K]) -> Result<I, E>,
        results: &mut [Option<Result<V, LoadError<E>>>],
    ) where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K>,
        E: Send + Sync + 'static,
        I: IntoIterator<Item = (K, Result<V, E>)>,
    {
        let keys: Vec<K> = leading.iter().map(|led| led.leader.key().clone()).collect();
        let loaded = {
            let _running: Vec<_> = leading.iter().map(|led| led.leader.run()).collect();
            sort_loaded(&keys, load(&keys))
        };
        let (mut loaded, failed) = match loaded {
            Ok(loaded) => (loaded.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(Arc::new(error))),
        };
        for Led { at, leader, mut flow } in leading {
            let result = match (loaded.next().flatten(), &failed) {
                (_, Some(error)) => {
                    self.fail_load(leader, flow.started_ns, error);
                    Err(LoadError::Failed(Arc::clone(error)))
                }
                // The leader is dropped: a waiter loads for itself.
                (None, None) => Err(LoadError::NotLoaded),
                (Some(loaded), None) => {
                    let loaded = loaded.map(Loaded::Store);
                    let options = LoadOptions::new().insert;
                    self.complete_load(leader, flow.started_ns, options, None, loaded)
                }
            };
            results[at] = Some(value_of(flow.answer(result)));
        }
    }
}

/// A key that the call leads the flight of.
struct Led<'c, K, V, S, Q> {
    /// The place of its result.
    at: usize,
    leader: Leader<K, V>,
    flow: Flow<'c, K, V, S, Q>,
}

fn value_of<V, E>(result: Result<Option<V>, LoadError<E>>) -> Result<V, LoadError<E>> {
    result?.ok_or(LoadError::NotLoaded)
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
