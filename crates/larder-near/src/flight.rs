//! One request for a key at a time: callers that want what another caller is already fetching wait for it.
//!
//! Flights are found by the bytes of their keys, so no code of the user's runs under a lock.
//!
//! | from | to | by | when |
//! |---|---|---|---|
//! | (none) | open | the leader, which finds no flight to join | it begins |
//! | open | closed | a write or an invalidation of the key | the key is about to be, or was, changed |
//! | open, closed | ended | the leader | it has an outcome, which its waiters get |
//! | open, closed | abandoned | the drop of the leader | its future was dropped, or has panicked |
//!
//! Only an open flight is joined, and only by a call that began at most `max_stale` after the flight did: the
//! outcome was current at some time after the flight began. The waiters of an abandoned flight begin anew.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

const SHARDS: usize = 16;

type FlightMap<T> = HashMap<Arc<[u8]>, Arc<Flight<T>>>;

/// All open flights of one cache whose outcomes are of the type `T`.
pub(crate) struct Flights<T> {
    shards: [Mutex<FlightMap<T>>; SHARDS],
    hasher: RandomState,
    max_age_ns: u64,
}

/// One flight.
pub(crate) struct Flight<T> {
    began_ns: u64,
    /// `None` if it was abandoned.
    outcome: OnceLock<Option<Arc<T>>>,
    ended: Notify,
}

/// A caller's part in a flight.
pub(crate) enum Joined<'f, T> {
    Leader(Lead<'f, T>),
    Waiter(Arc<Flight<T>>),
}

/// The leader's part. Dropping it without an outcome abandons the flight.
pub(crate) struct Lead<'f, T> {
    flights: &'f Flights<T>,
    key: Arc<[u8]>,
    flight: Arc<Flight<T>>,
}

impl<T> Flights<T> {
    pub(crate) fn new(max_age_ns: u64) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, hasher: RandomState::new(), max_age_ns }
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, FlightMap<T>> {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the open flight of `key`, or opens one.
    pub(crate) fn join(&self, key: &[u8], now_ns: u64) -> Joined<'_, T> {
        let mut open = self.shard(key);
        if let Some(flight) = open.get(key)
            && now_ns.saturating_sub(flight.began_ns) <= self.max_age_ns
        {
            return Joined::Waiter(Arc::clone(flight));
        }
        let flight =
            Arc::new(Flight { began_ns: now_ns, outcome: OnceLock::new(), ended: Notify::new() });
        let key: Arc<[u8]> = key.into();
        let replaced = open.insert(Arc::clone(&key), Arc::clone(&flight));
        drop(open);
        drop(replaced);
        Joined::Leader(Lead { flights: self, key, flight })
    }

    /// Closes the flight of `key`: nobody joins it any more.
    pub(crate) fn close(&self, key: &[u8]) {
        let closed = self.shard(key).remove(key);
        drop(closed);
    }

    /// Closes all flights.
    pub(crate) fn close_all(&self) {
        for shard in &self.shards {
            let closed = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            drop(closed);
        }
    }
}

impl<T> Flight<T> {
    /// Waits for the outcome; `None` if the flight was abandoned, or has not ended within `patience`.
    pub(crate) async fn wait(&self, patience: Duration) -> Option<Arc<T>> {
        let ended = async {
            loop {
                let mut ended = std::pin::pin!(self.ended.notified());
                // From here on, an end is not missed.
                ended.as_mut().enable();
                if let Some(outcome) = self.outcome.get() {
                    return outcome.clone();
                }
                ended.await;
            }
        };
        tokio::time::timeout(patience, ended).await.ok().flatten()
    }

    fn end(&self, outcome: Option<Arc<T>>) {
        let _ = self.outcome.set(outcome);
        self.ended.notify_waiters();
    }
}

impl<T> Lead<'_, T> {
    /// Whether the flight is still open: nobody has changed the key since it began.
    pub(crate) fn is_open(&self) -> bool {
        let open = self.flights.shard(&self.key);
        open.get(&self.key).is_some_and(|open| Arc::ptr_eq(open, &self.flight))
    }

    /// Ends the flight with an outcome, which is returned for the leader.
    pub(crate) fn end(self, outcome: T) -> Arc<T> {
        let outcome = Arc::new(outcome);
        self.flight.end(Some(Arc::clone(&outcome)));
        outcome
    }
}

impl<T> Drop for Lead<'_, T> {
    fn drop(&mut self) {
        let mut open = self.flights.shard(&self.key);
        let is_open = open.get(&self.key).is_some_and(|open| Arc::ptr_eq(open, &self.flight));
        let closed = is_open.then(|| open.remove(&self.key));
        drop(open);
        drop(closed);
        // Does nothing if it has an outcome.
        self.flight.end(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn lead<'f>(flights: &'f Flights<u32>, now_ns: u64) -> Lead<'f, u32> {
        match flights.join(b"key", now_ns) {
            Joined::Leader(lead) => lead,
            Joined::Waiter(_) => panic!("a flight is open"),
        }
    }

    fn wait(flights: &Flights<u32>, now_ns: u64) -> Arc<Flight<u32>> {
        match flights.join(b"key", now_ns) {
            Joined::Waiter(flight) => flight,
            Joined::Leader(_) => panic!("no flight is open"),
        }
    }

    #[tokio::test]
    async fn waiters_get_the_outcome_or_notice_that_the_flight_was_abandoned() {
        let flights = Flights::new(100);
        let first = lead(&flights, 0);
        let waiter = wait(&flights, 100);
        let (outcome, _) = tokio::join!(waiter.wait(LONG), async { first.end(7) });
        assert_eq!(outcome.as_deref(), Some(&7));
        let second = lead(&flights, 0);
        let waiter = wait(&flights, 1);
        let (outcome, ()) = tokio::join!(waiter.wait(LONG), async { drop(second) });
        assert_eq!(outcome, None);
        drop(lead(&flights, 0));
    }

    #[tokio::test]
    async fn a_closed_or_old_flight_is_not_joined() {
        let flights = Flights::new(100);
        let first = lead(&flights, 0);
        flights.close(b"key");
        let second = lead(&flights, 1);
        first.end(1);
        let waiter = wait(&flights, 2);
        assert!(second.is_open());
        let third = lead(&flights, 102);
        assert!(!second.is_open());
        second.end(2);
        assert_eq!(waiter.wait(LONG).await.as_deref(), Some(&2));
        wait(&flights, 103);
        flights.close_all();
        let fourth = lead(&flights, 104);
        drop((third, fourth));
        drop(lead(&flights, 105));
    }
}
