//! How a near cache is built.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use larder::snapshot::Serializers;
use larder::{Builder, Cache, Policy};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::envelope::{Envelopes, Packing};
use crate::error::NearBuildError;
use crate::key::NearKey;
use crate::lease::nanoseconds;
use crate::link::{Holder, LinkSettings};
use crate::memory::{Hands, Held, Memory, Slot};
use crate::near_cache::{
    Behind, CallSettings, Comparing, NearCache, OnLostWrite, Shared, WriteMode,
};
use crate::pending::Pending;
use crate::topology::{Seed, Servers, Topology};
use crate::transport::redis_crate::RedisTransport;
use crate::transport::{Tracking, Transport};

/// How many tags have their stamps in memory. A value whose tag was evicted is fetched again.
const MAX_TAGS_HELD: usize = 100_000;

/// The settings of a near cache, from [`NearCache::builder`].
#[must_use = "a builder does nothing until it connects"]
pub struct NearBuilder<K, V> {
    servers: ServerNames,
    transport: Option<Box<dyn Transport>>,
    prefix: Vec<u8>,
    memory: Builder<K, Slot<V>>,
    serializer: String,
    serializers: Serializers,
    packing: Packing,
    tracking: Tracking,
    max_in_flight: usize,
    stale_if_error: Duration,
    max_pending_writes: usize,
    on_lost_write: Option<OnLostWrite<K>>,
    calls: CallSettings,
}

impl<K, V> NearCache<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    /// A near cache, whose servers are named by one of [`server`](NearBuilder::server),
    /// [`cluster`](NearBuilder::cluster) and [`sentinel`](NearBuilder::sentinel).
    pub fn builder() -> NearBuilder<K, V> {
        NearBuilder::new()
    }
}

/// What the user says of the servers.
enum ServerNames {
    None,
    Server(String),
    Cluster(Vec<String>),
    Sentinel { name: String, sentinels: Vec<String> },
}

