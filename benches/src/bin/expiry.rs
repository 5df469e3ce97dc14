//! The cost of expiry: hits and inserts of a cache whose entries expire, relative to one whose
//! entries do not, and the delay of writers while a million entries expire at once.
//!
//! Caches are built side by side and take turns, in a different order each time. The result is the
//! median over all rounds of the ratio of the best turns within a round, because a disturbance from
//! outside can only slow a turn down. All caches of a round use the same hash, so that the same
//! keys share buckets; hits are measured with new caches and a new hash each round.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::error::Error;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ahash::RandomState;
use clap::{Parser, ValueEnum};
use larder::expiry::{CoarseClock, TickingClock};
use larder::{Builder, Cache, Inserted, Listener, Maintenance, Removal, RemovalCause};
use larder_benches::keys::{SplitMix64, scramble, zipf};
use larder_benches::measure::{BATCH, measure};
use larder_benches::report::{Table, median, range};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOUR: Duration = Duration::from_secs(3600);
const SEQUENCE: usize = 1 << 20;

type Timed = Cache<u64, u64, RandomState>;

/// Measures what expiry costs.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// What to measure
    #[arg(value_enum)]
    what: Experiment,
    /// Rounds of hits or inserts; entries, for promptness
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Turns of each cache in a round of hits or inserts
    #[arg(long, default_value_t = 6)]
    turns: usize,
    /// Length of one turn, after a warm-up of the same length
    #[arg(long, default_value_t = 25)]
    milliseconds: u64,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Threads that read and write at the same time, for promptness
    #[arg(long, default_value_t = 0)]
    load: usize,
    /// Entries with a deadline, for inserts and the crowd
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// The number of keys for hits
    #[arg(long, default_value_t = 131_072)]
    resident: u64,
    /// Use inline maintenance
    #[arg(long)]
    inline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Experiment {
    /// Hits, Zipf over resident keys
    Hits,
    /// Inserts of new keys into a full cache
    Inserts,
    /// Inserts while all other entries expire at one moment
    Crowd,
    /// Single entries that expire while the cache is idle, or under load
    Prompt,
}

/// How the entries of a contender expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpiryKind {
    /// Not at all: the baseline of the others.
    Endless,
    /// By a time to live.
    ToLive,
    /// By a time to idle.
    ToIdle,
    /// By both.
    Both,
    /// Each by its own time to live, within an hour.
    Own,
    /// Within a second: lookups have to read the precise clock.
    Soon,
}

/// The clock of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClockKind {
    Default,
    Coarse,
    Ticking,
}

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant(ExpiryKind, ClockKind);

impl Variant {
    const ENDLESS: Self = Self(ExpiryKind::Endless, ClockKind::Default);

    fn name(self) -> String {
        let life = match self.0 {
            ExpiryKind::Endless => "no expiry",
            ExpiryKind::ToLive => "time to live",
            ExpiryKind::ToIdle => "time to idle",
            ExpiryKind::Both => "to live and to idle",
            ExpiryKind::Own => "a ttl for each",
            ExpiryKind::Soon => "less than a second left",
        };
        let clock = match self.1 {
            ClockKind::Default => "",
            ClockKind::Coarse => ", coarse clock",
            ClockKind::Ticking => ", ticking clock",
        };
        format!("{life}{clock}")
    }

    fn cache(self, options: &Options, capacity: u64, seed: u64) -> Result<Timed, Box<dyn Error>> {
        let mode = if options.inline { Maintenance::Inline } else { Maintenance::Background };
        let builder: Builder<u64, u64, RandomState> =
            Cache::builder().hasher(RandomState::with_seeds(seed, 1, 2, 3));
        let builder = builder.capacity(usize::try_from(capacity)?).maintenance(mode);
        let builder = match self.0 {
            ExpiryKind::Endless | ExpiryKind::Own | ExpiryKind::Soon => builder,
            ExpiryKind::ToLive => builder.time_to_live(HOUR),
            ExpiryKind::ToIdle => builder.time_to_idle(HOUR),
            ExpiryKind::Both => builder.time_to_live(2 * HOUR).time_to_idle(HOUR),
        };
        let builder = match self.1 {
            ClockKind::Default => builder,
            ClockKind::Coarse => builder.clock(CoarseClock::default()),
            ClockKind::Ticking => builder.clock(TickingClock::new()),
        };
        Ok(builder.build()?)
    }

