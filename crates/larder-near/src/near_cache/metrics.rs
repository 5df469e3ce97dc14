//! Metrics of both tiers, for [`larder::metrics::Collector`].
//!
//! | metric | kind | more labels | what it is |
//! |---|---|---|---|
//! | `larder_near_hits` | counter | `tier`: `memory`, `server` | reads that memory has answered (only with `count_hits`), also that there is no value; reads for which the server had one |
//! | `larder_near_misses` | counter | | reads for which the server had no value |
//! | `larder_near_stale_hits` | counter | | reads that memory has answered in place of an error or of a slow server |
//! | `larder_near_shared_requests` | counter | | reads that waited for another caller's request, or for that of the same key in the same call |
//! | `larder_near_fills` | counter | `outcome`: `held`, `refused` | values fetched, and whether memory took them |
//! | `larder_near_invalidations` | counter | | keys that the server has invalidated |
//! | `larder_near_flushes` | counter | | invalidations of all keys |
//! | `larder_near_tag_misses` | counter | | values of the server whose tag was invalidated |
//! | `larder_near_connects` | counter | `outcome`: `opened`, `failed` | attempts to open a connection |
//! | `larder_near_losses` | counter | | connections that were lost |
//! | `larder_near_redirections` | counter | | commands that a cluster has sent on to another server |
//! | `larder_near_slots_moved` | counter | | slots that another server has got |
//! | `larder_near_masters_changed` | counter | | masters that have taken over, by the word of sentinels |
//! | `larder_near_errors` | counter | | calls that failed |
//! | `larder_near_timeouts` | counter | `kind`: `hard`, `soft` | calls that took too long |
//! | `larder_near_writes` | counter | `outcome`: `done`, `lost` | writes |
//! | `larder_near_pending_writes` | gauge | | writes that wait to be sent |
//! | `larder_near_loads` | counter | | loaders that were run |
//! | `larder_near_late_loads` | counter | | loaded values that were refused because their turn was over |
//! | `larder_near_unreadable_values` | counter | | values of the server that could not be read |
//! | `larder_near_foreign_keys` | counter | | keys of the server that could not be decoded |
//! | `larder_near_entries` | gauge | | entries in memory |
//! | `larder_near_breaker` | gauge | `state`: `closed`, `trying`, `open` | 1 for the state of the circuit breaker, 0 for the others |
//! | `larder_near_tracked` | gauge | | 1 if the server tracks what is read |

use std::fmt;
use std::sync::{Arc, Weak};

use larder::metrics::{Families, MetricSource, MetricsError};

use super::{NearCache, Shared};
use crate::stats::{BreakerState, NearStats};

/// The metrics of a near cache, for [`larder::metrics::Collector::add_source`].
///
/// It holds the cache weakly, and adds nothing once that is gone. All samples have the label `cache`, its name here.
///
/// # Examples
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let users: larder_near::NearCache<u64, String> =
///     larder_near::NearCache::builder().server("redis://localhost").prefix("user:").connect().await?;
/// let collector = larder::metrics::Collector::new();
/// collector.add_source(users.metrics("users"));
/// let text = collector.encode(larder::metrics::Exposition::Prometheus)?;
/// assert!(text.contains("larder_near_breaker{cache=\"users\",state=\"closed\"} 1"));
/// # Ok(())
/// # }
/// ```
pub struct NearMetrics<K, V> {
    shared: Weak<Shared<K, V>>,
    name: String,
}

impl<K, V> NearCache<K, V>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The metrics of this cache under a name, which no other near cache of the same collector may have.
    pub fn metrics(&self, name: impl Into<String>) -> NearMetrics<K, V> {
        NearMetrics { shared: Arc::downgrade(&self.shared), name: name.into() }
    }
}

impl<K, V> fmt::Debug for NearMetrics<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearMetrics").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K, V> MetricSource for NearMetrics<K, V>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn collect(&self, families: &mut Families) -> Result<(), MetricsError> {
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        let entries = shared.memory.cache.len() as u64;
        add(families, &self.name, &shared.stats(), entries)
    }
}

fn add(
    families: &mut Families,
    name: &str,
    stats: &NearStats,
    entries: u64,
) -> Result<(), MetricsError> {
    let cache = ("cache", name);
    let hits = families.counter("larder_near_hits", "Reads that were answered.")?;
    hits.add(&[cache, ("tier", "server")], stats.server_hits)?;
    if let Some(in_memory) = stats.hits {
        hits.add(&[cache, ("tier", "memory")], in_memory)?;
    }
    for (family, help, label, parts) in [
        (
            "larder_near_fills",
            "Values that were fetched.",
            "outcome",
            [("held", stats.fills), ("refused", stats.fills_refused)],
        ),
        (
            "larder_near_connects",
            "Attempts to open a connection.",
            "outcome",
            [("opened", stats.connects), ("failed", stats.failed_connects)],
        ),
        (
            "larder_near_timeouts",
            "Calls that took too long.",
            "kind",
            [("hard", stats.timeouts), ("soft", stats.soft_timeouts)],
        ),
        (
            "larder_near_writes",
            "Writes.",
            "outcome",
            [("done", stats.writes), ("lost", stats.lost_writes)],
        ),
    ] {
        let family = families.counter(family, help)?;
        for (part, count) in parts {
            family.add(&[cache, (label, part)], count)?;
        }
    }
    for (family, help, count) in [
        ("misses", "Reads for which the server had no value.", stats.server_misses),
        ("stale_hits", "Reads that were answered by a stale value.", stats.stale_hits),
        ("shared_requests", "Reads that waited for another request.", stats.shared),
        ("invalidations", "Keys that the server has invalidated.", stats.invalidations),
        ("flushes", "Invalidations of all keys.", stats.flushes),
        ("tag_misses", "Values of the server whose tag was invalidated.", stats.tag_misses),
        ("losses", "Connections that were lost.", stats.losses),
        ("redirections", "Commands that were sent on.", stats.redirections),
        ("slots_moved", "Slots that another server has got.", stats.slots_moved),
        ("masters_changed", "Masters that have taken over.", stats.masters_changed),
        ("errors", "Calls that failed.", stats.errors),
        ("loads", "Loaders that were run.", stats.loads),
        ("late_loads", "Loaded values that were too late.", stats.late_loads),
        ("unreadable_values", "Values that could not be read.", stats.unreadable),
        ("foreign_keys", "Keys that could not be decoded.", stats.foreign_keys),
    ] {
        families.counter(&format!("larder_near_{family}"), help)?.add(&[cache], count)?;
    }
    for (family, help, value) in [
        ("pending_writes", "Writes that wait to be sent.", stats.pending_writes),
        ("entries", "Entries in memory.", entries),
        ("tracked", "Whether the server tracks what is read.", stats.is_tracked.into()),
    ] {
        families.gauge(&format!("larder_near_{family}"), help)?.add(&[cache], value)?;
    }
    let breaker = families.gauge("larder_near_breaker", "The state of the circuit breaker.")?;
    for (label, state) in [
        ("closed", BreakerState::Closed),
        ("trying", BreakerState::Trying),
        ("open", BreakerState::Open),
    ] {
        breaker.add(&[cache, ("state", label)], stats.breaker == state)?;
    }
    Ok(())
}
