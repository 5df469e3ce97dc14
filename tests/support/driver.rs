//! Applies one operation to a cache and to its model and compares the two.
//!
//! Used by the policy tests with random operations and by the fuzz targets with bytes.

use larder::{Cache, Inserted, Maintenance, Policy, Rejection};

use super::model::{Model, Order, Outcome};
use super::rng::Rng;

/// The low bits of a value hold its weight, the others the time when it was written.
pub(crate) const WEIGHT_BITS: u32 = 16;

/// One call, or a short series of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Get(u64),
    Read(u64),
    PinnedGet(u64),
    Peek(u64),
    PinnedPeek(u64),
    ContainsKey(u64),
    Insert(u64, u16),
    InsertIfAbsent(u64, u16),
    Replace(u64, u16),
    Remove(u64),
    RemoveIf(u64, bool),
    /// Removes every key whose remainder by 7 is this number.
    Retain(u64),
    Clear,
    /// So many gets of consecutive keys, under one pin or each by itself.
    Burst {
        first: u64,
        count: u64,
        is_pinned: bool,
    },
    /// A get and an insert while a pin is held.
    InsertWhilePinned {
        read: u64,
        key: u64,
        weight: u16,
    },
    RunPending,
    Flush,
}

impl Op {
    /// Mostly lookups and inserts of popular keys, and sometimes any other operation.
    pub(crate) fn random(rng: &mut Rng, keys: u64, heaviest: u64) -> Self {
        let key = rng.skewed_below(keys);
        let weight = rng.below(heaviest + 1) as u16;
        match rng.below(1_000) {
            0..250 => Self::Get(key),
            250..300 => Self::Read(key),
            300..350 => Self::PinnedGet(key),
            350..400 => Self::Peek(key),
            400..420 => Self::PinnedPeek(key),
            420..450 => Self::ContainsKey(key),
            450..780 => Self::Insert(key, weight),
            780..830 => Self::InsertIfAbsent(key, weight),
            830..880 => Self::Replace(key, weight),
            880..930 => Self::Remove(key),
            930..950 => Self::RemoveIf(key, weight.is_multiple_of(2)),
            950..975 => Self::InsertWhilePinned { read: rng.skewed_below(keys), key, weight },
            975..990 => Self::Burst { first: key, count: rng.below(30), is_pinned: weight > 1 },
            990..995 => Self::RunPending,
            995..997 => Self::Flush,
            997 => Self::Burst { first: key, count: 600, is_pinned: weight > 1 },
            // Rarely, because a large cache would otherwise never be full.
            _ if rng.below(keys) > 5 => Self::Get(key),
            _ if weight.is_multiple_of(2) => Self::Retain(key % 7),
            _ => Self::Clear,
        }
    }
}

/// What bounds a cache under test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) capacity: Option<usize>,
    /// If set, entries weigh what their values say; otherwise each weighs 1.
    pub(crate) max_weight: Option<u64>,
}

/// A cache in exact order beside its model.
pub(crate) struct Pair {
    pub(crate) cache: Cache<u64, u64>,
    pub(crate) model: Model,
    is_weighted: bool,
    step: u64,
    /// What repeats the run: the seed and the configuration.
    label: String,
}

impl Pair {
    pub(crate) fn new(order: Order, bounds: Bounds, label: String) -> Self {
        let policy = match order {
            Order::Lru => Policy::lru(),
            Order::Lfu => Policy::lfu(),
            Order::Fifo => Policy::fifo(),
        };
        let mut builder = Cache::<u64, u64>::builder()
            .count_lookups()
            .policy(policy)
            .maintenance(Maintenance::Inline)
            .partitions(1);
        if let Some(capacity) = bounds.capacity {
            builder = builder.capacity(capacity);
        }
        if let Some(max_weight) = bounds.max_weight {
            builder = builder.max_weight(max_weight).weigher(|_, value| weight_of(*value));
        }
        let cache = builder.build().expect("a valid configuration");
        let model = Model::new(order, bounds.capacity, bounds.max_weight);
        let is_weighted = bounds.max_weight.is_some();
        Self {
            cache,
            model,
            is_weighted,
            step: 0,
            label: format!("{label}, {order:?}, {bounds:?}"),
        }
    }

