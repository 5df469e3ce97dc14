//! Shadow caches show what the hit ratio would be at another capacity, or with another policy.
//!
//! A shadow cache holds only keys and runs beside the cache. There is one for each policy at each
//! multiple of the capacity that was configured ([`ShadowConfig`]). Each is fed the lookups, insertions
//! and removals of a sample of the keys, and is as small in proportion (`miniature`).
//! [`Cache::shadow_report`](crate::Cache::shadow_report) reads their hit ratios, which are points of the
//! miss-ratio curve, at any time and while the cache works.
//!
//! Sampling keys by hash and simulating a cache in miniature are from C. A. Waldspurger et al.,
//! "Efficient MRC construction with SHARDS", FAST 2015, and "Cache modeling and optimization using
//! miniature simulations", ATC 2017. As there, misses are estimated from the sample and hits are not:
//! too many of the hits depend on whether the hottest key is in the sample. Instead all lookups are
//! counted, and those that do not miss hit. We differ in three ways. Any policy takes part by its own
//! code. Each shadow has a sampling rate of its own, so that small ones are as exact as large ones. And
//! the misses of the cache itself are known for all keys and for the sample. They show the error of the
//! sample (a ratio estimate, as in W. G. Cochran, "Sampling Techniques"), by which the misses of a shadow
//! and its size are corrected (`miniature`).
//!
//! # What a lookup costs
//! Each lookup is counted by an addition (`reclaim::tally`; a few more instructions if the process has
//! more than four caches with shadows at a time, or guards are not fast guards). A lookup of a sampled key
//! also leaves a record in a lossy striped ring, as in `read_buffer`, which maintenance plays to the
//! shadows later; with inline maintenance it is played at once. Whether a key is in the sample is in
//! what a hit reads of its entry in any case (`entry::extension`), so other hits do not check.
//!
//! # What is modelled
//! A read-through cache. A lookup that hits in the cache but not in a shadow inserts the key in the
//! shadow. A lookup that misses in both leaves the shadow as it is until the caller inserts the key. An
//! insertion of a key that the cache lacked but a shadow holds counts as such a load, which the shadow
//! would have made unnecessary, and changes nothing there. A replacement is a use. A shadow has one
//! partition, however many the cache has. Removals are played to it, and expirations when the cache
//! notices them.
//!
//! `namespaces` has the shadows of single namespaces.
//!
//! # Orderings
//! - `is_due`: stored `SeqCst` before the state of the maintenance thread is read, and read `SeqCst`
//!   after that thread has declared the cache idle; see `maintainer`.
//! - Everything else is relaxed: records as in `read_buffer`, and counts.
#![forbid(unsafe_code)]

use std::mem;

use crossbeam_utils::CachePadded;

use std::sync::Arc;

use crate::base::error::BuildError;
use crate::base::hash::KeyHash;
use crate::base::mode::Maintenance;
use crate::base::panics;
use crate::base::stats::{Counter, Stripes};
use crate::base::sync::{self, AtomicBool, AtomicU64, Mutex, Ordering};
use crate::buffer::read_buffer::{Offer, StripedRing};
use crate::entry::EntryPtr;
use crate::maintainer::WakeState;
use crate::policy::Policy;
use crate::policy::bounds::Bounds;
use crate::reclaim::{AnyGuard, Guard, Tally};

// Shadows of single namespaces.
mod namespaces;
mod config;
mod miniature;
mod record;
mod report;

pub use config::ShadowConfig;
#[cfg(feature = "metrics")]
pub(crate) use miniature::ShadowMisses;
use miniature::{Lookups, MissesSeen, ShadowCache};
pub(crate) use namespaces::NamespaceShadows;
pub(crate) use record::ShadowKind;
use record::{SAMPLE_BITS, ShadowRecord, sample_of};
pub use report::{ShadowPoint, ShadowReport};

/// The records that fit into one stripe: as many as a thread that only hits makes during a few pauses
/// of the maintenance thread.
const SLOTS: usize = 1024;
const MAX_STRIPES: usize = 16;

