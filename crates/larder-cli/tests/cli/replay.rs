//! `replay`: figures, documents and expiry.

use crate::{EXACT, file, hits, json, larder, stderr, stdout};

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
    assert_eq!(
        hits(&document, "replays"),
        expected.map(|(policy, c, h)| (policy.to_owned(), c, h))
    );
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
