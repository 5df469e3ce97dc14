//! Write-behind: a task sends what [`Pending`] has, in batches.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::NearCache;
use super::change::{Turns, call_changes};
use super::write::{Writing, millis};
use crate::error::NearError;
use crate::key::NearKey;
use crate::memory::Held;
use crate::pending::{Pending, Queued, Sending, Sent};
use crate::stats::{add, count};
use crate::topology::Servers;
use crate::transport::{Command, Reply};

/// How many writes are sent at once.
const BATCH: usize = 128;
/// The first pause after a batch whose outcome is unknown, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The clock of the runtime cannot add as much as a duration can be.
const LONGEST_PATIENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What is called for each write that was lost.
pub(crate) type OnLostWrite<K> = Arc<dyn Fn(&K, &NearError) + Send + Sync>;

/// What the task needs; it keeps no handle of the cache.
pub(crate) struct Behind<K, V> {
    pub(crate) pending: Arc<Pending<K, V>>,
    pub(crate) link: Arc<Servers>,
    pub(crate) on_lost: Option<OnLostWrite<K>>,
    /// Whether the processes of a fleet load in turns, which writes end.
    pub(crate) has_turns: bool,
    /// How long the task goes on after the last handle was dropped.
    pub(crate) patience: Duration,
}

impl<K, V> Behind<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Sends what comes until the cache is closed, then what is left, and closes the link.
    ///
    /// In a cluster, what cannot be sent to one server keeps nothing from being sent to the others: it is held for a
    /// pause. Elsewhere everything waits for it, and is sent in its order.
    pub(crate) async fn run(self) {
        let mut end = None;
        let mut pause = FIRST_PAUSE;
        let mut most = BATCH;
        // When what is held is sent again.
        let mut retry: Option<Instant> = None;
        loop {
            if self.pending.is_closed() {
                let end = *end
                    .get_or_insert_with(|| Instant::now() + self.patience.min(LONGEST_PATIENCE));
                // Nothing, or too late for more.
                if self.pending.len() == 0 || Instant::now() >= end {
                    break;
                }
            }
            if let Some(due) = retry {
                let is_idle = self.pending.is_closed() && self.pending.has_held_alone();
                if is_idle || !self.link.is_of_cluster() {
                    sleep_until(end.map_or(due, |end: Instant| due.min(end))).await;
                    self.pending.release_held();
                    retry = None;
                    continue;
                }
                if Instant::now() >= due {
                    self.pending.release_held();
                    retry = None;
                }
            }
            let batch = match retry {
                Some(due) => timeout_at(due, self.pending.take(most)).await.unwrap_or_default(),
                None => self.pending.take(most).await,
            };
            if batch.is_empty() {
                continue;
            }
            let names: Vec<&[u8]> = batch.iter().map(|sending| &*sending.name).collect();
            let turns = if self.has_turns { Turns::End } else { Turns::Stay };
            let set = |at: usize, all: &mut Vec<Command>| all.push(command(&batch[at]));
            let sent = call_changes(&self.link, &names, turns, set);
            let sent = match end {
                Some(end) => timeout_at(end, sent).await.ok(),
                None => Some(sent.await),
            };
            let Some(sent) = sent else {
                drop_each(batch);
                break;
            };
            // A write that was carried out though its answer was lost is carried out again, with the same outcome
            // unless another process has written meanwhile.
            let mut is_too_much = false;
            let outcomes: Vec<Sent> = batch
                .iter()
                .zip(sent)
                .map(|(sending, answer)| match answer.map(|it| it.replies.into_iter().next()) {
                    Ok(Some(Reply::Refused(refusal))) if is_for_now(&refusal) => Sent::Unknown,
                    Ok(Some(reply)) => {
                        self.settle(sending, &reply);
                        Sent::Settled
                    }
                    Ok(None) => Sent::Unknown,
                    Err(error) => {
                        is_too_much |=
                            matches!(error, NearError::TimedOut { .. } | NearError::Lost(_));
                        Sent::Unknown
                    }
                })
                .collect();
            let is_settled = outcomes.iter().all(|sent| matches!(sent, Sent::Settled));
            drop_each(self.pending.settle_batch(&batch, &outcomes));
            drop_each(batch);
            // Large values over a slow network: to send them again in the same way would fail in the same way.
            most = if is_too_much { (most / 2).max(1) } else { (most * 2).min(BATCH) };
            if !is_settled && retry.is_none() {
                retry = Some(Instant::now() + pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else if is_settled && retry.is_none() {
                pause = FIRST_PAUSE;
            }
        }
    }

    fn settle(&self, sending: &Sending<K>, reply: &Reply) {
        let error = match reply {
            Reply::Status(_) => {
                count(&self.link.counters.writes);
                return;
            }
            Reply::Refused(refusal) => NearError::Refused(refusal.clone()),
            _ => NearError::Unexpected,
        };
        count(&self.link.counters.lost_writes);
        self.tell_of_loss(&sending.key, &error);
        self.pending.note_lost(error);
    }
}

impl<K, V> Behind<K, V> {
    fn tell_of_loss(&self, key: &K, error: &NearError) {
        if let Some(on_lost) = &self.on_lost {
            contained(|| on_lost(key, error));
        }
    }
}

/// The task ends with the cache, or with the runtime, which drops it.
impl<K, V> Drop for Behind<K, V> {
    fn drop(&mut self) {
        let rest = self.pending.take_rest();
        add(&self.link.counters.lost_writes, rest.len() as u64);
        for write in &rest {
            self.tell_of_loss(&write.key, &NearError::Closed);
        }
        if !rest.is_empty() {
            self.pending.note_lost(NearError::Closed);
        }
        drop_each(rest);
        self.link.close();
    }
}

/// Whether a server refuses all writes, and will take them later: it loads its data, cannot save it, has become a
/// replica, is part of a cluster that is not whole, or runs a script.
fn is_for_now(refusal: &str) -> bool {
    [
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "BUSY",
        "MISCONF",
        "NOREPLICAS",
    ]
    .iter()
    .any(|code| refusal.strip_prefix(code).is_some_and(|rest| rest.starts_with(' ')))
}

/// Runs code of the user's, whose panic must not end the task.
fn contained(call: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(call));
}

