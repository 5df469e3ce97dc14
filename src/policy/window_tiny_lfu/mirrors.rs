//! Miniature copies of the policy, one for each size of the window, which find out which size is best.
//!
//! Each mirror plays the accesses to a sample of the keys, with the sample's part of the budget: keys
//! only, no values. All mirrors get the same accesses at the same time, so their hits can be compared;
//! the hits of one cache at two times cannot.
//!
//! An access is not played at once: each insertion plays one mirror for the oldest access that waits, so that
//! no insertion takes much longer than others.
//!
//! Miniature simulation: Waldspurger, Saemundsson, Ahmad, Park: "Cache Modeling and Optimization
//! using Miniature Simulations", ATC 2017. Sampling by hash, and lowering the rate as the number of
//! entries grows: Waldspurger, Park, Garthwaite, Ahmad: "Efficient MRC Construction with SHARDS",
//! FAST 2015. A sample that decides for all keys: set dueling (Qureshi, Jaleel, Patt, Steely, Emer:
//! "Adaptive Insertion Policies for High Performance Caching", ISCA 2007).

use std::collections::VecDeque;

use super::segments::Segments;
use crate::base::node_id::NodeId;
use crate::policy::budget::Budget;
use crate::policy::node_table::NodeTable;
use crate::policy::{Nodes, Sample};

/// The sizes of the window that are compared, in percent of the budget.
pub(super) const WINDOWS: [u64; 4] = [1, 10, 35, 100];
/// The most entries of a mirror, if entries are bounded. It mirrors all keys of a smaller cache.
const ENTRIES: u64 = 256;
/// The most accesses that wait to be played.
const MAX_WAITING: usize = 8;
/// The fewest accesses after which windows are compared.
const MIN_ROUND: u64 = 8;
/// By how many standard deviations another window has to be better. If two windows are equally good, each
/// access in which their mirrors differ is a toss of a coin (the test of McNemar 1947). So the other window
/// has to have more than the square of this more hits.
const DEVIATIONS: f64 = 2.0;
/// The weight of an access in the next comparison.
const DECAY: f64 = 0.8;
/// The first rounds, after which nothing is compared: the hits of a cold mirror show how fast it warms up,
/// and there the large windows always win.
const COLD_ROUNDS: u32 = 4;

/// The part of the keys that is in the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    part: u64,
    of: u64,
}

#[derive(Debug)]
pub(super) struct Mirrors {
    rate: Rate,
    sample: Sample,
    /// Bits that are zero in all hashes of the sample, and in few others.
    outside: u64,
    /// The budget of a mirror.
    budget: Budget,
    /// One for each of `WINDOWS`, made for the first access to a key of the sample.
    mirrors: Option<Box<[Mirror; WINDOWS.len()]>>,
    /// Accesses that are still to be played, the oldest first.
    waiting: VecDeque<Access>,
    /// How many mirrors have played the oldest, and in which of them it was a hit, as a bit for each.
    played: usize,
    outcome: usize,
    /// How many accesses had which outcome: an index has a bit for each mirror, which is set for a hit.
    outcomes: [f64; 1 << WINDOWS.len()],
    /// Accesses since the last comparison.
    accesses: u64,
    /// Rounds left before windows are compared.
    cold_rounds: u32,
}

/// An access to a key of the sample.
#[derive(Clone, Copy, Debug)]
struct Access {
    hash: u64,
    weight: u32,
}

#[derive(Debug)]
struct Mirror {
    segments: Segments,
    nodes: NodeTable<false>,
}

impl Rate {
    /// The initial rate for a budget, before it is known how many entries the cache will hold.
    fn of(budget: Budget) -> Self {
        if budget.counts_entries() && budget.total > ENTRIES {
            Self { part: ENTRIES, of: budget.total }
        } else {
            Self { part: 1, of: 1 }
        }
    }

    fn sample(self) -> Sample {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        Sample::with_rate(self.part as f64 / self.of as f64)
    }

    fn budget(self, whole: Budget) -> Budget {
        whole.part(self.part, self.of)
    }
}

impl Mirrors {
    /// Mirrors of an instance with that budget.
    pub(super) fn new(budget: Budget) -> Self {
        let rate = Rate::of(budget);
        Self {
            rate,
            sample: rate.sample(),
            outside: rate.sample().outside(),
            budget: rate.budget(budget),
            mirrors: None,
            waiting: VecDeque::new(),
            played: 0,
            outcome: 0,
            outcomes: [0.0; 1 << WINDOWS.len()],
            accesses: 0,
            cold_rounds: COLD_ROUNDS,
        }
    }

    pub(super) fn sample(&self) -> Sample {
        self.sample
    }

    /// Whether the key of that hash is surely not in the sample, as most are not.
    #[inline]
    pub(super) fn lack(&self, hash: u64) -> bool {
        hash & self.outside != 0
    }

