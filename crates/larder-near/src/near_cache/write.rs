//! Writes: to the server first, then to memory or out of it.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use larder::Fill;
use larder_store::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NearCache;
use super::change::{Turns, call_changes, removed};
use crate::envelope::Envelopes;
use crate::error::NearError;
use crate::key::NearKey;
use crate::memory::{Bound, Fetched, Held, Memory, Slot, Tags};
use crate::stats::count;
use crate::topology::Answer;
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
    /// To a queue in this process, whose writes are sent in batches: a call returns before the server knows of it.
    ///
    /// Of several writes of a key that wait, the last is sent. This process reads what waits as if it was written. The
    /// queue is [bounded](crate::NearBuilder::max_pending_writes). While the server is away, writes wait; one whose
    /// answer was lost is sent again, and may then overwrite what another process has written meanwhile. So is one that
    /// the server refuses for now, because it loads its data, cannot save it, or has become a replica. What it refuses for
    /// another reason is lost, as when its memory is full: see [`on_lost_write`](crate::NearBuilder::on_lost_write) and
    /// [`flush`](crate::NearCache::flush). After the last handle was dropped, the queue is sent for another
    /// `call_timeout`, as long as the runtime runs. When that ends, what waits is lost, and nothing more is accepted.
    /// Values of loaders are written through.
    Behind,
}

/// What one write is.
pub(super) struct Writing<V> {
    pub(super) bytes: Vec<u8>,
    pub(super) time_to_live: Option<Duration>,
    /// Only if the key has no value.
    pub(super) is_conditional: bool,
    /// A loader has found the value, which may be older than a change of the key.
    is_loaded: bool,
    pub(super) held: Held<V>,
    tags: Tags,
}

impl<V> Writing<V> {
    /// The time to live as servers want it.
    pub(super) fn millis(&self) -> Option<String> {
        self.time_to_live.map(|it| millis(it).to_string())
    }
}

/// What is to become of what a loader has found.
pub(super) enum Loaded<V> {
    Writing(Writing<V>),
    /// It is for the callers alone.
    NotWritten(Held<V>),
}

impl<V> Loaded<V> {
    pub(super) fn into_held(self) -> Held<V> {
        match self {
            Self::Writing(Writing { held, .. }) | Self::NotWritten(held) => held,
        }
    }
}

/// A write whose answer has not come yet.
pub(super) struct Unanswered<'w, K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    forgetting: Forgetting<'w, K, V>,
    reservation: Option<Fill<K, Slot<V>>>,
    bound: Bound,
}

/// Forgets the key again when a write has ended, in whatever way: an answer, an error, or a dropped future.
pub(super) struct Forgetting<'m, K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) memory: &'m Memory<K, V>,
    pub(super) key: &'m K,
    pub(super) name: &'m [u8],
    pub(super) is_done: bool,
}

