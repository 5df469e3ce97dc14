//! Shadow caches: what would the hit ratio be at another capacity, or with another policy?
//!
//! Beside a cache run caches of keys alone, one for each policy and multiple of the capacity that
//! was asked for ([`ShadowConfig`]), each fed with the lookups, insertions and removals of a part
//! of all keys and as small as that part (`miniature`).
//! [`Cache::shadow_report`](crate::Cache::shadow_report) reads their hit ratios: points of the
//! miss-ratio curve, at any time and while the cache works.
//!
//! Sampling keys by hash and simulating a cache in miniature are from C. A. Waldspurger et al.,
//! "Efficient MRC construction with SHARDS", FAST 2015, and "Cache modeling and optimization using
//! miniature simulations", ATC 2017. As there, misses of the sample stand for misses of the whole,
//! but hits do not: whether the hottest key is in the sample decides about too many of them. All
//! lookups are counted instead, and what is no miss is a hit. Here any policy takes part by its
//! own code, and each shadow has a rate of its own, by which small ones are no less exact. And what the
//! cache itself misses is known, of all keys and of the sample: it says by how much the sample errs
//! (a ratio estimate, as in W. G. Cochran, "Sampling Techniques"), in the misses of a shadow and in the
//! room that it needs (`miniature`).
//!
//! # What a lookup costs
//! An addition that counts it (`reclaim::tally`; a few more instructions where a process has more
//! than four caches with shadows at a time, or guards are not marks), and for one key in so many a
//! record in a striped lossy buffer like the one of `read_buffer`, which maintenance plays to the
//! shadows later; with inline maintenance it is played at once. That a key is in the sample its
//! entry says, by what a hit reads in any case (`entry::extension`), so other hits do not ask.
//!
//! # What is modelled
//! Read-through. A lookup that hits in the cache but not in a shadow inserts there what the cache
//! holds. One that misses in both waits for the insertion that the caller makes of it; if none
//! comes, the shadow holds nothing either. An insertion of a key that the cache lacked but a
//! shadow holds is taken for such a load, which the shadow would have spared its caller, and
//! changes nothing there; a replacement is a use. A shadow has one partition, whatever the cache has.
//! Removals are reported to it, and expiry when the cache comes across it.
//!
//! # Orderings
//! - `is_due`: stored `SeqCst` before the maintenance thread's state is looked at, and read
//!   `SeqCst` after that thread has announced to sleep; see `maintainer`.
//! - Everything else is relaxed: records as in `read_buffer`, and counts.
#![forbid(unsafe_code)]

use std::mem;

use crossbeam_utils::CachePadded;

use std::sync::Arc;

use crate::base::error::BuildError;
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

mod config;
mod miniature;
mod record;
mod report;

pub use config::ShadowConfig;
use miniature::{Lookups, MissesSeen, ShadowCache};
pub(crate) use record::ShadowKind;
use record::{SAMPLE_BITS, ShadowRecord, sample_of};
pub use report::{ShadowPoint, ShadowReport};

/// Records of one stripe: what a thread that does nothing but hit records in a few of the
/// maintenance thread's pauses.
const SLOTS: usize = 1024;
const MAX_STRIPES: usize = 16;

/// The shadows of one cache.
pub(crate) struct Shadow {
    /// Keys with sample values below it are recorded. Every miss and every write reads it, on a cache
    /// line that is seldom written.
    threshold: CachePadded<AtomicU64>,
    mode: Maintenance,
    records: StripedRing<SLOTS>,
    /// Some stripe is half full.
    is_due: AtomicBool,
    /// Counts lookups, if one was to be had; and its number, or one that there is not.
    tally: Option<Tally>,
    tally_at: usize,
    /// Lookups that no tally has counted, as hits; misses, which are lookups as well; and records that
    /// found no room, as dropped accesses.
    counters: Stripes,
    caches: Mutex<ShadowCaches>,
    /// The cache's, so that the maintenance thread comes to play.
    wake_state: Arc<WakeState>,
}

