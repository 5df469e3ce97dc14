//! The collector in a registry of prometheus-client.

use larder::metrics::{Collector, Exposition, Families, MetricsError};
use larder::test::FakeClock;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::{collector_of, comparable, full_builder, use_all, values};

fn encoded(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

#[test]
fn the_registry_writes_the_same_series_as_the_collector() {
    let clock = FakeClock::new();
    let cache = full_builder(&clock).build().unwrap();
    let collector = collector_of(&cache);
    collector.add_source(|families: &mut Families| {
        families.gauge("app_heat_celsius", "Heat.")?.unit("celsius")?.add(&[], -1.5)?;
        Ok(())
    });
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector.clone()));
    for round in 0..3 {
        use_all(&cache, &clock, round);
        let text = encoded(&registry).unwrap();
        let own = collector.encode(Exposition::OpenMetrics).unwrap();
        assert_eq!(comparable(values(&text)), comparable(values(&own)));
        let types = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with("# TYPE")).map(str::to_owned).collect()
        };
        assert_eq!(types(&text), types(&own));
    }
}

#[test]
fn the_help_may_be_any_text() {
    let collector = Collector::new();
    collector.add_source(|families: &mut Families| {
        families.gauge("app_odd", "Two\nlines, a \"quote\" and a \\.")?.add(&[], 1_u64)?;
        Ok(())
    });
    let own = collector.encode(Exposition::OpenMetrics).unwrap();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let help = |text: &str| {
        let help = text.lines().find(|line| line.starts_with("# HELP app_odd ")).unwrap();
        help.to_owned()
    };
    assert_eq!(help(&encoded(&registry).unwrap()), help(&own));
}

#[test]
fn a_source_that_fails_fails_the_encoding() {
    let collector = Collector::new();
    collector.add_source(|_: &mut Families| Err(MetricsError::Unnamed));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    assert!(encoded(&registry).is_err());
}
