//! Write-behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cluster::with_cluster;
use super::proxy::{Network, Proxy};
use super::server::{run, with_each, with_one};
use super::{LONG, near, until};
use crate::key::{SLOTS, hash_slot};
use crate::{NearCache, NearError, WriteMode};

async fn behind(address: &str) -> NearCache<u64, u64> {
    near(address).write_mode(WriteMode::Behind).connect().await.unwrap()
}

#[tokio::test]
async fn what_waits_is_read_at_once_and_only_the_last_write_of_a_key_is_sent() {
    with_each(async |server| {
        let proxy = Proxy::before(server.port()).await;
        let near = behind(&proxy.address()).await;
        near.set(&1, 1).await.unwrap();
        near.flush(LONG).await.unwrap();
        assert_eq!(near.get(&1).await.unwrap(), Some(1));
        let writes = near.stats().writes;
        // Nothing is answered, so one batch is under way, and the rest waits.
        proxy.set(Network::Holding);
        for value in 2..100 {
            near.set(&1, value).await.unwrap();
            assert_eq!(near.get(&1).await.unwrap(), Some(value));
            assert_eq!(near.get_many(&[1]).await.unwrap(), [Some(value)]);
        }
        assert_eq!(near.stats().pending_writes, 1);
        proxy.set(Network::Up);
        near.flush(LONG).await.unwrap();
        let stats = near.stats();
        assert!(stats.writes - writes <= 2, "{stats:?}");
        assert_eq!((stats.pending_writes, stats.lost_writes), (0, 0));
        let other = super::near::<u64>(&server.address()).connect().await.unwrap();
        assert_eq!(other.get(&1).await.unwrap(), Some(99));
        assert_eq!(near.get(&1).await.unwrap(), Some(99));
        // Changes of others are seen.
        other.set(&1, 100).await.unwrap();
        until("it is known", async || near.get(&1).await.unwrap() == Some(100)).await;
        near.set(&2, 1).await.unwrap();
        near.remove(&2).await.unwrap();
        assert_eq!(near.get(&2).await.unwrap(), None);
        near.flush(LONG).await.unwrap();
        assert_eq!(other.get(&2).await.unwrap(), None);
        for value in 0..20 {
            near.set_record(&3, larder_store::Record::new(value).tags(["tag"])).await.unwrap();
            assert_eq!(near.get(&3).await.unwrap(), Some(value));
            near.invalidate_tag("tag").await.unwrap();
            assert_eq!(near.get(&3).await.unwrap(), None);
        }
    })
    .await;
}

#[tokio::test]
async fn writes_wait_for_a_server_that_is_away_as_long_as_there_is_room() {
    with_one(async |server| {
        let proxy = Proxy::before(server.port()).await;
        let near = near::<u64>(&proxy.address())
            .write_mode(WriteMode::Behind)
            .max_pending_writes(10)
            // So long a write waits for room, and a busy machine for the connection.
            .call_timeout(Duration::from_secs(5))
            .connect()
            .await
            .unwrap();
        proxy.set(Network::Closing);
        until("the loss", async || !near.stats().is_connected).await;
        for key in 0..10 {
            near.set(&key, key).await.unwrap();
            assert_eq!(near.get(&key).await.unwrap(), Some(key));
        }
        let keys: Vec<u64> = (0..10).collect();
        let waiting: Vec<Option<u64>> = keys.iter().copied().map(Some).collect();
        assert_eq!(near.get_many(&keys).await.unwrap(), waiting, "without the server");
        assert!(near.get_many(&[0, 10]).await.is_err(), "the last key does not wait");
        let full = near.set(&10, 10).await;
        assert!(matches!(full, Err(NearError::TooManyPending { limit: 10 })), "{full:?}");
        near.set(&9, 99).await.unwrap();
        let late = near.flush(Duration::from_millis(1)).await;
        assert!(matches!(late, Err(NearError::TimedOut { .. })), "{late:?}");
        proxy.set(Network::Up);
        near.flush(LONG).await.unwrap();
        let other = super::near::<u64>(&server.address()).connect().await.unwrap();
        for key in 0..9 {
            assert_eq!(other.get(&key).await.unwrap(), Some(key));
        }
        assert_eq!(other.get(&9).await.unwrap(), Some(99));
    })
    .await;
}

