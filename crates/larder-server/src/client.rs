//! The clients that are connected.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::mailbox::Mailbox;
use crate::resp::Protocol;

/// The number of a client. It is not used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(pub(crate) u64);

/// What other threads may know of a client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    /// The address of the client, and that at which it was accepted.
    pub(crate) address: String,
    pub(crate) local_address: String,
    pub(crate) connected: Instant,
    pub(crate) mailbox: Mailbox,
    /// Whether it speaks version 3 of the protocol, for those who send it messages.
    is_resp3: AtomicBool,
    /// Whether it has subscribed to anything.
    is_subscriber: AtomicBool,
    /// What `CLIENT LIST` shows and changes rarely.
    description: Mutex<Description>,
}

/// What a client has said of itself, and what it did last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) library_name: String,
    pub(crate) library_version: String,
    pub(crate) database: u16,
    pub(crate) last_command: Option<&'static str>,
    pub(crate) last_active: Option<Instant>,
    pub(crate) input_bytes: usize,
    /// The number of commands that wait for `EXEC`, within `MULTI`.
    pub(crate) queued_commands: Option<usize>,
    pub(crate) watched_keys: usize,
    pub(crate) channels: usize,
    pub(crate) patterns: usize,
    pub(crate) shard_channels: usize,
    pub(crate) is_unevictable: bool,
    pub(crate) is_no_touch: bool,
}

impl Client {
    pub(crate) fn description(&self) -> MutexGuard<'_, Description> {
        self.description.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of the protocol in which others send it messages.
    pub(crate) fn protocol(&self) -> Protocol {
        // Relaxed: a message that is posted while the client changes the version may have either form.
        if self.is_resp3.load(Ordering::Relaxed) { Protocol::Resp3 } else { Protocol::Resp2 }
    }

    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        // Relaxed: as in `protocol`.
        self.is_resp3.store(protocol == Protocol::Resp3, Ordering::Relaxed);
    }

    /// Whether it has subscribed to anything.
    pub(crate) fn is_subscriber(&self) -> bool {
        // Relaxed: a message that comes at the same time as the subscription may be dropped or sent.
        self.is_subscriber.load(Ordering::Relaxed)
    }

    pub(crate) fn set_subscriber(&self, is_subscriber: bool) {
        // Relaxed: as in `is_subscriber`.
        self.is_subscriber.store(is_subscriber, Ordering::Relaxed);
    }
}

/// All clients that are connected, by number.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    connected: Mutex<BTreeMap<ClientId, Arc<Client>>>,
    /// The server ends: whoever is added is disconnected. Changed under the lock.
    is_closing: AtomicBool,
    last_id: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    overflowed: AtomicU64,
}

impl Clients {
    fn connected(&self) -> MutexGuard<'_, BTreeMap<ClientId, Arc<Client>>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a client, unless there are `max` already.
    pub(crate) fn add(
        &self,
        address: String,
        local_address: String,
        max_mail_bytes: usize,
        max: usize,
    ) -> Option<Arc<Client>> {
        let mut connected = self.connected();
        if connected.len() >= max {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let id = ClientId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let client = Arc::new(Client {
            id,
            address,
            local_address,
            connected: Instant::now(),
            mailbox: Mailbox::new(max_mail_bytes),
            is_resp3: AtomicBool::new(false),
            is_subscriber: AtomicBool::new(false),
            description: Mutex::new(Description::default()),
        });
        // Relaxed: the lock orders it with `close_all`.
        if self.is_closing.load(Ordering::Relaxed) {
            client.mailbox.close();
        }
        connected.insert(id, Arc::clone(&client));
        Some(client)
    }

    pub(crate) fn remove(&self, id: ClientId) {
        let removed = self.connected().remove(&id);
        if removed.is_some_and(|client| client.mailbox.has_overflowed()) {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Clients may be added again, to a new server.
    pub(crate) fn open(&self) {
        let _connected = self.connected();
        // Relaxed: as in `add`.
        self.is_closing.store(false, Ordering::Relaxed);
    }

    /// Disconnects all clients, even those that a handshake under way adds later.
    pub(crate) fn close_all(&self) {
        let all: Vec<_> = {
            let connected = self.connected();
            // Relaxed: as in `add`.
            self.is_closing.store(true, Ordering::Relaxed);
            connected.values().cloned().collect()
        };
        for client in all {
            client.mailbox.close();
        }
    }

    pub(crate) fn get(&self, id: ClientId) -> Option<Arc<Client>> {
        self.connected().get(&id).cloned()
    }

    /// How many have ever connected.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many were refused, because there were too many.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many were disconnected because they did not read what other threads had sent them.
    #[cfg(feature = "http")]
    pub(crate) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(crate) fn len(&self) -> usize {
        self.connected().len()
    }

    /// All clients, in the order in which they connected.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.connected().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_while_the_server_ends_is_disconnected() {
        let clients = Clients::default();
        let add = || clients.add(String::new(), String::new(), 1, 10).unwrap();
        let early = add();
        assert!(!early.mailbox.is_closed());
        clients.close_all();
        assert!(early.mailbox.is_closed() && add().mailbox.is_closed());
        clients.open();
        assert!(!add().mailbox.is_closed(), "of the next server");
    }
}
