//! The server: how it starts and ends, and its threads.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use larder::Cache;
use tokio::sync::watch;
#[cfg(feature = "tls")]
use tokio_rustls::TlsAcceptor;

use crate::bytes::Bytes;
use crate::commands::COMMANDS;
use crate::config::ServerConfig;
#[cfg(feature = "http")]
use crate::http::HttpThread;
use crate::hub::Hub;
use crate::net::{self, Door, Listening};
use crate::persistence::SaveError;
use crate::readiness::LoadingGuard;
use crate::shared::Shared;
use crate::start_error::StartError;
#[cfg(feature = "tls")]
use crate::tls;
use crate::value::Value;

/// A server that runs.
///
/// Dropping it ends it, as [`shutdown`](Self::shutdown) does, but does not save the cache. All methods may be called
/// by several threads at once.
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
    #[cfg(feature = "http")]
    http: Option<HttpThread>,
}

impl Server {
    /// Starts to serve `cache`, whose listener should be that of `hub`. Without it, clients are not notified of
    /// evictions, expirations and changes by the program.
    ///
    /// When it returns, clients can connect. It starts `config.threads` threads, one more for HTTP and one more for
    /// saving from time to time, if these are configured. The cache goes on after the server's end, and can be
    /// served again.
    ///
    /// # Errors
    /// An address is in use or not this machine's, there can be no socket at the path, the certificate or its key
    /// cannot be used, or no thread can be started. Nothing is served in that case.
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
        #[cfg(feature = "tls")]
        let tls = acceptor(&config)?;
        let shared = Arc::new(Shared::new(
            cache,
            hub,
            config,
            threads,
            COMMANDS.len(),
            #[cfg(feature = "tls")]
            tls,
        ));
        // Set once, here.
        shared.set_address(address);
        let (stop, stopped) = watch::channel(false);
        let mut server = Self {
            address,
            memcached_address,
            #[cfg(feature = "tls")]
            tls_address,
            shared: Arc::clone(&shared),
            stop,
            threads: Vec::with_capacity(threads),
            #[cfg(feature = "http")]
            http: None,
        };
        #[cfg(feature = "http")]
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
        if let Some(saver) = start_saver(&shared, stopped) {
            server.threads.push(saver.map_err(StartError::Thread)?);
        }
        Ok(server)
    }

    /// Checks the settings as far as possible without listening: the certificate and its key. Whether the
    /// addresses are free is not checked.
    ///
    /// # Errors
    /// What [`start`](Self::start) would return for these.
    pub fn check(config: &ServerConfig) -> Result<(), StartError> {
        #[cfg(feature = "tls")]
        acceptor(config)?;
        #[cfg(not(feature = "tls"))]
        let _ = config;
        Ok(())
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
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpThread::address)
    }

    /// Declares that the cache is being filled, for example from a snapshot. As long as the guard lives, `/readyz`
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
    /// [`stop_waiting`](Self::stop_waiting). The server goes on until it is [shut down](Self::shutdown). Any number of
    /// threads may wait; once one was woken, no call waits any more. A signal to the process does not end the wait.
    pub fn wait_for_shutdown_command(&self) {
        let mut wanted = self.shared.shutdown_wanted();
        futures_executor::block_on(async {
            let _ = wanted.wait_for(|is_wanted| *is_wanted).await;
        });
    }

    /// Ends the wait of [`wait_for_shutdown_command`](Self::wait_for_shutdown_command).
    pub fn stop_waiting(&self) {
        self.shared.want_shutdown();
    }

    /// Saves the cache to the path of the configuration, while clients are served. It blocks until the file is
    /// written.
    ///
    /// # Errors
    /// No path was configured, another thread or a client is saving, or the file cannot be written; the earlier file is
    /// unchanged in that case.
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
        let told = self.shared.wants_save_at_shutdown();
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
        // Probes are answered until the last client has got its replies.
        #[cfg(feature = "http")]
        {
            self.http = None;
        }
        #[cfg(unix)]
        if let Some(path) = &self.shared.config.unix_socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// The acceptor of clients that connect over TLS, if it is configured.
#[cfg(feature = "tls")]
fn acceptor(config: &ServerConfig) -> Result<Option<TlsAcceptor>, StartError> {
    let Some(tls) = &config.tls else { return Ok(None) };
    Ok(Some(tls::acceptor(&tls.certificate, &tls.key)?))
}

/// Starts the thread that saves from time to time, if one is wanted.
fn start_saver(
    shared: &Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) -> Option<io::Result<JoinHandle<()>>> {
    let every = shared.config.persistence.every.filter(|every| !every.is_zero())?;
    shared.config.persistence.path.as_ref()?;
    let shared = Arc::clone(shared);
    let save_on = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let Ok(runtime) = runtime else { return };
        loop {
            let end = stopped.wait_for(|is_stopped| *is_stopped);
            let is_stopped =
                runtime.block_on(async { tokio::time::timeout(every, end).await.is_ok() });
            if is_stopped {
                return;
            }
            // `INFO` and the metrics show a failure; the next save tries again.
            let _ = shared.save();
        }
    };
    Some(thread::Builder::new().name("larder-save".to_owned()).spawn(save_on))
}
