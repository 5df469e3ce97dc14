//! The server: its settings, its threads, its end.
#![forbid(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use larder::Cache;
use thiserror::Error;
use tokio::sync::watch;

use crate::bytes::Bytes;
use crate::http::HttpThread;
use crate::hub::Hub;
use crate::net;
use crate::readiness::{LoadingGuard, Readiness};
use crate::resp::RequestLimits;
use crate::stats::ServerStats;
use crate::store::Store;
use crate::value::Value;

/// The settings of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where clients of Redis connect. Port 0 takes a free one. Default: `127.0.0.1:6379`.
    pub address: SocketAddr,
    /// Where the page, the metrics and the probes are served by HTTP. Port 0 takes a free one. Default:
    /// nowhere.
    pub http_address: Option<SocketAddr>,
    /// How many threads serve. Default: one for each core.
    pub threads: usize,
    /// The password that clients must give. Default: none.
    pub password: Option<String>,
    /// How many databases there are. Default: 16.
    pub databases: u16,
    /// The most clients at one time. Default: 10,000.
    pub max_clients: usize,
    /// The most bytes of messages that wait for one client. Default: 32 MiB.
    pub max_mail_bytes: usize,
    /// What a request may contain.
    pub request_limits: RequestLimits,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 6379).into(),
            http_address: None,
            threads: thread::available_parallelism().map_or(1, NonZero::get),
            password: None,
            databases: 16,
            max_clients: 10_000,
            max_mail_bytes: 32 << 20,
            request_limits: RequestLimits::default(),
        }
    }
}

/// Why a server could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread or its runtime could not be made.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) store: Store,
    pub(crate) stats: ServerStats,
    pub(crate) readiness: Arc<Readiness>,
}

impl Shared {
    pub(crate) fn hub(&self) -> &Hub {
        self.store.hub()
    }
}

/// A server that runs.
///
/// Dropping it ends it, as [`shutdown`](Self::shutdown) does.
///
/// # Examples
/// ```
/// use larder::Cache;
/// use larder_server::{Bytes, Hub, Server, ServerConfig, Value};
///
/// let hub = Hub::new();
/// let cache: Cache<Bytes, Value> =
///     Cache::builder().capacity(10_000).listener(hub.listener()).build()?;
/// let mut config = ServerConfig::default();
/// config.address.set_port(0);
/// // The program and its clients use one cache.
/// let server = Server::start(cache.clone(), hub, config)?;
/// cache.insert(Bytes::from("greeting"), Value::from("hello"));
/// println!("try: redis-cli -p {} get greeting", server.address().port());
/// server.shutdown();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    http: Option<HttpThread>,
}

impl Server {
    /// Starts to serve `cache`, whose listener should be that of `hub`.
    ///
    /// # Errors
    /// The address is in use or not this machine's, or there are no threads to be had.
    pub fn start(
        cache: Cache<Bytes, Value>,
        hub: Hub,
        config: ServerConfig,
    ) -> Result<Self, StartError> {
        let threads = config.threads.max(1);
        let (listeners, address) = net::listen(config.address, threads)
            .map_err(|source| StartError::Listen { address: config.address, source })?;
        let store = Store::new(cache, hub, config.databases);
        let shared = Arc::new(Shared {
            store: if config.http_address.is_some() { store.with_hot_keys() } else { store },
            stats: ServerStats::new(threads),
            readiness: Arc::default(),
            config,
        });
        let (stop, stopped) = watch::channel(false);
        let threads = Vec::with_capacity(threads);
        let mut server = Self { address, shared: Arc::clone(&shared), stop, threads, http: None };
        if let Some(address) = shared.config.http_address {
            server.http = Some(HttpThread::start(address, &shared)?);
        }
        for (number, listener) in listeners.into_iter().enumerate() {
            let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(StartError::Thread)?;
            let serve = move || net::serve(&runtime, listener, &shared, number, stopped);
            let named = thread::Builder::new().name(format!("larder-{number}"));
            server.threads.push(named.spawn(serve).map_err(StartError::Thread)?);
        }
        Ok(server)
    }

    /// Where it listens, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves HTTP, with the port that was taken; `None` if it does not.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpThread::address)
    }

    /// Says that the server is being filled, for example from a snapshot. As long as the guard lives,
    /// `/readyz` answers 503, so that a load balancer sends no clients yet.
    pub fn begin_loading(&self) -> LoadingGuard {
        LoadingGuard::new(Arc::clone(&self.shared.readiness))
    }

    /// Ends the server: it accepts no more clients, finishes the commands that have arrived, sends their
    /// replies, and returns when all threads have ended.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.readiness.stop();
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // The probes are answered until the last client has got its replies.
        self.http = None;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
