//! Commands about small hashes. A change keeps the deadline of the key, and a key without fields is removed.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use crate::commands::arguments::{integer, parse_integer, with_decimal};
use crate::commands::long_double;
use crate::commands::strings::check_reply;
use crate::error::CommandError;
use crate::hash_map::SmallHash;
use crate::hub::ChangeKind;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};
use crate::store::{Decision, Lifetime};
use crate::value::Value;

const HSET: ChangeKind = ChangeKind::hash("hset");
const HDEL: ChangeKind = ChangeKind::hash("hdel");
const HINCRBY: ChangeKind = ChangeKind::hash("hincrby");
const HINCRBYFLOAT: ChangeKind = ChangeKind::hash("hincrbyfloat");

/// From this many fields on, a command indexes the fields instead of searching the hash for each.
const INDEXED_FROM_FIELDS: usize = 8;

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags, summary, handler| Command {
        name,
        arity,
        flags,
        keys: KeyPositions::ONE,
        group: Group::Hash,
        summary,
        handler,
    };
    let (all, one) = (Flags::READ, Flags::READ.and(Flags::FAST));
    let write = Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST);
    vec![
        command("hset", -4, write, "Sets fields of a hash.", hset),
        command("hmset", -4, write, "Sets fields of a hash; the old form of HSET.", hmset),
        command("hsetnx", 4, write, "Sets a field of a hash that is absent.", hsetnx),
        command("hget", 3, one, "The value of a field of a hash.", hget),
        command("hmget", -3, one, "The values of fields of a hash.", hmget),
        command("hgetall", 2, all, "The fields of a hash with their values.", hgetall),
        command("hkeys", 2, all, "The fields of a hash.", hkeys),
        command("hvals", 2, all, "The values of the fields of a hash.", hvals),
        command("hlen", 2, one, "The number of fields of a hash.", hlen),
        command("hexists", 3, one, "Whether a hash has a field.", hexists),
        command("hstrlen", 3, one, "The length of the value of a field of a hash.", hstrlen),
        command("hdel", -3, Flags::WRITE.and(Flags::FAST), "Removes fields of a hash.", hdel),
        command("hincrby", 4, write, "Adds to the number of a field of a hash.", hincrby),
        command(
            "hincrbyfloat",
            4,
            write,
            "Adds a fraction to the number of a field of a hash.",
            hincrbyfloat,
        ),
    ]
}

fn hash_of(value: &Value) -> Result<&SmallHash, CommandError> {
    value.as_hash().ok_or(CommandError::WrongType)
}

/// Reads a hash, counting the lookup. An absent key is read as a hash without fields.
fn read<R>(
    session: &Session,
    key: &[u8],
    mut read: impl FnMut(&SmallHash) -> R,
) -> Result<R, CommandError> {
    let found = session.db().read(key, |value| hash_of(value).map(&mut read));
    session.count_lookup(found.is_some());
    found.unwrap_or_else(|| Ok(read(&SmallHash::new())))
}

/// Changes a copy of a hash and stores it, unless `change` returns that it has changed nothing.
fn change<R>(
    session: &Session,
    key: &[u8],
    kind: ChangeKind,
    mut change: impl FnMut(&mut SmallHash) -> Result<(R, bool), CommandError>,
) -> Result<R, CommandError> {
    session.db().change(key, Lifetime::Keep, kind, |old| {
        let mut hash = old.map_or(Ok(SmallHash::new()), |old| hash_of(old).cloned())?;
        let (result, has_changed) = change(&mut hash)?;
        Ok(match has_changed {
            false => Decision::Keep(result),
            true if hash.is_empty() => Decision::Remove(result),
            true => Decision::Put(Value::from_hash(hash), result),
        })
    })
}

/// Sets the fields and values that follow the key, and returns how many fields are new.
fn set_fields(session: &Session, args: &Args<'_>, name: &str) -> Result<usize, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity { name: name.to_owned() });
    }
    // Cloned for each attempt of the change.
    let pairs = args[2..].chunks_exact(2).map(|pair| (pair[0], pair[1]));
    if pairs.len() >= INDEXED_FROM_FIELDS {
        return change(session, args[1], HSET, |hash| Ok((hash.set_all(pairs.clone())?, true)));
    }
    change(session, args[1], HSET, |hash| {
        let added = pairs.clone().try_fold(0, |added, (field, value)| {
            hash.set(field, value).map(|is_new| added + usize::from(is_new))
        });
        Ok((added?, true))
    })
}

