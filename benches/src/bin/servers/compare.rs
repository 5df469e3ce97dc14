//! Servers in turns on the same processors: throughput, latency and processor time, with ratios.
//!
//! All servers run from the beginning to the end; an idle one costs nothing worth mentioning. For
//! each load they take turns, forwards in one round and backwards in the next (ABBA), so that a
//! drift of the machine favours none of them. Ratios are taken within a round.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use larder_benches::load::driver::{Clients, Distribution, Limit, Load};
use larder_benches::load::process::{machine, pin_self};
use larder_benches::load::requests::Operation;
use larder_benches::load::server::{Program, Server, Subject, version};
use larder_benches::report::{Table, median, median_ratio, range};
use serde_json::{Value as Json, json};

use crate::{Setting, Turn, fill};

#[derive(Debug, Args)]
pub(crate) struct Compare {
    #[command(flatten)]
    setting: Setting,
    /// What the clients ask for
    #[arg(long, value_enum, value_delimiter = ',', default_value = "get,set")]
    operations: Vec<Operation>,
    /// Requests in a batch
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    pipelines: Vec<u16>,
    /// Clients, each with a connection
    #[arg(long, value_delimiter = ',', default_value = "50,500")]
    clients: Vec<u16>,
    /// The lengths of values
    #[arg(long, value_delimiter = ',', default_value = "64,4096")]
    values: Vec<u32>,
    /// Distinct keys, all of which are written before
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// How keys are chosen
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: Distribution,
    /// How often each server is measured under each load; even numbers are fairest
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long a measurement takes
    #[arg(long, default_value_t = 1_000)]
    millis: u64,
    /// How long the same load runs before
    #[arg(long, default_value_t = 200)]
    warm_up_millis: u64,
    /// Threads of the client
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    client_threads: u16,
    /// Writes the figures of every round to this file, too
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The figures of one server under one load, one for each round.
struct Series {
    subject: Subject,
    load: Load,
    rate: Vec<f64>,
    /// Latencies of batches that 50, 99 and 99.9 % did not exceed.
    latency_us: [Vec<f64>; 3],
    user_us: Vec<f64>,
    system_us: Vec<f64>,
    /// Requests that the server answers in a second of processor time.
    rate_by_cpu: Vec<f64>,
    server_busy: Vec<f64>,
    client_busy: Vec<f64>,
    failures: u64,
}

const PERCENTILES: [f64; 3] = [50.0, 99.0, 99.9];

impl Series {
    fn new(subject: Subject, load: Load) -> Self {
        Self {
            subject,
            load,
            rate: Vec::new(),
            latency_us: [const { Vec::new() }; 3],
            user_us: Vec::new(),
            system_us: Vec::new(),
            rate_by_cpu: Vec::new(),
            server_busy: Vec::new(),
            client_busy: Vec::new(),
            failures: 0,
        }
    }

