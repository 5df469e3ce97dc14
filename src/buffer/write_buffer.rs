//! The bounded buffer through which a partition's maintenance learns what happened to the table.
//!
//! Events are never lost: when the buffer is full, `push` refuses and the writer makes room by
//! running maintenance itself. Many writers push, one drainer (the holder of the partition's
//! lock) pops.
//!
//! ```text
//!   state:  63           32 31           0
//!           |  position    |  live       |   position: slots claimed so far, wraps around
//!                                            live: entries in the table, as events tell it
//!   slot:   first: entry pointer | kind    0: free, or claimed and not published yet
//!           second: the replaced entry     (kind `VOID`: no entry; nothing came of the claim)
//! ```
//!
//! `live` lives in the same word because a push has to change that word anyway: `len` costs no
//! write of its own.
//!
//! # Positions as a clock
//! Between threads, events come in the order in which they are pushed, which says nothing about the
//! table. A cache that has to tell the order of what happened to a key claims the slot ahead
//! ([`WriteBuffer::claim`]): after the writer has found the entry that it is about to take out, and
//! before the CAS that does so. Let `a` and `b` be entries of one key, `a` before `b`. Who takes
//! `b` out has found it in the table before, that is after `a` was taken out, that is after the
//! slot for that was claimed; so the slot for `b` has the higher position. Likewise an entry's own
//! insertion stands before its removal. Slots are popped in the order of positions, and one that is
//! claimed and not filled in yet holds back those behind it. So the events of one key that take
//! entries out come out of the buffer in the order in which the table saw them.
//! Model test: `loom-tests/tests/removal_order.rs`.
//!
//! # Orderings
//! - slot `first`: stored with release once the slot is filled, loaded with acquire by the drainer,
//!   which so sees `second` and the entry itself.
//! - `head`: stored with release after a slot was emptied; the acquire in `push` orders the
//!   emptying before the slot's next use.
//! - `state`: `push` claims with a `SeqCst` CAS before it looks at whether the maintenance thread
//!   sleeps; that thread announces its sleep before it looks at `state` (`maintainer`). Both are
//!   `SeqCst`, so one of them sees the other: an event never waits behind a sleeping thread.

use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use crate::base::prefetch::prefetch_for_write;
use crate::base::sync::{self, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::entry::{EntryPtr, Header};

#[cfg(not(larder_loom))]
pub(crate) const SLOTS: u32 = 64;
#[cfg(larder_loom)]
pub(crate) const SLOTS: u32 = 2;

/// What happened to the table.
#[derive(Clone, Copy, PartialEq, Eq)]
// A word, so that copies are by words too: they can be read as soon as they are written.
#[repr(usize)]
pub(crate) enum Event {
    /// A new key's entry was linked.
    Inserted(EntryPtr),
    /// An entry was taken out.
    Removed(EntryPtr),
    /// An entry took another's place.
    Replaced { new: EntryPtr, old: EntryPtr },
}

/// What a change does to the table: how its event will count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Insert,
    Replace,
    Remove,
}

impl ChangeKind {
    /// By how much the change moves the number of entries in the table.
    #[inline]
    fn len_delta(self) -> i32 {
        match self {
            Self::Insert => 1,
            Self::Replace => 0,
            Self::Remove => -1,
        }
    }
}

impl Event {
    /// By how much the event changes the number of entries in the table.
    #[inline]
    pub(crate) fn len_delta(self) -> i32 {
        match self {
            Self::Inserted(_) => 1,
            Self::Removed(_) => -1,
            Self::Replaced { .. } => 0,
        }
    }
}

/// What a slot held.
pub(crate) enum Popped {
    Event(Event),
    /// It was claimed for something that did not happen.
    Void,
}

/// A slot claimed ahead of the event; dropped, it tells that nothing came of it.
pub(crate) struct Claim<'b> {
    buffer: &'b WriteBuffer,
    position: u32,
    len_delta: i32,
}

impl Claim<'_> {
    /// Tells what happened, and returns the position up to which the buffer has to be popped for
    /// it to be applied. `event` must be of the kind that the slot was claimed for.
    pub(crate) fn fill(self, event: Event) -> u32 {
        debug_assert_eq!(event.len_delta(), self.len_delta);
        self.buffer.fill(self.position, &event);
        let end = self.position.wrapping_add(1);
        std::mem::forget(self);
        end
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.buffer.adjust_live(-self.len_delta);
        let slot = &self.buffer.slots[(self.position % SLOTS) as usize];
        // Release: pairs with the acquire in `pop_slot`, which then knows all that came before.
        slot.first.store(ptr::without_provenance_mut(VOID), Ordering::Release);
    }
}

