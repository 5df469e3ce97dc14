//! What is known of a value: how it is stored, how often it is used, how much memory it takes.
#![forbid(unsafe_code)]

use crate::bytes::Bytes;
use crate::commands::arguments::{integer, is_option, parse_integer};
use crate::commands::subcommand::{self, Subcommand};
use crate::error::CommandError;
use crate::info;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::Args;
use crate::value::{ENTRY_BYTES, Value};

/// Redis calls strings up to this length embedded.
const EMBEDDED_BYTES: usize = 44;

pub(super) const OBJECT: &[Subcommand] = &[
    Subcommand {
        name: "encoding",
        arity: 3,
        handler: encoding,
        help: ["ENCODING <key>", "Name the form in which Redis would store the value."],
    },
    Subcommand {
        name: "freq",
        arity: 3,
        handler: freq,
        help: [
            "FREQ <key>",
            "Return how often the key was used lately, by the policy's own measure.",
        ],
    },
    Subcommand {
        name: "idletime",
        arity: 3,
        handler: idletime,
        help: [
            "IDLETIME <key>",
            "Return how many seconds ago the value was written: it is not idle for longer.",
        ],
    },
    Subcommand {
        name: "refcount",
        arity: 3,
        handler: refcount,
        help: ["REFCOUNT <key>", "Return 1."],
    },
];

pub(super) const MEMORY: &[Subcommand] = &[
    Subcommand {
        name: "usage",
        arity: -3,
        handler: usage,
        help: ["USAGE <key> [SAMPLES <count>]", "Return about how many bytes the key takes."],
    },
    Subcommand {
        name: "stats",
        arity: 2,
        handler: stats,
        help: ["STATS", "Return how much memory the server takes."],
    },
    Subcommand {
        name: "doctor",
        arity: 2,
        handler: doctor,
        help: ["DOCTOR", "Return a text about the memory that the server takes."],
    },
    Subcommand {
        name: "purge",
        arity: 2,
        handler: purge,
        help: ["PURGE", "Finish the work of the cache that was put off."],
    },
];

pub(crate) fn object(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    subcommand::run("OBJECT", OBJECT, session, args, reply)
}

pub(crate) fn memory(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    subcommand::run("MEMORY", MEMORY, session, args, reply)
}

/// The value of the key that a subcommand of `OBJECT` asks about.
fn looked_up(session: &Session, key: &[u8]) -> Option<Value> {
    let value = session.db().peek(key);
    session.count_lookup(value.is_some());
    value
}

/// What Redis would call the form of such a value.
fn encoding_of(value: &Value) -> &'static str {
    match value.as_bytes() {
        None => "listpack",
        Some(bytes) if parse_integer(bytes).is_some() => "int",
        Some(bytes) if bytes.len() <= EMBEDDED_BYTES => "embstr",
        Some(_) => "raw",
    }
}

fn encoding(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let value = looked_up(session, args[2]);
    reply.bulk_or_null(value.as_ref().map(|value| encoding_of(value).as_bytes()));
    Ok(())
}

fn freq(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    if looked_up(session, args[2]).is_none() {
        reply.null();
        return Ok(());
    }
    let uses = session.db().uses(args[2]).unwrap_or(0);
    reply.integer(i64::try_from(uses).unwrap_or(i64::MAX));
    Ok(())
}

fn idletime(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    match looked_up(session, args[2]) {
        None => reply.null(),
        Some(value) => {
            let seconds = value.version().age().as_secs();
            reply.integer(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }
    Ok(())
}

fn refcount(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    match looked_up(session, args[2]) {
        None => reply.null(),
        Some(_) => reply.integer(1),
    }
    Ok(())
}

fn usage(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let mut rest = &args[3..];
    while let Some((option, after)) = rest.split_first() {
        let (count, after) = after.split_first().ok_or(CommandError::Syntax)?;
        // Nothing is sampled: a value is one run of bytes.
        if !is_option(option, "SAMPLES") || integer(count)? < 0 {
            return Err(CommandError::Syntax);
        }
        rest = after;
    }
    match session.db().peek(args[2]) {
        None => reply.null(),
        Some(value) => {
            let key_bytes = Bytes::from(args[2]).heap_bytes();
            reply.count(ENTRY_BYTES + key_bytes + value.heap_bytes());
        }
    }
    Ok(())
}

fn stats(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let memory = info::Memory::read(&session.shared);
    let keys = session.store().cache().len();
    let lines = [
        ("peak.allocated", memory.peak_resident),
        ("total.allocated", memory.used),
        ("startup.allocated", 0),
        ("clients.normal", memory.waiting_for_clients),
        ("keys.count", keys as u64),
        ("keys.bytes-per-key", memory.used / keys.max(1) as u64),
        ("dataset.bytes", memory.used),
    ];
    reply.map(lines.len());
    for (name, number) in lines {
        reply.bulk(name.as_bytes());
        reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
    }
    Ok(())
}

fn doctor(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let memory = info::Memory::read(&session.shared);
    let stats = session.store().cache().stats();
    let mut text =
        format!("The entries take about {} bytes, the process {}.", memory.used, memory.resident);
    if stats.is_reclamation_refused {
        text += " The system refuses a call that reclamation needs, so no memory is freed.";
    }
    text += &format!(
        " {} bytes of entries that have left wait to be freed; the oldest for {:?}.",
        stats.waiting_bytes(),
        stats.reclamation_lag
    );
    reply.verbatim(&text);
    Ok(())
}

fn purge(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    session.store().cache().run_pending();
    reply.ok();
    Ok(())
}
