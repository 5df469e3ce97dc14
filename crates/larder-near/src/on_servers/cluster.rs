//! Clusters of the tests' own, on loopback.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use super::server::{Program, Server, connect, programs_for_several, run};
use super::{LONG, until};
use crate::key::{SLOTS, hash_slot};
use crate::{NearBuilder, NearCache};

/// Masters, and perhaps a replica of each.
pub(super) struct TestCluster {
    pub(super) servers: Vec<Server>,
    pub(super) masters: usize,
}

/// Runs a test with a cluster of each kind of server.
pub(super) async fn with_cluster(
    masters: usize,
    replicas: usize,
    mut test: impl AsyncFnMut(&mut TestCluster),
) {
    for program in programs_for_several() {
        println!("a cluster of {}", program);
        let mut cluster = TestCluster::start(program, masters, replicas).await;
        test(&mut cluster).await;
    }
}

impl TestCluster {
    async fn start(program: Program, masters: usize, replicas: usize) -> Self {
        // A failover is to be soon. Where there can be none, a busy machine must not look like servers that are lost.
        let node_timeout = if replicas > 0 { "2000" } else { "5000" };
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            node_timeout,
            // The other slots are served when those of one master are not.
            "--cluster-require-full-coverage",
            "no",
            "--repl-diskless-sync-delay",
            "0",
            "--repl-ping-replica-period",
            "1",
        ];
        let mut servers = Vec::new();
        for _ in 0..masters + replicas {
            servers.push(Server::start_with(program.clone(), &options).await);
        }
        let cluster = Self { servers, masters };
        for (number, server) in cluster.servers.iter().enumerate() {
            let mut client = server.client().await;
            let epoch = (number + 1).to_string();
            let () = run(&mut client, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            if number < masters {
                let (first, last) = (SLOTS * number / masters, SLOTS * (number + 1) / masters - 1);
                let (first, last) = (first.to_string(), last.to_string());
                let () = run(&mut client, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            }
            let first = cluster.servers[0].port().to_string();
            let () = run(&mut client, &["CLUSTER", "MEET", "127.0.0.1", &first]).await;
        }
        cluster.agrees().await;
        for replica in 0..replicas {
            let master = cluster.id(replica % masters).await;
            let mut client = cluster.servers[masters + replica].client().await;
            let () = run(&mut client, &["CLUSTER", "REPLICATE", &master]).await;
        }
        cluster.is_replicated(replicas).await;
        cluster
    }

    /// Waits until all servers that answer know all others, and find the cluster in order.
    pub(super) async fn agrees(&self) {
        let known = format!("cluster_known_nodes:{}\r", self.servers.len());
        for server in &self.servers {
            let mut client = server.client().await;
            until("the servers agree", async || {
                let info: String = run(&mut client, &["CLUSTER", "INFO"]).await;
                info.contains("cluster_state:ok") && info.contains(&known)
            })
            .await;
        }
    }

    /// Waits until `replicas` of the servers are replicas in touch with their masters.
    pub(super) async fn is_replicated(&self, replicas: usize) {
        until("the replicas follow", async || {
            let mut following = 0;
            for server in &self.servers {
                let Ok(mut client) = connect(server.port()).await else { continue };
                let mut info = redis::cmd("INFO");
                info.arg("replication");
                let info: RedisResult<String> = info.query_async(&mut client).await;
                following += usize::from(info.is_ok_and(|it| it.contains("master_link_status:up")));
            }
            following == replicas
        })
        .await;
    }

    async fn id(&self, server: usize) -> String {
        run(&mut self.servers[server].client().await, &["CLUSTER", "MYID"]).await
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(Server::address).collect()
    }

    pub(super) fn near<V>(&self) -> NearBuilder<u64, V>
    where
        V: serde::Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static,
    {
        NearCache::builder()
            .cluster(self.addresses())
            .prefix("n:")
            .max_stale(LONG)
            .call_timeout(LONG)
    }

    /// Which server has a slot, as the first one that answers sees it.
    pub(super) async fn owner(&self, slot: u16) -> Option<usize> {
        for server in 0..self.servers.len() {
            if let Some(owner) = self.owner_as_seen_by(server, slot).await {
                return Some(owner);
            }
        }
        None
    }

    pub(super) async fn owner_as_seen_by(&self, server: usize, slot: u16) -> Option<usize> {
        let mut client = connect(self.servers[server].port()).await.ok()?;
        let reply: Value =
            redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut client).await.ok()?;
        for (first, last, node) in ranges(reply).ok()? {
            let Value::Array(node) = node else { continue };
            if let Value::Int(port) = node[1]
                && (first..=last).contains(&slot)
            {
                return self.servers.iter().position(|it| i64::from(it.port()) == port);
            }
        }
        None
    }

    /// The replica of a master.
    pub(super) async fn replica_of(&self, master: usize) -> usize {
        let port = format!("master_port:{}\r", self.servers[master].port());
        for (number, server) in self.servers.iter().enumerate() {
            let info: String = run(&mut server.client().await, &["INFO", "replication"]).await;
            if info.contains("role:slave") && info.contains(&port) {
                return number;
            }
        }
        panic!("server {master} has no replica");
    }

