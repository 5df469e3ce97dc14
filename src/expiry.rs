//! Time: clocks, deadlines, and the timers that remove what is due.
//!
//! An entry is valid while the cache's time is not above its deadline. Whoever finds an entry judges
//! that: no lookup and no iteration returns one whose deadline has passed, an insertion over it adds
//! a new entry and replaces none, and an entry that was once found expired stays so, whatever
//! becomes of the clock. Its partition's timers remove it soon after, without anybody looking.
//!
//! Reading a clock is what makes expiry dear. So an entry without a deadline asks none, and one
//! whose deadline is far away asks a cheap one ([`Clock::around_ns`]).
#![forbid(unsafe_code)]

pub(crate) mod clock;
mod deadline;
mod terms;
#[cfg_attr(larder_loom, path = "expiry/ticking_stand_in.rs")]
pub(crate) mod ticking;
mod timer_wheel;
mod timers;

pub(crate) use clock::Source;
pub use clock::{Clock, CoarseClock, MonotonicClock};
pub(crate) use deadline::Deadline;
pub use terms::Expiry;
pub(crate) use terms::{Lifetime, Moved, Setting, Timing};
pub use ticking::TickingClock;
pub(crate) use timers::Timers;
