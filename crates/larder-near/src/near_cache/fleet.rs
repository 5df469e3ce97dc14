//! One load of a key in the whole fleet: the loads of all processes take turns by a **turn** at the server, a key
//! beside that of the value, in the same slot.
//!
//! | from | to | by | when |
//! |---|---|---|---|
//! | nobody's | held | a process | `SET NX PX` with a token that only this attempt has |
//! | held | nobody's | its holder | the value is stored, or the loader has failed; in one step with the comparison of the token |
//! | held | nobody's | the server | the time of the turn is over, because the holder is dead or late |
//! | held | nobody's | any process | it removes the key, of which the holder may have loaded an older value |
//!
//! The token is the fence: the value of a holder is stored only in one step with finding the holder's own token, so
//! one that comes late, after its turn is over or another has it, stores nothing. The others ask for the value and
//! for the turn alternately, with pauses that double; as long as the key is tracked, the value is asked for in
//! memory, which the server's invalidation empties when the holder has stored it.
//!
//! Where scripts are refused, the comparison is made by `WATCH`, `MULTI` and `EXEC` over a connection that is opened
//! for it, because the shared one carries the commands of other tasks in between.

use std::error::Error;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use larder_store::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NearCache;
use super::compare::is_no_script;
use super::write::{Forgetting, Writing, millis};
use crate::error::NearError;
use crate::key::{NearKey, turn_name};
use crate::lease::{nanoseconds, now_ns};
use crate::memory::{Held, Outcome};
use crate::stats::count;
use crate::transport::{Command, Reply};

