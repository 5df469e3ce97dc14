//! The bounded buffer through which a partition's maintenance learns what happened to the table.
//!
//! Events are never lost: when the buffer is full, `push` refuses and the writer makes room by
//! running maintenance itself. Many writers push; one drainer, the holder of the partition's lock,
//! pops.
//!
//! ```text
//!   state:  63           32 31           0
//!           |  position    |  live       |   position: slots claimed so far, wraps around
//!                                            live: entries in the table, according to the events
//!   slot:   first: entry pointer | kind    0: free, or claimed and not published yet
//!           second: the replaced entry     (kind `VOID`: no entry; the claim was dropped)
//! ```
//!
//! The slots take no memory before something is pushed or claimed.
//!
//! `live` shares its word with the position, which every push has to change anyway. So `len` costs
//! no write of its own.
//!
//! # Positions as a clock
//! Events of different threads come in the order in which they are pushed, which says nothing about
//! the table. A cache that needs the order of the changes of each key claims the slot ahead
//! ([`WriteBuffer::claim`]): after the writer has found the entry that it is about to take out, and
//! before the CAS that does so.
//!
//! Let `a` and `b` be entries of one key, `a` before `b`. The thread that takes `b` out has found
//! it in the table before it claimed its slot. It found `b` after `a` was taken out, and so after
//! the slot for the removal of `a` was claimed. Therefore the slot for `b` has the higher position.
//! For the same reason, the insertion of an entry precedes its removal. Slots are popped in the
//! order of positions, and a slot that is claimed but not filled holds back those behind it. So the
//! events that take entries of one key out leave the buffer in the order in which the table saw
//! them. Model test: `loom-tests/tests/removal_order.rs`.
//!
//! # Orderings
//! - slot `first`: stored with release once the slot is filled, loaded with acquire by the drainer,
//!   which therefore sees `second` and the entry itself.
//! - `head`: stored with release after a slot was emptied; the acquire in `claim_position` orders
//!   the emptying before the slot's next use.
//! - `state`: a writer claims with a `SeqCst` CAS before it checks whether the maintenance thread
//!   sleeps; that thread announces its sleep before it checks `state` (`maintainer`). Both are
//!   `SeqCst`, so one of them sees the other: an event never waits while that thread sleeps.

use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use crate::base::lazy_box::LazyBox;
use crate::base::prefetch::prefetch_for_write;
use crate::base::sync::{self, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use crate::entry::{EntryPtr, Header};

/// The most events that may wait in one buffer. A full buffer makes writers wait, so it is long enough
/// for what other threads write while the one that runs maintenance has lost its processor.
#[cfg(not(larder_loom))]
pub(crate) const SLOTS: u32 = 2048;
#[cfg(larder_loom)]
pub(crate) const SLOTS: u32 = 2;

/// The most events that one run of maintenance takes out, so that no caller does much for others. They are
/// popped together, so that their insertions can be announced to the policy.
pub(crate) const SHARE: usize = 16;

/// What happened to the table.
#[derive(Clone, Copy, PartialEq, Eq)]
// The size of a word, so that it is copied by words too, which can be read right after they are
// written.
#[repr(usize)]
pub(crate) enum Event {
    /// A new key's entry was linked.
    Inserted(EntryPtr),
    /// An entry was removed.
    Removed(EntryPtr),
    /// An entry was replaced by another.
    Replaced { new: EntryPtr, old: EntryPtr },
}

/// What a change does to the table, which decides how its event is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Insert,
    Replace,
    Remove,
}

impl ChangeKind {
    /// By how much the change alters the number of entries in the table.
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

    /// The entry that has come.
    #[inline]
    pub(crate) fn incoming(&self) -> Option<EntryPtr> {
        match *self {
            Self::Inserted(new) | Self::Replaced { new, .. } => Some(new),
            Self::Removed(_) => None,
        }
    }
}

/// The content of a slot.
pub(crate) enum Popped {
    Event(Event),
    /// The slot was claimed for a change that did not happen.
    Void,
}

/// A slot that is claimed ahead of its event. If it is dropped, the event did not happen.
pub(crate) struct Claim<'b> {
    buffer: &'b WriteBuffer,
    position: u32,
    len_delta: i32,
}

impl Claim<'_> {
    /// Fills in the event, and returns the position up to which the buffer has to be popped for it
    /// to be applied. `event` must be of the kind for which the slot was claimed.
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
        let slot = self.buffer.slot(self.position);
        // Release: pairs with the acquire in `take`, so the drainer sees everything before it.
        slot.first.store(ptr::without_provenance_mut(VOID), Ordering::Release);
    }
}

