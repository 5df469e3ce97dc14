//! Miniature copies of the policy, one for each variant, which find out which variant is best.
//!
//! Each mirror plays the accesses to a sample of the keys, with the sample's part of the budget: keys
//! only, no values. All mirrors get the same accesses at the same time, so their hits can be compared;
//! the hits of one cache at two times cannot.
//!
//! The mirrors share what can be shared: the keys are looked up once for all of them, they have one sketch,
//! which counts the accesses of the sample as the real one does, one ghost of the keys that no mirror holds any
//! more, and one clock, which counts their misses. An access to a key that all of them hold sets marks and
//! touches nothing else.
//!
//! Miniature simulation: Waldspurger, Saemundsson, Ahmad, Park: "Cache Modeling and Optimization
//! using Miniature Simulations", ATC 2017. Sampling by hash, and lowering the rate as the number of
//! entries grows: Waldspurger, Park, Garthwaite, Ahmad: "Efficient MRC Construction with SHARDS",
//! FAST 2015. A sample that decides for all keys: set dueling (Qureshi, Jaleel, Patt, Steely, Emer:
//! "Adaptive Insertion Policies for High Performance Caching", ISCA 2007).

use crate::policy::Sample;
use crate::policy::budget::Budget;
use crate::policy::ghost::Ghost;
use crate::policy::sketch::{KeyBits, Sketch};

use super::segments::{Segments, TICKS};
use super::variants::VARIANTS;
use super::word::{MissClock, UNKNOWN};

mod mirror;
mod keys;

use keys::{MirroredKey, MirroredKeys};
use mirror::{Mirror, Moment};

const MIRRORS: usize = VARIANTS.len();
/// All mirrors, as bits.
const ALL: u8 = (1 << MIRRORS) - 1;
/// The most entries of a mirror, if entries are bounded.
const ENTRIES: u64 = 256;
/// The most entries of a policy whose mirrors sample all keys. The more a larger one holds, the fewer they sample, down
/// to one key in `LEAST_ONE_IN`; otherwise they would cost more than the policy.
const FULLY_MIRRORED: u64 = 64;
const LEAST_ONE_IN: u64 = 8;
/// The fewest accesses after which variants are compared.
const MIN_ROUND: u64 = 8;
/// By how many standard deviations another variant has to be better. If two variants are equally good, each
/// access in which their mirrors differ is a toss of a coin (the test of McNemar 1947). So the other variant
/// has to have more than the square of this more hits.
const DEVIATIONS: f32 = 2.0;
/// The most that the hit of a heavy key counts.
const MOST_OF_HIT: f32 = 16.0;
/// What of a hit's worth is in proportion to the weight of the key.
const BY_WEIGHT: f32 = 0.75;
/// The weight of an access in the next comparison.
const DECAY: f32 = 0.8;
/// A mirror still knows a key that it has evicted for this many ticks after its last use, if another mirror holds it.
const KNOWN_TICKS: u16 = 96;

#[derive(Debug)]
pub(super) struct Mirrors {
    /// One key in this many, a power of two, is in the sample.
    one_in: u64,
    /// Bits that are zero in all hashes of the sample, and in no others.
    outside: u64,
    /// The budget of a mirror.
    budget: Budget,
    /// Made for the first access to a key of the sample.
    state: Option<Box<State>>,
}

#[derive(Debug)]
struct State {
    mirrors: [Mirror; MIRRORS],
    keys: MirroredKeys,
    sketch: Sketch,
    ghost: Ghost,
    budget: Budget,
    clock: MissClock,
    /// How many accesses hit in one mirror and missed in another.
    wins: [[f32; MIRRORS]; MIRRORS],
    /// Accesses since the last comparison.
    accesses: u64,
}

/// One key in how many is in the sample, for a policy that holds so many entries.
fn one_in(entries: u64) -> u64 {
    let by_cost = entries.div_ceil(FULLY_MIRRORED).min(LEAST_ONE_IN);
    entries.div_ceil(ENTRIES).max(by_cost).next_power_of_two()
}

impl Mirrors {
    /// Mirrors of an instance with that budget.
    pub(super) fn new(budget: Budget) -> Self {
        // If entries are not bounded, it is not known yet how many there will be.
        let one_in = if budget.counts_entries() { one_in(budget.total) } else { 1 };
        let mut mirrors = Self { one_in, outside: 0, budget, state: None };
        mirrors.set_rate(one_in, budget);
        mirrors
    }

    fn set_rate(&mut self, one_in: u64, whole: Budget) {
        self.one_in = one_in;
        self.outside = (one_in - 1) << Sample::FIRST_BIT;
        self.budget = whole.part(1, one_in);
    }

    pub(super) fn sample(&self) -> Sample {
        #[expect(clippy::cast_precision_loss, reason = "a power of two")]
        Sample::with_rate(1.0 / self.one_in as f64)
    }

