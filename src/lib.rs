//! A concurrent cache: many threads share it, and a hit takes no lock.
//!
//! Keys and values stay in memory up to a bound, by number or by weight; a policy chooses which
//! entries are evicted. A missing value is loaded once, however many threads and futures ask for it, and may be
//! refreshed before it expires or used after. Entries may expire, carry tags by which all of a kind are invalidated at
//! once, and be saved to a file and loaded after a restart. Evictions, expirations and rejections are
//! counted and, on request, explained key by key.
//!
//! # Example
//! ```
//! use std::time::Duration;
//! use larder::Cache;
//!
//! let cache: Cache<u64, String> = Cache::builder()
//!     .capacity(10_000)
//!     .time_to_live(Duration::from_secs(600))
//!     .build()?;
//!
//! // A handle: its clones are the same cache.
//! let shared = cache.clone();
//! std::thread::spawn(move || shared.insert(1, "one".to_owned())).join().unwrap();
//!
//! assert_eq!(cache.get(&1).as_deref(), Some("one"));
//! assert_eq!(cache.get_or_insert_with(&2, || "two".to_owned()), "two");
//! assert_eq!(cache.read(&1, |text| text.len()), Some(3));
//! assert_eq!(cache.remove(&1).as_deref(), Some("one"));
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # How to choose
//! | you want | use |
//! |---|---|
//! | at most so many entries | [`Cache::new`], [`Builder::capacity`] |
//! | at most so many bytes, or another unit | [`Builder::max_weight`] with a [`weigher`](Builder::weigher) |
//! | a value without cloning it | [`Cache::read`]; for several lookups [`Cache::pin`]; else keep `Arc`s as values |
//! | many keys in one call | [`Cache::get_many`], [`Cache::read_many`], [`Cache::insert_many`], [`Cache::remove_many`]: in a large cache several times as fast as a loop |
//! | a missing value loaded, once for all who ask | [`Cache::get_or_insert_with`], [`Cache::try_get_or_insert_with`]; with lifetime and tags from the source [`Cache::get_or_load`]; many keys by one query [`Cache::get_many_or_load`] |
//! | the same from async code | the same methods with `_async`, under any runtime |
//! | one loader for all calls, refreshed in the background | [`Builder::build_with_loader`], [`Builder::build_with_async_loader`] |
//! | old values while a new one is loaded, or if the source fails | [`Builder::refresh_after_write`], [`Builder::stale_while_revalidate`], [`Builder::stale_if_error`] |
//! | to remember that there is no value | [`Builder::negative_time_to_live`] |
//! | to store what was fetched by other means, unless the key was changed meanwhile | [`Cache::begin_fill`], [`Cache::complete_fill`] |
//! | entries that expire | [`Builder::time_to_live`], [`Builder::time_to_idle`], [`Cache::insert_with_ttl`], [`Expiry`] |
//! | to invalidate all entries of a kind at once | tags: [`Cache::insert_with_tags`], [`Cache::invalidate_tag`]; by a condition [`Cache::invalidate_if`] |
//! | to be notified of removals | [`Builder::listener`]; before they take effect [`Builder::atomic_listener`] |
//! | another policy | [`Builder::policy`]: the default suits most loads; [`Policy::lru`] where only recency counts, [`Policy::sieve`] for the cheapest insertions |
//! | to know what another size or policy would bring | [`Builder::shadow`], [`Cache::shadow_report`] |
//! | to know why a key is missing | [`Builder::explain_misses`], [`Cache::explain`] |
//! | no thread in the background, and runs that give the same results | [`Maintenance::Inline`], with a [`FakeClock`](test::FakeClock) in tests |
//! | to change a value, or to count, from many threads | [`Cache::update`], [`Cache::entry`], [`Cache::fetch_add`] |
//! | a database or a file behind the cache, with write-behind | the crate `larder-store` |
//! | the hot keys of a Redis or Valkey in each process, never older than promised | the crate `larder-near` |
//! | functions that remember their results | `#[cached]`, with the feature `macros` |
//! | settings from a file | [`CacheConfig`] with the feature `serde` |
//! | a warm start | `snapshot`, with the feature of that name |
//! | metrics for Prometheus | `metrics`, with the feature of that name |
//!
//! All calls are on [`Cache`], all settings on [`Builder`]. [`docs::guide`] has a page for each task,
//! and tables for those who [come from](docs::guide::coming_from) moka, quick_cache, Caffeine, FusionCache,
//! cached, lru or a `HashMap`. [`docs::limitations`] says what the cache does not do, and [`docs::design`] how it
//! works inside.
//!
//! # Features
//! None is on by default, and without them the library has three dependencies.
//!
//! | feature | adds | needs |
//! |---|---|---|
//! | `serde` | reading and writing a `CacheConfig` and a `Policy` by name; writing statistics, reports and explanations | serde |
//! | `snapshot` | `snapshot`: saving caches and loading them, with your own serializers | `serde`, erased-serde, crc32fast, tempfile |
//! | `bincode` | the serializer of that name, binary | `snapshot`, bincode 1.3 |
//! | `json` | the serializer of that name, readable | `snapshot`, serde_json |
//! | `postcard` | the serializer of that name, binary and small | `snapshot`, postcard |
//! | `zstd` | compressed snapshots | `snapshot`, a C compiler |
//! | `async` | saving and loading as futures, under any runtime | `snapshot`, futures-channel |
//! | `tokio` | a `LoadExecutor` that runs background loads on a tokio runtime | tokio |
//! | `memory_pressure` | `pressure`: a bound that follows how much memory is in use | procfs, on Linux |
//! | `macros` | `cached`: functions that remember their results | larder-macros, and with it syn and quote |
//! | `metrics` | `metrics`: Prometheus and OpenMetrics text for any number of caches and your own metrics | |
//! | `metrics_prometheus_client` | the same metrics in a registry of prometheus-client, read at each scrape | `metrics`, prometheus-client |
//! | `metrics_facade` | the same metrics in the recorder of the crate `metrics`, whenever you publish them | `metrics`, the crate `metrics` |
//! | `metrics_opentelemetry` | the same metrics as observable instruments of OpenTelemetry | `metrics`, opentelemetry |
//! | `quick` | `quick::QuickCache`: configuration, times to live in seconds, metrics, files | `postcard`, `json`, chrono |

