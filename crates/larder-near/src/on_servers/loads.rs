//! Loaders, and what is served when the server is away.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder_store::Record;

use super::proxy::{Network, Proxy};
use super::reads::futures;
use super::server::{run, with_each, with_one};
use super::{LONG, near, until};
use crate::NearError;

#[tokio::test]
async fn one_loader_runs_and_all_processes_find_its_value() {
    with_each(async |server| {
        let (here, there) = (
            near::<u64>(&server.address()).connect().await.unwrap(),
            near::<u64>(&server.address()).connect().await.unwrap(),
        );
        let loads = AtomicU64::new(0);
        let load = async || {
            loads.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok::<_, NearError>(Some(Record::new(7)))
        };
        let all = (0..20).map(|_| here.get_or_load(&1, load));
        for value in futures(all).await {
            assert_eq!(value.unwrap(), Some(7));
        }
        assert_eq!(there.get_or_load(&1, load).await.unwrap(), Some(7));
        assert_eq!(there.get(&1).await.unwrap(), Some(7));
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        assert_eq!(here.stats().loads, 1);
    })
    .await;
}

#[tokio::test]
async fn a_loader_that_fails_or_is_dropped_leaves_the_key_to_the_next() {
    with_one(async |server| {
        let near = near::<u64>(&server.address()).connect().await.unwrap();
        let failed = near.get_or_load(&1, async || Err(std::fmt::Error)).await;
        assert!(matches!(failed, Err(NearError::Loader(_))), "{failed:?}");
        {
            let never = async || {
                std::future::pending::<()>().await;
                Ok::<_, NearError>(None)
            };
            let mut dropped = std::pin::pin!(near.get_or_load(&1, never));
            let loads = near.stats().loads;
            until("the loader runs", async || {
                std::future::poll_fn(|cx| {
                    let _ = dropped.as_mut().poll(cx);
                    std::task::Poll::Ready(())
                })
                .await;
                near.stats().loads > loads
            })
            .await;
        }
        let load = async || Ok::<_, NearError>(Some(Record::new(1)));
        assert_eq!(near.get_or_load(&1, load).await.unwrap(), Some(1));
    })
    .await;
}

#[tokio::test]
async fn a_loader_without_a_value_is_remembered_by_all_processes() {
    with_each(async |server| {
        let builder = || {
            near::<u64>(&server.address()).missing_time_to_live(Duration::from_secs(1000)).connect()
        };
        let (here, there) = (builder().await.unwrap(), builder().await.unwrap());
        let nothing = async || Ok::<_, NearError>(None);
        assert_eq!(here.get_or_load(&1, nothing).await.unwrap(), None);
        let not_called = async || -> Result<Option<Record<u64>>, NearError> { panic!("called") };
        assert_eq!(here.get_or_load(&1, not_called).await.unwrap(), None);
        assert_eq!(there.get_or_load(&1, not_called).await.unwrap(), None);
        assert_eq!(there.get(&1).await.unwrap(), None);
        there.set(&1, 5).await.unwrap();
        until("it is known", async || here.get(&1).await.unwrap() == Some(5)).await;
        // Without that setting, the loader is asked again.
        let forgetful = near::<u64>(&server.address()).connect().await.unwrap();
        assert_eq!(forgetful.get_or_load(&2, nothing).await.unwrap(), None);
        let load = async || Ok::<_, NearError>(Some(Record::new(2)));
        assert_eq!(forgetful.get_or_load(&2, load).await.unwrap(), Some(2));
    })
    .await;
}

#[tokio::test]
async fn what_was_changed_during_a_load_is_not_overwritten() {
    with_each(async |server| {
        let (here, there) = (
            near::<u64>(&server.address()).connect().await.unwrap(),
            near::<u64>(&server.address()).connect().await.unwrap(),
        );
        // Another process stores a value: it wins.
        let load = async || {
            there.set(&1, 2).await.unwrap();
            Ok::<_, NearError>(Some(Record::new(1)))
        };
        let found = here.get_or_load(&1, load).await.unwrap();
        assert!(found == Some(2) || found == Some(1), "{found:?}");
        until("it is known", async || here.get(&1).await.unwrap() == Some(2)).await;
        assert_eq!(there.get(&1).await.unwrap(), Some(2));
        // The same process removes the key: the loaded value may be older than that, and is not stored.
        let load = async || {
            here.remove(&3).await.unwrap();
            Ok::<_, NearError>(Some(Record::new(1)))
        };
        assert_eq!(here.get_or_load(&3, load).await.unwrap(), Some(1));
        assert_eq!(there.get(&3).await.unwrap(), None);
        assert_eq!(here.get(&3).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn memory_answers_for_a_server_that_is_away_as_long_as_it_may() {
    with_one(async |server| {
        let proxy = Proxy::before(server.port()).await;
        let builder = || near::<u64>(&proxy.address());
        let forgiving = builder().stale_if_error(LONG).connect().await.unwrap();
        let impatient = builder().stale_if_error(Duration::from_nanos(1)).connect().await.unwrap();
        let strict = builder().connect().await.unwrap();
        let all = [&forgiving, &impatient, &strict];
        for near in all {
            near.set(&1, 1).await.unwrap();
        }
        for near in all {
            until("it is in memory", async || {
                near.get(&1).await.unwrap();
                near.get_in_memory(&1).is_some()
            })
            .await;
        }
        proxy.set(Network::Closing);
        for near in all {
            until("an attempt has failed", async || near.stats().failed_connects > 0).await;
            assert_eq!(near.get_in_memory(&1), None, "it may have changed");
        }
        assert_eq!(forgiving.get(&1).await.unwrap(), Some(1));
        assert_eq!(forgiving.get_many(&[1, 1]).await.unwrap(), [Some(1), Some(1)]);
        // The key that is named again counts as shared.
        let stats = forgiving.stats();
        assert_eq!((stats.stale_hits, stats.shared), (2, 1));
        for near in [&impatient, &strict] {
            assert!(matches!(near.get(&1).await, Err(NearError::Down(_))));
            assert!(matches!(near.get_many(&[1]).await, Err(NearError::Down(_))));
            assert_eq!(near.stats().stale_hits, 0);
        }
        assert!(matches!(forgiving.get(&2).await, Err(NearError::Down(_))));
        assert!(matches!(strict.set(&1, 2).await, Err(NearError::Down(_))));
        // A loader still has a value, which is stored nowhere.
        let load = async || Ok::<_, NearError>(Some(Record::new(9)));
        assert_eq!(strict.get_or_load(&1, load).await.unwrap(), Some(9));
        proxy.set(Network::Up);
        for near in all {
            until("it is back", async || near.get(&1).await.is_ok_and(|it| it == Some(1))).await;
        }
        let () = run(&mut server.client().await, &["DEL", "n:1"]).await;
        for near in all {
            until("changes are known again", async || near.get(&1).await.unwrap().is_none()).await;
        }
    })
    .await;
}
