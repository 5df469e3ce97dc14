//! How a near cache is built.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use larder::snapshot::Serializers;
use larder::{Builder, Cache, Policy};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::envelope::Envelopes;
use crate::error::NearBuildError;
use crate::key::NearKey;
use crate::lease::nanoseconds;
use crate::link::{Holder, Link, LinkSettings};
use crate::memory::{Hands, Held, Memory, Slot};
use crate::near_cache::{CallSettings, NearCache, Shared, WriteMode};
use crate::transport::redis_crate::RedisTransport;
use crate::transport::{Tracking, Transport};

/// The settings of a near cache, from [`NearCache::builder`].
#[must_use = "a builder does nothing until it connects"]
pub struct NearBuilder<K, V> {
    address: String,
    transport: Option<Box<dyn Transport>>,
    prefix: Vec<u8>,
    memory: Builder<K, Slot<V>>,
    serializer: String,
    serializers: Serializers,
    tracking: Tracking,
    max_in_flight: usize,
    stale_if_error: Duration,
    calls: CallSettings,
}

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// A near cache over the server at `address`:
    /// `redis://[user:password@]host[:port][/database]` or `unix://path`.
    pub fn builder(address: impl Into<String>) -> NearBuilder<K, V> {
        NearBuilder::new(address.into())
    }
}

