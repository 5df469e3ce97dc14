//! The tier in memory: what it holds, when it serves that, and what it lets in.
//!
//! # The way of a value into memory
//! | step | who | what |
//! |---|---|---|
//! | 1 | the reader | reserves the key: begins a fill ([`Memory::reserve`]) |
//! | 2 | the reader | asks the link, which takes the connection of the moment and its generation |
//! | 3 | the server | executes `GET`, remembers that this connection has read the key, and replies |
//! | 4 | the connection's task | hands on, in the order of the stream, replies and invalidations |
//! | 5 | the reader | stores the value with its generation, if the reservation has survived ([`Memory::fill`]) |
//!
//! An invalidation removes the key, which ends its reservations and its value ([`Memory::forget`]). Let a value
//! be overwritten after step 3. The invalidation follows the reply in the stream. It may be applied before step 5,
//! because the reader is another task: then the reservation is gone, and the value is refused. Or it is applied
//! after step 5: then it removes the value. If the stream ends before the invalidation, the generation ends,
//! and the value is never served (see [`crate::lease`]): either step 2 took a connection that was live after step 1,
//! and everything is as above, or it got a later one, with a later generation.
//!
//! **The moments at which calls take effect.** A read that the server answers: the execution of `GET`. A read
//! that memory answers: the last change of the value before it, or the moment `max_stale` before the read, if
//! that is later. A write: its execution by the server. When a write has returned, no call that begins later
//! returns an older value from memory or from a flight, since the writer has ended both after the reply.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use larder::{Cache, Fill, InsertOptions, Inserted};

use crate::error::NearError;
use crate::flight::Flights;
use crate::key::NearKey;
use crate::lease::{Lease, nanoseconds, now_ns};
use crate::link::Holder;

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held<V> {
    /// The server has this value.
    Value(V),
    /// The server has nothing under the key.
    Absent,
    /// The server says that there is no value, because a loader has found none.
    Missing,
    /// The server has bytes that cannot be read as a value.
    Unreadable,
}

impl<V> Held<V> {
    pub(crate) fn into_value(self) -> Option<V> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Missing | Self::Unreadable => None,
        }
    }
}

/// What memory has under a key.
#[derive(Clone, Debug)]
pub(crate) struct Slot<V> {
    pub(crate) held: Held<V>,
    generation: u64,
    fetched_ns: u64,
    /// The deadline. The cache has one too, which counts from the insertion, and so is late by as long as the
    /// thread was stopped before it.
    until_ns: u64,
}

/// What the server has answered for a key, with what decides for how long it may be held.
pub(crate) struct Fetched<V> {
    pub(crate) held: Held<V>,
    pub(crate) generation: u64,
    pub(crate) sent_ns: u64,
    pub(crate) bound: Bound,
}

/// For how long a value may be held from when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Until it is invalidated.
    None,
    /// At most for so long.
    For(Duration),
    /// Not at all.
    Never,
}

impl Bound {
    pub(crate) fn at_most(self, other: Duration) -> Self {
        match self {
            Self::None => Self::For(other),
            Self::For(own) => Self::For(own.min(other)),
            Self::Never => Self::Never,
        }
    }
}

/// A call's outcome, which its waiters share.
pub(crate) type Outcome<V> = Result<Held<V>, NearError>;

/// The tier in memory of one near cache.
pub(crate) struct Memory<K, V> {
    pub(crate) cache: Cache<K, Slot<V>>,
    pub(crate) reads: Flights<Outcome<V>>,
    pub(crate) loads: Flights<Outcome<V>>,
    prefix: Vec<u8>,
    /// Values are kept when the server cannot be asked, to be served for so long.
    stale_if_error_ns: u64,
}

