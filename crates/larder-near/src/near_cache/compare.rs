//! Conditional writes: a value is written only if the server still has the one that was seen.
//!
//! Every envelope has a stamp of its own (`envelope`), so to compare stamps is to compare writes. A script of the
//! server compares and writes in one step. Servers that refuse scripts are asked by `WATCH` and `MULTI` over a
//! connection of their own, which one call uses at a time: a transaction of another call would end the watch.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use larder_store::Record;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::NearCache;
use super::change::{Turns, end_turn};
use super::write::{Forgetting, Writing};
use crate::envelope::{Content, version_of};
use crate::error::NearError;
use crate::key::NearKey;
use crate::memory::{Held, Outcome};
use crate::stats::count;
use crate::transport::{Command, NearConnection, Reply};

/// Which write of a key a value comes from; see [`NearCache::get_with_version`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValueVersion(Vec<u8>);

/// How a cache makes conditional writes.
#[derive(Default)]
pub(crate) struct Comparing {
    /// Whether the server has refused scripts.
    pub(crate) has_no_scripts: AtomicBool,
    /// The connection for `WATCH`, if one is open.
    exclusive: Mutex<Option<Arc<dyn NearConnection>>>,
}

/// `KEYS[1]`: the key. `ARGV`: the expected version ([`version_of`]), or nothing if there must be no value; the new
/// bytes; the time to live in milliseconds, or nothing.
const SCRIPT: &str = "local there = redis.call('GET', KEYS[1]) \
    local version = '' \
    if there and #there >= 10 and string.byte(there) == 1 then version = 'v' .. string.sub(there, 3, 10) \
    elseif there then version = 'w' .. there end \
    if version ~= ARGV[1] then return 0 end \
    if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) \
    else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end \
    return 1";

