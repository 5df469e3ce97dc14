//! Time: clocks, deadlines, and the timers that remove expired entries.
//!
//! An entry is valid until the cache's time is above its deadline. The operation that finds an entry checks
//! this: no lookup and no iteration returns an entry whose deadline has passed, an insertion over it adds
//! a new entry and does not count as a replacement, and an entry that was once found expired stays expired,
//! whatever the clock does. The partition's timers remove it soon after its deadline, even if no operation
//! finds it. In a cache with [`stale_while_revalidate`](crate::Builder::stale_while_revalidate) or
//! [`stale_if_error`](crate::Builder::stale_if_error) it stays for that time, for loads alone, and a load that
//! finds its value current makes it valid again.
//!
//! # Which lifetime counts
//! An entry has up to three deadlines, and the earliest counts, whatever sets or moves the others:
//!
//! | deadline | is set by | counts from | is set anew by |
//! |---|---|---|---|
//! | fixed | [`time_to_live`](crate::Builder::time_to_live), or in its place the lifetime given with the insertion ([`insert_with_ttl`](crate::Cache::insert_with_ttl) and similar methods) | the insertion or replacement | [`expire_after`](crate::Cache::expire_after), which counts from the call and may prolong it; `None` removes it |
//! | computed | [`Expiry::after_create`] and [`Expiry::after_update`], which are not called for an entry with a lifetime of its own; [`Expiry::after_read`], which is called for all | each answer | the next answer; `expire_after` removes it |
//! | idle | [`time_to_idle`](crate::Builder::time_to_idle) | the insertion or replacement | every use, and `expire_after` |
//!
//! An answer of `after_read` that equals the `remaining` that it was given changes nothing.
//!
//! So an `Expiry` can shorten the other lifetimes and never prolong them. A lifetime given explicitly, with
//! an insertion or by `expire_after`, may be longer than the cache's `time_to_live`, but the time to idle
//! still ends it. [Jitter](crate::Builder::jitter) changes only lifetimes that count from an insertion or
//! replacement.
//!
//! # Cost
//! Expiry costs a hit one reading of a clock: none if the entry has no deadline, and a cheap one
//! ([`Clock::around_ns`]) if the deadline is far away.
#![forbid(unsafe_code)]

mod throttle;
mod freshness;
mod timing;
mod loading;
mod timers;
mod timer_wheel;
mod cache_time;
#[cfg_attr(larder_loom, path = "expiry/ticking_loom_stub.rs")]
pub(crate) mod ticking;
pub(crate) mod clock;

pub(crate) use cache_time::{CacheTime, ClockKind};
#[cfg(not(larder_loom))]
pub(crate) use cache_time::{ClockReading, SLICE};
pub use clock::{Clock, CoarseClock, MonotonicClock};
pub(crate) use freshness::{Freshness, RefreshRule};
pub(crate) use loading::LoadingConfig;
pub(crate) use throttle::Throttle;
pub use ticking::TickingClock;
pub(crate) use timers::Timers;
pub use timing::Expiry;
pub(crate) use timing::{EntryTtl, ExpiryConfig, Moved, Timing};
