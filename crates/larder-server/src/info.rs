//! The text of `INFO`: sections of `name:value` lines, with the names that clients parse.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write as _};
use std::fs;

use crate::identity::REDIS_VERSION;
use crate::parameters;
use crate::pubsub::Topic;
use crate::session::command::CommandTable;
use crate::shared::Shared;
use crate::stats::Totals;
use crate::store::KeyspaceSample;
use crate::unix_time;

/// A section, and whether `INFO` shows it when it is not asked for.
struct Section {
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&mut Lines, &InfoFacts<'_>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Always,
    /// With `all` and `everything`.
    WithAll,
    /// With `everything`.
    WithEverything,
}

const SECTIONS: &[Section] = &[
    Section { name: "server", title: "Server", shown: Shown::Always, write: server },
    Section { name: "clients", title: "Clients", shown: Shown::Always, write: clients },
    Section { name: "memory", title: "Memory", shown: Shown::Always, write: memory },
    Section { name: "persistence", title: "Persistence", shown: Shown::Always, write: persistence },
    Section { name: "stats", title: "Stats", shown: Shown::Always, write: stats },
    Section { name: "replication", title: "Replication", shown: Shown::Always, write: replication },
    Section { name: "cpu", title: "CPU", shown: Shown::Always, write: cpu },
    Section { name: "modules", title: "Modules", shown: Shown::WithEverything, write: |_, _| {} },
    Section { name: "commandstats", title: "Commandstats", shown: Shown::WithAll, write: commands },
    Section { name: "errorstats", title: "Errorstats", shown: Shown::Always, write: errors },
    Section { name: "cluster", title: "Cluster", shown: Shown::Always, write: cluster },
    Section { name: "keyspace", title: "Keyspace", shown: Shown::Always, write: keyspace },
    Section { name: "larder", title: "Larder", shown: Shown::Always, write: larder },
];

/// What several sections show, read once.
struct InfoFacts<'s> {
    table: &'s CommandTable,
    shared: &'s Shared,
    totals: Totals,
    sample: KeyspaceSample,
}

/// The text of these sections, in upper or lower case; of those that are shown always if none is named.
pub(crate) fn text(shared: &Shared, table: &CommandTable, sections: &[&[u8]]) -> String {
    let asks_for =
        |name: &str| sections.iter().any(|section| section.eq_ignore_ascii_case(name.as_bytes()));
    let is_shown = |section: &&Section| {
        asks_for(section.name)
            || asks_for("everything")
            || asks_for("all") && section.shown != Shown::WithEverything
            || (sections.is_empty() || asks_for("default")) && section.shown == Shown::Always
    };
    let facts = InfoFacts {
        table,
        shared,
        totals: shared.totals_since_reset(),
        sample: shared.store.sample(),
    };
    let mut text = String::new();
    for section in SECTIONS.iter().filter(is_shown) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let mut lines = Lines { text };
        let _ = write!(lines.text, "# {}\r\n", section.title);
        (section.write)(&mut lines, &facts);
        text = lines.text;
    }
    text
}

/// Lines, one after another.
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, name: impl Display, value: impl Display) {
        // Writing into a string cannot fail.
        let _ = write!(self.text, "{name}:{value}\r\n");
    }

    fn add_bytes(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(format_args!("{name}_human"), human(bytes));
    }

    /// Things that this server has none of.
    fn add_zeros(&mut self, names: &[&str]) {
        for name in names {
            self.add(name, 0);
        }
    }
}

/// A number of bytes, for people.
fn human(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let number = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..0x10_0000 => format!("{:.2}K", number / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.2}M", number / 1_048_576.0),
        _ => format!("{:.2}G", number / 1_073_741_824.0),
    }
}

