//! The parameters of `CONFIG GET` and `CONFIG SET`, by the names that Redis has for them.
//!
//! Three kinds: those with which the server was started, those that change how it works from the next request on, and
//! those that only Redis itself would use. The last are checked, kept and returned, because clients, tools and tests
//! set them needlessly.
#![forbid(unsafe_code)]

use larder::ResizeError;
use thiserror::Error;

use crate::events::EventMask;
use crate::settings::Tunable;
use crate::shared::Shared;
use crate::value::ENTRY_BYTES;

/// A parameter.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    kind: Kind,
}

enum Kind {
    /// The server was started with it.
    Fixed(fn(&Shared) -> String),
    /// It works.
    Live { get: fn(&Shared) -> String, set: fn(&Shared, &str) -> Result<(), ParameterError> },
    /// It is kept and has no effect.
    Unused { default: &'static str, allowed: Allowed },
}

/// What a parameter may be set to.
#[derive(Clone, Copy)]
enum Allowed {
    YesNo,
    Integer(i64, i64),
    Memory,
    Choice(&'static [&'static str]),
    Text,
}

/// Why a parameter was not set, with the text that clients of Redis know.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ParameterError {
    #[error("can't set immutable config")]
    Immutable,
    #[error("argument must be 'yes' or 'no'")]
    NotYesNo,
    #[error("argument couldn't be parsed into an integer")]
    NotInteger,
    #[error("argument must be between {0} and {1} inclusive")]
    OutOfRange(i64, i64),
    #[error("argument must be a memory value")]
    NotMemory,
    #[error("argument(s) must be one of the following: {}", .0.join(", "))]
    NotChoice(&'static [&'static str]),
    #[error("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")]
    EventClass,
    #[error("Wrong number of arguments in buffer limit configuration.")]
    OutputLimitLength,
    #[error("Invalid client class specified in buffer limit configuration.")]
    OutputLimitClass,
    #[error("Error in hard, soft or soft_seconds setting in buffer limit configuration.")]
    OutputLimit,
    #[error("the value is not valid text")]
    NotText,
    #[error(transparent)]
    Resize(#[from] ResizeError),
}

impl Parameter {
    /// The value, as `CONFIG GET` shows it.
    pub(crate) fn get(&self, shared: &Shared) -> String {
        match &self.kind {
            Kind::Fixed(get) | Kind::Live { get, .. } => get(shared),
            Kind::Unused { default, .. } => {
                let set = shared.settings().unused().get(self.name).cloned();
                set.unwrap_or_else(|| (*default).to_owned())
            }
        }
    }

    pub(crate) fn set(&self, shared: &Shared, value: &[u8]) -> Result<(), ParameterError> {
        let value = std::str::from_utf8(value).map_err(|_| ParameterError::NotText)?;
        match &self.kind {
            // Tools write back the value that they have read.
            Kind::Fixed(get) if get(shared) == value => Ok(()),
            Kind::Fixed(_) => Err(ParameterError::Immutable),
            Kind::Live { set, .. } => set(shared, value),
            Kind::Unused { allowed, .. } => {
                shared.settings().unused().insert(self.name, allowed.checked(value)?);
                Ok(())
            }
        }
    }
}

impl Allowed {
    /// The value as it is shown, if it is allowed.
    fn checked(self, value: &str) -> Result<String, ParameterError> {
        match self {
            Self::YesNo => match value.to_ascii_lowercase() {
                lower if lower == "yes" || lower == "no" => Ok(lower),
                _ => Err(ParameterError::NotYesNo),
            },
            Self::Integer(min, max) => integer(value, min, max).map(|number| number.to_string()),
            Self::Memory => memory(value).map(|bytes| bytes.to_string()),
            Self::Choice(choices) => {
                let choice = choices.iter().find(|choice| choice.eq_ignore_ascii_case(value));
                choice.map(|choice| (*choice).to_owned()).ok_or(ParameterError::NotChoice(choices))
            }
            Self::Text => Ok(value.to_owned()),
        }
    }
}

fn integer(value: &str, min: i64, max: i64) -> Result<i64, ParameterError> {
    let number: i64 = value.parse().map_err(|_| ParameterError::NotInteger)?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(ParameterError::OutOfRange(min, max))
    }
}

/// A number of bytes, which may have a unit: `100`, `100b`, `1k` (1,000), `1kb` (1,024), and so on.
fn memory(value: &str) -> Result<u64, ParameterError> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().map_err(|_| ParameterError::NotMemory)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err(ParameterError::NotMemory),
    };
    number.checked_mul(factor).ok_or(ParameterError::NotMemory)
}

