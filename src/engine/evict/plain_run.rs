//! What a plain run takes out of the table, and what it reports of that.
#![forbid(unsafe_code)]

use crate::base::cause::RemovalCause;
use crate::base::histogram::TimeHistogram;
use crate::buffer::write_buffer::WriteBuffer;
use crate::engine::history::{Absence, RemovalHistory};
use crate::entry::{EntryMeta, EntryPtr};
use crate::expiry::Timing;
use crate::reclaim::{Guard, RetiredList};
use crate::table::UntypedTable;

/// What a run needs besides the evictor, and what it has done.
///
/// What only some caches need is in `more`. In all others that is `()`, and their code knows nothing of it.
pub(crate) struct PlainRun<'r, M> {
    pub(crate) table: UntypedTable<'r>,
    pub(crate) retired: &'r mut RetiredList,
    pub(crate) guard: &'r Guard,
    pub(crate) evictions: u64,
    pub(crate) retirements: u64,
    /// The change of the number of linked entries.
    pub(crate) linked: isize,
    pub(crate) more: M,
    /// Whether the policy has panicked.
    pub(super) has_failed: bool,
}

/// What a plain run attends to besides the order of entries.
#[derive(Default)]
pub(crate) struct Attended<'r> {
    pub(crate) weights: Weights,
    /// If there is a listener.
    pub(crate) leaving: Option<Leaving<'r>>,
    /// If absences are explained.
    pub(crate) history: Option<&'r RemovalHistory>,
    /// If the ages of evicted entries are counted.
    pub(crate) ages: Option<EvictionAges<'r>>,
}

/// The weights of what a run has evicted and retired.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weights {
    pub(crate) evicted: u64,
    pub(crate) retired: u64,
}

/// Where the ages of evicted entries are counted.
#[derive(Clone, Copy)]
pub(crate) struct EvictionAges<'r> {
    pub(crate) histogram: &'r TimeHistogram,
    pub(crate) timing: &'r Timing,
}

impl EvictionAges<'_> {
    /// Counts the age of an entry that is evicted.
    #[inline(never)]
    pub(crate) fn note(self, victim: EntryPtr) {
        if let Some(age) = self.timing.coarse_age(victim) {
            self.histogram.record(age);
        }
    }
}

/// What the listener is notified of.
pub(crate) struct Leaving<'r> {
    pub(crate) writes: &'r WriteBuffer,
    /// Where the run lists what has left.
    pub(crate) left: &'r mut Vec<Left>,
}

/// An entry that has left the table, of which the listener has to be notified.
pub(crate) struct Left {
    pub(crate) old: EntryPtr,
    /// The entry that took its place, if any.
    pub(crate) new: Option<EntryPtr>,
    pub(crate) when: NotifyAt,
}

/// When the listener is notified of a removal.
#[derive(Clone, Copy)]
pub(crate) enum NotifyAt {
    /// At once: the removal's event was just popped.
    Now,
    /// Once all slots before this position were popped.
    Position(u32),
}

/// `()`, or [`Attended`].
pub(crate) trait Attending {
    /// Whether entries may weigh other than one.
    const WEIGHED: bool;

    fn weights(&mut self) -> Option<&mut Weights>;
    fn leaving(&mut self) -> Option<&mut Vec<Left>>;
    /// The position of the buffer of events, if there is a listener.
    fn position(&self) -> Option<u32>;
    fn history(&self) -> Option<&RemovalHistory>;
    fn ages(&self) -> Option<EvictionAges<'_>>;
}

impl Attending for () {
    const WEIGHED: bool = false;

    #[inline(always)]
    fn weights(&mut self) -> Option<&mut Weights> {
        None
    }

    #[inline(always)]
    fn leaving(&mut self) -> Option<&mut Vec<Left>> {
        None
    }

    #[inline(always)]
    fn position(&self) -> Option<u32> {
        None
    }

    #[inline(always)]
    fn history(&self) -> Option<&RemovalHistory> {
        None
    }

