//! Filling the cache from a database, a file or a service.
//!
//! # The short form
//! If the source never changes, a lookup, a load and an insertion are enough:
//!
//! ```
//! use larder::Cache;
//!
//! fn load(id: u64) -> String {
//!     format!("row {id}")
//! }
//!
//! let cache = Cache::new(1_000);
//! let row = |id: u64| {
//!     cache.get(&id).unwrap_or_else(|| {
//!         let row = load(id);
//!         cache.insert(id, row.clone());
//!         row
//!     })
//! };
//! assert_eq!(row(7), "row 7");
//! assert_eq!(cache.get(&7).as_deref(), Some("row 7"));
//! ```
//!
//! Several threads that miss the same key at the same time all load it: the cache does not make one
//! thread wait for another.
//!
//! # If the source changes
//! The short form can store a value that is already stale, and keep it until it expires:
//!
//! | time | a reader | a writer |
//! |---|---|---|
//! | 1 | misses | |
//! | 2 | reads the old row | |
//! | 3 | | updates the row |
//! | 4 | | removes the key from the cache, which does not have it yet |
//! | 5 | inserts the old row | |
//!
//! A *fill* closes this gap. The reader begins it before it reads the source, and the cache refuses
//! the value if the key was stored, removed or invalidated in the meantime. The writer changes the
//! source first and the cache afterwards.
//!
//! ```
//! use larder::{Cache, Inserted, Rejection};
//! use std::sync::Mutex;
//!
//! let cache = Cache::new(1_000);
//! let source = Mutex::new("old");
//!
//! // The reader.
//! let fill = cache.begin_fill(&7);
//! let row = *source.lock().unwrap();
//!
//! // The writer, in the meantime.
//! *source.lock().unwrap() = "new";
//! cache.remove(&7);
//!
//! // The reader goes on. It may use the row, but the cache does not store it.
//! let stored = cache.complete_fill(fill, row);
//! assert_eq!(stored, Inserted::Rejected(Rejection::Stale));
//! assert_eq!(cache.get(&7), None);
//! ```
//!
//! - A fill may be completed by another thread and may be held across an `await`. Dropping it abandons
//!   it, so a load that fails needs no cleanup.
//! - Fills of one key do not exclude each other. The first stores its value; the others are rejected
//!   as [`Present`](crate::Rejection::Present).
//! - An [invalidated tag](crate::Cache::invalidate_tag) makes every open fill stale, because the cache
//!   cannot know which tags the value will carry. [`clear`](crate::Cache::clear) and
//!   [`retain`](crate::Cache::retain) do so as well. Eviction and expiry do not, because they say
//!   nothing about the source.
//! - [`complete_fill_replacing`](crate::Cache::complete_fill_replacing) also replaces a value that is
//!   there, for a refresh; of several fills of one key that were begun at once, it stores only one.
//! - [`complete_fill_with`](crate::Cache::complete_fill_with) takes a lifetime and tags.
//!
//! # Missing rows
//! Let the value be an `Option`, so that the answer "there is no such row" is cached too, and give it a
//! short lifetime:
//!
//! ```
//! use std::time::Duration;
//! use larder::{Cache, InsertOptions};
//!
//! let cache: Cache<u64, Option<String>> = Cache::new(1_000);
//! let fill = cache.begin_fill(&404);
//! let short = InsertOptions::new().ttl(Duration::from_secs(5));
//! cache.complete_fill_with(fill, None, short);
//! assert_eq!(cache.get(&404), Some(None));
//! ```