/// Sets a number, which is within bounds of at least 0.
fn tune(tunable: &Tunable, value: &str, min: i64, max: i64) -> Result<(), ParameterError> {
    let number = integer(value, min, max)?;
    tunable.set(u64::try_from(number).unwrap_or_default());
    Ok(())
}

/// Sets a number of bytes.
fn tune_bytes(tunable: &Tunable, value: &str, min: i64) -> Result<(), ParameterError> {
    let bytes = memory(value)?;
    if i64::try_from(bytes).is_ok_and(|bytes| bytes < min) {
        return Err(ParameterError::OutOfRange(min, i64::MAX));
    }
    tunable.set(bytes);
    Ok(())
}

/// The bound on weight that stands for none in a cache that must have one.
const UNBOUNDED_WEIGHT: u64 = 1 << 62;

/// The bound on the weight of the cache; 0 if it has none.
pub(crate) fn max_memory(shared: &Shared) -> u64 {
    match shared.settings().tiny_max_memory.get() {
        0 => shared
            .store
            .cache()
            .max_weight()
            .filter(|weight| *weight < UNBOUNDED_WEIGHT)
            .unwrap_or(0),
        bytes => bytes,
    }
}

fn set_max_memory(shared: &Shared, value: &str) -> Result<(), ParameterError> {
    let cache = shared.store.cache();
    let bytes = memory(value)?;
    let is_tiny = (1..(cache.partitions() * ENTRY_BYTES) as u64).contains(&bytes);
    match bytes {
        // With Redis, 0 means that there is no bound.
        0 if cache.max_weight().is_none() => {}
        0 => cache.set_max_weight(UNBOUNDED_WEIGHT)?,
        // The cache stores nothing, and commands that would add to it are refused instead of being forgotten.
        _ if is_tiny => cache.set_max_weight(0)?,
        _ => cache.set_max_weight(bytes)?,
    }
    shared.settings().tiny_max_memory.set(if is_tiny { bytes } else { 0 });
    Ok(())
}

fn output_limits(shared: &Shared) -> String {
    let settings = shared.settings();
    let shown = |limit: &crate::settings::OutputLimit| {
        let (hard, soft) = (limit.hard_bytes.get(), limit.soft_bytes.get());
        format!("{hard} {soft} {}", limit.soft_seconds.get())
    };
    let (normal, pubsub) = (shown(&settings.normal_output), shown(&settings.pubsub_output));
    format!("normal {normal} slave 0 0 0 pubsub {pubsub}")
}

fn set_output_limits(shared: &Shared, value: &str) -> Result<(), ParameterError> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    if !words.len().is_multiple_of(4) {
        return Err(ParameterError::OutputLimitLength);
    }
    let mut limits = Vec::new();
    for group in words.chunks_exact(4) {
        let limit = match group[0].to_ascii_lowercase().as_str() {
            "normal" => Some(&shared.settings().normal_output),
            "pubsub" => Some(&shared.settings().pubsub_output),
            // There are no replicas.
            "slave" | "replica" => None,
            _ => return Err(ParameterError::OutputLimitClass),
        };
        let bytes = |word| memory(word).map_err(|_| ParameterError::OutputLimit);
        let seconds: u64 = group[3].parse().map_err(|_| ParameterError::OutputLimit)?;
        limits.push((limit, bytes(group[1])?, bytes(group[2])?, seconds));
    }
    for (limit, hard, soft, seconds) in limits {
        if let Some(limit) = limit {
            limit.hard_bytes.set(hard);
            limit.soft_bytes.set(soft);
            limit.soft_seconds.set(seconds);
        }
    }
    Ok(())
}

fn set_events(shared: &Shared, value: &str) -> Result<(), ParameterError> {
    let flags = EventMask::parse(value.as_bytes()).ok_or(ParameterError::EventClass)?;
    shared.hub().set_events(flags);
    Ok(())
}

fn set_tracking_max_keys(shared: &Shared, value: &str) -> Result<(), ParameterError> {
    let max_keys = usize::try_from(integer(value, 0, i64::MAX)?).unwrap_or(usize::MAX);
    shared.hub().tracking().set_max_keys(shared.hub().clients(), max_keys);
    Ok(())
}

const fn fixed(name: &'static str, get: fn(&Shared) -> String) -> Parameter {
    Parameter { name, kind: Kind::Fixed(get) }
}

const fn live(
    name: &'static str,
    get: fn(&Shared) -> String,
    set: fn(&Shared, &str) -> Result<(), ParameterError>,
) -> Parameter {
    Parameter { name, kind: Kind::Live { get, set } }
}

const fn unused(name: &'static str, default: &'static str, allowed: Allowed) -> Parameter {
    Parameter { name, kind: Kind::Unused { default, allowed } }
}

