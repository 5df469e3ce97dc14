//! The program as a whole: arguments, exit codes, manuals, and what the package holds.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{file, json, larder, stderr, stdout};

#[test]
fn a_run_without_command_replays_the_bundled_trace_into_a_table() {
    let output = stdout(&larder(&["--policies", "lru,s3_fifo", "--capacities", "5%"]));
    assert!(output.starts_with("build-pages (bundled): "), "{output}");
    for text in ["hit ratio", "Mops/s", "p50", "p99", "p99.9", "\n lru", "\n s3_fifo", "5.0 %"] {
        assert!(output.contains(text), "{text} is missing in\n{output}");
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
fn a_negative_number_is_refused_by_its_option() {
    for (args, wanted) in [
        (
            &["--capacities", "-1"][..],
            "'-1' for '--capacities <LIST>': use a whole number from 1 up",
        ),
        (&["simulate", "--rate", "-0.5"], "above 0"),
        (&["simulate", "--seeds", "-1"], "'-1' for '--seeds <N>'"),
        (&["generate", "zipf", "--exponent", "-1", "--output", "-"], "use a number from 0 to 20"),
        (&["serve", "--check", "--capacity", "-1"], "'-1' for '--capacity <ENTRIES>'"),
        (&["top", "--url", "http://x", "--interval", "-1"], "use 0.1 to 3600 seconds"),
        (&["dump", "x", "--max-record-bytes", "-1"], "'-1' for '--max-record-bytes <BYTES>'"),
    ] {
        let output = larder(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(stderr(&output).contains(wanted), "{args:?}: {output:?}");
    }
}

#[test]
#[cfg(unix)]
fn a_terminal_does_not_obey_the_names_of_files() {
    let (folder, trace) = file("a\u{1b}[31m\u{9b}2J\r<&>.txt", "x\ny\nx\n");
    let picture = folder.path().join("a.svg");
    let plot =
        ["--plot", picture.to_str().unwrap(), "--policies", "lru,sieve", "--capacities", "1,2"];
    let missing = format!("{trace}.gone.txt");
    let runs = [
        larder(&["info", &trace]),
        larder(&["info", &trace, "--key-column", "2"]),
        larder(&[&["simulate", &trace][..], &plot].concat()),
        larder(&["replay", &trace, "--policies", "lru", "--capacities", "1"]),
        larder(&["info", &missing]),
        larder(&["inspect", &missing]),
        larder(&["serve", "--check", "--config", &missing]),
    ];
    for run in &runs {
        let text = String::from_utf8(run.stdout.clone()).unwrap() + &stderr(run);
        assert!(text.contains("a·[31m·2J·<&>.txt"), "{text}");
        let is_obeyed = |letter: char| letter.is_control() && letter != '\n';
        assert!(!text.contains(is_obeyed), "{text:?}");
    }
    let drawn = std::fs::read_to_string(&picture).unwrap();
    assert!(drawn.contains("a·[31m·2J·&lt;&amp;&gt;.txt"), "{drawn}");
    // Programs get the name as it is.
    let document = json(&["info", &trace, "--json"]);
    assert_eq!(document[0]["name"], trace.as_str());
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
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_exits_with_1() {
    for args in [
        &["--help"][..],
        &["help", "serve"],
        &["simulate", "-h"],
        &["--version"],
        &["man"],
        &["completions", "bash"],
        &["info"],
        &["--policies", "lru", "--capacities", "1%", "--quiet"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_larder")).args(args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(stderr(&output).starts_with("error: cannot write standard output: "), "{output:?}");
    }
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
fn a_trace_in_place_of_a_command_leads_to_a_suggestion() {
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