const INSERTED: usize = 1;
const REMOVED: usize = 2;
const REPLACED: usize = 3;
const VOID: usize = 4;
const KIND: usize = 7;

/// The buffer was full; the event is still the caller's.
#[derive(Debug)]
pub(crate) struct Full;

pub(crate) struct WriteBuffer {
    state: CachePadded<AtomicU64>,
    /// Slots popped so far, wraps around. Written by the drainer alone.
    head: CachePadded<AtomicU32>,
    slots: Box<[EventSlot]>,
    /// How many events may wait, of the slots that there are.
    room: u32,
}

struct EventSlot {
    first: AtomicPtr<u8>,
    second: AtomicPtr<Header>,
}

impl WriteBuffer {
    /// A buffer in which up to `room` events wait, at least 1 and at most `SLOTS`.
    pub(crate) fn new(room: u32) -> Self {
        debug_assert!((1..=SLOTS).contains(&room));
        let slot = || EventSlot {
            first: AtomicPtr::new(ptr::null_mut()),
            second: AtomicPtr::new(ptr::null_mut()),
        };
        Self {
            state: CachePadded::new(AtomicU64::new(0)),
            head: CachePadded::new(AtomicU32::new(0)),
            slots: std::iter::repeat_with(slot).take(SLOTS as usize).collect(),
            room,
        }
    }

    /// Appends `event` and returns how many wait now, it included.
    ///
    /// Lock-free. A writer that is suspended between claiming a slot and filling it holds back
    /// the events behind it, not the writers.
    #[inline]
    pub(crate) fn push(&self, event: &Event) -> Result<u32, Full> {
        let position = self.claim_position(event.len_delta())?;
        self.fill(position, event);
        Ok(position.wrapping_add(1).wrapping_sub(self.head.load(Ordering::Relaxed)))
    }