/// The shadow caches of one cache, and the records that wait for them.
pub(crate) struct Shadow {
    /// Keys with sample values below this are recorded. Every miss and every write reads it, so its
    /// cache line holds nothing that is written often.
    threshold: CachePadded<AtomicU64>,
    mode: Maintenance,
    records: StripedRing<SLOTS>,
    /// Some stripe is half full.
    is_due: AtomicBool,
    /// Counts lookups, if one was free.
    tally: Option<Tally>,
    /// The number of the tally, or one that no tally has.
    tally_at: usize,
    /// As hits, the lookups that no tally has counted; as misses, the lookups that missed, which are
    /// counted as lookups too; as dropped accesses, the records that found no room.
    counters: Stripes,
    caches: Mutex<ShadowCaches>,
    /// The cache's own, to wake the maintenance thread when records should be played.
    wake_state: Arc<WakeState>,
}

/// What the shadows of a cache have counted since it was built.
#[cfg(feature = "metrics")]
pub(crate) struct ShadowTotals {
    /// Lookups in the cache, of all keys, that found their key and that did not.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// Records that were dropped because their buffer was full.
    pub(crate) dropped: u64,
    /// For each shadow what it is, and its misses.
    pub(crate) points: Vec<(ShadowPoint, ShadowMisses)>,
}

struct ShadowCaches {
    caches: Vec<ShadowCache>,
    /// Records on their way from the ring to the shadows; empty between two calls.
    batch: Vec<ShadowRecord>,
    /// Records played since counts began; then the lookups, misses and dropped records before that.
    played: u64,
    lookups_before: u64,
    misses_before: u64,
    dropped_before: u64,
    /// The most hits that `totals` has shown.
    #[cfg(feature = "metrics")]
    hits_shown: u64,
}

impl Shadow {
    /// `policy` is the cache's own.
    pub(crate) fn new(
        config: &ShadowConfig,
        policy: &Policy,
        bounds: Bounds,
        mode: Maintenance,
        cores: usize,
        wake_state: Arc<WakeState>,
    ) -> Result<Self, BuildError> {
        let caches = config.caches(policy, bounds)?;
        let stripes = match mode {
            Maintenance::Background => cores.next_power_of_two().min(MAX_STRIPES),
            Maintenance::Inline => 1,
        };
        let tally = Tally::take();
        Ok(Self {
            tally_at: tally.as_ref().map_or(usize::MAX, Tally::at),
            tally,
            threshold: CachePadded::new(AtomicU64::new(highest_threshold(&caches))),
            mode,
            records: StripedRing::new(stripes),
            wake_state,
            is_due: AtomicBool::new(false),
            counters: Stripes::new((cores * 4).max(8)),
            caches: Mutex::new(ShadowCaches {
                caches,
                batch: Vec::new(),
                played: 0,
                lookups_before: 0,
                misses_before: 0,
                dropped_before: 0,
                #[cfg(feature = "metrics")]
                hits_shown: 0,
            }),
        })
    }

    /// Whether some shadow samples the key of this hash.
    #[inline]
    pub(crate) fn samples(&self, hash: KeyHash) -> bool {
        sample_of(hash) < self.threshold.load(Ordering::Relaxed)
    }

    /// Notes a lookup. A hit on a sampled entry is [noted](Self::note_hit) separately, too.
    #[inline(always)]
    pub(crate) fn note_lookup(&self, hash: KeyHash, is_hit: bool, guard: &impl AnyGuard) {
        if !guard.tally(self.tally_at) {
            self.count_lookup(guard.thread());
        }
        if !is_hit {
            self.note_miss(hash, guard.thread());
        }
    }

    #[cold]
    fn count_lookup(&self, thread: usize) {
        self.counters.add(thread, Counter::Hits, 1);
    }

    /// The lookups since the cache was built.
    fn lookups(&self) -> u64 {
        self.counters.sum(Counter::Hits) + self.tally.as_ref().map_or(0, Tally::sum)
    }

