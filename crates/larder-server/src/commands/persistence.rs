//! Commands that save the cache.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::thread;

use crate::error::CommandError;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, summary, handler| Command {
        name,
        arity,
        flags: Flags::ADMIN.and(Flags::NO_SCRIPT),
        keys: KeyPositions::NONE,
        group: Group::Server,
        summary,
        handler,
    };
    vec![
        Command {
            flags: Flags::ADMIN.and(Flags::NO_SCRIPT).and(Flags::NO_MULTI),
            ..command("save", 1, "Saves the cache and waits until it is done.", save)
        },
        command("bgsave", -1, "Saves the cache in the background.", save_in_background),
        command("lastsave", 1, "When the cache was last saved, in seconds since 1970.", last_save),
    ]
}

/// Other clients go on meanwhile: only this one waits.
fn save(session: &mut Session, _: &Args<'_>, _: &mut Reply<'_>) -> Result<(), CommandError> {
    let (shared, protocol) = (Arc::clone(&session.shared), session.protocol);
    session.defer(move || {
        let mut output = Vec::new();
        let mut reply = Reply::new(&mut output, protocol);
        match shared.save() {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(format_args!("ERR {}", error.with_causes())),
        }
        output
    });
    Ok(())
}

fn save_in_background(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    match args {
        [_] => {}
        [_, option] if option.eq_ignore_ascii_case(b"schedule") => {}
        _ => return Err(CommandError::Syntax),
    }
    session.shared.can_save().map_err(|error| CommandError::other(format!("ERR {error}")))?;
    let shared = Arc::clone(&session.shared);
    // `INFO` shows whether it failed.
    let saved = thread::Builder::new().name("larder-save".to_owned()).spawn(move || shared.save());
    saved.map_err(|error| CommandError::other(format!("ERR cannot start a thread: {error}")))?;
    reply.simple("Background saving started");
    Ok(())
}

fn last_save(
    session: &mut Session,
    _: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.integer(i64::try_from(session.shared.saving.last_s()).unwrap_or(i64::MAX));
    Ok(())
}
