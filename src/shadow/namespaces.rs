//! Shadow caches of single namespaces, which are made on request.
//!
//! A namespace is *followed* from the call that asks until the one that ends it: its shadows simulate a cache that
//! is its own, at multiples of a bound that the caller gives. Nothing is kept for the other namespaces, however
//! many there are, and nothing at all before the first is followed.
//!
//! # What is an access
//! A lookup that finds nothing does not know to which namespace its key would belong. So an access that misses is
//! the insertion of an absent key, which in a read-through cache follows from the lookup. It becomes known when
//! maintenance applies it (`engine::evict::quotas`), as do replacements and removals. Hits are recorded by the
//! lookups themselves, and the entry's account says the namespace.
//!
//! # What it costs
//! Each lookup that finds an entry reads one word of a table that changes only when the following of a namespace
//! begins or ends, or a rate falls; the table exists only once a namespace was followed. If the namespace of the
//! entry is followed, the hit is counted. Only hits on entries of sampled keys leave a record, as in the shadows of
//! the whole cache, and the flag of the entry is the same.
//!
//! ```text
//!   the word of a namespace; 0 if it is not followed      the low 8 bits of a record's sample value
//!   63                           9   8   7            0    7            6 5       0
//!   |        threshold:49         | 1 | generation, slot |  | generation:2 | slot:6 |
//! ```
//!
//! The sample values of records lack their low 8 bits, in which a record says whose it is. The generation of a
//! slot changes with each namespace that takes it, so that records of the one before are recognized.
//!
//! # Orderings
//! - `is_due`: as in `shadow`.
//! - Everything else is relaxed: records as in `read_buffer`, counts, and words, each of which stands for itself.
#![forbid(unsafe_code)]

use std::mem;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::miniature::{Lookups, MissesSeen, ShadowCache};
use super::record::{ShadowKind, ShadowRecord, sample_of};
use super::report::ShadowReport;
use super::{ShadowConfig, highest_threshold};
use crate::base::error::NamespaceShadowError;
use crate::base::hash::KeyHash;
use crate::base::lazy_box::LazyBox;
use crate::base::mode::Maintenance;
use crate::base::panics;
use crate::base::sync::{self, AtomicBool, AtomicU64, Mutex, Ordering};
use crate::buffer::read_buffer::{Offer, StripedRing};
use crate::maintainer::WakeState;
use crate::policy::Policy;
use crate::policy::bounds::Bounds;

/// The most namespaces that are followed at a time.
const MAX_FOLLOWED: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 6;
const OWNER_BITS: u32 = 8;
const OWNER: u64 = (1 << OWNER_BITS) - 1;
const IS_FOLLOWED: u64 = 1 << OWNER_BITS;
const THRESHOLD_SHIFT: u32 = OWNER_BITS + 1;
/// The records that fit into one stripe.
const SLOTS: usize = 1024;
const MAX_STRIPES: usize = 8;

/// The owner of a record: a slot, and the generation of the namespace in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner(u64);

impl Owner {
    fn slot(self) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "6 bits are wanted")]
        {
            self.0 as usize % MAX_FOLLOWED
        }
    }

    /// The next owner in the same slot.
    fn next(self) -> Self {
        Self((self.0 + MAX_FOLLOWED as u64) & OWNER)
    }
}

/// The shadow caches of the namespaces of one cache.
pub(crate) struct NamespaceShadows {
    /// The cache's own.
    policy: Policy,
    mode: Maintenance,
    cores: usize,
    namespaces: usize,
    /// The cache's own, to wake the maintenance thread when records should be played.
    wake_state: Arc<WakeState>,
    /// Made when the first namespace is followed.
    followed: LazyBox<FollowTable>,
}

struct FollowTable {
    /// The word of each namespace.
    words: Box<[AtomicU64]>,
    /// For each slot its hits, as some of the threads have counted them.
    hits: Box<[CachePadded<[AtomicU64; MAX_FOLLOWED]>]>,
    counts: Box<[CachePadded<SlotCounts>]>,
    records: StripedRing<SLOTS>,
    /// Some stripe is half full.
    is_due: AtomicBool,
    roster: Mutex<FollowedNamespaces>,
}

struct FollowedNamespaces {
    all: Vec<FollowedNamespace>,
    /// For each slot the owner that took it last.
    latest: [Owner; MAX_FOLLOWED],
}

