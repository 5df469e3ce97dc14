//! The four ways in which near caches go wrong, each made to happen; and the same with the defect planted,
//! which must be found.

use std::time::Duration;

use super::proxy::{Network, Proxy};
use super::server::{Server, run, with_each};
use super::{near, until};
use crate::NearCache;
use crate::lease::Defect;

async fn build(proxy: &Proxy, max_stale: Duration, defect: Option<Defect>) -> NearCache<u64, u64> {
    let near = near(&proxy.address())
        .max_stale(max_stale)
        .call_timeout(Duration::from_secs(5))
        // What was lost stays in memory, so that it could be served.
        .stale_if_error(Duration::from_nanos(1))
        .connect()
        .await
        .unwrap();
    if let Some(defect) = defect {
        near.shared.link.lease.planted.set(defect).unwrap();
    }
    near
}

const LONG_STALE: Duration = Duration::from_secs(60);

/// Writes as another process does.
async fn write(server: &Server, key: u64, value: u64, options: &[&str]) {
    let bytes = crate::envelope::Envelopes::new("postcard", Default::default())
        .unwrap()
        .write(&value)
        .unwrap();
    let mut command = redis::cmd("SET");
    command.arg(format!("n:{key}")).arg(bytes).arg(options);
    let () = command.query_async(&mut server.client().await).await.unwrap();
}

/// The reply and the invalidation that follows it arrive at the same time, so the invalidation is applied first.
async fn a_late_fill(server: &Server, defect: Option<Defect>) -> bool {
    let proxy = Proxy::before(server.port()).await;
    let near = build(&proxy, LONG_STALE, defect).await;
    write(server, 1, 1, &[]).await;
    proxy.set(Network::Holding);
    let reader = tokio::spawn({
        let near = near.clone();
        async move { near.get(&1).await }
    });
    until("the reply is held", async || proxy.held() > 0).await;
    let held = proxy.held();
    write(server, 1, 2, &[]).await;
    until("the invalidation is held", async || proxy.held() > held).await;
    proxy.set(Network::Up);
    assert_eq!(reader.await.unwrap().unwrap(), Some(1), "it was right when it was asked for");
    near.get(&1).await.unwrap() == Some(1)
}

/// The connection is cut, and nothing says what has changed until it is back.
async fn a_lost_connection(server: &Server, defect: Option<Defect>) -> bool {
    let proxy = Proxy::before(server.port()).await;
    let near = build(&proxy, LONG_STALE, defect).await;
    write(server, 1, 1, &[]).await;
    assert_eq!(near.get(&1).await.unwrap(), Some(1));
    proxy.set(Network::Closing);
    until("the loss is noticed", async || near.stats().losses == 1).await;
    write(server, 1, 2, &[]).await;
    proxy.set(Network::Up);
    until("it is connected again", async || near.stats().connects == 2).await;
    until("it is proven", async || near.shared.link.lease.time_of_hit().is_some()).await;
    near.get(&1).await.unwrap() == Some(1)
}

/// The cable is pulled: the connection is never closed, and nothing comes over it.
async fn a_silent_connection(server: &Server, defect: Option<Defect>) -> bool {
    let proxy = Proxy::before(server.port()).await;
    let max_stale = Duration::from_millis(400);
    let near = build(&proxy, max_stale, defect).await;
    write(server, 1, 1, &[]).await;
    assert_eq!(near.get(&1).await.unwrap(), Some(1));
    proxy.set(Network::Silent);
    write(server, 1, 2, &[]).await;
    // The contract itself: from here on, the old value must not be served.
    tokio::time::sleep(max_stale).await;
    near.get_in_memory(&1) == Some(Some(1))
}

/// The answer takes longer than the value has to live.
async fn a_slow_answer(server: &Server, defect: Option<Defect>) -> bool {
    let proxy = Proxy::before(server.port()).await;
    let near = build(&proxy, LONG_STALE, defect).await;
    write(server, 1, 1, &["PX", "2500"]).await;
    proxy.set(Network::Slow(Duration::from_millis(1800)));
    assert_eq!(near.get(&1).await.unwrap(), Some(1));
    // The server's clock counts from before the answer was sent.
    let mut client = server.client().await;
    until("it has expired", async || run::<u64>(&mut client, &["EXISTS", "n:1"]).await == 0).await;
    near.get_in_memory(&1) == Some(Some(1))
}

#[tokio::test]
async fn a_fill_is_refused_if_the_key_was_changed_since_it_was_asked_for() {
    with_each(async |server| {
        assert!(!a_late_fill(server, None).await);
        assert!(a_late_fill(server, Some(Defect::LateFill)).await, "the defect is not found");
    })
    .await;
}

#[tokio::test]
async fn nothing_from_before_a_lost_connection_is_served() {
    with_each(async |server| {
        assert!(!a_lost_connection(server, None).await);
        assert!(
            a_lost_connection(server, Some(Defect::KeptAcrossGap)).await,
            "the defect is not found"
        );
    })
    .await;
}

#[tokio::test]
async fn nothing_is_served_when_the_connection_was_silent_for_max_stale() {
    with_each(async |server| {
        assert!(!a_silent_connection(server, None).await);
        assert!(
            a_silent_connection(server, Some(Defect::EndlessLease)).await,
            "the defect is not found"
        );
    })
    .await;
}

#[tokio::test]
async fn a_value_does_not_outlive_its_time_at_the_server() {
    with_each(async |server| {
        assert!(!a_slow_answer(server, None).await);
        assert!(a_slow_answer(server, Some(Defect::LateDeadline)).await, "the defect is not found");
    })
    .await;
}
