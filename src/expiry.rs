//! Time: clocks, deadlines, and the timers that remove what is due.
//!
//! An entry is valid while the cache's time is not above its deadline. Whoever finds an entry judges
//! that: no lookup and no iteration returns one whose deadline has passed, an insertion over it adds
//! a new entry and replaces none, and an entry that was once found expired stays so, whatever
//! becomes of the clock. Its partition's timers remove it soon after, without anybody looking.
//!
//! # Which lifetime counts
//! An entry has up to three deadlines, and the earliest counts, whatever sets or moves the others:
//!
//! | deadline | is set by | counts from | is set anew by |
//! |---|---|---|---|
//! | fixed | [`time_to_live`](crate::Builder::time_to_live), or in its place the lifetime given with the insertion ([`insert_with_ttl`](crate::Cache::insert_with_ttl) and its like) | the insertion or replacement | [`expire_after`](crate::Cache::expire_after), from the call, for longer too: `None` for ever |
//! | computed | [`Expiry::after_create`] and [`Expiry::after_update`], which are not asked about an entry with a lifetime of its own; [`Expiry::after_read`], which is asked about all | each answer | the next answer, except an answer of `after_read` that equals the `remaining` that it was given; `expire_after` takes it away |
//! | idle | [`time_to_idle`](crate::Builder::time_to_idle) | the insertion or replacement | every use, and `expire_after` |
//!
//! So an `Expiry` can shorten what the others allow and never prolong it, and a lifetime given by
//! name (with an insertion or by `expire_after`) may be longer than the cache's `time_to_live` but is
//! cut short by disuse. [Jitter](crate::Builder::jitter) changes lifetimes that count from an
//! insertion or replacement, and no others.
//!
//! # Cost
//! Reading a clock is what makes expiry dear. So an entry without a deadline asks none, and one
//! whose deadline is far away asks a cheap one ([`Clock::around_ns`]).
#![forbid(unsafe_code)]

mod timing;
mod timers;
mod timer_wheel;
mod cache_time;
#[cfg_attr(larder_loom, path = "expiry/ticking_loom_stub.rs")]
pub(crate) mod ticking;
pub(crate) mod clock;

pub(crate) use cache_time::ClockKind;
pub use clock::{Clock, CoarseClock, MonotonicClock};
pub use ticking::TickingClock;
pub(crate) use timers::Timers;
pub use timing::Expiry;
pub(crate) use timing::{EntryTtl, ExpiryConfig, Moved, Timing};
