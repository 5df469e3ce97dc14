//! Many reads and writes while something goes wrong: no read is older than `max_stale`, and when all is quiet
//! memory has what the server has.
//!
//! `LARDER_NEAR_READS` is how many reads there are for each fault, 20,000 by default; there are a hundredth as
//! many writes.

use std::time::Duration;

use redis::aio::MultiplexedConnection;

use super::clock::SteppedClock;
use super::proxy::{Network, Proxy};
use super::server::{Server, programs_for_several, run, with_each, with_one};
use super::watched::{Watched, wanted_reads};
use super::{near, until};
use crate::Tracking;
use crate::envelope::Envelopes;

const KEYS: usize = 50;
const MAX_STALE: Duration = Duration::from_millis(300);
const READERS: u64 = 4;
/// Values of a server that was started with other data begin here.
const OTHER_DATA: u64 = 1 << 40;

/// What goes wrong, four times in each trial.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// Connections are cut, which both ends learn.
    Closed,
    /// Connections are cut, which nobody learns.
    Silent,
    /// Half of a connection is dead: nothing comes from the server.
    LostReplies,
    /// The other half is: nothing comes to the server.
    LostCommands,
    Slow,
    /// Pushes pass replies.
    Reordered,
    KilledClients,
    Flushed,
    /// The server stands still, for less or for more than `max_stale`.
    Paused,
    /// The server is killed, and started with other data.
    OtherData,
    /// The server refuses all writes for a while, because it cannot save.
    FullDisk,
    /// The time of day of the server jumps to and fro, and values have times to live.
    ClockSteps,
}

impl Fault {
    /// The network during the fault.
    fn network(self) -> Option<Network> {
        match self {
            Self::Silent => Some(Network::Silent),
            Self::LostReplies => Some(Network::LosingReplies),
            Self::LostCommands => Some(Network::LosingCommands),
            _ => None,
        }
    }

    /// Whether the connection is lost.
    fn loses_connections(self) -> bool {
        !matches!(
            self,
            // While a server stands still, or starts to save, the connection may be given up, and need not be.
            Self::Nothing
                | Self::Slow
                | Self::Reordered
                | Self::Flushed
                | Self::Paused
                | Self::FullDisk
                | Self::ClockSteps
        )
    }
}

struct Trial<'t> {
    watched: Watched,
    proxy: Proxy,
    /// Only in a trial of its steps.
    clock: Option<&'t SteppedClock>,
}

impl<'t> Trial<'t> {
    async fn new(
        server: &Server,
        tracking: Tracking,
        max_stale: Duration,
        clock: Option<&'t SteppedClock>,
    ) -> Self {
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
        Self { watched, proxy, clock }
    }

    /// Writes as other processes do, a fault in between at times.
    async fn write(&self, fault: Fault, server: &mut Server) {
        let mut client = server.client().await;
        let writes = self.watched.writes();
        let mut times = 0;
        for value in 1..=writes {
            self.watched.before_write(value).await;
            let key = self.watched.key_for(value);
            self.set(&mut client, key, value).await;
            if value % (writes / 4).max(1) == 0 {
                times += 1;
                self.go_wrong(fault, times, &mut client, server).await;
            }
        }
        self.proxy.set(Network::Up);
        self.watched.end_writes();
    }

    async fn set(&self, client: &mut MultiplexedConnection, key: usize, value: u64) {
        let envelopes = Envelopes::new("postcard", Default::default()).unwrap();
        let mut set = redis::cmd("SET");
        set.arg(format!("n:{key}")).arg(envelopes.write(&value).unwrap());
        if self.clock.is_some() {
            set.arg(&["PX", "60000"]);
        }
        let () = set.query_async(client).await.unwrap();
        self.watched.checker.acknowledged(key, Some(value));
    }

