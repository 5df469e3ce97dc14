//! The page, the metrics and the probes, by HTTP on a thread of their own.
//!
//! | path | method | answer |
//! |---|---|---|
//! | `/` | GET | the page |
//! | `/metrics` | GET | the metrics, as text for Prometheus or as OpenMetrics |
//! | `/healthz` | GET | 200 as long as the process answers |
//! | `/readyz` | GET | 200 if the server is ready for clients, otherwise 503 |
//! | `/api/status` | GET | all counters, as JSON |
//! | `/api/hottest` | GET | the keys that are read most, as JSON |
//! | `/api/explain?key=…` | GET | why a key is present or missing, as JSON |
//! | `/api/invalidate` | POST | invalidates the tag of `{"tag": "…"}` |
//!
//! [`access`] says what a client may ask for. No answer contains a value.
//!
//! # Bounds
//! There are at most [`MAX_CONNECTIONS`] connections; more wait to be accepted. A head of a request takes at
//! most [`MAX_HEAD_BYTES`] and [`HEAD_TIME`], a body [`MAX_BODY_BYTES`] and [`BODY_TIME`], and a client that
//! reads nothing for [`WRITE_TIME`] is disconnected.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use larder::metrics::Collector;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use crate::shared::Shared;
use crate::start_error::StartError;

mod route;
mod access;
mod metrics;
mod status;
mod keys;
mod answer;

use self::answer::Body;

/// The most connections at one time.
const MAX_CONNECTIONS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const MAX_BODY_BYTES: usize = 16 * 1024;
/// How long the head of a request may take, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(20);
const BODY_TIME: Duration = Duration::from_secs(5);
const WRITE_TIME: Duration = Duration::from_secs(10);
/// How long connections may go on when the server ends.
const END_TIME: Duration = Duration::from_secs(1);
/// How long to wait after the system refused to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What is served.
struct Site {
    shared: Arc<Shared>,
    collector: Collector,
    hottest: Mutex<Option<keys::Hottest>>,
}

impl Site {
    fn new(shared: Arc<Shared>) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let collector = metrics::collector(&shared, since_epoch);
        Self { shared, collector, hottest: Mutex::new(None) }
    }
}

/// The thread that serves HTTP. Dropping it ends it.
pub(crate) struct HttpThread {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpThread {
    pub(crate) fn start(address: SocketAddr, shared: &Arc<Shared>) -> Result<Self, StartError> {
        let refused = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let site = Arc::new(Site::new(Arc::clone(shared)));
        let thread = thread::Builder::new()
            .name("larder-http".to_owned())
            .spawn(move || serve(&runtime, listener, &site, stopped))
            .map_err(StartError::Thread)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpThread {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Accepts and serves on this thread, until `stopped` says true.
fn serve(
    runtime: &Runtime,
    listener: TcpListener,
    site: &Arc<Site>,
    mut stopped: watch::Receiver<bool>,
) {
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        let mut connections = JoinSet::new();
        loop {
            while connections.len() >= MAX_CONNECTIONS {
                tokio::select! {
                    _ = connections.join_next() => {}
                    _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
                }
            }
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (site, stopped) = (Arc::clone(site), stopped.clone());
                    connections.spawn(serve_connection(stream, peer.ip(), site, stopped));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        // Those that do not end in time are dropped.
        let all_ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(END_TIME, all_ended).await;
    });
}

async fn serve_connection(
    stream: TcpStream,
    peer: IpAddr,
    site: Arc<Site>,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIME));
    let answer = move |request: Request<Incoming>| {
        let site = Arc::clone(&site);
        async move { Ok::<Response<Body>, Infallible>(route::answer(request, peer, &site).await) }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Box::pin(stream)), service_fn(answer));
    let mut connection = std::pin::pin!(connection);
    let is_stopping = stopped.wait_for(|is_stopped| *is_stopped);
    tokio::select! {
        // An error of the connection means that the client has gone, or broke a bound.
        _ = connection.as_mut() => return,
        _ = is_stopping => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