/// What was counted for the namespaces of one slot, one after the other.
#[derive(Default)]
struct SlotCounts {
    /// Insertions of absent keys.
    misses: AtomicU64,
    /// Records that found no room.
    dropped: AtomicU64,
}

/// Counts of a slot at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    hits: u64,
    misses: u64,
    dropped: u64,
}

struct FollowedNamespace {
    number: u32,
    owner: Owner,
    caches: Vec<ShadowCache>,
    /// Records on their way to the shadows; empty between two calls.
    batch: Vec<ShadowRecord>,
    /// What the slot had counted when the namespace took it, and when the counts of the report began.
    taken_at: Seen,
    from: Seen,
    /// Records since the counts of the report began.
    played: u64,
}

impl FollowedNamespaces {
    fn new() -> Self {
        Self { all: Vec::new(), latest: std::array::from_fn(|slot| Owner(slot as u64)) }
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut FollowedNamespace> {
        self.all.iter_mut().find(|namespace| namespace.number == number)
    }

    fn remove(&mut self, number: u32) -> Option<FollowedNamespace> {
        let at = self.all.iter().position(|namespace| namespace.number == number)?;
        Some(self.all.swap_remove(at))
    }

    /// An owner that no record has yet. `None` if no slot is free.
    fn new_owner(&mut self) -> Option<Owner> {
        let is_free = |owner: &&mut Owner| {
            self.all.iter().all(|namespace| namespace.owner.slot() != owner.slot())
        };
        let owner = self.latest.iter_mut().find(is_free)?;
        *owner = owner.next();
        Some(*owner)
    }
}

impl FollowTable {
    fn new(namespaces: usize, mode: Maintenance, cores: usize) -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let stripes = cores.next_power_of_two().min(MAX_STRIPES);
        let row = || CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let rings = match mode {
            Maintenance::Background => stripes,
            // One, so that all records stay in order.
            Maintenance::Inline => 1,
        };
        Self {
            words: zeros(namespaces),
            hits: (0..stripes).map(|_| row()).collect(),
            counts: (0..MAX_FOLLOWED).map(|_| CachePadded::default()).collect(),
            records: StripedRing::new(rings),
            is_due: AtomicBool::new(false),
            roster: Mutex::new(FollowedNamespaces::new()),
        }
    }

    fn word(&self, number: u32) -> u64 {
        self.words[number as usize].load(Ordering::Relaxed)
    }

    fn set_word(&self, namespace: &FollowedNamespace) {
        let threshold = highest_threshold(&namespace.caches);
        let word = threshold << THRESHOLD_SHIFT | IS_FOLLOWED | namespace.owner.0;
        let shown = &self.words[namespace.number as usize];
        if shown.load(Ordering::Relaxed) != word {
            shown.store(word, Ordering::Relaxed);
        }
    }

    fn seen(&self, owner: Owner) -> Seen {
        let slot = owner.slot();
        let SlotCounts { misses, dropped } = &*self.counts[slot];
        Seen {
            hits: self.hits.iter().map(|row| row[slot].load(Ordering::Relaxed)).sum(),
            misses: misses.load(Ordering::Relaxed),
            dropped: dropped.load(Ordering::Relaxed),
        }
    }

    /// Keeps a record of a sampled key, whose owner it has.
    fn offer(&self, owner: Owner, hash: KeyHash, kind: ShadowKind, weight: u32) -> Offer {
        let sample = sample_of(hash);
        let record = ShadowRecord::new(sample & !OWNER | owner.0, kind, weight);
        // By the key, so that the records of one stay in order. The low bits of its sample value are as good as
        // random among the keys of a sample.
        #[expect(clippy::cast_possible_truncation, reason = "a few bits are wanted")]
        let stripe = sample as usize;
        let offer = self.records.offer(stripe, record.to_word());
        if offer == Offer::Full {
            self.counts[owner.slot()].dropped.fetch_add(1, Ordering::Relaxed);
        }
        offer
    }

    /// Plays the records that wait. Returns the payloads of the policies' panics.
    fn play_all(&self, roster: &mut FollowedNamespaces) -> Vec<panics::Payload> {
        // Before the records are drained, so that one that is added meanwhile can set it again.
        self.is_due.store(false, Ordering::SeqCst);
        self.records.drain(|word| {
            let record = ShadowRecord::from_word(word);
            let owner = Owner(record.sample() & OWNER);
            let mut all = roster.all.iter_mut();
            if let Some(namespace) = all.find(|namespace| namespace.owner == owner) {
                namespace.add(record.with_sample(record.sample() & !OWNER));
            }
        });
        let mut panics = Vec::new();
        for namespace in &mut roster.all {
            if !namespace.batch.is_empty() {
                let owner = namespace.owner;
                namespace.play(&|| self.seen(owner), &mut panics);
                self.set_word(namespace);
            }
        }
        panics
    }
}

