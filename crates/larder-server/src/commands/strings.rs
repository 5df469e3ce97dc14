//! Commands about strings.
#![forbid(unsafe_code)]

use std::ops::RangeInclusive;
use std::time::Duration;

use larder::Intent;

use crate::commands::arguments::{self, TimeUnit, integer, is_option};
use crate::error::CommandError;
use crate::hub::ChangeKind;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};
use crate::store::{Decision, Lifetime, SetCondition, TimeToLive};
use crate::value::Value;

const APPEND: ChangeKind = ChangeKind::string("append");
const SETRANGE: ChangeKind = ChangeKind::string("setrange");

pub(crate) fn table() -> Vec<Command> {
    let of = |name, arity, flags, keys, summary, handler| Command {
        name,
        arity,
        flags,
        keys,
        group: Group::String,
        summary,
        handler,
    };
    let one = |name, arity, flags, summary, handler| {
        of(name, arity, flags, KeyPositions::ONE, summary, handler)
    };
    let (read, fast) = (Flags::READ, Flags::FAST);
    let write = Flags::WRITE.and(Flags::DENY_OOM);
    // Clients must not see some of the keys changed and others not yet.
    let at_once = write.and(Flags::EXCLUSIVE);
    vec![
        one("get", 2, read.and(fast), "The string of a key.", get),
        one("set", -3, write, "Sets the string of a key.", set),
        one("setnx", 3, write.and(fast), "Sets the string of a key that is absent.", setnx),
        one("setex", 4, write, "Sets the string of a key, for some seconds.", setex),
        one("psetex", 4, write, "Sets the string of a key, for some milliseconds.", psetex),
        one("getset", 3, write.and(fast), "Sets the string of a key; returns the old one.", getset),
        one("getdel", 2, Flags::WRITE.and(fast), "The string of a key, which is removed.", getdel),
        one(
            "getex",
            -2,
            Flags::WRITE.and(fast),
            "The string of a key, which gets another lifetime.",
            getex,
        ),
        one("append", 3, write.and(fast), "Adds to the end of the string of a key.", append),
        one("strlen", 2, read.and(fast), "The length of the string of a key.", strlen),
        one("getrange", 4, read, "A part of the string of a key.", getrange),
        one(
            "substr",
            4,
            read,
            "A part of the string of a key; the old name of GETRANGE.",
            getrange,
        ),
        one("setrange", 4, write, "Overwrites a part of the string of a key.", setrange),
        of("mget", -2, read.and(fast), KeyPositions::ALL, "The strings of keys.", mget),
        of("mset", -3, at_once, KeyPositions::PAIRS, "Sets the strings of keys.", mset),
        of(
            "msetnx",
            -3,
            at_once,
            KeyPositions::PAIRS,
            "Sets the strings of keys, if all of them are absent.",
            msetnx,
        ),
    ]
}

/// The bytes of a value that must be a string.
pub(crate) fn string_of(value: &Value) -> Result<&[u8], CommandError> {
    value.as_bytes().ok_or(CommandError::WrongType)
}

/// Reads the string of a key, counting the lookup; `None` if the key is absent.
///
/// # Errors
/// That of `read`, or the key does not have a string.
#[inline]
pub(crate) fn read_string<R>(
    session: &Session,
    key: &[u8],
    read: impl FnOnce(&[u8]) -> Result<R, CommandError>,
) -> Result<Option<R>, CommandError> {
    let found = session.db().read(key, |value| read(string_of(value)?));
    session.count_lookup(found.is_some());
    found.transpose()
}

/// Writes the string of a value that was read, or null.
fn reply_value(value: Option<&Value>, reply: &mut Reply<'_>) {
    reply.bulk_or_null(value.and_then(Value::as_bytes));
}

fn get(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let found = read_string(session, args[1], |bytes| {
        reply.bulk(bytes);
        Ok(())
    })?;
    if found.is_none() {
        reply.null();
    }
    Ok(())
}

