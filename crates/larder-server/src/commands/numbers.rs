//! Commands about strings that are numbers.
#![forbid(unsafe_code)]

use crate::commands::arguments::{integer, with_decimal};
use crate::commands::long_double;
use crate::commands::strings::string_of;
use crate::error::CommandError;
use crate::hub::ChangeKind;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};
use crate::store::{Decision, Lifetime};
use crate::value::Value;

const INCRBY: ChangeKind = ChangeKind::string("incrby");
const INCRBYFLOAT: ChangeKind = ChangeKind::string("incrbyfloat");

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, summary, handler| Command {
        name,
        arity,
        flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
        keys: KeyPositions::ONE,
        group: Group::String,
        summary,
        handler,
    };
    vec![
        command("incr", 2, "Adds one to the number of a key.", incr),
        command("decr", 2, "Takes one from the number of a key.", decr),
        command("incrby", 3, "Adds to the number of a key.", incrby),
        command("decrby", 3, "Takes from the number of a key.", decrby),
        command("incrbyfloat", 3, "Adds a fraction to the number of a key.", incrbyfloat),
    ]
}

/// Adds to the number of a key, which is 0 if the key is absent.
fn add(
    session: &Session,
    key: &[u8],
    amount: i64,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let sum = session.db().change(key, Lifetime::Keep, INCRBY, |old| {
        let number = old.map_or(Ok(0), |old| integer(string_of(old)?))?;
        let sum = number.checked_add(amount).ok_or(CommandError::Overflow)?;
        let flags = old.map_or(0, Value::flags);
        let value = with_decimal(sum, |digits| Value::with_flags(digits.into(), flags));
        Ok(Decision::Put(value, sum))
    })?;
    reply.integer(sum);
    Ok(())
}

fn incr(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    add(session, args[1], 1, reply)
}

fn decr(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    add(session, args[1], -1, reply)
}

fn incrby(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    add(session, args[1], integer(args[2])?, reply)
}

fn decrby(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let amount = integer(args[2])?.checked_neg();
    let amount = amount.ok_or_else(|| CommandError::other("ERR decrement would overflow"))?;
    add(session, args[1], amount, reply)
}

fn incrbyfloat(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let sum = session.db().change(args[1], Lifetime::Keep, INCRBYFLOAT, |old| {
        let number = old.map_or(Ok(&b"0"[..]), string_of)?;
        let number = long_double::parse(number).ok_or(CommandError::NotFloat)?;
        let amount = long_double::parse(args[2]).ok_or(CommandError::NotFloat)?;
        let sum = long_double::sum(number, amount).ok_or(CommandError::NotFinite)?;
        let flags = old.map_or(0, Value::flags);
        Ok(Decision::Put(Value::with_flags(sum.as_bytes().into(), flags), sum))
    })?;
    reply.bulk(sum.as_bytes());
    Ok(())
}
