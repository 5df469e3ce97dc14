//! The settings of a server, as a program gives them.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::persistence::Persistence;
use crate::resp::RequestLimits;

/// The settings of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where clients of Redis connect. Port 0 takes a free one. Default: `127.0.0.1:6379`.
    pub address: SocketAddr,
    /// Where the page, the metrics and the probes are served by HTTP. Port 0 takes a free one. Default:
    /// nowhere.
    #[cfg(feature = "http")]
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
    /// Where clients of Redis connect on this machine. A stale socket of an earlier server is replaced.
    /// Default: none.
    pub unix_socket: Option<PathBuf>,
    /// Where clients of Redis connect within TLS. Default: none.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsConfig>,
    /// A client that sends nothing for this long is disconnected. Default: never.
    pub idle_timeout: Option<Duration>,
    /// A client that reads none of its replies for this long is disconnected. Zero means never. Default: one
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
    /// A script that runs for this long is ended, with an error. Nothing else runs meanwhile. Zero means never.
    /// Default: 5 seconds.
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
            #[cfg(feature = "http")]
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