#[tokio::test]
async fn what_the_server_refuses_is_told_and_forgotten() {
    with_one(async |server| {
        if server.is_larder() {
            return;
        }
        let told = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&told);
        let near = near::<String>(&server.address())
            .write_mode(WriteMode::Behind)
            .on_lost_write(move |key, error| {
                assert!(matches!(error, NearError::Refused(_)), "{error:?}");
                counted.fetch_add(*key, Ordering::SeqCst);
                panic!("a panic of the user's");
            })
            .connect()
            .await
            .unwrap();
        let mut client = server.client().await;
        near.set(&7, "small".to_owned()).await.unwrap();
        near.flush(LONG).await.unwrap();
        // The server is full from here on.
        let () = run(&mut client, &["CONFIG", "SET", "maxmemory", "1"]).await;
        near.set(&7, "x".repeat(1000)).await.unwrap();
        let lost = near.flush(LONG).await;
        assert!(matches!(&lost, Err(NearError::Refused(why)) if why.contains("OOM")), "{lost:?}");
        assert_eq!(told.load(Ordering::SeqCst), 7);
        assert_eq!(near.stats().lost_writes, 1);
        assert_eq!(near.get(&7).await.unwrap().as_deref(), Some("small"));
        let () = run(&mut client, &["CONFIG", "SET", "maxmemory", "0"]).await;
        near.set(&7, "again".to_owned()).await.unwrap();
        near.flush(LONG).await.unwrap();
    })
    .await;
}

/// A removal that fails takes nothing of what was accepted before it.
#[tokio::test]
async fn a_removal_that_fails_or_is_dropped_loses_no_write() {
    with_each(async |server| {
        let proxy = Proxy::before(server.port()).await;
        let near = near::<u64>(&proxy.address())
            .write_mode(WriteMode::Behind)
            .call_timeout(Duration::from_secs(2))
            .connect()
            .await
            .unwrap();
        proxy.set(Network::Closing);
        until("an attempt has failed", async || near.stats().failed_connects > 0).await;
        for key in 1..5 {
            near.set(&key, key).await.unwrap();
        }
        assert!(near.remove(&1).await.is_err());
        assert!(near.remove_many(&[2, 3]).await.is_err());
        {
            let mut dropped = std::pin::pin!(near.remove(&4));
            std::future::poll_fn(|cx| {
                let _ = dropped.as_mut().poll(cx);
                std::task::Poll::Ready(())
            })
            .await;
        }
        assert_eq!(near.stats().pending_writes, 4);
        proxy.set(Network::Up);
        near.flush(LONG).await.unwrap();
        let other = super::near::<u64>(&server.address()).connect().await.unwrap();
        let all = [Some(1), Some(2), Some(3), Some(4)];
        assert_eq!(other.get_many(&[1, 2, 3, 4]).await.unwrap(), all);
        assert!(near.remove(&1).await.unwrap());
        assert_eq!(near.remove_many(&[2, 3, 4, 5]).await.unwrap(), 3);
        assert_eq!(near.get_many(&[1, 2, 3, 4]).await.unwrap(), [None; 4]);
    })
    .await;
}

/// A value whose drop panics, once.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Explosive(u64);

impl Drop for Explosive {
    fn drop(&mut self) {
        if self.0 == 13 && !std::thread::panicking() {
            self.0 = 0;
            panic!("a panic of the value's own");
        }
    }
}

