//! The families that every cache has: their names, and how they are read off a cache.
//!
//! The names are a promise to dashboards and alerts. The table at the head of `metrics` lists them in this order, and a
//! test compares the two.
#![forbid(unsafe_code)]

use super::error::MetricsError;
use super::family::{Families, Family, SampleValue};
use super::kind::FamilyKind;
use crate::cache::CacheReading;
use crate::shadow::ShadowMisses;

/// A family of the library itself.
struct OwnFamily {
    kind: FamilyKind,
    name: &'static str,
    unit: Option<&'static str>,
    help: &'static str,
}

const fn own(kind: FamilyKind, name: &'static str, help: &'static str) -> OwnFamily {
    OwnFamily { kind, name, unit: None, help }
}

const fn counter(name: &'static str, help: &'static str) -> OwnFamily {
    own(FamilyKind::Counter, name, help)
}

const fn gauge(name: &'static str, help: &'static str) -> OwnFamily {
    own(FamilyKind::Gauge, name, help)
}

const fn histogram(name: &'static str, help: &'static str) -> OwnFamily {
    own(FamilyKind::Histogram, name, help)
}

const fn info(name: &'static str, help: &'static str) -> OwnFamily {
    own(FamilyKind::Info, name, help)
}

impl OwnFamily {
    const fn in_unit(self, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..self }
    }
}

/// All families, in the order in which they are written.
const OWN_FAMILIES: [OwnFamily; 40] = [
    info("larder_build", "The version of larder."),
    info("larder_cache", "The policy of the cache."),
    gauge("larder_entries", "Entries that take room."),
    gauge("larder_capacity_entries", "The bound on entries."),
    gauge("larder_weight", "The sum of the weights of the entries."),
    gauge("larder_max_weight", "The bound on the sum of weights."),
    counter("larder_hits", "Lookups that found their key."),
    counter("larder_misses", "Lookups that did not find their key."),
    counter(
        "larder_stale_hits",
        "Calls that returned an expired value, because a refresh was under way or had failed.",
    ),
    counter(
        "larder_negative_hits",
        "Calls that were answered by the memory that the key has no value.",
    ),
    counter(
        "larder_dropped_accesses",
        "Accesses that were not recorded for the policy, because their buffer was full.",
    ),
    counter("larder_inserts", "Keys that were added."),
    counter("larder_rejections", "Insertions that were rejected."),
    counter(
        "larder_removals",
        "Entries that left: evicted because a bound was reached, expired, removed or replaced by a call, or \
         invalidated by a tag.",
    ),
    counter("larder_removed_weight", "The weight of the entries that were evicted or expired."),
    histogram(
        "larder_eviction_age_seconds",
        "How old entries were when they were evicted because a bound was reached.",
    )
    .in_unit("seconds"),
    counter("larder_loads", "Runs of loaders, whatever became of them."),
    counter(
        "larder_load_failures",
        "Loads that ended in an error, or in a panic in the background.",
    ),
    counter("larder_load_waits", "Calls that waited for the load of another caller."),
    counter(
        "larder_load_handovers",
        "Loads that a waiter began anew, because their caller vanished or took too long.",
    ),
    counter(
        "larder_loads_discarded",
        "Loads whose value was not kept, because the key was changed meanwhile.",
    ),
    counter("larder_refreshes", "Loads that renewed a value that the cache still had."),
    counter("larder_load_seconds", "The sum of the times that loads took.").in_unit("seconds"),
    histogram("larder_load_duration_seconds", "How long loads took, failed ones too.")
        .in_unit("seconds"),
    counter(
        "larder_retired_bytes",
        "Bytes of entries that left, without memory that keys and values own elsewhere.",
    )
    .in_unit("bytes"),
    counter("larder_freed_bytes", "Bytes of such entries that were freed.").in_unit("bytes"),
    gauge("larder_garbage_bytes", "Bytes of such entries that wait to be freed.").in_unit("bytes"),
    gauge(
        "larder_reclamation_lag_seconds",
        "How long removed entries of all caches have waited for a thread that keeps a pin.",
    )
    .in_unit("seconds"),
    gauge(
        "larder_reclamation_refused",
        "1 if the operating system refuses the call without which no removed entry is freed.",
    ),
    counter("larder_maintenance_runs", "Runs of maintenance over a partition."),
    counter("larder_maintenance_panics", "Panics of user code that maintenance caught."),
    counter("larder_notifications", "Removals of which the listener was notified."),
    counter(
        "larder_notifications_dropped",
        "Removals of which the listener was not notified, because its queue was full.",
    ),
    gauge("larder_notifications_waiting", "Notifications that wait in the listener's queues."),
    counter("larder_listener_panics", "Panics of the listener and its executor."),
    counter(
        "larder_shadow_misses",
        "Misses that the cache would have with this policy at this multiple of its bounds, as estimated from a \
         sample.",
    ),
    counter(
        "larder_shadow_own_misses",
        "Misses of the cache itself, as estimated from the same sample.",
    ),
    gauge("larder_shadow_capacity_entries", "The bound on entries that is simulated."),
    gauge("larder_shadow_max_weight", "The bound on the sum of weights that is simulated."),
    counter(
        "larder_shadow_dropped_records",
        "Sampled lookups and writes that were dropped, because their buffer was full.",
    ),
];

