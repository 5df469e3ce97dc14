//! Reports as CSV: a header, and a row for each result of any trace.
//!
//! Columns have the names and the values of the JSON documents; a nested field has both names,
//! joined by an underscore. A value that is `null` there is empty here.

use serde::Serialize;
use serde_json::Value;

use crate::report::replay::ReplayReport;
use crate::report::simulation::SimulateReport;
use crate::report::trace_info::TraceInfo;

/// A report that can be written as rows.
pub(crate) trait Rows {
    /// The names of the columns.
    const COLUMNS: &'static [&'static str];

    /// The results, each as an object with these names.
    fn rows(&self) -> Vec<Value>;
}

impl Rows for ReplayReport {
    const COLUMNS: &'static [&'static str] = &[
        "trace",
        "policy",
        "capacity_entries",
        "capacity_bytes",
        "capacity_share",
        "partitions",
        "requests",
        "hits",
        "hit_ratio",
        "byte_hit_ratio",
        "evictions",
        "rejections",
        "elapsed_seconds",
        "ops_per_second",
        "latency_samples",
        "p50_ns",
        "p99_ns",
        "p999_ns",
    ];

    fn rows(&self) -> Vec<Value> {
        let rows = self
            .traces
            .iter()
            .flat_map(|of| of.replays.iter().map(|replay| with_trace(&of.trace.name, replay)));
        rows.collect()
    }
}

impl Rows for SimulateReport {
    const COLUMNS: &'static [&'static str] = &[
        "trace",
        "policy",
        "kind",
        "capacity_entries",
        "capacity_bytes",
        "capacity_share",
        "requests",
        "hits",
        "hit_ratio",
        "byte_hit_ratio",
        "waiting_seconds",
        "waiting_share",
        "elapsed_seconds",
        "requests_per_second",
    ];

    fn rows(&self) -> Vec<Value> {
        let rows = self
            .traces
            .iter()
            .flat_map(|of| of.simulations.iter().map(|cell| with_trace(&of.trace.name, cell)));
        rows.collect()
    }
}

impl Rows for Vec<TraceInfo> {
    const COLUMNS: &'static [&'static str] = &[
        "trace",
        "format",
        "requests",
        "distinct_keys",
        "one_hit_wonders",
        "footprint_bytes",
        "ttl_requests",
        "ttl_shortest_seconds",
        "ttl_longest_seconds",
        "ttl_is_replayed",
        "times_first_seconds",
        "times_last_seconds",
    ];

    fn rows(&self) -> Vec<Value> {
        self.iter().map(|info| with_trace(&info.name, info)).collect()
    }
}

/// A result as a flat object, with the name of its trace.
fn with_trace(name: &str, result: &impl Serialize) -> Value {
    let mut row = serde_json::Map::new();
    if let Ok(Value::Object(fields)) = serde_json::to_value(result) {
        for (field, value) in fields {
            match value {
                Value::Object(inner) => {
                    row.extend(inner.into_iter().map(|(name, v)| (format!("{field}_{name}"), v)));
                }
                value => drop(row.insert(field, value)),
            }
        }
    }
    row.insert("trace".to_owned(), name.into());
    Value::Object(row)
}

/// The whole document.
pub(crate) fn csv<R: Rows>(report: &R) -> String {
    let mut out = csv::Writer::from_writer(Vec::new());
    let rows = report.rows();
    let cells =
        rows.iter().map(|row| R::COLUMNS.iter().map(|column| cell(&row[*column])).collect());
    let header: Vec<String> = R::COLUMNS.iter().map(|column| (*column).to_owned()).collect();
    for record in std::iter::once(header).chain(cells) {
        out.write_record(&record).expect("all records have as many fields, and go to memory");
    }
    let bytes = out.into_inner().expect("memory takes all that is flushed");
    String::from_utf8(bytes).expect("all cells are strings")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Format, TimeSpan, TtlSummary};

    fn info(name: &str) -> TraceInfo {
        TraceInfo {
            name: name.into(),
            format: Format::Csv,
            requests: 10,
            distinct_keys: 5,
            one_hit_wonders: 2,
            footprint_bytes: None,
            ttl: Some(TtlSummary {
                requests: 3,
                shortest_seconds: 0.5,
                longest_seconds: 60.0,
                is_replayed: true,
            }),
            times: Some(TimeSpan { first_seconds: 1.0, last_seconds: 2.0 }),
        }
    }

    #[test]
    fn a_row_has_the_values_of_the_document() {
        let text = csv(&vec![info("a, \"b\"\nc")]);
        let (header, row) = text.split_once('\n').unwrap();
        assert_eq!(header, <Vec<TraceInfo>>::COLUMNS.join(","));
        assert_eq!(row, "\"a, \"\"b\"\"\nc\",csv,10,5,2,,3,0.5,60.0,true,1.0,2.0\n");
    }

    #[test]
    fn every_field_of_a_result_has_its_column() {
        let rows = vec![info("t")].rows();
        for field in rows[0].as_object().unwrap().keys() {
            let is_there = <Vec<TraceInfo>>::COLUMNS.contains(&field.as_str());
            assert!(is_there || field == "name", "{field}");
        }
    }
}
