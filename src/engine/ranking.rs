//! Questions to the policies of all partitions together, and changes of their bounds.
#![forbid(unsafe_code)]

use super::partition::Partition;
use super::{Engine, Ordering, sync};
use crate::base::node_id::NodeId;
use crate::base::panics;
use crate::engine::evict::{Evictor, Rank};
use crate::policy::Segment;
use crate::policy::bounds::{Bounds, Limits};

impl<K, V> Engine<K, V> {
    /// Changes the bounds of the whole cache. For one caller at a time; evicting the excess is left
    /// to `lower_bounds`, and so is raising the limits of weight.
    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        // Before the limits: an entry that comes after they were lowered is evicted when it is applied.
        self.stores_nothing.store(bounds.is_zero(), Ordering::Relaxed);
        {
            let mut loans = sync::lock(&self.loans);
            loans.set_max_weight(bounds.sum_of_weights());
            for (index, partition) in self.partitions.iter().enumerate() {
                let share = bounds.share(index, self.partitions.len());
                let config = bounds.policy_config(share);
                let mut core = sync::lock(&partition.core);
                let weight = core.evictor.limits().weight;
                core.evictor.set_limits(Limits { weight, ..share }, &config);
                partition.lower_weight(&mut core, loans.share(index), loans.lent(index));
            }
        }
        if let Some(shadow) = &self.shadow
            && shadow.set_bounds(bounds)
        {
            self.sample_anew(shadow);
        }
    }

    /// How often the entry that has, or had, that node was used lately, as its policy says.
    pub(crate) fn frequency(&self, node: NodeId, hash: u64) -> Option<u64> {
        self.with_evictor(self.partition(hash), |evictor| evictor.frequency(node, hash))
    }

    /// Makes an entry the next that its partition evicts, if it is the one of `hash`.
    pub(crate) fn demote(&self, node: NodeId, hash: u64) -> bool {
        self.with_evictor(self.partition(hash), |evictor| evictor.demote(node, hash))
    }

    /// The part of the policy that an entry is in, if it is the one of `hash`.
    pub(crate) fn segment_of(&self, node: NodeId, hash: u64) -> Option<&'static str> {
        self.with_evictor(self.partition(hash), |evictor| evictor.segment_of(node, hash))
    }

    /// The hashes of up to `count` entries, the hottest or the coldest first.
    pub(crate) fn ranked(&self, rank: Rank, count: usize) -> Vec<u64> {
        let mut all = Vec::new();
        for partition in &self.partitions {
            let ranked = self.with_evictor(partition, |evictor| evictor.ranked(rank, count));
            let places = 0_usize..;
            all.extend(
                ranked.into_iter().zip(places).map(|((hash, uses), place)| (place, uses, hash)),
            );
        }
        // Partitions are alike, so places can be compared; among equals, uses decide.
        all.sort_by_key(|(place, uses, _)| match rank {
            Rank::Hottest => (*place, u64::MAX - uses),
            Rank::Coldest => (*place, *uses),
        });
        all.into_iter().take(count).map(|(_, _, hash)| hash).collect()
    }

    /// How the policies of all partitions together divide what they hold.
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

    fn with_evictor<R>(
        &self,
        partition: &Partition<K, V>,
        ask: impl FnOnce(&mut Evictor) -> R,
    ) -> R {
        let (answer, payloads) = {
            let mut core = sync::lock(&partition.core);
            partition.drain_reads(&mut core.evictor);
            (ask(&mut core.evictor), core.evictor.take_payloads())
        };
        panics::discard(payloads);
        answer
    }
}
