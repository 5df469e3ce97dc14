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

#[test]
#[cfg(target_os = "linux")]
fn a_trace_that_cannot_be_written_whole_does_not_stay() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.u32", "a.txt.zst"] {
        for force in [&[][..], &["--force"]] {
            let path = folder.path().join(name);
            if !force.is_empty() {
                std::fs::write(&path, "old").unwrap();
            }
            // No file may become larger than 40 KiB.
            let limited = "trap '' XFSZ; ulimit -f 40; exec \"$@\"";
            let output = std::process::Command::new("bash")
                .args(["-c", limited, "bash", env!("CARGO_BIN_EXE_larder")])
                .args(["generate", "zipf", "--requests", "200000", "--output"])
                .arg(&path)
                .args(force)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(stderr(&output).contains("cannot write"), "{output:?}");
            let left = std::fs::metadata(&path).map(|left| left.len());
            assert_eq!(left.ok(), (!force.is_empty()).then_some(0), "{name} {force:?}");
        }
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
}
