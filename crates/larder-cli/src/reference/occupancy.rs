//! The keys in a simulated cache, their weights and its capacity.

/// Which keys are in the cache, and how much room there is.
pub(super) struct Occupancy {
    weight_of: Vec<Option<u32>>,
    weight: u64,
    len: usize,
    capacity: u64,
}

impl Occupancy {
    pub(super) fn new(keys: usize, capacity: u64) -> Self {
        Occupancy { weight_of: vec![None; keys], weight: 0, len: 0, capacity }
    }

    pub(super) fn contains(&self, key: u32) -> bool {
        self.weight_of[key as usize].is_some()
    }

    /// Whether an entry of that weight can never be held.
    pub(super) fn is_too_small_for(&self, weight: u32) -> bool {
        u64::from(weight) > self.capacity
    }

    pub(super) fn is_full_for(&self, weight: u32) -> bool {
        self.weight + u64::from(weight) > self.capacity
    }

    pub(super) fn is_over(&self) -> bool {
        self.weight > self.capacity
    }

    pub(super) fn weight_of(&self, key: u32) -> u64 {
        u64::from(self.weight_of[key as usize].unwrap_or(0))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, key: u32, weight: u32) {
        self.weight_of[key as usize] = Some(weight);
        self.weight += u64::from(weight);
        self.len += 1;
    }

    /// Removes a key, which must be there.
    pub(super) fn remove(&mut self, key: u32) {
        self.weight -= u64::from(self.weight_of[key as usize].take().unwrap_or(0));
        self.len -= 1;
    }
}
