//! Turns: texts at the server, each beside the key of a value and in its slot, that say which process may load it.
//!
//! ```text
//! <generation> <when the lease ends, in microseconds of the server's clock>
//! ```
//!
//! | from | to | by | when |
//! |---|---|---|---|
//! | nobody's, over | held | a process | it takes the turn: the lease begins, with another generation |
//! | held | over | the server's clock | the lease has ended, because the holder is dead or late |
//! | held, over | nobody's | its holder | the value is stored, or the loader has failed |
//! | held, over | nobody's | any process | it changes the key, of which the holder may have loaded an older value |
//! | over | nobody's | the server | it has kept the text for long enough ([`kept_for`]) |
//!
//! **The generation is the fence.** It rises with each lease of a key: it is one more than the last, and at least the
//! server's time in microseconds. So it goes on rising where the text was removed, evicted, or lost by a failover, as
//! long as the server's clock does. The value of a holder is stored only in one step with finding its own generation. One
//! that comes after the end of its lease is stored if no other lease was given and the key was not changed since, so a
//! loader that always takes longer than its lease is of use nevertheless; any other is refused.
//!
//! Where scripts are refused, a text is compared by `WATCH`, `MULTI` and `EXEC` over a connection that is opened
//! for it, because the shared one carries the commands of other tasks in between.

use std::hash::Hash;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::NearCache;
use super::write::{Writing, millis};
use crate::error::NearError;
use crate::key::NearKey;
use crate::transport::{Command, Reply};

/// Takes the turn unless another process holds it. Returns whether it did, and the generation of the lease that is.
/// `KEYS[1]`: the turn. `ARGV`: for how long the lease is, and for how long the text is kept, in milliseconds.
const TAKE: &str = "local now = redis.call('TIME') \
    local now_us = now[1] * 1000000 + now[2] \
    local generation = now_us \
    local there = redis.call('GET', KEYS[1]) \
    if there then \
      local last, end_us = string.match(there, '^(%d+) (%d+)$') \
      if last then \
        if now_us < tonumber(end_us) then return {0, last} end \
        generation = math.max(generation, last + 1) \
      end \
    end \
    generation = string.format('%.0f', generation) \
    local end_us = string.format('%.0f', now_us + ARGV[1] * 1000) \
    redis.call('SET', KEYS[1], generation .. ' ' .. end_us, 'PX', ARGV[2]) \
    return {1, generation}";

/// Stores a value if no other lease was given and the key was not changed since, and ends the turn.
/// `KEYS`: the turn, and the key of the value. `ARGV`: the generation with the space after it, the value, its time to live
/// in milliseconds or an empty text, and `NX` or an empty text.
const STORE: &str = "local there = redis.call('GET', KEYS[1]) \
    if not there or string.sub(there, 1, #ARGV[1]) ~= ARGV[1] then return 0 end \
    redis.call('DEL', KEYS[1]) \
    local set = {'SET', KEYS[2], ARGV[2]} \
    if ARGV[3] ~= '' then set[#set + 1] = 'PX' set[#set + 1] = ARGV[3] end \
    if ARGV[4] ~= '' then set[#set + 1] = ARGV[4] end \
    if redis.call(unpack(set)) then return 1 end \
    return 0";

/// Ends the turn if it is still of that generation. `KEYS[1]`: the turn. `ARGV[1]`: the generation with the space.
const GIVE_BACK: &str = "local there = redis.call('GET', KEYS[1]) \
    if there and string.sub(there, 1, #ARGV[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end \
    return 0";

/// The longest lease. The sum of it and of the server's time is exact in the numbers of scripts.
const LONGEST_LEASE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The least time for which the text of a turn is kept.
const LEAST_KEPT: Duration = Duration::from_secs(60);

/// A turn, and the generation in which it was found.
pub(super) struct Turn {
    name: Vec<u8>,
    generation: String,
    /// Whether this process holds it. Another one that has no more patience may load too, in the generation of the
    /// holder: whichever of them is the first stores its value, and ends the turn of both.
    pub(super) is_own: bool,
}

impl Turn {
    /// What the text of the turn begins with as long as no other lease was given, and the key was not changed.
    fn mark(&self) -> Vec<u8> {
        [self.generation.as_bytes(), b" "].concat()
    }
}

/// For how long a holder that is late may find its generation.
fn kept_for(lease: Duration) -> Duration {
    lease.saturating_mul(10).max(LEAST_KEPT)
}

/// The text of a turn, as far as it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Text {
    generation: u64,
    end_us: u64,
}

