//! Commands about the connection.
#![forbid(unsafe_code)]

use crate::command::{Args, Command, Flags, Group, KeyPositions};
use crate::error::CommandError;
use crate::resp::{Protocol, Reply};
use crate::session::Session;

/// The version of Redis to whose commands ours conform. Some clients use what they know of it only from a
/// certain version on.
pub(crate) const REDIS_VERSION: &str = "7.4.0";

/// The version of this server.
pub(crate) const SERVER_VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags, summary, handler| Command {
        name,
        arity,
        flags,
        keys: KeyPositions::NONE,
        group: Group::Connection,
        summary,
        handler,
    };
    let always = Flags::FAST.and(Flags::NO_AUTH);
    vec![
        command(
            "ping",
            -1,
            Flags::FAST.and(Flags::SUBSCRIBED),
            "Answers PONG, or the text that it is given.",
            ping,
        ),
        command("echo", 2, Flags::FAST, "Answers the text that it is given.", echo),
        command(
            "hello",
            -1,
            always.and(Flags::NO_SCRIPT),
            "Chooses the version of the protocol.",
            hello,
        ),
        command(
            "quit",
            -1,
            always.and(Flags::SUBSCRIBED).and(Flags::UNQUEUED),
            "Closes the connection.",
            quit,
        ),
        command("select", 2, Flags::FAST, "Chooses the database.", select),
    ]
}

fn ping(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    match args {
        [_] if session.is_subscribed() && reply.protocol() == Protocol::Resp2 => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(b"");
        }
        [_] => reply.simple("PONG"),
        [_, text] => reply.bulk(text),
        _ => return Err(CommandError::WrongArity { name: "ping".to_owned() }),
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
    match args.get(1) {
        None => {}
        Some(&b"2") => session.protocol = Protocol::Resp2,
        Some(&b"3") => session.protocol = Protocol::Resp3,
        Some(_) => return Err(CommandError::UnsupportedProtocol),
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
    reply.count(usize::try_from(session.client.id.0).unwrap_or(usize::MAX));
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

fn quit(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    session.closes = true;
    reply.ok();
    Ok(())
}

fn select(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let number = std::str::from_utf8(args[1]).ok().and_then(|text| text.parse::<i64>().ok());
    let number = number.ok_or(CommandError::NotInteger)?;
    let number = u16::try_from(number).ok().filter(|number| *number < session.store().databases());
    session.database = number.ok_or(CommandError::DatabaseOutOfRange)?;
    reply.ok();
    Ok(())
}