/// What the memory is used for, in bytes.
pub(crate) struct Memory {
    /// The entries: their weight if the cache is bounded by weight, otherwise an estimate.
    pub(crate) used: u64,
    /// What the process has in memory, and the most that it has ever had; 0 if the system does not say.
    pub(crate) resident: u64,
    pub(crate) peak_resident: u64,
    /// Messages that wait for clients.
    pub(crate) waiting_for_clients: u64,
}

impl Memory {
    pub(crate) fn read(shared: &Shared) -> Self {
        Self::with_sample(shared, shared.store.sample().bytes)
    }

    fn with_sample(shared: &Shared, sampled: u64) -> Self {
        let cache = shared.store.cache();
        // The weight is that of the entries which maintenance has seen.
        cache.run_pending();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let waiting = shared.hub().clients().all();
        Self {
            used: if cache.max_weight().is_some() { cache.weight() } else { sampled },
            resident: kilobytes(&status, "VmRSS:"),
            peak_resident: kilobytes(&status, "VmHWM:"),
            waiting_for_clients: waiting
                .iter()
                .map(|client| client.mailbox.waiting_bytes() as u64)
                .sum(),
        }
    }
}

/// A line of a file of the system, which gives kilobytes, in bytes; 0 if there is none.
fn kilobytes(file: &str, name: &str) -> u64 {
    let line = file.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let number = line.trim().trim_end_matches("kB").trim().parse::<u64>();
    number.unwrap_or(0).saturating_mul(1024)
}

