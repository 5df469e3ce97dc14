//! Keys as such: their deadlines as times, copies of them, and choosing one.
#![forbid(unsafe_code)]

use std::time::Duration;

use larder::{Explanation, InsertOptions, Inserted};

use super::{Db, Store};
use crate::bytes::Bytes;
use crate::error::CommandError;
use crate::hub::ChangeKind;
use crate::unix_time;
use crate::version::Version;

/// Two readings of clocks that are further apart are repeated, so often at most.
const READINGS_APART: Duration = Duration::from_micros(200);
const READINGS: usize = 3;

/// How many entries are visited in one step, during which the thread is pinned.
const STEP_ENTRIES: usize = 128;

/// So many of the hottest keys of all databases are asked for at most, to find those of one.
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
        let cache = self.store.cache();
        let (Some(value), Some(info)) = (self.peek(from), self.info(from)) else {
            return Ok(false);
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
        target.note_as(to, kind, inserted == Inserted::Added);
        match inserted {
            Inserted::Rejected(rejection) => Err(CommandError::NotStored(rejection)),
            _ => Ok(true),
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
        if !self.copy_to(from, target, to, arrives)? {
            return Ok(false);
        }
        self.take_as(from, leaves);
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

    /// Up to `count` keys that the policy finds most worth keeping, the best first. They are looked for among the
    /// best of all databases, of which a limited number is asked for.
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
    pub(crate) fn random_key(&self) -> Option<Bytes> {
        let random = ahash::RandomState::new().hash_one(Version::next().number());
        let (mut cursor, mut wraps) = (random, 0);
        // From a random place to the end, and then once from the beginning.
        while wraps < 2 {
            let (mut chosen, mut seen) = (None, 0);
            cursor = self.scan(cursor, 16, |key, _, _| {
                if seen == 0 || random.is_multiple_of(seen + 1) {
                    chosen = Some(Bytes::from(key));
                }
                seen += 1;
            });
            if chosen.is_some() {
                return chosen;
            }
            wraps += u32::from(cursor == 0);
        }
        None
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
