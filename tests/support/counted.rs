//! A key or value that counts how often it is made and dropped, notices when it is dropped twice or
//! used after its drop, and panics on request in any user code that a cache calls.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

const ALIVE: u64 = 0xa11e_a11e_a11e_a11e;
const DEAD: u64 = 0xdead_dead_dead_dead;

/// Message of every panic on request.
pub(crate) const REQUESTED: &str = "panic on request";

/// A place in user code that a cache calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Hash,
    Eq,
    Clone,
    Drop,
}

impl Place {
    pub(crate) const ALL: [Place; 4] = [Place::Hash, Place::Eq, Place::Clone, Place::Drop];
}

/// The counts of one test, to which all its `Counted` report.
#[derive(Default)]
pub(crate) struct Ledger {
    made: AtomicUsize,
    dropped: AtomicUsize,
    /// How many were dropped twice, or used after their drop.
    misused: AtomicUsize,
    /// For each place, how many calls are left until one panics; 0 for never, negative for every
    /// call.
    fuses: [AtomicI64; 4],
    /// Restricts the fuses to one id, stored plus 1; 0 for all.
    fused_id: AtomicU64,
}

impl Ledger {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn make(self: &Arc<Self>, id: u64) -> Counted {
        self.made.fetch_add(1, Ordering::Relaxed);
        Counted { magic: AtomicU64::new(ALIVE), id, ledger: Arc::clone(self) }
    }

    /// How many were made and not yet dropped.
    pub(crate) fn living(&self) -> usize {
        // The drops are read first, so that an object made in between does not look like one drop
        // too many.
        let dropped = self.dropped.load(Ordering::SeqCst);
        self.made.load(Ordering::SeqCst) - dropped
    }

    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    /// Panics unless exactly `living` objects are alive and none was misused.
    #[track_caller]
    pub(crate) fn assert_living(&self, living: usize, what: &str) {
        assert_eq!(
            self.misused.load(Ordering::SeqCst),
            0,
            "{what}: dropped twice or used after the drop"
        );
        assert_eq!(self.living(), living, "{what}: keys and values alive");
    }

    /// From now on, makes the `nth` call at `place`, counted from 1, panic once.
    pub(crate) fn panic_at(&self, place: Place, nth: i64) {
        self.fuses[place as usize].store(nth, Ordering::SeqCst);
    }

    /// Makes every call at `place` panic until `disarm`.
    pub(crate) fn panic_always(&self, place: Place) {
        self.fuses[place as usize].store(-1, Ordering::SeqCst);
    }

    /// Makes only the `Counted` with this id panic.
    pub(crate) fn only_for(&self, id: u64) {
        self.fused_id.store(id + 1, Ordering::SeqCst);
    }

    /// Stops the panics. Returns whether one was still to come.
    pub(crate) fn disarm(&self) -> bool {
        self.fused_id.store(0, Ordering::SeqCst);
        let mut was_armed = false;
        for fuse in &self.fuses {
            was_armed |= fuse.swap(0, Ordering::SeqCst) > 0;
        }
        was_armed
    }

    fn pass(&self, place: Place, id: u64) {
        let only = self.fused_id.load(Ordering::SeqCst);
        if only != 0 && only != id + 1 {
            return;
        }
        let fuse = &self.fuses[place as usize];
        let mut left = fuse.load(Ordering::SeqCst);
        while left > 0 {
            match fuse.compare_exchange(left, left - 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => break,
                Err(now) => left = now,
            }
        }
        // A panic while another one unwinds would abort the process, which is not tested here.
        if (left == 1 || left < 0) && !std::thread::panicking() {
            std::panic::panic_any(REQUESTED);
        }
    }
}

/// A key or value under observation. It is equal and hashed by its id, so a `u64` looks it up.
pub(crate) struct Counted {
    /// Atomic, so that the store in `drop`, which no correct program reads, is not optimized away.
    magic: AtomicU64,
    id: u64,
    ledger: Arc<Ledger>,
}

impl Counted {
    pub(crate) fn id(&self) -> u64 {
        self.check();
        self.id
    }

    fn check(&self) {
        if self.magic.load(Ordering::Relaxed) != ALIVE {
            self.ledger.misused.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.check();
        self.ledger.pass(Place::Hash, self.id);
        self.id.hash(state);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.check();
        other.check();
        self.ledger.pass(Place::Eq, self.id);
        self.id == other.id
    }
}

impl Eq for Counted {}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.check();
        self.ledger.pass(Place::Clone, self.id);
        self.ledger.make(self.id)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.check();
        self.magic.store(DEAD, Ordering::Relaxed);
        self.ledger.dropped.fetch_add(1, Ordering::SeqCst);
        self.ledger.pass(Place::Drop, self.id);
    }
}

impl Borrow<u64> for Counted {
    fn borrow(&self) -> &u64 {
        self.check();
        &self.id
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Counted({})", self.id)
    }
}
