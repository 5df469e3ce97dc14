//! The memory of an entry, by the program `memory`.
//!
//! That program counts every request to the allocator. Within this one the count would slow down
//! the contenders that ask for memory most.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use larder_benches::contender::Name;
use serde_json::Value as Json;

/// What `memory` found out about one contender.
pub(crate) struct Memory {
    pub(crate) name: Name,
    /// The entries that were present.
    pub(crate) entries: u64,
    /// The bytes of an entry beyond its key and its value.
    pub(crate) bytes: f64,
}

/// Has the contenders filled with so many entries.
pub(crate) fn measure(contenders: &[Name], entries: usize) -> Result<Vec<Memory>, Box<dyn Error>> {
    let program = program()?;
    let names: Vec<String> = contenders.iter().map(Name::to_string).collect();
    eprintln!("memory: {entries} entries");
    let output = Command::new(&program)
        .args(["--json", "--entries", &entries.to_string(), "--contenders", &names.join(",")])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{} fails: {}", program.display(), output.status).into());
    }
    let found: Vec<Json> = serde_json::from_slice(&output.stdout)?;
    let parse = |one: &Json| {
        let name = one["contender"].as_str()?;
        Some(Memory {
            name: Name::from_str(name, false).ok()?,
            entries: one["entries"].as_u64()?,
            bytes: one["bytes_beyond_key_and_value"].as_f64()?,
        })
    };
    let parsed: Option<Vec<Memory>> = found.iter().map(parse).collect();
    parsed.ok_or_else(|| "`memory` is of another version than this program".into())
}

/// The program beside this one. Cargo builds only the program that it is to run, so if it runs this
/// one, it is made to build the other too.
fn program() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(cargo) = env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "-p", "larder-benches", "--bin", "memory"]);
        build.arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        if cfg!(feature = "mimalloc") {
            // It does not use it, but the library that both share must not be built twice.
            build.args(["--features", "mimalloc"]);
        }
        if !build.status()?.success() {
            return Err("cannot build `memory`".into());
        }
    }
    let beside = env::current_exe()?.with_file_name(format!("memory{}", env::consts::EXE_SUFFIX));
    if !beside.is_file() {
        let hint = "build it: cargo build --release -p larder-benches --bin memory";
        return Err(format!("there is no {}; {hint}", beside.display()).into());
    }
    Ok(beside)
}
