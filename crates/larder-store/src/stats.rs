//! What a tier counts.

use crate::queue::QueueCounts;

/// Counts of a tier since it was built, and the state of its queue, as by
/// [`StoredCache::stats`](crate::StoredCache::stats). Hits, misses and loads are in the
/// [statistics of the cache](larder::Cache::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// Reads that found a record in the store that could not be read, and were answered as misses.
    pub corrupt: u64,
    /// Records that the store returned for keys that it was not asked for.
    pub foreign: u64,
    /// Writes that were replaced in the queue by a newer write of their key.
    pub coalesced: u64,
    /// Writes of the queue that the store has carried out.
    pub written: u64,
    /// Batches that the store has carried out.
    pub batches: u64,
    /// Batches that failed, or in which the store panicked.
    pub failed_batches: u64,
    /// Writes that became dead letters.
    pub gave_up: u64,
    /// Writes that wait in the queue now.
    pub queued: usize,
    /// Writes that the store has now, and has not returned from.
    pub in_flight: usize,
    /// Dead letters that are there now.
    pub dead_letters: usize,
    /// The weight of all writes that are queued, in flight or dead letters now.
    pub weight: u64,
}

impl TierStats {
    pub(crate) fn new(counts: QueueCounts, corrupt: u64, foreign: u64) -> Self {
        let QueueCounts {
            coalesced,
            written,
            batches,
            failed_batches,
            gave_up,
            queued,
            in_flight,
            dead_letters,
            weight,
        } = counts;
        Self {
            corrupt,
            foreign,
            coalesced,
            written,
            batches,
            failed_batches,
            gave_up,
            queued,
            in_flight,
            dead_letters,
            weight,
        }
    }
}
