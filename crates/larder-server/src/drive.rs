//! Conversations without sockets, for fuzzers and benchmarks.
#![forbid(unsafe_code)]

use std::sync::Arc;

use larder::Cache;

use crate::bytes::Bytes;
use crate::commands::COMMANDS;
use crate::config::ServerConfig;
use crate::conversation::{BatchEnd, Conversation};
use crate::hub::Hub;
use crate::memcached::MemcachedSession;
use crate::session::Session;
use crate::shared::Shared;
use crate::value::Value;

/// Clients of a server that has no sockets and no threads.
#[doc(hidden)]
pub struct Driver {
    shared: Arc<Shared>,
}

/// A client of a [`Driver`].
#[doc(hidden)]
pub struct DrivenClient<C> {
    conversation: C,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Driver {
    #[must_use]
    pub fn new(cache: Cache<Bytes, Value>, hub: Hub, config: ServerConfig) -> Self {
        let shared = Shared::new(
            cache,
            hub,
            config,
            1,
            COMMANDS.len(),
            #[cfg(feature = "tls")]
            None,
        );
        Self { shared: Arc::new(shared) }
    }

    fn client<C>(&self, make: impl FnOnce(Arc<crate::client::Client>) -> C) -> DrivenClient<C> {
        let clients = self.shared.hub().clients();
        let added = clients.add(String::new(), String::new(), 1 << 20, usize::MAX);
        let client = added.expect("there is no limit");
        DrivenClient { conversation: make(client), input: Vec::new(), output: Vec::new() }
    }

    /// A client of Redis.
    #[must_use]
    pub fn redis(&self) -> DrivenClient<impl Drive + use<>> {
        self.client(|client| Session::new(Arc::clone(&self.shared), client, 0, &COMMANDS))
    }

    /// A client of memcached.
    #[must_use]
    pub fn memcached(&self) -> DrivenClient<impl Drive + use<>> {
        self.client(|client| MemcachedSession::new(Arc::clone(&self.shared), client, 0))
    }
}

/// What a client of a [`Driver`] can do.
#[doc(hidden)]
pub trait Drive {
    /// Executes the whole requests in `input`, removes them from it and adds the replies to `output`. Returns whether
    /// the connection stays open.
    fn run(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>) -> bool;
}

impl<C: Conversation> Drive for C {
    fn run(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>) -> bool {
        loop {
            let (consumed, end) = self.run_batch(input, output);
            input.drain(..consumed);
            let client = Arc::clone(self.client());
            client.mailbox.take_into(output);
            match end {
                BatchEnd::NeedsInput => return true,
                BatchEnd::Close => return false,
                BatchEnd::HasMore => {}
                BatchEnd::Paused(_) => return true,
                BatchEnd::Deferred(job) => output.extend_from_slice(&job()),
            }
        }
    }
}

impl<C: Drive> DrivenClient<C> {
    /// Sends bytes, and returns what was answered; `None` once the connection is closed.
    pub fn send(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        self.input.extend_from_slice(bytes);
        self.output.clear();
        let is_open = self.conversation.run(&mut self.input, &mut self.output);
        is_open.then_some(&self.output)
    }

    /// How many bytes wait for the rest of a request.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.input.len()
    }
}
