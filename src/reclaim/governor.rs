//! The governor, and the tickets that it closes and completes.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::Instant;

use crossbeam_epoch::{self as epoch, Collector, LocalHandle};

use super::readers::Phases;
use crate::base::sync::{AtomicU64, AtomicUsize, Ordering, const_unless_loom};

/// Who may pin guards of a collector; tied to no thread, but for one at a time.
pub(crate) type Participant = LocalHandle;

/// Counts grace periods; `u64` moves a million times a second for 500,000 years.
pub(crate) type Ticket = u64;

/// Grace periods under way at once. More would not end sooner, and while a long guard holds the
/// epoch each would cost memory.
const MAX_OPEN: usize = 3;

/// Where the tickets stand.
pub(crate) struct Tickets {
    /// The ticket that is given out now: completed once a grace period that starts later is over.
    next: AtomicU64,
    /// The last ticket that something waits for.
    taken: AtomicU64,
    /// The last ticket whose grace period is over. Written by the governor alone.
    completed: AtomicU64,
    /// The last ticket for which no guard of the collector has to be waited for any more.
    epoch_completed: AtomicU64,
}

impl Tickets {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self {
                next: AtomicU64::new(1),
                taken: AtomicU64::new(0),
                completed: AtomicU64::new(0),
                epoch_completed: AtomicU64::new(0),
            }
        }
    }

    /// The ticket for all that this thread (or one that it synchronized with) unlinked before.
    pub(crate) fn take(&self) -> Ticket {
        // AcqRel: an RMW rather than a load, so that the governor's later RMW in `advance`
        // synchronizes with it (module head of `reclaim`).
        let ticket = self.next.fetch_add(0, Ordering::AcqRel);
        // Relaxed: only says whether a ticket has to be closed, and `advance` is called again for as
        // long as something waits.
        self.taken.fetch_max(ticket, Ordering::Relaxed);
        ticket
    }

    /// The last ticket whose batch may be freed.
    pub(crate) fn completed(&self) -> Ticket {
        // Acquire: pairs with the release in `Governor::note_completed`.
        self.completed.load(Ordering::Acquire)
    }
}

/// A collector, and how many participants were ever registered with it.
pub(crate) struct Participants {
    collector: OnceLock<Collector>,
    /// So that the governor knows whether it is still the newest.
    registered: AtomicUsize,
}

impl Participants {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self { collector: OnceLock::new(), registered: AtomicUsize::new(0) }
        }
    }

    /// A new participant, and how many were registered with it.
    pub(crate) fn register(&self) -> (Participant, usize) {
        let handle = self.collector.get_or_init(Collector::new).register();
        (handle, self.registered.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// The participant that holds the epoch.
pub(crate) struct Governor {
    // Before `_handle`, so that it is dropped first.
    guard: epoch::Guard,
    _handle: Participant,
    /// How many participants there were when it was the newest.
    registered: usize,
    /// Tickets closed but not completed, oldest first.
    open: VecDeque<OpenTicket>,
}

struct OpenTicket {
    ticket: Ticket,
    /// The readers' phase that has to come, where guards are fast.
    end_phase: Option<u64>,
    closed: Instant,
}

// SAFETY: a participant of crossbeam-epoch is not tied to a thread, only to being used by one at
// a time; handle and guard are used and dropped together, under the lock that the governor is in.
unsafe impl Send for Governor {}

impl Governor {
    pub(crate) fn new(participants: &Participants) -> Self {
        let (handle, registered) = participants.register();
        Self { guard: handle.pin(), _handle: handle, registered, open: VecDeque::new() }
    }

    /// Has another one registered in its place if participants have come since.
    pub(crate) fn renew(&mut self, participants: &Participants) {
        if self.registered != participants.registered.load(Ordering::Relaxed) {
            // The new one is pinned before the old one unpins: the epoch cannot move in between.
            let open = std::mem::take(&mut self.open);
            *self = Self { open, ..Self::new(participants) };
        }
    }

    /// Closes the current ticket, if anything waits for it, and lets the epoch move a step.
    /// `phases` are those of the readers, where guards are fast.
    pub(crate) fn advance(&mut self, tickets: &'static Tickets, phases: Option<&Phases>) {
        // Relaxed: see `Tickets::take`.
        let is_wanted =
            tickets.taken.load(Ordering::Relaxed) >= tickets.next.load(Ordering::Relaxed);
        if is_wanted && self.open.len() < MAX_OPEN {
            // AcqRel: pairs with the RMW in `Tickets::take`; see the module head of `reclaim`.
            let closed = tickets.next.fetch_add(1, Ordering::AcqRel);
            self.guard.defer(move || {
                // Release: pairs with the acquire in `note_completed`. A maximum, because two
                // threads may run the functions of two tickets at once; not `fetch_max`, which
                // ThreadSanitizer does not see.
                let raise = |last| (last < closed).then_some(closed);
                let completed = &tickets.epoch_completed;
                let _ = completed.fetch_update(Ordering::Release, Ordering::Relaxed, raise);
            });
            self.open.push_back(OpenTicket {
                ticket: closed,
                end_phase: phases.map(Phases::end_of_now),
                closed: Instant::now(),
            });
        }
        self.guard.repin();
        self.guard.flush();
    }

    /// Whether a ticket is closed but not completed.
    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Completes the tickets whose grace periods are over. Returns since when the oldest of the
    /// others is closed, if there is one.
    pub(crate) fn note_completed(
        &mut self,
        tickets: &Tickets,
        phases: Option<&Phases>,
    ) -> Option<Instant> {
        // Acquire: pairs with the release in the deferred function.
        let by_epoch = tickets.epoch_completed.load(Ordering::Acquire);
        while let Some(OpenTicket { ticket, end_phase, .. }) = self.open.front() {
            let has_come = |end: &u64| phases.is_none_or(|phases| phases.has_come(*end));
            if *ticket > by_epoch || !end_phase.as_ref().is_none_or(has_come) {
                break;
            }
            // Release: pairs with the acquire in `Tickets::completed`.
            tickets.completed.store(*ticket, Ordering::Release);
            self.open.pop_front();
        }
        self.open.front().map(|open| open.closed)
    }
}
