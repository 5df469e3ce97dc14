//! The binary as users see it: output, files, exit codes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;
mod replay;
mod simulate;
mod plot;
mod traces;
mod generate;
mod snapshots;
mod top;

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Options that make a replay exact.
const EXACT: [&str; 7] =
    ["--threads", "1", "--maintenance", "inline", "--partitions", "1", "--quiet"];

/// Runs the program, or the one that `LARDER_PROGRAM` names: one that is optimized, for long traces.
fn larder(args: &[&str]) -> Output {
    let program = std::env::var_os("LARDER_PROGRAM");
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_larder").into());
    Command::new(program).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(&larder(args))).unwrap()
}

/// A file in a fresh folder, and its path as an argument.
fn file(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, String) {
    let folder = tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// Policy, capacity and hits of each result in `list`, which is `replays` or `simulations`.
fn hits(document: &Value, list: &str) -> Vec<(String, u64, u64)> {
    let capacity =
        |result: &Value| result["capacity_entries"].as_u64().or(result["capacity_bytes"].as_u64());
    document["traces"][0][list]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            (
                result["policy"].as_str().unwrap().to_owned(),
                capacity(result).unwrap(),
                result["hits"].as_u64().unwrap(),
            )
        })
        .collect()
}