/// A conditional write on its way.
struct Comparison<'c> {
    name: &'c [u8],
    expected: Option<&'c ValueVersion>,
    bytes: Vec<u8>,
    millis: Option<String>,
}

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// The value that the server has under `key`, and the version of what is there, for
    /// [`set_if`](Self::set_if). It always asks the server.
    ///
    /// There may be a version without a value: when a loader has found none, when a tag was invalidated, or when
    /// the bytes cannot be read.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub async fn get_with_version(
        &self,
        key: &K,
    ) -> Result<(Option<V>, Option<ValueVersion>), NearError> {
        let shared = &*self.shared;
        let name = shared.memory.name(key);
        self.settle_key(&name).await?;
        let get = Command::new("GET").arg(&name[..]);
        let answer = shared.link.call(&name, vec![get]).await?;
        let bytes = match answer.replies.into_iter().next() {
            Some(Reply::Nil) => return Ok((None, None)),
            Some(Reply::Bytes(bytes)) => bytes,
            Some(Reply::Refused(refusal)) => return Err(NearError::Refused(refusal)),
            _ => return Err(NearError::Unexpected),
        };
        let version = Some(ValueVersion(version_of(&bytes)));
        let Ok(unpacked) = shared.envelopes.unpack(&bytes) else {
            count(&shared.link.counters.unreadable);
            return Ok((None, version));
        };
        let is_valid = self.have_stamps(&[&unpacked.tags]).await? == [true];
        match unpacked.content {
            Content::Value(value) if is_valid => Ok((Some(value), version)),
            _ => Ok((None, version)),
        }
    }

    /// Stores `record` under `key` if the server still has what
    /// [`get_with_version`](Self::get_with_version) has returned, and `None` stands for nothing. Returns the version
    /// of the new value, or `None` if the condition did not hold, and nothing was written.
    ///
    /// The value is not put into memory, whatever the [`WriteMode`](crate::WriteMode): the next read asks the server.
    ///
    /// # Errors
    /// As [`set_record`](Self::set_record).
    pub async fn set_if(
        &self,
        key: &K,
        expected: Option<&ValueVersion>,
        record: impl Into<Record<V>>,
    ) -> Result<Option<ValueVersion>, NearError> {
        let memory = &*self.shared.memory;
        let name = memory.name(key);
        let writing = self.writing(record.into(), false).await?;
        let version = ValueVersion(version_of(&writing.bytes));
        let millis = writing.time_to_live.map(|it| super::write::millis(it).to_string());
        let comparison = Comparison { name: &name, expected, bytes: writing.bytes, millis };
        self.settle_key(&name).await?;
        memory.forget_key(key, &name);
        // Drops after the reply, or with the future.
        let _forgetting = Forgetting { memory, key, name: &name, is_done: false };
        if self.turns() == Turns::End {
            end_turn(&self.shared.link, &name).await?;
        }
        let has_written = self.compare_and_write(&comparison).await?;
        if has_written {
            count(&self.shared.link.counters.writes);
        }
        Ok(has_written.then_some(version))
    }

    /// Stores what a loader has found, unless the server has by now another value than the one to be replaced, or any
    /// if there is none. Returns what is there.
    pub(super) async fn store_loaded(
        &self,
        key: &K,
        name: &[u8],
        writing: Writing<V>,
        replaced: Option<ValueVersion>,
    ) -> Outcome<V> {
        let held = writing.held.clone();
        let stored = match replaced {
            None => self.write(key, name, writing).await,
            Some(version) => self.replace(key, name, writing, &version).await,
        };
        match stored {
            // Another process was faster.
            Ok(false) => match self.held(key).await? {
                Held::Absent | Held::Unreadable => Ok(held),
                there => Ok(there),
            },
            // The value was loaded, and its callers get it, whether or not the server has it.
            Ok(true) | Err(_) => Ok(held),
        }
    }

    /// Writes what a loader has found in the place of `version`. Returns whether that was there.
    async fn replace(
        &self,
        key: &K,
        name: &[u8],
        writing: Writing<V>,
        version: &ValueVersion,
    ) -> Result<bool, NearError> {
        let memory = &*self.shared.memory;
        memory.forget_key(key, name);
        // Drops after the reply, or with the future.
        let _forgetting = Forgetting::new(memory, key, name);
        let millis = writing.millis();
        let (expected, bytes) = (Some(version), writing.bytes);
        let has_written =
            self.compare_and_write(&Comparison { name, expected, bytes, millis }).await?;
        if has_written {
            count(&self.shared.link.counters.writes);
        }
        Ok(has_written)
    }

    async fn compare_and_write(&self, comparison: &Comparison<'_>) -> Result<bool, NearError> {
        match self.eval(comparison.name, comparison.script()).await? {
            Some(Reply::Integer(written)) => Ok(written == 1),
            Some(_) => Err(NearError::Unexpected),
            None => self.watch_and_write(comparison).await,
        }
    }

    /// What the server answers to a script about the key called `name`. `None` if it refuses scripts: then the caller
    /// compares by `WATCH`.
    pub(super) async fn eval(
        &self,
        name: &[u8],
        script: Command,
    ) -> Result<Option<Reply>, NearError> {
        let has_no_scripts = &self.shared.comparing.has_no_scripts;
        // Relaxed: a hint; whichever way is taken, the outcome is the same.
        if has_no_scripts.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let answer = self.shared.link.call(name, vec![script]).await?;
        match answer.replies.into_iter().next() {
            Some(Reply::Refused(refusal)) if is_no_script(&refusal) => {
                has_no_scripts.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal)),
            Some(reply) => Ok(Some(reply)),
            None => Err(NearError::Unexpected),
        }
    }

    /// The same without a script.
    async fn watch_and_write(&self, comparison: &Comparison<'_>) -> Result<bool, NearError> {
        let link = &self.shared.link;
        let waited = self.shared.settings.call_timeout;
        let exclusive = timeout(waited, self.shared.comparing.exclusive.lock()).await;
        let mut exclusive = exclusive.map_err(|_| NearError::TimedOut { waited })?;
        // If the call fails or is dropped, so is the connection.
        let (connection, there) = self.watch(comparison.name, exclusive.take()).await?;
        let is_expected = there.as_ref() == comparison.expected;
        let commands = match is_expected {
            true => vec![Command::new("MULTI"), comparison.set(), Command::new("EXEC")],
            false => vec![Command::new("UNWATCH")],
        };
        let last = link.call_over(&connection, commands).await?;
        let refused = last.iter().find_map(|reply| match reply {
            Reply::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        });
        let has_written = match (refused, last.last()) {
            (Some(refusal), _) => return Err(NearError::Refused(refusal)),
            (None, Some(Reply::Array(results))) if is_expected => match results.first() {
                Some(Reply::Status(_)) => true,
                Some(Reply::Refused(refusal)) => return Err(NearError::Refused(refusal.clone())),
                _ => return Err(NearError::Unexpected),
            },
            // Changed after `WATCH`, or not as expected before.
            (None, Some(Reply::Nil)) if is_expected => false,
            (None, Some(Reply::Status(_))) if !is_expected => false,
            (None, _) => return Err(NearError::Unexpected),
        };
        // Elsewhere, the next key may be another server's.
        if link.is_of_one_server() {
            *exclusive = Some(connection);
        }
        Ok(has_written)
    }

    /// Watches a key, and returns the version of what is there; over `kept`, unless that has ended meanwhile.
    async fn watch(
        &self,
        name: &[u8],
        kept: Option<Arc<dyn NearConnection>>,
    ) -> Result<(Arc<dyn NearConnection>, Option<ValueVersion>), NearError> {
        let link = &self.shared.link;
        let watch = || vec![Command::new("WATCH").arg(name), Command::new("GET").arg(name)];
        let known = match kept {
            Some(kept) => link.call_over(&kept, watch()).await.ok().map(|replies| (kept, replies)),
            None => None,
        };
        let (connection, mut replies) = match known {
            Some(known) => known,
            None => {
                let connection = link.open_exclusive(name).await?;
                let replies = link.call_over(&connection, watch()).await?;
                (connection, replies)
            }
        };
        match replies.pop() {
            Some(Reply::Nil) => Ok((connection, None)),
            Some(Reply::Bytes(bytes)) => Ok((connection, Some(ValueVersion(version_of(&bytes))))),
            Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal)),
            _ => Err(NearError::Unexpected),
        }
    }
}

