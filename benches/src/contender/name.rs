//! The contenders by name, and the hashers that they get.

use std::fmt;

use clap::ValueEnum;

/// The hasher of all contenders under `Hashing::Same`.
pub type SameHasher = ahash::RandomState;

/// Which hasher the contenders get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// Each contender has its own default.
    Own,
    /// All contenders that take a hasher get `ahash::RandomState`.
    Same,
}

/// What a contender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This library.
    Larder,
    /// Another cache.
    Peer,
    /// A bare map: it has no bound, so it takes part only in workloads without eviction.
    Map,
}

/// The contenders by name. Most of the others need the feature `peers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// larder as `Cache::builder().capacity(n)` builds it.
    Larder,
    /// larder with the policy S3-FIFO.
    #[value(name = "larder-s3fifo")]
    LarderS3Fifo,
    /// larder with the policy SIEVE.
    LarderSieve,
    /// larder with the policy LRU.
    LarderLru,
    /// larder with the policy LFU.
    LarderLfu,
    /// larder with the policy FIFO, which records no access.
    LarderFifo,
    /// larder without a maintenance thread.
    LarderInline,
    /// larder with the policy FIFO, counting its hits and misses.
    LarderFifoCounted,
    /// moka 0.12, `sync::Cache`.
    #[cfg(feature = "peers")]
    Moka,
    /// quick_cache 0.7, `sync::Cache`.
    QuickCache,
    /// foyer 0.22, in memory only.
    #[cfg(feature = "peers")]
    Foyer,
    /// TinyUFO 0.9.
    #[cfg(feature = "peers")]
    Tinyufo,
    /// mini-moka 0.10, `sync::Cache`.
    #[cfg(feature = "peers")]
    MiniMoka,
    /// stretto 0.9, `Cache`.
    #[cfg(feature = "peers")]
    Stretto,
    /// fibre_cache 0.4, `Cache`.
    #[cfg(feature = "peers")]
    Fibre,
    /// sieve-cache 1.2, `ShardedSieveCache` with 64 shards.
    #[cfg(feature = "peers")]
    SieveCache,
    /// lru 0.19 in a `std::sync::Mutex`.
    LruMutex,
    /// lru 0.19 in 64 shards, each in a `std::sync::Mutex`.
    LruSharded,
    /// cached 4.1, `ShardedLruCache`.
    #[cfg(feature = "peers")]
    Cached,
    /// scc 3.8, `HashCache`.
    #[cfg(feature = "peers")]
    Scc,
    /// papaya 0.2, a map.
    Papaya,
    /// dashmap 6, a map.
    #[cfg(feature = "peers")]
    Dashmap,
}

impl Name {
    /// The contenders that take part by default.
    pub const DEFAULT: &[Self] = &[
        Self::Larder,
        Self::LarderS3Fifo,
        Self::LarderSieve,
        Self::LarderLru,
        #[cfg(feature = "peers")]
        Self::Moka,
        Self::QuickCache,
        #[cfg(feature = "peers")]
        Self::Foyer,
        #[cfg(feature = "peers")]
        Self::Tinyufo,
        #[cfg(feature = "peers")]
        Self::MiniMoka,
        #[cfg(feature = "peers")]
        Self::Stretto,
        #[cfg(feature = "peers")]
        Self::Fibre,
        #[cfg(feature = "peers")]
        Self::SieveCache,
        Self::LruMutex,
        Self::LruSharded,
        #[cfg(feature = "peers")]
        Self::Cached,
        #[cfg(feature = "peers")]
        Self::Scc,
        Self::Papaya,
        #[cfg(feature = "peers")]
        Self::Dashmap,
    ];

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Larder
            | Self::LarderS3Fifo
            | Self::LarderSieve
            | Self::LarderLru
            | Self::LarderLfu
            | Self::LarderFifo
            | Self::LarderInline
            | Self::LarderFifoCounted => Kind::Larder,
            Self::QuickCache | Self::LruMutex | Self::LruSharded => Kind::Peer,
            #[cfg(feature = "peers")]
            Self::Moka
            | Self::Foyer
            | Self::Tinyufo
            | Self::MiniMoka
            | Self::Stretto
            | Self::Fibre
            | Self::SieveCache
            | Self::Cached
            | Self::Scc => Kind::Peer,
            Self::Papaya => Kind::Map,
            #[cfg(feature = "peers")]
            Self::Dashmap => Kind::Map,
        }
    }

    /// The hasher that it uses.
    #[must_use]
    pub fn hasher(self, hashing: Hashing) -> &'static str {
        match (self, hashing) {
            #[cfg(feature = "peers")]
            (Self::Tinyufo, _) => "ahash (fixed)",
            #[cfg(feature = "peers")]
            (Self::Stretto, _) => "SeaHash and xxHash (fixed)",
            (_, Hashing::Same) => "ahash",
            (Self::Papaya, Hashing::Own) => "SipHash-1-3 (std)",
            #[cfg(feature = "peers")]
            (
                Self::Moka | Self::MiniMoka | Self::SieveCache | Self::Scc | Self::Dashmap,
                Hashing::Own,
            ) => "SipHash-1-3 (std)",
            (Self::QuickCache | Self::LruMutex | Self::LruSharded, Hashing::Own) => "foldhash",
            #[cfg(feature = "peers")]
            (Self::Fibre | Self::Cached, Hashing::Own) => "ahash",
            #[cfg(feature = "peers")]
            (Self::Foyer, Hashing::Own) => "xxHash64, unseeded",
            (_, Hashing::Own) => "larder's default",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no variant is skipped");
        f.pad(value.get_name())
    }
}
