//! Commands about the server.
#![forbid(unsafe_code)]

use crate::commands::arguments::{integer, is_option};
use crate::commands::subcommand::{self, Subcommand};
use crate::error::CommandError;
use crate::info;
use crate::persistence::SaveError;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};
use crate::unix_time;

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
    let admin = Flags::ADMIN.and(Flags::NO_SCRIPT);
    let server = Group::Server;
    vec![
        command("info", -1, Flags::NONE, server, "What the server is and does.", show_info),
        command("time", 1, Flags::FAST, server, "The time of the server's clock.", time),
        command("shutdown", -1, admin.and(Flags::NO_MULTI), server, "Ends the server.", shutdown),
        command("lolwut", -1, Flags::FAST, server, "The version of the server.", lolwut),
        command("slowlog", -2, admin, server, "A log of slow commands, which is empty.", slowlog),
        command("latency", -2, admin, server, "A log of delays, which is empty.", latency),
        command("acl", -2, admin, server, "Who the client is.", acl),
        command(
            "cluster",
            -2,
            Flags::NONE,
            server,
            "Fails: the server is not part of a cluster.",
            cluster,
        ),
        command(
            "function",
            -2,
            Flags::NO_SCRIPT,
            Group::Scripting,
            "Functions, of which there are none.",
            function,
        ),
    ]
}

fn show_info(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.verbatim(&info::text(&session.shared, session.commands, &args[1..]));
    Ok(())
}

fn time(_: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let now = unix_time::now();
    reply.array(2);
    reply.display(now.as_secs());
    reply.display(now.subsec_micros());
    Ok(())
}

/// There is no reply if the server ends: the connection is closed.
fn shutdown(session: &mut Session, args: &Args<'_>, _: &mut Reply<'_>) -> Result<(), CommandError> {
    let mut saves = None;
    for option in &args[1..] {
        match () {
            () if is_option(option, "SAVE") => saves = Some(true),
            () if is_option(option, "NOSAVE") => saves = Some(false),
            () if is_option(option, "NOW") || is_option(option, "FORCE") => {}
            () if is_option(option, "ABORT") => {
                return Err(CommandError::other("ERR No shutdown in progress."));
            }
            () => return Err(CommandError::Syntax),
        }
    }
    if saves == Some(true) && session.shared.config.persistence.path.is_none() {
        return Err(CommandError::other(format!("ERR {}", SaveError::NoPath)));
    }
    if let Some(saves) = saves {
        session.shared.save_at_shutdown(saves);
    }
    session.closes = true;
    session.shared.want_shutdown();
    Ok(())
}

fn lolwut(_: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply.verbatim(concat!("larder ", env!("CARGO_PKG_VERSION"), "\n"));
    Ok(())
}

pub(super) const SLOWLOG: &[Subcommand] = &[
    Subcommand {
        name: "get",
        arity: -2,
        handler: |_, args, reply| {
            if args
                .get(2)
                .map(|count| integer(count))
                .is_some_and(|count| !matches!(count, Ok(-1..)))
            {
                let text = "ERR count should be greater than or equal to -1";
                return Err(CommandError::other(text));
            }
            reply.array(0);
            Ok(())
        },
        help: ["GET [<count>]", "Return no commands: their times are not kept."],
    },
    Subcommand {
        name: "len",
        arity: 2,
        handler: |_, _, reply| {
            reply.integer(0);
            Ok(())
        },
        help: ["LEN", "Return 0."],
    },
    Subcommand {
        name: "reset",
        arity: 2,
        handler: |_, _, reply| {
            reply.ok();
            Ok(())
        },
        help: ["RESET", "Do nothing."],
    },
];

fn slowlog(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    subcommand::run("SLOWLOG", SLOWLOG, session, args, reply)
}

pub(super) const LATENCY: &[Subcommand] = &[
    Subcommand {
        name: "latest",
        arity: 2,
        handler: |_, _, reply| {
            reply.array(0);
            Ok(())
        },
        help: ["LATEST", "Return no events: delays are not kept."],
    },
    Subcommand {
        name: "history",
        arity: 3,
        handler: |_, _, reply| {
            reply.array(0);
            Ok(())
        },
        help: ["HISTORY <event>", "Return no delays."],
    },
    Subcommand {
        name: "reset",
        arity: -2,
        handler: |_, _, reply| {
            reply.integer(0);
            Ok(())
        },
        help: ["RESET [<event> ...]", "Return 0: no event was forgotten."],
    },
    Subcommand {
        name: "doctor",
        arity: 2,
        handler: |_, _, reply| {
            reply.verbatim("Delays are not kept; the server's metrics have a histogram.");
            Ok(())
        },
        help: ["DOCTOR", "Say where to look instead."],
    },
];

fn latency(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    subcommand::run("LATENCY", LATENCY, session, args, reply)
}

pub(super) const ACL: &[Subcommand] = &[Subcommand {
    name: "whoami",
    arity: 2,
    handler: |_, _, reply| {
        reply.bulk(b"default");
        Ok(())
    },
    help: ["WHOAMI", "Return `default`: there are no other users."],
}];

fn acl(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    subcommand::run("ACL", ACL, session, args, reply)
}

fn cluster(_: &mut Session, _: &Args<'_>, _: &mut Reply<'_>) -> Result<(), CommandError> {
    Err(CommandError::other("ERR This instance has cluster support disabled"))
}

pub(super) const FUNCTION: &[Subcommand] = &[
    Subcommand {
        name: "flush",
        arity: -2,
        handler: |_, args, reply| {
            match &args[2..] {
                [] => reply.ok(),
                [mode] if is_option(mode, "SYNC") || is_option(mode, "ASYNC") => reply.ok(),
                _ => {
                    let text = "ERR FUNCTION FLUSH only supports SYNC|ASYNC option";
                    return Err(CommandError::other(text));
                }
            }
            Ok(())
        },
        help: ["FLUSH [ASYNC|SYNC]", "Do nothing: there are no functions."],
    },
    Subcommand {
        name: "list",
        arity: -2,
        handler: |_, _, reply| {
            reply.array(0);
            Ok(())
        },
        help: ["LIST", "Return no functions."],
    },
];

fn function(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    subcommand::run("FUNCTION", FUNCTION, session, args, reply)
}
