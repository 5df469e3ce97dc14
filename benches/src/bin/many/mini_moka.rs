//! mini-moka, which only this comparison needs.

use larder_benches::contender::Contender;
use mini_moka::sync::{Cache, ConcurrentCacheExt};

/// mini-moka: W-TinyLFU, moka without most of its features.
pub(crate) struct MiniMoka(Cache<u64, u64>);

impl MiniMoka {
    /// Builds it for `capacity_entries`.
    pub(crate) fn new(capacity_entries: usize) -> Self {
        Self(Cache::new(capacity_entries as u64))
    }
}

impl Contender for MiniMoka {
    type Value = u64;

    #[inline]
    fn get(&self, key: &u64) -> Option<u64> {
        self.0.get(key)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn run_pending(&self) {
        self.0.sync();
    }

    fn entries(&self) -> Option<usize> {
        Some(self.0.iter().count())
    }
}
