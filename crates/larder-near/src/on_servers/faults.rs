//! Many reads and writes while something goes wrong: no read is older than `max_stale`, and when all is quiet
//! memory has what the server has.
//!
//! `LARDER_NEAR_READS` is how many reads there are for each fault, 20,000 by default; there are a hundredth as
//! many writes.

use std::time::Duration;

use redis::aio::MultiplexedConnection;

use super::proxy::{Network, Proxy};
use super::server::{Server, run, with_each, with_one};
use super::watched::{Watched, wanted_reads};
use super::{near, until};
use crate::Tracking;

const KEYS: usize = 50;
const MAX_STALE: Duration = Duration::from_millis(300);
const READERS: u64 = 4;

/// What goes wrong, once for each round.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    Closed,
    Silent,
    Slow,
    KilledClients,
    Flushed,
}

struct Trial<'t> {
    watched: Watched,
    proxy: Proxy,
    server: &'t Server,
}

impl<'t> Trial<'t> {
    async fn new(server: &'t Server, tracking: Tracking, max_stale: Duration) -> Self {
        let () = run(&mut server.client().await, &["FLUSHALL"]).await;
        let proxy = Proxy::before(server.port()).await;
        let near = near(&proxy.address())
            .tracking(tracking)
            .max_stale(max_stale)
            .call_timeout(Duration::from_millis(500))
            .connect()
            .await
            .unwrap();
        let watched = Watched::new(near, KEYS, max_stale, wanted_reads(20_000));
        Self { watched, proxy, server }
    }

    /// Writes as other processes do, a fault in between at times.
    async fn write(&self, fault: Fault) {
        let envelopes = crate::envelope::Envelopes::new("postcard", Default::default()).unwrap();
        let mut client = self.server.client().await;
        let writes = self.watched.writes();
        for value in 1..=writes {
            self.watched.before_write(value).await;
            let key = self.watched.key_for(value);
            let bytes = envelopes.write(&value).unwrap();
            let () = redis::cmd("SET")
                .arg(format!("n:{key}"))
                .arg(bytes)
                .query_async(&mut client)
                .await
                .unwrap();
            self.watched.checker.acknowledged(key, Some(value));
            if value % (writes / 4).max(1) == 0 {
                self.go_wrong(fault, &mut client).await;
            }
        }
        self.proxy.set(Network::Up);
        self.watched.end_writes();
    }

    async fn go_wrong(&self, fault: Fault, client: &mut MultiplexedConnection) {
        let near = &self.watched.near;
        // Only a connection can be lost, and after the last loss there may be none yet.
        if matches!(fault, Fault::Closed | Fault::KilledClients) {
            until("a connection", async || near.stats().is_connected).await;
        }
        let losses = near.stats().losses;
        match fault {
            Fault::Nothing => {}
            Fault::Closed => {
                self.proxy.set(Network::Closing);
                until("the loss", async || near.stats().losses > losses).await;
                self.proxy.set(Network::Up);
            }
            // Goes on, with writes, until the next time.
            Fault::Silent if self.proxy.network() == Network::Silent => {
                until("the loss", async || near.stats().losses > 0).await;
                self.proxy.set(Network::Up);
            }
            Fault::Silent => self.proxy.set(Network::Silent),
            // Goes on until the next fault.
            Fault::Slow => self.proxy.set(Network::Slow(Duration::from_millis(20))),
            Fault::KilledClients => {
                let () = run(client, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
                until("the loss", async || near.stats().losses > losses).await;
            }
            Fault::Flushed => {
                let () = run(client, &["FLUSHALL"]).await;
                self.watched.checker.lost_all();
            }
        }
    }

    /// Checks that what the caches have is what the server has, when all is quiet.
    async fn end(&self, fault: Fault) {
        self.watched.settle().await;
        println!("{fault:?}: {}", self.watched.summary());
        let losses = self.watched.near.stats().losses;
        assert!(matches!(fault, Fault::Nothing | Fault::Slow | Fault::Flushed) || losses > 0);
    }
}

async fn with_fault(server: &Server, fault: Fault, tracking: Tracking, max_stale: Duration) {
    let trial = Trial::new(server, tracking, max_stale).await;
    tokio::join!(trial.write(fault), trial.watched.read_by(READERS, false));
    trial.end(fault).await;
}

#[tokio::test]
async fn no_read_is_too_old_whatever_happens_to_the_connection() {
    with_each(async |server| {
        for fault in [
            Fault::Nothing,
            Fault::Closed,
            Fault::Silent,
            Fault::Slow,
            Fault::KilledClients,
            Fault::Flushed,
        ] {
            if server.is_larder() && fault == Fault::KilledClients {
                println!("SKIPPED: {fault:?} over `larder serve`, which kills no clients by type");
                continue;
            }
            with_fault(server, fault, Tracking::Default, MAX_STALE).await;
        }
    })
    .await;
}

#[tokio::test]
async fn no_read_is_too_old_by_any_kind_of_tracking() {
    with_one(async |server| {
        for tracking in [Tracking::OptIn, Tracking::Broadcast, Tracking::Off] {
            with_fault(server, Fault::Closed, tracking, MAX_STALE).await;
        }
    })
    .await;
}

#[tokio::test]
async fn with_max_stale_0_no_read_is_old_at_all() {
    with_one(async |server| {
        with_fault(server, Fault::Closed, Tracking::Default, Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn nothing_of_a_server_that_has_lost_its_data_is_served() {
    with_each(async |server| {
        let near = near::<u64>(&server.address()).call_timeout(Duration::from_secs(5)).connect();
        let near = near.await.unwrap();
        for value in 1..4 {
            near.set(&1, value).await.unwrap();
            assert_eq!(near.get(&1).await.unwrap(), Some(value));
            server.kill();
            until("the loss", async || near.stats().losses == value).await;
            server.start_again().await;
            until("it is gone", async || near.get(&1).await.is_ok_and(|it| it.is_none())).await;
        }
    })
    .await;
}
