//! What a hit of the near cache costs beside one of larder: the same keys and values in both, read in turns.
//!
//! `cargo run --release --package larder-near --example hits [redis://host:port [seconds]]`; without an address it
//! takes `redis://127.0.0.1:6379`, and says if nothing answers there. The entries of both have a time to live, of an
//! hour or of so many seconds. With 0 they have none: then a hit of larder reads no clock, and one of the near cache
//! still does, because it compares the time with the lease.

use std::hint::black_box;
use std::time::{Duration, Instant};

use larder::Cache;
use larder_near::{BlockingNearCache, NearBuildError, NearCache};

const KEYS: u64 = 1000;
const ROUNDS: u64 = 2;
const TURNS: usize = 4000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("redis://127.0.0.1:6379".to_owned());
    let seconds = std::env::args().nth(2).map_or(Ok(3600), |seconds| seconds.parse())?;
    let mut builder = NearCache::builder()
        .server(&address)
        .prefix("hits:")
        .capacity(100_000)
        .max_stale(Duration::from_secs(30))
        .call_timeout(Duration::from_secs(30));
    let mut own_builder = Cache::builder().capacity(100_000);
    if seconds > 0 {
        builder = builder.time_to_live(Duration::from_secs(seconds));
        own_builder = own_builder.time_to_live(Duration::from_secs(seconds));
    }
    let connected = builder.connect_blocking();
    let near: BlockingNearCache<u64, u64> = match connected {
        Err(NearBuildError::Connect(error)) => {
            println!("SKIPPED: {address} does not answer: {error}");
            return Ok(());
        }
        other => other?,
    };
    let cache: Cache<u64, u64> = own_builder.build()?;
    for key in 0..KEYS {
        near.set(&key, key)?;
        cache.insert(key, key);
    }
    let keys: Vec<u64> = (0..KEYS).collect();
    // Invalidations of a run before may follow; afterwards all is in memory.
    while keys.iter().any(|key| near.as_async().get_in_memory(key).is_none()) {
        near.get_many(&keys)?;
    }
    let (mut of_near, mut of_larder, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let near = time(|key| near.as_async().get_in_memory(key).flatten());
        let larder = time(|key| cache.get(key));
        of_near.push(near);
        of_larder.push(larder);
        rates.push(larder / near);
    }
    for values in [&mut of_near, &mut of_larder, &mut rates] {
        values.sort_by(f64::total_cmp);
    }
    // A core that shares its parts with a busy one may be half as fast, from one moment to the next. So the two are
    // compared turn by turn, each of which takes well under a millisecond.
    println!(
        "{TURNS} turns: the rate of the near cache is {:.2} of larder's in the median turn ({:.2} and {:.2} in those at \
         the quarters)",
        rates[TURNS / 2],
        rates[TURNS / 4],
        rates[TURNS * 3 / 4]
    );
    for (what, at) in [("fastest", 0), ("fastest tenth", TURNS / 10), ("median", TURNS / 2)] {
        let (near, larder) = (of_near[at], of_larder[at]);
        println!("nanoseconds for a hit, {what}: near cache {near:.1}, larder {larder:.1}");
    }
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
