//! Entries in the order of their policy, and those that the user has demoted.
//!
//! A demoted entry is the next to be evicted. The policy learns of this only when the entry leaves, as a
//! removal, so demotion works with every policy, even a user's. A use ends a demotion, as far as the cache
//! notes uses for the policy:
//!
//! | the policy wants | a demotion ends by |
//! |---|---|
//! | [`Accesses::Order`] | a recorded access |
//! | [`Accesses::Counter`], [`Accesses::Mark`] | a hit, by the counter, which a demotion clears |
//! | [`Accesses::None`] | none: hits leave no trace |
//! | any of these | also a replacement of the value, since the flag belongs to the entry |
//!
//! [`Accesses::Order`]: crate::policy::Accesses::Order
//! [`Accesses::Counter`]: crate::policy::Accesses::Counter
//! [`Accesses::Mark`]: crate::policy::Accesses::Mark
//! [`Accesses::None`]: crate::policy::Accesses::None
#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::Evictor;
use crate::base::hash::KeyHash;
use crate::base::node_id::NodeId;
#[cfg(feature = "snapshot")]
use crate::base::panics::catch;
use crate::entry::EntryPtr;
use crate::policy::Segment;

/// The list of demoted nodes may be longer than the number of entries by this, since it keeps the nodes of
/// entries that have left or were used.
const STALE: usize = 64;

/// From which end of the order to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    Hottest,
    Coldest,
}

/// Where a node stands in the eyes of its policy.
#[cfg(feature = "snapshot")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// The node's rank among those of its partition, the coldest lowest, as a fraction of `u32::MAX`; 0 if
    /// unknown.
    pub(crate) warmth: u32,
    /// The word from which the policy restores the node.
    pub(crate) word: u32,
}

#[cfg(feature = "snapshot")]
impl Standing {
    fn is_known(self) -> bool {
        self.warmth != 0
    }
}

impl Evictor {
    /// Makes the entry of `id` the next to be evicted after those that were demoted before. False if the
    /// entry has left or is unevictable.
    pub(crate) fn demote(&mut self, id: NodeId, hash: KeyHash) -> bool {
        let Some(entry) = self.nodes.evictable(id).filter(|entry| entry.hash() == hash) else {
            return false;
        };
        entry.set_frequency(0);
        if !entry.meta().set_demoted() {
            return true;
        }
        self.demoted.push_back(id);
        if self.demoted.len() > self.len() + STALE {
            let nodes = &self.nodes;
            let mut seen = HashSet::new();
            self.demoted.retain(|id| {
                let entry = nodes.evictable(*id);
                entry.is_some_and(|entry| entry.meta().is_demoted()) && seen.insert(*id)
            });
        }
        true
    }

    /// Ends a demotion, because the entry was used.
    #[cold]
    pub(super) fn restore_rank(&self, id: NodeId) {
        if let Some(entry) = self.nodes.get(id) {
            entry.meta().clear_demoted();
        }
    }

    /// Unlinks the first demoted entry that was not used since, if there is one.
    #[cold]
    pub(super) fn evict_demoted(&mut self) -> Option<EntryPtr> {
        while let Some(id) = self.demoted.pop_front() {
            if self.is_demoted(id) {
                self.call_policy_impl(|policy, nodes| policy.on_remove(id, nodes));
                let entry = self.nodes.expect(id);
                if self.try_lose(entry, false) {
                    return self.nodes.take(id);
                }
                entry.meta().clear_demoted();
                self.keep(id, entry);
                continue;
            }
            // Used since, which ends the demotion.
            self.restore_rank(id);
        }
        None
    }

    fn is_demoted(&self, id: NodeId) -> bool {
        let entry = self.nodes.evictable(id);
        entry.is_some_and(|entry| entry.meta().is_demoted() && entry.frequency() == 0)
    }

    /// The hashes of up to `count` entries, the hottest or the coldest first, and how often each was used
    /// lately.
    pub(crate) fn ranked(&mut self, rank: Rank, count: usize) -> Vec<(KeyHash, u64)> {
        let count = count.min(self.len() - self.nodes.outside);
        let ids = match rank {
            Rank::Coldest => self.coldest(count),
            Rank::Hottest => self.hottest(count),
        };
        let with_frequency = |id| {
            let entry = self.nodes.get(id)?;
            let frequency =
                self.call_policy(|policy, nodes| policy.hints().frequency(id, nodes)).unwrap_or(0);
            Some((entry.hash(), frequency))
        };
        ids.into_iter().filter_map(with_frequency).collect()
    }

    /// Up to `count` nodes, the next to be evicted first: the demoted ones, those that the policy names,
    /// then the others by their frequency.
    fn coldest(&mut self, count: usize) -> Vec<NodeId> {
        let mut ranking = Ranking::default();
        let demoted = self.demoted.iter().filter(|id| self.is_demoted(**id));
        for id in demoted {
            // A node that was demoted, used and demoted again is in the list twice.
            ranking.add(*id);
            if ranking.ids.len() >= count {
                break;
            }
        }
        if ranking.ids.len() < count {
            self.add_named(&mut ranking, Rank::Coldest, count);
        }
        if ranking.ids.len() < count {
            let ids = self.nodes.entries.iter().flatten().filter_map(|entry| entry.meta().node());
            let is_unranked =
                |id: &NodeId| self.nodes.evictable(*id).is_some() && ranking.lacks(*id);
            let unranked: Vec<_> = ids.filter(is_unranked).collect();
            let mut by_frequency = Vec::with_capacity(unranked.len());
            for id in unranked {
                let frequency =
                    self.call_policy(|policy, nodes| policy.hints().frequency(id, nodes));
                by_frequency.push((frequency.unwrap_or(0), id));
            }
            by_frequency.sort_by_key(|(frequency, _)| *frequency);
            by_frequency.into_iter().for_each(|(_, id)| ranking.add(id));
        }
        ranking.ids.truncate(count);
        ranking.ids
    }

