//! Throughput of larder and its peers, contender by contender in one process.
//!
//! A round builds, fills and measures the contenders one after the other; each round starts with
//! another one. Ratios are computed within a round, and their median over the rounds is reported: a
//! disturbance that lasts for seconds slows both sides of a ratio.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use larder_benches::contender::{Contender, Hashing, Job, Kind, Name, Value, with_contender};
use larder_benches::measure::Rate;
use larder_benches::report::{Table, best_by_round, median, median_ratio, range};
use larder_benches::workload::{Against, Inputs, Workload};
use serde_json::{Value as Json, json};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALLOCATOR_NAME: &str = if cfg!(feature = "mimalloc") { "mimalloc" } else { "system" };

/// Compares the throughput of larder with its peers.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// What to measure [default: all]
    #[arg(long, value_delimiter = ',')]
    workload: Vec<Workload>,
    /// Numbers of threads to measure with
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = at_least_one())]
    threads: Vec<usize>,
    /// The contenders [default: larder with four policies, the peers and the maps]
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<Name>,
    /// How often each contender is built and measured
    #[arg(long, default_value_t = 5, value_parser = at_least_one())]
    rounds: usize,
    /// How long one measurement takes, after a fifth of it as warm-up
    #[arg(long, default_value_t = 500)]
    millis: u64,
    /// The contender of the first column of ratios
    #[arg(long, default_value = "quick-cache")]
    baseline: Name,
    /// Gives `ahash::RandomState` to all contenders that take a hasher, instead of their own
    #[arg(long)]
    same_hasher: bool,
    /// Prints one JSON object, with the rate of every round, instead of tables
    #[arg(long)]
    json: bool,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// The rates of one contender in one workload with one number of threads, one for each round.
struct Series {
    workload: Workload,
    threads: usize,
    name: Name,
    mops: Vec<f64>,
    hits: u64,
    operations: u64,
}

fn main() -> io::Result<()> {
    let mut options = Options::parse();
    if options.workload.is_empty() {
        options.workload = Workload::ALL.to_vec();
    }
    if options.contenders.is_empty() {
        options.contenders = Name::DEFAULT.to_vec();
    }
    let inputs = Inputs::default();
    let mut results = Vec::new();
    let mut out = io::stdout().lock();
    for &workload in &options.workload {
        let series = measure_all(&options, workload, &inputs);
        if options.json {
            results.extend(series.iter().map(|one| to_json(&options, &series, one)));
        } else {
            for &threads in &options.threads {
                write!(out, "{}", to_text(&options, &series, workload, threads))?;
            }
        }
    }
    if options.json {
        let report = json!({
            "rounds": options.rounds,
            "millis": options.millis,
            "same_hasher": options.same_hasher,
            "allocator": ALLOCATOR_NAME,
            "cores": cores(),
            "results": results,
        });
        writeln!(out, "{report}")?;
    }
    Ok(())
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Measures all contenders that `workload` allows in all rounds.
fn measure_all(options: &Options, workload: Workload, inputs: &Inputs) -> Vec<Series> {
    let names: Vec<Name> =
        options.contenders.iter().copied().filter(|&name| workload.allows(name)).collect();
    let mut series = Vec::new();
    for &name in &names {
        for &threads in &options.threads {
            let mops = Vec::new();
            series.push(Series { workload, threads, name, mops, hits: 0, operations: 0 });
        }
    }
    for round in 0..options.rounds {
        for step in 0..names.len() {
            let index = (round + step) % names.len();
            let rates = measure_one(options, workload, inputs, names[index]);
            let first = index * options.threads.len();
            for (one, rate) in series[first..].iter_mut().zip(rates) {
                one.mops.push(rate.operations_per_second / 1e6);
                one.hits += rate.hits;
                one.operations += rate.operations;
            }
        }
        if !options.json {
            eprintln!("{}: round {} of {}", name_of(workload), round + 1, options.rounds);
        }
    }
    series
}

/// Builds and fills the contender `name` and measures it with each number of threads.
fn measure_one(options: &Options, workload: Workload, inputs: &Inputs, name: Name) -> Vec<Rate> {
    let hashing = hashing(options);
    let threads = &options.threads;
    let duration = Duration::from_millis(options.millis);
    let capacity = workload.capacity_entries();
    let measuring = Measuring { workload, inputs, threads, duration };
    match workload {
        Workload::HotArc => with_contender::<Arc<u64>, _>(name, hashing, capacity, measuring),
        _ => with_contender::<u64, _>(name, hashing, capacity, measuring),
    }
}

struct Measuring<'a> {
    workload: Workload,
    inputs: &'a Inputs,
    threads: &'a [usize],
    duration: Duration,
}

