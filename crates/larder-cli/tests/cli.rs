//! The binary as users see it: output, files, exit codes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Options that make a replay exact.
const EXACT: [&str; 7] =
    ["--threads", "1", "--maintenance", "inline", "--partitions", "1", "--quiet"];

fn larder(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_larder")).args(args).output().unwrap()
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

fn hits(document: &Value) -> Vec<(String, u64, u64)> {
    document["traces"][0]["replays"]
        .as_array()
        .unwrap()
        .iter()
        .map(|replay| {
            (
                replay["policy"].as_str().unwrap().to_owned(),
                replay["capacity_entries"].as_u64().unwrap(),
                replay["hits"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_run_without_command_replays_the_bundled_trace_into_a_table() {
    let output = stdout(&larder(&["--policies", "lru,s3_fifo", "--capacities", "5%"]));
    assert!(output.starts_with("build-pages (bundled): "), "{output}");
    for text in ["hit ratio", "Mops/s", "p50", "p99", "p99.9", "\n lru", "\n s3_fifo", "5.0 %"] {
        assert!(output.contains(text), "{text} is missing in\n{output}");
    }
}

#[test]
fn the_bundled_trace_tells_policies_and_capacities_apart() {
    let mut args = vec!["--json", "--policies", "lru,sieve", "--capacities", "5%,25%"];
    args.extend(EXACT);
    let document = json(&args);
    let ratios: Vec<f64> = document["traces"][0]["replays"]
        .as_array()
        .unwrap()
        .iter()
        .map(|replay| replay["hit_ratio"].as_f64().unwrap())
        .collect();
    let [lru_small, sieve_small, lru_large, sieve_large] = ratios[..] else {
        panic!("{ratios:?}");
    };
    assert!(sieve_small > lru_small + 0.05, "{ratios:?}");
    assert!(lru_large > lru_small + 0.1 && sieve_large > sieve_small, "{ratios:?}");
}

#[test]
fn an_exact_replay_has_the_textbook_hits() {
    // The example of Belady's anomaly: FIFO hits more with 3 entries than with 4.
    let (_folder, trace) = file("belady.lirs", "1\n2\n3\n4\n1\n2\n5\n*\n1\n2\n3\n4\n5\n");
    let mut args =
        vec!["replay", &trace, "--json", "--policies", "lru,fifo", "--capacities", "3,4"];
    args.extend(EXACT);
    let document = json(&args);
    let expected = [("lru", 3, 2), ("fifo", 3, 3), ("lru", 4, 4), ("fifo", 4, 2)];
    assert_eq!(hits(&document), expected.map(|(policy, c, h)| (policy.to_owned(), c, h)));
    let first = &document["traces"][0]["replays"][0];
    assert_eq!(first["hit_ratio"], 2.0 / 12.0);
    assert_eq!(document["threads"], 1);
    assert_eq!(document["maintenance"], "inline");
}

#[test]
fn the_json_document_has_its_fields_and_nothing_else_is_printed() {
    let (_folder, trace) = file("a.txt", "x\ny\nx\n");
    let document = json(&["replay", &trace, "--json", "--policies", "lru", "--threads", "2"]);
    let trace = &document["traces"][0];
    assert_eq!((&trace["requests"], &trace["distinct_keys"]), (&3.into(), &2.into()));
    let replay = &trace["replays"][0];
    for field in
        ["p50_ns", "p99_ns", "p999_ns", "ops_per_second", "evictions", "elapsed_seconds", "hits"]
    {
        assert!(replay[field].is_number(), "{field}: {replay}");
    }
}

#[test]
fn weights_by_size_bound_the_bytes() {
    let csv = "url,bytes,ttl\na,10,60\nb,10,\na,10,60\nb,10,\nc,11,5\na,10,60\n";
    let (_folder, trace) = file("log.csv", csv);
    let columns = ["--key-column", "url", "--size-column", "bytes", "--ttl-column", "ttl"];
    let mut args = vec!["replay", &trace, "--weights", "size", "--capacities", "20"];
    args.extend(columns);
    args.extend(["--policies", "lru", "--json"]);
    args.extend(EXACT);
    let document = json(&args);
    let replay = &document["traces"][0]["replays"][0];
    assert_eq!((&replay["capacity_bytes"], &replay["hits"]), (&20.into(), &2.into()));
    assert_eq!(document["traces"][0]["footprint_bytes"], 31);
    assert_eq!(document["traces"][0]["ttl"]["requests"], 4);
}

#[test]
fn rejected_entries_are_warned_about() {
    let (_folder, trace) = file("log.csv", "a,10\nb,50\nb,50\n");
    let mut args = vec!["replay", &trace, "--size-column", "2", "--weights", "size"];
    args.extend(["--capacities", "20", "--policies", "lru"]);
    args.extend(EXACT);
    let output = larder(&args);
    assert!(output.status.success());
    assert!(stderr(&output).starts_with("warning: lru at 20 rejected 2 entries"), "{output:?}");
}

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
fn wrong_arguments_exit_with_2_before_a_trace_is_read() {
    for args in [
        &["--policies", "belady"][..],
        &["--capacities", "0"],
        &["--capacities", "5%", "--partitions", "3"],
        &["--no-such-option"],
        &["replay", "no-such-file", "--policies", "nothing"],
        &["replay", "no-such-file", "--plot", "curve.png"],
        &["man", "no-such-command"],
        &["completions", "no-such-shell"],
        &["generate", "zipf", "--exponent", "-1", "--output", "-"],
        &["generate", "zipf", "--exponent", "nan", "--output", "-"],
    ] {
        let output = larder(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(stderr(&output).starts_with("error: "), "{args:?}: {output:?}");
    }
}

#[test]
fn a_file_that_cannot_be_opened_or_written_exits_with_1() {
    let output = larder(&["replay", "no-such-file.txt"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: cannot open no-such-file.txt: "));
    let output = larder(&["generate", "loop", "--output", "no/such/folder.txt"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_plot_is_an_svg_with_the_policies_of_each_trace() {
    let (folder, trace) = file("small.txt", "a\nb\na\nc\nb\na\n");
    let svg = folder.path().join("curve.svg");
    let svg_arg = svg.to_str().unwrap();
    for capacities in ["1,2,3", "2"] {
        let policies = ["--policies", "lru,sieve", "--capacities", capacities];
        let mut args = vec!["replay", &trace, &trace, "--plot", svg_arg, "--force"];
        args.extend(policies);
        stdout(&larder(&args));
        let drawn = std::fs::read_to_string(&svg).unwrap();
        assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"));
        for text in ["lru", "sieve", "miss ratio", "small.txt"] {
            assert!(drawn.contains(text), "{text}");
        }
    }
}

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
fn a_closed_pipe_ends_the_output_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["generate", "loop", "--requests", "10000000", "--output", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_picture_that_cannot_be_written_is_refused_before_the_run() {
    let (folder, trace) = file("a.txt", "x\ny\nx\n");
    let picture = folder.path().join("a.svg");
    std::fs::write(&picture, "precious").unwrap();
    let picture = picture.to_str().unwrap().to_owned();
    for command in ["replay", "simulate"] {
        let output = larder(&[command, &trace, "--plot", &picture]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains("exists already; pass --force"), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert_eq!(std::fs::read(&picture).unwrap(), b"precious");
        let nowhere = format!("{picture}/no/b.svg");
        let output = larder(&[command, &trace, "--plot", &nowhere]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    stdout(&larder(&["simulate", &trace, "--plot", &picture, "--force"]));
    assert!(std::fs::read_to_string(&picture).unwrap().starts_with("<svg"));
}

/// The output of `--csv` as rows of cells; no cell in these tests contains a comma.
fn rows(args: &[&str]) -> Vec<Vec<String>> {
    let text = stdout(&larder(args));
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn csv_has_the_figures_of_json_in_a_row_each() {
    let (_folder, trace) = file("t.lirs", "1\n2\n3\n4\n1\n2\n5\n1\n2\n3\n4\n5\n");
    let asked = ["--policies", "lru,fifo", "--capacities", "3,4"];
    for (command, list, options) in
        [("replay", "replays", &EXACT[..]), ("simulate", "simulations", &[])]
    {
        let args = [&[command, &trace], &asked[..], options].concat();
        let document = json(&[&args[..], &["--json"]].concat());
        let rows = rows(&[&args[..], &["--csv"]].concat());
        let results = document["traces"][0][list].as_array().unwrap();
        assert_eq!(rows.len(), 1 + results.len());
        for (row, result) in rows[1..].iter().zip(results) {
            assert_eq!(row.len(), rows[0].len());
            assert_eq!(row[0], trace);
            let column = |name: &str| rows[0].iter().position(|column| column == name).unwrap();
            for name in ["hits", "hit_ratio", "capacity_entries", "requests"] {
                assert_eq!(row[column(name)], result[name].to_string(), "{name}");
            }
            // Each field has its column; only the trace's name is added.
            assert_eq!(rows[0].len(), 1 + result.as_object().unwrap().len());
            for name in result.as_object().unwrap().keys() {
                assert!(rows[0].contains(name), "{name}");
            }
        }
    }
    let info = rows(&["info", &trace, "--csv"]);
    assert_eq!((info.len(), &info[1][0], &info[1][1]), (2, &trace, &"lirs".to_owned()));
}

#[test]
fn entries_expire_by_the_time_of_the_trace() {
    let csv = "url,ttl,when\na,10,2024-05-31T12:00:00Z\na,10,2024-05-31T12:00:10Z\n\
               a,10,2024-05-31T12:00:11Z\nb,,2024-05-31T12:00:12Z\nb,,2034-05-31T12:00:00Z\n";
    let (_folder, trace) = file("log.csv", csv);
    let columns = ["--key-column", "url", "--ttl-column", "ttl", "--time-column", "when"];
    let asked = ["--policies", "lru", "--capacities", "2", "--json"];
    let timed = [&[&*trace], &columns[..], &asked].concat();
    let document = json(&[&["simulate"], &timed[..]].concat());
    assert_eq!(document["traces"][0]["simulations"][0]["hits"], 2);
    assert_eq!(document["traces"][0]["ttl"]["is_replayed"], true);
    let document = json(&[&["replay"], &timed[..], &EXACT].concat());
    assert_eq!(document["traces"][0]["replays"][0]["hits"], 2);
    // With a rate, the times of a trace without times follow from it; without either, no entry
    // expires.
    let rated = [&["simulate", &trace], &columns[..4], &["--rate", "0.05"], &asked].concat();
    assert_eq!(json(&rated)["traces"][0]["simulations"][0]["hits"], 1);
    let output = larder(&[&["simulate", &trace], &columns[..4], &asked].concat());
    assert!(stderr(&output).contains("no entry expires"), "{output:?}");
    assert!(stdout(&output).contains("\"is_replayed\": false"));
    let info = stdout(&larder(&[&["info", &trace], &columns[..]].concat()));
    assert!(info.contains("2024-05-31 12:00:00 UTC"), "{info}");
}

#[test]
fn a_simulation_with_times_to_live_equals_an_exact_replay_where_all_fits() {
    let mut state = 7_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let mut time_ms = 0;
    let lines: String = (0..5000)
        .map(|_| {
            time_ms += next(200);
            let ttl = ["1", "2.5", "10", ""][next(4) as usize];
            format!("{},{ttl},{time_ms}\n", next(60).min(next(60)))
        })
        .collect();
    let (_folder, trace) = file("t.csv", lines);
    let columns = ["--no-header", "--ttl-column", "2", "--time-column", "3", "--time-unit", "ms"];
    let asked = ["--policies", "lru,fifo,s3_fifo", "--capacities", "60", "--json"];
    let args = [&[&*trace], &columns[..], &asked].concat();
    let document = simulated(&json(&[&["simulate"], &args[..]].concat()));
    assert_eq!(document, hits(&json(&[&["replay"], &args[..], &EXACT].concat())));
    assert!(document.iter().all(|(_, _, hits)| (1000..4900).contains(hits)), "{document:?}");
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
fn shells_and_manuals_are_served() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&larder(&["completions", shell]));
        assert!(script.contains("simulate") && script.contains("capacities"), "{shell}");
    }
    let page = stdout(&larder(&["man"]));
    assert!(page.contains(".TH larder 1") && page.contains("larder\\-simulate"), "{page}");
    let page = stdout(&larder(&["man", "simulate"]));
    assert!(page.contains("\\-\\-capacities") && page.contains("1,048,576"), "{page}");
}

#[test]
fn what_is_no_file_of_requests_is_refused_by_name() {
    let (folder, _) = file("a.txt", "x\n");
    let folder_path = folder.path().to_str().unwrap();
    for format in ["text", "csv", "u32", "arc"] {
        let output = larder(&["info", folder_path, "--format", format]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("s a directory"), "{output:?}");
    }
}

#[test]
fn what_is_wrong_with_a_later_file_is_said_before_the_first_is_replayed() {
    let (folder, trace) = file("a.txt", "x\n");
    let odd = folder.path().join("b.odd");
    std::fs::write(&odd, "x\n").unwrap();
    for (other, code) in [("no-such-file.txt", 1), (odd.to_str().unwrap(), 2)] {
        let output = larder(&["replay", &trace, other]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stdout.is_empty() && stderr(&output).contains(other), "{output:?}");
    }
}

#[test]
fn a_trace_in_the_place_of_a_command_is_answered_with_the_command() {
    let (folder, trace) = file("a.txt", "x\n");
    let output = larder(&[&trace]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(&format!("larder replay {trace}")), "{output:?}");
    let folder = folder.path().to_str().unwrap();
    assert!(!stderr(&larder(&[folder])).contains("larder replay"));
    // The message for a folder must not say that it can be overwritten.
    let output = larder(&["generate", "loop", "--output", folder]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!stderr(&output).contains("--force"), "{output:?}");
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

#[test]
fn the_package_has_the_licences_of_the_repository() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        let own = std::fs::read_to_string(package.join(name)).unwrap();
        let above = std::fs::read_to_string(package.join("../..").join(name)).unwrap();
        assert_eq!(own, above, "{name}");
    }
}

#[test]
fn the_bundled_trace_is_described_beside_it() {
    let info = json(&["info", "--json"]);
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/README.md");
    let readme = std::fs::read_to_string(readme).unwrap().replace(',', "");
    for field in ["requests", "distinct_keys", "one_hit_wonders"] {
        let number = info[0][field].to_string();
        assert!(readme.contains(&number), "{field} {number} is not in data/README.md");
    }
}

fn simulated(document: &Value) -> Vec<(String, u64, u64)> {
    let cells = document["traces"][0]["simulations"].as_array().unwrap();
    let of = |cell: &Value, field: &str| cell[field].as_u64().unwrap_or(0);
    cells
        .iter()
        .map(|cell| {
            let capacity = of(cell, "capacity_entries") + of(cell, "capacity_bytes");
            (cell["policy"].as_str().unwrap().to_owned(), capacity, of(cell, "hits"))
        })
        .collect()
}

#[test]
fn a_simulation_has_the_textbook_hits() {
    let (_folder, trace) = file("belady.lirs", "1\n2\n3\n4\n1\n2\n5\n*\n1\n2\n3\n4\n5\n");
    let policies = ["--policies", "lru,FIFO,opt", "--capacities", "4,3,25%", "--threads", "3"];
    let document = json(&[&["simulate", &trace, "--json"], &policies[..]].concat());
    // A quarter of five keys is one entry, with which no policy has a hit here.
    let expected = [("lru", 1, 0), ("fifo", 1, 0), ("opt", 1, 2)]
        .into_iter()
        .chain([("lru", 3, 2), ("fifo", 3, 3), ("opt", 3, 5)])
        .chain([("lru", 4, 4), ("fifo", 4, 2), ("opt", 4, 6)]);
    let expected: Vec<_> = expected.map(|(policy, c, h)| (policy.to_owned(), c, h)).collect();
    assert_eq!(simulated(&document), expected);
    assert_eq!(document["traces"][0]["simulations"][2]["kind"], "bound");
}

#[test]
fn a_simulation_equals_an_exact_replay() {
    let policies = ["--policies", "lru,fifo,lfu,sieve", "--capacities", "3%", "--json"];
    let replayed = json(&[&policies[..], &EXACT].concat());
    let document = json(&[&["simulate"], &policies[..]].concat());
    assert_eq!(simulated(&document), hits(&replayed));
}

#[test]
fn a_simulation_weighs_by_size_what_takes_weights() {
    let (_folder, trace) = file("log.csv", "a,10\nb,10\na,10\nb,10\nc,11\na,10\n");
    let weighed = ["--size-column", "2", "--weights", "size", "--capacities", "20", "--json"];
    let args = [&["simulate", &trace], &weighed[..]].concat();
    let document = json(&args);
    let cells = simulated(&document);
    assert!(cells.contains(&("lru".to_owned(), 20, 2)), "{cells:?}");
    assert!(cells.iter().any(|(policy, ..)| policy == "opt"), "{cells:?}");
    assert!(cells.iter().all(|(policy, ..)| policy != "ref-arc"), "{cells:?}");
    assert_eq!(document["traces"][0]["simulations"][0]["byte_hit_ratio"], 20.0 / 61.0);
    let output = larder(&[&args[..], &["--policies", "ref-arc"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("ref-arc is defined for entries of one weight"));
}

#[test]
fn generated_traces_are_simulated_shown_and_drawn() {
    let folder = tempdir().unwrap();
    let svg = folder.path().join("curves.svg").to_str().unwrap().to_owned();
    let generated = ["--generate", "loop,zipf", "--requests", "5000", "--keys", "200"];
    let shown = ["--capacities", "10,100", "--plot", &svg];
    let output = stdout(&larder(&[&["simulate"], &generated[..], &shown].concat()));
    for text in ["loop (seed 1): 5,000 requests", "zipf (seed 1)", "opt", "ref-lirs", "48.00"] {
        assert!(output.contains(text), "{text} is missing in\n{output}");
    }
    let drawn = std::fs::read_to_string(svg).unwrap();
    for text in ["loop (seed 1)", "zipf (seed 1)", "ref-arc", "opt", "s3_fifo"] {
        assert!(drawn.contains(text), "{text}");
    }
}

#[test]
fn a_simulation_refuses_what_it_cannot_do() {
    let (_folder, trace) = file("a.txt", "x\ny\nx\n");
    let (_other, bad) = file("bad.lirs", "1\nx\n");
    for (args, problem) in [
        (&["simulate", &trace, "--policies", "belady"][..], "unknown policy `belady`"),
        (&["simulate", &trace, "--capacities", "0"], "--capacities"),
        (&["simulate", &trace, "--threads", "0"], "--threads"),
        (&["simulate", &trace, "--weights", "size"], "needs sizes"),
        (&["simulate", &bad], "bad.lirs:2"),
        (&["simulate", "--generate", "loop", "--requests", "0"], "holds no request"),
        (&["simulate", "--generate", "loop", "--max-requests", "9"], "more than 9 requests"),
    ] {
        let output = larder(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(stderr(&output).contains(problem), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    }
}

/// Checks every row of `reference.tsv` whose trace is in its folder: the optimum, the exact
/// policies, ARC, LIRS and the library's SIEVE, each to the last digit in the file. `LARDER_TRACES`
/// names the folder; CI sets it if it has the traces.
#[test]
fn simulations_agree_with_independent_references() {
    let Ok(folder) = std::env::var("LARDER_TRACES") else {
        eprintln!("skipped: LARDER_TRACES names no folder of traces with reference ratios");
        return;
    };
    let folder = Path::new(&folder);
    let reference = std::fs::read_to_string(folder.join("reference.tsv")).unwrap();
    let mut lines = reference.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let policies = [
        ("opt", "opt"),
        ("lru", "ref-lru"),
        ("lru", "lru"),
        ("fifo", "ref-fifo"),
        ("fifo", "fifo"),
        ("lfu", "ref-lfu"),
        ("lfu", "lfu"),
        ("sieve", "sieve"),
        ("arc", "ref-arc"),
        ("lirs", "ref-lirs"),
    ];
    let names = policies.map(|(_, name)| name).join(",");
    let mut rows = 0;
    for row in lines {
        let trace = folder.join(format!("{}.u32.gz", row[0]));
        if !trace.exists() {
            continue;
        }
        let trace = trace.to_str().unwrap();
        let document =
            json(&["simulate", trace, "--json", "--policies", &names, "--capacities", row[2]]);
        let cells = document["traces"][0]["simulations"].as_array().unwrap();
        for ((column, name), cell) in policies.iter().zip(cells) {
            let at = header.iter().position(|title| title == column).unwrap();
            let expected: f64 = row[at].parse().unwrap();
            let seen = 100.0 * cell["hit_ratio"].as_f64().unwrap();
            assert!((seen - expected).abs() < 0.0101, "{row:?}: {name} has {seen}");
        }
        rows += 1;
    }
    assert!(rows > 0, "no trace of reference.tsv is in {}", folder.display());
}