    /// Up to `count` nodes, the last to be evicted first: those that the policy names, then the others in the
    /// reverse order of [`coldest`](Self::coldest).
    fn hottest(&mut self, count: usize) -> Vec<NodeId> {
        let mut ranking = Ranking::default();
        self.add_named(&mut ranking, Rank::Hottest, count + self.demoted.len());
        ranking.ids.retain(|id| !self.is_demoted(*id));
        if ranking.ids.len() < count {
            let rest = self.coldest(self.len() - self.nodes.outside);
            let mut named: HashSet<_> = ranking.ids.iter().copied().collect();
            ranking.ids.extend(rest.into_iter().rev().filter(|id| named.insert(*id)));
        }
        ranking.ids.truncate(count);
        ranking.ids
    }

    /// Adds the nodes that the policy names. A policy may name unknown nodes, or a node twice.
    fn add_named(&mut self, ranking: &mut Ranking, rank: Rank, count: usize) {
        let mut named = Vec::new();
        self.call_policy(|policy, nodes| {
            let mut name = |id| named.push(id);
            match rank {
                Rank::Hottest => policy.hints().hottest(count, nodes, &mut name),
                Rank::Coldest => policy.hints().coldest(count, nodes, &mut name),
            }
        });
        named.retain(|id| self.nodes.evictable(*id).is_some());
        named.into_iter().for_each(|id| ranking.add(id));
    }

    /// How often the entry of `id` was used lately according to the policy, unless the entry has left.
    pub(crate) fn frequency(&mut self, id: NodeId, hash: KeyHash) -> Option<u64> {
        let entry = self.nodes.get(id).filter(|entry| entry.hash() == hash)?;
        if entry.meta().is_outside_policy() {
            return Some(u64::from(entry.frequency()));
        }
        self.call_policy(|policy, nodes| policy.hints().frequency(id, nodes))
    }

    /// The segment of the policy that `id` is in, if it is still the node of the entry of `hash`.
    pub(crate) fn segment_of(&mut self, id: NodeId, hash: KeyHash) -> Option<&'static str> {
        self.nodes.evictable(id).filter(|entry| entry.hash() == hash)?;
        self.call_policy(|policy, nodes| policy.hints().segment_of(id, nodes)).flatten()
    }

    /// The segments into which the policy divides its nodes.
    pub(crate) fn segments(&mut self) -> Vec<Segment> {
        self.call_policy(|policy, _| policy.hints().segments()).unwrap_or_default()
    }

    /// The standing of each node by id, for a snapshot.
    #[cfg(feature = "snapshot")]
    pub(crate) fn standings(&mut self) -> Vec<Standing> {
        let mut standings = vec![Standing::default(); self.nodes.entries.len()];
        let (mut named, len) = (0_u64, self.len().max(1) as u64);
        let mut rank = |standings: &mut Vec<Standing>, id: NodeId, word| {
            let Some(standing) = standings.get_mut(id.index()).filter(|it| !it.is_known()) else {
                return;
            };
            named += 1;
            // The rank as a fraction, so that those of all partitions can be compared; 0 means unknown.
            let warmth = (named * u64::from(u32::MAX) / len).clamp(1, u64::from(u32::MAX));
            *standing = Standing { warmth: warmth as u32, word };
        };
        let (policy, nodes) = (self.policy.as_dyn(), &self.nodes);
        let outcome = catch(|| {
            policy.to_restore(nodes, &mut |id, word| {
                if nodes.evictable(id).is_some() {
                    rank(&mut standings, id, word);
                }
            });
            let is_unnamed = |id: &NodeId| {
                nodes.get(*id).is_some()
                    && standings.get(id.index()).is_some_and(|it| !it.is_known())
            };
            let mut rest: Vec<_> = (0..standings.len())
                .filter_map(|at| u32::try_from(at).ok().map(NodeId::from_raw))
                .filter(is_unnamed)
                .map(|id| match nodes.evictable(id) {
                    Some(_) => (policy.hints().frequency(id, nodes), id),
                    // Kept: the policy would have evicted it.
                    None if nodes.expect(id).meta().is_kept() => (0, id),
                    // Unevictable: warmer than all others.
                    None => (u64::MAX, id),
                })
                .collect();
            rest.sort_unstable();
            for (_, id) in rest {
                rank(&mut standings, id, 0);
            }
        });
        if let Err(payload) = outcome {
            self.faults.note_panic(payload);
        }
        standings
    }
}

/// Nodes in order, each once.
#[derive(Default)]
struct Ranking {
    ids: Vec<NodeId>,
    named: HashSet<NodeId>,
}

impl Ranking {
    fn add(&mut self, id: NodeId) {
        if self.named.insert(id) {
            self.ids.push(id);
        }
    }

    fn lacks(&self, id: NodeId) -> bool {
        !self.named.contains(&id)
    }
}
