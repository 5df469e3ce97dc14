//! The queue of write-behind. It is bounded, has one slot for each key, and serves blocking and asynchronous
//! writers alike.
//!
//! | a key's slot has | when | entered by |
//! |---|---|---|
//! | a queued write | it waits for its turn | [`push`](Queue::push); a failed attempt; [`retry_dead`](Queue::retry_dead) |
//! | a write in flight | the store has it | [`next`](Queue::next) |
//! | both | the key was written again while the store had the older write | `push` |
//! | a dead letter, alone | the writer has given it up | a failed attempt; [`abandon`](Queue::abandon) |
//!
//! A write replaces what is queued for its key, so the last write wins, and the order of writes of one key
//! is kept because a single writer has at most one of them in flight. A write that replaces another takes
//! over its acknowledgements: whoever waits for the older one waits for a state of the key that is at least
//! as new. A failed write goes to the end of the queue, unless its key has a newer one.
//!
//! # A write that spoils its batch
//! A failed batch halves the next one, and a success doubles it. A write that has failed three times is
//! tried alone. So one bad write delays others and never stops them, and a store that comes back soon gets
//! full batches.
//!
//! # Locks
//! One lock guards all of it. No user code runs under it: keys are compared outside, and what is dropped,
//! woken or reported is carried out in [`AfterUnlock`].

mod waiting;
mod attempts;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use larder::{Clock, RandomState};

use crate::ack::Ack;
use crate::error::{DeadLetter, TierError};
use crate::store::Record;

pub(crate) use attempts::{Attempt, Attempted};
pub(crate) use waiting::Step;

/// How much a queue holds, and when and in which portions it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueBounds {
    pub(crate) max_entries: usize,
    pub(crate) max_weight: u64,
    pub(crate) batch_entries: usize,
    pub(crate) delay: Duration,
    pub(crate) give_up_after: Option<u32>,
}

/// What [`TierStats`](crate::TierStats) shows of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueueCounts {
    pub(crate) coalesced: u64,
    pub(crate) written: u64,
    pub(crate) batches: u64,
    pub(crate) failed_batches: u64,
    pub(crate) gave_up: u64,
    pub(crate) queued: usize,
    pub(crate) in_flight: usize,
    pub(crate) dead_letters: usize,
    pub(crate) weight: u64,
}

pub(crate) struct Queue<K, V, E> {
    bounds: QueueBounds,
    clock: Arc<dyn Clock>,
    hasher: RandomState,
    state: Mutex<QueueState<K, V, E>>,
    /// The writer waits for work.
    work: Condvar,
    /// Callers wait for room.
    room: Condvar,
}

struct QueueState<K, V, E> {
    slots: BTreeMap<u64, Slot<K, V, E>>,
    /// The slots of the keys of each hash.
    by_hash: HashMap<u64, Vec<u64>>,
    last_id: u64,
    /// The slots with a queued write, in the order in which they are written.
    order: VecDeque<u64>,
    dead: BTreeSet<u64>,
    /// Of all writes, dead letters too.
    entries: usize,
    weight: u64,
    /// How many queued writes have failed before.
    retries: usize,
    /// How many queued writes must not wait for others to join them.
    rush: usize,
    /// How many writes the next batch may have.
    batch_limit: usize,
    /// Failed attempts since the last success.
    failures: u32,
    /// Why the last of them failed.
    last_error: Option<Arc<E>>,
    /// Counts what the writer has to look at.
    signal: u64,
    /// Counts what callers without room wait for.
    freed: u64,
    is_closing: bool,
    is_abandoned: bool,
    writer: Option<Waker>,
    /// Futures that wait for room, by the number that each was given.
    roomless: BTreeMap<u64, Waker>,
    last_roomless: u64,
    counts: QueueCounts,
}

struct Slot<K, V, E> {
    key: Arc<K>,
    hash: u64,
    queued: Option<QueuedWrite<V, E>>,
    in_flight: Option<QueuedWrite<V, E>>,
    dead: Option<QueuedWrite<V, E>>,
}

struct QueuedWrite<V, E> {
    /// `None` for a removal.
    record: Option<Arc<Record<V>>>,
    weight: u64,
    /// When this record was queued, from which its time to live counts.
    written_ns: u64,
    /// Since when the key waits to be written.
    since_ns: u64,
    attempts: u32,
    error: Option<Arc<E>>,
    acks: Vec<Arc<Ack<E>>>,
}

