//! Commands about whole databases.
#![forbid(unsafe_code)]

use crate::commands::arguments::{integer, is_option};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags, group, summary, handler| Command {
        name,
        arity,
        flags,
        keys: KeyPositions::NONE,
        group,
        summary,
        handler,
    };
    let read = Flags::READ.and(Flags::FAST);
    let swap = Flags::WRITE.and(Flags::FAST).and(Flags::EXCLUSIVE);
    vec![
        command("dbsize", 1, read, Group::Server, "How many keys the database has.", dbsize),
        command("flushdb", -1, Flags::WRITE, Group::Server, "Empties the database.", flushdb),
        command("flushall", -1, Flags::WRITE, Group::Server, "Empties all databases.", flushall),
        command("swapdb", 3, swap, Group::Server, "Swaps two databases.", swapdb),
    ]
}

fn dbsize(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply.count(session.db().len());
    Ok(())
}

/// Checks the options of a flush. Either way all is gone when the reply is sent.
fn check_flush(options: &Args<'_>) -> Result<(), CommandError> {
    match options {
        [] => Ok(()),
        [option] if is_option(option, "ASYNC") || is_option(option, "SYNC") => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

fn flushdb(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    check_flush(&args[1..])?;
    session.db().clear();
    reply.ok();
    Ok(())
}

fn flushall(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    check_flush(&args[1..])?;
    session.store().clear_all();
    reply.ok();
    Ok(())
}

fn swapdb(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let invalid = |which| move |_| CommandError::other(format!("ERR invalid {which} DB index"));
    let first = integer(args[1]).map_err(invalid("first"))?;
    let second = integer(args[2]).map_err(invalid("second"))?;
    let databases = session.store().databases();
    let in_range = |number| u16::try_from(number).ok().filter(|number| *number < databases);
    let (Some(first), Some(second)) = (in_range(first), in_range(second)) else {
        return Err(CommandError::DatabaseOutOfRange);
    };
    if first != second {
        session.store().swap_databases(first, second);
        // Copies of keys of both are out of date.
        session.store().hub().note_flush(Some(first));
        session.store().hub().note_flush(Some(second));
    }
    reply.ok();
    Ok(())
}
