//! Why keys have left lately: a bounded memory for [`Cache::explain`](crate::Cache::explain).
//!
//! Words stand in rings, which are chosen by hash, so that what is remembered of a key stands in
//! one ring and threads seldom meet at the same one. A word is a key's hash, of which an entry
//! keeps 48 bits, and the reason. A remover writes its word after the removal; the newest word for
//! a hash wins.
//!
//! # Orderings
//! All relaxed: a word is complete in itself, and a thread that reads while others write may find
//! the history a moment old.
#![forbid(unsafe_code)]

use crossbeam_utils::CachePadded;

use crate::base::cause::RemovalCause;
use crate::base::sync::{AtomicU64, Ordering};
use crate::memory::zeroed::ZeroedWords;

const RINGS: usize = 16;

/// Why a key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Absence {
    /// It was never there, nor was its insertion rejected.
    NeverSeen,
    /// Its entry was evicted, because a bound was reached.
    Evicted,
    /// Its entry's deadline has passed.
    Expired,
    /// It was removed by itself: by `remove` or `remove_if`.
    Removed,
    /// It was removed because of what a predicate said: by `retain` or `invalidate_if`.
    RemovedByPredicate,
    /// It was removed with all others, by `clear`.
    Cleared,
    /// One of its entry's tags was [invalidated](crate::Cache::invalidate_tag).
    Invalidated,
    /// Its last insertion was rejected, and it is not there: a value that is too heavy takes the old
    /// one along, and with too many [tags](crate::Cache::insert_with_tags) there was none.
    Rejected,
    /// Nothing is remembered of it: it was never there, or so long ago that it is forgotten, or the
    /// cache was built without [`explain_misses`](crate::Builder::explain_misses).
    Unknown,
}

impl Absence {
    /// What is remembered, by number less one; 0 is what an empty place holds.
    const ALL: [Self; 7] = [
        Self::Evicted,
        Self::Expired,
        Self::Removed,
        Self::RemovedByPredicate,
        Self::Cleared,
        Self::Invalidated,
        Self::Rejected,
    ];

    /// 0 for what is not remembered.
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

pub(crate) struct RemovalHistory {
    rings: [CachePadded<Ring>; RINGS],
}

struct Ring {
    /// How many words were ever written.
    written: AtomicU64,
    words: ZeroedWords,
}

impl RemovalHistory {
    /// Remembers at least `removals` of evenly spread keys. `None` if there is no memory for that;
    /// what there is takes room as words are written.
    pub(crate) fn try_new(removals: usize) -> Option<Self> {
        let len = removals.div_ceil(RINGS).max(1);
        let mut rings = Vec::with_capacity(RINGS);
        for _ in 0..RINGS {
            let words = ZeroedWords::try_new(len)?;
            rings.push(CachePadded::new(Ring { written: AtomicU64::new(0), words }));
        }
        rings.try_into().ok().map(|rings| Self { rings })
    }

    fn ring(&self, hash: u64) -> &Ring {
        // Neither the lowest bits, which choose a bucket, nor the highest, which choose a partition.
        &self.rings[(hash >> 16) as usize % RINGS]
    }

    /// `explicit` is what to remember of a removal by the user.
    pub(crate) fn removed(&self, hash: u64, cause: RemovalCause, explicit: Absence) {
        let absence = match cause {
            RemovalCause::Evicted => Absence::Evicted,
            RemovalCause::Expired => Absence::Expired,
            RemovalCause::Explicit => explicit,
            RemovalCause::Invalidated => Absence::Invalidated,
            // The key is there.
            RemovalCause::Replaced => return,
        };
        self.note(hash, absence);
    }

    pub(crate) fn rejected(&self, hash: u64) {
        self.note(hash, Absence::Rejected);
    }

    fn note(&self, hash: u64, absence: Absence) {
        let number = absence.number();
        let ring = self.ring(hash);
        let position = ring.written.fetch_add(1, Ordering::Relaxed);
        ring.words[place(position, ring.words.len())].store(hash << 8 | number, Ordering::Relaxed);
    }

    /// What was remembered last of a key that is not there.
    pub(crate) fn of(&self, hash: u64) -> Absence {
        let ring = self.ring(hash);
        let len = ring.words.len();
        let written = ring.written.load(Ordering::Relaxed);
        let oldest = written.saturating_sub(len as u64);
        let newest_first = (oldest..written).rev();
        let words = newest_first.map(|at| ring.words[place(at, len)].load(Ordering::Relaxed));
        let found = words.filter(|word| word >> 8 == hash & (u64::MAX >> 8));
        let reason = found.map(|word| Absence::from_number(word.to_le_bytes()[0])).next();
        // Nothing is known yet of a word that a thread is writing.
        let nothing = if oldest == 0 { Absence::NeverSeen } else { Absence::Unknown };
        reason.flatten().unwrap_or(nothing)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below the length")]
fn place(position: u64, len: usize) -> usize {
    (position % len as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_counts_until_it_is_forgotten() {
        let history = RemovalHistory::try_new(RINGS * 3).expect("there is that much memory");
        assert_eq!(history.of(7), Absence::NeverSeen);
        history.removed(7, RemovalCause::Evicted, Absence::Removed);
        history.removed(7, RemovalCause::Replaced, Absence::Removed);
        assert_eq!(history.of(7), Absence::Evicted);
        history.rejected(7);
        assert_eq!(history.of(7), Absence::Rejected);
        // Hashes of the same ring.
        history.removed(8, RemovalCause::Expired, Absence::Removed);
        assert_eq!((history.of(7), history.of(9)), (Absence::Rejected, Absence::NeverSeen));
        history.removed(9, RemovalCause::Explicit, Absence::Removed);
        history.removed(10, RemovalCause::Invalidated, Absence::Removed);
        assert_eq!((history.of(7), history.of(6)), (Absence::Unknown, Absence::Unknown));
        assert_eq!(history.of(8), Absence::Expired);
        assert_eq!((history.of(9), history.of(10)), (Absence::Removed, Absence::Invalidated));
    }

    #[test]
    fn hash_of_48_bits_is_told_apart_by_each() {
        let history = RemovalHistory::try_new(1000).expect("there is that much memory");
        let hash = 0xffff_0123_4567;
        history.removed(hash, RemovalCause::Evicted, Absence::Removed);
        assert_eq!(history.of(hash), Absence::Evicted);
        for bit in 0..48 {
            assert_eq!(history.of(hash ^ 1 << bit), Absence::NeverSeen, "bit {bit}");
        }
    }

    #[test]
    fn what_is_remembered_comes_back_from_its_number() {
        for absence in Absence::ALL {
            let number = u8::try_from(absence.number()).unwrap();
            assert_eq!(Absence::from_number(number), Some(absence));
        }
        assert_eq!((Absence::NeverSeen.number(), Absence::Unknown.number()), (0, 0));
        assert_eq!(Absence::from_number(0), None);
    }
}
