//! Many keys in one call.

use std::hash::Hash;

use larder::Fill;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NearCache;
use crate::error::NearError;
use crate::key::NearKey;
use crate::memory::{Held, Slot};
use crate::stats::count;
use crate::topology::{Answer, Group};
use crate::transport::{Command, Reply};

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// The values of `keys`, in their order; `None` for those of which the server has none.
    ///
    /// The keys that memory does not know are asked for in pipelines of
    /// [`keys_per_call`](crate::NearBuilder::keys_per_call), to all servers of a cluster at the same time, and to
    /// each of them one after the other. It does what a [`get`](Self::get) of each does, except that requests are
    /// not shared with other callers, and that a key with a value of another type than string is taken for absent.
    ///
    /// # Errors
    /// If a server cannot be asked for one of the keys, and memory may not answer in its place.
    pub async fn get_many(&self, keys: &[K]) -> Result<Vec<Option<V>>, NearError> {
        let mut found: Vec<Option<Held<V>>> = keys.iter().map(|key| self.lookup(key)).collect();
        let wanted: Vec<usize> = (0..keys.len()).filter(|at| found[*at].is_none()).collect();
        if !wanted.is_empty() {
            self.fetch_many(keys, wanted, &mut found).await?;
        }
        Ok(found.into_iter().map(|held| held.and_then(Held::into_value)).collect())
    }

    /// Asks the servers for the keys at `wanted`; see the head of `memory` for the order of the steps.
    async fn fetch_many(
        &self,
        keys: &[K],
        wanted: Vec<usize>,
        found: &mut [Option<Held<V>>],
    ) -> Result<(), NearError> {
        let shared = &*self.shared;
        let mut to_ask: Vec<Wanted<K, V>> = Vec::with_capacity(wanted.len());
        for at in wanted {
            let name = shared.memory.name(&keys[at]);
            let reservation = Some(shared.memory.reserve(&keys[at]));
            // After the key was reserved: a write that is queued from here on ends the reservation.
            if let Some(held) = self.pending_value(&name) {
                found[at] = Some(held);
                continue;
            }
            to_ask.push(Wanted { at, slot: shared.link.slot(&name), name, reservation });
        }
        // Keys of one slot can be asked for by one command.
        to_ask.sort_by_key(|wanted| wanted.slot);
        let most = shared.settings.keys_per_call;
        let parts: Vec<&[Wanted<K, V>]> = to_ask
            .chunk_by(|one, other| one.slot == other.slot)
            .flat_map(|of_slot| of_slot.chunks(most))
            .collect();
        let groups: Vec<Group> =
            parts.iter().map(|part| Group { slot: part[0].slot, keys: part.len() }).collect();
        let answers = shared.link.call_each(&groups, |group| self.get_commands(parts[group])).await;
        let mut rest = &mut to_ask[..];
        for (group, answer) in groups.iter().zip(answers) {
            let (part, others) = rest.split_at_mut(group.keys);
            rest = others;
            match answer {
                Ok(answer) => self.take_in(keys, part, answer, found).await?,
                Err(error) => {
                    for Wanted { at, .. } in part {
                        let key = &keys[*at];
                        let Some(stale) = shared.memory.lookup_stale(&shared.link.lease, key)
                        else {
                            return Err(error);
                        };
                        count(&shared.link.counters.stale_hits);
                        found[*at] = Some(stale);
                    }
                }
            }
        }
        Ok(())
    }

    fn get_commands(&self, part: &[Wanted<K, V>]) -> Vec<Command> {
        let mut commands = Vec::with_capacity(part.len() + 2);
        if self.shared.link.is_opt_in() {
            commands.push(Command::new("CLIENT").arg("CACHING").arg("YES"));
        }
        let get = part.iter().fold(Command::new("MGET"), |get, it| get.arg(&it.name[..]));
        commands.push(get);
        commands.extend(part.iter().map(|it| Command::new("PTTL").arg(&it.name[..])));
        commands
    }

    /// Stores what was fetched for the keys of one group.
    async fn take_in(
        &self,
        keys: &[K],
        part: &mut [Wanted<K, V>],
        mut answer: Answer,
        found: &mut [Option<Held<V>>],
    ) -> Result<(), NearError> {
        if answer.replies.len() < part.len() + 1 {
            return Err(NearError::Unexpected);
        }
        let times = answer.replies.split_off(answer.replies.len() - part.len());
        let values = match answer.replies.pop() {
            Some(Reply::Array(values)) if values.len() == part.len() => values,
            // The slot is being moved, and its keys are in two places.
            Some(Reply::Refused(refusal)) if refusal.starts_with("TRYAGAIN") => {
                for Wanted { at, .. } in part {
                    found[*at] = Some(self.held(&keys[*at]).await?);
                }
                return Ok(());
            }
            Some(Reply::Refused(refusal)) => return Err(NearError::Refused(refusal)),
            _ => return Err(NearError::Unexpected),
        };
        for ((wanted, value), time) in part.iter_mut().zip(values).zip(times) {
            let fetched = self.fetched(Some(value), Some(time), &answer)?;
            let fetched = self.confirm_tags(fetched).await?;
            found[wanted.at] = Some(fetched.held.clone());
            if let Some(reservation) = wanted.reservation.take() {
                self.fill(reservation, fetched);
            }
        }
        Ok(())
    }
}

/// A key that the server is to be asked for.
struct Wanted<K, V> {
    /// Which of the caller's keys it is.
    at: usize,
    slot: u16,
    name: Vec<u8>,
    reservation: Option<Fill<K, Slot<V>>>,
}
