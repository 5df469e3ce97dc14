//! One part of the key space: its buffers and, under a lock, its evictor.
//!
//! # Orderings
//! - `Counts::freeing`: see the module `freeing`.
//! - `leaving`: [`InFlight`] decreases it with release after the entry has left the table, and
//!   `is_anything_leaving` reads it with acquire: `run_pending` returns after that entry has left.
//! - `moved`: a `SeqCst` fence separates the change of a deadline from the check for a node, and another
//!   one the assignment of the node from the reading of the deadline (`Timers::watch_deadline`). One of
//!   the two threads sees the other's change.
//! - The other counts are relaxed.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::mem::offset_of;

use crossbeam_utils::CachePadded;

use crate::base::cause::RemovalCause;
use crate::base::hash::KeyHash;
use crate::base::histogram::{TimeCounts, TimeHistogram};
use crate::base::lock::Lock;
use crate::base::mode::Maintenance;
use crate::base::node_id::NodeId;
use crate::base::panics::Payload;
use crate::base::prefetch::prefetch_for_write;
use crate::base::stats::Stats;
#[cfg(all(unix, not(larder_loom)))]
use crate::base::sync;
use crate::base::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::buffer::read_buffer::ReadBuffer;
use crate::buffer::write_buffer::{Event, SHARE, WriteBuffer};
use crate::engine::Engine;
use crate::engine::counts::{Counts, add};
use crate::engine::evict::{Applying, Attended, EvictionAges, Evictor, Left, PlainRun};
use crate::engine::run::{Done, Run, RunListener};
use crate::entry::{Deadline, EntryPtr};
use crate::listener::{AtomicListening, Channel, Notification, PendingRemoval};
use crate::policy::Sample;
use crate::policy::key_arrays::SharedKeyArrays;
use crate::reclaim::{self, Freeable, Guard, Retired};

// The recorded hits, and when nothing else has to be applied.
mod reads;
// Which retired entries are freed, and when.
mod freeing;
// Runs for the event of the caller alone.
mod direct;
// Deadlines that were moved to an earlier time.
mod moved;

pub(super) use direct::{AfterDirect, DirectRun};
use freeing::SEAL_PART;
#[cfg(all(test, not(larder_loom)))]
pub(super) use freeing::credit_for;

pub(super) struct Partition<K, V> {
    /// The index of this partition among all.
    pub(super) index: usize,
    pub(super) writes: WriteBuffer,
    /// Only for policies that want accesses reported.
    pub(super) reads: Option<ReadBuffer>,
    /// Where the policy looks up incoming keys.
    key_arrays: SharedKeyArrays,
    /// What `Evictor::sample` returned last.
    sample: AtomicU32,
    /// Changes with every run of maintenance that took records out of `reads`. Until then no entry needs a
    /// second record.
    tick: Tick,
    /// The most that an entry may weigh without a loan: the partition's share of the bound. Written under
    /// the lock.
    weight_share: AtomicU64,
    /// How many runs were allowed to free, when the maintenance thread last read it.
    runs_seen: AtomicU64,
    /// `PartitionConfig::backlog`.
    backlog: u64,
    /// The cache's time from which on a timer may be due; `NEVER` if none is set.
    next_timer_ns: AtomicU64,
    /// Entries whose deadlines were moved to an earlier time: their nodes, and the tags of their hashes.
    /// Each entry is in it at most once, so it does not grow without bound.
    moved: Mutex<Vec<(NodeId, u32)>>,
    has_moved: AtomicBool,
    /// The channel to the listener, if there is one. Then slots of `writes` are claimed before all changes.
    pub(super) channel: Option<Channel<K, V>>,
    pub(super) core: CachePadded<Lock<Core<K, V>>>,
    /// The number of entries that runs have unlinked from the policy, and that leave the table once the
    /// atomic listener was notified.
    leaving: AtomicUsize,
    counts: Counts,
    pub(super) unpaced: Unpaced,
    /// The ages of evicted entries, if they were asked for.
    ages: Option<Box<TimeHistogram>>,
    /// Whether the last run has left more than the limits allow, because it could not notify the atomic
    /// listener. Written under the lock.
    is_above: AtomicBool,
}

/// A cache line of its own, since hits read it.
#[repr(align(64))]
struct Tick(AtomicU32);

/// Counts an entry as leaving the table, until this is dropped.
pub(super) struct InFlight<'p>(&'p AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        // Release: after the entry has left the table; pairs with the acquire in `is_anything_leaving`.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// What a partition has retired since it last advanced the epoch.
#[derive(Default)]
pub(super) struct Unpaced {
    pub(super) entries: AtomicUsize,
    pub(super) weight: AtomicU64,
    /// `reclaim::advances` when that was last enough.
    pub(super) advances: AtomicUsize,
}