#[tokio::test]
async fn a_value_whose_drop_panics_holds_up_no_other_write() {
    with_one(async |server| {
        let near = near::<Explosive>(&server.address()).write_mode(WriteMode::Behind);
        let near = near.connect().await.unwrap();
        for key in 0..20 {
            near.set(&key, Explosive(key)).await.unwrap();
        }
        near.flush(LONG).await.unwrap();
        near.set(&1, Explosive(1)).await.unwrap();
        near.flush(LONG).await.unwrap();
        assert_eq!(near.stats().pending_writes, 0);
        let number: u64 = run(&mut server.client().await, &["DBSIZE"]).await;
        assert_eq!(number, 20);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_sent_before_the_end_is_told() {
    with_one(async |server| {
        let proxy = Proxy::before(server.port()).await;
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let near = near::<u64>(&proxy.address())
            .write_mode(WriteMode::Behind)
            .call_timeout(Duration::from_millis(500))
            .on_lost_write(move |key, error| {
                assert!(matches!(error, NearError::Closed), "{error:?}");
                tell.send(*key).unwrap();
            })
            .connect()
            .await
            .unwrap();
        proxy.set(Network::Closing);
        until("an attempt has failed", async || near.stats().failed_connects > 0).await;
        for key in 0..3 {
            near.set(&key, key).await.unwrap();
        }
        // A value whose time is over while it waits is none.
        near.set_for(&3, 3, Duration::from_nanos(1)).await.unwrap();
        assert_eq!(near.get(&3).await.unwrap(), None);
        assert_eq!(near.get_many(&[3, 0]).await.unwrap(), [None, Some(0)]);
        drop(near);
        let mut lost = Vec::new();
        while let Some(key) = tokio::time::timeout(LONG, told.recv()).await.unwrap() {
            lost.push(key);
        }
        lost.sort_unstable();
        assert_eq!(lost, [0, 1, 2, 3]);
    })
    .await;
}

#[tokio::test]
async fn what_waits_when_the_last_handle_is_dropped_is_sent() {
    with_each(async |server| {
        let near = behind(&server.address()).await;
        for key in 0..1000 {
            near.set(&key, key).await.unwrap();
        }
        drop(near);
        let other = super::near::<u64>(&server.address()).max_stale(Duration::ZERO).connect();
        let other = other.await.unwrap();
        let keys: Vec<u64> = (0..1000).collect();
        until("all are there", async || {
            other.get_many(&keys).await.unwrap().iter().all(Option::is_some)
        })
        .await;
    })
    .await;
}

/// As a master does that has become a replica, and as one that loads its data after it was started again.
#[tokio::test]
async fn what_the_server_refuses_for_now_waits() {
    with_one(async |server| {
        if server.is_larder() {
            return;
        }
        let near = behind(&server.address()).await;
        let mut client = server.client().await;
        let () = run(&mut client, &["REPLICAOF", "127.0.0.1", "1"]).await;
        near.set(&1, 1).await.unwrap();
        until("the write was refused", async || {
            let errors: String = run(&mut client, &["INFO", "errorstats"]).await;
            errors.contains("READONLY")
        })
        .await;
        assert_eq!(near.get(&1).await.unwrap(), Some(1));
        let () = run(&mut client, &["REPLICAOF", "NO", "ONE"]).await;
        near.flush(LONG).await.unwrap();
        let other = super::near::<u64>(&server.address()).connect().await.unwrap();
        assert_eq!(other.get(&1).await.unwrap(), Some(1));
        assert_eq!(near.stats().lost_writes, 0);
    })
    .await;
}

/// More writes wait for a master that is silent than are sent at once, and those for the other one come after them.
#[tokio::test]
async fn a_master_that_is_silent_holds_up_no_write_to_another() {
    // The others are most of the masters, so they go on without it.
    with_cluster(3, 0, async |cluster| {
        let near = cluster
            .near::<u64>()
            .write_mode(WriteMode::Behind)
            .call_timeout(Duration::from_millis(300))
            .connect()
            .await
            .unwrap();
        let of_master = |master: usize| {
            let slots = SLOTS * master / 3..SLOTS * (master + 1) / 3;
            let slot = |key: &u64| usize::from(hash_slot(format!("n:{key}").as_bytes()));
            (0..1000).filter(|key| slots.contains(&slot(key))).collect::<Vec<u64>>()
        };
        let (alive, silent) = (of_master(0), of_master(1));
        near.set_many(alive.iter().map(|key| (*key, 1))).await.unwrap();
        near.flush(LONG).await.unwrap();
        cluster.servers[1].signal("STOP");
        near.set_many(silent.iter().map(|key| (*key, 2))).await.unwrap();
        near.remove(&alive[0]).await.unwrap();
        let mut client = cluster.servers[0].client().await;
        for key in &alive[..5] {
            let name = format!("n:{key}");
            let _: u64 = run(&mut client, &["DEL", &name]).await;
            near.set(key, 3).await.unwrap();
            until("it was sent", async || run::<u64>(&mut client, &["EXISTS", &name]).await == 1)
                .await;
        }
        cluster.servers[1].signal("CONT");
        near.flush(LONG).await.unwrap();
        let other = cluster.near::<u64>().connect().await.unwrap();
        let values = other.get_many(&silent).await.unwrap();
        assert!(values.iter().all(|value| *value == Some(2)));
        assert_eq!(near.stats().lost_writes, 0);
    })
    .await;
}
