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
    /// What servers send is lost, and what clients send arrives. A connection that has lost something is dead.
    LosingReplies,
    /// What clients send is lost, and what servers send arrives.
    LosingCommands,
    /// What servers push arrives before replies that they have sent earlier. The other way round, a reply would come
    /// before the notifications that the server has sent before it, which no server does, nor TCP.
    Reordering,
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

/// For how long messages are collected before those that were pushed go first.
const REORDERED_WITHIN: Duration = Duration::from_millis(3);

/// Copies one direction; that of the server's replies if there is a place to count what is held. Of the server's
/// messages, each passes as a whole, so that their order may be changed at any time.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut changes: watch::Receiver<Network>,
    held: Option<Arc<AtomicUsize>>,
) {
    let is_of_server = held.is_some();
    let mut is_dead = false;
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
            Network::LosingReplies => is_dead |= is_of_server && !pending.is_empty(),
            Network::LosingCommands => is_dead |= !is_of_server && !pending.is_empty(),
            Network::Holding if is_of_server => {
                if let Some(held) = &held {
                    held.store(pending.len(), Ordering::SeqCst);
                }
                continue;
            }
            Network::Slow(delay) if is_of_server => tokio::time::sleep(delay).await,
            Network::Reordering if is_of_server => {
                tokio::time::sleep(REORDERED_WITHIN).await;
                while from.try_read_buf(&mut pending).is_ok_and(|read| read > 0) {}
            }
            Network::Up | Network::Holding | Network::Slow(_) | Network::Reordering => {}
        }
        if is_dead {
            pending.clear();
            continue;
        }
        if let Some(held) = &held {
            held.store(0, Ordering::SeqCst);
        }
        let mut passing = std::mem::take(&mut pending);
        if is_of_server {
            pending = passing.split_off(whole_messages(&passing));
        }
        if network == Network::Reordering && is_of_server {
            passing = pushes_first(&passing);
        }
        if to.write_all(&passing).await.is_err() {
            return;
        }
    }
}

/// The length of the first message in `bytes`; `None` if it is not there as a whole.
fn message(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let number = || std::str::from_utf8(&bytes[1..line]).ok()?.parse::<i64>().ok();
    let mut end = line + 2;
    let parts = match bytes[0] {
        b'$' | b'=' | b'!' => {
            // A length of -1 stands for no text at all.
            if let Ok(length) = usize::try_from(number()?) {
                end += length + 2;
            }
            0
        }
        b'*' | b'~' | b'>' => number()?,
        b'%' => 2 * number()?,
        _ => 0,
    };
    for _ in 0..parts {
        end += message(bytes.get(end..)?)?;
    }
    (end <= bytes.len()).then_some(end)
}

/// The length of all whole messages at the beginning of `bytes`.
fn whole_messages(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(length) = message(&bytes[end..]) {
        end += length;
    }
    end
}

/// The same messages, those first that the server has pushed. Each of the two kinds keeps its order.
fn pushes_first(mut bytes: &[u8]) -> Vec<u8> {
    let (mut pushes, mut replies) = (Vec::with_capacity(bytes.len()), Vec::new());
    while let Some(length) = message(bytes) {
        let (first, rest) = bytes.split_at(length);
        if first[0] == b'>' { &mut pushes } else { &mut replies }.extend_from_slice(first);
        bytes = rest;
    }
    pushes.append(&mut replies);
    pushes
}

#[test]
fn what_is_pushed_goes_before_replies_and_messages_stay_whole() {
    let (map, push) =
        (b"%1\r\n+a\r\n*2\r\n:1\r\n$-1\r\n", b">2\r\n$1\r\ni\r\n*1\r\n$3\r\n>\r\n\r\n");
    let (status, part) = (b"+OK\r\n", b"$5\r\nhal");
    let stream = [&map[..], status, push, part].concat();
    let whole = whole_messages(&stream);
    assert_eq!(&stream[whole..], part);
    assert_eq!(pushes_first(&stream[..whole]), [&push[..], map, status].concat());
    for cut in 0..map.len() {
        assert_eq!(message(&map[..cut]), None, "{cut}");
    }
}
