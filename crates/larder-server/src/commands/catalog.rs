//! `COMMAND`: what commands there are.
#![forbid(unsafe_code)]

use crate::commands::arguments::is_option;
use crate::commands::subcommand::{self, Subcommand};
use crate::commands::usage;
use crate::error::CommandError;
use crate::glob;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};

pub(crate) fn table() -> Vec<Command> {
    vec![Command {
        name: "command",
        arity: -1,
        flags: Flags::NONE,
        keys: KeyPositions::NONE,
        group: Group::Server,
        summary: "What commands there are.",
        handler: catalog,
    }]
}

pub(super) const COMMAND: &[Subcommand] = &[
    Subcommand {
        name: "count",
        arity: 2,
        handler: count,
        help: ["COUNT", "Return how many commands there are."],
    },
    Subcommand {
        name: "info",
        arity: -2,
        handler: info,
        help: ["INFO [<name> ...]", "Return what these commands, or all, need and do."],
    },
    Subcommand {
        name: "docs",
        arity: -2,
        handler: docs,
        help: ["DOCS [<name> ...]", "Return texts about these commands, or all."],
    },
    Subcommand {
        name: "list",
        arity: -2,
        handler: list,
        help: [
            "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
            "Return the names of the commands.",
        ],
    },
    Subcommand {
        name: "getkeys",
        arity: -3,
        handler: keys,
        help: ["GETKEYS <command>", "Return the keys of a command with its arguments."],
    },
    Subcommand {
        name: "getkeysandflags",
        arity: -3,
        handler: keys_and_flags,
        help: ["GETKEYSANDFLAGS <command>", "Return the keys of a command and their uses."],
    },
];

fn catalog(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    if args.len() == 1 {
        return info(session, &[args[0], b"info"], reply);
    }
    subcommand::run("COMMAND", COMMAND, session, args, reply)
}

fn count(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply.count(session.commands.len());
    Ok(())
}

fn info(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let names = &args[2..];
    if names.is_empty() {
        reply.array(session.commands.len());
        session.commands.iter().for_each(|command| write_info(command, reply));
        return Ok(());
    }
    reply.array(names.len());
    for name in names {
        match session.commands.find(name) {
            Some((_, command)) => write_info(command, reply),
            None => reply.null_array(),
        }
    }
    Ok(())
}

/// The flags of a command, by the names that Redis has for them.
fn flag_names(command: &Command) -> Vec<&'static str> {
    let named = [
        (Flags::WRITE, "write"),
        (Flags::READ, "readonly"),
        (Flags::DENY_OOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::NO_SCRIPT, "noscript"),
        (Flags::FAST, "fast"),
        (Flags::NO_AUTH, "no_auth"),
        (Flags::NO_MULTI, "no_multi"),
    ];
    named.into_iter().filter(|(flag, _)| command.flags.has(*flag)).map(|(_, name)| name).collect()
}

/// The categories of a command, by the names that Redis has for them.
fn categories(command: &Command) -> Vec<&'static str> {
    let flags = command.flags;
    let group = match command.group {
        Group::Connection => Some("@connection"),
        Group::String => Some("@string"),
        Group::Bitmap => Some("@bitmap"),
        Group::Hash => Some("@hash"),
        Group::Generic | Group::Larder => Some("@keyspace"),
        Group::PubSub => Some("@pubsub"),
        Group::Transactions => Some("@transaction"),
        Group::Scripting => Some("@scripting"),
        Group::Server => None,
    };
    let named = [
        (flags.has(Flags::READ), "@read"),
        (flags.has(Flags::WRITE), "@write"),
        (flags.has(Flags::ADMIN), "@admin"),
        (flags.has(Flags::ADMIN), "@dangerous"),
        (flags.has(Flags::FAST), "@fast"),
        (!flags.has(Flags::FAST), "@slow"),
    ];
    let by_flag = named.into_iter().filter(|(applies, _)| *applies).map(|(_, name)| name);
    group.into_iter().chain(by_flag).collect()
}

fn write_info(command: &Command, reply: &mut Reply<'_>) {
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(command.arity);
    write_names(&flag_names(command), reply);
    reply.integer(command.keys.first);
    reply.integer(command.keys.last);
    reply.integer(command.keys.step);
    write_names(&categories(command), reply);
    // Hints, specifications of keys, and subcommands.
    reply.array(0);
    reply.array(0);
    reply.array(0);
}

