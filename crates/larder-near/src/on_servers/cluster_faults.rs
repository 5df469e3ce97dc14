//! Many reads and writes while something goes wrong in a cluster: no read is older than `max_stale`, and when all is
//! quiet memory has what the cluster has.
//!
//! `LARDER_NEAR_READS` is how many reads there are for each fault, as in `faults`; there are a hundredth as many
//! writes.

use std::time::Duration;

use super::cluster::{TestCluster, Writer, with_cluster};
use super::server::run;
use super::until;
use super::watched::{Watched, wanted_reads};
use crate::key::hash_slot;

const KEYS: usize = 60;
const MAX_STALE: Duration = Duration::from_millis(400);
const READERS: u64 = 3;
/// The reads of one trial, unless another number is wanted.
const READS: u64 = 10_000;

/// What goes wrong, once in each trial, in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    KilledClients,
    /// Slots with keys are moved from one master to another.
    Resharded,
    /// Slots are being moved, some of them with their keys already at the new place, while there are reads and writes
    /// for as long as it takes.
    HalfMoved,
    /// A master and its replica change places.
    Handover,
    /// A master is killed, its replica takes over, and it comes back as a replica.
    KilledMaster,
    /// A master is stopped without a word, until another one has taken over.
    HungMaster,
}

const FAULTS: [Fault; 7] = [
    Fault::Nothing,
    Fault::KilledClients,
    Fault::Resharded,
    Fault::HalfMoved,
    Fault::Handover,
    Fault::KilledMaster,
    Fault::HungMaster,
];

struct Trial(Watched);

impl Trial {
    async fn new(cluster: &TestCluster) -> Self {
        let near = cluster
            .near()
            .max_stale(MAX_STALE)
            .call_timeout(Duration::from_millis(800))
            .connect()
            .await
            .unwrap();
        Self(Watched::new(near, KEYS, MAX_STALE, wanted_reads(READS)))
    }

    async fn write(&self, cluster: &mut TestCluster, fault: Fault, first: u64) {
        let mut writer = Writer::new(cluster, 1);
        let writes = self.0.writes();
        let mut moving = Vec::new();
        for number in 0..writes {
            self.0.before_write(number).await;
            let value = first + number;
            let key = self.0.key_for(value);
            writer.write(key as u64, value).await;
            self.0.checker.acknowledged(key, Some(value));
            if number == writes / 2 {
                self.go_wrong(cluster, fault).await;
            }
            if number == writes / 4 && fault == Fault::HalfMoved {
                moving = half_move(cluster).await;
            }
        }
        for (slot, from, to) in moving {
            cluster.move_keys(slot, from, to).await;
            cluster.end_move(slot, from, to).await;
        }
        self.0.end_writes();
    }

    async fn go_wrong(&self, cluster: &mut TestCluster, fault: Fault) {
        let slot = hash_slot(b"n:1");
        let owner = cluster.owner(slot).await.unwrap();
        let has_other_owner =
            async |cluster: &TestCluster| cluster.owner(slot).await.is_some_and(|it| it != owner);
        match fault {
            // That begins earlier and lasts to the end of the writes.
            Fault::Nothing | Fault::HalfMoved => {}
            Fault::KilledClients => {
                let losses = self.0.near.stats().losses;
                for server in &cluster.servers {
                    let mut client = server.client().await;
                    let () = run(&mut client, &["CLIENT", "KILL", "TYPE", "normal"]).await;
                }
                until("the losses", async || self.0.near.stats().losses >= losses + 3).await;
            }
            Fault::Resharded => {
                let to = cluster.owner(hash_slot(b"n:2")).await.unwrap();
                for key in (0..KEYS).step_by(3) {
                    cluster.move_slot(hash_slot(format!("n:{key}").as_bytes()), to).await;
                }
            }
            Fault::Handover => {
                let replica = cluster.replica_of(owner).await;
                cluster.hand_over(slot, replica).await;
            }
            Fault::KilledMaster => {
                cluster.servers[owner].kill();
                until("the replica takes over", async || has_other_owner(cluster).await).await;
                cluster.servers[owner].start_again().await;
            }
            Fault::HungMaster => {
                cluster.servers[owner].signal("STOP");
                until("the replica takes over", async || {
                    cluster.owner_as_seen_by((owner + 1) % cluster.servers.len(), slot).await
                        != Some(owner)
                })
                .await;
                cluster.servers[owner].signal("CONT");
            }
        }
    }

