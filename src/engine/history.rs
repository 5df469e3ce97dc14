//! Why keys have left lately: a bounded memory for [`Cache::explain`](crate::Cache::explain).
//!
//! The memory is a few rings of words. A key's hash chooses its ring, so all words about a key are in one
//! ring, and threads rarely contend for the same one. A word is the 48 bits of the hash that an entry
//! keeps, and the reason. A remover writes its word after the removal; the newest word for a hash wins.
//!
//! # Orderings
//! All are relaxed: each word is complete in itself, and a thread that reads while others write may see a
//! slightly older history.
#![forbid(unsafe_code)]

use crossbeam_utils::CachePadded;

use crate::base::cause::RemovalCause;
use crate::base::hash::KeyHash;
use crate::base::sync::{AtomicU64, Ordering};
use crate::memory::zeroed::ZeroedWords;

const RINGS: usize = 16;

/// Why a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Absence {
    /// The key was never inserted, nor was an insertion rejected.
    NeverSeen,
    /// The entry was evicted, because a bound was reached.
    Evicted,
    /// The entry's deadline has passed.
    Expired,
    /// The key was removed on its own, by `remove` or `remove_if`.
    Removed,
    /// The entry was removed because a predicate chose it, by `retain` or `invalidate_if`.
    RemovedByPredicate,
    /// The entry was removed with all others, by `clear`.
    Cleared,
    /// One of the entry's tags was [invalidated](crate::Cache::invalidate_tag), or
    /// [its namespace](crate::Cache::invalidate_namespace).
    Invalidated,
    /// The last insertion was rejected. A value that is too heavy removes the old value too; an insertion
    /// with too many [tags](crate::Cache::insert_with_tags) leaves it, so then there was none.
    Rejected,
    /// Nothing is remembered of the key: it was never inserted, or so long ago that it is forgotten, or
    /// the cache was built without [`explain_misses`](crate::Builder::explain_misses).
    Unknown,
}

impl Absence {
    /// The reasons that are remembered. Their numbers in words begin with 1; an empty word holds 0.
    const ALL: [Self; 7] = [
        Self::Evicted,
        Self::Expired,
        Self::Removed,
        Self::RemovedByPredicate,
        Self::Cleared,
        Self::Invalidated,
        Self::Rejected,
    ];

    /// The number in a word; 0 for a reason that is not remembered.
    fn number(self) -> u64 {
        Self::ALL.iter().position(|absence| *absence == self).map_or(0, |index| index as u64 + 1)
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

impl std::fmt::Display for Absence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NeverSeen => "never seen",
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Removed => "removed",
            Self::RemovedByPredicate => "removed by a predicate",
            Self::Cleared => "cleared",
            Self::Invalidated => "invalidated by a tag",
            Self::Rejected => "rejected",
            Self::Unknown => "never seen, or forgotten",
        })
    }
}

/// The memory of one cache.
pub(crate) struct RemovalHistory {
    rings: [CachePadded<Ring>; RINGS],
}

struct Ring {
    /// The number of words that were ever written.
    written: AtomicU64,
    words: ZeroedWords,
}

impl RemovalHistory {
    /// Remembers at least `removals` removals if keys are evenly spread. `None` if there is not enough
    /// memory, which is used up only as words are written.
    pub(crate) fn try_new(removals: usize) -> Option<Self> {
        let len = removals.div_ceil(RINGS).max(1);
        let mut rings = Vec::with_capacity(RINGS);
        for _ in 0..RINGS {
            let words = ZeroedWords::try_new(len)?;
            rings.push(CachePadded::new(Ring { written: AtomicU64::new(0), words }));
        }
        rings.try_into().ok().map(|rings| Self { rings })
    }

    fn ring(&self, hash: KeyHash) -> &Ring {
        // Neither the lowest bits, which choose a bucket, nor the highest, which choose a partition.
        &self.rings[hash.ring(RINGS)]
    }

    /// Remembers a removal; one by the user as `explicit`.
    pub(crate) fn removed(&self, hash: KeyHash, cause: RemovalCause, explicit: Absence) {
        let absence = match cause {
            RemovalCause::Evicted => Absence::Evicted,
            RemovalCause::Expired => Absence::Expired,
            RemovalCause::Explicit => explicit,
            RemovalCause::Invalidated => Absence::Invalidated,
            // The key is still in the table.
            RemovalCause::Replaced => return,
        };
        self.note(hash, absence);
    }