impl Text {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (generation, end_us) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        Some(Self { generation: generation.parse().ok()?, end_us: end_us.parse().ok()? })
    }

    /// The text of the lease after this one.
    fn next(there: Option<Self>, now_us: u64, lease: Duration) -> Self {
        let least = there.map_or(0, |text| text.generation.saturating_add(1));
        let lease_us = u64::try_from(lease.as_micros()).unwrap_or(u64::MAX);
        Self { generation: now_us.max(least), end_us: now_us.saturating_add(lease_us) }
    }
}

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// Takes the turn called `turn` of the key called `name`, unless another process holds it.
    pub(super) async fn take_turn(
        &self,
        name: &[u8],
        turn: &[u8],
        lease: Duration,
    ) -> Result<Turn, NearError> {
        let lease = lease.min(LONGEST_LEASE);
        let script = Command::new("EVAL").arg(TAKE).arg("1").arg(turn);
        let script = script.arg(millis(lease).to_string()).arg(millis(kept_for(lease)).to_string());
        match self.eval(name, script).await? {
            Some(Reply::Array(parts)) => match &parts[..] {
                [Reply::Integer(taken), Reply::Bytes(generation)] => {
                    let generation = String::from_utf8_lossy(generation).into_owned();
                    Ok(Turn { name: turn.to_vec(), generation, is_own: *taken == 1 })
                }
                _ => Err(NearError::Unexpected),
            },
            Some(_) => Err(NearError::Unexpected),
            None => self.take_by_watching(name, turn, lease).await,
        }
    }

    /// The same without a script.
    async fn take_by_watching(
        &self,
        name: &[u8],
        turn: &[u8],
        lease: Duration,
    ) -> Result<Turn, NearError> {
        let look = vec![Command::new("TIME"), Command::new("GET").arg(turn)];
        let mut replies = self.shared.link.call(name, look).await?.replies;
        let (there, now_us) = match (replies.pop(), replies.pop()) {
            (Some(Reply::Refused(refusal)), _) | (_, Some(Reply::Refused(refusal))) => {
                return Err(NearError::Refused(refusal));
            }
            (Some(Reply::Nil), Some(time)) => (None, microseconds(&time)?),
            (Some(Reply::Bytes(text)), Some(time)) => (Some(text), microseconds(&time)?),
            _ => return Err(NearError::Unexpected),
        };
        let of_generation = |generation: u64, is_own| {
            Ok(Turn { name: turn.to_vec(), generation: generation.to_string(), is_own })
        };
        let text = there.as_deref().and_then(Text::parse);
        if let Some(text) = text.filter(|text| now_us < text.end_us) {
            return of_generation(text.generation, false);
        }
        let next = Text::next(text, now_us, lease);
        let kept = millis(kept_for(lease)).to_string();
        let bytes = format!("{} {}", next.generation, next.end_us);
        let set = Command::new("SET").arg(turn).arg(bytes).arg("PX").arg(kept);
        let is_taken = match there {
            None => {
                let answer = self.shared.link.call(name, vec![set.arg("NX")]).await?;
                match answer.replies.into_iter().next() {
                    Some(Reply::Status(_)) => true,
                    Some(Reply::Nil) => false,
                    Some(Reply::Refused(refusal)) => return Err(NearError::Refused(refusal)),
                    _ => return Err(NearError::Unexpected),
                }
            }
            Some(there) => {
                let is_same = |text: &[u8]| text == there;
                self.change_watched(name, turn, is_same, vec![set]).await?.is_some()
            }
        };
        // Another process was faster, in a generation that this one does not know, and in which it could store nothing.
        of_generation(next.generation, is_taken)
    }

    /// Ends a turn without a value, if it is this process's own. If that fails, the server ends the lease in time.
    pub(super) async fn give_back(&self, name: &[u8], turn: &Turn) {
        if !turn.is_own {
            return;
        }
        let script = Command::new("EVAL").arg(GIVE_BACK).arg("1").arg(&turn.name[..]);
        if let Ok(None) = self.eval(name, script.arg(turn.mark())).await {
            let _ = self.end_by_watching(name, turn, Vec::new()).await;
        }
    }

    /// Stores what a loader has found, unless another lease of the key was given, or the key was changed, since `turn`
    /// was taken. Says whether it did.
    pub(super) async fn store_if_fenced(
        &self,
        name: &[u8],
        writing: &Writing<V>,
        turn: &Turn,
    ) -> Result<bool, NearError> {
        #[cfg(test)]
        if self.shared.lease.has(crate::lease::Defect::Unfenced) {
            let set = vec![self.set_command(name, writing)];
            let answer = self.shared.link.call(name, set).await?;
            return Ok(matches!(answer.replies.first(), Some(Reply::Status(_))));
        }
        let script = Command::new("EVAL")
            .arg(STORE)
            .arg("2")
            .arg(&turn.name[..])
            .arg(name)
            .arg(turn.mark())
            .arg(&writing.bytes[..])
            .arg(writing.millis().unwrap_or_default())
            .arg(if writing.is_conditional { "NX" } else { "" });
        match self.eval(name, script).await? {
            Some(Reply::Integer(stored)) => Ok(stored == 1),
            Some(_) => Err(NearError::Unexpected),
            None => self.store_by_watching(name, writing, turn).await,
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

    /// Carries `commands` out and ends the turn, if its generation is still there. Returns the results.
    async fn end_by_watching(
        &self,
        name: &[u8],
        turn: &Turn,
        mut commands: Vec<Command>,
    ) -> Result<Option<Vec<Reply>>, NearError> {
        commands.push(Command::new("DEL").arg(&turn.name[..]));
        let mark = turn.mark();
        self.change_watched(name, &turn.name, |text| text.starts_with(&mark), commands).await
    }

    /// Carries `commands` out if `is_expected` holds for the text of the turn, and nobody changes it meanwhile. Returns
    /// the results.
    async fn change_watched(
        &self,
        name: &[u8],
        turn: &[u8],
        is_expected: impl Fn(&[u8]) -> bool,
        commands: Vec<Command>,
    ) -> Result<Option<Vec<Reply>>, NearError> {
        let connection = self.shared.link.open_exclusive(name).await?;
        let look = vec![Command::new("WATCH").arg(turn), Command::new("GET").arg(turn)];
        match self.shared.link.call_over(&connection, look).await?.pop() {
            Some(Reply::Bytes(text)) if is_expected(&text) => {}
            Some(Reply::Bytes(_) | Reply::Nil) => return Ok(None),
            Some(Reply::Refused(refusal)) => return Err(NearError::Refused(refusal)),
            _ => return Err(NearError::Unexpected),
        }
        let mut all = vec![Command::new("MULTI")];
        all.extend(commands);
        all.push(Command::new("EXEC"));
        match self.shared.link.call_over(&connection, all).await?.pop() {
            Some(Reply::Array(results)) => Ok(Some(results)),
            // The text was changed since.
            Some(Reply::Nil) => Ok(None),
            Some(Reply::Refused(refusal)) => Err(NearError::Refused(refusal)),
            _ => Err(NearError::Unexpected),
        }
    }
}

/// What the reply to `TIME` says: seconds and microseconds.
fn microseconds(time: &Reply) -> Result<u64, NearError> {
    let number = |reply: &Reply| match reply {
        Reply::Bytes(bytes) => u64::decode(bytes),
        _ => None,
    };
    let parts = match time {
        Reply::Array(parts) => &parts[..],
        _ => return Err(NearError::Unexpected),
    };
    match parts {
        [seconds, micros] => match (number(seconds), number(micros)) {
            (Some(seconds), Some(micros)) => {
                Ok(seconds.saturating_mul(1_000_000).saturating_add(micros))
            }
            _ => Err(NearError::Unexpected),
        },
        _ => Err(NearError::Unexpected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_rise_also_where_the_clock_goes_back_or_the_text_is_gone() {
        let lease = Duration::from_millis(5);
        let first = Text::next(None, 1_000, lease);
        assert_eq!(first, Text { generation: 1_000, end_us: 6_000 });
        let second = Text::next(Some(first), 500, lease);
        assert_eq!(second, Text { generation: 1_001, end_us: 5_500 });
        assert_eq!(Text::next(Some(second), 9_000, lease).generation, 9_000);
        let last = Text { generation: u64::MAX, end_us: 0 };
        assert_eq!(Text::next(Some(last), 1, Duration::MAX).end_us, u64::MAX);
    }

    #[test]
    fn a_text_that_is_none_of_a_turn_is_not_taken_for_one() {
        let text = Text::parse(b"1700000000000000 1700000000005000");
        let (generation, end_us) = (1_700_000_000_000_000, 1_700_000_000_005_000);
        assert_eq!(text, Some(Text { generation, end_us }));
        for wrong in [&b""[..], b"1", b"1 ", b" 1", b"x 1", b"1 x", b"1 -2", b"\xff 1", b"1 2 3"] {
            assert_eq!(Text::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(kept_for(Duration::from_millis(1)), LEAST_KEPT);
        assert_eq!(kept_for(Duration::from_secs(60)), Duration::from_secs(600));
    }

    #[test]
    fn the_reply_to_time_is_understood() {
        let text = |text: &str| Reply::Bytes(text.into());
        let time = Reply::Array(vec![text("1700000000"), text("12")]);
        assert_eq!(microseconds(&time).unwrap(), 1_700_000_000_000_012);
        for wrong in [
            Reply::Nil,
            Reply::Array(vec![text("1")]),
            Reply::Array(vec![text("1"), text("x")]),
            Reply::Array(vec![text("-1"), text("1")]),
            Reply::Array(vec![text("1"), Reply::Integer(1)]),
        ] {
            assert!(matches!(microseconds(&wrong), Err(NearError::Unexpected)), "{wrong:?}");
        }
        let most = Reply::Array(vec![text(&u64::MAX.to_string()), text("0")]);
        assert_eq!(microseconds(&most).unwrap(), u64::MAX);
    }
}
