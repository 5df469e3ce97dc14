//! Commands about keys of any type.
#![forbid(unsafe_code)]

use crate::commands::arguments::{integer, is_option};
use crate::error::CommandError;
use crate::hub::ChangeKind;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};
use crate::store::Db;
use crate::value::Value;

const RENAMES: (ChangeKind, ChangeKind) =
    (ChangeKind::generic("rename_from"), ChangeKind::generic("rename_to"));
const MOVES: (ChangeKind, ChangeKind) =
    (ChangeKind::generic("move_from"), ChangeKind::generic("move_to"));

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags, keys, summary, handler| Command {
        name,
        arity,
        flags,
        keys,
        group: Group::Generic,
        summary,
        handler,
    };
    let (one, two, all, none) =
        (KeyPositions::ONE, KeyPositions::TWO, KeyPositions::ALL, KeyPositions::NONE);
    let (read, write) = (Flags::READ.and(Flags::FAST), Flags::WRITE.and(Flags::FAST));
    // Of two keys: atomic only if no command runs in between.
    let both = Flags::WRITE.and(Flags::EXCLUSIVE);
    vec![
        command("del", -2, Flags::WRITE, all, "Removes keys.", del),
        command("unlink", -2, write, all, "Removes keys, as DEL does.", del),
        command("exists", -2, read, all, "Counts how many of the keys exist.", exists),
        command("type", 2, read, one, "The type of the value of a key.", type_of),
        command("touch", -2, read, all, "Counts as a use of keys that exist.", touch),
        command("rename", 3, both, two, "Renames a key; one of the new name is replaced.", rename),
        command(
            "renamenx",
            3,
            both.and(Flags::FAST),
            two,
            "Renames a key if there is none of the new name.",
            renamenx,
        ),
        command(
            "copy",
            -3,
            both.and(Flags::DENY_OOM),
            two,
            "Copies the value of a key to another key.",
            copy,
        ),
        command(
            "move",
            3,
            both.and(Flags::FAST),
            one,
            "Moves a key to another database.",
            move_key,
        ),
        command("randomkey", 1, Flags::READ, none, "A key at random.", randomkey),
        command(
            "object",
            -2,
            Flags::READ,
            KeyPositions { first: 2, last: 2, step: 1 },
            "How a value is stored and how often it is used.",
            super::object::object,
        ),
        command(
            "memory",
            -2,
            Flags::READ,
            KeyPositions::NONE,
            "How much memory a key takes.",
            super::object::memory,
        ),
    ]
}

fn del(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let db = session.db();
    reply.count(args[1..].iter().filter(|key| db.remove(key)).count());
    Ok(())
}

fn exists(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let exists = |key: &&&[u8]| {
        let exists = session.db().contains(key);
        session.count_lookup(exists);
        exists
    };
    reply.count(args[1..].iter().filter(exists).count());
    Ok(())
}

fn touch(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let touched = |key: &&&[u8]| {
        let touched = session.db().touch(key);
        session.count_lookup(touched);
        touched
    };
    reply.count(args[1..].iter().filter(touched).count());
    Ok(())
}

/// The name that Redis has for the type of a value.
pub(crate) fn type_name(value: &Value) -> &'static str {
    if value.as_hash().is_some() { "hash" } else { "string" }
}

fn type_of(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let value = session.db().peek(args[1]);
    session.count_lookup(value.is_some());
    reply.simple(value.as_ref().map_or("none", type_name));
    Ok(())
}

fn rename(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let (db, from, to) = (session.db(), args[1], args[2]);
    let is_there = if from == to { db.contains(from) } else { db.move_to(from, db, to, RENAMES)? };
    if !is_there {
        return Err(CommandError::NoSuchKey);
    }
    reply.ok();
    Ok(())
}

fn renamenx(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let (db, from, to) = (session.db(), args[1], args[2]);
    if !db.contains(from) {
        return Err(CommandError::NoSuchKey);
    }
    // A key that is renamed to itself exists.
    let is_moved = !db.contains(to) && db.move_to(from, db, to, RENAMES)?;
    reply.integer(is_moved);
    Ok(())
}

fn copy(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (from, to) = (args[1], args[2]);
    let (mut database, mut replaces) = (session.database, false);
    let mut rest = &args[3..];
    while let Some((option, after)) = rest.split_first() {
        rest = after;
        if is_option(option, "REPLACE") {
            replaces = true;
        } else if let (true, Some((number, after))) = (is_option(option, "DB"), rest.split_first())
        {
            database = database_number(session, number)?;
            rest = after;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if database == session.database && from == to {
        return Err(same_object());
    }
    let (db, target) = (session.db(), other_db(session, database));
    let exists = db.contains(from);
    session.count_lookup(exists);
    let is_copied = exists
        && (replaces || !target.contains(to))
        && db.copy_to(from, target, to, ChangeKind::generic("copy_to"))?;
    reply.integer(is_copied);
    Ok(())
}

fn move_key(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let key = args[1];
    let database = database_number(session, args[2])?;
    if database == session.database {
        return Err(same_object());
    }
    let target = other_db(session, database);
    let is_moved = !target.contains(key) && session.db().move_to(key, target, key, MOVES)?;
    reply.integer(is_moved);
    Ok(())
}

fn randomkey(
    session: &mut Session,
    _: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.bulk_or_null(session.db().random_key().as_deref());
    Ok(())
}

fn same_object() -> CommandError {
    CommandError::other("ERR source and destination objects are the same")
}

/// A database that the client names, but has not selected.
fn other_db<'s>(session: &'s Session, number: u16) -> Db<'s> {
    session.store().db(number, Some(session.client.id))
}

fn database_number(session: &Session, text: &[u8]) -> Result<u16, CommandError> {
    let number = u16::try_from(integer(text)?).ok();
    let number = number.filter(|number| *number < session.store().databases());
    number.ok_or(CommandError::DatabaseOutOfRange)
}
