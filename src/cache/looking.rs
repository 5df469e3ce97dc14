//! Lookups: what most do, and the rest.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::equivalent::Equivalent;
use crate::base::stats::Counter;
use crate::entry::{Entry, EntryPtr};
use crate::reclaim::{Guard, Pins};
use crate::table::Glance;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    #[inline(always)]
    pub(super) fn find<'g, Q>(
        &self,
        key: &Q,
        hash: u64,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let found = self.shared.engine.table.get(hash, move |held| key.equivalent(held), guard)?;
        if found.0.is_special() && !self.is_valid(found.0) {
            return self.find_again(found.0, key, hash, guard);
        }
        Some(found)
    }

    /// As [`find`](Self::find), when it found `expired`.
    #[cold]
    fn find_again<'g, Q>(
        &self,
        expired: EntryPtr,
        key: &Q,
        hash: u64,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let is_valid = |entry| self.is_valid(entry);
        let table = &self.shared.engine.table;
        table.get_again(expired, hash, |held| key.equivalent(held), is_valid, guard)
    }

    /// A lookup that counts.
    #[inline(always)]
    pub(super) fn lookup<'g, Q>(
        &self,
        key: &Q,
        hash: u64,
        guard: &'g Guard,
    ) -> Option<&'g Entry<K, V>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        match self.look(key, hash, guard) {
            Ok(entry) => Some(entry),
            Err(seen) => self.look_on(seen, key, hash, guard),
        }
    }

    /// The entry of a plain hit, or else what was seen, for [`look_on`](Self::look_on). It is short,
    /// so that the processor can have many of them under way where each waits for memory.
    #[inline(always)]
    pub(super) fn look<'g, Q>(
        &self,
        key: &Q,
        hash: u64,
        guard: &'g impl Pins,
    ) -> Result<&'g Entry<K, V>, Glance<EntryPtr>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let (pointer, entry) =
            match self.shared.engine.table.glance(hash, |held| key.equivalent(held), guard) {
                Glance::Found(found) => found,
                Glance::Absent => return Err(Glance::Absent),
                Glance::Unsure => return Err(Glance::Unsure),
            };
        if !self.is_settled(pointer) {
            return Err(Glance::Found(pointer));
        }
        // Of most hits nobody wants to hear.
        if u16::from(pointer.frequency()) < self.shared.parts.quiet_from {
            if self.shared.parts.is_watching_lookups {
                self.watch_lookup(hash, true, guard);
            }
            self.shared.engine.record_hit(pointer, guard.thread());
        }
        Ok(entry)
    }

    /// The rest of a lookup, about which there is more to ask, to do or to tell. Out of line, so that
    /// what it needs in registers costs plain hits nothing.
    #[inline(never)]
    fn look_on<'g, Q>(
        &self,
        seen: Glance<EntryPtr>,
        key: &Q,
        hash: u64,
        guard: &'g Guard,
    ) -> Option<&'g Entry<K, V>>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let table = &self.shared.engine.table;
        let found = match seen {
            Glance::Found(pointer) => Some((pointer, table.at(pointer, guard))),
            Glance::Absent => None,
            Glance::Unsure => table.get(hash, |held| key.equivalent(held), guard),
        };
        let hit = match found {
            Some(found) if found.0.is_special() && !self.is_settled(found.0) => {
                self.use_special(found, key, hash, guard)
            }
            plain => plain,
        };
        if self.shared.parts.is_watching_lookups {
            self.watch_lookup(hash, hit.is_some(), guard);
        }
        let (pointer, entry) = hit?;
        self.shared.engine.record_hit(pointer, guard.thread());
        Some(entry)
    }

    /// Of a lookup that found an entry about whose deadline or tags there is more to ask, or to do, or
    /// of which shadows are to hear.
    #[inline(never)]
    fn use_special<'g, Q>(
        &self,
        found: (EntryPtr, &'g Entry<K, V>),
        key: &Q,
        hash: u64,
        guard: &'g Guard,
    ) -> Option<(EntryPtr, &'g Entry<K, V>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        // Before the use renews the time to idle.
        let mut remaining = self.remaining_if_asked(found.0);
        let is_valid =
            !found.0.is_invalidated() && self.shared.engine.timing.is_valid_for_use(found.0);
        let valid = if is_valid { Some(found) } else { self.find_again(found.0, key, hash, guard) };
        if found.0.is_sampled()
            && let Some(shadow) = &self.shared.engine.shadow
        {
            match valid {
                Some((pointer, _)) => shadow.note_hit(hash, pointer, guard),
                None => shadow.note_expired(hash, guard),
            }
        }
        let (pointer, entry) = valid?;
        if self.shared.parts.expiry.is_some() {
            if pointer != found.0 {
                remaining = self.remaining_if_asked(pointer);
            }
            self.note_use(pointer, entry, remaining);
        }
        Some((pointer, entry))
    }

    /// Out of line, for few caches count; and those that have a tally for it do so for misses alone.
    #[inline(never)]
    fn count_lookup(&self, is_hit: bool, thread: usize) {
        let counter = if is_hit { Counter::Hits } else { Counter::Misses };
        self.shared.engine.counters.add(thread, counter, 1);
    }

    /// In line, for the shadows want little of most lookups: of sampled hits they have heard.
    #[inline(always)]
    fn watch_lookup(&self, hash: u64, is_hit: bool, guard: &impl Pins) {
        if self.shared.parts.is_counting_lookups
            && !(is_hit && guard.tally(self.shared.parts.hits_at))
        {
            self.count_lookup(is_hit, guard.thread());
        }
        if let Some(shadow) = &self.shared.engine.shadow {
            shadow.note_lookup(hash, is_hit, guard);
        }
    }

    /// The rest of a [`read`](Self::read).
    #[inline(never)]
    pub(super) fn read_on<Q, R>(
        &self,
        guard: Guard,
        seen: Glance<EntryPtr>,
        key: &Q,
        hash: u64,
        reader: impl FnOnce(&V) -> R,
    ) -> Option<R>
    where
        Q: Equivalent<K> + ?Sized,
    {
        self.look_on(seen, key, hash, &guard).map(|entry| reader(&entry.value))
    }
}
