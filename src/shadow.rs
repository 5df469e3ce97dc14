//! Shadow caches: what would the hit ratio be at another capacity, or with another policy?
//!
//! Beside a cache run caches of keys alone, one for each policy and multiple of the capacity that
//! was asked for ([`ShadowConfig`]), each fed with the lookups, insertions and removals of a part
//! of all keys and as small as that part (`ghost`). [`Cache::shadow_report`] reads their hit
//! ratios: points of the miss-ratio curve, at any time and while the cache works.
//!
//! Sampling keys by hash and simulating a cache in miniature are from C. A. Waldspurger et al.,
//! "Efficient MRC construction with SHARDS", FAST 2015, and "Cache modeling and optimization using
//! miniature simulations", ATC 2017. As there, misses of the sample stand for misses of the whole,
//! but hits do not: whether the hottest key is in the sample decides about too many of them. All
//! lookups are counted instead, and what is no miss is a hit. Here any policy takes part by its
//! own code, and each shadow has a rate of its own, by which small ones are no less exact.
//!
//! # What a lookup costs
//! A multiplication and a comparison, and for one key in so many a record in a striped lossy
//! buffer like the one of `read_buffer`, which maintenance plays to the shadows later. With inline
//! maintenance it is played at once, and counted exactly.
//!
//! # What is modelled
//! Read-through. A lookup that hits in the cache but not in a shadow inserts there what the cache
//! holds. One that misses in both waits for the insertion that the caller makes of it; if none
//! comes, the shadow holds nothing either. An insertion of a key that the cache lacked but a
//! shadow holds is taken for such a load, which the shadow would have spared its caller, and
//! changes nothing there; a replacement is a use. A shadow has one partition, whatever the cache has.
//! It hears of removals, but not of expiry by time.
//!
//! # Orderings
//! - `is_due`: stored `SeqCst` before the maintenance thread's state is looked at, and read
//!   `SeqCst` after that thread has announced to sleep; see `maintainer`.
//! - Everything else is relaxed: records as in `read_buffer`, and counts.
#![forbid(unsafe_code)]

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use crate::contain;
use crate::entry::Header;
use crate::error::BuildError;
use crate::evict::Bounds;
use crate::maintainer;
use crate::maintenance::Maintenance;
use crate::policy::Policy;
use crate::read_buffer::{Offer, Words};
use crate::reclaim::Guard;
use crate::stats::{Counter, Stripes};
use crate::sync::{self, AtomicBool, AtomicU64, Mutex, Ordering};

mod config;
mod ghost;
mod record;

pub use config::{ShadowConfig, ShadowPoint, ShadowReport};
use ghost::Ghost;
use record::{Kind, Record, SAMPLE_BITS, sample_of};

#[cfg(doc)]
use crate::Cache;

/// Records of one stripe: what a thread that does nothing but hit records in a few of the
/// maintenance thread's pauses.
const SLOTS: usize = 1024;
const MAX_STRIPES: usize = 16;
/// In background mode a thread counts so many lookups at a time.
const COUNTED_LOOKUPS: u32 = 64;
const _: () = assert!(COUNTED_LOOKUPS.is_power_of_two());

thread_local! {
    /// Lookups of this thread in caches that have shadows. One in so many of them counts for all,
    /// in whichever cache it falls: each gets its part in the long run.
    static LOOKUPS: Cell<u32> = const { Cell::new(0) };
}

/// The shadows of one cache.
pub(crate) struct Shadow {
    filter: CachePadded<Filter>,
    mode: Maintenance,
    records: Words<SLOTS>,
    /// Some stripe is half full.
    is_due: AtomicBool,
    /// Lookups, as hits, and records that found no room, as dropped accesses.
    counters: Stripes,
    ghosts: Mutex<Ghosts>,
}

/// What every lookup reads, on a cache line that is seldom written.
struct Filter {
    /// Keys with sample values below it are recorded.
    threshold: AtomicU64,
    /// A thread counts its lookups when their number has none of these bits: each, or one in
    /// `COUNTED_LOOKUPS`.
    uncounted: u32,
}

