//! Publishing and subscribing.
#![forbid(unsafe_code)]

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

const HELP: [&str; 13] = [
    "PUBSUB <subcommand> [<arg> ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    Lists the channels that have subscribers and match the pattern.",
    "NUMPAT",
    "    Counts the patterns that have subscribers.",
    "NUMSUB [<channel> ...]",
    "    Counts the subscribers of each channel, without those of patterns.",
    "SHARDCHANNELS [<pattern>]",
    "    Lists the channels of shards that have subscribers and match the pattern.",
    "SHARDNUMSUB [<channel> ...]",
    "    Counts the subscribers of each channel of a shard.",
    "HELP",
    "    Prints this text.",
];

fn pubsub(
    session: &mut Session,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let pubsub = session.shared.hub().pubsub();
    let list = |reply: &mut Reply<'_>, topic| {
        let names = pubsub.names(topic, args.get(2).copied());
        reply.array(names.len());
        names.iter().for_each(|name| reply.bulk(name));
    };
    let count = |reply: &mut Reply<'_>, topic| {
        reply.array((args.len() - 2) * 2);
        for name in &args[2..] {
            reply.bulk(name);
            reply.count(pubsub.subscribers(topic, name));
        }
    };
    let known = args[1].to_ascii_lowercase();
    match (known.as_slice(), args.len()) {
        (b"channels", 2 | 3) => list(reply, Topic::Channel),
        (b"shardchannels", 2 | 3) => list(reply, Topic::ShardChannel),
        (b"numsub", _) => count(reply, Topic::Channel),
        (b"shardnumsub", _) => count(reply, Topic::ShardChannel),
        (b"numpat", 2) => reply.count(pubsub.count(Topic::Pattern)),
        (b"help", 2) => super::client::write_help(reply, &HELP),
        (name @ (b"channels" | b"shardchannels" | b"numpat" | b"help"), _) => {
            return Err(super::client::wrong_subcommand_arity("pubsub", name));
        }
        _ => return Err(super::client::unknown_subcommand("PUBSUB", args[1])),
    }
    Ok(())
}
