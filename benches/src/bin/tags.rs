//! The cost of tags: an invalidation of a million entries, and hits and inserts of entries with
//! tags relative to those without, measured in turns. The median of the ratios within a round is
//! reported.

#![forbid(unsafe_code)]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::Parser;
use larder::Cache;
use larder_benches::report::{Table, median, range};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what tags cost.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// Entries that carry the tag
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Rounds
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Options { entries, rounds } = Options::parse();
    let capacity = usize::try_from(2 * entries)?;
    let cache: Cache<u64, u64> = Cache::builder().capacity(capacity).build()?;
    let plain: Cache<u64, u64> = Cache::builder().capacity(capacity).build()?;
    let mut micros = Vec::new();
    let (mut inserts, mut hits) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let tagged = time(|| {
            for key in 0..entries {
                black_box(cache.insert_with_tags(key, key, ["all", "even"]));
            }
        });
        let untagged = time(|| {
            for key in 0..entries {
                black_box(plain.insert(key, key));
            }
        });
        inserts.push(tagged.as_secs_f64() / untagged.as_secs_f64());
        let tagged = time(|| (0..entries).for_each(|key| assert_eq!(cache.get(&key), Some(key))));
        let untagged = time(|| (0..entries).for_each(|key| assert_eq!(plain.get(&key), Some(key))));
        hits.push(tagged.as_secs_f64() / untagged.as_secs_f64());
        let took = time(|| assert!(black_box(&cache).invalidate_tag("all")));
        micros.push(took.as_secs_f64() * 1e6);
        assert!((0..entries).step_by(997).all(|key| cache.get(&key).is_none()));
    }
    println!("{entries} entries with two tags each, {rounds} rounds");
    let mut table = Table::new(["", "median", "least", "most"]);
    for (what, figures) in [
        ("invalidate_tag, µs", &micros),
        ("insert with two tags / without, time", &inserts),
        ("hit of an entry with two tags / without, time", &hits),
    ] {
        let (least, most) = range(figures);
        table.row(vec![
            what.to_owned(),
            format!("{:.2}", median(figures)),
            format!("{least:.2}"),
            format!("{most:.2}"),
        ]);
    }
    print!("{}", table.render());
    Ok(())
}

fn time(what: impl FnOnce()) -> Duration {
    let start = Instant::now();
    what();
    start.elapsed()
}
