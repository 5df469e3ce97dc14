//! Maintenance: applies what happened to the policies, evicts, retires, frees.
//!
//! The table is one; order, bounds and garbage are split by hash into partitions. A partition's
//! maintenance is run by whoever gets its lock: a writer whose event fills the buffer, a reader
//! whose record does, the maintenance thread. Nobody waits for that lock while the buffers have
//! room; with inline maintenance every writer does, so that its call has taken full effect when
//! it returns.
//!
//! # The life of an entry, as maintenance sees it
//! The table has decided already, by one CAS each; events only report, and may arrive in any
//! order between threads. Each entry is *born* once (its `Inserted` event, or as the new entry of
//! a `Replaced`) and *goes* once (`Removed`, as the old entry of a `Replaced`, or evicted here):
//!
//! | seen | linked in the policy | next |
//! |---|---|---|
//! | nothing | no | born, or gone |
//! | born | yes | gone; or unlinked as a victim that another thread has just taken out of the table |
//! | born, no victim left to the table | no | gone |
//! | gone | no: an insert event that comes late never links it | born |
//! | born and gone | no | retired, once |
//!
//! # Locks and user code
//! The policy runs under the partition's lock. Keys and values are dropped by `dispose`, after
//! the lock and the guard were released.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;

use crossbeam_utils::{Backoff, CachePadded};

use crate::entry::{Entry, EntryPtr, Header};
use crate::error::FlushError;
use crate::evict::{Limits, Order};
use crate::hash::partition_of;
use crate::maintainer;
use crate::policy::{Accesses, NodeId};
use crate::read_buffer::{Offer, ReadBuffer};
use crate::reclaim::{self, Freeable, Guard, Retired, Ticket};
use crate::stats::{Counter, Stats, Stripes};
use crate::sync::{self, AtomicU32, AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::table::{Cursor, Table};
use crate::write_buffer::{self, Event, WriteBuffer};

/// Who applies what callers did to a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Maintenance {
    /// Writers, in batches, and one thread for the whole process, which sees to what they leave:
    /// it is started with the first cache that wants it, sleeps while there is nothing to do and
    /// ends with the last one. A cache may exceed its bounds for a moment; see
    /// [`Cache`](crate::Cache#bounds).
    #[default]
    Background,
    /// The calling thread, within each call. No thread is started. With one partition and one
    /// calling thread every call is deterministic but for the hasher's seed, and bounds hold
    /// whenever a call returns.
    Inline,
}

/// Events of one partition that a writer lets gather before it runs maintenance.
const MAX_BATCH: u32 = write_buffer::SLOTS / 2;
/// For each entry that it retires, a run of maintenance may free one and a part of this: freeing
/// keeps up with retiring and catches up after a long guard, but no single call pays for it all,
/// and what is freed is soon allocated again.
const CATCH_UP_PART: u64 = 4;
/// Buckets that one look of the maintenance thread opens after the table has grown.
const BUCKETS_OPENED_A_TICK: usize = 16 * 1024;
/// With inline maintenance: buckets that an insertion opens after the table has grown. Each
/// insertion into a growing table brings four new buckets in the mean.
const BUCKETS_OPENED_INLINE: usize = 8;
/// Retired bytes and entries after which the governor is paced.
const PACE_BYTES: usize = 256 * 1024;
const MAX_PACE: usize = 1024;
const MIN_PACE: usize = 64;
/// How often `flush` looks for progress while a guard holds it back, yielding in between.
const FLUSH_PATIENCE: std::time::Duration = std::time::Duration::from_millis(250);

/// Everything of a cache but its hasher and weigher: the table and what is done about it.
pub(crate) struct Engine<K, V> {
    pub(crate) table: Table<K, V>,
    partitions: Box<[Partition<K, V>]>,
    partition_bits: u32,
    mode: Maintenance,
    accesses: Accesses,
    /// Events after which a writer runs maintenance in background mode.
    batch: u32,
    /// Retired entries after which the governor is paced.
    pace: usize,
    pub(crate) counters: Stripes,
    /// Entries linked in the policies of all partitions: what the table must have buckets for.
    linked: CachePadded<AtomicUsize>,
    /// The first bucket that may not be open yet.
    opened: CachePadded<AtomicUsize>,
    /// Entries retired since the governor was last paced.
    unpaced: CachePadded<AtomicUsize>,
    entries: PhantomData<Entry<K, V>>,
}