impl FollowedNamespace {
    fn add(&mut self, record: ShadowRecord) {
        self.batch.push(record);
        self.played += 1;
        if record.kind() == ShadowKind::Miss {
            // The value that was missed is what was inserted.
            let weight = record.weight();
            self.batch.push(ShadowRecord::new(record.sample(), ShadowKind::Added, weight));
        }
    }

    /// Plays its batch to all of its shadows.
    fn play(&mut self, seen: &dyn Fn() -> Seen, panics: &mut Vec<panics::Payload>) {
        let batch = mem::take(&mut self.batch);
        let (taken_at, played, from) = (self.taken_at, self.played, self.from);
        let misses = || {
            let seen = seen();
            MissesSeen {
                misses: seen.misses.saturating_sub(taken_at.misses),
                known: known(played, seen, from),
            }
        };
        panics.extend(self.caches.iter_mut().filter_map(|shadow| shadow.play(&batch, &misses)));
        self.batch = batch;
        self.batch.clear();
    }
}

/// The fraction of records that were not dropped.
fn known(played: u64, seen: Seen, from: Seen) -> f64 {
    let dropped = seen.dropped.saturating_sub(from.dropped);
    played.max(1) as f64 / (played + dropped).max(1) as f64
}

impl NamespaceShadows {
    /// `policy` is the cache's own.
    pub(crate) fn new(
        policy: &Policy,
        namespaces: usize,
        mode: Maintenance,
        cores: usize,
        wake_state: Arc<WakeState>,
    ) -> Self {
        let policy = policy.clone();
        Self { policy, mode, cores, namespaces, wake_state, followed: LazyBox::new() }
    }

    /// The word of a namespace that is followed.
    #[inline]
    fn following(&self, number: u32) -> Option<(&FollowTable, u64)> {
        let followed = self.followed.get()?;
        let word = followed.word(number);
        (word != 0).then_some((followed, word))
    }

    /// Whether the namespace is followed and some shadow samples the key of this hash.
    #[inline]
    pub(crate) fn samples(&self, number: u32, hash: KeyHash) -> bool {
        self.following(number).is_some_and(|(_, word)| is_sampled(word, hash))
    }