#![cfg_attr(docsrs, feature(doc_cfg))]
// Models under loom use the parts that they are about, so others idle.
#![cfg_attr(larder_loom, allow(dead_code))]

// The modules from the top to the ground. Each uses those below it and none above, which CI checks
// (`.ci/rules/imports.py`). A key's way goes through `cache`, to the `table` by its hash, into a `buffer`,
// and by the `engine` to the `policy`.

pub mod docs;
#[cfg(larder_loom)]
#[doc(hidden)]
pub mod model;

// What is built on the cache.
#[cfg(feature = "quick")]
pub mod quick;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "snapshot")]
pub mod snapshot;
#[cfg(feature = "memory_pressure")]
pub mod pressure;
#[cfg(any(feature = "memory_pressure", feature = "quick"))]
mod periodic;
mod loading;

// The cache: what a caller calls.
mod config;
mod cache;

// Maintenance: who applies what callers did, evicts and frees.
mod engine;
#[cfg(all(unix, not(larder_loom)))]
mod fork;
mod shadow;
mod listener;
pub mod test;
mod maintainer;
#[allow(dead_code, unused_imports, reason = "for the calls that load")]
mod task;
pub mod expiry;
pub mod policy;

// What callers and maintenance share: entries by key, and what happened to them.
mod table;
mod buffer;
mod reclaim;
mod entry;
mod namespaces;
mod tags;
mod memory;

// What all of them stand on.
mod base;

/// The README's code runs with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "macros")]
pub use larder_macros::cached;

pub use crate::base::cause::RemovalCause;
pub use crate::base::equivalent::{Equivalent, ToKey};
pub use crate::base::error::{
    BuildError, CounterError, FlushError, Inserted, NamespaceShadowError, NoDeadline,
    ParsePolicyError, RegisterError, Rejection, ResizeError,
};
pub use crate::base::hash::{KeyHasher, RandomState};
pub use crate::base::histogram::{TimeCounts, TimeHistogram};
pub use crate::base::load_error::LoadError;
pub use crate::base::mode::Maintenance;
pub use crate::base::stats::Stats;
pub use crate::cache::{
    Cache, CacheEntry, Census, Compute, Computed, CounterValue, Displaced, Entries, EntryInfo,
    EntryView, Explanation, Fill, InsertCounts, InsertOptions, Intent, Iter, KeyState, Keys, Load,
    LoadOptions, Loaded, ModifyEntry, OccupiedEntry, Pinned, Presence, Ranked, UpdateOptions,
    VacantEntry, Values,
};
pub use crate::config::{Builder, CacheConfig, Namespaces};
pub use crate::engine::history::Absence;
pub use crate::expiry::{Clock, Expiry};
pub use crate::listener::{Listener, Overflow, Removal};
pub use crate::loading::{AsyncLoadingCache, LoadingCache};
pub use crate::namespaces::NamespaceStats;
pub use crate::policy::{Policy, register_policy};
pub use crate::shadow::{ShadowConfig, ShadowPoint, ShadowReport};
pub use crate::task::{LoadExecutor, LoadTask, ThreadPerTask};