const INSERTED: usize = 1;
const REMOVED: usize = 2;
const REPLACED: usize = 3;
const VOID: usize = 4;
const KIND: usize = 7;

/// The buffer was full; the caller keeps the event.
#[derive(Debug)]
pub(crate) struct Full;

pub(crate) struct WriteBuffer {
    state: CachePadded<AtomicU64>,
    /// The number of slots popped so far; wraps around. Only the drainer writes it. What follows is read
    /// together with it, and never written.
    head: AtomicU32,
    /// A power of two of slots, at least `room`; made for the first event.
    slots: LazyBox<Box<[EventSlot]>>,
    /// How many slots may be in use.
    room: u32,
}

struct EventSlot {
    first: AtomicPtr<u8>,
    second: AtomicPtr<Header>,
}

fn free_slots(room: u32) -> Box<[EventSlot]> {
    let slot = || EventSlot {
        first: AtomicPtr::new(ptr::null_mut()),
        second: AtomicPtr::new(ptr::null_mut()),
    };
    std::iter::repeat_with(slot).take(room.next_power_of_two() as usize).collect()
}

#[inline]
fn slot_at(slots: &[EventSlot], position: u32) -> &EventSlot {
    &slots[position as usize & (slots.len() - 1)]
}

impl WriteBuffer {
    /// A buffer in which up to `room` events wait, at least 1 and at most `SLOTS`.
    pub(crate) fn new(room: u32) -> Self {
        debug_assert!((1..=SLOTS).contains(&room));
        Self {
            state: CachePadded::new(AtomicU64::new(0)),
            head: AtomicU32::new(0),
            slots: LazyBox::new_unless_loom(|| free_slots(room)),
            room,
        }
    }

    /// The slot of a position that the caller has claimed.
    #[inline]
    fn slot(&self, position: u32) -> &EventSlot {
        slot_at(self.slots.get_or_make(|| free_slots(self.room)), position)
    }

    /// Appends `event` and returns how many events wait now, including this one.
    ///
    /// Lock-free. A writer that is suspended between claiming a slot and filling it holds back
    /// the events behind it, not the writers.
    #[inline]
    pub(crate) fn push(&self, event: &Event) -> Result<u32, Full> {
        let position = self.claim_position(event.len_delta())?;
        self.fill(position, event);
        Ok(position.wrapping_add(1).wrapping_sub(self.head.load(Ordering::Relaxed)))
    }

