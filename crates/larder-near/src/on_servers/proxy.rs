//! A proxy on loopback that does to connections what networks do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the network does at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Network {
    /// Everything passes.
    Up,
    /// What servers send is kept until the network is up, and then passes at once.
    Holding,
    /// Everything that servers send comes later by this.
    Slow(Duration),
    /// Nothing passes, and no connection ends: a cable that was pulled.
    Silent,
    /// Connections are closed, and new ones too.
    Closing,
}

pub(super) struct Proxy {
    network: watch::Sender<Network>,
    held: Arc<AtomicUsize>,
    port: u16,
}

impl Proxy {
    pub(super) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, changes) = watch::channel(Network::Up);
        let held = Arc::new(AtomicUsize::new(0));
        let held_bytes = Arc::clone(&held);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *changes.borrow() != Network::Closing
                    && let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await
                {
                    tokio::spawn(forward(client, server, changes.clone(), Arc::clone(&held_bytes)));
                }
            }
        });
        Self { network, held, port }
    }

    pub(super) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    pub(super) fn network(&self) -> Network {
        *self.network.borrow()
    }

    /// How many bytes are being held back.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }
}

async fn forward(
    client: TcpStream,
    server: TcpStream,
    changes: watch::Receiver<Network>,
    held: Arc<AtomicUsize>,
) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // When one direction ends, the sockets of both are dropped.
    tokio::select! {
        () = pump(from_client, to_server, changes.clone(), None) => {}
        () = pump(from_server, to_client, changes, Some(held)) => {}
    }
}

/// Copies one direction; that of the server's replies if there is a place to count what is held.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut changes: watch::Receiver<Network>,
    held: Option<Arc<AtomicUsize>>,
) {
    let mut pending = Vec::new();
    loop {
        tokio::select! {
            read = from.read_buf(&mut pending) => match read {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            },
            changed = changes.changed() => if changed.is_err() { return },
        }
        let network = *changes.borrow_and_update();
        match network {
            Network::Closing => return,
            Network::Silent => continue,
            Network::Holding if held.is_some() => {
                if let Some(held) = &held {
                    held.store(pending.len(), Ordering::SeqCst);
                }
                continue;
            }
            Network::Slow(delay) if held.is_some() => tokio::time::sleep(delay).await,
            Network::Up | Network::Holding | Network::Slow(_) => {}
        }
        if let Some(held) = &held {
            held.store(0, Ordering::SeqCst);
        }
        if to.write_all(&pending).await.is_err() {
            return;
        }
        pending.clear();
    }
}
