//! S3-FIFO as its paper describes it: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need
//! for cache eviction" (SOSP 2023), Algorithm 1, with plain lists. The fuzz targets include this
//! file too.

/// Keys with their counts, the newest first.
pub(crate) struct S3Fifo {
    capacity: usize,
    small: Vec<(u64, u8)>,
    main: Vec<(u64, u8)>,
    /// The keys that left the small queue, the newest first.
    ghost: Vec<u64>,
}

impl S3Fifo {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, small: Vec::new(), main: Vec::new(), ghost: Vec::new() }
    }

    pub(crate) fn get(&mut self, key: u64) -> bool {
        let found = self.small.iter_mut().chain(&mut self.main).find(|entry| entry.0 == key);
        found.is_some_and(|entry| {
            entry.1 = (entry.1 + 1).min(3);
            true
        })
    }

    /// An update counts as a use.
    pub(crate) fn insert(&mut self, key: u64) {
        if self.get(key) {
            return;
        }
        if self.small.len() + self.main.len() == self.capacity {
            self.evict();
        }
        match self.ghost.iter().position(|remembered| *remembered == key) {
            Some(at) => {
                self.ghost.remove(at);
                self.main.insert(0, (key, 0));
            }
            None => self.small.insert(0, (key, 0)),
        }
    }

    pub(crate) fn remove(&mut self, key: u64) {
        self.small.retain(|entry| entry.0 != key);
        self.main.retain(|entry| entry.0 != key);
    }

    /// All keys, ascending.
    pub(crate) fn keys(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.small.iter().chain(&self.main).map(|entry| entry.0).collect();
        keys.sort_unstable();
        keys
    }

    fn evict(&mut self) {
        let share = (self.capacity / 10).max(1);
        while self.small.len() >= share || self.main.is_empty() {
            let (key, count) = self.small.pop().expect("a queue is not empty");
            if count <= 1 {
                self.ghost.insert(0, key);
                // As many keys as the main queue holds, plus the one that was just added.
                self.ghost.truncate(self.capacity - share + 1);
                return;
            }
            self.main.insert(0, (key, 0));
        }
        loop {
            let (key, count) = self.main.pop().expect("a queue is not empty");
            match count.checked_sub(1) {
                Some(left) => self.main.insert(0, (key, left)),
                None => return,
            }
        }
    }
}
