//! Applies one operation to any cache and checks what holds for every policy: a value that is found
//! was written last, and the result of each call agrees with that.
//!
//! The fuzz targets include this file too.

use std::collections::HashMap;

use larder::{Cache, Inserted, Rejection};

use super::driver::{Op, WEIGHT_BITS};

/// A cache whose order is unknown, beside all values that were written and not removed.
pub(crate) struct Loose {
    pub(crate) cache: Cache<u64, u64>,
    /// The last written values, also those of evicted keys.
    written: HashMap<u64, u64>,
    /// Whether maintenance is inline, so that the bounds hold whenever a call returns.
    is_inline: bool,
    step: u64,
    label: String,
}

impl Loose {
    pub(crate) fn new(cache: Cache<u64, u64>, is_inline: bool, label: String) -> Self {
        Self { cache, written: HashMap::new(), is_inline, step: 0, label }
    }

    /// Applies `op` and panics if the answer is impossible.
    pub(crate) fn apply(&mut self, op: Op) {
        self.step += 1;
        match op {
            Op::Get(key) => self.check_value(op, key, self.cache.get(&key)),
            Op::Read(key) => self.check_value(op, key, self.cache.read(&key, |value| *value)),
            Op::PinnedGet(key) => {
                self.check_value(op, key, self.cache.pin().get(&key).copied());
            }
            Op::Peek(key) => self.check_value(op, key, self.cache.peek(&key)),
            Op::PinnedPeek(key) => {
                self.check_value(op, key, self.cache.pin().peek(&key).copied());
            }
            Op::ContainsKey(key) => {
                let is_there = self.cache.contains_key(&key);
                assert!(!is_there || self.written.contains_key(&key), "{}", self.at(op));
            }
            Op::Insert(key, weight) => {
                let value = self.value(weight);
                let inserted = self.cache.insert(key, value);
                self.check_write(op, key, value, inserted);
            }
            Op::InsertIfAbsent(key, weight) => {
                let value = self.value(weight);
                let inserted = self.cache.insert_if_absent(key, value);
                self.check_write(op, key, value, inserted);
            }
            Op::Replace(key, weight) => {
                let value = self.value(weight);
                let inserted = self.cache.replace(key, value);
                self.check_write(op, key, value, inserted);
            }
            Op::Remove(key) => {
                let removed = self.cache.remove(&key);
                let last = self.written.remove(&key);
                assert!(removed.is_none() || removed == last, "{removed:?}: {}", self.at(op));
            }
            Op::RemoveIf(key, is_wanted) => {
                let is_removed = self.cache.remove_if(&key, |_, _| is_wanted);
                assert!(is_wanted || !is_removed, "{}", self.at(op));
                if is_wanted {
                    let was_written = self.written.remove(&key).is_some();
                    assert!(was_written || !is_removed, "{}", self.at(op));
                }
            }
            Op::Retain(remainder) => {
                self.cache.retain(|key, _| key % 7 != remainder);
                self.written.retain(|key, _| key % 7 != remainder);
            }
            Op::Clear => {
                self.cache.clear();
                self.written.clear();
                assert!(!self.is_inline || self.cache.is_empty(), "{}", self.at(op));
            }
            Op::Burst { first, count, is_pinned } => {
                let pinned = is_pinned.then(|| self.cache.pin());
                for key in first..first + count {
                    let seen = match &pinned {
                        Some(pinned) => pinned.get(&key).copied(),
                        None => self.cache.get(&key),
                    };
                    self.check_value(op, key, seen);
                }
            }
            Op::InsertWhilePinned { read, key, weight } => {
                let value = self.value(weight);
                let pinned = self.cache.pin();
                let seen = pinned.get(&read);
                self.check_value(op, read, seen.copied());
                let before = seen.copied();
                let inserted = self.cache.insert(key, value);
                assert_eq!(seen.copied(), before, "a pinned value changed: {}", self.at(op));
                drop(pinned);
                self.check_write(op, key, value, inserted);
            }
            Op::RunPending => self.cache.run_pending(),
            Op::Flush => drop(self.cache.flush()),
        }
        // In the background, an eviction may be under way that is not counted yet.
        if self.is_inline {
            assert!(self.cache.len() <= self.written.len(), "{}", self.at(op));
            self.check_bounds(op);
        }
    }

    /// Compares the whole contents, the bounds and the statistics.
    pub(crate) fn check_all(&mut self) {
        self.cache.run_pending();
        self.check_bounds(Op::RunPending);
        let mut count = 0;
        for (key, value) in self.cache.iter() {
            self.check_value(Op::Peek(key), key, Some(value));
            assert_eq!(self.cache.peek(&key), Some(value), "{}", self.at(Op::Peek(key)));
            count += 1;
        }
        assert_eq!(count, self.cache.len(), "{}", self.at(Op::RunPending));
        let stats = self.cache.stats();
        let left = stats.inserts - stats.evictions - stats.removals;
        assert_eq!(left, count as u64, "{stats:?}: {}", self.at(Op::RunPending));
        self.cache.validate();
    }

    fn check_bounds(&self, op: Op) {
        let is_held = self.cache.capacity().is_none_or(|capacity| self.cache.len() <= capacity);
        assert!(is_held, "{} entries: {}", self.cache.len(), self.at(op));
        let is_held = self.cache.max_weight().is_none_or(|limit| self.cache.weight() <= limit);
        assert!(is_held, "weight {}: {}", self.cache.weight(), self.at(op));
    }

    fn value(&self, weight: u16) -> u64 {
        self.step << WEIGHT_BITS | u64::from(weight)
    }

    fn check_value(&self, op: Op, key: u64, seen: Option<u64>) {
        if seen.is_some() {
            assert_eq!(seen, self.written.get(&key).copied(), "key {key}: {}", self.at(op));
        }
    }

    fn check_write(&mut self, op: Op, key: u64, value: u64, inserted: Inserted) {
        let was_written = self.written.contains_key(&key);
        let is_possible = match inserted {
            Inserted::Added => !matches!(op, Op::Replace(..)),
            Inserted::Replaced => was_written && !matches!(op, Op::InsertIfAbsent(..)),
            Inserted::Rejected(Rejection::TooHeavy { weight, limit }) => weight > limit,
            Inserted::Rejected(Rejection::Present) => {
                was_written && matches!(op, Op::InsertIfAbsent(..))
            }
            Inserted::Rejected(Rejection::Absent) => matches!(op, Op::Replace(..)),
            Inserted::Rejected(_) => false,
        };
        assert!(is_possible, "{inserted:?}: {}", self.at(op));
        match inserted {
            Inserted::Added | Inserted::Replaced => drop(self.written.insert(key, value)),
            Inserted::Rejected(Rejection::TooHeavy { .. }) => {
                let is_kept = matches!(op, Op::InsertIfAbsent(..));
                assert!(is_kept || !self.cache.contains_key(&key), "stale: {}", self.at(op));
                if !is_kept {
                    self.written.remove(&key);
                }
            }
            Inserted::Rejected(_) => {}
        }
    }

    fn at(&self, op: Op) -> String {
        format!("{}, step {}, {op:?}", self.label, self.step)
    }
}