    fn insert(self, cache: &Timed, key: u64, random: &mut SplitMix64) {
        let result = match self.0 {
            ExpiryKind::Own => {
                let ttl = Duration::from_millis(60_000 + random.next_u64() % 3_540_000);
                cache.insert_with_ttl(key, key, ttl)
            }
            ExpiryKind::Soon => cache.insert_with_ttl(key, key, Duration::from_millis(990)),
            _ => cache.insert(key, key),
        };
        let _ = black_box(result);
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.what {
        Experiment::Hits => hits(&options),
        Experiment::Inserts => inserts(&options),
        Experiment::Crowd => crowd(&options),
        Experiment::Prompt => prompt(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn hits(options: &Options) -> Result<(), Box<dyn Error>> {
    let timed =
        [ExpiryKind::ToLive, ExpiryKind::ToIdle, ExpiryKind::Both].into_iter().flat_map(|life| {
            [ClockKind::Default, ClockKind::Coarse, ClockKind::Ticking]
                .map(|clock| Variant(life, clock))
        });
    let mut variants = vec![Variant::ENDLESS];
    variants.extend(timed);
    variants
        .extend([ExpiryKind::Own, ExpiryKind::Soon].map(|life| Variant(life, ClockKind::Default)));
    let keys = zipf(options.resident, SEQUENCE, 1);
    let fill = |variant: Variant, cache: &Timed| {
        let mut random = SplitMix64::new(1);
        for number in 0..options.resident {
            variant.insert(cache, scramble(number), &mut random);
        }
        cache.run_pending();
    };
    compare(options, &variants, options.resident, 1, |variant, cache| {
        // Entries that live for less than a turn are inserted again before each turn.
        if variant.0 == ExpiryKind::Soon || cache.is_empty() {
            fill(variant, cache);
        }
        let millis = match variant.0 {
            ExpiryKind::Soon => options.milliseconds.min(300),
            _ => options.milliseconds,
        };
        let turn = Duration::from_millis(millis);
        measure(options.threads, turn, turn, |thread| {
            let mut at = thread * SEQUENCE / options.threads;
            let keys = &keys;
            move || {
                let mut hits = 0;
                for _ in 0..BATCH {
                    at = (at + 1) % SEQUENCE;
                    hits += u64::from(black_box(cache.get(&keys[at])).is_some());
                }
                hits
            }
        })
        .operations_per_second
    })
}

fn inserts(options: &Options) -> Result<(), Box<dyn Error>> {
    let by_default = |life: ExpiryKind| Variant(life, ClockKind::Default);
    let next = AtomicU64::new(0);
    compare(
        options,
        &[
            Variant::ENDLESS,
            by_default(ExpiryKind::ToLive),
            Variant(ExpiryKind::ToLive, ClockKind::Coarse),
            by_default(ExpiryKind::ToIdle),
            by_default(ExpiryKind::Both),
            by_default(ExpiryKind::Own),
        ],
        options.entries,
        usize::MAX,
        |variant, cache| {
            if cache.is_empty() {
                let mut random = SplitMix64::new(1);
                for number in 0..options.entries * 5 / 4 {
                    variant.insert(cache, scramble(number | 1 << 60), &mut random);
                }
            }
            let turn = Duration::from_millis(options.milliseconds);
            measure(options.threads, turn, turn, |thread| {
                let mut random = SplitMix64::new(thread as u64);
                let mut number = next.fetch_add(1 << 32, Ordering::Relaxed);
                move || {
                    for _ in 0..BATCH {
                        number += 1;
                        variant.insert(cache, scramble(number), &mut random);
                    }
                    0
                }
            })
            .operations_per_second
        },
    )
}

/// Lets the variants take turns and prints their rates and their ratios to the first. Caches are
/// rebuilt after every `stay` rounds.
fn compare(
    options: &Options,
    variants: &[Variant],
    capacity: u64,
    stay: usize,
    turn: impl Fn(Variant, &Timed) -> f64,
) -> Result<(), Box<dyn Error>> {
    let mut rates = vec![Vec::new(); variants.len()];
    let mut caches = Vec::new();
    for round in 0..options.rounds {
        if round % stay == 0 {
            caches.clear();
            for variant in variants {
                let cache = variant.cache(options, capacity, round as u64)?;
                // Fills the cache and warms it up.
                let _ = turn(*variant, &cache);
                caches.push(cache);
            }
        }
        let mut best = vec![0.0_f64; variants.len()];
        for step in 0..options.turns * variants.len() {
            let at = (round + step / variants.len() + step) % variants.len();
            best[at] = best[at].max(turn(variants[at], &caches[at]));
        }
        for (all, best) in rates.iter_mut().zip(best) {
            all.push(best);
        }
    }
    let mut table = Table::new(["", "ns", "best", "by no expiry", "least", "most"]);
    for (variant, own) in variants.iter().zip(&rates) {
        let times: Vec<f64> = rates[0].iter().zip(own).map(|(none, own)| none / own).collect();
        let (least, most) = range(&times);
        table.row(vec![
            variant.name(),
            format!("{:.1}", options.threads as f64 * 1e9 / median(own)),
            format!("{:.1}", options.threads as f64 * 1e9 / range(own).1),
            format!("{:.3}", median(&times)),
            format!("{least:.3}"),
            format!("{most:.3}"),
        ]);
    }
    println!(
        "{:?}, {} thread(s), {} rounds of {} turns\n",
        options.what, options.threads, options.rounds, options.turns
    );
    println!("{}", table.render());
    Ok(())
}

/// Measures one writer while a crowd of entries with the same deadline expires.
fn crowd(options: &Options) -> Result<(), Box<dyn Error>> {
    let crowd = usize::try_from(options.entries)?;
    let cache = Variant::ENDLESS.cache(options, options.entries * 2, 1)?;
    let quiet = Duration::from_secs(1);
    let due = Instant::now() + Duration::from_secs(4);
    for number in 0..options.entries {
        let ttl = due.saturating_duration_since(Instant::now());
        cache.insert_with_ttl(scramble(number | 1 << 60), number, ttl);
    }
    cache.run_pending();
    let filled = due.saturating_duration_since(Instant::now());
    if filled < quiet + quiet / 10 {
        return Err("filling took too long for the moment to be met; use fewer --entries".into());
    }
    let writer = |from: u64, until: &dyn Fn() -> bool| {
        let mut waits = Vec::with_capacity(1 << 22);
        let mut number = from;
        while !until() {
            for _ in 0..64 {
                let begin = Instant::now();
                // Inserts the same few keys, so that the cache holds little besides the crowd.
                let _ = black_box(cache.insert(scramble(number % (1 << 16)), number));
                waits.push(begin.elapsed());
                number += 1;
            }
        }
        waits
    };
    thread::sleep(due.saturating_duration_since(Instant::now()).saturating_sub(quiet));
    let mut before = writer(0, &|| Instant::now() >= due);
    let gone = || cache.stats().expirations as usize;
    let first = Cell::new(None);
    let mut during = writer(0, &|| {
        if first.get().is_none() && gone() > 0 {
            first.set(Some(due.elapsed()));
        }
        gone() >= crowd
    });
    let all = due.elapsed();
    before.sort_unstable();
    during.sort_unstable();
    let mut table = Table::new(["inserts", "count", "p50 µs", "p99 µs", "p99.9 µs", "most µs"]);
    for (name, waits) in [("before the moment", &before), ("while the crowd goes", &during)] {
        let at = |part: f64| {
            let index = ((waits.len() - 1) as f64 * part) as usize;
            format!("{:.1}", waits[index].as_secs_f64() * 1e6)
        };
        table.row(vec![
            name.to_owned(),
            waits.len().to_string(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
        ]);
    }
    println!("{crowd} entries due at once, {} partition(s)\n", cache.partitions());
    println!("{}", table.render());
    println!(
        "first removed {:?} after the moment, all after {all:?}",
        first.get().unwrap_or_default()
    );
    Ok(())
}

/// Measures how long after its deadline an entry is removed: in an idle cache, or while threads
/// read and write.
fn prompt(options: &Options) -> Result<(), Box<dyn Error>> {
    /// The default, 2^24 nanoseconds.
    const TICK: Duration = Duration::from_nanos(1 << 24);
    /// The keys of the load. None of them is ever evicted.
    const LOADED: u64 = 1 << 14;
    let start = Instant::now();
    let now_ns = move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let (sender, removed) = mpsc::channel();
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        if removal.cause == RemovalCause::Expired {
            // The values are the deadlines.
            let _ = sender.send(now_ns().saturating_sub(*removal.value));
        }
    });
    let mode = if options.inline { Maintenance::Inline } else { Maintenance::Background };
    let cache: Cache<u64, u64> =
        Cache::builder().capacity(1 << 18).maintenance(mode).listener(listener).build()?;
    let is_over = AtomicBool::new(false);
    let mut delays = thread::scope(|scope| {
        for thread in 0..options.load {
            let (cache, is_over) = (&cache, &is_over);
            scope.spawn(move || {
                let mut random = SplitMix64::new(thread as u64);
                while !is_over.load(Ordering::Relaxed) {
                    let key = random.next_u64() % LOADED;
                    let _ = match random.next_u64() % 4 {
                        0 => black_box(cache.insert(key, key)) == Inserted::Added,
                        _ => black_box(cache.get(&key)).is_some(),
                    };
                }
            });
        }
        let mut random = SplitMix64::new(u64::MAX);
        let (mut inserted, mut key) = (0, LOADED);
        while inserted < options.rounds {
            let ttl = Duration::from_micros(20_000 + random.next_u64() % 100_000);
            let now = now_ns();
            let _ = cache.insert_with_ttl(key, now + ttl.as_nanos() as u64, ttl);
            // Otherwise this thread was preempted, and the deadline is later than it computed.
            if now_ns() - now < 100_000 {
                inserted += 1;
            } else {
                cache.remove_if(&key, |_, _| true);
            }
            key += 1;
            thread::sleep(Duration::from_micros(random.next_u64() % 10_000));
        }
        let ticks = |_| removed.recv().map(|ns| ns as f64 / TICK.as_nanos() as f64);
        let delays: Result<Vec<_>, _> = (0..options.rounds).map(ticks).collect();
        is_over.store(true, Ordering::Relaxed);
        delays
    })?;
    delays.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| delays[((delays.len() - 1) as f64 * part) as usize];
    println!(
        "{} entries, {} thread(s) of load; removed so many ticks after their deadlines:\n",
        delays.len(),
        options.load
    );
    println!(
        "median {:.2}, p99 {:.2}, most {:.2}; above 1.1: {}",
        at(0.5),
        at(0.99),
        at(1.0),
        delays.iter().filter(|delay| **delay > 1.1).count()
    );
    Ok(())
}
