//! What a near cache spares the server: four processes read and write the same keys by a Zipf distribution with
//! exponent 0.99, 5 % of the calls writes; once with the near cache, and once with every read at the server.
//!
//! `cargo run --release --package larder-near --example load [redis://host:port [calls of each process]]` uses the server
//! that is named, whose keys it removes, or starts a `redis-server` of its own.

#[allow(dead_code, reason = "other programs use the rest")]
mod own_servers;
mod zipf;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use larder_near::{BlockingNearCache, NearCache};
use own_servers::{Failure, OwnServer, ServerCounts};
use zipf::Ranks;

const MEMBERS: u64 = 4;
const KEYS: usize = 10_000;
const CALLS: u64 = 5_000;
const EXPONENT: f64 = 0.99;
/// The length of a value.
const BYTES: usize = 200;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [role, address, number, mode, calls] if role == "member" => {
            member(address, number.parse()?, mode == "near", calls.parse()?)
        }
        [address] => fleet(address, CALLS),
        [address, calls] => fleet(address, calls.parse()?),
        _ => {
            let Some(server) = OwnServer::start(None)? else {
                println!("SKIPPED: the load, for want of redis-server; name a server's address");
                return Ok(());
            };
            fleet(&server.address(), CALLS)
        }
    }
}

/// Runs the members as processes of their own, in both modes, and prints what the server and they have counted.
fn fleet(address: &str, calls: u64) -> Result<(), Failure> {
    println!(
        "mode     calls/s  commands/s at the server  commands a call  hits in memory  invalidations  \
         server's memory, KiB"
    );
    let program = std::env::current_exe()?;
    for mode in ["near", "server"] {
        let server = ServerCounts::read(address)?;
        let began = Instant::now();
        let members: Vec<Child> = (0..MEMBERS)
            .map(|number| {
                Command::new(&program)
                    .args(["member", address, &number.to_string(), mode, &calls.to_string()])
                    .stdout(Stdio::piped())
                    .spawn()
            })
            .collect::<Result<_, _>>()?;
        let (mut hits, mut invalidations) = (0, 0);
        for member in members {
            let output = member.wait_with_output()?;
            if !output.status.success() {
                return Err("a member of the fleet has failed".into());
            }
            let text = String::from_utf8(output.stdout)?;
            let mut numbers = text.split_whitespace().map(str::parse::<u64>);
            hits += numbers.next().ok_or("no hits")??;
            invalidations += numbers.next().ok_or("no invalidations")??;
        }
        let seconds = began.elapsed().as_secs_f64();
        let after = ServerCounts::read(address)?;
        let all = (calls * MEMBERS) as f64;
        let commands = (after.commands - server.commands) as f64;
        println!(
            "{mode:<6} {:>9.0} {:>25.0} {:>16.2} {:>13.1} % {invalidations:>14} {:>21}",
            all / seconds,
            commands / seconds,
            commands / all,
            hits as f64 / (all * 0.95) * 100.0,
            after.memory / 1024,
        );
    }
    Ok(())
}

/// Reads and writes, and prints how many reads memory has answered, and how many keys were invalidated.
fn member(address: &str, number: u64, is_near: bool, calls: u64) -> Result<(), Failure> {
    let mut builder = NearCache::builder()
        .server(address)
        .prefix("load:")
        .capacity(KEYS)
        // A busy machine must not make it fail.
        .call_timeout(Duration::from_secs(30))
        .count_hits();
    if !is_near {
        builder = builder.max_stale(Duration::ZERO);
    }
    let near: BlockingNearCache<u64, Vec<u8>> = builder.connect_blocking()?;
    let ranks = Ranks::new(KEYS, EXPONENT);
    let mut random = number + 1;
    for _ in 0..calls {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = ranks.of((random >> 11) as f64 / (1_u64 << 53) as f64) as u64;
        // Other bits than those of the key.
        if (random.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 100 < 5 {
            near.set(&key, vec![number as u8; BYTES])?;
        } else {
            near.get(&key)?;
        }
    }
    let stats = near.stats();
    println!("{} {}", stats.hits.unwrap_or(0), stats.invalidations);
    Ok(())
}