    fn record(&mut self, turn: &Turn) {
        let server = turn.server.unwrap_or_default();
        self.rate.push(turn.outcome.rate());
        for (all, percent) in self.latency_us.iter_mut().zip(PERCENTILES) {
            all.push(turn.outcome.latency_us(percent));
        }
        self.user_us.push(turn.per_request_us(server.user));
        self.system_us.push(turn.per_request_us(server.system));
        self.rate_by_cpu.push(1e6 / turn.per_request_us(server.total()));
        self.server_busy.push(turn.busy_percent(server));
        self.client_busy.push(turn.busy_percent(turn.client));
        self.failures += turn.outcome.failures();
    }
}

pub(crate) fn run(options: &Compare) -> Result<(), Box<dyn Error>> {
    let setting = &options.setting;
    pin_self(&setting.client_cpus)?;
    let larder = setting.larder()?;
    let mut servers = Vec::new();
    for &subject in &setting.servers {
        let server = Server::start(subject, &larder, &setting.server_cpus, 4 * options.keys)?;
        servers.push((subject, server));
    }
    let mut all = Vec::new();
    println!("# Servers compared\n");
    let versions = versions(&setting.servers, &larder)?;
    print!("{}", heading(options, &versions));
    for &value_bytes in &options.values {
        let value_bytes = usize::try_from(value_bytes)?;
        let load = Load {
            protocol: servers[0].0.protocol,
            operation: Operation::Get,
            pipeline: 1,
            value_bytes,
            keys: options.keys,
            distribution: options.distribution,
            clients: 1,
            threads: options.client_threads.into(),
        };
        for (subject, server) in &servers {
            fill(server.address(), &Load { protocol: subject.protocol, ..load })
                .map_err(|error| format!("{subject}: {error}"))?;
        }
        for &operation in &options.operations {
            for &pipeline in &options.pipelines {
                for &clients in &options.clients {
                    let (pipeline, clients) = (pipeline.into(), clients.into());
                    let load = Load { operation, pipeline, clients, ..load };
                    let series = measure(options, &servers, load)?;
                    print!("{}", to_markdown(&series));
                    all.extend(series);
                }
            }
        }
    }
    if let Some(path) = &options.json {
        let results: Vec<Json> = all.iter().map(to_json).collect();
        let report = json!({
            "machine": machine(),
            "versions": versions,
            "server_cpus": setting.server_cpus,
            "client_cpus": setting.client_cpus,
            "client_threads": options.client_threads,
            "keys": options.keys,
            "rounds": options.rounds,
            "millis": options.millis,
            "results": results,
        });
        fs::write(path, format!("{report:#}\n"))?;
    }
    match all.iter().map(|series| series.failures).sum() {
        0 => Ok(()),
        failures => Err(format!("{failures} replies were misses, errors or wrong values").into()),
    }
}

fn measure(
    options: &Compare,
    servers: &[(Subject, Server)],
    load: Load,
) -> Result<Vec<Series>, Box<dyn Error>> {
    let mut series: Vec<Series> = servers
        .iter()
        .map(|&(subject, _)| Series::new(subject, Load { protocol: subject.protocol, ..load }))
        .collect();
    for round in 0..options.rounds {
        for turn in 0..servers.len() {
            let at = if round % 2 == 0 { turn } else { servers.len() - 1 - turn };
            let (subject, server) = &servers[at];
            let named = |error: Box<dyn Error>| format!("{subject}: {error}");
            let turn = measure_once(options, server, &series[at].load).map_err(named)?;
            series[at].record(&turn);
        }
    }
    Ok(series)
}

fn measure_once(options: &Compare, server: &Server, load: &Load) -> Result<Turn, Box<dyn Error>> {
    let mut clients = Clients::connect(server.address(), load)?;
    clients.drive(Limit::Time(Duration::from_millis(options.warm_up_millis)))?;
    let limit = Limit::Time(Duration::from_millis(options.millis));
    Turn::measure(&mut clients, limit, Some(server.pid()))
}

/// One line for each program that is measured.
fn versions(subjects: &[Subject], larder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut lines = Vec::new();
    for (program, path) in [
        (Program::Redis, Path::new("redis-server")),
        (Program::Memcached, Path::new("memcached")),
        (Program::Larder, larder),
    ] {
        if subjects.iter().any(|subject| subject.program == program) {
            lines.push(version(path)?);
        }
    }
    Ok(lines)
}

fn heading(options: &Compare, versions: &[String]) -> String {
    let setting = &options.setting;
    format!(
        "{}. Servers on processors {}, the client with {} thread(s) on {}. {} keys of 16 bytes, {}. \
         {} rounds of {} ms, in turns forwards and backwards. {}.\n\n\
         Rates are thousands of requests a second: median (least to most). Ratios are medians of \
         those within a round; by CPU, those of the requests for a second of the server's processor \
         time, which say more if other programs use the machine. Latencies are those of a whole batch, from just before its write to \
         its last reply, in µs. User and system are processor time of the server for a request, in \
         µs. A server that is less than about 95 % busy waits for the client.\n",
        machine(),
        setting.server_cpus,
        options.client_threads,
        setting.client_cpus,
        options.keys,
        format!("{:?}", options.distribution).to_lowercase(),
        options.rounds,
        options.millis,
        versions.join("; "),
    )
}

/// The series of the peer that `of` is compared with: one with as many threads and the
/// same protocol, if there is one.
fn baseline<'a>(series: &'a [Series], program: Program, of: &Series) -> Option<&'a Series> {
    let rank = |one: &&Series| {
        let has_threads = one.subject.threads == of.subject.threads;
        let has_protocol = one.subject.protocol == of.subject.protocol;
        // The first of those with the highest rank is the one with the lowest reversed rank.
        std::cmp::Reverse((has_threads, has_protocol))
    };
    series.iter().filter(|one| one.subject.program == program).min_by_key(rank)
}

fn to_markdown(series: &[Series]) -> String {
    let load = &series[0].load;
    let mut table = Table::new([
        "server",
        "k req/s",
        "× redis",
        "× memcached",
        "by CPU × redis",
        "by CPU × memcached",
        "p50",
        "p99",
        "p99.9",
        "user",
        "system",
        "server %",
        "client %",
        "failures",
    ]);
    for one in series {
        let (least, most) = range(&one.rate);
        let ratio = |program, figures: fn(&Series) -> &[f64]| {
            let peer = baseline(series, program, one);
            let ratio = peer.map(|peer| median_ratio(figures(one), figures(peer)));
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let [p50, p99, p999] = one.latency_us.each_ref().map(|all| format!("{:.0}", median(all)));
        table.row(vec![
            one.subject.to_string(),
            format!("{:.1} ({:.1}–{:.1})", median(&one.rate) / 1e3, least / 1e3, most / 1e3),
            ratio(Program::Redis, |one| &one.rate),
            ratio(Program::Memcached, |one| &one.rate),
            ratio(Program::Redis, |one| &one.rate_by_cpu),
            ratio(Program::Memcached, |one| &one.rate_by_cpu),
            p50,
            p99,
            p999,
            format!("{:.2}", median(&one.user_us)),
            format!("{:.2}", median(&one.system_us)),
            format!("{:.0}", median(&one.server_busy)),
            format!("{:.0}", median(&one.client_busy)),
            one.failures.to_string(),
        ]);
    }
    format!(
        "\n## {}, pipeline {}, {} clients, {} bytes\n\n{}",
        load.operation.name().to_uppercase(),
        load.pipeline,
        load.clients,
        load.value_bytes,
        table.markdown(),
    )
}

fn to_json(series: &Series) -> Json {
    let load = &series.load;
    let [p50, p99, p999] = &series.latency_us;
    json!({
        "server": series.subject.to_string(),
        "operation": load.operation.name(),
        "pipeline": load.pipeline,
        "clients": load.clients,
        "value_bytes": load.value_bytes,
        "requests_per_second": series.rate,
        "batch_p50_us": p50,
        "batch_p99_us": p99,
        "batch_p999_us": p999,
        "server_user_us_per_request": series.user_us,
        "server_system_us_per_request": series.system_us,
        "server_busy_percent": series.server_busy,
        "client_busy_percent": series.client_busy,
        "failures": series.failures,
    })
}
