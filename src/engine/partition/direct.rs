//! Maintenance for one event, run by the thread that has made the change.
//!
//! In most caches (`evict::plain`) a writer that gets the lock at once applies its own event, so the work is spread
//! over all calls as it arises, and the event never passes through the buffer. The buffer is for the writers that find
//! the lock taken. They do not wait; those that come after them apply a few of their events each. With inline
//! maintenance they do wait, and a thread applies all hits that were recorded before its event. With a listener, all
//! events pass through the buffer, which has their order, and each writer takes a few out.
#![forbid(unsafe_code)]

use super::{AfterUnlock, Core, Freeing, Partition};
use crate::base::mode::Maintenance;
use crate::base::reentrancy::{self, Scope};
use crate::base::sync::Ordering;
use crate::buffer::read_buffer::ReadBuffer;
use crate::buffer::write_buffer::{Event, Popped};
use crate::engine::Engine;
#[cfg(all(test, not(larder_loom)))]
use crate::engine::counts::Counts;
use crate::engine::counts::add;
use crate::engine::evict::{Applying, Attended, Evictor, Leaving, PlainRun, Weights};
use crate::engine::run::{Amount, Done, Retiring, RunListener};
use crate::listener::Channel;
use crate::reclaim::{self, Freeable, Guard};

/// The most events of other threads that a caller applies before its own.
const HELPED: usize = 3;
/// The most recorded hits of each stripe that it applies: more than a useful cache has for each insertion.
const HELPED_READS: usize = 8;
/// If entries are weighed, the policy is asked for its sample when their number is a multiple of this.
const SAMPLE_ASKED: usize = 16;

/// What some runs leave to be done without the lock. Most leave nothing.
pub(in crate::engine) enum AfterDirect<'e, K, V> {
    Plain(DirectRun<K, V>),
    /// It took more than a plain run of one event.
    More(AfterUnlock<'e, K, V>),
}

/// What a plain run of one event leaves, or of a few if there is a listener.
pub(in crate::engine) struct DirectRun<K, V> {
    /// Entries that can be freed, taken in `phase`.
    pub(in crate::engine) free: Option<Freeable<K, V>>,
    pub(in crate::engine) phase: usize,
    /// The change of the number of linked entries.
    pub(in crate::engine) linked: isize,
    /// Whether enough was retired for the epoch to be advanced.
    pub(in crate::engine) is_paced: bool,
}

/// What the plain runs of a direct one have done.
#[derive(Default)]
struct Ran {
    evictions: u64,
    retirements: u64,
    /// The weights of these, if entries are weighed.
    weights: Option<Weights>,
    /// The change of the number of linked entries.
    linked: isize,
    /// The change of the number of entries in the table that no other thread counts.
    live: i64,
    /// Whether an event may have set a timer that is due before all others.
    is_due_earlier: bool,
}

impl<K, V> Partition<K, V> {
    /// Whether events can be applied directly, as far as that depends on the entries. Under the lock.
    #[inline]
    pub(in crate::engine) fn takes_direct_runs(&self, core: &Core<K, V>) -> bool {
        core.evictor.is_plain() && !self.has_moved()
    }

