//! What is reported to the shadow caches.
#![forbid(unsafe_code)]

use super::Engine;
use crate::base::cause::RemovalCause;
use crate::base::hash::KeyHash;
use crate::buffer::write_buffer::Event;
use crate::reclaim;
use crate::shadow::{NamespaceShadows, Shadow, ShadowKind};
use crate::table::Cursor;
use crate::tags::TagSet;

/// How many entries are shown to new shadows of a namespace at once.
const FILLED_AT_ONCE: usize = 1024;

/// What an event means to the shadow caches. It is read before the event is in the buffer, after which the entries
/// may be freed.
#[derive(Clone, Copy)]
pub(super) struct ShadowWrite {
    kind: ShadowKind,
    weight: u32,
}

impl ShadowWrite {
    /// `None` if it means nothing to them.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let (kind, weight) = match *event {
            // Shadow caches hold only evictable entries.
            Event::Inserted(new) if new.meta().is_unevictable() => return None,
            Event::Replaced { new, .. } if new.meta().is_unevictable() => (ShadowKind::Removed, 0),
            Event::Replaced { new, old } if old.meta().is_unevictable() => {
                (ShadowKind::Added, new.meta().weight())
            }
            Event::Inserted(new) => (ShadowKind::Added, new.meta().weight()),
            Event::Replaced { new, .. } => (ShadowKind::Replaced, new.meta().weight()),
            // Shadow caches evict by their own policies.
            Event::Removed(old) if old.meta().cause() == RemovalCause::Evicted => return None,
            Event::Removed(_) => (ShadowKind::Removed, 0),
        };
        Some(Self { kind, weight })
    }
}

impl<K, V> Engine<K, V> {
    /// Reports a write to the shadow caches. Has to be called before the event is submitted, after which
    /// the entries may be freed.
    #[inline(never)]
    pub(super) fn shadow_write(&self, shadow: &Shadow, event: &Event, hash: KeyHash) {
        if let Some(write) = ShadowWrite::of(event) {
            self.note_shadow_write(shadow, write, hash);
        }
    }

    /// Reports to the shadow caches what [`ShadowWrite::of`] has read of an event. The cache itself must hold no
    /// guard.
    pub(super) fn note_shadow_write(&self, shadow: &Shadow, write: ShadowWrite, hash: KeyHash) {
        shadow.note_write(hash, write.kind, write.weight, || reclaim::pin().thread());
    }

    /// Reports to the shadow caches the keys that a run removed for another reason than a bound. This must
    /// not be called within the run: the shadow caches of an inline cache play the record at once, and the
    /// payloads of panics of their policies are dropped. If another thread has stored the key again
    /// meanwhile, a shadow cache lacks one entry.
    pub(super) fn shadow_removed(&self, removed: Vec<KeyHash>) {
        let Some(shadow) = &self.shadow else { return };
        for hash in removed {
            shadow.note_write(hash, ShadowKind::Removed, 0, || reclaim::pin().thread());
        }
    }

    /// Marks the entries of a namespace that is followed from now on, so that hits on them are reported, and
    /// shows them to its shadows.
    ///
    /// Another thread may have made an entry before the namespace was followed, and store it after this walk has passed
    /// its place: hits on it are not reported until it is replaced.
    pub(crate) fn sample_namespace(&self, shadows: &NamespaceShadows, number: u32) {
        let (mut cursor, mut held) = (Cursor::Start, Vec::new());
        while cursor != Cursor::End {
            cursor = self.table.step(cursor, &reclaim::pin(), |pointer, _| {
                let account = pointer.tags().and_then(TagSet::account);
                if account.is_some_and(|account| account.namespace == number)
                    && shadows.samples(number, pointer.hash())
                {
                    pointer.set_sampled();
                    if !pointer.meta().is_unevictable() && !pointer.is_invalidated() {
                        held.push((pointer.hash(), pointer.meta().weight()));
                    }
                }
            });
            // Outside the pin, because the policy of a shadow may be the user's.
            if held.len() >= FILLED_AT_ONCE || cursor == Cursor::End {
                shadows.fill(number, &held);
                held.clear();
            }
        }
    }

    /// Marks the entries that `shadow`, whose sample has grown, now samples, so that hits on them are
    /// reported.
    pub(super) fn sample_anew(&self, shadow: &Shadow) {
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            cursor = self.table.step(cursor, &reclaim::pin(), |pointer, _| {
                if shadow.samples(pointer.hash()) {
                    pointer.set_sampled();
                }
            });
        }
    }
}