impl<K, V> NearBuilder<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            transport: None,
            prefix: Vec::new(),
            memory: Cache::builder().capacity(10_000),
            serializer: "postcard".to_owned(),
            serializers: Serializers::standard(),
            tracking: Tracking::Default,
            max_in_flight: 1024,
            stale_if_error: Duration::ZERO,
            calls: CallSettings {
                max_stale: Duration::from_secs(5),
                call_timeout: Duration::from_secs(1),
                load_patience: Duration::from_secs(10),
                time_to_live: None,
                missing_time_to_live: None,
                jitter: 0.0,
                write_mode: WriteMode::Through,
                keys_per_call: 256,
                is_counting_hits: false,
            },
        }
    }

    /// What the keys of this cache begin with at the server. Default: nothing.
    ///
    /// Caches with different types of values must not share keys.
    pub fn prefix(mut self, prefix: impl Into<Vec<u8>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The contract: no read returns a value that was overwritten more than this before the read began, by
    /// this machine's monotonic clock. Default: 5 seconds.
    ///
    /// As long as the server tracks what is read, a change is known after a fraction of a millisecond, and this
    /// is the bound for the moments in which that fails. A `PING` every quarter of it, at most every second,
    /// proves that it does not. With 0, every read asks the server, and requests are not shared.
    pub fn max_stale(mut self, max_stale: Duration) -> Self {
        self.calls.max_stale = max_stale;
        self
    }

    /// The most entries in memory. Default: 10,000.
    pub fn capacity(mut self, entries: usize) -> Self {
        self.memory = self.memory.capacity(entries);
        self
    }

    /// The most weight in memory, by `weigher`, which is given `None` for a key that has no value.
    /// Default: no bound on weight.
    pub fn max_weight(
        mut self,
        weight: u64,
        weigher: impl Fn(&K, Option<&V>) -> u32 + Send + Sync + 'static,
    ) -> Self {
        self.memory = self.memory.max_weight(weight).weigher(move |key, slot: &Slot<V>| {
            weigher(
                key,
                match &slot.held {
                    Held::Value(value) => Some(value),
                    _ => None,
                },
            )
        });
        self
    }

    /// Which entries of memory are evicted. Default: that of [`larder::Builder::policy`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.memory = self.memory.policy(policy);
        self
    }

    /// Counts the reads that memory answers, which costs each of them an addition to a counter that all threads
    /// share. Default: they are not counted.
    pub fn count_hits(mut self) -> Self {
        self.calls.is_counting_hits = true;
        self
    }

    /// The name of the serializer that writes values. Default: `postcard`.
    ///
    /// Each value names its serializer, so processes that write by different ones read each other's values, if
    /// all of them know both.
    pub fn serializer(mut self, name: impl Into<String>) -> Self {
        self.serializer = name.into();
        self
    }

    /// The serializers that can be chosen, and by which values can be read. Default:
    /// [`Serializers::standard`], which has those of larder's features.
    pub fn serializers(mut self, serializers: Serializers) -> Self {
        self.serializers = serializers;
        self
    }

    /// How the server is asked to track what is read. Default: [`Tracking::Default`].
    ///
    /// If the server refuses, as some managed ones do, values are held for `max_stale` at most, and
    /// [`NearStats::is_tracked`](crate::NearStats::is_tracked) says so.
    pub fn tracking(mut self, tracking: Tracking) -> Self {
        self.tracking = tracking;
        self
    }

    /// Where writes put their values. Default: [`WriteMode::Through`].
    pub fn write_mode(mut self, mode: WriteMode) -> Self {
        self.calls.write_mode = mode;
        self
    }

    /// For how long the server keeps values that are written without a time to live of their own. Default: until
    /// they are overwritten, removed, or evicted by the server.
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.calls.time_to_live = Some(time_to_live);
        self
    }

    /// For how long the server remembers that a loader has found no value. Default: it does not.
    pub fn missing_time_to_live(mut self, time_to_live: Duration) -> Self {
        self.calls.missing_time_to_live = Some(time_to_live);
        self
    }

    /// Shortens each time to live by a random part of it, up to this fraction, so that values that were written
    /// together do not expire together. From 0, the default, to 1; what is outside is taken for the nearer one.
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.calls.jitter = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        self
    }

    /// How long memory may answer if the server cannot be asked, counted from when its value was last known to
    /// be current. Beyond its own time to live, no value is returned. Default: 0, so that reads fail.
    ///
    /// This is apart from `max_stale`: a value that is returned in place of an error may be older.
    pub fn stale_if_error(mut self, time: Duration) -> Self {
        self.stale_if_error = time;
        self
    }

    /// How long a call waits for the server, and an attempt to connect; after so long without an answer to a
    /// `PING` the connection is given up. Default: 1 second.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.calls.call_timeout = timeout;
        self
    }

    /// How long a call waits for the loader of another call, before it loads on its own. Default: 10 seconds.
    pub fn load_patience(mut self, patience: Duration) -> Self {
        self.calls.load_patience = patience;
        self
    }

    /// How many calls may be under way at the server; others wait. Default: 1024.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// How many keys a [`get_many`](NearCache::get_many) asks for at once. Default: 256.
    pub fn keys_per_call(mut self, keys: usize) -> Self {
        self.calls.keys_per_call = keys;
        self
    }

    /// Another client than the crate `redis`; the address is then not used.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Box::new(transport));
        self
    }

    /// Builds the cache and opens its first connection.
    ///
    /// # Errors
    /// If a setting is wrong, if no tokio runtime is running here, or if the server cannot be reached.
    pub async fn connect(self) -> Result<NearCache<K, V>, NearBuildError> {
        let near = self.connect_lazily()?;
        near.shared.link.first_connection().await.map_err(NearBuildError::Connect)?;
        Ok(near)
    }

    /// Builds the cache; its first connection is opened in the background, so a server that is away keeps no
    /// program from starting.
    ///
    /// # Errors
    /// If a setting is wrong, or if no tokio runtime is running here.
    pub fn connect_lazily(self) -> Result<NearCache<K, V>, NearBuildError> {
        let runtime = Handle::try_current().map_err(|_| NearBuildError::NoRuntime)?;
        let near = self.build()?;
        runtime.spawn(Arc::clone(&near.shared.link).run());
        Ok(near)
    }

    /// The cache, with a link that is not run yet.
    pub(crate) fn build(self) -> Result<NearCache<K, V>, NearBuildError> {
        for (setting, is_zero) in [
            ("call_timeout", self.calls.call_timeout.is_zero()),
            ("max_in_flight", self.max_in_flight == 0),
            ("keys_per_call", self.calls.keys_per_call == 0),
        ] {
            if is_zero {
                return Err(NearBuildError::Zero { setting });
            }
        }
        let transport = match self.transport {
            Some(transport) => transport,
            None => Box::new(
                RedisTransport::new(&self.address, &self.prefix)
                    .map_err(NearBuildError::Address)?,
            ),
        };
        let envelopes = Envelopes::new(&self.serializer, self.serializers)
            .map_err(NearBuildError::Serializer)?;
        let cache = self.memory.build().map_err(NearBuildError::Memory)?;
        let max_stale_ns = nanoseconds(self.calls.max_stale);
        let stale_ns = nanoseconds(self.stale_if_error);
        let memory = Arc::new(Memory::new(cache, self.prefix, max_stale_ns, stale_ns));
        let hands: Arc<dyn Holder> = Arc::new(Hands(Arc::clone(&memory)));
        let settings = LinkSettings {
            tracking: self.tracking,
            max_stale: self.calls.max_stale,
            call_timeout: self.calls.call_timeout,
            max_in_flight: self.max_in_flight,
        };
        let link = Link::new(transport, settings, hands);
        let shared = Shared { memory, link, envelopes, settings: self.calls };
        Ok(NearCache { shared: Arc::new(shared) })
    }
}
