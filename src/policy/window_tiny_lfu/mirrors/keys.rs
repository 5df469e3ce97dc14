//! The keys that the mirrors hold, each once.
//!
//! A key that is requested is looked up once for all mirrors: a bit for each of them says whether it holds
//! the key, and another whether the key was used there since it was last checked.
#![forbid(unsafe_code)]

use crate::policy::sketch::KeyBits;

/// No key: the end of a list or a chain.
pub(super) const NONE: u16 = u16::MAX;

/// A key that at least one mirror holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct MirroredKey {
    pub(super) hash: u64,
    pub(super) weight: u32,
    /// The next key of the chain.
    next: u16,
    /// How often the key was counted, and the sketch's number of halvings at that time.
    pub(super) count: u8,
    pub(super) halvings: u8,
    /// The mirrors that hold the key, as bits.
    pub(super) holders: u8,
    /// Those in which it was used since its last check.
    pub(super) marks: u8,
}

/// Keys by number, and by hash.
#[derive(Debug, Default)]
pub(super) struct MirroredKeys {
    records: Vec<MirroredKey>,
    free: Vec<u16>,
    /// The first key of each chain: a power of two of chains, or none yet.
    chains: Vec<u16>,
}

impl MirroredKeys {
    #[inline]
    pub(super) fn record(&mut self, id: u16) -> &mut MirroredKey {
        &mut self.records[usize::from(id)]
    }

    #[inline]
    pub(super) fn get(&self, id: u16) -> &MirroredKey {
        &self.records[usize::from(id)]
    }

    #[inline]
    fn chain(&self, key: KeyBits) -> usize {
        key.index(self.chains.len())
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: KeyBits) -> Option<u16> {
        let mut next = *self.chains.get(self.chain(key))?;
        while next != NONE {
            let record = &self.records[usize::from(next)];
            if record.hash == hash {
                return Some(next);
            }
            next = record.next;
        }
        None
    }

    /// The keys that any mirror holds.
    pub(super) fn ids(&self) -> impl Iterator<Item = (u16, u64)> {
        let held = (0..).zip(&self.records).filter(|(_, record)| record.holders != 0);
        held.map(|(id, record)| (id, record.hash))
    }

    /// Adds a key that no mirror holds.
    pub(super) fn add(&mut self, hash: u64, key: KeyBits, weight: u32) -> u16 {
        let record =
            MirroredKey { hash, weight, next: NONE, count: 0, halvings: 0, holders: 0, marks: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                self.records[usize::from(id)] = record;
                id
            }
            None => {
                self.records.push(record);
                u16::try_from(self.records.len() - 1).expect("mirrors hold few keys")
            }
        };
        if self.records.len() > self.chains.len() {
            self.rebuild_chains();
        }
        self.chain_up(id, key);
        id
    }

    fn chain_up(&mut self, id: u16, key: KeyBits) {
        let chain = self.chain(key);
        self.records[usize::from(id)].next = self.chains[chain];
        self.chains[chain] = id;
    }

    /// Makes more chains, of the keys that some mirror holds.
    #[cold]
    fn rebuild_chains(&mut self) {
        self.chains = vec![NONE; (2 * self.records.len()).next_power_of_two()];
        for at in 0..self.records.len() {
            let MirroredKey { hash, holders, .. } = self.records[at];
            if holders != 0 {
                self.chain_up(u16::try_from(at).expect("as many"), KeyBits::of(hash));
            }
        }
    }

    /// Removes a key that no mirror holds any more.
    pub(super) fn remove(&mut self, id: u16, key: KeyBits) {
        let chain = self.chain(key);
        let after = self.records[usize::from(id)].next;
        let mut at = self.chains[chain];
        if at == id {
            self.chains[chain] = after;
        } else {
            while self.records[usize::from(at)].next != id {
                at = self.records[usize::from(at)].next;
            }
            self.records[usize::from(at)].next = after;
        }
        self.free.push(id);
    }
}
