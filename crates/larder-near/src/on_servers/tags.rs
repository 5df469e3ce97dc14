//! Tags, by which values are invalidated in all processes.

use std::time::Duration;

use larder_store::Record;

use super::proxy::{Network, Proxy};
use super::server::{run, with_each, with_one};
use super::{LONG, near, until};
use crate::{NearCache, NearError, Tracking, WriteMode};

fn tagged(value: u64, tags: &[&str]) -> Record<u64> {
    Record::new(value).tags(tags.iter().copied())
}

#[tokio::test]
async fn a_tag_invalidates_its_values_in_all_processes_and_no_others() {
    with_each(async |server| {
        for (tracking, mode) in [
            (Tracking::Default, WriteMode::Through),
            (Tracking::OptIn, WriteMode::Around),
            (Tracking::Off, WriteMode::Through),
        ] {
            let () = run(&mut server.client().await, &["FLUSHALL"]).await;
            let max_stale = match tracking {
                // Nothing is pushed, so it takes this long.
                Tracking::Off => Duration::from_millis(50),
                _ => LONG,
            };
            let builder = || {
                near::<u64>(&server.address())
                    .tracking(tracking.clone())
                    .write_mode(mode)
                    .max_stale(max_stale)
                    .connect()
            };
            let (here, there) = (builder().await.unwrap(), builder().await.unwrap());
            here.set_record(&1, tagged(10, &["red"])).await.unwrap();
            here.set_record(&2, tagged(20, &["red", "round"])).await.unwrap();
            here.set(&3, 30).await.unwrap();
            for near in [&here, &there] {
                assert_eq!(near.get(&1).await.unwrap(), Some(10), "{tracking:?}");
                assert_eq!(near.get_many(&[2, 3]).await.unwrap(), [Some(20), Some(30)]);
            }
            here.invalidate_tag("round").await.unwrap();
            // At once here, and soon there.
            assert_eq!(here.get(&2).await.unwrap(), None);
            assert_eq!(here.get_many(&[1, 2, 3]).await.unwrap(), [Some(10), None, Some(30)]);
            until("it is known", async || there.get(&2).await.unwrap().is_none()).await;
            assert_eq!(there.get(&1).await.unwrap(), Some(10));
            assert!(there.stats().tag_misses > 0);
            there.set_record(&2, tagged(21, &["round"])).await.unwrap();
            until("it is there again", async || here.get(&2).await.unwrap() == Some(21)).await;
            assert_eq!(there.get_with_version(&2).await.unwrap().0, Some(21));
            there.invalidate_tag("red").await.unwrap();
            assert_eq!(there.get(&1).await.unwrap(), None);
            assert_eq!(there.get_with_version(&1).await.unwrap().0, None);
            until("it is known", async || here.get(&1).await.unwrap().is_none()).await;
        }
    })
    .await;
}

/// The value is read, the tag is invalidated, and both pushes and replies arrive at the same time.
#[tokio::test]
async fn a_tag_that_is_invalidated_while_a_value_is_fetched_is_not_missed() {
    with_each(async |server| {
        let proxy = Proxy::before(server.port()).await;
        let near = near::<u64>(&proxy.address()).connect().await.unwrap();
        let writer = super::near::<u64>(&server.address()).connect().await.unwrap();
        for round in 0..20 {
            writer.set_record(&round, tagged(round, &["all"])).await.unwrap();
            proxy.set(Network::Holding);
            let reader = tokio::spawn({
                let near = near.clone();
                async move { near.get(&round).await }
            });
            until("a reply is held", async || proxy.held() > 0).await;
            writer.invalidate_tag("all").await.unwrap();
            proxy.set(Network::Up);
            reader.await.unwrap().unwrap();
            // The invalidation comes before the answer of this.
            near.get(&1_000_000).await.unwrap();
            near.clear_memory();
            assert_eq!(near.get(&round).await.unwrap(), None);
            assert_eq!(near.get_in_memory(&round), Some(None));
        }
    })
    .await;
}

#[tokio::test]
async fn a_lost_tag_invalidates_and_tags_without_room_are_refused() {
    with_one(async |server| {
        let near = near::<u64>(&server.address()).connect().await.unwrap();
        near.set_record(&1, tagged(1, &["lost"])).await.unwrap();
        // The server has evicted the tag: nobody can say whether it was invalidated since.
        let removed: u64 = run(&mut server.client().await, &["DEL", "n:\0tag:lost"]).await;
        assert_eq!(removed, 1);
        until("it is invalid", async || near.get(&1).await.unwrap().is_none()).await;
        let many: Vec<String> = (0..17).map(|tag| tag.to_string()).collect();
        let refused = near.set_record(&1, Record::new(1).tags(many)).await;
        assert!(matches!(refused, Err(NearError::BadTags { number: 17, longest: 2 })));
        let refused = near.invalidate_tag(&"x".repeat(256)).await;
        assert!(matches!(refused, Err(NearError::BadTags { longest: 256, .. })), "{refused:?}");
        near.set_record(&1, tagged(2, &[&"x".repeat(255), ""])).await.unwrap();
        assert_eq!(near.get(&1).await.unwrap(), Some(2));
        near.invalidate_tag("").await.unwrap();
        assert_eq!(near.get(&1).await.unwrap(), None);
    })
    .await;
}