    pub(crate) fn rejected(&self, hash: KeyHash) {
        self.note(hash, Absence::Rejected);
    }

    fn note(&self, hash: KeyHash, absence: Absence) {
        let number = absence.number();
        let ring = self.ring(hash);
        let position = ring.written.fetch_add(1, Ordering::Relaxed);
        ring.words[index_in_ring(position, ring.words.len())]
            .store(hash.raw() << 8 | number, Ordering::Relaxed);
    }

    /// Why the key of `hash`, which is absent, has left.
    pub(crate) fn of(&self, hash: KeyHash) -> Absence {
        let ring = self.ring(hash);
        let len = ring.words.len();
        let written = ring.written.load(Ordering::Relaxed);
        let oldest = written.saturating_sub(len as u64);
        let newest_first = (oldest..written).rev();
        let words =
            newest_first.map(|at| ring.words[index_in_ring(at, len)].load(Ordering::Relaxed));
        let found = words.filter(|word| word >> 8 == hash.raw());
        let reason = found.map(|word| Absence::from_number(word.to_le_bytes()[0])).next();
        // None also for a word that a thread is still writing.
        let without_word = if oldest == 0 { Absence::NeverSeen } else { Absence::Unknown };
        reason.flatten().unwrap_or(without_word)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below the length")]
fn index_in_ring(position: u64, len: usize) -> usize {
    (position % len as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_reason_wins_until_it_is_forgotten() {
        let history = RemovalHistory::try_new(RINGS * 3).expect("there is enough memory");
        assert_eq!(history.of(KeyHash::from_raw(7)), Absence::NeverSeen);
        history.removed(KeyHash::from_raw(7), RemovalCause::Evicted, Absence::Removed);
        history.removed(KeyHash::from_raw(7), RemovalCause::Replaced, Absence::Removed);
        assert_eq!(history.of(KeyHash::from_raw(7)), Absence::Evicted);
        history.rejected(KeyHash::from_raw(7));
        assert_eq!(history.of(KeyHash::from_raw(7)), Absence::Rejected);
        // Hashes of the same ring.
        history.removed(KeyHash::from_raw(8), RemovalCause::Expired, Absence::Removed);
        assert_eq!(
            (history.of(KeyHash::from_raw(7)), history.of(KeyHash::from_raw(9))),
            (Absence::Rejected, Absence::NeverSeen)
        );
        history.removed(KeyHash::from_raw(9), RemovalCause::Explicit, Absence::Removed);
        history.removed(KeyHash::from_raw(10), RemovalCause::Invalidated, Absence::Removed);
        assert_eq!(
            (history.of(KeyHash::from_raw(7)), history.of(KeyHash::from_raw(6))),
            (Absence::Unknown, Absence::Unknown)
        );
        assert_eq!(history.of(KeyHash::from_raw(8)), Absence::Expired);
        assert_eq!(
            (history.of(KeyHash::from_raw(9)), history.of(KeyHash::from_raw(10))),
            (Absence::Removed, Absence::Invalidated)
        );
    }

    #[test]
    fn hashes_that_differ_in_one_of_48_bits_are_distinguished() {
        let history = RemovalHistory::try_new(1000).expect("there is enough memory");
        let hash = 0xffff_0123_4567;
        history.removed(KeyHash::from_raw(hash), RemovalCause::Evicted, Absence::Removed);
        assert_eq!(history.of(KeyHash::from_raw(hash)), Absence::Evicted);
        for bit in 0..48 {
            assert_eq!(
                history.of(KeyHash::from_raw(hash ^ 1 << bit)),
                Absence::NeverSeen,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn every_remembered_reason_round_trips_through_its_number() {
        for absence in Absence::ALL {
            let number = u8::try_from(absence.number()).unwrap();
            assert_eq!(Absence::from_number(number), Some(absence));
        }
        assert_eq!((Absence::NeverSeen.number(), Absence::Unknown.number()), (0, 0));
        assert_eq!(Absence::from_number(0), None);
    }
}
