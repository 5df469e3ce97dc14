//! Commands that have subcommands, such as `CONFIG GET`.
#![forbid(unsafe_code)]

use crate::commands::arguments::is_option;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Handler};

/// A subcommand.
pub(crate) struct Subcommand {
    /// In lower case.
    pub(crate) name: &'static str,
    /// How many arguments it has, with both names; if negative, at least that many.
    pub(crate) arity: i8,
    pub(crate) handler: Handler,
    /// A line of `HELP` with its arguments, and one that says what it does.
    pub(crate) help: [&'static str; 2],
}

/// Executes the subcommand that the second argument names.
pub(crate) fn run(
    command: &'static str,
    subcommands: &'static [Subcommand],
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    match find(command, subcommands, args)? {
        Some(found) => (found.handler)(session, args, reply),
        None => {
            help(command, subcommands, reply);
            Ok(())
        }
    }
}

/// The subcommand that the second argument names; `None` is `HELP`.
pub(crate) fn find(
    command: &'static str,
    subcommands: &'static [Subcommand],
    args: &Args<'_>,
) -> Result<Option<&'static Subcommand>, CommandError> {
    let given = args[1];
    let Some(found) = subcommands.iter().find(|known| is_option(given, known.name)) else {
        if is_option(given, "HELP") && args.len() == 2 {
            return Ok(None);
        }
        let subcommand = given[..given.len().min(128)].escape_ascii().to_string();
        return Err(CommandError::UnknownSubcommand { command, subcommand });
    };
    let arity = usize::from(found.arity.unsigned_abs());
    let fits = if found.arity < 0 { args.len() >= arity } else { args.len() == arity };
    if !fits {
        let name = format!("{}|{}", command.to_ascii_lowercase(), found.name);
        return Err(CommandError::WrongArity { name });
    }
    Ok(Some(found))
}

fn help(command: &str, subcommands: &[Subcommand], reply: &mut Reply<'_>) {
    reply.array(subcommands.len() * 2 + 3);
    reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for Subcommand { help: [usage, summary], .. } in subcommands {
        reply.simple(usage);
        reply.simple(&format!("    {summary}"));
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}
