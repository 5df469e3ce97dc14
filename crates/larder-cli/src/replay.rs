//! One replay: several threads run one trace through one shared cache.
//!
//! A request is a `get`, followed by an `insert` on a miss. The threads take chunks of
//! [`CHUNK_REQUESTS`] from a shared cursor, so the order of the trace is nearly kept; a single
//! thread keeps it exactly.
//!
//! If a trace has TTLs and times, an entry is inserted with the TTL of the request, and the cache's
//! clock shows the latest time of all requests that have begun.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use larder::{Builder, Cache, Clock, Inserted, Maintenance, Policy};

use crate::capacity::Weights;
use crate::error::ReplayError;
use crate::trace::{Lifetimes, Trace};

/// The number of requests that a thread takes at once: enough that the shared cursor costs little,
/// few enough that the order of the trace is nearly kept.
const CHUNK_REQUESTS: u64 = 128;

/// One request in this many is timed, because reading the clock costs as much as a hit. The number
/// is prime, so that the samples do not align with a period of the trace.
pub(crate) const LATENCY_SAMPLE_EVERY: u64 = 13;

const MAX_LATENCY_NS: u64 = 60_000_000_000;
const LATENCY_DIGITS: u8 = 3;

/// The interval at which the progress bar moves.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How a trace is replayed, the same for all policies and capacities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplayOptions {
    pub(crate) threads: usize,
    pub(crate) maintenance: Maintenance,
    /// `None` leaves the number to the cache.
    pub(crate) partitions: Option<usize>,
    pub(crate) weights: Weights,
    /// How many times in a row the trace runs through the cache.
    pub(crate) passes: u32,
}

/// The result of one replay.
#[derive(Debug)]
pub(crate) struct Measurement {
    pub(crate) policy: String,
    /// Entries or bytes, depending on the weights.
    pub(crate) capacity: u64,
    pub(crate) partitions: usize,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    /// The bytes of the requests that hit, divided by those of all requests, if entries weigh their sizes.
    pub(crate) byte_hit_ratio: Option<f64>,
    pub(crate) evictions: u64,
    pub(crate) rejections: u64,
    /// From the start of the first thread to the end of the last.
    pub(crate) elapsed: Duration,
    pub(crate) latency_ns: Histogram<u64>,
}

impl Measurement {
    pub(crate) fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.requests as f64
    }

    pub(crate) fn operations_per_second(&self) -> f64 {
        // A trace of a few requests may end within one tick of the clock.
        self.requests as f64 / self.elapsed.max(Duration::from_nanos(1)).as_secs_f64()
    }

    pub(crate) fn latency_ns(&self, quantile: f64) -> u64 {
        self.latency_ns.value_at_quantile(quantile)
    }
}

/// Refuses unknown policies and invalid numbers of partitions before a trace is read.
pub(crate) fn check(policies: &[String], options: &ReplayOptions) -> Result<(), ReplayError> {
    let partitions = options.partitions.unwrap_or(1);
    policies.iter().try_for_each(|name| {
        let builder = Cache::<u32, u32>::builder()
            // A capacity too small for its partitions is another error, which depends on the trace.
            .capacity(partitions.max(1))
            .partitions(partitions)
            .maintenance(Maintenance::Inline);
        build(builder, name).map(drop)
    })
}

fn build(builder: Builder<u32, u32>, policy: &str) -> Result<Cache<u32, u32>, ReplayError> {
    builder
        .policy(Policy::named(policy))
        .build()
        .map_err(|source| ReplayError::Build { policy: policy.to_owned(), source })
}