    #[inline(never)]
    fn note_miss(&self, hash: KeyHash, thread: usize) {
        self.counters.add(thread, Counter::Misses, 1);
        if self.samples(hash) {
            self.note(ShadowRecord::new(sample_of(hash), ShadowKind::Miss, 0), thread);
        }
    }

    /// Notes a hit on a sampled entry.
    pub(crate) fn note_hit(&self, hash: KeyHash, hit: EntryPtr, guard: &Guard) {
        // An unevictable entry is a hit whatever the bounds and the policy.
        let meta = hit.meta();
        if self.samples(hash) && !meta.is_unevictable() {
            let record = ShadowRecord::new(sample_of(hash), ShadowKind::Hit, meta.weight());
            self.note(record, guard.thread());
        }
    }

    /// Notes that a lookup found a sampled entry invalid. The miss is noted separately.
    #[cold]
    pub(crate) fn note_expired(&self, hash: KeyHash, guard: &Guard) {
        self.note(ShadowRecord::new(sample_of(hash), ShadowKind::Removed, 0), guard.thread());
    }

    /// Notes that a value was stored or an entry removed.
    #[inline]
    pub(crate) fn note_write(
        &self,
        hash: KeyHash,
        kind: ShadowKind,
        weight: u32,
        thread: impl FnOnce() -> usize,
    ) {
        let sample = sample_of(hash);
        if sample < self.threshold.load(Ordering::Relaxed) {
            self.note(ShadowRecord::new(sample, kind, weight), thread());
            if self.is_due() {
                self.try_play();
            }
        }
    }

    fn note(&self, record: ShadowRecord, thread: usize) {
        if self.mode == Maintenance::Inline {
            let mut caches = sync::lock(&self.caches);
            let panics = caches.play(&[record], &self.counters);
            self.update_threshold(&caches);
            drop(caches);
            return panics::discard(panics);
        }
        match self.records.offer(thread, record.to_word()) {
            Offer::Stored => {}
            Offer::HalfFull => self.call_for_play(),
            Offer::Full => {
                self.counters.add(thread, Counter::DroppedAccesses, 1);
                self.call_for_play();
            }
        }
    }

    #[cold]
    fn call_for_play(&self) {
        // Relaxed: the thread that set it has notified the maintenance thread, too.
        if !self.is_due.load(Ordering::Relaxed) {
            // SeqCst: before the wake state is read; see the module head.
            self.is_due.store(true, Ordering::SeqCst);
            self.wake_state.notify();
        }
    }

