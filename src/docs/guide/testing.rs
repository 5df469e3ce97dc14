//! Tests that do not sleep and give the same result every time.
//!
//! Two settings take time and threads out of a test:
//!
//! - [`FakeClock`](crate::test::FakeClock) stands still until the test advances it, even by an hour.
//! - [`Maintenance::Inline`](crate::Maintenance::Inline) starts no thread. Each call does its own work,
//!   so evictions, expirations and notifications have happened when the call returns.
//!
//! ```
//! use std::time::Duration;
//! use larder::{Cache, Maintenance, test::FakeClock};
//!
//! struct Sessions {
//!     users: Cache<u64, String>,
//! }
//!
//! impl Sessions {
//!     // The code under test takes a builder, so that a test can add to it.
//!     fn new(builder: larder::Builder<u64, String>) -> Result<Self, larder::BuildError> {
//!         let lifetime = Duration::from_secs(3600);
//!         Ok(Self { users: builder.capacity(2).time_to_idle(lifetime).build()? })
//!     }
//! }
//!
//! let clock = FakeClock::new();
//! let test = Cache::builder().clock(clock.clone()).maintenance(Maintenance::Inline);
//! let sessions = Sessions::new(test)?;
//! sessions.users.insert(1, "ada".to_owned());
//!
//! clock.advance(Duration::from_secs(3600));
//! assert!(sessions.users.contains_key(&1)); // the last moment
//! clock.advance(Duration::from_nanos(1));
//! assert!(!sessions.users.contains_key(&1));
//!
//! clock.advance(Duration::from_secs(1));
//! sessions.users.run_pending(); // now it is removed
//! assert_eq!(sessions.users.len(), 0);
//! assert_eq!(sessions.users.stats().expirations, 1);
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! No call returns an entry after its deadline. Timers, which free its memory, count it in the statistics
//! and notify listeners, are only as exact as the [tick](crate::Builder::timer_tick). If a test checks
//! those, advance the clock by one more tick, which is 17 milliseconds by default.
//!
//! # Exact evictions
//! Inline caches have one partition unless the builder says otherwise, and one partition keeps one exact
//! order. To test *which* entry is evicted, choose a policy with a simple rule:
//!
//! ```
//! use larder::{Cache, Maintenance, Policy};
//!
//! let cache = Cache::builder()
//!     .capacity(2)
//!     .policy(Policy::lru())
//!     .maintenance(Maintenance::Inline)
//!     .build()?;
//! cache.insert("a", 1);
//! cache.insert("b", 2);
//! cache.get("a");
//! cache.insert("c", 3);
//! assert!(!cache.contains_key("b"));
//! # Ok::<(), larder::BuildError>(())
//! ```
//!
//! The decisions of the default policy and of `s3_fifo` also depend on the keys' hashes, and every cache
//! seeds its hasher at random. To make a run with them repeatable, set a hasher without a seed:
//! `BuildHasherDefault<DefaultHasher>`.
//!
//! # In background mode
//! A test may also keep the default. [`run_pending`](crate::Cache::run_pending) does the maintenance that
//! earlier calls have left, after which the bounds hold and `len` is exact.
//! [`flush`](crate::Cache::flush) returns when everything that was removed before has been delivered to
//! listeners, dropped and freed. A `FakeClock` wakes the maintenance thread when it is advanced. So no
//! test has to sleep.