    /// Claims the slot for an event that is about to happen and will change the number of live
    /// entries by `len_delta` (module head). Until it is filled in or dropped, which must be soon,
    /// it holds back the events behind it: no user code, and no waiting for the buffer, in between.
    pub(crate) fn claim(&self, kind: ChangeKind) -> Result<Claim<'_>, Full> {
        let len_delta = kind.len_delta();
        let position = self.claim_position(len_delta)?;
        Ok(Claim { buffer: self, position, len_delta })
    }

    /// Announces a claim, or a push, by another thread than the last one, maybe.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch_for_write(&raw const self.state);
    }

    #[inline]
    fn claim_position(&self, len_delta: i32) -> Result<u32, Full> {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let (position, live) = unpack(state);
            // Acquire: pairs with the release in `pop`.
            if position.wrapping_sub(self.head.load(Ordering::Acquire)) >= self.room {
                // Only a fresh state tells: an old position against a new head looks full too.
                let now = self.state.load(Ordering::Relaxed);
                if now == state {
                    return Err(Full);
                }
                state = now;
                continue;
            }
            let claimed = pack(position.wrapping_add(1), live.wrapping_add(len_delta));
            // SeqCst: before this writer's look at the maintenance thread (module head).
            match self.state.compare_exchange_weak(
                state,
                claimed,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(position),
                Err(now) => state = now,
            }
        }
    }

    #[inline]
    fn fill(&self, position: u32, event: &Event) {
        let (first, second) = match *event {
            Event::Inserted(entry) => (tagged(entry, INSERTED), None),
            Event::Removed(entry) => (tagged(entry, REMOVED), None),
            Event::Replaced { new, old } => (tagged(new, REPLACED), Some(old)),
        };
        sync::model_seq_cst();
        let slot = &self.slots[(position % SLOTS) as usize];
        if let Some(old) = second {
            // Relaxed: published by `first`.
            slot.second.store(old.as_raw().as_ptr(), Ordering::Relaxed);
        }
        // Release: publishes `second` and the entry; pairs with the acquire in `pop`.
        slot.first.store(first, Ordering::Release);
    }

    /// Takes the oldest event out, unless there is none or its writer has not filled it in yet. For
    /// one caller at a time.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Event> {
        loop {
            if let Popped::Event(event) = self.pop_slot()? {
                return Some(event);
            }
        }
    }

    /// Empties the oldest slot, unless there is none or its writer has not filled it in yet. For
    /// one caller at a time.
    #[inline]
    pub(crate) fn pop_slot(&self) -> Option<Popped> {
        // Relaxed: the drainer alone writes it, and the partition's lock hands it on.
        let head = self.head.load(Ordering::Relaxed);
        let slot = &self.slots[(head % SLOTS) as usize];
        // Acquire: pairs with the release in `push`.
        let first = slot.first.load(Ordering::Acquire);
        if first.is_null() {
            return None;
        }
        let popped = match NonNull::new(first.map_addr(|address| address & !KIND).cast()) {
            // SAFETY: `fill` stored the pointer of a linked entry, which is not retired before
            // this event was applied.
            Some(entry) => Popped::Event(unsafe { self.event(slot, first.addr() & KIND, entry) }),
            None => Popped::Void,
        };
        // Relaxed: published with `head`.
        slot.first.store(ptr::null_mut(), Ordering::Relaxed);
        // Release: the slot is empty before it can be claimed again; pairs with `push`.
        self.head.store(head.wrapping_add(1), Ordering::Release);
        Some(popped)
    }

    /// # Safety
    /// `entry` and what `slot` names beside it were stored by `fill`, and the event was not applied
    /// yet.
    #[inline]
    unsafe fn event(&self, slot: &EventSlot, kind: usize, entry: NonNull<Header>) -> Event {
        // SAFETY: passed on to the caller.
        let entry = unsafe { EntryPtr::from_raw(entry) };
        match kind {
            INSERTED => Event::Inserted(entry),
            REMOVED => Event::Removed(entry),
            _ => {
                let old = slot.second.load(Ordering::Relaxed);
                let old = NonNull::new(old).expect("a replacement names the old entry");
                // SAFETY: as above.
                let old = unsafe { EntryPtr::from_raw(old) };
                Event::Replaced { new: entry, old }
            }
        }
    }

    /// The position of the slot that is popped next. For the drainer.
    pub(crate) fn popped(&self) -> u32 {
        // Relaxed: as in `pop_slot`.
        self.head.load(Ordering::Relaxed)
    }

    /// Number of events that wait, those not filled in yet included.
    #[inline]
    pub(crate) fn waiting(&self) -> u32 {
        // SeqCst: after the maintenance thread announced its sleep (module head).
        let (position, _) = unpack(self.state.load(Ordering::SeqCst));
        // Acquire: a head read after the position never makes an event vanish from the count,
        // since it counts only what was popped.
        position.wrapping_sub(self.head.load(Ordering::Acquire)).min(self.room)
    }

    /// The position up to which slots were claimed so far.
    pub(crate) fn position(&self) -> u32 {
        unpack(self.state.load(Ordering::SeqCst)).0
    }

    /// Whether every event before `position` was popped.
    pub(crate) fn has_popped(&self, position: u32) -> bool {
        self.head.load(Ordering::Acquire).wrapping_sub(position).cast_signed() >= 0
    }

    /// Entries in the table, as far as events were pushed.
    #[inline]
    pub(crate) fn live(&self) -> usize {
        let (_, live) = unpack(self.state.load(Ordering::Relaxed));
        // A removal may be pushed before the insert that it undoes.
        usize::try_from(live).unwrap_or(0)
    }

    /// Adds to `live` what was not told by a pushed event: evictions, and inline maintenance.
    pub(crate) fn adjust_live(&self, len_delta: i32) {
        if len_delta == 0 {
            return;
        }
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let (position, live) = unpack(state);
            // Relaxed: a plain counter; the position beside it is only carried along.
            match self.state.compare_exchange_weak(
                state,
                pack(position, live.wrapping_add(len_delta)),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }
}