/// Adds all families, without samples.
pub(super) fn describe(families: &mut Families) -> Result<(), MetricsError> {
    for OwnFamily { kind, name, unit, help } in &OWN_FAMILIES {
        let family = families.family(*kind, name, help)?;
        if let Some(unit) = unit {
            family.unit(unit)?;
        }
    }
    Ok(())
}

/// Adds samples of one cache, or of none, to families that were described.
struct CacheWriter<'f> {
    families: &'f mut Families,
    cache: &'f str,
}

impl CacheWriter<'_> {
    fn family(&mut self, name: &'static str) -> &mut Family {
        self.families.get_mut(name).expect("the table has the family")
    }

    /// Adds a sample with no label except for the name of the cache.
    fn put(
        &mut self,
        name: &'static str,
        value: impl Into<SampleValue>,
    ) -> Result<&mut Self, MetricsError> {
        let cache = self.cache;
        self.family(name).add(&[("cache", cache)], value)?;
        Ok(self)
    }

    /// As [`put`](Self::put), unless there is no value.
    fn put_known(
        &mut self,
        name: &'static str,
        value: Option<impl Into<SampleValue>>,
    ) -> Result<&mut Self, MetricsError> {
        match value {
            Some(value) => self.put(name, value),
            None => Ok(self),
        }
    }

    /// Adds a sample for each cause.
    fn put_by_cause(
        &mut self,
        name: &'static str,
        counts: &[(&str, u64)],
    ) -> Result<(), MetricsError> {
        let cache = self.cache;
        for &(cause, count) in counts {
            self.family(name).add(&[("cache", cache), ("cause", cause)], count)?;
        }
        Ok(())
    }
}

/// Adds what holds for the whole process.
pub(super) fn add_process<'r>(
    families: &mut Families,
    readings: impl Iterator<Item = &'r CacheReading> + Clone,
) -> Result<(), MetricsError> {
    let mut writer = CacheWriter { families, cache: "" };
    let lags = readings.clone().map(|reading| reading.stats.reclamation_lag);
    let lag = lags.max().unwrap_or_default();
    let is_refused = readings.clone().any(|reading| reading.stats.is_reclamation_refused);
    let version = env!("CARGO_PKG_VERSION");
    writer.family("larder_build").add(&[("version", version)], SampleValue::Info)?;
    writer.family("larder_reclamation_lag_seconds").add(&[], lag)?;
    writer.family("larder_reclamation_refused").add(&[], is_refused)?;
    Ok(())
}

/// Adds the samples of one cache.
pub(super) fn add_cache(
    families: &mut Families,
    cache: &str,
    reading: &CacheReading,
) -> Result<(), MetricsError> {
    let mut writer = CacheWriter { families, cache };
    let policy: &str = &reading.policy;
    writer
        .family("larder_cache")
        .add(&[("cache", cache), ("policy", policy)], SampleValue::Info)?;
    writer
        .put("larder_entries", reading.entries)?
        .put_known("larder_capacity_entries", reading.capacity)?
        .put("larder_weight", reading.weight)?
        .put_known("larder_max_weight", reading.max_weight)?;
    add_lookups(&mut writer, reading)?;
    add_changes(&mut writer, reading)?;
    add_loads(&mut writer, reading)?;
    add_upkeep(&mut writer, reading)?;
    add_shadows(&mut writer, reading)
}

