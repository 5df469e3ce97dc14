//! `LCS`: the longest common subsequence of two strings.
#![forbid(unsafe_code)]

use crate::commands::arguments::{integer, is_option};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};

pub(crate) fn table() -> Vec<Command> {
    vec![Command {
        name: "lcs",
        arity: -3,
        flags: Flags::READ,
        keys: KeyPositions::TWO,
        group: Group::String,
        summary: "The longest common subsequence of the strings of two keys.",
        handler: lcs,
    }]
}

/// What the options ask for.
#[derive(Default)]
struct LcsOptions {
    wants_length: bool,
    wants_matches: bool,
    with_match_lengths: bool,
    min_match_len: usize,
}

impl LcsOptions {
    fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(option) = args.next() {
            if is_option(option, "IDX") {
                options.wants_matches = true;
            } else if is_option(option, "LEN") {
                options.wants_length = true;
            } else if is_option(option, "WITHMATCHLEN") {
                options.with_match_lengths = true;
            } else if is_option(option, "MINMATCHLEN") {
                let len = integer(args.next().ok_or(CommandError::Syntax)?)?;
                options.min_match_len = usize::try_from(len).unwrap_or(0);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.wants_length && options.wants_matches {
            let error = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(CommandError::other(error));
        }
        Ok(options)
    }
}

fn lcs(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let read = |key| {
        let found = session.db().read(key, |value| value.as_bytes().map(<[u8]>::to_vec));
        session.count_lookup(found.is_some());
        let error = "ERR The specified keys must contain string values";
        found.unwrap_or_else(|| Some(Vec::new())).ok_or_else(|| CommandError::other(error))
    };
    let (a, b) = (read(args[1]), read(args[2]));
    let (a, b) = (a?, b?);
    let options = LcsOptions::parse(&args[3..])?;
    let max_bytes = session.shared.settings().request_limits().argument_bytes;
    let Some(lengths) = Lengths::of(&a, &b, max_bytes) else {
        let error = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        return Err(CommandError::other(error));
    };
    let total = lengths.at(a.len(), b.len()) as usize;
    if options.wants_length {
        reply.count(total);
        return Ok(());
    }
    let matches = lengths.matches(&a, &b);
    if !options.wants_matches {
        let parts = matches.iter().rev().map(|found| &a[found.a..found.a + found.len]);
        reply.bulk(&parts.collect::<Vec<_>>().concat());
        return Ok(());
    }
    let is_long = |found: &&Match| found.len >= options.min_match_len;
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.iter().filter(is_long).count());
    for found in matches.iter().filter(is_long) {
        reply.array(if options.with_match_lengths { 3 } else { 2 });
        for start in [found.a, found.b] {
            reply.array(2);
            reply.count(start);
            reply.count(start + found.len - 1);
        }
        if options.with_match_lengths {
            reply.count(found.len);
        }
    }
    reply.bulk(b"len");
    reply.count(total);
    Ok(())
}

/// A run of bytes that both strings have, and where it begins in each.
#[derive(Debug, PartialEq, Eq)]
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

/// For all beginnings of the two strings, the length of their longest common subsequence.
struct Lengths {
    /// A row for each beginning of the first string.
    table: Vec<u32>,
    row_len: usize,
}

impl Lengths {
    /// `None` if the table would take more than `max_bytes`. O(product of the lengths).
    fn of(a: &[u8], b: &[u8], max_bytes: usize) -> Option<Self> {
        let row_len = b.len() + 1;
        let cells = row_len.checked_mul(a.len() + 1)?;
        if cells.checked_mul(size_of::<u32>())? > max_bytes {
            return None;
        }
        let mut table = vec![0_u32; cells];
        for (i, byte) in a.iter().enumerate() {
            let (above, row) = table[i * row_len..(i + 2) * row_len].split_at_mut(row_len);
            for (j, other) in b.iter().enumerate() {
                row[j + 1] = match byte == other {
                    true => above[j] + 1,
                    false => above[j + 1].max(row[j]),
                };
            }
        }
        Some(Self { table, row_len })
    }

    fn at(&self, a: usize, b: usize) -> u32 {
        self.table[a * self.row_len + b]
    }

    /// The runs of the longest common subsequence that Redis chooses, the last one first.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Match> {
        let (mut i, mut j) = (a.len(), b.len());
        let mut matches: Vec<Match> = Vec::new();
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                match matches.last_mut() {
                    Some(last) if (last.a, last.b) == (i + 1, j + 1) => {
                        *last = Match { a: i, b: j, len: last.len + 1 };
                    }
                    _ => matches.push(Match { a: i, b: j, len: 1 }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_make_up_a_longest_common_subsequence() {
        let lengths = Lengths::of(b"ohmytext", b"mynewtext", 1 << 20).unwrap();
        assert_eq!(lengths.at(8, 9), 6);
        let expected = [Match { a: 4, b: 5, len: 4 }, Match { a: 2, b: 0, len: 2 }];
        assert_eq!(lengths.matches(b"ohmytext", b"mynewtext"), expected);
        assert_eq!(Lengths::of(b"", b"a", 1 << 20).unwrap().at(0, 1), 0);
    }

    #[test]
    fn a_table_beyond_the_limit_is_not_made() {
        assert!(Lengths::of(&[0; 9], &[0; 9], 400).is_some());
        assert!(Lengths::of(&[0; 9], &[0; 10], 400).is_none());
    }
}
