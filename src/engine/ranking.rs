//! Questions to the policies of all partitions, and changes of their bounds.
#![forbid(unsafe_code)]

use super::partition::Partition;
use super::{Engine, Ordering, sync};
use crate::base::hash::KeyHash;
use crate::base::node_id::NodeId;
use crate::base::panics;
use crate::engine::evict::{Evictor, Rank};
use crate::policy::Segment;
use crate::policy::bounds::{Bounds, Limits};

impl<K, V> Engine<K, V> {
    /// Changes the bounds of the whole cache. For one caller at a time. `lower_bounds` then has to evict
    /// the excess and to raise limits of weight.
    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        // Before the limits: an entry that is inserted after they were lowered is evicted once its event is
        // applied.
        self.stores_nothing.store(bounds.is_zero(), Ordering::Relaxed);
        if let Some(quotas) = &self.quotas {
            let entries = bounds.capacity.map(|entries| entries as u64);
            quotas.set_bound(bounds.max_weight.or(entries).unwrap_or(u64::MAX));
        }
        {
            let mut loans = sync::lock(&self.loans);
            loans.set_max_weight(bounds.sum_of_weights());
            for (index, partition) in self.partitions.iter().enumerate() {
                let share = bounds.share(index, self.partitions.len());
                let config = bounds.policy_config(share);
                let mut core = partition.core.lock();
                let weight = core.evictor.limits().weight;
                core.evictor.set_limits(Limits { weight, ..share }, &config);
                partition.publish_sample(&mut core.evictor);
                partition.lower_weight(&mut core, loans.share(index), loans.lent(index));
            }
        }
        if let Some(shadow) = &self.shadow
            && shadow.set_bounds(bounds)
        {
            self.sample_anew(shadow);
        }
    }

    /// How often the entry of `hash` was used lately, according to its policy; `None` if `node` is not its
    /// node any more.
    pub(crate) fn frequency(&self, node: NodeId, hash: KeyHash) -> Option<u64> {
        self.with_evictor(self.partition(hash), |evictor| evictor.frequency(node, hash))
    }

    /// Makes the entry of `node` the next that its partition evicts, if its hash is `hash`.
    pub(crate) fn demote(&self, node: NodeId, hash: KeyHash) -> bool {
        self.with_evictor(self.partition(hash), |evictor| evictor.demote(node, hash))
    }

    /// The segment of the policy that the entry of `node` is in, if its hash is `hash`.
    pub(crate) fn segment_of(&self, node: NodeId, hash: KeyHash) -> Option<&'static str> {
        self.with_evictor(self.partition(hash), |evictor| evictor.segment_of(node, hash))
    }

    /// The hashes of up to `count` entries, the hottest or the coldest first.
    pub(crate) fn ranked(&self, rank: Rank, count: usize) -> Vec<KeyHash> {
        let mut all = Vec::new();
        for partition in &self.partitions {
            let ranked = self.with_evictor(partition, |evictor| evictor.ranked(rank, count));
            all.extend((0_usize..).zip(ranked).map(|(at, (hash, uses))| (at, uses, hash)));
        }
        // Partitions are alike, so ranks in them can be compared. Among equal ranks, uses decide.
        all.sort_by_key(|(at, uses, _)| match rank {
            Rank::Hottest => (*at, u64::MAX - uses),
            Rank::Coldest => (*at, *uses),
        });
        all.into_iter().take(count).map(|(_, _, hash)| hash).collect()
    }

    /// The segments of the policies, each summed up over all partitions.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let mut all: Vec<Segment> = Vec::new();
        for partition in &self.partitions {
            for segment in self.with_evictor(partition, Evictor::segments) {
                match all.iter_mut().find(|known| known.name == segment.name) {
                    Some(known) => known.add(&segment),
                    None => all.push(segment),
                }
            }
        }
        all
    }

    pub(super) fn with_evictor<R>(
        &self,
        partition: &Partition<K, V>,
        ask: impl FnOnce(&mut Evictor) -> R,
    ) -> R {
        let (answer, payloads) = {
            let mut core = partition.core.lock();
            partition.drain_reads(&mut core.evictor);
            (ask(&mut core.evictor), core.evictor.take_payloads())
        };
        panics::discard(payloads);
        answer
    }
}