    /// Claims the slot for an event that is about to happen (see the head of this module). Until it
    /// is filled or dropped, which must be soon, it holds back the events behind it: the caller
    /// must neither run user code nor wait for the buffer meanwhile.
    pub(crate) fn claim(&self, kind: ChangeKind) -> Result<Claim<'_>, Full> {
        let len_delta = kind.len_delta();
        let position = self.claim_position(len_delta)?;
        Ok(Claim { buffer: self, position, len_delta })
    }

    /// Prefetches for a claim or a push, since another thread may have made the last one.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch_for_write(&raw const self.state);
    }

    #[inline]
    fn claim_position(&self, len_delta: i32) -> Result<u32, Full> {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let (position, live) = unpack(state);
            // Acquire: pairs with the release in `pop_slot`.
            if position.wrapping_sub(self.head.load(Ordering::Acquire)) >= self.room {
                // Only a fresh state is conclusive: an old position looks full against a new head
                // too.
                let now = self.state.load(Ordering::Relaxed);
                if now == state {
                    return Err(Full);
                }
                state = now;
                continue;
            }
            let claimed = pack(position.wrapping_add(1), live.wrapping_add(len_delta));
            // SeqCst: before this writer checks the maintenance thread (head of this module).
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
        let slot = self.slot(position);
        if let Some(old) = second {
            // Relaxed: published by `first`.
            slot.second.store(old.as_raw().as_ptr(), Ordering::Relaxed);
        }
        // Release: publishes `second` and the entry; pairs with the acquire in `take`.
        slot.first.store(first, Ordering::Release);
    }

    /// Takes the oldest events out, as many as `events` has places for and as were filled in; returns
    /// how many. Only one caller may do so at a time.
    #[inline]
    pub(crate) fn pop_some(&self, events: &mut [Option<Event>]) -> usize {
        // Relaxed: only the drainer writes it, and the partition's lock hands it on.
        let from = self.head.load(Ordering::Relaxed);
        let (mut head, mut count) = (from, 0);
        while let Some(place) = events.get_mut(count)
            && let Some(popped) = self.take(head)
        {
            head = head.wrapping_add(1);
            if let Popped::Event(event) = popped {
                *place = Some(event);
                count += 1;
            }
        }
        if head != from {
            // Release: the slots are empty before they can be claimed again; pairs with
            // `claim_position`.
            self.head.store(head, Ordering::Release);
        }
        count
    }

    /// Whether the oldest event was filled in, or may have been; for the drainer.
    #[inline]
    pub(crate) fn may_have_some(&self) -> bool {
        let Some(slots) = self.slots.get() else { return false };
        // Relaxed, both: if so, `take` looks closer; if not, the event stays for the next run.
        !slot_at(slots, self.head.load(Ordering::Relaxed)).first.load(Ordering::Relaxed).is_null()
    }

    /// The oldest event alone, for models and tests.
    #[cfg(any(test, larder_loom))]
    pub(crate) fn pop(&self) -> Option<Event> {
        let mut events = [None];
        self.pop_some(&mut events);
        let [event] = events;
        event
    }

    /// Empties the oldest slot, unless there is none or its writer has not filled it in yet. Only
    /// one caller may do so at a time.
    #[inline]
    pub(crate) fn pop_slot(&self) -> Option<Popped> {
        // Relaxed: only the drainer writes it, and the partition's lock hands it on.
        let head = self.head.load(Ordering::Relaxed);
        let popped = self.take(head)?;
        // Release: the slot is empty before it can be claimed again; pairs with `claim_position`.
        self.head.store(head.wrapping_add(1), Ordering::Release);
        Some(popped)
    }

    /// Empties the slot at the position `head`, unless it is not filled in yet. The caller moves the
    /// head on.
    #[inline]
    fn take(&self, head: u32) -> Option<Popped> {
        let slot = slot_at(self.slots.get()?, head);
        // Acquire: pairs with the release in `fill` and in the drop of a `Claim`.
        let first = slot.first.load(Ordering::Acquire);
        if first.is_null() {
            return None;
        }
        let popped = match NonNull::new(first.map_addr(|address| address & !KIND).cast()) {
            // SAFETY: `fill` stored the pointer of a linked entry, which is not retired before this
            // event is applied.
            Some(entry) => Popped::Event(unsafe { self.event(slot, first.addr() & KIND, entry) }),
            None => Popped::Void,
        };
        // Relaxed: published with `head`.
        slot.first.store(ptr::null_mut(), Ordering::Relaxed);
        Some(popped)
    }

    /// # Safety
    /// `fill` stored `entry` and the other entry that `slot` names, and the event is not applied
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

    /// The position of the slot that is popped next; for the drainer.
    pub(crate) fn popped(&self) -> u32 {
        // Relaxed: as in `pop_slot`.
        self.head.load(Ordering::Relaxed)
    }

    /// The number of events that wait, including those that are not filled in yet.
    #[inline]
    pub(crate) fn waiting(&self) -> u32 {
        // SeqCst: after the maintenance thread announced its sleep (head of this module).
        let (position, _) = unpack(self.state.load(Ordering::SeqCst));
        // Acquire: the head is read after the position, so no event is missing from the count: the
        // head counts only events that were popped.
        position.wrapping_sub(self.head.load(Ordering::Acquire)).min(self.room)
    }

    /// The position up to which slots have been claimed.
    pub(crate) fn position(&self) -> u32 {
        // SeqCst: as in `waiting`. For the order of notifications, coherence of this word would do,
        // since the changes of the table before and after it synchronize (head of `listener`).
        unpack(self.state.load(Ordering::SeqCst)).0
    }

    /// Whether every event before `position` was popped.
    pub(crate) fn has_popped(&self, position: u32) -> bool {
        // Acquire: pairs with the release in `pop_slot`.
        self.head.load(Ordering::Acquire).wrapping_sub(position).cast_signed() >= 0
    }

    /// The number of entries in the table, according to the events that were pushed.
    #[inline]
    pub(crate) fn live(&self) -> usize {
        let (_, live) = unpack(self.state.load(Ordering::Relaxed));
        // A removal may be pushed before the insert that it undoes.
        usize::try_from(live).unwrap_or(0)
    }

    /// Adjusts `live` for changes that no pushed event reports: evictions, and inline maintenance.
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
    use crate::base::hash::KeyHash;
    use crate::entry::{Owned, dispose};

    fn entry(number: u64) -> EntryPtr {
        Owned::new(KeyHash::from_raw(number), 1, number, ()).into_shared()
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
    fn positions_show_what_was_popped_even_after_they_wrap_around() {
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
