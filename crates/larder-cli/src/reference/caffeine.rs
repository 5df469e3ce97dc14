//! Window-TinyLFU with weights, in the manner of Caffeine: G. Einziger, R. Friedman, B. Manes,
//! "TinyLFU: A Highly Efficient Cache Admission Policy", ACM ToS 2017; the window adapts by hill
//! climbing, as in G. Einziger, O. Eytan, R. Friedman, B. Manes, "Adaptive Software Cache
//! Management", Middleware 2018.
//!
//! Written from the papers and from the documented behaviour of Caffeine with a weigher: the shares
//! of window and segments are of the weight; an entry that is heavier than the window is the next to
//! leave it; and each candidate meets one victim after the other until there is room or it loses.
//! Differences: accesses are applied at once, and the frequencies are exact counts of 4 bits, which
//! are halved after ten counted accesses for each entry in the cache.

use crate::mix::mixed;
use crate::reference::occupancy::Occupancy;
use crate::reference::policy::ReferencePolicy;
use crate::reference::queue::{Links, Queue};

/// The window's share of the weight at first, and the protected segment's of the rest.
const WINDOW: f64 = 0.01;
const PROTECTED: f64 = 0.8;
const MAX_COUNT: u8 = 15;
/// Counted accesses for each entry until all counts are halved, and until the window adapts.
const SAMPLE: u64 = 10;
/// A candidate counted more often than this may win by chance, once in `CHANCE_ONE_IN`.
const WARM: u8 = 5;
const CHANCE_ONE_IN: u64 = 128;
/// The first step of the window, how it decays, and the change of the hit ratio that restarts it.
const FIRST_STEP: f64 = 0.0625;
const STEP_DECAY: f64 = 0.98;
const RESTART: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Window = 0,
    Probation = 1,
    Protected = 2,
}

pub(super) struct Caffeine {
    links: Links,
    queues: [Queue; 3],
    weights: [u64; 3],
    part_of: Vec<Part>,
    held: Occupancy,
    counts: Vec<u8>,
    counted: u64,
    capacity: u64,
    window_share: f64,
    climber: Climber,
    random: u64,
}

/// Finds the share of the window.
struct Climber {
    hits: u64,
    requests: u64,
    last_ratio: f64,
    step: f64,
}

impl Caffeine {
    pub(super) fn new(keys: usize, capacity: u64) -> Self {
        Caffeine {
            links: Links::new(keys),
            queues: [Queue::new(), Queue::new(), Queue::new()],
            weights: [0; 3],
            part_of: vec![Part::Window; keys],
            held: Occupancy::new(keys, capacity),
            counts: vec![0; keys],
            counted: 0,
            capacity,
            window_share: WINDOW,
            climber: Climber { hits: 0, requests: 0, last_ratio: 0.0, step: FIRST_STEP },
            random: 1,
        }
    }

    fn max_of(&self, part: Part) -> u64 {
        let window = (self.capacity as f64 * self.window_share).max(1.0);
        match part {
            Part::Window => window as u64,
            _ => ((self.capacity as f64 - window) * PROTECTED) as u64,
        }
    }

    fn count(&mut self, key: u32) {
        let count = &mut self.counts[key as usize];
        if *count == MAX_COUNT {
            return;
        }
        *count += 1;
        self.counted += 1;
        if self.counted >= SAMPLE * (self.held.len() as u64).max(16) {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.counted /= 2;
        }
    }

    fn push(&mut self, part: Part, key: u32) {
        self.links.push(&mut self.queues[part as usize], key);
        self.weights[part as usize] += self.held.weight_of(key);
        self.part_of[key as usize] = part;
    }

    fn unlink(&mut self, key: u32) {
        let part = self.part_of[key as usize] as usize;
        self.links.remove(&mut self.queues[part], key);
        self.weights[part] -= self.held.weight_of(key);
    }

    fn change_part(&mut self, key: u32, part: Part) {
        self.unlink(key);
        self.push(part, key);
    }

    fn evict(&mut self, key: u32) {
        self.unlink(key);
        self.held.remove(key);
    }

    fn access(&mut self, key: u32) {
        let part = match self.part_of[key as usize] {
            // An entry that is heavier than the segment stays where it is.
            Part::Probation if self.held.weight_of(key) > self.max_of(Part::Protected) => {
                Part::Probation
            }
            Part::Probation => Part::Protected,
            part => part,
        };
        self.change_part(key, part);
        self.demote();
    }

    /// Moves the oldest entries of the protected segment to probation until it fits.
    fn demote(&mut self) {
        while self.weights[Part::Protected as usize] > self.max_of(Part::Protected)
            && let Some(oldest) = self.queues[Part::Protected as usize].back()
        {
            self.change_part(oldest, Part::Probation);
        }
    }

