//! Plain models of the exact policies, with both bounds.
//!
//! An entry has a rank, and the lowest rank leaves first. This alone makes LRU (rank: last use),
//! LFU (rank: count, then last use) and FIFO (rank: first insertion). The fuzz targets include this
//! file too, so it needs only `std`.

use std::collections::{BTreeMap, HashMap};

/// Which entry leaves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Lru,
    Lfu,
    Fifo,
}

impl Order {
    pub(crate) const ALL: [Order; 3] = [Order::Lru, Order::Lfu, Order::Fifo];
}

/// What a write did: the library's `Inserted` without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Added,
    Replaced,
    TooHeavy,
    Present,
    Absent,
}

/// What happened so far, as the library's `Stats` counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) inserts: u64,
    pub(crate) replacements: u64,
    pub(crate) evictions: u64,
    pub(crate) evicted_weight: u64,
    pub(crate) removals: u64,
    pub(crate) rejections: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    value: u64,
    weight: u64,
    count: u64,
    rank: (u64, u64),
}

/// A single-threaded cache of `u64` by `u64` in exact order.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    order: Order,
    capacity: Option<usize>,
    max_weight: Option<u64>,
    clock: u64,
    weight: u64,
    slots: HashMap<u64, Slot>,
    queue: BTreeMap<(u64, u64), u64>,
    tally: Tally,
    last_evicted: Vec<u64>,
}

impl Model {
    pub(crate) fn new(order: Order, capacity: Option<usize>, max_weight: Option<u64>) -> Self {
        Self {
            order,
            capacity,
            max_weight,
            clock: 0,
            weight: 0,
            slots: HashMap::new(),
            queue: BTreeMap::new(),
            tally: Tally::default(),
            last_evicted: Vec::new(),
        }
    }

    pub(crate) fn get(&mut self, key: u64) -> Option<u64> {
        match self.slots.get(&key) {
            Some(slot) => {
                let value = slot.value;
                self.tally.hits += 1;
                self.touch(key);
                Some(value)
            }
            None => {
                self.tally.misses += 1;
                None
            }
        }
    }

    pub(crate) fn peek(&self, key: u64) -> Option<u64> {
        self.slots.get(&key).map(|slot| slot.value)
    }

    pub(crate) fn insert(&mut self, key: u64, value: u64, weight: u64) -> Outcome {
        self.last_evicted.clear();
        if self.max_weight.is_some_and(|limit| weight > limit) {
            self.tally.rejections += 1;
            if self.forget(key).is_some() {
                self.tally.removals += 1;
            }
            return Outcome::TooHeavy;
        }
        if self.slots.contains_key(&key) {
            self.overwrite(key, value, weight);
            return Outcome::Replaced;
        }
        self.make_room(1, weight, None);
        self.clock += 1;
        let count = 1;
        let rank = self.rank(count, self.clock);
        self.slots.insert(key, Slot { value, weight, count, rank });
        self.queue.insert(rank, key);
        self.weight += weight;
        self.tally.inserts += 1;
        Outcome::Added
    }

    pub(crate) fn insert_if_absent(&mut self, key: u64, value: u64, weight: u64) -> Outcome {
        self.last_evicted.clear();
        if self.slots.contains_key(&key) {
            self.tally.rejections += 1;
            return Outcome::Present;
        }
        self.insert(key, value, weight)
    }

    pub(crate) fn replace(&mut self, key: u64, value: u64, weight: u64) -> Outcome {
        self.last_evicted.clear();
        if !self.slots.contains_key(&key) {
            self.tally.rejections += 1;
            return Outcome::Absent;
        }
        self.insert(key, value, weight)
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<u64> {
        let removed = self.forget(key)?;
        self.tally.removals += 1;
        Some(removed.value)
    }

    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(u64, u64) -> bool) {
        for key in self.keys() {
            if !is_kept(key, self.slots[&key].value) {
                self.remove(key);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.retain(|_, _| false);
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// All keys, ascending.
    pub(crate) fn keys(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.slots.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// All keys, the next victim first.
    pub(crate) fn keys_in_order(&self) -> Vec<u64> {
        self.queue.values().copied().collect()
    }

    /// The keys that the last write evicted, in order.
    pub(crate) fn last_evicted(&self) -> &[u64] {
        &self.last_evicted
    }

    fn overwrite(&mut self, key: u64, value: u64, weight: u64) {
        let slot = self.slots.get_mut(&key).expect("the caller saw the key");
        self.weight = self.weight - slot.weight + weight;
        slot.value = value;
        slot.weight = weight;
        self.tally.replacements += 1;
        self.touch(key);
        self.make_room(0, 0, Some(key));
    }

    /// Counts one use, which FIFO ignores.
    fn touch(&mut self, key: u64) {
        if self.order == Order::Fifo {
            return;
        }
        self.clock += 1;
        let Slot { count, rank: old, .. } = self.slots[&key];
        let new = self.rank(count + 1, self.clock);
        let slot = self.slots.get_mut(&key).expect("indexed above");
        slot.count = count + 1;
        slot.rank = new;
        self.queue.remove(&old);
        self.queue.insert(new, key);
    }

    fn rank(&self, count: u64, clock: u64) -> (u64, u64) {
        match self.order {
            Order::Lru | Order::Fifo => (0, clock),
            Order::Lfu => (count, clock),
        }
    }

    /// Evicts until `entries` more entries of `weight` together fit; `spared` leaves last.
    fn make_room(&mut self, entries: usize, weight: u64, spared: Option<u64>) {
        while self.capacity.is_some_and(|limit| self.slots.len() + entries > limit)
            || self.max_weight.is_some_and(|limit| self.weight + weight > limit)
        {
            let others = self.queue.values().copied().find(|key| Some(*key) != spared);
            let key = others.or(spared).expect("over a bound, so not empty");
            let victim = self.forget(key).expect("queued, so present");
            self.last_evicted.push(key);
            self.tally.evictions += 1;
            self.tally.evicted_weight += victim.weight;
        }
    }

    fn forget(&mut self, key: u64) -> Option<Slot> {
        let slot = self.slots.remove(&key)?;
        self.queue.remove(&slot.rank);
        self.weight -= slot.weight;
        Some(slot)
    }
}