    /// Whether the key of that hash is not in the sample, as most are not.
    #[inline]
    pub(super) fn excludes(&self, hash: u64) -> bool {
        hash & self.outside != 0
    }

    /// Plays an access to a key of the sample. Returns a better variant than `current` if a comparison is due
    /// and finds one.
    pub(super) fn access(&mut self, hash: u64, weight: u32, current: usize) -> Option<usize> {
        let budget = self.budget;
        if budget.cost(weight) > budget.total {
            return None;
        }
        self.state.get_or_insert_with(|| Box::new(State::new(budget))).access(hash, weight, current)
    }

    /// Removes a key of the sample that was removed from the cache.
    pub(super) fn remove(&mut self, hash: u64) {
        if let Some(state) = &mut self.state
            && let Some(id) = state.keys.find(hash, KeyBits::of(hash))
        {
            state.remove(id);
        }
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
        if one_in(entries as u64 / 2) > self.one_in {
            self.resample(self.one_in * 2, budget);
        }
    }

    /// The whole budget has changed.
    pub(super) fn resize(&mut self, budget: Budget) {
        let one_in = if budget.counts_entries() { one_in(budget.total) } else { self.one_in };
        self.resample(one_in, budget);
    }

    #[cold]
    fn resample(&mut self, one_in: u64, whole: Budget) {
        self.set_rate(one_in, whole);
        let outside = self.outside;
        if let Some(state) = &mut self.state {
            state.set_budget(self.budget);
            let removed: Vec<u16> = state
                .keys
                .ids()
                .filter(|(_, hash)| hash & outside != 0)
                .map(|(id, _)| id)
                .collect();
            removed.into_iter().for_each(|id| state.remove(id));
            state.evict_excess();
        }
    }
}

impl State {
    fn new(budget: Budget) -> Self {
        let mut state = Self {
            mirrors: std::array::from_fn(|index| Mirror::new(index, budget)),
            keys: MirroredKeys::default(),
            sketch: Sketch::new(Some(ENTRIES)),
            ghost: Ghost::new(2 * ENTRIES),
            budget,
            clock: MissClock { now: 0, progress: 0, tick_cost: 1 },
            wins: [[0.0; MIRRORS]; MIRRORS],
            accesses: 0,
        };
        state.set_budget(budget);
        state
    }

    fn set_budget(&mut self, budget: Budget) {
        let entries = if budget.counts_entries() { budget.total } else { ENTRIES };
        self.sketch.resize(entries);
        self.sketch.grow(usize::try_from(entries).unwrap_or(usize::MAX), std::iter::empty());
        self.ghost.resize(2 * entries);
        self.ghost.reserve_for(usize::try_from(2 * entries).unwrap_or(usize::MAX));
        self.clock.tick_cost = (budget.total / TICKS).saturating_mul(MIRRORS as u64).max(1);
        self.budget = budget;
        self.mirrors.iter_mut().for_each(|mirror| mirror.set_budget(budget, &self.keys));
    }