/// What a reader finds in the queue.
pub(crate) struct PendingWrite<V> {
    /// `None` for a removal.
    pub(crate) record: Option<Arc<Record<V>>>,
    pub(crate) written_ns: u64,
}

/// Why a write was not accepted.
#[derive(Debug)]
pub(crate) enum Refused {
    Full { entries: usize, weight: u64, freed: u64 },
    TooHeavy { weight: u64, limit: u64 },
    Closed,
}

/// What is done once the lock is released: others are woken, and what they wrote is dropped.
struct AfterUnlock<K, V, E> {
    acks: Vec<Arc<Ack<E>>>,
    wakers: Vec<Waker>,
    writes: Vec<QueuedWrite<V, E>>,
    slots: Vec<Slot<K, V, E>>,
    errors: Vec<Arc<E>>,
}

impl<K, V, E> AfterUnlock<K, V, E> {
    const fn new() -> Self {
        Self {
            acks: Vec::new(),
            wakers: Vec::new(),
            writes: Vec::new(),
            slots: Vec::new(),
            errors: Vec::new(),
        }
    }
}

impl<K, V, E> Queue<K, V, E> {
    pub(crate) fn new(bounds: QueueBounds, clock: Arc<dyn Clock>) -> Self {
        let state = QueueState {
            slots: BTreeMap::new(),
            by_hash: HashMap::new(),
            last_id: 0,
            order: VecDeque::new(),
            dead: BTreeSet::new(),
            entries: 0,
            weight: 0,
            retries: 0,
            rush: 0,
            batch_limit: bounds.batch_entries,
            failures: 0,
            last_error: None,
            signal: 0,
            freed: 0,
            is_closing: false,
            is_abandoned: false,
            writer: None,
            roomless: BTreeMap::new(),
            last_roomless: 0,
            counts: QueueCounts::default(),
        };
        Self {
            bounds,
            clock,
            hasher: RandomState::new(),
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn state(&self) -> MutexGuard<'_, QueueState<K, V, E>> {
        // Nothing that could panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> QueueCounts {
        let state = self.state();
        let dead_letters = state.dead.len();
        let queued = state.order.len();
        QueueCounts {
            queued,
            dead_letters,
            in_flight: state.entries - queued - dead_letters,
            weight: state.weight,
            ..state.counts
        }
    }

    /// Why the store's last attempt failed; `None` if it did not, or if the store panicked.
    pub(crate) fn last_error(&self) -> Option<Arc<E>> {
        self.state().last_error.clone()
    }

    /// Releases the lock, and does what may only be done without it.
    fn unlock(
        &self,
        mut state: MutexGuard<'_, QueueState<K, V, E>>,
        mut after: AfterUnlock<K, V, E>,
    ) {
        let is_freed = !after.writes.is_empty() || !after.slots.is_empty();
        if is_freed {
            state.freed += 1;
            after.wakers.extend(std::mem::take(&mut state.roomless).into_values());
        }
        drop(state);
        if is_freed {
            self.room.notify_all();
        }
        // Others are woken before anything is dropped, since a drop may panic.
        after.acks.iter().for_each(|ack| ack.wake());
        after.wakers.into_iter().for_each(Waker::wake);
    }

    /// Notifies the writer.
    fn signal(&self, state: &mut QueueState<K, V, E>, after: &mut AfterUnlock<K, V, E>) {
        state.signal += 1;
        after.wakers.extend(state.writer.take());
        self.work.notify_all();
    }
}

impl<K: Hash + Eq, V, E> Queue<K, V, E> {
    /// Puts a write into the queue, in place of what is queued for its key.
    pub(crate) fn push(
        &self,
        key: &Arc<K>,
        record: Option<&Arc<Record<V>>>,
        weight: u64,
        ack: Option<&Arc<Ack<E>>>,
    ) -> Result<(), Refused> {
        let (now_ns, bounds) = (self.now_ns(), self.bounds);
        let hash = self.hasher.hash_one(&**key);
        let (mut state, found) = self.lock_at(key, hash);
        if state.is_closing {
            return Err(Refused::Closed);
        }
        if weight > bounds.max_weight {
            return Err(Refused::TooHeavy { weight, limit: bounds.max_weight });
        }
        let mut after = AfterUnlock::new();
        let slot = found.and_then(|id| state.slots.get(&id));
        let replaced = slot.and_then(|slot| slot.queued.as_ref().or(slot.dead.as_ref()));
        let (left, left_weight) = match replaced {
            Some(old) => (state.entries - 1, state.weight - old.weight),
            None => (state.entries, state.weight),
        };
        if left >= bounds.max_entries || left_weight.saturating_add(weight) > bounds.max_weight {
            let QueueState { entries, weight, freed, .. } = *state;
            return Err(Refused::Full { entries, weight, freed });
        }
        (state.entries, state.weight) = (left + 1, left_weight + weight);
        let id = found.unwrap_or_else(|| state.add(Arc::clone(key), hash));
        let state_ref = &mut *state;
        let slot = state_ref.slots.get_mut(&id).expect("found or added under this lock");
        let mut new = QueuedWrite {
            record: record.cloned(),
            weight,
            written_ns: now_ns,
            since_ns: now_ns,
            attempts: 0,
            error: None,
            acks: ack.into_iter().cloned().collect(),
        };
        let mut is_in_order = false;
        if let Some(mut old) = slot.queued.take() {
            is_in_order = true;
            state_ref.retries -= usize::from(old.attempts > 0);
            state_ref.counts.coalesced += 1;
            new.since_ns = old.since_ns;
            new.acks.append(&mut old.acks);
            after.writes.push(old);
        }
        if let Some(old) = slot.dead.take() {
            state_ref.dead.remove(&id);
            after.writes.push(old);
        }
        slot.queued = Some(new);
        if !is_in_order {
            state_ref.order.push_back(id);
        }
        // The writer is woken for the first write, which starts its wait, and when that wait is over.
        if state_ref.order.len() == 1 || self.is_due(state_ref, now_ns) {
            self.signal(state_ref, &mut after);
        }
        self.unlock(state, after);
        Ok(())
    }

