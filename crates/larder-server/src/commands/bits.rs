//! Commands about the bits of strings. The first bit is the highest one of the first byte.
#![forbid(unsafe_code)]

use std::iter;
use std::ops::RangeInclusive;

use crate::commands::arguments::{integer, is_option, parse_integer};
use crate::commands::strings::{range, read_string, string_of};
use crate::error::CommandError;
use crate::hub::ChangeKind;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};
use crate::store::{Decision, Lifetime};
use crate::value::Value;

const SETBIT: ChangeKind = ChangeKind::string("setbit");

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags, summary, handler| Command {
        name,
        arity,
        flags,
        keys: KeyPositions::ONE,
        group: Group::Bitmap,
        summary,
        handler,
    };
    vec![
        command(
            "setbit",
            4,
            Flags::WRITE.and(Flags::DENY_OOM),
            "Sets or clears a bit of the string of a key.",
            setbit,
        ),
        command("getbit", 3, Flags::READ.and(Flags::FAST), "A bit of the string of a key.", getbit),
        command("bitcount", -2, Flags::READ, "Counts the bits of a string that are set.", bitcount),
        command("bitpos", -3, Flags::READ, "Finds the first bit that is set, or not.", bitpos),
    ]
}

/// The place of a bit: a byte, and the bit in it alone.
fn place(session: &Session, offset: &[u8]) -> Result<(usize, u8), CommandError> {
    let max = session.shared.settings().request_limits().argument_bytes;
    let offset = parse_integer(offset).and_then(|offset| u64::try_from(offset).ok());
    let place = offset.and_then(|offset| {
        let byte = usize::try_from(offset / 8).ok().filter(|byte| *byte < max)?;
        Some((byte, 0x80 >> (offset % 8)))
    });
    place.ok_or_else(|| CommandError::other("ERR bit offset is not an integer or out of range"))
}

fn setbit(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let (at, mask) = place(session, args[2])?;
    let is_on = match parse_integer(args[3]) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(CommandError::other("ERR bit is not an integer or out of range")),
    };
    let was_on = session.db().change(args[1], Lifetime::Keep, SETBIT, |old| {
        let (bytes, flags) = match old {
            Some(old) => (string_of(old)?, old.flags()),
            None => (&b""[..], 0),
        };
        let was_on = bytes.get(at).is_some_and(|byte| byte & mask != 0);
        if at < bytes.len() && was_on == is_on {
            return Ok(Decision::Keep(was_on));
        }
        let len = bytes.len().max(at + 1);
        let mut changed = Vec::with_capacity(len);
        changed.extend_from_slice(bytes);
        changed.resize(len, 0);
        if is_on {
            changed[at] |= mask;
        } else {
            changed[at] &= !mask;
        }
        Ok(Decision::Put(Value::with_flags(changed.into(), flags), was_on))
    })?;
    reply.integer(was_on);
    Ok(())
}

fn getbit(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let (at, mask) = place(session, args[2])?;
    let is_on = read_string(session, args[1], |bytes| {
        Ok(bytes.get(at).is_some_and(|byte| byte & mask != 0))
    })?;
    reply.integer(is_on.unwrap_or(false));
    Ok(())
}

/// The bits from `start` to `end`, which count bytes, or bits if `counts_bits`.
fn bits(start: i64, end: i64, counts_bits: bool, bytes: usize) -> Option<RangeInclusive<usize>> {
    if counts_bits {
        return range(start, end, bytes * 8);
    }
    let bytes = range(start, end, bytes)?;
    Some(bytes.start() * 8..=bytes.end() * 8 + 7)
}

/// Whether positions count bits; without a unit, they count bytes.
fn counts_bits(unit: Option<&&[u8]>) -> Result<bool, CommandError> {
    match unit {
        Some(unit) if is_option(unit, "BIT") => Ok(true),
        Some(unit) if !is_option(unit, "BYTE") => Err(CommandError::Syntax),
        _ => Ok(false),
    }
}