    fn access(&mut self, hash: u64, weight: u32, current: usize) -> Option<usize> {
        let key = KeyBits::of(hash);
        let count = self.sketch.count(key);
        let found = self.keys.find(hash, key);
        let mut is_reweighed = false;
        let holders = match found {
            None => 0,
            Some(id) => {
                let record = self.keys.record(id);
                record.marks |= record.holders;
                let (holders, old_weight) = (record.holders, record.weight);
                if weight != old_weight {
                    self.reweigh(id, old_weight, weight);
                    is_reweighed = true;
                }
                holders
            }
        };
        let id = found.unwrap_or_else(|| self.keys.add(hash, key, weight));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most 15; the lowest bits of the other"
        )]
        let (count, halvings) = (count as u8, self.sketch.halvings() as u8);
        let record = self.keys.record(id);
        (record.count, record.halvings) = (count, halvings);
        if holders != ALL {
            self.note_wins(holders, weight);
            let then = if found.is_none() { self.ghost.take(key) } else { None };
            let distance = then.map(|then| self.clock.distance(then));
            self.insert(id, holders, distance.unwrap_or(UNKNOWN));
        }
        if is_reweighed {
            self.evict_excess();
        }
        self.accesses += 1;
        if self.accesses < self.round() {
            return None;
        }
        self.accesses = 0;
        self.compare(current)
    }

    /// Inserts a key into the mirrors that are not among its `holders`. `distance` is that of its last two uses
    /// if no mirror holds it.
    fn insert(&mut self, id: u16, holders: u8, distance: u16) {
        let record = self.keys.record(id);
        // All mirrors count as holders at once, so that the key is not dropped before the last one has it.
        record.holders = ALL;
        let (missing, cost) = (ALL & !holders, self.budget.cost(record.weight));
        self.clock.advance(cost.saturating_mul(u64::from(missing.count_ones())));
        let moment = self.moment();
        let Self { mirrors, keys, ghost, .. } = self;
        for mirror in mirrors.iter_mut().filter(|mirror| mirror.is_in(missing)) {
            let distance = match holders {
                0 => distance,
                _ if moment.clock.age(mirror.last_use(id)) > KNOWN_TICKS => UNKNOWN,
                _ => moment.clock.distance(mirror.last_use(id)),
            };
            let mut left = |loser, last, keys: &mut MirroredKeys| forget(loser, last, keys, ghost);
            mirror.insert(id, distance, moment, keys, &mut left);
        }
    }

    fn moment(&self) -> Moment {
        #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are compared")]
        Moment { clock: self.clock, halvings: self.sketch.halvings() as u8 }
    }

    /// Notes that the key that is requested has another weight.
    fn reweigh(&mut self, id: u16, old_weight: u32, weight: u32) {
        let holders = self.keys.get(id).holders;
        self.keys.record(id).weight = weight;
        for mirror in self.mirrors.iter_mut().filter(|mirror| mirror.is_in(holders)) {
            mirror.reweigh(id, old_weight, weight);
        }
    }

    /// Removes a key from all mirrors.
    fn remove(&mut self, id: u16) {
        let MirroredKey { hash, holders, .. } = *self.keys.get(id);
        for mirror in self.mirrors.iter_mut().filter(|mirror| mirror.is_in(holders)) {
            mirror.remove(id, &mut self.keys);
        }
        self.keys.remove(id, KeyBits::of(hash));
    }

    fn evict_excess(&mut self) {
        let moment = self.moment();
        let Self { mirrors, keys, ghost, .. } = self;
        for mirror in mirrors {
            let mut left = |loser, last, keys: &mut MirroredKeys| forget(loser, last, keys, ghost);
            mirror.evict_excess(moment, keys, &mut left);
        }
    }

    /// Accesses from one comparison to the next: one for each entry of a mirror.
    fn round(&self) -> u64 {
        let entries = if self.budget.counts_entries() {
            self.budget.total
        } else {
            self.mirrors[0].len() as u64
        };
        entries.max(MIN_ROUND)
    }

    /// Notes an access to a key of that weight, which was a hit in the `holders`, and a miss in the others.
    fn note_wins(&mut self, holders: u8, weight: u32) {
        if holders == 0 {
            return;
        }
        let worth = self.worth_of_hit(weight);
        let misses =
            std::array::from_fn::<f32, MIRRORS, _>(|at| worth * f32::from(!holders >> at & 1));
        for (at, wins) in self.wins.iter_mut().enumerate() {
            if holders >> at & 1 == 1 {
                wins.iter_mut().zip(misses).for_each(|(wins, miss)| *wins += miss);
            }
        }
    }

    /// What a hit counts: a quarter for the request, and three for its weight in proportion to the mean. A single heavy
    /// hit must decide little, because the comparison treats hits as coin tosses.
    fn worth_of_hit(&self, weight: u32) -> f32 {
        if self.budget.counts_entries() {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let mean = self.budget.total as f32 / self.mirrors[0].len().max(1) as f32;
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let of_mean = self.budget.cost(weight) as f32 / mean.max(1.0);
        (1.0 - BY_WEIGHT + BY_WEIGHT * of_mean).min(MOST_OF_HIT)
    }

    fn compare(&mut self, current: usize) -> Option<usize> {
        let (mut best, mut best_gain) = (None, 0.0);
        for other in 0..MIRRORS {
            let (won, lost) = (self.wins[other][current], self.wins[current][other]);
            let gain = won - lost;
            if gain > best_gain && gain > DEVIATIONS * f32::sqrt(won + lost) + 1.0 {
                (best, best_gain) = (Some(other), gain);
            }
        }
        self.wins.iter_mut().flatten().for_each(|wins| *wins *= DECAY);
        if !self.budget.counts_entries() {
            self.sketch.resize(self.mirrors[0].len() as u64);
        }
        best
    }
}

