//! What can be changed while the server runs, by `CONFIG SET`.
//!
//! Code reads a setting here each time it needs it. A setting may change at any moment, and settings are independent,
//! so relaxed accesses suffice.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::config::ServerConfig;
use crate::events::EventMask;
use crate::resp::RequestLimits;

/// A number that can be changed while others read it.
#[derive(Debug, Default)]
pub(crate) struct Tunable(AtomicU64);

impl Tunable {
    pub(crate) const fn new(number: u64) -> Self {
        Self(AtomicU64::new(number))
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The number as a count or a length.
    #[inline]
    pub(crate) fn as_usize(&self) -> usize {
        usize::try_from(self.get()).unwrap_or(usize::MAX)
    }

    pub(crate) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }
}

/// How many bytes may wait for a client before it is disconnected; 0 means any number.
#[derive(Debug)]
pub(crate) struct OutputLimit {
    /// With more, it is disconnected at once.
    pub(crate) hard_bytes: Tunable,
    /// With more for `soft_seconds`, it is disconnected.
    pub(crate) soft_bytes: Tunable,
    pub(crate) soft_seconds: Tunable,
}

impl OutputLimit {
    const fn new(hard_bytes: u64, soft_bytes: u64, soft_seconds: u64) -> Self {
        Self {
            hard_bytes: Tunable::new(hard_bytes),
            soft_bytes: Tunable::new(soft_bytes),
            soft_seconds: Tunable::new(soft_seconds),
        }
    }

    /// The most bytes that may wait at any time.
    fn max_bytes(&self) -> usize {
        match self.hard_bytes.as_usize() {
            0 => usize::MAX,
            bytes => bytes,
        }
    }
}

/// The settings.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `maxclients`
    pub(crate) max_clients: Tunable,
    /// `timeout`, in milliseconds: a client that sends nothing for this long is disconnected; 0 means never.
    pub(crate) idle_ms: Tunable,
    /// `tcp-keepalive`, in seconds; 0 means that it is off.
    pub(crate) keepalive_seconds: Tunable,
    /// `proto-max-bulk-len`: the longest argument, and the longest string that a command may make.
    pub(crate) max_argument_bytes: Tunable,
    /// `client-query-buffer-limit`: the longest request.
    pub(crate) max_request_bytes: Tunable,
    /// `lua-time-limit`, in milliseconds: a script that runs for this long is ended; 0 means never.
    pub(crate) script_ms: Tunable,
    /// `client-output-buffer-limit normal`
    pub(crate) normal_output: OutputLimit,
    /// `client-output-buffer-limit pubsub`, also for invalidations.
    pub(crate) pubsub_output: OutputLimit,
    /// `maxmemory`, if it is so little that no entry fits; otherwise 0, and the cache knows its bound.
    pub(crate) tiny_max_memory: Tunable,
    /// `notify-keyspace-events`
    events: AtomicU32,
    /// `requirepass`
    password: RwLock<Option<Arc<str>>>,
    /// Parameters that this server has no use for: what they were set to.
    unused: Mutex<BTreeMap<&'static str, String>>,
    /// The most arguments of a request, which cannot be changed.
    max_arguments: AtomicUsize,
}

impl Default for Settings {
    fn default() -> Self {
        let limits = RequestLimits::default();
        Self {
            max_clients: Tunable::new(10_000),
            idle_ms: Tunable::new(0),
            keepalive_seconds: Tunable::new(300),
            max_argument_bytes: Tunable::new(limits.argument_bytes as u64),
            max_request_bytes: Tunable::new(limits.request_bytes as u64),
            script_ms: Tunable::new(5000),
            normal_output: OutputLimit::new(0, 0, 0),
            pubsub_output: OutputLimit::new(32 << 20, 8 << 20, 60),
            tiny_max_memory: Tunable::new(0),
            events: AtomicU32::new(0),
            password: RwLock::new(None),
            unused: Mutex::new(BTreeMap::new()),
            max_arguments: AtomicUsize::new(limits.arguments),
        }
    }
}

impl Settings {
    /// Applies the settings with which a server is started.
    pub(crate) fn apply(&self, config: &ServerConfig) {
        self.max_clients.set(config.max_clients as u64);
        let idle_ms = config.idle_timeout.map_or(0, |idle| idle.as_millis().max(1));
        self.idle_ms.set(u64::try_from(idle_ms).unwrap_or(u64::MAX));
        self.normal_output.hard_bytes.set(config.max_output_bytes as u64);
        self.pubsub_output.hard_bytes.set(config.max_mail_bytes as u64);
        self.max_argument_bytes.set(config.request_limits.argument_bytes as u64);
        self.max_request_bytes.set(config.request_limits.request_bytes as u64);
        self.max_arguments.store(config.request_limits.arguments, Ordering::Relaxed);
        #[cfg(feature = "scripts")]
        {
            let script_ms = config.script_time_limit.as_millis();
            self.script_ms.set(u64::try_from(script_ms).unwrap_or(u64::MAX));
        }
        self.set_password(config.password.as_deref());
    }

    /// What a request may contain.
    #[inline]
    pub(crate) fn request_limits(&self) -> RequestLimits {
        RequestLimits {
            arguments: self.max_arguments.load(Ordering::Relaxed),
            argument_bytes: self.max_argument_bytes.as_usize(),
            request_bytes: self.max_request_bytes.as_usize(),
        }
    }

    /// The most bytes of replies that may wait for a client.
    pub(crate) fn max_output_bytes(&self) -> usize {
        self.normal_output.max_bytes()
    }

    /// The most bytes of messages that may wait for a client. It holds for clients that connect later.
    pub(crate) fn max_mail_bytes(&self) -> usize {
        self.pubsub_output.max_bytes()
    }

    /// The keyspace events that are published.
    #[inline]
    pub(crate) fn events(&self) -> EventMask {
        EventMask::from_bits(self.events.load(Ordering::Relaxed))
    }

    /// Remembers the events; `Hub::set_events` has them published.
    pub(crate) fn set_events(&self, events: EventMask) {
        self.events.store(events.bits(), Ordering::Relaxed);
    }

    /// The password that clients must give, if there is one.
    pub(crate) fn password(&self) -> Option<Arc<str>> {
        self.password.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the password for clients that are not authenticated yet; an empty one means none.
    pub(crate) fn set_password(&self, password: Option<&str>) {
        let password = password.filter(|password| !password.is_empty()).map(Arc::from);
        *self.password.write().unwrap_or_else(PoisonError::into_inner) = password;
    }

    /// The parameters that this server has no use for.
    pub(crate) fn unused(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
