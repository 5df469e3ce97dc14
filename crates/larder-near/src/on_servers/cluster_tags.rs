//! Tags in a cluster: a tag has one slot, and its values are in the slots of all masters.

use std::sync::atomic::{AtomicBool, Ordering};

use larder_store::Record;

use super::cluster::{TestCluster, with_cluster};
use super::server::run;
use super::until;
use crate::NearCache;
use crate::key::hash_slot;
use crate::lease::Defect;

const KEYS: u64 = 90;
const TAG: &str = "all";

fn tag_slot() -> u16 {
    hash_slot(b"n:\0tag:all")
}

fn slot_of(key: u64) -> u16 {
    hash_slot(format!("n:{key}").as_bytes())
}

/// Two processes that read the same keys.
struct Pair {
    here: NearCache<u64, u64>,
    there: NearCache<u64, u64>,
    keys: Vec<u64>,
}

impl Pair {
    async fn new(cluster: &TestCluster) -> Self {
        let (here, there) = (cluster.near().connect(), cluster.near().connect());
        let (here, there) = (here.await.unwrap(), there.await.unwrap());
        Self { here, there, keys: (0..KEYS).collect() }
    }

    /// Writes all keys with the tag, and lets both processes read them.
    async fn write(&self, value: u64) {
        for key in &self.keys {
            let record = Record::new(value).tags([TAG, "other"]);
            self.here.set_record(key, record).await.unwrap();
        }
        for near in [&self.here, &self.there] {
            self.all_are(near, Some(value)).await;
        }
    }

    async fn all_are(&self, near: &NearCache<u64, u64>, expected: Option<u64>) {
        until(&format!("all are {expected:?}"), async || {
            let values = near.get_many(&self.keys).await;
            values.is_ok_and(|values| values.iter().all(|value| *value == expected))
        })
        .await;
    }

    /// Writes all keys and invalidates their tag: at once for the process that does so, and soon for the other.
    async fn invalidate(&self, number: u64) {
        self.write(number).await;
        let (by, other) = match number.is_multiple_of(2) {
            true => (&self.here, &self.there),
            false => (&self.there, &self.here),
        };
        by.invalidate_tag(TAG).await.unwrap();
        for key in &self.keys {
            assert_eq!(by.get_in_memory(key).flatten(), None, "key {key} at {number}");
        }
        assert_eq!(by.get_many(&self.keys).await.unwrap(), vec![None; self.keys.len()]);
        self.all_are(other, None).await;
    }
}

#[tokio::test]
async fn a_tag_invalidates_its_values_in_all_slots_also_while_they_move() {
    with_cluster(3, 0, async |cluster| {
        let mut owners = Vec::new();
        for key in 0..KEYS {
            owners.push(cluster.owner(slot_of(key)).await.unwrap());
        }
        owners.sort_unstable();
        owners.dedup();
        assert_eq!(owners.len(), 3, "each master has some of the keys");
        let pair = Pair::new(cluster).await;
        for number in 0..4 {
            pair.invalidate(number).await;
        }
        // The slot of the tag, and those of some of its values, go from one master to the next.
        let is_done = AtomicBool::new(false);
        let cluster = &*cluster;
        let mut moving = Vec::new();
        for slot in [tag_slot(), slot_of(1), slot_of(2), slot_of(3)] {
            moving.push((slot, cluster.owner(slot).await.unwrap()));
        }
        let moves = async {
            let mut rounds = 0;
            while !is_done.load(Ordering::SeqCst) || rounds < 2 {
                // The server that is asked may not know yet who has a slot since the last round.
                for (slot, owner) in &mut moving {
                    let to = (*owner + 1) % cluster.masters;
                    cluster.begin_move(*slot, *owner, to).await;
                    cluster.move_keys(*slot, *owner, to).await;
                    cluster.end_move(*slot, *owner, to).await;
                    *owner = to;
                }
                rounds += 1;
            }
        };
        let invalidations = async {
            for number in 10..18 {
                pair.invalidate(number).await;
            }
            is_done.store(true, Ordering::SeqCst);
        };
        tokio::join!(moves, invalidations);
        for near in [&pair.here, &pair.there] {
            until("the moves are known", async || near.stats().slots_moved > 0).await;
        }
        // The new master has the tag already, but the cluster does not announce the slot's move yet.
        let from = moving[0].1;
        let to = (from + 1) % cluster.masters;
        pair.write(20).await;
        cluster.begin_move(tag_slot(), from, to).await;
        cluster.move_keys(tag_slot(), from, to).await;
        pair.invalidate(21).await;
        pair.invalidate(22).await;
        cluster.end_move(tag_slot(), from, to).await;
        for near in [&pair.here, &pair.there] {
            pair.all_are(near, None).await;
        }
        pair.invalidate(23).await;
    })
    .await;
}

#[tokio::test]
async fn a_tag_invalidates_its_values_after_failovers() {
    with_cluster(3, 3, async |cluster| {
        let pair = Pair::new(cluster).await;
        pair.invalidate(0).await;
        let owner = cluster.owner(tag_slot()).await.unwrap();
        let replica = cluster.replica_of(owner).await;
        pair.write(1).await;
        cluster.hand_over(tag_slot(), replica).await;
        // What was valid before still is, and is invalidated by the new master.
        for near in [&pair.here, &pair.there] {
            pair.all_are(near, Some(1)).await;
        }
        pair.invalidate(2).await;
        cluster.is_replicated(3).await;
        pair.write(3).await;
        pair.here.invalidate_tag(TAG).await.unwrap();
        // What a master has not handed on is lost with it.
        let mut client = cluster.servers[replica].client().await;
        let () = run(&mut client, &["SET", "{n:\0tag:all}", "written after the tag"]).await;
        let replicas: u64 = run(&mut client, &["WAIT", "1", "10000"]).await;
        assert_eq!(replicas, 1);
        cluster.servers[replica].kill();
        until("another one takes over", async || {
            cluster.owner(tag_slot()).await.is_some_and(|it| it != replica)
        })
        .await;
        for near in [&pair.here, &pair.there] {
            pair.all_are(near, None).await;
        }
        pair.invalidate(4).await;
    })
    .await;
}

/// Returns whether a process still finds the values after another one has invalidated their tag.
async fn is_kept(cluster: &TestCluster, defect: Option<Defect>) -> bool {
    let pair = Pair::new(cluster).await;
    if let Some(defect) = defect {
        pair.there.shared.link.lease.planted.set(defect).unwrap();
    }
    pair.write(1).await;
    let invalidations = pair.there.stats().invalidations;
    pair.here.invalidate_tag(TAG).await.unwrap();
    until("it is notified", async || pair.there.stats().invalidations > invalidations).await;
    let values = pair.there.get_many(&pair.keys).await.unwrap();
    values.iter().any(Option::is_some)
}

#[tokio::test]
async fn a_hit_that_does_not_look_at_tags_is_found() {
    with_cluster(3, 0, async |cluster| {
        assert!(!is_kept(cluster, None).await);
        assert!(is_kept(cluster, Some(Defect::TagsUnchecked)).await, "the defect is not found");
    })
    .await;
}