#[inline]
fn set(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return set_with_options(session, args, reply);
    }
    let value = Value::from(args[2]);
    session.db().set(args[1], value, Lifetime::Fresh, SetCondition::Always, ChangeKind::SET)?;
    reply.ok();
    Ok(())
}

/// What the options of `SET` ask for.
struct SetOptions<'a> {
    condition: SetCondition,
    /// A time and its unit.
    deadline: Option<(&'a [u8], TimeUnit)>,
    keeps_lifetime: bool,
    returns_old: bool,
}

impl<'a> SetOptions<'a> {
    fn parse(args: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut options = Self {
            condition: SetCondition::Always,
            deadline: None,
            keeps_lifetime: false,
            returns_old: false,
        };
        let mut args = args.iter();
        while let Some(option) = args.next() {
            if let Some(unit) = TimeUnit::of_option(option) {
                let time = args.next().ok_or(CommandError::Syntax)?;
                // An option may be repeated, but not together with another one of the kind.
                if options.keeps_lifetime || options.deadline.is_some_and(|(_, old)| old != unit) {
                    return Err(CommandError::Syntax);
                }
                options.deadline = Some((time, unit));
            } else if is_option(option, "NX") && options.condition != SetCondition::IfPresent {
                options.condition = SetCondition::IfAbsent;
            } else if is_option(option, "XX") && options.condition != SetCondition::IfAbsent {
                options.condition = SetCondition::IfPresent;
            } else if is_option(option, "GET") {
                options.returns_old = true;
            } else if is_option(option, "KEEPTTL") && options.deadline.is_none() {
                options.keeps_lifetime = true;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

fn set_with_options(
    session: &Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let options = SetOptions::parse(&args[3..])?;
    let lifetime = match options.deadline {
        Some((time, unit)) => Lifetime::For(arguments::lifetime(time, unit, "set")?),
        None if options.keeps_lifetime => Lifetime::Keep,
        None => Lifetime::Fresh,
    };
    let (key, value) = (args[1], Value::from(args[2]));
    if options.returns_old {
        let (old, _) = set_and_read(session, key, &value, lifetime, options.condition, true)?;
        session.count_lookup(old.is_some());
        reply_value(old.as_ref(), reply);
    } else if set_for(session, key, value, lifetime, options.condition)? {
        reply.ok();
    } else {
        reply.null();
    }
    Ok(())
}

/// Sets the string of a key, and returns whether it did. A key whose time has passed is removed.
fn set_for(
    session: &Session,
    key: &[u8],
    value: Value,
    lifetime: Lifetime,
    condition: SetCondition,
) -> Result<bool, CommandError> {
    if lifetime.is_over() {
        let (_, is_set) = set_and_read(session, key, &value, lifetime, condition, false)?;
        return Ok(is_set);
    }
    let is_set = session.db().set(key, value, lifetime, condition, ChangeKind::SET)?;
    if is_set && matches!(lifetime, Lifetime::For(_)) {
        session.db().note(key, ChangeKind::EXPIRE);
    }
    Ok(is_set)
}

/// Sets the string of a key. Returns the value that it had, which must be a string if it is wanted, and
/// whether the new one was set.
fn set_and_read(
    session: &Session,
    key: &[u8],
    value: &Value,
    lifetime: Lifetime,
    condition: SetCondition,
    wants_old: bool,
) -> Result<(Option<Value>, bool), CommandError> {
    let (old, is_set) = session.db().change(key, lifetime, ChangeKind::SET, |old| {
        let read = match old {
            Some(old) if wants_old => {
                string_of(old)?;
                Some(old.clone())
            }
            _ => None,
        };
        Ok(match (condition, old) {
            (SetCondition::IfAbsent, Some(_)) | (SetCondition::IfPresent, None) => {
                Decision::Keep((read, false))
            }
            (_, Some(_)) if lifetime.is_over() => Decision::Remove((read, true)),
            (_, None) if lifetime.is_over() => Decision::Keep((read, true)),
            _ => Decision::Put(value.clone(), (read, true)),
        })
    })?;
    if is_set && matches!(lifetime, Lifetime::For(_)) && !lifetime.is_over() {
        session.db().note(key, ChangeKind::EXPIRE);
    }
    Ok((old, is_set))
}

fn setnx(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let value = Value::from(args[2]);
    let is_set = set_for(session, args[1], value, Lifetime::Fresh, SetCondition::IfAbsent)?;
    reply.integer(is_set);
    Ok(())
}

fn setex(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let lifetime = Lifetime::For(arguments::lifetime(args[2], TimeUnit::Seconds, "setex")?);
    set_for(session, args[1], Value::from(args[3]), lifetime, SetCondition::Always)?;
    reply.ok();
    Ok(())
}

fn psetex(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let lifetime = Lifetime::For(arguments::lifetime(args[2], TimeUnit::Milliseconds, "psetex")?);
    set_for(session, args[1], Value::from(args[3]), lifetime, SetCondition::Always)?;
    reply.ok();
    Ok(())
}

fn getset(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let value = Value::from(args[2]);
    let always = SetCondition::Always;
    let (old, _) = set_and_read(session, args[1], &value, Lifetime::Fresh, always, true)?;
    session.count_lookup(old.is_some());
    reply_value(old.as_ref(), reply);
    Ok(())
}

fn getdel(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let taken = session.db().change(args[1], Lifetime::Keep, ChangeKind::DEL, |old| {
        let Some(old) = old else { return Ok(Decision::Keep(None)) };
        string_of(old)?;
        Ok(Decision::Remove(Some(old.clone())))
    })?;
    session.count_lookup(taken.is_some());
    reply_value(taken.as_ref(), reply);
    Ok(())
}

/// A time and its unit, and whether the key should have no deadline.
type NewLifetime<'a> = (Option<(&'a [u8], TimeUnit)>, bool);

fn parse_getex<'a>(args: &[&'a [u8]]) -> Result<NewLifetime<'a>, CommandError> {
    let (mut deadline, mut persists) = (None, false);
    let mut args = args.iter();
    while let Some(option) = args.next() {
        if is_option(option, "PERSIST") && deadline.is_none() {
            persists = true;
            continue;
        }
        let unit = TimeUnit::of_option(option).ok_or(CommandError::Syntax)?;
        let time = *args.next().ok_or(CommandError::Syntax)?;
        if persists || deadline.is_some_and(|(_, old)| old != unit) {
            return Err(CommandError::Syntax);
        }
        deadline = Some((time, unit));
    }
    Ok((deadline, persists))
}