/// Notes that a mirror has evicted a key, which was used in it in the tick `last`.
fn forget(id: u16, last: u16, keys: &mut MirroredKeys, ghost: &mut Ghost) {
    let MirroredKey { hash, holders, .. } = *keys.get(id);
    if holders == 0 {
        let key = KeyBits::of(hash);
        ghost.remember(key, last);
        keys.remove(id, key);
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

    /// Hashes of which those of the sample of one key in so many are kept.
    fn sampled(mirrors: &Mirrors, keys: u64) -> Vec<u64> {
        let hashes = (0..keys).map(|key| spread(key + 1) >> 16);
        hashes.filter(|hash| !mirrors.excludes(*hash)).collect()
    }

    fn validate(mirrors: &Mirrors) {
        let state = mirrors.state.as_ref().expect("an access was played");
        for mirror in &state.mirrors {
            mirror.validate(&state.keys);
        }
        for (id, hash) in state.keys.ids() {
            assert_eq!(state.keys.find(hash, KeyBits::of(hash)), Some(id));
            assert!(!mirrors.excludes(hash) && mirrors.sample().contains(hash));
        }
    }

    #[test]
    fn mirrors_hear_all_keys_of_a_tiny_cache_and_few_of_a_large_one() {
        let rates = [(1, 1), (64, 1), (65, 2), (129, 4), (257, 8), (2_048, 8), (2_049, 16)];
        for (entries, one_in) in rates.into_iter().chain([(1 << 20, 4_096)]) {
            let (mirrors, _) = mirrors(Some(entries), None);
            assert_eq!(mirrors.one_in, one_in, "{entries} entries");
            assert!(mirrors.budget.total <= ENTRIES);
        }
    }

    #[test]
    fn a_cache_bounded_by_weight_is_sampled_less_the_more_it_holds() {
        let (mut by_weight, budget) = mirrors(None, Some(1 << 40));
        let rates = [(129, 1), (130, 2), (258, 4), (514, 8), (4_097, 8), (4_098, 16), (4_098, 16)];
        for (entries, one_in) in rates {
            by_weight.adapt_to(entries, budget);
            assert_eq!(by_weight.one_in, one_in, "{entries} entries");
            assert!((by_weight.sample().rate() * one_in as f64 - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn the_sample_of_a_policy_is_what_its_mirrors_hear() {
        for entries in [1, 10_000] {
            let (mirrors, _) = mirrors(Some(entries), None);
            for key in 0..10_000 {
                let hash = spread(key) >> 16;
                assert_eq!(mirrors.sample().contains(hash), !mirrors.excludes(hash));
            }
        }
    }

    #[test]
    fn keys_that_leave_the_sample_leave_the_mirrors() {
        let (mut mirrors, budget) = mirrors(None, Some(1 << 40));
        let hashes = sampled(&mirrors, 100);
        for hash in &hashes {
            mirrors.access(*hash, 1, 0);
        }
        mirrors.adapt_to(130, budget);
        validate(&mirrors);
        let state = mirrors.state.as_ref().expect("it was made");
        assert_eq!(state.keys.ids().count(), sampled(&mirrors, 100).len());
        assert!(sampled(&mirrors, 100).len() < hashes.len());
    }

    #[test]
    fn mirrors_agree_with_their_keys_whatever_they_play() {
        for (entries, weight) in [(Some(8), None), (Some(900), None), (None, Some(5_000))] {
            let (mut mirrors, _) = mirrors(entries, weight);
            let hashes = sampled(&mirrors, 6_000);
            let mut state = 1;
            for step in 0..4_000 {
                state = spread(state + step);
                let at = (state >> 8) % (state >> 40).clamp(1, hashes.len() as u64);
                let hash = hashes[usize::try_from(at).unwrap()];
                if step % 16 == 0 {
                    mirrors.remove(hash);
                } else {
                    let weight = if entries.is_some() { 1 } else { (state % 40) as u32 };
                    mirrors.access(hash, weight, 0);
                }
                if step % 100 == 99 {
                    validate(&mirrors);
                }
            }
            mirrors.resize(Budget::new(&PolicyConfig::new(
                entries.map(|entries| entries / 2),
                weight.map(|weight| weight / 2),
            )));
            validate(&mirrors);
        }
    }

    #[test]
    fn a_variant_is_chosen_if_it_is_better_than_chance_explains() {
        // Twelve accesses in which the first two variants differ.
        for (won, better) in [(12.0, Some(1)), (10.0, Some(1)), (9.0, None), (0.0, None)] {
            let (mut mirrors, _) = mirrors(Some(100), None);
            mirrors.access(0, 1, 0);
            let state = mirrors.state.as_mut().expect("an access was played");
            (state.wins[1][0], state.wins[0][1]) = (won, 12.0 - won);
            assert_eq!(state.compare(0), better, "{won} of twelve");
            assert_eq!(state.wins[1][0], won * DECAY);
        }
    }

    #[test]
    fn an_access_counts_for_the_mirrors_that_hold_the_key_against_the_others() {
        let (mut mirrors, _) = mirrors(Some(100), None);
        mirrors.access(0, 1, 0);
        let state = mirrors.state.as_mut().expect("an access was played");
        state.note_wins(0b1_0010, 1);
        for (one, wins) in state.wins.iter().enumerate() {
            for (other, count) in wins.iter().enumerate() {
                let has_won = [1, 4].contains(&one) && ![1, 4].contains(&other);
                assert_eq!(*count, f32::from(u8::from(has_won)), "{one} against {other}");
            }
        }
    }
}
