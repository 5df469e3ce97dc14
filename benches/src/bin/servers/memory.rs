//! The memory of an entry: a server's resident memory with all entries, less that without.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use larder_benches::load::driver::{Clients, Distribution, Limit, Load};
use larder_benches::load::process::{machine, pin_self};
use larder_benches::load::requests::{KEY_BYTES, Operation};
use larder_benches::load::server::{Program, Server};
use larder_benches::report::Table;
use larder_benches::resident::resident_kib_of;
use serde_json::{Value as Json, json};

use crate::{Setting, fill};

/// Pages that a server frees only after a while.
const REST: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Memory {
    #[command(flatten)]
    setting: Setting,
    /// Entries
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// The length of a value
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..))]
    value: u32,
    /// Writes all figures to this file, too
    #[arg(long)]
    json: Option<PathBuf>,
}

struct Found {
    name: String,
    is_redis: bool,
    empty_kib: u64,
    full_kib: u64,
    missing: u64,
    bytes_per_key: f64,
}

pub(crate) fn run(options: &Memory) -> Result<(), Box<dyn Error>> {
    let setting = &options.setting;
    pin_self(&setting.client_cpus)?;
    let found = setting.servers.iter().map(|&subject| {
        eprintln!("{subject}");
        let server =
            Server::start(subject, &setting.larder()?, &setting.server_cpus, 2 * options.keys)?;
        let load = Load {
            protocol: subject.protocol,
            operation: Operation::Get,
            pipeline: 16,
            value_bytes: usize::try_from(options.value)?,
            keys: options.keys,
            distribution: Distribution::Sequential,
            clients: 8,
            threads: 1,
        };
        thread::sleep(REST);
        let empty_kib = resident_kib_of(server.pid())?;
        fill(server.address(), &load)?;
        thread::sleep(REST);
        let full_kib = resident_kib_of(server.pid())?;
        // Entries that were evicted would make the others look small.
        let read = Clients::connect(server.address(), &load)?.drive(Limit::Requests(load.keys))?;
        let grown = full_kib.saturating_sub(empty_kib) as f64 * 1_024.0;
        Ok(Found {
            name: subject.to_string(),
            is_redis: subject.program == Program::Redis,
            empty_kib,
            full_kib,
            missing: read.failures(),
            bytes_per_key: grown / load.keys.saturating_sub(read.failures()).max(1) as f64,
        })
    });
    let found: Vec<Found> = found.collect::<Result<_, Box<dyn Error>>>()?;
    let redis = found.iter().find(|one| one.is_redis).map(|one| one.bytes_per_key);
    let mut table = Table::new([
        "server",
        "MiB empty",
        "MiB filled",
        "missing keys",
        "bytes/key",
        "of them neither key nor value",
        "× redis",
    ]);
    let payload = (KEY_BYTES as u64 + u64::from(options.value)) as f64;
    for one in &found {
        table.row(vec![
            one.name.clone(),
            format!("{:.1}", one.empty_kib as f64 / 1_024.0),
            format!("{:.1}", one.full_kib as f64 / 1_024.0),
            one.missing.to_string(),
            format!("{:.1}", one.bytes_per_key),
            format!("{:.1}", one.bytes_per_key - payload),
            redis.map_or_else(
                || "-".to_owned(),
                |redis| format!("{:.2}", one.bytes_per_key / redis),
            ),
        ]);
    }
    let machine = machine();
    println!(
        "{} keys of 16 bytes with values of {} bytes; {machine}\n",
        options.keys, options.value
    );
    print!("{}", table.markdown());
    if let Some(path) = &options.json {
        let rows: Vec<Json> = found
            .iter()
            .map(|one| {
                json!({
                    "server": one.name,
                    "empty_kib": one.empty_kib,
                    "full_kib": one.full_kib,
                    "missing_keys": one.missing,
                    "bytes_per_key": one.bytes_per_key,
                })
            })
            .collect();
        let report = json!({
            "machine": machine,
            "keys": options.keys,
            "value_bytes": options.value,
            "results": rows,
        });
        fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}