/// One part of the key space: its buffers, and the order of its entries under a lock.
struct Partition<K, V> {
    writes: WriteBuffer,
    /// Only for policies that need the order of accesses.
    reads: Option<ReadBuffer>,
    /// Moves with every run of maintenance that took records out of `reads`: an entry needs no
    /// second record before that.
    tick: CachePadded<AtomicU32>,
    limits: Limits,
    /// `Tally::runs` when the maintenance thread last looked.
    runs_seen: AtomicU64,
    core: CachePadded<Mutex<Core<K, V>>>,
    tally: CachePadded<Tally>,
}

struct Core<K, V> {
    order: Order,
    retired: Retired<K, V>,
    /// Entries that the coming runs may free.
    freeable: u64,
}

/// What maintenance counts. Written under the partition's lock, but for `freed` and `panics`.
#[derive(Default)]
struct Tally {
    weight: AtomicU64,
    evictions: AtomicU64,
    evicted_weight: AtomicU64,
    retired: AtomicU64,
    freed: AtomicU64,
    /// Batches taken to be freed that are not freed yet.
    freeing: AtomicUsize,
    runs: AtomicU64,
    faults: AtomicU64,
    panics: AtomicU64,
}

/// What a run of maintenance leaves to be done without the lock.
struct Leftover<K, V> {
    /// Entries that can be freed.
    free: Vec<Freeable<K, V>>,
    retired: usize,
    linked: usize,
}

/// Whether a run of maintenance may drop keys and values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freeing {
    /// About as many as are retired.
    Allowed,
    /// All that nobody can see any more.
    All,
    /// None: the caller holds a guard.
    Later,
}

thread_local! {
    /// Whether this thread is dropping keys and values. Maintenance that such a drop causes frees
    /// nothing itself, so the drops do not pile up on the stack.
    static IS_FREEING: Cell<bool> = const { Cell::new(false) };
}

fn is_freeing() -> bool {
    IS_FREEING.try_with(Cell::get).unwrap_or(false)
}

/// Runs `free`, which drops keys and values but does not panic.
fn while_freeing<R>(free: impl FnOnce() -> R) -> R {
    let before = IS_FREEING.try_with(|freeing| freeing.replace(true)).unwrap_or(false);
    let result = free();
    let _ = IS_FREEING.try_with(|freeing| freeing.set(before));
    result
}

/// How an engine is to be built.
pub(crate) struct EngineConfig {
    pub(crate) mode: Maintenance,
    pub(crate) accesses: Accesses,
    /// The order and the limits of each partition; a power of two of them.
    pub(crate) orders: Vec<(Order, Limits)>,
    /// Threads that the machine runs at once.
    pub(crate) cores: usize,
}

impl<K, V> Engine<K, V> {
    pub(crate) fn new(config: EngineConfig) -> Self {
        let EngineConfig { mode, accesses, orders, cores } = config;
        let stripes = cores.next_power_of_two().min(16);
        let smallest = orders.iter().map(|(_, limits)| limits.entries).min().unwrap_or(0);
        let capacity: usize =
            orders.iter().fold(0, |sum, (_, limits)| sum.saturating_add(limits.entries));
        let partitions: Box<[Partition<K, V>]> = orders
            .into_iter()
            .map(|(order, limits)| Partition {
                writes: WriteBuffer::new(),
                reads: (accesses == Accesses::Order).then(|| ReadBuffer::new(stripes)),
                // 0 is what a new entry holds: it must not look recorded already.
                tick: CachePadded::new(AtomicU32::new(1)),
                limits,
                runs_seen: AtomicU64::new(0),
                core: CachePadded::new(Mutex::new(Core {
                    order,
                    retired: Retired::default(),
                    freeable: 0,
                })),
                tally: CachePadded::default(),
            })
            .collect();
        Self {
            table: Table::new(capacity),
            partition_bits: partitions.len().trailing_zeros(),
            partitions,
            mode,
            accesses,
            // A small partition would be over its bound by a large part of it.
            batch: u32::try_from(smallest / 32).unwrap_or(u32::MAX).clamp(1, MAX_BATCH),
            pace: (PACE_BYTES / size_of::<Entry<K, V>>())
                .min(capacity / 4)
                .clamp(MIN_PACE, MAX_PACE),
            counters: Stripes::new((cores * 4).max(8)),
            linked: CachePadded::new(AtomicUsize::new(0)),
            opened: CachePadded::new(AtomicUsize::new(1)),
            unpaced: CachePadded::new(AtomicUsize::new(0)),
            entries: PhantomData,
        }
    }

