//! Channels, patterns and their subscribers.
//!
//! A message is encoded once for each version of the protocol and shared by its receivers. It goes through the
//! mailbox of each of them, that of the publisher too, so it comes after the replies of the batch that
//! published it.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::client::{Client, ClientId};
use crate::glob;
use crate::resp::{Protocol, Reply};

/// What a client can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Channel,
    Pattern,
    /// A channel of one shard in a cluster, with a name space of its own.
    ShardChannel,
}

type Subscribers = HashMap<Box<[u8]>, Vec<Arc<Client>>, ahash::RandomState>;

/// One kind of topic, by name.
#[derive(Debug, Default)]
struct Topics {
    subscribers: RwLock<Subscribers>,
}

impl Topics {
    fn read(&self) -> RwLockReadGuard<'_, Subscribers> {
        self.subscribers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Subscribers> {
        self.subscribers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscriptions of all clients.
#[derive(Debug, Default)]
pub(crate) struct PubSub {
    channels: Topics,
    patterns: Topics,
    shard_channels: Topics,
    /// The number of subscriptions to channels and patterns.
    subscriptions: AtomicUsize,
}

impl PubSub {
    fn topics(&self, topic: Topic) -> &Topics {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::ShardChannel => &self.shard_channels,
        }
    }

    /// Adds a subscription. The client must not have it yet.
    pub(crate) fn subscribe(&self, topic: Topic, name: &[u8], client: &Arc<Client>) {
        let mut subscribers = self.topics(topic).write();
        let clients = match subscribers.get_mut(name) {
            Some(clients) => clients,
            None => subscribers.entry(name.into()).or_default(),
        };
        clients.push(Arc::clone(client));
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a subscription of a client. After that, no message of it is posted.
    pub(crate) fn unsubscribe(&self, topic: Topic, name: &[u8], client: ClientId) {
        let mut subscribers = self.topics(topic).write();
        let Some(clients) = subscribers.get_mut(name) else { return };
        let Some(position) = clients.iter().position(|other| other.id == client) else { return };
        clients.remove(position);
        if clients.is_empty() {
            subscribers.remove(name);
        }
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether nobody has subscribed to anything.
    pub(crate) fn is_empty(&self) -> bool {
        // Relaxed: a subscription is certain to get only what happens after its reply.
        self.subscriptions.load(Ordering::Relaxed) == 0
    }

    /// Sends a message to all who have subscribed to the channel or to a pattern that it matches, and returns the
    /// number of messages.
    pub(crate) fn publish(&self, channel: &[u8], message: &[u8]) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut receivers = self.publish_to(Topic::Channel, channel, message);
        for (pattern, clients) in self.patterns.read().iter() {
            if glob::matches(pattern, channel) {
                receivers += Message::new(&[b"pmessage", pattern, channel, message]).post(clients);
            }
        }
        receivers
    }

    /// Sends a message to all who have subscribed to the channel itself.
    fn publish_to(&self, topic: Topic, channel: &[u8], message: &[u8]) -> usize {
        let subscribers = self.topics(topic).read();
        let Some(clients) = subscribers.get(channel) else { return 0 };
        let kind: &[u8] = if topic == Topic::ShardChannel { b"smessage" } else { b"message" };
        Message::new(&[kind, channel, message]).post(clients)
    }

    /// As [`publish`](Self::publish), for the channel of a shard, which patterns do not match.
    pub(crate) fn publish_to_shard(&self, channel: &[u8], message: &[u8]) -> usize {
        self.publish_to(Topic::ShardChannel, channel, message)
    }

    /// The topics with subscribers whose names match the pattern.
    pub(crate) fn names(&self, topic: Topic, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let subscribers = self.topics(topic).read();
        let is_wanted = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        subscribers.keys().filter(|name| is_wanted(name)).cloned().collect()
    }

    /// How many topics have subscribers.
    pub(crate) fn count(&self, topic: Topic) -> usize {
        self.topics(topic).read().len()
    }

    /// How many clients have subscribed to the topic.
    pub(crate) fn subscribers(&self, topic: Topic, name: &[u8]) -> usize {
        self.topics(topic).read().get(name).map_or(0, Vec::len)
    }
}

/// A message, encoded for each version of the protocol when the first such client gets it.
struct Message<'m> {
    parts: &'m [&'m [u8]],
    encoded: [OnceCell<Arc<[u8]>>; 2],
}

impl<'m> Message<'m> {
    fn new(parts: &'m [&'m [u8]]) -> Self {
        Self { parts, encoded: [const { OnceCell::new() }; 2] }
    }

    fn post(&self, clients: &[Arc<Client>]) -> usize {
        for client in clients {
            let protocol = client.protocol();
            let encoded =
                self.encoded[usize::from(protocol == Protocol::Resp3)].get_or_init(|| {
                    let mut output = Vec::new();
                    let mut reply = Reply::new(&mut output, protocol);
                    reply.push(self.parts.len());
                    for part in self.parts {
                        reply.bulk(part);
                    }
                    output.into()
                });
            client.mailbox.post(Arc::clone(encoded));
        }
        clients.len()
    }
}