impl<'m, K, V> Forgetting<'m, K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(memory: &'m Memory<K, V>, key: &'m K, name: &'m [u8]) -> Self {
        Self { memory, key, name, is_done: false }
    }
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
    /// within `max_stale`. Of writes that overlap, the server decides which is the last. With
    /// [`one_load_in_fleet`](crate::NearBuilder::one_load_in_fleet), what any process is loading for the key is not stored.
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

    /// As [`set`](Self::set), for the time to live of `record` if it has one, and with its tags, which
    /// [`invalidate_tag`](Self::invalidate_tag) names.
    ///
    /// Before the write, the servers are asked for what they have under its tags, for all of them at the same time. A hit
    /// looks each tag up in memory, and values with tags that memory does not know need one request more.
    ///
    /// # Errors
    /// [`NearError::BadTags`] if there are more than 16 tags, or one is longer than 255 bytes; otherwise as `set`.
    pub async fn set_record(&self, key: &K, record: Record<V>) -> Result<(), NearError> {
        let name = self.shared.memory.name(key);
        let writing = self.writing(record, false).await?;
        match &self.shared.pending {
            Some(pending) => {
                let patience = self.shared.settings.call_timeout;
                self.write_behind(pending, key, &name, writing, patience).await
            }
            None => self.write(key, &name, writing).await.map(|_| ()),
        }
    }

    pub(super) async fn writing(
        &self,
        record: Record<V>,
        is_conditional: bool,
    ) -> Result<Writing<V>, NearError> {
        let stamps = self.present_stamps(&record.tags).await?;
        let bytes = self
            .shared
            .envelopes
            .write_tagged(&record.value, &stamps)
            .map_err(|error| NearError::Encode(Arc::new(error)))?;
        let time_to_live = self.time_to_live(record.ttl);
        let (held, tags) = (Held::Value(record.value), (!stamps.is_empty()).then(|| stamps.into()));
        Ok(Writing { bytes, time_to_live, is_conditional, is_loaded: false, held, tags })
    }

    /// The time to live of a record, less a random part of it.
    fn time_to_live(&self, own: Option<Duration>) -> Option<Duration> {
        let settings = &self.shared.settings;
        let full = own.or(settings.time_to_live)?.min(LONGEST_TIME);
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), full);
        let share = 1.0 - settings.jitter * ((random % 4096) as f64 / 4096.0);
        Some(full.mul_f64(share))
    }

    /// What is to be written of what a loader has found.
    pub(super) async fn writing_of_loaded(
        &self,
        loaded: Option<Record<V>>,
        is_conditional: bool,
    ) -> Result<Loaded<V>, NearError> {
        let Some(record) = loaded else {
            let Some(time_to_live) = self.shared.settings.missing_time_to_live else {
                return Ok(Loaded::NotWritten(Held::Missing));
            };
            return Ok(Loaded::Writing(Writing {
                bytes: Envelopes::missing(),
                time_to_live: Some(time_to_live),
                is_conditional,
                is_loaded: true,
                held: Held::Missing,
                tags: None,
            }));
        };
        let for_callers = (!record.tags.is_empty()).then(|| record.value.clone());
        match (self.writing(record, is_conditional).await, for_callers) {
            (Ok(writing), _) => Ok(Loaded::Writing(Writing { is_loaded: true, ..writing })),
            // The stamps of the tags could not be had: the value was loaded, and its callers get it.
            (
                Err(
                    NearError::Down(_)
                    | NearError::Lost(_)
                    | NearError::TimedOut { .. }
                    | NearError::Refused(_),
                ),
                Some(value),
            ) => Ok(Loaded::NotWritten(Held::Value(value))),
            (Err(error), _) => Err(error),
        }
    }

    /// Carries a write out. Returns whether its condition held.
    pub(super) async fn write(
        &self,
        key: &K,
        name: &[u8],
        writing: Writing<V>,
    ) -> Result<bool, NearError> {
        let mut pending = self.begin_write(key, name, &writing);
        let turns = if writing.is_loaded { Turns::Stay } else { self.turns() };
        let commands = |_: usize, all: &mut Vec<Command>| {
            all.extend(self.write_commands(name, &writing));
        };
        let answer = self.call_change(name, turns, commands).await?;
        self.end_write(&mut pending, &writing, &answer)
    }

    /// The commands of a write, all for the key called `name`.
    pub(super) fn write_commands(&self, name: &[u8], writing: &Writing<V>) -> Vec<Command> {
        let set = self.set_command(name, writing);
        if !self.is_write_through() {
            return vec![set];
        }
        // The server tracks what is read, so the transaction reads the key: no change of another
        // process can come between.
        let mut commands = Vec::with_capacity(5);
        if self.shared.link.is_opt_in() {
            commands.push(Command::new("CLIENT").arg("CACHING").arg("YES"));
        }
        commands.push(Command::new("MULTI"));
        commands.push(set);
        commands.push(Command::new("PTTL").arg(name));
        commands.push(Command::new("EXEC"));
        commands
    }

    pub(super) fn set_command(&self, name: &[u8], writing: &Writing<V>) -> Command {
        let mut set = Command::new("SET").arg(name).arg(&writing.bytes[..]);
        if let Some(millis) = writing.millis() {
            set = set.arg("PX").arg(millis);
        }
        if writing.is_conditional {
            set = set.arg("NX");
        }
        set
    }

    fn is_write_through(&self) -> bool {
        self.shared.settings.write_mode != WriteMode::Around
    }

    /// Prepares memory for a write, before its commands are sent.
    pub(super) fn begin_write<'w>(
        &'w self,
        key: &'w K,
        name: &'w [u8],
        writing: &Writing<V>,
    ) -> Unanswered<'w, K, V> {
        let memory = &*self.shared.memory;
        // Ends the reservations of readers that may have asked the server before the write, and their
        // flights. Readers that begin from here on are ended by the second time, after the reply.
        memory.forget_key(key, name);
        let forgetting = Forgetting::new(memory, key, name);
        let reservation = self.is_write_through().then(|| memory.reserve(key));
        // After the key was reserved: what is written here must not hide a write that was accepted and waits.
        let reservation = reservation.filter(|_| !self.is_pending(name));
        let bound = writing.time_to_live.map_or(Bound::None, Bound::For);
        Unanswered { forgetting, reservation, bound }
    }

    /// Takes in the answer to a write. Returns whether its condition held.
    pub(super) fn end_write(
        &self,
        pending: &mut Unanswered<'_, K, V>,
        writing: &Writing<V>,
        answer: &Answer,
    ) -> Result<bool, NearError> {
        let shared = &*self.shared;
        let has_written = written(answer, self.is_write_through())?;
        if has_written {
            count(&shared.link.counters.writes);
        }
        let Some(reservation) = pending.reservation.take().filter(|_| has_written) else {
            return Ok(has_written);
        };
        let (memory, name) = (pending.forgetting.memory, pending.forgetting.name);
        memory.reads.close(name);
        memory.loads.close(name);
        let mut bound = pending.bound;
        if !answer.is_tracked {
            bound = bound.at_most(shared.settings.max_stale);
        }
        let (generation, sent_ns) = (answer.generation, answer.sent_ns);
        let (held, tags) = (writing.held.clone(), writing.tags.clone());
        let fetched = Fetched { held, tags, generation, sent_ns, bound };
        // It replaces what a reader has stored meanwhile, and ends the reservations of all other readers. If it
        // is refused, the key is forgotten.
        pending.forgetting.is_done = self.fill(reservation, fetched) == crate::memory::Filled::Held;
        Ok(true)
    }

    /// Removes `key` from the server and from memory. Returns whether the server had it. A write of the key that
    /// waits ([`WriteMode::Behind`]) is sent first.
    ///
    /// With [`one_load_in_fleet`](crate::NearBuilder::one_load_in_fleet), what any process is loading for the key is not
    /// stored. Without it, that holds for this process, and for others if the server had a value to remove.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub async fn remove(&self, key: &K) -> Result<bool, NearError> {
        let memory = &*self.shared.memory;
        let name = memory.name(key);
        self.settle_key(&name).await?;
        memory.forget_key(key, &name);
        // Drops after the reply, or with the future.
        let _forgetting = Forgetting::new(memory, key, &name);
        let remove = |_: usize, all: &mut Vec<Command>| all.push(Command::new("DEL").arg(&name));
        let answer = self.call_change(&name, self.turns(), remove).await;
        removed(&self.shared.link, answer)
    }

    /// Whether the changes of callers end turns.
    pub(super) fn turns(&self) -> Turns {
        if self.shared.settings.fleet_turn.is_some() { Turns::End } else { Turns::Stay }
    }

    /// Sends the commands of one change.
    async fn call_change(
        &self,
        name: &[u8],
        turns: Turns,
        commands: impl Fn(usize, &mut Vec<Command>),
    ) -> Result<Answer, NearError> {
        if turns == Turns::End {
            let answer = call_changes(&self.shared.link, &[name], turns, commands).await.pop();
            return answer.unwrap_or(Err(NearError::Unexpected));
        }
        let mut all = Vec::new();
        commands(0, &mut all);
        self.shared.link.call(name, all).await
    }
}

/// Whole milliseconds, as servers take them.
pub(super) fn millis(time: Duration) -> u128 {
    time.min(LONGEST_TIME).as_nanos().div_ceil(1_000_000).max(1)
}

/// Servers accept no more, about 70 million years.
const LONGEST_TIME: Duration = Duration::from_millis(1 << 61);

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
