//! One value that is replaced and freed behind guards of the real crossbeam-epoch.

#![forbid(unsafe_code)]

use super::guarded::{Taken, ValueSlot};
use crate::base::sync::{self, Mutex};
use crate::reclaim::governor::{Governor, Participant, Participants, Ticket, Tickets};

/// A value, with a collector, tickets and a governor of its own.
pub struct Governed {
    participants: Participants,
    tickets: &'static Tickets,
    governor: Mutex<Governor>,
    slot: ValueSlot,
}

/// A thread's participant.
pub struct Member(Participant);

/// A value that was taken out.
pub struct RetiredValue {
    value: Taken,
    ticket: Ticket,
}

impl Default for Governed {
    fn default() -> Self {
        let participants = Participants::new();
        let governor = Mutex::new(Governor::new(&participants));
        // Leaked, because a deferred function may outlive everything else.
        let tickets = Box::leak(Box::new(Tickets::new()));
        Self { participants, tickets, governor, slot: ValueSlot::default() }
    }
}

impl Governed {
    /// Registers the calling thread.
    pub fn join(&self) -> Member {
        Member(self.participants.register().0)
    }

    /// Reads the value under a guard.
    pub fn read(&self, member: &Member) -> u64 {
        let _guard = member.0.pin();
        self.slot.read()
    }

    /// Replaces the value.
    pub fn replace(&self, value: u64) -> RetiredValue {
        let value = self.slot.replace(value);
        RetiredValue { value, ticket: self.tickets.take() }
    }

    /// As the `advance` of the process, where guards are not fast.
    pub fn advance(&self) {
        let Some(mut governor) = sync::try_lock(&self.governor) else { return };
        governor.renew(&self.participants);
        governor.advance(self.tickets, None);
        let _ = governor.note_completed(self.tickets, None);
    }

    /// Frees the value if no guard is left from before the value was taken out.
    pub fn free(&self, retired: &RetiredValue) -> bool {
        let is_over = self.tickets.completed() >= retired.ticket;
        if is_over {
            retired.value.free();
        }
        is_over
    }
}