    /// Notes an access to a key, if it is in the sample. If too many wait, it plays the oldest. Returns a better
    /// window than `current`, in percent, if a comparison is due and finds one.
    pub(super) fn access(&mut self, hash: u64, weight: u32, current: u64) -> Option<u64> {
        if !self.sample.contains(hash) {
            return None;
        }
        self.waiting.push_back(Access { hash, weight });
        if self.waiting.len() > MAX_WAITING { self.play_oldest(current) } else { None }
    }

    /// Whether accesses wait to be played.
    #[inline]
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn play_oldest(&mut self, current: u64) -> Option<u64> {
        let left = self.waiting.len();
        let mut better = None;
        while self.waiting.len() == left {
            better = self.step(current);
        }
        better
    }

    /// Plays the oldest waiting access in one mirror. Returns the same as [`access`](Self::access).
    pub(super) fn step(&mut self, current: u64) -> Option<u64> {
        let Access { hash, weight } = *self.waiting.front()?;
        let budget = self.budget;
        let mirrors = self.mirrors.get_or_insert_with(|| {
            Box::new(WINDOWS.map(|percent| Mirror {
                segments: Segments::new(budget, percent),
                nodes: NodeTable::default(),
            }))
        });
        self.outcome |= usize::from(mirrors[self.played].access(hash, weight)) << self.played;
        self.played += 1;
        if self.played < WINDOWS.len() {
            return None;
        }
        self.waiting.pop_front();
        self.outcomes[self.outcome] += 1.0;
        (self.played, self.outcome) = (0, 0);
        self.accesses += 1;
        if self.accesses < self.round() {
            return None;
        }
        self.accesses = 0;
        if self.cold_rounds > 0 {
            self.cold_rounds -= 1;
            self.outcomes.fill(0.0);
            return None;
        }
        self.compare(current)
    }

    /// Accesses from one comparison to the next: one for each entry of a mirror.
    fn round(&self) -> u64 {
        let entries = match &self.mirrors {
            Some(mirrors) if !self.budget.counts_entries() => mirrors[0].segments.entries() as u64,
            _ => self.budget.total,
        };
        entries.max(MIN_ROUND)
    }

    fn compare(&mut self, current: u64) -> Option<u64> {
        let mut best = None;
        let mut best_gain = 0.0;
        let ours = WINDOWS.iter().position(|window| *window == current).unwrap_or(0);
        for (theirs, window) in WINDOWS.into_iter().enumerate() {
            let (mut gain, mut differing) = (0.0, 0.0);
            for (outcome, count) in self.outcomes.iter().enumerate() {
                let is_hit = |at: usize| outcome >> at & 1 == 1;
                if is_hit(ours) != is_hit(theirs) {
                    differing += count;
                    gain += if is_hit(theirs) { *count } else { -count };
                }
            }
            if gain > best_gain && gain > DEVIATIONS * f64::sqrt(differing) {
                (best, best_gain) = (Some(window), gain);
            }
        }
        for count in &mut self.outcomes {
            *count *= DECAY;
        }
        best
    }

    /// Removes a key that was removed from the cache. Returns the same as [`access`](Self::access).
    #[cold]
    pub(super) fn remove(&mut self, hash: u64, current: u64) -> Option<u64> {
        let mut better = None;
        // Those of the key came before its removal.
        while self.waiting.iter().any(|access| access.hash == hash) {
            better = self.play_oldest(better.unwrap_or(current)).or(better);
        }
        for Mirror { segments, nodes } in self.mirrors.iter_mut().flat_map(|all| all.iter_mut()) {
            if let Some(id) = nodes.find(hash) {
                segments.remove(id, nodes);
                nodes.take(id);
            }
        }
        better
    }

    /// Samples fewer keys if entries are not bounded, and the real cache holds so many that mirrors become
    /// too large.
    #[inline]
    pub(super) fn adapt(&mut self, whole: &Segments) {
        if !whole.budget().counts_entries() {
            self.adapt_to(whole.entries(), whole.budget());
        }
    }

    fn adapt_to(&mut self, entries: usize, budget: Budget) {
        let Rate { part, of } = self.rate;
        if entries as u64 * part / of > 2 * ENTRIES {
            self.resample(Rate { part, of: of * 2 }, budget);
        }
    }

    /// The whole budget has changed.
    pub(super) fn resize(&mut self, budget: Budget) {
        let rate = if budget.counts_entries() { Rate::of(budget) } else { self.rate };
        self.resample(rate, budget);
    }

    #[cold]
    fn resample(&mut self, rate: Rate, budget: Budget) {
        self.rate = rate;
        self.sample = rate.sample();
        self.outside = self.sample.outside();
        self.budget = rate.budget(budget);
        self.waiting.clear();
        (self.played, self.outcome) = (0, 0);
        for Mirror { segments, nodes } in self.mirrors.iter_mut().flat_map(|all| all.iter_mut()) {
            let outside = |(id, hash)| (!self.sample.contains(hash)).then_some(id);
            let removed: Vec<NodeId> = nodes.iter().filter_map(outside).collect();
            for id in removed {
                segments.remove(id, nodes);
                nodes.take(id);
            }
            segments.set_budget(self.budget);
            segments.recount(nodes);
            Mirror::evict_excess(segments, nodes);
        }
    }
}

