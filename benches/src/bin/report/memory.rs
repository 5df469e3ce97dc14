//! The memory of an entry, by the program `memory`.
//!
//! That program counts every request to the allocator. Within this one the count would slow down
//! the contenders that ask for memory most.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use larder_benches::contender::Name;
use serde_json::Value as Json;

/// What `memory` found out about one contender.
pub(crate) struct Memory {
    pub(crate) name: Name,
    /// The entries that were present.
    pub(crate) entries: u64,
    /// The resident bytes of an entry beyond its key and its value.
    pub(crate) bytes: f64,
}

/// Has the contenders filled with so many entries. Each has a process of its own, in which no other
/// frees memory late.
pub(crate) fn measure(contenders: &[Name], entries: usize) -> Result<Vec<Memory>, Box<dyn Error>> {
    let program = program()?;
    contenders.iter().map(|&name| measure_one(&program, name, entries)).collect()
}

fn measure_one(program: &Path, name: Name, entries: usize) -> Result<Memory, Box<dyn Error>> {
    eprintln!("memory: {name}");
    let output = Command::new(program)
        .args(["--json", "--entries", &entries.to_string(), "--contenders", &name.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{} fails: {}", program.display(), output.status).into());
    }
    let found: Json = serde_json::from_slice(&output.stdout)?;
    let parsed = || {
        let entries = found[0]["entries"].as_u64()?;
        // Elsewhere than on Linux, only what is requested from the allocator is known.
        let resident = found[0]["resident_bytes_beyond_key_and_value"].as_f64();
        let bytes = resident.or(found[0]["bytes_beyond_key_and_value"].as_f64())?;
        Some(Memory { name, entries, bytes })
    };
    parsed().ok_or_else(|| "`memory` is of another version than this program".into())
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