/// What the lock of a partition protects.
#[repr(C)]
pub(super) struct Core<K, V> {
    pub(super) evictor: Evictor,
    pub(super) retired: Retired<K, V>,
    /// Notifications of what maintenance took out itself, each with the position up to which `writes` has
    /// to be popped before. Both increase.
    deferred: VecDeque<(u32, Notification<K, V>)>,
    /// Empty between two runs. It keeps its memory for the delivered notifications that a run takes back.
    delivered: Vec<Notification<K, V>>,
    /// Empty between two runs, too: for what leaves in a direct run, of which the listener is notified.
    left: Vec<Left>,
    /// Entries that the coming runs may free.
    credit: u64,
    /// The count of retired entries from which on a direct run advances the epoch.
    paced_from: u64,
    /// The weight that direct runs have retired since one of them last advanced it.
    unpaced_weight: u64,
    /// The count of `Counts::freeing` in which batches are taken now.
    phase: usize,
    /// What the current run evicts, if a caller wants to see it.
    pub(super) victims: Option<Vec<EntryPtr>>,
}

impl<K, V> Core<K, V> {
    /// How far the cache lines that every run changes lie behind the lock.
    const CHANGED: [usize; 2] = [LOCK_BYTES, LOCK_BYTES + offset_of!(Self, retired)];
}

/// What lies before a core in its lock, which is as large as the core's alignment.
const LOCK_BYTES: usize = align_of::<Core<(), ()>>();

/// What all partitions of a cache are built from.
#[derive(Clone, Copy)]
pub(super) struct PartitionConfig {
    pub(super) read_stripes: Option<usize>,
    /// The most events that may wait.
    pub(super) room: u32,
    /// The most entries in a batch of retired entries.
    pub(super) batch_entries: usize,
    /// A run frees more once more entries than this wait to be freed.
    pub(super) backlog: u64,
    /// Whether the ages of evicted entries are counted.
    pub(super) counts_ages: bool,
}

/// What a run of maintenance leaves to be done without the lock.
pub(super) struct AfterUnlock<'e, K, V> {
    /// Entries that can be freed, taken in `phase`.
    pub(super) free: Vec<Freeable<K, V>>,
    pub(super) phase: usize,
    pub(super) retired: usize,
    pub(super) retired_weight: u64,
    /// The change of the number of linked entries.
    pub(super) linked: isize,
    /// Whether a timer was set that is due before all others.
    pub(super) is_due_earlier: bool,
    /// Whether there is weight to give back to other partitions, and the caller can do that now.
    pub(super) has_unneeded_loan: bool,
    /// The payloads of the policy's panics.
    pub(super) payloads: Vec<Payload>,
    /// The entry to take out of the table after the atomic listener was notified of it.
    pub(super) leaving: Option<PendingRemoval<'e>>,
    /// Hashes of the entries that the run removed for another reason than a bound, for the shadow caches.
    pub(super) removed: Vec<KeyHash>,
}

/// Which of the retired entries a run of maintenance hands over to be freed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Freeing {
    /// About as many as are retired.
    AsRetired,
    /// All that no thread can see any more.
    All,
    /// None: the caller holds a guard.
    Later,
}

impl<K, V> Partition<K, V> {
    pub(super) fn new(
        index: usize,
        mut evictor: Evictor,
        config: PartitionConfig,
        channel: Option<Channel<K, V>>,
    ) -> Self {
        let limits = evictor.limits();
        let batch_weight = (limits.weight / SEAL_PART).max(1);
        Self {
            index,
            writes: WriteBuffer::new(config.room),
            reads: config.read_stripes.map(ReadBuffer::new),
            key_arrays: SharedKeyArrays::default(),
            sample: AtomicU32::new(evictor.sample().to_raw()),
            // Not 0, which a new entry holds: it would seem to be recorded already.
            tick: Tick(AtomicU32::new(1)),
            weight_share: AtomicU64::new(limits.weight),
            runs_seen: AtomicU64::new(0),
            backlog: config.backlog,
            next_timer_ns: AtomicU64::new(Deadline::NEVER),
            moved: Mutex::new(Vec::new()),
            has_moved: AtomicBool::new(false),
            channel,
            leaving: AtomicUsize::new(0),
            is_above: AtomicBool::new(false),
            core: CachePadded::new(Lock::new(Core {
                evictor,
                retired: Retired::new(config.batch_entries, batch_weight),
                deferred: VecDeque::new(),
                delivered: Vec::new(),
                left: Vec::new(),
                credit: 0,
                paced_from: 0,
                unpaced_weight: 0,
                phase: 0,
                victims: None,
            })),
            counts: Counts::default(),
            unpaced: Unpaced::default(),
            ages: config.counts_ages.then(|| Box::new(TimeHistogram::of_ages())),
        }
    }

