//! Entries in the order of their policy, and those that the user has sent to its end.
//!
//! A demoted entry is the next to leave, whatever the policy, which sees it only when the entry
//! leaves, as a removal. So demotion works alike with every policy, a user's own included, and none
//! has to know of it. A use takes it back, as far as the cache notes uses for the policy:
//!
//! | the policy wants | a demotion ends by |
//! |---|---|
//! | [`Accesses::Order`] | a recorded access |
//! | [`Accesses::Counter`], [`Accesses::Mark`] | a hit, by the counter, which a demotion clears |
//! | [`Accesses::None`] | none: hits leave no trace |
//! | any of them | a replacement of the value: the flag is the entry's |
//!
//! [`Accesses::Order`]: crate::policy::Accesses::Order
//! [`Accesses::Counter`]: crate::policy::Accesses::Counter
//! [`Accesses::Mark`]: crate::policy::Accesses::Mark
//! [`Accesses::None`]: crate::policy::Accesses::None
#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::Evictor;
use crate::base::node_id::NodeId;
#[cfg(feature = "snapshot")]
use crate::base::panics::catch;
use crate::entry::EntryPtr;
use crate::policy::Segment;

/// Nodes of entries that have left or were used since may be so many more than entries.
const STALE: usize = 64;

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
    /// Its rank among those of its partition, from the coldest up, as a part of `u32::MAX`; 0 if it
    /// is unknown.
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

impl Evictor {
    /// Makes the entry of that node the next to leave, after those that were demoted before. False
    /// if it has left, or is never evicted.
    pub(crate) fn demote(&mut self, id: NodeId, hash: u64) -> bool {
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

    /// Takes a demotion back: the entry was used.
    #[cold]
    pub(super) fn restore_rank(&self, id: NodeId) {
        if let Some(entry) = self.nodes.get(id) {
            entry.meta().clear_demoted();
        }
    }

    /// Unlinks the entry that was demoted first and not used since, if there is one.
    #[cold]
    pub(super) fn evict_demoted(&mut self) -> Option<EntryPtr> {
        while let Some(id) = self.demoted.pop_front() {
            if self.is_demoted(id) {
                self.call_policy_impl(|policy, nodes| policy.on_remove(id, nodes));
                return self.nodes.take(id);
            }
            // Used since: to be demoted anew if it is to leave.
            self.restore_rank(id);
        }
        None
    }

    fn is_demoted(&self, id: NodeId) -> bool {
        let entry = self.nodes.evictable(id);
        entry.is_some_and(|entry| entry.meta().is_demoted() && entry.frequency() == 0)
    }

    /// The hashes of up to `count` entries, and how often each was used lately: the hottest, or
    /// the coldest, first.
    pub(crate) fn ranked(&mut self, rank: Rank, count: usize) -> Vec<(u64, u64)> {
        let count = count.min(self.bounded_len());
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

    /// Up to `count` nodes, the next to leave first: what was demoted, what the policy names, then
    /// the others by their frequency.
    fn coldest(&mut self, count: usize) -> Vec<NodeId> {
        let mut ranking = Ranking::default();
        let demoted = self.demoted.iter().filter(|id| self.is_demoted(**id));
        for id in demoted {
            // A node that was demoted, used and demoted again stands there twice.
            ranking.add(*id);
            if ranking.ids.len() >= count {
                break;
            }
        }
        if ranking.ids.len() < count {
            self.add_named(&mut ranking, Rank::Coldest, count);
        }
        if ranking.ids.len() < count {
            let held = self.nodes.entries.iter().flatten();
            let ids: Vec<_> = held.filter_map(|entry| entry.meta().node()).collect();
            let is_left = |id: &NodeId| self.nodes.evictable(*id).is_some() && ranking.lacks(*id);
            let left: Vec<_> = ids.into_iter().filter(is_left).collect();
            let mut by_frequency = Vec::with_capacity(left.len());
            for id in left {
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

    /// Up to `count` nodes, the last to leave first: what the policy names, then the others, from the
    /// far end of [`coldest`](Self::coldest).
    fn hottest(&mut self, count: usize) -> Vec<NodeId> {
        let mut ranking = Ranking::default();
        self.add_named(&mut ranking, Rank::Hottest, count + self.demoted.len());
        ranking.ids.retain(|id| !self.is_demoted(*id));
        if ranking.ids.len() < count {
            let rest = self.coldest(self.bounded_len());
            let mut named: HashSet<_> = ranking.ids.iter().copied().collect();
            ranking.ids.extend(rest.into_iter().rev().filter(|id| named.insert(*id)));
        }
        ranking.ids.truncate(count);
        ranking.ids
    }

    /// Adds what the policy names. A policy may name unknown nodes, or one twice.
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

    /// How often the entry of that node was used lately, as its policy says, unless it has left.
    pub(crate) fn frequency(&mut self, id: NodeId, hash: u64) -> Option<u64> {
        let entry = self.nodes.get(id).filter(|entry| entry.hash() == hash)?;
        if entry.meta().is_unevictable() {
            return Some(u64::from(entry.frequency()));
        }
        self.call_policy(|policy, nodes| policy.hints().frequency(id, nodes))
    }

    /// The part of the policy that `id` is in, if it is still the entry of `hash`.
    pub(crate) fn segment_of(&mut self, id: NodeId, hash: u64) -> Option<&'static str> {
        self.nodes.evictable(id).filter(|entry| entry.hash() == hash)?;
        self.call_policy(|policy, nodes| policy.hints().segment_of(id, nodes)).flatten()
    }

    /// How the policy divides what it holds.
    pub(crate) fn segments(&mut self) -> Vec<Segment> {
        self.call_policy(|policy, _| policy.hints().segments()).unwrap_or_default()
    }

    /// Where each node stands, by id, for a snapshot.
    #[cfg(feature = "snapshot")]
    pub(crate) fn standings(&mut self) -> Vec<Standing> {
        let mut standings = vec![Standing::default(); self.nodes.entries.len()];
        let (mut named, len) = (0_u64, self.len().max(1) as u64);
        let mut rank = |standings: &mut Vec<Standing>, id: NodeId, word| {
            let Some(standing) = standings.get_mut(id.index()).filter(|it| !it.is_known()) else {
                return;
            };
            named += 1;
            // The rank as a part of all, so that partitions can be merged; 0 means unknown.
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
                    // Never evicted: warmer than all others.
                    None => (u64::MAX, id),
                })
                .collect();
            rest.sort_unstable();
            for (_, id) in rest {
                rank(&mut standings, id, 0);
            }
        });
        if let Err(payload) = outcome {
            self.note_panic(payload);
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
