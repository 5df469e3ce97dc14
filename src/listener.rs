//! Notifying the user of what has left the cache.
//!
//! Owns what listeners are given and how they are set up; the queue between maintenance and
//! listeners is in `channel`.
//!
//! # The order of removals
//! A partition's maintenance learns of removals from the write buffer, in the order in which the
//! table saw them as far as one key is concerned (`write_buffer`, "Positions as a clock"). What
//! maintenance takes out itself, it stamps with the position up to which slots were claimed at that
//! moment, and notifies once the buffer is popped up to there. Let maintenance take out `b`, and
//! let `a` and `c` be entries of the same key that writers take out before and after.
//!
//! - `a`'s removal is notified before: its slot was claimed before `a` left the table, so before
//!   `b` entered it, and so before the position was read, which was done after `b` was found
//!   linked.
//! - `c`'s removal is notified after: `c` was found in the table after `b` had left it, so its slot
//!   was claimed after the position was read, which was done before `b` was taken out.
//! - Between two entries that maintenance takes out, it does so one after the other, under its lock.
//!
//! So notifications enter the partition's queue in the order of the removals, each once, because an
//! entry leaves the table by one CAS. The queue is emptied from the front by one thread at a time.
//!
//! # Life of a notification
//! A notification refers to the entry that has left, and to the one that took its place. Both are
//! kept from being retired ([`KeepAlive`](crate::reclaim::KeepAlive)) until maintenance gets the
//! notification back, delivered. So nothing is cloned, and readers and listener may look at one
//! value at the same time.
#![forbid(unsafe_code)]

mod atomic;
mod channel;
mod gates;
mod setting;

pub(crate) use atomic::{AtomicListening, PendingRemoval};
pub(crate) use channel::{Channel, Notification};
#[cfg(larder_loom)]
pub(crate) use gates::Gates;
pub(crate) use gates::{Entered, MustNotWait};
pub(crate) use setting::{Listen, Listening};
pub use setting::{Listener, Overflow, Removal};
