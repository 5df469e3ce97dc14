//! `CLIENT`: what clients say of themselves, and what they learn of each other.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::arguments::{integer, is_option, parse_integer};
use super::subcommand::{self, Subcommand};
use super::tracking;
use crate::client::{Client, ClientId};
use crate::error::CommandError;
use crate::hub::Hub;
use crate::pause::PauseScope;
use crate::resp::{Protocol, Reply};
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};
use crate::session::{Modes, ReplyMode, Session};

/// The one user that there is.
pub(crate) const USER: &[u8] = b"default";

pub(crate) fn table() -> Vec<Command> {
    vec![Command {
        name: "client",
        arity: -2,
        flags: Flags::ADMITS_TRACKERS.and(Flags::NO_SCRIPT),
        keys: KeyPositions::NONE,
        group: Group::Connection,
        summary: "Shows and changes what is known of clients.",
        handler: client,
    }]
}

/// Subcommands, with the names and numbers of arguments that Redis has for them.
pub(super) const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "caching",
        arity: 3,
        handler: tracking::caching,
        help: [
            "CACHING (YES|NO)",
            "Tracks, or does not track, the keys of the next command in OPTIN or OPTOUT mode.",
        ],
    },
    Subcommand {
        name: "getname",
        arity: 2,
        handler: get_name,
        help: ["GETNAME", "Returns the name of this client."],
    },
    Subcommand {
        name: "getredir",
        arity: 2,
        handler: tracking::getredir,
        help: ["GETREDIR", "Returns the client that receives the invalidations of this one."],
    },
    Subcommand {
        name: "id",
        arity: 2,
        handler: id,
        help: ["ID", "Returns the number of this client."],
    },
    Subcommand { name: "info", arity: 2, handler: info, help: ["INFO", "Describes this client."] },
    Subcommand {
        name: "kill",
        arity: -3,
        handler: kill,
        help: [
            "KILL (<ip:port>|<option> <value> [<option> <value> ...])",
            "Disconnects the clients that fulfil all conditions: ADDR, LADDR, TYPE, USER, ID, MAXAGE; SKIPME (YES|NO) \
             says whether this client is spared.",
        ],
    },
    Subcommand {
        name: "list",
        arity: -2,
        handler: list,
        help: [
            "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <id> ...]",
            "Describes all clients, those of a type, or those with these numbers.",
        ],
    },
    Subcommand {
        name: "maint_notifications",
        arity: -3,
        handler: accept,
        help: [
            "MAINT_NOTIFICATIONS (ON|OFF) [<option> ...]",
            "Accepted; this server sends no such notifications.",
        ],
    },
    Subcommand {
        name: "no-evict",
        arity: 3,
        handler: no_evict,
        help: [
            "NO-EVICT (ON|OFF)",
            "Accepted; this server does not disconnect clients to free memory.",
        ],
    },
    Subcommand {
        name: "no-touch",
        arity: 3,
        handler: no_touch,
        help: [
            "NO-TOUCH (ON|OFF)",
            "Accepted; reads of this client count as uses of the keys all the same.",
        ],
    },
    Subcommand {
        name: "pause",
        arity: -3,
        handler: pause,
        help: [
            "PAUSE <milliseconds> [WRITE|ALL]",
            "Lets the commands of all clients wait, or those that write.",
        ],
    },
    Subcommand {
        name: "reply",
        arity: 3,
        handler: choose_replies,
        help: ["REPLY (ON|OFF|SKIP)", "Chooses whether this client receives replies."],
    },
    Subcommand {
        name: "setinfo",
        arity: 4,
        handler: set_info,
        help: [
            "SETINFO (LIB-NAME|LIB-VER) <value>",
            "Sets the name or the version of the library that the client uses.",
        ],
    },
    Subcommand {
        name: "setname",
        arity: 3,
        handler: set_name,
        help: ["SETNAME <name>", "Sets the name of this client."],
    },
    Subcommand {
        name: "tracking",
        arity: -3,
        handler: tracking::tracking,
        help: [
            "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> ...] [OPTIN] [OPTOUT] [NOLOOP]",
            "Begins or ends to notify this client of changes of keys.",
        ],
    },
    Subcommand {
        name: "trackinginfo",
        arity: 2,
        handler: tracking::trackinginfo,
        help: ["TRACKINGINFO", "Shows how this client is notified of changes of keys."],
    },
    Subcommand {
        name: "unblock",
        arity: -3,
        handler: unblock,
        help: ["UNBLOCK <id> [TIMEOUT|ERROR]", "Accepted; no command of this server blocks."],
    },
    Subcommand {
        name: "unpause",
        arity: 2,
        handler: unpause,
        help: ["UNPAUSE", "Lets the commands of all clients go on."],
    },
    Subcommand {
        name: "capa",
        arity: -3,
        handler: accept,
        help: ["CAPA <capability> ...", "Accepted; no capability changes what this server does."],
    },
];

type Done = Result<(), CommandError>;

fn client(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    subcommand::run("CLIENT", SUBCOMMANDS, session, args, reply)
}