    /// Checks that what the caches have is what the cluster has, when all is quiet.
    async fn end(&self, fault: Fault) {
        self.0.settle().await;
        let stats = self.0.near.stats();
        println!(
            "{fault:?}: {}; {} slots moved, {} redirections",
            self.0.summary(),
            stats.slots_moved,
            stats.redirections,
        );
        match fault {
            // On a busy machine, a server may be silent for longer than a lease.
            Fault::Nothing => {}
            Fault::KilledClients => assert!(stats.losses >= 3),
            Fault::HalfMoved => {
                assert!(stats.redirections > 0 && stats.slots_moved > 0, "{stats:?}")
            }
            _ => assert!(stats.slots_moved > 0, "{stats:?}"),
        }
    }
}

/// Begins to move the slots of a third of the keys to the next master, and moves the keys of every other one. Returns
/// the slots with where they come from and where they go.
async fn half_move(cluster: &TestCluster) -> Vec<(u16, usize, usize)> {
    let mut masters = Vec::new();
    for key in 0..KEYS {
        masters.extend(cluster.owner(hash_slot(format!("n:{key}").as_bytes())).await);
    }
    masters.sort_unstable();
    masters.dedup();
    let mut moving = Vec::new();
    for key in (0..KEYS).step_by(3) {
        let slot = hash_slot(format!("n:{key}").as_bytes());
        let from = cluster.owner(slot).await.unwrap();
        let to = masters[(masters.iter().position(|it| *it == from).unwrap() + 1) % masters.len()];
        cluster.begin_move(slot, from, to).await;
        if key % 2 == 0 {
            cluster.move_keys(slot, from, to).await;
        }
        moving.push((slot, from, to));
    }
    moving
}

#[tokio::test]
async fn no_read_is_too_old_whatever_happens_in_a_cluster() {
    with_cluster(3, 3, async |cluster| {
        let mut first = 1;
        for fault in FAULTS {
            let trial = Trial::new(cluster).await;
            // What the trials before have written is not what this checker knows.
            let mut writer = Writer::new(cluster, 1);
            for key in 0..KEYS {
                writer.write(key as u64, first).await;
                trial.0.checker.acknowledged(key, Some(first));
                first += 1;
            }
            tokio::join!(trial.write(cluster, fault, first), trial.0.read_by(READERS, true));
            first += wanted_reads(READS);
            trial.end(fault).await;
            cluster.is_replicated(3).await;
            cluster.agrees().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_rest_of_a_cluster_goes_on_when_a_part_is_down() {
    with_cluster(3, 0, async |cluster| {
        let near = cluster
            .near::<u64>()
            .max_stale(MAX_STALE)
            .call_timeout(Duration::from_secs(5))
            .connect()
            .await
            .unwrap();
        for key in 0..KEYS as u64 {
            near.set(&key, key).await.unwrap();
        }
        let down = cluster.owner(hash_slot(b"n:1")).await.unwrap();
        cluster.servers[down].kill();
        let mut is_of_down = Vec::new();
        for key in 0..KEYS {
            let slot = hash_slot(format!("n:{key}").as_bytes());
            is_of_down.push(
                near.shared.link.lease.owner(slot)
                    == near.shared.link.lease.owner(hash_slot(b"n:1")),
            );
        }
        until("the loss is noticed", async || near.stats().losses > 0).await;
        for (key, is_of_down) in (0..).zip(&is_of_down) {
            if *is_of_down {
                assert_eq!(near.get_in_memory(&key), None, "it may have changed");
            } else {
                assert_eq!(near.get(&key).await.unwrap(), Some(key));
            }
        }
        // The lease of the rest is extended, so memory goes on to answer for it.
        let alive = (0..KEYS).find(|key| !is_of_down[*key]).unwrap() as u64;
        tokio::time::sleep(MAX_STALE * 2).await;
        until("memory answers", async || {
            near.get(&alive).await.unwrap();
            near.get_in_memory(&alive).is_some()
        })
        .await;
        until("calls fail", async || near.get(&1).await.is_err()).await;
        let all: Vec<u64> = (0..KEYS as u64).collect();
        assert!(near.get_many(&all).await.is_err());
        // It comes back without its data.
        cluster.servers[down].start_again().await;
        for (key, is_of_down) in is_of_down.iter().enumerate() {
            let expected = (!is_of_down).then_some(key as u64);
            until("what is there is found", async || {
                near.get(&(key as u64)).await.is_ok_and(|value| value == expected)
            })
            .await;
        }
    })
    .await;
}