    /// Applies `event`, which was not pushed, after a few events that wait, and evicts the excess. Under the
    /// lock, if the partition [takes direct runs](Self::takes_direct_runs). Puts into `rest` what is left to be
    /// done without the lock, and returns whether there is work for the maintenance thread.
    #[inline(always)]
    pub(in crate::engine) fn run_directly<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        event: &Event,
        guard: &Guard,
        rest: &mut Option<AfterDirect<'e, K, V>>,
    ) -> bool {
        self.take_reads(core, engine);
        // If the policy has panicked over a hit, a full run counts that, and has the payload dropped.
        if self.writes.may_have_some() || core.evictor.has_payloads() {
            *rest = Some(AfterDirect::More(self.run_with_others(core, engine, event, guard)));
            return false;
        }
        match self.attended(core, engine) {
            None => self.run_one(core, engine, event, guard, (), rest),
            Some(attended) => self.run_attending(core, engine, event, guard, attended, rest),
        }
    }

    /// As [`run_one`](Self::run_one), with more to attend to.
    #[inline(never)]
    fn run_attending<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        event: &Event,
        guard: &Guard,
        attended: Attended<'_>,
        rest: &mut Option<AfterDirect<'e, K, V>>,
    ) -> bool {
        self.run_one(core, engine, event, guard, attended, rest)
    }

    /// The run of one event.
    #[inline(always)]
    fn run_one<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        event: &Event,
        guard: &Guard,
        more: impl Applying,
        rest: &mut Option<AfterDirect<'e, K, V>>,
    ) -> bool {
        let (table, retired) = (engine.table.untyped(), core.retired.list());
        let mut run = PlainRun::new(table, retired, guard, more);
        let outcome = Applying::apply_one(&mut core.evictor, event, &mut run);
        let PlainRun { evictions, retirements, linked, .. } = run;
        let weights = run.more.weights().copied();
        if let Err(is_applied) = outcome {
            let done = Done::of_plain(evictions, retirements, weights);
            let ran = (done, linked, event.len_delta());
            let event = (!is_applied).then_some(*event);
            *rest = Some(AfterDirect::More(self.run_rest(core, engine, event, ran, guard)));
            return false;
        }
        // As in `after_run`: with inline maintenance, the runs alone count, whatever the order in which events
        // of one entry arrive.
        let live = match engine.mode {
            Maintenance::Background => i64::from(event.len_delta()) - evictions.cast_signed(),
            Maintenance::Inline => linked as i64,
        };
        let is_due_earlier = self.is_due_earlier(&core.evictor, event);
        let ran = Ran { evictions, retirements, weights, linked, live, is_due_earlier };
        self.end_direct(core, engine, &ran, rest)
    }

    /// Applies recorded hits.
    #[inline(always)]
    fn take_reads(&self, core: &mut Core<K, V>, engine: &Engine<K, V>) {
        if self.reads.as_ref().is_some_and(ReadBuffer::has_some) {
            let max = match engine.mode {
                Maintenance::Background => HELPED_READS,
                Maintenance::Inline => usize::MAX,
            };
            self.drain_some_reads(&mut core.evictor, max);
        }
    }

    /// Whether the event may have set a timer that is due before all others.
    #[inline(always)]
    fn is_due_earlier(&self, evictor: &Evictor, event: &Event) -> bool {
        let next_ns = self.next_timer_ns();
        event.incoming().is_some_and(|new| evictor.is_timed_before(new, next_ns))
    }

    /// Counts what a direct run has done, and puts into `rest` what is left to be done without the lock. Returns
    /// whether there is work for the maintenance thread.
    #[inline(always)]
    fn end_direct<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        ran: &Ran,
        rest: &mut Option<AfterDirect<'e, K, V>>,
    ) -> bool {
        let Ran { evictions, retirements, weights, linked, live, is_due_earlier } = *ran;
        let counts = &self.counts;
        add(&counts.direct_runs, 1);
        let (mut is_paced, mut is_heavy, mut free) = (false, false, None);
        match weights {
            None => add(&counts.direct_evictions, evictions),
            Some(weights) => {
                (is_paced, is_heavy) = self.count_weights(core, engine, evictions, weights);
            }
        }
        if retirements > 0 {
            let retired = counts.retired.load(Ordering::Relaxed) + retirements;
            counts.retired.store(retired, Ordering::Relaxed);
            is_paced |= retired >= core.paced_from;
            if is_paced {
                core.paced_from = retired + engine.pace_entries as u64;
                core.unpaced_weight = 0;
                // Rarely, since most policies never change it.
                self.publish_sample(&mut core.evictor);
            }
            if is_heavy || core.retired.is_time_to_free(self.backlog) {
                free = self.take_one(core);
            }
        }
        if live != 0 {
            self.writes.adjust_live(i32::try_from(live).expect("a run evicts few entries"));
        }
        if linked != 0 {
            counts.weight.store(core.evictor.weight(), Ordering::Relaxed);
            self.key_arrays.publish(&core.evictor.key_arrays());
        }
        // The next whole run notes timers that were stopped.
        let is_due_earlier = is_due_earlier && self.note_next_timer(&core.evictor);
        if linked != 0 || is_paced || is_due_earlier || free.is_some() {
            let phase = core.phase;
            *rest = Some(AfterDirect::Plain(DirectRun { free, phase, linked, is_paced }));
        }
        !core.retired.is_empty()
    }

    /// Counts what a direct run has evicted and retired, and publishes what is left, where entries are weighed.
    /// Returns whether so much weight was retired that the epoch is to be advanced, and whether so much waits that some
    /// is to be freed.
    #[inline(never)]
    fn count_weights(
        &self,
        core: &mut Core<K, V>,
        engine: &Engine<K, V>,
        evictions: u64,
        weights: Weights,
    ) -> (bool, bool) {
        let removals = &self.counts.removals;
        add(&removals.evictions, evictions);
        add(&removals.evicted_weight, weights.evicted);
        self.counts.weight.store(core.evictor.weight(), Ordering::Relaxed);
        // The sample may depend on how many entries fit.
        if core.evictor.len().is_multiple_of(SAMPLE_ASKED) {
            self.publish_sample(&mut core.evictor);
        }
        core.unpaced_weight = core.unpaced_weight.saturating_add(weights.retired);
        (core.unpaced_weight >= engine.pace_weight, self.has_heavy_garbage(core))
    }

    /// Takes a few events out of the buffer and applies them, as [`run_directly`](Self::run_directly) does, in
    /// a cache with a listener, where all changes have claimed slots. Adds the notifications of what has left to
    /// the channel.
    pub(in crate::engine) fn run_notifying<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        channel: &Channel<K, V>,
        guard: &Guard,
        rest: &mut Option<AfterDirect<'e, K, V>>,
    ) {
        self.take_reads(core, engine);
        let mut ran = Ran::default();
        let outcome = match core.evictor.has_payloads() {
            true => Err(None),
            false => self.apply_notifying(core, engine, channel, guard, &mut ran),
        };
        match outcome {
            Ok(()) => {
                self.end_direct(core, engine, &ran, rest);
            }
            // The claims have counted what the callers have changed.
            Err(event) => {
                let done = Done::of_plain(ran.evictions, ran.retirements, ran.weights);
                let ran = (done, ran.linked, 0);
                *rest = Some(AfterDirect::More(self.run_rest(core, engine, event, ran, guard)));
            }
        }
    }

    /// `Err` if more has to be done, first of all with the event that it names, if it names one.
    #[inline(always)]
    fn apply_notifying(
        &self,
        core: &mut Core<K, V>,
        engine: &Engine<K, V>,
        channel: &Channel<K, V>,
        guard: &Guard,
        ran: &mut Ran,
    ) -> Result<(), Option<Event>> {
        let Core { evictor, retired, deferred, delivered, left, .. } = core;
        let (table, writes) = (engine.table.untyped(), &self.writes);
        let linked = evictor.len();
        let mut listener = RunListener { channel, deferred, delivered, linked };
        let mut counted = Amount::default();
        let mut weights = Weights::default();
        let ages = self.eviction_ages(engine);
        listener.take_back_done(&mut Retiring { retired, counted: &mut counted });
        let mut outcome = Ok(());
        for _ in 0..=HELPED {
            let retiring = &mut Retiring { retired, counted: &mut counted };
            listener.notify_deferred(writes.popped(), retiring);
            let event = match writes.pop_slot() {
                Some(Popped::Event(event)) => event,
                Some(Popped::Void) => continue,
                None => break,
            };
            let (leaving, history) = (Some(Leaving { writes, left }), engine.history.as_deref());
            let more = Attended { weights, leaving, history, ages };
            let mut run = PlainRun::new(table, retired.list(), guard, more);
            let applied = Applying::apply_one(evictor, &event, &mut run);
            weights = run.more.weights;
            ran.evictions += run.evictions;
            ran.linked += run.linked;
            ran.retirements += run.retirements;
            let retiring = &mut Retiring { retired, counted: &mut counted };
            left.drain(..).for_each(|gone| listener.notify_left(gone, &engine.timing, retiring));
            ran.is_due_earlier |= self.is_due_earlier(evictor, &event);
            if let Err(is_applied) = applied {
                outcome = Err((!is_applied).then_some(event));
                break;
            }
        }
        // A removal that is still to be applied comes first.
        if outcome.is_ok() {
            let retiring = &mut Retiring { retired, counted: &mut counted };
            listener.notify_deferred(writes.popped(), retiring);
        }
        ran.retirements += counted.entries;
        weights.retired += counted.weight;
        ran.weights = Some(weights);
        // The claims have counted what the callers have changed.
        ran.live = -ran.evictions.cast_signed();
        outcome
    }

    /// As [`run_directly`](Self::run_directly), if there is more to do than one plain event.
    #[inline(never)]
    fn run_with_others<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        event: &Event,
        guard: &Guard,
    ) -> AfterUnlock<'e, K, V> {
        let mut events = [None; HELPED + 1];
        let count = self.writes.pop_some(&mut events[..HELPED]);
        events[count] = Some(*event);
        let len_before = core.evictor.len();
        let done = self.apply(core, engine, &events[..=count], (None, None), guard);
        self.after_run(core, engine, len_before, Freeing::AsRetired, done, event.len_delta())
    }

    /// Completes a direct run that needs more than a plain one: the event, if it was not applied, and the
    /// excess. The tuple is what the direct run has done, the change of the number of linked entries, and the change of
    /// the number of entries in the table that the caller has made and that is not counted yet.
    #[cold]
    fn run_rest<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        event: Option<Event>,
        (mut done, linked, unpushed): (Done<'e>, isize, i32),
        guard: &Guard,
    ) -> AfterUnlock<'e, K, V> {
        let len_before = core.evictor.len().wrapping_add_signed(-linked);
        self.run_full(core, engine, &[event], (None, None), guard, &mut done);
        self.after_run(core, engine, len_before, Freeing::AsRetired, done, unpushed)
    }

    /// How many whole and how many direct runs there were.
    #[cfg(all(test, not(larder_loom)))]
    pub(in crate::engine) fn runs(&self) -> (u64, u64) {
        let Counts { runs, direct_runs, .. } = &self.counts;
        (runs.load(Ordering::Relaxed), direct_runs.load(Ordering::Relaxed))
    }

    /// A batch that can be freed.
    #[inline(never)]
    fn take_one(&self, core: &mut Core<K, V>) -> Option<Freeable<K, V>> {
        // Inside a drop nothing is freed, so that drops do not nest on the stack.
        if reentrancy::is_inside_any(Scope::Dropping) {
            return None;
        }
        let batch = core.retired.pop_ready(reclaim::completed(), u64::MAX)?;
        self.counts.freeing[core.phase].fetch_add(1, Ordering::Relaxed);
        Some(batch)
    }
}