impl Comparison<'_> {
    fn script(&self) -> Command {
        let expected = match self.expected {
            Some(version) => version.0.clone(),
            None => Vec::new(),
        };
        Command::new("EVAL")
            .arg(SCRIPT)
            .arg("1")
            .arg(self.name)
            .arg(expected)
            .arg(&self.bytes[..])
            .arg(self.millis.as_deref().unwrap_or_default())
    }

    fn set(&self) -> Command {
        let set = Command::new("SET").arg(self.name).arg(&self.bytes[..]);
        match &self.millis {
            Some(millis) => set.arg("PX").arg(millis.as_str()),
            None => set,
        }
    }
}

/// Whether the server has refused the command `EVAL`, and not what the script did: a user who may run scripts, and
/// not what they call, may do so later. Refusals for other reasons have codes of their own, such as `OOM command not
/// allowed`.
fn is_no_script(refusal: &str) -> bool {
    let refusal = refusal.to_lowercase();
    let says = |what: &str| refusal.contains(what);
    // What a script has met with names the script.
    if says("user_script") || says("running script") || says("executing the script") {
        return false;
    }
    // It names the command, and not a key that may not be used.
    (refusal.starts_with("noperm") && says("'eval'"))
        || (refusal.starts_with("err")
            && ["unknown command", "not allowed", "disabled", "not built in"]
                .iter()
                .any(|it| says(it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_scripts_is_one() {
        for refusal in [
            "ERR unknown command 'EVAL', with args beginning with: ",
            "NOPERM User default has no permissions to run the 'eval' command",
            "NOPERM this user has no permissions to run the 'eval' command or its subcommand",
            "ERR EVAL is disabled",
            "ERR scripts are not built in; build with the feature 'scripts'",
        ] {
            assert!(is_no_script(refusal), "{refusal}");
        }
        for refusal in [
            "OOM command not allowed when used memory > 'maxmemory'.",
            "READONLY You can't write against a read only replica.",
            "ERR value is not an integer or out of range",
            "NOPERM this user has no permissions to access one of the keys used as arguments",
            "NOPERM The user executing the script can't run this command or subcommand script: \
             f00, on @user_script:1.",
            "ERR The user executing the script can't run this command or subcommand script: f00, \
             on @user_script:1.",
            "ERR Error running script (call to f_f00): @user_script:1: @user_script: 1: This Redis \
             command is not allowed from scripts",
        ] {
            assert!(!is_no_script(refusal), "{refusal}");
        }
    }
}
