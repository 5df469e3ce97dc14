//! `CLIENT TRACKING` and related subcommands.
#![forbid(unsafe_code)]

use super::arguments::integer;
use crate::client::ClientId;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::session::command::Args;
use crate::session::{Modes, Session, SessionTracking, name_bytes};
use crate::tracking::TrackingOptions;

/// The most prefixes of one client.
const MAX_PREFIXES: usize = 1000;

/// The options of `CLIENT TRACKING`.
#[derive(Default)]
struct Options<'a> {
    redirect: Option<ClientId>,
    is_broadcast: bool,
    is_no_loop: bool,
    is_opt_in: bool,
    is_opt_out: bool,
    prefixes: Vec<&'a [u8]>,
}

fn error(text: &'static str) -> CommandError {
    CommandError::other(text)
}

/// `CLIENT TRACKING`. The thread holds `Store::exclusive`.
pub(super) fn tracking(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let options = parse(session, &args[3..])?;
    match args[2] {
        on if on.eq_ignore_ascii_case(b"on") => start(session, options)?,
        off if off.eq_ignore_ascii_case(b"off") => session.stop_tracking(),
        _ => return Err(CommandError::Syntax),
    }
    reply.ok();
    Ok(())
}

fn parse<'a>(session: &Session, mut rest: &[&'a [u8]]) -> Result<Options<'a>, CommandError> {
    let mut options = Options::default();
    loop {
        let (option, after) = match rest {
            [] => return Ok(options),
            [option, after @ ..] => (option.to_ascii_lowercase(), after),
        };
        rest = after;
        match (option.as_slice(), after) {
            (b"redirect", [id, after @ ..]) => {
                if options.redirect.is_some() {
                    return Err(error("ERR A client can only redirect to a single other client"));
                }
                let id = integer(id)?;
                let id = ClientId(u64::try_from(id).unwrap_or_default());
                if session.shared.hub().clients().get(id).is_none() {
                    return Err(error("ERR The client ID you want redirect to does not exist"));
                }
                options.redirect = Some(id);
                rest = after;
            }
            (b"prefix", [prefix, after @ ..]) => {
                options.prefixes.push(prefix);
                rest = after;
            }
            (b"bcast", _) => options.is_broadcast = true,
            (b"optin", _) => options.is_opt_in = true,
            (b"optout", _) => options.is_opt_out = true,
            (b"noloop", _) => options.is_no_loop = true,
            _ => return Err(CommandError::Syntax),
        }
    }
}

fn start(session: &mut Session, mut options: Options<'_>) -> Result<(), CommandError> {
    if !options.is_broadcast && !options.prefixes.is_empty() {
        return Err(error("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    let old = session.tracking.as_ref();
    if old.is_some_and(|old| old.is_broadcast != options.is_broadcast) {
        return Err(error(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
             re-enabling it with a different mode.",
        ));
    }
    if options.is_broadcast && (options.is_opt_in || options.is_opt_out) {
        return Err(error("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if options.is_opt_in && options.is_opt_out {
        return Err(error("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    if old.is_some_and(|old| {
        options.is_opt_in && old.is_opt_out || options.is_opt_out && old.is_opt_in
    }) {
        return Err(error(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
             re-enabling it with a different mode.",
        ));
    }
    let known = old.map_or(&[][..], |old| &old.prefixes);
    if options.is_broadcast {
        check_prefixes(known, &options.prefixes)?;
        if options.prefixes.is_empty() {
            options.prefixes.push(b"");
        }
    }
    let mut prefixes = known.to_vec();
    for prefix in &options.prefixes {
        if !prefixes.iter().any(|known| **known == **prefix) {
            prefixes.push((*prefix).into());
        }
    }
    let prefix_bytes = prefixes.iter().map(|prefix| name_bytes(prefix)).sum();
    let client_options = TrackingOptions {
        is_broadcast: options.is_broadcast,
        is_no_loop: options.is_no_loop,
        redirect: options.redirect,
    };
    let hub = session.shared.hub();
    hub.start_tracking(&session.client, client_options, options.prefixes.iter().copied());
    session.tracking = Some(SessionTracking {
        is_broadcast: options.is_broadcast,
        is_opt_in: options.is_opt_in,
        is_opt_out: options.is_opt_out,
        is_caching_given: false,
        prefixes,
        prefix_bytes,
    });
    session.modes.set(Modes::TRACKING, true);
    Ok(())
}

/// A client must not be notified of a key twice, so no prefix may begin with another one.
fn check_prefixes(known: &[Box<[u8]>], new: &[&[u8]]) -> Result<(), CommandError> {
    if known.len() + new.len() > MAX_PREFIXES {
        return Err(error("ERR too many prefixes"));
    }
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let refuse = |prefix: &[u8], which: &str, other: &[u8]| {
        Err(CommandError::Other(format!(
            "ERR Prefix '{}' overlaps with {which} prefix '{}'. Prefixes for a single client must not overlap.",
            prefix.escape_ascii(),
            other.escape_ascii(),
        )))
    };
    for (number, prefix) in new.iter().enumerate() {
        if let Some(other) = known.iter().find(|other| overlap(prefix, other)) {
            return refuse(prefix, "an existing", other);
        }
        if let Some(other) = new[number + 1..].iter().find(|other| overlap(prefix, other)) {
            return refuse(prefix, "another provided", other);
        }
    }
    Ok(())
}

/// `CLIENT CACHING`.
pub(super) fn caching(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let Some(tracking) = &mut session.tracking else {
        return Err(error(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
             enabled",
        ));
    };
    match args[2] {
        yes if yes.eq_ignore_ascii_case(b"yes") => {
            if !tracking.is_opt_in {
                return Err(error(
                    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
                ));
            }
        }
        no if no.eq_ignore_ascii_case(b"no") => {
            if !tracking.is_opt_out {
                return Err(error(
                    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
                ));
            }
        }
        _ => return Err(CommandError::Syntax),
    }
    tracking.is_caching_given = true;
    reply.ok();
    Ok(())
}

/// `CLIENT GETREDIR`.
pub(super) fn getredir(
    session: &mut Session,
    _: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.integer(redirection(session));
    Ok(())
}

/// The number of the client to which invalidations are redirected; 0 for none, -1 if nothing is tracked.
pub(super) fn redirection(session: &Session) -> i64 {
    let tracker = session.shared.hub().tracking().tracker(session.client.id);
    tracker.map_or(-1, |tracker| redirection_number(tracker.options.redirect))
}

pub(super) fn redirection_number(redirect: Option<ClientId>) -> i64 {
    redirect.map_or(0, |id| i64::try_from(id.0).unwrap_or(i64::MAX))
}

/// `CLIENT TRACKINGINFO`.
pub(super) fn trackinginfo(
    session: &mut Session,
    _: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let tracker = session.shared.hub().tracking().tracker(session.client.id);
    let mut flags = Vec::new();
    match (&session.tracking, &tracker) {
        (Some(tracking), Some(tracker)) => {
            let caching = match tracking.is_opt_in {
                true => "caching-yes",
                false => "caching-no",
            };
            let all = [
                ("on", true),
                ("bcast", tracking.is_broadcast),
                ("optin", tracking.is_opt_in),
                ("optout", tracking.is_opt_out),
                (caching, tracking.is_caching_given),
                ("noloop", tracker.options.is_no_loop),
                ("broken_redirect", tracker.is_broken()),
            ];
            flags.extend(all.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name));
        }
        _ => flags.push("off"),
    }
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirection(session));
    reply.bulk(b"prefixes");
    let prefixes = session.tracking.as_ref().map_or(&[][..], |tracking| &tracking.prefixes);
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