    /// Applies `op` to both and panics where they differ.
    pub(crate) fn apply(&mut self, op: Op) {
        self.step += 1;
        match op {
            Op::Get(key) => {
                let seen = self.cache.get(&key);
                self.check_value(op, seen, Lookup::Uses, key);
            }
            Op::Read(key) => {
                let seen = self.cache.read(&key, |value| *value);
                self.check_value(op, seen, Lookup::Uses, key);
            }
            Op::PinnedGet(key) => {
                let seen = self.cache.pin().get(&key).copied();
                self.check_value(op, seen, Lookup::Uses, key);
            }
            Op::Peek(key) => {
                let seen = self.cache.peek(&key);
                self.check_value(op, seen, Lookup::Peeks, key);
            }
            Op::PinnedPeek(key) => {
                let seen = self.cache.pin().peek(&key).copied();
                self.check_value(op, seen, Lookup::Peeks, key);
            }
            Op::ContainsKey(key) => {
                let expected = self.model.peek(key).is_some();
                assert_eq!(self.cache.contains_key(&key), expected, "{}", self.at(op));
            }
            Op::Insert(key, weight) => {
                let (value, weighed) = self.value(weight);
                let seen = self.cache.insert(key, value);
                let expected = self.model.insert(key, value, weighed);
                self.check_write(op, seen, expected);
            }
            Op::InsertIfAbsent(key, weight) => {
                let (value, weighed) = self.value(weight);
                let seen = self.cache.insert_if_absent(key, value);
                let expected = self.model.insert_if_absent(key, value, weighed);
                self.check_write(op, seen, expected);
            }
            Op::Replace(key, weight) => {
                let (value, weighed) = self.value(weight);
                let seen = self.cache.replace(key, value);
                let expected = self.model.replace(key, value, weighed);
                self.check_write(op, seen, expected);
            }
            Op::Remove(key) => {
                let expected = self.model.remove(key);
                assert_eq!(self.cache.remove(&key), expected, "{}", self.at(op));
            }
            Op::RemoveIf(key, is_wanted) => {
                let expected = is_wanted && self.model.remove(key).is_some();
                let seen = self.cache.remove_if(&key, |_, _| is_wanted);
                assert_eq!(seen, expected, "{}", self.at(op));
            }
            Op::Retain(remainder) => {
                self.cache.retain(|key, _| key % 7 != remainder);
                self.model.retain(|key, _| key % 7 != remainder);
            }
            Op::Clear => {
                self.cache.clear();
                self.model.clear();
            }
            Op::Burst { first, count, is_pinned } => self.burst(op, first, count, is_pinned),
            Op::InsertWhilePinned { read, key, weight } => {
                let (value, weighed) = self.value(weight);
                let expected_read = self.model.get(read);
                let expected = self.model.insert(key, value, weighed);
                let pinned = self.cache.pin();
                let seen_read = pinned.get(&read);
                let seen = self.cache.insert(key, value);
                // The pinned value is checked after the insert too, which may have evicted it.
                assert_eq!(seen_read.copied(), expected_read, "{}", self.at(op));
                drop(pinned);
                self.check_write(op, seen, expected);
            }
            Op::RunPending => self.cache.run_pending(),
            // It may refuse, under a pin of another test of this process.
            Op::Flush => drop(self.cache.flush()),
        }
        assert_eq!(self.cache.len(), self.model.len(), "len: {}", self.at(op));
        if self.is_weighted {
            assert_eq!(self.cache.weight(), self.model.weight(), "weight: {}", self.at(op));
        }
    }

    /// Compares the whole contents and the statistics.
    pub(crate) fn check_all(&self) {
        let label = &self.label;
        let step = self.step;
        let mut seen: Vec<u64> = self.cache.keys().collect();
        seen.sort_unstable();
        assert_eq!(seen, self.model.keys(), "{label}, step {step}");
        for key in seen {
            assert_eq!(self.cache.peek(&key), self.model.peek(key), "{label}, step {step}");
        }
        let stats = self.cache.stats();
        let tally = self.model.tally();
        let wanted = (Some(tally.hits), Some(tally.misses));
        assert_eq!((stats.hits, stats.misses), wanted, "{label}, step {step}");
        assert_eq!(stats.inserts, tally.inserts, "{label}, step {step}");
        assert_eq!(stats.replacements, tally.replacements, "{label}, step {step}");
        assert_eq!(stats.evictions, tally.evictions, "{label}, step {step}");
        assert_eq!(stats.removals, tally.removals, "{label}, step {step}");
        assert_eq!(stats.rejections, tally.rejections, "{label}, step {step}");
        if self.is_weighted {
            assert_eq!(stats.evicted_weight, tally.evicted_weight, "{label}, step {step}");
        }
    }

    /// Evicts everything, one entry after the other, and compares the order.
    ///
    /// It does nothing if weights bound the cache, because they decide how many entries leave.
    pub(crate) fn check_order_by_evicting_all(&mut self) {
        if self.is_weighted {
            return;
        }
        for fresh in 0..self.model.len() as u64 {
            self.apply(Op::Insert(u64::MAX - fresh, 1));
        }
        self.check_all();
    }

    fn burst(&mut self, op: Op, first: u64, count: u64, is_pinned: bool) {
        let pinned = is_pinned.then(|| self.cache.pin());
        for key in first..first + count {
            let seen = match &pinned {
                Some(pinned) => pinned.get(&key).copied(),
                None => self.cache.get(&key),
            };
            assert_eq!(seen, self.model.get(key), "key {key}: {label}, {op:?}", label = self.label);
        }
    }

    fn value(&self, weight: u16) -> (u64, u64) {
        let value = self.step << WEIGHT_BITS | u64::from(weight);
        (value, if self.is_weighted { u64::from(weight) } else { 1 })
    }

    fn check_value(&mut self, op: Op, seen: Option<u64>, lookup: Lookup, key: u64) {
        let expected = match lookup {
            Lookup::Uses => self.model.get(key),
            Lookup::Peeks => self.model.peek(key),
        };
        assert_eq!(seen, expected, "{}", self.at(op));
    }

    fn check_write(&self, op: Op, seen: Inserted, expected: Outcome) {
        let seen = match seen {
            Inserted::Added => Outcome::Added,
            Inserted::Replaced => Outcome::Replaced,
            Inserted::Rejected(Rejection::TooHeavy { .. }) => Outcome::TooHeavy,
            Inserted::Rejected(Rejection::Present) => Outcome::Present,
            Inserted::Rejected(Rejection::Absent) => Outcome::Absent,
            Inserted::Rejected(other) => panic!("unknown rejection {other:?}: {}", self.at(op)),
        };
        assert_eq!(seen, expected, "{}", self.at(op));
        for key in self.model.last_evicted() {
            assert!(!self.cache.contains_key(key), "key {key} should have left: {}", self.at(op));
        }
    }

    fn at(&self, op: Op) -> String {
        format!("{}, step {}, {op:?}", self.label, self.step)
    }
}

/// Whether a lookup counts as a use.
#[derive(Clone, Copy)]
enum Lookup {
    Uses,
    Peeks,
}

/// The weight of a value of these tests.
pub(crate) fn weight_of(value: u64) -> u32 {
    (value & ((1 << WEIGHT_BITS) - 1)) as u32
}