fn getex(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let key = args[1];
    let (time, persists) = parse_getex(&args[2..])?;
    let deadline = time.map(|(time, unit)| arguments::lifetime(time, unit, "getex"));
    let (lifetime, kind) = match &deadline {
        Some(deadline) => {
            // As with Redis, the time does not matter where there is no key.
            let lifetime = deadline.clone().unwrap_or_default();
            (lifetime, if lifetime.is_zero() { ChangeKind::DEL } else { ChangeKind::EXPIRE })
        }
        None if persists && matches!(session.db().time_to_live(key), TimeToLive::Left(_)) => {
            (Duration::MAX, ChangeKind::PERSIST)
        }
        None => return get(session, args, reply),
    };
    let read = session.db().change(key, Lifetime::For(lifetime), kind, |old| {
        let Some(old) = old else { return Ok(Decision::Keep(None)) };
        string_of(old)?;
        if let Some(Err(error)) = &deadline {
            return Err(error.clone());
        }
        Ok(match lifetime.is_zero() {
            true => Decision::Remove(Some(old.clone())),
            false => Decision::Put(old.rewritten(), Some(old.clone())),
        })
    })?;
    session.count_lookup(read.is_some());
    reply_value(read.as_ref(), reply);
    Ok(())
}

/// Whether this many bytes may be one string.
pub(crate) fn check_length(session: &Session, len: usize) -> Result<(), CommandError> {
    let max = session.shared.settings().request_limits().argument_bytes;
    if len > max { Err(CommandError::StringTooLong) } else { Ok(()) }
}

