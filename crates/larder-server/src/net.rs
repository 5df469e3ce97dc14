//! Sockets: listening at them, and the loop of each thread.
#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol as IpProtocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::client::Client;
use crate::commands::COMMANDS;
use crate::memcached::MemcachedSession;
use crate::session::Session;
use crate::shared::Shared;

pub(crate) mod connection;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long to wait after the system refused to accept, for example because there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// How often expired leases are swept out.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// How long connections may take to end after the server was told to.
const STOP_TIME: Duration = Duration::from_secs(5);
/// How long a client may take for the handshake of TLS.
#[cfg(feature = "tls")]
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// What clients speak at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The protocol of Redis.
    Redis,
    /// The same within TLS.
    #[cfg(feature = "tls")]
    RedisTls,
    /// The protocols of memcached.
    Memcached,
}

/// A socket at which one thread listens.
pub(crate) enum Listening {
    Tcp(TcpListener, Door),
    /// The protocol of Redis.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

/// Listens at an address with `sockets` sockets, among which the system spreads the connections. Returns them
/// with the address, whose port may have been chosen by the system.
pub(crate) fn listen(
    address: SocketAddr,
    sockets: usize,
) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    // A port that others share could be another server's. So the first socket takes it alone.
    let first = listen_once(address, 1)?;
    let address = first.local_addr()?;
    if sockets == 1 {
        return Ok((vec![first], address));
    }
    drop(first);
    let listeners = (0..sockets).map(|_| listen_once(address, sockets)).collect::<io::Result<_>>();
    Ok((listeners?, address))
}

fn listen_once(address: SocketAddr, sockets: usize) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(IpProtocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(all(
        unix,
        not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
    ))]
    socket.set_reuse_port(sockets > 1)?;
    #[cfg(not(unix))]
    let _ = sockets;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Listens at a path, where it replaces a stale socket of an earlier server.
#[cfg(unix)]
pub(crate) fn listen_at_path(
    path: &std::path::Path,
) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    let is_left_over = std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_socket())
        && UnixStream::connect(path).is_err();
    if is_left_over {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts and serves clients on this thread, until `stopped` says true.
pub(crate) fn serve(
    runtime: &Runtime,
    listening: Vec<Listening>,
    shared: &Arc<Shared>,
    thread: usize,
    stopped: &watch::Receiver<bool>,
) {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async {
        let mut loops = JoinSet::new();
        if thread == 0 && shared.config.memcached_address.is_some() {
            let shared = Arc::clone(shared);
            tokio::task::spawn_local(async move {
                loop {
                    tokio::time::sleep(SWEEP_PAUSE).await;
                    shared.leases.sweep();
                }
            });
        }
        for listening in listening {
            loops.spawn_local(accept(listening, Arc::clone(shared), thread, stopped.clone()));
        }
        while loops.join_next().await.is_some() {}
    });
}

/// Accepts at one socket.
async fn accept(
    listening: Listening,
    shared: Arc<Shared>,
    thread: usize,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let acceptor = match listening {
        Listening::Tcp(listener, door) => {
            tokio::net::TcpListener::from_std(listener).map(|tcp| Acceptor::Tcp(tcp, door))
        }
        #[cfg(unix)]
        Listening::Unix(listener) => {
            tokio::net::UnixListener::from_std(listener).map(Acceptor::Unix)
        }
    };
    let Ok(acceptor) = acceptor else { return };
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.accept_one(&shared, thread, &mut connections) => accepted,
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
        };
        if accepted.is_err() {
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        while connections.try_join_next().is_some() {}
    }
    // A client that another thread accepts at this moment is closed when it is added.
    shared.hub().clients().close_all();
    let ended = timeout(STOP_TIME, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        connections.abort_all();
    }
}

/// A socket of the runtime at which clients are accepted.
enum Acceptor {
    Tcp(tokio::net::TcpListener, Door),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    async fn accept_one(
        &self,
        shared: &Arc<Shared>,
        thread: usize,
        connections: &mut JoinSet<()>,
    ) -> io::Result<()> {
        match self {
            Self::Tcp(listener, door) => {
                let (stream, address) = listener.accept().await?;
                connections.spawn_local(serve_tcp(
                    stream,
                    address,
                    *door,
                    Arc::clone(shared),
                    thread,
                ));
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (mut stream, _) = listener.accept().await?;
                let shared = Arc::clone(shared);
                connections.spawn_local(async move {
                    let path = shared.config.unix_socket.as_deref().map(|path| path.display());
                    let address = path.map_or_else(String::new, |path| format!("{path}:0"));
                    serve_stream(&mut stream, address.clone(), address, &shared, thread).await;
                });
            }
        }
        Ok(())
    }
}

/// Serves a client of a TCP socket.
async fn serve_tcp(
    mut stream: TcpStream,
    address: SocketAddr,
    door: Door,
    shared: Arc<Shared>,
    thread: usize,
) {
    let _ = stream.set_nodelay(true);
    if shared.is_protected() && !is_loopback(address.ip()) {
        refuse(&mut stream, PROTECTED).await;
        return;
    }
    let local = stream.local_addr().map_or_else(|_| String::new(), |local| local.to_string());
    match door {
        Door::Redis => {
            serve_stream(&mut stream, address.to_string(), local, &shared, thread).await;
        }
        Door::Memcached => {
            let added = add_client(&mut stream, address.to_string(), local, &shared).await;
            let Some(client) = added else { return };
            let mut session = MemcachedSession::new(Arc::clone(&shared), client, thread);
            // As in `serve_stream`.
            let _ = connection::run(&mut stream, &mut session, &shared).await;
        }
        #[cfg(feature = "tls")]
        Door::RedisTls => {
            let Some(acceptor) = &shared.tls else { return };
            let Ok(Ok(mut stream)) = timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await else {
                return;
            };
            serve_stream(&mut stream, address.to_string(), local, &shared, thread).await;
        }
    }
}

/// Whether an address is that of this machine itself.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

const PROTECTED: &str = "-DENIED larder is in protected mode, because no password is set: set one \
    by --password or --password-file, or allow everybody by --protected-mode false\r\n";
const FULL: &str = "-ERR max number of clients reached\r\n";

/// Answers with a line and hangs up.
async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, line: &str) {
    let _ = timeout(STOP_TIME, stream.write_all(line.as_bytes())).await;
    let _ = stream.shutdown().await;
}

/// Adds a client, or refuses it.
pub(crate) async fn add_client<S: AsyncWrite + Unpin>(
    stream: &mut S,
    address: String,
    local: String,
    shared: &Shared,
) -> Option<Arc<Client>> {
    let clients = shared.hub().clients();
    let added =
        clients.add(address, local, shared.settings().max_mail_bytes(), shared.max_clients());
    if added.is_none() {
        refuse(stream, FULL).await;
    }
    added
}

/// Serves a client that speaks the protocol of Redis.
async fn serve_stream<S>(
    stream: &mut S,
    address: String,
    local: String,
    shared: &Arc<Shared>,
    thread: usize,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(client) = add_client(stream, address, local, shared).await else { return };
    let mut session = Session::new(Arc::clone(shared), client, thread, &COMMANDS);
    // An error of the stream means that the client has gone.
    let _ = connection::run(stream, &mut session, shared).await;
}
