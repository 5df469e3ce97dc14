//! Commands that visit many keys, or the fields of a hash.
#![forbid(unsafe_code)]

use crate::commands::arguments::{integer, is_option};
use crate::commands::keys::type_name;
use crate::error::CommandError;
use crate::glob;
use crate::resp::{Protocol, Reply};
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, keys, group, summary, handler| Command {
        name,
        arity,
        flags: Flags::READ,
        keys,
        group,
        summary,
        handler,
    };
    vec![
        command(
            "scan",
            -2,
            KeyPositions::NONE,
            Group::Generic,
            "Some keys, and the cursor with which to go on.",
            scan,
        ),
        command(
            "keys",
            2,
            KeyPositions::NONE,
            Group::Generic,
            "All keys that match a pattern.",
            keys,
        ),
        command(
            "hscan",
            -3,
            KeyPositions::ONE,
            Group::Hash,
            "The fields of a hash and their values.",
            hscan,
        ),
    ]
}

/// The options of `SCAN` and `HSCAN`.
#[derive(Clone, Copy, Debug)]
struct ScanOptions<'a> {
    /// `None` if everything matches.
    pattern: Option<&'a [u8]>,
    count: usize,
    type_name: Option<&'a [u8]>,
    has_no_values: bool,
}

/// Whose options these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scanned {
    Keys,
    Fields,
}

impl<'a> ScanOptions<'a> {
    fn parse(mut rest: &'a Args<'a>, scanned: Scanned) -> Result<Self, CommandError> {
        let mut options = Self { pattern: None, count: 10, type_name: None, has_no_values: false };
        while let Some((option, after)) = rest.split_first() {
            if scanned == Scanned::Fields && is_option(option, "NOVALUES") {
                options.has_no_values = true;
                rest = after;
                continue;
            }
            let (value, after) = after.split_first().ok_or(CommandError::Syntax)?;
            rest = after;
            match () {
                () if is_option(option, "COUNT") => {
                    let count = integer(value)?;
                    if count < 1 {
                        return Err(CommandError::Syntax);
                    }
                    options.count = usize::try_from(count).unwrap_or(usize::MAX);
                }
                () if is_option(option, "MATCH") => {
                    options.pattern = Some(*value).filter(|pattern| *pattern != b"*");
                }
                () if scanned == Scanned::Keys && is_option(option, "TYPE") => {
                    options.type_name = Some(value);
                }
                () => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    fn matches(&self, text: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, text))
    }
}

/// A cursor, which is any number of 64 bits.
fn cursor(text: &[u8]) -> Result<u64, CommandError> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let parsed = is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten();
    parsed.ok_or_else(|| CommandError::other("ERR invalid cursor"))
}

/// Byte strings that are written before their number is known.
struct Collected {
    encoded: Vec<u8>,
    count: usize,
}

impl Collected {
    const fn new() -> Self {
        Self { encoded: Vec::new(), count: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        Reply::new(&mut self.encoded, Protocol::default()).bulk(bytes);
        self.count += 1;
    }

    fn write(self, reply: &mut Reply<'_>) {
        reply.array(self.count);
        reply.raw(&self.encoded);
    }
}

fn scan(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let cursor = cursor(args[1])?;
    let options = ScanOptions::parse(&args[2..], Scanned::Keys)?;
    let mut found = Collected::new();
    let next = session.db().scan_in_steps(cursor, options.count, |key, value| {
        let is_of_type = |name: &[u8]| name.eq_ignore_ascii_case(type_name(value).as_bytes());
        if options.matches(key) && options.type_name.is_none_or(is_of_type) {
            found.push(key);
        }
    });
    reply.array(2);
    reply.display(next);
    found.write(reply);
    Ok(())
}

fn keys(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let matches_all = args[1] == b"*";
    let mut found = Collected::new();
    session.db().scan_in_steps(0, usize::MAX, |key, _| {
        if matches_all || glob::matches(args[1], key) {
            found.push(key);
        }
    });
    found.write(reply);
    Ok(())
}

/// A small hash is answered whole, however many fields are asked for: parts of it would gain nothing.
fn hscan(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    cursor(args[2])?;
    let mut found = Collected::new();
    // As with Redis, options are checked only if there is a hash.
    let is_hash: Option<Result<(), CommandError>> = session.db().read(args[1], |value| {
        let hash = value.as_hash().ok_or(CommandError::WrongType)?;
        let options = ScanOptions::parse(&args[3..], Scanned::Fields)?;
        for (field, value) in hash.iter().filter(|(field, _)| options.matches(field)) {
            found.push(field);
            if !options.has_no_values {
                found.push(value);
            }
        }
        Ok(())
    });
    session.count_lookup(is_hash.is_some());
    is_hash.unwrap_or(Ok(()))?;
    reply.array(2);
    reply.bulk(b"0");
    found.write(reply);
    Ok(())
}