fn add_lookups(writer: &mut CacheWriter<'_>, reading: &CacheReading) -> Result<(), MetricsError> {
    let stats = &reading.stats;
    // A cache with shadows counts its lookups for them.
    let shadowed = || reading.shadows.as_ref().map(|totals| (totals.hits, totals.misses));
    let (hits, misses) = stats.hits.zip(stats.misses).or_else(shadowed).unzip();
    writer
        .put_known("larder_hits", hits)?
        .put_known("larder_misses", misses)?
        .put("larder_stale_hits", stats.stale_hits)?
        .put("larder_negative_hits", stats.negative_hits)?
        .put("larder_dropped_accesses", stats.dropped_accesses)?;
    Ok(())
}

fn add_changes(writer: &mut CacheWriter<'_>, reading: &CacheReading) -> Result<(), MetricsError> {
    let stats = &reading.stats;
    let causes = [
        ("evicted", stats.evictions),
        ("expired", stats.expirations),
        ("removed", stats.removals),
        ("replaced", stats.replacements),
        ("invalidated", stats.invalidations),
    ];
    writer
        .put("larder_inserts", stats.inserts)?
        .put("larder_rejections", stats.rejections)?
        .put_known("larder_eviction_age_seconds", reading.eviction_ages.as_ref())?
        .put_by_cause("larder_removals", &causes)?;
    let weights = [("evicted", stats.evicted_weight), ("expired", stats.expired_weight)];
    writer.put_by_cause("larder_removed_weight", &weights)
}

fn add_loads(writer: &mut CacheWriter<'_>, reading: &CacheReading) -> Result<(), MetricsError> {
    let stats = &reading.stats;
    writer
        .put("larder_loads", stats.loads)?
        .put("larder_load_failures", stats.load_failures)?
        .put("larder_load_waits", stats.load_waits)?
        .put("larder_load_handovers", stats.load_handovers)?
        .put("larder_loads_discarded", stats.loads_discarded)?
        .put("larder_refreshes", stats.refreshes)?
        .put("larder_load_seconds", stats.load_time)?
        .put_known("larder_load_duration_seconds", reading.load_times.as_ref())?;
    Ok(())
}

fn add_upkeep(writer: &mut CacheWriter<'_>, reading: &CacheReading) -> Result<(), MetricsError> {
    let stats = &reading.stats;
    writer
        .put("larder_retired_bytes", stats.retired_bytes)?
        .put("larder_freed_bytes", stats.freed_bytes)?
        .put("larder_garbage_bytes", stats.waiting_bytes())?
        .put("larder_maintenance_runs", stats.maintenance_runs)?
        .put("larder_maintenance_panics", stats.maintenance_panics)?
        .put("larder_notifications", stats.notifications)?
        .put("larder_notifications_dropped", stats.notifications_dropped)?
        .put("larder_notifications_waiting", stats.notifications_waiting)?
        .put("larder_listener_panics", stats.listener_panics)?;
    Ok(())
}

fn add_shadows(writer: &mut CacheWriter<'_>, reading: &CacheReading) -> Result<(), MetricsError> {
    let Some(totals) = &reading.shadows else { return Ok(()) };
    let cache = writer.cache;
    let mut seen = Vec::new();
    for (point, misses) in &totals.points {
        // A configuration may have the same shadow twice; then the first is shown.
        let multiple = point.multiple.to_string();
        if seen.contains(&(&point.policy, multiple.clone())) {
            continue;
        }
        let labels = [("cache", cache), ("policy", &*point.policy), ("multiple", &*multiple)];
        let ShadowMisses { misses, own_misses } = *misses;
        writer.family("larder_shadow_misses").add(&labels, whole(misses))?;
        writer.family("larder_shadow_own_misses").add(&labels, whole(own_misses))?;
        if let Some(capacity) = point.capacity {
            writer.family("larder_shadow_capacity_entries").add(&labels, capacity)?;
        }
        if let Some(max_weight) = point.max_weight {
            writer.family("larder_shadow_max_weight").add(&labels, max_weight)?;
        }
        seen.push((&point.policy, multiple));
    }
    writer.put("larder_shadow_dropped_records", totals.dropped)?;
    Ok(())
}

fn whole(estimate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of positive numbers, which saturates"
    )]
    {
        estimate as u64
    }
}