const NUMBER: Allowed = Allowed::Integer(0, i64::MAX);
const SIGNED: Allowed = Allowed::Integer(i32::MIN as i64, i32::MAX as i64);
const MAX_INT: i64 = i32::MAX as i64;
const EVICTION_POLICIES: &[&str] = &[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
];

/// The parameters, those that work first.
pub(crate) static PARAMETERS: &[Parameter] = &[
    fixed("bind", |shared| shared.address().ip().to_string()),
    fixed("port", |shared| shared.address().port().to_string()),
    fixed("databases", |shared| shared.store.databases().to_string()),
    fixed("io-threads", |shared| shared.config.threads.to_string()),
    fixed("protected-mode", |shared| {
        if shared.config.protected_mode { "yes" } else { "no" }.to_owned()
    }),
    fixed("cluster-enabled", |_| "no".to_owned()),
    fixed("daemonize", |_| "no".to_owned()),
    live("maxmemory", |shared| max_memory(shared).to_string(), set_max_memory),
    live("notify-keyspace-events", |shared| shared.settings().events().to_string(), set_events),
    live("client-output-buffer-limit", output_limits, set_output_limits),
    live(
        "maxclients",
        |shared| shared.settings().max_clients.get().to_string(),
        |shared, value| tune(&shared.settings().max_clients, value, 1, 4_294_967_295),
    ),
    live(
        "timeout",
        |shared| shared.settings().idle_ms.get().div_ceil(1000).to_string(),
        |shared, value| {
            let seconds = integer(value, 0, MAX_INT)?;
            shared.settings().idle_ms.set(seconds.unsigned_abs() * 1000);
            Ok(())
        },
    ),
    live(
        "tcp-keepalive",
        |shared| shared.settings().keepalive_seconds.get().to_string(),
        |shared, value| tune(&shared.settings().keepalive_seconds, value, 0, MAX_INT),
    ),
    live(
        "tracking-table-max-keys",
        |shared| shared.hub().tracking().max_keys().to_string(),
        set_tracking_max_keys,
    ),
    live(
        "proto-max-bulk-len",
        |shared| shared.settings().max_argument_bytes.get().to_string(),
        |shared, value| tune_bytes(&shared.settings().max_argument_bytes, value, 1 << 20),
    ),
    live(
        "client-query-buffer-limit",
        |shared| shared.settings().max_request_bytes.get().to_string(),
        |shared, value| tune_bytes(&shared.settings().max_request_bytes, value, 1 << 20),
    ),
    live(
        "lua-time-limit",
        |shared| shared.settings().script_ms.get().to_string(),
        |shared, value| tune(&shared.settings().script_ms, value, 0, i64::MAX),
    ),
    // The new name of the same parameter.
    live(
        "busy-reply-threshold",
        |shared| shared.settings().script_ms.get().to_string(),
        |shared, value| tune(&shared.settings().script_ms, value, 0, i64::MAX),
    ),
    live(
        "requirepass",
        |shared| shared.settings().password().map_or_else(String::new, |it| it.to_string()),
        |shared, value| {
            shared.settings().set_password(Some(value));
            Ok(())
        },
    ),
    unused("save", "", Allowed::Text),
    // Changes are not written as they are made.
    unused("appendonly", "no", Allowed::Choice(&["no"])),
    unused("maxmemory-policy", "allkeys-lfu", Allowed::Choice(EVICTION_POLICIES)),
    unused("maxmemory-samples", "5", NUMBER),
    unused("maxmemory-eviction-tenacity", "10", Allowed::Integer(0, 100)),
    unused("maxmemory-clients", "0", Allowed::Memory),
    unused("lfu-log-factor", "10", NUMBER),
    unused("lfu-decay-time", "1", NUMBER),
    unused("active-expire-effort", "1", Allowed::Integer(1, 10)),
    unused("hz", "10", NUMBER),
    unused("dynamic-hz", "yes", Allowed::YesNo),
    unused("loglevel", "notice", Allowed::Text),
    unused("logfile", "", Allowed::Text),
    unused("dir", "", Allowed::Text),
    unused("dbfilename", "", Allowed::Text),
    unused("slowlog-log-slower-than", "10000", SIGNED),
    unused("slowlog-max-len", "128", NUMBER),
    unused("latency-monitor-threshold", "0", NUMBER),
    unused("latency-tracking", "no", Allowed::YesNo),
    unused("acllog-max-len", "128", NUMBER),
    unused("appendfsync", "everysec", Allowed::Choice(&["everysec", "always", "no"])),
    unused("auto-aof-rewrite-percentage", "100", NUMBER),
    unused("auto-aof-rewrite-min-size", "67108864", Allowed::Memory),
    unused("aof-use-rdb-preamble", "yes", Allowed::YesNo),
    unused("no-appendfsync-on-rewrite", "no", Allowed::YesNo),
    unused("rdbcompression", "yes", Allowed::YesNo),
    unused("rdbchecksum", "yes", Allowed::YesNo),
    unused("rdb-key-save-delay", "0", SIGNED),
    unused("key-load-delay", "0", SIGNED),
    unused("stop-writes-on-bgsave-error", "yes", Allowed::YesNo),
    unused("lazyfree-lazy-eviction", "no", Allowed::YesNo),
    unused("lazyfree-lazy-expire", "no", Allowed::YesNo),
    unused("lazyfree-lazy-server-del", "no", Allowed::YesNo),
    unused("lazyfree-lazy-user-del", "no", Allowed::YesNo),
    unused("lazyfree-lazy-user-flush", "no", Allowed::YesNo),
    unused("activedefrag", "no", Allowed::YesNo),
    unused("activerehashing", "yes", Allowed::YesNo),
    unused("sanitize-dump-payload", "no", Allowed::Choice(&["no", "yes", "clients"])),
    unused("close-on-replica-write", "yes", Allowed::YesNo),
    unused("hash-max-listpack-entries", "512", NUMBER),
    unused("hash-max-listpack-value", "64", NUMBER),
    unused("hash-max-ziplist-entries", "512", NUMBER),
    unused("hash-max-ziplist-value", "64", NUMBER),
    unused("list-max-listpack-size", "-2", SIGNED),
    unused("list-max-ziplist-size", "-2", SIGNED),
    unused("list-compress-depth", "0", NUMBER),
    unused("set-max-intset-entries", "512", NUMBER),
    unused("set-max-listpack-entries", "128", NUMBER),
    unused("set-max-listpack-value", "64", NUMBER),
    unused("zset-max-listpack-entries", "128", NUMBER),
    unused("zset-max-listpack-value", "64", NUMBER),
    unused("zset-max-ziplist-entries", "128", NUMBER),
    unused("zset-max-ziplist-value", "64", NUMBER),
    unused("stream-node-max-bytes", "4096", Allowed::Memory),
    unused("stream-node-max-entries", "100", NUMBER),
    unused("hll-sparse-max-bytes", "3000", Allowed::Memory),
    unused("min-replicas-to-write", "0", NUMBER),
    unused("min-slaves-to-write", "0", NUMBER),
    unused("min-replicas-max-lag", "10", NUMBER),
    unused("repl-timeout", "60", NUMBER),
    unused("repl-diskless-sync", "yes", Allowed::YesNo),
    unused("repl-diskless-sync-delay", "5", NUMBER),
    unused("repl-ping-replica-period", "10", NUMBER),
    unused("replica-serve-stale-data", "yes", Allowed::YesNo),
    unused("replica-read-only", "yes", Allowed::YesNo),
    unused("propagation-error-behavior", "ignore", Allowed::Choice(&["ignore", "panic"])),
    unused("oom-score-adj", "no", Allowed::Choice(&["no", "yes", "relative", "absolute"])),
    unused("set-proc-title", "no", Allowed::YesNo),
    unused("watchdog-period", "0", NUMBER),
];

