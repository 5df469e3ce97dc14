//! What `get_many` costs over a cluster when memory has none of the keys, beside pipelines written by hand: the keys
//! sorted by the servers that have them, and one pipeline of `GET`s to each, all at the same time.
//!
//! `cargo run --release --package larder-near --example many` starts a cluster of three `redis-server`s of its own.

mod own_servers;

use std::error::Error;
use std::time::{Duration, Instant};

use larder_near::NearCache;
use own_servers::OwnCluster;
use redis::aio::MultiplexedConnection;

const KEYS: u64 = 1000;
const TURNS: usize = 60;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(cluster) = OwnCluster::start()? else {
        println!("SKIPPED: many keys over a cluster, for want of redis-server");
        return Ok(());
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(&cluster.addresses()))
}

async fn measure(addresses: &[String]) -> Result<(), Box<dyn Error>> {
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
    let by_hand = ByHand::new(addresses).await?;
    let (mut of_near, mut of_hand) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        near.clear_memory();
        let began = Instant::now();
        let values = near.get_many(&keys).await?;
        of_near.push(began.elapsed());
        assert!(values.iter().zip(&keys).all(|(value, key)| value.as_ref() == Some(key)));
        let began = Instant::now();
        let found = by_hand.get(&keys).await?;
        of_hand.push(began.elapsed());
        assert_eq!(found, keys.len());
    }
    of_near.sort();
    of_hand.sort();
    for (what, at) in [("median", TURNS / 2), ("fastest tenth", TURNS / 10)] {
        let (near, hand) = (of_near[at].as_secs_f64(), of_hand[at].as_secs_f64());
        println!(
            "{what} of {TURNS} turns, {KEYS} keys: get_many {:.2} ms, pipelines by hand {:.2} ms, {:.2} times as long",
            near * 1e3,
            hand * 1e3,
            near / hand
        );
    }
    Ok(())
}

/// A connection to each server, and the slots of each.
struct ByHand(Vec<(MultiplexedConnection, u16, u16)>);

impl ByHand {
    async fn new(addresses: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut servers = Vec::new();
        for (number, address) in addresses.iter().enumerate() {
            let client = redis::Client::open(address.as_str())?;
            let (first, last) = (16_384 * number / 3, 16_384 * (number + 1) / 3 - 1);
            let connection = client.get_multiplexed_async_connection().await?;
            servers.push((connection, u16::try_from(first)?, u16::try_from(last)?));
        }
        Ok(Self(servers))
    }

    /// Returns how many values there are.
    async fn get(&self, keys: &[u64]) -> Result<usize, Box<dyn Error>> {
        let mut pipelines: Vec<redis::Pipeline> = self.0.iter().map(|_| redis::pipe()).collect();
        for key in keys {
            let name = format!("many:{key}");
            let slot = slot(name.as_bytes());
            if let Some(at) =
                self.0.iter().position(|(_, first, last)| (first..=last).contains(&&slot))
            {
                pipelines[at].cmd("GET").arg(name);
            }
        }
        let sent = self.0.iter().zip(pipelines).map(|((connection, ..), pipeline)| {
            let mut connection = connection.clone();
            tokio::spawn(async move { pipeline.query_async::<Vec<Vec<u8>>>(&mut connection).await })
        });
        let mut found = 0;
        for values in sent.collect::<Vec<_>>() {
            found += values.await??.len();
        }
        Ok(found)
    }
}

/// CRC16 of the name, by bits.
fn slot(name: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in name {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % 16_384
}
