//! What a client has subscribed to.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::Arc;

use crate::client::Client;
use crate::hub::Hub;
use crate::pubsub::Topic;
use crate::session::name_bytes;

/// The most subscriptions of one client.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 100_000;

type Names = HashSet<Box<[u8]>, ahash::RandomState>;

/// The topics to which a client has subscribed.
#[derive(Default)]
pub(crate) struct Subscriptions {
    channels: Names,
    patterns: Names,
    shard_channels: Names,
    /// What all of them take, here and in the hub.
    bytes: usize,
}

impl Subscriptions {
    /// What they take, here and in the hub.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn names(&self, topic: Topic) -> &Names {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::ShardChannel => &self.shard_channels,
        }
    }

    fn names_mut(&mut self, topic: Topic) -> &mut Names {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::ShardChannel => &mut self.shard_channels,
        }
    }

    /// How many topics of this kind.
    pub(crate) fn count_of(&self, topic: Topic) -> usize {
        self.names(topic).len()
    }

    /// The number that replies about such a topic report: channels and patterns are counted together.
    pub(crate) fn reported(&self, topic: Topic) -> usize {
        match topic {
            Topic::Channel | Topic::Pattern => self.channels.len() + self.patterns.len(),
            Topic::ShardChannel => self.shard_channels.len(),
        }
    }

    /// How many topics of any kind.
    pub(crate) fn len(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shard_channels.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Subscribes, unless it has subscribed already. Returns false if there are too many.
    pub(crate) fn add(
        &mut self,
        hub: &Hub,
        client: &Arc<Client>,
        topic: Topic,
        name: &[u8],
    ) -> bool {
        if self.names(topic).contains(name) {
            return true;
        }
        if self.len() >= MAX_SUBSCRIPTIONS {
            return false;
        }
        self.names_mut(topic).insert(name.into());
        self.bytes += name_bytes(name);
        hub.pubsub().subscribe(topic, name, client);
        true
    }

    pub(crate) fn remove(&mut self, hub: &Hub, client: &Client, topic: Topic, name: &[u8]) {
        if self.names_mut(topic).remove(name) {
            self.bytes -= name_bytes(name);
            hub.pubsub().unsubscribe(topic, name, client.id);
        }
    }

    /// The names of all topics of a kind.
    pub(crate) fn all(&self, topic: Topic) -> Vec<Box<[u8]>> {
        self.names(topic).iter().cloned().collect()
    }

    /// Ends all subscriptions.
    pub(crate) fn clear(&mut self, hub: &Hub, client: &Client) {
        for topic in [Topic::Channel, Topic::Pattern, Topic::ShardChannel] {
            for name in self.names_mut(topic).drain() {
                hub.pubsub().unsubscribe(topic, &name, client.id);
            }
        }
        self.bytes = 0;
    }
}
