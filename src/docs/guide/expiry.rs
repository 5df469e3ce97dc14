//! Entries that live for a limited time.
//!
//! | you want | use |
//! |---|---|
//! | one lifetime for all, from the insertion | [`Builder::time_to_live`](crate::Builder::time_to_live) |
//! | to remove entries that are not used | [`Builder::time_to_idle`](crate::Builder::time_to_idle) |
//! | a lifetime for one entry | [`insert_with_ttl`](crate::Cache::insert_with_ttl), [`InsertOptions::ttl`](crate::InsertOptions::ttl) |
//! | a lifetime computed from key and value | [`Builder::expiry`](crate::Builder::expiry) |
//! | to change the lifetime of an entry in the cache | [`expire_after`](crate::Cache::expire_after) |
//! | to tell an expired key from a missing one | [`Builder::expire_lazily`](crate::Builder::expire_lazily), [`remove_if_expired`](crate::Cache::remove_if_expired) |
//! | entries that do not all expire at once | [`Builder::jitter`](crate::Builder::jitter) |
//!
//! # Which deadline counts
//! An entry has up to three deadlines, and the earliest one counts.
//!
//! | deadline | set by | starts anew with |
//! |---|---|---|
//! | fixed | `time_to_live`; a lifetime given with the insertion takes its place | an insertion or replacement, `expire_after` |
//! | computed | the answers of an [`Expiry`](crate::Expiry), which is not asked at an insertion that gives a lifetime | every answer; `expire_after` removes it |
//! | idle | `time_to_idle` | an insertion or replacement, every use, `expire_after` |
//!
//! So an `Expiry` can shorten what the others allow, and cannot prolong it. A lifetime that is given
//! with an insertion may be longer than the cache's `time_to_live`.
//! [`crate::expiry`] has the rule in full.
//!
//! ```
//! use std::time::Duration;
//! use larder::{Cache, Maintenance, test::FakeClock};
//!
//! let clock = FakeClock::new();
//! let cache = Cache::builder()
//!     .capacity(1_000)
//!     .time_to_live(Duration::from_secs(60))
//!     .time_to_idle(Duration::from_secs(20))
//!     .clock(clock.clone())
//!     .maintenance(Maintenance::Inline)
//!     .build()?;
//! cache.insert("page", 1);
//! cache.insert_with_ttl("banner", 2, Duration::from_secs(5));
//!
//! clock.advance(Duration::from_secs(6));
//! assert_eq!(cache.get("banner"), None); // its own five seconds have passed
//! assert_eq!(cache.get("page"), Some(1)); // a use, so it may be idle for another 20 seconds
//!
//! clock.advance(Duration::from_secs(21));
//! assert_eq!(cache.get("page"), None); // idle for too long, though its 60 seconds have not passed
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! # When an expired entry is removed
//! No lookup and no iteration returns an entry after its deadline, to the nanosecond of the cache's
//! clock. Its memory is freed soon after, within about a [tick](crate::Builder::timer_tick) of
//! 17 milliseconds, even if nobody uses the cache. Until then [`len`](crate::Cache::len) includes it, and
//! [`census`](crate::Cache::census) counts it separately. With inline maintenance it is freed by the next
//! call that writes, or by [`run_pending`](crate::Cache::run_pending).
//!
//! With [`expire_lazily`](crate::Builder::expire_lazily) timers remove nothing. An expired entry stays,
//! invisible to lookups, until [`remove_if_expired`](crate::Cache::remove_if_expired) or another removal of
//! its key finds it, a new value takes its place, it is evicted, or
//! [`remove_expired`](crate::Cache::remove_expired) removes all that have expired. Use it to tell a caller
//! that its key has expired rather than that it is missing, or to choose the thread that drops expired values.
//!
//! With [`stale_while_revalidate`](crate::Builder::stale_while_revalidate) or
//! [`stale_if_error`](crate::Builder::stale_if_error), an expired entry stays for the longer of these times,
//! so that the calls that load can return its value. All other calls treat it as expired.
//!
//! # What it costs
//! An entry without a deadline pays nothing. One with a deadline takes 24 bytes more, and a hit on it
//! may have to read a clock. Where most hits are on such entries, [`TickingClock`] is the cheapest
//! one: a thread advances it every millisecond, and reading it is a load.
//!
//! [`TickingClock`]: crate::expiry::TickingClock
