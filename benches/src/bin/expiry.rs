//! What time costs: hits and inserts of a cache whose entries expire, by those of one whose
//! entries don't, and what a million entries that are due at once do to writers.
//!
//! Caches are built side by side and take turns, in another order each time; what counts is the
//! median over all rounds of the ratio of the best turns within a round, because what disturbs a turn
//! from outside only ever slows it down. All caches of a round hash alike, so that the same keys
//! share buckets; hits are measured with other caches and another hash each round.

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
    what: What,
    /// Rounds of hits or inserts; entries, for promptness
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Turns of each cache in a round of hits or inserts
    #[arg(long, default_value_t = 6)]
    turns: usize,
    /// Length of one turn, which goes on uncounted for as long before
    #[arg(long, default_value_t = 25)]
    milliseconds: u64,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Threads that read and write meanwhile, for promptness
    #[arg(long, default_value_t = 0)]
    load: usize,
    /// Entries with a timer, for inserts and the crowd
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Keys that hits go to
    #[arg(long, default_value_t = 131_072)]
    resident: u64,
    /// With inline maintenance
    #[arg(long)]
    inline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Hits, Zipf over keys that are all there
    Hits,
    /// Inserts of new keys into a full cache
    Inserts,
    /// Inserts while all other entries expire at one moment
    Crowd,
    /// Single entries that expire while nobody uses the cache, or threads do
    Prompt,
}

/// How the entries of a contender expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Not at all: what the others are compared with.
    Endless,
    /// By a time to live.
    ToLive,
    /// By a time to idle.
    ToIdle,
    /// By both.
    Both,
    /// Each with a lifetime of its own, within an hour.
    Own,
    /// Within a second: lookups have to read the full clock.
    Soon,
}

/// Which clock tells that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByClock {
    Default,
    Coarse,
    Ticking,
}

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant(Life, ByClock);

impl Variant {
    const ENDLESS: Self = Self(Life::Endless, ByClock::Default);

    fn name(self) -> String {
        let life = match self.0 {
            Life::Endless => "no expiry",
            Life::ToLive => "time to live",
            Life::ToIdle => "time to idle",
            Life::Both => "to live and to idle",
            Life::Own => "a ttl for each",
            Life::Soon => "less than a second left",
        };
        let clock = match self.1 {
            ByClock::Default => "",
            ByClock::Coarse => ", coarse clock",
            ByClock::Ticking => ", ticking clock",
        };
        format!("{life}{clock}")
    }

    fn cache(self, options: &Options, capacity: u64, seed: u64) -> Result<Timed, Box<dyn Error>> {
        let mode = if options.inline { Maintenance::Inline } else { Maintenance::Background };
        let builder: Builder<u64, u64, RandomState> =
            Cache::builder().hasher(RandomState::with_seeds(seed, 1, 2, 3));
        let builder = builder.capacity(usize::try_from(capacity)?).maintenance(mode);
        let builder = match self.0 {
            Life::Endless | Life::Own | Life::Soon => builder,
            Life::ToLive => builder.time_to_live(HOUR),
            Life::ToIdle => builder.time_to_idle(HOUR),
            Life::Both => builder.time_to_live(2 * HOUR).time_to_idle(HOUR),
        };
        let builder = match self.1 {
            ByClock::Default => builder,
            ByClock::Coarse => builder.clock(CoarseClock::default()),
            ByClock::Ticking => builder.clock(TickingClock::new()),
        };
        Ok(builder.build()?)
    }

    fn insert(self, cache: &Timed, key: u64, random: &mut SplitMix64) {
        let result = match self.0 {
            Life::Own => {
                let ttl = Duration::from_millis(60_000 + random.next_u64() % 3_540_000);
                cache.insert_with_ttl(key, key, ttl)
            }
            Life::Soon => cache.insert_with_ttl(key, key, Duration::from_millis(990)),
            _ => cache.insert(key, key),
        };
        let _ = black_box(result);
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.what {
        What::Hits => hits(&options),
        What::Inserts => inserts(&options),
        What::Crowd => crowd(&options),
        What::Prompt => prompt(&options),
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
    let timed = [Life::ToLive, Life::ToIdle, Life::Both].into_iter().flat_map(|life| {
        [ByClock::Default, ByClock::Coarse, ByClock::Ticking].map(|clock| Variant(life, clock))
    });
    let mut variants = vec![Variant::ENDLESS];
    variants.extend(timed);
    variants.extend([Life::Own, Life::Soon].map(|life| Variant(life, ByClock::Default)));
    let keys = zipf(options.resident, SEQUENCE, 1);
    let fill = |variant: Variant, cache: &Timed| {
        let mut random = SplitMix64::new(1);
        for number in 0..options.resident {
            variant.insert(cache, scramble(number), &mut random);
        }
        cache.run_pending();
    };
    compare(options, &variants, options.resident, 1, |variant, cache| {
        // Those that live for less than a turn are put back before each.
        if variant.0 == Life::Soon || cache.is_empty() {
            fill(variant, cache);
        }
        let millis = match variant.0 {
            Life::Soon => options.milliseconds.min(300),
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
    let by_default = |life: Life| Variant(life, ByClock::Default);
    let next = AtomicU64::new(0);
    compare(
        options,
        &[
            Variant::ENDLESS,
            by_default(Life::ToLive),
            Variant(Life::ToLive, ByClock::Coarse),
            by_default(Life::ToIdle),
            by_default(Life::Both),
            by_default(Life::Own),
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

/// Lets the variants take turns and prints their rates and ratios to the first. Caches stay for so
/// many rounds.
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
                // Fills and warms.
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

/// One writer, and a crowd of entries whose deadlines are one moment.
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
                // Over the same few keys, so that the crowd alone fills the cache.
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

/// How long after its deadline an entry is gone: if nobody calls, or while threads read and write.
fn prompt(options: &Options) -> Result<(), Box<dyn Error>> {
    /// The default, 2^24 nanoseconds.
    const TICK: Duration = Duration::from_nanos(1 << 24);
    /// Keys that the load goes to. None of them is ever evicted.
    const LOADED: u64 = 1 << 14;
    let start = Instant::now();
    let now_ns = move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let (sender, removed) = mpsc::channel();
    let listener = Listener::new(move |removal: &Removal<'_, u64, u64>| {
        if removal.cause == RemovalCause::Expired {
            // Their values are their deadlines.
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
            // Else this thread was off its core, and the deadline is later than it thinks.
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
