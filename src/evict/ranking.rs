//! What is asked of the order: how often entries were used, and how they rank.
#![forbid(unsafe_code)]

use super::Order;
#[cfg(feature = "snapshot")]
use crate::contain::catch;
use crate::policy::{NodeId, Segment};

/// From which end of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    Hottest,
    Coldest,
}

/// Where a node stands in its policy's eyes.
#[cfg(feature = "snapshot")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// Its rank among those of its partition, from the coldest up, as a part of `u32::MAX`; 0 if
    /// nobody knows.
    pub(crate) warmth: u32,
    /// What the policy restores it by.
    pub(crate) word: u32,
}

#[cfg(feature = "snapshot")]
impl Standing {
    fn is_known(self) -> bool {
        self.warmth != 0
    }
}

impl Order {
    /// How often the entry of that node was used lately, as its policy tells, unless it has left.
    pub(crate) fn frequency(&mut self, id: NodeId, hash: u64) -> Option<u64> {
        let entry = self.members.get(id).filter(|entry| entry.hash() == hash)?;
        if entry.upkeep().is_unevictable() {
            return Some(u64::from(entry.frequency()));
        }
        self.tell(|policy, nodes| policy.frequency(id, nodes))
    }

    /// The hashes of up to `count` entries, and how often each was used lately: the hottest, or
    /// the coldest, first.
    pub(crate) fn ranked(&mut self, rank: Rank, count: usize) -> Vec<(u64, u64)> {
        let mut ids = Vec::new();
        self.tell(|policy, nodes| {
            let mut name = |id| ids.push(id);
            match rank {
                Rank::Hottest => policy.hottest(count, nodes, &mut name),
                Rank::Coldest => policy.coldest(count, nodes, &mut name),
            }
        });
        // A policy may name whom it will.
        ids.retain(|id| self.members.ordered(*id).is_some());
        let is_ranked = !ids.is_empty();
        if !is_ranked {
            let held = self.members.entries.iter().flatten();
            let ordered = held.filter(|entry| !entry.upkeep().is_unevictable());
            ids.extend(ordered.filter_map(|entry| entry.upkeep().node()));
        }
        let mut named: Vec<(u64, u64)> = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(entry) = self.members.get(id) else { continue };
            let frequency = self.tell(|policy, nodes| policy.frequency(id, nodes)).unwrap_or(0);
            named.push((entry.hash(), frequency));
        }
        if !is_ranked {
            named.sort_by_key(|(_, frequency)| *frequency);
            if rank == Rank::Hottest {
                named.reverse();
            }
        }
        named.truncate(count);
        named
    }

    /// The part of the policy that `id` is in, if it is still the entry of `hash`.
    pub(crate) fn segment_of(&mut self, id: NodeId, hash: u64) -> Option<&'static str> {
        self.members.ordered(id).filter(|entry| entry.hash() == hash)?;
        self.tell(|policy, nodes| policy.segment_of(id, nodes)).flatten()
    }

    /// How the policy divides what it holds.
    pub(crate) fn segments(&mut self) -> Vec<Segment> {
        self.tell(|policy, _| policy.segments()).unwrap_or_default()
    }

    /// Where each node stands, by id, for a snapshot.
    #[cfg(feature = "snapshot")]
    pub(crate) fn standings(&mut self) -> Vec<Standing> {
        let mut standings = vec![Standing::default(); self.members.entries.len()];
        let (mut named, len) = (0_u64, self.len().max(1) as u64);
        let mut rank = |standings: &mut Vec<Standing>, id: NodeId, word| {
            let Some(standing) = standings.get_mut(id.index()).filter(|it| !it.is_known()) else {
                return;
            };
            named += 1;
            // The rank as a part of all, so that partitions can be merged; 0 is nobody's.
            let warmth = (named * u64::from(u32::MAX) / len).clamp(1, u64::from(u32::MAX));
            *standing = Standing { warmth: warmth as u32, word };
        };
        let (policy, members) = (self.policy.as_dyn(), &self.members);
        let told = catch(|| {
            policy.to_restore(members, &mut |id, word| {
                if members.ordered(id).is_some() {
                    rank(&mut standings, id, word);
                }
            });
            let is_unnamed = |id: &NodeId| {
                members.get(*id).is_some()
                    && standings.get(id.index()).is_some_and(|it| !it.is_known())
            };
            let mut rest: Vec<_> = (0..standings.len())
                .filter_map(|at| u32::try_from(at).ok().map(NodeId::from_raw))
                .filter(is_unnamed)
                .map(|id| match members.ordered(id) {
                    Some(_) => (policy.frequency(id, members), id),
                    // Never evicted: warmer than all others.
                    None => (u64::MAX, id),
                })
                .collect();
            rest.sort_unstable();
            for (_, id) in rest {
                rank(&mut standings, id, 0);
            }
        });
        if let Err(payload) = told {
            self.note_panic(payload);
        }
        standings
    }
}