    /// Counts a lookup, by the thread of that number, that found an entry of the namespace.
    #[inline]
    pub(crate) fn count_hit(&self, number: u32, thread: usize) {
        if let Some((followed, word)) = self.following(number) {
            let row = &followed.hits[thread % followed.hits.len()];
            row[Owner(word & OWNER).slot()].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes a hit on an entry whose hits are reported, or that such an entry was found invalid. The caller may
    /// hold a guard, but no lock of the cache.
    pub(crate) fn note_found(&self, number: u32, hash: KeyHash, kind: ShadowKind, weight: u32) {
        let Some((followed, word)) = self.following(number) else { return };
        if !is_sampled(word, hash) {
            return;
        }
        let offer = followed.offer(Owner(word & OWNER), hash, kind, weight);
        if offer == Offer::Stored || followed.is_due.load(Ordering::Relaxed) {
            return;
        }
        match self.mode {
            Maintenance::Background => {
                // SeqCst: before the wake state is read; see the module head.
                followed.is_due.store(true, Ordering::SeqCst);
                self.wake_state.notify();
            }
            Maintenance::Inline => self.try_play(),
        }
    }

    /// Notes what maintenance has applied to an entry. The caller holds the lock of its partition; whoever has
    /// released it [plays](Self::play_if_due) the records if enough wait.
    pub(crate) fn note_applied(&self, number: u32, hash: KeyHash, kind: ShadowKind, weight: u32) {
        let Some((followed, word)) = self.following(number) else { return };
        let owner = Owner(word & OWNER);
        if kind == ShadowKind::Miss {
            followed.counts[owner.slot()].misses.fetch_add(1, Ordering::Relaxed);
        }
        if is_sampled(word, hash) && followed.offer(owner, hash, kind, weight) != Offer::Stored {
            followed.is_due.store(true, Ordering::SeqCst);
        }
    }

    /// Whether enough records wait to be played.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.followed.get().is_some_and(|followed| followed.is_due.load(Ordering::SeqCst))
    }

    /// Plays the records if enough wait, unless another thread does. The caller holds no lock of the cache.
    #[inline]
    pub(crate) fn play_if_due(&self) {
        if self.is_due() {
            self.try_play();
        }
    }

    #[cold]
    fn try_play(&self) {
        if let Some(followed) = self.followed.get()
            && let Some(mut roster) = sync::try_lock(&followed.roster)
        {
            let panics = followed.play_all(&mut roster);
            drop(roster);
            panics::discard(panics);
        }
    }

    /// Plays all records, and then calls `use_roster` under the lock; `None` if nothing was ever followed.
    fn with_roster<R>(
        &self,
        use_roster: impl FnOnce(&FollowTable, &mut FollowedNamespaces) -> R,
    ) -> Option<R> {
        let followed = self.followed.get()?;
        let mut roster = sync::lock(&followed.roster);
        let panics = followed.play_all(&mut roster);
        let result = use_roster(followed, &mut roster);
        drop(roster);
        panics::discard(panics);
        Some(result)
    }

    /// Follows a namespace from now on, with shadows at multiples of `bounds`. If it was followed before, that
    /// ends.
    pub(crate) fn follow(
        &self,
        number: u32,
        bounds: Bounds,
        config: &ShadowConfig,
    ) -> Result<(), NamespaceShadowError> {
        // Made and dropped under no lock, because a policy may be the user's.
        let caches = config.caches(&self.policy, bounds).map_err(NamespaceShadowError::Config)?;
        let mut new = Some(caches);
        self.followed.get_or_make(|| FollowTable::new(self.namespaces, self.mode, self.cores));
        let ended = self.with_roster(|followed, roster| {
            let ended = roster.remove(number);
            let owner = roster.new_owner()?;
            let (caches, batch) = (new.take()?, Vec::new());
            let (taken_at, played) = (followed.seen(owner), 0);
            let namespace = FollowedNamespace {
                number,
                owner,
                caches,
                batch,
                taken_at,
                from: taken_at,
                played,
            };
            followed.set_word(&namespace);
            roster.all.push(namespace);
            Some(ended)
        });
        match ended.flatten() {
            Some(_) => Ok(()),
            None => Err(NamespaceShadowError::TooMany { limit: MAX_FOLLOWED }),
        }
    }

    /// Shows the shadows of a namespace keys that it held before it was followed, each with its weight.
    pub(crate) fn fill(&self, number: u32, held: &[(KeyHash, u32)]) {
        let panics = self.with_roster(|followed, roster| {
            let mut panics = Vec::new();
            if let Some(namespace) = roster.get_mut(number) {
                let records = held.iter().map(|(hash, weight)| {
                    ShadowRecord::new(sample_of(*hash) & !OWNER, ShadowKind::Added, *weight)
                });
                namespace.batch.extend(records);
                let owner = namespace.owner;
                namespace.play(&|| followed.seen(owner), &mut panics);
                followed.set_word(namespace);
            }
            panics
        });
        panics::discard(panics.unwrap_or_default());
    }

    /// Ends the shadows of a namespace. False if it is not followed.
    pub(crate) fn end(&self, number: u32) -> bool {
        let ended = self.with_roster(|followed, roster| {
            let ended = roster.remove(number)?;
            followed.words[number as usize].store(0, Ordering::Relaxed);
            Some(ended)
        });
        ended.flatten().is_some()
    }

    /// Empties the shadows of a namespace whose entries were invalidated.
    pub(crate) fn clear(&self, number: u32) {
        if self.following(number).is_none() {
            return;
        }
        let panics = self.with_roster(|_, roster| {
            let caches = roster.get_mut(number).into_iter().flat_map(|own| &mut own.caches);
            caches.filter_map(ShadowCache::clear).collect::<Vec<_>>()
        });
        panics::discard(panics.unwrap_or_default());
    }

    /// The results of the shadows of a namespace since counts began; `None` if it is not followed. Waits if
    /// another thread plays records.
    pub(crate) fn report(&self, number: u32) -> Option<ShadowReport> {
        let report = self.with_roster(|followed, roster| {
            let FollowedNamespace { owner, caches, from, played, .. } = roster.get_mut(number)?;
            let seen = followed.seen(*owner);
            let misses = seen.misses.saturating_sub(from.misses);
            let lookups = seen.hits.saturating_sub(from.hits) + misses;
            let known = known(*played, seen, *from);
            let counted = Lookups { lookups: lookups as f64, misses: misses as f64 };
            Some(ShadowReport {
                points: caches.iter().map(|shadow| shadow.point(counted, known)).collect(),
                lookups,
                records: *played,
                dropped: seen.dropped.saturating_sub(from.dropped),
                bytes: caches.iter().map(ShadowCache::bytes).sum(),
            })
        });
        report.flatten()
    }

    /// Resets the counts of all followed namespaces, and keeps the entries of their shadows.
    pub(crate) fn reset_counts(&self) {
        self.with_roster(|followed, roster| {
            for namespace in &mut roster.all {
                namespace.caches.iter_mut().for_each(ShadowCache::reset_counts);
                namespace.from = followed.seen(namespace.owner);
                namespace.played = 0;
            }
        });
    }

    /// Takes the lock of the shadow caches, for the time of a fork.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn hold_for_fork(&self) -> impl Sized + '_ {
        self.followed.get().map(|followed| sync::lock_for_fork(&followed.roster))
    }
}

