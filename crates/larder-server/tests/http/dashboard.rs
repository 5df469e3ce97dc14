//! The dashboard for Grafana asks for metrics that the server has.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::serve;
use crate::support::ask;

const DASHBOARD: &str = include_str!("../../dashboards/larder.json");

/// All texts that stand under `name` anywhere in the document.
fn texts<'j>(document: &'j Json, name: &str, found: &mut Vec<&'j str>) {
    match document {
        Json::Object(fields) => {
            for (key, value) in fields {
                if key == name {
                    found.extend(value.as_str());
                }
                texts(value, name, found);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| texts(item, name, found)),
        _ => {}
    }
}

/// The names of metrics in a query: words with an underscore that are not labels, functions or variables.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'));
    let is_metric = |word: &&str| word.starts_with("larder_") || word.starts_with("process_");
    words.filter(is_metric).collect()
}

#[test]
fn every_query_of_the_dashboard_names_metrics_that_are_served() {
    let document: Json = serde_json::from_str(DASHBOARD).unwrap();
    let served = serve();
    served.connect().exchange("SET a 1\r\nGET a\r\nGET\r\n", 3);
    let metrics = ask(&served, "GET /metrics").body;
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let known: BTreeSet<_> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();

    let mut queries = Vec::new();
    texts(&document, "expr", &mut queries);
    texts(&document, "query", &mut queries);
    assert!(queries.len() >= 15, "{queries:?}");
    let mut used = BTreeSet::new();
    for query in queries {
        let names = names(query);
        assert!(!names.is_empty() || query == "prometheus", "no metric in {query}");
        for name in &names {
            assert!(known.contains(name), "{name} is not served: {query}");
        }
        used.extend(names);
    }
    // The labels that the queries name.
    for sample in [
        "larder_server_commands_total{command=\"get\"} 2",
        "larder_server_failed_commands_total{command=\"get\"} 1",
        "larder_removals_total{cache=\"server\",cause=\"evicted\"} 0",
    ] {
        assert!(metrics.contains(&format!("\n{sample}\n")), "{sample}");
    }
    let own = known.iter().filter(|name| name.starts_with("larder_server_"));
    let unused: Vec<_> = own.filter(|name| !used.contains(**name)).collect();
    let left_out = |name: &str| {
        name.ends_with("_count") || name.ends_with("_sum") || name == "larder_server_max_clients"
    };
    assert!(unused.iter().all(|name| left_out(name)), "no panel shows {unused:?}");
}

#[test]
fn the_panels_of_the_dashboard_do_not_overlap() {
    let document: Json = serde_json::from_str(DASHBOARD).unwrap();
    let panels = document["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title}");
        let place = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{title} overlaps another panel");
            }
        }
    }
}
