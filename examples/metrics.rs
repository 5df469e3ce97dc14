//! Writes the metrics of two caches and of the program itself, as a handler of `/metrics` would.
//!
//! `cargo run --example metrics --features metrics` writes the text format of Prometheus; with `-- openmetrics` it
//! writes OpenMetrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder::metrics::{Collector, Exposition, Families, MetricsError};
use larder::{Cache, ShadowConfig, TimeHistogram};

/// The bounds of the buckets in which answers are counted by their times.
static BOUNDS: [Duration; 3] =
    [Duration::from_micros(1), Duration::from_micros(10), Duration::from_millis(1)];

/// What the program counts itself.
struct Requests {
    answered: [(&'static str, AtomicU64); 2],
    times: TimeHistogram,
}

impl Requests {
    /// Adds the counts to a scrape.
    fn collect(&self, families: &mut Families) -> Result<(), MetricsError> {
        let requests = families.counter("shop_requests", "Requests that were answered.")?;
        for (path, count) in &self.answered {
            requests.add(&[("path", path)], count.load(Ordering::Relaxed))?;
        }
        let times = families.histogram("shop_request_seconds", "The times of the answers.")?;
        times.unit("seconds")?.add(&[], &self.times.read())?;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pages = Cache::<String, String>::builder()
        .name("pages")
        .max_weight(64 << 10)
        .weigher(|path, page| (path.len() + page.len()).try_into().unwrap_or(u32::MAX))
        .time_to_live(Duration::from_secs(600))
        .load_time_histogram()
        .eviction_age_histogram()
        .shadow(ShadowConfig::new())
        .build()?;
    let users: Cache<u64, &str> =
        Cache::builder().name("users \"online\"").capacity(100).count_lookups().build()?;

    // Once, where the caches are made.
    let collector = Collector::new();
    collector.register(&pages)?;
    collector.register(&users)?;
    let requests = Arc::new(Requests {
        answered: [("/page", AtomicU64::new(0)), ("/user", AtomicU64::new(0))],
        times: TimeHistogram::new(&BOUNDS),
    });
    let counted = Arc::clone(&requests);
    collector.add_source(move |families: &mut Families| counted.collect(families));

    // What the program does.
    for request in 0..5_000_u64 {
        let began = Instant::now();
        let path = format!("/pages/{}", request * request / 7 % 700);
        pages.get_or_insert_with(&path, || format!("<h1>{path}</h1>").repeat(10));
        users.insert(request % 150, "online");
        users.get(&(request % 60));
        for (_, count) in &requests.answered {
            count.fetch_add(1, Ordering::Relaxed);
        }
        requests.times.record(began.elapsed());
    }

    // In the handler of `/metrics`, with the `Accept` header of the request and the type for the answer.
    let accept = match std::env::args().nth(1).as_deref() {
        Some("openmetrics") => "application/openmetrics-text; version=1.0.0",
        _ => "text/plain",
    };
    let format = Exposition::for_accept(accept);
    eprintln!("Content-Type: {}", format.content_type());
    print!("{}", collector.encode(format)?);
    Ok(())
}
