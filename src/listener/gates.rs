//! Gates: which thread may change what the table holds for a key, where a listener runs within each
//! removal.
//!
//! In a cache with an atomic listener every change of the table goes through the gate of its key's
//! hash. The thread that is within a gate alone removes entries of that hash and inserts some, so an
//! entry found linked there stays linked, and is not retired: it can be read without a pin, and the
//! removal that the listener was notified of will succeed. Gates exist while a thread is within them,
//! and changes of two hashes never wait for each other.
//!
//! | who | enters | within |
//! |---|---|---|
//! | a call that changes a key | waits, unpinned, holding no other gate | finds the entry; leaves the pin; notifies; finds it again and changes the table; leaves the gate; reports |
//! | a walk that removes (`retain`, `clear`) | the same, for one entry after another | the same, and asks the user's condition first |
//! | maintenance | tries, and puts the victim back if it does not get in; for one victim at a time | unlinks the victim from the policy; releases the partition's lock; notifies; takes the entry out; leaves the gate; reports |
//! | a lookup | never | |
//!
//! The listener is called by the thread that is within the gate, which holds no lock and no pin
//! then, and refuses changes of this cache. A thread that is inside user code of whatever cache does
//! not wait for a gate ([`crate::base::reentrancy`]): so no thread within a gate waits for
//! another gate, and a listener that ends lets all others go on.
//!
//! # Linearization
//! A removal takes effect by the table's one step, after the listener has returned and before the
//! gate is left. Why an entry leaves is decided once, when the listener is notified; should its
//! deadline pass between the two, the removal counts as having come just before the deadline. The next
//! insertion of the key enters the gate after that, so it is not visible before the listener has
//! returned. Between two removals of one key stands an insertion, which had to enter the gate in
//! between: so the removals of a key are notified one after the other, in order, each once.
//!
//! # Orderings
//! A shard's lock is taken to enter a gate and to leave it, so that what is done within happens
//! before what the next thread does within. Models: `loom-tests/tests/gates.rs`.
#![forbid(unsafe_code)]

use crossbeam_utils::CachePadded;

use crate::base::reentrancy::{self, Inside, Scope};
use crate::base::sync::{self, Backoff, Mutex};

/// Locks among which the gates are spread, which are held for a few moves of words alone.
const SHARDS: usize = if cfg!(larder_loom) { 1 } else { 32 };

/// Hashes whose gates some thread is within.
type GateShard = CachePadded<Mutex<Vec<u64>>>;

pub(crate) struct Gates(Box<[GateShard]>);

/// Being within a gate, until it is dropped.
pub(crate) struct Entered<'g> {
    gates: &'g Gates,
    hash: u64,
    _inside: Inside,
}

/// Another thread is within the gate, and this one must not wait.
#[derive(Debug)]
pub(crate) struct MustNotWait;

impl Gates {
    pub(crate) fn new() -> Self {
        Self(std::iter::repeat_with(GateShard::default).take(SHARDS).collect())
    }

    fn shard(&self, hash: u64) -> &Mutex<Vec<u64>> {
        // Neither the lowest bits, which choose a bucket, nor the highest, which choose a partition.
        &self.0[(hash >> 12) as usize % self.0.len()]
    }

    /// Waits until the gate is free. The thread must not be pinned by the cache itself.
    pub(crate) fn enter(&self, hash: u64) -> Result<Entered<'_>, MustNotWait> {
        let backoff = Backoff::new();
        loop {
            if let Some(entered) = self.try_enter(hash) {
                return Ok(entered);
            }
            if !reentrancy::may_wait() {
                return Err(MustNotWait);
            }
            // The listener of the user's may take long.
            #[cfg(not(larder_loom))]
            if backoff.is_completed() {
                sync::nap();
                continue;
            }
            backoff.snooze();
        }
    }

    pub(crate) fn try_enter(&self, hash: u64) -> Option<Entered<'_>> {
        {
            let mut hashes = sync::lock(self.shard(hash));
            if hashes.contains(&hash) {
                return None;
            }
            hashes.push(hash);
        }
        Some(Entered { gates: self, hash, _inside: reentrancy::enter(Scope::Gate, self) })
    }

    /// Whether this thread is within one of them.
    pub(crate) fn is_within_any(&self) -> bool {
        reentrancy::is_inside(Scope::Gate, self)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut hashes = sync::lock(self.gates.shard(self.hash));
        if let Some(own) = hashes.iter().position(|hash| *hash == self.hash) {
            hashes.swap_remove(own);
        }
    }
}
