//! The clients that are connected.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::mailbox::Mailbox;

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
    /// What `CLIENT LIST` shows and changes rarely.
    description: Mutex<Description>,
}

/// What a client has said of itself, and what it did last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) library_name: String,
    pub(crate) library_version: String,
    pub(crate) user: String,
    pub(crate) database: u16,
    pub(crate) protocol: u8,
    pub(crate) last_command: &'static str,
    pub(crate) last_active: Option<Instant>,
    pub(crate) queued_commands: Option<usize>,
    pub(crate) watched_keys: usize,
    pub(crate) channels: usize,
    pub(crate) patterns: usize,
    pub(crate) is_tracking: bool,
    pub(crate) redirect: Option<ClientId>,
    pub(crate) is_unevictable: bool,
}

impl Client {
    pub(crate) fn description(&self) -> MutexGuard<'_, Description> {
        self.description.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All clients that are connected, by number.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    connected: Mutex<BTreeMap<ClientId, Arc<Client>>>,
    last_id: AtomicU64,
    /// How many have ever connected, and how many were refused.
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// How many were disconnected because they did not read what other threads had sent them.
    pub(crate) overflowed: AtomicU64,
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
            description: Mutex::new(Description {
                user: "default".to_owned(),
                protocol: 2,
                ..Description::default()
            }),
        });
        connected.insert(id, Arc::clone(&client));
        Some(client)
    }

    pub(crate) fn remove(&self, id: ClientId) {
        let removed = self.connected().remove(&id);
        if removed.is_some_and(|client| client.mailbox.has_overflowed()) {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, id: ClientId) -> Option<Arc<Client>> {
        self.connected().get(&id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.connected().len()
    }

    /// All clients, in the order in which they connected.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.connected().values().cloned().collect()
    }
}
