//! Timeouts, the breaker, a full disk, metrics, and compression.

use std::time::Duration;

use super::proxy::{Network, Proxy};
use super::server::{run, with_one};
use super::{LONG, near, until};
use crate::{BreakerState, NearError};

#[tokio::test]
async fn a_slow_server_is_not_waited_for_if_memory_may_answer() {
    with_one(async |server| {
        let proxy = Proxy::before(server.port()).await;
        let near = near::<u64>(&proxy.address())
            // A lease that has lapsed leaves values that are only good in place of an error.
            .max_stale(Duration::from_millis(40))
            .stale_if_error(LONG)
            .soft_timeout(Duration::from_millis(5))
            .connect()
            .await
            .unwrap();
        near.set(&1, 1).await.unwrap();
        until("it is in memory", async || {
            near.get(&1).await.unwrap();
            near.get_in_memory(&1).is_some()
        })
        .await;
        proxy.set(Network::Holding);
        until("the lease has lapsed", async || near.get_in_memory(&1).is_none()).await;
        // On a busy machine, a read before this one may have been slow too.
        let before = near.stats();
        assert_eq!(near.get(&1).await.unwrap(), Some(1));
        let stats = near.stats();
        assert_eq!(stats.soft_timeouts - before.soft_timeouts, 1, "{stats:?}");
        assert_eq!((stats.stale_hits - before.stale_hits, stats.errors), (1, 0), "{stats:?}");
        proxy.set(Network::Up);
        // The request went on.
        until("its value is in memory", async || near.get_in_memory(&1) == Some(Some(1))).await;
    })
    .await;
}

#[tokio::test]
async fn the_breaker_says_what_calls_do() {
    with_one(async |server| {
        let proxy = Proxy::before(server.port()).await;
        let near = near::<u64>(&proxy.address()).connect().await.unwrap();
        assert_eq!(near.stats().breaker, BreakerState::Closed);
        proxy.set(Network::Closing);
        until("an attempt has failed", async || near.stats().breaker == BreakerState::Open).await;
        let began = std::time::Instant::now();
        assert!(matches!(near.get(&2).await, Err(NearError::Down(_))));
        assert!(began.elapsed() < LONG / 2, "it did not wait for the server");
        proxy.set(Network::Up);
        until("it is closed again", async || near.stats().breaker == BreakerState::Closed).await;
    })
    .await;
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn metrics_say_what_the_statistics_say_as_long_as_the_cache_exists() {
    use larder::metrics::{Collector, Exposition};

    with_one(async |server| {
        let near = near::<u64>(&server.address()).count_hits().connect().await.unwrap();
        let collector = Collector::new();
        collector.add_source(near.metrics("users"));
        let other = super::near::<u64>(&server.address()).connect().await.unwrap();
        collector.add_source(other.metrics("others"));
        let has = |line: &str| {
            let text = collector.encode(Exposition::Prometheus).unwrap();
            text.lines().any(|it| it == line)
        };
        near.set(&1, 1).await.unwrap();
        until("it is in memory", async || {
            near.get(&1).await.unwrap();
            near.get_in_memory(&1).is_some()
        })
        .await;
        assert!(has("larder_near_breaker{cache=\"users\",state=\"closed\"} 1"));
        assert!(has("larder_near_breaker{cache=\"others\",state=\"open\"} 0"));
        assert!(has("larder_near_writes_total{cache=\"users\",outcome=\"done\"} 1"));
        assert!(has("larder_near_connects_total{cache=\"users\",outcome=\"opened\"} 1"));
        assert!(has("larder_near_entries{cache=\"users\"} 1"));
        let hits = near.stats().hits.unwrap();
        assert!(has(&format!("larder_near_hits_total{{cache=\"users\",tier=\"memory\"}} {hits}")));
        drop(near);
        let text = collector.encode(Exposition::Prometheus).unwrap();
        assert!(!text.contains("users") && text.contains("others"));
    })
    .await;
}

/// The server cannot save its data, as with a full disk, and refuses writes.
#[tokio::test]
async fn a_server_whose_disk_is_full_still_answers_reads() {
    with_one(async |server| {
        if server.is_larder() {
            return;
        }
        let near = near::<u64>(&server.address()).connect().await.unwrap();
        near.set(&1, 1).await.unwrap();
        let mut client = server.client().await;
        let () = run(&mut client, &["CONFIG", "SET", "save", "3600 1"]).await;
        // A folder that is gone stands for the full disk: the server cannot save.
        server.lose_folder();
        let () = run(&mut client, &["BGSAVE"]).await;
        until("it has failed", async || {
            let info: String = run(&mut client, &["INFO", "persistence"]).await;
            info.contains("rdb_last_bgsave_status:err")
        })
        .await;
        let refused = near.set(&1, 2).await;
        assert!(
            matches!(&refused, Err(NearError::Refused(why)) if why.contains("MISCONF")),
            "{refused:?}"
        );
        assert_eq!(near.get(&1).await.unwrap(), Some(1));
        near.clear_memory();
        assert_eq!(near.get(&1).await.unwrap(), Some(1));
        assert!(matches!(near.remove(&1).await, Err(NearError::Refused(_))));
        assert_eq!(near.get(&1).await.unwrap(), Some(1));
    })
    .await;
}

#[cfg(feature = "zstd")]
#[tokio::test]
async fn large_values_are_compressed_at_the_server_and_read_by_all() {
    with_one(async |server| {
        let packing = near::<String>(&server.address()).compress_above(100).connect();
        let (packing, plain) = (packing.await.unwrap(), near::<String>(&server.address()));
        let plain = plain.connect().await.unwrap();
        let value = "a value that repeats itself; ".repeat(100);
        packing.set(&1, value.clone()).await.unwrap();
        let length: usize = run(&mut server.client().await, &["STRLEN", "n:1"]).await;
        assert!(length < value.len() / 10, "{length}");
        for near in [&packing, &plain] {
            near.clear_memory();
            assert_eq!(near.get(&1).await.unwrap().as_ref(), Some(&value));
        }
    })
    .await;
}
