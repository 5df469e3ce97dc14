//! The error of shadow caches against full simulation, over recorded and synthetic traces.
//!
//! Replays each trace at each of its capacities through a cache with shadows, read-through, and
//! each policy at each multiple of that capacity through `policy::Simulator` with all keys.

#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use larder::policy::{PolicyConfig, Simulator};
use larder::{Cache, Maintenance, Policy, ShadowConfig};
use larder_benches::contender::SameHasher;
use larder_benches::keys::scramble;
use larder_benches::report::{Table, mean};
use larder_benches::trace::{Trace, TraceArgs};

/// Prints the error of shadow caches against full simulation.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    #[command(flatten)]
    traces: TraceArgs,
    /// Policies of the shadows [default: lru and the library's default]
    #[arg(long, value_delimiter = ',')]
    policies: Vec<String>,
    /// Multiples of each capacity
    #[arg(long, value_delimiter = ',', default_values_t = [0.5, 1.0, 2.0, 4.0])]
    multiples: Vec<f64>,
    /// Entries of each shadow [default: the library's]
    #[arg(long)]
    sample_entries: Option<usize>,
    /// Seed of the hasher, which decides which keys are sampled
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A shadow beside a full simulation; ratios in percent.
struct Row {
    trace: String,
    capacity_entries: usize,
    policy: String,
    multiple: f64,
    shadow: f64,
    full: f64,
    sample_rate: f64,
}

impl Row {
    fn error(&self) -> f64 {
        (self.shadow - self.full).abs()
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::new();
    options
        .traces
        .for_each(|trace| compare(options, trace, &mut rows).map_err(Box::<dyn Error>::from))?;
    println!("{}", render(&rows));
    Ok(())
}

fn policies(options: &Options) -> Vec<Policy> {
    if options.policies.is_empty() {
        return vec![Policy::lru(), Policy::default()];
    }
    options.policies.iter().map(|name| Policy::named(name)).collect()
}

fn compare(
    options: &Options,
    trace: &Trace,
    rows: &mut Vec<Row>,
) -> Result<(), larder::BuildError> {
    eprintln!("{}: {} requests", trace.name, trace.keys.len());
    for &capacity_entries in &trace.capacities_entries {
        let mut shadow = ShadowConfig::new().multiples(options.multiples.iter().copied());
        if let Some(entries) = options.sample_entries {
            shadow = shadow.sample_entries(entries);
        }
        for policy in policies(options) {
            shadow = shadow.policy(policy);
        }
        let cache = Cache::<u32, ()>::builder()
            .capacity(capacity_entries)
            .maintenance(Maintenance::Inline)
            .hasher(SameHasher::with_seeds(options.seed, 0, 0, 0))
            .shadow(shadow)
            .build()?;
        for key in &trace.keys {
            if cache.get(key).is_none() {
                let _ = cache.insert(*key, ());
            }
        }
        let report = cache.shadow_report().expect("it was built with shadows");
        for point in report.points {
            let config = PolicyConfig::new(point.capacity, None);
            let mut full = Simulator::new(&Policy::named(&point.policy), config)?;
            let hits =
                trace.keys.iter().filter(|key| full.request(scramble(u64::from(**key)), 1)).count();
            rows.push(Row {
                trace: trace.name.clone(),
                capacity_entries,
                policy: point.policy,
                multiple: point.multiple,
                shadow: 100.0 * point.hit_ratio.unwrap_or(0.0),
                full: 100.0 * hits as f64 / trace.keys.len() as f64,
                sample_rate: point.sample_rate,
            });
        }
    }
    Ok(())
}

fn render(rows: &[Row]) -> String {
    let headings = ["trace", "capacity", "policy", "multiple", "rate", "shadow", "full", "|diff|"];
    let mut table = Table::new(headings);
    for row in rows {
        table.row(vec![
            row.trace.clone(),
            row.capacity_entries.to_string(),
            row.policy.clone(),
            row.multiple.to_string(),
            format!("{:.4}", row.sample_rate),
            format!("{:.2}", row.shadow),
            format!("{:.2}", row.full),
            format!("{:.2}", row.error()),
        ]);
    }
    let mut means = Table::new(["policy", "multiple", "rows", "mean", "worst", "above 2"]);
    let mut groups: Vec<(&str, f64)> = Vec::new();
    for row in rows {
        if !groups.contains(&(row.policy.as_str(), row.multiple)) {
            groups.push((&row.policy, row.multiple));
        }
    }
    for (policy, multiple) in groups {
        let is_in = |row: &&Row| row.policy == policy && row.multiple == multiple;
        let errors: Vec<f64> = rows.iter().filter(is_in).map(Row::error).collect();
        means.row(vec![
            policy.to_owned(),
            multiple.to_string(),
            errors.len().to_string(),
            format!("{:.2}", mean(&errors)),
            format!("{:.2}", errors.iter().copied().fold(0.0, f64::max)),
            errors.iter().filter(|error| **error > 2.0).count().to_string(),
        ]);
    }
    format!("{}\n{}", table.render(), means.render())
}
