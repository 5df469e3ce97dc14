//! A concurrent cache: many threads share it, a hit takes no lock.
//!
//! ```text
//!            get(key)                                   insert(key, value)
//!               │                                            │
//!             hash ───────────────┐              ┌───────── hash, weight
//!               │ pin (reclaim)   ▼              ▼           │
//!               │            ┌───────── table ─────────┐     │
//!               └──────────▶ │ one lock-free list in   │ ◀───┘  one CAS: visible before
//!                            │ split order, bucket     │        insert returns
//!                            │ heads inline            │
//!                            └───────────┬─────────────┘
//!                              entry { hash, frequency, stamp, weight, key, value }
//!               ┌────────────────────────┴──────────────────────────┐
//!     hit: frequency +1 until saturated,                    write event (never lost)
//!     or, for policies that need order,                             │
//!     a node id in a striped lossy read buffer                      │
//!               └───────────────┬───────────────────────────────────┘
//!                               ▼
//!                    maintenance of one partition (a caller or the maintenance thread)
//!                               │  applies events to the policy, asks it for victims
//!                               ▼
//!                  policy: safe single-threaded code over dense node ids
//!                               │ victim
//!                               ▼
//!                 unlink from the table → retire (reclaim) → freed once no reader is left
//! ```
//!
//! Modules use what stands below them in this drawing and never look back up; the list of modules
//! in the source follows it.
//!
//! # Example
//! ```
//! use larder::{Cache, Policy};
//!
//! let cache: Cache<u64, String> =
//!     Cache::builder().capacity(10_000).policy(Policy::lru()).build()?;
//! cache.insert(1, "one".to_owned());
//! assert_eq!(cache.get(&1).as_deref(), Some("one"));
//! assert_eq!(cache.read(&1, |text| text.len()), Some(3));
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # Features
//! None is on by default, and without them the library has three dependencies.
//!
//! | feature | brings | costs |
//! |---|---|---|
//! | `serde` | `Serialize` for statistics, reports of shadows and explanations | serde |
//! | `snapshot` | `snapshot`: saving caches and loading them, by serializers of one's own | `serde`, erased-serde, crc32fast, tempfile |
//! | `bincode` | the serializer of that name, binary | `snapshot`, bincode 1.3 |
//! | `json` | the serializer of that name, readable | `snapshot`, serde_json |
//! | `postcard` | the serializer of that name, binary and small | `snapshot`, postcard |
//! | `zstd` | packed snapshots | `snapshot`, a C compiler |
//! | `async` | saving and loading as futures, under any runtime | `snapshot`, futures-channel |
//! | `memory_pressure` | `pressure`: a bound that follows how much memory there is | procfs, on Linux |
//! | `quick` | `quick::QuickCache`: configuration, times to live in seconds, metrics, files | `bincode`, `json`, chrono |

// Models under loom use the parts that they are about, so others idle.
#![cfg_attr(larder_loom, allow(dead_code))]

mod sync;
mod contain;

mod error;
mod config;
mod cache;
mod hash;
mod table;
mod tags;
mod entry;
mod system_time;
pub mod expiry;
mod listener;
mod reclaim;
mod read_buffer;
mod write_buffer;
mod maintenance;
mod maintainer;
#[cfg(all(unix, not(larder_loom)))]
mod fork;
pub mod policy;
mod evict;
mod shadow;
mod recent;
mod stats;

#[cfg(any(feature = "memory_pressure", feature = "quick"))]
mod periodic;
#[cfg(feature = "memory_pressure")]
pub mod pressure;
#[cfg(feature = "snapshot")]
pub mod snapshot;
#[cfg(feature = "quick")]
pub mod quick;

pub mod docs;

#[cfg(larder_loom)]
#[doc(hidden)]
pub mod model;

/// The README's code runs with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use crate::cache::{
    Cache, Census, Entries, EntryInfo, EntryView, Explanation, Iter, Keys, Pinned, Presence, Values,
};
pub use crate::config::Builder;
pub use crate::error::{BuildError, FlushError, Inserted, RegisterError, Rejection, ResizeError};
pub use crate::expiry::{Clock, Expiry};
pub use crate::listener::RemovalCause;
pub use crate::listener::{Listener, Overflow, Removal};
pub use crate::maintenance::Maintenance;
pub use crate::policy::{Policy, register_policy};
pub use crate::recent::Absence;
pub use crate::shadow::{ShadowConfig, ShadowPoint, ShadowReport};
pub use crate::stats::Stats;

/// Help for tests of what uses a cache.
pub mod test {
    pub use crate::expiry::clock::FakeClock;
}

/// The default hasher of keys: ahash with a seed of its own for each cache.
pub type RandomState = ahash::RandomState;
