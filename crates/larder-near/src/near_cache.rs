//! The near cache: what its users call.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use larder_store::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::{Content, Envelopes, Unpacked};
use crate::error::NearError;
use crate::flight::Joined;
use crate::key::NearKey;
use crate::lease::{Lease, now_ns};
use crate::memory::{Bound, Fetched, Filled, Held, Memory, Outcome};
use crate::pending::Pending;
use crate::stats::{NearStats, count};
use crate::topology::{Answer, Servers};
use crate::transport::{Command, Reply};

mod behind;
mod fleet;
mod turn;
mod compare;
mod many;
#[cfg(feature = "metrics")]
mod metrics;
mod tag;
mod write_many;
mod write;
mod change;

pub(crate) use behind::{Behind, OnLostWrite};
pub(crate) use compare::Comparing;
pub use compare::ValueVersion;
use fleet::Waited;
#[cfg(feature = "metrics")]
pub use metrics::NearMetrics;
use write::Loaded;
pub use write::WriteMode;

/// A cache in memory over a server that all processes share: Redis, Valkey, or
/// [`larder-server`](https://crates.io/crates/larder-server).
///
/// A read that memory can answer takes about a fifth longer than a `get` of larder with a time to live, because it
/// compares the time with a lease (the example `hits` measures both). The server notifies each process of
/// the keys that have changed, and **no read returns a value that was overwritten more than
/// [`max_stale`](crate::NearBuilder::max_stale) before the read began**, whatever happens to the connection. A write has
/// reached the server when it returns, and the process reads what it has written.
///
/// Clones are handles of the same cache. The connection ends with the last one.
///
/// Calls are futures on the tokio runtime within which the cache was built, and may be dropped at any time.
/// Threads without a runtime use [`BlockingNearCache`](crate::BlockingNearCache).
///
/// A process that forks should build the cache after the fork: in the child nothing extends the lease, so reads
/// go to a connection that is not served, and time out.
///
/// # Examples
/// ```no_run
/// use larder_near::NearCache;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let users: NearCache<u64, String> =
///     NearCache::builder().server("redis://localhost").prefix("user:").capacity(100_000).connect().await?;
/// users.set(&7, "Ada".to_owned()).await?;
/// assert_eq!(users.get(&7).await?.as_deref(), Some("Ada"));
/// # Ok(())
/// # }
/// ```
pub struct NearCache<K, V> {
    pub(crate) shared: Arc<Shared<K, V>>,
}

pub(crate) struct Shared<K, V> {
    pub(crate) memory: Arc<Memory<K, V>>,
    pub(crate) link: Arc<Servers>,
    /// That of the servers, near to hits.
    pub(crate) lease: Arc<Lease>,
    pub(crate) envelopes: Envelopes,
    pub(crate) comparing: Comparing,
    /// The writes that wait, with [`WriteMode::Behind`].
    pub(crate) pending: Option<Arc<Pending<K, V>>>,
    pub(crate) settings: CallSettings,
}

/// What calls need to know of the settings.
#[derive(Clone, Debug)]
pub(crate) struct CallSettings {
    pub(crate) max_stale: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) load_patience: Duration,
    pub(crate) fleet_turn: Option<Duration>,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) missing_time_to_live: Option<Duration>,
    pub(crate) jitter: f64,
    pub(crate) write_mode: WriteMode,
    pub(crate) keys_per_call: usize,
    pub(crate) is_counting_hits: bool,
}

impl<K, V> Shared<K, V> {
    fn stats(&self) -> NearStats {
        let mut stats = self.link.stats();
        if self.settings.is_counting_hits {
            stats.hits = Some(self.link.counters.hits.load(Ordering::Relaxed));
        }
        stats.pending_writes = self.pending.as_ref().map_or(0, |pending| pending.len() as u64);
        stats
    }
}

