//! Traces that are malformed, odd, or come from other places.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::tempdir;

use crate::{file, larder, stderr, stdout};

#[test]
fn malformed_files_exit_with_2_and_say_where() {
    let cases: [(&str, &[u8], &str); 6] = [
        ("a.lirs", b"1\n2\nthree\n", "a.lirs:3: block `three` is not allowed"),
        ("a.arc", b"1 1 0 0\n0 1099511627776 0 1\n", "a.arc:2: more than 100000000 requests"),
        ("a.csv", b"a,1\nb\n", "a.csv:2: 1 columns, the lines before have 2"),
        ("a.u32", &[1, 0, 0, 0, 2], "a.u32: byte 4: 1 bytes are left of a record of 4"),
        ("a.txt.gz", b"\x1f\x8b\x08\x00garbage", "gzip data is corrupt or cut off"),
        ("a.txt", b"", "a.txt holds no request"),
    ];
    for (name, bytes, problem) in cases {
        let (_folder, trace) = file(name, bytes);
        for command in ["replay", "info"] {
            let output = larder(&[command, &trace]);
            assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
            assert!(stderr(&output).contains(problem), "{name}: {}", stderr(&output));
            assert!(output.stdout.is_empty(), "{name}: {output:?}");
        }
    }
}

#[test]
fn a_trace_can_come_from_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["info", "-", "--format", "text", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"a\nb\na\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&info[0]["requests"], &info[0]["one_hit_wonders"]), (&3.into(), &1.into()));
}

#[test]
fn odd_traces_are_warned_of_by_name_and_line() {
    let (_folder, trace) = file("log.csv", "url,bytes\n/a,1\n/b,2\n");
    let output = larder(&["info", &trace, "--size-column", "2", "--json"]);
    let warning = format!("warning: {trace}: line 1, `url, bytes`, is taken for the names");
    assert!(stderr(&output).starts_with(&warning), "{output:?}");
    assert!(stdout(&output).contains("\"requests\": 2"));
    let output = larder(&["info", &trace, "--size-column", "2", "--no-header"]);
    assert_eq!(output.status.code(), Some(2));
    let (_folder, trace) = file("keys.txt", "a,1\nb,2\n");
    let output = larder(&["info", &trace, "--size-column", "2"]);
    assert!(stderr(&output).contains("no effect on a trace of the format text"), "{output:?}");
}

#[test]
fn files_that_are_not_traces_are_refused_by_name() {
    let (folder, _) = file("a.txt", "x\n");
    let folder_path = folder.path().to_str().unwrap();
    for format in ["text", "csv", "u32", "arc"] {
        let output = larder(&["info", folder_path, "--format", format]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("s a directory"), "{output:?}");
    }
}

#[test]
fn errors_of_later_files_are_reported_before_the_first_is_replayed() {
    let (folder, trace) = file("a.txt", "x\n");
    let odd = folder.path().join("b.odd");
    std::fs::write(&odd, "x\n").unwrap();
    for (other, code) in [("no-such-file.txt", 1), (odd.to_str().unwrap(), 2)] {
        let output = larder(&["replay", &trace, other]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stdout.is_empty() && stderr(&output).contains(other), "{output:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_name_that_is_not_utf_8_is_a_file_like_any_other() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempdir().unwrap();
    let path = folder.path().join(OsStr::from_bytes(b"tr\xffce.txt"));
    std::fs::write(&path, "x\ny\nx\n").unwrap();
    let picture = folder.path().join(OsStr::from_bytes(b"pict\xffre.svg"));
    let output = Command::new(env!("CARGO_BIN_EXE_larder"))
        .arg("simulate")
        .arg(&path)
        .arg("--plot")
        .arg(&picture)
        .output()
        .unwrap();
    assert!(stdout(&output).contains("3 requests"));
    assert!(picture.exists());
}
