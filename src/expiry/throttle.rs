//! Which keys must not be loaded again yet, because a refresh has failed a moment ago.
//!
//! The table has a fixed number of places, and a key has one of them, by its hash. A failure takes the place
//! of an older one of another key, which is then tried again earlier than the throttle says. So a throttle
//! bounds the rate of failing loads, and remembers no more than its table holds.
//!
//! # Orderings
//! All are relaxed. The two words of a place are not changed together, so a thread may read the hash of one
//! failure and the time of another one, of the same place. Both are recent, and a key is then let through or
//! held back once more than it should be.
#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::time::Duration;

use super::clock::nanoseconds;
use crate::base::hash::KeyHash;
use crate::base::sync::{AtomicU64, Ordering};

/// The failures that are remembered.
const PLACES: usize = if cfg!(larder_loom) { 1 } else { 1024 };

/// The failures of one cache.
pub(crate) struct Throttle {
    pause_ns: u64,
    /// Allocated with the first failure.
    places: OnceLock<Box<[Place]>>,
}

#[derive(Default)]
struct Place {
    /// The hash of the key plus one; 0 if no failure is remembered.
    key: AtomicU64,
    failed_at_ns: AtomicU64,
}

impl Throttle {
    /// A throttle that holds a key back for `pause` after each failure.
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause_ns: nanoseconds(pause), places: OnceLock::new() }
    }

    /// Whether the key may be tried at `now_ns`: none of its failures is remembered, or the pause is over.
    pub(crate) fn allows(&self, hash: KeyHash, now_ns: u64) -> bool {
        let Some(places) = self.places.get() else { return true };
        let place = &places[hash.gate(places.len())];
        if place.key.load(Ordering::Relaxed) != hash.raw() + 1 {
            return true;
        }
        let failed_at_ns = place.failed_at_ns.load(Ordering::Relaxed);
        // A clock that has jumped back behind the failure must not hold the key back until it catches up.
        now_ns < failed_at_ns || now_ns - failed_at_ns >= self.pause_ns
    }

    /// Remembers that a load of the key has failed at `now_ns`.
    pub(crate) fn note_failure(&self, hash: KeyHash, now_ns: u64) {
        if self.pause_ns == 0 {
            return;
        }
        let make = || std::iter::repeat_with(Place::default).take(PLACES).collect();
        let places = self.places.get_or_init(make);
        let place = &places[hash.gate(places.len())];
        place.failed_at_ns.store(now_ns, Ordering::Relaxed);
        place.key.store(hash.raw() + 1, Ordering::Relaxed);
    }

    /// Forgets the failures of the key, because it was loaded or stored since.
    pub(crate) fn forget(&self, hash: KeyHash) {
        if let Some(places) = self.places.get() {
            let key = &places[hash.gate(places.len())].key;
            // If another key takes the place at the same moment, its failure may stay or be forgotten.
            if key.load(Ordering::Relaxed) == hash.raw() + 1 {
                key.store(0, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn hash(raw: u64) -> KeyHash {
        KeyHash::from_raw(raw)
    }

    #[test]
    fn a_key_is_held_back_for_the_pause_after_its_last_failure() {
        let throttle = Throttle::new(Duration::from_secs(1));
        assert!(throttle.allows(hash(1), 0) && throttle.places.get().is_none());
        throttle.forget(hash(1));
        throttle.note_failure(hash(1), 5 * SECOND);
        assert!(!throttle.allows(hash(1), 5 * SECOND));
        assert!(!throttle.allows(hash(1), 6 * SECOND - 1));
        assert!(throttle.allows(hash(1), 6 * SECOND));
        throttle.note_failure(hash(1), 6 * SECOND);
        assert!(!throttle.allows(hash(1), 7 * SECOND - 1));
        assert!(throttle.allows(hash(2), 6 * SECOND), "another key in the same place");
        throttle.forget(hash(2));
        assert!(!throttle.allows(hash(1), 6 * SECOND), "forgotten with another key");
        throttle.forget(hash(1));
        assert!(throttle.allows(hash(1), 6 * SECOND));
    }

    #[test]
    fn a_clock_that_jumps_back_holds_no_key_back() {
        let throttle = Throttle::new(Duration::from_secs(1));
        throttle.note_failure(hash(0), 100 * SECOND);
        assert!(throttle.allows(hash(0), SECOND));
        let for_ever = Throttle::new(Duration::MAX);
        for_ever.note_failure(hash(0), SECOND);
        assert!(!for_ever.allows(hash(0), u64::MAX - 1));
    }

    #[test]
    fn failures_of_more_keys_than_there_are_places_take_no_more_memory() {
        let throttle = Throttle::new(Duration::from_secs(1));
        for key in 0..100_000_u64 {
            throttle.note_failure(hash(key << 12), SECOND);
        }
        let held_back = (0..100_000_u64).filter(|key| !throttle.allows(hash(key << 12), SECOND));
        assert_eq!(held_back.count(), PLACES);
        let none = Throttle::new(Duration::ZERO);
        none.note_failure(hash(1), SECOND);
        assert!(none.allows(hash(1), SECOND) && none.places.get().is_none());
    }
}