impl<K, V> Memory<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(
        cache: Cache<K, Slot<V>>,
        prefix: Vec<u8>,
        max_stale_ns: u64,
        stale_if_error_ns: u64,
    ) -> Self {
        // A load is closed by any change of its key, and may take as long as it takes.
        let (reads, loads) = (Flights::new(max_stale_ns), Flights::new(u64::MAX));
        Self { cache, reads, loads, prefix, stale_if_error_ns }
    }

    fn close_flights(&self) {
        self.reads.close_all();
        self.loads.close_all();
    }

    /// The name of `key` for the server.
    pub(crate) fn name(&self, key: &K) -> Vec<u8> {
        let mut name = self.prefix.clone();
        key.encode(&mut name);
        name
    }

    /// What memory may say of `key` at the moment.
    #[inline]
    pub(crate) fn lookup(&self, lease: &Lease, key: &K) -> Option<Held<V>> {
        let time = lease.time_of_hit()?;
        let read = |slot: &Slot<V>| {
            // After the slot was found; see the head of `lease`.
            let is_served = lease.is_present(slot.generation) && time.is_within(slot.until_ns);
            is_served.then(|| slot.held.clone())
        };
        self.cache.read(key, read).flatten()
    }

    /// What memory may say of `key` if the server cannot be asked.
    pub(crate) fn lookup_stale(&self, lease: &Lease, key: &K) -> Option<Held<V>> {
        if self.stale_if_error_ns == 0 {
            return None;
        }
        let slot = self.cache.peek(key)?;
        let known_ns = lease.known_current_ns(slot.generation, slot.fetched_ns);
        let now = now_ns();
        let is_served =
            now <= slot.until_ns && now.saturating_sub(known_ns) <= self.stale_if_error_ns;
        is_served.then_some(slot.held)
    }

    /// Reserves `key`, before the server is asked for it.
    pub(crate) fn reserve(&self, key: &K) -> Fill<K, Slot<V>> {
        self.cache.begin_fill(key)
    }

    /// Stores what was fetched, if the reservation has survived.
    pub(crate) fn fill(
        &self,
        lease: &Lease,
        reservation: Fill<K, Slot<V>>,
        fetched: Fetched<V>,
    ) -> Filled {
        let Fetched { held, generation, sent_ns, bound } = fetched;
        #[cfg(test)]
        let sent_ns =
            if lease.has(crate::lease::Defect::LateDeadline) { now_ns() } else { sent_ns };
        let mut options = InsertOptions::new();
        let mut until_ns = u64::MAX;
        match bound {
            Bound::None => {}
            Bound::Never => return Filled::NotHeld,
            Bound::For(bound) => {
                until_ns = sent_ns.saturating_add(nanoseconds(bound));
                match until_ns.checked_sub(now_ns()) {
                    None | Some(0) => return Filled::NotHeld,
                    Some(left) => options = options.ttl(Duration::from_nanos(left)),
                }
            }
        }
        // It would not be served.
        if !lease.is_present(generation) {
            return Filled::Refused;
        }
        let slot = Slot { held, generation, fetched_ns: sent_ns, until_ns };
        #[cfg(test)]
        if lease.has(crate::lease::Defect::LateFill) {
            self.cache.insert_with(reservation.key().clone(), slot, options);
            return Filled::Held;
        }
        match self.cache.complete_fill_replacing_with(reservation, slot, options) {
            Inserted::Rejected(larder::Rejection::Stale) => Filled::Refused,
            Inserted::Rejected(_) => Filled::NotHeld,
            _ => Filled::Held,
        }
    }

    /// Forgets a key: its value, its reservations, and its flights.
    pub(crate) fn forget_key(&self, key: &K, name: &[u8]) {
        self.reads.close(name);
        self.loads.close(name);
        self.cache.remove_and_read(key, |_, _| ());
    }
}

/// What has become of a value that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    Held,
    /// It may have been overwritten since it was fetched.
    Refused,
    /// It has expired, or the cache in memory does not want it.
    NotHeld,
}

/// What the link does to the tier in memory.
pub(crate) struct Hands<K, V>(pub(crate) Arc<Memory<K, V>>);

impl<K, V> Hands<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Removes what cannot be served any more, on a thread where the user's drops hold nothing up.
    fn purge(&self, generation: u64) {
        let memory = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            memory.cache.invalidate_if(|_, slot| slot.generation < generation);
        });
    }
}

impl<K, V> Holder for Hands<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn forget(&self, names: &[Vec<u8>]) -> usize {
        let mut foreign = 0;
        for name in names {
            match name.strip_prefix(&self.0.prefix[..]).and_then(K::decode) {
                Some(key) => self.0.forget_key(&key, name),
                None => foreign += 1,
            }
        }
        foreign
    }

    fn forget_all(&self, generation: u64) {
        self.0.close_flights();
        self.purge(generation);
    }

    fn lose(&self, generation: u64) {
        self.0.close_flights();
        if self.0.stale_if_error_ns == 0 {
            self.purge(generation);
        }
    }
}
