//! `larder`: replays request traces through one shared [`larder::Cache`] and reports hit ratio,
//! throughput and latency by policy and capacity; simulates policies beside the optimum; generates
//! and describes traces; inspects and converts snapshots.
//!
//! The modules stand in the order of their dependencies, the commands first: each uses only those
//! below it.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

// What each command reads, runs and prints.
mod commands;
// The command line: options, their help and their defaults.
mod args;
// A cache for clients of Redis and memcached.
mod serve;
// What a server or any process with metrics does, on the terminal.
mod top;
// Results as tables, JSON, CSV and curves.
mod report;
// Miss-ratio curves as SVG.
mod plot;
// Policies over a trace on one thread, beside references and the optimum.
mod simulate;
// The optimum and published policies, for comparison.
mod reference;
// What misses cost.
mod costs;
// A trace through one shared cache, from several threads.
mod replay;
// Capacities as the user gives them, and what they count.
mod capacity;
// Saved caches: inspected, verified, converted and dumped.
mod snapshot;
// Synthetic traces and how they are written.
mod generate;
// Sizes for traces that have none.
mod sizes;
// The errors of all stages above traces, and exit codes.
mod error;
// Traces: files in several formats, and requests in memory.
mod trace;
// Random bits by key and seed.
mod mix;
// Text from outside that is shown.
mod harmless;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use crate::args::Cli;
use crate::error::CommandError;
use crate::harmless::harmless_lines;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let parsed = taking_negatives(Cli::command()).try_get_matches();
    let done = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => commands::run(cli),
        Err(error) if error.use_stderr() => with_tip(error).exit(),
        Err(help) => print_help(&help),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // A reader may close its pipe early: this is not a failure.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // If stderr is closed, only the exit code reports the failure.
            let text = harmless_lines(&error::with_causes(&failure));
            let _ = std::io::stderr().write_all(format!("error: {text}\n").as_bytes());
            failure.exit_code()
        }
    }
}

/// Lets options have negative numbers as their values. None takes one, but each says what it does take, which clap could
/// not do if it took `-1` for another option.
fn taking_negatives(command: clap::Command) -> clap::Command {
    let of_option = |arg: clap::Arg| match arg.is_positional() || !arg.get_action().takes_values() {
        true => arg,
        false => arg.allow_negative_numbers(true),
    };
    command.mut_args(of_option).mut_subcommands(taking_negatives)
}

/// Prints the help or the version, which clap returns as an error.
fn print_help(help: &clap::Error) -> Result<(), CommandError> {
    let printed = help.print().and_then(|()| std::io::stdout().flush());
    printed.map_err(CommandError::write("standard output"))
}

/// Suggests the command `replay` to a user who names a trace in place of a command.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let given = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(given)) if error.kind() == ErrorKind::InvalidSubcommand => given,
        _ => return error,
    };
    if Path::new(given).is_file() {
        let tip = format!("to replay this trace, run `larder replay {given}`");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}