impl<K, V> Clone for NearCache<K, V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V> Drop for Shared<K, V> {
    fn drop(&mut self) {
        match &self.pending {
            // The task sends what waits, and closes the link.
            Some(pending) => pending.close(),
            None => self.link.close(),
        }
    }
}

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// The value of `key`; `None` if the server has none.
    ///
    /// Callers that ask for a key at the same time share one request. If the server cannot be asked, a value of
    /// memory may be returned, within [`stale_if_error`](crate::NearBuilder::stale_if_error).
    ///
    /// # Errors
    /// If the server cannot be asked, and memory may not answer in its place.
    pub async fn get(&self, key: &K) -> Result<Option<V>, NearError> {
        if let Some(held) = self.lookup(key) {
            return Ok(held.into_value());
        }
        self.held(key).await.map(Held::into_value)
    }

    /// What memory says of `key` without asking the server: `None` if it does not know, `Some(None)` if it
    /// knows that the server has no value.
    ///
    /// Lock-free, and within `max_stale` as all reads.
    #[inline]
    pub fn get_in_memory(&self, key: &K) -> Option<Option<V>> {
        self.lookup(key).map(Held::into_value)
    }

    #[inline]
    pub(crate) fn lookup(&self, key: &K) -> Option<Held<V>> {
        let held = self.lookup_uncounted(key);
        if self.shared.settings.is_counting_hits && held.is_some() {
            count(&self.shared.link.counters.hits);
        }
        held
    }

    /// The same for a caller to whom memory may not be the one that answers.
    pub(crate) fn lookup_uncounted(&self, key: &K) -> Option<Held<V>> {
        self.shared.memory.lookup(&self.shared.lease, key)
    }

    /// What memory says of a key that would be loaded if it had no value.
    pub(crate) fn loaded_in_memory(&self, key: &K) -> Option<Held<V>> {
        let held = self.lookup_uncounted(key);
        let held = held.filter(|held| !matches!(held, Held::Absent | Held::Unreadable))?;
        if self.shared.settings.is_counting_hits {
            count(&self.shared.link.counters.hits);
        }
        Some(held)
    }

    /// The value of `key`, from memory, from the server, or else from `loader`, whose value is then stored at
    /// the server for all.
    ///
    /// Within the process one loader runs for a key at a time, and the other callers wait for it; a caller that
    /// has waited for [`load_patience`](crate::NearBuilder::load_patience) loads on its own. What another process has
    /// stored meanwhile wins over what was loaded. If the key is changed while the loader runs, its value is
    /// returned and not stored. A loader that answers `None` is remembered at the server for
    /// [`missing_time_to_live`](crate::NearBuilder::missing_time_to_live), if that is set.
    ///
    /// If the server cannot be asked, a stale value within [`stale_if_error`](crate::NearBuilder::stale_if_error) is
    /// returned, or else the loader's value, which is then stored nowhere.
    ///
    /// The loader may be the `get` of a [`larder_store::AsyncStore`]. The tags of its record are kept
    /// ([`set_record`](Self::set_record)).
    ///
    /// # Errors
    /// [`NearError::Loader`] if the loader fails, which all callers that have waited for it get.
    pub async fn get_or_load<F, L, E>(&self, key: &K, loader: F) -> Result<Option<V>, NearError>
    where
        F: FnOnce() -> L,
        L: Future<Output = Result<Option<Record<V>>, E>>,
        E: Error + Send + Sync + 'static,
    {
        if let Some(held) = self.loaded_in_memory(key) {
            return Ok(held.into_value());
        }
        let name = self.shared.memory.name(key);
        let loads = &self.shared.memory.loads;
        loop {
            match loads.join(&name, now_ns()) {
                Joined::Leader(lead) => {
                    let outcome = self.load(key, &name, loader, || lead.is_open()).await;
                    return (*lead.end(outcome)).clone().map(Held::into_value);
                }
                Joined::Waiter(flight) => {
                    let patience = self.shared.settings.load_patience;
                    let began_ns = now_ns();
                    if let Some(outcome) = flight.wait(patience).await {
                        count(&self.shared.link.counters.shared);
                        return (*outcome).clone().map(Held::into_value);
                    }
                    if now_ns().saturating_sub(began_ns) >= crate::lease::nanoseconds(patience) {
                        return self.load(key, &name, loader, || true).await.map(Held::into_value);
                    }
                }
            }
        }
    }

    async fn load<F, L, E>(
        &self,
        key: &K,
        name: &[u8],
        loader: F,
        is_unchanged: impl Fn() -> bool,
    ) -> Outcome<V>
    where
        F: FnOnce() -> L,
        L: Future<Output = Result<Option<Record<V>>, E>>,
        E: Error + Send + Sync + 'static,
    {
        let there = match self.held(key).await {
            Ok(held @ (Held::Absent | Held::Unreadable)) => Some(held),
            Ok(held) => return Ok(held),
            Err(_) => None,
        };
        let waited = match &there {
            Some(there) => self.wait_for_turn(key, name, matches!(there, Held::Absent)).await?,
            None => Waited::Alone,
        };
        let turn = match waited {
            Waited::Found(held) => return Ok(held),
            Waited::Turn(turn) => Some(turn),
            Waited::Alone => None,
        };
        // What cannot be read would keep everyone loading, so what is loaded takes its place: that of no other value.
        let (there, replaced) = match there {
            Some(Held::Unreadable) if turn.is_none() => match self.get_with_version(key).await {
                Ok((Some(value), _)) => return Ok(Held::Value(value)),
                Ok((None, version)) => (there, version),
                Err(_) => (None, None),
            },
            there => (there, None),
        };
        count(&self.shared.link.counters.loads);
        if let Some(turn) = turn {
            let is_conditional = !matches!(there, Some(Held::Unreadable));
            let loaded = match loader().await {
                Ok(loaded) => self.writing_of_loaded(loaded, is_conditional).await,
                Err(error) => Err(NearError::Loader(Arc::new(error))),
            };
            return match loaded {
                Ok(Loaded::Writing(writing)) if is_unchanged() => {
                    self.store_in_turn(key, name, writing, turn).await
                }
                other => {
                    turn.give_back().await;
                    other.map(Loaded::into_held)
                }
            };
        }
        let loaded = loader().await.map_err(|error| NearError::Loader(Arc::new(error)))?;
        match there {
            Some(_) => match self.writing_of_loaded(loaded, true).await? {
                // After the tags were asked for, because that takes time.
                Loaded::Writing(writing) if is_unchanged() => {
                    self.store_loaded(key, name, writing, replaced).await
                }
                other => Ok(other.into_held()),
            },
            None => Ok(loaded.map_or(Held::Missing, |record| Held::Value(record.value))),
        }
    }

    /// What the server says of `key`, by a request that is shared.
    pub(crate) async fn held(&self, key: &K) -> Outcome<V> {
        let name = self.shared.memory.name(key);
        let reads = &self.shared.memory.reads;
        let called_ns = now_ns();
        loop {
            match reads.join(&name, called_ns) {
                Joined::Leader(lead) => {
                    let outcome = self.fetch_softly(key, &name).await;
                    return (*lead.end(outcome)).clone();
                }
                Joined::Waiter(flight) => {
                    let patience = self.shared.settings.call_timeout;
                    if let Some(outcome) = flight.wait(patience).await {
                        count(&self.shared.link.counters.shared);
                        return (*outcome).clone();
                    }
                    // The leader was dropped, or is not polled.
                    if now_ns().saturating_sub(called_ns) >= crate::lease::nanoseconds(patience) {
                        return self.fetch(key, &name).await;
                    }
                }
            }
        }
    }

    /// As [`fetch`](Self::fetch), but if it takes longer than the soft timeout, memory answers if it may, and the
    /// request goes on for those who come later.
    async fn fetch_softly(&self, key: &K, name: &[u8]) -> Outcome<V> {
        let shared = &*self.shared;
        let Some(soft) = shared.settings.soft_timeout else { return self.fetch(key, name).await };
        let Some(stale) = shared.memory.lookup_stale(&shared.link.lease, key) else {
            return self.fetch(key, name).await;
        };
        let (near, own_key, own_name) = (self.clone(), key.clone(), name.to_vec());
        let fetching = tokio::spawn(async move { near.fetch(&own_key, &own_name).await });
        match tokio::time::timeout(soft, fetching).await {
            Ok(Ok(outcome)) => outcome,
            // Code of the user's has panicked in the task; here it does so for the caller.
            Ok(Err(_)) => self.fetch(key, name).await,
            Err(_) => {
                count(&shared.link.counters.soft_timeouts);
                count(&shared.link.counters.stale_hits);
                Ok(stale)
            }
        }
    }

    /// Asks the server for `key`; see the head of `memory` for the order of the steps.
    async fn fetch(&self, key: &K, name: &[u8]) -> Outcome<V> {
        let shared = &*self.shared;
        let reservation = shared.memory.reserve(key);
        // After the key was reserved: a write that is queued from here on ends the reservation.
        if let Some(held) = self.pending_value(name) {
            return Ok(held);
        }
        let mut commands = Vec::with_capacity(3);
        if shared.link.is_opt_in() {
            commands.push(Command::new("CLIENT").arg("CACHING").arg("YES"));
        }
        commands.push(Command::new("GET").arg(name));
        commands.push(Command::new("PTTL").arg(name));
        let result = match shared.link.call(name, commands).await {
            Ok(mut answer) => {
                let (pttl, got) = (answer.replies.pop(), answer.replies.pop());
                match self.fetched(got, pttl, &answer) {
                    Ok(fetched) if fetched.tags.is_some() => {
                        let confirmed = self.confirm_tags(vec![fetched]).await;
                        confirmed.and_then(|mut it| it.pop().ok_or(NearError::Unexpected))
                    }
                    fetched => fetched,
                }
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(fetched) => {
                let held = fetched.held.clone();
                self.fill(reservation, fetched);
                Ok(held)
            }
            Err(error) => match shared.memory.lookup_stale(&shared.link.lease, key) {
                Some(held) => {
                    count(&shared.link.counters.stale_hits);
                    Ok(held)
                }
                None => Err(error),
            },
        }
    }

    pub(crate) fn fill(
        &self,
        reservation: larder::Fill<K, crate::memory::Slot<V>>,
        fetched: Fetched<V>,
    ) -> Filled {
        let shared = &*self.shared;
        let filled = shared.memory.fill(&shared.link.lease, reservation, fetched);
        match filled {
            Filled::Held => count(&shared.link.counters.fills),
            Filled::Refused => count(&shared.link.counters.fills_refused),
            Filled::NotHeld => {}
        }
        filled
    }

    /// What a reply to `GET` says, and the one to `PTTL` that followed it.
    pub(crate) fn fetched(
        &self,
        got: Option<Reply>,
        pttl: Option<Reply>,
        answer: &Answer,
    ) -> Result<Fetched<V>, NearError> {
        let counters = &self.shared.link.counters;
        let mut bound = match pttl {
            // No deadline, or nothing there.
            Some(Reply::Integer(-1)) => Bound::None,
            Some(Reply::Integer(millis)) if millis > 0 => {
                Bound::For(Duration::from_millis(millis.unsigned_abs()))
            }
            // Nothing there, or no longer.
            Some(Reply::Integer(_)) => Bound::Never,
            Some(Reply::Refused(refusal)) => return Err(NearError::Refused(refusal)),
            _ => return Err(NearError::Unexpected),
        };
        let mut tags = Vec::new();
        let held = match got {
            Some(Reply::Nil) => {
                count(&counters.server_misses);
                bound = Bound::None;
                if !answer.is_absence_tracked {
                    bound = bound.at_most(self.shared.settings.max_stale);
                }
                Held::Absent
            }
            Some(Reply::Bytes(bytes)) => match self.shared.envelopes.unpack(&bytes) {
                Ok(Unpacked { content: Content::Value(value), tags: named }) => {
                    count(&counters.server_hits);
                    tags = named;
                    Held::Value(value)
                }
                Ok(Unpacked { content: Content::Missing, .. }) => {
                    count(&counters.server_hits);
                    Held::Missing
                }
                Err(_) => {
                    count(&counters.unreadable);
                    Held::Unreadable
                }
            },
            Some(Reply::Refused(refusal)) => return Err(NearError::Refused(refusal)),
            _ => return Err(NearError::Unexpected),
        };
        if !answer.is_tracked {
            bound = bound.at_most(self.shared.settings.max_stale);
        }
        let (generation, sent_ns) = (answer.generation, answer.sent_ns);
        let tags = (!tags.is_empty()).then(|| tags.into());
        Ok(Fetched { held, tags, generation, sent_ns, bound })
    }

    /// Forgets everything in memory. The server keeps what it has.
    pub fn clear_memory(&self) {
        self.shared.memory.cache.clear();
    }

    /// How many entries memory has, those that it may not serve any more included.
    pub fn len_in_memory(&self) -> usize {
        self.shared.memory.cache.len()
    }

    /// What the cache has done so far.
    pub fn stats(&self) -> NearStats {
        self.shared.stats()
    }
}

impl<K, V> fmt::Debug for NearCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearCache")
            .field("settings", &self.shared.settings)
            .field("envelopes", &self.shared.envelopes)
            .finish_non_exhaustive()
    }
}
