//! Operations on keys whatever their values: their deadlines as times, copies, and choosing one.
#![forbid(unsafe_code)]

use std::time::Duration;

use larder::{Explanation, InsertOptions, Inserted};

use super::{Db, Store};
use crate::bytes::Bytes;
use crate::error::CommandError;
use crate::hub::ChangeKind;
use crate::unix_time;
use crate::version::Version;

/// Two readings of clocks that are further apart are repeated, up to `READINGS` times.
const READINGS_APART: Duration = Duration::from_micros(200);
const READINGS: usize = 3;

/// How many entries are visited in one step, during which the thread is pinned.
const STEP_ENTRIES: usize = 128;

/// The number of keys among which one is chosen at random.
const RANDOM_AMONG: usize = 16;

/// The most of the hottest keys of all databases that are asked for, to find those of one.
const MAX_RANKED: usize = 40_000;

/// When a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpireTime {
    Missing,
    Never,
    /// In milliseconds since 1970.
    At(i64),
}

impl Db<'_> {
    /// When the key expires.
    pub(crate) fn expire_time(&self, key: &[u8]) -> ExpireTime {
        let mut time = ExpireTime::Missing;
        for _ in 0..READINGS {
            // The cache's clock is read in between: what is left counts from a moment between the two.
            let before = unix_time::now();
            let Some(info) = self.info(key) else { return ExpireTime::Missing };
            let after = unix_time::now();
            time = match info.expires_in {
                None => return ExpireTime::Never,
                Some(left) => ExpireTime::At(unix_time::ms_after(before, left)),
            };
            if after.saturating_sub(before) < READINGS_APART {
                break;
            }
        }
        time
    }

    /// Writes the value of `from` to the key `to` of `target`, with its lifetime, its tags, and whether it can
    /// be evicted. Says whether there was a value. No command may run beside this.
    ///
    /// # Errors
    /// The cache has refused the copy.
    pub(crate) fn copy_to(
        &self,
        from: &[u8],
        target: Db<'_>,
        to: &[u8],
        kind: ChangeKind,
    ) -> Result<bool, CommandError> {
        let Some(is_new) = self.copy_silently(from, target, to, kind)? else { return Ok(false) };
        target.note_as(to, kind, is_new);
        Ok(true)
    }

    /// As [`copy_to`](Self::copy_to), but does not pass the change on unless the copy is refused. Says whether the
    /// key `to` had no value; `None` if there was nothing to copy.
    fn copy_silently(
        &self,
        from: &[u8],
        target: Db<'_>,
        to: &[u8],
        kind: ChangeKind,
    ) -> Result<Option<bool>, CommandError> {
        let cache = self.store.cache();
        let (Some(value), Some(info)) = (self.peek(from), self.info(from)) else {
            return Ok(None);
        };
        let (tags, is_unevictable) = self.with_stored(from, |stored| {
            (cache.tags_of(stored).unwrap_or_default(), cache.is_unevictable(stored))
        });
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let has_rules = cache.time_to_live().is_some() || cache.time_to_idle().is_some();
        let mut options = InsertOptions::new().tags(&tags);
        if info.expires_in.is_some() || has_rules {
            options = options.ttl(info.expires_in.unwrap_or(Duration::MAX));
        }
        if is_unevictable == Some(true) {
            options = options.unevictable();
        }
        let copy = value.rewritten().written_by_command();
        let inserted = cache.insert_with(target.owned_key(to), copy, options);
        match inserted {
            Inserted::Rejected(rejection) => {
                // The old value, if there was one, is gone.
                target.note(to, kind);
                Err(CommandError::NotStored(rejection))
            }
            inserted => Ok(Some(inserted == Inserted::Added)),
        }
    }

    /// As [`copy_to`](Self::copy_to), and removes the key `from`, which is not `to` of the same database.
    pub(crate) fn move_to(
        &self,
        from: &[u8],
        target: Db<'_>,
        to: &[u8],
        (leaves, arrives): (ChangeKind, ChangeKind),
    ) -> Result<bool, CommandError> {
        // Copied first, so that nothing is lost if the copy is refused.
        let Some(is_new) = self.copy_silently(from, target, to, arrives)? else {
            return Ok(false);
        };
        // In the order in which Redis publishes the two.
        self.take_as(from, leaves);
        target.note_as(to, arrives, is_new);
        Ok(true)
    }

    /// How often the key was used lately, by the measure of the cache's policy; `None` if it has no value, or is
    /// new.
    pub(crate) fn uses(&self, key: &[u8]) -> Option<u64> {
        self.with_stored(key, |stored| self.store.cache().frequency(stored))
    }

    /// Why the key is there, or is not.
    pub(crate) fn explain(&self, key: &[u8]) -> Explanation {
        self.with_stored(key, |stored| self.store.cache().explain(stored))
    }

    /// Up to `count` keys that the policy finds most worth keeping, the best first. They are searched for among a
    /// limited number of the best of all databases.
    pub(crate) fn hottest(&self, count: usize) -> Vec<Bytes> {
        let namespace = self.store.namespace(self.number);
        let own = |stored: Bytes| match Store::split_key(&stored) {
            (of, key) if of == namespace => Some(Bytes::from(key)),
            _ => None,
        };
        let mut asked = count;
        loop {
            let ranked = self.store.cache().hottest(asked);
            let is_all = ranked.len() < asked;
            let mut keys: Vec<Bytes> = ranked.into_iter().filter_map(own).collect();
            if keys.len() >= count || is_all || asked >= MAX_RANKED {
                keys.truncate(count);
                return keys;
            }
            asked = (asked * 4).min(MAX_RANKED);
        }
    }

    /// Any key, at random; `None` if there is none.
    ///
    /// It is one of the [`RANDOM_AMONG`] keys that follow a random place, going on from the beginning after the end. So
    /// the probability of a key is in proportion to the way from the key that is as many places before it, which varies
    /// little; and if there are no more keys than that, all are equally likely.
    pub(crate) fn random_key(&self) -> Option<Bytes> {
        let random = ahash::RandomState::new();
        let start = random.hash_one(Version::next().number());
        let mut found: Vec<Bytes> = Vec::with_capacity(RANDOM_AMONG);
        let (mut cursor, mut has_wrapped) = (start, false);
        while found.len() < RANDOM_AMONG && !(has_wrapped && cursor >= start) {
            cursor = self.scan(cursor, STEP_ENTRIES, |key, _, _| {
                // After the end, a step may come to what it has visited first.
                if found.len() < RANDOM_AMONG && found.iter().all(|known| known[..] != *key) {
                    found.push(Bytes::from(key));
                }
            });
            if cursor == 0 {
                if has_wrapped {
                    break;
                }
                has_wrapped = true;
            }
        }
        let chosen = random.hash_one(start) % found.len().max(1) as u64;
        found.into_iter().nth(usize::try_from(chosen).unwrap_or_default())
    }

    /// As [`scan`](Self::scan), for any count: in steps, so that the thread is not pinned for long.
    pub(crate) fn scan_in_steps(
        &self,
        mut cursor: u64,
        count: usize,
        mut visit: impl FnMut(&[u8], &crate::value::Value),
    ) -> u64 {
        let mut left = count;
        loop {
            let step = left.min(STEP_ENTRIES);
            cursor = self.scan(cursor, step, |key, value, _| visit(key, value));
            left -= step;
            if cursor == 0 || left == 0 {
                return cursor;
            }
        }
    }
}
