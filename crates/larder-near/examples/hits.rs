//! What a hit of the near cache costs beside one of larder: the same keys and values in both, read in turns.
//!
//! `cargo run --release --package larder-near --example hits [redis://host:port]`; without an address it takes
//! `redis://127.0.0.1:6379`, and says if nothing answers there.

use std::hint::black_box;
use std::time::{Duration, Instant};

use larder::Cache;
use larder_near::{BlockingNearCache, NearBuildError, NearCache};

const KEYS: u64 = 1000;
const ROUNDS: u64 = 200;
const TURNS: usize = 15;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("redis://127.0.0.1:6379".to_owned());
    let connected = NearCache::builder(&address)
        .prefix("hits:")
        .capacity(100_000)
        .max_stale(Duration::from_secs(30))
        .call_timeout(Duration::from_secs(30))
        .time_to_live(Duration::from_secs(3600))
        .connect_blocking();
    let near: BlockingNearCache<u64, u64> = match connected {
        Err(NearBuildError::Connect(error)) => {
            println!("SKIPPED: {address} does not answer: {error}");
            return Ok(());
        }
        other => other?,
    };
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(100_000).time_to_live(Duration::from_secs(3600)).build()?;
    for key in 0..KEYS {
        near.set(&key, key)?;
        cache.insert(key, key);
    }
    let keys: Vec<u64> = (0..KEYS).collect();
    // Invalidations of a run before may follow; afterwards all is in memory.
    while keys.iter().any(|key| near.as_async().get_in_memory(key).is_none()) {
        near.get_many(&keys)?;
    }
    let (mut of_near, mut of_larder) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        of_near.push(time(|key| near.as_async().get_in_memory(key).flatten()));
        of_larder.push(time(|key| cache.get(key)));
    }
    of_near.sort_by(f64::total_cmp);
    of_larder.sort_by(f64::total_cmp);
    let (near, larder) = (of_near[TURNS / 2], of_larder[TURNS / 2]);
    println!(
        "median of {TURNS} turns, nanoseconds for a hit: near cache {near:.1}, larder {larder:.1}"
    );
    println!("rate of the near cache: {:.2} of larder's", larder / near);
    Ok(())
}

fn time(get: impl Fn(&u64) -> Option<u64>) -> f64 {
    let began = Instant::now();
    for _ in 0..ROUNDS {
        for key in 0..KEYS {
            black_box(get(black_box(&key)));
        }
    }
    began.elapsed().as_nanos() as f64 / (ROUNDS * KEYS) as f64
}
