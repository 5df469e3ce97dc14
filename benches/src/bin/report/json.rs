//! The results as JSON, with every round.

use larder_benches::contender::Hashing;
use larder_benches::report::median;
use larder_benches::rounds::{Series, name_of};
use larder_benches::stopwatch::{Latencies, Percentiles, Verb};
use serde_json::{Map, Value as Json, json};

use crate::results::{Results, percentiles};

/// The whole file.
pub(crate) fn render(results: &Results) -> String {
    let Results { plan, conditions, series, entries, memory } = results;
    let versions: Map<String, Json> = conditions
        .versions
        .iter()
        .map(|&(name, version)| (name.to_owned(), version.into()))
        .collect();
    let memory = memory.iter().map(|one| {
        json!({
            "contender": one.name.to_string(),
            "entries": one.entries,
            "bytes_beyond_key_and_value": one.bytes,
        })
    });
    let report = json!({
        "machine": conditions.machine,
        "command": conditions.command,
        "allocator": conditions.allocator,
        "clock_cost_ns": conditions.clock_cost_ns,
        "load_before": conditions.load_before,
        "load_after": conditions.load_after,
        "versions": versions,
        "rounds": plan.rounds,
        "millis": plan.duration.as_millis() as u64,
        "latency_millis": plan.timed.map(|timed| timed.as_millis() as u64),
        "memory_capacity": entries,
        "results": series.iter().map(one).collect::<Vec<_>>(),
        "memory": memory.collect::<Vec<_>>(),
    });
    format!("{report:#}\n")
}

fn one(series: &Series) -> Json {
    let rounds = series.latencies.iter().map(by_verb);
    let middle = by_verb_with(|verb| percentiles(series, verb));
    json!({
        "workload": name_of(series.workload),
        "threads": series.threads,
        "contender": series.name.to_string(),
        "hasher": series.name.hasher(Hashing::Own),
        "mops": series.mops,
        "median_mops": median(&series.mops),
        "write_mops": series.write_mops,
        "hit_ratio": series.hit_ratio(),
        "latency": middle,
        "latency_by_round": rounds.collect::<Vec<_>>(),
    })
}

fn by_verb(latencies: &Latencies) -> Json {
    by_verb_with(|verb| latencies.percentiles(verb))
}

fn by_verb_with(percentiles: impl Fn(Verb) -> Option<Percentiles>) -> Json {
    let mut verbs = Map::new();
    for verb in Verb::ALL {
        if let Some(Percentiles { count, p50_ns, p99_ns, p999_ns, max_ns }) = percentiles(verb) {
            let figures = json!({
                "count": count,
                "p50_ns": p50_ns,
                "p99_ns": p99_ns,
                "p999_ns": p999_ns,
                "max_ns": max_ns,
            });
            verbs.insert(verb.to_string(), figures);
        }
    }
    verbs.into()
}
