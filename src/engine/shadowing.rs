//! What maintenance reports to the shadows.
#![forbid(unsafe_code)]

use super::Engine;
use crate::base::cause::RemovalCause;
use crate::buffer::write_buffer::Event;
use crate::reclaim;
use crate::shadow::{Shadow, ShadowKind};
use crate::table::Cursor;

impl<K, V> Engine<K, V> {
    /// Reports a write to the shadows. Before its event, after which the entries may be freed.
    #[inline(never)]
    pub(super) fn shadow_write(&self, shadow: &Shadow, event: &Event, hash: u64) {
        let (kind, weight) = match *event {
            // They hold what may be evicted.
            Event::Inserted(new) if new.meta().is_unevictable() => return,
            Event::Replaced { new, .. } if new.meta().is_unevictable() => (ShadowKind::Removed, 0),
            Event::Replaced { new, old } if old.meta().is_unevictable() => {
                (ShadowKind::Added, new.meta().weight())
            }
            Event::Inserted(new) => (ShadowKind::Added, new.meta().weight()),
            Event::Replaced { new, .. } => (ShadowKind::Replaced, new.meta().weight()),
            // They evict by their own lights.
            Event::Removed(old) if old.meta().cause() == RemovalCause::Evicted => return,
            Event::Removed(_) => (ShadowKind::Removed, 0),
        };
        shadow.note_write(hash, kind, weight, || reclaim::pin().thread());
    }

    /// Reports to the shadows what a run took out for another reason than that a bound was reached.
    /// Not within the run: an inline cache's shadows play at once, and what their policies panic
    /// with is dropped. Another thread may have stored the key anew meanwhile; then a shadow lacks
    /// one entry.
    pub(super) fn shadow_ended(&self, ended: Vec<u64>) {
        let Some(shadow) = &self.shadow else { return };
        for hash in ended {
            shadow.note_write(hash, ShadowKind::Removed, 0, || reclaim::pin().thread());
        }
    }

    /// Notes in the entries that there are whether `shadow`, whose sample has grown, wants hits on
    /// them reported.
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
