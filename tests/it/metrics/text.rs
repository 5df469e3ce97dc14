//! The two formats, and metrics of others.

use larder::Cache;
use larder::metrics::{
    BucketCounts, Collector, Exposition, Families, FamilyKind, MetricsError, SampleValue,
};
use larder::test::FakeClock;

use super::{collector_of, full_builder, use_all, values};

/// A set with one family of each kind.
fn families() -> Families {
    let mut families = Families::new();
    let requests = families.counter("app_requests", "Requests, with \"quotes\" and a \\.").unwrap();
    requests.add(&[("path", "/a\"b\\c\nd"), ("code", "200")], 3_u64).unwrap();
    requests.add(&[("path", "ü€"), ("code", "")], 2.5).unwrap();
    families.gauge("app_heat_celsius", "Two\nlines.").unwrap().unit("celsius").unwrap();
    families.gauge("app_heat_celsius", "").unwrap().add(&[], -1e-7).unwrap();
    families.gauge("app_none", "A gauge without samples.").unwrap();
    let counts = BucketCounts::new(vec![(0.5, 1), (2.0, 1)], 3, 12.0).unwrap();
    families.histogram("app_sizes", "Sizes.").unwrap().add(&[("of", "x")], counts).unwrap();
    families
        .info("app_build", "The build.")
        .unwrap()
        .add(&[("git", "abc")], SampleValue::Info)
        .unwrap();
    families
}

#[test]
fn the_text_of_prometheus_is_exact() {
    let expected = r#"# HELP app_requests_total Requests, with "quotes" and a \\.
# TYPE app_requests_total counter
app_requests_total{path="/a\"b\\c\nd",code="200"} 3
app_requests_total{path="ü€",code=""} 2.5
# HELP app_heat_celsius Two\nlines.
# TYPE app_heat_celsius gauge
app_heat_celsius -1e-07
# HELP app_sizes Sizes.
# TYPE app_sizes histogram
app_sizes_bucket{of="x",le="0.5"} 1
app_sizes_bucket{of="x",le="2.0"} 1
app_sizes_bucket{of="x",le="+Inf"} 3
app_sizes_sum{of="x"} 12.0
app_sizes_count{of="x"} 3
# HELP app_build_info The build.
# TYPE app_build_info gauge
app_build_info{git="abc"} 1
"#;
    assert_eq!(families().encode(Exposition::Prometheus), expected);
}

#[test]
fn the_text_of_open_metrics_is_exact() {
    let expected = r#"# HELP app_requests Requests, with \"quotes\" and a \\.
# TYPE app_requests counter
app_requests_total{path="/a\"b\\c\nd",code="200"} 3
app_requests_total{path="ü€",code=""} 2.5
# HELP app_heat_celsius Two\nlines.
# TYPE app_heat_celsius gauge
# UNIT app_heat_celsius celsius
app_heat_celsius -1e-07
# HELP app_sizes Sizes.
# TYPE app_sizes histogram
app_sizes_bucket{of="x",le="0.5"} 1
app_sizes_bucket{of="x",le="2.0"} 1
app_sizes_bucket{of="x",le="+Inf"} 3
app_sizes_sum{of="x"} 12.0
app_sizes_count{of="x"} 3
# HELP app_build The build.
# TYPE app_build info
app_build_info{git="abc"} 1
# EOF
"#;
    assert_eq!(families().encode(Exposition::OpenMetrics), expected);
}

#[test]
fn both_formats_have_the_same_series() {
    let clock = FakeClock::new();
    let cache = full_builder(&clock).build().unwrap();
    let collector = collector_of(&cache);
    use_all(&cache, &clock, 0);
    let families = collector.gather().unwrap();
    let (prometheus, open) =
        (families.encode(Exposition::Prometheus), families.encode(Exposition::OpenMetrics));
    assert_eq!(values(&prometheus), values(&open));
    assert!(!prometheus.contains("# UNIT") && !prometheus.contains("# EOF"));
    assert!(open.ends_with("\n# EOF\n"));
    for text in [prometheus, open] {
        let heads = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!(heads("# HELP"), heads("# TYPE"));
        assert!(!text.lines().any(str::is_empty), "no line is empty");
    }
}

