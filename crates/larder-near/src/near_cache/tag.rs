//! Tags: names by which many values are invalidated at once, in all processes; see the head of `memory`.

use std::collections::HashMap;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NearCache;
use crate::envelope::{MAX_TAGS, TagStamp, new_stamp};
use crate::error::NearError;
use crate::key::NearKey;
use crate::memory::{Bound, Fetched, Held, TagMemory};
use crate::stats::count;
use crate::topology::{Answer, Group};
use crate::transport::{Command, Reply};

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Invalidates all values that were written with `tag`, in all processes, at the cost of one write: the tag's key
    /// at the server gets another value. Values are not removed from the server, where their own times to live
    /// and its eviction end them.
    ///
    /// When it has returned, no later read of this process finds such a value, and none of another one does after
    /// `max_stale`. Of a write of such a value that overlaps with it, the value may be invalidated or not. Writes that
    /// wait ([`WriteMode::Behind`](crate::WriteMode::Behind)) are sent first.
    ///
    /// # Errors
    /// [`NearError::BadTags`] if the tag is longer than 255 bytes; otherwise as [`set`](Self::set).
    pub async fn invalidate_tag(&self, tag: &str) -> Result<(), NearError> {
        check(&[tag])?;
        let Some(tags) = self.shared.memory.tags() else { return Ok(()) };
        if let Some(pending) = &self.shared.pending {
            // A value that waits is read without a look at its tags.
            pending.settle(None, self.shared.settings.call_timeout).await?;
        }
        let tag = tag.as_bytes().to_vec();
        let name = tags.name(&tag);
        let forgetting = ForgettingTag { near: self, tags, tag: &tag, name: &name };
        forgetting.forget();
        let stamp = new_stamp().to_string();
        let set = Command::new("SET").arg(&name[..]).arg(stamp);
        let answer = self.shared.link.call(&name, vec![set]).await?;
        match answer.replies.first() {
            Some(Reply::Status(_)) => {
                count(&self.shared.link.counters.tag_invalidations);
                Ok(())
            }
            Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal.clone())),
            _ => Err(NearError::Unexpected),
        }
    }

    /// What was fetched, without the values of which a tag was invalidated since they were written.
    pub(super) async fn confirm_tags(
        &self,
        fetched: Vec<Fetched<V>>,
    ) -> Result<Vec<Fetched<V>>, NearError> {
        let tags: Vec<&[TagStamp]> =
            fetched.iter().map(|it| it.tags.as_deref().unwrap_or_default()).collect();
        let are_valid = self.have_stamps(&tags).await?;
        let confirmed =
            fetched.into_iter().zip(are_valid).map(|(fetched, is_valid)| match is_valid {
                true => fetched,
                false => Fetched { held: Held::Unreadable, tags: None, ..fetched },
            });
        Ok(confirmed.collect())
    }

    /// Whether all tags of each of these values have their stamps, by what memory or the servers say. All tags that
    /// memory does not know are asked for at the same time.
    pub(super) async fn have_stamps(&self, values: &[&[TagStamp]]) -> Result<Vec<bool>, NearError> {
        let shared = &*self.shared;
        let Some(memory) = shared.memory.tags() else { return Ok(vec![true; values.len()]) };
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut unknown: Vec<&Vec<u8>> = Vec::new();
        for TagStamp { tag, stamp } in values.iter().copied().flatten() {
            // What memory has may be older than the value, which then names a later stamp. A value that is found to
            // be invalid is held as such, so only the server decides on that.
            if memory.lookup(&shared.link.lease, tag) != Some(Held::Value(*stamp)) {
                places.entry(tag).or_insert_with(|| {
                    unknown.push(tag);
                    unknown.len() - 1
                });
            }
        }
        let fetched = self.fetch_stamps(memory, &unknown).await?;
        let has_stamp = |TagStamp { tag, stamp }: &TagStamp| match places.get(&tag[..]) {
            Some(place) => fetched[*place] == Held::Value(*stamp),
            None => true,
        };
        let are_valid: Vec<bool> = values.iter().map(|tags| tags.iter().all(has_stamp)).collect();
        for _ in are_valid.iter().filter(|is_valid| !**is_valid) {
            count(&shared.link.counters.tag_misses);
        }
        Ok(are_valid)
    }

    /// Asks the servers for the stamps of `wanted`, in the order that the head of `memory` gives.
    async fn fetch_stamps(
        &self,
        tags: &TagMemory,
        wanted: &[&Vec<u8>],
    ) -> Result<Vec<Held<u64>>, NearError> {
        let shared = &*self.shared;
        let reservations: Vec<_> = wanted.iter().map(|tag| tags.reserve(tag)).collect();
        let names: Vec<Vec<u8>> = wanted.iter().map(|tag| tags.name(tag)).collect();
        let groups: Vec<Group> = names.iter().map(|name| self.group(name)).collect();
        let commands = |at: usize, all: &mut Vec<Command>| {
            if shared.link.is_opt_in() {
                all.push(Command::new("CLIENT").arg("CACHING").arg("YES"));
            }
            all.push(Command::new("GET").arg(&names[at]));
        };
        let answers = shared.link.call_each(&groups, commands).await;
        let mut stamps = Vec::with_capacity(wanted.len());
        for (reservation, answer) in reservations.into_iter().zip(answers) {
            let answer = answer?;
            let held = stamp_in(&answer)?;
            let is_bounded =
                !answer.is_tracked || (held == Held::Absent && !answer.is_absence_tracked);
            let bound = match is_bounded {
                true => Bound::For(shared.settings.max_stale),
                false => Bound::None,
            };
            let Answer { generation, sent_ns, .. } = answer;
            let fetched = Fetched { held: held.clone(), tags: None, generation, sent_ns, bound };
            // If it is refused, the stamp may be another one by now, and the next hit asks again.
            tags.fill(&shared.link.lease, reservation, fetched);
            stamps.push(held);
        }
        Ok(stamps)
    }

    /// The stamps that `tags` have at the servers now, for a value that is about to be written with them. Those that
    /// have none get one.
    pub(super) async fn present_stamps(&self, tags: &[String]) -> Result<Vec<TagStamp>, NearError> {
        check(tags)?;
        let Some(memory) = self.shared.memory.tags() else { return Ok(Vec::new()) };
        let tags: Vec<Vec<u8>> = tags.iter().map(|tag| tag.as_bytes().to_vec()).collect();
        // What memory has may be as old as `max_stale`, and the value would be invalid from the start.
        let all: Vec<&Vec<u8>> = tags.iter().collect();
        let mut held = self.fetch_stamps(memory, &all).await?;
        let without: Vec<usize> =
            (0..tags.len()).filter(|at| !matches!(held[*at], Held::Value(_))).collect();
        let new: Vec<&Vec<u8>> = without.iter().map(|at| &tags[*at]).collect();
        for (at, created) in without.into_iter().zip(self.create_stamps(memory, &new).await?) {
            held[at] = created;
        }
        let stamped = tags.into_iter().zip(held).map(|(tag, held)| match held {
            Held::Value(stamp) => Ok(TagStamp { tag, stamp }),
            _ => Err(NearError::Unexpected),
        });
        stamped.collect()
    }

    /// Gives tags that have no stamps their first ones, unless another process was faster.
    async fn create_stamps(
        &self,
        tags: &TagMemory,
        new: &[&Vec<u8>],
    ) -> Result<Vec<Held<u64>>, NearError> {
        let names: Vec<Vec<u8>> = new.iter().map(|tag| tags.name(tag)).collect();
        // Memory may know that there are none, and the server's notification follows the reply.
        let _forgetting: Vec<_> = new
            .iter()
            .zip(&names)
            .map(|(tag, name)| ForgettingTag { near: self, tags, tag, name })
            .collect();
        let groups: Vec<Group> = names.iter().map(|name| self.group(name)).collect();
        let commands = |at: usize, all: &mut Vec<Command>| {
            let stamp = new_stamp().to_string();
            all.push(Command::new("SET").arg(&names[at]).arg(stamp).arg("NX"));
            all.push(Command::new("GET").arg(&names[at]));
        };
        let answers = self.shared.link.call_each(&groups, commands).await;
        let stamps = answers.into_iter().map(|answer| {
            let answer = answer?;
            match answer.replies.first() {
                Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal.clone())),
                _ => stamp_in(&answer),
            }
        });
        stamps.collect()
    }
}