    /// The newest write of `key` that the store does not have for certain.
    pub(crate) fn pending(&self, key: &K) -> Option<PendingWrite<V>> {
        let (state, found) = self.lock_at(key, self.hasher.hash_one(key));
        let slot = state.slots.get(&found?)?;
        let write = slot.queued.as_ref().or(slot.in_flight.as_ref())?;
        Some(PendingWrite { record: write.record.clone(), written_ns: write.written_ns })
    }

    /// Takes the lock, and finds the slot of `key`. Keys are compared without the lock, so this repeats
    /// until the keys of the hash are those that were compared; ids are never used again.
    fn lock_at(&self, key: &K, hash: u64) -> (MutexGuard<'_, QueueState<K, V, E>>, Option<u64>) {
        let (mut compared, mut found) = (Vec::new(), None);
        loop {
            let state = self.state();
            let ids = state.by_hash.get(&hash).map_or(&[][..], Vec::as_slice);
            if *ids == *compared {
                return (state, found);
            }
            compared = ids.to_vec();
            let keys: Vec<_> =
                ids.iter().map(|id| (*id, Arc::clone(&state.slots[id].key))).collect();
            drop(state);
            found = keys.iter().find(|(_, other)| **other == *key).map(|(id, _)| *id);
        }
    }
}

impl<K, V, E> Queue<K, V, E> {
    /// An acknowledgement of all writes that wait or are in flight, which are written without delay.
    pub(crate) fn ack_all(&self) -> Arc<Ack<E>> {
        let mut state = self.state();
        let mut after = AfterUnlock::new();
        let open = |slot: &Slot<K, V, E>| [slot.queued.is_some(), slot.in_flight.is_some()];
        let open = state.slots.values().flat_map(open).filter(|is_open| *is_open).count();
        let ack = Ack::new(open);
        for slot in state.slots.values_mut() {
            for write in slot.queued.iter_mut().chain(&mut slot.in_flight) {
                write.acks.push(Arc::clone(&ack));
            }
        }
        state.rush = state.order.len();
        self.signal(&mut state, &mut after);
        self.unlock(state, after);
        ack
    }

    /// Accepts no write any more, and has the writer end when it has written all.
    pub(crate) fn begin_close(&self) {
        let mut state = self.state();
        let mut after = AfterUnlock::new();
        state.is_closing = true;
        // Callers that wait for room have to learn that there will be none.
        state.freed += 1;
        after.wakers.extend(std::mem::take(&mut state.roomless).into_values());
        self.signal(&mut state, &mut after);
        self.unlock(state, after);
        self.room.notify_all();
    }

