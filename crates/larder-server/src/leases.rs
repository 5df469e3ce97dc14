//! Leases: who loads a missing value.
//!
//! A client that misses with the flag `N` wins the lease of the key: it loads the value, and those who ask meanwhile
//! learn that another client does. The lease is an open fill of the cache, so if the key is changed or invalidated
//! while the winner loads, its value is stale and is refused. A lease is outside the cache: the key is absent for
//! everybody else, in process and through the protocol of Redis.
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | no lease | leased | `mg` with `N`, on a miss | the table has room |
//! | leased | stored | `ms` with the lease's number as `C` | the fill is fresh |
//! | leased | no lease | a client of memcached | it writes or removes the key |
//! | leased | no lease | the sweep, or the next `mg` with `N` | the time of the lease has passed |
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use larder::{Cache, Fill};

use crate::bytes::Bytes;
use crate::value::Value;
use crate::version::{CasToken, Version};

/// The most leases at one time; beyond, a miss is a plain miss.
const MAX_LEASES: usize = 65_536;

/// A lease that a client has won.
struct Lease {
    /// `None` while the holder stores the value.
    fill: Option<Fill<Bytes, Value>>,
    version: Version,
    deadline: Instant,
}

/// The answer to a client that misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It should load the value, and store it with this version.
    Won(Version),
    /// Another client does so, with this version.
    Sent(Version),
    /// The key has a value by now: read it again.
    Present,
    /// There are too many leases.
    Full,
}

/// The leases that are held, by the stored form of their keys.
#[derive(Default)]
pub(crate) struct Leases {
    held: Mutex<Held>,
    /// How many are held, so that a write takes no lock if there are none.
    count: AtomicUsize,
}

#[derive(Default)]
struct Held {
    by_key: HashMap<Bytes, Lease, ahash::RandomState>,
    /// Those of the leases that are held, and of some that were given up before their time.
    deadlines: BinaryHeap<Reverse<(Instant, Version, Bytes)>>,
}

impl Leases {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks the table, after a change.
    fn release(&self, held: MutexGuard<'_, Held>) {
        // Release: with the Acquire in `is_empty`. A thread that misses a lease which is given at the same
        // moment comes before it.
        self.count.store(held.by_key.len(), Ordering::Release);
        drop(held);
    }

    fn is_empty(&self) -> bool {
        // Acquire: with the Release in `release`.
        self.count.load(Ordering::Acquire) == 0
    }

    /// Asks for the lease of a key that has no value.
    ///
    /// `explicit` is the version that the client has chosen for it, if it has.
    pub(crate) fn ask(
        &self,
        cache: &Cache<Bytes, Value>,
        key: &Bytes,
        time: Duration,
        explicit: Option<Version>,
    ) -> Asked {
        let now = Instant::now();
        // Begun outside the lock, and dropped after it.
        let fill = cache.begin_fill(key);
        let mut held = self.held();
        let dropped = held.sweep(now);
        let asked = match held.by_key.get(key) {
            Some(lease) => Asked::Sent(lease.version),
            None if held.by_key.len() >= MAX_LEASES => Asked::Full,
            None => {
                let version = explicit.unwrap_or_else(Version::next);
                let deadline = now.checked_add(time).unwrap_or(now + Duration::from_secs(1 << 30));
                held.make_room();
                held.deadlines.push(Reverse((deadline, version, key.clone())));
                held.by_key.insert(key.clone(), Lease { fill: Some(fill), version, deadline });
                Asked::Won(version)
            }
        };
        self.release(held);
        drop(dropped);
        // The value may have been stored, and its lease given up, since the client missed.
        if let Asked::Won(version) = asked
            && cache.contains_key(key)
        {
            self.give_back(key, version);
            return Asked::Present;
        }
        asked
    }

    /// Takes back the lease that was just given, unless it has ended.
    fn give_back(&self, key: &Bytes, version: Version) {
        let mut held = self.held();
        let is_held = held.by_key.get(key).is_some_and(|lease| lease.version == version);
        let lease = if is_held { held.by_key.remove(key) } else { None };
        self.release(held);
        drop(lease);
    }