/// Drops what may be the last owner of keys and values, each by itself.
fn drop_each<T>(all: Vec<T>) {
    for one in all {
        contained(|| drop(one));
    }
}

fn command<K>(sending: &Sending<K>) -> Command {
    let set = Command::new("SET").arg(&*sending.name).arg(&*sending.bytes);
    match sending.time_to_live {
        Some(time_to_live) => set.arg("PX").arg(millis(time_to_live).to_string()),
        None => set,
    }
}

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Waits until the server has carried out or refused all writes that
    /// [`WriteMode::Behind`](crate::WriteMode::Behind) has accepted before this call. In the other modes, there are none.
    ///
    /// # Errors
    /// [`NearError::TimedOut`] after `patience`; the writes go on. Otherwise the error of a write that was lost since the
    /// last call, if one was.
    pub async fn flush(&self, patience: Duration) -> Result<(), NearError> {
        let Some(pending) = &self.shared.pending else { return Ok(()) };
        pending.settle(None, patience).await?;
        pending.take_lost().map_or(Ok(()), Err)
    }

    /// Accepts a write that is sent later, and waits for room until `patience` is over.
    pub(super) async fn write_behind(
        &self,
        pending: &Pending<K, V>,
        key: &K,
        name: &[u8],
        writing: Writing<V>,
        patience: Duration,
    ) -> Result<(), NearError> {
        let Writing { bytes, time_to_live, held, .. } = writing;
        let Held::Value(value) = held else { return Err(NearError::Unexpected) };
        let (key_held, value) = (Arc::new(key.clone()), Arc::new(value));
        let queued = Queued { key: key_held, value, bytes: bytes.into(), time_to_live };
        let replaced = pending.put_within(name, queued, patience).await?;
        // After the write can be found: a reader that has not found it has reserved its key before, and that
        // reservation ends here.
        self.shared.memory.forget_key(key, name);
        // A drop of the user's may panic, so it comes last.
        drop(replaced);
        Ok(())
    }

    /// What a write that waits makes of the key, for a reader that has reserved it.
    pub(super) fn pending_value(&self, name: &[u8]) -> Option<Held<V>> {
        let value = self.shared.pending.as_ref()?.value(name)?;
        // The clone is the user's code, and runs under no lock.
        Some(value.map_or(Held::Absent, |value| Held::Value(V::clone(&value))))
    }

    /// Whether a write of the key waits.
    pub(super) fn is_pending(&self, name: &[u8]) -> bool {
        self.shared.pending.as_ref().is_some_and(|pending| pending.value(name).is_some())
    }

    /// Waits until no write of the key waits.
    pub(super) async fn settle_key(&self, name: &[u8]) -> Result<(), NearError> {
        match &self.shared.pending {
            Some(pending) => pending.settle(Some(name), self.shared.settings.call_timeout).await,
            None => Ok(()),
        }
    }
}