/// Forgets a tag again when its invalidation has ended, in whatever way.
struct ForgettingTag<'t, K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    near: &'t NearCache<K, V>,
    tags: &'t TagMemory,
    tag: &'t Vec<u8>,
    name: &'t [u8],
}

impl<K, V> ForgettingTag<'_, K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    fn forget(&self) {
        self.tags.forget_key(self.tag, self.name);
        // Their outcomes may have the tag, and calls that begin later would join them.
        self.near.shared.memory.close_flights();
    }
}

impl<K, V> Drop for ForgettingTag<'_, K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.forget();
    }
}

/// What the last reply says of a tag: its stamp, as decimal text.
fn stamp_in(answer: &Answer) -> Result<Held<u64>, NearError> {
    match answer.replies.last() {
        Some(Reply::Nil) => Ok(Held::Absent),
        Some(Reply::Bytes(bytes)) => Ok(u64::decode(bytes).map_or(Held::Unreadable, Held::Value)),
        Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal.clone())),
        _ => Err(NearError::Unexpected),
    }
}

/// What envelopes have room for.
fn check(tags: &[impl AsRef<str>]) -> Result<(), NearError> {
    let longest = tags.iter().map(|tag| tag.as_ref().len()).max().unwrap_or(0);
    if tags.len() > MAX_TAGS || longest > usize::from(u8::MAX) {
        return Err(NearError::BadTags { number: tags.len(), longest });
    }
    Ok(())
}
