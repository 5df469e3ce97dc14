//! Commands about how long keys live.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::commands::arguments::{TimeUnit, integer, is_option};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::session::Session;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};
use crate::store::{ExpireTime, TimeToLive};
use crate::unix_time::{self, MAX_LIFETIME};

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags, summary, handler| Command {
        name,
        arity,
        flags: Flags::FAST.and(flags),
        keys: KeyPositions::ONE,
        group: Group::Generic,
        summary,
        handler,
    };
    let (read, write) = (Flags::READ, Flags::WRITE);
    vec![
        command("expire", -3, write, "Lets a key live for so many seconds.", expire),
        command("pexpire", -3, write, "Lets a key live for so many milliseconds.", pexpire),
        command(
            "expireat",
            -3,
            write,
            "Lets a key live until a time in seconds since 1970.",
            expireat,
        ),
        command(
            "pexpireat",
            -3,
            write,
            "Lets a key live until a time in milliseconds since 1970.",
            pexpireat,
        ),
        command("ttl", 2, read, "How many seconds a key has left.", ttl),
        command("pttl", 2, read, "How many milliseconds a key has left.", pttl),
        command("expiretime", 2, read, "When a key expires, in seconds since 1970.", expiretime),
        command(
            "pexpiretime",
            2,
            read,
            "When a key expires, in milliseconds since 1970.",
            pexpiretime,
        ),
        command("persist", 2, write, "Lets a key live for ever.", persist),
    ]
}

/// Which lifetimes a new one may replace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Replaceable {
    /// NX
    only_none: bool,
    /// XX
    only_some: bool,
    /// GT
    only_shorter: bool,
    /// LT
    only_longer: bool,
}

impl Replaceable {
    fn parse(options: &Args<'_>) -> Result<Self, CommandError> {
        let mut parsed = Self::default();
        for option in options {
            match () {
                () if is_option(option, "NX") => parsed.only_none = true,
                () if is_option(option, "XX") => parsed.only_some = true,
                () if is_option(option, "GT") => parsed.only_shorter = true,
                () if is_option(option, "LT") => parsed.only_longer = true,
                () => {
                    let shown = String::from_utf8_lossy(&option[..option.len().min(128)]);
                    return Err(CommandError::other(format!("ERR Unsupported option {shown}")));
                }
            }
        }
        let Self { only_none, only_some, only_shorter, only_longer } = parsed;
        if only_none && (only_some || only_shorter || only_longer) {
            return Err(CommandError::other(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if only_shorter && only_longer {
            return Err(CommandError::other(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(parsed)
    }

    /// Whether a key that expires at `old`, if ever, may be made to expire at `new`.
    fn allows(self, old: Option<i64>, new: i64) -> bool {
        let Self { only_none, only_some, only_shorter, only_longer } = self;
        match old {
            None => !only_some && !only_shorter,
            Some(old) => {
                let is_kept = only_none || only_shorter && new <= old || only_longer && new >= old;
                !is_kept
            }
        }
    }
}

fn expire(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    set_lifetime(session, args, reply, TimeUnit::Seconds, "expire")
}

fn pexpire(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    set_lifetime(session, args, reply, TimeUnit::Milliseconds, "pexpire")
}

fn expireat(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    set_lifetime(session, args, reply, TimeUnit::UnixSeconds, "expireat")
}

fn pexpireat(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    set_lifetime(session, args, reply, TimeUnit::UnixMilliseconds, "pexpireat")
}

fn set_lifetime(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    unit: TimeUnit,
    command: &'static str,
) -> Result<(), CommandError> {
    let replaceable = Replaceable::parse(&args[3..])?;
    let given = integer(args[2])?;
    let now = unix_time::now();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let is_relative = matches!(unit, TimeUnit::Seconds | TimeUnit::Milliseconds);
    let ms = match unit {
        TimeUnit::Seconds | TimeUnit::UnixSeconds => given.checked_mul(1000),
        TimeUnit::Milliseconds | TimeUnit::UnixMilliseconds => Some(given),
    };
    let at_ms = ms.and_then(|ms| if is_relative { ms.checked_add(now_ms) } else { Some(ms) });
    let (Some(ms), Some(at_ms)) = (ms, at_ms) else {
        return Err(CommandError::InvalidExpireTime { command });
    };
    // A lifetime, unlike a time, is kept to the nanosecond.
    let lifetime = match is_relative {
        true => Duration::from_millis(u64::try_from(ms).unwrap_or_default()).min(MAX_LIFETIME),
        false => unix_time::lifetime_until(at_ms),
    };
    let is_set = session.db().expire(args[1], Some(lifetime), |left| {
        replaceable.allows(left.map(|left| unix_time::ms_after(now, left)), at_ms)
    })?;
    reply.integer(is_set);
    Ok(())
}

/// What the commands that ask for a lifetime answer for a key that is missing or never expires.
const MISSING: i64 = -2;
const NEVER: i64 = -1;

fn left_ms(session: &Session, key: &[u8]) -> i64 {
    let left = session.db().time_to_live(key);
    session.count_lookup(left != TimeToLive::Missing);
    match left {
        TimeToLive::Missing => MISSING,
        TimeToLive::Forever => NEVER,
        TimeToLive::Left(left) => unix_time::ms_rounded_up(left),
    }
}

fn expires_at_ms(session: &Session, key: &[u8]) -> i64 {
    let time = session.db().expire_time(key);
    session.count_lookup(time != ExpireTime::Missing);
    match time {
        ExpireTime::Missing => MISSING,
        ExpireTime::Never => NEVER,
        ExpireTime::At(ms) => ms,
    }
}

/// As seconds, unless it is negative and means that there is no time.
fn in_seconds(ms: i64) -> i64 {
    if ms < 0 { ms } else { unix_time::seconds_of(ms) }
}

fn ttl(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply.integer(in_seconds(left_ms(session, args[1])));
    Ok(())
}

fn pttl(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    reply.integer(left_ms(session, args[1]));
    Ok(())
}

fn expiretime(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.integer(in_seconds(expires_at_ms(session, args[1])));
    Ok(())
}

fn pexpiretime(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.integer(expires_at_ms(session, args[1]));
    Ok(())
}

fn persist(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.integer(session.db().expire(args[1], None, |left| left.is_some())?);
    Ok(())
}
