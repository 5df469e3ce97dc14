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

use crate::session::command::{Command, CommandTable};

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
    CommandTable::new(tables.iter().flat_map(|table| table()).collect())
});

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
}
