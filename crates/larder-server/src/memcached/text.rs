//! The commands of the text protocol.
#![forbid(unsafe_code)]

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::MemcachedSession;
use super::error::MemcachedError;
use super::line::{Expires, check_key, number};
use crate::conversation;
use crate::decimal::push_decimal;
use crate::error::CommandError;
use crate::hub::ChangeKind;
use crate::identity::SERVER_VERSION;
use crate::stats::MemcachedCount;
use crate::store::{Db, Decision, Lifetime, SetCondition};
use crate::value::{Freshness, Value};
use crate::version::{CasToken, Version};

/// The result of storing a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storing {
    Done,
    Refused,
    /// The version is not the one that was given.
    Exists,
    NotFound,
}

impl Storing {
    fn line(self) -> &'static [u8] {
        match self {
            Self::Done => b"STORED\r\n",
            Self::Refused => b"NOT_STORED\r\n",
            Self::Exists => b"EXISTS\r\n",
            Self::NotFound => b"NOT_FOUND\r\n",
        }
    }
}

/// Where new data goes beside old data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl MemcachedSession {
    pub(super) fn execute_text(
        &mut self,
        name: &[u8],
        args: &[&[u8]],
        data: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), MemcachedError> {
        // The last word of these commands can suppress the answer.
        let start = output.len();
        let is_quiet = args.last() == Some(&b"noreply".as_slice());
        let rest = if is_quiet { &args[..args.len() - 1] } else { args };
        match name {
            b"get" => return self.get(args, None, false, output),
            b"gets" => return self.get(args, None, true, output),
            b"gat" | b"gats" => {
                let (time, keys) = args.split_first().ok_or(MemcachedError::UnknownCommand)?;
                let expires = Expires::from_seconds(number(time).ok_or(MemcachedError::BadTime)?);
                self.count(MemcachedCount::Touch);
                return self.get(keys, Some(expires), name == b"gats", output);
            }
            b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => {
                let stored = self.store(name, rest, data)?;
                output.extend_from_slice(stored.line());
            }
            b"incr" | b"decr" => self.count_text(name == b"incr", rest, output)?,
            b"touch" => self.touch(rest, output)?,
            b"delete" => self.delete(rest, output)?,
            b"flush_all" => self.flush_all(rest, output)?,
            b"verbosity" if !args.is_empty() => {
                let level = rest.first().and_then(|level| number::<u32>(level));
                level.ok_or(MemcachedError::BadLine)?;
                output.extend_from_slice(b"OK\r\n");
            }
            b"version" => {
                let _ = write!(output, "VERSION {SERVER_VERSION}\r\n");
            }
            b"stats" => self.stats_text(args, output)?,
            b"quit" => self.closes = true,
            _ => {
                self.closes = conversation::is_web_request(name);
                return Err(MemcachedError::UnknownCommand);
            }
        }
        if is_quiet {
            output.truncate(start);
        }
        Ok(())
    }

    fn get(
        &self,
        keys: &[&[u8]],
        expires: Option<Expires>,
        with_version: bool,
        output: &mut Vec<u8>,
    ) -> Result<(), MemcachedError> {
        if keys.is_empty() {
            return Err(MemcachedError::UnknownCommand);
        }
        for key in keys {
            check_key(key)?;
        }
        for key in keys {
            let found = self.db().read(key, |value| write_value(output, key, value, with_version));
            let is_hit = found == Some(true);
            self.count_lookup(is_hit);
            // After the read: a time that has passed removes the value, which the client gets nevertheless.
            if let Some(expires) = expires.filter(|_| is_hit) {
                self.db().expire(key, expires.ttl(), |_| true)?;
            }
        }
        output.extend_from_slice(b"END\r\n");
        Ok(())
    }

    fn store(&self, name: &[u8], args: &[&[u8]], data: &[u8]) -> Result<Storing, MemcachedError> {
        let is_cas = name == b"cas";
        let (key, flags, time, token) = match args {
            [key, flags, time, _] if !is_cas => (key, flags, time, None),
            [key, flags, time, _, token] if is_cas => {
                let token = number(token).ok_or(MemcachedError::BadLine)?;
                (key, flags, time, Some(CasToken::from_number(token)))
            }
            _ => return Err(MemcachedError::UnknownCommand),
        };
        check_key(key)?;
        let flags = number(flags).ok_or(MemcachedError::BadLine)?;
        let expires = Expires::from_seconds(number(time).ok_or(MemcachedError::BadLine)?);
        self.count(MemcachedCount::Set);
        let db = self.db();
        let value = || Value::with_flags(data.into(), flags);
        let stored = match (name, token) {
            (_, Some(token)) => self.compare_and_set(key, token, value, expires.lifetime())?,
            (b"append", _) => self.join(key, data, Side::After, None, None, |_| ())?,
            (b"prepend", _) => self.join(key, data, Side::Before, None, None, |_| ())?,
            _ => {
                let condition = match name {
                    b"add" => SetCondition::IfAbsent,
                    b"replace" => SetCondition::IfPresent,
                    _ => SetCondition::Always,
                };
                match db.set(key, value(), expires.lifetime(), condition, ChangeKind::SET)? {
                    true => Storing::Done,
                    false => Storing::Refused,
                }
            }
        };
        if stored == Storing::Done {
            self.leases().give_up(&db.owned_key(key));
        }
        Ok(stored)
    }

    /// Replaces the value whose version the token names.
    pub(super) fn compare_and_set(
        &self,
        key: &[u8],
        token: CasToken,
        value: impl Fn() -> Value,
        lifetime: Lifetime,
    ) -> Result<Storing, CommandError> {
        let stored = self.db().change(key, lifetime, ChangeKind::SET, |old| {
            Ok(match old {
                None => Decision::Keep(Storing::NotFound),
                Some(old) if !token.names(old.version()) => Decision::Keep(Storing::Exists),
                Some(_) => Decision::Put(value(), Storing::Done),
            })
        })?;
        self.count(match stored {
            Storing::Done => MemcachedCount::CasHits,
            Storing::Exists => MemcachedCount::CasBadVersion,
            _ => MemcachedCount::CasMisses,
        });
        Ok(stored)
    }

    /// Joins data to a value, if its version is the named one or none is named. The new value gets `explicit` as its
    /// version, if that is given; `joined` is called with it, maybe more than once, the last time with the one that is
    /// stored.
    pub(super) fn join(
        &self,
        key: &[u8],
        data: &[u8],
        side: Side,
        compared: Option<CasToken>,
        explicit: Option<Version>,
        mut joined: impl FnMut(&Value),
    ) -> Result<Storing, CommandError> {
        let max = self.shared.settings().max_argument_bytes.as_usize();
        self.db().change(key, Lifetime::Keep, ChangeKind::string("append"), |old| {
            let Some(old) = old else { return Ok(Decision::Keep(Storing::Refused)) };
            if compared.is_some_and(|token| !token.names(old.version())) {
                return Ok(Decision::Keep(Storing::Exists));
            }
            let bytes = old.as_bytes().ok_or(CommandError::WrongType)?;
            if bytes.len() + data.len() > max {
                return Err(CommandError::StringTooLong);
            }
            let both = match side {
                Side::Before => [data, bytes].concat(),
                Side::After => [bytes, data].concat(),
            };
            let value = Value::with_flags(both.into_boxed_slice(), old.flags());
            let value = explicit.map_or_else(|| value.clone(), |it| value.clone().with_version(it));
            joined(&value);
            Ok(Decision::Put(value, Storing::Done))
        })
    }

    fn count_text(
        &self,
        is_increment: bool,
        args: &[&[u8]],
        output: &mut Vec<u8>,
    ) -> Result<(), MemcachedError> {
        let [key, delta] = args else { return Err(MemcachedError::UnknownCommand) };
        check_key(key)?;
        let delta: u64 = number(delta).ok_or(MemcachedError::BadDelta)?;
        let counted =
            self.db().change(key, Lifetime::Keep, ChangeKind::string("incrby"), |old| {
                let Some(old) = old else { return Ok(Decision::Keep(None)) };
                let sum = counted(old, is_increment, delta)?;
                Ok(Decision::Put(number_in_place_of(old, sum), Some(sum)))
            })?;
        let counts = match is_increment {
            true => [MemcachedCount::IncrMisses, MemcachedCount::IncrHits],
            false => [MemcachedCount::DecrMisses, MemcachedCount::DecrHits],
        };
        self.count(counts[usize::from(counted.is_some())]);
        let _ = match counted {
            Some(sum) => write!(output, "{sum}\r\n"),
            None => write!(output, "NOT_FOUND\r\n"),
        };
        Ok(())
    }

    fn touch(&self, args: &[&[u8]], output: &mut Vec<u8>) -> Result<(), MemcachedError> {
        let [key, time] = args else { return Err(MemcachedError::UnknownCommand) };
        check_key(key)?;
        let expires = Expires::from_seconds(number(time).ok_or(MemcachedError::BadTime)?);
        self.count(MemcachedCount::Touch);
        let is_there = self.db().contains(key);
        self.db().expire(key, expires.ttl(), |_| true)?;
        self.count(match is_there {
            true => MemcachedCount::TouchHits,
            false => MemcachedCount::TouchMisses,
        });
        let line: &[u8] = if is_there { b"TOUCHED\r\n" } else { b"NOT_FOUND\r\n" };
        output.extend_from_slice(line);
        Ok(())
    }

    fn delete(&self, args: &[&[u8]], output: &mut Vec<u8>) -> Result<(), MemcachedError> {
        // Old clients send a time of 0.
        let key = match args {
            [] => return Err(MemcachedError::UnknownCommand),
            [key] | [key, b"0"] => key,
            _ => return Err(MemcachedError::BadLine),
        };
        check_key(key)?;
        let is_removed = self.db().remove(key);
        self.leases().give_up(&self.db().owned_key(key));
        self.count(match is_removed {
            true => MemcachedCount::DeleteHits,
            false => MemcachedCount::DeleteMisses,
        });
        let line: &[u8] = if is_removed { b"DELETED\r\n" } else { b"NOT_FOUND\r\n" };
        output.extend_from_slice(line);
        Ok(())
    }

    fn flush_all(&self, args: &[&[u8]], output: &mut Vec<u8>) -> Result<(), MemcachedError> {
        let delay = match args {
            [] => 0,
            [delay] => number::<i64>(delay).ok_or(MemcachedError::BadTime)?,
            _ => return Err(MemcachedError::UnknownCommand),
        };
        self.count(MemcachedCount::Flush);
        match Expires::from_seconds(delay) {
            Expires::Never | Expires::Now => self.shared.store.clear_all(),
            Expires::After(time) => {
                let shared = Arc::clone(&self.shared);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(time).await;
                    shared.store.clear_all();
                });
            }
        }
        output.extend_from_slice(b"OK\r\n");
        Ok(())
    }

    fn stats_text(&self, args: &[&[u8]], output: &mut Vec<u8>) -> Result<(), MemcachedError> {
        match args {
            [] => {
                for (name, value) in self.general_stats() {
                    let _ = write!(output, "STAT {name} {value}\r\n");
                }
            }
            [b"reset"] => {
                output.extend_from_slice(b"RESET\r\n");
                return Ok(());
            }
            [b"settings"] => {
                let config = &self.shared.config;
                for (name, value) in [
                    ("maxconns", self.shared.max_clients()),
                    ("num_threads", config.threads),
                    ("item_size_max", self.shared.settings().max_argument_bytes.as_usize()),
                ] {
                    let _ = write!(output, "STAT {name} {value}\r\n");
                }
            }
            // There are no slabs.
            [b"items" | b"slabs" | b"sizes" | b"conns"] | [b"cachedump", ..] => {}
            _ => return Err(MemcachedError::BadLine),
        }
        output.extend_from_slice(b"END\r\n");
        Ok(())
    }

    fn general_stats(&self) -> Vec<(&'static str, String)> {
        let shared = &self.shared;
        let cache = shared.store.cache();
        let stats = cache.stats();
        let clients = shared.hub().clients();
        let total = |what: MemcachedCount| {
            shared.stats.sum(|thread| &thread.memcached[what as usize]).to_string()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let mut list = vec![
            ("pid", std::process::id().to_string()),
            ("uptime", shared.started.elapsed().as_secs().to_string()),
            ("time", now.as_secs().to_string()),
            ("version", SERVER_VERSION.to_owned()),
            ("pointer_size", usize::BITS.to_string()),
            ("max_connections", shared.max_clients().to_string()),
            ("curr_connections", clients.len().to_string()),
            ("total_connections", clients.accepted().to_string()),
            ("rejected_connections", clients.refused().to_string()),
        ];
        let gets = |thread: &crate::stats::ThreadStats| {
            let of = |what: MemcachedCount| {
                thread.memcached[what as usize].load(std::sync::atomic::Ordering::Relaxed)
            };
            of(MemcachedCount::GetHits) + of(MemcachedCount::GetMisses)
        };
        list.push(("cmd_get", shared.stats.total(gets).to_string()));
        list.extend(MemcachedCount::ALL.map(|count| (count.name(), total(count))));
        let limit = cache.max_weight().unwrap_or_default();
        list.extend([
            ("bytes_read", shared.stats.sum(|thread| &thread.bytes_in).to_string()),
            ("bytes_written", shared.stats.sum(|thread| &thread.bytes_out).to_string()),
            ("limit_maxbytes", limit.to_string()),
            ("threads", shared.config.threads.to_string()),
            ("leases", self.leases().len().to_string()),
            ("bytes", cache.weight().to_string()),
            ("curr_items", cache.len().to_string()),
            ("total_items", stats.inserts.to_string()),
            ("evictions", stats.evictions.to_string()),
            ("expired_unfetched", stats.expirations.to_string()),
        ]);
        list
    }
}

