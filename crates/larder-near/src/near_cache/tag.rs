//! Tags: names by which many values are invalidated at once, in all processes; see the head of `memory`.

use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NearCache;
use crate::envelope::{MAX_TAGS, TagStamp, new_stamp};
use crate::error::NearError;
use crate::key::NearKey;
use crate::memory::{Bound, Fetched, Held, TagMemory};
use crate::stats::count;
use crate::topology::Answer;
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

    /// What was fetched, unless one of its tags was invalidated since it was written: then there is no value.
    pub(super) async fn confirm_tags(&self, fetched: Fetched<V>) -> Result<Fetched<V>, NearError> {
        let is_valid = match &fetched.tags {
            None => true,
            Some(tags) => self.have_stamps(tags).await?,
        };
        Ok(match is_valid {
            true => fetched,
            false => Fetched { held: Held::Unreadable, tags: None, ..fetched },
        })
    }

    /// Whether all of these tags have their stamps, by what memory or the server says.
    pub(super) async fn have_stamps(&self, tags: &[TagStamp]) -> Result<bool, NearError> {
        let shared = &*self.shared;
        let Some(memory) = shared.memory.tags() else { return Ok(true) };
        for TagStamp { tag, stamp } in tags {
            let own = Held::Value(*stamp);
            if memory.lookup(&shared.link.lease, tag).as_ref() == Some(&own) {
                continue;
            }
            // What memory has may be older than the value, which then names a later stamp. A value that is found to
            // be invalid is held as such, so only the server decides on that.
            if self.fetch_stamp(memory, tag).await? != own {
                count(&shared.link.counters.tag_misses);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Asks the server, in the order that the head of `memory` gives.
    async fn fetch_stamp(&self, tags: &TagMemory, tag: &Vec<u8>) -> Result<Held<u64>, NearError> {
        let shared = &*self.shared;
        let reservation = tags.reserve(tag);
        let mut commands = Vec::with_capacity(2);
        if shared.link.is_opt_in() {
            commands.push(Command::new("CLIENT").arg("CACHING").arg("YES"));
        }
        let name = tags.name(tag);
        commands.push(Command::new("GET").arg(&name[..]));
        let answer = shared.link.call(&name, commands).await?;
        let held = stamp_in(&answer)?;
        let is_bounded = !answer.is_tracked || (held == Held::Absent && !answer.is_absence_tracked);
        let bound = match is_bounded {
            true => Bound::For(shared.settings.max_stale),
            false => Bound::None,
        };
        let Answer { generation, sent_ns, .. } = answer;
        let fetched = Fetched { held: held.clone(), tags: None, generation, sent_ns, bound };
        // If it is refused, the stamp may be another one by now, and the next hit asks again.
        tags.fill(&shared.link.lease, reservation, fetched);
        Ok(held)
    }

    /// The stamps that `tags` have at the server now, for a value that is about to be written with them. A tag that has
    /// none gets one.
    pub(super) async fn present_stamps(&self, tags: &[String]) -> Result<Vec<TagStamp>, NearError> {
        check(tags)?;
        let Some(memory) = self.shared.memory.tags() else { return Ok(Vec::new()) };
        let mut stamps = Vec::with_capacity(tags.len());
        for tag in tags {
            let tag = tag.as_bytes().to_vec();
            // What memory has may be as old as `max_stale`, and the value would be invalid from the start.
            let mut held = self.fetch_stamp(memory, &tag).await?;
            if !matches!(held, Held::Value(_)) {
                held = self.create_stamp(memory, &tag).await?;
            }
            let Held::Value(stamp) = held else { return Err(NearError::Unexpected) };
            stamps.push(TagStamp { tag, stamp });
        }
        Ok(stamps)
    }

    /// Gives a tag that has no stamp its first one, unless another process was faster.
    async fn create_stamp(&self, tags: &TagMemory, tag: &[u8]) -> Result<Held<u64>, NearError> {
        let tag = tag.to_vec();
        let name = tags.name(&tag);
        // Memory may know that there is none, and the server's notification follows the reply.
        let _forgetting = ForgettingTag { near: self, tags, tag: &tag, name: &name };
        let stamp = new_stamp().to_string();
        let set = Command::new("SET").arg(&name[..]).arg(stamp).arg("NX");
        let get = Command::new("GET").arg(&name[..]);
        let answer = self.shared.link.call(&name, vec![set, get]).await?;
        if let Some(Reply::Refused(refusal)) = answer.replies.first() {
            return Err(NearError::Refused(refusal.clone()));
        }
        stamp_in(&answer)
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
