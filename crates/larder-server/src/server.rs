//! The server: its settings, its threads, its end.
#![forbid(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use larder::Cache;
use subtle::ConstantTimeEq;
use thiserror::Error;
use tokio::sync::watch;

use crate::bytes::Bytes;
use crate::http::HttpThread;
use crate::hub::Hub;
use crate::memcached::Leases;
use crate::net::buffers::BufferBudget;
use crate::net::{self, Door, Listening};
use crate::persistence::{self, Persistence, SaveError, SaveState};
use crate::readiness::{LoadingGuard, Readiness};
use crate::resp::RequestLimits;
#[cfg(feature = "scripts")]
use crate::scripts::Scripts;
use crate::settings::Settings;
use crate::stats::{ServerStats, Totals};
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
    /// Where clients of memcached connect. Default: nowhere.
    pub memcached_address: Option<SocketAddr>,
    /// How many threads serve. Default: one for each core.
    pub threads: usize,
    /// The password that clients must give. Default: none.
    pub password: Option<String>,
    /// How many databases there are. Default: 16.
    pub databases: u16,
    /// The most clients at one time. Default: 10,000.
    pub max_clients: usize,
    /// Whether only clients of this machine are served as long as there is no password. Default: yes.
    pub protected_mode: bool,
    /// Where clients of Redis connect on this machine. A socket that a server has left there is replaced.
    /// Default: none.
    pub unix_socket: Option<PathBuf>,
    /// Where clients of Redis connect within TLS. Default: none.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsConfig>,
    /// A client that sends nothing for so long is disconnected. Default: never.
    pub idle_timeout: Option<Duration>,
    /// A client that reads none of its replies for so long is disconnected. Zero means never. Default: one
    /// minute.
    pub write_timeout: Duration,
    /// The most bytes of messages that wait for one client. Default: 32 MiB.
    pub max_mail_bytes: usize,
    /// The most bytes of replies of one batch of commands of one client. Default: 256 MiB.
    pub max_output_bytes: usize,
    /// The most bytes of requests and replies that all clients have under way; the one that needs more is
    /// disconnected. Default: 1 GiB.
    pub max_buffer_bytes: usize,
    /// What a request may contain.
    pub request_limits: RequestLimits,
    /// Where the cache is saved, and when. Default: nowhere.
    pub persistence: Persistence,
    /// A script that runs for so long is ended, with an error. Nothing else runs meanwhile. Default: 5 seconds.
    #[cfg(feature = "scripts")]
    pub script_time_limit: Duration,
    /// The most bytes that the scripts of one thread, their variables and the result of one may take. Default:
    /// 64 MiB.
    #[cfg(feature = "scripts")]
    pub max_script_memory_bytes: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 6379).into(),
            http_address: None,
            memcached_address: None,
            threads: thread::available_parallelism().map_or(1, NonZero::get),
            password: None,
            databases: 16,
            max_clients: 10_000,
            protected_mode: true,
            unix_socket: None,
            #[cfg(feature = "tls")]
            tls: None,
            idle_timeout: None,
            write_timeout: Duration::from_secs(60),
            max_mail_bytes: 32 << 20,
            max_output_bytes: 256 << 20,
            max_buffer_bytes: 1 << 30,
            request_limits: RequestLimits::default(),
            persistence: Persistence::default(),
            #[cfg(feature = "scripts")]
            script_time_limit: Duration::from_secs(5),
            #[cfg(feature = "scripts")]
            max_script_memory_bytes: 64 << 20,
        }
    }
}

impl ServerConfig {
    /// Checks what can be checked without listening: the certificate and its key.
    ///
    /// # Errors
    /// What [`Server::start`] would return.
    pub fn check(&self) -> Result<(), StartError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            net::tls::acceptor(&tls.certificate, &tls.key)?;
        }
        Ok(())
    }
}

