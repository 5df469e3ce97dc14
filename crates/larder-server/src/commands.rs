//! What the commands do, a file for each group.
#![forbid(unsafe_code)]

pub(crate) mod connection;
pub(crate) mod pubsub;
pub(crate) mod client;
pub(crate) mod tracking;
pub(crate) mod transactions;
pub(crate) mod persistence;
pub(crate) mod lcs;
pub(crate) mod numbers;
pub(crate) mod bits;
pub(crate) mod hashes;
pub(crate) mod strings;
pub(crate) mod scripting;
pub(crate) mod scan;
pub(crate) mod keys;
pub(crate) mod expiry;
pub(crate) mod object;
pub(crate) mod databases;
pub(crate) mod server;
pub(crate) mod config;
pub(crate) mod catalog;
pub(crate) mod larder;

// What several groups need.
pub(crate) mod usage;
pub(crate) mod subcommand;
pub(crate) mod arguments;
pub(crate) mod long_double;

use std::sync::LazyLock;

use crate::error::CommandError;
use crate::session::command::{Args, Command, CommandTable};
use arguments::is_option;
use subcommand::Subcommand;

/// All commands: those of each file, one after another.
pub(crate) static COMMANDS: LazyLock<CommandTable> = LazyLock::new(|| {
    let tables: &[fn() -> Vec<Command>] = &[
        connection::table,
        client::table,
        transactions::table,
        pubsub::table,
        strings::table,
        lcs::table,
        numbers::table,
        bits::table,
        hashes::table,
        scripting::table,
        keys::table,
        expiry::table,
        scan::table,
        databases::table,
        server::table,
        config::table,
        catalog::table,
        larder::table,
        persistence::table,
    ];
    CommandTable::new(tables.iter().flat_map(|table| table()).collect(), check_subcommand)
});

/// The commands that have subcommands, each with its name in upper case.
const FAMILIES: [(&str, &[Subcommand]); 11] = [
    ("ACL", server::ACL),
    ("CLIENT", client::SUBCOMMANDS),
    ("COMMAND", catalog::COMMAND),
    ("CONFIG", config::CONFIG),
    ("FUNCTION", server::FUNCTION),
    ("LATENCY", server::LATENCY),
    ("MEMORY", object::MEMORY),
    ("OBJECT", object::OBJECT),
    ("PUBSUB", pubsub::SUBCOMMANDS),
    ("SCRIPT", scripting::SCRIPT),
    ("SLOWLOG", server::SLOWLOG),
];

/// Whether the arguments of a command name a subcommand that exists and are as many as it takes; always if the command
/// has no subcommands.
fn check_subcommand(args: &Args<'_>) -> Result<(), CommandError> {
    let family = FAMILIES.iter().find(|(command, _)| is_option(args[0], command));
    match (family, args.len()) {
        (Some((command, subcommands)), 2..) => {
            subcommand::find(command, subcommands, args).map(|_| ())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name() {
        for command in COMMANDS.iter() {
            assert_eq!(command.name, command.name.to_ascii_lowercase());
            let upper = command.name.to_ascii_uppercase();
            assert_eq!(COMMANDS.find(upper.as_bytes()).unwrap().1.name, command.name);
            assert!(!command.summary.is_empty());
        }
        assert!(COMMANDS.find(b"").is_none() && COMMANDS.find(&[b'a'; 100]).is_none());
    }

    #[test]
    fn subcommands_of_every_family_are_checked() {
        for command in COMMANDS.iter().filter(|command| command.name != "cluster") {
            let is_family = usage::arguments(command.name)
                .any(|argument| argument.name.starts_with("subcommand"));
            let args: [&[u8]; 2] = [command.name.as_bytes(), b"nosuch"];
            assert_eq!(check_subcommand(&args).is_err(), is_family, "{}", command.name);
        }
    }
}
