//! Commands about scripts. Without the feature `scripts` no script is ever known, and none can be run.
#![forbid(unsafe_code)]

use crate::commands::arguments::is_option;
use crate::commands::subcommand::{self, Subcommand};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags, summary, handler| Command {
        name,
        arity,
        flags: Flags::NO_SCRIPT.and(flags),
        keys: KeyPositions::NONE,
        group: Group::Scripting,
        summary,
        handler,
    };
    let run = Flags::EXCLUSIVE;
    let read = run.and(Flags::READ);
    vec![
        command("eval", -3, run, "Runs a script.", |session, args, reply| {
            scripts::eval(session, args, false, reply)
        }),
        command("evalsha", -3, run, "Runs the script with a digest.", |session, args, reply| {
            scripts::evalsha(session, args, false, reply)
        }),
        command(
            "eval_ro",
            -3,
            read,
            "Runs a script that changes nothing.",
            |session, args, reply| scripts::eval(session, args, true, reply),
        ),
        command(
            "evalsha_ro",
            -3,
            read,
            "Runs the script with a digest, which changes nothing.",
            |session, args, reply| scripts::evalsha(session, args, true, reply),
        ),
        command("script", -2, Flags::NONE, "Loads and lists scripts.", script),
    ]
}

fn script(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    subcommand::run("SCRIPT", SCRIPT, session, args, reply)
}

pub(super) const SCRIPT: &[Subcommand] = &[
    Subcommand {
        name: "exists",
        arity: -3,
        handler: |session, args, reply| {
            let digests = &args[2..];
            reply.array(digests.len());
            digests.iter().for_each(|digest| reply.integer(scripts::is_known(session, digest)));
            Ok(())
        },
        help: ["EXISTS <sha1> [<sha1> ...]", "Return which of the scripts are known."],
    },
    Subcommand {
        name: "flush",
        arity: -2,
        handler: |session, args, reply| {
            // It makes no difference here whether memory is freed at once.
            match &args[2..] {
                [] => {}
                [mode] if is_option(mode, "SYNC") || is_option(mode, "ASYNC") => {}
                _ => {
                    let text = "ERR SCRIPT FLUSH only support SYNC|ASYNC option";
                    return Err(CommandError::other(text));
                }
            }
            scripts::clear(session);
            reply.ok();
            Ok(())
        },
        help: ["FLUSH [ASYNC|SYNC]", "Forget all scripts."],
    },
    Subcommand {
        name: "kill",
        arity: 2,
        // A script excludes every other command, so none runs now.
        handler: |_, _, _| Err(CommandError::other("NOTBUSY No scripts in execution right now.")),
        help: ["KILL", "Do nothing: a script that runs for too long is ended."],
    },
    Subcommand {
        name: "load",
        arity: 3,
        handler: |session, args, reply| scripts::load(session, args[2], reply),
        help: ["LOAD <script>", "Keep a script without running it, and return its digest."],
    },
];

#[cfg(not(feature = "scripts"))]
mod scripts {
    use super::{Args, CommandError, Reply, Session};

    fn not_built_in() -> CommandError {
        CommandError::other("ERR scripts are not built in; build with the feature 'scripts'")
    }

    pub(super) fn eval(
        _: &mut Session,
        _: &Args<'_>,
        _: bool,
        _: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        Err(not_built_in())
    }

    pub(super) fn evalsha(
        _: &mut Session,
        _: &Args<'_>,
        _: bool,
        _: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        Err(not_built_in())
    }

    pub(super) fn load(_: &mut Session, _: &[u8], _: &mut Reply<'_>) -> Result<(), CommandError> {
        Err(not_built_in())
    }

    pub(super) fn is_known(_: &Session, _: &[u8]) -> bool {
        false
    }

    pub(super) fn clear(_: &Session) {}
}

#[cfg(feature = "scripts")]
mod scripts {
    use super::{Args, CommandError, Reply, Session};
    use crate::commands::arguments::integer;
    use crate::interpreter::{Invocation, compile, run};
    use crate::scripts::ScriptDigest;

