//! The status of `larder serve`: the JSON at `/api/status`, and the keys at `/api/hottest`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::reading::{Buckets, CacheNumbers, HotEntry, Lookups, SizePoint, TopReading};

#[derive(Debug, Deserialize)]
struct Status {
    version: String,
    instance: String,
    uptime_ms: u64,
    obstacle: Option<String>,
    clients: StatusClients,
    traffic: StatusTraffic,
    batches: StatusHistogram,
    cache: StatusCache,
    eviction_ages: StatusHistogram,
    memory: StatusMemory,
    shadow: Option<StatusShadow>,
}

#[derive(Debug, Deserialize)]
struct StatusClients {
    connected: u64,
}

#[derive(Debug, Deserialize)]
struct StatusTraffic {
    hits: u64,
    misses: u64,
    bytes_in: u64,
    bytes_out: u64,
    calls: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
struct StatusHistogram {
    bounds_s: Vec<f64>,
    counts: Vec<u64>,
}

#[derive(Debug, Deserialize)]
struct StatusCache {
    policy: String,
    entries: u64,
    capacity: Option<u64>,
    weight: u64,
    max_weight: Option<u64>,
    inserts: u64,
    replacements: u64,
    evictions: u64,
    expirations: u64,
    removals: u64,
    invalidations: u64,
    rejections: u64,
    waiting_bytes: u64,
}

#[derive(Debug, Deserialize)]
struct StatusMemory {
    resident_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct StatusShadow {
    lookups: u64,
    points: Vec<StatusPoint>,
}

#[derive(Debug, Deserialize)]
struct StatusPoint {
    policy: String,
    multiple: f64,
    hits: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct StatusHottest {
    keys: Vec<StatusKey>,
}

#[derive(Debug, Deserialize)]
struct StatusKey {
    key: String,
    share: Option<f64>,
}

/// Reads a status.
pub(super) fn parse(text: &str) -> Result<TopReading, serde_json::Error> {
    let status: Status = serde_json::from_str(text)?;
    let cache = status.cache;
    let sizes = status.shadow.map(|shadow| sizes(&shadow, &cache.policy)).unwrap_or_default();
    let numbers = CacheNumbers {
        name: "server".to_owned(),
        policy: cache.policy,
        entries: cache.entries,
        capacity: cache.capacity,
        weight: cache.weight,
        max_weight: cache.max_weight,
        lookups: Some(Lookups { hits: status.traffic.hits, misses: status.traffic.misses }),
        inserts: cache.inserts,
        rejections: cache.rejections,
        waiting_bytes: cache.waiting_bytes,
        evicted: cache.evictions,
        expired: cache.expirations,
        removed: cache.removals,
        replaced: cache.replacements,
        invalidated: cache.invalidations,
        eviction_ages: Some(buckets(status.eviction_ages)),
        sizes,
        hottest: Vec::new(),
    };
    Ok(TopReading {
        at: Duration::ZERO,
        instance: status.instance,
        version: Some(status.version),
        uptime: Some(Duration::from_millis(status.uptime_ms)),
        obstacle: status.obstacle,
        clients: Some(status.clients.connected),
        bytes_in: Some(status.traffic.bytes_in),
        bytes_out: Some(status.traffic.bytes_out),
        resident_bytes: status.memory.resident_bytes,
        calls: status.traffic.calls,
        latency: Some(buckets(status.batches)),
        caches: vec![numbers],
    })
}

/// Reads the hottest keys.
pub(super) fn parse_hottest(text: &str) -> Result<Vec<HotEntry>, serde_json::Error> {
    let hottest: StatusHottest = serde_json::from_str(text)?;
    Ok(hottest.keys.into_iter().map(|it| HotEntry { key: it.key, share: it.share }).collect())
}

fn buckets(histogram: StatusHistogram) -> Buckets {
    let mut counts = histogram.counts;
    counts.resize(histogram.bounds_s.len() + 1, 0);
    Buckets { bounds_s: histogram.bounds_s, counts }
}

/// The estimates for the cache's own policy, in proportion to its misses at the present size.
fn sizes(shadow: &StatusShadow, policy: &str) -> Vec<SizePoint> {
    let lookups = shadow.lookups as f64;
    let own = shadow.points.iter().filter(|point| point.policy.eq_ignore_ascii_case(policy));
    let misses: Vec<_> = own.filter_map(|it| Some((it.multiple, lookups - it.hits?))).collect();
    let Some((_, present)) = misses.iter().find(|(multiple, _)| *multiple == 1.0) else {
        return Vec::new();
    };
    if *present <= 0.0 {
        return Vec::new();
    }
    let point = |&(multiple, misses): &(f64, f64)| SizePoint {
        multiple,
        misses_factor: misses.max(0.0) / present,
    };
    misses.iter().map(point).collect()
}
