//! A load client for servers that speak RESP or memcached's protocols, and a comparison of larder
//! with redis and memcached.
//!
//! `drive` puts a load on a server that is running. `compare` starts servers, and measures them in
//! turns on the same processors. `memory` starts one after the other, fills it, and divides what its
//! resident memory grew by.

#![forbid(unsafe_code)]

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use larder_benches::load::driver::{Clients, Distribution, Limit, Load, Outcome};
use larder_benches::load::process::{CpuTime, pin_self};
use larder_benches::load::requests::{Operation, Protocol};
use larder_benches::load::server::Subject;

mod compare;
mod memory;

/// Puts load on servers, and compares them.
#[derive(Debug, Parser)]
#[command(about)]
struct Options {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Puts a load on a server that is running
    Drive(Drive),
    /// Starts servers and measures them in turns
    Compare(compare::Compare),
    /// Starts servers and measures the memory of their entries
    Memory(memory::Memory),
}

/// Which servers are started, and where everything runs.
#[derive(Clone, Debug, Args)]
struct Setting {
    /// The servers: `PROGRAM[:THREADS[:PROTOCOL]]`, where the program is redis, memcached or larder and
    /// the protocol resp, text or meta
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "redis,memcached:1,memcached:2,larder:1,larder:2,larder:1:text,larder:2:text"
    )]
    servers: Vec<Subject>,
    /// The program `larder` [default: beside this program]
    #[arg(long)]
    larder: Option<PathBuf>,
    /// The processors that servers are bound to, as for taskset
    #[arg(long, default_value = "0")]
    server_cpus: String,
    /// The processors that the clients are bound to
    #[arg(long, default_value = "1")]
    client_cpus: String,
}

impl Setting {
    fn larder(&self) -> Result<PathBuf, Box<dyn Error>> {
        match &self.larder {
            Some(path) => Ok(path.clone()),
            None => Ok(std::env::current_exe()?.with_file_name("larder")),
        }
    }
}

#[derive(Debug, Args)]
struct Drive {
    /// Where the server listens
    #[arg(long, default_value = "127.0.0.1:6379")]
    address: SocketAddr,
    /// The server's process, for its processor time
    #[arg(long)]
    pid: Option<u32>,
    /// How to talk
    #[arg(long, value_enum, default_value = "resp")]
    protocol: Protocol,
    /// What to ask for; `get` expects the keys that `set` writes
    #[arg(long, value_enum, default_value = "get")]
    operation: Operation,
    /// Writes each key once before
    #[arg(long)]
    fill: bool,
    /// Requests in a batch
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pipeline: u16,
    /// Clients, each with a connection
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// The length of a value, which includes a copy of its key
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..))]
    value: u32,
    /// Distinct keys
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// How keys are chosen
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: Distribution,
    /// Stops after so many requests, instead of after a time
    #[arg(long)]
    requests: Option<u64>,
    /// Stops after so long
    #[arg(long, default_value_t = 5_000)]
    millis: u64,
    /// Threads of the client
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// The processors that the client is bound to, as for taskset
    #[arg(long)]
    client_cpus: Option<String>,
}

fn main() -> ExitCode {
    let done = match Options::parse().mode {
        Mode::Drive(options) => drive(&options),
        Mode::Compare(options) => compare::run(&options),
        Mode::Memory(options) => memory::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn drive(options: &Drive) -> Result<(), Box<dyn Error>> {
    if let Some(cpus) = &options.client_cpus {
        pin_self(cpus)?;
    }
    let load = Load {
        protocol: options.protocol,
        operation: options.operation,
        pipeline: options.pipeline.into(),
        value_bytes: usize::try_from(options.value)?,
        keys: options.keys,
        distribution: options.distribution,
        clients: options.clients.into(),
        threads: options.threads.into(),
    };
    if options.fill {
        fill(options.address, &load)?;
    }
    let limit = match options.requests {
        Some(requests) => Limit::Requests(requests),
        None => Limit::Time(Duration::from_millis(options.millis)),
    };
    let mut clients = Clients::connect(options.address, &load)?;
    let turn = Turn::measure(&mut clients, limit, options.pid)?;
    let outcome = &turn.outcome;
    println!("requests       {}", outcome.requests);
    println!("seconds        {:.3}", outcome.elapsed.as_secs_f64());
    println!("requests/s     {:.0}", outcome.rate());
    println!("latency of a batch, from its write to its last reply, µs");
    for percent in [50.0, 90.0, 99.0, 99.9, 100.0] {
        println!("  {percent:>5} %      {:.0}", outcome.latency_us(percent));
    }
    let (misses, refused, wrong) = (outcome.misses, outcome.refused, outcome.wrong);
    println!("misses {misses}, errors {refused}, wrong values {wrong}");
    println!("client busy    {:.0} %", turn.busy_percent(turn.client));
    if let Some(server) = turn.server {
        println!("server busy    {:.0} %", turn.busy_percent(server));
        println!("server, user   {:.2} µs/request", turn.per_request_us(server.user));
        println!("server, system {:.2} µs/request", turn.per_request_us(server.system));
    }
    Ok(())
}

/// Writes each key once.
fn fill(address: SocketAddr, load: &Load) -> Result<(), Box<dyn Error>> {
    let load = Load {
        operation: Operation::Set,
        pipeline: 16,
        distribution: Distribution::Sequential,
        clients: 8,
        threads: 1,
        ..*load
    };
    let outcome = Clients::connect(address, &load)?.drive(Limit::Requests(load.keys))?;
    match outcome.failures() {
        0 => Ok(()),
        failures => Err(format!("{failures} of {} writes failed", load.keys).into()),
    }
}

/// One measurement.
struct Turn {
    outcome: Outcome,
    /// The processor time of the server, if it is known, and of the client.
    server: Option<CpuTime>,
    client: CpuTime,
}

impl Turn {
    fn measure(
        clients: &mut Clients,
        limit: Limit,
        server: Option<u32>,
    ) -> Result<Self, Box<dyn Error>> {
        let server_before = server.map(CpuTime::of).transpose()?;
        let client_before = CpuTime::own()?;
        let outcome = clients.drive(limit)?;
        let client = CpuTime::own()?.since(client_before);
        let server = match (server, server_before) {
            (Some(pid), Some(before)) => Some(CpuTime::of(pid)?.since(before)),
            _ => None,
        };
        Ok(Self { outcome, server, client })
    }

    /// The part of the time in which a processor was used; of two, up to 200.
    fn busy_percent(&self, time: CpuTime) -> f64 {
        100.0 * time.total().as_secs_f64() / self.outcome.elapsed.as_secs_f64()
    }

    fn per_request_us(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.outcome.requests.max(1) as f64
    }
}
