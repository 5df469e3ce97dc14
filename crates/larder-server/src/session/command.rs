//! What a command is, and the table of all.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::Session;
use crate::error::CommandError;
use crate::resp::Reply;

/// The arguments of a command, with its name first.
pub(crate) type Args<'a> = [&'a [u8]];

/// Executes a command. If it fails, what it has written is taken back, and the error is the reply.
pub(crate) type Handler = fn(&mut Session, &Args<'_>, &mut Reply<'_>) -> Result<(), CommandError>;

/// What a command needs and does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u16);

impl Flags {
    pub(crate) const NONE: Self = Self(0);
    /// It may change keys.
    pub(crate) const WRITE: Self = Self(1);
    /// It reads keys.
    pub(crate) const READ: Self = Self(2);
    /// It takes constant time.
    pub(crate) const FAST: Self = Self(4);
    /// No other command may run beside it.
    pub(crate) const EXCLUSIVE: Self = Self(8);
    /// A client that has not authenticated yet may use it.
    pub(crate) const NO_AUTH: Self = Self(16);
    /// It is executed at once within `MULTI`, not queued.
    pub(crate) const UNQUEUED: Self = Self(32);
    /// A client that has subscribed may use it in version 2 of the protocol.
    pub(crate) const SUBSCRIBED: Self = Self(64);
    /// It is not allowed within a transaction.
    pub(crate) const NO_MULTI: Self = Self(128);
    /// It is not allowed in a script.
    pub(crate) const NO_SCRIPT: Self = Self(256);
    /// It is for administrators.
    pub(crate) const ADMIN: Self = Self(512);
    /// It is about messages.
    pub(crate) const PUBSUB: Self = Self(1024);
    /// It may let the cache grow.
    pub(crate) const DENY_OOM: Self = Self(2048);
    /// No other command may run beside it if its first argument is `TRACKING`.
    pub(crate) const ADMITS_TRACKERS: Self = Self(4096);

    /// The union of both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where the keys are among the arguments: from the first to the last, in steps; a negative last one counts from the
/// end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyPositions {
    pub(crate) first: i8,
    pub(crate) last: i8,
    pub(crate) step: i8,
}

impl KeyPositions {
    pub(crate) const NONE: Self = Self { first: 0, last: 0, step: 0 };
    pub(crate) const ONE: Self = Self { first: 1, last: 1, step: 1 };
    pub(crate) const TWO: Self = Self { first: 1, last: 2, step: 1 };
    pub(crate) const ALL: Self = Self { first: 1, last: -1, step: 1 };
    /// Keys and values in turns.
    pub(crate) const PAIRS: Self = Self { first: 1, last: -1, step: 2 };

    /// The keys among these arguments.
    pub(crate) fn of<'a>(self, args: &Args<'a>) -> impl Iterator<Item = &'a [u8]> {
        let unsigned = |position: i8| usize::from(position.unsigned_abs());
        let end = match self.last {
            0 => 0,
            last @ 1.. => args.len().min(unsigned(last) + 1),
            last => (args.len() + 1).saturating_sub(unsigned(last)),
        };
        let keys = args.get(unsigned(self.first)..end).unwrap_or_default();
        keys.iter().step_by(unsigned(self.step).max(1)).copied()
    }
}

/// The groups in which the documentation of Redis has its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Connection,
    String,
    Bitmap,
    Hash,
    Generic,
    PubSub,
    Transactions,
    Scripting,
    Server,
    Larder,
}

impl Group {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::Hash => "hash",
            Self::Generic => "generic",
            Self::PubSub => "pubsub",
            Self::Transactions => "transactions",
            Self::Scripting => "scripting",
            Self::Server => "server",
            Self::Larder => "larder",
        }
    }
}

/// A command.
#[derive(Debug)]
pub(crate) struct Command {
    /// In lower case.
    pub(crate) name: &'static str,
    /// How many arguments it has, with its name; if negative, at least that many.
    pub(crate) arity: i8,
    pub(crate) flags: Flags,
    pub(crate) keys: KeyPositions,
    pub(crate) group: Group,
    /// What it does, for `COMMAND DOCS`.
    pub(crate) summary: &'static str,
    pub(crate) handler: Handler,
}

impl Command {
    /// Whether it may have this many arguments, with the name.
    pub(crate) fn accepts(&self, arguments: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { arguments >= arity } else { arguments == arity }
    }
}

/// Checks that a command with subcommands has the one that its arguments name.
pub(crate) type SubcommandCheck = fn(&Args<'_>) -> Result<(), CommandError>;

/// The commands, which are found by their names.
#[derive(Debug)]
pub(crate) struct CommandTable {
    pub(crate) check_subcommand: SubcommandCheck,
    commands: Vec<Command>,
    by_name: HashMap<&'static [u8], usize, ahash::RandomState>,
    /// `GET` and `SET`, which most requests are, by their indexes.
    frequent: [Option<usize>; 2],
}

/// The longest name of a command.
const MAX_NAME_BYTES: usize = 24;

impl CommandTable {
    /// # Panics
    /// If two commands have the same name.
    pub(crate) fn new(commands: Vec<Command>, check_subcommand: SubcommandCheck) -> Self {
        let names = commands.iter().map(|command| command.name.as_bytes());
        let by_name: HashMap<_, _, _> =
            names.enumerate().map(|(index, name)| (name, index)).collect();
        assert_eq!(by_name.len(), commands.len(), "a name appears twice");
        let frequent = ["get", "set"].map(|name| by_name.get(name.as_bytes()).copied());
        Self { check_subcommand, commands, by_name, frequent }
    }

    /// The command of a name, in upper or lower case, and its index.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<(usize, &Command)> {
        let index = match name {
            b"GET" | b"get" => self.frequent[0],
            b"SET" | b"set" => self.frequent[1],
            _ => self.find_by_hash(name),
        };
        index.map(|index| (index, &self.commands[index]))
    }

    fn find_by_hash(&self, name: &[u8]) -> Option<usize> {
        let mut lower = [0; MAX_NAME_BYTES];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).copied()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Command> {
        self.commands.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.commands.len()
    }
}

/// The error for a name that no command has.
pub(super) fn unknown_command(args: &Args<'_>) -> CommandError {
    const SHOWN_BYTES: usize = 128;
    let shown =
        |bytes: &[u8], at_most: usize| bytes[..bytes.len().min(at_most)].escape_ascii().to_string();
    let mut arguments = String::new();
    for argument in &args[1..] {
        // As with Redis, each argument gets the room that the ones before it have left.
        let room = SHOWN_BYTES.saturating_sub(arguments.len());
        if room == 0 {
            break;
        }
        arguments += &format!("'{}' ", shown(argument, room));
    }
    CommandError::UnknownCommand { name: shown(args[0], SHOWN_BYTES), arguments }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_positions() {
        let args: [&[u8]; 5] = [b"0", b"1", b"2", b"3", b"4"];
        for (positions, expected) in [
            (KeyPositions::NONE, ""),
            (KeyPositions::ONE, "1"),
            (KeyPositions::TWO, "12"),
            (KeyPositions::ALL, "1234"),
            (KeyPositions::PAIRS, "13"),
            (KeyPositions { first: 2, last: -2, step: 1 }, "23"),
        ] {
            let keys: Vec<_> = positions.of(&args).collect();
            assert_eq!(keys.concat(), expected.as_bytes(), "{positions:?}");
        }
        assert_eq!(KeyPositions::TWO.of(&args[..2]).count(), 1);
        assert_eq!(KeyPositions::ALL.of(&args[..1]).count(), 0);
    }
}
