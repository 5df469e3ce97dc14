//! `CONFIG`: parameters that are read and changed while the server runs.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use crate::commands::subcommand::{self, Subcommand};
use crate::error::CommandError;
use crate::glob;
use crate::parameters::{self, PARAMETERS, Parameter};
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};

pub(crate) fn table() -> Vec<Command> {
    vec![Command {
        name: "config",
        arity: -2,
        flags: Flags::ADMIN.and(Flags::NO_SCRIPT),
        keys: KeyPositions::NONE,
        group: Group::Server,
        summary: "Reads and changes parameters of the server.",
        handler: config,
    }]
}

pub(super) const CONFIG: &[Subcommand] = &[
    Subcommand {
        name: "get",
        arity: -3,
        handler: get,
        help: ["GET <pattern> [<pattern> ...]", "Return the parameters of these names."],
    },
    Subcommand {
        name: "set",
        arity: -4,
        handler: set,
        help: [
            "SET <parameter> <value> [<parameter> <value> ...]",
            "Change parameters: all of them, or none if one cannot be changed.",
        ],
    },
    Subcommand {
        name: "resetstat",
        arity: 2,
        handler: reset_stats,
        help: ["RESETSTAT", "Let the counts of INFO begin anew."],
    },
    Subcommand {
        name: "rewrite",
        arity: 2,
        handler: rewrite,
        help: ["REWRITE", "Not possible: the server does not change its file."],
    },
];

fn config(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    subcommand::run("CONFIG", CONFIG, session, args, reply)
}

fn get(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let is_asked_for = |parameter: &&Parameter| {
        let name = parameter.name.as_bytes();
        args[2..].iter().any(|pattern| glob::matches_ignoring_case(pattern, name))
    };
    let found: Vec<&Parameter> = PARAMETERS.iter().filter(is_asked_for).collect();
    reply.map(found.len());
    for parameter in found {
        reply.bulk(parameter.name.as_bytes());
        reply.bulk(parameter.get(&session.shared).as_bytes());
    }
    Ok(())
}

fn set(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let (pairs, rest) = args[2..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(CommandError::Syntax);
    }
    let failed = |name: &str, reason: &dyn std::fmt::Display| {
        CommandError::other(format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
        ))
    };
    let mut names = BTreeSet::new();
    let mut changes = Vec::new();
    for [name, value] in pairs {
        let Some(parameter) = parameters::find(name) else {
            let name = name[..name.len().min(128)].escape_ascii();
            let text = "ERR Unknown option or number of arguments for CONFIG SET";
            return Err(CommandError::other(format!("{text} - '{name}'")));
        };
        if !names.insert(parameter.name) {
            return Err(failed(parameter.name, &"duplicate parameter"));
        }
        changes.push((parameter, value));
    }
    let mut done: Vec<(&Parameter, String)> = Vec::new();
    for (parameter, value) in changes {
        let old = parameter.get(&session.shared);
        if let Err(error) = parameter.set(&session.shared, value) {
            for (parameter, old) in done.iter().rev() {
                // What it was is allowed.
                let _ = parameter.set(&session.shared, old.as_bytes());
            }
            return Err(failed(parameter.name, &error));
        }
        done.push((parameter, old));
    }
    reply.ok();
    Ok(())
}

fn reset_stats(
    session: &mut Session,
    _: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    session.shared.stats.reset(session.shared.totals());
    reply.ok();
    Ok(())
}

fn rewrite(_: &mut Session, _: &Args<'_>, _: &mut Reply<'_>) -> Result<(), CommandError> {
    Err(CommandError::other("ERR The server is running without a config file"))
}
