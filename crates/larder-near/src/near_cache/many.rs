//! Many keys in one call.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::ops::Range;

use larder::{Fill, RandomState};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NearCache;
use crate::error::NearError;
use crate::key::NearKey;
use crate::memory::{Fetched, Held, Slot};
use crate::stats::{add, count};
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
        match self.many_in_memory(keys) {
            Ok(values) => Ok(values),
            Err(found) => self.complete_many(keys, found).await,
        }
    }

    /// The values of `keys` if memory knows all of them; what it knows otherwise.
    pub(crate) fn many_in_memory(&self, keys: &[K]) -> Result<Vec<Option<V>>, ManyHeld<V>> {
        let found: ManyHeld<V> = keys.iter().map(|key| self.lookup(key)).collect();
        match found.iter().all(Option::is_some) {
            true => Ok(values(found)),
            false => Err(found),
        }
    }

    /// Asks the servers for those of `keys` that memory does not know.
    pub(crate) async fn complete_many(
        &self,
        keys: &[K],
        mut found: ManyHeld<V>,
    ) -> Result<Vec<Option<V>>, NearError> {
        let mut wanted = Vec::with_capacity(keys.len());
        // A key that is named again is not asked for again: where it is, and where it was first.
        let mut repeated = Vec::new();
        let mut firsts: HashMap<&K, usize, RandomState> =
            HashMap::with_capacity_and_hasher(keys.len(), RandomState::default());
        for (at, key) in keys.iter().enumerate().filter(|(at, _)| found[*at].is_none()) {
            match firsts.entry(key) {
                Entry::Occupied(first) => repeated.push((at, *first.get())),
                Entry::Vacant(place) => {
                    place.insert(at);
                    wanted.push(at);
                }
            }
        }
        drop(firsts);
        self.fetch_many(keys, wanted, &mut found).await?;
        add(&self.shared.link.counters.shared, repeated.len() as u64);
        for (at, first) in repeated {
            found[at] = found[first].clone();
        }
        Ok(values(found))
    }

    /// Asks the servers for the keys at `wanted`; see the head of `memory` for the order of the steps.
    async fn fetch_many(
        &self,
        keys: &[K],
        wanted: Vec<usize>,
        found: &mut [Option<Held<V>>],
    ) -> Result<(), NearError> {
        let shared = &*self.shared;
        let mut named: Vec<Asked> = wanted
            .into_iter()
            .map(|at| {
                let name = shared.memory.name(&keys[at]);
                Asked { at, slot: shared.link.slot(&name), name }
            })
            .collect();
        // Keys of one slot can be asked for by one command.
        named.sort_unstable_by_key(|asked| (asked.slot, asked.at));
        let mut asked = Vec::with_capacity(named.len());
        let mut reservations = Vec::with_capacity(named.len());
        for key in named {
            let reservation = shared.memory.reserve(&keys[key.at]);
            // After the key was reserved: a write that is queued from here on ends the reservation.
            match self.pending_value(&key.name) {
                Some(held) => found[key.at] = Some(held),
                None => {
                    asked.push(key);
                    reservations.push(Some(reservation));
                }
            }
        }
        let parts = parts(&asked, shared.settings.keys_per_call);
        let groups: Vec<Group> = parts
            .iter()
            .map(|part| Group { slot: asked[part.start].slot, keys: part.len() })
            .collect();
        let mut taking = Taking {
            near: self,
            keys,
            asked: &asked,
            reservations,
            found,
            tagged: Vec::new(),
            moving: Vec::new(),
            error: None,
        };
        let commands = |at: usize, all: &mut Vec<Command>| {
            self.get_commands(&asked[parts[at].clone()], all);
        };
        // What one server has answered is stored while others are still at work.
        let ended = |at: usize, answer| taking.take_in(parts[at].clone(), answer);
        shared.link.call_each_into(&groups, commands, ended).await;
        taking.end().await
    }

    fn get_commands(&self, part: &[Asked], all: &mut Vec<Command>) {
        if self.shared.link.is_opt_in() {
            all.push(Command::new("CLIENT").arg("CACHING").arg("YES"));
        }
        all.push(match part {
            // Most slots have one key that is asked for, and this is the shortest way to it and back.
            [one] => Command::new("GET").arg(&one.name),
            _ => part.iter().fold(Command::new("MGET"), |get, it| get.arg(&it.name)),
        });
        all.extend(part.iter().map(|it| Command::new("PTTL").arg(&it.name)));
    }
}

/// What is known of each of a caller's keys.
type ManyHeld<V> = Vec<Option<Held<V>>>;

fn values<V>(found: ManyHeld<V>) -> Vec<Option<V>> {
    found.into_iter().map(|held| held.and_then(Held::into_value)).collect()
}

