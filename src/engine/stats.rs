//! The sums of all counts, and checks for tests.
#![forbid(unsafe_code)]

use super::Engine;
use super::delivery::Deliveries;
use super::partition::Partition;
use crate::base::histogram::TimeCounts;
use crate::base::stats::Stats;
use crate::base::sync::Ordering;
use crate::entry::Entry;
use crate::reclaim;
use crate::table::Cursor;

impl<K, V> Engine<K, V> {
    /// The statistics without lookups, which the cache itself counts if that was asked for.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats { maintenance_panics: self.timing.time.panics(), ..Stats::default() };
        self.counters.add_to(&mut stats);
        if let Some(Deliveries { listening, .. }) = &self.deliveries {
            stats.notifications = listening.delivered.load(Ordering::Relaxed);
            stats.notifications_dropped = listening.dropped.load(Ordering::Relaxed);
            stats.notifications_waiting = self.notifications_waiting();
            stats.listener_panics = listening.panics.load(Ordering::Relaxed);
        }
        if let Some(atomic) = &self.atomic {
            stats.listener_panics += atomic.panics.load(Ordering::Relaxed);
        }
        for partition in &self.partitions {
            partition.add_to(&mut stats, Entry::<K, V>::BYTES as u64);
        }
        if let Some(known) = &self.known {
            known.add_to(&mut stats);
        }
        if stats.waiting_bytes() > 0 {
            stats.reclamation_lag = reclaim::lag();
        }
        stats.is_reclamation_refused = reclaim::barrier::is_refused();
        stats
    }

    /// The ages of evicted entries, if they are counted.
    pub(crate) fn eviction_ages(&self) -> Option<TimeCounts> {
        let mut sum: Option<TimeCounts> = None;
        for ages in self.partitions.iter().filter_map(Partition::ages) {
            match &mut sum {
                Some(sum) => *sum += &ages,
                None => sum = Some(ages),
            }
        }
        sum
    }

    /// Panics unless the table, the policies and the counts agree. For tests, while no other thread uses
    /// the cache.
    pub(crate) fn validate(&self) {
        self.run_pending();
        self.validate_loans();
        let mut seen = vec![0; self.partitions.len()];
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            cursor = self.table.step(cursor, &reclaim::pin(), |pointer, _| {
                assert!(pointer.meta().node().is_some(), "an entry of the table is in no policy");
                assert!(!pointer.meta().is_gone(), "an entry of the table counts as gone");
                seen[pointer.hash().partition(self.partition_bits)] += 1;
            });
        }
        let mut held = 0;
        for (partition, seen) in self.partitions.iter().zip(seen) {
            let core = partition.core.lock();
            held += core.evictor.validate();
            assert_eq!(core.evictor.len(), seen, "the policy holds what the table does not");
            assert_eq!(partition.writes.live(), seen, "`len` is not the number of entries");
        }
        if let Some(quotas) = &self.quotas {
            quotas.validate(held);
        }
    }
}