    async fn go_wrong(
        &self,
        fault: Fault,
        times: u64,
        client: &mut MultiplexedConnection,
        server: &mut Server,
    ) {
        let near = &self.watched.near;
        // Only a connection can be lost, and after the last loss there may be none yet.
        if matches!(fault, Fault::Closed | Fault::KilledClients | Fault::OtherData) {
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
            Fault::Silent | Fault::LostReplies | Fault::LostCommands => {
                if times.is_multiple_of(2) {
                    until("the loss", async || near.stats().losses > 0).await;
                    self.proxy.set(Network::Up);
                } else if let Some(network) = fault.network() {
                    until("a connection", async || near.stats().is_connected).await;
                    self.proxy.set(network);
                }
            }
            // Goes on until the next fault.
            Fault::Slow => self.proxy.set(Network::Slow(Duration::from_millis(20))),
            Fault::Reordered => self.proxy.set(Network::Reordering),
            Fault::KilledClients => {
                let () = run(client, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
                until("the loss", async || near.stats().losses > losses).await;
            }
            Fault::Flushed => {
                let () = run(client, &["FLUSHALL"]).await;
                self.watched.checker.lost_all();
            }
            Fault::Paused => {
                server.signal("STOP");
                let halves = if times.is_multiple_of(2) { 3 } else { 1 };
                tokio::time::sleep(MAX_STALE * halves / 2).await;
                server.signal("CONT");
            }
            Fault::OtherData => {
                *client = self.start_with_other_data(times, server).await;
                until("the loss", async || near.stats().losses > losses).await;
            }
            Fault::FullDisk => self.refuse_writes(client, server).await,
            Fault::ClockSteps => self.step_clock(times, client).await,
        }
    }

    /// Kills the server, and starts it with other values for all keys. Returns a client of it.
    async fn start_with_other_data(
        &self,
        times: u64,
        server: &mut Server,
    ) -> MultiplexedConnection {
        let first = OTHER_DATA + times * KEYS as u64;
        let value_of = |key: usize| first + key as u64;
        if server.is_larder() {
            server.kill();
            self.watched.checker.lost_all();
            server.start_again().await;
            let mut client = server.client().await;
            for key in 0..KEYS {
                self.set(&mut client, key, value_of(key)).await;
            }
            return client;
        }
        let other = server.another().await;
        let mut client = other.client().await;
        let envelopes = Envelopes::new("postcard", Default::default()).unwrap();
        for key in 0..KEYS {
            let mut set = redis::cmd("SET");
            set.arg(format!("n:{key}")).arg(envelopes.write(&value_of(key)).unwrap());
            let () = set.query_async(&mut client).await.unwrap();
        }
        let () = run(&mut client, &["SAVE"]).await;
        server.take_data_of(&other);
        server.kill();
        for key in 0..KEYS {
            self.watched.checker.acknowledged(key, Some(value_of(key)));
        }
        server.start_again().await;
        server.client().await
    }

    /// Lets the server refuse writes until a few hundred reads have been made.
    async fn refuse_writes(&self, client: &mut MultiplexedConnection, server: &Server) {
        // Without points at which it is saved, a server does not mind that it cannot be.
        let () = run(client, &["CONFIG", "SET", "save", "3600 1"]).await;
        server.lose_folder();
        until("it has failed", async || {
            // It may have begun one itself, that the folder was still there for.
            let _: redis::RedisResult<()> = redis::cmd("BGSAVE").query_async(client).await;
            let info: String = run(client, &["INFO", "persistence"]).await;
            info.contains("rdb_last_bgsave_status:err")
        })
        .await;
        let refused: redis::RedisResult<()> =
            redis::cmd("SET").arg("n:0").arg("x").query_async(client).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("MISCONF")));
        let reads = self.watched.reads();
        until("reads", async || self.watched.reads() > reads + 300).await;
        let () = run(client, &["CONFIG", "SET", "save", ""]).await;
    }

    /// Puts the server's clock hours ahead, so that all that is there expires at once, or back.
    async fn step_clock(&self, times: u64, client: &mut MultiplexedConnection) {
        let Some(clock) = self.clock else { return };
        let is_ahead = !times.is_multiple_of(2);
        // Further than the last time, or what was written then would not have expired.
        clock.set_ahead(if is_ahead { 3600 * times as i64 } else { 0 });
        if is_ahead {
            let mut get = redis::cmd("MGET");
            for key in 0..KEYS {
                get.arg(format!("n:{key}"));
            }
            let there: Vec<Option<Vec<u8>>> = get.query_async(client).await.unwrap();
            assert!(there.iter().all(Option::is_none), "the server's clock was set");
            self.watched.checker.lost_all();
        }
    }

    /// Checks that what the caches have is what the server has, when all is quiet.
    async fn end(&self, fault: Fault) {
        self.watched.settle().await;
        println!("{fault:?}: {}", self.watched.summary());
        let losses = self.watched.near.stats().losses;
        assert!(losses > 0 || !fault.loses_connections());
    }
}

async fn with_fault(
    server: &mut Server,
    fault: Fault,
    tracking: Tracking,
    max_stale: Duration,
    clock: Option<&SteppedClock>,
) {
    let trial = Trial::new(server, tracking, max_stale, clock).await;
    tokio::join!(trial.write(fault, server), trial.watched.read_by(READERS, false));
    trial.end(fault).await;
}

#[tokio::test]
async fn no_read_is_too_old_whatever_happens_to_the_connection() {
    with_each(async |server| {
        for fault in [
            Fault::Nothing,
            Fault::Closed,
            Fault::Silent,
            Fault::LostReplies,
            Fault::LostCommands,
            Fault::Slow,
            Fault::Reordered,
            Fault::KilledClients,
        ] {
            if server.is_larder() && fault == Fault::KilledClients {
                println!("SKIPPED: {fault:?} over `larder serve`, which kills no clients by type");
                continue;
            }
            with_fault(server, fault, Tracking::Default, MAX_STALE, None).await;
        }
    })
    .await;
}

#[tokio::test]
async fn no_read_is_too_old_whatever_happens_to_the_server() {
    with_each(async |server| {
        // After the last, the server cannot be started again.
        for fault in [Fault::Flushed, Fault::Paused, Fault::OtherData, Fault::FullDisk] {
            if server.is_larder() && matches!(fault, Fault::Paused | Fault::FullDisk) {
                println!(
                    "SKIPPED: {fault:?} over larder, which saves nothing here, nor stands still"
                );
                continue;
            }
            with_fault(server, fault, Tracking::Default, MAX_STALE, None).await;
        }
    })
    .await;
}

#[tokio::test]
async fn no_read_is_too_old_when_the_clock_of_the_server_steps() {
    for program in programs_for_several() {
        let Some((mut server, clock)) = SteppedClock::start(program).await else {
            println!("SKIPPED: steps of the clock, for want of a C compiler");
            return;
        };
        let clock = Some(&clock);
        with_fault(&mut server, Fault::ClockSteps, Tracking::Default, MAX_STALE, clock).await;
    }
}

#[tokio::test]
async fn no_read_is_too_old_by_any_kind_of_tracking() {
    with_one(async |server| {
        for tracking in [Tracking::OptIn, Tracking::Broadcast, Tracking::Off] {
            with_fault(server, Fault::Closed, tracking, MAX_STALE, None).await;
        }
    })
    .await;
}

#[tokio::test]
async fn with_max_stale_0_no_read_is_old_at_all() {
    with_one(async |server| {
        with_fault(server, Fault::Closed, Tracking::Default, Duration::ZERO, None).await;
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
