//! `larder serve`: a cache for clients of Redis and memcached.

use std::net::SocketAddr;

use crate::error::ServeError;
use clap::Args;
use larder::{Builder, Cache, Policy, ShadowConfig};
use larder_server::{Bytes, Hub, Server, ServerConfig, Value};

/// For how many removals, at most, the page can say why a key is missing. They take 8 bytes each.
const EXPLAINED_MISSES: usize = 100_000;

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
    /// The port of the page, the metrics and the probes, by HTTP
    #[arg(long)]
    http_port: Option<u16>,
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

/// What the page asks the cache for, the cache has to keep.
fn builder(args: &ServeArgs, policy: Policy) -> Builder<Bytes, Value> {
    let builder = Cache::builder().capacity(args.capacity).policy(policy);
    match args.http_port {
        Some(_) => {
            let multiples = [0.25, 0.5, 1.0, 2.0, 4.0];
            builder
                .shadow(ShadowConfig::new().multiples(multiples))
                .explain_misses(args.capacity.min(EXPLAINED_MISSES))
        }
        None => builder,
    }
}

/// Serves until the process is told to end.
pub(crate) fn serve(args: &ServeArgs) -> Result<(), ServeError> {
    let hub = Hub::new();
    let policy: Policy = args.policy.parse()?;
    let cache: Cache<Bytes, Value> = builder(args, policy).listener(hub.listener()).build()?;
    let mut config = ServerConfig::default();
    config.address = SocketAddr::new(args.bind, args.port);
    config.http_address = args.http_port.map(|port| SocketAddr::new(args.bind, port));
    if let Some(threads) = args.threads {
        config.threads = threads;
    }
    let server = Server::start(cache, hub, config)?;
    eprintln!("larder serves at {}", server.address());
    if let Some(address) = server.http_address() {
        eprintln!("the page is at http://{address}/");
    }
    loop {
        std::thread::park();
    }
}