/// Replays `trace` and advances `progress` by one step per request.
pub(crate) fn replay(
    trace: &Trace,
    policy: &str,
    capacity: u64,
    options: &ReplayOptions,
    progress: &ProgressBar,
) -> Result<Measurement, ReplayError> {
    let mut builder = Cache::<u32, u32>::builder().maintenance(options.maintenance);
    builder = match options.weights {
        Weights::Entries => builder.capacity(usize::try_from(capacity).unwrap_or(usize::MAX)),
        // An entry of size 0 still weighs 1, or their number would be unbounded.
        Weights::Bytes => builder.max_weight(capacity).weigher(|_, &size_bytes| size_bytes.max(1)),
    };
    if let Some(partitions) = options.partitions {
        builder = builder.partitions(partitions);
    }
    let clock = TraceClock::default();
    if trace.lifetimes.is_some() {
        builder = builder.clock(clock.clone());
    }
    let cache = build(builder, policy)?;

    let run = Run {
        lifetimes: trace.lifetimes.as_ref().map(|lifetimes| (lifetimes, clock)),
        requests: &trace.requests,
        sizes_bytes: trace.sizes_bytes.as_deref().filter(|_| options.weights == Weights::Bytes),
        total_requests: trace.requests.len() as u64 * u64::from(options.passes),
        cursor: AtomicU64::new(0),
    };
    let (elapsed, workers) = run.on_threads(&cache, options.threads, progress);
    cache.run_pending();

    let mut latency_ns = empty_histogram();
    let (mut hits, mut hit_bytes, mut rejections) = (0, 0, 0);
    for stats in &workers {
        hits += stats.hits;
        hit_bytes += stats.hit_bytes;
        rejections += stats.rejections;
        latency_ns.add(&stats.latency_ns).expect("all histograms have the same bounds");
    }
    let bytes = run.sizes_bytes.map(|sizes| {
        let pass: u64 = sizes.iter().map(|&size_bytes| u64::from(size_bytes)).sum();
        pass * u64::from(options.passes)
    });
    Ok(Measurement {
        policy: cache.policy_name().to_owned(),
        capacity,
        partitions: cache.partitions(),
        requests: run.total_requests,
        hits,
        byte_hit_ratio: bytes.map(|bytes| hit_bytes as f64 / bytes.max(1) as f64),
        evictions: cache.stats().evictions,
        rejections,
        elapsed,
        latency_ns,
    })
}

fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_NS, LATENCY_DIGITS)
        .expect("the bounds and the digits are constants that it takes")
}

/// The time of a trace: the latest time of all requests that have begun.
#[derive(Clone, Debug, Default)]
struct TraceClock {
    now_ns: Arc<AtomicU64>,
}

impl TraceClock {
    fn advance_to(&self, time_ns: u64) {
        // Relaxed: only the time itself is read; it publishes no other data.
        if self.now_ns.load(Ordering::Relaxed) < time_ns {
            self.now_ns.fetch_max(time_ns, Ordering::Relaxed);
        }
    }
}

impl Clock for TraceClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }
}

/// What one thread counted and timed.
struct WorkerStats {
    hits: u64,
    hit_bytes: u64,
    rejections: u64,
    latency_ns: Histogram<u64>,
    started: Instant,
    ended: Instant,
}

fn elapsed(workers: &[WorkerStats]) -> Duration {
    let first = workers.iter().map(|stats| stats.started).min();
    let last = workers.iter().map(|stats| stats.ended).max();
    match (first, last) {
        (Some(first), Some(last)) => last - first,
        _ => Duration::ZERO,
    }
}

/// A running replay.
struct Run<'a> {
    requests: &'a [u32],
    sizes_bytes: Option<&'a [u32]>,
    /// The lifetimes of entries if they expire, and the cache's clock.
    lifetimes: Option<(&'a Lifetimes, TraceClock)>,
    /// The requests of all passes together.
    total_requests: u64,
    cursor: AtomicU64,
}