fn append(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let added = args[2];
    let len = session.db().change(args[1], Lifetime::Keep, APPEND, |old| {
        let Some(old) = old else {
            return Ok(Decision::Put(Value::from(added), added.len()));
        };
        let bytes = string_of(old)?;
        let len = bytes.len() + added.len();
        check_length(session, len)?;
        Ok(Decision::Put(Value::with_flags([bytes, added].concat().into(), old.flags()), len))
    })?;
    reply.count(len);
    Ok(())
}

fn strlen(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let len = read_string(session, args[1], |bytes| Ok(bytes.len()))?;
    reply.count(len.unwrap_or(0));
    Ok(())
}

/// The part of `len` bytes or bits from `start` to `end`, both included, where negative ones count from the
/// end; `None` if there is nothing between them.
pub(crate) fn range(start: i64, end: i64, len: usize) -> Option<RangeInclusive<usize>> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_start = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    if start > end {
        return None;
    }
    Some(usize::try_from(start).ok()?..=usize::try_from(end).ok()?)
}

fn getrange(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let (start, end) = (integer(args[2])?, integer(args[3])?);
    let found = read_string(session, args[1], |bytes| {
        reply.bulk(range(start, end, bytes.len()).map_or(b"", |range| &bytes[range]));
        Ok(())
    })?;
    if found.is_none() {
        reply.bulk(b"");
    }
    Ok(())
}

fn setrange(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let (offset, part) = (integer(args[2])?, args[3]);
    let offset =
        usize::try_from(offset).map_err(|_| CommandError::other("ERR offset is out of range"))?;
    let len = session.db().change(args[1], Lifetime::Keep, SETRANGE, |old| {
        let (bytes, flags) = match old {
            Some(old) => (string_of(old)?, old.flags()),
            None => (&b""[..], 0),
        };
        if part.is_empty() {
            return Ok(Decision::Keep(bytes.len()));
        }
        let end = offset.saturating_add(part.len());
        check_length(session, end)?;
        let len = end.max(bytes.len());
        let mut changed = Vec::with_capacity(len);
        changed.extend_from_slice(bytes);
        changed.resize(len, 0);
        changed[offset..end].copy_from_slice(part);
        Ok(Decision::Put(Value::with_flags(changed.into(), flags), len))
    })?;
    reply.count(len);
    Ok(())
}

fn mget(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply.array(args.len() - 1);
    for keys in args[1..].chunks(64) {
        session.db().prefetch(keys, Intent::Read);
        for key in keys {
            let found = session.db().read(key, |value| reply.bulk_or_null(value.as_bytes()));
            session.count_lookup(found.is_some());
            if found.is_none() {
                reply.null();
            }
            check_reply(session, reply)?;
        }
    }
    Ok(())
}

/// Whether a reply is not longer than a request may be: one that names a long value often could take any
/// amount of memory otherwise.
pub(crate) fn check_reply(session: &Session, reply: &Reply<'_>) -> Result<(), CommandError> {
    if reply.len() > session.shared.settings().request_limits().request_bytes {
        return Err(CommandError::ReplyTooLong);
    }
    Ok(())
}

/// The pairs of keys and values of `MSET` and `MSETNX`.
fn pairs<'a>(
    args: &'a Args<'a>,
    name: &str,
) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])>, CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity { name: name.to_owned() });
    }
    Ok(args[1..].chunks_exact(2).map(|pair| (pair[0], pair[1])))
}

fn set_all<'a>(
    session: &Session,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), CommandError> {
    let mut done = Ok(());
    for (key, value) in pairs {
        let set = set_for(session, key, value.into(), Lifetime::Fresh, SetCondition::Always);
        done = done.and(set.map(|_| ()));
    }
    done
}

fn mset(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    set_all(session, pairs(args, "mset")?)?;
    reply.ok();
    Ok(())
}

fn msetnx(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let all_absent = pairs(args, "msetnx")?.all(|(key, _)| !session.db().contains(key));
    if all_absent {
        set_all(session, pairs(args, "msetnx")?)?;
    }
    reply.integer(all_absent);
    Ok(())
}
