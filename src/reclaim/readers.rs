//! Readers that announce themselves by a plain store, and the phases that show when they have left.
//!
//! Each thread has a [`Reader`], a word in a cache line of its own: idle, or marked with the phase in
//! which the thread went in. [`Phases::step`] moves the current phase on; it may do so when each
//! reader that is inside has the current mark:
//!
//! | word | meaning | next, by which thread |
//! |---|---|---|
//! | 0 | idle | marked with the phase just read: by its own thread |
//! | `phase << 1 \| 1` | inside since about that phase | 0: by its own thread |
//!
//! A reader that is inside in phase `p` keeps the phase from going beyond `p + 1`. So what was
//! unlinked before [`Phases::end_of_now`] read phase `p` can be freed once the current phase is at
//! least `p + 2`. The step to `p + 1` comes after the unlinking, so a reader marked `p + 1` sees
//! it. The step to `p + 2` finds no reader marked `p` any more. A step may miss a reader that went
//! in but whose store is not visible yet; the loads of that reader come after the barrier of the
//! step, so it sees the unlinking too. If no reader is inside at all, one check is enough for both
//! steps. This is epoch-based reclamation (Fraser 2004) with the fence moved from the reader to the
//! step.
//!
//! # Orderings
//! - A reader's mark, then its loads of the structure | the unlinking, then the step's load of the
//!   mark: `barrier::light` and `barrier::heavy` between them; one side sees the other.
//! - `Reader::word`: stored with release in `leave`, and in `enter`, which may follow it before a step
//!   checks the word. The acquire in `step` makes everything that was read inside happen before what
//!   is freed afterwards.
//! - `Phases::current`: stored with release in `step`, which comes after the unlinking that it closes.
//!   The acquire in `enter` makes a reader with the new mark see that unlinking.
//!
//! Model tests: `loom-tests/tests/reclaim.rs`.
#![forbid(unsafe_code)]

use crossbeam_utils::CachePadded;

use super::barrier;
use crate::base::sync::{AtomicU64, AtomicUsize, Ordering, const_unless_loom};

const IDLE: u64 = 0;

fn mark(phase: u64) -> u64 {
    phase << 1 | 1
}

/// The announcement of one thread.
pub(crate) struct Reader {
    line: CachePadded<ReaderLine>,
}

struct ReaderLine {
    word: AtomicU64,
    /// How often its thread is inside beyond the first time; only that thread uses it. It is
    /// separate from `word`, so that going in and out once is two independent stores: a count that
    /// goes up and down would chain each lookup to the one before.
    nested: AtomicUsize,
    /// The number of its thread.
    number: usize,
    /// What its thread has counted, by tally (`reclaim::tally`). It is here because every lookup
    /// writes to this line anyway.
    tallies: [AtomicU64; TALLIES],
}

/// The number of tallies.
pub(crate) const TALLIES: usize = 4;

impl Reader {
    pub(crate) fn new(number: usize) -> Self {
        let line = ReaderLine {
            word: AtomicU64::new(IDLE),
            nested: AtomicUsize::new(0),
            number,
            tallies: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        Self { line: CachePadded::new(line) }
    }

    #[inline]
    pub(crate) fn number(&self) -> usize {
        self.line.number
    }

    /// Adds one to a tally; for its own thread. False if there is no such tally.
    #[inline(always)]
    pub(crate) fn tally(&self, at: usize) -> bool {
        let tally = self.line.tallies.get(at);
        // A load and a store are enough, because only its thread writes it.
        tally
            .map(|tally| tally.store(tally.load(Ordering::Relaxed) + 1, Ordering::Relaxed))
            .is_some()
    }

    /// What its thread, and earlier threads with its number, have counted.
    #[cfg(not(larder_loom))]
    pub(crate) fn tallied(&self, at: usize) -> u64 {
        self.line.tallies.get(at).map_or(0, |tally| tally.load(Ordering::Relaxed))
    }

    /// Goes in; for its own thread. Wait-free; nests.
    #[inline]
    pub(crate) fn enter(&self, phases: &Phases) {
        // Relaxed, here and in all loads of `word` except those of `step` and `has_left`: its own
        // thread wrote it.
        if self.line.word.load(Ordering::Relaxed) != IDLE {
            let nested = self.line.nested.load(Ordering::Relaxed);
            return self.line.nested.store(nested + 1, Ordering::Relaxed);
        }
        // Acquire: pairs with the release in `step`.
        let phase = phases.current.load(Ordering::Acquire);
        // Release: carries on the release of `leave`, in case a step sees only this mark.
        self.line.word.store(mark(phase), Ordering::Release);
        barrier::light();
    }

    /// Undoes one `enter`; for its own thread.
    #[inline]
    pub(crate) fn leave(&self) {
        let nested = self.line.nested.load(Ordering::Relaxed);
        if nested > 0 {
            return self.line.nested.store(nested - 1, Ordering::Relaxed);
        }
        // Release: pairs with the acquire in `step`.
        self.line.word.store(IDLE, Ordering::Release);
    }

    /// Whether its thread is inside; for that thread.
    pub(crate) fn is_inside(&self) -> bool {
        self.line.word.load(Ordering::Relaxed) != IDLE
    }

    /// Whether it is outside for good; for a reader whose thread has ended with a guard.
    #[cfg(not(larder_loom))]
    pub(crate) fn has_left(&self) -> bool {
        // Acquire: pairs with the release in `leave`; the next thread continues from there.
        self.line.word.load(Ordering::Acquire) == IDLE
    }

    /// Makes it idle, however often it is inside: its thread does not exist in this process.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn forget(&self) {
        self.line.nested.store(0, Ordering::Relaxed);
        self.line.word.store(IDLE, Ordering::Relaxed);
    }
}

