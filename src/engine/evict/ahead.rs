//! Prefetching what evictions will read.
#![forbid(unsafe_code)]

use super::Evictor;
use crate::base::hash::KeyHash;
use crate::base::panics::catch;
use crate::entry::EntryPtr;
use crate::table::UntypedTable;

/// The most entries that one run of maintenance prefetches. A policy may name several for each eviction:
/// the candidate, the victim, and nodes that it examines on the way to them.
const MAX_PREFETCH: usize = 64;

/// The entries of nodes that a policy has named.
struct Named {
    entries: [Option<EntryPtr>; MAX_PREFETCH],
    len: usize,
}

impl Named {
    /// This does not check that the entry is evictable, which would read the entry now.
    #[inline]
    fn add(&mut self, entry: Option<EntryPtr>) {
        if let (Some(entry), Some(slot)) = (entry, self.entries.get_mut(self.len)) {
            entry.prefetch();
            *slot = Some(entry);
            self.len += 1;
        }
    }
}

impl Evictor {
    /// Prefetches what the eviction of the next `count` entries will read. Without that, each eviction
    /// would wait for its entry, and then for its bucket.
    pub(crate) fn prefetch_victims(&mut self, count: usize, table: UntypedTable<'_>) {
        if self.evictable_len().saturating_add(count) <= self.enforced.entries
            && self.evictable_weight() < self.enforced.weight
        {
            return;
        }
        let count = count.min(MAX_PREFETCH / 2);
        let mut named = Named { entries: [None; MAX_PREFETCH], len: 0 };
        let mut victims = 0;
        let Self { policy, nodes, .. } = self;
        let outcome = catch(|| {
            policy.upcoming(count, &mut |id| named.add(nodes.get(id)));
            victims = named.len;
            policy.also_examined(count.div_ceil(2), &mut |id, _| named.add(nodes.get(id)));
        });
        if let Err(payload) = outcome {
            self.faults.note_panic(payload);
        }
        for entry in named.entries[..victims].iter().flatten() {
            table.prefetch_bucket(entry.hash());
        }
        self.announce(named.entries.iter().flatten().map(|entry| entry.hash()));
    }

    /// Lets the policy prefetch what it will look up for keys that come or leave.
    #[inline]
    pub(crate) fn announce(&mut self, hashes: impl Iterator<Item = KeyHash>) {
        self.call_policy_impl(|policy, _| policy.announce(hashes.map(KeyHash::raw)));
    }
}
