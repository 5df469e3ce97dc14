//! What all threads of a server share.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use larder::Cache;
use subtle::ConstantTimeEq;
use tokio::sync::watch;
#[cfg(feature = "tls")]
use tokio_rustls::TlsAcceptor;

use crate::buffers::BufferBudget;
use crate::bytes::Bytes;
use crate::config::ServerConfig;
use crate::hub::Hub;
use crate::leases::Leases;
use crate::persistence::{SaveError, SaveState};
use crate::readiness::Readiness;
#[cfg(feature = "scripts")]
use crate::scripts::Scripts;
use crate::settings::Settings;
use crate::stats::{ServerStats, Totals};
use crate::store::Store;
use crate::value::Value;

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
    pub(crate) tls: Option<TlsAcceptor>,
    /// Whether a client has asked for the end of the server. Its owner waits for that.
    shutdown_wanted: watch::Sender<bool>,
    /// Whether to save the cache at the end, if that client has said so or the opposite.
    saves_at_shutdown: Mutex<Option<bool>>,
}

impl Shared {
    pub(crate) fn new(
        cache: Cache<Bytes, Value>,
        hub: Hub,
        config: ServerConfig,
        threads: usize,
        commands: usize,
        #[cfg(feature = "tls")] tls: Option<TlsAcceptor>,
    ) -> Self {
        hub.settings().apply(&config);
        hub.clients().open();
        let store = Store::new(cache, hub, config.databases);
        #[cfg(feature = "http")]
        let store = if config.http_address.is_some() { store.with_hot_keys() } else { store };
        Self {
            store,
            stats: ServerStats::new(threads, commands),
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
        }
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

    /// Sets whether to save the cache at the end of the server, whatever the configuration says.
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

    /// Whether a save can begin now.
    pub(crate) fn can_save(&self) -> Result<(), SaveError> {
        if self.config.persistence.path.is_none() {
            return Err(SaveError::NoPath);
        }
        if self.saving.is_saving() { Err(SaveError::InProgress) } else { Ok(()) }
    }

    /// Saves the cache to the path of the configuration.
    pub(crate) fn save(&self) -> Result<(), SaveError> {
        let path = self.config.persistence.path.as_deref().ok_or(SaveError::NoPath)?;
        self.saving.save(self.store.cache(), path)
    }

    /// Sets where it listens for clients of Redis. Once, before there are any.
    pub(crate) fn set_address(&self, address: SocketAddr) {
        let _ = self.bound.set(address);
    }

    /// Whether to save the cache at the end, if a client has said so or the opposite.
    pub(crate) fn wants_save_at_shutdown(&self) -> Option<bool> {
        *self.saves_at_shutdown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes true when a client has asked for the end.
    pub(crate) fn shutdown_wanted(&self) -> watch::Receiver<bool> {
        self.shutdown_wanted.subscribe()
    }
}

/// 40 random hexadecimal digits.
fn random_id() -> String {
    let random = || ahash::RandomState::new().hash_one(0_u8);
    let digits = format!("{:016x}{:016x}{:016x}", random(), random(), random());
    digits[..40].to_owned()
}