    fn partition(&self, hash: u64) -> &Partition<K, V> {
        &self.partitions[partition_of(hash, self.partition_bits)]
    }

    /// The most that the partition of `hash` may hold.
    pub(crate) fn limits(&self, hash: u64) -> Limits {
        self.partition(hash).limits
    }

    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Records a hit for the policy.
    #[inline]
    pub(crate) fn record_hit(&self, header: &Header, guard: &Guard) {
        match self.accesses {
            Accesses::None => {}
            Accesses::Counter { max } => header.raise_frequency(max),
            Accesses::Order => self.record_order(header, guard),
        }
    }

    #[inline(never)]
    fn record_order(&self, header: &Header, guard: &Guard) {
        // Not linked yet: its insert event is still to come, which is younger than this hit.
        let Some(node) = header.node() else { return };
        let partition = self.partition(header.hash);
        let Some(reads) = &partition.reads else {
            return;
        };
        match self.mode {
            Maintenance::Inline => {}
            Maintenance::Background => {
                // One record between two runs says as much as many, and keeps hits to a hot entry
                // from writing to anything shared.
                if !header.touch(partition.tick.load(Ordering::Relaxed)) {
                    return;
                }
            }
        }
        if reads.offer(guard.thread(), node, header.hash) == Offer::Full {
            self.try_run(partition, Freeing::Later);
            if reads.offer(guard.thread(), node, header.hash) == Offer::Full {
                self.counters.add(guard.thread(), Counter::DroppedAccesses, 1);
            }
        }
    }

    /// Reports what the table has done for `hash`. No guard may be held by the cache itself.
    pub(crate) fn submit(&self, event: Event, hash: u64) {
        let partition = self.partition(hash);
        if self.mode == Maintenance::Inline {
            let leftover = {
                let mut core = sync::lock(&partition.core);
                self.drain(partition, &mut core, Some(event), Freeing::Allowed)
            };
            return self.finish(partition, leftover);
        }
        let backoff = Backoff::new();
        loop {
            match partition.writes.push(event) {
                Ok(waiting) => {
                    let is_due = waiting >= self.batch;
                    if !(is_due && self.try_run(partition, Freeing::Allowed)) {
                        maintainer::notify();
                    }
                    return;
                }
                Err(write_buffer::Full) => {
                    // Bounded memory: whoever is at it makes room, or this thread does.
                    if !self.try_run(partition, Freeing::Allowed) {
                        backoff.snooze();
                    }
                }
            }
        }
    }

    /// Runs maintenance of a partition unless another thread is at it.
    fn try_run(&self, partition: &Partition<K, V>, freeing: Freeing) -> bool {
        let leftover = match sync::try_lock(&partition.core) {
            Some(mut core) => self.drain(partition, &mut core, None, freeing),
            None => return false,
        };
        self.finish(partition, leftover);
        true
    }

