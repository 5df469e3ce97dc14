//! Many reads and writes while something goes wrong in a cluster: no read is older than `max_stale`, and when all is
//! quiet memory has what the cluster has.
//!
//! `LARDER_NEAR_READS` is how many reads there are for each fault, as in `faults`; there are a hundredth as many
//! writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::checker::Checker;
use super::cluster::{TestCluster, Writer, with_cluster};
use super::server::run;
use super::until;
use crate::NearCache;
use crate::key::hash_slot;

const KEYS: usize = 60;
const MAX_STALE: Duration = Duration::from_millis(400);
const READERS: usize = 3;

fn reads() -> u64 {
    std::env::var("LARDER_NEAR_READS").ok().map_or(10_000, |reads| reads.parse().unwrap())
}

/// What goes wrong, once in each trial, in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    KilledClients,
    /// Slots with keys are moved from one master to another.
    Resharded,
    /// A master and its replica change places.
    Handover,
    /// A master is killed, its replica takes over, and it comes back as a replica.
    KilledMaster,
    /// A master is stopped without a word, until another one has taken over.
    HungMaster,
}

const FAULTS: [Fault; 6] = [
    Fault::Nothing,
    Fault::KilledClients,
    Fault::Resharded,
    Fault::Handover,
    Fault::KilledMaster,
    Fault::HungMaster,
];

struct Trial {
    near: NearCache<u64, u64>,
    checker: Checker,
    is_done: AtomicBool,
    reads: AtomicU64,
    failed: AtomicU64,
}

impl Trial {
    async fn new(cluster: &TestCluster) -> Self {
        let near = cluster
            .near()
            .max_stale(MAX_STALE)
            .call_timeout(Duration::from_millis(800))
            .connect()
            .await
            .unwrap();
        Self {
            near,
            checker: Checker::new(KEYS, MAX_STALE),
            is_done: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Reads until there were enough reads and the writer is done.
    async fn read(&self, seed: u64) {
        let mut random = seed;
        while !self.is_done.load(Ordering::SeqCst) || self.reads.load(Ordering::SeqCst) < reads() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
            let key = (random >> 33) as usize % KEYS;
            let began = Instant::now();
            let read = if random & 0x700_0000 == 0 {
                let values =
                    self.near.get_many(&[key as u64, (key as u64 + 1) % KEYS as u64]).await;
                values.map(|values| values[0])
            } else {
                self.near.get(&(key as u64)).await
            };
            match read {
                Ok(value) => {
                    let excess = self.checker.excess(key, began, value);
                    assert_eq!(excess, None, "key {key} has {value:?}: {:?}", self.near.stats());
                }
                Err(_) => {
                    self.failed.fetch_add(1, Ordering::SeqCst);
                }
            }
            self.reads.fetch_add(1, Ordering::SeqCst);
            // A hit does not wait, and others must run too.
            tokio::task::yield_now().await;
        }
    }

    async fn write(&self, cluster: &mut TestCluster, fault: Fault, first: u64) {
        let mut writer = Writer::new(cluster, 1);
        let writes = reads() / 100;
        for number in 0..writes {
            // Writes are spread over the reads.
            until("enough reads", async || {
                self.reads.load(Ordering::SeqCst) >= number * 100 * 9 / 10
            })
            .await;
            let value = first + number;
            let key = (value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % KEYS;
            writer.write(key as u64, value).await;
            self.checker.acknowledged(key, Some(value));
            if number == writes / 2 {
                self.go_wrong(cluster, fault).await;
            }
        }
        self.is_done.store(true, Ordering::SeqCst);
    }

    async fn go_wrong(&self, cluster: &mut TestCluster, fault: Fault) {
        let slot = hash_slot(b"n:1");
        let owner = cluster.owner(slot).await.unwrap();
        let has_other_owner =
            async |cluster: &TestCluster| cluster.owner(slot).await.is_some_and(|it| it != owner);
        match fault {
            Fault::Nothing => {}
            Fault::KilledClients => {
                let losses = self.near.stats().losses;
                for server in &cluster.servers {
                    let mut client = server.client().await;
                    let () = run(&mut client, &["CLIENT", "KILL", "TYPE", "normal"]).await;
                }
                until("the losses", async || self.near.stats().losses >= losses + 3).await;
            }
            Fault::Resharded => {
                let to = cluster.owner(hash_slot(b"n:2")).await.unwrap();
                for key in (0..KEYS).step_by(3) {
                    cluster.move_slot(hash_slot(format!("n:{key}").as_bytes()), to).await;
                }
            }
            Fault::Handover => {
                let replica = cluster.replica_of(owner).await;
                let mut client = cluster.servers[replica].client().await;
                let () = run(&mut client, &["CLUSTER", "FAILOVER"]).await;
                until("the replica takes over", async || has_other_owner(cluster).await).await;
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

    /// When all is quiet, memory has what the cluster has.
    async fn end(&self, fault: Fault) {
        for key in 0..KEYS {
            let present = self.checker.present(key);
            if present.is_none() {
                continue;
            }
            until("memory has what the cluster has", async || {
                self.near.get(&(key as u64)).await.is_ok_and(|value| value == present)
            })
            .await;
        }
        let stats = self.near.stats();
        println!(
            "{fault:?}: {} reads, {} of them failed; {stats}; {} slots moved, {} redirections",
            self.reads.load(Ordering::SeqCst),
            self.failed.load(Ordering::SeqCst),
            stats.slots_moved,
            stats.redirections,
        );
        match fault {
            // On a busy machine, a server may be silent for longer than a lease.
            Fault::Nothing => {}
            Fault::KilledClients => assert!(stats.losses >= 3),
            _ => assert!(stats.slots_moved > 0, "{stats:?}"),
        }
    }
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
                trial.checker.acknowledged(key, Some(first));
                first += 1;
            }
            let readers = (0..READERS as u64).map(|seed| trial.read(seed + 1));
            tokio::join!(trial.write(cluster, fault, first), super::reads::futures(readers));
            first += reads();
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
