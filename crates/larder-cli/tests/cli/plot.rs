//! `--plot`: the curves, and files that cannot be written.

use std::process::Command;

use crate::{file, larder, stderr, stdout};

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
fn the_plot_is_drawn_though_nobody_reads_the_tables() {
    let (folder, trace) = file("a.txt", "x\ny\nx\n");
    for (command, form) in [
        ("replay", None),
        ("replay", Some("--json")),
        ("simulate", None),
        ("simulate", Some("--csv")),
    ] {
        let picture = folder.path().join(format!("{command}{}.svg", form.unwrap_or_default()));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args([command, &trace, "--policies", "lru", "--capacities", "1,2", "--plot"])
            .arg(&picture)
            .args(form)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{command}");
        assert!(std::fs::read_to_string(&picture).unwrap().starts_with("<svg"));
    }
}

#[test]
fn a_plot_that_cannot_be_written_is_refused_before_the_run() {
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
