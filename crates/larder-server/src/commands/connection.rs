//! Commands about the connection itself.
#![forbid(unsafe_code)]

use subtle::ConstantTimeEq;

use super::arguments::{integer, parse_integer};
use super::client::{USER, checked_name};
use crate::error::CommandError;
use crate::identity::REDIS_VERSION;
use crate::resp::{Protocol, Reply};
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags: Flags, summary, handler| Command {
        name,
        arity,
        flags: flags.and(Flags::FAST),
        keys: KeyPositions::NONE,
        group: Group::Connection,
        summary,
        handler,
    };
    let first = Flags::NO_AUTH.and(Flags::NO_SCRIPT);
    let at_once = first.and(Flags::SUBSCRIBED).and(Flags::UNQUEUED);
    vec![
        command("ping", -1, Flags::SUBSCRIBED, "Answers PONG, or the text that it is given.", ping),
        command("echo", 2, Flags::NONE, "Answers the text that it is given.", echo),
        command("hello", -1, first, "Chooses the version of the protocol.", hello),
        command("auth", -2, first, "Proves with a password who the client is.", auth),
        command("quit", -1, at_once, "Closes the connection.", quit),
        command("reset", 1, at_once, "Makes the connection as it was when it began.", reset),
        command("select", 2, Flags::NONE, "Chooses the database.", select),
    ]
}

fn ping(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    if args.len() > 2 {
        return Err(CommandError::WrongArity { name: "ping".to_owned() });
    }
    let text = args.get(1).copied();
    if session.is_subscribed() && reply.protocol() == Protocol::Resp2 {
        reply.array(2);
        reply.bulk(b"pong");
        reply.bulk(text.unwrap_or_default());
    } else {
        match text {
            None => reply.simple("PONG"),
            Some(text) => reply.bulk(text),
        }
    }
    Ok(())
}

fn echo(_: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply.bulk(args[1]);
    Ok(())
}

fn hello(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let protocol = match args.get(1) {
        None => None,
        Some(version) => {
            let version = parse_integer(version).ok_or_else(|| {
                CommandError::other("ERR Protocol version is not an integer or out of range")
            })?;
            Some(match version {
                2 => Protocol::Resp2,
                3 => Protocol::Resp3,
                _ => return Err(CommandError::UnsupportedProtocol),
            })
        }
    };
    let (mut options, mut name) = (args.get(2..).unwrap_or_default(), None);
    loop {
        options = match *options {
            [] => break,
            [option, user, password, ref rest @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                authenticate(session, user, password)?;
                rest
            }
            [option, new, ref rest @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                name = Some(checked_name(new)?);
                rest
            }
            [option, ..] => {
                let shown = option.escape_ascii();
                let error = format!("ERR Syntax error in HELLO option '{shown}'");
                return Err(CommandError::Other(error));
            }
        };
    }
    if !session.is_authenticated {
        return Err(CommandError::HelloNotAuthenticated);
    }
    if let Some(name) = name {
        session.client.description().name = name;
    }
    if let Some(protocol) = protocol {
        session.set_protocol(protocol);
    }
    reply.set_protocol(session.protocol);
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(if session.protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(i64::try_from(session.client.id.0).unwrap_or(i64::MAX));
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

fn auth(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    match args {
        [_, password] => {
            if session.shared.settings().password().is_none() {
                return Err(CommandError::other(
                    "ERR AUTH <password> called without any password configured for the default user. Are you \
                     sure your configuration is correct?",
                ));
            }
            authenticate(session, USER, password)?;
        }
        [_, user, password] => authenticate(session, user, password)?,
        _ => return Err(CommandError::Syntax),
    }
    reply.ok();
    Ok(())
}

/// Checks a password. A client that was authenticated before stays so if it is wrong.
fn authenticate(session: &mut Session, user: &[u8], given: &[u8]) -> Result<(), CommandError> {
    let password = session.shared.settings().password();
    // In constant time: the time must not reveal how much of a guess was right.
    let is_right = password
        .is_none_or(|password: std::sync::Arc<str>| password.as_bytes().ct_eq(given).into());
    if !is_right || user != USER {
        return Err(CommandError::WrongPassword);
    }
    session.is_authenticated = true;
    Ok(())
}

fn quit(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    session.closes = true;
    reply.ok();
    Ok(())
}

fn reset(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    session.reset();
    reply.set_protocol(session.protocol);
    reply.simple("RESET");
    Ok(())
}

fn select(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let number = integer(args[1])?;
    let number = u16::try_from(number).ok().filter(|number| *number < session.store().databases());
    session.database = number.ok_or(CommandError::DatabaseOutOfRange)?;
    reply.ok();
    Ok(())
}
