//! How to use the cache, one task a page.
//!
//! | page | for |
//! |---|---|
//! | [read_through] | filling the cache from a database without keeping values that are out of date |
//! | [expiry] | entries that live for a limited time |
//! | [tags] | making all entries of a kind invalid at once |
//! | [weights] | bounding bytes instead of entries |
//! | [listeners] | being notified of what leaves |
//! | [statistics] | counters, gauges, and questions about single keys |
//! | [tuning] | finding the right size and policy while the cache runs |
//! | [configuration] | settings from a file |
//! | [snapshots] | a warm start |
//! | [testing] | tests that wait for nothing and give the same result every time |
//! | [coming_from] | moka, quick_cache, Caffeine, lru or cached, translated |
//!
//! # The first five minutes
//! A [`Cache`](crate::Cache) is a handle. Clone it, or share a reference, and every thread uses the
//! same cache.
//!
//! ```
//! use larder::Cache;
//!
//! let cache = Cache::new(10_000);
//! cache.insert("greeting".to_owned(), "hello".to_owned());
//!
//! let shared = cache.clone();
//! let reader = std::thread::spawn(move || shared.get("greeting"));
//! assert_eq!(reader.join().unwrap().as_deref(), Some("hello"));
//! ```
//!
//! - A value must be `Clone` for [`get`](crate::Cache::get), which returns a copy. Put large values
//!   into an `Arc`, or look at them in place with [`read`](crate::Cache::read).
//! - The result of [`insert`](crate::Cache::insert) may be ignored. It says whether the value was
//!   added, replaced another, or was rejected, and why.
//! - The cache has to have a bound, on [entries](crate::Builder::capacity), on
//!   [weight](crate::Builder::max_weight), or on both. A bound of 0 switches it off: it stores nothing.
//! - One maintenance thread serves all caches of the process. It sleeps while there is nothing to do.
//!   [`Maintenance::Inline`](crate::Maintenance::Inline) does without it: then every call does its
//!   own work, and the bounds hold whenever a call returns.
//! - Calls do no I/O of their own, wait for other threads only for the length of a short piece of work,
//!   and may be made from async code. What your listeners do is up to you: give slow ones an
//!   [executor](crate::Listener::executor).

pub mod read_through;
pub mod expiry;
pub mod tags;
pub mod weights;
pub mod listeners;
pub mod statistics;
pub mod tuning;
pub mod configuration;
pub mod snapshots;
pub mod testing;
pub mod coming_from;