fn tagged(entry: EntryPtr, kind: usize) -> *mut u8 {
    entry.as_raw().as_ptr().cast::<u8>().map_addr(|address| address | kind)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
fn unpack(state: u64) -> (u32, i32) {
    ((state >> 32) as u32, (state as u32).cast_signed())
}

fn pack(position: u32, live: i32) -> u64 {
    u64::from(position) << 32 | u64::from(live.cast_unsigned())
}

#[cfg(all(test, not(larder_loom)))]
mod tests {
    use super::*;
    use crate::entry::{Owned, dispose};

    fn entry(number: u64) -> EntryPtr {
        Owned::new(number, 1, number, ()).into_shared()
    }

    fn free(entry: EntryPtr) {
        // SAFETY: made by `entry`, and no test uses it after this.
        let panics = unsafe { dispose::<u64, ()>(vec![entry]) };
        assert_eq!(panics, 0);
    }

    #[test]
    fn events_come_out_whole_and_in_order() {
        let buffer = WriteBuffer::new(SLOTS);
        let (a, b) = (entry(1), entry(2));
        for _ in 0..SLOTS {
            let events =
                [Event::Inserted(a), Event::Replaced { new: b, old: a }, Event::Removed(b)];
            for (waiting, event) in events.into_iter().enumerate() {
                assert_eq!(buffer.push(&event).unwrap() as usize, waiting + 1);
            }
            for event in events {
                assert!(buffer.pop() == Some(event));
            }
            assert!(buffer.pop().is_none());
            assert_eq!(buffer.live(), 0);
        }
        free(a);
        free(b);
    }

    #[test]
    fn full_buffer_refuses_and_counts_no_refused_event() {
        let buffer = WriteBuffer::new(SLOTS);
        let a = entry(1);
        for waiting in 1..=SLOTS {
            assert_eq!(buffer.push(&Event::Inserted(a)).unwrap(), waiting);
        }
        assert!(buffer.push(&Event::Inserted(a)).is_err());
        assert_eq!(buffer.live(), SLOTS as usize);
        assert!(buffer.pop().is_some());
        assert_eq!(buffer.push(&Event::Removed(a)).unwrap(), SLOTS);
        assert_eq!(buffer.live(), SLOTS as usize - 1);
        buffer.adjust_live(-3);
        assert_eq!(buffer.live(), SLOTS as usize - 4);
        assert_eq!(buffer.waiting(), SLOTS);
        free(a);
    }

    #[test]
    fn a_small_buffer_is_full_before_its_slots_are() {
        let buffer = WriteBuffer::new(1);
        let a = entry(1);
        for round in 1..=2 * SLOTS as usize {
            assert_eq!(buffer.push(&Event::Inserted(a)).unwrap(), 1);
            assert!(buffer.push(&Event::Inserted(a)).is_err());
            assert!(buffer.claim(ChangeKind::Insert).is_err());
            assert_eq!((buffer.waiting(), buffer.live()), (1, round));
            assert!(buffer.pop() == Some(Event::Inserted(a)));
        }
        free(a);
    }

    #[test]
    fn positions_tell_what_was_popped_also_where_they_wrap_around() {
        let buffer = WriteBuffer::new(SLOTS);
        let (a, from) = (entry(1), u32::MAX - 1);
        buffer.head.store(from, Ordering::Relaxed);
        buffer.state.store(pack(from, -3), Ordering::Relaxed);
        for step in 0..4 {
            let position = from.wrapping_add(step);
            let next = position.wrapping_add(1);
            assert_eq!((buffer.position(), buffer.popped()), (position, position));
            assert_eq!(buffer.push(&Event::Inserted(a)).unwrap(), 1);
            assert_eq!((buffer.position(), buffer.popped()), (next, position));
            assert!(buffer.has_popped(position) && !buffer.has_popped(next));
            assert!(buffer.pop() == Some(Event::Inserted(a)));
            assert!(buffer.has_popped(next) && !buffer.has_popped(next.wrapping_add(1)));
            assert_eq!(buffer.live(), (step as usize).saturating_sub(2), "-3 at first");
        }
        free(a);
    }

    #[test]
    fn a_claim_holds_back_what_comes_behind_until_it_is_filled_or_dropped() {
        let buffer = WriteBuffer::new(SLOTS);
        let a = entry(1);
        for round in 0..3 * SLOTS {
            let dropped = buffer.claim(ChangeKind::Insert).ok().unwrap();
            let filled = buffer.claim(ChangeKind::Insert).ok().unwrap();
            buffer.push(&Event::Removed(a)).unwrap();
            assert_eq!((buffer.live(), buffer.waiting()), (1, 3));
            assert!(buffer.pop().is_none(), "nothing is known of the first");
            drop(dropped);
            assert_eq!(buffer.live(), 0, "the second is still counted, the first is not");
            assert!(buffer.pop().is_none(), "nothing is known of the second");
            assert_eq!(filled.fill(Event::Inserted(a)), 3 * round + 2);
            assert!(buffer.pop() == Some(Event::Inserted(a)));
            assert!(buffer.pop() == Some(Event::Removed(a)));
            assert_eq!((buffer.live(), buffer.waiting()), (0, 0));
        }
        free(a);
    }
}
