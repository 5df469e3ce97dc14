//! Sockets: listening at them, and the loop of each thread.
#![forbid(unsafe_code)]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::server::Shared;

mod connection;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long to wait after the system refused to accept, for example because there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Listens at an address with so many sockets, among which the system spreads the connections. Returns them
/// with the address, whose port may have been chosen by the system.
pub(crate) fn listen(
    address: SocketAddr,
    sockets: usize,
) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    let first = listen_once(address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..sockets {
        listeners.push(listen_once(address)?);
    }
    Ok((listeners, address))
}

fn listen_once(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(all(
        unix,
        not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))
    ))]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts and serves clients on this thread, until `stopped` says true.
pub(crate) fn serve(
    runtime: &Runtime,
    listener: TcpListener,
    shared: &Arc<Shared>,
    thread: usize,
    mut stopped: watch::Receiver<bool>,
) {
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let served = connection::serve(
                        stream,
                        address,
                        Arc::clone(shared),
                        thread,
                        stopped.clone(),
                    );
                    connections.spawn_local(served);
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
            while connections.try_join_next().is_some() {}
        }
        while connections.join_next().await.is_some() {}
    });
}