/// Memory may have an older stamp of a tag than a value that is read for the first time names.
#[tokio::test]
async fn a_value_that_is_newer_than_what_memory_knows_of_its_tag_is_found() {
    with_each(async |server| {
        // Nothing is pushed, so memory does not learn of the invalidation.
        let here = near::<u64>(&server.address()).tracking(Tracking::Off).connect().await.unwrap();
        let there = near::<u64>(&server.address()).connect().await.unwrap();
        there.set_record(&1, tagged(1, &["tag"])).await.unwrap();
        assert_eq!(here.get(&1).await.unwrap(), Some(1));
        there.invalidate_tag("tag").await.unwrap();
        there.set_record(&2, tagged(2, &["tag"])).await.unwrap();
        there.set_record(&3, tagged(3, &["tag"])).await.unwrap();
        assert_eq!(here.get(&2).await.unwrap(), Some(2));
        assert_eq!(here.get_many(&[3]).await.unwrap(), [Some(3)]);
    })
    .await;
}

/// A key that is named as a tag of the cache would be.
#[tokio::test]
async fn changes_of_a_key_that_looks_like_a_tag_are_known() {
    with_each(async |server| {
        let builder = || {
            NearCache::<String, u64>::builder()
                .server(server.address())
                .max_stale(LONG)
                .call_timeout(LONG)
                .connect()
        };
        let (here, there) = (builder().await.unwrap(), builder().await.unwrap());
        let key = "\0tag:x".to_owned();
        for value in 0..5 {
            there.set(&key, value).await.unwrap();
            until("it is known", async || here.get(&key).await.unwrap() == Some(value)).await;
        }
        let refused = here.set_record(&"other".to_owned(), tagged(1, &["x"])).await;
        assert!(matches!(refused, Err(NearError::Unexpected)), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_removed_while_the_tags_of_its_loaded_value_are_asked_for_stays_removed() {
    with_each(async |server| {
        let proxy = Proxy::before(server.port()).await;
        let near = near::<u64>(&proxy.address()).connect().await.unwrap();
        let other = super::near::<u64>(&server.address()).connect().await.unwrap();
        other.set_record(&2, tagged(2, &["tag"])).await.unwrap();
        let load = async || {
            proxy.set(Network::Holding);
            Ok::<_, NearError>(Some(tagged(1, &["tag"])))
        };
        let removal = async {
            until("the reply for the tag is held", async || proxy.held() > 0).await;
            // It has been carried out before its reply is handed on.
            let mut removal = std::pin::pin!(near.remove(&1));
            std::future::poll_fn(|cx| {
                assert!(removal.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            proxy.set(Network::Up);
            removal.await.unwrap();
        };
        let (loaded, ()) = tokio::join!(near.get_or_load(&1, load), removal);
        assert_eq!(loaded.unwrap(), Some(1), "its caller gets it");
        assert_eq!(other.get(&1).await.unwrap(), None, "and the server does not");
    })
    .await;
}

#[tokio::test]
async fn loaded_values_have_the_tags_of_their_records() {
    with_one(async |server| {
        let near = near::<u64>(&server.address()).connect().await.unwrap();
        let load = async || Ok::<_, NearError>(Some(tagged(1, &["loaded"])));
        assert_eq!(near.get_or_load(&1, load).await.unwrap(), Some(1));
        near.invalidate_tag("loaded").await.unwrap();
        assert_eq!(near.get(&1).await.unwrap(), None);
        let load = async || Ok::<_, NearError>(Some(tagged(2, &["loaded"])));
        assert_eq!(near.get_or_load(&1, load).await.unwrap(), Some(2));
        assert_eq!(near.get(&1).await.unwrap(), Some(2));
    })
    .await;
}

/// What a loader finds takes the place of a value whose tag was invalidated, and not of one that another process has
/// written since the loader began.
#[tokio::test]
async fn a_loaded_value_replaces_an_invalid_one_and_no_later_one() {
    with_each(async |server| {
        // Nothing says to the one that loads that the key was changed.
        let here = near::<u64>(&server.address()).tracking(Tracking::Off).connect().await.unwrap();
        let there = near::<u64>(&server.address()).connect().await.unwrap();
        there.set_record(&1, tagged(1, &["tag"])).await.unwrap();
        there.invalidate_tag("tag").await.unwrap();
        let found = here.get_or_load(&1, async || {
            there.set(&1, 3).await?;
            Ok::<_, NearError>(Some(tagged(2, &["tag"])))
        });
        assert_eq!(found.await.unwrap(), Some(3));
        assert_eq!(there.get(&1).await.unwrap(), Some(3));
        // Without that, it is stored.
        there.set_record(&2, tagged(1, &["other"])).await.unwrap();
        there.invalidate_tag("other").await.unwrap();
        let load = async || Ok::<_, NearError>(Some(tagged(2, &["other"])));
        assert_eq!(here.get_or_load(&2, load).await.unwrap(), Some(2));
        assert_eq!(there.get(&2).await.unwrap(), Some(2));
    })
    .await;
}
