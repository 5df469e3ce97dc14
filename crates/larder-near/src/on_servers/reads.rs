//! Reads, without faults.

use std::time::Duration;

use super::server::{run, with_each, with_one};
use super::{LONG, near, until};
use crate::{NearBuildError, NearCache, NearError, NearKey, Tracking};

/// What one process writes, another one reads from memory until it changes.
#[tokio::test]
async fn changes_of_other_processes_are_seen_by_each_kind_of_tracking() {
    with_each(async |server| {
        for tracking in [Tracking::Default, Tracking::OptIn, Tracking::Broadcast] {
            if server.is_larder() && !supports(server, &tracking).await {
                println!("SKIPPED: {tracking:?} over `larder serve`, which refuses it");
                continue;
            }
            let builder = || near::<u64>(&server.address()).tracking(tracking.clone());
            let (here, there) =
                (builder().connect().await.unwrap(), builder().connect().await.unwrap());
            assert!(here.stats().is_tracked, "{tracking:?}: {:?}", here.stats());
            until("it is proven", async || here.shared.link.lease.time_of_hit().is_some()).await;
            here.remove(&1).await.unwrap();
            for value in 1..20 {
                let before = (value > 1).then_some(value - 1);
                until("the value before", async || here.get(&1).await.unwrap() == before).await;
                until("it is in memory", async || {
                    // The invalidation of the write before may come after the read.
                    here.get(&1).await.unwrap();
                    here.get_in_memory(&1) == Some(before)
                })
                .await;
                there.set(&1, value).await.unwrap();
                until("it is invalidated", async || here.get_in_memory(&1) != Some(before)).await;
            }
            assert!(here.stats().invalidations >= 19, "{:?}", here.stats());
            let () = run(&mut server.client().await, &["FLUSHALL"]).await;
            until("all is gone", async || here.get(&1).await.unwrap().is_none()).await;
            assert_eq!(here.stats().losses, 0);
        }
    })
    .await;
}

async fn supports(server: &super::server::Server, tracking: &Tracking) -> bool {
    let near = near::<u64>(&server.address()).tracking(tracking.clone()).connect().await.unwrap();
    near.stats().is_tracked
}

#[tokio::test]
async fn without_tracking_a_value_is_held_for_max_stale_at_most() {
    with_each(async |server| {
        let max_stale = Duration::from_millis(50);
        let near = near::<u64>(&server.address())
            .tracking(Tracking::Off)
            .max_stale(max_stale)
            .connect()
            .await
            .unwrap();
        let stats = near.stats();
        assert!(stats.is_connected && !stats.is_tracked && stats.refusal.is_some(), "{stats:?}");
        near.set(&1, 1).await.unwrap();
        let () = run(&mut server.client().await, &["DEL", "n:1"]).await;
        let removed = std::time::Instant::now();
        until("it has expired", async || near.get(&1).await.unwrap().is_none()).await;
        let late = removed.elapsed();
        println!("the value was served for at most {late:?} after it was removed");
        // A read that began later than `max_stale` after the removal must not find it.
        near.set(&1, 2).await.unwrap();
        let () = run(&mut server.client().await, &["DEL", "n:1"]).await;
        tokio::time::sleep(max_stale).await;
        assert_eq!(near.get_in_memory(&1), None);
    })
    .await;
}

#[tokio::test]
async fn many_keys_are_read_in_their_order_and_held() {
    with_each(async |server| {
        for tracking in [Tracking::Default, Tracking::OptIn] {
            let near = near::<u64>(&server.address()).tracking(tracking).keys_per_call(7).connect();
            let near = near.await.unwrap();
            if !near.stats().is_tracked {
                continue;
            }
            for key in (0..40).step_by(2) {
                near.set(&key, key * 10).await.unwrap();
            }
            near.clear_memory();
            let keys: Vec<u64> = (0..40).rev().chain([2, 2]).collect();
            let expected: Vec<_> =
                keys.iter().map(|key| (key % 2 == 0).then_some(key * 10)).collect();
            assert_eq!(near.get_many(&keys).await.unwrap(), expected);
            until("all are held", async || {
                // The invalidations of the writes may follow the first read.
                assert_eq!(near.get_many(&keys).await.unwrap(), expected);
                keys.iter().all(|key| near.get_in_memory(key).is_some())
            })
            .await;
            let before = near.stats();
            assert_eq!(near.get_many(&keys).await.unwrap(), expected);
            assert_eq!(near.stats(), before, "memory has answered");
            assert_eq!(near.get_many(&[]).await.unwrap(), []);
        }
    })
    .await;
}

#[tokio::test]
async fn callers_that_ask_at_the_same_time_share_a_request() {
    with_one(async |server| {
        let near = near::<u64>(&server.address()).connect().await.unwrap();
        near.set(&1, 1).await.unwrap();
        near.clear_memory();
        // None of these is polled again before all have asked.
        let all = (0..50).map(|_| near.get(&1));
        for value in futures(all).await {
            assert_eq!(value.unwrap(), Some(1));
        }
        let stats = near.stats();
        assert_eq!((stats.server_hits, stats.shared), (1, 49), "{stats:?}");
    })
    .await;
}

