//! The cost of a get as the number of entries grows, in larder and in papaya.
//!
//! Both are filled with the same keys, stay alive side by side and are measured in turns. Each key
//! is read once beforehand, because the first hit on an entry marks it and may notify the policy:
//! among many entries most gets would be first hits, among few almost none (`--first-hits` measures
//! this). Keys are drawn uniformly for every batch, so that no get finds its entry in the
//! processor's cache because of a repeated sequence. The result is the rise, the cost relative to
//! that at the smallest size. Costs are compared within a round, so that the ratio of the two rises
//! does not depend on what the machine did between two sizes.

#![forbid(unsafe_code)]

use std::hash::RandomState;
use std::time::Duration;

use clap::Parser;
use larder::Cache;
use larder_benches::contender::{Contender, Larder, Name, Papaya, SameHasher};
use larder_benches::keys::{SplitMix64, fill_uniform, scramble};
use larder_benches::measure::{BATCH, measure};
use larder_benches::report::{Table, median, median_ratio};
use larder_benches::workload::get_each;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares how the cost of a get grows with the number of entries.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// The smallest number of entries, which is then multiplied by ten repeatedly
    #[arg(long, default_value_t = 1_000)]
    min_entries: u64,
    /// The greatest number of entries
    #[arg(long, default_value_t = 10_000_000)]
    max_entries: u64,
    /// Threads that look up at once
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// How often each side is measured at each size
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long one measurement takes, after a fifth of it as warm-up
    #[arg(long, default_value_t = 300)]
    millis: u64,
    /// Use one pin or guard for 1,024 gets instead of one for each
    #[arg(long)]
    pinned: bool,
    /// Do not read the keys beforehand, so that among many entries most gets are the first hit on
    /// theirs
    #[arg(long)]
    first_hits: bool,
    /// Use each side's own hasher: papaya's is slower, which makes its rise look smaller
    #[arg(long)]
    own_hashers: bool,
}

/// Nanoseconds per get, one value for each round.
struct Costs {
    entries: u64,
    larder: Vec<f64>,
    papaya: Vec<f64>,
}

fn main() {
    let options = Options::parse();
    let mut costs = Vec::new();
    let mut entries = options.min_entries;
    while entries <= options.max_entries {
        eprintln!("{entries} entries");
        costs.push(measure_size(&options, entries));
        entries *= 10;
    }
    println!("{}", render(&options, &costs));
}

fn measure_size(options: &Options, entries: u64) -> Costs {
    // All sizes have the same bound, so that only the number of entries differs. It is far enough
    // above the greatest size that partitions may fill unevenly.
    let capacity = 2 * options.max_entries as usize;
    let builder = Cache::<u64, u64>::builder();
    if options.own_hashers {
        let larder = Larder::new(Name::Larder, capacity, builder);
        alternate(options, entries, &larder, &Papaya::new(RandomState::new()))
    } else {
        let larder = Larder::new(Name::Larder, capacity, builder.hasher(SameHasher::new()));
        alternate(options, entries, &larder, &Papaya::new(SameHasher::new()))
    }
}

fn alternate<L, P>(options: &Options, entries: u64, larder: &L, papaya: &P) -> Costs
where
    L: Contender<Key = u64, Value = u64>,
    P: Contender<Key = u64, Value = u64>,
{
    fill(options, larder, entries);
    fill(options, papaya, entries);
    let mut costs = Costs { entries, larder: Vec::new(), papaya: Vec::new() };
    for round in 0..options.rounds {
        // The order alternates, because the first side finds the processor's caches as the other
        // left them.
        if round % 2 == 0 {
            costs.larder.push(cost(options, entries, larder, round));
            costs.papaya.push(cost(options, entries, papaya, round));
        } else {
            costs.papaya.push(cost(options, entries, papaya, round));
            costs.larder.push(cost(options, entries, larder, round));
        }
    }
    costs
}

fn fill<C: Contender<Key = u64, Value = u64>>(options: &Options, contender: &C, entries: u64) {
    for number in 0..entries {
        contender.insert(scramble(number), number);
    }
    contender.run_pending();
    assert_eq!(contender.entries(), Some(entries as usize), "nothing may be evicted here");
    if !options.first_hits {
        let hits =
            (0..entries).filter(|number| contender.get(&scramble(*number)).is_some()).count();
        assert_eq!(hits as u64, entries, "every key is present");
        contender.run_pending();
    }
}

/// Nanoseconds per get for one thread.
fn cost<C: Contender<Key = u64, Value = u64>>(
    options: &Options,
    entries: u64,
    contender: &C,
    round: usize,
) -> f64 {
    let duration = Duration::from_millis(options.millis);
    let rate = measure(options.threads, duration / 5, duration, |thread| {
        let mut random = SplitMix64::new((round * options.threads + thread) as u64);
        let mut keys = [0; BATCH];
        move || {
            fill_uniform(&mut keys, entries, &mut random);
            if options.pinned { contender.get_all(&keys) } else { get_each(contender, &keys) }
        }
    });
    assert_eq!(rate.hits, rate.operations, "every key is present");
    options.threads as f64 * 1e9 / rate.operations_per_second
}

fn render(options: &Options, costs: &[Costs]) -> String {
    let mut table = Table::new([
        "entries",
        "larder ns",
        "papaya ns",
        "larder / papaya",
        "larder's rise",
        "papaya's rise",
        "rise / rise",
    ]);
    for cost in costs {
        let first = &costs[0];
        let (larder, papaya) = (median(&cost.larder), median(&cost.papaya));
        let ratio = median_ratio(&cost.larder, &cost.papaya);
        table.row(vec![
            cost.entries.to_string(),
            format!("{larder:.1}"),
            format!("{papaya:.1}"),
            format!("{ratio:.2}"),
            format!("{:.2}", larder / median(&first.larder)),
            format!("{:.2}", papaya / median(&first.papaya)),
            format!("{:.2}", ratio / median_ratio(&first.larder, &first.papaya)),
        ]);
    }
    format!(
        "{} thread(s), {}, {}, hasher: {}, {} rounds of {} ms\n\
         goal: rise / rise at most 1 in the last row\n\n{}",
        options.threads,
        if options.pinned { "one pin for 1,024 gets" } else { "one pin for each get" },
        if options.first_hits { "entries not read before" } else { "entries read before" },
        if options.own_hashers { "each its own" } else { "ahash for both" },
        options.rounds,
        options.millis,
        table.render(),
    )
}
