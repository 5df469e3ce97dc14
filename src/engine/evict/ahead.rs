//! Prefetching what evictions will read.
#![forbid(unsafe_code)]

use super::Evictor;
use crate::base::hash::KeyHash;
use crate::base::panics::catch;
use crate::table::UntypedTable;

/// The most evictions that are prepared at once.
const MAX_PREPARED: usize = 16;

impl Evictor {
    /// Prefetches what the next evictions will read, about `count` in each run of maintenance. Without
    /// that, each eviction would wait for its entry, and then for its bucket.
    ///
    /// Only an entry says which its bucket is. So this prefetches the buckets for the next run, whose
    /// entries were prefetched by the last one, and the entries for the run after it.
    pub(crate) fn prefetch_victims(&mut self, count: usize, table: UntypedTable<'_>) {
        if self.evictable_len().saturating_add(count) <= self.enforced.entries
            && self.evictable_weight() < self.enforced.weight
        {
            return;
        }
        let count = count.min(MAX_PREPARED);
        let Self { policy, nodes, .. } = self;
        let mut hashes = [None; MAX_PREPARED];
        let outcome = catch(|| {
            let mut named = 0;
            policy.upcoming(2 * count, &mut |id| {
                // This does not check that the entry is evictable, which would read more of it.
                let Some(entry) = nodes.get(id) else { return };
                match hashes[..count].get_mut(named) {
                    Some(place) => {
                        let hash = entry.hash();
                        table.prefetch_bucket(hash);
                        *place = Some(hash.raw());
                    }
                    None => entry.prefetch(),
                }
                named += 1;
            });
            policy.also_examined(count, &mut |id| {
                if let Some(entry) = nodes.get(id) {
                    entry.prefetch();
                }
            });
            policy.announce(hashes[..count].iter().copied().flatten());
        });
        if let Err(payload) = outcome {
            self.note_panic(payload);
        }
    }

    /// Lets the policy prefetch what it will look up for keys that come or leave.
    #[inline]
    pub(crate) fn announce(&mut self, hashes: impl Iterator<Item = KeyHash>) {
        self.call_policy_impl(|policy, _| policy.announce(hashes.map(KeyHash::raw)));
    }
}