/// The parameter of a name, in upper or lower case.
pub(crate) fn find(name: &[u8]) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| name.eq_ignore_ascii_case(parameter.name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_of_bytes_may_have_units() {
        for (value, expected) in [
            ("0", Ok(0)),
            ("100", Ok(100)),
            ("1k", Ok(1000)),
            ("1KB", Ok(1024)),
            ("2mb", Ok(2 << 20)),
            ("3G", Ok(3_000_000_000)),
            ("", Err(ParameterError::NotMemory)),
            ("-1", Err(ParameterError::NotMemory)),
            ("1x", Err(ParameterError::NotMemory)),
            ("99999999999999gb", Err(ParameterError::NotMemory)),
        ] {
            assert_eq!(memory(value), expected, "{value}");
        }
    }

    #[test]
    fn each_parameter_stands_in_the_table_once_and_may_be_what_it_is() {
        let names: HashSet<_> = PARAMETERS.iter().map(|parameter| parameter.name).collect();
        assert_eq!(names.len(), PARAMETERS.len());
        for parameter in PARAMETERS {
            assert_eq!(
                find(parameter.name.to_ascii_uppercase().as_bytes()).map(|it| it.name),
                Some(parameter.name)
            );
            if let Kind::Unused { default, allowed } = parameter.kind {
                assert_eq!(allowed.checked(default).as_deref(), Ok(default), "{}", parameter.name);
            }
        }
    }
}