    /// Prefetches what an insertion of `hash` will read and write, before its thread has the lock.
    #[inline]
    pub(super) fn prefetch(&self, hash: KeyHash) {
        // The lock with what every run changes behind it, and the counts.
        prefetch_for_write(&raw const self.core);
        for line in Core::<K, V>::CHANGED {
            prefetch_for_write((&raw const self.core).cast::<u8>().wrapping_add(line));
        }
        prefetch_for_write(&raw const self.counts);
        self.key_arrays.prefetch(hash.raw());
    }

    #[inline]
    pub(super) fn tick(&self) -> u32 {
        self.tick.0.load(Ordering::Relaxed)
    }

    /// The most that an entry may weigh without a loan.
    #[inline]
    pub(super) fn weight_share(&self) -> u64 {
        // Relaxed: an entry that was compared with an older share is evicted if it does not fit.
        self.weight_share.load(Ordering::Relaxed)
    }

    /// Limits the partition's weight to its own share and its loan. The next runs evict the excess.
    pub(super) fn set_weight(&self, core: &mut Core<K, V>, share: u64, loan: u64) {
        core.evictor.set_weight(share.saturating_add(loan), loan);
        self.weight_share.store(share, Ordering::Relaxed);
    }

    /// As [`set_weight`](Self::set_weight), but only lowers the limit and the share.
    pub(super) fn lower_weight(&self, core: &mut Core<K, V>, share: u64, loan: u64) {
        let limit = core.evictor.limits().weight.min(share.saturating_add(loan));
        core.evictor.set_weight(limit, loan);
        self.weight_share.fetch_min(share, Ordering::Relaxed);
    }

    /// The keys whose first marks are reported.
    #[inline]
    pub(super) fn sample(&self) -> Sample {
        Sample::from_raw(self.sample.load(Ordering::Relaxed))
    }

