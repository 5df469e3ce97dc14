//! Hit ratios of larder's policies over recorded and synthetic traces.
//!
//! Replays each trace at each of its capacities, read-through: get, and insert on a miss. Prints
//! the results beside the reference ratios of the folder of traces. If the reference has the same
//! policy, the difference shows whether ours is correct. Otherwise the summary shows the means, how often
//! ours has won against each reference, and where it is furthest behind.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Parser, ValueEnum};
use larder::{BuildError, Cache, Maintenance, Policy};
use larder_benches::contender::SameHasher;
use larder_benches::report::{Table, mean};
use larder_benches::trace::{Reference, Trace, TraceArgs};

/// Replays traces and prints hit ratios beside the references.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    #[command(flatten)]
    traces: TraceArgs,
    /// Policies to replay them with
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [PolicyArg::Default, PolicyArg::Lru, PolicyArg::Fifo, PolicyArg::Lfu, PolicyArg::Sieve, PolicyArg::S3fifo]
    )]
    policies: Vec<PolicyArg>,
    /// The mode of maintenance; `inline` makes a replay exact and reproducible
    #[arg(long, default_value = "inline")]
    maintenance: MaintenanceArg,
    /// Partitions of the cache; 0 leaves the number to the library
    #[arg(long, default_value_t = 1)]
    partitions: usize,
    /// Threads that replay a trace together, each taking the next request
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seeds of the hasher, which partitions and policies that sample or remember keys by hash depend on. With
    /// several, a row has the means over them
    #[arg(long, value_delimiter = ',', default_value = "1")]
    seeds: Vec<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MaintenanceArg {
    Inline,
    Background,
}

/// The policies of larder, named like the references.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PolicyArg {
    /// The builder's default.
    Default,
    Lru,
    Fifo,
    Lfu,
    Sieve,
    S3fifo,
}

impl std::fmt::Display for PolicyArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("no variant is skipped");
        f.pad(value.get_name())
    }
}

/// The hit ratios of one trace at one capacity, in percent.
struct Row {
    trace: String,
    is_synthetic: bool,
    capacity_entries: usize,
    /// For each requested policy, the mean over the seeds.
    ours: Vec<f64>,
    /// For each requested policy, one for each seed.
    by_seed: Vec<Vec<f64>>,
    /// One for each column of the reference; empty if the reference has no such row.
    references: Vec<f64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let reference = Reference::load(&options.traces.folder)?;
    let mut rows = Vec::new();
    options.traces.for_each(|trace| {
        replay_all(options, trace, &reference, &mut rows).map_err(Box::<dyn Error>::from)
    })?;
    println!("{}", render_rows(options, &reference, &rows));
    println!("{}", render_means(options, &reference, &rows));
    println!("{}", render_contests(options, &reference, &rows));
    Ok(())
}

/// Replays `trace` at each of its capacities with each policy.
fn replay_all(
    options: &Options,
    trace: &Trace,
    reference: &Reference,
    rows: &mut Vec<Row>,
) -> Result<(), BuildError> {
    eprintln!("{}: {} requests", trace.name, trace.keys.len());
    for &capacity_entries in &trace.capacities_entries {
        let replays = options.policies.iter().map(|&policy| {
            let seeds = options.seeds.iter().map(|&seed| {
                let cache = build(options, policy, capacity_entries, seed)?;
                Ok(100.0 * replay(&cache, &trace.keys, options.threads))
            });
            seeds.collect()
        });
        let by_seed: Vec<Vec<f64>> = replays.collect::<Result<_, BuildError>>()?;
        rows.push(Row {
            trace: trace.name.clone(),
            is_synthetic: trace.is_synthetic(),
            capacity_entries,
            ours: by_seed.iter().map(|ratios| mean(ratios)).collect(),
            by_seed,
            references: reference
                .row(&trace.name, capacity_entries)
                .map_or_else(Vec::new, <[f64]>::to_vec),
        });
    }
    Ok(())
}

fn build(
    options: &Options,
    policy: PolicyArg,
    capacity_entries: usize,
    seed: u64,
) -> Result<Cache<u32, u32, SameHasher>, BuildError> {
    let maintenance = match options.maintenance {
        MaintenanceArg::Inline => Maintenance::Inline,
        MaintenanceArg::Background => Maintenance::Background,
    };
    let hasher = SameHasher::with_seeds(seed, 0, 0, 0);
    let builder = Cache::builder().hasher(hasher);
    let mut builder = builder.capacity(capacity_entries).maintenance(maintenance);
    if options.partitions > 0 {
        builder = builder.partitions(options.partitions);
    }
    let builder = match policy {
        PolicyArg::Default => builder,
        PolicyArg::Lru => builder.policy(Policy::lru()),
        PolicyArg::Fifo => builder.policy(Policy::fifo()),
        PolicyArg::Lfu => builder.policy(Policy::lfu()),
        PolicyArg::Sieve => builder.policy(Policy::sieve()),
        PolicyArg::S3fifo => builder.policy(Policy::s3_fifo()),
    };
    builder.build()
}

/// Hits divided by requests, from 0 to 1.
fn replay(cache: &Cache<u32, u32, SameHasher>, keys: &[u32], threads: usize) -> f64 {
    let next = AtomicUsize::new(0);
    let replay_some = || {
        let mut hits = 0_u64;
        while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
            if cache.get(key).is_some() {
                hits += 1;
            } else {
                let _ = cache.insert(*key, *key);
            }
        }
        hits
    };
    let hits: u64 = if threads <= 1 {
        replay_some()
    } else {
        std::thread::scope(|scope| {
            let replays: Vec<_> = (0..threads).map(|_| scope.spawn(replay_some)).collect();
            replays.into_iter().map(|replay| replay.join().expect("a replay does not panic")).sum()
        })
    };
    hits as f64 / keys.len() as f64
}

