//! Readers that announce themselves by a plain store, and when those of before have left.
//!
//! Each thread has a [`Reader`], a word in a cache line of its own: idle, or marked with the
//! phase in which it went in. [`Phases::step`] moves the current phase on; it may do so when each
//! reader inside carries the current mark:
//!
//! | word | meaning | next, by whom |
//! |---|---|---|
//! | 0 | idle | marked: its thread, with the phase that it has just read |
//! | `phase << 1 \| 1` | inside since about that phase | 0: its thread |
//!
//! Who is inside in phase `p` keeps the phase from going beyond `p + 1`. So what was unlinked
//! before somebody read phase `p` can be freed once the current phase is at least `p + 2`
//! ([`Phases::end_of_now`]): the step to `p + 1` comes after the unlinking, so a reader marked
//! `p + 1` sees it; the step to `p + 2` finds nobody marked `p` any more. A reader that went in
//! but that the step does not find, its store still on the way, has its loads behind the step's
//! barrier, and so sees the unlinking too. And if nobody is inside at all, one look is enough for
//! both steps. This is epoch-based reclamation (Fraser 2004) with the fence moved from the
//! reader to the step.
//!
//! # Orderings
//! - A reader's mark, then its loads of the structure | the unlinking, then the step's load of the
//!   mark: `barrier::light` and `barrier::heavy` between them; one side sees the other.
//! - `Reader::word`: stored with release in `leave` (and in `enter`, which may follow it before a
//!   step looks); the acquire in `step` makes all that was read inside happen before what is
//!   freed afterwards.
//! - `Phases::current`: stored with release in `step`, which comes after the unlinking that it
//!   closes; the acquire in `enter` makes a reader with the new mark see that unlinking.
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

/// One thread's announcement.
pub(crate) struct Reader {
    line: CachePadded<ReaderLine>,
}

struct ReaderLine {
    word: AtomicU64,
    /// How often its thread is inside beyond the first time; for that thread alone. Apart from
    /// `word`, so that going in and out once is two stores that depend on nothing: a count that
    /// goes up and down would chain each lookup to the one before.
    nested: AtomicUsize,
    /// The number of its thread.
    number: usize,
    /// What its thread has counted, by tally (`reclaim::tally`). Here, where every lookup writes
    /// anyway.
    tallies: [AtomicU64; TALLIES],
}

/// Tallies that there are.
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

    /// Adds one to a tally. By its own thread. False if there is no such tally.
    #[inline(always)]
    pub(crate) fn tally(&self, at: usize) -> bool {
        let tally = self.line.tallies.get(at);
        // Not one atomic step: only its thread writes it.
        tally
            .map(|tally| tally.store(tally.load(Ordering::Relaxed) + 1, Ordering::Relaxed))
            .is_some()
    }

    /// What its thread, and those before it, have counted.
    #[cfg(not(larder_loom))]
    pub(crate) fn tallied(&self, at: usize) -> u64 {
        self.line.tallies.get(at).map_or(0, |tally| tally.load(Ordering::Relaxed))
    }

    /// Goes in. By its own thread. Wait-free; nests.
    #[inline]
    pub(crate) fn enter(&self, phases: &Phases) {
        // Relaxed, here and in all other loads of `word` but those of `step` and `was_left`: its own thread's.
        if self.line.word.load(Ordering::Relaxed) != IDLE {
            let nested = self.line.nested.load(Ordering::Relaxed);
            return self.line.nested.store(nested + 1, Ordering::Relaxed);
        }
        // Acquire: pairs with the release in `step`.
        let phase = phases.current.load(Ordering::Acquire);
        // Release: carries on what `leave` released, should a step see only this mark.
        self.line.word.store(mark(phase), Ordering::Release);
        barrier::light();
    }

    /// Comes out of one `enter`. By its own thread.
    #[inline]
    pub(crate) fn leave(&self) {
        let nested = self.line.nested.load(Ordering::Relaxed);
        if nested > 0 {
            return self.line.nested.store(nested - 1, Ordering::Relaxed);
        }
        // Release: pairs with the acquire in `step`.
        self.line.word.store(IDLE, Ordering::Release);
    }

    /// Whether it is inside; for its own thread.
    pub(crate) fn is_inside(&self) -> bool {
        self.line.word.load(Ordering::Relaxed) != IDLE
    }

    /// Whether it is outside for good: for readers whose threads have lost them, but for guards.
    #[cfg(not(larder_loom))]
    pub(crate) fn was_left(&self) -> bool {
        // Acquire: pairs with the release in `leave`; the next thread goes on from there.
        self.line.word.load(Ordering::Acquire) == IDLE
    }

    /// Takes it out however often it is inside: its thread does not exist in this process.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn forget(&self) {
        self.line.nested.store(0, Ordering::Relaxed);
        self.line.word.store(IDLE, Ordering::Relaxed);
    }
}

/// The phases of all readers. Steps are made by one thread at a time.
pub(crate) struct Phases {
    current: CachePadded<AtomicU64>,
}

impl Phases {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self { current: CachePadded::new(AtomicU64::new(0)) }
        }
    }

    /// The phase from which on nobody can see what was unlinked before. For who steps.
    pub(crate) fn end_of_now(&self) -> u64 {
        // Relaxed: written by who steps alone.
        self.current.load(Ordering::Relaxed) + 2
    }

    /// Whether phase `end` has come. For who steps.
    pub(crate) fn has_come(&self, end: u64) -> bool {
        self.current.load(Ordering::Relaxed) >= end
    }

    /// Moves the phase on unless a reader of an earlier one is inside. `readers` must be all that
    /// there are, but for those that were made since with a happens-before edge to here.
    pub(crate) fn step<'r>(&self, readers: impl IntoIterator<Item = &'r Reader>) {
        if barrier::heavy() {
            self.step_behind_fence(readers);
        }
    }

    /// The same without a fence in the other threads: for where each reader's last store happens
    /// before this call, as it does of the calling thread's own, and of those that no thread has.
    pub(crate) fn step_behind_fence<'r>(&self, readers: impl IntoIterator<Item = &'r Reader>) {
        // Relaxed: written by who steps alone.
        let current = self.current.load(Ordering::Relaxed);
        let mut is_anybody_inside = false;
        for reader in readers {
            // Acquire: pairs with the release in `leave` and `enter`.
            let word = reader.line.word.load(Ordering::Acquire);
            if word != IDLE && word != mark(current) {
                return;
            }
            is_anybody_inside |= word != IDLE;
        }
        let steps = if is_anybody_inside { 1 } else { 2 };
        // Release: pairs with the acquire in `enter`.
        self.current.store(current + steps, Ordering::Release);
    }
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_is_inside_holds_the_end_of_its_phase_back() {
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
    fn a_reader_that_came_later_holds_nothing_back() {
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
