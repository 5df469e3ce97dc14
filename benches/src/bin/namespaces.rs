//! Tenants in one cache with guaranteed parts, against a cache for each of them, and against one cache without
//! namespaces, over traces that are interleaved.
//!
//! Each tenant replays a trace of its own, read-through. In turn, each makes as many requests as its
//! traffic says, until one has replayed its trace. All caches hold the same number of entries in total.

#![forbid(unsafe_code)]

use std::error::Error;

use clap::Parser;
use larder::{Cache, Maintenance, Namespaces, Policy};
use larder_benches::report::{Table, mean};
use larder_benches::trace::{Trace, synthetic};

/// Compares namespaces with separate caches.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    /// Synthetic traces, one for each tenant
    #[arg(long, value_delimiter = ',', default_values = ["zipf-0.99", "scanmix", "shift"])]
    tenants: Vec<String>,
    /// How many requests each tenant makes in its turn
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 1])]
    traffic: Vec<usize>,
    /// Entries that each tenant has on average
    #[arg(long, default_value_t = 2_000)]
    entries: usize,
    /// The policy [default: the library's default]
    #[arg(long)]
    policy: Option<String>,
    /// Partitions of the shared cache
    #[arg(long, default_value_t = 4)]
    partitions: usize,
}

/// Entries are in the namespace that is the high half of their keys.
fn key(tenant: usize, number: u32) -> u64 {
    (tenant as u64) << 32 | u64::from(number)
}

impl Options {
    fn policy(&self) -> Policy {
        self.policy.as_deref().map_or_else(Policy::default, Policy::named)
    }

    /// A cache of `entries` in which each tenant is guaranteed `minimum`, unless that is `None`.
    fn cache(
        &self,
        entries: usize,
        minimum: Option<usize>,
    ) -> Result<Cache<u64, ()>, Box<dyn Error>> {
        let builder = Cache::builder()
            .capacity(entries)
            .maintenance(Maintenance::Inline)
            .partitions(self.partitions)
            .policy(self.policy());
        let Some(minimum) = minimum else { return Ok(builder.build()?) };
        let mut namespaces = Namespaces::by_number(|key: &u64| (key >> 32) as usize);
        for name in &self.tenants {
            namespaces = namespaces.guarantee(name, minimum as u64);
        }
        Ok(builder.namespaces(namespaces).build()?)
    }
}

/// Replays the traces, and returns the hit ratio of each tenant in percent.
fn replay(options: &Options, traces: &[Trace], caches: &[Cache<u64, ()>]) -> Vec<f64> {
    let rounds = traces.iter().zip(&options.traffic).map(|(trace, a)| trace.keys.len() / a.max(&1));
    let rounds = rounds.min().unwrap_or(0);
    let (mut hits, mut requests) = (vec![0_u64; traces.len()], vec![0_u64; traces.len()]);
    for round in 0..rounds {
        for (tenant, (trace, traffic)) in traces.iter().zip(&options.traffic).enumerate() {
            let cache = &caches[tenant % caches.len()];
            for number in &trace.keys[round * traffic..(round + 1) * traffic] {
                let key = key(tenant, *number);
                requests[tenant] += 1;
                if cache.get(&key).is_some() {
                    hits[tenant] += 1;
                } else {
                    cache.insert(key, ());
                }
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "of some millions")]
    let ratio = |(hits, requests): (&u64, &u64)| 100.0 * *hits as f64 / (*requests).max(1) as f64;
    hits.iter().zip(&requests).map(ratio).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let all = synthetic::all();
    let find = |name: &String| all.iter().find(|trace| trace.name == *name).cloned();
    let traces: Vec<Trace> = options
        .tenants
        .iter()
        .map(|name| find(name).ok_or_else(|| format!("no synthetic trace is called {name}")))
        .collect::<Result<_, _>>()?;
    if options.traffic.len() != traces.len() {
        return Err("give the traffic of each tenant".into());
    }
    let (count, total) = (traces.len(), options.entries * traces.len());
    let headings = ["caches".to_owned()].into_iter().chain(options.tenants.iter().cloned());
    let mut table = Table::new(headings.chain(["mean".to_owned(), "worst against its own".into()]));
    let own: Vec<_> =
        (0..count).map(|_| options.cache(options.entries, None)).collect::<Result<_, _>>()?;
    let alone = replay(&options, &traces, &own);
    let mut add = |name: String, ratios: &[f64]| {
        let lost = ratios.iter().zip(&alone).map(|(ratio, alone)| ratio - alone);
        let worst = lost.fold(f64::INFINITY, f64::min);
        let cells = ratios.iter().copied().chain([mean(ratios), worst]);
        table.row([name].into_iter().chain(cells.map(|cell| format!("{cell:.2}"))).collect());
    };
    add("one for each".into(), &alone);
    let shared = options.cache(total, None)?;
    add("one, shared".into(), &replay(&options, &traces, &[shared]));
    for percent in [0, 25, 50, 75, 100] {
        let cache = options.cache(total, Some(options.entries * percent / 100))?;
        let ratios = replay(&options, &traces, &[cache]);
        add(format!("one, {percent} % guaranteed"), &ratios);
    }
    print!("{}", table.render());
    Ok(())
}
