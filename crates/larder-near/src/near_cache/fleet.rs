//! One load of a key in the whole fleet: the loads of all processes take turns by a text at the server ([`super::turn`]).
//!
//! The others ask for the value and for the turn alternately, with pauses that double; as long as the key is tracked,
//! the value is asked for in memory, which the server's invalidation empties when the holder has stored it.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use super::NearCache;
use super::turn::Turn;
use super::write::{Forgetting, Writing};
use crate::error::NearError;
use crate::key::{NearKey, turn_name};
use crate::lease::{nanoseconds, now_ns};
use crate::memory::{Held, Outcome};
use crate::stats::count;

/// The pauses of those that wait for their turn.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// How the wait for a turn has ended.
pub(super) enum Waited<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// This process is to load: it holds the turn, or has waited for as long as it may.
    Turn(HeldTurn<K, V>),
    /// Another process has loaded.
    Found(Held<V>),
    /// There are no turns, or the server does not give any: each process loads on its own.
    Alone,
}

/// A turn, which is given back when this is dropped: also when the loader panics, or its caller's future is dropped.
pub(super) struct HeldTurn<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    near: NearCache<K, V>,
    name: Vec<u8>,
    turn: Option<Turn>,
    runtime: Handle,
}

impl<K, V> HeldTurn<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    fn new(near: &NearCache<K, V>, name: &[u8], turn: Turn) -> Self {
        let runtime = Handle::current();
        Self { near: near.clone(), name: name.to_vec(), turn: Some(turn), runtime }
    }

    /// Gives the turn back, and waits until that is done.
    pub(super) async fn give_back(mut self) {
        if let Some(turn) = &self.turn {
            self.near.give_back(&self.name, turn).await;
        }
        self.turn = None;
    }
}

impl<K, V> Drop for HeldTurn<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        let Some(turn) = self.turn.take().filter(|turn| turn.is_own) else { return };
        let (near, name) = (self.near.clone(), std::mem::take(&mut self.name));
        // On a runtime that has ended, nothing comes of it, and the server ends the lease in time.
        self.runtime.spawn(async move { near.give_back(&name, &turn).await });
    }
}

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Waits for the turn of loading `key`, or until another process has loaded it.
    pub(super) async fn wait_for_turn(
        &self,
        key: &K,
        name: &[u8],
        is_absent: bool,
    ) -> Result<Waited<K, V>, NearError> {
        let settings = &self.shared.settings;
        let (Some(time), Some(turn)) = (settings.fleet_turn, turn_name(name)) else {
            return Ok(Waited::Alone);
        };
        let began_ns = now_ns();
        let mut pause = FIRST_PAUSE;
        loop {
            // A turn that cannot be had must keep nobody from its value.
            let Ok(found) = self.take_turn(name, &turn, time).await else {
                return Ok(Waited::Alone);
            };
            let is_own = found.is_own;
            let found = HeldTurn::new(self, name, found);
            if is_own {
                // The one before may have stored its value since this process has asked for it.
                if is_absent {
                    match self.held(key).await {
                        Ok(Held::Absent | Held::Unreadable) => {}
                        Ok(held) => {
                            found.give_back().await;
                            return Ok(Waited::Found(held));
                        }
                        Err(_) => return Ok(Waited::Alone),
                    }
                }
                return Ok(Waited::Turn(found));
            }
            if now_ns().saturating_sub(began_ns) >= nanoseconds(settings.load_patience) {
                return Ok(Waited::Turn(found));
            }
            drop(found);
            let random = RandomState::new().hash_one(began_ns);
            tokio::time::sleep(pause.mul_f64(0.5 + (random % 1024) as f64 / 2048.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let found = match self.lookup_uncounted(key) {
                Some(held) => held,
                None => self.held(key).await?,
            };
            if !matches!(found, Held::Absent | Held::Unreadable) {
                count(&self.shared.link.counters.shared);
                return Ok(Waited::Found(found));
            }
        }
    }

    /// Stores what a loader has found, if the fence lets it. Returns what is there.
    pub(super) async fn store_in_turn(
        &self,
        key: &K,
        name: &[u8],
        writing: Writing<V>,
        mut held_turn: HeldTurn<K, V>,
    ) -> Outcome<V> {
        let shared = &*self.shared;
        let held = writing.held.clone();
        shared.memory.forget_key(key, name);
        let forgetting = Forgetting::new(&shared.memory, key, name);
        let Some(turn) = &held_turn.turn else { return Ok(held) };
        let stored = self.store_if_fenced(name, &writing, turn).await;
        drop(forgetting);
        if stored.is_ok() {
            // It was ended with that, or was another's already.
            held_turn.turn = None;
        }
        match stored {
            Ok(true) => {
                count(&shared.link.counters.writes);
                Ok(held)
            }
            // Another process has loaded, or has changed the key, or does so now.
            Ok(false) => {
                count(&shared.link.counters.late_loads);
                match self.held(key).await {
                    Ok(Held::Absent | Held::Unreadable) | Err(_) => Ok(held),
                    Ok(there) => Ok(there),
                }
            }
            // The value was loaded, and its callers get it, whether or not the server has it.
            Err(_) => Ok(held),
        }
    }
}
