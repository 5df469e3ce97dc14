//! Writes: to the server first, then to memory or out of it.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use larder_store::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NearCache;
use crate::envelope::Envelopes;
use crate::error::NearError;
use crate::key::NearKey;
use crate::link::Answer;
use crate::memory::{Bound, Fetched, Held, Memory, Outcome};
use crate::stats::count;
use crate::transport::{Command, Reply};

/// Where a write puts its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteMode {
    /// To the server and into memory: `SET` and `PTTL` in one transaction, so that the server tracks the key
    /// from the moment of the write.
    ///
    /// If this process has read the key since its last change, the server's invalidation follows the reply and
    /// removes the value again, so the next read asks the server.
    #[default]
    Through,
    /// To the server alone, for values that are seldom read soon. The next read asks the server.
    Around,
}

/// What one write is.
struct Writing<V> {
    bytes: Vec<u8>,
    time_to_live: Option<Duration>,
    /// Only if the key has no value.
    is_conditional: bool,
    held: Held<V>,
}

/// Forgets the key again when a write has ended, in whatever way: an answer, an error, or a dropped future.
struct Forgetting<'m, K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    memory: &'m Memory<K, V>,
    key: &'m K,
    name: &'m [u8],
    is_done: bool,
}

impl<K, V> Drop for Forgetting<'_, K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        if !self.is_done {
            self.memory.forget_key(self.key, self.name);
        }
    }
}

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Stores `value` under `key`, for the [time to live](crate::NearBuilder::time_to_live) of the cache.
    ///
    /// When it has returned, all later reads of this process find the value or a newer one, and all others do
    /// within `max_stale`. Of writes that overlap, the server decides which is the last.
    ///
    /// # Errors
    /// [`NearError::Encode`] and [`NearError::Refused`] if nothing was written. After any other error it is
    /// unknown whether the value was written.
    pub async fn set(&self, key: &K, value: V) -> Result<(), NearError> {
        self.set_record(key, Record::new(value)).await
    }

    /// As [`set`](Self::set), for `time_to_live`, which is rounded up to milliseconds.
    ///
    /// # Errors
    /// As `set`.
    pub async fn set_for(
        &self,
        key: &K,
        value: V,
        time_to_live: Duration,
    ) -> Result<(), NearError> {
        self.set_record(key, Record::new(value).ttl(time_to_live)).await
    }

    async fn set_record(&self, key: &K, record: Record<V>) -> Result<(), NearError> {
        let name = self.shared.memory.name(key);
        let writing = self.writing(record, false)?;
        self.write(key, &name, writing).await.map(|_| ())
    }

    fn writing(&self, record: Record<V>, is_conditional: bool) -> Result<Writing<V>, NearError> {
        let bytes = self
            .shared
            .envelopes
            .write(&record.value)
            .map_err(|error| NearError::Encode(Arc::new(error)))?;
        let time_to_live = self.time_to_live(record.ttl);
        Ok(Writing { bytes, time_to_live, is_conditional, held: Held::Value(record.value) })
    }

    /// The time to live of a record, less a random part of it.
    fn time_to_live(&self, own: Option<Duration>) -> Option<Duration> {
        let settings = &self.shared.settings;
        let full = own.or(settings.time_to_live)?;
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), full);
        let share = 1.0 - settings.jitter * ((random % 4096) as f64 / 4096.0);
        Some(full.mul_f64(share))
    }

    /// Stores what a loader has found; if `is_conditional`, unless the server has a value by now. Returns what
    /// is there.
    pub(super) async fn store_loaded(
        &self,
        key: &K,
        name: &[u8],
        loaded: Option<Record<V>>,
        is_conditional: bool,
    ) -> Outcome<V> {
        let writing = match loaded {
            Some(record) => self.writing(record, is_conditional)?,
            None => match self.shared.settings.missing_time_to_live {
                None => return Ok(Held::Missing),
                time_to_live => Writing {
                    bytes: Envelopes::missing(),
                    time_to_live,
                    is_conditional,
                    held: Held::Missing,
                },
            },
        };
        let held = writing.held.clone();
        match self.write(key, name, writing).await {
            // Another process was faster.
            Ok(false) => match self.held(key).await? {
                Held::Absent | Held::Unreadable => Ok(held),
                there => Ok(there),
            },
            // The value was loaded, and its callers get it, whether or not the server has it.
            Ok(true) | Err(_) => Ok(held),
        }
    }

    /// Carries a write out. Returns whether its condition held.
    async fn write(&self, key: &K, name: &[u8], writing: Writing<V>) -> Result<bool, NearError> {
        let shared = &*self.shared;
        let memory = &*shared.memory;
        let mut set = Command::new("SET").arg(name).arg(writing.bytes);
        let mut bound = Bound::None;
        if let Some(time_to_live) = writing.time_to_live {
            let millis = time_to_live.as_nanos().div_ceil(1_000_000).clamp(1, MAX_MILLIS);
            set = set.arg("PX").arg(millis.to_string());
            bound = Bound::For(time_to_live);
        }
        if writing.is_conditional {
            set = set.arg("NX");
        }
        let is_through = shared.settings.write_mode == WriteMode::Through;
        let mut commands = Vec::with_capacity(5);
        if is_through {
            // The server tracks what is read, so the transaction reads the key: no change of another
            // process can come between.
            if shared.link.is_opt_in() {
                commands.push(Command::new("CLIENT").arg("CACHING").arg("YES"));
            }
            commands.push(Command::new("MULTI"));
            commands.push(set);
            commands.push(Command::new("PTTL").arg(name));
            commands.push(Command::new("EXEC"));
        } else {
            commands.push(set);
        }

        // Ends the reservations of readers that may have asked the server before the write, and their
        // flights. Readers that begin from here on are ended by the second time, after the reply.
        memory.forget_key(key, name);
        let mut forgetting = Forgetting { memory, key, name, is_done: false };
        let reservation = is_through.then(|| memory.reserve(key));
        let answer = shared.link.call(commands).await?;
        let has_written = written(&answer, is_through)?;
        if has_written {
            count(&shared.link.counters.writes);
        }
        let Some(reservation) = reservation.filter(|_| has_written) else {
            return Ok(has_written);
        };
        memory.reads.close(name);
        memory.loads.close(name);
        if !answer.is_tracked {
            bound = bound.at_most(shared.settings.max_stale);
        }
        let (generation, sent_ns) = (answer.generation, answer.sent_ns);
        let fetched = Fetched { held: writing.held, generation, sent_ns, bound };
        // It replaces what a reader has stored meanwhile, and ends the reservations of all other readers. If it
        // is refused, the key is forgotten.
        forgetting.is_done = self.fill(reservation, fetched) == crate::memory::Filled::Held;
        Ok(true)
    }

    /// Removes `key` from the server and from memory. Returns whether the server had it.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn remove(&self, key: &K) -> Result<bool, NearError> {
        let memory = &*self.shared.memory;
        let name = memory.name(key);
        memory.forget_key(key, &name);
        // Drops after the reply, or with the future.
        let _forgetting = Forgetting { memory, key, name: &name, is_done: false };
        let answer = self.shared.link.call(vec![Command::new("DEL").arg(&name[..])]).await?;
        match answer.replies.first() {
            Some(Reply::Integer(removed)) => {
                count(&self.shared.link.counters.writes);
                Ok(*removed > 0)
            }
            Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal.clone())),
            _ => Err(NearError::Unexpected),
        }
    }
}

/// The most that servers accept, about 100 million years.
const MAX_MILLIS: u128 = 1 << 61;

/// Whether the answer says that `SET` was carried out.
fn written(answer: &Answer, is_through: bool) -> Result<bool, NearError> {
    let mut set = answer.replies.last();
    if is_through {
        // A command that was refused as it was queued says why; `EXEC` then only says that one was.
        let refused = answer.replies.iter().find(|reply| matches!(reply, Reply::Refused(_)));
        set = match (refused, set) {
            (Some(refused), _) => Some(refused),
            (None, Some(Reply::Array(results))) => results.first(),
            (None, other) => other,
        };
    }
    match set {
        Some(Reply::Status(_)) => Ok(true),
        Some(Reply::Nil) => Ok(false),
        Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal.clone())),
        _ => Err(NearError::Unexpected),
    }
}