/// A key that the server is to be asked for.
struct Asked {
    /// Which of the caller's keys it is.
    at: usize,
    slot: u16,
    name: Vec<u8>,
}

/// The parts of `asked` that are asked for together: keys of one slot, and at most so many.
fn parts(asked: &[Asked], most: usize) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::with_capacity(asked.len());
    for (at, key) in asked.iter().enumerate() {
        match parts.last_mut() {
            Some(part) if asked[part.start].slot == key.slot && part.len() < most => {
                part.end = at + 1;
            }
            _ => parts.push(at..at + 1),
        }
    }
    parts
}

/// A call for many keys whose answers come in.
struct Taking<'t, K, V> {
    near: &'t NearCache<K, V>,
    keys: &'t [K],
    asked: &'t [Asked],
    /// In the order of `asked`.
    reservations: Vec<Option<Fill<K, Slot<V>>>>,
    found: &'t mut [Option<Held<V>>],
    /// Values whose tags are to be looked at, and where in `asked` they belong.
    tagged: Vec<(usize, Fetched<V>)>,
    /// Where in `asked` those keys are whose slot is being moved, so that they are in two places.
    moving: Vec<usize>,
    error: Option<NearError>,
}

impl<K, V> Taking<'_, K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Stores what a server has answered for the keys of one group.
    fn take_in(&mut self, part: Range<usize>, answer: Result<Answer, NearError>) {
        let taken = match answer {
            Ok(answer) => self.take_answer(part, answer),
            Err(error) => self.take_stale(part, error),
        };
        if let Err(error) = taken {
            self.error.get_or_insert(error);
        }
    }

    /// What memory may say though the server cannot be asked.
    fn take_stale(&mut self, part: Range<usize>, error: NearError) -> Result<(), NearError> {
        let shared = &*self.near.shared;
        for Asked { at, .. } in &self.asked[part] {
            let stale = shared.memory.lookup_stale(&shared.link.lease, &self.keys[*at]);
            let Some(stale) = stale else { return Err(error) };
            count(&shared.link.counters.stale_hits);
            self.found[*at] = Some(stale);
        }
        Ok(())
    }

    fn take_answer(&mut self, part: Range<usize>, mut answer: Answer) -> Result<(), NearError> {
        let replies = std::mem::take(&mut answer.replies);
        // The reply to `CLIENT CACHING` may stand before the others.
        let others = replies.len().checked_sub(part.len() + 1).ok_or(NearError::Unexpected)?;
        let mut replies = replies.into_iter().skip(others);
        let first = replies.next();
        if part.len() == 1 {
            let value = match first {
                // As the reply to `MGET` would have it.
                Some(Reply::Refused(refusal)) if refusal.starts_with("WRONGTYPE") => {
                    Some(Reply::Nil)
                }
                first => first,
            };
            return self.take_one(part.start, value, replies.next(), &answer);
        }
        match first {
            Some(Reply::Array(values)) if values.len() == part.len() => {
                for ((at, value), time) in part.zip(values).zip(replies) {
                    self.take_one(at, Some(value), Some(time), &answer)?;
                }
                Ok(())
            }
            Some(Reply::Refused(refusal)) if refusal.starts_with("TRYAGAIN") => {
                self.moving.extend(part);
                Ok(())
            }
            Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal)),
            _ => Err(NearError::Unexpected),
        }
    }

    fn take_one(
        &mut self,
        at: usize,
        value: Option<Reply>,
        time: Option<Reply>,
        answer: &Answer,
    ) -> Result<(), NearError> {
        let fetched = self.near.fetched(value, time, answer)?;
        match fetched.tags {
            Some(_) => self.tagged.push((at, fetched)),
            None => self.store(at, fetched),
        }
        Ok(())
    }

    fn store(&mut self, at: usize, fetched: Fetched<V>) {
        self.found[self.asked[at].at] = Some(fetched.held.clone());
        if let Some(reservation) = self.reservations[at].take() {
            self.near.fill(reservation, fetched);
        }
    }

    /// Does what needs further requests.
    async fn end(mut self) -> Result<(), NearError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        for at in std::mem::take(&mut self.moving) {
            let at = self.asked[at].at;
            self.found[at] = Some(self.near.held(&self.keys[at]).await?);
        }
        let tagged = std::mem::take(&mut self.tagged);
        let (places, fetched): (Vec<usize>, Vec<_>) = tagged.into_iter().unzip();
        for (at, fetched) in places.into_iter().zip(self.near.confirm_tags(fetched).await?) {
            self.store(at, fetched);
        }
        Ok(())
    }
}
