//! Writes of many keys in one call.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use larder_store::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NearCache;
use super::change::{call_changes, removed};
use super::write::{Forgetting, Writing};
use crate::error::NearError;
use crate::key::NearKey;
use crate::topology::Group;
use crate::transport::Command;

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Stores many values, each as [`set`](Self::set) does, in pipelines of
    /// [`keys_per_call`](crate::NearBuilder::keys_per_call): to all servers of a cluster at the same time, and to each
    /// of them one after the other.
    ///
    /// Of several values for one key, the last is stored. The call as a whole is not atomic: others may see some
    /// of the values before the rest.
    ///
    /// # Errors
    /// The first of the errors, if there are any; all other values were sent nevertheless, or accepted with
    /// [`WriteMode::Behind`](crate::WriteMode::Behind). If a value is not encoded, nothing was written.
    pub async fn set_many(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), NearError> {
        // The iterator is not held across what follows, so the future may go from thread to thread without it.
        let entries: Vec<(K, V)> = entries.into_iter().collect();
        let mut places: HashMap<K, usize> = HashMap::new();
        let mut writings: Vec<(K, Vec<u8>, Writing<V>)> = Vec::new();
        for (key, value) in entries {
            let writing = self.writing(Record::new(value), false).await?;
            match places.get(&key) {
                Some(at) => writings[*at].2 = writing,
                None => {
                    places.insert(key.clone(), writings.len());
                    let name = self.shared.memory.name(&key);
                    writings.push((key, name, writing));
                }
            }
        }
        let end = self.end_of_call();
        if let Some(pending) = &self.shared.pending {
            let mut first_error = None;
            for (key, name, writing) in writings {
                // Together they wait for as long as one does.
                let patience = self.patience_until(end);
                let accepted = self.write_behind(pending, &key, &name, writing, patience).await;
                first_error = first_error.or(accepted.err());
            }
            return first_error.map_or(Ok(()), Err);
        }
        let names: Vec<&[u8]> = writings.iter().map(|(_, name, _)| &name[..]).collect();
        let mut unanswered: Vec<_> = writings
            .iter()
            .map(|(key, name, writing)| self.begin_write(key, name, writing))
            .collect();
        let commands = |at: usize, all: &mut Vec<Command>| {
            let (_, name, writing) = &writings[at];
            all.extend(self.write_commands(name, writing));
        };
        let answers = call_changes(&self.shared.link, &names, self.turns(), commands).await;
        let mut first_error = None;
        let sent = unanswered.iter_mut().zip(&writings).zip(answers);
        for ((unanswered, (.., writing)), answer) in sent {
            let written = answer.and_then(|answer| self.end_write(unanswered, writing, &answer));
            first_error = first_error.or(written.err());
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Removes many keys from their servers and from memory, in pipelines as [`set_many`](Self::set_many). Returns
    /// how many of them the servers had.
    ///
    /// # Errors
    /// The first of the errors, if there are any; all other keys were sent nevertheless, except those whose own writes
    /// still wait ([`WriteMode::Behind`](crate::WriteMode::Behind)).
    pub async fn remove_many(&self, keys: &[K]) -> Result<usize, NearError> {
        let memory = &*self.shared.memory;
        let (mut number, mut first_error) = (0, None);
        let mut keys: Vec<(&K, Vec<u8>)> = keys.iter().map(|key| (key, memory.name(key))).collect();
        if let Some(pending) = &self.shared.pending {
            let end = self.end_of_call();
            let mut settled = Vec::with_capacity(keys.len());
            for (key, name) in keys {
                // Together they wait for as long as one does.
                match pending.settle(Some(&name), self.patience_until(end)).await {
                    Ok(()) => settled.push((key, name)),
                    Err(error) => first_error = first_error.or(Some(error)),
                }
            }
            keys = settled;
        }
        // They are forgotten before the call, and again after the replies, or with the future.
        let _forgetting: Vec<_> = keys
            .iter()
            .map(|(key, name)| {
                memory.forget_key(key, name);
                Forgetting::new(memory, key, name)
            })
            .collect();
        let names: Vec<&[u8]> = keys.iter().map(|(_, name)| &name[..]).collect();
        let remove = |at: usize, all: &mut Vec<Command>| {
            all.push(Command::new("DEL").arg(names[at]));
        };
        let link = &self.shared.link;
        for answer in call_changes(link, &names, self.turns(), remove).await {
            match removed(link, answer) {
                Ok(was_there) => number += usize::from(was_there),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(number), Err)
    }

    /// When a call that begins now has waited for long enough; never, if that is beyond the clock.
    fn end_of_call(&self) -> Option<Instant> {
        Instant::now().checked_add(self.shared.settings.call_timeout)
    }

    /// How long a call may still wait.
    fn patience_until(&self, end: Option<Instant>) -> Duration {
        end.map_or(self.shared.settings.call_timeout, |end| {
            end.saturating_duration_since(Instant::now())
        })
    }

    /// The group of one key.
    pub(super) fn group(&self, name: &[u8]) -> Group {
        Group { slot: self.shared.link.slot(name), keys: 1 }
    }
}
