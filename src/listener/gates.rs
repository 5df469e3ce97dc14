//! Gates decide which thread may change what the table holds for a hash, in a cache whose listener is
//! called within each removal.
//!
//! In a cache with an atomic listener every change of the table is made within the gate of its key's
//! hash. Only the thread within a gate inserts and removes entries of that hash. So an entry that this
//! thread finds linked stays linked and is not retired: the thread can read it without a pin, and the
//! removal that the listener was notified of will succeed. A gate exists only while a thread is within
//! it, and changes of different hashes never wait for each other.
//!
//! | thread | enters | within the gate |
//! |---|---|---|
//! | a call that changes a key | waits, unpinned, within no other gate | finds the entry; unpins; notifies the listener; finds the entry again and changes the table; leaves the gate; reports the change |
//! | a walk that removes (`retain`, `clear`) | the same, for one entry after another | the same, and calls the user's condition first |
//! | maintenance | tries, for one victim at a time; if another thread is within, puts the victim back | unlinks the victim from the policy; releases the partition's lock; notifies the listener; takes the entry out; leaves the gate; reports the removal |
//! | a lookup | never | |
//!
//! The thread within the gate calls the listener. It holds no lock and no pin then, and its changes of
//! this cache are refused. A thread that is inside user code of any cache does not wait for a gate
//! ([`crate::base::reentrancy`]). So no thread within a gate waits for another gate, and the waiting
//! threads go on once the listener returns.
//!
//! # Linearization
//! A removal takes effect by one step of the table, after the listener has returned and before the
//! thread leaves the gate. The cause of a removal is decided once, when the listener is notified. If
//! the entry's deadline passes after that, the removal counts as having come just before the deadline.
//! The next insertion of the key enters the gate later, so it is not visible before the listener has
//! returned. Between two removals of one key there is an insertion, which also enters the gate. So the
//! listener is notified of the removals of a key one after the other, in order, and of each once.
//!
//! # Orderings
//! A thread takes a shard's lock to enter a gate and to leave it, so what it does within happens before
//! what the next thread does within. Models: `loom-tests/tests/gates.rs`.
#![forbid(unsafe_code)]

use crossbeam_utils::CachePadded;

use crate::base::hash::KeyHash;
use crate::base::reentrancy::{self, Inside, Scope};
use crate::base::sync::{self, Backoff, Mutex};

/// The gates are spread over this many locks, each of which is held only to move a few words.
const SHARDS: usize = if cfg!(larder_loom) { 1 } else { 32 };

/// The hashes of this shard whose gates have a thread within.
type GateShard = CachePadded<Mutex<Vec<KeyHash>>>;

pub(crate) struct Gates(Box<[GateShard]>);

/// While this exists, the thread that made it is within a gate.
pub(crate) struct Entered<'g> {
    gates: &'g Gates,
    hash: KeyHash,
    _inside: Inside,
}

/// Another thread is within the gate, and this one must not wait for it; or the cache refuses changes
/// by this thread.
#[derive(Debug)]
pub(crate) struct MustNotWait;

impl Gates {
    pub(crate) fn new() -> Self {
        Self(std::iter::repeat_with(GateShard::default).take(SHARDS).collect())
    }

    fn shard(&self, hash: KeyHash) -> &Mutex<Vec<KeyHash>> {
        // Not the lowest bits, which choose a bucket, nor the highest, which choose a partition.
        &self.0[hash.gate(self.0.len())]
    }

    /// Enters the gate of `hash`, and waits if another thread is within. The cache itself must not have
    /// pinned the thread.
    pub(crate) fn enter(&self, hash: KeyHash) -> Result<Entered<'_>, MustNotWait> {
        let backoff = Backoff::new();
        loop {
            if let Some(entered) = self.try_enter(hash) {
                return Ok(entered);
            }
            if !reentrancy::may_wait() {
                return Err(MustNotWait);
            }
            // The user's listener may run within the gate for long.
            sync::snooze_or_nap(&backoff);
        }
    }

    /// Enters the gate of `hash` unless another thread is within.
    pub(crate) fn try_enter(&self, hash: KeyHash) -> Option<Entered<'_>> {
        {
            let mut hashes = sync::lock(self.shard(hash));
            if hashes.contains(&hash) {
                return None;
            }
            hashes.push(hash);
        }
        Some(Entered { gates: self, hash, _inside: reentrancy::enter(Scope::Gate, self) })
    }

    /// Whether this thread is within one of these gates.
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