fn accept(_: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    reply.ok();
    Ok(())
}

fn id(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    reply.integer(i64::try_from(session.client.id.0).unwrap_or(i64::MAX));
    Ok(())
}

fn get_name(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    match &*session.client.description().name {
        "" => reply.null(),
        name => reply.bulk(name.as_bytes()),
    }
    Ok(())
}

fn set_name(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    session.client.description().name = checked_name(args[2])?;
    reply.ok();
    Ok(())
}

fn info(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    session.describe(Some("client|info"), Instant::now());
    let mut text = String::new();
    describe(&mut text, session.shared.hub(), &session.client);
    reply.verbatim(&text);
    Ok(())
}

fn no_evict(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    session.client.description().is_unevictable = on_or_off(args[2], reply)?;
    Ok(())
}

fn no_touch(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    session.client.description().is_no_touch = on_or_off(args[2], reply)?;
    Ok(())
}

fn unblock(_: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    integer(args[2])?;
    match &args[3..] {
        [] => {}
        [reason] if is_option(reason, "TIMEOUT") || is_option(reason, "ERROR") => {}
        _ => {
            let error = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
            return Err(CommandError::other(error));
        }
    }
    reply.integer(0);
    Ok(())
}

fn pause(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    let ms = parse_integer(args[2])
        .ok_or_else(|| CommandError::other("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| CommandError::other("ERR timeout is negative"))?;
    let scope = match &args[3..] {
        [] => PauseScope::All,
        [scope] if is_option(scope, "ALL") => PauseScope::All,
        [scope] if is_option(scope, "WRITE") => PauseScope::Writes,
        _ => return Err(CommandError::other("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    session.shared.hub().pause().begin(Duration::from_millis(ms), scope);
    reply.ok();
    Ok(())
}

fn unpause(session: &mut Session, _: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    session.shared.hub().pause().end();
    reply.ok();
    Ok(())
}

fn on_or_off(word: &[u8], reply: &mut Reply<'_>) -> Result<bool, CommandError> {
    let is_on = word.eq_ignore_ascii_case(b"on");
    if !is_on && !word.eq_ignore_ascii_case(b"off") {
        return Err(CommandError::Syntax);
    }
    reply.ok();
    Ok(is_on)
}

fn choose_replies(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Done {
    session.replies = match args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            reply.ok();
            ReplyMode::On
        }
        b"off" => ReplyMode::Off,
        b"skip" if session.replies == ReplyMode::Off => ReplyMode::Off,
        b"skip" => ReplyMode::SkipNext,
        _ => return Err(CommandError::Syntax),
    };
    session.modes.set(Modes::QUIET, session.replies != ReplyMode::On);
    Ok(())
}

/// The name of a client, or why it cannot be one.
pub(super) fn checked_name(name: &[u8]) -> Result<String, CommandError> {
    printable(name).ok_or_else(|| {
        CommandError::other(
            "ERR Client names cannot contain spaces, newlines or special characters.",
        )
    })
}

/// The longest name of a client or of its library; each list of clients contains all of them.
const MAX_NAME_BYTES: usize = 1024;

/// The text, unless it has spaces or special characters, which would confuse those who read the list of clients.
fn printable(text: &[u8]) -> Option<String> {
    if text.len() > MAX_NAME_BYTES {
        return None;
    }
    text.iter().all(u8::is_ascii_graphic).then(|| String::from_utf8_lossy(text).into_owned())
}

fn set_info(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let option = args[2].to_ascii_lowercase();
    let mut description = session.client.description();
    let (name, field) = match option.as_slice() {
        b"lib-name" => ("lib-name", &mut description.library_name),
        b"lib-ver" => ("lib-ver", &mut description.library_version),
        _ => {
            let shown = args[2].escape_ascii();
            return Err(CommandError::Other(format!("ERR Unrecognized option '{shown}'")));
        }
    };
    *field = printable(args[3]).ok_or_else(|| {
        CommandError::Other(format!(
            "ERR {name} cannot contain spaces, newlines or special characters."
        ))
    })?;
    reply.ok();
    Ok(())
}

/// The type of a client, as `TYPE` names it. Replication has no clients here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientType {
    Normal,
    Replication,
    PubSub,
}

impl ClientType {
    fn parse(name: &[u8]) -> Result<Self, CommandError> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Self::Normal),
            b"master" | b"replica" | b"slave" => Ok(Self::Replication),
            b"pubsub" => Ok(Self::PubSub),
            _ => {
                let shown = name.escape_ascii();
                Err(CommandError::Other(format!("ERR Unknown client type '{shown}'")))
            }
        }
    }

    fn of(client: &Client) -> Self {
        if client.is_subscriber() { Self::PubSub } else { Self::Normal }
    }
}

