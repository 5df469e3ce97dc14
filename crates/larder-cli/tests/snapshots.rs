//! `inspect`, `verify` and `convert` as a user meets them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use larder::Cache;
use larder::snapshot::{LoadOptions, SaveOptions, Serializers};

fn larder(args: &[&str], files: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(args).args(files).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A snapshot of three entries.
fn snapshot(folder: &Path, serializer: &str) -> PathBuf {
    let cache: Cache<String, u64> = Cache::new(10);
    for n in 0..3 {
        cache.insert(format!("key {n}"), n);
    }
    let path = folder.join("snapshot");
    let serializer = Serializers::standard().get(serializer).unwrap();
    cache.save_to_path(&path, &SaveOptions::new(serializer)).unwrap();
    path
}

#[test]
fn inspect_says_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = snapshot(folder.path(), "bincode");
    let table = stdout(&larder(&["inspect"], &[&path]));
    for part in ["bincode", "alloc::string::String, u64", "entries", "binary"] {
        assert!(table.contains(part), "{part} is missing in {table}");
    }
    let json = stdout(&larder(&["inspect", "--json"], &[&path]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["entries"].as_u64(), json["weight"].as_u64()), (Some(3), Some(3)));
    assert_eq!(json["bytes"].as_u64(), Some(std::fs::metadata(&path).unwrap().len()));
    assert!(json["damaged_at"].is_null());
}

#[test]
fn verify_is_silent_about_what_is_whole_and_names_the_damage_of_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = snapshot(folder.path(), "json");
    assert_eq!(stdout(&larder(&["verify"], &[&path])), "");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 30;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = larder(&["verify"], &[&path]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("snapshot is damaged: "), "{error}");
    assert!(larder(&["inspect"], &[&path]).status.code() == Some(2));
    assert!(stdout(&larder(&["inspect", "--salvage"], &[&path])).contains("damaged"));
}

#[test]
fn a_file_that_is_not_there_is_the_machines_fault_and_one_of_another_kind_the_users() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(larder(&["verify"], &[&folder.path().join("none")]).status.code(), Some(1));
    let other = folder.path().join("other");
    std::fs::write(&other, "hello").unwrap();
    assert_eq!(larder(&["inspect"], &[&other]).status.code(), Some(2));
}

#[test]
fn convert_goes_from_each_serializer_to_each() {
    for from in ["bincode", "json", "postcard"] {
        for to in ["bincode", "json", "postcard"] {
            let folder = tempfile::tempdir().unwrap();
            let (path, copy) = (snapshot(folder.path(), from), folder.path().join("copy"));
            stdout(&larder(&["convert", "--serializer", to, "--zstd", "3"], &[&path, &copy]));
            let cache: Cache<String, u64> = Cache::new(10);
            let loaded = cache.load_from_path(&copy, &LoadOptions::new()).unwrap();
            assert_eq!((loaded.entries, cache.get("key 2")), (3, Some(2)), "{from} to {to}");
        }
    }
}

#[test]
fn convert_overwrites_only_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (snapshot(folder.path(), "json"), folder.path().join("copy"));
    std::fs::write(&copy, "precious").unwrap();
    let output = larder(&["convert", "--serializer", "json"], &[&path, &copy]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read(&copy).unwrap(), b"precious");
    stdout(&larder(&["convert", "--serializer", "json", "--force"], &[&path, &copy]));
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap());
}

#[test]
fn convert_says_which_serializers_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (snapshot(folder.path(), "json"), folder.path().join("copy"));
    let output = larder(&["convert", "--serializer", "pickle"], &[&path, &copy]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("available: bincode, json, postcard"), "{error}");
}