    pub(super) fn eval(
        session: &mut Session,
        args: &Args<'_>,
        is_read_only: bool,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        let (keys, arguments) = split(args)?;
        let source = args[1];
        let is_read_only = flags_of(source)?.unwrap_or(is_read_only) || is_read_only;
        let digest = ScriptDigest::of(source);
        compile(session, digest, &without_flags(source))?;
        session.shared.scripts.add(source);
        let source = &without_flags(source);
        run(session, &Invocation { digest, source, keys, arguments, is_read_only }, reply)
    }

    pub(super) fn evalsha(
        session: &mut Session,
        args: &Args<'_>,
        is_read_only: bool,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        let unknown = || CommandError::other("NOSCRIPT No matching script. Please use EVAL.");
        // As with Redis, what cannot be a digest is refused first.
        let digest = ScriptDigest::parse(args[1]).ok_or_else(unknown)?;
        let (keys, arguments) = split(args)?;
        let source = session.shared.scripts.get(digest).ok_or_else(unknown)?;
        let is_read_only = flags_of(&source)?.unwrap_or(is_read_only) || is_read_only;
        let source = &without_flags(&source);
        run(session, &Invocation { digest, source, keys, arguments, is_read_only }, reply)
    }

    /// The keys and the arguments after the number of keys.
    fn split<'a>(args: &'a Args<'a>) -> Result<(&'a Args<'a>, &'a Args<'a>), CommandError> {
        let count = integer(args[2])?;
        let count = usize::try_from(count)
            .map_err(|_| CommandError::other("ERR Number of keys can't be negative"))?;
        args[3..].split_at_checked(count).ok_or_else(|| {
            CommandError::other("ERR Number of keys can't be greater than number of args")
        })
    }

    /// Whether the flags in the first line of a script, if it has any, say that the script changes nothing.
    fn flags_of(source: &[u8]) -> Result<Option<bool>, CommandError> {
        let Some(rest) = source.strip_prefix(b"#!") else { return Ok(None) };
        let end = rest.iter().position(|byte| *byte == b'\n');
        let Some(end) = end else {
            return Err(CommandError::other("ERR Invalid script shebang"));
        };
        let line = String::from_utf8_lossy(&rest[..end]);
        let mut words = line.split_whitespace();
        let engine = words.next().unwrap_or_default();
        if engine != "lua" {
            let text = format!("ERR Unexpected engine in script shebang: #!{engine}");
            return Err(CommandError::other(text));
        }
        let mut is_read_only = false;
        for word in words {
            let Some(flags) = word.strip_prefix("flags=") else {
                let text = format!("ERR Unknown lua shebang option: {word}");
                return Err(CommandError::other(text));
            };
            for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
                match flag {
                    "no-writes" => is_read_only = true,
                    "allow-oom" | "allow-stale" | "no-cluster" | "allow-cross-slot-keys" => {}
                    flag => {
                        let text = format!("ERR Unexpected flag in script shebang: {flag}");
                        return Err(CommandError::other(text));
                    }
                }
            }
        }
        Ok(Some(is_read_only))
    }

    /// The script with an empty first line instead of one with flags, so that lines keep their numbers.
    fn without_flags(source: &[u8]) -> std::borrow::Cow<'_, [u8]> {
        match source.iter().position(|byte| *byte == b'\n') {
            Some(end) if source.starts_with(b"#!") => source[end..].into(),
            _ => source.into(),
        }
    }

    pub(super) fn load(
        session: &mut Session,
        source: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        flags_of(source)?;
        let digest = ScriptDigest::of(source);
        compile(session, digest, &without_flags(source))?;
        session.shared.scripts.add(source);
        reply.bulk(digest.as_str().as_bytes());
        Ok(())
    }

    pub(super) fn is_known(session: &Session, digest: &[u8]) -> bool {
        ScriptDigest::parse(digest)
            .is_some_and(|digest| session.shared.scripts.get(digest).is_some())
    }

    pub(super) fn clear(session: &Session) {
        session.shared.scripts.clear();
    }
}
