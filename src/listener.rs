//! Listeners, which are notified of removals.
//!
//! Owns what listeners are given and how they are set up, and the queue between maintenance and a
//! listener (`channel`). `engine::delivery` decides which thread calls the listener.
//!
//! # The order of removals
//! A partition's maintenance learns of writers' removals from the write buffer: those of one key in the
//! order in which they happened in the table (`write_buffer`, "Positions as a clock"). When maintenance
//! takes out an entry itself, it stamps the notification with the position up to which slots were
//! claimed at that moment, and defers it until the buffer is popped up to that position. Let maintenance
//! take out `b`, and let `a` and `c` be entries of the same key that writers take out before and after.
//!
//! - The listener is notified of `a` first: `a`'s slot was claimed before `a` left the table, hence
//!   before `b` entered it, hence before the position was read, because `b` was found linked by then.
//! - `c`'s removal is notified after: `c` was found in the table after `b` had left it, so its slot
//!   was claimed after the position was read, which was done before `b` was taken out.
//! - Two entries that maintenance takes out leave one after the other, under the partition's lock.
//!
//! So notifications enter the partition's queue in the order of the removals, and each enters once,
//! because an entry leaves the table by one compare-exchange. One thread at a time takes notifications
//! out at the front.
//!
//! # Life of a notification
//! A notification refers to the entry that has left, and to the one that took its place, if any. It
//! keeps both from being retired ([`KeepAlive`](crate::reclaim::KeepAlive)) until maintenance takes it
//! back after delivery. So nothing is cloned, and readers may read a value while the listener does.
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