fn server(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let shared = facts.shared;
    let uptime = shared.started.elapsed().as_secs();
    lines.add("redis_version", REDIS_VERSION);
    lines.add("redis_git_sha1", "00000000");
    lines.add("redis_git_dirty", 0);
    lines.add("redis_build_id", "0000000000000000");
    lines.add("redis_mode", "standalone");
    lines.add("server_name", "larder");
    lines.add("larder_version", env!("CARGO_PKG_VERSION"));
    lines.add("os", format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    lines.add("arch_bits", usize::BITS);
    lines.add("process_id", std::process::id());
    lines.add("process_supervised", "no");
    lines.add("run_id", &shared.run_id);
    lines.add("tcp_port", shared.address().port());
    lines.add("server_time_usec", unix_time::now().as_micros());
    lines.add("uptime_in_seconds", uptime);
    lines.add("uptime_in_days", uptime / 86_400);
    lines.add("hz", 10);
    lines.add("configured_hz", 10);
    let executable = std::env::current_exe().unwrap_or_default();
    lines.add("executable", executable.display());
    lines.add("config_file", "");
    lines.add("io_threads_active", i32::from(shared.config.threads > 1));
}

fn clients(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let clients = facts.shared.hub().clients().all();
    lines.add("connected_clients", clients.len());
    lines.add("cluster_connections", 0);
    lines.add("maxclients", facts.shared.settings().max_clients.get());
    lines.add_zeros(&[
        "client_recent_max_input_buffer",
        "client_recent_max_output_buffer",
        "blocked_clients",
    ]);
    lines.add("tracking_clients", facts.shared.hub().tracking().clients());
    lines.add("pubsub_clients", clients.iter().filter(|client| client.is_subscriber()).count());
    lines.add(
        "watching_clients",
        clients.iter().filter(|client| client.description().watched_keys > 0).count(),
    );
    lines.add("total_watched_keys", facts.shared.hub().watchers().len());
    lines.add("clients_in_timeout_table", 0);
}

fn memory(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let memory = Memory::with_sample(facts.shared, facts.sample.bytes);
    let max = parameters::max_memory(facts.shared);
    let system = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let ratio = memory.resident as f64 / memory.used.max(1) as f64;
    lines.add_bytes("used_memory", memory.used);
    lines.add_bytes("used_memory_rss", memory.resident);
    lines.add_bytes("used_memory_peak", memory.peak_resident);
    lines.add("used_memory_dataset", memory.used);
    lines.add_bytes("total_system_memory", kilobytes(&system, "MemTotal:"));
    lines.add_bytes("maxmemory", max);
    let policy = parameters::find(b"maxmemory-policy").map(|policy| policy.get(facts.shared));
    lines.add("maxmemory_policy", policy.unwrap_or_default());
    lines.add("mem_fragmentation_ratio", format_args!("{ratio:.2}"));
    lines
        .add("mem_clients_normal", memory.waiting_for_clients + facts.shared.buffers.used() as u64);
    lines.add("mem_allocator", "system");
    lines.add_zeros(&["active_defrag_running", "lazyfree_pending_objects", "lazyfreed_objects"]);
}

fn persistence(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let saving = &facts.shared.saving;
    let took =
        if saving.saves() == 0 { -1 } else { i64::try_from(saving.took().as_secs()).unwrap_or(-1) };
    lines.add_zeros(&["loading", "async_loading", "rdb_changes_since_last_save"]);
    lines.add("rdb_bgsave_in_progress", i32::from(saving.is_saving()));
    lines.add("rdb_last_save_time", saving.last_s());
    lines.add("rdb_last_bgsave_status", if saving.last_error().is_some() { "err" } else { "ok" });
    lines.add("rdb_last_bgsave_time_sec", took);
    lines.add("rdb_current_bgsave_time_sec", -1);
    lines.add("rdb_saves", saving.saves());
    lines.add_zeros(&["aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled"]);
    lines.add("aof_last_bgrewrite_status", "ok");
    lines.add("aof_last_write_status", "ok");
}

fn stats(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let Totals { accepted, refused, hits, misses, .. } = facts.totals;
    let (pubsub, tracking) = (facts.shared.hub().pubsub(), facts.shared.hub().tracking());
    lines.add("total_connections_received", accepted);
    lines.add("total_commands_processed", facts.totals.commands());
    lines.add("instantaneous_ops_per_sec", facts.shared.stats.commands_per_second());
    lines.add("total_net_input_bytes", facts.totals.bytes_in);
    lines.add("total_net_output_bytes", facts.totals.bytes_out);
    lines.add("rejected_connections", refused);
    lines.add_zeros(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
    lines.add("expired_keys", facts.totals.expirations);
    lines.add("evicted_keys", facts.totals.evictions);
    lines.add("evicted_clients", 0);
    lines.add("keyspace_hits", hits);
    lines.add("keyspace_misses", misses);
    lines.add("pubsub_channels", pubsub.count(Topic::Channel));
    lines.add("pubsub_patterns", pubsub.count(Topic::Pattern));
    lines.add("pubsubshard_channels", pubsub.count(Topic::ShardChannel));
    lines.add("tracking_total_keys", tracking.keys());
    lines.add("tracking_total_items", tracking.items());
    lines.add("tracking_total_prefixes", tracking.prefix_count());
    lines.add_zeros(&["latest_fork_usec", "total_forks", "migrate_cached_sockets"]);
    lines.add("total_error_replies", facts.totals.errors.values().sum::<u64>());
}

fn replication(lines: &mut Lines, facts: &InfoFacts<'_>) {
    lines.add("role", "master");
    lines.add("connected_slaves", 0);
    lines.add("master_failover_state", "no-failover");
    lines.add("master_replid", &facts.shared.run_id);
    lines.add("master_replid2", "0".repeat(40));
    lines.add("master_repl_offset", 0);
    lines.add("second_repl_offset", -1);
    lines.add_zeros(&["repl_backlog_active", "repl_backlog_size"]);
    lines.add_zeros(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
}

fn cpu(lines: &mut Lines, _: &InfoFacts<'_>) {
    // After the name of the process, which ends with a bracket, the times are the 12th and the 13th word, in
    // hundredths of a second.
    let process = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let words = process.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let mut times = words.skip(11).map(|word| word.parse::<u64>().unwrap_or(0));
    let mut seconds = || {
        let ticks = times.next().unwrap_or(0);
        format!("{}.{:02}0000", ticks / 100, ticks % 100)
    };
    let (user, system) = (seconds(), seconds());
    lines.add("used_cpu_sys", system);
    lines.add("used_cpu_user", user);
    lines.add("used_cpu_sys_children", "0.000000");
    lines.add("used_cpu_user_children", "0.000000");
}

/// The time of a call is that of its batch, which is not measured by command: the mean of all.
fn commands(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let totals = &facts.totals;
    let commands = totals.commands().max(1);
    for (index, command) in facts.table.iter().enumerate() {
        let (calls, failed) = (totals.calls[index], totals.failed_calls[index]);
        if calls == 0 {
            continue;
        }
        let us = u128::from(totals.batch_ns) * u128::from(calls) / u128::from(commands) / 1000;
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        let us_per_call = totals.batch_ns as f64 / 1000.0 / commands as f64;
        lines.add(
            format_args!("cmdstat_{}", command.name),
            format_args!(
                "calls={calls},usec={us},usec_per_call={us_per_call:.2},rejected_calls=0,\
                 failed_calls={failed}"
            ),
        );
    }
}

fn errors(lines: &mut Lines, facts: &InfoFacts<'_>) {
    for (code, count) in &facts.totals.errors {
        lines.add(format_args!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn cluster(lines: &mut Lines, _: &InfoFacts<'_>) {
    lines.add("cluster_enabled", 0);
}

fn keyspace(lines: &mut Lines, facts: &InfoFacts<'_>) {
    for (number, database) in &facts.sample.databases {
        let (keys, expires) = (database.keys, database.expiring);
        let avg_ttl = database.mean_left.as_millis();
        lines.add(
            format_args!("db{number}"),
            format_args!("keys={keys},expires={expires},avg_ttl={avg_ttl}"),
        );
    }
}

fn larder(lines: &mut Lines, facts: &InfoFacts<'_>) {
    let cache = facts.shared.store.cache();
    let stats = cache.stats();
    lines.add("larder_policy", cache.policy_name());
    lines.add("larder_entries", cache.len());
    lines.add("larder_capacity", cache.capacity().map_or(0, |capacity| capacity as u64));
    lines.add("larder_weight", cache.weight());
    lines.add("larder_max_weight", cache.max_weight().unwrap_or(0));
    lines.add("larder_partitions", cache.partitions());
    let Totals { hits, misses, .. } = facts.totals;
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
    let ratio = hits as f64 / (hits + misses).max(1) as f64;
    lines.add("larder_hit_ratio", format_args!("{ratio:.4}"));
    lines.add("larder_inserts", stats.inserts);
    lines.add("larder_replacements", stats.replacements);
    lines.add("larder_removals", stats.removals);
    lines.add("larder_evictions", stats.evictions);
    lines.add("larder_evicted_weight", stats.evicted_weight);
    lines.add("larder_expirations", stats.expirations);
    lines.add("larder_invalidations", stats.invalidations);
    lines.add("larder_rejections", stats.rejections);
    lines.add("larder_waiting_bytes", stats.waiting_bytes());
    let Some(report) = cache.shadow_report() else { return };
    for point in &report.points {
        let ratio = point.hit_ratio.map_or_else(String::new, |ratio| format!("{ratio:.4}"));
        lines.add(
            format_args!("larder_shadow_{}_{}", point.policy, point.multiple),
            format_args!("hit_ratio={ratio},samples={}", point.samples),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_for_people() {
        for (bytes, shown) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (7_208_960, "6.88M"),
            (1 << 40, "1024.00G"),
        ] {
            assert_eq!(human(bytes), shown);
        }
        assert_eq!(kilobytes("VmHWM:\t  12 kB\nVmRSS:\t 3 kB\n", "VmRSS:"), 3072);
        assert_eq!(kilobytes("", "VmRSS:"), 0);
    }
}
