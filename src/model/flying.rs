//! Flights of a key that several callers want, and that is changed meanwhile.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Keep, Watched, table};
use crate::base::hash::KeyHash;
use crate::base::sync::{self, AtomicUsize, Mutex, Ordering};
use crate::engine::fills::{Fills, OpenFill};
use crate::engine::flight::{Flight, Leader, Outcome, Role, Waiter};
use crate::reclaim::pin;
use crate::table::Table;
use crate::task::Parker;

/// A table with flights, and the database that loaders read.
pub struct Flying {
    table: Table<u64, Watched>,
    fills: Arc<Fills<Flight<u64, u64>>>,
    row: Mutex<u64>,
    /// How many loaders have run.
    loads: AtomicUsize,
    keep: Keep,
}

/// A flight whose loader has not returned.
pub struct Boarded(Leader<u64, u64>);

impl Default for Flying {
    fn default() -> Self {
        let (row, loads) = (Mutex::new(0), AtomicUsize::new(0));
        Self { table: table(), fills: Fills::new(), row, loads, keep: Keep::default() }
    }
}

impl Flying {
    /// Writes the row of the database.
    pub fn write_row(&self, value: u64) {
        *sync::lock(&self.row) = value;
    }

    pub fn get(&self, key: u64) -> Option<u64> {
        let guard = pin();
        let (entry, found) =
            self.table.get(KeyHash::from_raw(key), |other| *other == key, &guard)?;
        (!entry.is_unconfirmed()).then(|| found.value.read())
    }

    /// As `get_or_insert_with`, whose loader reads the row.
    pub fn get_or_load(&self, key: u64) -> u64 {
        self.get(key).unwrap_or_else(|| self.load_missing(key))
    }

    /// The same, from after the miss on.
    pub fn load_missing(&self, key: u64) -> u64 {
        let parker = Parker::new();
        loop {
            match self.join(key) {
                Role::Leader(leader) => {
                    if let Some(value) = self.get(key) {
                        leader.end(|| Outcome::Unneeded);
                        return value;
                    }
                    return self.complete(Boarded(leader));
                }
                Role::Waiter(waiter) => {
                    if let Some(value) = self.wait(key, waiter, &parker) {
                        return value;
                    }
                }
            }
        }
    }

    fn join(&self, key: u64) -> Role<u64, u64> {
        self.fills.join_flight(KeyHash::from_raw(key), key, u64::MAX)
    }

    fn wait(&self, key: u64, mut waiter: Waiter<u64, u64>, parker: &Parker) -> Option<u64> {
        loop {
            let Some(outcome) = waiter.poll(parker.waker()) else {
                parker.park();
                continue;
            };
            return match &*outcome {
                Outcome::Value(value) => Some(*value),
                Outcome::Unneeded => self.get(key),
                _ => None,
            };
        }
    }

    /// Joins the flight of the key, gives it up if it has not ended, and loads.
    pub fn give_up_and_load(&self, key: u64) -> u64 {
        if let Role::Waiter(mut waiter) = self.join(key)
            && waiter.poll(Parker::new().waker()).is_none()
        {
            waiter.give_up();
        }
        self.get_or_load(key)
    }

    /// Begins a flight that no other caller has begun.
    pub fn lead(&self, key: u64) -> Boarded {
        match self.join(key) {
            Role::Leader(leader) => Boarded(leader),
            Role::Waiter(_) => panic!("another flight is open"),
        }
    }

    /// Reads the row, and ends the flight.
    pub fn complete(&self, led: Boarded) -> u64 {
        let Boarded(leader) = led;
        self.loads.fetch_add(1, Ordering::Relaxed);
        let value = *sync::lock(&self.row);
        self.store(leader.fill(), *leader.key(), value);
        leader.end(|| Outcome::Value(value));
        value
    }

    /// As `store_loaded`, which replaces what it finds.
    fn store(&self, fill: &OpenFill<Flight<u64, u64>>, key: u64, value: u64) {
        let mut new = self.keep.entry(key, value);
        loop {
            let guard = pin();
            let found = self.table.get(fill.hash, |other| *other == key, &guard);
            let Some((old, _)) = found else {
                new.as_ptr().set_unconfirmed();
                match self.table.insert_if_absent(new, |_| true, &guard) {
                    Ok(new) => {
                        self.keep.keep(new);
                        let confirm = || {
                            new.confirm();
                            true
                        };
                        if fill.confirm(confirm).is_none() {
                            self.table.remove_entry(new, &guard);
                        }
                        return;
                    }
                    Err((unused, _)) => new = unused,
                }
                continue;
            };
            let mut incoming = Some(new);
            let confirmed = fill.confirm(|| {
                let Some(new) = incoming.take() else { return false };
                new.as_ptr().confirm();
                match self.table.replace_entry(old, new, &guard) {
                    Ok(new) => {
                        self.keep.keep(new);
                        true
                    }
                    Err(unused) => {
                        incoming = Some(unused);
                        false
                    }
                }
            });
            match incoming {
                Some(unused) if confirmed.is_some() => new = unused,
                _ => return,
            }
        }
    }

    /// As `insert`.
    pub fn insert(&self, key: u64, value: u64) {
        let new = self.keep.entry(key, value);
        self.fills.mark(KeyHash::from_raw(key));
        let (new, _) = self.table.upsert(new, |_, _| true, &pin()).ok().expect("nothing declines");
        self.keep.keep(new);
    }

    pub fn remove(&self, key: u64) {
        self.fills.mark(KeyHash::from_raw(key));
        self.table.remove(KeyHash::from_raw(key), |other| *other == key, |_| true, &pin());
    }

    /// How many loaders have run, once all threads have ended.
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }
}
