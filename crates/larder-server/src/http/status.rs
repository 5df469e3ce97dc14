//! What the page and `larder top` show, as JSON: counters since the start of the server, and gauges.
//!
//! There are no rates and no ratios: readers compute them from the differences of two answers. If `instance`
//! has changed between them, another server has answered, and there is no difference.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::iter::successors;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use larder::ShadowPoint;
use larder::policy::Segment;
use serde::Serialize;

use crate::commands::COMMANDS;
use crate::session::command::Command;
use crate::shared::Shared;
use crate::stats::{TIME_BUCKETS, ThreadStats};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct ServerStatus {
    version: &'static str,
    /// A number that is new for each server that starts.
    instance: String,
    uptime_ms: u64,
    /// Why the server is not ready, in one word.
    obstacle: Option<&'static str>,
    threads: usize,
    clients: ClientCounts,
    traffic: TrafficCounts,
    batches: HistogramCounts,
    cache: CacheCounts,
    eviction_ages: HistogramCounts,
    memory: MemoryUse,
    shadow: Option<ShadowCounts>,
}

#[derive(Debug, Serialize)]
struct ClientCounts {
    connected: usize,
    max: usize,
    accepted: u64,
    refused: u64,
    /// Disconnected because they did not read their messages.
    overflowed: u64,
}

#[derive(Debug, Serialize)]
struct TrafficCounts {
    hits: u64,
    misses: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Calls by command, those that failed included; commands that were never called are left out.
    calls: BTreeMap<&'static str, u64>,
    failed_calls: BTreeMap<&'static str, u64>,
}

/// How many values there were from each bound to the next. There is one bound fewer than there are counts: the
/// first count begins with 0, and the last one has no end.
#[derive(Debug, Serialize)]
pub(super) struct HistogramCounts {
    pub(super) bounds_s: Vec<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) sum_s: f64,
}

#[derive(Debug, Serialize)]
struct CacheCounts {
    policy: String,
    entries: usize,
    capacity: Option<usize>,
    weight: u64,
    max_weight: Option<u64>,
    inserts: u64,
    replacements: u64,
    evictions: u64,
    evicted_weight: u64,
    expirations: u64,
    removals: u64,
    invalidations: u64,
    rejections: u64,
    dropped_accesses: u64,
    waiting_bytes: u64,
    segments: Vec<SegmentSize>,
}

#[derive(Debug, Serialize)]
struct SegmentSize {
    name: &'static str,
    entries: usize,
}

#[derive(Debug, Serialize)]
struct MemoryUse {
    /// `None` where the system does not say.
    resident_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ShadowCounts {
    lookups: u64,
    points: Vec<CurvePoint>,
}

#[derive(Debug, Serialize)]
struct CurvePoint {
    policy: String,
    multiple: f64,
    capacity: Option<usize>,
    max_weight: Option<u64>,
    /// The estimated hits of `lookups`; `None` before the first lookup.
    hits: Option<f64>,
    samples: u64,
}

/// Reads everything.
pub(super) fn read(shared: &Shared) -> ServerStatus {
    let (clients, stats) = (shared.hub().clients(), &shared.stats);
    ServerStatus {
        version: env!("CARGO_PKG_VERSION"),
        instance: shared.run_id.clone(),
        uptime_ms: u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        obstacle: shared.readiness.obstacle(),
        threads: shared.config.threads.max(1),
        clients: ClientCounts {
            connected: clients.len(),
            max: shared.max_clients(),
            accepted: clients.accepted(),
            refused: clients.refused(),
            overflowed: clients.overflowed(),
        },
        traffic: TrafficCounts {
            hits: stats.sum(|thread| &thread.hits),
            misses: stats.sum(|thread| &thread.misses),
            bytes_in: stats.sum(|thread| &thread.bytes_in),
            bytes_out: stats.sum(|thread| &thread.bytes_out),
            calls: by_command(shared, |thread, index| &thread.calls[index]),
            failed_calls: by_command(shared, |thread, index| &thread.failed_calls[index]),
        },
        batches: batches(shared),
        cache: cache(shared),
        eviction_ages: eviction_ages(shared),
        memory: MemoryUse { resident_bytes: resident_bytes() },
        shadow: shadow(shared),
    }
}

/// A counter of each command that was ever called.
pub(super) fn by_command(
    shared: &Shared,
    counter: impl Fn(&ThreadStats, usize) -> &AtomicU64,
) -> BTreeMap<&'static str, u64> {
    let count = |(index, command): (usize, &Command)| {
        let count = shared.stats.sum(|thread| counter(thread, index));
        (count > 0).then_some((command.name, count))
    };
    COMMANDS.iter().enumerate().filter_map(count).collect()
}

/// The times that batches of commands took.
pub(super) fn batches(shared: &Shared) -> HistogramCounts {
    let stats = &shared.stats;
    HistogramCounts {
        bounds_s: successors(Some(1e-6), |bound| Some(bound * 2.0))
            .take(TIME_BUCKETS - 1)
            .collect(),
        counts: (0..TIME_BUCKETS).map(|bucket| stats.sum(|it| &it.batches[bucket])).collect(),
        sum_s: Duration::from_nanos(stats.sum(|thread| &thread.batch_ns)).as_secs_f64(),
    }
}

/// How long after they were written entries were evicted.
fn eviction_ages(shared: &Shared) -> HistogramCounts {
    let ages = shared.hub().eviction_ages().read();
    let (mut bounds_s, mut counts, mut before) = (Vec::new(), Vec::new(), 0);
    for (bound, count) in ages.buckets() {
        bounds_s.extend(bound.map(|bound| bound.as_secs_f64()));
        counts.push(count - before);
        before = count;
    }
    HistogramCounts { bounds_s, counts, sum_s: ages.sum_seconds() }
}

fn cache(shared: &Shared) -> CacheCounts {
    let cache = shared.store.cache();
    let stats = cache.stats();
    let size = |segment: &Segment| SegmentSize { name: segment.name, entries: segment.entries };
    CacheCounts {
        policy: cache.policy_name().to_owned(),
        entries: cache.len(),
        capacity: cache.capacity(),
        weight: cache.weight(),
        max_weight: cache.max_weight(),
        inserts: stats.inserts,
        replacements: stats.replacements,
        evictions: stats.evictions,
        evicted_weight: stats.evicted_weight,
        expirations: stats.expirations,
        removals: stats.removals,
        invalidations: stats.invalidations,
        rejections: stats.rejections,
        dropped_accesses: stats.dropped_accesses,
        waiting_bytes: stats.waiting_bytes(),
        segments: cache.segments().iter().map(size).collect(),
    }
}

fn shadow(shared: &Shared) -> Option<ShadowCounts> {
    let report = shared.store.cache().shadow_report()?;
    #[expect(clippy::cast_precision_loss, reason = "an estimate needs no more than 52 bits")]
    let lookups = report.lookups as f64;
    let point = |point: &ShadowPoint| CurvePoint {
        policy: point.policy.clone(),
        multiple: point.multiple,
        capacity: point.capacity,
        max_weight: point.max_weight,
        hits: point.hit_ratio.map(|ratio| ratio * lookups),
        samples: point.samples,
    };
    Some(ShadowCounts {
        lookups: report.lookups,
        points: report.points.iter().filter(|it| !it.has_failed).map(point).collect(),
    })
}

/// The memory of the process, as Linux reports it.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