/// The pauses of those that wait for their turn.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Stores a value if the turn is the caller's, and ends the turn.
/// The keys are those of the turn and of the value; the arguments are the token, the value, its time to live in
/// milliseconds or an empty text, and `NX` or an empty text.
const STORE: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
redis.call('DEL', KEYS[1]) \
local set = {'SET', KEYS[2], ARGV[2]} \
if ARGV[3] ~= '' then set[#set + 1] = 'PX' set[#set + 1] = ARGV[3] end \
if ARGV[4] ~= '' then set[#set + 1] = ARGV[4] end \
if redis.call(unpack(set)) then return 1 end \
return 0";

/// Ends the turn if it is the caller's.
const GIVE_BACK: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// A turn that this process has got.
pub(super) struct Turn {
    name: Vec<u8>,
    token: String,
}

/// How the wait for a turn has ended.
pub(super) enum Waited<V> {
    /// This process is to load.
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
        let millis = millis(time).to_string();
        let token = token();
        let began_ns = now_ns();
        let mut pause = FIRST_PAUSE;
        loop {
            let take = Command::new("SET").arg(&turn[..]).arg(token.as_bytes()).arg("NX").arg("PX");
            let answer = self.shared.link.call(name, vec![take.arg(millis.as_bytes())]).await;
            match answer.map(|answer| answer.replies.into_iter().next()) {
                Ok(Some(Reply::Status(_))) => {
                    let taken = Turn { name: turn, token };
                    // The one before may have stored its value since this process has asked for it.
                    if is_absent {
                        match self.held(key).await {
                            Ok(Held::Absent | Held::Unreadable) => {}
                            Ok(found) => {
                                self.give_back(name, &taken).await;
                                return Ok(Waited::Found(found));
                            }
                            Err(_) => return Ok(Waited::Alone),
                        }
                    }
                    return Ok(Waited::Turn(taken));
                }
                Ok(Some(Reply::Nil)) => {}
                // A turn that cannot be had must keep nobody from its value.
                Ok(_) | Err(_) => return Ok(Waited::Alone),
            }
            if now_ns().saturating_sub(began_ns) >= nanoseconds(settings.load_patience) {
                return Ok(Waited::Alone);
            }
            let random = RandomState::new().hash_one(&token);
            tokio::time::sleep(pause.mul_f64(0.5 + (random % 1024) as f64 / 2048.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let found = match self.lookup(key) {
                Some(held) => held,
                None => self.held(key).await?,
            };
            if !matches!(found, Held::Absent | Held::Unreadable) {
                count(&self.shared.link.counters.shared);
                return Ok(Waited::Found(found));
            }
        }
    }

    /// Ends a turn without a value. If that fails, the server ends the turn in time.
    pub(super) async fn give_back(&self, name: &[u8], turn: &Turn) {
        let eval = Command::new("EVAL").arg(GIVE_BACK).arg("1").arg(&turn.name[..]);
        let given = self.shared.link.call(name, vec![eval.arg(turn.token.as_bytes())]).await;
        let refusal = match given.map(|answer| answer.replies.into_iter().next()) {
            Ok(Some(Reply::Refused(refusal))) => refusal,
            _ => return,
        };
        if is_no_script(&refusal) {
            let _ = self.end_by_watching(name, turn, Vec::new()).await;
        }
    }

    /// Stores what a loader has found if the turn is still this process's. Returns what is there.
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
        let stored = self.store_if_held(name, &writing, &turn).await;
        drop(forgetting);
        match stored {
            Ok(true) => {
                count(&shared.link.counters.writes);
                Ok(held)
            }
            // Another process has stored its value, or will.
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

    async fn store_if_held(
        &self,
        name: &[u8],
        writing: &Writing<V>,
        turn: &Turn,
    ) -> Result<bool, NearError> {
        let eval = Command::new("EVAL")
            .arg(STORE)
            .arg("2")
            .arg(&turn.name[..])
            .arg(name)
            .arg(turn.token.as_bytes())
            .arg(&writing.bytes[..])
            .arg(writing.millis().unwrap_or_default())
            .arg(if writing.is_conditional { "NX" } else { "" });
        let answer = self.shared.link.call(name, vec![eval]).await?;
        match answer.replies.into_iter().next() {
            Some(Reply::Integer(stored)) => Ok(stored == 1),
            Some(Reply::Refused(refusal)) if is_no_script(&refusal) => {
                self.store_by_watching(name, writing, turn).await
            }
            Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal)),
            _ => Err(NearError::Unexpected),
        }
    }

    async fn store_by_watching(
        &self,
        name: &[u8],
        writing: &Writing<V>,
        turn: &Turn,
    ) -> Result<bool, NearError> {
        let set = self.set_command(name, writing);
        match self.end_by_watching(name, turn, vec![set]).await? {
            Some(results) => match results.first() {
                Some(Reply::Status(_)) => Ok(true),
                Some(Reply::Nil) => Ok(false),
                _ => Err(NearError::Unexpected),
            },
            None => Ok(false),
        }
    }

    /// Carries `commands` out and ends the turn, if it is still this process's. Returns the results.
    async fn end_by_watching(
        &self,
        name: &[u8],
        turn: &Turn,
        commands: Vec<Command>,
    ) -> Result<Option<Vec<Reply>>, NearError> {
        let connection = self.shared.link.open_exclusive(name).await?;
        let watch = Command::new("WATCH").arg(&turn.name[..]);
        let get = Command::new("GET").arg(&turn.name[..]);
        let replies = self.shared.link.call_over(&connection, vec![watch, get]).await?;
        match replies.last() {
            Some(Reply::Bytes(token)) if token == turn.token.as_bytes() => {}
            Some(Reply::Bytes(_) | Reply::Nil) => return Ok(None),
            Some(Reply::Refused(refusal)) => return Err(NearError::Refused(refusal.clone())),
            _ => return Err(NearError::Unexpected),
        }
        let mut all = vec![Command::new("MULTI")];
        all.extend(commands);
        all.push(Command::new("DEL").arg(&turn.name[..]));
        all.push(Command::new("EXEC"));
        match self.shared.link.call_over(&connection, all).await?.pop() {
            Some(Reply::Array(results)) => Ok(Some(results)),
            // The turn was ended or taken since.
            Some(Reply::Nil) => Ok(None),
            Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal)),
            _ => Err(NearError::Unexpected),
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

/// A text that no other attempt of any process has.
fn token() -> String {
    // The keys of each state are random, and differ from those of the last.
    let part = || RandomState::new().hash_one(now_ns());
    format!("{:016x}{:016x}{:08x}", part(), part(), std::process::id())
}