    /// Lets a replica change places with its master, which has the slot.
    pub(super) async fn hand_over(&self, slot: u16, replica: usize) {
        let mut client = self.servers[replica].client().await;
        let mut asked: Option<Instant> = None;
        until("the replica takes over", async || {
            // On a busy machine, the two give up after five seconds, and have to be asked again.
            if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(6)) {
                asked = Some(Instant::now());
                let mut failover = redis::cmd("CLUSTER");
                // It is refused if the replica has become the master meanwhile.
                let _: RedisResult<()> = failover.arg("FAILOVER").query_async(&mut client).await;
            }
            self.owner(slot).await == Some(replica)
        })
        .await;
    }

    /// Gives a slot to another server, as an administrator does: its keys are moved one after the other.
    pub(super) async fn move_slot(&self, slot: u16, to: usize) {
        let Some(from) = self.owner(slot).await else { return };
        if from != to {
            self.begin_move(slot, from, to).await;
            self.move_keys(slot, from, to).await;
            self.end_move(slot, from, to).await;
        }
    }

    /// From here on, the server that has the slot sends clients on for keys that it does not have.
    pub(super) async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (mut source, mut target) =
            (self.servers[from].client().await, self.servers[to].client().await);
        let (from_id, to_id) = (self.id(from).await, self.id(to).await);
        let number = slot.to_string();
        let () = run(&mut target, &["CLUSTER", "SETSLOT", &number, "IMPORTING", &from_id]).await;
        let () = run(&mut source, &["CLUSTER", "SETSLOT", &number, "MIGRATING", &to_id]).await;
    }

    pub(super) async fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let mut source = self.servers[from].client().await;
        let (number, port) = (slot.to_string(), self.servers[to].port().to_string());
        loop {
            let keys: Vec<String> =
                run(&mut source, &["CLUSTER", "GETKEYSINSLOT", &number, "10"]).await;
            if keys.is_empty() {
                return;
            }
            for key in keys {
                let migrate = ["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"];
                let _: Value = run(&mut source, &migrate).await;
            }
        }
    }

    pub(super) async fn end_move(&self, slot: u16, from: usize, to: usize) {
        let to_id = self.id(to).await;
        let mut source = self.servers[from].client().await;
        self.take_slot(slot, to).await;
        let node = ["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &to_id];
        let () = run(&mut source, &node).await;
    }

    /// Lets a server say that a slot is its own. The others learn of it from that server.
    pub(super) async fn take_slot(&self, slot: u16, to: usize) {
        let to_id = self.id(to).await;
        let mut target = self.servers[to].client().await;
        let number = slot.to_string();
        let () = run(&mut target, &["CLUSTER", "SETSLOT", &number, "NODE", &to_id]).await;
    }
}

/// Understands the ranges of `CLUSTER SLOTS`, of which only the masters matter.
fn ranges(reply: Value) -> RedisResult<Vec<(u16, u16, Value)>> {
    let rows: Vec<Vec<Value>> = redis::from_redis_value(reply)?;
    let mut ranges = Vec::new();
    for row in rows {
        let mut row = row.into_iter();
        if let (Some(first), Some(last), Some(master)) = (row.next(), row.next(), row.next()) {
            ranges.push((redis::from_redis_value(first)?, redis::from_redis_value(last)?, master));
        }
    }
    Ok(ranges)
}

/// A client of the tests' own, which writes to whichever server has the key.
pub(super) struct Writer {
    ports: Vec<u16>,
    connections: Vec<Option<MultiplexedConnection>>,
    /// How many replicas must have a value before it counts as written.
    replicas: usize,
}

impl Writer {
    pub(super) fn new(cluster: &TestCluster, replicas: usize) -> Self {
        let ports: Vec<u16> = cluster.servers.iter().map(Server::port).collect();
        let connections = ports.iter().map(|_| None).collect();
        Self { ports, connections, replicas }
    }

    /// Writes until it is certain that the value was written, and that no failover loses it.
    pub(super) async fn write(&mut self, key: u64, value: u64) {
        let name = format!("n:{key}");
        let bytes = crate::envelope::Envelopes::new("postcard", Default::default())
            .unwrap()
            .write(&value)
            .unwrap();
        let mut at = usize::from(hash_slot(name.as_bytes())) % self.ports.len();
        let mut asking = false;
        let written = async {
            loop {
                match self.attempt(at, &name, &bytes, asking).await {
                    Ok(replicas) if replicas >= self.replicas => return,
                    Ok(_) => asking = false,
                    Err(error) => {
                        let kind = error.kind();
                        asking = kind == ErrorKind::Server(ServerErrorKind::Ask);
                        let named = error.redirect_node().and_then(|(address, _)| {
                            let port: u16 = address.rsplit_once(':')?.1.parse().ok()?;
                            self.ports.iter().position(|it| *it == port)
                        });
                        if named.is_none() {
                            self.connections[at] = None;
                            // The servers need a while until another one has the slot.
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                        at = named.unwrap_or((at + 1) % self.ports.len());
                    }
                }
            }
        };
        tokio::time::timeout(LONG, written).await.expect("the value is written");
    }

    async fn attempt(
        &mut self,
        at: usize,
        name: &str,
        bytes: &[u8],
        asking: bool,
    ) -> Result<usize, RedisError> {
        if self.connections[at].is_none() {
            self.connections[at] = Some(connect(self.ports[at]).await?);
        }
        let Some(connection) = &mut self.connections[at] else { return Ok(0) };
        // One after the other: the errors of a pipeline do not say where the key is.
        let writing = async {
            if asking {
                let () = redis::cmd("ASKING").query_async(connection).await?;
            }
            let () = redis::cmd("SET").arg(name).arg(bytes).query_async(connection).await?;
            redis::cmd("WAIT").arg(self.replicas).arg(200).query_async(connection).await
        };
        match tokio::time::timeout(Duration::from_secs(2), writing).await {
            Ok(replicas) => replicas,
            Err(_) => {
                self.connections[at] = None;
                Ok(0)
            }
        }
    }
}