    fn insert(&mut self, key: u32, weight: u32) {
        self.held.insert(key, weight);
        if u64::from(weight) > self.max_of(Part::Window) {
            // The next to leave the window, so that it does not push all others out.
            self.links.push_oldest(&mut self.queues[Part::Window as usize], key);
            self.weights[Part::Window as usize] += u64::from(weight);
            self.part_of[key as usize] = Part::Window;
        } else {
            self.push(Part::Window, key);
        }
        let mut candidates = Vec::new();
        while self.weights[Part::Window as usize] > self.max_of(Part::Window)
            && let Some(oldest) = self.queues[Part::Window as usize].back()
        {
            self.change_part(oldest, Part::Probation);
            candidates.push(oldest);
        }
        self.make_room(&candidates);
    }

    /// Evicts until all fits. The candidates, which are the newest of probation, compete in turn.
    fn make_room(&mut self, candidates: &[u32]) {
        let mut candidates = candidates.iter().copied().peekable();
        while self.held.is_over() {
            let victim = [Part::Probation, Part::Protected, Part::Window]
                .into_iter()
                .find_map(|part| self.queues[part as usize].back());
            let Some(victim) = victim else { return };
            match candidates.peek().copied() {
                None => self.evict(victim),
                // Nothing is older than the candidates.
                Some(candidate) if candidate == victim => {
                    candidates.next();
                    self.evict(candidate);
                }
                Some(candidate) if self.admits(candidate, victim) => self.evict(victim),
                Some(candidate) => {
                    candidates.next();
                    self.evict(candidate);
                }
            }
        }
    }

    fn admits(&mut self, candidate: u32, victim: u32) -> bool {
        let [offence, defence] = [candidate, victim].map(|key| self.counts[key as usize]);
        if offence > defence {
            return true;
        }
        self.random = mixed(candidate, self.random);
        offence > WARM && self.random.is_multiple_of(CHANCE_ONE_IN)
    }

    /// Changes the window's share if a sample is complete.
    fn climb(&mut self, is_hit: bool) {
        let climber = &mut self.climber;
        climber.requests += 1;
        climber.hits += u64::from(is_hit);
        if climber.requests < SAMPLE * (self.held.len() as u64).max(16) {
            return;
        }
        let ratio = climber.hits as f64 / climber.requests as f64;
        let change = ratio - climber.last_ratio;
        let amount = if change >= 0.0 { climber.step } else { -climber.step };
        climber.step = match change.abs() >= RESTART {
            true => FIRST_STEP.copysign(amount),
            false => STEP_DECAY * amount,
        };
        (climber.hits, climber.requests, climber.last_ratio) = (0, 0, ratio);
        self.window_share = (self.window_share + amount).clamp(WINDOW / 10.0, PROTECTED);
        self.demote();
        while self.weights[Part::Window as usize] > self.max_of(Part::Window)
            && let Some(oldest) = self.queues[Part::Window as usize].back()
        {
            self.change_part(oldest, Part::Probation);
        }
        while amount > 0.0
            && let Some(oldest) = self.queues[Part::Probation as usize].back()
            && self.weights[Part::Window as usize] + self.held.weight_of(oldest)
                <= self.max_of(Part::Window)
        {
            self.change_part(oldest, Part::Window);
        }
    }
}

impl ReferencePolicy for Caffeine {
    fn request(&mut self, key: u32, weight: u32) -> bool {
        self.count(key);
        let is_hit = self.held.contains(key);
        if is_hit {
            self.access(key);
        } else if !self.held.is_too_small_for(weight) {
            self.insert(key, weight);
        }
        self.climb(is_hit);
        is_hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequent_key_stays_and_rare_ones_leave_as_candidates() {
        let mut cache = Caffeine::new(1_000, 100);
        for _ in 0..10 {
            cache.request(0, 50);
        }
        let hits = (1..500).filter(|key| cache.request(*key, 30)).count();
        assert_eq!(hits, 0);
        assert!(cache.request(0, 50));
        assert!(!cache.request(999, 101) && !cache.request(999, 101), "too heavy for all");
    }

    #[test]
    fn weights_of_all_parts_add_up_while_the_window_adapts() {
        let mut cache = Caffeine::new(500, 1_000);
        for at in 0..20_000_u32 {
            let key = (mixed(at, 3) % 500) as u32;
            cache.request(key.min(at % 500), 1 + key % 60);
            assert!(!cache.held.is_over());
        }
        assert_eq!(
            cache.weights.iter().sum::<u64>(),
            (0..500).map(|key| cache.held.weight_of(key)).sum::<u64>()
        );
        assert!((cache.window_share - WINDOW).abs() > 1e-9, "the window has adapted");
    }
}
