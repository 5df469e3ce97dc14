//! A master that sentinels name, and another one after a failover.
//!
//! Each connection is opened to the master that most of the sentinels name at that moment, and only kept if that
//! server says itself that it is a master (`ROLE`). Each beat asks the server for its role again, and the sentinels
//! for the master's address. A subscription to `+switch-master` would say the same a little earlier, and nothing
//! at all once its connection has died silently; a question is answered or it is not.
//!
//! When the master is another one, the connection is given up, and with it everything in memory.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::time::timeout;

use super::join::join_all;
use crate::error::TransportError;
use crate::link::{Common, Guide, Link, Verdict};
use crate::stats::count;
use crate::transport::{
    Command, NearConnection, NodeAddress, Opened, PushSink, Reply, Tracking, Transport,
    TransportFuture, Unheard,
};

/// The shortest time between two questions to the sentinels.
const SHORTEST_PERIOD: Duration = Duration::from_millis(50);

/// The sentinels of one master.
pub(crate) struct Sentinels {
    common: Arc<Common>,
    name: String,
    sentinels: Vec<Sentinel>,
    /// Opens connections to the master.
    masters: Box<dyn Transport>,
    current: Mutex<Option<NodeAddress>>,
    link: OnceLock<Weak<Link>>,
}

struct Sentinel {
    transport: Box<dyn Transport>,
    connection: Mutex<Option<Arc<dyn NearConnection>>>,
}

/// Leads a link to the master.
pub(crate) struct ToMaster(pub(crate) Arc<Sentinels>);

impl Sentinels {
    pub(crate) fn new(
        common: Arc<Common>,
        name: String,
        sentinels: Vec<Box<dyn Transport>>,
        masters: Box<dyn Transport>,
    ) -> Arc<Self> {
        let sentinels = sentinels
            .into_iter()
            .map(|transport| Sentinel { transport, connection: Mutex::default() })
            .collect();
        let (current, link) = (Mutex::default(), OnceLock::new());
        Arc::new(Self { common, name, sentinels, masters, current, link })
    }

    /// The link to the master.
    pub(crate) fn link(self: &Arc<Self>) -> Arc<Link> {
        let link = Link::new(0, Arc::clone(&self.common), Box::new(ToMaster(Arc::clone(self))));
        // It is made once.
        let _ = self.link.set(Arc::downgrade(&link));
        link
    }

    /// The address that most of the sentinels name which answer.
    async fn master(&self) -> Result<NodeAddress, TransportError> {
        let patience = self.common.settings.call_timeout / 2;
        let asked = self.sentinels.iter().map(|sentinel| async move {
            match timeout(patience, sentinel.ask(&self.name)).await {
                Ok(answer) => answer,
                Err(_) => {
                    sentinel.forget();
                    Err(SentinelError::of("the sentinels do not answer", &self.name))
                }
            }
        });
        let mut named: Vec<(NodeAddress, usize)> = Vec::new();
        let mut failure = SentinelError::of("no sentinel was named", &self.name);
        for answer in join_all(asked).await {
            match answer {
                Ok(address) => match named.iter_mut().find(|(known, _)| *known == address) {
                    Some((_, votes)) => *votes += 1,
                    None => named.push((address, 1)),
                },
                Err(error) => failure = error,
            }
        }
        let most = named.into_iter().max_by_key(|(_, votes)| *votes);
        most.map(|(address, _)| address).ok_or(failure)
    }

    /// Asks the sentinels again and again, and gives the connection up when they name another master.
    pub(crate) async fn run(self: Arc<Self>) {
        let period = self.common.beat_period().max(SHORTEST_PERIOD);
        loop {
            tokio::time::sleep(period).await;
            let Some(link) = self.link.get().and_then(Weak::upgrade) else { return };
            if link.is_closed() {
                return;
            }
            // While there is no connection, the attempts to open one ask.
            if !link.condition().is_connected {
                continue;
            }
            if let Ok(master) = self.master().await
                && self.current().as_ref() != Some(&master)
            {
                link.give_up();
            }
        }
    }

    fn current(&self) -> Option<NodeAddress> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sentinel {
    async fn ask(&self, name: &str) -> Result<NodeAddress, TransportError> {
        let command = Command::new("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let connection = self.connection().await?;
        let replies = connection.call(vec![command]).await.inspect_err(|_| self.forget())?;
        match replies.first() {
            Some(Reply::Array(parts)) => {
                address(parts).ok_or_else(|| SentinelError::of("a sentinel gave no address", name))
            }
            Some(Reply::Nil) => Err(SentinelError::of("the sentinels know no such master", name)),
            _ => Err(SentinelError::of("what was asked is no sentinel", name)),
        }
    }

    async fn connection(&self) -> Result<Arc<dyn NearConnection>, TransportError> {
        let known = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let opened = self.transport.open(None, &Tracking::Off, Arc::new(Unheard)).await?;
        let mut known = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Arc::clone(&opened.connection));
        Ok(opened.connection)
    }

    fn forget(&self) {
        let known = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(known);
    }
}

fn address(parts: &[Reply]) -> Option<NodeAddress> {
    let [Reply::Bytes(host), Reply::Bytes(port)] = parts else { return None };
    let host = std::str::from_utf8(host).ok()?.to_owned();
    let port = std::str::from_utf8(port).ok()?.parse().ok()?;
    Some(NodeAddress { host, port })
}

impl Guide for ToMaster {
    fn open<'g>(
        &'g self,
        tracking: &'g Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> TransportFuture<'g, Opened> {
        Box::pin(async move {
            let of = &self.0;
            let address = of.master().await?;
            let opened = of.masters.open(Some(&address), tracking, pushes).await?;
            let replies = opened.connection.call(self.beat()).await?;
            if self.judge(&replies) != Verdict::Proven {
                return Err(SentinelError::of(
                    "the server that the sentinels name is not a master",
                    &of.name,
                ));
            }
            let mut current = of.current.lock().unwrap_or_else(PoisonError::into_inner);
            let previous = current.replace(address);
            if previous.is_some() && previous != *current {
                count(&of.common.counters.masters_changed);
            }
            drop(current);
            Ok(opened)
        })
    }

    fn beat(&self) -> Vec<Command> {
        vec![Command::new("ROLE")]
    }

    fn judge(&self, replies: &[Reply]) -> Verdict {
        match replies.first() {
            Some(Reply::Array(parts)) if matches!(parts.first(), Some(Reply::Bytes(role)) if role == b"master") => {
                Verdict::Proven
            }
            _ => Verdict::Wrong,
        }
    }

    fn may_lose_keys(&self) -> bool {
        true
    }

    fn is_away(&self) {}
}

/// Why there is no master.
#[derive(Debug)]
struct SentinelError {
    what: &'static str,
    name: String,
}

impl SentinelError {
    fn of(what: &'static str, name: &str) -> TransportError {
        TransportError::new(Self { what, name: name.to_owned() })
    }
}

impl std::fmt::Display for SentinelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (master `{}`)", self.what, self.name)
    }
}

impl std::error::Error for SentinelError {}
