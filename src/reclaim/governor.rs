//! The governor, and the tickets that it closes and completes.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::Instant;

use crossbeam_epoch::{self as epoch, Collector, LocalHandle};

use super::readers::Phases;
use crate::base::sync::{AtomicU64, AtomicUsize, Ordering, const_unless_loom};

/// What pins guards of a collector. It is not tied to a thread, but only one may use it at a time.
pub(crate) type Participant = LocalHandle;

/// Counts grace periods; at a million a second, a `u64` lasts 500,000 years.
pub(crate) type Ticket = u64;

/// The number of grace periods under way at once. More would not end sooner, and each would cost
/// memory while a long guard holds the epoch.
const MAX_OPEN: usize = 3;

/// The state of the tickets.
pub(crate) struct Tickets {
    /// The ticket that is given out now. It is completed once a grace period that starts later is
    /// over.
    next: AtomicU64,
    /// The last ticket that some batch waits for.
    taken: AtomicU64,
    /// The last ticket whose grace period is over. Only the governor writes it.
    completed: AtomicU64,
    /// The last ticket that no longer waits for a guard of the collector.
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

    /// The ticket for everything that this thread, or one that it synchronized with, unlinked
    /// before.
    pub(crate) fn take(&self) -> Ticket {
        // AcqRel: an RMW rather than a load, so that the governor's later RMW in `advance`
        // synchronizes with it (head of the module `reclaim`).
        let ticket = self.next.fetch_add(0, Ordering::AcqRel);
        // Relaxed: it only decides whether a ticket has to be closed, and `advance` is called again
        // for as long as a batch waits.
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
    /// Lets the governor see whether it is still the newest.
    registered: AtomicUsize,
}

impl Participants {
    const_unless_loom! {
        pub(crate) fn new() -> Self {
            Self { collector: OnceLock::new(), registered: AtomicUsize::new(0) }
        }
    }

    /// A new participant, and how many have been registered, including it.
    pub(crate) fn register(&self) -> (Participant, usize) {
        let handle = self.collector.get_or_init(Collector::new).register();
        (handle, self.registered.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// The participant that holds back the epoch.
pub(crate) struct Governor {
    // Before `_handle`, so that it is dropped first.
    guard: epoch::Guard,
    _handle: Participant,
    /// How many participants there were when the governor was the newest.
    registered: usize,
    /// The tickets that are closed but not completed, oldest first.
    open: VecDeque<OpenTicket>,
}

struct OpenTicket {
    ticket: Ticket,
    /// The phase of the readers that it waits for, where guards are fast.
    end_phase: Option<u64>,
    closed: Instant,
}

// SAFETY: a participant of crossbeam-epoch is not tied to a thread; only one thread may use it at a
// time. Handle and guard are used and dropped together, under the lock of the governor.
unsafe impl Send for Governor {}

impl Governor {
    pub(crate) fn new(participants: &Participants) -> Self {
        let (handle, registered) = participants.register();
        Self { guard: handle.pin(), _handle: handle, registered, open: VecDeque::new() }
    }

    /// Registers the governor anew if participants have joined since.
    pub(crate) fn renew(&mut self, participants: &Participants) {
        if self.registered != participants.registered.load(Ordering::Relaxed) {
            // The new participant is pinned before the old one unpins, so the epoch cannot move
            // between.
            let open = std::mem::take(&mut self.open);
            *self = Self { open, ..Self::new(participants) };
        }
    }

    /// Closes the current ticket, if a batch waits for it, and lets the epoch move one step.
    /// `phases` are those of the readers, where guards are fast.
    pub(crate) fn advance(&mut self, tickets: &'static Tickets, phases: Option<&Phases>) {
        // Relaxed: see `Tickets::take`.
        let is_wanted =
            tickets.taken.load(Ordering::Relaxed) >= tickets.next.load(Ordering::Relaxed);
        if is_wanted && self.open.len() < MAX_OPEN {
            // AcqRel: pairs with the RMW in `Tickets::take`; see the head of the module `reclaim`.
            let closed = tickets.next.fetch_add(1, Ordering::AcqRel);
            self.guard.defer(move || {
                // Release: pairs with the acquire in `note_completed`. A maximum, because two
                // threads may run the functions of two tickets at once. It is not `fetch_max`,
                // which ThreadSanitizer does not see.
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

    /// Completes the tickets whose grace periods are over. Returns the time at which the oldest
    /// other ticket was closed, if there is one.
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