fn render_rows(options: &Options, reference: &Reference, rows: &[Row]) -> String {
    let columns: Vec<Option<usize>> =
        options.policies.iter().map(|policy| reference.column(&policy.to_string())).collect();
    let mut headings = vec!["trace".to_owned(), "capacity".to_owned()];
    for (policy, column) in options.policies.iter().zip(&columns) {
        headings.push(policy.to_string());
        if column.is_some() {
            headings.push("reference".to_owned());
            headings.push("|diff|".to_owned());
        }
    }
    let mut table = Table::new(headings);
    let mut greatest = vec![0.0_f64; columns.len()];
    for row in rows {
        let mut cells = vec![row.trace.clone(), row.capacity_entries.to_string()];
        for ((ours, column), greatest) in row.ours.iter().zip(&columns).zip(&mut greatest) {
            cells.push(format!("{ours:.2}"));
            let Some(column) = *column else { continue };
            let Some(theirs) = row.references.get(column) else {
                cells.extend(["-".to_owned(), "-".to_owned()]);
                continue;
            };
            let difference = (ours - theirs).abs();
            *greatest = greatest.max(difference);
            cells.extend([format!("{theirs:.2}"), format!("{difference:.2}")]);
        }
        table.row(cells);
    }
    let mut text = table.render();
    for ((policy, column), greatest) in options.policies.iter().zip(&columns).zip(&greatest) {
        if column.is_some() {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "greatest difference of {policy}: {greatest:.2}");
        }
    }
    text
}

/// The means over the rows that the reference has, for larder and for the references.
fn render_means(options: &Options, reference: &Reference, rows: &[Row]) -> String {
    let mut table = Table::new(["mean of", "real", "synthetic"]);
    let mut line = |name: String, ratio: &dyn Fn(&Row) -> f64| {
        let mut cells = vec![name];
        for is_synthetic in [false, true] {
            let group = rows
                .iter()
                .filter(|row| row.is_synthetic == is_synthetic && !row.references.is_empty());
            let ratios: Vec<f64> = group.map(ratio).collect();
            let cell =
                if ratios.is_empty() { "-".to_owned() } else { format!("{:.2}", mean(&ratios)) };
            cells.push(cell);
        }
        table.row(cells);
    };
    for (index, policy) in options.policies.iter().enumerate() {
        line(format!("larder {policy}"), &|row| row.ours[index]);
        if options.seeds.len() > 1 {
            for (at, seed) in options.seeds.iter().enumerate() {
                line(format!("larder {policy}, seed {seed}"), &|row| row.by_seed[index][at]);
            }
        }
    }
    for (index, name) in reference.columns.iter().enumerate() {
        line(name.clone(), &|row| row.references[index]);
    }
    let peers: Vec<usize> = PEERS.iter().filter_map(|name| reference.column(name)).collect();
    line("the best peer of each row".to_owned(), &|row| {
        peers.iter().map(|column| row.references[*column]).fold(0.0, f64::max)
    });
    let count = |is_synthetic| rows.iter().filter(|row| row.is_synthetic == is_synthetic).count();
    format!("{} real rows, {} synthetic\n{}", count(false), count(true), table.render())
}

/// The references that are libraries, of which a user might choose the best for each trace.
const PEERS: [&str; 7] =
    ["caffeine", "caffeine-head", "moka", "quick_cache", "foyer-lfu", "foyer-s3fifo", "tinyufo"];
/// By how many points a ratio has to be better to count as won.
const MARGIN: f64 = 0.1;
/// The peers of which a row's better one is what the worst rows are behind.
const YARDSTICKS: [&str; 2] = ["lru", "caffeine-head"];
/// How many of the worst rows are shown.
const WORST: usize = 8;

/// How many rows each policy has won and lost against each reference, and those in which it is furthest behind
/// the better one of the yardsticks.
fn render_contests(options: &Options, reference: &Reference, rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| !row.references.is_empty()).collect();
    let headings = options.policies.iter().map(|policy| format!("larder {policy}, won : lost"));
    let mut table = Table::new(std::iter::once("against".to_owned()).chain(headings));
    for (column, name) in reference.columns.iter().enumerate() {
        let contests = (0..options.policies.len()).map(|index| {
            let count = |is_so: &dyn Fn(f64) -> bool| {
                rows.iter().filter(|row| is_so(row.ours[index] - row.references[column])).count()
            };
            format!("{} : {}", count(&|lead| lead > MARGIN), count(&|lead| lead < -MARGIN))
        });
        table.row(std::iter::once(name.clone()).chain(contests).collect());
    }
    let mut text = table.render();
    let columns: Vec<usize> = YARDSTICKS.iter().filter_map(|name| reference.column(name)).collect();
    for (index, policy) in options.policies.iter().enumerate() {
        let behind = |row: &Row| {
            let best = columns.iter().map(|column| row.references[*column]).fold(0.0, f64::max);
            row.ours[index] - best
        };
        let mut worst = rows.clone();
        worst.sort_by(|one, other| behind(one).total_cmp(&behind(other)));
        // Writing to a `String` cannot fail.
        let _ =
            writeln!(text, "\n{policy} against the better one of {}:", YARDSTICKS.join(" and "));
        for row in worst.into_iter().take(WORST) {
            let (name, capacity) = (&row.trace, row.capacity_entries);
            let _ = writeln!(text, "{:+.2}  {name}@{capacity}", behind(row));
        }
    }
    text
}