/// The bytes that have bits of the range, each with its index and without its other bits, which are `fill`.
fn bytes_of(
    bytes: &[u8],
    bits: RangeInclusive<usize>,
    fill: u8,
) -> impl Iterator<Item = (usize, u8)> {
    let (first, last) = (bits.start() / 8, bits.end() / 8);
    let from_start = 0xff_u8 >> (bits.start() % 8);
    let up_to_end = 0xff_u8 << (7 - bits.end() % 8);
    let masked = move |at: usize, mask: u8| (at, bytes[at] & mask | fill & !mask);
    let ends = match first == last {
        true => (masked(first, from_start & up_to_end), None),
        false => (masked(first, from_start), Some(masked(last, up_to_end))),
    };
    let between = (first + 1..last).map(move |at| (at, bytes[at]));
    iter::once(ends.0).chain(between).chain(ends.1)
}

fn bitcount(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let count = read_string(session, args[1], |bytes| {
        let counted = match args[2..] {
            [] => bits(0, -1, false, bytes.len()),
            [start, end, ref unit @ ..] if unit.len() <= 1 => {
                let (start, end) = (integer(start)?, integer(end)?);
                bits(start, end, counts_bits(unit.first())?, bytes.len())
            }
            _ => return Err(CommandError::Syntax),
        };
        let Some(counted) = counted else { return Ok(0) };
        Ok(bytes_of(bytes, counted, 0).map(|(_, byte)| byte.count_ones() as usize).sum())
    })?;
    reply.count(count.unwrap_or(0));
    Ok(())
}

fn bitpos(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let seeks_set = match integer(args[2])? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::other("ERR The bit argument must be 1 or 0.")),
    };
    let found = read_string(session, args[1], |bytes| {
        let (start, end, counts_bits) = match args[3..] {
            [] => (0, None, false),
            [start] => (integer(start)?, None, false),
            [start, end, ref unit @ ..] if unit.len() <= 1 => {
                let start = integer(start)?;
                let counts_bits = counts_bits(unit.first())?;
                (start, Some(integer(end)?), counts_bits)
            }
            _ => return Err(CommandError::Syntax),
        };
        let Some(searched) = search_range(start, end.unwrap_or(-1), counts_bits, bytes.len())
        else {
            return Ok(-1);
        };
        let after = searched.end() + 1;
        let position = find_bit(bytes, searched, seeks_set);
        Ok(match position {
            Some(position) => i64::try_from(position).unwrap_or(i64::MAX),
            // Without a given end, the string counts as continued by zeros.
            None if !seeks_set && end.is_none() => i64::try_from(after).unwrap_or(i64::MAX),
            None => -1,
        })
    })?;
    reply.integer(found.unwrap_or(if seeks_set { -1 } else { 0 }));
    Ok(())
}

/// As [`bits`], but `BITPOS` takes two negative positions in the wrong order for what they are after the length
/// is added, which may be the first byte.
fn search_range(
    start: i64,
    end: i64,
    counts_bits: bool,
    bytes: usize,
) -> Option<RangeInclusive<usize>> {
    let len = i64::try_from(if counts_bits { bytes * 8 } else { bytes }).unwrap_or(i64::MAX);
    let from_start = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    bits(from_start(start), from_start(end), counts_bits, bytes)
}

/// The first bit of the range that is set, or that is not.
fn find_bit(bytes: &[u8], bits: RangeInclusive<usize>, seeks_set: bool) -> Option<usize> {
    let (fill, flip) = if seeks_set { (0, 0) } else { (0xff, 0xff) };
    bytes_of(bytes, bits, fill).find_map(|(at, byte)| {
        let sought = byte ^ flip;
        (sought != 0).then(|| at * 8 + sought.leading_zeros() as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_and_found_as_one_by_one() {
        let bytes = [0b1010_0101, 0xff, 0, 0b0001_1000, 0xff];
        let is_set = |bit: usize| bytes[bit / 8] & (0x80 >> (bit % 8)) != 0;
        for start in 0..40 {
            for end in start..40 {
                let count: u32 =
                    bytes_of(&bytes, start..=end, 0).map(|(_, byte)| byte.count_ones()).sum();
                let expected = (start..=end).filter(|bit| is_set(*bit)).count();
                assert_eq!(count as usize, expected, "{start} {end}");
                for seeks_set in [true, false] {
                    let found = (start..=end).find(|bit| is_set(*bit) == seeks_set);
                    assert_eq!(find_bit(&bytes, start..=end, seeks_set), found, "{start} {end}");
                }
            }
        }
    }
}
