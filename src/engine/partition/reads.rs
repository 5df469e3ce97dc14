//! How a partition takes recorded hits out of its read buffer, and which hits are recorded.
#![forbid(unsafe_code)]

use super::{Core, Partition};
use crate::base::sync::Ordering;
use crate::engine::counts::add;
use crate::engine::evict::{AccessBatch, Evictor};

impl<K, V> Partition<K, V> {
    /// Reports the recorded hits to the policy: before the waiting events, since most of the hits are older.
    pub(in crate::engine) fn drain_reads(&self, evictor: &mut Evictor) {
        self.drain_some_reads(evictor, usize::MAX);
    }

    /// As [`drain_reads`](Self::drain_reads), with at most `max` hits of each stripe.
    #[inline]
    pub(in crate::engine) fn drain_some_reads(&self, evictor: &mut Evictor, max: usize) {
        let Some(reads) = &self.reads else { return };
        let mut accesses = AccessBatch::default();
        let mut has_records = false;
        let accept = |record| {
            has_records = true;
            evictor.access(&mut accesses, record);
        };
        if max == usize::MAX {
            reads.drain(accept)
        } else {
            reads.drain_some(max, accept)
        }
        evictor.report(&mut accesses);
        if has_records && evictor.needs_ticks() {
            self.tick.0.store(self.tick().wrapping_add(1).max(1), Ordering::Relaxed);
        }
    }

    /// Does what a run would do if nothing but hits was recorded, and returns whether that is so. For a
    /// policy that asks for the order of accesses, and a caller that has found no timer to be due. Under the
    /// lock.
    pub(in crate::engine) fn drain_quiet(&self, core: &mut Core<K, V>) -> bool {
        // Relaxed, in all of them: what comes later is left to the next run, as it would be by a run that
        // has just ended. The thread that leaves it calls for that run.
        let has_more = self.writes.waiting() > 0
            || self.has_moved()
            || self.is_above.load(Ordering::Relaxed)
            || self.channel.is_some();
        if has_more {
            return false;
        }
        self.drain_reads(&mut core.evictor);
        if core.evictor.has_payloads() {
            // The policy has panicked. A run counts that, and has the payloads dropped.
            return false;
        }
        add(&self.counts.runs, 1);
        true
    }

    /// Lets hits use the sample that the policy has now. Under the lock.
    pub(in crate::engine) fn publish_sample(&self, evictor: &mut Evictor) {
        let sample = evictor.sample().to_raw();
        if sample != self.sample.load(Ordering::Relaxed) {
            self.sample.store(sample, Ordering::Relaxed);
        }
    }
}