    /// Gives up all that waits; what is in flight is given up if it fails. Returns the dead letters.
    pub(crate) fn abandon(&self) -> Vec<DeadLetter<K, V, E>> {
        let mut state = self.state();
        let mut after = AfterUnlock::new();
        state.is_closing = true;
        state.is_abandoned = true;
        let mut letters = Vec::new();
        while let Some(id) = state.order.pop_front() {
            let write = state.slots.get_mut(&id).and_then(|slot| slot.queued.take());
            letters.push(state.bury(id, write.expect("it is in the order"), &mut after));
        }
        (state.retries, state.rush) = (0, 0);
        self.signal(&mut state, &mut after);
        self.unlock(state, after);
        letters
    }

    /// The dead letters, which stay.
    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter<K, V, E>> {
        let state = self.state();
        let letter = |id| {
            let slot = &state.slots[id];
            slot.dead.as_ref().map(|write| write.letter(&slot.key))
        };
        state.dead.iter().filter_map(letter).collect()
    }

    /// Takes the dead letters out, which makes room.
    pub(crate) fn take_dead(&self) -> Vec<DeadLetter<K, V, E>> {
        let mut state = self.state();
        let mut after = AfterUnlock::new();
        let mut letters = Vec::new();
        for id in std::mem::take(&mut state.dead) {
            let Some(slot) = state.slots.get_mut(&id) else { continue };
            let Some(write) = slot.dead.take() else { continue };
            letters.push(write.letter(&slot.key));
            state.leave(id, write, &mut after);
        }
        self.unlock(state, after);
        letters
    }

    /// Puts the dead letters back into the queue, unless it is closed; returns their keys.
    pub(crate) fn retry_dead(&self) -> Vec<Arc<K>> {
        let now_ns = self.now_ns();
        let mut state = self.state();
        if state.is_closing {
            return Vec::new();
        }
        let mut after = AfterUnlock::new();
        let mut keys = Vec::new();
        for id in std::mem::take(&mut state.dead) {
            let Some(slot) = state.slots.get_mut(&id) else { continue };
            let Some(mut write) = slot.dead.take() else { continue };
            (write.attempts, write.since_ns) = (0, now_ns);
            slot.queued = Some(write);
            keys.push(Arc::clone(&slot.key));
            state.order.push_back(id);
        }
        state.rush = state.order.len();
        self.signal(&mut state, &mut after);
        self.unlock(state, after);
        keys
    }
}

impl<K, V, E> QueueState<K, V, E> {
    fn add(&mut self, key: Arc<K>, hash: u64) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.by_hash.entry(hash).or_default().push(id);
        let slot = Slot { key, hash, queued: None, in_flight: None, dead: None };
        self.slots.insert(id, slot);
        id
    }

    /// Makes a write, which was taken from its slot, a dead letter.
    fn bury(
        &mut self,
        id: u64,
        mut write: QueuedWrite<V, E>,
        after: &mut AfterUnlock<K, V, E>,
    ) -> DeadLetter<K, V, E> {
        let slot = self.slots.get_mut(&id).expect("a slot stays as long as it has a write");
        for ack in write.acks.drain(..) {
            let (attempts, source) = (write.attempts, write.error.clone());
            ack.count_down(Some(TierError::GaveUp { attempts, source }));
            after.acks.push(ack);
        }
        self.counts.gave_up += 1;
        let letter = write.letter(&slot.key);
        slot.dead = Some(write);
        self.dead.insert(id);
        letter
    }

    /// Lets a write leave, which was taken from its slot, and the slot too if that was its last.
    fn leave(&mut self, id: u64, write: QueuedWrite<V, E>, after: &mut AfterUnlock<K, V, E>) {
        self.entries -= 1;
        self.weight -= write.weight;
        after.writes.push(write);
        let Some(slot) = self.slots.get(&id) else { return };
        if slot.queued.is_some() || slot.in_flight.is_some() || slot.dead.is_some() {
            return;
        }
        let hash = slot.hash;
        if let Some(ids) = self.by_hash.get_mut(&hash) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_hash.remove(&hash);
            }
        }
        after.slots.extend(self.slots.remove(&id));
    }
}

impl<V, E> QueuedWrite<V, E> {
    fn letter<K>(&self, key: &Arc<K>) -> DeadLetter<K, V, E> {
        DeadLetter {
            key: Arc::clone(key),
            record: self.record.clone(),
            attempts: self.attempts,
            error: self.error.clone(),
        }
    }
}
