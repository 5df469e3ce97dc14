//! Many keys in one call.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NearCache;
use crate::error::NearError;
use crate::key::NearKey;
use crate::memory::Held;
use crate::stats::count;
use crate::transport::{Command, Reply};

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// The values of `keys`, in their order; `None` for those of which the server has none.
    ///
    /// The keys that memory does not know are asked for in pipelines of
    /// [`keys_per_call`](crate::NearBuilder::keys_per_call), one after the other. It does what a
    /// [`get`](Self::get) of each does, except that requests are not shared with other callers, and that a
    /// key with a value of another type than string is taken for absent.
    ///
    /// # Errors
    /// If the server cannot be asked for one of the keys, and memory may not answer in its place.
    pub async fn get_many(&self, keys: &[K]) -> Result<Vec<Option<V>>, NearError> {
        let shared = &*self.shared;
        let lease = &shared.link.lease;
        let mut found: Vec<Option<Held<V>>> = keys.iter().map(|key| self.lookup(key)).collect();
        let wanted: Vec<usize> = (0..keys.len()).filter(|at| found[*at].is_none()).collect();
        for part in wanted.chunks(shared.settings.keys_per_call) {
            match self.fetch_many(keys, part).await {
                Ok(fetched) => {
                    for (at, held) in part.iter().zip(fetched) {
                        found[*at] = Some(held);
                    }
                }
                Err(error) => {
                    for at in part {
                        let Some(stale) = shared.memory.lookup_stale(lease, &keys[*at]) else {
                            return Err(error);
                        };
                        count(&shared.link.counters.stale_hits);
                        found[*at] = Some(stale);
                    }
                }
            }
        }
        Ok(found.into_iter().map(|held| held.and_then(Held::into_value)).collect())
    }

    /// Asks the server for the keys at `part`; see the head of `memory` for the order of the steps.
    async fn fetch_many(&self, keys: &[K], part: &[usize]) -> Result<Vec<Held<V>>, NearError> {
        let shared = &*self.shared;
        let reservations: Vec<_> =
            part.iter().map(|at| shared.memory.reserve(&keys[*at])).collect();
        let mut get = Command::new("MGET");
        let mut commands = Vec::with_capacity(part.len() + 2);
        for at in part {
            let name = shared.memory.name(&keys[*at]);
            commands.push(Command::new("PTTL").arg(&name[..]));
            get = get.arg(name);
        }
        commands.insert(0, get);
        if shared.link.is_opt_in() {
            commands.insert(0, Command::new("CLIENT").arg("CACHING").arg("YES"));
        }
        let mut answer = shared.link.call(commands).await?;
        if answer.replies.len() < part.len() + 1 {
            return Err(NearError::Unexpected);
        }
        let times = answer.replies.split_off(answer.replies.len() - part.len());
        let values = match answer.replies.pop() {
            Some(Reply::Array(values)) if values.len() == part.len() => values,
            Some(Reply::Refused(refusal)) => return Err(NearError::Refused(refusal)),
            _ => return Err(NearError::Unexpected),
        };
        let mut found = Vec::with_capacity(part.len());
        for ((reservation, value), time) in reservations.into_iter().zip(values).zip(times) {
            let fetched = self.fetched(Some(value), Some(time), &answer)?;
            found.push(fetched.held.clone());
            self.fill(reservation, fetched);
        }
        Ok(found)
    }
}