    /// Takes the lock of the shadow caches, for the time of a fork.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn hold_for_fork(&self) -> impl Sized + '_ {
        sync::lock_for_fork(&self.caches)
    }

    /// Whether enough records wait to be played.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::SeqCst)
    }

    /// Plays the records, unless another thread does.
    pub(crate) fn try_play(&self) {
        if let Some(mut caches) = sync::try_lock(&self.caches) {
            let panics = self.play_all(&mut caches);
            drop(caches);
            panics::discard(panics);
        }
    }

    fn play_all(&self, caches: &mut ShadowCaches) -> Vec<panics::Payload> {
        // Before the records are drained, so that one that is added meanwhile can set it again.
        self.is_due.store(false, Ordering::SeqCst);
        let mut batch = mem::take(&mut caches.batch);
        self.records.drain(|word| batch.push(ShadowRecord::from_word(word)));
        let panics = caches.play(&batch, &self.counters);
        batch.clear();
        caches.batch = batch;
        self.update_threshold(caches);
        panics
    }

    /// Records only those keys from now on that some shadow cache samples.
    fn update_threshold(&self, caches: &ShadowCaches) {
        let threshold = highest_threshold(&caches.caches);
        if threshold != self.threshold.load(Ordering::Relaxed) {
            self.threshold.store(threshold, Ordering::Relaxed);
        }
    }

    /// The results of the shadows since counts began. Waits if another thread plays records.
    pub(crate) fn report(&self) -> ShadowReport {
        let mut caches = sync::lock(&self.caches);
        let panics = self.play_all(&mut caches);
        let lookups = self.lookups().saturating_sub(caches.lookups_before);
        let misses = self.counters.sum(Counter::Misses).saturating_sub(caches.misses_before);
        let dropped =
            self.counters.sum(Counter::DroppedAccesses).saturating_sub(caches.dropped_before);
        let played = caches.played;
        let known = known(played, &self.counters, caches.dropped_before);
        let all = Lookups { lookups: lookups as f64, misses: misses as f64 };
        let report = ShadowReport {
            points: caches.caches.iter().map(|shadow| shadow.point(all, known)).collect(),
            lookups,
            records: played,
            dropped,
            bytes: caches.caches.iter().map(ShadowCache::bytes).sum::<usize>()
                + self.records.bytes(),
        };
        drop(caches);
        panics::discard(panics);
        report
    }

    /// What the shadows have counted since the cache was built, whether counts were reset or not. Waits if another
    /// thread plays records.
    #[cfg(feature = "metrics")]
    pub(crate) fn totals(&self) -> ShadowTotals {
        let mut caches = sync::lock(&self.caches);
        let panics = self.play_all(&mut caches);
        let all = Lookups { lookups: 0.0, misses: 0.0 };
        let points =
            caches.caches.iter().map(|shadow| (shadow.point(all, 1.0), shadow.all_misses()));
        let points = points.collect();
        let misses = self.counters.sum(Counter::Misses);
        // A lookup that misses is counted before its miss, so until then it looks like a hit. What was shown once
        // is not taken back.
        let hits = self.lookups().saturating_sub(misses).max(caches.hits_shown);
        caches.hits_shown = hits;
        drop(caches);
        panics::discard(panics);
        ShadowTotals { hits, misses, dropped: self.counters.sum(Counter::DroppedAccesses), points }
    }

    /// Sets the bounds of the cache, of which each shadow has its multiple. Says whether keys are in the
    /// sample now that were not before.
    pub(crate) fn set_bounds(&self, bounds: Bounds) -> bool {
        let mut caches = sync::lock(&self.caches);
        let before = highest_threshold(&caches.caches);
        let mut panics = self.play_all(&mut caches);
        panics.extend(caches.caches.iter_mut().filter_map(|shadow| shadow.set_bounds(bounds)));
        self.update_threshold(&caches);
        let has_grown = highest_threshold(&caches.caches) > before;
        drop(caches);
        panics::discard(panics);
        has_grown
    }

    /// Resets all counts, and keeps the entries of the shadows.
    pub(crate) fn reset_counts(&self) {
        let mut caches = sync::lock(&self.caches);
        let panics = self.play_all(&mut caches);
        caches.caches.iter_mut().for_each(ShadowCache::reset_counts);
        caches.played = 0;
        caches.lookups_before = self.lookups();
        caches.misses_before = self.counters.sum(Counter::Misses);
        caches.dropped_before = self.counters.sum(Counter::DroppedAccesses);
        drop(caches);
        panics::discard(panics);
    }
}

impl ShadowCaches {
    /// Plays the records to every shadow cache that samples their keys. Returns the payloads of their
    /// policies' panics.
    fn play(&mut self, records: &[ShadowRecord], counters: &Stripes) -> Vec<panics::Payload> {
        self.played += records.len() as u64;
        let (played, dropped_before) = (self.played, self.dropped_before);
        let seen = || MissesSeen {
            misses: counters.sum(Counter::Misses),
            known: known(played, counters, dropped_before),
        };
        self.caches.iter_mut().filter_map(|shadow| shadow.play(records, &seen)).collect()
    }
}

/// The fraction of records that were not dropped. Whether a record is dropped does not depend on its
/// key or kind.
fn known(played: u64, counters: &Stripes, dropped_before: u64) -> f64 {
    let dropped = counters.sum(Counter::DroppedAccesses).saturating_sub(dropped_before);
    played.max(1) as f64 / (played + dropped).max(1) as f64
}

/// The threshold below which some shadow cache samples a key.
fn highest_threshold(caches: &[ShadowCache]) -> u64 {
    caches.iter().map(ShadowCache::threshold).max().unwrap_or(0)
}

/// The number of sample values.
const SAMPLES: u64 = 1 << SAMPLE_BITS;
