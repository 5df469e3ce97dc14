//! A master that sentinels watch: a failover, and a master that is demoted without being lost.

use std::time::Duration;

use super::server::{Server, connect, programs_for_several, run};
use super::{LONG, until};
use crate::NearCache;

const NAME: &str = "users";

/// A master, a replica, and three sentinels.
struct Watched {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

async fn with_sentinels(mut test: impl AsyncFnMut(&mut Watched)) {
    for program in programs_for_several() {
        println!("sentinels of {}", program);
        let options = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
        let servers = vec![
            Server::start_with(program.clone(), &options).await,
            Server::start_with(program.clone(), &options).await,
        ];
        let port = servers[0].port().to_string();
        let () = run(&mut servers[1].client().await, &["REPLICAOF", "127.0.0.1", &port]).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let file = servers[0].folder().join(format!("sentinel{}.conf", sentinels.len()));
            std::fs::write(&file, "").unwrap();
            let sentinel =
                Server::start_sentinel(program.clone(), file.to_str().unwrap().to_owned()).await;
            let mut client = sentinel.client().await;
            let () =
                run(&mut client, &["SENTINEL", "MONITOR", NAME, "127.0.0.1", &port, "2"]).await;
            for (setting, millis) in
                [("down-after-milliseconds", "2000"), ("failover-timeout", "3000")]
            {
                let () = run(&mut client, &["SENTINEL", "SET", NAME, setting, millis]).await;
            }
            sentinels.push(sentinel);
        }
        let watched = Watched { servers, sentinels };
        watched.is_well().await;
        test(&mut { watched }).await;
    }
}

impl Watched {
    /// Waits until the sentinels know the replica and each other.
    async fn is_well(&self) {
        for sentinel in &self.sentinels {
            let mut client = sentinel.client().await;
            until("the sentinels know each other", async || {
                let info: String = run(&mut client, &["INFO", "sentinel"]).await;
                info.contains("slaves=1,sentinels=3") && info.contains("status=ok")
            })
            .await;
        }
    }

    fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(Server::address).collect()
    }

    async fn is_master(&self, server: usize) -> bool {
        self.says(server, "role:master").await
    }

    /// Whether a sentinel says that a server is the master.
    async fn is_named(&self, sentinel: usize, server: usize) -> bool {
        let mut client = self.sentinels[sentinel].client().await;
        let mut get = redis::cmd("SENTINEL");
        get.arg("GET-MASTER-ADDR-BY-NAME").arg(NAME);
        let named: redis::RedisResult<Vec<String>> = get.query_async(&mut client).await;
        let port = self.servers[server].port().to_string();
        named.is_ok_and(|named| named.last() == Some(&port))
    }

    /// Whether a server is the master, and all sentinels say so: before that, they may undo a failover, and what was
    /// written to the server meanwhile is lost.
    async fn is_settled(&self, server: usize) -> bool {
        for sentinel in 0..self.sentinels.len() {
            if !self.is_named(sentinel, server).await {
                return false;
            }
        }
        self.is_master(server).await
    }

    /// Whether a server says so of its replication. Sentinels close all connections of a server that they promote.
    async fn says(&self, server: usize, what: &str) -> bool {
        let Ok(mut client) = connect(self.servers[server].port()).await else { return false };
        let mut info = redis::cmd("INFO");
        info.arg("replication");
        let info: redis::RedisResult<String> = info.query_async(&mut client).await;
        info.is_ok_and(|info| info.contains(what))
    }

    /// Writes as another process does, until it is acknowledged.
    async fn write(&self, server: usize, key: u64, value: u64) {
        let envelopes = crate::envelope::Envelopes::new("postcard", Default::default()).unwrap();
        let bytes = envelopes.write(&value).unwrap();
        until("it is written", async || {
            let Ok(mut client) = connect(self.servers[server].port()).await else { return false };
            let mut set = redis::cmd("SET");
            set.arg(format!("n:{key}")).arg(&bytes);
            let set: redis::RedisResult<()> = set.query_async(&mut client).await;
            set.is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn another_master_is_followed_and_nothing_of_the_last_one_is_served() {
    with_sentinels(async |watched| {
        let near: NearCache<u64, u64> = NearCache::builder()
            .sentinel(NAME, watched.addresses())
            .prefix("n:")
            // It has to be noticed long before that.
            .max_stale(LONG)
            .call_timeout(Duration::from_secs(2))
            .connect()
            .await
            .unwrap();
        assert!(near.stats().is_tracked);
        near.set(&1, 1).await.unwrap();
        until("it is in memory", async || {
            near.get(&1).await.unwrap();
            near.get_in_memory(&1) == Some(Some(1))
        })
        .await;
        let mut client = watched.servers[0].client().await;
        until("it is replicated", async || {
            run::<usize>(&mut client, &["WAIT", "1", "100"]).await == 1
        })
        .await;

        // The master is killed.
        watched.servers[0].kill();
        until("the replica takes over", async || watched.is_settled(1).await).await;
        watched.write(1, 1, 2).await;
        until("the new value is read", async || near.get(&1).await.is_ok_and(|it| it == Some(2)))
            .await;
        until("writes reach the new master", async || near.set(&2, 7).await.is_ok()).await;
        let stats = near.stats();
        assert!(stats.masters_changed >= 1 && stats.losses >= 1, "{stats:?}");
        until("it is tracked", async || near.stats().is_tracked).await;

        // It comes back as a replica, and is made the master again while both are alive.
        watched.servers[0].start_again().await;
        watched.is_well().await;
        until("it is a replica", async || !watched.is_master(0).await).await;
        until("it follows", async || watched.says(0, "master_link_status:up").await).await;
        let mut sentinel = watched.sentinels[0].client().await;
        until("it is the master", async || {
            if watched.is_named(0, 1).await {
                let mut failover = redis::cmd("SENTINEL");
                failover.arg("FAILOVER").arg(NAME);
                let _: redis::RedisResult<()> = failover.query_async(&mut sentinel).await;
            }
            watched.is_settled(0).await
        })
        .await;
        watched.write(0, 1, 3).await;
        until("the newest value is read", async || {
            near.get(&1).await.is_ok_and(|it| it == Some(3))
        })
        .await;
        until("writes reach the new master", async || near.set(&1, 4).await.is_ok()).await;
        until("all agree", async || near.stats().masters_changed >= 2).await;
        until("the new master has it", async || {
            near.clear_memory();
            near.get(&1).await.is_ok_and(|value| value == Some(4))
        })
        .await;
    })
    .await;
}
