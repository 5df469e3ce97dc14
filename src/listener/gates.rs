//! Gates: who may change what the table holds of a key, where a listener runs within each removal.
//!
//! In a cache with an atomic listener every change of the table goes through the gate of its key,
//! one of [`GATES`] by hash. Whoever is within a gate alone takes entries of its keys out or puts
//! some in, so an entry found linked there stays linked, and is not retired: it can be read without
//! a pin, and the removal that was told will succeed.
//!
//! | who | enters | within |
//! |---|---|---|
//! | a call that changes a key | waits, unpinned, holding no other gate | finds the entry; leaves the pin; tells; finds it again and changes the table; leaves the gate; reports |
//! | a walk that removes (`retain`, `clear`) | tries, and comes back to what it did not get | the same, one step's worth of gates at a time |
//! | maintenance | tries, and puts the victim back if it does not get in | unlinks the victim from the policy; lets go of the partition; tells; takes the entry out; leaves the gate; reports |
//! | a lookup | never | |
//!
//! The listener is called by the thread that is within the gate, which holds no lock and no pin
//! then, and refuses changes of this cache: so nobody within a gate waits for another gate, and a
//! listener that ends lets all others go on.
//!
//! # Linearization
//! A removal takes effect by the table's one step, after the listener has returned and before the
//! gate is left. The next insertion of the key enters the gate after that, so it is not visible
//! before the listener has returned. Between two removals of one key stands an insertion, which had
//! to enter the gate in between: so removals of a key are told one after the other, in order, each
//! once.
//!
//! # Orderings
//! `is_entered`: acquire when entering, release when leaving, so that what was told and done within
//! happens before what is done by the next. Models: `loom-tests/tests/gates.rs`.
#![forbid(unsafe_code)]

#[cfg(not(larder_loom))]
use super::nest::{Nest, Nested, is_in};
use crate::sync::{AtomicBool, Backoff, Ordering};

/// Threads within different ones do not meet. Fewer than a step of a walk sees.
#[cfg(not(larder_loom))]
const GATES: usize = 64;
#[cfg(larder_loom)]
const GATES: usize = 1;

pub(crate) struct Gates(Box<[Gate]>);

#[derive(Default)]
struct Gate {
    is_entered: AtomicBool,
}

/// Being within a gate, until it is dropped.
pub(crate) struct Entered<'g> {
    gate: &'g Gate,
    /// Under loom threads are none that have locals of std's.
    #[cfg(not(larder_loom))]
    _held: Nested,
}

#[cfg(not(larder_loom))]
thread_local! {
    /// The gates that this thread is within, by those that they belong to.
    static HELD: Nest = const { Nest::new(Vec::new()) };
}

impl Gates {
    pub(crate) fn new() -> Self {
        Self(std::iter::repeat_with(Gate::default).take(GATES).collect())
    }

    fn of(&self, hash: u64) -> &Gate {
        // Neither the lowest bits, which choose a bucket, nor the highest, which choose a partition.
        &self.0[(hash >> 12) as usize % self.0.len()]
    }

    /// Waits for whoever is within. The thread must not be pinned, nor within a gate.
    pub(crate) fn enter(&self, hash: u64) -> Entered<'_> {
        let backoff = Backoff::new();
        loop {
            if let Some(entered) = self.try_enter(hash) {
                return entered;
            }
            // A listener of the user's may take long.
            #[cfg(not(larder_loom))]
            if backoff.is_completed() {
                crate::sync::nap();
                continue;
            }
            backoff.snooze();
        }
    }

    /// Whether that is the gate of `hash`.
    pub(crate) fn is_of(&self, entered: &Entered<'_>, hash: u64) -> bool {
        std::ptr::eq(entered.gate, self.of(hash))
    }

    /// Under loom nobody asks from within.
    #[cfg(larder_loom)]
    pub(crate) fn is_within_any(&self) -> bool {
        false
    }

    /// Whether this thread is within one of them.
    #[cfg(not(larder_loom))]
    pub(crate) fn is_within_any(&self) -> bool {
        is_in(&HELD, self)
    }

    pub(crate) fn try_enter(&self, hash: u64) -> Option<Entered<'_>> {
        let gate = self.of(hash);
        // Acquire: pairs with the release of `Entered::drop`.
        let entered =
            gate.is_entered.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        entered.is_ok().then(|| Entered {
            gate,
            #[cfg(not(larder_loom))]
            _held: Nested::enter(&HELD, self),
        })
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // Release: pairs with the acquire of `Gates::try_enter`.
        self.gate.is_entered.store(false, Ordering::Release);
    }
}