/// Whether the word of a followed namespace says that the key of this hash is sampled.
#[inline]
fn is_sampled(word: u64, hash: KeyHash) -> bool {
    (sample_of(hash) & !OWNER) < word >> THRESHOLD_SHIFT
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;
    use crate::maintainer::Attendance;

    const ENTRIES: usize = 100;

    fn shadows(namespaces: usize) -> NamespaceShadows {
        let wake_state = Attendance::new().wake_state();
        NamespaceShadows::new(&Policy::lru(), namespaces, Maintenance::Inline, 8, wake_state)
    }

    fn follow(shadows: &NamespaceShadows, number: u32) {
        let bounds = Bounds { capacity: Some(ENTRIES), max_weight: None };
        shadows.follow(number, bounds, &ShadowConfig::new()).expect("a namespace that is there");
    }

    fn hash(number: u64) -> KeyHash {
        KeyHash::from_raw(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16)
    }

    #[test]
    fn records_of_the_one_before_in_a_slot_are_recognized() {
        let shadows = shadows(4);
        follow(&shadows, 1);
        let before = shadows.following(1).unwrap().1;
        follow(&shadows, 1);
        let (followed, after) = shadows.following(1).unwrap();
        let (before, after) = (Owner(before & OWNER), Owner(after & OWNER));
        assert_eq!((before.slot(), before != after), (after.slot(), true));
        followed.offer(before, hash(1), ShadowKind::Miss, 1);
        assert_eq!(shadows.report(1).unwrap().records, 0);
        followed.offer(after, hash(1), ShadowKind::Miss, 1);
        let report = shadows.report(1).unwrap();
        assert_eq!((report.records, report.points[0].entries), (1, 1));
        assert!(shadows.end(1) && shadows.following(1).is_none() && !shadows.end(1));
    }

    #[test]
    fn full_buffer_is_counted_and_does_not_bend_the_curve() {
        let shadows = shadows(1);
        follow(&shadows, 0);
        // Nobody plays meanwhile, as if all were within a lock.
        for number in 0..10 * SLOTS as u64 {
            shadows.note_applied(0, hash(number), ShadowKind::Miss, 1);
            shadows.count_hit(0, 3);
        }
        assert!(shadows.is_due());
        let report = shadows.report(0).unwrap();
        assert_eq!((report.lookups, report.dropped), (20 * SLOTS as u64, 9 * SLOTS as u64));
        assert!((report.hit_ratio("lru", 1.0).unwrap() - 0.5).abs() < 1e-9, "{report}");
        assert!(!shadows.is_due());
    }

    #[test]
    fn thousands_of_namespaces_cost_nothing_before_the_first_is_followed_and_little_then() {
        let shadows = shadows(5_000);
        assert!(shadows.followed.get().is_none());
        shadows.count_hit(7, 0);
        shadows.note_applied(7, hash(1), ShadowKind::Miss, 1);
        assert!(shadows.followed.get().is_none() && shadows.report(7).is_none());
        for number in 0..64 {
            follow(&shadows, number);
        }
        let FollowTable { words, hits, counts, records, .. } = shadows.followed.get().unwrap();
        let tables = size_of_val(&**words) + size_of_val(&**hits) + size_of_val(&**counts);
        let bytes = tables + records.bytes();
        assert!((40_000..64_000).contains(&bytes), "{bytes}");
    }
}
