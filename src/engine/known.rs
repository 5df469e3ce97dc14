//! What a cache knows of keys beside their entries, which a change of a key makes it forget.
#![forbid(unsafe_code)]

use super::Engine;
use crate::base::error::FlushError;
use crate::base::hash::KeyHash;
use crate::base::stats::Stats;
use crate::base::sync::{self, Ordering};

/// Knowledge of keys that are not in the table.
pub(crate) trait KnownKeys: Send + Sync {
    /// Forgets the keys of that hash.
    fn forget(&self, hash: KeyHash);
    /// Forgets all keys.
    fn forget_all(&self);
    /// Does the maintenance that is due.
    fn run_pending(&self);
    /// Drops and frees all keys that were forgotten before the call.
    fn flush(&self) -> Result<(), FlushError>;
    /// Adds the bytes that were retired and freed, and the panics of drops.
    fn add_to(&self, stats: &mut Stats);
    /// Drops all keys, since the cache ends.
    fn end(&self);
}

impl<K, V> Engine<K, V> {
    /// Marks the open fills of that hash as stale, since its key is about to be changed, and forgets what is
    /// known of it.
    #[inline]
    pub(crate) fn mark_changed(&self, hash: KeyHash) {
        if self.fills.mark(hash)
            && let Some(known) = &self.known
        {
            known.forget(hash);
        }
    }

    /// Forgets what is known of the keys of that hash, since one of them has changed, including what a load has found
    /// that began after the change had marked the fills and ended before it took effect.
    #[inline]
    pub(crate) fn forget_known(&self, hash: KeyHash) {
        if let Some(known) = &self.known {
            // SeqCst: between the change of the table and the access to the memory; pairs with the fence where a load
            // that has found no value searches the table (`cache::load::complete`).
            sync::fence(Ordering::SeqCst);
            known.forget(hash);
        }
    }

    /// As [`mark_changed`](Self::mark_changed), for all keys.
    pub(crate) fn mark_all_changed(&self) {
        if self.fills.mark_all()
            && let Some(known) = &self.known
        {
            known.forget_all();
        }
    }
}
