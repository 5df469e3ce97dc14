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
//!           second: the replaced entry
//! ```
//!
//! `live` lives in the same word because a push has to change that word anyway: `len` costs no
//! write of its own.
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

use crate::entry::{EntryPtr, Header};
use crate::sync::{self, AtomicPtr, AtomicU32, AtomicU64, Ordering};

#[cfg(not(larder_loom))]
pub(crate) const SLOTS: u32 = 64;
#[cfg(larder_loom)]
pub(crate) const SLOTS: u32 = 2;

/// What happened to the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A new key's entry was linked.
    Inserted(EntryPtr),
    /// An entry was taken out.
    Removed(EntryPtr),
    /// An entry took another's place.
    Replaced { new: EntryPtr, old: EntryPtr },
}

const INSERTED: usize = 1;
const REMOVED: usize = 2;
const REPLACED: usize = 3;
const KIND: usize = 3;

/// The buffer was full; the event is still the caller's.
#[derive(Debug)]
pub(crate) struct Full;

pub(crate) struct WriteBuffer {
    state: CachePadded<AtomicU64>,
    /// Slots popped so far, wraps around. Written by the drainer alone.
    head: CachePadded<AtomicU32>,
    slots: Box<[Slot]>,
}

struct Slot {
    first: AtomicPtr<u8>,
    second: AtomicPtr<Header>,
}

impl WriteBuffer {
    pub(crate) fn new() -> Self {
        let slot = || Slot {
            first: AtomicPtr::new(ptr::null_mut()),
            second: AtomicPtr::new(ptr::null_mut()),
        };
        Self {
            state: CachePadded::new(AtomicU64::new(0)),
            head: CachePadded::new(AtomicU32::new(0)),
            slots: std::iter::repeat_with(slot).take(SLOTS as usize).collect(),
        }
    }

    /// Appends `event` and returns how many wait now, it included.
    ///
    /// Lock-free. A writer that is suspended between claiming a slot and filling it holds back
    /// the events behind it, not the writers.
    #[inline]
    pub(crate) fn push(&self, event: Event) -> Result<u32, Full> {
        let (first, second, change) = match event {
            Event::Inserted(entry) => (tagged(entry, INSERTED), None, 1),
            Event::Removed(entry) => (tagged(entry, REMOVED), None, -1),
            Event::Replaced { new, old } => (tagged(new, REPLACED), Some(old), 0),
        };
        let mut state = self.state.load(Ordering::Relaxed);
        let position = loop {
            let (position, live) = unpack(state);
            // Acquire: pairs with the release in `pop`.
            if position.wrapping_sub(self.head.load(Ordering::Acquire)) >= SLOTS {
                // Only a fresh state tells: an old position against a new head looks full too.
                let now = self.state.load(Ordering::Relaxed);
                if now == state {
                    return Err(Full);
                }
                state = now;
                continue;
            }
            let claimed = pack(position.wrapping_add(1), live.wrapping_add(change));
            // SeqCst: before this writer's look at the maintenance thread (module head).
            match self.state.compare_exchange_weak(
                state,
                claimed,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => break position,
                Err(now) => state = now,
            }
        };
        sync::model_seq_cst();
        let slot = &self.slots[(position % SLOTS) as usize];
        if let Some(old) = second {
            // Relaxed: published by `first`.
            slot.second.store(old.as_raw().as_ptr(), Ordering::Relaxed);
        }
        // Release: publishes `second` and the entry; pairs with the acquire in `pop`.
        slot.first.store(first, Ordering::Release);
        Ok(position.wrapping_add(1).wrapping_sub(self.head.load(Ordering::Relaxed)))
    }

    /// Takes the oldest event out, unless there is none or its writer has not filled it in yet.
    /// For one caller at a time.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Event> {
        // Relaxed: the drainer alone writes it, and the partition's lock hands it on.
        let head = self.head.load(Ordering::Relaxed);
        let slot = &self.slots[(head % SLOTS) as usize];
        // Acquire: pairs with the release in `push`.
        let first = slot.first.load(Ordering::Acquire);
        let entry = NonNull::new(first.map_addr(|address| address & !KIND).cast::<Header>())?;
        // SAFETY: `push` stored the pointer of a linked entry, which is not retired before this
        // event was applied.
        let entry = unsafe { EntryPtr::from_raw(entry) };
        let event = match first.addr() & KIND {
            INSERTED => Event::Inserted(entry),
            REMOVED => Event::Removed(entry),
            _ => {
                let old = slot.second.load(Ordering::Relaxed);
                let old = NonNull::new(old).expect("a replacement names the old entry");
                // SAFETY: as above.
                let old = unsafe { EntryPtr::from_raw(old) };
                Event::Replaced { new: entry, old }
            }
        };
        // Relaxed: published with `head`.
        slot.first.store(ptr::null_mut(), Ordering::Relaxed);
        // Release: the slot is empty before it can be claimed again; pairs with `push`.
        self.head.store(head.wrapping_add(1), Ordering::Release);
        Some(event)
    }

    /// Number of events that wait, those not filled in yet included.
    #[inline]
    pub(crate) fn waiting(&self) -> u32 {
        // SeqCst: after the maintenance thread announced its sleep (module head).
        let (position, _) = unpack(self.state.load(Ordering::SeqCst));
        // Acquire: a head read after the position never makes an event vanish from the count,
        // since it counts only what was popped.
        position.wrapping_sub(self.head.load(Ordering::Acquire)).min(SLOTS)
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
    pub(crate) fn adjust_live(&self, change: i32) {
        if change == 0 {
            return;
        }
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let (position, live) = unpack(state);
            // Relaxed: a plain counter; the position beside it is only carried along.
            match self.state.compare_exchange_weak(
                state,
                pack(position, live.wrapping_add(change)),
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
        let buffer = WriteBuffer::new();
        let (a, b) = (entry(1), entry(2));
        for _ in 0..SLOTS {
            let events =
                [Event::Inserted(a), Event::Replaced { new: b, old: a }, Event::Removed(b)];
            for (waiting, event) in events.into_iter().enumerate() {
                assert_eq!(buffer.push(event).unwrap() as usize, waiting + 1);
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
        let buffer = WriteBuffer::new();
        let a = entry(1);
        for waiting in 1..=SLOTS {
            assert_eq!(buffer.push(Event::Inserted(a)).unwrap(), waiting);
        }
        assert!(buffer.push(Event::Inserted(a)).is_err());
        assert_eq!(buffer.live(), SLOTS as usize);
        assert!(buffer.pop().is_some());
        assert_eq!(buffer.push(Event::Removed(a)).unwrap(), SLOTS);
        assert_eq!(buffer.live(), SLOTS as usize - 1);
        buffer.adjust_live(-3);
        assert_eq!(buffer.live(), SLOTS as usize - 4);
        assert_eq!(buffer.waiting(), SLOTS);
        free(a);
    }
}
