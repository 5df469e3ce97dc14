//! `inspect`, `verify`, `convert` and `dump` as users see them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use larder::Cache;
use larder::snapshot::{RestoreOptions, SaveOptions, Serializers};

use crate::stdout;

fn larder(args: &[&str], files: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(args).args(files).output().unwrap()
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
fn inspect_describes_a_snapshot() {
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
fn verify_is_silent_about_intact_snapshots_and_names_damage() {
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
fn a_missing_file_exits_with_1_and_a_file_of_another_kind_with_2() {
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
            let loaded = cache.load_from_path(&copy, &RestoreOptions::new()).unwrap();
            assert_eq!((loaded.entries, cache.get("key 2")), (3, Some(2)), "{from} to {to}");
        }
    }
}

#[test]
fn convert_overwrites_only_if_forced() {
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

/// Saves with that serializer, packed if `is_packed`.
fn saved<V>(folder: &Path, cache: &Cache<String, V>, serializer: &str, is_packed: bool) -> PathBuf
where
    V: serde::Serialize + serde::de::DeserializeOwned,
{
    let path = folder.join(serializer);
    let options = SaveOptions::new(Serializers::standard().get(serializer).unwrap())
        .at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    let options = if is_packed { options.zstd(3) } else { options };
    cache.save_to_path(&path, &options).unwrap();
    path
}

#[test]
fn dump_writes_an_entry_to_a_line_with_dates_and_tags() {
    let cache: Cache<String, u64> =
        Cache::builder().capacity(10).clock(larder::test::FakeClock::new()).build().unwrap();
    cache.insert("plain".to_owned(), 1);
    cache.insert_with_tags("tagged".to_owned(), u64::MAX, ["a\"b", "c"]);
    cache.insert_with_ttl("timed".to_owned(), 3, Duration::from_millis(1500));
    let folder = tempfile::tempdir().unwrap();
    for serializer in ["bincode", "json", "postcard"] {
        let path = saved(folder.path(), &cache, serializer, serializer == "json");
        let text = stdout(&larder(&["dump"], &[&path]));
        let mut lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.sort_by_key(|line| line["key"].as_str().unwrap().to_owned());
        assert_eq!(lines.len(), 3, "{serializer}");
        assert_eq!((&lines[0]["key"], &lines[0]["value"]), (&"plain".into(), &1.into()));
        assert!(lines[0]["expires_at"].is_null() && lines[0]["has_expired"] == false);
        assert_eq!(lines[1]["value"], u64::MAX);
        assert_eq!(lines[1]["tags"], serde_json::json!(["a\"b", "c"]));
        assert_eq!(lines[2]["expires_at"], "2001-09-09T01:46:41.500Z");
        assert_eq!(
            (&lines[2]["expires_in_s"], &lines[2]["has_expired"]),
            (&1.5.into(), &true.into())
        );
        assert_eq!(lines[2]["weight"], 1);
        assert!(stdout(&larder(&["inspect"], &[&path])).contains("2001-09-09T01:46:40.000Z"));
    }
}

#[test]
fn dump_preserves_all_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let wide: Cache<String, u128> = Cache::new(10);
    wide.insert("wide".to_owned(), u128::MAX);
    let path = saved(folder.path(), &wide, "json", false);
    assert!(stdout(&larder(&["dump"], &[&path])).contains(&format!("\"value\":{},", u128::MAX)));
    let floats: Cache<String, f64> = Cache::new(10);
    floats.insert("nan".to_owned(), f64::NAN);
    let path = saved(folder.path(), &floats, "bincode", false);
    assert!(stdout(&larder(&["dump"], &[&path])).contains(r#""value":"NaN","#));
    // Bytes of one type cannot be read as another.
    for command in [&["dump", "--value", "u64"][..], &["dump", "--key", "u32"]] {
        let output = larder(command, &[&path]);
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("which bincode reads as no other"), "{error}");
    }
}

#[test]
fn convert_refuses_values_that_it_cannot_convert_and_keeps_the_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let values: Cache<String, serde_json::Value> = Cache::new(10);
    values.insert("a".to_owned(), serde_json::json!({"x": 1}));
    let wide: Cache<String, u128> = Cache::new(10);
    wide.insert("a".to_owned(), u128::from(u64::MAX) + 1);
    let nan: Cache<String, f64> = Cache::new(10);
    nan.insert("a".to_owned(), f64::NAN);
    let copy = folder.path().join("copy");
    std::fs::write(&copy, "precious").unwrap();
    let check = |path: &Path, args: &[&str], said: &str| {
        let output = larder(&[&["convert", "--force"], args].concat(), &[path, &copy]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(said), "{error}");
        assert_eq!(std::fs::read(&copy).unwrap(), b"precious");
    };
    for to in ["bincode", "postcard"] {
        let path = saved(folder.path(), &values, "json", false);
        check(&path, &["--serializer", to], "use `json`");
    }
    let path = saved(folder.path(), &wide, "json", false);
    check(&path, &["--serializer", "json", "--value", "json"], "would become a float");
    let path = saved(folder.path(), &nan, "bincode", false);
    check(&path, &["--serializer", "json"], "key \"a\"");
}

#[test]
fn exceeded_limits_are_not_reported_as_damage_and_can_be_raised() {
    let folder = tempfile::tempdir().unwrap();
    let pages: Cache<String, String> = Cache::new(100);
    for n in 0..20 {
        pages.insert(n.to_string(), " ".repeat(200_000));
    }
    let path = saved(folder.path(), &pages, "json", true);
    let copy = folder.path().join("copy");
    for command in [&["verify"][..], &["inspect"], &["inspect", "--salvage"], &["dump"]] {
        stdout(&larder(command, &[&path]));
        for limit in [["--max-expansion", "2"], ["--max-record-bytes", "1000"]] {
            let output = larder(&[command, &limit].concat(), &[&path]);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2));
            assert!(error.contains("no damage") && !error.contains("damaged"), "{error}");
            assert!(error.contains(limit[0]), "{error}");
            assert!(output.stdout.is_empty());
        }
    }
    let convert = ["convert", "--serializer", "bincode", "--max-expansion", "4000000000"];
    stdout(&larder(&convert, &[&path, &copy]));
    stdout(&larder(&["verify", "--max-record-bytes", "200100"], &[&copy]));
}

#[cfg(unix)]
#[test]
fn pipes_are_refused_at_once_by_every_command() {
    use std::os::unix::fs::FileTypeExt;
    let folder = tempfile::tempdir().unwrap();
    let (path, fifo) = (snapshot(folder.path(), "json"), folder.path().join("fifo"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let convert = ["convert", "--force", "--serializer", "json"];
    let outputs = [
        larder(&["verify"], &[&fifo]),
        larder(&["inspect", "--salvage"], &[&fifo]),
        larder(&["dump"], &[&fifo]),
        larder(&convert, &[&fifo, &folder.path().join("copy")]),
        larder(&convert, &[&path, &fifo]),
    ];
    for output in outputs {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("FIFO in the place of a file"), "{error}");
        assert_eq!(error.matches("fifo").count(), 1, "{error}");
    }
    assert!(std::fs::symlink_metadata(&fifo).unwrap().file_type().is_fifo());
}