#[test]
fn a_histogram_of_negative_values_has_no_sum_in_open_metrics() {
    let mut families = Families::new();
    let family = families.histogram("app_heat", "Heat.").unwrap();
    for (of, bound, sum) in [("bounds", -1.0, 5.0), ("sum", 1.0, -5.0), ("none", 1.0, 0.5)] {
        let counts = BucketCounts::new(vec![(bound, 1)], 2, sum).unwrap();
        family.add(&[("of", of)], counts).unwrap();
    }
    let has = |text: &str, end: &str, of: &str| text.contains(&format!("heat_{end}{{of=\"{of}\""));
    let open = families.encode(Exposition::OpenMetrics);
    let prometheus = families.encode(Exposition::Prometheus);
    for of in ["bounds", "sum", "none"] {
        for end in ["sum", "count"] {
            assert_eq!(has(&open, end, of), of == "none", "{open}");
            assert!(has(&prometheus, end, of), "{prometheus}");
        }
        assert!(has(&open, "bucket", of));
    }
}

#[test]
fn the_name_of_a_cache_may_be_any_text() {
    let collector = Collector::new();
    let cache: Cache<u32, u32> = Cache::new(10);
    for name in ["a\"b", "back\\slash", "two\nlines", "ü, {x=\"y\"} # 7", "\u{0}"] {
        collector.register_as(name, &cache).unwrap();
        let escaped = name.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
        for format in [Exposition::Prometheus, Exposition::OpenMetrics] {
            let text = collector.encode(format).unwrap();
            let line = format!("larder_entries{{cache=\"{escaped}\"}} 0");
            assert!(text.lines().any(|found| found == line), "{name:?}");
        }
    }
}

#[test]
fn media_types_are_those_of_the_formats() {
    use larder::metrics::{OPENMETRICS_CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE};
    assert_eq!(Exposition::default().content_type(), PROMETHEUS_CONTENT_TYPE);
    assert_eq!(Exposition::OpenMetrics.content_type(), OPENMETRICS_CONTENT_TYPE);
    assert!(PROMETHEUS_CONTENT_TYPE.contains("version=0.0.4"));
    assert!(OPENMETRICS_CONTENT_TYPE.contains("version=1.0.0"));
}

#[test]
fn names_that_a_format_could_not_write_are_refused() {
    let mut families = Families::new();
    for name in ["", "1a", "_a", "a b", "a-b", "a:b", "ä", "a\n"] {
        let error = families.counter(name, "").unwrap_err();
        assert_eq!(error, MetricsError::BadName { given: name.to_owned() });
        assert!(error.to_string().starts_with(&format!("`{name}` is not the name of a metric")));
    }
    for (name, suffix) in [
        ("a_total", "_total"),
        ("a_count", "_count"),
        ("a_sum", "_sum"),
        ("a_bucket", "_bucket"),
        ("a_info", "_info"),
        ("a_created", "_created"),
    ] {
        let error = families.gauge(name, "").unwrap_err();
        assert_eq!(error, MetricsError::ReservedSuffix { given: name.to_owned(), suffix });
    }
    let family = families.gauge("a_bytes", "").unwrap();
    for unit in ["seconds", "", "a_bytes", "ytes", "by tes"] {
        let error = family.unit(unit).unwrap_err();
        let (name, unit) = ("a_bytes".to_owned(), unit.to_owned());
        assert_eq!(error, MetricsError::BadUnit { name, unit });
    }
    family.unit("bytes").unwrap().unit("bytes").unwrap();
    let info = families.info("a_version", "").unwrap();
    assert!(matches!(info.unit("version"), Err(MetricsError::BadUnit { .. })));
    assert_eq!(families.iter().count(), 2);
}

#[test]
fn labels_that_a_format_could_not_write_are_refused() {
    let mut families = Families::new();
    let family = families.histogram("a", "").unwrap();
    let counts = BucketCounts::new(Vec::new(), 0, 0.0).unwrap();
    for labels in [
        &[("", "x")][..],
        &[("a b", "x")],
        &[("__a", "x")],
        &[("1", "x")],
        &[("le", "x")],
        &[("a", "x"), ("a", "y")],
        &[("a", "x"), ("b", "x"), ("a", "x")],
    ] {
        let error = family.add(labels, counts.clone()).unwrap_err();
        assert!(matches!(error, MetricsError::BadLabel { .. }), "{labels:?}: {error}");
    }
    family.add(&[("a", "x"), ("b", "y")], counts.clone()).unwrap();
    for same in [&[("b", "y"), ("a", "x")][..], &[("a", "x"), ("b", "y"), ("c", "")]] {
        let error = family.add(same, counts.clone()).unwrap_err();
        assert!(matches!(error, MetricsError::Duplicate { .. }), "{error}");
    }
    assert_eq!(family.samples().len(), 1, "what was refused has changed nothing");
    families.gauge("b", "").unwrap().add(&[("le", "x")], 1_u64).unwrap();
}