struct Ghosts {
    ghosts: Vec<Ghost>,
    /// Records played, and their number, lookups, and records dropped when counts began.
    played: u64,
    lookups_before: u64,
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
    ) -> Result<Self, BuildError> {
        let ghosts = config.ghosts(policy, bounds)?;
        let stripes = match mode {
            Maintenance::Background => cores.next_power_of_two().min(MAX_STRIPES),
            Maintenance::Inline => 1,
        };
        Ok(Self {
            filter: CachePadded::new(Filter {
                threshold: AtomicU64::new(ghosts.iter().map(Ghost::threshold).max().unwrap_or(0)),
                uncounted: match mode {
                    Maintenance::Background => COUNTED_LOOKUPS - 1,
                    Maintenance::Inline => 0,
                },
            }),
            mode,
            records: Words::new(stripes),
            is_due: AtomicBool::new(false),
            counters: Stripes::new((cores * 4).max(8)),
            ghosts: Mutex::new(Ghosts { ghosts, played: 0, lookups_before: 0, dropped_before: 0 }),
        })
    }

    /// A lookup, and the entry that it found.
    #[inline(always)]
    pub(crate) fn note_lookup(&self, hash: u64, hit: Option<&Header>, guard: &Guard) {
        if LOOKUPS.get() & self.filter.uncounted == 0 {
            self.count_lookups(guard);
        }
        LOOKUPS.set(LOOKUPS.get().wrapping_add(1));
        if sample_of(hash) < self.filter.threshold.load(Ordering::Relaxed) {
            self.note_sampled(hash, hit, guard);
        }
    }

    #[inline(never)]
    fn count_lookups(&self, guard: &Guard) {
        self.counters.add(guard.thread(), Counter::Hits, u64::from(self.filter.uncounted) + 1);
    }

    #[inline(never)]
    fn note_sampled(&self, hash: u64, hit: Option<&Header>, guard: &Guard) {
        if hit.is_some_and(Header::is_unevictable) {
            return; // a hit whatever the bounds and the policy
        }
        let kind = if hit.is_some() { Kind::Hit } else { Kind::Miss };
        let weight = hit.map_or(0, Header::weight);
        self.note(Record::new(sample_of(hash), kind, weight), guard.thread());
    }

    /// Something was stored or removed.
    #[inline]
    pub(crate) fn note_write(
        &self,
        hash: u64,
        kind: Kind,
        weight: u32,
        thread: impl FnOnce() -> usize,
    ) {
        let sample = sample_of(hash);
        if sample < self.filter.threshold.load(Ordering::Relaxed) {
            self.note(Record::new(sample, kind, weight), thread());
            if self.is_due() {
                self.try_play();
            }
        }
    }

    fn note(&self, record: Record, thread: usize) {
        if self.mode == Maintenance::Inline {
            let mut ghosts = sync::lock(&self.ghosts);
            let panics = ghosts.play(record);
            self.follow(&ghosts);
            drop(ghosts);
            return contain::discard(panics);
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
        // Relaxed: whoever has set it has notified the thread, too.
        if !self.is_due.load(Ordering::Relaxed) {
            // SeqCst: before the look at the thread's state; see the module head.
            self.is_due.store(true, Ordering::SeqCst);
            maintainer::notify();
        }
    }

    /// Whether records wait in numbers.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::SeqCst)
    }

    /// Plays what was recorded, unless another thread is at it.
    pub(crate) fn try_play(&self) {
        if let Some(mut ghosts) = sync::try_lock(&self.ghosts) {
            let panics = self.play_all(&mut ghosts);
            drop(ghosts);
            contain::discard(panics);
        }
    }

    fn play_all(&self, ghosts: &mut Ghosts) -> Vec<contain::Payload> {
        // Before the records: one that comes meanwhile raises it again.
        self.is_due.store(false, Ordering::SeqCst);
        let mut panics = Vec::new();
        self.records.drain(|word| panics.extend(ghosts.play(Record::from_word(word))));
        self.follow(ghosts);
        panics
    }

    /// Records no more than the ghosts want.
    fn follow(&self, ghosts: &Ghosts) {
        let threshold = ghosts.ghosts.iter().map(Ghost::threshold).max().unwrap_or(0);
        if threshold != self.filter.threshold.load(Ordering::Relaxed) {
            self.filter.threshold.store(threshold, Ordering::Relaxed);
        }
    }

    /// What the shadows have shown since counts began. Waits for who is at them.
    pub(crate) fn report(&self) -> ShadowReport {
        let mut ghosts = sync::lock(&self.ghosts);
        let panics = self.play_all(&mut ghosts);
        let lookups = self.counters.sum(Counter::Hits).saturating_sub(ghosts.lookups_before);
        let dropped =
            self.counters.sum(Counter::DroppedAccesses).saturating_sub(ghosts.dropped_before);
        let played = ghosts.played;
        // Lookups that the shadows know of: what was dropped, was dropped whatever it was.
        let known = lookups as f64 * played as f64 / (played + dropped).max(1) as f64;
        let report = ShadowReport {
            points: ghosts.ghosts.iter().map(|ghost| ghost.point(known)).collect(),
            lookups,
            records: played,
            dropped,
            bytes: ghosts.ghosts.iter().map(Ghost::bytes).sum::<usize>() + self.records.bytes(),
        };
        drop(ghosts);
        contain::discard(panics);
        report
    }

    /// The cache has other bounds from now on, and each shadow its multiple of them.
    pub(crate) fn set_bounds(&self, bounds: Bounds) {
        let mut ghosts = sync::lock(&self.ghosts);
        let mut panics = self.play_all(&mut ghosts);
        panics.extend(ghosts.ghosts.iter_mut().filter_map(|ghost| ghost.set_bounds(bounds)));
        self.follow(&ghosts);
        drop(ghosts);
        contain::discard(panics);
    }

    /// Begins counts anew, and keeps what the shadows hold.
    pub(crate) fn reset_counts(&self) {
        let mut ghosts = sync::lock(&self.ghosts);
        let panics = self.play_all(&mut ghosts);
        ghosts.ghosts.iter_mut().for_each(Ghost::reset_counts);
        ghosts.played = 0;
        ghosts.lookups_before = self.counters.sum(Counter::Hits);
        ghosts.dropped_before = self.counters.sum(Counter::DroppedAccesses);
        drop(ghosts);
        contain::discard(panics);
    }
}

impl Ghosts {
    /// Plays one record in every ghost that wants it; returns what their policies panicked with.
    fn play(&mut self, record: Record) -> Vec<contain::Payload> {
        self.played += 1;
        let wanting = self.ghosts.iter_mut().filter(|ghost| record.sample() < ghost.threshold());
        wanting.filter_map(|ghost| ghost.play(record)).collect()
    }
}

pub(crate) use record::Kind as ShadowKind;

/// Sample values are below it.
const SAMPLES: u64 = 1 << SAMPLE_BITS;