fn write_names(names: &[&str], reply: &mut Reply<'_>) {
    reply.set(names.len());
    for name in names {
        reply.simple(name);
    }
}

fn docs(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let chosen: Vec<&Command> = match &args[2..] {
        [] => session.commands.iter().collect(),
        names => {
            let mut found = Vec::new();
            for name in names {
                let known = session.commands.find(name).map(|(_, command)| command);
                found.extend(
                    known.filter(|it| !found.iter().any(|other: &&Command| it.name == other.name)),
                );
            }
            found
        }
    };
    reply.map(chosen.len());
    for command in chosen {
        reply.bulk(command.name.as_bytes());
        reply.map(4);
        for (name, text) in
            [("summary", command.summary), ("since", "1.0.0"), ("group", command.group.name())]
        {
            reply.bulk(name.as_bytes());
            reply.bulk(text.as_bytes());
        }
        reply.bulk(b"arguments");
        write_arguments(command, reply);
    }
    Ok(())
}

/// The names of the arguments, from which redis-cli makes its hints.
fn write_arguments(command: &Command, reply: &mut Reply<'_>) {
    let arguments: Vec<_> = usage::arguments(command.name).collect();
    reply.array(arguments.len());
    for argument in arguments {
        let flags: Vec<&str> =
            [(argument.is_optional, "optional"), (argument.is_repeated, "multiple")]
                .into_iter()
                .filter_map(|(applies, name)| applies.then_some(name))
                .collect();
        reply.map(4);
        // Versions of redis-cli differ in which of the two they show.
        for (name, text) in
            [("name", argument.name), ("display_text", argument.name), ("type", "string")]
        {
            reply.bulk(name.as_bytes());
            reply.bulk(text.as_bytes());
        }
        reply.bulk(b"flags");
        write_names(&flags, reply);
    }
}

fn list(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let is_listed: Box<dyn Fn(&&Command) -> bool> = match args[2..] {
        [] => Box::new(|_| true),
        [filter, kind, value] if is_option(filter, "FILTERBY") => match () {
            // There are no modules.
            () if is_option(kind, "MODULE") => Box::new(|_| false),
            () if is_option(kind, "ACLCAT") => Box::new(move |command| {
                categories(command).iter().any(|name| is_option(value, &name[1..]))
            }),
            () if is_option(kind, "PATTERN") => {
                Box::new(move |command| glob::matches_ignoring_case(value, command.name.as_bytes()))
            }
            () => return Err(CommandError::Syntax),
        },
        _ => return Err(CommandError::Syntax),
    };
    let names: Vec<&str> =
        session.commands.iter().filter(is_listed).map(|command| command.name).collect();
    reply.set(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(())
}

/// A command and its keys among its arguments.
fn keys_of<'a>(
    session: &Session,
    args: &'a Args<'a>,
) -> Result<(&'static Command, impl ExactSizeIterator<Item = &'a [u8]>), CommandError> {
    let table = session.commands;
    let Some((_, command)) = table.find(args[0]) else {
        return Err(CommandError::other("ERR Invalid command specified"));
    };
    if command.keys == KeyPositions::NONE {
        return Err(CommandError::other("ERR The command has no key arguments"));
    }
    if !command.accepts(args.len()) {
        let text = "ERR Invalid number of arguments specified for command";
        return Err(CommandError::other(text));
    }
    let at = |position: i8| usize::try_from(position).unwrap_or_default();
    // A negative last position counts from the end.
    let last = match command.keys.last {
        last @ ..0 => args.len() - usize::from(last.unsigned_abs()),
        last => at(last),
    };
    let keys = args.get(at(command.keys.first)..=last).unwrap_or_default();
    Ok((command, keys.iter().copied().step_by(at(command.keys.step).max(1))))
}

fn keys(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (_, keys) = keys_of(session, &args[2..])?;
    reply.array(keys.len());
    keys.for_each(|key| reply.bulk(key));
    Ok(())
}

fn keys_and_flags(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let (command, keys) = keys_of(session, &args[2..])?;
    let flags: &[&str] = if command.flags.has(Flags::WRITE) {
        &["RW", "access", "update"]
    } else {
        &["RO", "access"]
    };
    reply.array(keys.len());
    for key in keys {
        reply.array(2);
        reply.bulk(key);
        write_names(flags, reply);
    }
    Ok(())
}
