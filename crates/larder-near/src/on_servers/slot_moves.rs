//! Slots that get another master: what memory has of them is forgotten, and every command finds its way.

use std::time::Duration;

use super::cluster::{TestCluster, Writer, with_cluster};
use super::server::run;
use super::until;
use crate::key::hash_slot;
use crate::lease::Defect;
use crate::{NearBuildError, NearCache, NearError, Tracking, WriteMode};

const KEYS: u64 = 300;

/// A key is absent, its slot gets another master, and there the key is written. The master from before has nothing
/// to say of that. Returns whether the key is still absent for memory.
async fn a_moved_slot(cluster: &TestCluster, key: u64, defect: Option<Defect>) -> bool {
    let near: NearCache<u64, u64> = cluster.near().connect().await.unwrap();
    if let Some(defect) = defect {
        near.shared.link.lease.planted.set(defect).unwrap();
    }
    let slot = hash_slot(format!("n:{key}").as_bytes());
    assert_eq!(near.get(&key).await.unwrap(), None);
    assert_eq!(near.get_in_memory(&key), Some(None));
    let from = cluster.owner(slot).await.unwrap();
    cluster.move_slot(slot, (from + 1) % cluster.masters).await;
    Writer::new(cluster, 0).write(key, 5).await;
    until("the move is noticed", async || near.stats().slots_moved > 0).await;
    near.get(&key).await.unwrap() != Some(5)
}

#[tokio::test]
async fn what_memory_has_of_a_slot_is_forgotten_when_it_moves() {
    with_cluster(3, 0, async |cluster| {
        assert!(!a_moved_slot(cluster, 1000, None).await);
        assert!(
            a_moved_slot(cluster, 2000, Some(Defect::KeptAcrossMove)).await,
            "the defect is not found"
        );
    })
    .await;
}

#[tokio::test]
async fn many_keys_are_read_written_and_removed_across_the_cluster() {
    with_cluster(3, 0, async |cluster| {
        for (mode, tracking) in [
            (WriteMode::Through, Tracking::Default),
            (WriteMode::Through, Tracking::OptIn),
            (WriteMode::Around, Tracking::Broadcast),
        ] {
            let builder = || {
                cluster.near::<u64>().keys_per_call(32).write_mode(mode).tracking(tracking.clone())
            };
            let (here, there) =
                (builder().connect().await.unwrap(), builder().connect().await.unwrap());
            let stats = here.stats();
            assert!(stats.is_connected && stats.is_tracked && stats.servers == 3, "{stats:?}");
            let keys: Vec<u64> = (0..KEYS).collect();
            // Of two values for one key, the last counts.
            let entries =
                keys.iter().map(|key| (*key, 0)).chain(keys.iter().map(|key| (*key, *key)));
            here.set_many(entries).await.unwrap();
            let expected: Vec<Option<u64>> = keys.iter().copied().map(Some).collect();
            assert_eq!(here.get_many(&keys).await.unwrap(), expected);
            assert_eq!(there.get_many(&keys).await.unwrap(), expected);
            assert!(there.get_in_memory(&7).is_some(), "{mode:?} {tracking:?}");
            // Half of the keys are removed, and the other cache is notified by each master.
            assert_eq!(here.remove_many(&keys[..150]).await.unwrap(), 150);
            assert_eq!(here.remove_many(&keys[..150]).await.unwrap(), 0);
            for key in 0..KEYS {
                let value = (key >= 150).then_some(key);
                assert_eq!(here.get(&key).await.unwrap(), value);
                until("it is known", async || there.get(&key).await.unwrap() == value).await;
            }
            let stats = here.stats();
            assert_eq!((stats.redirections, stats.losses), (0, 0), "{stats:?}");
            here.remove_many(&keys).await.unwrap();
        }
    })
    .await;
}

