//! `simulate`: exact figures, beside replays and references.

use std::path::Path;

use tempfile::tempdir;

use crate::{EXACT, file, hits, json, larder, stderr, stdout};

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
    let simulated = hits(&json(&[&["simulate"], &args[..]].concat()), "simulations");
    assert_eq!(simulated, hits(&json(&[&["replay"], &args[..], &EXACT].concat()), "replays"));
    assert!(simulated.iter().all(|(_, _, hits)| (1000..4900).contains(hits)), "{simulated:?}");
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
    assert_eq!(hits(&document, "simulations"), expected);
    assert_eq!(document["traces"][0]["simulations"][2]["kind"], "bound");
}

#[test]
fn a_simulation_equals_an_exact_replay() {
    let policies = ["--policies", "lru,fifo,lfu,sieve", "--capacities", "3%", "--json"];
    let replayed = json(&[&policies[..], &EXACT].concat());
    let document = json(&[&["simulate"], &policies[..]].concat());
    assert_eq!(hits(&document, "simulations"), hits(&replayed, "replays"));
}

#[test]
fn a_simulation_by_size_takes_policies_that_support_weights() {
    let (_folder, trace) = file("log.csv", "a,10\nb,10\na,10\nb,10\nc,11\na,10\n");
    let weighed = ["--size-column", "2", "--weights", "size", "--capacities", "20", "--json"];
    let args = [&["simulate", &trace], &weighed[..]].concat();
    let document = json(&args);
    let cells = hits(&document, "simulations");
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
fn sizes_are_made_up_for_all_traces_and_compared_by_bytes() {
    let (_folder, trace) = file("keys.txt", "a\nb\na\nc\n".repeat(200));
    let sizes =
        ["--sizes", "web,values", "--size-correlation", "none,negative", "--weights", "size"];
    let asked = [
        "--policies",
        "lru,ref-lru,ref-caffeine,ref-gdsf,ref-adaptsize",
        "--capacities",
        "50%,90%",
    ];
    let generated = ["--generate", "zipf", "--requests", "3000", "--keys", "300", "--seeds", "2"];
    let all = [&["simulate", &trace], &sizes[..], &asked, &generated].concat();
    let document = json(&[&all[..], &["--json"]].concat());
    let traces = document["traces"].as_array().unwrap();
    let names: Vec<&str> = traces.iter().map(|of| of["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 8);
    assert!(names[0].ends_with("keys.txt, web sizes"), "{names:?}");
    assert_eq!(names[7], "zipf (seed 1), values sizes, popular keys smaller");
    for of in traces {
        assert!(of["footprint_bytes"].as_u64() > Some(0));
        for cells in of["simulations"].as_array().unwrap().chunks(5) {
            // The library's LRU and the reference agree to the byte.
            assert_eq!(cells[0]["byte_hit_ratio"], cells[1]["byte_hit_ratio"]);
            assert!(cells.iter().all(|cell| cell["byte_hit_ratio"].as_f64() < Some(1.0)));
        }
    }
    let text = stdout(&larder(&[&all[..], &["--against", "REF-LRU,ref-caffeine"]].concat()));
    for part in ["bytes", "lead over ref-lru, ref-caffeine", "the seeds 1 to 2"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let replayed =
        stdout(&larder(&[&["replay", &trace], &sizes[..], &["--policies", "lru"]].concat()));
    assert!(replayed.contains("byte hit ratio"), "{replayed}");
}

#[test]
fn a_trace_of_twitters_clusters_is_read_with_its_sizes() {
    let lines = "0,yDqF,17,150,1,get,0\n1,qpaf,17,2000,1,get,30\n2,yDqF,17,150,2,get,0\n";
    let (_folder, trace) = file("cluster052.csv", lines);
    let columns = ["--no-header", "--key-column", "2", "--size-column", "4"];
    let times = ["--time-column", "1"];
    let asked = ["--weights", "size", "--policies", "lru", "--capacities", "3000", "--json"];
    let document = json(&[&["simulate", &trace], &columns[..], &times, &asked].concat());
    let cell = &document["traces"][0]["simulations"][0];
    assert_eq!(document["traces"][0]["footprint_bytes"], 2150);
    assert_eq!((&cell["hits"], &cell["requests"]), (&1.into(), &3.into()));
}

#[test]
fn a_simulation_refuses_invalid_requests() {
    let (_folder, trace) = file("a.txt", "x\ny\nx\n");
    let (_other, bad) = file("bad.lirs", "1\nx\n");
    for (args, problem) in [
        (&["simulate", &trace, "--policies", "belady"][..], "unknown policy `belady`"),
        (&["simulate", &trace, "--capacities", "0"], "--capacities"),
        (&["simulate", &trace, "--threads", "0"], "--threads"),
        (&["simulate", &trace, "--weights", "size"], "needs sizes"),
        (&["simulate", &trace, "--size-correlation", "none"], "--sizes"),
        (
            &["simulate", &trace, "--policies", "lru", "--against", "opt"],
            "opt, which is not simulated",
        ),
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