impl<K, V> NearBuilder<K, V>
where
    K: NearKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    fn new() -> Self {
        Self {
            servers: ServerNames::None,
            transport: None,
            prefix: Vec::new(),
            memory: Cache::builder().capacity(10_000),
            serializer: "postcard".to_owned(),
            serializers: Serializers::standard(),
            packing: Packing::default(),
            tracking: Tracking::Default,
            max_in_flight: 1024,
            stale_if_error: Duration::ZERO,
            max_pending_writes: 10_000,
            on_lost_write: None,
            calls: CallSettings {
                max_stale: Duration::from_secs(5),
                call_timeout: Duration::from_secs(1),
                soft_timeout: None,
                load_patience: Duration::from_secs(10),
                fleet_turn: None,
                time_to_live: None,
                missing_time_to_live: None,
                jitter: 0.0,
                write_mode: WriteMode::Through,
                keys_per_call: 256,
                is_counting_hits: false,
            },
        }
    }

    /// One server: `redis://[user:password@]host[:port][/database]`, or `unix://path`.
    ///
    /// Of this, `cluster` and `sentinel`, the one that was called last counts.
    pub fn server(mut self, address: impl Into<String>) -> Self {
        self.servers = ServerNames::Server(address.into());
        self
    }

    /// A cluster, by the addresses of some of its servers, which name all others. One that answers is enough.
    ///
    /// All servers are opened with the user and the password of the first address.
    pub fn cluster<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.servers = ServerNames::Cluster(addresses.into_iter().map(Into::into).collect());
        self
    }

    /// The master called `name`, which is the one that most of the sentinels at these addresses name.
    ///
    /// If the master wants a user, a password or a database, `name` is `redis://user:password@name/database`.
    pub fn sentinel<A: Into<String>>(
        mut self,
        name: impl Into<String>,
        addresses: impl IntoIterator<Item = A>,
    ) -> Self {
        let sentinels = addresses.into_iter().map(Into::into).collect();
        self.servers = ServerNames::Sentinel { name: name.into(), sentinels };
        self
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

    /// Compresses values of more than this many bytes, by zstd. Default: none.
    ///
    /// Processes that are built without the feature `zstd` take such values for absent, so all of a fleet should have
    /// it before one compresses.
    #[cfg(feature = "zstd")]
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.packing = Packing { above: Some(bytes) };
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

    /// How long a read waits for the server before a value of memory is returned that
    /// [`stale_if_error`](Self::stale_if_error) allows; the request goes on in the background. Default: as long as
    /// `call_timeout`.
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.calls.soft_timeout = Some(timeout);
        self
    }

    /// How many keys may have writes that wait to be sent, with [`WriteMode::Behind`]. A write that finds no room
    /// waits for it, at most for `call_timeout`, and then fails with
    /// [`NearError::TooManyPending`](crate::NearError::TooManyPending). Default: 10,000.
    pub fn max_pending_writes(mut self, keys: usize) -> Self {
        self.max_pending_writes = keys;
        self
    }

    /// What is called for each write that [`WriteMode::Behind`] has accepted and that is lost: the server has refused
    /// it, or there was no time left after the last handle was dropped, or the runtime has ended
    /// ([`NearError::Closed`](crate::NearError::Closed)). It runs on the task that sends, or where that is
    /// dropped, so it should not wait.
    /// Default: such writes are only counted.
    pub fn on_lost_write(
        mut self,
        call: impl Fn(&K, &crate::NearError) + Send + Sync + 'static,
    ) -> Self {
        self.on_lost_write = Some(Arc::new(call));
        self
    }

    /// How long a call waits for the loader of another call, before it loads on its own. Default: 10 seconds.
    pub fn load_patience(mut self, patience: Duration) -> Self {
        self.calls.load_patience = patience;
        self
    }

    /// Lets one process of the whole fleet run the loader of a key at a time, and the others wait for its value, for
    /// [`load_patience`](Self::load_patience) at most. Default: each process loads on its own.
    ///
    /// `longest_load` is how long a loader may take: when that is over, another process may load. It may do so at once
    /// when a loader has failed or panicked, or its future was dropped; that a process has died is not noticed before.
    /// What a late loader has found is stored only if no other has begun since, and no write or removal of a
    /// cache with this setting has changed the key: each lease has a generation, a number that rises, which the server
    /// compares as it stores. For each key that is being loaded the server holds another one, whose name ends with
    /// `:larder-turn`. A write or a removal costs one command more, which ends the turn of its key.
    pub fn one_load_in_fleet(mut self, longest_load: Duration) -> Self {
        self.calls.fleet_turn = Some(longest_load);
        self
    }

    /// How many calls may be under way at all servers together; others wait, at most for
    /// [`call_timeout`](Self::call_timeout). Default: 1024.
    ///
    /// A pipeline counts as one call: a [`get_many`](NearCache::get_many) may need a few for each server. What the
    /// cache asks on its own, whether a server is alive and who has the keys, is not counted.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// How many keys a [`get_many`](NearCache::get_many) asks for at once. Default: 256.
    pub fn keys_per_call(mut self, keys: usize) -> Self {
        self.calls.keys_per_call = keys;
        self
    }

    /// Another client than the crate `redis`. It opens the connections over which keys are read and written, and
    /// knows a single server, or the first one of a cluster, by itself.
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
        let on_lost = self.on_lost_write.clone();
        let near = self.build()?;
        runtime.spawn(Arc::clone(&near.shared.link).run());
        if let Some(pending) = &near.shared.pending {
            let behind = Behind {
                pending: Arc::clone(pending),
                link: Arc::clone(&near.shared.link),
                on_lost,
                has_turns: near.shared.settings.fleet_turn.is_some(),
                patience: near.shared.settings.call_timeout,
            };
            runtime.spawn(behind.run());
        }
        runtime.spawn(Memory::tidy(Arc::downgrade(&near.shared.memory)));
        Ok(near)
    }

    /// The cache, with a link that is not run yet.
    pub(crate) fn build(self) -> Result<NearCache<K, V>, NearBuildError> {
        for (setting, is_zero) in [
            ("call_timeout", self.calls.call_timeout.is_zero()),
            ("max_in_flight", self.max_in_flight == 0),
            ("keys_per_call", self.calls.keys_per_call == 0),
            ("max_pending_writes", self.max_pending_writes == 0),
        ] {
            if is_zero {
                return Err(NearBuildError::Zero { setting });
            }
        }
        let topology = self.servers.topology(self.transport, &self.prefix)?;
        let envelopes = Envelopes::new(&self.serializer, self.serializers)
            .map_err(NearBuildError::Serializer)?
            .with_packing(self.packing);
        let cache = self.memory.build().map_err(NearBuildError::Memory)?;
        let max_stale_ns = nanoseconds(self.calls.max_stale);
        let stale_ns = nanoseconds(self.stale_if_error);
        let tags = Cache::builder().capacity(MAX_TAGS_HELD).build();
        let tags = tags.map_err(NearBuildError::Memory)?;
        let tags = Memory::of_tags(tags, &self.prefix, max_stale_ns, stale_ns);
        let memory = Arc::new(Memory::new(cache, self.prefix, Some(tags), max_stale_ns, stale_ns));
        let hands: Arc<dyn Holder> = Arc::new(Hands(Arc::clone(&memory)));
        let settings = LinkSettings {
            tracking: self.tracking,
            max_stale: self.calls.max_stale,
            call_timeout: self.calls.call_timeout,
            max_in_flight: self.max_in_flight,
            keys_per_call: self.calls.keys_per_call,
        };
        let link = Servers::new(topology, settings, hands);
        let comparing = Comparing::default();
        let is_behind = self.calls.write_mode == WriteMode::Behind;
        let pending = is_behind.then(|| Arc::new(Pending::new(self.max_pending_writes)));
        let settings = self.calls;
        let lease = Arc::clone(&link.lease);
        let shared = Shared { memory, link, lease, envelopes, comparing, pending, settings };
        Ok(NearCache { shared: Arc::new(shared) })
    }
}

