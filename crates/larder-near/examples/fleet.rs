//! A fleet: three processes with near caches over one cluster or one server, which read and write the same keys, and
//! what each of them has seen of the others' writes.
//!
//! `cargo run --release --package larder-near --example fleet` starts a cluster of three `redis-server`s of its own;
//! with `single`, one server. `fleet redis://host:port` uses the server that is named, and with several
//! addresses the cluster to which they belong. `fleet page` and then any of these goes on for a minute, and shows
//! what the processes see on a page in the browser, whose address it prints, until Enter is pressed.

mod fleet_page;
#[allow(dead_code, reason = "other programs use the rest")]
mod own_servers;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fleet_page::{Board, HEADS, Report};
use larder_near::{BlockingNearCache, NearCache};
use own_servers::{Failure, OwnCluster, OwnServer};

const MEMBERS: usize = 3;
const KEYS: u64 = 1000;
/// The calls of a member, if there is no page to look at.
const CALLS: u64 = 5_000;
/// How long a member goes on for the page.
const WATCHED: Duration = Duration::from_secs(60);
const MAX_STALE: Duration = Duration::from_secs(1);
const REPORT_PERIOD: Duration = Duration::from_millis(200);

/// When the value was written, by the clock that all processes of this machine share, in nanoseconds.
type Written = u64;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (has_page, rest) = match &arguments[..] {
        [first, number, kind, addresses @ ..] if first == "member" => {
            return member(addresses, number.parse()?, kind == "page");
        }
        [first, rest @ ..] if first == "page" => (true, rest),
        rest => (false, rest),
    };
    match rest {
        [kind] if kind == "single" => match OwnServer::start(None)? {
            Some(server) => fleet(&[server.address()], has_page),
            None => skip(),
        },
        [] => match OwnCluster::start()? {
            Some(cluster) => fleet(&cluster.addresses(), has_page),
            None => skip(),
        },
        addresses => fleet(addresses, has_page),
    }
}

fn skip() -> Result<(), Failure> {
    println!("SKIPPED: the fleet, for want of redis-server; name a server's address");
    Ok(())
}

/// Runs the members as processes of their own, and shows what they report.
fn fleet(addresses: &[String], has_page: bool) -> Result<(), Failure> {
    let board = Board::new(MEMBERS, MAX_STALE);
    if has_page {
        println!("the page is at http://{}/", board.serve()?);
    }
    let program = std::env::current_exe()?;
    let mut members: Vec<Child> = (0..MEMBERS)
        .map(|number| {
            Command::new(&program)
                .args(["member", &number.to_string(), if has_page { "page" } else { "table" }])
                .args(addresses)
                .stdout(Stdio::piped())
                .spawn()
        })
        .collect::<Result<_, _>>()?;
    std::thread::scope(|scope| {
        let followers: Vec<_> = members
            .iter_mut()
            .enumerate()
            .filter_map(|(number, member)| Some((number, member.stdout.take()?)))
            .map(|(number, output)| {
                scope.spawn({
                    let board = &board;
                    move || board.follow(number, output)
                })
            })
            .collect();
        for follower in followers {
            follower.join().map_err(|_| "a reader has panicked")??;
        }
        Ok::<_, Failure>(())
    })?;
    for member in &mut members {
        if !member.wait()?.success() {
            return Err("a member of the fleet has failed".into());
        }
    }
    let row = |first: &str, cells: &[String]| {
        let cells = cells.iter().map(|cell| format!("{cell:>15}"));
        println!("{first:>6}{}", cells.collect::<String>());
    };
    row("member", &HEADS.map(str::to_owned));
    for (number, report) in board.latest().iter().enumerate() {
        row(&number.to_string(), &report.cells());
    }
    println!(
        "\n{} server(s). A read is stale if it found a value that another member had overwritten before.",
        addresses.len()
    );
    println!("The promise: none is older than {} ms.", MAX_STALE.as_millis());
    if has_page {
        println!("Press Enter to end.");
        std::io::stdin().read_line(&mut String::new())?;
    }
    Ok(())
}

/// Reads and writes random keys, some far more often than others, and notes the reads that were stale.
fn member(addresses: &[String], number: u64, has_page: bool) -> Result<(), Failure> {
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
    let mut report = Report::default();
    let mut random = number + 1;
    let (began, mut reported) = (Instant::now(), Instant::now());
    let mut calls = 0;
    while if has_page { began.elapsed() < WATCHED } else { calls < CALLS } {
        calls += 1;
        if reported.elapsed() > REPORT_PERIOD {
            reported = Instant::now();
            say(&mut report, &near, began);
        }
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = (random >> 40) as f64 / (1 << 24) as f64;
        let key = (uniform.powi(4) * KEYS as f64) as u64;
        if (random >> 20) % 100 < 5 {
            near.set(&key, now()?)?;
            continue;
        }
        report.reads += 1;
        let read_at = now()?;
        let value = near.get(&key)?;
        let (before, before_at) = &mut found[key as usize];
        // The read before found what had been overwritten by this value by then.
        if let Some(written) = value
            && value != *before
            && *before_at > written
        {
            report.add_stale(*before_at - written);
        }
        (*before, *before_at) = (value, read_at);
    }
    say(&mut report, &near, began);
    if Duration::from_nanos(report.oldest_ns) > MAX_STALE {
        return Err("the promise was broken".into());
    }
    Ok(())
}

/// Prints the report of a member.
fn say(report: &mut Report, near: &BlockingNearCache<u64, Written>, began: Instant) {
    let stats = near.stats();
    report.hits = stats.hits.unwrap_or(0);
    report.writes = stats.writes;
    report.fills_refused = stats.fills_refused;
    report.elapsed_ms = began.elapsed().as_millis() as u64;
    println!("{}", report.to_line());
    report.oldest_of_late_ns = 0;
}

fn now() -> Result<u64, Failure> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}
