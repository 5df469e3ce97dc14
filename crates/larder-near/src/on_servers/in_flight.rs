//! How many calls are under way at the servers of a cluster, which `max_in_flight` bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::cluster::{TestCluster, with_cluster};
use super::reads::futures;
use super::server::run;
use super::until;
use crate::key::hash_slot;
use crate::{
    Command, NearCache, NearConnection, NearError, NodeAddress, Opened, PushSink, RedisTransport,
    Reply, Tracking, Transport, TransportFuture,
};

const LIMIT: usize = 4;
const KEYS: u64 = 400;
/// So many single reads at a time.
const READS: u64 = 20;

/// The calls of a near cache, which wait while they are held.
struct Calls {
    under_way: AtomicUsize,
    most: AtomicUsize,
    are_held: watch::Sender<bool>,
}

impl Calls {
    fn new() -> Arc<Self> {
        let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { under_way, most, are_held: watch::Sender::new(false) })
    }

    fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// The most at a time since the last question.
    fn take_most(&self) -> usize {
        self.most.swap(0, Ordering::SeqCst)
    }

    fn hold(&self, are_held: bool) {
        self.are_held.send_replace(are_held);
    }
}

/// One call, from its beginning to its end or its drop.
struct UnderWay(Arc<Calls>);

impl UnderWay {
    fn new(calls: &Arc<Calls>) -> Self {
        let number = calls.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        calls.most.fetch_max(number, Ordering::SeqCst);
        Self(Arc::clone(calls))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The transport by the crate `redis`, with a look at each call.
struct Counting {
    inner: RedisTransport,
    calls: Arc<Calls>,
}

struct Counted {
    inner: Arc<dyn NearConnection>,
    calls: Arc<Calls>,
}

impl Transport for Counting {
    fn open<'t>(
        &'t self,
        at: Option<&'t NodeAddress>,
        tracking: &'t Tracking,
        pushes: Arc<dyn PushSink>,
    ) -> TransportFuture<'t, Opened> {
        Box::pin(async move {
            let Opened { connection, tracked } = self.inner.open(at, tracking, pushes).await?;
            let connection = Counted { inner: connection, calls: Arc::clone(&self.calls) };
            Ok(Opened { connection: Arc::new(connection), tracked })
        })
    }
}

impl NearConnection for Counted {
    fn call(&self, commands: Vec<Command>) -> TransportFuture<'_, Vec<Reply>> {
        // What the cache asks on its own.
        if commands.iter().all(|command| [&b"CLUSTER"[..], b"PING"].contains(&command.name())) {
            return self.inner.call(commands);
        }
        Box::pin(async move {
            let _under_way = UnderWay::new(&self.calls);
            let mut are_held = self.calls.are_held.subscribe();
            // The sender outlives the calls.
            let _ = are_held.wait_for(|are_held| !are_held).await;
            self.inner.call(commands).await
        })
    }
}

async fn bounded(
    cluster: &TestCluster,
    call_timeout: Duration,
) -> (NearCache<u64, u64>, Arc<Calls>) {
    let calls = Calls::new();
    let inner = RedisTransport::new(&cluster.addresses()[0], b"n:").unwrap();
    let near = cluster
        .near()
        .transport(Counting { inner, calls: Arc::clone(&calls) })
        .max_in_flight(LIMIT)
        .keys_per_call(50)
        .call_timeout(call_timeout);
    (near.connect().await.unwrap(), calls)
}

/// Asks for more keys than calls may be under way, and holds the calls until the limit is reached. Returns what the
/// reads have returned, after `meanwhile`.
async fn read_at_the_limit(
    near: &NearCache<u64, u64>,
    calls: &Calls,
    meanwhile: impl AsyncFnOnce(),
) -> Vec<Result<Option<u64>, NearError>> {
    near.clear_memory();
    calls.take_most();
    calls.hold(true);
    let reads = futures((0..READS).map(|key| async move { near.get(&key).await }));
    let holder = async {
        until("the limit is reached", async || calls.under_way() == LIMIT).await;
        // The other reads are polled between.
        for _ in 0..READS {
            tokio::task::yield_now().await;
            assert_eq!(calls.under_way(), LIMIT);
        }
        meanwhile().await;
        calls.hold(false);
    };
    let (read, ()) = tokio::join!(reads, holder);
    assert_eq!(calls.take_most(), LIMIT);
    assert_eq!(calls.under_way(), 0);
    read
}