/// A server's certificate, and where it is used.
#[cfg(feature = "tls")]
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Where clients of Redis connect within TLS. Port 0 takes a free one.
    pub address: SocketAddr,
    /// The file of the chain of certificates, in PEM.
    pub certificate: PathBuf,
    /// The file of the private key, in PEM.
    pub key: PathBuf,
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
    /// There can be no socket at the path.
    #[error("cannot listen at {}: {source}", .path.display())]
    ListenAtPath {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] crate::net::tls::TlsError),
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
    pub(crate) buffers: BufferBudget,
    pub(crate) saving: SaveState,
    pub(crate) leases: Leases,
    pub(crate) started: Instant,
    #[cfg(feature = "scripts")]
    pub(crate) scripts: Scripts,
    /// Identifies this run of the server.
    pub(crate) run_id: String,
    /// Where it listens for clients of Redis, once it does.
    bound: OnceLock<SocketAddr>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tokio_rustls::TlsAcceptor>,
    /// Tells the owner of the server that a client has asked for its end.
    shutdown_wanted: watch::Sender<bool>,
    /// Whether that client has said that the cache is to be saved, or is not.
    saves_at_shutdown: Mutex<Option<bool>>,
}

impl Shared {
    pub(crate) fn new(
        cache: Cache<Bytes, Value>,
        hub: Hub,
        config: ServerConfig,
        threads: usize,
    ) -> Result<Self, StartError> {
        #[cfg(feature = "tls")]
        let tls = match &config.tls {
            None => None,
            Some(tls) => Some(net::tls::acceptor(&tls.certificate, &tls.key)?),
        };
        hub.settings().apply(&config);
        let store = Store::new(cache, hub, config.databases);
        Ok(Self {
            store: if config.http_address.is_some() { store.with_hot_keys() } else { store },
            stats: ServerStats::new(threads),
            buffers: BufferBudget::new(config.max_buffer_bytes),
            saving: SaveState::new(),
            leases: Leases::default(),
            readiness: Arc::default(),
            started: Instant::now(),
            #[cfg(feature = "scripts")]
            scripts: Scripts::new(),
            run_id: random_id(),
            bound: OnceLock::new(),
            #[cfg(feature = "tls")]
            tls,
            shutdown_wanted: watch::Sender::new(false),
            saves_at_shutdown: Mutex::new(None),
            config,
        })
    }

    /// What can be changed while the server runs.
    #[inline]
    pub(crate) fn settings(&self) -> &Settings {
        self.hub().settings()
    }

    /// Where it listens for clients of Redis, with the port that was taken.
    pub(crate) fn address(&self) -> SocketAddr {
        self.bound.get().copied().unwrap_or(self.config.address)
    }