/// Half of a slot's keys are moved: each command is sent on, and none of what it finds is held.
#[tokio::test]
async fn a_slot_that_is_being_moved_is_read_and_written_in_both_places() {
    with_cluster(2, 0, async |cluster| {
        // Keys of one slot.
        let near: NearCache<String, u64> = NearCache::builder()
            .cluster(cluster.addresses())
            .call_timeout(super::LONG)
            .connect()
            .await
            .unwrap();
        let keys: Vec<String> = (0..10).map(|number| format!("{{tag}}{number}")).collect();
        near.set_many(keys.iter().cloned().zip(0..)).await.unwrap();
        let slot = hash_slot(b"tag");
        let from = cluster.owner(slot).await.unwrap();
        let to = 1 - from;
        let (mut source, mut target) =
            (cluster.servers[from].client().await, cluster.servers[to].client().await);
        let (from_id, to_id): (String, String) = (
            run(&mut source, &["CLUSTER", "MYID"]).await,
            run(&mut target, &["CLUSTER", "MYID"]).await,
        );
        let number = slot.to_string();
        let () = run(&mut target, &["CLUSTER", "SETSLOT", &number, "IMPORTING", &from_id]).await;
        let () = run(&mut source, &["CLUSTER", "SETSLOT", &number, "MIGRATING", &to_id]).await;
        let port = cluster.servers[to].port().to_string();
        for key in &keys[..5] {
            let () = run(&mut source, &["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await;
        }
        for (value, key) in (0..).zip(&keys) {
            until("it is found", async || near.get(key).await.unwrap() == Some(value)).await;
        }
        let values: Vec<Option<u64>> = (0..10).map(Some).collect();
        near.clear_memory();
        assert_eq!(near.get_many(&keys).await.unwrap(), values);
        assert_eq!(near.get_in_memory(&keys[0]), None, "its slot is still another server's");
        near.set(&keys[1], 100).await.unwrap();
        assert_eq!(near.get(&keys[1]).await.unwrap(), Some(100));
        assert!(near.remove(&keys[1]).await.unwrap());
        assert!(near.stats().redirections > 0 && near.stats().slots_moved == 0);
        // An absent key is asked for at the new place, where others may write it.
        near.set(&"{tag}new".to_owned(), 7).await.unwrap();
        assert_eq!(near.get(&"{tag}new".to_owned()).await.unwrap(), Some(7));
        cluster.move_slot(slot, to).await;
        near.set(&keys[2], 200).await.unwrap();
        assert_eq!(near.get(&keys[2]).await.unwrap(), Some(200));
        until("the move is known", async || near.stats().slots_moved > 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_builder_without_servers_or_with_wrong_ones_says_so() {
    let builder = || NearCache::<u64, u64>::builder().call_timeout(Duration::from_millis(200));
    assert!(matches!(builder().connect().await, Err(NearBuildError::NoServer)));
    let none: [&str; 0] = [];
    assert!(matches!(builder().cluster(none).connect().await, Err(NearBuildError::NoServer)));
    assert!(matches!(builder().sentinel("m", none).connect().await, Err(NearBuildError::NoServer)));
    for wrong in [builder().cluster(["not an address"]), builder().sentinel("m", ["http://x"])] {
        assert!(matches!(wrong.connect().await, Err(NearBuildError::Address(_))));
    }
    // No server listens there.
    for away in [
        builder().cluster(["redis://127.0.0.1:1"]),
        builder().sentinel("m", ["redis://127.0.0.1:1"]),
    ] {
        let failed = away.connect().await;
        assert!(matches!(failed, Err(NearBuildError::Connect(NearError::Down(_)))), "{failed:?}");
    }
    // A server that is none of a cluster, and no sentinel.
    super::server::with_one(async |server| {
        let builder = || NearCache::<u64, u64>::builder();
        for wrong in
            [builder().cluster([server.address()]), builder().sentinel("m", [server.address()])]
        {
            let failed = wrong.connect().await;
            assert!(
                matches!(failed, Err(NearBuildError::Connect(NearError::Down(_)))),
                "{failed:?}"
            );
        }
    })
    .await;
}
