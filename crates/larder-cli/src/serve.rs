//! `larder serve`: a cache for clients of Redis and memcached.

use std::net::SocketAddr;

use crate::error::ServeError;
use clap::Args;
use larder::{Cache, Policy};
use larder_server::{Bytes, Hub, Server, ServerConfig, Value};

/// The options of `larder serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen at
    #[arg(long, default_value = "127.0.0.1")]
    bind: std::net::IpAddr,
    /// The port for clients of Redis; 0 takes a free one
    #[arg(long, default_value_t = 6379)]
    port: u16,
    /// The port for clients of memcached
    #[arg(long)]
    memcached_port: Option<u16>,
    /// How many threads serve [default: one for each core]
    #[arg(long)]
    threads: Option<usize>,
    /// The most entries
    #[arg(long, default_value_t = 10_000_000)]
    capacity: usize,
    /// The policy that chooses which entry is evicted
    #[arg(long, default_value = "window_tiny_lfu")]
    policy: String,
}

/// Serves until the process is told to end.
pub(crate) fn serve(args: &ServeArgs) -> Result<(), ServeError> {
    let hub = Hub::new();
    let policy: Policy = args.policy.parse()?;
    let cache: Cache<Bytes, Value> =
        Cache::builder().capacity(args.capacity).policy(policy).listener(hub.listener()).build()?;
    let mut config = ServerConfig::default();
    config.address = SocketAddr::new(args.bind, args.port);
    if let Some(threads) = args.threads {
        config.threads = threads;
    }
    let server = Server::start(cache, hub, config)?;
    eprintln!("larder serves at {}", server.address());
    loop {
        std::thread::park();
    }
}