    /// Applies waiting events, then `event`, and evicts the excess. `due_ns` is the time if timers may be due.
    /// Under the lock.
    ///
    /// It takes at most `SHARE` events out of the buffer, so that no caller does much for others.
    pub(super) fn run<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        event: Option<Event>,
        freeing: Freeing,
        due_ns: Option<u64>,
    ) -> AfterUnlock<'e, K, V> {
        // Before the guard, under which no listener may be notified.
        let cannot_notify = engine.cannot_notify();
        let guard = reclaim::pin();
        let len_before = core.evictor.len();
        self.drain_reads(&mut core.evictor);
        // With a listener, notifications may belong between two events.
        let mut events = [None; SHARE + 1];
        let mut count = match self.channel {
            None => self.writes.pop_some(&mut events[..SHARE]),
            Some(_) => 0,
        };
        if event.is_some() {
            events[count] = event;
            count += 1;
        }
        let atomic = engine.atomic.as_deref().filter(|_| !cannot_notify);
        let done = self.apply(core, engine, &events[..count], (due_ns, atomic), &guard);
        drop(guard);
        // The user's drops must not run within a gate.
        let freeing = if cannot_notify { Freeing::Later } else { freeing };
        self.after_run(core, engine, len_before, freeing, done, 0)
    }

    /// Applies events and evicts the excess: by a plain run as far as that can do it.
    fn apply<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        events: &[Option<Event>],
        (due_ns, atomic): (Option<u64>, Option<&'e AtomicListening<K, V>>),
        guard: &Guard,
    ) -> Done<'e> {
        let is_plain = engine.is_plain
            && core.victims.is_none()
            && due_ns.is_none()
            && core.evictor.is_plain()
            && !self.has_moved();
        let mut done = Done::default();
        let mut applied = 0;
        if is_plain {
            (applied, done) = match self.attended(core, engine) {
                None => Self::apply_plain(core, engine, events, guard, ()),
                Some(attended) => Self::apply_plain(core, engine, events, guard, attended),
            };
        }
        if !is_plain || applied < events.len() || core.evictor.is_above_limits() {
            self.run_full(core, engine, &events[applied..], (due_ns, atomic), guard, &mut done);
        }
        done
    }

    /// What a plain run has to attend to, if anything.
    #[inline(always)]
    fn attended<'e>(&'e self, core: &Core<K, V>, engine: &'e Engine<K, V>) -> Option<Attended<'e>> {
        let (history, ages) = (engine.history.as_deref(), self.eviction_ages(engine));
        let is_any = core.evictor.is_weighed() || history.is_some() || ages.is_some();
        is_any.then(|| Attended { history, ages, ..Attended::default() })
    }

    /// Where the ages of the entries that are evicted are counted, if they were asked for.
    #[inline(always)]
    fn eviction_ages<'e>(&'e self, engine: &'e Engine<K, V>) -> Option<EvictionAges<'e>> {
        let timing = &engine.timing;
        self.ages.as_deref().map(|histogram| EvictionAges { histogram, timing })
    }

    /// Applies events by a plain run. Returns how many, and what it has done.
    fn apply_plain<'e>(
        core: &mut Core<K, V>,
        engine: &Engine<K, V>,
        events: &[Option<Event>],
        guard: &Guard,
        more: impl Applying,
    ) -> (usize, Done<'e>) {
        let (table, retired) = (engine.table.untyped(), core.retired.list());
        let mut run = PlainRun::new(table, retired, guard, more);
        let applied = Applying::apply(&mut core.evictor, events, &mut run);
        let PlainRun { evictions, retirements, .. } = run;
        let weights = run.more.weights().copied();
        (applied, Done::of_plain(evictions, retirements, weights))
    }

    /// The part of a run that a plain one does not do.
    #[inline(never)]
    fn run_full<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        events: &[Option<Event>],
        (due_ns, atomic): (Option<u64>, Option<&'e AtomicListening<K, V>>),
        guard: &Guard,
        done: &mut Done<'e>,
    ) {
        self.set_moved_timers(&mut core.evictor);
        let len_before = core.evictor.len();
        let mut run = Run {
            evictor: &mut core.evictor,
            retired: &mut core.retired,
            table: &engine.table,
            writes: &self.writes,
            history: engine.history.as_deref(),
            atomic,
            has_atomic: engine.atomic.is_some(),
            postponed: Vec::new(),
            notes_removed: engine.shadow.is_some(),
            victims: core.victims.as_mut(),
            listener: self.channel.as_ref().map(|channel| RunListener {
                channel,
                deferred: &mut core.deferred,
                delivered: &mut core.delivered,
                linked: len_before,
            }),
            ages: self.eviction_ages(engine),
            timing: &engine.timing,
            due_ns,
            grace: engine.timing.grace,
            guard,
            done,
        };
        run.take_back_done();
        // First, so that no valid entry is evicted while expired ones are still there.
        if let Some(now_ns) = due_ns {
            run.expire(now_ns);
        }
        run.apply_ahead(events);
        if run.listener.is_some() {
            run.apply_in_order();
        }
        if run.evictor.is_above_limits() {
            run.approach_limits();
        }
        run.evictor.stop_sparing();
        if events.len() <= 1 {
            // More would have been prefetched when they were popped.
            run.evictor.look_ahead(engine.table.untyped());
        }
        run.notify_deferred();
        if !run.postponed.is_empty() {
            self.postpone(&run.postponed);
        }
    }

    /// Counts what a run has done, and chooses what is freed after it. `unpushed` is the change of the
    /// number of entries that a direct event has made.
    fn after_run<'e>(
        &self,
        core: &mut Core<K, V>,
        engine: &'e Engine<K, V>,
        len_before: usize,
        freeing: Freeing,
        done: Done<'e>,
        unpushed: i32,
    ) -> AfterUnlock<'e, K, V> {
        let Done { evicted, retired, .. } = done;
        let Done { expirations, expired_weight, invalidations, leaving, removed, .. } = done;
        if leaving.is_some() {
            self.leaving.fetch_add(1, Ordering::Relaxed);
        }
        if engine.atomic.is_some() {
            // Relaxed: as the other counts that `wants_visit` reads.
            self.is_above.store(core.evictor.is_above_limits(), Ordering::Relaxed);
        }

        let counts = &self.counts;
        add(&counts.runs, 1);
        add(&counts.removals.evictions, evicted.entries);
        add(&counts.removals.evicted_weight, evicted.weight);
        add(&counts.removals.expirations, expirations);
        add(&counts.removals.expired_weight, expired_weight);
        add(&counts.removals.invalidations, invalidations);
        add(&counts.retired, retired.entries);
        self.publish_sample(&mut core.evictor);
        counts.faults.store(core.evictor.faults(), Ordering::Relaxed);
        counts.weight.store(core.evictor.weight(), Ordering::Relaxed);
        self.key_arrays.publish(&core.evictor.key_arrays());
        let linked = signed(core.evictor.len()) - signed(len_before);
        // If so, pushes and claims have counted the insertions and removals that callers made.
        let is_counted = engine.mode == Maintenance::Background || self.channel.is_some();
        let live = match is_counted {
            true => {
                let left = evicted.entries + expirations + invalidations;
                i64::from(unpushed) - i64::try_from(left).unwrap_or(i64::MAX)
            }
            false => linked as i64,
        };
        self.writes.adjust_live(
            i32::try_from(live)
                .expect("a run applies at most as many events as the buffer has slots"),
        );
        AfterUnlock {
            free: self.choose_free(core, retired.entries, freeing),
            phase: core.phase,
            retired: usize::try_from(retired.entries).unwrap_or(usize::MAX),
            retired_weight: retired.weight,
            linked,
            is_due_earlier: self.note_next_timer(&core.evictor),
            // A thread that holds a guard leaves the loan to the next run.
            has_unneeded_loan: core.evictor.has_unneeded_loan() && freeing != Freeing::Later,
            payloads: core.evictor.take_payloads(),
            leaving,
            removed,
        }
    }

    /// The cache's time from which on a timer may be due.
    pub(super) fn next_timer_ns(&self) -> u64 {
        self.next_timer_ns.load(Ordering::Relaxed)
    }

    /// Publishes when the next timer is due, and returns whether that is earlier than before.
    fn note_next_timer(&self, evictor: &Evictor) -> bool {
        let next = evictor.next_timer_ns();
        let before = self.next_timer_ns();
        if next != before {
            self.next_timer_ns.store(next, Ordering::Relaxed);
        }
        next < before
    }

    /// Takes the locks that a thread may hold while it only reads: those of maintenance, of moved deadlines
    /// and of the listener's queue.
    #[cfg(all(unix, not(larder_loom)))]
    pub(super) fn hold_for_fork(&self) -> impl Sized + '_ {
        let core = self.core.lock_for_fork();
        let moved = sync::lock_for_fork(&self.moved);
        let queue = self.channel.as_ref().map(Channel::hold_for_fork);
        (queue, moved, core)
    }

    /// Whether something waits to be applied, delivered or freed, at the end of the cache.
    pub(super) fn has_anything_left(&self) -> bool {
        let is_waiting = self.channel.as_ref().is_some_and(Channel::has_work);
        let core = self.core.lock();
        is_waiting
            || self.writes.waiting() > 0
            || !core.deferred.is_empty()
            || !core.retired.is_empty()
    }

    /// Whether there is work for the maintenance thread besides events.
    pub(super) fn wants_visit(&self) -> bool {
        self.has_garbage()
            || self.has_moved()
            || self.is_above.load(Ordering::Relaxed)
            || self.channel.as_ref().is_some_and(Channel::has_work)
    }

    /// Whether other threads ran maintenance that was allowed to free, since the last call.
    pub(super) fn is_attended(&self) -> bool {
        let Counts { freeing_runs, direct_runs, .. } = &self.counts;
        let runs = freeing_runs.load(Ordering::Relaxed) + direct_runs.load(Ordering::Relaxed);
        self.runs_seen.swap(runs, Ordering::Relaxed) != runs
    }

    pub(super) fn weight(&self) -> u64 {
        self.counts.weight.load(Ordering::Relaxed)
    }

    /// Counts an entry that was taken out after the atomic listener was notified of it.
    #[cold]
    pub(super) fn count_notified(
        &self,
        cause: RemovalCause,
        entry: EntryPtr,
        engine: &Engine<K, V>,
    ) {
        self.counts.notified.add(cause, entry.meta().weight());
        if let Some(ages) = self.eviction_ages(engine).filter(|_| cause == RemovalCause::Evicted) {
            ages.note(entry);
        }
    }

    /// The ages of the entries that were evicted, if they are counted.
    pub(super) fn ages(&self) -> Option<TimeCounts> {
        self.ages.as_ref().map(|ages| ages.read())
    }

    /// Ends the count of an entry as leaving, which a run began, when the result is dropped.
    pub(super) fn leaving_ends(&self) -> InFlight<'_> {
        InFlight(&self.leaving)
    }

    /// Whether a thread is notifying the atomic listener of a removal by maintenance.
    pub(super) fn is_anything_leaving(&self) -> bool {
        // Acquire: pairs with the release in `InFlight::drop`.
        self.leaving.load(Ordering::Acquire) > 0
    }

    pub(super) fn add_to(&self, stats: &mut Stats, entry_bytes: u64) {
        self.counts.add_to(stats, entry_bytes);
    }
}

fn signed(count: usize) -> isize {
    isize::try_from(count).unwrap_or(isize::MAX)
}
