//! The results as a page of tables.

use std::fmt::Write;

use larder_benches::contender::{Kind, Name, Types};
use larder_benches::report::{Table, median};
use larder_benches::rounds::{Series, name_of};
use larder_benches::stopwatch::{Percentiles, Verb};
use larder_benches::workload::Workload;

use crate::results::{Results, percentiles, ratio, verbs};

/// The rates that larder is to be ahead in, each with the policy that it is to be so with.
const GOALS: [(Workload, Name); 4] = [
    (Workload::Insert, Name::Larder),
    (Workload::ReadThrough, Name::Larder),
    (Workload::Mixed, Name::Larder),
    (Workload::Get, Name::LarderLru),
];

/// The whole page.
pub(crate) fn render(results: &Results) -> String {
    let mut page = String::new();
    // Writing to a `String` cannot fail, here and below.
    let _ = writeln!(page, "# larder beside other libraries\n\n{}", conditions(results));
    let _ = writeln!(page, "## At a glance\n\n{}", goals(results));
    let _ = writeln!(page, "{}", latency_goals(results));
    let _ = writeln!(page, "## Throughput\n");
    for workload in results.workloads() {
        let _ = writeln!(page, "### {}\n", title(workload));
        let _ = writeln!(page, "{}", rates(results, workload));
    }
    let _ = writeln!(page, "## Latency\n\n{}", latency_note(results));
    for workload in results.workloads() {
        let series = results.series.iter().filter(|one| one.workload == workload);
        for verb in verbs(series) {
            let _ = writeln!(page, "### {}: {verb}\n", name_of(workload));
            let _ = writeln!(page, "{}", latencies(results, workload, verb));
        }
    }
    let _ = write!(page, "## Memory\n\n{}", memory(results));
    page
}

/// What a workload does, in a line.
fn title(workload: Workload) -> String {
    let types = match workload.types() {
        Types::Numbers => "",
        Types::Arcs => ", `Arc<u64>` values",
        Types::Strings => ", `String` keys and `Arc<[u8]>` values",
    };
    let action = match workload {
        Workload::Get | Workload::StringGet => "gets that all hit",
        Workload::Pin => "the same, one pin for 1,024 gets",
        Workload::Hot => "gets of one key",
        Workload::HotArc => "reads of one key",
        Workload::ReadThrough | Workload::StringReadThrough => {
            "get, and insert on a miss; capacity 10 % of the keys"
        }
        Workload::Mixed => "75 % get, 25 % insert; capacity 10 % of the keys",
        Workload::GetLoad => "loads that all hit, by the verb for loading",
        Workload::Load => "read-through by the verb for loading",
        Workload::Insert => "inserts of new keys at capacity",
        Workload::Update => "inserts of keys that are present",
        Workload::Churn => "removes a key and inserts it again",
        Workload::Iterate => {
            "one thread visits all entries, the others insert keys that are present"
        }
    };
    format!("{}: {action}{types}", name_of(workload))
}

fn conditions(results: &Results) -> String {
    let Results { plan, conditions, .. } = results;
    let versions: Vec<String> =
        conditions.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    format!(
        "- machine: {}\n\
         - command: `{}`\n\
         - load of the machine over 1, 5 and 15 minutes: {} before, {} after\n\
         - allocator: {}\n\
         - {} rounds; rates over {} ms, medians of the rounds\n\
         - versions: {}\n",
        conditions.machine,
        conditions.command,
        conditions.load_before,
        conditions.load_after,
        conditions.allocator,
        plan.rounds,
        plan.duration.as_millis(),
        versions.join(", "),
    )
}

