//! What the server counts. Each thread counts for itself; readers add up.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::command::COMMANDS;

/// How many buckets a histogram of times has: bucket `n` counts up to 2^n microseconds, the last one the rest.
pub(crate) const TIME_BUCKETS: usize = 24;

/// What the commands of memcached count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemcachedCount {
    Set,
    Flush,
    Touch,
    GetHits,
    GetMisses,
    DeleteHits,
    DeleteMisses,
    IncrHits,
    IncrMisses,
    DecrHits,
    DecrMisses,
    CasHits,
    CasMisses,
    CasBadVersion,
    TouchHits,
    TouchMisses,
}

impl MemcachedCount {
    pub(crate) const ALL: [Self; 16] = [
        Self::Set,
        Self::Flush,
        Self::Touch,
        Self::GetHits,
        Self::GetMisses,
        Self::DeleteHits,
        Self::DeleteMisses,
        Self::IncrHits,
        Self::IncrMisses,
        Self::DecrHits,
        Self::DecrMisses,
        Self::CasHits,
        Self::CasMisses,
        Self::CasBadVersion,
        Self::TouchHits,
        Self::TouchMisses,
    ];

    /// The name that `stats` has for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Set => "cmd_set",
            Self::Flush => "cmd_flush",
            Self::Touch => "cmd_touch",
            Self::GetHits => "get_hits",
            Self::GetMisses => "get_misses",
            Self::DeleteHits => "delete_hits",
            Self::DeleteMisses => "delete_misses",
            Self::IncrHits => "incr_hits",
            Self::IncrMisses => "incr_misses",
            Self::DecrHits => "decr_hits",
            Self::DecrMisses => "decr_misses",
            Self::CasHits => "cas_hits",
            Self::CasMisses => "cas_misses",
            Self::CasBadVersion => "cas_badval",
            Self::TouchHits => "touch_hits",
            Self::TouchMisses => "touch_misses",
        }
    }
}

/// The counts of one thread. Only that thread writes them.
#[derive(Debug)]
pub(crate) struct ThreadStats {
    /// Calls of each command, by its index, and those that failed.
    pub(crate) calls: Box<[AtomicU64]>,
    pub(crate) failed_calls: Box<[AtomicU64]>,
    /// What the commands of memcached count, by [`MemcachedCount`].
    pub(crate) memcached: [AtomicU64; MemcachedCount::ALL.len()],
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Batches of commands by the time that they took to execute.
    pub(crate) batches: [AtomicU64; TIME_BUCKETS],
    pub(crate) batch_ns: AtomicU64,
}

impl ThreadStats {
    pub(crate) fn new() -> Self {
        let zeros = || COMMANDS.iter().map(|_| AtomicU64::new(0)).collect();
        Self {
            calls: zeros(),
            failed_calls: zeros(),
            memcached: [const { AtomicU64::new(0) }; MemcachedCount::ALL.len()],
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            batches: [const { AtomicU64::new(0) }; TIME_BUCKETS],
            batch_ns: AtomicU64::new(0),
        }
    }

    /// Adds to a counter of this thread.
    #[inline]
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        // Relaxed, and not one step: only this thread writes.
        counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
    }

    /// Counts a batch of commands.
    pub(crate) fn record_batch(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - (ns / 1000).leading_zeros()) as usize;
        Self::add(&self.batches[bucket.min(TIME_BUCKETS - 1)], 1);
        Self::add(&self.batch_ns, ns);
    }
}

/// The counts of all threads.
#[derive(Debug)]
pub(crate) struct ServerStats {
    threads: Box<[CachePadded<ThreadStats>]>,
}

impl ServerStats {
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| CachePadded::new(ThreadStats::new())).collect() }
    }

    /// The counts of a thread, by its number.
    pub(crate) fn thread(&self, number: usize) -> &ThreadStats {
        &self.threads[number]
    }

    /// The sum of a counter over all threads.
    pub(crate) fn sum(&self, counter: impl Fn(&ThreadStats) -> &AtomicU64) -> u64 {
        self.total(|thread| counter(thread).load(Ordering::Relaxed))
    }

    /// The sum of a number over all threads.
    pub(crate) fn total(&self, number: impl Fn(&ThreadStats) -> u64) -> u64 {
        self.threads.iter().map(|thread| number(thread)).sum()
    }
}