    /// How long a client may send nothing.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        match self.settings().idle_ms.get() {
            0 => None,
            ms => Some(Duration::from_millis(ms)),
        }
    }

    /// The most clients at one time.
    pub(crate) fn max_clients(&self) -> usize {
        self.settings().max_clients.as_usize()
    }

    /// Whether only clients of this machine are served.
    pub(crate) fn is_protected(&self) -> bool {
        self.config.protected_mode && self.settings().password().is_none()
    }

    /// Whether this is the password, compared in a time that does not depend on where it differs.
    pub(crate) fn is_password(&self, given: &[u8]) -> bool {
        let Some(password) = self.settings().password() else { return false };
        let is_equal: bool = password.as_bytes().ct_eq(given).into();
        is_equal
    }

    /// What was counted since the server was started.
    pub(crate) fn totals(&self) -> Totals {
        let (clients, stats) = (self.hub().clients(), self.store.cache().stats());
        Totals {
            accepted: clients.accepted(),
            refused: clients.refused(),
            evictions: stats.evictions,
            expirations: stats.expirations,
            ..self.stats.totals()
        }
    }

    /// What was counted since the last `CONFIG RESETSTAT`.
    pub(crate) fn totals_since_reset(&self) -> Totals {
        self.stats.since_reset(self.totals())
    }

    /// Says whether the cache is to be saved at the end of the server, whatever the configuration says.
    pub(crate) fn save_at_shutdown(&self, saves: bool) {
        *self.saves_at_shutdown.lock().unwrap_or_else(PoisonError::into_inner) = Some(saves);
    }

    /// Asks the owner of the server to end it.
    pub(crate) fn want_shutdown(&self) {
        self.shutdown_wanted.send_replace(true);
    }

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
/// server.shutdown()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    address: SocketAddr,
    memcached_address: Option<SocketAddr>,
    #[cfg(feature = "tls")]
    tls_address: Option<SocketAddr>,
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
        let mut listening: Vec<Vec<Listening>> = (0..threads).map(|_| Vec::new()).collect();
        let mut listen = |address: SocketAddr, door: Door| -> Result<SocketAddr, StartError> {
            let (listeners, address) = net::listen(address, threads)
                .map_err(|source| StartError::Listen { address, source })?;
            for (thread, listener) in listening.iter_mut().zip(listeners) {
                thread.push(Listening::Tcp(listener, door));
            }
            Ok(address)
        };
        let address = listen(config.address, Door::Redis)?;
        let memcached_address =
            config.memcached_address.map(|address| listen(address, Door::Memcached)).transpose()?;
        #[cfg(feature = "tls")]
        let tls_address =
            config.tls.as_ref().map(|tls| listen(tls.address, Door::RedisTls)).transpose()?;
        #[cfg(unix)]
        if let Some(path) = &config.unix_socket {
            let listener = net::listen_at_path(path)
                .map_err(|source| StartError::ListenAtPath { path: path.clone(), source })?;
            listening[0].push(Listening::Unix(listener));
        }
        let shared = Arc::new(Shared::new(cache, hub, config, threads)?);
        // Set once, here.
        let _ = shared.bound.set(address);
        let (stop, stopped) = watch::channel(false);
        let mut server = Self {
            address,
            memcached_address,
            #[cfg(feature = "tls")]
            tls_address,
            shared: Arc::clone(&shared),
            stop,
            threads: Vec::with_capacity(threads),
            http: None,
        };
        if let Some(address) = shared.config.http_address {
            server.http = Some(HttpThread::start(address, &shared)?);
        }
        for (number, listening) in listening.into_iter().enumerate() {
            let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(StartError::Thread)?;
            let serve = move || net::serve(&runtime, listening, &shared, number, &stopped);
            let named = thread::Builder::new().name(format!("larder-{number}"));
            server.threads.push(named.spawn(serve).map_err(StartError::Thread)?);
        }
        if let Some(saver) = persistence::start_saver(&shared, stopped) {
            server.threads.push(saver.map_err(StartError::Thread)?);
        }
        Ok(server)
    }

    /// Where it listens, with the port that was taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for clients of memcached, if it does.
    #[must_use]
    pub fn memcached_address(&self) -> Option<SocketAddr> {
        self.memcached_address
    }

    /// Where it serves HTTP, with the port that was taken, if it does.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpThread::address)
    }

    /// Says that the cache is being filled, for example from a snapshot. As long as the guard lives, `/readyz`
    /// answers 503, so that a load balancer sends no clients yet.
    pub fn begin_loading(&self) -> LoadingGuard {
        LoadingGuard::new(Arc::clone(&self.shared.readiness))
    }

    /// Where it listens for TLS, if it does.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Waits until a client has sent `SHUTDOWN`, or another thread has called
    /// [`stop_waiting`](Self::stop_waiting). The server goes on until it is [shut down](Self::shutdown).
    pub fn wait_for_shutdown_command(&self) {
        let mut wanted = self.shared.shutdown_wanted.subscribe();
        futures_executor::block_on(async {
            let _ = wanted.wait_for(|is_wanted| *is_wanted).await;
        });
    }

    /// Ends the wait of [`wait_for_shutdown_command`](Self::wait_for_shutdown_command).
    pub fn stop_waiting(&self) {
        self.shared.want_shutdown();
    }

    /// Saves the cache to the path of the configuration, while clients are served.
    ///
    /// # Errors
    /// No path was configured, or the file cannot be written; the one before is as it was then.
    pub fn save(&self) -> Result<(), SaveError> {
        self.shared.save()
    }

    /// Ends the server: it accepts no more clients, finishes the commands that have arrived, sends their
    /// replies, and returns when all threads have ended. A client that does not read its replies is given
    /// five seconds. If a path is configured, the cache is then saved.
    ///
    /// # Errors
    /// The cache could not be saved. The server has ended all the same.
    pub fn shutdown(mut self) -> Result<(), SaveError> {
        self.end();
        let told = *self.shared.saves_at_shutdown.lock().unwrap_or_else(PoisonError::into_inner);
        match told.unwrap_or_else(|| self.shared.config.persistence.save_at_shutdown()) {
            true => self.shared.save(),
            false => Ok(()),
        }
    }

    fn end(&mut self) {
        self.shared.readiness.stop();
        let _ = self.stop.send(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // The probes are answered until the last client has got its replies.
        self.http = None;
        #[cfg(unix)]
        if let Some(path) = &self.shared.config.unix_socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// 40 random hexadecimal digits.
fn random_id() -> String {
    let random = || ahash::RandomState::new().hash_one(0_u8);
    let digits = format!("{:016x}{:016x}{:016x}", random(), random(), random());
    digits[..40].to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
