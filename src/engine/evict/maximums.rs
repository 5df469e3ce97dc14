//! Which entry of a namespace above its maximum is evicted next.
//!
//! The policy orders the entries of all namespaces together, so it cannot name the next one of a single namespace. A
//! partition therefore lists its entries of each namespace with a maximum, whether the policy knows them or they are
//! kept, in the order of their insertion. The list gives a second chance (CLOCK): an old entry that was used goes to
//! the front with its counter lowered by one, which the policy sees too. Policies lower the counters as well, when they
//! move entries, so of the oldest few that look unused, the one with the fewest uses that the policy remembers leaves.
//! Namespaces without maximums, and caches in which none has one, have no such lists.
//!
//! The new entry is passed over, unless it alone is heavier than the maximum; then it is the one that leaves. If the
//! partition has no other entry of the namespace, the excess is noted for the thread to seek elsewhere
//! once it has released the lock (`engine::room`).
#![forbid(unsafe_code)]

use std::collections::HashMap;

use crate::base::node_id::NodeId;
use crate::entry::EntryPtr;
use crate::namespaces::Excess;
use crate::policy::list::{Links, NodeList};
use crate::tags::Account;

/// The most entries that an eviction passes over because they were used. If there are more, the oldest of them
/// leaves.
const PASSED: usize = 32;

/// The most unused entries that an eviction compares by the uses that the policy remembers.
const COMPARED: usize = 4;

/// Entries of which one is to leave.
pub(super) type Candidates = [Option<NodeId>; COMPARED];

/// What one partition knows of namespaces with maximums.
pub(super) struct Maximums {
    links: Links,
    /// The evictable entries of each namespace with a maximum.
    members: HashMap<u32, NodeList, ahash::RandomState>,
    /// The namespace of the newest entry, if that has a maximum, until it is known not to be above it.
    pub(super) own: Option<u32>,
    /// A namespace above its maximum in which another partition has found nothing to evict except what it spares.
    pub(super) oversized: Option<Excess>,
}

/// The account of an entry of a cache with namespaces, each of which has one.
pub(super) fn account_of(entry: &EntryPtr) -> &Account {
    entry.tags().and_then(|tags| tags.account()).expect("each entry was made within a namespace")
}

impl Default for Maximums {
    fn default() -> Self {
        Self { links: Links::new(None), members: HashMap::default(), own: None, oversized: None }
    }
}

impl Maximums {
    /// Lists an evictable entry that has a node, if its namespace has a maximum.
    pub(super) fn enlist(&mut self, entry: EntryPtr) {
        let account = account_of(&entry);
        if account.has_maximum()
            && let Some(id) = entry.meta().node()
        {
            let Self { links, members, .. } = self;
            links.push_front(members.entry(account.namespace).or_default(), id);
        }
    }

    /// Takes an entry that leaves out of its list.
    pub(super) fn delist(&mut self, entry: EntryPtr) {
        let account = account_of(&entry);
        if account.has_maximum()
            && let Some(id) = entry.meta().node()
        {
            let Self { links, members, .. } = self;
            let list = members.get_mut(&account.namespace).expect("it was listed with its node");
            links.remove(list, id);
            if list.back().is_none() {
                members.remove(&account.namespace);
            }
        }
    }

    /// Entries of a namespace, except for the spared ones, among which the caller chooses the one to leave; the oldest
    /// first. They are still in their list.
    pub(super) fn candidates(
        &mut self,
        namespace: u32,
        entry_of: impl Fn(NodeId) -> EntryPtr,
        is_spared: impl Fn(EntryPtr) -> bool,
    ) -> Candidates {
        let mut candidates = [None; COMPARED];
        let Self { links, members, .. } = self;
        let Some(list) = members.get_mut(&namespace) else { return candidates };
        if let Some(newest) = list.front() {
            let entry = entry_of(newest);
            if account_of(&entry).is_too_heavy(entry.meta().weight()) && !entry.is_invalidated() {
                candidates[0] = Some(newest);
                return candidates;
            }
        }
        let mut oldest = [None; PASSED];
        for (place, id) in oldest.iter_mut().zip(links.oldest_first(list)) {
            *place = Some(id);
        }
        let (mut free, mut oldest_used) = (candidates.iter_mut(), None);
        for id in oldest.into_iter().flatten() {
            let entry = entry_of(id);
            let uses = entry.frequency();
            if is_spared(entry) {
                continue;
            }
            if uses == 0 || entry.is_invalidated() {
                let Some(place) = free.next() else { break };
                *place = Some(id);
            } else {
                entry.set_frequency(uses - 1);
                oldest_used = oldest_used.or(Some(id));
                links.remove(list, id);
                links.push_front(list, id);
            }
        }
        if candidates[0].is_none() {
            candidates[0] = oldest_used;
        }
        candidates
    }

    /// Panics unless the lists hold exactly the evictable ones of `entries` whose namespaces have maximums.
    pub(super) fn validate(&self, entries: impl Iterator<Item = EntryPtr>) {
        let Self { links, members, .. } = self;
        let listed = members.values().map(|list| links.oldest_first(list).count()).sum::<usize>();
        let is_member =
            |entry: &EntryPtr| !entry.meta().is_unevictable() && account_of(entry).has_maximum();
        assert_eq!(listed, entries.filter(is_member).count(), "an entry is in no list");
    }
}
