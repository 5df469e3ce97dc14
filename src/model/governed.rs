//! One value that is replaced and freed behind guards of the real crossbeam-epoch.

use std::sync::Mutex as StdMutex;

use super::Watched;
use crate::reclaim::governor::{Governor, Participant, Participants, Ticket, Tickets};
use crate::sync::{self, AtomicPtr, Mutex, Ordering};

/// The value, with a collector, tickets and a governor of its own.
pub struct Governed {
    participants: Participants,
    tickets: &'static Tickets,
    governor: Mutex<Governor>,
    current: AtomicPtr<Watched>,
    /// All values there were, for the end of the model.
    values: StdMutex<Vec<*mut Watched>>,
}

// SAFETY: the pointers are to values that live until the model ends.
unsafe impl Send for Governed {}
// SAFETY: as above.
unsafe impl Sync for Governed {}

/// A thread's participant.
pub struct Member(Participant);

/// A value that was taken out.
pub struct Retired {
    value: *mut Watched,
    ticket: Ticket,
}

impl Default for Governed {
    fn default() -> Self {
        let first = Box::into_raw(Box::new(Watched::new(0)));
        let participants = Participants::new();
        let governor = Mutex::new(Governor::new(&participants));
        Self {
            participants,
            // Leaked, since a deferred function may outlive all else.
            tickets: Box::leak(Box::new(Tickets::new())),
            governor,
            current: AtomicPtr::new(first),
            values: StdMutex::new(vec![first]),
        }
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
        // Acquire: pairs with the release in `replace`.
        let value = self.current.load(Ordering::Acquire);
        // SAFETY: values live until the model ends.
        unsafe { &*value }.read()
    }

    /// Puts another value in the place of the one that is there.
    pub fn replace(&self, value: u64) -> Retired {
        let new = Box::into_raw(Box::new(Watched::new(value)));
        self.values.lock().expect("no panic while locked").push(new);
        // Release: publishes the value; pairs with the acquire in `read`.
        let value = self.current.swap(new, Ordering::Release);
        Retired { value, ticket: self.tickets.take() }
    }

    /// As the `advance` of the process, where guards are not marks.
    pub fn advance(&self) {
        let Some(mut governor) = sync::try_lock(&self.governor) else { return };
        governor.renew(&self.participants);
        governor.advance(self.tickets, None);
        let _ = governor.note_completed(self.tickets, None);
    }

    /// Frees the value if no guard from before it was taken out is left.
    pub fn free(&self, retired: &Retired) -> bool {
        let is_over = self.tickets.completed() >= retired.ticket;
        if is_over {
            // SAFETY: values live until the model ends.
            unsafe { &*retired.value }.free();
        }
        is_over
    }
}

impl Drop for Governed {
    fn drop(&mut self) {
        for value in self.values.lock().expect("no panic while locked").drain(..) {
            // SAFETY: from `Box::into_raw`, once each, and every thread of the model has ended.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}
