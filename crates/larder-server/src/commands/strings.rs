//! Commands about strings.
#![forbid(unsafe_code)]

use crate::command::{Args, Command, Flags, Group, KeyPositions};
use crate::error::CommandError;
use crate::hub::ChangeKind;
use crate::resp::Reply;
use crate::session::Session;
use crate::store::{Lifetime, SetCondition};
use crate::value::Value;

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags, summary, handler| Command {
        name,
        arity,
        flags,
        keys: KeyPositions::ONE,
        group: Group::String,
        summary,
        handler,
    };
    let write = Flags::WRITE.and(Flags::DENY_OOM);
    vec![
        command("get", 2, Flags::READ.and(Flags::FAST), "The string of a key.", get),
        command("set", -3, write, "Sets the string of a key.", set),
    ]
}

fn get(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let found = session.db().read(args[1], |value| match value.as_bytes() {
        Some(bytes) => {
            reply.bulk(bytes);
            Ok(())
        }
        None => Err(CommandError::WrongType),
    });
    session.count_lookup(found.is_some());
    found.unwrap_or_else(|| {
        reply.null();
        Ok(())
    })
}

fn set(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let value = Value::from(args[2]);
    session.db().set(args[1], value, Lifetime::Fresh, SetCondition::Always, ChangeKind::SET)?;
    reply.ok();
    Ok(())
}
