//! Writes.

use std::time::Duration;

use super::server::{any, run, with_each, with_one};
use super::{near, until};
use crate::{NearCache, NearError, Tracking, WriteMode};

#[tokio::test]
async fn a_process_reads_what_it_has_written() {
    with_each(async |server| {
        for (mode, tracking) in [
            (WriteMode::Through, Tracking::Default),
            (WriteMode::Through, Tracking::OptIn),
            (WriteMode::Through, Tracking::Off),
            (WriteMode::Around, Tracking::Default),
        ] {
            let near = near::<u64>(&server.address())
                .write_mode(mode)
                .tracking(tracking)
                .connect()
                .await
                .unwrap();
            for value in 0..200 {
                near.set(&1, value).await.unwrap();
                assert_eq!(near.get(&1).await.unwrap(), Some(value));
                if value % 3 == 0 {
                    assert!(near.remove(&1).await.unwrap());
                    assert_eq!(near.get(&1).await.unwrap(), None);
                    assert!(!near.remove(&1).await.unwrap());
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_written_value_is_in_memory_and_its_changes_are_known() {
    with_each(async |server| {
        for tracking in [Tracking::Default, Tracking::OptIn] {
            let near = near::<u64>(&server.address()).tracking(tracking.clone()).connect().await;
            let near = near.unwrap();
            if !near.stats().is_tracked {
                println!("SKIPPED: {tracking:?}, which this server refuses");
                continue;
            }
            until("it is proven", async || near.shared.link.lease.time_of_hit().is_some()).await;
            for key in 100..120 {
                near.set(&key, key).await.unwrap();
                assert_eq!(near.get_in_memory(&key), Some(Some(key)), "{tracking:?}");
                let () = run(&mut server.client().await, &["DEL", &format!("n:{key}")]).await;
                until("it is invalidated", async || near.get_in_memory(&key).is_none()).await;
                assert_eq!(near.get(&key).await.unwrap(), None);
            }
        }
    })
    .await;
}

/// Two tasks write one key again and again; whatever the order, memory ends as the server does.
#[tokio::test]
async fn of_writes_that_overlap_memory_has_the_last() {
    with_each(async |server| {
        let near = near::<u64>(&server.address()).connect().await.unwrap();
        for round in 0..100_u64 {
            let writes = (0..4).map(|writer| near.set(&1, round * 4 + writer));
            for written in super::reads::futures(writes).await {
                written.unwrap();
            }
            let found = near.get(&1).await.unwrap();
            near.clear_memory();
            assert_eq!(found, near.get(&1).await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn a_write_that_was_dropped_leaves_nothing_older_in_memory() {
    with_one(async |server| {
        let near = near::<u64>(&server.address()).connect().await.unwrap();
        let mut client = server.client().await;
        near.set(&1, 0).await.unwrap();
        for value in 1..50 {
            assert!(near.get(&1).await.unwrap().is_some());
            {
                let mut write = std::pin::pin!(near.set(&1, value));
                // Sends it, perhaps, and drops it.
                std::future::poll_fn(|cx| {
                    let _ = write.as_mut().poll(cx);
                    std::task::Poll::Ready(())
                })
                .await;
            }
            // Whatever the server has carried out, memory agrees in the end.
            until("memory agrees", async || {
                let bytes: Vec<u8> = run(&mut client, &["GET", "n:1"]).await;
                let there = near.shared.envelopes.read::<u64>(&bytes).unwrap();
                let here = near.get(&1).await.unwrap().unwrap();
                there == crate::envelope::Content::Value(here)
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn times_to_live_are_those_of_the_server() {
    with_each(async |server| {
        let near = near::<u64>(&server.address())
            .time_to_live(Duration::from_secs(1000))
            .jitter(0.5)
            .connect()
            .await
            .unwrap();
        let mut client = server.client().await;
        let mut different = std::collections::HashSet::new();
        for key in 0..20 {
            near.set(&key, key).await.unwrap();
            let left: i64 = run(&mut client, &["PTTL", &format!("n:{key}")]).await;
            assert!((490_000..=1_000_000).contains(&left), "{left}");
            different.insert(left / 1000);
        }
        assert!(different.len() > 1, "all expire together: {different:?}");
        near.set_for(&1, 1, Duration::from_nanos(1)).await.unwrap();
        until("it has expired", async || near.get(&1).await.unwrap().is_none()).await;
    })
    .await;
}

#[tokio::test]
async fn durations_may_be_as_long_as_there_are() {
    with_each(async |server| {
        for mode in [WriteMode::Through, WriteMode::Behind] {
            let near = NearCache::<u64, u64>::builder()
                .server(server.address())
                .write_mode(mode)
                .max_stale(Duration::MAX)
                .call_timeout(Duration::MAX)
                .load_patience(Duration::MAX)
                .stale_if_error(Duration::MAX)
                .soft_timeout(Duration::MAX)
                .time_to_live(Duration::MAX)
                .missing_time_to_live(Duration::MAX)
                .one_load_in_fleet(Duration::MAX)
                .jitter(0.5)
                .connect()
                .await
                .unwrap();
            near.set(&1, 1).await.unwrap();
            near.set_for(&2, 2, Duration::MAX).await.unwrap();
            near.flush(Duration::MAX).await.unwrap();
            let left: i64 = run(&mut server.client().await, &["PTTL", "2"]).await;
            // Some servers take so long a time for none, or cut it to 500 years.
            let years = left / (365 * 24 * 60 * 60 * 1000);
            assert!(left == -1 || years >= 499, "{left}");
            assert_eq!(near.get_many(&[1, 2]).await.unwrap(), [Some(1), Some(2)]);
            let load = async || Ok::<_, NearError>(Some(3.into()));
            assert_eq!(near.get_or_load(&3, load).await.unwrap(), Some(3));
            assert_eq!(near.stats().late_loads, 0);
            let () = run(&mut server.client().await, &["FLUSHALL"]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_write_that_the_server_refuses_is_an_error_and_changes_nothing() {
    with_one(async |server| {
        if server.is_larder() {
            return;
        }
        for mode in [WriteMode::Through, WriteMode::Around] {
            let near = near::<String>(&server.address()).write_mode(mode).connect().await.unwrap();
            let mut client = server.client().await;
            let () = run(&mut client, &["CONFIG", "SET", "maxmemory", "0"]).await;
            near.set(&1, "small".to_owned()).await.unwrap();
            // A server that is full.
            let () = run(&mut client, &["CONFIG", "SET", "maxmemory", "1"]).await;
            let refused = near.set(&1, "x".repeat(1000)).await;
            assert!(
                matches!(&refused, Err(NearError::Refused(why)) if why.contains("OOM")),
                "{refused:?}"
            );
            assert_eq!(near.get(&1).await.unwrap().as_deref(), Some("small"));
        }
    })
    .await;
}

#[test]
fn threads_without_a_runtime_read_and_write() {
    // The server is started within a runtime, and used without one.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(server) = runtime.block_on(any()) else { return };
    let near = near::<u64>(&server.address()).count_hits().connect_blocking().unwrap();
    near.set(&1, 1).unwrap();
    near.set_for(&2, 2, Duration::from_secs(100)).unwrap();
    assert_eq!(near.get(&1).unwrap(), Some(1));
    assert_eq!(near.get_many(&[2, 3, 1]).unwrap(), [Some(2), None, Some(1)]);
    let load = || Ok::<_, NearError>(Some(3.into()));
    assert_eq!(near.get_or_load(&3, load).unwrap(), Some(3));
    near.set_many([(4, 4), (5, 5)]).unwrap();
    assert_eq!(near.remove_many(&[4, 5, 6]).unwrap(), 2);
    assert!(near.remove(&1).unwrap());
    assert_eq!(near.clone().get(&1).unwrap(), None);
    assert!(near.stats().hits.is_some());
    let version = near.set_if(&4, None, 4).unwrap();
    assert_eq!(near.get_with_version(&4).unwrap(), (Some(4), version));
    near.set_record(&5, larder_store::Record::new(5).tags(["five"])).unwrap();
    near.invalidate_tag("five").unwrap();
    assert_eq!(near.get(&5).unwrap(), None);
    near.flush(Duration::ZERO).unwrap();
    let within = runtime.block_on(async { near.remove(&2) });
    assert!(matches!(within, Err(NearError::WithinRuntime)));
    runtime.block_on(async { drop(near) });
}