#[tokio::test]
async fn with_max_stale_0_every_read_asks_the_server() {
    with_one(async |server| {
        let near =
            near::<u64>(&server.address()).max_stale(Duration::ZERO).connect().await.unwrap();
        let mut client = server.client().await;
        near.set(&1, 1).await.unwrap();
        let bytes: Vec<u8> = run(&mut client, &["GET", "n:1"]).await;
        for _ in 0..50 {
            near.set(&1, 2).await.unwrap();
            let () =
                redis::cmd("SET").arg("n:1").arg(&bytes).query_async(&mut client).await.unwrap();
            assert_eq!(near.get(&1).await.unwrap(), Some(1));
            assert_eq!(near.get_in_memory(&1), None);
        }
    })
    .await;
}

#[tokio::test]
async fn bytes_that_are_no_value_are_absent_until_they_are_loaded() {
    with_one(async |server| {
        let near = near::<String>(&server.address()).connect().await.unwrap();
        let () = run(&mut server.client().await, &["SET", "n:1", "another program's"]).await;
        assert_eq!(near.get(&1).await.unwrap(), None);
        assert_eq!(near.stats().unreadable, 1);
        let load = async || Ok::<_, NearError>(Some("loaded".to_owned().into()));
        assert_eq!(near.get_or_load(&1, load).await.unwrap().as_deref(), Some("loaded"));
        near.clear_memory();
        assert_eq!(near.get(&1).await.unwrap().as_deref(), Some("loaded"));
        let () = run(&mut server.client().await, &["DEL", "n:2"]).await;
        let () = run(&mut server.client().await, &["HSET", "n:2", "field", "a hash"]).await;
        assert!(matches!(near.get(&2).await, Err(NearError::Refused(_))));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_built_says_why() {
    let refused = |builder: crate::NearBuilder<u64, u64>| builder.connect_lazily().unwrap_err();
    let builder = || NearCache::<u64, u64>::builder().server("redis://127.0.0.1:1");
    assert!(matches!(
        refused(NearCache::<u64, u64>::builder().server("nonsense")),
        NearBuildError::Address(_)
    ));
    assert!(matches!(refused(builder().serializer("xml")), NearBuildError::Serializer(_)));
    assert!(matches!(
        refused(builder().keys_per_call(0)),
        NearBuildError::Zero { setting: "keys_per_call" }
    ));
    assert!(matches!(
        refused(builder().call_timeout(Duration::ZERO)),
        NearBuildError::Zero { setting: "call_timeout" }
    ));
    // Nothing listens there.
    let failed = builder().call_timeout(LONG).connect().await.unwrap_err();
    assert!(matches!(failed, NearBuildError::Connect(NearError::Down(_))), "{failed:?}");
    let blocking = builder().connect_blocking().unwrap_err();
    assert!(matches!(blocking, NearBuildError::Connect(NearError::WithinRuntime)));
    // Nobody has asked the server.
    assert!(blocking.to_string().contains("use `connect`"), "{blocking}");
    let lazily = builder().call_timeout(LONG).connect_lazily().unwrap();
    assert!(matches!(lazily.get(&1).await, Err(NearError::Down(_))));
    assert!(!lazily.stats().is_connected);
}

#[test]
fn without_a_runtime_only_blocking_caches_are_built() {
    let builder =
        || NearCache::<u64, u64>::builder().server("redis://127.0.0.1:1").call_timeout(LONG);
    assert!(matches!(builder().connect_lazily().unwrap_err(), NearBuildError::NoRuntime));
    let failed = builder().connect_blocking().unwrap_err();
    assert!(matches!(failed, NearBuildError::Connect(NearError::Down(_))), "{failed:?}");
}

/// Polls all futures until all are done.
pub(super) async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, outcome) in &mut running {
            if outcome.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *outcome = Some(ready);
            }
        }
        match running.iter().all(|(_, outcome)| outcome.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    running.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

#[tokio::test]
async fn broadcast_keys_of_other_programs_are_counted_and_do_no_harm() {
    with_one(async |server| {
        let near = near::<u64>(&server.address()).tracking(Tracking::Broadcast).connect();
        let near = near.await.unwrap();
        until("it is in memory", async || {
            near.get(&1).await.unwrap();
            near.get_in_memory(&1).is_some()
        })
        .await;
        let () = run(&mut server.client().await, &["SET", "n:one", "not a number"]).await;
        until("the key is counted", async || near.stats().foreign_keys == 1).await;
        assert_eq!(near.get_in_memory(&1), Some(None));
        assert_eq!(near.stats().flushes, 0);
    })
    .await;
}

/// A key whose decoding panics at times.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fragile(u64);

impl NearKey for Fragile {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let number = u64::decode(bytes)?;
        assert!(number != 13, "a panic of the key's own");
        Some(Self(number))
    }
}

#[tokio::test]
async fn a_key_whose_decoding_panics_makes_memory_forget_everything() {
    with_one(async |server| {
        let near = NearCache::<Fragile, u64>::builder()
            .server(server.address())
            .max_stale(LONG)
            .call_timeout(LONG)
            .connect()
            .await
            .unwrap();
        for key in [7, 13] {
            let key = Fragile(key);
            until("it is in memory", async || {
                near.get(&key).await.unwrap();
                near.get_in_memory(&key).is_some()
            })
            .await;
        }
        let () = run(&mut server.client().await, &["SET", "13", "bytes"]).await;
        until("all is forgotten", async || near.stats().flushes == 1).await;
        assert_eq!(near.get_in_memory(&Fragile(7)), None);
        assert_eq!(near.get_in_memory(&Fragile(13)), None);
        // The connection still serves.
        assert_eq!(near.get(&Fragile(7)).await.unwrap(), None);
        assert_eq!(near.stats().losses, 0);
    })
    .await;
}
