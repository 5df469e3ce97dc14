//! One load of a key in the whole fleet: the loads of all processes take turns by a text at the server ([`super::turn`]).
//!
//! The others ask for the value and for the turn alternately, with pauses that double; as long as the key is tracked,
//! the value is asked for in memory, which the server's invalidation empties when the holder has stored it.

use std::error::Error;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use larder_store::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;

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
pub(super) enum Waited<V> {
    /// This process is to load: it holds the turn, or has waited for as long as it may.
    Turn(Turn),
    /// Another process has loaded.
    Found(Held<V>),
    /// There are no turns, or the server does not give any: each process loads on its own.
    Alone,
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
    ) -> Result<Waited<V>, NearError> {
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
            if found.is_own {
                // The one before may have stored its value since this process has asked for it.
                if is_absent {
                    match self.held(key).await {
                        Ok(Held::Absent | Held::Unreadable) => {}
                        Ok(held) => {
                            self.give_back(name, &found).await;
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
        turn: Turn,
    ) -> Outcome<V> {
        let shared = &*self.shared;
        let held = writing.held.clone();
        shared.memory.forget_key(key, name);
        let forgetting = Forgetting::new(&shared.memory, key, name);
        let stored = self.store_if_fenced(name, &writing, &turn).await;
        drop(forgetting);
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

    /// Runs a loader in the turn of this process.
    pub(super) async fn load_in_turn<L, E>(
        &self,
        name: &[u8],
        turn: &Turn,
        load: L,
    ) -> Result<Option<Record<V>>, NearError>
    where
        L: Future<Output = Result<Option<Record<V>>, E>>,
        E: Error + Send + Sync + 'static,
    {
        match load.await {
            Ok(loaded) => Ok(loaded),
            Err(error) => {
                self.give_back(name, turn).await;
                Err(NearError::Loader(Arc::new(error)))
            }
        }
    }
}
