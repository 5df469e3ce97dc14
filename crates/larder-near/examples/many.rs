//! What `get_many` costs over a cluster when memory has none of the keys, beside pipelines written by hand: the keys
//! sorted by the servers that have them, and one pipeline to each, all at the same time.
//!
//! Three programs by hand are measured: one that reads the values, one that reads for each value how long it may be kept
//! too, and one that does so over connections whose reads the server tracks. The last has asked the servers for all that a
//! near cache needs, and keeps nothing.
//!
//! `cargo run --release --package larder-near --example many` starts a cluster of three `redis-server`s of its own.

#[allow(dead_code, reason = "other programs use the rest")]
mod own_servers;

use std::time::{Duration, Instant};

use larder_near::NearCache;
use own_servers::{Failure, OwnCluster};
use redis::aio::MultiplexedConnection;

const KEYS: u64 = 1000;
const TURNS: usize = 200;

fn main() -> Result<(), Failure> {
    let Some(cluster) = OwnCluster::start()? else {
        println!("SKIPPED: many keys over a cluster, for want of redis-server");
        return Ok(());
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&cluster.addresses()))
}

async fn measure(addresses: &[String]) -> Result<(), Failure> {
    let near: NearCache<u64, u64> = NearCache::builder()
        .cluster(addresses)
        .prefix("many:")
        .max_stale(Duration::from_secs(30))
        .call_timeout(Duration::from_secs(30))
        .keys_per_call(KEYS as usize)
        .connect()
        .await?;
    let keys: Vec<u64> = (0..KEYS).collect();
    near.set_many(keys.iter().map(|key| (*key, *key))).await?;
    let by_hand = [
        ("GET", ByHand::new(addresses, false, false).await?),
        ("GET and PTTL", ByHand::new(addresses, true, false).await?),
        ("GET and PTTL, tracked", ByHand::new(addresses, true, true).await?),
    ];
    let mut of_near = Vec::new();
    let mut of_hand = vec![Vec::new(); by_hand.len()];
    for _ in 0..TURNS {
        near.clear_memory();
        let began = Instant::now();
        let values = near.get_many(&keys).await?;
        of_near.push(began.elapsed());
        assert!(values.iter().zip(&keys).all(|(value, key)| value.as_ref() == Some(key)));
        assert_eq!(near.len_in_memory(), keys.len());
        for ((_, program), times) in by_hand.iter().zip(&mut of_hand) {
            let began = Instant::now();
            let found = program.get(&keys).await?;
            times.push(began.elapsed());
            assert_eq!(found, keys.len());
        }
    }
    of_near.sort();
    // On a busy machine, other programs run during many of the turns, and not during the fastest.
    for (what, at) in [("median", TURNS / 2), ("fastest tenth", TURNS / 10)] {
        let near = of_near[at].as_secs_f64() * 1e3;
        println!("{what} of {TURNS} turns, {KEYS} keys: get_many {near:.2} ms");
        for ((name, _), times) in by_hand.iter().zip(&mut of_hand) {
            times.sort();
            let hand = times[at].as_secs_f64() * 1e3;
            println!(
                "    {name} by hand: {hand:.2} ms; get_many takes {:.2} times as long",
                near / hand
            );
        }
    }
    Ok(())
}

/// A program by hand: a connection to each server. It knows which server has which key, and so has not even to compute
/// the slots.
struct ByHand {
    servers: Vec<MultiplexedConnection>,
    /// The place of the server that has the key of that number.
    places: Vec<usize>,
    /// Whether it asks for the times to live too.
    has_times: bool,
}

impl ByHand {
    async fn new(addresses: &[String], has_times: bool, is_tracked: bool) -> Result<Self, Failure> {
        let mut servers = Vec::new();
        for address in addresses {
            let client = redis::Client::open(format!("{address}/?protocol=resp3"))?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            if is_tracked {
                let mut tracking = redis::cmd("CLIENT");
                tracking.arg("TRACKING").arg("ON");
                let () = tracking.query_async(&mut connection).await?;
            }
            servers.push(connection);
        }
        let mut slots = redis::pipe();
        (0..KEYS)
            .for_each(|key| _ = slots.cmd("CLUSTER").arg("KEYSLOT").arg(format!("many:{key}")));
        let slots: Vec<usize> = slots.query_async(&mut servers[0]).await?;
        // The cluster has three masters with equal parts.
        let places =
            slots.iter().map(|slot| (0..3).filter(|at| *slot >= 16_384 * at / 3).count() - 1);
        Ok(Self { places: places.collect(), servers, has_times })
    }

    /// Returns how many values there are.
    async fn get(&self, keys: &[u64]) -> Result<usize, Failure> {
        let mut pipelines: Vec<redis::Pipeline> =
            self.servers.iter().map(|_| redis::pipe()).collect();
        for key in keys {
            let name = format!("many:{key}");
            let pipeline = &mut pipelines[self.places[*key as usize]];
            pipeline.cmd("GET").arg(&name);
            if self.has_times {
                pipeline.cmd("PTTL").arg(&name);
            }
        }
        let sent = self.servers.iter().zip(pipelines).map(|(connection, pipeline)| {
            let mut connection = connection.clone();
            let has_times = self.has_times;
            tokio::spawn(async move {
                if has_times {
                    let read = pipeline.query_async::<Vec<redis::Value>>(&mut connection);
                    return read.await.map(|values| values.len() / 2);
                }
                let read = pipeline.query_async::<Vec<Vec<u8>>>(&mut connection);
                read.await.map(|values| values.len())
            })
        });
        let mut found = 0;
        for number in sent.collect::<Vec<_>>() {
            found += number.await??;
        }
        Ok(found)
    }
}
