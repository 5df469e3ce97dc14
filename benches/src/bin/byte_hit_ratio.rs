//! Hit ratios by requests and by bytes where entries have sizes: larder with weights beside moka with weights.
//!
//! Replays each trace with made-up sizes, read-through, through the real caches: each has a weigher and a bound
//! on weight that is a part of the bytes of all keys. `--write` writes the sized traces as tables, so that
//! `larder simulate --weights size` shows GDSF, AdaptSize and Caffeine over the same requests.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use larder::{BuildError, Cache, Maintenance, Policy};
use larder_benches::contender::SameHasher;
use larder_benches::report::{Table, mean};
use larder_benches::trace::sized::{SizedTrace, Sizes};
use larder_benches::trace::{Trace, TraceArgs};

/// Replays traces with sizes, and prints hit ratios by requests and by bytes.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    #[command(flatten)]
    traces: TraceArgs,
    /// How the sizes of keys are distributed
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["web", "values"])]
    sizes: Vec<Sizes>,
    /// Bounds in per cent of the bytes of all keys
    #[arg(long, value_delimiter = ',', default_values_t = [1.0, 5.0, 20.0])]
    capacities: Vec<f64>,
    /// Policies of larder
    #[arg(long, value_delimiter = ',', default_values = ["window_tiny_lfu", "s3_fifo", "lru"])]
    policies: Vec<String>,
    /// Let larder's maintenance run in the background, with its own number of partitions
    #[arg(long)]
    background: bool,
    /// The seed of the sizes and of larder's hasher
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the sized traces into this folder, and replay nothing
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// The parts of the requests, and of their bytes, that were hits, in percent.
#[derive(Clone, Copy, Debug, Default)]
struct Ratios {
    hits: f64,
    bytes: f64,
}

/// Replays of one trace at one bound.
struct Row {
    name: String,
    /// For each contender.
    ratios: Vec<Ratios>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if let Some(folder) = &options.write {
        fs::create_dir_all(folder)?;
    }
    let mut rows = Vec::new();
    options.traces.for_each(|trace| replay_all(&options, trace, &mut rows))?;
    if options.write.is_none() {
        print!("{}", render(&options, &rows));
    }
    Ok(())
}

fn replay_all(options: &Options, trace: &Trace, rows: &mut Vec<Row>) -> Result<(), Box<dyn Error>> {
    eprintln!("{}: {} requests", trace.name, trace.keys.len());
    for sizes in &options.sizes {
        let sized = sizes.sized(trace, options.seed);
        let sizes = sizes.to_possible_value().expect("no variant is skipped");
        let name = format!("{}-{}", trace.name, sizes.get_name());
        if let Some(folder) = &options.write {
            sized.write_csv(&folder.join(format!("{name}.csv")))?;
            continue;
        }
        for percent in &options.capacities {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a part of some gigabytes"
            )]
            let max_weight = (sized.footprint_bytes() as f64 * percent / 100.0).max(1.0) as u64;
            let ours = options.policies.iter().map(|policy| {
                let cache = build(options, policy, max_weight)?;
                Ok(replay(
                    &sized,
                    |key| cache.get(&key).is_some(),
                    |key, bytes| {
                        cache.insert(key, bytes);
                    },
                ))
            });
            let mut ratios = ours.collect::<Result<Vec<_>, BuildError>>()?;
            ratios.extend(replay_peers(&sized, max_weight));
            rows.push(Row { name: format!("{name}@{percent}%"), ratios });
        }
    }
    Ok(())
}

fn build(
    options: &Options,
    policy: &str,
    max_weight: u64,
) -> Result<Cache<u32, u32, SameHasher>, BuildError> {
    let builder = Cache::builder()
        .hasher(SameHasher::with_seeds(options.seed, 0, 0, 0))
        .policy(Policy::named(policy))
        .weigher(|_: &u32, bytes: &u32| *bytes)
        .max_weight(max_weight);
    match options.background {
        true => builder.build(),
        false => builder.maintenance(Maintenance::Inline).partitions(1).build(),
    }
}

/// The names of the other caches.
const PEERS: &[&str] = if cfg!(feature = "moka") { &["moka"] } else { &[] };

#[cfg(feature = "moka")]
fn replay_peers(sized: &SizedTrace<'_>, max_weight: u64) -> Vec<Ratios> {
    let cache: moka::sync::Cache<u32, u32> = moka::sync::Cache::builder()
        .weigher(|_: &u32, bytes: &u32| *bytes)
        .max_capacity(max_weight)
        .build();
    let insert = |key, bytes| {
        cache.insert(key, bytes);
        // Its policy then knows of all that came before.
        cache.run_pending_tasks();
    };
    vec![replay(sized, |key| cache.get(&key).is_some(), insert)]
}

#[cfg(not(feature = "moka"))]
fn replay_peers(_: &SizedTrace<'_>, _: u64) -> Vec<Ratios> {
    Vec::new()
}

/// Looks each key up by `has`, and stores it by `insert` if it is absent.
fn replay(sized: &SizedTrace<'_>, has: impl Fn(u32) -> bool, insert: impl Fn(u32, u32)) -> Ratios {
    let (mut hits, mut hit_bytes, mut all_bytes) = (0_u64, 0_u64, 0_u64);
    for key in &sized.trace.keys {
        let bytes = sized.bytes_of_key[*key as usize];
        all_bytes += u64::from(bytes);
        if has(*key) {
            hits += 1;
            hit_bytes += u64::from(bytes);
        } else {
            insert(*key, bytes);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let percent = |part: u64, all: u64| 100.0 * part as f64 / all.max(1) as f64;
    Ratios {
        hits: percent(hits, sized.trace.keys.len() as u64),
        bytes: percent(hit_bytes, all_bytes),
    }
}

fn render(options: &Options, rows: &[Row]) -> String {
    let names: Vec<String> = options
        .policies
        .iter()
        .map(|policy| format!("larder {policy}"))
        .chain(PEERS.iter().map(|peer| (*peer).to_owned()))
        .collect();
    let headings = std::iter::once("hits, bytes".to_owned()).chain(names.iter().cloned());
    let mut table = Table::new(headings);
    let cell = |ratios: &Ratios| format!("{:.2}, {:.2}", ratios.hits, ratios.bytes);
    for row in rows {
        let cells = row.ratios.iter().map(cell);
        table.row(std::iter::once(row.name.clone()).chain(cells).collect());
    }
    let means = (0..names.len()).map(|at| {
        let of = |ratio: fn(&Ratios) -> f64| {
            mean(&rows.iter().map(|row| ratio(&row.ratios[at])).collect::<Vec<_>>())
        };
        cell(&Ratios { hits: of(|ratios| ratios.hits), bytes: of(|ratios| ratios.bytes) })
    });
    table.row(std::iter::once("mean".to_owned()).chain(means).collect());
    // Of the first contender against each other one: the worst row, and how many it leads by bytes.
    let against = (0..names.len()).map(|at| {
        let leads = rows.iter().map(|row| row.ratios[0].bytes - row.ratios[at].bytes);
        let worst = leads.clone().fold(f64::INFINITY, f64::min);
        let (won, lost) = leads.fold((0, 0), |(won, lost), lead| {
            (won + usize::from(lead > 0.1), lost + usize::from(lead < -0.1))
        });
        format!("{worst:+.2}, {won} : {lost}")
    });
    let name = "the first against it, bytes: worst, won : lost".to_owned();
    table.row(std::iter::once(name).chain(against).collect());
    table.render()
}