fn threads_label(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// Names are in bold if they are this library.
fn shown(name: Name) -> String {
    if name.kind() == Kind::Larder { format!("**{name}**") } else { name.to_string() }
}

/// The rates of the goals beside the best other cache.
fn goals(results: &Results) -> String {
    let mut table =
        Table::new(["M operations/s", "threads", "larder", "best other cache", "", "ratio"]);
    for (workload, name) in GOALS {
        for &threads in &results.plan.threads {
            let Some(ours) = results.one(workload, threads, name) else { continue };
            let Some(best) = results.best_peer(workload, threads) else { continue };
            table.row(vec![
                format!("{}, {name}", name_of(workload)),
                threads.to_string(),
                format!("{:.2}", median(&ours.mops)),
                format!("{:.2}", median(&best.mops)),
                best.name.to_string(),
                format!("{:.2}", ratio(ours, best)),
            ]);
        }
    }
    table.markdown()
}

/// The rare latencies of an insertion in `ReadThrough` beside the best other cache.
fn latency_goals(results: &Results) -> String {
    let mut table = Table::new([
        "insert in read-through",
        "threads",
        "larder",
        "best other cache",
        "",
        "ratio",
    ]);
    let workload = Workload::ReadThrough;
    type Part = fn(&Percentiles) -> u64;
    let parts: [(&str, Part); 2] =
        [("p99", |found| found.p99_ns), ("p99.9", |found| found.p999_ns)];
    for (label, part) in parts {
        for &threads in &results.plan.threads {
            let insert = |one: &Series| percentiles(one, Verb::Insert).map(|found| part(&found));
            let ours = results.one(workload, threads, Name::Larder).and_then(insert);
            let peers = results.contenders(workload).into_iter();
            let peers = peers.filter(|name| name.kind() == Kind::Peer);
            let best = peers
                .filter_map(|name| Some((insert(results.one(workload, threads, name)?)?, name)))
                .min_by_key(|&(latency_ns, _)| latency_ns);
            let (Some(ours), Some((best, name))) = (ours, best) else { continue };
            table.row(vec![
                label.to_owned(),
                threads.to_string(),
                time(ours),
                time(best),
                name.to_string(),
                format!("{:.2}", ours as f64 / best as f64),
            ]);
        }
    }
    table.markdown()
}

/// Rates and hit ratios, by numbers of threads.
fn rates(results: &Results, workload: Workload) -> String {
    let all: Vec<&Series> = results.series.iter().filter(|one| one.workload == workload).collect();
    let has_hits = all.iter().any(|one| one.hit_ratio().is_some());
    let has_writes = all.iter().any(|one| !one.write_mops.is_empty());
    let mut headings = vec!["M operations/s".to_owned()];
    for &threads in &results.plan.threads {
        headings.push(threads_label(threads));
        if has_hits {
            headings.push("hits %".to_owned());
        }
        if has_writes {
            headings.push("writes beside".to_owned());
        }
    }
    let mut table = Table::new(headings);
    for name in results.contenders(workload) {
        let mut cells = vec![shown(name)];
        for &threads in &results.plan.threads {
            let one = results.one(workload, threads, name);
            let mops = |mops: &[f64]| match mops {
                [] => "-".to_owned(),
                mops => format!("{:.2}", median(mops)),
            };
            cells.push(one.map_or("-".to_owned(), |one| mops(&one.mops)));
            if has_hits {
                let hits = one.and_then(Series::hit_ratio);
                cells.push(hits.map_or("-".to_owned(), |hits| format!("{:.2}", 100.0 * hits)));
            }
            if has_writes {
                cells.push(one.map_or("-".to_owned(), |one| mops(&one.write_mops)));
            }
        }
        table.row(cells);
    }
    let note = match workload {
        Workload::Iterate => {
            "\nAn operation is an entry that was visited. Others cannot iterate.\n"
        }
        _ => "",
    };
    table.markdown() + note
}

fn latency_note(results: &Results) -> String {
    let timed = results.plan.timed.map_or(0, |timed| timed.as_millis());
    format!(
        "p50 / p99 / p99.9 / longest, recorded for {timed} ms after the rates; the percentiles are \
         medians of the rounds. Each contains one reading of the clock, which costs {:.0} ns. With \
         more threads than processors, the time in which a thread has none is in there too.\n",
        results.conditions.clock_cost_ns
    )
}

fn latencies(results: &Results, workload: Workload, verb: Verb) -> String {
    let labels = results.plan.threads.iter().map(|&threads| threads_label(threads));
    let mut table = Table::new(["latency".to_owned()].into_iter().chain(labels));
    for name in results.contenders(workload) {
        let mut cells = vec![shown(name)];
        for &threads in &results.plan.threads {
            let one = results.one(workload, threads, name);
            let found = one.and_then(|one| percentiles(one, verb));
            cells.push(found.map_or("-".to_owned(), |found| {
                let parts = [found.p50_ns, found.p99_ns, found.p999_ns, found.max_ns];
                parts.map(time).join(" / ")
            }));
        }
        table.row(cells);
    }
    table.markdown()
}

fn memory(results: &Results) -> String {
    let mut table = Table::new(["memory", "bytes beyond key and value", "entries present"]);
    for one in &results.memory {
        let cells = vec![shown(one.name), format!("{:.1}", one.bytes), one.entries.to_string()];
        table.row(cells);
    }
    format!(
        "An entry of 8 bytes for the key and 8 for the value, after {} distinct keys were inserted \
         at a capacity of as many: requested bytes divided by the entries that are present.\n\n{}",
        results.entries,
        table.markdown()
    )
}

/// A time in the unit that fits.
pub(crate) fn time(latency_ns: u64) -> String {
    let value = latency_ns as f64;
    let (value, unit) = match latency_ns {
        0..1_000 => (value, "ns"),
        1_000..1_000_000 => (value / 1e3, "µs"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let digits = if value < 10.0 && unit != "ns" { 1 } else { 0 };
    format!("{value:.digits$} {unit}")
}
