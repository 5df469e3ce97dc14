//! Three clients of one `redis-server`, measured one after the other in one run: larder-near, the crate `redis` with its
//! own cache, and `fred`, which has none.
//!
//! `cargo run --release -p larder-near-peers --features peers [calls of each task]` starts the server itself, on loopback.
//!
//! **Throughput.** Eight tasks share one client and draw keys by a Zipf distribution; 5 % of their calls write, over
//! another connection, as another process would. Each key is written by one task only, so its versions are ordered.
//! A read is *stale* if it finds a version that had been overwritten, and the writer had its answer, before the read
//! began. It is as old as the time since that answer. After the load, and a pause in which all that was under way
//! arrives, each key is read once more: what is stale then stays so until the key is written again.
//!
//! **Races.** For many keys that nobody has read yet, a read and a write are made at the same time; then again a pause,
//! and one more read of each.

#![forbid(unsafe_code)]

mod clients;
#[path = "../../../crates/larder-near/examples/own_servers/mod.rs"]
#[allow(dead_code, reason = "other programs use the rest")]
mod own_servers;
#[path = "../../../crates/larder-near/examples/zipf/mod.rs"]
mod zipf;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clients::{Reader, Writer};
use own_servers::{Failure, OwnServer, ServerCounts};
use zipf::Ranks;

const KEYS: usize = 10_000;
const TASKS: usize = 8;
const CALLS: u64 = 25_000;
const EXPONENT: f64 = 0.99;
const RACES: usize = 2_000;
/// After this, what the server has pushed has arrived.
const PAUSE: Duration = Duration::from_secs(1);

fn main() -> Result<(), Failure> {
    let calls = std::env::args().nth(1).map_or(Ok(CALLS), |calls| calls.parse())?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!(
        "client                 calls/s  commands/s  stale reads  oldest, ms  stale after a pause  raced keys stale"
    );
    for name in ["larder-near", "redis, cache-aio", "fred, no cache"] {
        let server = OwnServer::start(None)?.ok_or("there is no redis-server")?;
        println!("{name:<20} {}", runtime.block_on(measure(name, &server, calls))?);
    }
    println!(
        "\n{KEYS} keys, zipf {EXPONENT}, 5 % writes, {TASKS} tasks with {calls} calls each; {RACES} raced keys. Commands \
         are those that the server has carried out."
    );
    Ok(())
}

async fn measure(name: &str, server: &OwnServer, calls: u64) -> Result<String, Failure> {
    let reader = Reader::connect(name, &server.address()).await?;
    let writer = Writer::connect(name, &server.address()).await?;
    let history = Arc::new(History::new());
    for key in 0..KEYS {
        history.write(&writer, key).await?;
    }
    let ranks = Arc::new(Ranks::new(KEYS, EXPONENT));
    let counts = ServerCounts::read(&server.address())?;
    let began = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (reader, writer) = (reader.clone(), writer.clone());
            let (history, ranks) = (Arc::clone(&history), Arc::clone(&ranks));
            tokio::spawn(async move { load(task, calls, reader, writer, &history, &ranks).await })
        })
        .collect();
    let (mut stale, mut oldest) = (0, Duration::ZERO);
    for task in tasks {
        let seen = task.await??;
        stale += seen.stale;
        oldest = oldest.max(seen.oldest);
    }
    let seconds = began.elapsed().as_secs_f64();
    let commands = ServerCounts::read(&server.address())?.commands - counts.commands;
    tokio::time::sleep(PAUSE).await;
    let left = history.count_stale(&reader, 0..KEYS).await?;
    let raced = race(&reader, &writer, &history).await?;
    let all = calls as f64 * TASKS as f64;
    Ok(format!(
        "{:>9.0} {:>11.0} {stale:>12} {:>11.2} {left:>20} {raced:>17}",
        all / seconds,
        commands as f64 / seconds,
        oldest.as_secs_f64() * 1e3,
    ))
}

/// The stale reads of one task.
#[derive(Default)]
struct Seen {
    stale: u64,
    oldest: Duration,
}

async fn load(
    task: usize,
    calls: u64,
    reader: Reader,
    writer: Writer,
    history: &History,
    ranks: &Ranks,
) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let mut random = task as u64 + 1;
    for _ in 0..calls {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = ranks.of((random >> 11) as f64 / (1_u64 << 53) as f64);
        // Other bits than those of the key.
        if (random.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % 100 < 5 {
            // One of the keys that are this task's to write, nearly as hot as the one that was drawn.
            history.write(&writer, key - key % TASKS + task).await?;
        } else if let Some(age) = history.read(&reader, key).await? {
            seen.stale += 1;
            seen.oldest = seen.oldest.max(age);
        }
    }
    Ok(seen)
}

/// Reads and writes each of the keys at the same time. Returns how many reads are stale a while later.
async fn race(reader: &Reader, writer: &Writer, history: &History) -> Result<usize, Failure> {
    for key in KEYS..KEYS + RACES {
        history.write(writer, key).await?;
    }
    for key in KEYS..KEYS + RACES {
        let (read, written) = tokio::join!(history.read(reader, key), history.write(writer, key));
        read?;
        written?;
    }
    tokio::time::sleep(PAUSE).await;
    history.count_stale(reader, KEYS..KEYS + RACES).await
}

/// What was written under each key, and when.
struct History {
    began: Instant,
    keys: Vec<Versions>,
}

#[derive(Default)]
struct Versions {
    /// The latest version whose writer has had its answer; 0 before the first.
    answered: AtomicU64,
    /// When each version was answered, in nanoseconds; the first version is 1.
    answered_ns: Mutex<Vec<u64>>,
}

impl History {
    fn new() -> Self {
        let keys = std::iter::repeat_with(Versions::default).take(KEYS + RACES).collect();
        Self { began: Instant::now(), keys }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Writes the next version of a key, which no other task writes meanwhile.
    async fn write(&self, writer: &Writer, key: usize) -> Result<(), Failure> {
        let versions = &self.keys[key];
        // Relaxed: one task writes it.
        let version = versions.answered.load(Ordering::Relaxed) + 1;
        writer.set(key as u64, version).await?;
        let now = self.now_ns();
        versions.answered_ns.lock().unwrap_or_else(PoisonError::into_inner).push(now);
        // Release: publishes the time; pairs with the load in `read`.
        versions.answered.store(version, Ordering::Release);
        Ok(())
    }

    /// Reads a key. Returns how old the version is that it found if that is stale.
    async fn read(&self, reader: &Reader, key: usize) -> Result<Option<Duration>, Failure> {
        let versions = &self.keys[key];
        // Acquire: pairs with the store in `write`.
        let answered = versions.answered.load(Ordering::Acquire);
        let began_ns = self.now_ns();
        let found = reader.get(key as u64).await?;
        if found >= answered {
            return Ok(None);
        }
        let times = versions.answered_ns.lock().unwrap_or_else(PoisonError::into_inner);
        // That of the version that has overwritten what was found.
        let overwritten_ns = times.get(found as usize).copied().unwrap_or(began_ns);
        Ok(Some(Duration::from_nanos(began_ns.saturating_sub(overwritten_ns))))
    }

    async fn count_stale(
        &self,
        reader: &Reader,
        keys: std::ops::Range<usize>,
    ) -> Result<usize, Failure> {
        let mut stale = 0;
        for key in keys {
            stale += usize::from(self.read(reader, key).await?.is_some());
        }
        Ok(stale)
    }
}
