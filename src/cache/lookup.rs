//! Lookups: the fast path and the slow path.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::equivalent::Equivalent;
use crate::base::hash::KeyHash;
use crate::base::stats::Counter;
use crate::entry::{Entry, EntryPtr};
use crate::reclaim::{AnyGuard, Guard};
use crate::shadow::ShadowKind;
use crate::table::BucketProbe;
use crate::tags::TagSet;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The valid entry of `key`, found without a trace.
    #[inline(always)]
    pub(super) fn find<'g, Q>(
        &self,
        key: &Q,
        hash: KeyHash,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let found = self.shared.engine.table.get(hash, move |held| key.equivalent(held), guard)?;
        if found.0.needs_check() && !self.is_valid(found.0) {
            return self.retry_find(found.0, key, hash, guard);
        }
        Some(found)
    }

    /// Repeats a [`find`](Self::find) that found `expired`.
    #[cold]
    fn retry_find<'g, Q>(
        &self,
        expired: EntryPtr,
        key: &Q,
        hash: KeyHash,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let is_valid = |entry| self.is_valid(entry);
        let table = &self.shared.engine.table;
        table.retry_get(expired, hash, |held| key.equivalent(held), is_valid, guard)
    }

    /// A lookup that counts as a use, and as a hit or a miss.
    #[inline(always)]
    pub(super) fn lookup<'g, Q>(
        &self,
        key: &Q,
        hash: KeyHash,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        match self.lookup_fast(key, hash, guard) {
            Ok(found) => Some(found),
            Err(probe) => self.lookup_slow(probe, key, hash, guard),
        }
    }

    /// The fast path: the entry of a plain hit, or else what the probe found, for
    /// [`lookup_slow`](Self::lookup_slow). It is short, so that the processor can have many of them under way while
    /// each waits for memory.
    #[inline(always)]
    pub(super) fn lookup_fast<'g, Q>(
        &self,
        key: &Q,
        hash: KeyHash,
        guard: &'g impl AnyGuard,
    ) -> Result<(EntryPtr, &'g Entry<K, V>), BucketProbe<EntryPtr>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let (pointer, entry) =
            match self.shared.engine.table.probe_bucket(hash, |held| key.equivalent(held), guard) {
                BucketProbe::Found(found) => found,
                BucketProbe::Absent => return Err(BucketProbe::Absent),
                BucketProbe::Inconclusive => return Err(BucketProbe::Inconclusive),
            };
        if !self.passes_unchecked(pointer) {
            return Err(BucketProbe::Found(pointer));
        }
        // Most hits need not be recorded.
        if u16::from(pointer.frequency()) < self.shared.settings.record_hits_below {
            if self.shared.settings.is_watching_lookups {
                self.watch_lookup(hash, true, guard);
            }
            self.shared.engine.record_hit(pointer, guard.thread());
        }
        Ok((pointer, entry))
    }

    /// The slow path: a lookup that has more to check, to do or to report. It is out of line, so
    /// that the registers it needs cost plain hits nothing.
    #[inline(never)]
    fn lookup_slow<'g, Q>(
        &self,
        probe: BucketProbe<EntryPtr>,
        key: &Q,
        hash: KeyHash,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let table = &self.shared.engine.table;
        let found = match probe {
            BucketProbe::Found(pointer) => Some((pointer, table.at(pointer, guard))),
            BucketProbe::Absent => None,
            BucketProbe::Inconclusive => table.get(hash, |held| key.equivalent(held), guard),
        };
        let hit = match found {
            Some(found) if found.0.needs_check() && !self.passes_unchecked(found.0) => {
                self.check_and_touch(found, key, hash, guard)
            }
            plain => plain,
        };
        if self.shared.settings.is_watching_lookups {
            self.watch_lookup(hash, hit.is_some(), guard);
        }
        let (pointer, entry) = hit?;
        if let Some(quotas) = &self.shared.engine.quotas
            && let Some(account) = pointer.tags().and_then(TagSet::account)
        {
            quotas.count_lookup(account.namespace, true, guard.thread());
            if let Some(shadows) = &self.shared.engine.namespace_shadows {
                shadows.count_hit(account.namespace, guard.thread());
            }
        }
        self.shared.engine.record_hit(pointer, guard.thread());
        Some((pointer, entry))
    }

    /// Checks the deadline and the tags of an entry that a lookup found, renews its time to idle if
    /// it is valid, and reports it to the shadows.
    #[inline(never)]
    fn check_and_touch<'g, Q>(
        &self,
        found: (EntryPtr, &'g Entry<K, V>),
        key: &Q,
        hash: KeyHash,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        // Before the use renews the time to idle.
        let mut remaining = self.remaining_if_asked(found.0);
        let is_valid =
            !found.0.is_invalidated() && self.shared.engine.timing.is_valid_for_use(found.0);
        let valid = if is_valid { Some(found) } else { self.retry_find(found.0, key, hash, guard) };
        if found.0.is_sampled() {
            self.report_sampled(found.0, valid.map(|(pointer, _)| pointer), hash, guard);
        }
        let (pointer, entry) = valid?;
        if self.shared.settings.expiry.is_some() {
            if pointer != found.0 {
                remaining = self.remaining_if_asked(pointer);
            }
            self.note_use(pointer, entry, remaining);
        }
        Some((pointer, entry))
    }

    /// Reports to the shadows that a lookup found an entry of a sampled key, and which entry of the key is valid, if
    /// any.
    #[inline(never)]
    fn report_sampled(
        &self,
        found: EntryPtr,
        valid: Option<EntryPtr>,
        hash: KeyHash,
        guard: &Guard,
    ) {
        if let Some(shadow) = &self.shared.engine.shadow
            && shadow.samples(hash)
        {
            match valid {
                Some(pointer) => shadow.note_hit(hash, pointer, guard),
                None => shadow.note_expired(hash, guard),
            }
        }
        let entry = valid.unwrap_or(found);
        if let Some(shadows) = &self.shared.engine.namespace_shadows
            && let Some(account) = entry.tags().and_then(TagSet::account)
        {
            let (kind, weight) = match valid {
                None => (ShadowKind::Removed, 0),
                // An unevictable entry is a hit whatever the bounds and the policy.
                Some(pointer) if pointer.meta().is_unevictable() => return,
                Some(pointer) => (ShadowKind::Hit, pointer.meta().weight()),
            };
            shadows.note_found(account.namespace, hash, kind, weight);
        }
    }

    /// Out of line: few caches count lookups, and those with a tally need this only for misses.
    #[inline(never)]
    fn count_lookup(&self, is_hit: bool, thread: usize) {
        let counter = if is_hit { Counter::Hits } else { Counter::Misses };
        self.shared.engine.counters.add(thread, counter, 1);
    }

    /// Inline: the shadows need little for most lookups, since sampled hits were reported before.
    #[inline(always)]
    fn watch_lookup(&self, hash: KeyHash, is_hit: bool, guard: &impl AnyGuard) {
        if self.shared.settings.is_counting_lookups
            && !(is_hit && guard.tally(self.shared.settings.hits_at))
        {
            self.count_lookup(is_hit, guard.thread());
        }
        if let Some(shadow) = &self.shared.engine.shadow {
            shadow.note_lookup(hash, is_hit, guard);
        }
    }

    /// The slow path of a [`read`](Self::read).
    #[inline(never)]
    pub(super) fn read_slow<Q, R>(
        &self,
        guard: Guard,
        probe: BucketProbe<EntryPtr>,
        key: &Q,
        hash: KeyHash,
        reader: impl FnOnce(&V) -> R,
    ) -> Option<R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        self.lookup_slow(probe, key, hash, &guard).map(|(_, entry)| reader(&entry.value))
    }
}
