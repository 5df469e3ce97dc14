//! Commands that Redis does not have: tags, and what the cache knows of itself.
#![forbid(unsafe_code)]

use crate::bytes::Bytes;
use crate::commands::arguments::integer;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};

/// The most keys that `LARDER.HOTTEST` returns, and how many without an argument.
const MAX_HOTTEST: usize = 10_000;
const DEFAULT_HOTTEST: usize = 10;

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags, keys, summary, handler| Command {
        name,
        arity,
        flags,
        keys,
        group: Group::Larder,
        summary,
        handler,
    };
    let (none, one) = (KeyPositions::NONE, KeyPositions::ONE);
    let (read, write) = (Flags::READ.and(Flags::FAST), Flags::WRITE.and(Flags::FAST));
    vec![
        command(
            "larder.tag",
            -3,
            write,
            one,
            "Gives a key these tags in place of those that it has.",
            tag,
        ),
        command("larder.tags", 2, read, one, "The tags of a key.", tags),
        command(
            "larder.invalidate",
            -2,
            write,
            none,
            "Removes all keys that carry any of these tags.",
            invalidate,
        ),
        command("larder.explain", 2, read, one, "Why a key is there, or is not.", explain),
        command(
            "larder.shadow",
            1,
            Flags::NONE,
            none,
            "What hit ratios other sizes and policies would have.",
            shadow,
        ),
        command(
            "larder.hottest",
            -1,
            Flags::READ,
            none,
            "The keys that are most worth keeping.",
            hottest,
        ),
    ]
}

/// The longest name of a tag. The bound of the memory does not count names, so a client could have the server keep
/// any number of bytes in longer ones.
const MAX_TAG_BYTES: usize = 250;

/// The names of tags, which are text.
fn tag_names<'a>(args: &'a Args<'a>) -> Result<Vec<&'a str>, CommandError> {
    let name = |tag: &&'a [u8]| {
        std::str::from_utf8(tag).map_err(|_| CommandError::other("ERR a tag must be UTF-8 text"))
    };
    args.iter().map(name).collect()
}

fn tag(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let names = tag_names(&args[2..])?;
    if names.iter().any(|name| name.len() > MAX_TAG_BYTES) {
        return Err(CommandError::other(format!("ERR a tag has at most {MAX_TAG_BYTES} bytes")));
    }
    reply.integer(session.db().set_tags(args[1], &names)?);
    Ok(())
}

fn tags(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    match session.db().tags(args[1]) {
        None => reply.null_array(),
        Some(tags) => {
            reply.set(tags.len());
            for tag in tags {
                reply.bulk(tag.as_bytes());
            }
        }
    }
    Ok(())
}

fn invalidate(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.count(session.store().invalidate_tags(tag_names(&args[1..])?.into_iter()));
    Ok(())
}

fn explain(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.verbatim(&session.db().explain(args[1]).to_string());
    Ok(())
}

fn shadow(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let Some(report) = session.store().cache().shadow_report() else {
        reply.null_array();
        return Ok(());
    };
    let count = |reply: &mut Reply<'_>, name: &str, count: Option<u64>| {
        reply.bulk(name.as_bytes());
        match count.map(i64::try_from) {
            None => reply.null(),
            Some(count) => reply.integer(count.unwrap_or(i64::MAX)),
        }
    };
    reply.array(report.points.len());
    for point in &report.points {
        reply.map(7);
        reply.bulk(b"policy");
        reply.bulk(point.policy.as_bytes());
        reply.bulk(b"multiple");
        reply.double(point.multiple);
        reply.bulk(b"hit_ratio");
        match point.hit_ratio {
            None => reply.null(),
            Some(ratio) => reply.double(ratio),
        }
        count(reply, "capacity", point.capacity.map(|capacity| capacity as u64));
        count(reply, "max_weight", point.max_weight);
        count(reply, "samples", Some(point.samples));
        count(reply, "entries", Some(point.entries as u64));
    }
    Ok(())
}

fn hottest(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let count = match args {
        [_] => DEFAULT_HOTTEST,
        [_, count] => {
            let count = usize::try_from(integer(count)?).ok();
            let out_of_range =
                || CommandError::other(format!("ERR count must be from 0 to {MAX_HOTTEST}"));
            count.filter(|count| *count <= MAX_HOTTEST).ok_or_else(out_of_range)?
        }
        _ => return Err(CommandError::WrongArity { name: "larder.hottest".to_owned() }),
    };
    let keys: Vec<Bytes> = session.db().hottest(count);
    reply.array(keys.len());
    for key in keys {
        reply.bulk(&key);
    }
    Ok(())
}