impl Mirror {
    /// Looks the key up and inserts it on a miss. Returns whether it was a hit.
    fn access(&mut self, hash: u64, weight: u32) -> bool {
        let Self { segments, nodes } = self;
        if let Some(id) = nodes.find(hash) {
            nodes.set_frequency(id, 1);
            return true;
        }
        if segments.budget().cost(weight) <= segments.budget().total {
            let id = nodes.add(hash, weight);
            segments.insert(id, hash, nodes);
            Self::evict_excess(segments, nodes);
        }
        false
    }

    fn evict_excess(segments: &mut Segments, nodes: &mut NodeTable<false>) {
        while segments.is_over() {
            let Some(loser) = segments.evict(nodes) else { return };
            nodes.take(loser);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyConfig;
    use crate::policy::sketch::spread;

    fn mirrors(entries: Option<usize>, weight: Option<u64>) -> (Mirrors, Budget) {
        let budget = Budget::new(&PolicyConfig::new(entries, weight));
        (Mirrors::new(budget), budget)
    }

    #[test]
    fn mirrors_hold_all_of_a_small_cache_and_a_part_of_a_large_one() {
        for (entries, part, of) in
            [(1, 1, 1), (256, 1, 1), (257, 256, 257), (1 << 20, 256, 1 << 20)]
        {
            let (mirrors, _) = mirrors(Some(entries), None);
            assert_eq!(mirrors.rate, Rate { part, of }, "{entries} entries");
        }
    }

    #[test]
    fn a_cache_bounded_by_weight_is_sampled_less_the_more_it_holds() {
        let (mut by_weight, budget) = mirrors(None, Some(1 << 40));
        for (entries, of) in [(512, 1), (513, 2), (1_025, 2), (1_026, 4), (4_000, 8), (4_000, 8)] {
            by_weight.adapt_to(entries, budget);
            assert_eq!(by_weight.rate, Rate { part: 1, of }, "{entries} entries");
            assert!((by_weight.sample().rate() * of as f64 - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn keys_that_leave_the_sample_leave_the_mirrors() {
        let (mut mirrors, budget) = mirrors(None, Some(1 << 40));
        let hashes: Vec<u64> = (0..100).map(|key| spread(key + 1) >> 16).collect();
        for hash in &hashes {
            mirrors.access(*hash, 1, 1);
        }
        while mirrors.has_waiting() {
            mirrors.step(1);
        }
        mirrors.adapt_to(513, budget);
        let sample = mirrors.sample();
        for Mirror { nodes, .. } in mirrors.mirrors.iter().flat_map(|all| all.iter()) {
            assert!(
                hashes.iter().all(|hash| nodes.find(*hash).is_some() == sample.contains(*hash))
            );
        }
        assert!((30..70).contains(&hashes.iter().filter(|hash| sample.contains(**hash)).count()));
    }

    #[test]
    fn accesses_wait_until_all_mirrors_have_played_them() {
        let (mut mirrors, _) = mirrors(Some(100), None);
        for hash in 0..MAX_WAITING as u64 {
            assert_eq!(mirrors.access(hash, 1, 1), None);
        }
        assert_eq!((mirrors.waiting.len(), mirrors.accesses), (MAX_WAITING, 0));
        for step in 1..=WINDOWS.len() {
            mirrors.step(1);
            assert_eq!(mirrors.accesses, (step / WINDOWS.len()) as u64);
        }
        mirrors.access(100, 1, 1);
        mirrors.step(1);
        mirrors.access(101, 1, 1);
        assert_eq!(
            (mirrors.waiting.len(), mirrors.played),
            (MAX_WAITING, 0),
            "the oldest was completed"
        );
        // The removal of a key comes after its accesses.
        mirrors.remove(100, 1);
        assert!(mirrors.waiting.iter().map(|access| access.hash).eq([101]));
        for Mirror { nodes, .. } in mirrors.mirrors.iter().flat_map(|all| all.iter()) {
            assert!(nodes.find(100).is_none() && nodes.find(7).is_some());
        }
    }

    #[test]
    fn a_window_is_chosen_if_it_is_better_than_chance_explains() {
        // Nine accesses in which the first two windows differ.
        for (hits_of_second, better) in [(9, Some(WINDOWS[1])), (7, None), (0, None)] {
            let (mut mirrors, _) = mirrors(Some(100), None);
            mirrors.outcomes[0b0010] = f64::from(hits_of_second);
            mirrors.outcomes[0b0001] = f64::from(9 - hits_of_second);
            mirrors.outcomes[0b1111] = 1_000.0;
            assert_eq!(mirrors.compare(WINDOWS[0]), better, "{hits_of_second} of nine");
            assert_eq!(mirrors.outcomes[0b1111], 1_000.0 * DECAY);
        }
    }
}