/// The phases of all readers. Only one thread at a time may step.
pub(crate) struct Phases {
    current: CachePadded<AtomicU64>,
}

impl Phases {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self { current: CachePadded::new(AtomicU64::new(0)) }
        }
    }

    /// The phase from which on no reader can see what was unlinked before; for the thread that
    /// steps.
    pub(crate) fn end_of_now(&self) -> u64 {
        // Relaxed: only the thread that steps writes it.
        self.current.load(Ordering::Relaxed) + 2
    }

    /// Whether phase `end` has come; for the thread that steps.
    pub(crate) fn has_come(&self, end: u64) -> bool {
        self.current.load(Ordering::Relaxed) >= end
    }

    /// Moves the phase on unless a reader of an earlier phase is inside. `readers` must be all that
    /// exist, except for those that were made since with a happens-before edge to here.
    pub(crate) fn step<'r>(&self, readers: impl IntoIterator<Item = &'r Reader>) {
        if barrier::heavy() {
            self.step_behind_fence(readers);
        }
    }

    /// The same without a fence in the other threads. Each reader's last store must happen before
    /// this call, as the stores of the calling thread do, and those to readers that no thread has.
    pub(crate) fn step_behind_fence<'r>(&self, readers: impl IntoIterator<Item = &'r Reader>) {
        // Relaxed: only the thread that steps writes it.
        let current = self.current.load(Ordering::Relaxed);
        let mut is_any_inside = false;
        for reader in readers {
            // Acquire: pairs with the release in `leave` and `enter`.
            let word = reader.line.word.load(Ordering::Acquire);
            if word != IDLE && word != mark(current) {
                return;
            }
            is_any_inside |= word != IDLE;
        }
        let steps = if is_any_inside { 1 } else { 2 };
        // Release: pairs with the acquire in `enter`.
        self.current.store(current + steps, Ordering::Release);
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_reader_inside_holds_back_the_end_of_its_phase() {
        if !barrier::is_asymmetric() {
            return; // no step can be made
        }
        let (phases, a, b) = (Phases::new(), Reader::new(0), Reader::new(1));
        a.enter(&phases);
        let end = phases.end_of_now();
        for _ in 0..5 {
            phases.step([&a, &b]);
            b.enter(&phases);
            b.leave();
        }
        assert!(!phases.has_come(end));
        // Nested: still inside.
        a.enter(&phases);
        a.leave();
        phases.step([&a, &b]);
        assert!(a.is_inside() && !phases.has_come(end));
        a.leave();
        assert!(!a.is_inside());
        phases.step([&a, &b]);
        assert!(phases.has_come(end));
    }

    #[test]
    fn a_later_reader_holds_nothing_back() {
        if !barrier::is_asymmetric() {
            return; // no step can be made
        }
        let (phases, reader) = (Phases::new(), Reader::new(0));
        let end = phases.end_of_now();
        reader.enter(&phases);
        phases.step([&reader]);
        assert!(!phases.has_come(end), "it may have come before the unlinking was seen");
        reader.leave();
        reader.enter(&phases);
        phases.step([&reader]);
        assert!(phases.has_come(end), "it came after the first step");
    }
}
