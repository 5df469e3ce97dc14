//! What parsers fill: the requests of a trace, with keys renumbered as ids.

use std::collections::HashMap;
use std::hash::Hash;

use crate::trace::error::Problem;
use crate::trace::lifetime::TimeSpan;
use crate::trace::warning::Warning;

/// What a parser has read.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) requests: Vec<u32>,
    pub(super) distinct_keys: u32,
    pub(super) sizes_bytes: Option<Vec<u32>>,
    /// As long as `requests` if there is such a column, else empty; the same holds for the TTLs.
    pub(super) times_ns: Vec<u64>,
    pub(super) ttls_ns: Vec<u64>,
    pub(super) span: TimeSpan,
    pub(super) warnings: Vec<Warning>,
}

/// Numbers keys and collects requests, up to a limit.
pub(super) struct Collector<K> {
    ids: HashMap<K, u32>,
    requests: Vec<u32>,
    sizes_bytes: Vec<u32>,
    times_ns: Vec<u64>,
    ttls_ns: Vec<u64>,
    span: TimeSpan,
    latest_ns: u64,
    /// The first line whose time is earlier than one before it, and the number of such lines.
    goes_back: Option<(u64, u64)>,
    warnings: Vec<Warning>,
    max_requests: u32,
}

impl<K: Hash + Eq> Collector<K> {
    pub(super) fn new(max_requests: u32) -> Self {
        Collector {
            ids: HashMap::new(),
            requests: Vec::new(),
            sizes_bytes: Vec::new(),
            times_ns: Vec::new(),
            ttls_ns: Vec::new(),
            span: TimeSpan::NONE,
            latest_ns: 0,
            goes_back: None,
            warnings: Vec::new(),
            max_requests,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Refuses too many requests before any is stored, so that a hostile count costs nothing.
    pub(super) fn reserve(&self, requests: u64) -> Result<(), Problem> {
        if requests > u64::from(self.max_requests) - self.requests.len() as u64 {
            return Err(Problem::TooManyRequests { limit: self.max_requests });
        }
        Ok(())
    }

    pub(super) fn push(&mut self, key: K) -> Result<(), Problem> {
        self.reserve(1)?;
        // There are no more keys than requests, of which there are at most `u32::MAX`.
        let next = self.ids.len() as u32;
        self.requests.push(*self.ids.entry(key).or_insert(next));
        Ok(())
    }

    pub(super) fn push_sized(&mut self, key: K, size_bytes: u32) -> Result<(), Problem> {
        self.push(key)?;
        self.sizes_bytes.push(size_bytes);
        Ok(())
    }

    /// Adds the time of the next request, which is in that line; keeps it only if entries may
    /// expire.
    pub(super) fn add_time(&mut self, time_ns: u64, line: u64, may_expire: bool) {
        if time_ns < self.latest_ns {
            self.goes_back.get_or_insert((line, 0)).1 += 1;
        }
        self.latest_ns = self.latest_ns.max(time_ns);
        self.span.add(time_ns);
        if may_expire {
            self.times_ns.push(time_ns);
        }
    }

    pub(super) fn add_ttl(&mut self, ttl_ns: u64) {
        self.ttls_ns.push(ttl_ns);
    }

    /// Records a warning, only once for each kind.
    pub(super) fn warn(&mut self, warning: Warning) {
        let kind = std::mem::discriminant(&warning);
        if self.warnings.iter().all(|other| std::mem::discriminant(other) != kind) {
            self.warnings.push(warning);
        }
    }

    pub(super) fn finish(mut self) -> Columns {
        if let Some((line, requests)) = self.goes_back.filter(|_| !self.times_ns.is_empty()) {
            self.warn(Warning::TimesGoBack { line, requests });
        }
        if self.span.is_far() {
            self.warn(Warning::FarTimes);
        }
        Columns {
            distinct_keys: self.ids.len() as u32,
            sizes_bytes: (!self.sizes_bytes.is_empty()).then_some(self.sizes_bytes),
            requests: self.requests,
            times_ns: self.times_ns,
            ttls_ns: self.ttls_ns,
            span: self.span,
            warnings: self.warnings,
        }
    }
}