    /// Applies what waits, and `event` after it; evicts what is too much. Under the lock.
    fn drain(
        &self,
        partition: &Partition<K, V>,
        core: &mut Core<K, V>,
        event: Option<Event>,
        freeing: Freeing,
    ) -> Leftover<K, V> {
        let tally = &partition.tally;
        let Core { order, retired, freeable } = core;
        let len_before = order.len();
        if let Some(reads) = &partition.reads {
            // Accesses first: they came before the writes that are applied now, or soon enough.
            let mut records = 0_u32;
            reads.drain(|node: NodeId, hash| {
                records += 1;
                order.access(node, hash);
            });
            if records > 0 {
                let tick = partition.tick.load(Ordering::Relaxed).wrapping_add(1).max(1);
                partition.tick.store(tick, Ordering::Relaxed);
            }
        }
        let waiting = partition.writes.waiting();
        if waiting > 1 {
            order.prefetch_victims(waiting as usize, &self.table);
        }
        let mut run = Run {
            order,
            retired,
            table: &self.table,
            guard: reclaim::pin(),
            retirements: 0,
            evictions: 0,
            evicted_weight: 0,
        };
        // At most a buffer's worth, so that a run ends however fast others write.
        for _ in 0..write_buffer::SLOTS {
            let Some(event) = partition.writes.pop() else {
                break;
            };
            run.apply(event);
        }
        if let Some(event) = event {
            run.apply(event);
        }
        let Run { retirements, evictions, evicted_weight, .. } = run;

        // Plain stores: only the holder of the lock writes these.
        let add = |count: &AtomicU64, amount: u64| {
            count.store(count.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
        };
        add(&tally.runs, 1);
        add(&tally.evictions, evictions);
        add(&tally.evicted_weight, evicted_weight);
        add(&tally.retired, retirements);
        tally.faults.store(order.faults(), Ordering::Relaxed);
        tally.weight.store(order.weight(), Ordering::Relaxed);
        let change = match self.mode {
            // Pushes have counted insertions and removals.
            Maintenance::Background => -signed(evictions),
            Maintenance::Inline => signed(order.len() as u64) - signed(len_before as u64),
        };
        partition.writes.adjust_live(change);

        let mut leftover = Leftover {
            retired: usize::try_from(retirements).unwrap_or(usize::MAX),
            linked: self.note_linked(len_before, order.len()),
            free: Vec::new(),
        };
        *freeable = freeable.saturating_add(retirements + retirements / CATCH_UP_PART + 1);
        match freeing {
            Freeing::Allowed => Self::take_ready(partition, retired, freeable, &mut leftover.free),
            Freeing::All => {
                Self::take_ready(partition, retired, &mut { u64::MAX }, &mut leftover.free)
            }
            Freeing::Later => {}
        }
        leftover
    }

    /// Keeps the count of linked entries over all partitions and returns it.
    fn note_linked(&self, before: usize, now: usize) -> usize {
        if now > before {
            self.linked.fetch_add(now - before, Ordering::Relaxed) + (now - before)
        } else {
            if now < before {
                self.linked.fetch_sub(before - now, Ordering::Relaxed);
            }
            0 // No growth: nothing to make room for.
        }
    }

    /// Takes batches that nobody can see any more, at most `limit` entries, which it lowers.
    fn take_ready(
        partition: &Partition<K, V>,
        retired: &mut Retired<K, V>,
        limit: &mut u64,
        free: &mut Vec<Freeable<K, V>>,
    ) {
        if retired.is_empty() || *limit < reclaim::BATCH as u64 || is_freeing() {
            return;
        }
        let completed = reclaim::completed();
        while *limit >= reclaim::BATCH as u64 {
            let Some(batch) = retired.pop_ready(completed) else {
                // Nothing is in arrears, so nothing has to be caught up with later.
                *limit = 0;
                break;
            };
            *limit -= batch.len() as u64;
            // Release: under the lock, so before `flush` can find the batch gone; pairs with its
            // acquire.
            partition.tally.freeing.fetch_add(1, Ordering::Release);
            free.push(batch);
        }
    }

    /// What a run of maintenance leaves to be done without the lock.
    fn finish(&self, partition: &Partition<K, V>, leftover: Leftover<K, V>) {
        if leftover.linked > 0 {
            self.table.grow_for(leftover.linked);
            if self.mode == Maintenance::Inline && self.has_closed_buckets() {
                self.open_buckets(BUCKETS_OPENED_INLINE);
            }
        }
        if leftover.retired > 0 {
            let unpaced = self.unpaced.fetch_add(leftover.retired, Ordering::Relaxed);
            if unpaced + leftover.retired >= self.pace {
                self.unpaced.store(0, Ordering::Relaxed);
                reclaim::advance();
                if self.mode == Maintenance::Background {
                    maintainer::check_fork();
                }
            }
        }
        self.free(partition, leftover.free);
    }

    fn has_closed_buckets(&self) -> bool {
        self.opened.load(Ordering::Relaxed) < self.table.buckets()
    }

    /// Opens buckets that growth has added, about `count` of them. Two threads may open the same
    /// ones, which is harmless.
    fn open_buckets(&self, count: usize) {
        let from = self.opened.load(Ordering::Relaxed);
        let mut next = from;
        while next < self.table.buckets() && next - from < count {
            next = self.table.open_buckets(next, count, &reclaim::pin());
        }
        self.opened.fetch_max(next, Ordering::Relaxed);
    }

    fn free(&self, partition: &Partition<K, V>, batches: Vec<Freeable<K, V>>) {
        if batches.is_empty() {
            return;
        }
        while_freeing(|| {
            for batch in batches {
                let count = batch.len() as u64;
                let panics = batch.dispose();
                partition.tally.panics.fetch_add(panics, Ordering::Relaxed);
                partition.tally.freed.fetch_add(count, Ordering::Relaxed);
                // Release: the drops above happen before `flush` returns.
                partition.tally.freeing.fetch_sub(1, Ordering::Release);
            }
        });
    }

    /// Applies everything that was submitted before the call. Waits for whoever is at it.
    pub(crate) fn run_pending(&self) {
        for partition in &self.partitions {
            loop {
                let leftover = {
                    let mut core = sync::lock(&partition.core);
                    self.drain(partition, &mut core, None, Freeing::Allowed)
                };
                self.finish(partition, leftover);
                if partition.writes.waiting() == 0 {
                    break;
                }
                // A writer has claimed a slot that it has not filled in yet.
                std::thread::yield_now();
            }
        }
        self.open_buckets(usize::MAX);
    }

    /// Frees everything that was retired before the call.
    pub(crate) fn flush(&self) -> Result<(), FlushError> {
        if is_freeing() {
            return Err(FlushError::WithinDrop);
        }
        self.run_pending();
        let mut target: Option<Ticket> = None;
        for partition in &self.partitions {
            let mut core = sync::lock(&partition.core);
            core.retired.seal();
            target = target.max(core.retired.last_ticket());
        }
        if let Some(target) = target {
            Self::await_grace_period(target)?;
        }
        for partition in &self.partitions {
            let mut free = Vec::new();
            {
                let mut core = sync::lock(&partition.core);
                Self::take_ready(partition, &mut core.retired, &mut { u64::MAX }, &mut free);
            }
            self.free(partition, free);
            let backoff = Backoff::new();
            // Acquire: pairs with the releases in `take_ready` and `free`.
            while partition.tally.freeing.load(Ordering::Acquire) > 0 {
                backoff.snooze();
            }
        }
        Ok(())
    }

    fn await_grace_period(target: Ticket) -> Result<(), FlushError> {
        if reclaim::completed() < target && reclaim::is_pinned_here() {
            return Err(FlushError::PinnedHere);
        }
        let mut last = reclaim::completed();
        let mut since = std::time::Instant::now();
        loop {
            reclaim::advance();
            let completed = reclaim::completed();
            if completed >= target {
                return Ok(());
            }
            if completed != last {
                (last, since) = (completed, std::time::Instant::now());
            } else if since.elapsed() > FLUSH_PATIENCE {
                return Err(FlushError::PinnedElsewhere { waited: reclaim::lag() });
            }
            std::thread::yield_now();
        }
    }

    /// One look of the maintenance thread. True if there may be more to do soon.
    pub(crate) fn tick(&self) -> bool {
        let mut has_garbage = false;
        for partition in &self.partitions {
            let is_idle = partition.writes.waiting() == 0 && !partition.has_garbage();
            if is_idle {
                continue;
            }
            let runs = partition.tally.runs.load(Ordering::Relaxed);
            if partition.runs_seen.swap(runs, Ordering::Relaxed) != runs {
                continue; // writers are at it: they do this better, in their own caches
            }
            let leftover = match sync::try_lock(&partition.core) {
                Some(mut core) => {
                    let leftover = self.drain(partition, &mut core, None, Freeing::All);
                    core.retired.seal();
                    leftover
                }
                None => continue, // another thread is at it
            };
            self.finish(partition, leftover);
            has_garbage |= partition.has_garbage();
        }
        if has_garbage {
            reclaim::advance();
        }
        self.open_buckets(BUCKETS_OPENED_A_TICK);
        self.has_work()
    }

    /// Whether something waits to be applied or freed.
    pub(crate) fn has_work(&self) -> bool {
        let is_waiting =
            |partition: &Partition<K, V>| partition.writes.waiting() > 0 || partition.has_garbage();
        self.has_closed_buckets() || self.partitions.iter().any(is_waiting)
    }

    /// Drops every key and value. For the last user of the engine.
    pub(crate) fn tear_down(&self) {
        // What waits is applied first, so that each entry is either in the table or retired.
        self.run_pending();
        let mut linked = Vec::new();
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            cursor = self.table.step(cursor, &reclaim::pin(), |entry, _| linked.push(entry));
        }
        for partition in &self.partitions {
            let all = sync::lock(&partition.core).retired.take_all(std::mem::take(&mut linked));
            while_freeing(|| all.dispose());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.partitions.iter().map(|partition| partition.writes.live()).sum()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.tally.weight.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn stats(&self) -> Stats {
        let sum = |count: fn(&Tally) -> &AtomicU64| {
            self.partitions
                .iter()
                .map(|partition| count(&partition.tally).load(Ordering::Relaxed))
                .sum::<u64>()
        };
        let entry_bytes = size_of::<Entry<K, V>>() as u64;
        // Freed before retired: nothing then looks freed that was never retired.
        let freed_bytes = sum(|tally| &tally.freed) * entry_bytes;
        Stats {
            hits: self.counters.sum(Counter::Hits),
            misses: self.counters.sum(Counter::Misses),
            inserts: self.counters.sum(Counter::Inserts),
            replacements: self.counters.sum(Counter::Replacements),
            evictions: sum(|tally| &tally.evictions),
            evicted_weight: sum(|tally| &tally.evicted_weight),
            removals: self.counters.sum(Counter::Removals),
            rejections: self.counters.sum(Counter::Rejections),
            dropped_accesses: self.counters.sum(Counter::DroppedAccesses),
            retired_bytes: sum(|tally| &tally.retired) * entry_bytes,
            freed_bytes,
            maintenance_runs: sum(|tally| &tally.runs),
            maintenance_panics: sum(|tally| &tally.faults) + sum(|tally| &tally.panics),
            reclamation_lag: reclaim::lag(),
        }
    }

    /// Panics unless table, policies and accounts agree. For tests, while nobody else is at it.
    pub(crate) fn validate(&self) {
        self.run_pending();
        let mut seen = vec![0; self.partitions.len()];
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            cursor = self.table.step(cursor, &reclaim::pin(), |pointer, _| {
                assert!(pointer.node().is_some(), "an entry of the table is in no policy");
                assert!(!pointer.is_gone(), "an entry of the table counts as gone");
                seen[partition_of(pointer.hash(), self.partition_bits)] += 1;
            });
        }
        for (partition, seen) in self.partitions.iter().zip(seen) {
            let core = sync::lock(&partition.core);
            core.order.validate();
            assert_eq!(core.order.len(), seen, "the policy holds what the table does not");
            assert_eq!(partition.writes.live(), seen, "`len` is not the number of entries");
        }
    }
}

impl<K, V> Partition<K, V> {
    fn has_garbage(&self) -> bool {
        self.tally.retired.load(Ordering::Relaxed) != self.tally.freed.load(Ordering::Relaxed)
    }
}

/// A run of maintenance over the events of one partition.
struct Run<'a, K, V> {
    order: &'a mut Order,
    retired: &'a mut Retired<K, V>,
    table: &'a Table<K, V>,
    guard: Guard,
    retirements: u64,
    evictions: u64,
    evicted_weight: u64,
}