/// Writes a value as `get` does; not if it is a hash.
fn write_value(output: &mut Vec<u8>, key: &[u8], value: &Value, with_version: bool) -> bool {
    let Some(bytes) = value.as_bytes() else { return false };
    output.extend_from_slice(b"VALUE ");
    output.extend_from_slice(key);
    match value.flags() {
        0 => output.extend_from_slice(b" 0 "),
        flags => {
            let _ = write!(output, " {flags} ");
        }
    }
    push_decimal(output, bytes.len());
    if with_version {
        let _ = write!(output, " {}", CasToken::of(value.version()).number());
    }
    output.extend_from_slice(b"\r\n");
    output.extend_from_slice(bytes);
    output.extend_from_slice(b"\r\n");
    true
}

/// The sum or difference of a value and a number. A sum wraps around at 64 bits; a difference ends at 0.
pub(super) fn counted(old: &Value, is_increment: bool, delta: u64) -> Result<u64, CommandError> {
    let bytes = old.as_bytes().ok_or(CommandError::WrongType)?;
    let text = bytes.trim_ascii_end();
    let old: u64 = number(text).ok_or(CommandError::NotInteger)?;
    Ok(if is_increment { old.wrapping_add(delta) } else { old.saturating_sub(delta) })
}

/// The new value of a number, which is as stale as the old one was.
pub(super) fn number_in_place_of(old: &Value, number: u64) -> Value {
    let text = number.to_string().into_bytes().into_boxed_slice();
    let value = Value::with_flags(text, old.flags());
    match old.freshness() {
        freshness if freshness == Freshness::default() => value,
        freshness => value.with_freshness(freshness),
    }
}

impl Db<'_> {
    /// How many seconds a key has left; `None` if it never expires.
    pub(super) fn seconds_left(&self, key: &[u8]) -> Option<u64> {
        let left = self.info(key)?.expires_in?;
        Some(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
    }
}