impl ServerNames {
    fn topology(
        self,
        own: Option<Box<dyn Transport>>,
        prefix: &[u8],
    ) -> Result<Topology, NearBuildError> {
        let known =
            |address: &str| RedisTransport::new(address, prefix).map_err(NearBuildError::Address);
        let boxed = |address: &String| Ok(Box::new(known(address)?) as Box<dyn Transport>);
        match (self, own) {
            (Self::Sentinel { sentinels, .. }, _) if sentinels.is_empty() => {
                Err(NearBuildError::NoServer)
            }
            (Self::Sentinel { name, sentinels }, own) => {
                let sentinels = sentinels.iter().map(boxed).collect::<Result<_, _>>()?;
                let is_address = name.contains("://");
                let master = known(if is_address { &name } else { "redis://localhost" })?;
                let host = master.host().filter(|_| is_address).map(str::to_owned);
                let masters = own.unwrap_or_else(|| Box::new(master));
                Ok(Topology::Sentinel { name: host.unwrap_or(name), sentinels, masters })
            }
            (Self::Cluster(_), Some(own)) => {
                Ok(Topology::Cluster(vec![Seed { transport: own, host: String::new() }]))
            }
            (Self::Cluster(addresses), None) => {
                let seed = |address: &String| {
                    let transport = known(address)?;
                    let host = transport.host().unwrap_or_default().to_owned();
                    Ok(Seed { transport: Box::new(transport), host })
                };
                let seeds = addresses.iter().map(seed).collect::<Result<Vec<_>, _>>()?;
                if seeds.is_empty() {
                    return Err(NearBuildError::NoServer);
                }
                Ok(Topology::Cluster(seeds))
            }
            (Self::None | Self::Server(_), Some(own)) => Ok(Topology::Single(own)),
            (Self::Server(address), None) => Ok(Topology::Single(boxed(&address)?)),
            (Self::None, None) => Err(NearBuildError::NoServer),
        }
    }
}
