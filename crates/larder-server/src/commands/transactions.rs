//! Transactions.
#![forbid(unsafe_code)]

use crate::error::CommandError;
use crate::resp::Reply;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};
use crate::session::{Modes, Session, Transaction};

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags: Flags, keys, summary, handler| Command {
        name,
        arity,
        flags: flags.and(Flags::NO_SCRIPT),
        keys,
        group: Group::Transactions,
        summary,
        handler,
    };
    let at_once = Flags::FAST.and(Flags::UNQUEUED).and(Flags::NO_SCRIPT);
    let alone = Flags::EXCLUSIVE.and(Flags::UNQUEUED).and(Flags::NO_SCRIPT);
    let none = KeyPositions::NONE;
    vec![
        command("multi", 1, at_once, none, "Queues the commands that follow, up to EXEC.", multi),
        command(
            "exec",
            1,
            alone,
            none,
            "Executes the queued commands, with no other between them.",
            exec,
        ),
        command("discard", 1, at_once, none, "Forgets the queued commands.", discard),
        command(
            "watch",
            -2,
            Flags::FAST.and(alone),
            KeyPositions::ALL,
            "Has the next EXEC fail if a key has changed by then.",
            watch,
        ),
        command(
            "unwatch",
            1,
            Flags::FAST.and(Flags::NO_SCRIPT),
            none,
            "Watches no keys any more.",
            unwatch,
        ),
    ]
}

fn multi(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    if session.transaction.is_some() {
        return Err(CommandError::other("ERR MULTI calls can not be nested"));
    }
    session.transaction = Some(Transaction::default());
    session.modes.set(Modes::QUEUEING, true);
    reply.ok();
    Ok(())
}

fn exec(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let Some(transaction) = session.transaction.take() else {
        return Err(CommandError::other("ERR EXEC without MULTI"));
    };
    let is_changed = session.watched.is_changed(session.store());
    session.end_transaction();
    if transaction.is_aborted {
        let error = "EXECABORT Transaction discarded because of previous errors.";
        return Err(CommandError::other(error));
    }
    if transaction.may_grow() && session.shared.settings().tiny_max_memory.get() > 0 {
        let error =
            format!("EXECABORT Transaction discarded because of: {}", CommandError::NothingFits);
        return Err(CommandError::Other(error));
    }
    if is_changed {
        reply.null_array();
        return Ok(());
    }
    reply.array(transaction.len());
    session.modes.set(Modes::EXECUTING, true);
    for (index, command, args) in transaction.commands() {
        session.call(index, command, &args, reply);
    }
    session.modes.set(Modes::EXECUTING, false);
    Ok(())
}

fn discard(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    if session.transaction.is_none() {
        return Err(CommandError::other("ERR DISCARD without MULTI"));
    }
    session.end_transaction();
    reply.ok();
    Ok(())
}

fn watch(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    if session.transaction.is_some() {
        return Err(CommandError::other("ERR WATCH inside MULTI is not allowed"));
    }
    for key in &args[1..] {
        if !session.watched.watch(&session.shared.store, session.database, key) {
            return Err(CommandError::other("ERR too many watched keys"));
        }
    }
    reply.ok();
    Ok(())
}

fn unwatch(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    session.watched.clear(session.shared.hub());
    reply.ok();
    Ok(())
}