impl<K, V> Run<'_, K, V> {
    /// Applies one event and evicts what is too much.
    fn apply(&mut self, event: Event) {
        match event {
            Event::Inserted(new) => self.born(new),
            Event::Removed(old) => {
                if let Some(id) = old.node() {
                    self.order.remove(id);
                }
                self.gone(old);
            }
            Event::Replaced { new, old } => {
                match old.node() {
                    // Its node changes hands: the key keeps its place in the policy.
                    Some(id) if !new.is_gone() => {
                        new.set_born();
                        self.order.update(id, old, new);
                    }
                    Some(id) => {
                        self.order.remove(id);
                        self.born(new);
                    }
                    // Not linked yet, or unlinked as a victim that this replacement saved.
                    None => self.born(new),
                }
                self.gone(old);
            }
        }
        while self.order.is_over() && self.evict() {}
    }

    fn born(&mut self, entry: EntryPtr) {
        entry.set_born();
        if entry.is_gone() {
            return self.retire(entry);
        }
        while self.order.lacks_room_for(entry) && self.evict() {}
        self.order.insert(entry);
    }

    fn gone(&mut self, entry: EntryPtr) {
        entry.set_gone();
        if entry.is_finished() {
            self.retire(entry);
        }
    }

    fn retire(&mut self, entry: EntryPtr) {
        self.retired.retire(entry);
        self.retirements += 1;
    }

    /// Takes a victim out; false if there is none.
    fn evict(&mut self) -> bool {
        let Some(victim) = self.order.evict() else {
            return false;
        };
        // If it was removed or replaced a moment ago, the event of that is still to come and
        // will find it unlinked.
        if self.table.remove_entry(victim, &self.guard) {
            self.evictions += 1;
            self.evicted_weight += u64::from(victim.weight());
            self.gone(victim);
        }
        true
    }
}

fn signed(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
