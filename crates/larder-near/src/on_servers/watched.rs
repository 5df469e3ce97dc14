//! Readers of one near cache whose reads a [`Checker`] judges, while a writer changes keys and something goes wrong.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::checker::Checker;
use super::until;
use crate::NearCache;

/// A near cache, and what was read through it.
pub(super) struct Watched {
    pub(super) near: NearCache<u64, u64>,
    pub(super) checker: Checker,
    keys: usize,
    /// How many reads there are at least; a hundredth as many writes.
    wanted: u64,
    is_done: AtomicBool,
    reads: AtomicU64,
    failed: AtomicU64,
}

/// `LARDER_NEAR_READS`, or `usual`.
pub(super) fn wanted_reads(usual: u64) -> u64 {
    std::env::var("LARDER_NEAR_READS").ok().map_or(usual, |reads| reads.parse().unwrap())
}

impl Watched {
    pub(super) fn new(
        near: NearCache<u64, u64>,
        keys: usize,
        max_stale: Duration,
        wanted: u64,
    ) -> Self {
        Self {
            near,
            checker: Checker::new(keys, max_stale),
            keys,
            wanted,
            is_done: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// So many tasks that read until there were enough reads and the writer is done.
    pub(super) async fn read_by(&self, readers: u64, with_many: bool) {
        super::reads::futures((1..=readers).map(|seed| self.read(seed, with_many))).await;
    }

    async fn read(&self, seed: u64, with_many: bool) {
        let mut random = seed;
        let reads = || self.reads.load(Ordering::SeqCst);
        while !self.is_done.load(Ordering::SeqCst) || reads() < self.wanted {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
            let key = (random >> 33) as usize % self.keys;
            let began = Instant::now();
            let read = if with_many && random & 0x700_0000 == 0 {
                let next = (key + 1) % self.keys;
                let values = self.near.get_many(&[key as u64, next as u64]).await;
                values.map(|values| values[0])
            } else {
                self.near.get(&(key as u64)).await
            };
            match read {
                Ok(value) => {
                    let excess = self.checker.excess(key, began, value);
                    assert_eq!(excess, None, "key {key} has {value:?}: {:?}", self.near.stats());
                }
                Err(_) => {
                    self.failed.fetch_add(1, Ordering::SeqCst);
                }
            }
            self.reads.fetch_add(1, Ordering::SeqCst);
            // A hit does not wait, and others must run too.
            tokio::task::yield_now().await;
        }
    }

    /// How many reads there have been.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    /// How many writes there are.
    pub(super) fn writes(&self) -> u64 {
        self.wanted / 100
    }

    /// Waits until it is time for the write of that number: they are spread over the reads.
    pub(super) async fn before_write(&self, number: u64) {
        until("enough reads", async || self.reads.load(Ordering::SeqCst) >= number * 100 * 9 / 10)
            .await;
    }

    /// The key that the write of `value` concerns.
    pub(super) fn key_for(&self, value: u64) -> usize {
        (value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % self.keys
    }

    /// Lets the readers end.
    pub(super) fn end_writes(&self) {
        self.is_done.store(true, Ordering::SeqCst);
    }

    /// When all is quiet, memory has what the server has.
    pub(super) async fn settle(&self) {
        for key in 0..self.keys {
            let present = self.checker.present(key);
            until("memory has what the server has", async || {
                self.near.get(&(key as u64)).await.is_ok_and(|value| value == present)
            })
            .await;
        }
    }

    /// What was read, for a person who looks at the output.
    pub(super) fn summary(&self) -> String {
        let count = |of: &AtomicU64| of.load(Ordering::SeqCst);
        let (reads, failed) = (count(&self.reads), count(&self.failed));
        format!("{reads} reads, {failed} of them failed; {}", self.near.stats())
    }
}
