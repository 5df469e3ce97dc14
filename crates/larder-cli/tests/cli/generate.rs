//! `generate`: the same trace for the same seed, in each packing.

use tempfile::tempdir;

use crate::{file, json, larder, stderr, stdout};

#[test]
fn generated_traces_are_reproducible_and_readable_in_every_packing() {
    let folder = tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut infos = Vec::new();
    for name in ["a.txt", "a.txt.gz", "a.u32", "a.u32.zst"] {
        let options = ["--requests", "2000", "--keys", "300", "--seed", "9", "--output"];
        let mut args = vec!["generate", "zipf"];
        args.extend(options);
        let path = path(name);
        args.push(&path);
        assert_eq!(stdout(&larder(&args)), "");
        let info = json(&["info", "--json", &path]);
        infos.push((info[0]["requests"].clone(), info[0]["distinct_keys"].clone()));
    }
    assert_eq!(infos[0].0, 2000);
    assert!(infos.iter().all(|info| *info == infos[0]), "{infos:?}");
}

#[test]
fn generate_keeps_a_file_unless_forced() {
    let (_folder, path) = file("kept.txt", "precious");
    let args = ["generate", "loop", "--keys", "2", "--requests", "3", "--output", &path];
    let output = larder(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("exists already; pass --force"));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    stdout(&larder(&[&args[..], &["--force"]].concat()));
    assert_eq!(std::fs::read(&path).unwrap(), b"0\n1\n0\n");
}