fn list(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    session.describe(Some("client|list"), Instant::now());
    let hub = session.shared.hub();
    let mut text = String::new();
    match args {
        [_, _] => {
            for client in hub.clients().all() {
                describe(&mut text, hub, &client);
            }
        }
        [_, _, option, wanted] if option.eq_ignore_ascii_case(b"type") => {
            let wanted = ClientType::parse(wanted)?;
            for client in hub.clients().all() {
                if ClientType::of(&client) == wanted {
                    describe(&mut text, hub, &client);
                }
            }
        }
        [_, _, option, ids @ ..] if option.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            for id in ids {
                let id = parse_integer(id)
                    .ok_or_else(|| CommandError::other("ERR Invalid client ID"))?;
                let id = ClientId(u64::try_from(id).unwrap_or_default());
                if let Some(client) = hub.clients().get(id) {
                    describe(&mut text, hub, &client);
                }
            }
        }
        _ => return Err(CommandError::Syntax),
    }
    reply.verbatim(&text);
    Ok(())
}

/// Adds a line about a client, with the fields that programs parse.
fn describe(text: &mut String, hub: &Hub, client: &Client) {
    let description = client.description().clone();
    let tracker = hub.tracking().tracker(client.id);
    let flags: String = [
        ('P', client.is_subscriber()),
        ('x', description.queued_commands.is_some()),
        ('t', tracker.is_some()),
        ('R', tracker.as_ref().is_some_and(|tracker| tracker.is_broken())),
        ('B', tracker.as_ref().is_some_and(|tracker| tracker.options.is_broadcast)),
        ('e', description.is_unevictable),
        ('T', description.is_no_touch),
    ]
    .into_iter()
    .filter_map(|(flag, is_set)| is_set.then_some(flag))
    .collect();
    let now = Instant::now();
    let idle = description.last_active.map_or(now - client.connected, |last| now - last);
    let waiting = client.mailbox.waiting_bytes();
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={waiting} tot-mem={waiting} \
         events=r cmd={} user=default redir={} resp={} lib-name={} lib-ver={} watch={}",
        client.id.0,
        client.address,
        client.local_address,
        description.name,
        (now - client.connected).as_secs(),
        idle.as_secs(),
        if flags.is_empty() { "N" } else { &flags },
        description.database,
        description.channels,
        description.patterns,
        description.shard_channels,
        description.queued_commands.map_or("-1".to_owned(), |count| count.to_string()),
        description.input_bytes,
        description.last_command.unwrap_or("NULL"),
        tracker.map_or(-1, |tracker| tracking::redirection_number(tracker.options.redirect)),
        if client.protocol() == Protocol::Resp3 { 3 } else { 2 },
        description.library_name,
        description.library_version,
        description.watched_keys,
    );
}

/// Which clients to disconnect.
struct Condemned<'a> {
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    client_type: Option<ClientType>,
    id: Option<ClientId>,
    min_age_s: u64,
    spares_me: bool,
}

impl<'a> Condemned<'a> {
    fn parse(args: &Args<'a>) -> Result<Self, CommandError> {
        let mut condemned = Self {
            address: None,
            local_address: None,
            client_type: None,
            id: None,
            min_age_s: 0,
            spares_me: args.len() > 3,
        };
        if let [_, _, address] = args {
            condemned.address = Some(address);
            return Ok(condemned);
        }
        let positive = |argument: &[u8], error| {
            let found = parse_integer(argument).and_then(|number| u64::try_from(number).ok());
            found.filter(|number| *number > 0).ok_or_else(|| CommandError::other(error))
        };
        for pair in args[2..].chunks(2) {
            let [option, value] = *pair else { return Err(CommandError::Syntax) };
            match option.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = positive(value, "ERR client-id should be greater than 0")?;
                    condemned.id = Some(ClientId(id));
                }
                b"maxage" => {
                    let age = positive(value, "ERR maxage should be greater than 0")?;
                    condemned.min_age_s = age;
                }
                b"type" => condemned.client_type = Some(ClientType::parse(value)?),
                b"addr" => condemned.address = Some(value),
                b"laddr" => condemned.local_address = Some(value),
                b"user" if value == USER => {}
                b"user" => {
                    let shown = value.escape_ascii();
                    return Err(CommandError::Other(format!("ERR No such user '{shown}'")));
                }
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => condemned.spares_me = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => condemned.spares_me = false,
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(condemned)
    }

    fn includes(&self, client: &Client) -> bool {
        self.address.is_none_or(|address| client.address.as_bytes() == address)
            && self.local_address.is_none_or(|address| client.local_address.as_bytes() == address)
            && self.client_type.is_none_or(|wanted| ClientType::of(client) == wanted)
            && self.id.is_none_or(|id| client.id == id)
            && client.connected.elapsed().as_secs() >= self.min_age_s
    }
}

fn kill(session: &mut Session, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), CommandError> {
    let condemned = Condemned::parse(args)?;
    let mut killed = 0;
    for client in session.shared.hub().clients().all() {
        let is_me = client.id == session.client.id;
        if is_me && condemned.spares_me || !condemned.includes(&client) {
            continue;
        }
        killed += 1;
        if is_me {
            session.closes = true;
        } else {
            client.mailbox.close();
        }
    }
    match (args.len(), killed) {
        (3, 0) => return Err(CommandError::other("ERR No such client")),
        (3, _) => reply.ok(),
        _ => reply.count(killed),
    }
    Ok(())
}