impl<V: Value> Job<V> for Measuring<'_> {
    type Output = Vec<Rate>;

    fn run<C: Contender<Value = V>>(self, contender: C) -> Vec<Rate> {
        let Self { workload, inputs, threads, duration } = self;
        workload.fill(&contender, inputs);
        let rate = |&threads| workload.measure(&contender, inputs, threads, duration);
        threads.iter().map(rate).collect()
    }
}

/// The medians of the ratios of a series to those that it is compared with, if they take part.
struct Ratios {
    baseline: Option<f64>,
    best_peer: Option<f64>,
    best_map: Option<f64>,
}

impl Ratios {
    fn new(options: &Options, series: &[Series], one: &Series) -> Self {
        let same = |other: &&Series| other.workload == one.workload && other.threads == one.threads;
        let baseline = series.iter().filter(same).find(|other| other.name == options.baseline);
        let best = |kind| {
            let others = series.iter().filter(same).filter(|other| other.name.kind() == kind);
            let rates: Vec<&[f64]> = others.map(|other| other.mops.as_slice()).collect();
            (!rates.is_empty()).then(|| median_ratio(&one.mops, &best_by_round(&rates)))
        };
        Self {
            baseline: baseline.map(|other| median_ratio(&one.mops, &other.mops)),
            best_peer: best(Kind::Peer),
            best_map: best(Kind::Map),
        }
    }
}

fn name_of(workload: Workload) -> String {
    let value = workload.to_possible_value().expect("no variant is skipped");
    value.get_name().to_owned()
}

fn hit_ratio(one: &Series) -> Option<f64> {
    one.workload.has_hits().then(|| one.hits as f64 / one.operations as f64)
}

fn hashing(options: &Options) -> Hashing {
    if options.same_hasher { Hashing::Same } else { Hashing::Own }
}

fn to_text(options: &Options, series: &[Series], workload: Workload, threads: usize) -> String {
    let against = options.baseline.to_string();
    let mut table = Table::new([
        "contender",
        "M ops/s",
        "least",
        "most",
        "ns/op",
        "hits %",
        &format!("/ {against}"),
        "/ best peer",
        "/ best map",
        "hasher",
    ]);
    let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    for one in series.iter().filter(|one| one.threads == threads) {
        let rate = median(&one.mops);
        let (least, most) = range(&one.mops);
        let ratios = Ratios::new(options, series, one);
        table.row(vec![
            one.name.to_string(),
            format!("{rate:.2}"),
            format!("{least:.2}"),
            format!("{most:.2}"),
            format!("{:.1}", threads as f64 * 1e3 / rate),
            hit_ratio(one).map_or("-".to_owned(), |ratio| format!("{:.2}", 100.0 * ratio)),
            ratio(ratios.baseline),
            ratio(ratios.best_peer),
            ratio(ratios.best_map),
            one.name.hasher(hashing(options)).to_owned(),
        ]);
    }
    let (goal, against) = workload.goal();
    let against = match against {
        Against::QuickCache => "quick-cache",
        Against::BestPeer => "the best peer",
    };
    format!(
        "\n{}, {threads} thread{} on {} cores, {} rounds of {} ms, allocator: {ALLOCATOR_NAME}\n\
         goal: at least {goal:.1} times {against}\n{}",
        name_of(workload),
        if threads == 1 { "" } else { "s" },
        cores(),
        options.rounds,
        options.millis,
        table.render(),
    )
}

fn to_json(options: &Options, series: &[Series], one: &Series) -> Json {
    let ratios = Ratios::new(options, series, one);
    json!({
        "workload": name_of(one.workload),
        "threads": one.threads,
        "contender": one.name.to_string(),
        "hasher": one.name.hasher(hashing(options)),
        "mops": one.mops,
        "median_mops": median(&one.mops),
        "hit_ratio": hit_ratio(one),
        "baseline": options.baseline.to_string(),
        "ratio_to_baseline": ratios.baseline,
        "ratio_to_best_peer": ratios.best_peer,
        "ratio_to_best_map": ratios.best_map,
    })
}