#[test]
fn a_value_that_is_refused_is_shown_as_a_number() {
    let mut families = Families::new();
    let error = families.counter("a", "").unwrap().add(&[], -1.5).unwrap_err();
    assert_eq!(error.to_string(), "`a` is a counter and cannot have the value -1.5");
    let error = families.gauge("b", "").unwrap().add(&[], SampleValue::Info).unwrap_err();
    assert_eq!(error.to_string(), "`b` is a gauge and cannot have the value of an info");
}

#[test]
fn a_family_takes_the_values_of_its_kind() {
    let mut families = Families::new();
    let counts = || SampleValue::from(BucketCounts::new(Vec::new(), 0, 0.0).unwrap());
    let values = [
        SampleValue::Whole(u64::MAX),
        SampleValue::Real(0.5),
        SampleValue::Real(-1.0),
        SampleValue::Real(f64::INFINITY),
        SampleValue::Real(f64::NAN),
        counts(),
        SampleValue::Info,
    ];
    for (kind, taken) in [
        (FamilyKind::Counter, [true, true, false, false, false, false, false]),
        (FamilyKind::Gauge, [true, true, true, true, true, false, false]),
        (FamilyKind::Histogram, [false, false, false, false, false, true, false]),
        (FamilyKind::Info, [false, false, false, false, false, false, true]),
    ] {
        for (value, is_taken) in values.iter().zip(taken) {
            let mut families = Families::new();
            let family = match kind {
                FamilyKind::Counter => families.counter("a", ""),
                FamilyKind::Gauge => families.gauge("a", ""),
                FamilyKind::Histogram => families.histogram("a", ""),
                _ => families.info("a", ""),
            };
            let added = family.unwrap().add(&[], value.clone()).map(|_| ());
            match added {
                Ok(()) => assert!(is_taken, "{kind} {value:?}"),
                Err(error) => {
                    assert!(!is_taken, "{kind} {value:?}");
                    assert!(matches!(error, MetricsError::BadValue { .. }));
                    assert!(error.to_string().contains(&format!("`a` is a {kind}")));
                }
            }
        }
    }
    families.counter("a", "first").unwrap();
    let error = families.gauge("a", "second").unwrap_err();
    assert_eq!(error, MetricsError::Conflict { name: "a".to_owned(), kind: FamilyKind::Counter });
    assert_eq!(families.counter("a", "second").unwrap().help(), "first");
}

#[test]
fn sources_add_to_the_same_text_and_their_errors_reach_the_scrape() {
    let collector = Collector::new();
    let cache: Cache<u32, u32> = Cache::builder().name("pages").capacity(10).build().unwrap();
    collector.register(&cache).unwrap();
    for command in ["get", "set"] {
        collector.add_source(move |families: &mut Families| {
            let family = families.counter("larder_server_commands", "Commands.")?;
            family.add(&[("command", command)], 7_u64)?;
            Ok(())
        });
    }
    let text = collector.encode(Exposition::Prometheus).unwrap();
    let lines: Vec<_> =
        text.lines().filter(|line| line.starts_with("larder_server_commands")).collect();
    assert_eq!(
        lines,
        [
            "larder_server_commands_total{command=\"get\"} 7",
            "larder_server_commands_total{command=\"set\"} 7"
        ]
    );
    // A source may use the collector, because it is called under no lock.
    let inner = collector.clone();
    collector.add_source(move |families: &mut Families| {
        families.gauge("caches", "Caches.")?.add(&[], inner.names().len())?;
        Ok(())
    });
    assert!(collector.encode(Exposition::OpenMetrics).unwrap().contains("\ncaches 1\n"));
    collector.add_source(|families: &mut Families| families.gauge("larder_hits", "").map(|_| ()));
    let error = collector.encode(Exposition::Prometheus).unwrap_err();
    let name = "larder_hits".to_owned();
    assert_eq!(error, MetricsError::Conflict { name, kind: FamilyKind::Counter });
}