fn hset(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply.count(set_fields(session, args, "hset")?);
    Ok(())
}

fn hmset(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    set_fields(session, args, "hmset")?;
    reply.ok();
    Ok(())
}

fn hsetnx(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let is_set = change(session, args[1], HSET, |hash| {
        let is_absent = hash.get(args[2]).is_none();
        if is_absent {
            hash.set(args[2], args[3])?;
        }
        Ok((is_absent, is_absent))
    })?;
    reply.integer(is_set);
    Ok(())
}

fn hget(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    read(session, args[1], |hash| reply.bulk_or_null(hash.get(args[2])))
}

fn hmget(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let fields = &args[2..];
    reply.array(fields.len());
    let found = session.db().read(args[1], |value| {
        let hash = hash_of(value)?;
        let index: Option<HashMap<_, _, ahash::RandomState>> =
            (fields.len() >= INDEXED_FROM_FIELDS).then(|| hash.iter().collect());
        for field in fields {
            reply.bulk_or_null(match &index {
                Some(index) => index.get(field).copied(),
                None => hash.get(field),
            });
            check_reply(session, reply)?;
        }
        Ok(())
    });
    session.count_lookup(found.is_some());
    found.unwrap_or_else(|| {
        fields.iter().for_each(|_| reply.null());
        Ok(())
    })
}

fn hgetall(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    read(session, args[1], |hash| {
        reply.map(hash.len());
        for (field, value) in hash.iter() {
            reply.bulk(field);
            reply.bulk(value);
        }
    })
}

fn hkeys(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    read(session, args[1], |hash| {
        reply.array(hash.len());
        hash.iter().for_each(|(field, _)| reply.bulk(field));
    })
}

fn hvals(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    read(session, args[1], |hash| {
        reply.array(hash.len());
        hash.iter().for_each(|(_, value)| reply.bulk(value));
    })
}

fn hlen(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    read(session, args[1], |hash| reply.count(hash.len()))
}

fn hexists(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    read(session, args[1], |hash| reply.integer(hash.get(args[2]).is_some()))
}

fn hstrlen(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    read(session, args[1], |hash| reply.count(hash.get(args[2]).map_or(0, <[u8]>::len)))
}

fn hdel(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let fields = &args[2..];
    let removed = change(session, args[1], HDEL, |hash| {
        let removed = match fields {
            [field] => usize::from(hash.remove(field)),
            fields => hash.remove_all(fields.iter().copied()),
        };
        Ok((removed, removed > 0))
    })?;
    reply.count(removed);
    Ok(())
}

fn hincrby(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let amount = integer(args[3])?;
    let sum = change(session, args[1], HINCRBY, |hash| {
        let number = hash.get(args[2]).map_or(Some(0), parse_integer);
        let number =
            number.ok_or_else(|| CommandError::other("ERR hash value is not an integer"))?;
        let sum = number.checked_add(amount).ok_or(CommandError::Overflow)?;
        with_decimal(sum, |digits| hash.set(args[2], digits))?;
        Ok((sum, true))
    })?;
    reply.integer(sum);
    Ok(())
}

fn hincrbyfloat(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let amount = long_double::parse(args[3]).ok_or(CommandError::NotFloat)?;
    if !long_double::is_finite(amount) {
        return Err(CommandError::other("ERR value is NaN or Infinity"));
    }
    let sum = change(session, args[1], HINCRBYFLOAT, |hash| {
        let number = long_double::parse(hash.get(args[2]).unwrap_or(b"0"));
        let number = number.ok_or_else(|| CommandError::other("ERR hash value is not a float"))?;
        let sum = long_double::sum(number, amount).ok_or(CommandError::NotFinite)?;
        hash.set(args[2], sum.as_bytes())?;
        Ok((sum, true))
    })?;
    reply.bulk(sum.as_bytes());
    Ok(())
}
