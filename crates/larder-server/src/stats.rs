//! What the server counts. Each thread counts for itself; readers add up.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

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
    pub(crate) fn new(commands: usize) -> Self {
        let zeros = || (0..commands).map(|_| AtomicU64::new(0)).collect();
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
        // Relaxed, and not one atomic step: only this thread writes.
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

/// The most kinds of errors that are counted; the rest count as `OTHER`.
const MAX_ERROR_CODES: usize = 64;

/// Commands per second are the mean since they were last asked for, if that was at least this long ago.
const RATE_WINDOW: Duration = Duration::from_millis(500);

/// The counts of all threads.
#[derive(Debug)]
pub(crate) struct ServerStats {
    /// How many commands there are.
    commands: usize,
    threads: Box<[CachePadded<ThreadStats>]>,
    /// Replies that were errors, by their codes.
    errors: Mutex<BTreeMap<String, u64>>,
    /// What `CONFIG RESETSTAT` found. The counts go on.
    at_reset: Mutex<Totals>,
    rate: Mutex<Rate>,
}

/// What was counted up to a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// By the index of the command.
    pub(crate) calls: Vec<u64>,
    pub(crate) failed_calls: Vec<u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) batch_ns: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) evictions: u64,
    pub(crate) expirations: u64,
}

impl Totals {
    /// Calls of all commands.
    pub(crate) fn commands(&self) -> u64 {
        self.calls.iter().sum()
    }

    /// What was counted since.
    fn since(mut self, earlier: &Self) -> Self {
        let subtract = |counts: &mut Vec<u64>, earlier: &[u64]| {
            for (count, earlier) in counts.iter_mut().zip(earlier) {
                *count = count.saturating_sub(*earlier);
            }
        };
        subtract(&mut self.calls, &earlier.calls);
        subtract(&mut self.failed_calls, &earlier.failed_calls);
        for (code, count) in &mut self.errors {
            *count = count.saturating_sub(earlier.errors.get(code).copied().unwrap_or(0));
        }
        self.errors.retain(|_, count| *count > 0);
        for (count, earlier) in [
            (&mut self.hits, earlier.hits),
            (&mut self.misses, earlier.misses),
            (&mut self.bytes_in, earlier.bytes_in),
            (&mut self.bytes_out, earlier.bytes_out),
            (&mut self.batch_ns, earlier.batch_ns),
            (&mut self.accepted, earlier.accepted),
            (&mut self.refused, earlier.refused),
            (&mut self.evictions, earlier.evictions),
            (&mut self.expirations, earlier.expirations),
        ] {
            *count = count.saturating_sub(earlier);
        }
        self
    }
}

/// The number of commands up to a moment, and their rate before it.
#[derive(Debug)]
struct Rate {
    at: Instant,
    commands: u64,
    per_second: u64,
}

impl ServerStats {
    pub(crate) fn new(threads: usize, commands: usize) -> Self {
        let thread = |_| CachePadded::new(ThreadStats::new(commands));
        Self {
            commands,
            threads: (0..threads).map(thread).collect(),
            errors: Mutex::default(),
            at_reset: Mutex::default(),
            rate: Mutex::new(Rate { at: Instant::now(), commands: 0, per_second: 0 }),
        }
    }

    /// Counts an error, by the text of the reply.
    pub(crate) fn record_error(&self, text: &str) {
        let code = text.split(' ').next().unwrap_or_default();
        let mut errors = lock(&self.errors);
        let is_counted = errors.contains_key(code) || errors.len() < MAX_ERROR_CODES;
        *errors.entry(if is_counted { code } else { "OTHER" }.to_owned()).or_default() += 1;
    }

    /// What the threads have counted.
    pub(crate) fn totals(&self) -> Totals {
        let by_command = |counts: fn(&ThreadStats) -> &[AtomicU64]| {
            (0..self.commands).map(|index| self.sum(|thread| &counts(thread)[index])).collect()
        };
        Totals {
            calls: by_command(|thread| &thread.calls),
            failed_calls: by_command(|thread| &thread.failed_calls),
            errors: lock(&self.errors).clone(),
            hits: self.sum(|thread| &thread.hits),
            misses: self.sum(|thread| &thread.misses),
            bytes_in: self.sum(|thread| &thread.bytes_in),
            bytes_out: self.sum(|thread| &thread.bytes_out),
            batch_ns: self.sum(|thread| &thread.batch_ns),
            ..Totals::default()
        }
    }

    /// What of these totals was counted since the last reset.
    pub(crate) fn since_reset(&self, totals: Totals) -> Totals {
        totals.since(&lock(&self.at_reset))
    }

    /// Makes these totals those from which [`since_reset`](Self::since_reset) counts.
    pub(crate) fn reset(&self, totals: Totals) {
        *lock(&self.at_reset) = totals;
    }

    /// Commands per second since this was last asked.
    pub(crate) fn commands_per_second(&self) -> u64 {
        let mut rate = lock(&self.rate);
        let elapsed = rate.at.elapsed();
        if elapsed >= RATE_WINDOW {
            let commands = self.totals().commands();
            let new = u128::from(commands.saturating_sub(rate.commands));
            let per_second = new * 1_000_000_000 / elapsed.as_nanos();
            let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
            *rate = Rate { at: Instant::now(), commands, per_second };
        }
        rate.per_second
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
