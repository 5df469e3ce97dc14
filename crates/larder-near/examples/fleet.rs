//! A fleet: three processes with near caches over one cluster or one server, which read and write the same keys, and
//! what each of them has seen of the others' writes.
//!
//! `cargo run --release --package larder-near --example fleet` starts a cluster of three `redis-server`s of its own;
//! with `single`, one server. `fleet redis://host:port` uses the server that is named, and with several
//! addresses the cluster to which they belong.

#[allow(dead_code, reason = "other programs use the rest")]
mod own_servers;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use larder_near::{BlockingNearCache, NearCache};
use own_servers::{Failure, OwnCluster, OwnServer};

const MEMBERS: u64 = 3;
const KEYS: u64 = 1000;
const STEPS: u64 = 5_000;
const MAX_STALE: Duration = Duration::from_secs(1);

/// When the value was written, by the clock that all processes of this machine share, in nanoseconds.
type Written = u64;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [role, number, addresses @ ..] if role == "member" => member(addresses, number.parse()?),
        [kind] if kind == "single" => match OwnServer::start(None)? {
            Some(server) => fleet(&[server.address()]),
            None => skip(),
        },
        [] => match OwnCluster::start()? {
            Some(cluster) => fleet(&cluster.addresses()),
            None => skip(),
        },
        addresses => fleet(addresses),
    }
}

fn skip() -> Result<(), Failure> {
    println!("SKIPPED: the fleet, for want of redis-server; name a server's address");
    Ok(())
}

/// Runs the members as processes of their own, and prints what they report.
fn fleet(addresses: &[String]) -> Result<(), Failure> {
    println!("member      reads  in memory     writes  refused  stale reads  oldest, ms  seconds");
    let program = std::env::current_exe()?;
    let members: Vec<Child> = (0..MEMBERS)
        .map(|number| {
            Command::new(&program)
                .args(["member", &number.to_string()])
                .args(addresses)
                .stdout(Stdio::piped())
                .spawn()
        })
        .collect::<Result<_, _>>()?;
    for member in members {
        let output = member.wait_with_output()?;
        if !output.status.success() {
            return Err("a member of the fleet has failed".into());
        }
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
    println!(
        "\n{} server(s). A read is stale if it found a value that another member had overwritten before.",
        addresses.len()
    );
    println!("The promise: none is older than {} ms.", MAX_STALE.as_millis());
    Ok(())
}

/// Reads and writes random keys, some far more often than others, and notes the reads that were stale.
fn member(addresses: &[String], number: u64) -> Result<(), Failure> {
    let builder = NearCache::builder();
    let builder = match addresses {
        [address] => builder.server(address),
        _ => builder.cluster(addresses),
    };
    let near: BlockingNearCache<u64, Written> = builder
        .prefix("fleet:")
        .max_stale(MAX_STALE)
        // A busy machine must not make it fail.
        .call_timeout(Duration::from_secs(30))
        .count_hits()
        .connect_blocking()?;
    // What was found under each key last, and when that read began.
    let mut found: Vec<(Option<Written>, u64)> = vec![(None, 0); KEYS as usize];
    let (mut reads, mut stale, mut oldest) = (0_u64, 0_u64, 0_u64);
    let mut random = number + 1;
    let began = Instant::now();
    for _ in 0..STEPS {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (random >> 40) as f64 / (1 << 24) as f64;
        let key = (uniform.powi(4) * KEYS as f64) as u64;
        if (random >> 20) % 100 < 5 {
            near.set(&key, now()?)?;
            continue;
        }
        reads += 1;
        let read_at = now()?;
        let value = near.get(&key)?;
        let (before, before_at) = &mut found[key as usize];
        // The read before found what had been overwritten by this value by then.
        if let Some(written) = value
            && value != *before
            && *before_at > written
        {
            stale += 1;
            oldest = oldest.max(*before_at - written);
        }
        (*before, *before_at) = (value, read_at);
    }
    let stats = near.stats();
    let hits = stats.hits.unwrap_or(0) as f64 / reads as f64 * 100.0;
    println!(
        "{number:>6} {reads:>10} {hits:>8.1} % {:>10} {:>8} {stale:>12} {:>11.2} {:>8.2}",
        stats.writes,
        stats.fills_refused,
        oldest as f64 / 1e6,
        began.elapsed().as_secs_f64(),
    );
    if Duration::from_nanos(oldest) > MAX_STALE {
        return Err("the promise was broken".into());
    }
    Ok(())
}

fn now() -> Result<u64, Failure> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}