    #[inline(always)]
    fn ages(&self) -> Option<EvictionAges<'_>> {
        None
    }
}

impl Attending for Attended<'_> {
    const WEIGHED: bool = true;

    #[inline(always)]
    fn weights(&mut self) -> Option<&mut Weights> {
        Some(&mut self.weights)
    }

    #[inline(always)]
    fn leaving(&mut self) -> Option<&mut Vec<Left>> {
        self.leaving.as_mut().map(|leaving| &mut *leaving.left)
    }

    #[inline(always)]
    fn position(&self) -> Option<u32> {
        self.leaving.as_ref().map(|leaving| leaving.writes.position())
    }

    #[inline(always)]
    fn history(&self) -> Option<&RemovalHistory> {
        self.history
    }

    #[inline(always)]
    fn ages(&self) -> Option<EvictionAges<'_>> {
        self.ages
    }
}

impl<'r, M: Attending> PlainRun<'r, M> {
    #[inline(always)]
    pub(crate) fn new(
        table: UntypedTable<'r>,
        retired: &'r mut RetiredList,
        guard: &'r Guard,
        more: M,
    ) -> Self {
        Self {
            table,
            retired,
            guard,
            evictions: 0,
            retirements: 0,
            linked: 0,
            more,
            has_failed: false,
        }
    }

    #[inline(always)]
    pub(super) fn weight_of(meta: &EntryMeta) -> u32 {
        debug_assert!(M::WEIGHED || meta.weight() == 1, "without a weigher, each entry weighs one");
        if M::WEIGHED { meta.weight() } else { 1 }
    }

    #[inline(always)]
    fn retire(&mut self, entry: EntryPtr, meta: &EntryMeta) {
        let weight = u64::from(Self::weight_of(meta));
        self.retirements += 1;
        if let Some(weights) = self.more.weights() {
            weights.retired += weight;
        }
        self.retired.retire(entry, weight);
    }

    /// Handles a new entry that had left before its event was applied.
    #[cold]
    pub(super) fn note_left(&mut self, new: EntryPtr, meta: &EntryMeta) {
        if meta.is_finished() {
            self.retire(new, meta);
        }
    }

    /// Notes that `old`, whose event was just applied, has left the table, and that `new`, if any, is in its
    /// place.
    #[inline(always)]
    pub(super) fn note_gone(&mut self, old: EntryPtr, meta: &EntryMeta, new: Option<EntryPtr>) {
        self.note_gone_at(old, meta, new, NotifyAt::Now);
    }

    /// A notification holds its entry, which is retired when the notification is dropped.
    #[inline(always)]
    fn note_gone_at(
        &mut self,
        old: EntryPtr,
        meta: &EntryMeta,
        new: Option<EntryPtr>,
        when: NotifyAt,
    ) {
        let is_finished = meta.set_gone_and_check();
        if let Some(left) = self.more.leaving() {
            left.push(Left { old, new, when });
        } else if is_finished {
            self.retire(old, meta);
        }
    }

    /// Takes a victim out of the table, unless another thread was first.
    #[inline(always)]
    pub(super) fn take_out(&mut self, victim: EntryPtr, meta: &EntryMeta) {
        // Read before the removal (`listener`, "The order of removals").
        let position = self.more.position();
        if !self.table.remove_entry(victim, self.guard) {
            return;
        }
        self.evictions += 1;
        if let Some(weights) = self.more.weights() {
            weights.evicted += u64::from(meta.weight());
            meta.set_cause(RemovalCause::Evicted);
        }
        if let Some(history) = self.more.history() {
            history.removed(victim.hash(), RemovalCause::Evicted, Absence::Removed);
        }
        if let Some(ages) = self.more.ages() {
            ages.note(victim);
        }
        let when = position.map_or(NotifyAt::Now, NotifyAt::Position);
        self.note_gone_at(victim, meta, None, when);
    }
}
