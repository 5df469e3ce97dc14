//! The entries of one partition by node id.
#![forbid(unsafe_code)]

use std::mem::offset_of;

use crate::base::node_id::NodeId;
use crate::base::prefetch::prefetch_for_write;
use crate::entry::{EntryMeta, EntryPtr};
use crate::expiry::Timers;
use crate::policy::Nodes;

/// The entries that have a node, and their weight.
///
/// What all runs read and write is in one cache line, since the next run may be another core's.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct NodeMap {
    pub(super) entries: Vec<Option<EntryPtr>>,
    pub(super) free: Vec<NodeId>,
    pub(super) weight: u64,
    /// The number of entries that are special (`is_special`).
    pub(super) special: usize,
    /// The number of entries that the policy does not know: the unevictable ones, and the kept ones.
    pub(super) outside: usize,
    /// The number of unevictable entries, and their weight.
    pub(super) unevictable: usize,
    pub(super) unevictable_weight: u64,
    /// The entries that need a loan of weight, the oldest first, and their weight.
    pub(super) heavy: Vec<NodeId>,
    pub(super) heavy_weight: u64,
    pub(super) timers: Timers,
}

const _: () = assert!(offset_of!(NodeMap, outside) <= 64);

impl NodeMap {
    #[inline]
    pub(super) fn add(&mut self, entry: EntryPtr, meta: &EntryMeta, limit: usize) -> NodeId {
        let id = self.add_uncounted(entry, meta, limit);
        self.count(id, entry, meta);
        id
    }

    /// As [`add`](Self::add), for an entry whose weight the caller counts.
    #[inline(always)]
    pub(super) fn add_uncounted(
        &mut self,
        entry: EntryPtr,
        meta: &EntryMeta,
        limit: usize,
    ) -> NodeId {
        let id = match self.free.pop() {
            Some(id) => id,
            None => self.add_node(limit),
        };
        self.entries[id.index()] = Some(entry);
        meta.set_node(Some(id));
        id
    }

    /// Makes a node that has no entry yet.
    #[cold]
    fn add_node(&mut self, limit: usize) -> NodeId {
        if self.entries.len() == self.entries.capacity() {
            // Doubles, but not beyond the limit, so that a full partition wastes nothing.
            let limit = match self.unevictable {
                0 => limit.saturating_add(1),
                // There may be any number of unevictable entries besides the limit.
                _ => usize::MAX,
            };
            let room = limit.saturating_sub(self.entries.len());
            self.entries.reserve_exact(self.entries.len().max(16).min(room).max(1));
        }
        let id = u32::try_from(self.entries.len()).expect("a partition's limit is below 2^32");
        self.entries.push(None);
        NodeId::from_raw(id)
    }

    /// The number of nodes that have an entry.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    #[inline]
    pub(super) fn get(&self, id: NodeId) -> Option<EntryPtr> {
        self.entries.get(id.index()).copied().flatten()
    }

    /// Prefetches the place of a node.
    #[inline]
    pub(super) fn prefetch(&self, id: NodeId) {
        prefetch_for_write(self.entries.as_ptr().wrapping_add(id.index()));
    }

    #[inline]
    pub(super) fn take(&mut self, id: NodeId) -> Option<EntryPtr> {
        let entry = self.get(id)?;
        self.release(id, entry, entry.meta());
        Some(entry)
    }

    /// As [`take`](Self::take), but only for an evictable entry.
    #[inline]
    pub(super) fn take_evictable(&mut self, id: NodeId) -> Option<EntryPtr> {
        let entry = self.get(id)?;
        let meta = entry.meta();
        if meta.is_unevictable() {
            return None;
        }
        self.release(id, entry, meta);
        Some(entry)
    }

    #[inline]
    fn release(&mut self, id: NodeId, entry: EntryPtr, meta: &EntryMeta) {
        self.timers.forget(id);
        self.discount(id, entry, meta);
        self.release_uncounted(id, meta);
    }

    /// Frees the node of an entry whose timer is stopped, and whose weight the caller discounts.
    #[inline(always)]
    pub(super) fn release_uncounted(&mut self, id: NodeId, meta: &EntryMeta) {
        self.entries[id.index()] = None;
        meta.set_node(None);
        self.free.push(id);
    }

    /// The entry, if it is evictable and the policy knows it.
    #[inline]
    pub(super) fn evictable(&self, id: NodeId) -> Option<EntryPtr> {
        // In most caches all are, and then the metadata need not be read.
        self.get(id).filter(|entry| self.outside == 0 || !entry.meta().is_outside_policy())
    }

    #[inline]
    pub(super) fn count(&mut self, id: NodeId, entry: EntryPtr, meta: &EntryMeta) {
        self.weight += u64::from(meta.weight());
        self.special += usize::from(is_special(entry, meta));
        if meta.is_counted_apart() {
            self.count_apart(id, meta);
        }
    }

    #[cold]
    fn count_apart(&mut self, id: NodeId, entry: &EntryMeta) {
        if entry.is_unevictable() {
            self.outside += 1;
            self.unevictable += 1;
            self.unevictable_weight += u64::from(entry.weight());
        }
        if entry.is_heavy() {
            self.heavy.push(id);
            self.heavy_weight += u64::from(entry.weight());
        }
    }

    #[inline]
    pub(super) fn discount(&mut self, id: NodeId, entry: EntryPtr, meta: &EntryMeta) {
        self.weight -= u64::from(meta.weight());
        self.special -= usize::from(is_special(entry, meta));
        if meta.is_counted_apart() {
            self.discount_apart(id, meta);
        }
    }

    #[cold]
    fn discount_apart(&mut self, id: NodeId, entry: &EntryMeta) {
        if entry.is_unevictable() {
            self.outside -= 1;
            self.unevictable -= 1;
            self.unevictable_weight -= u64::from(entry.weight());
        }
        if entry.is_heavy() {
            self.heavy.retain(|other| *other != id);
            self.heavy_weight -= u64::from(entry.weight());
        }
    }

    #[inline]
    pub(super) fn expect(&self, id: NodeId) -> EntryPtr {
        self.get(id).expect("a policy asks only about nodes that were inserted")
    }
}

/// Whether maintenance has to treat the entry differently from most: it has tags, or is unevictable or heavy.
#[inline]
pub(super) fn is_special(entry: EntryPtr, meta: &EntryMeta) -> bool {
    entry.has_tags() || meta.is_counted_apart()
}

impl Nodes for NodeMap {
    #[inline]
    fn hash(&self, id: NodeId) -> u64 {
        self.expect(id).hash().raw()
    }

    #[inline]
    fn weight(&self, id: NodeId) -> u32 {
        self.expect(id).meta().weight()
    }

    #[inline]
    fn cost_ns(&self, id: NodeId) -> u64 {
        self.expect(id).meta().load_time().to_ns()
    }

    #[inline]
    fn frequency(&self, id: NodeId) -> u8 {
        self.expect(id).frequency()
    }

    #[inline]
    fn set_frequency(&self, id: NodeId, frequency: u8) {
        self.expect(id).set_frequency(frequency);
    }

    #[inline]
    fn scratch(&self, id: NodeId) -> u32 {
        self.expect(id).meta().scratch()
    }

    #[inline]
    fn set_scratch(&self, id: NodeId, scratch: u32) {
        self.expect(id).meta().set_scratch(scratch);
    }
}