struct ShadowCaches {
    caches: Vec<ShadowCache>,
    /// Where records are gathered; empty between two calls.
    batch: Vec<ShadowRecord>,
    /// Records played; and how many lookups, misses and dropped records there were when counts began.
    played: u64,
    lookups_before: u64,
    misses_before: u64,
    dropped_before: u64,
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
            }),
        })
    }

    /// Whether some shadow wants the key of this hash reported.
    #[inline]
    pub(crate) fn samples(&self, hash: u64) -> bool {
        sample_of(hash) < self.threshold.load(Ordering::Relaxed)
    }

    /// A lookup. If it was a hit on a sampled entry, that was [noted](Self::note_hit) apart.
    #[inline(always)]
    pub(crate) fn note_lookup(&self, hash: u64, is_hit: bool, guard: &impl AnyGuard) {
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

    /// Since the cache was built.
    fn lookups(&self) -> u64 {
        self.counters.sum(Counter::Hits) + self.tally.as_ref().map_or(0, Tally::sum)
    }

    #[inline(never)]
    fn note_miss(&self, hash: u64, thread: usize) {
        self.counters.add(thread, Counter::Misses, 1);
        if self.samples(hash) {
            self.note(ShadowRecord::new(sample_of(hash), ShadowKind::Miss, 0), thread);
        }
    }

    /// A hit on a sampled entry.
    pub(crate) fn note_hit(&self, hash: u64, hit: EntryPtr, guard: &Guard) {
        // A hit whatever the bounds and the policy, if it is unevictable.
        let meta = hit.meta();
        if self.samples(hash) && !meta.is_unevictable() {
            let record = ShadowRecord::new(sample_of(hash), ShadowKind::Hit, meta.weight());
            self.note(record, guard.thread());
        }
    }

    /// A lookup found that a sampled entry is not valid any more; it is a miss besides.
    #[cold]
    pub(crate) fn note_expired(&self, hash: u64, guard: &Guard) {
        self.note(ShadowRecord::new(sample_of(hash), ShadowKind::Removed, 0), guard.thread());
    }

    /// Something was stored or removed.
    #[inline]
    pub(crate) fn note_write(
        &self,
        hash: u64,
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
            self.follow(&caches);
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
            // SeqCst: before the look at the cache's state; see the module head.
            self.is_due.store(true, Ordering::SeqCst);
            self.wake_state.notify();
        }
    }

    /// Takes the lock of what was played, for the time of a fork.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn hold_for_fork(&self) -> impl Sized + '_ {
        sync::lock_for_fork(&self.caches)
    }

    /// Whether records wait in numbers.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::SeqCst)
    }

    /// Plays what was recorded, unless another thread does.
    pub(crate) fn try_play(&self) {
        if let Some(mut caches) = sync::try_lock(&self.caches) {
            let panics = self.play_all(&mut caches);
            drop(caches);
            panics::discard(panics);
        }
    }

    fn play_all(&self, caches: &mut ShadowCaches) -> Vec<panics::Payload> {
        // Before the records: one that comes meanwhile raises it again.
        self.is_due.store(false, Ordering::SeqCst);
        let mut batch = mem::take(&mut caches.batch);
        self.records.drain(|word| batch.push(ShadowRecord::from_word(word)));
        let panics = caches.play(&batch, &self.counters);
        batch.clear();
        caches.batch = batch;
        self.follow(caches);
        panics
    }

    /// Records no more than the shadow caches want.
    fn follow(&self, caches: &ShadowCaches) {
        let threshold = highest_threshold(&caches.caches);
        if threshold != self.threshold.load(Ordering::Relaxed) {
            self.threshold.store(threshold, Ordering::Relaxed);
        }
    }

    /// What the shadows have shown since counts began. Waits for who is at them.
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

    /// The cache has other bounds from now on, and each shadow its multiple of them. Says whether
    /// keys are in the sample now that were not before.
    pub(crate) fn set_bounds(&self, bounds: Bounds) -> bool {
        let mut caches = sync::lock(&self.caches);
        let before = highest_threshold(&caches.caches);
        let mut panics = self.play_all(&mut caches);
        panics.extend(caches.caches.iter_mut().filter_map(|shadow| shadow.set_bounds(bounds)));
        self.follow(&caches);
        let has_grown = highest_threshold(&caches.caches) > before;
        drop(caches);
        panics::discard(panics);
        has_grown
    }

    /// Begins counts anew, and keeps what the shadows hold.
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
    /// Plays the records in every shadow cache that wants them; returns what their policies
    /// panicked with.
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

/// The part of the records that was not dropped. Records are dropped regardless of what they are
/// about.
fn known(played: u64, counters: &Stripes, dropped_before: u64) -> f64 {
    let dropped = counters.sum(Counter::DroppedAccesses).saturating_sub(dropped_before);
    played.max(1) as f64 / (played + dropped).max(1) as f64
}

/// Below it are the sample values of all keys that some shadow cache wants.
fn highest_threshold(caches: &[ShadowCache]) -> u64 {
    caches.iter().map(ShadowCache::threshold).max().unwrap_or(0)
}

/// Sample values are below it.
const SAMPLES: u64 = 1 << SAMPLE_BITS;
