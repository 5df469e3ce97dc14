//! The metrics of the server, beside those of its cache.
//!
//! The metrics of the cache are those of [`larder::metrics`]; their label `cache` is the cache's name, or
//! `server` if it has none. The server adds the following. In the text, a counter's name ends with `_total`.
//! These names are kept; a release may add some. A counter only grows as long as the server runs;
//! `CONFIG RESETSTAT` and `FLUSHALL` reset none.
//!
//! | metric | kind | label | what it is |
//! |---|---|---|---|
//! | `larder_server_build` | info | `version` | the version of the server |
//! | `larder_server_ready` | gauge | | 1 if the server is ready for clients, as `/readyz` says |
//! | `larder_server_connections` | counter | | connections that were accepted |
//! | `larder_server_rejected_connections` | counter | | connections beyond the limit |
//! | `larder_server_connected_clients` | gauge | | clients that are connected |
//! | `larder_server_max_clients` | gauge | | how many may be |
//! | `larder_server_mailbox_disconnects` | counter | | clients disconnected because they did not read messages |
//! | `larder_server_commands` | counter | `command` | calls of commands that were ever called |
//! | `larder_server_failed_commands` | counter | `command` | those that ended with an error |
//! | `larder_server_hits` | counter | | reads of keys that were found |
//! | `larder_server_misses` | counter | | reads of keys that were not |
//! | `larder_server_received_bytes` | counter | | bytes that clients have sent |
//! | `larder_server_sent_bytes` | counter | | bytes that were sent to clients |
//! | `larder_server_batch_seconds` | histogram | | the times that batches of commands took, without the network |
//! | `larder_server_eviction_age_seconds` | histogram | | how long after its last write an entry was evicted |
//! | `process_start_time_seconds` | gauge | | when the server started, in seconds since 1970 |
//! | `process_resident_memory_bytes` | gauge | | the memory of the process, where the system reports it |
//!
//! The hits and misses of the cache, `larder_hits` and `larder_misses`, also count what the process itself
//! looks up.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use larder::metrics::{BucketCounts, Collector, Exposition, Families, MetricsError, SampleValue};

use super::Site;
use super::answer::{self, Body, Refusal};
use super::status::{self, HistogramCounts};
use crate::shared::Shared;

/// The label of a cache without a name.
const DEFAULT_NAME: &str = "server";

/// What collects the metrics of the server and its cache.
pub(super) fn collector(shared: &Arc<Shared>, started: Duration) -> Collector {
    let collector = Collector::new();
    let cache = shared.store.cache();
    let name = cache.name().filter(|name| !name.is_empty()).unwrap_or(DEFAULT_NAME);
    collector.register_as(name, cache).expect("the name is not empty, and there is no other cache");
    let shared = Arc::clone(shared);
    collector.add_source(move |families: &mut Families| add_server(families, &shared, started));
    collector
}

/// The metrics, in the format that `accept` asks for.
pub(super) fn answer(site: &Site, accept: &str) -> Result<Response<Body>, Refusal> {
    let format = Exposition::for_accept(accept);
    Ok(answer::typed(format.content_type(), site.collector.encode(format)?))
}

fn add_server(
    families: &mut Families,
    shared: &Shared,
    started: Duration,
) -> Result<(), MetricsError> {
    let (clients, stats) = (shared.hub().clients(), &shared.stats);
    let build = families.info("larder_server_build", "The version of the server.")?;
    build.add(&[("version", env!("CARGO_PKG_VERSION"))], SampleValue::Info)?;
    let counts = [
        ("connections", "Connections that were accepted.", clients.accepted()),
        ("rejected_connections", "Connections beyond the limit.", clients.refused()),
        (
            "mailbox_disconnects",
            "Clients that were disconnected because they did not read their messages.",
            clients.overflowed(),
        ),
    ];
    for (name, help, count) in counts {
        let family = families.counter(&format!("larder_server_{name}"), help)?;
        family.add(&[], count)?;
    }
    let counts = [
        ("hits", "Reads of keys that were found.", stats.sum(|thread| &thread.hits)),
        ("misses", "Reads of keys that were not found.", stats.sum(|thread| &thread.misses)),
    ];
    for (name, help, count) in counts {
        families.counter(&format!("larder_server_{name}"), help)?.add(&[], count)?;
    }
    let counts = [
        ("received", "Bytes that clients have sent.", stats.sum(|thread| &thread.bytes_in)),
        ("sent", "Bytes that were sent to clients.", stats.sum(|thread| &thread.bytes_out)),
    ];
    for (name, help, count) in counts {
        let family = families.counter(&format!("larder_server_{name}_bytes"), help)?;
        family.unit("bytes")?.add(&[], count)?;
    }
    let gauges = [
        (
            "ready",
            "1 if the server is ready for clients.",
            shared.readiness.obstacle().is_none().into(),
        ),
        ("connected_clients", "Clients that are connected.", clients.len()),
        ("max_clients", "How many clients may be connected.", shared.max_clients()),
    ];
    for (name, help, value) in gauges {
        families.gauge(&format!("larder_server_{name}"), help)?.add(&[], value as u64)?;
    }
    let commands =
        families.counter("larder_server_commands", "Calls of commands that were ever called.")?;
    for (command, count) in status::by_command(shared, |thread, index| &thread.calls[index]) {
        commands.add(&[("command", command)], count)?;
    }
    let failed = families
        .counter("larder_server_failed_commands", "Calls of commands that ended with an error.")?;
    for (command, count) in status::by_command(shared, |thread, index| &thread.failed_calls[index])
    {
        failed.add(&[("command", command)], count)?;
    }
    families
        .histogram("larder_server_batch_seconds", "The times that batches of commands took.")?
        .unit("seconds")?
        .add(&[], buckets(&status::batches(shared))?)?;
    families
        .histogram(
            "larder_server_eviction_age_seconds",
            "How long after their last write entries were evicted.",
        )?
        .unit("seconds")?
        .add(&[], &shared.hub().eviction_ages().read())?;
    families
        .gauge("process_start_time_seconds", "When the server started, in seconds since 1970.")?
        .unit("seconds")?
        .add(&[], started)?;
    if let Some(bytes) = status::resident_bytes() {
        families
            .gauge("process_resident_memory_bytes", "The memory of the process.")?
            .unit("bytes")?
            .add(&[], bytes)?;
    }
    Ok(())
}

/// The counts as the text has them: each bucket with all below it, the last one without a bound.
fn buckets(histogram: &HistogramCounts) -> Result<BucketCounts, MetricsError> {
    let mut sum = 0;
    let mut cumulative = histogram.counts.iter().map(|count| {
        sum += count;
        sum
    });
    let bounded = histogram.bounds_s.iter().copied().zip(&mut cumulative).collect();
    let all = cumulative.last().unwrap_or_default();
    BucketCounts::new(bounded, all, histogram.sum_s)
}