    /// Takes the fill of a key's lease, if the token names its version: its holder is about to store the value.
    ///
    /// The key stays leased until the lease is given up, after the value is stored, so that a client which
    /// misses in between does not win another.
    pub(crate) fn take(&self, key: &[u8], token: CasToken) -> Option<Fill<Bytes, Value>> {
        if self.is_empty() {
            return None;
        }
        let mut held = self.held();
        let lease = held.by_key.get_mut(key)?;
        if !token.names(lease.version) || lease.deadline <= Instant::now() {
            return None;
        }
        lease.fill.take()
    }

    /// Ends the lease of a key, because the key was written.
    pub(crate) fn give_up(&self, key: &[u8]) {
        if self.is_empty() {
            return;
        }
        let mut held = self.held();
        let lease = held.by_key.remove(key);
        self.release(held);
        drop(lease);
    }

    /// Ends the leases whose time has passed.
    pub(crate) fn sweep(&self) {
        if self.is_empty() {
            return;
        }
        let mut held = self.held();
        let dropped = held.sweep(Instant::now());
        self.release(held);
        drop(dropped);
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Drops the deadlines of leases that were given up, once they are most of all. Most leases are given up long
    /// before their time: without this, what clients have loaded within the time of a lease would be kept.
    fn make_room(&mut self) {
        if self.deadlines.len() > 2 * self.by_key.len() + 64 {
            let Self { by_key, deadlines } = self;
            deadlines.retain(|Reverse((_, version, key))| {
                by_key.get(key).is_some_and(|lease| lease.version == *version)
            });
            deadlines.shrink_to(2 * by_key.len() + 64);
        }
    }

    /// Takes out the leases whose time has passed.
    fn sweep(&mut self, now: Instant) -> Vec<Lease> {
        let mut ended = Vec::new();
        while let Some(Reverse((deadline, _, _))) = self.deadlines.peek()
            && *deadline <= now
        {
            let Some(Reverse((_, version, key))) = self.deadlines.pop() else { break };
            // The key may have another lease by now.
            if self.by_key.get(&key).is_some_and(|lease| lease.version == version) {
                ended.extend(self.by_key.remove(&key));
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_wins_and_a_change_makes_its_value_stale() {
        let cache: Cache<Bytes, Value> = Cache::new(100);
        let leases = Leases::default();
        let key = Bytes::from("key");
        let Asked::Won(version) = leases.ask(&cache, &key, Duration::from_secs(60), None) else {
            panic!("the first wins");
        };
        assert_eq!(leases.ask(&cache, &key, Duration::from_secs(60), None), Asked::Sent(version));
        assert!(leases.take(&key, CasToken::from_number(1)).is_none(), "not this lease");
        cache.remove(b"key".as_slice());
        let fill = leases.take(&key, CasToken::of(version)).unwrap();
        assert!(leases.take(&key, CasToken::of(version)).is_none(), "it is being stored");
        assert_eq!(leases.ask(&cache, &key, Duration::from_secs(60), None), Asked::Sent(version));
        assert!(!cache.complete_fill(fill, Value::from("old")).is_stored());
        leases.give_up(&key);
        assert_eq!(leases.len(), 0);
        // A lease whose time has passed is given to the next.
        assert!(matches!(leases.ask(&cache, &key, Duration::ZERO, None), Asked::Won(_)));
        assert!(matches!(leases.ask(&cache, &key, Duration::from_secs(60), None), Asked::Won(_)));
    }

    #[test]
    fn leases_that_were_given_up_leave_nothing_behind() {
        let cache: Cache<Bytes, Value> = Cache::new(100);
        let leases = Leases::default();
        let long = Duration::from_secs(1 << 20);
        for number in 0..10_000 {
            let key = Bytes::from(format!("key{number}").as_str());
            assert!(matches!(leases.ask(&cache, &key, long, None), Asked::Won(_)));
            // One of a hundred holders never stores anything.
            if number % 100 != 0 {
                leases.give_up(&key);
            }
        }
        assert_eq!(leases.len(), 100);
        let deadlines = leases.held().deadlines.len();
        assert!(deadlines <= 2 * 100 + 65, "{deadlines} deadlines of 100 leases");
    }

    #[test]
    fn client_that_missed_before_the_value_came_is_to_read_again() {
        let cache: Cache<Bytes, Value> = Cache::new(100);
        let leases = Leases::default();
        let key = Bytes::from("key");
        cache.insert(key.clone(), Value::from("stored meanwhile"));
        assert_eq!(leases.ask(&cache, &key, Duration::from_secs(60), None), Asked::Present);
        assert_eq!(leases.len(), 0);
    }
}