impl Run<'_> {
    fn on_threads(
        &self,
        cache: &Cache<u32, u32>,
        threads: usize,
        progress: &ProgressBar,
    ) -> (Duration, Vec<WorkerStats>) {
        let start_line = Barrier::new(threads + 1);
        let (ended, all_ended) = mpsc::channel::<()>();
        let before = progress.position();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    let ended = ended.clone();
                    let start_line = &start_line;
                    scope.spawn(move || {
                        let latency_ns = empty_histogram();
                        start_line.wait();
                        let started = Instant::now();
                        let mut stats = WorkerStats {
                            hits: 0,
                            hit_bytes: 0,
                            rejections: 0,
                            latency_ns,
                            started,
                            ended: started,
                        };
                        self.work(cache, &mut stats);
                        stats.ended = Instant::now();
                        // Dropped only now or by a panic: the channel closes when the last thread
                        // ends.
                        drop(ended);
                        stats
                    })
                })
                .collect();
            drop(ended);
            start_line.wait();
            while let Err(RecvTimeoutError::Timeout) = all_ended.recv_timeout(PROGRESS_INTERVAL) {
                progress.set_position(
                    before + self.cursor.load(Ordering::Relaxed).min(self.total_requests),
                );
            }
            progress.set_position(before + self.total_requests);
            let workers: Vec<_> = workers
                .into_iter()
                .map(|worker| worker.join().expect("a worker runs no code that may panic"))
                .collect();
            (elapsed(&workers), workers)
        })
    }

    fn work(&self, cache: &Cache<u32, u32>, stats: &mut WorkerStats) {
        loop {
            let first = self.cursor.fetch_add(CHUNK_REQUESTS, Ordering::Relaxed);
            if first >= self.total_requests {
                return;
            }
            let mut pass = first / self.requests.len() as u64;
            let mut index = (first % self.requests.len() as u64) as usize;
            for number in first..self.total_requests.min(first + CHUNK_REQUESTS) {
                if number % LATENCY_SAMPLE_EVERY == 0 {
                    let asked = Instant::now();
                    self.request(index, pass, cache, stats);
                    let took_ns = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    stats.latency_ns.saturating_record(took_ns);
                } else {
                    self.request(index, pass, cache, stats);
                }
                index += 1;
                if index == self.requests.len() {
                    index = 0;
                    pass += 1;
                }
            }
        }
    }

    #[inline]
    fn request(&self, index: usize, pass: u64, cache: &Cache<u32, u32>, stats: &mut WorkerStats) {
        let id = self.requests[index];
        if let Some((lifetimes, clock)) = &self.lifetimes {
            clock.advance_to(lifetimes.time_ns(index, pass));
        }
        let size_bytes = self.sizes_bytes.map_or(0, |sizes| sizes[index]);
        if cache.get(&id).is_some() {
            stats.hits += 1;
            stats.hit_bytes += u64::from(size_bytes);
            return;
        }
        let ttl_ns = self.lifetimes.as_ref().and_then(|(lifetimes, _)| lifetimes.ttl_ns(index));
        let inserted = match ttl_ns {
            Some(ttl_ns) => cache.insert_with_ttl(id, size_bytes, Duration::from_nanos(ttl_ns)),
            None => cache.insert(id, size_bytes),
        };
        if let Inserted::Rejected(_) = inserted {
            stats.rejections += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: ReplayOptions = ReplayOptions {
        threads: 1,
        maintenance: Maintenance::Inline,
        partitions: Some(1),
        weights: Weights::Entries,
        passes: 1,
    };

    fn hits(trace: &Trace, policy: &str, capacity: u64, options: &ReplayOptions) -> u64 {
        let progress = ProgressBar::hidden();
        replay(trace, policy, capacity, options, &progress).unwrap().hits
    }

    #[test]
    fn one_thread_inline_gives_the_textbook_number_of_hits() {
        // The textbook example of Belady's anomaly.
        let belady = Trace::of_ids(&[0, 1, 2, 3, 0, 1, 4, 0, 1, 2, 3, 4], None);
        assert_eq!(hits(&belady, "fifo", 3, &EXACT), 3);
        assert_eq!(hits(&belady, "fifo", 4, &EXACT), 2);
        assert_eq!(hits(&belady, "lru", 3, &EXACT), 2);
        assert_eq!(hits(&belady, "lru", 4, &EXACT), 4);
    }

    #[test]
    fn passes_run_one_after_the_other_through_the_same_cache() {
        let three = Trace::of_ids(&[0, 1, 2], None);
        let options = ReplayOptions { passes: 4, ..EXACT };
        assert_eq!(hits(&three, "lru", 3, &options), 9);
        assert_eq!(hits(&three, "lru", 2, &options), 0);
    }

    #[test]
    fn threads_together_ask_for_each_request_once() {
        let requests: Vec<u32> = (0..10_000).map(|i| i % 1000).collect();
        let whole = Trace::of_ids(&requests, None);
        for threads in [1, 2, 5] {
            let options = ReplayOptions { threads, maintenance: Maintenance::Background, ..EXACT };
            let progress = ProgressBar::hidden();
            let seen = replay(&whole, "lru", 1000, &options, &progress).unwrap();
            assert_eq!(seen.requests, 10_000);
            assert_eq!(progress.position(), 10_000);
            assert_eq!(seen.latency_ns.len(), 10_000_u64.div_ceil(LATENCY_SAMPLE_EVERY));
            // Two threads may both miss a key that neither has inserted yet.
            assert!(seen.hits <= 9000 && seen.hits >= 9000 - 1000 * (threads as u64 - 1));
        }
    }

    #[test]
    fn weights_bound_the_bytes_and_not_the_entries() {
        let options = ReplayOptions { weights: Weights::Bytes, ..EXACT };
        let sized = Trace::of_ids(&[0, 1, 0, 1, 2, 0, 1], Some(vec![10, 10, 10, 10, 11, 10, 10]));
        // 20 bytes hold keys 0 and 1 until key 2 evicts both.
        assert_eq!(hits(&sized, "lru", 20, &options), 2);
        assert_eq!(hits(&sized, "lru", 31, &options), 4);
        let twice = ReplayOptions { passes: 2, ..options };
        let seen = replay(&sized, "lru", 31, &twice, &ProgressBar::hidden()).unwrap();
        // In the second pass all hit.
        assert_eq!(seen.byte_hit_ratio, Some((40.0 + 71.0) / 142.0));
        let unweighed = replay(&sized, "lru", 31, &EXACT, &ProgressBar::hidden()).unwrap();
        assert_eq!(unweighed.byte_hit_ratio, None);
    }

    #[test]
    fn entries_heavier_than_the_cache_are_counted_as_rejections() {
        let options = ReplayOptions { weights: Weights::Bytes, ..EXACT };
        let sized = Trace::of_ids(&[0, 1, 0, 1], Some(vec![50, 1, 50, 1]));
        let seen = replay(&sized, "lru", 20, &options, &ProgressBar::hidden()).unwrap();
        assert_eq!((seen.hits, seen.rejections), (1, 2));
    }

    #[test]
    fn entries_without_size_do_not_fill_memory() {
        let options = ReplayOptions { weights: Weights::Bytes, ..EXACT };
        let requests: Vec<u32> = (0..1000).chain(0..1000).collect();
        let empty = Trace::of_ids(&requests, Some(vec![0; 2000]));
        assert_eq!(hits(&empty, "lru", 10, &options), 0);
    }

    #[test]
    fn entries_expire_by_the_time_of_the_trace() {
        let mut timed = Trace::of_ids(&[0, 0, 0, 1, 0, 1, 0], None);
        let ttls = [10, 10, 10, u64::MAX, 5, 1, 5];
        timed.lifetimes = Some(Lifetimes::of_seconds(&[100, 110, 111, 112, 121, 500, 501], &ttls));
        // There are hits at 110, at 121 (inserted again at 111 for 10 s) and at 500 (without a
        // TTL).
        assert_eq!(hits(&timed, "lru", 10, &EXACT), 3);
        let timeless = Trace { lifetimes: None, ..timed };
        assert_eq!(hits(&timeless, "lru", 10, &EXACT), 5);
    }

    #[test]
    fn time_goes_on_from_pass_to_pass() {
        let mut timed = Trace::of_ids(&[0, 1], None);
        timed.lifetimes = Some(Lifetimes::of_seconds(&[0, 10], &[15, 5]));
        let options = ReplayOptions { passes: 3, ..EXACT };
        // Key 0 is requested at 0, 10 and 20, and the entry of 0 s lives until 15, so one request
        // hits. Key 1 is requested at 10, 20 and 30 and never hits.
        assert_eq!(hits(&timed, "lru", 10, &options), 1);
    }

    #[test]
    fn invalid_numbers_of_partitions_are_refused_before_a_trace_is_read() {
        for (partitions, is_fine) in
            [(1, true), (4096, true), (0, false), (3, false), (1 << 62, false)]
        {
            let options = ReplayOptions { partitions: Some(partitions), ..EXACT };
            assert_eq!(check(&["lru".into()], &options).is_ok(), is_fine, "{partitions}");
        }
    }

    #[test]
    fn an_unknown_policy_is_refused_by_name() {
        let failure = check(&["lru".into(), "belady".into()], &EXACT).unwrap_err();
        assert!(failure.to_string().contains("policy belady"), "{failure}");
    }
}