/// The limit is reached, and not passed, by single reads and by pipelines, all of which succeed.
async fn the_limit_holds(near: &NearCache<u64, u64>, calls: &Calls) {
    for (key, value) in (0..).zip(read_at_the_limit(near, calls, async || ()).await) {
        assert_eq!(value.unwrap(), Some(key));
    }
    let keys: Vec<u64> = (0..KEYS).collect();
    near.clear_memory();
    let expected: Vec<Option<u64>> = keys.iter().copied().map(Some).collect();
    // Each wants a pipeline to each of three masters at once.
    for values in futures((0..3).map(|_| near.get_many(&keys))).await {
        assert_eq!(values.unwrap(), expected);
    }
    assert_eq!(calls.take_most(), LIMIT);
}

async fn is_all_there(near: &NearCache<u64, u64>) {
    let keys: Vec<u64> = (0..KEYS).collect();
    until("all masters answer", async || {
        near.clear_memory();
        near.get_many(&keys).await.is_ok_and(|values| values.iter().all(Option::is_some))
    })
    .await;
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_the_limit_also_after_losses_and_failovers() {
    with_cluster(3, 3, async |cluster| {
        let (near, calls) = bounded(cluster, super::LONG).await;
        near.set_many((0..KEYS).map(|key| (key, key))).await.unwrap();
        cluster.is_replicated(3).await;
        the_limit_holds(&near, &calls).await;
        // All connections are lost with calls under way, which give back what they have of the limit.
        read_at_the_limit(&near, &calls, async || {
            let losses = near.stats().losses;
            for server in &cluster.servers {
                let mut client = server.client().await;
                let () = run(&mut client, &["CLIENT", "KILL", "TYPE", "normal"]).await;
            }
            until("the losses", async || near.stats().losses >= losses + 3).await;
        })
        .await;
        is_all_there(&near).await;
        the_limit_holds(&near, &calls).await;
        // A master hands over to its replica while calls to it are under way.
        let slot = hash_slot(b"n:1");
        let owner = cluster.owner(slot).await.unwrap();
        let replica = cluster.replica_of(owner).await;
        read_at_the_limit(&near, &calls, async || {
            cluster.hand_over(slot, replica).await;
        })
        .await;
        is_all_there(&near).await;
        the_limit_holds(&near, &calls).await;
        // A master dies.
        cluster.is_replicated(3).await;
        cluster.servers[replica].kill();
        until("another one takes over", async || {
            cluster.owner(slot).await.is_some_and(|it| it != replica)
        })
        .await;
        is_all_there(&near).await;
        the_limit_holds(&near, &calls).await;
    })
    .await;
}

#[tokio::test]
async fn calls_beyond_the_limit_wait_for_call_timeout_and_leave_the_limit_as_it_was() {
    with_cluster(3, 0, async |cluster| {
        let timeout = Duration::from_secs(3);
        let (near, calls) = bounded(cluster, timeout).await;
        until("all is written", async || {
            near.set_many((0..KEYS).map(|key| (key, key))).await.is_ok()
        })
        .await;
        near.clear_memory();
        calls.take_most();
        calls.hold(true);
        let read = async |key: u64| near.get(&key).await;
        for read in futures((0..READS).map(&read)).await {
            assert!(matches!(read, Err(NearError::TimedOut { waited }) if waited == timeout));
        }
        assert_eq!((calls.take_most(), calls.under_way()), (LIMIT, 0));
        calls.hold(false);
        is_all_there(&near).await;
        the_limit_holds(&near, &calls).await;
    })
    .await;
}
