//! Publishing and subscribing.
#![forbid(unsafe_code)]

use super::subcommand::{self, Subcommand};
use crate::error::CommandError;
use crate::pubsub::Topic;
use crate::resp::Reply;
use crate::session::command::{Args, Command, Flags, Group, KeyPositions};
use crate::session::{Modes, Session};

pub(crate) fn table() -> Vec<Command> {
    let command = |name, arity, flags: Flags, summary, handler| Command {
        name,
        arity,
        flags: flags.and(Flags::PUBSUB),
        keys: KeyPositions::NONE,
        group: Group::PubSub,
        summary,
        handler,
    };
    let subscription = Flags::SUBSCRIBED.and(Flags::NO_SCRIPT);
    vec![
        command(
            "subscribe",
            -2,
            subscription,
            "Subscribes to channels.",
            |session, args, reply| subscribe(session, args, reply, Topic::Channel),
        ),
        command(
            "unsubscribe",
            -1,
            subscription,
            "Ends subscriptions to channels.",
            |session, args, reply| unsubscribe(session, args, reply, Topic::Channel),
        ),
        command(
            "psubscribe",
            -2,
            subscription,
            "Subscribes to all channels whose names match patterns.",
            |session, args, reply| subscribe(session, args, reply, Topic::Pattern),
        ),
        command(
            "punsubscribe",
            -1,
            subscription,
            "Ends subscriptions to patterns.",
            |session, args, reply| unsubscribe(session, args, reply, Topic::Pattern),
        ),
        command(
            "ssubscribe",
            -2,
            subscription,
            "Subscribes to channels of a shard.",
            |session, args, reply| subscribe(session, args, reply, Topic::ShardChannel),
        ),
        command(
            "sunsubscribe",
            -1,
            subscription,
            "Ends subscriptions to channels of a shard.",
            |session, args, reply| unsubscribe(session, args, reply, Topic::ShardChannel),
        ),
        command("publish", 3, Flags::FAST, "Sends a message to a channel.", publish),
        command("spublish", 3, Flags::FAST, "Sends a message to a channel of a shard.", spublish),
        command("pubsub", -2, Flags::NONE, "Shows channels and numbers of subscribers.", pubsub),
    ]
}

fn subscribe(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    topic: Topic,
) -> Result<(), CommandError> {
    let kind: &[u8] = match topic {
        Topic::Channel => b"subscribe",
        Topic::Pattern => b"psubscribe",
        Topic::ShardChannel => b"ssubscribe",
    };
    // Before the first message can be posted: a client of version 2 is sent messages by this.
    mark_subscriber(session, true);
    for name in &args[1..] {
        let hub = session.shared.hub();
        if !session.subscriptions.add(hub, &session.client, topic, name) {
            return Err(CommandError::other("ERR too many subscriptions"));
        }
        report(reply, kind, Some(name), session.subscriptions.reported(topic));
    }
    Ok(())
}

fn unsubscribe(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    topic: Topic,
) -> Result<(), CommandError> {
    let kind: &[u8] = match topic {
        Topic::Channel => b"unsubscribe",
        Topic::Pattern => b"punsubscribe",
        Topic::ShardChannel => b"sunsubscribe",
    };
    let all = if args.len() == 1 { session.subscriptions.all(topic) } else { Vec::new() };
    let all: Vec<&[u8]> = all.iter().map(|name| &**name).collect();
    let names = if args.len() == 1 { &*all } else { &args[1..] };
    if names.is_empty() {
        report(reply, kind, None, session.subscriptions.reported(topic));
    }
    for name in names {
        session.subscriptions.remove(session.shared.hub(), &session.client, topic, name);
        if !session.modes.has(Modes::EXECUTING) {
            // No message of the topic may come after the reply that it has ended.
            let mut messages = Vec::new();
            session.client.mailbox.take_into(&mut messages);
            reply.raw(&messages);
        }
        report(reply, kind, Some(name), session.subscriptions.reported(topic));
    }
    mark_subscriber(session, !session.subscriptions.is_empty());
    Ok(())
}

fn mark_subscriber(session: &mut Session, is_subscriber: bool) {
    session.modes.set(Modes::SUBSCRIBED, is_subscriber);
    session.client.set_subscriber(is_subscriber);
}

/// Reports a subscription that has begun or ended, and how many there are now.
fn report(reply: &mut Reply<'_>, kind: &[u8], name: Option<&[u8]>, count: usize) {
    reply.push(3);
    reply.bulk(kind);
    reply.bulk_or_null(name);
    reply.count(count);
}

fn publish(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.count(session.shared.hub().pubsub().publish(args[1], args[2]));
    Ok(())
}

fn spublish(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    reply.count(session.shared.hub().pubsub().publish_to_shard(args[1], args[2]));
    Ok(())
}

pub(super) const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "channels",
        arity: -2,
        handler: |session, args, reply| list(session, args, reply, Topic::Channel),
        help: [
            "CHANNELS [<pattern>]",
            "Lists the channels that have subscribers and match the pattern.",
        ],
    },
    Subcommand {
        name: "numpat",
        arity: 2,
        handler: |session, _, reply| {
            reply.count(session.shared.hub().pubsub().count(Topic::Pattern));
            Ok(())
        },
        help: ["NUMPAT", "Counts the patterns that have subscribers."],
    },
    Subcommand {
        name: "numsub",
        arity: -2,
        handler: |session, args, reply| count(session, args, reply, Topic::Channel),
        help: [
            "NUMSUB [<channel> ...]",
            "Counts the subscribers of each channel, without those of patterns.",
        ],
    },
    Subcommand {
        name: "shardchannels",
        arity: -2,
        handler: |session, args, reply| list(session, args, reply, Topic::ShardChannel),
        help: [
            "SHARDCHANNELS [<pattern>]",
            "Lists the channels of shards that have subscribers and match the pattern.",
        ],
    },
    Subcommand {
        name: "shardnumsub",
        arity: -2,
        handler: |session, args, reply| count(session, args, reply, Topic::ShardChannel),
        help: ["SHARDNUMSUB [<channel> ...]", "Counts the subscribers of each channel of a shard."],
    },
];

fn pubsub(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    subcommand::run("PUBSUB", SUBCOMMANDS, session, args, reply)
}

fn list(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    topic: Topic,
) -> Result<(), CommandError> {
    let pattern = match args[2..] {
        [] => None,
        [pattern] => Some(pattern),
        _ => return Err(CommandError::Syntax),
    };
    let names = session.shared.hub().pubsub().names(topic, pattern);
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

fn count(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    topic: Topic,
) -> Result<(), CommandError> {
    reply.array((args.len() - 2) * 2);
    for name in &args[2..] {
        reply.bulk(name);
        reply.count(session.shared.hub().pubsub().subscribers(topic, name));
    }
    Ok(())
}
