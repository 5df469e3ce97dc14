//! A warm start.
//!
//! With the feature `snapshot`, a cache can be saved to a file and loaded after a restart; `bincode`,
//! `json` and `postcard` add serializers. Keys and values have to implement serde's traits.
//!
#![cfg_attr(feature = "json", doc = "```")]
#![cfg_attr(not(feature = "json"), doc = "```ignore")]
//! use larder::Cache;
//! use larder::snapshot::{RestoreOptions, SaveOptions, Serializers};
//!
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("pages.snapshot");
//!
//! // Before the program ends, or every few minutes. Other threads may go on using the cache.
//! let cache: Cache<String, u64> = Cache::new(1_000);
//! cache.insert("a".to_owned(), 1);
//! let json = SaveOptions::new(Serializers::standard().get("json")?);
//! cache.save_to_path(&file, &json)?;
//!
//! // After the restart.
//! let warm: Cache<String, u64> = Cache::new(1_000);
//! let loaded = warm.load_from_path(&file, &RestoreOptions::new())?;
//! assert_eq!((loaded.entries, warm.get("a")), (1, Some(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - The file appears whole or not at all: it is written under another name and renamed.
//! - Loading checks everything before it changes the cache. A damaged file is an error, and the cache
//!   stays as it was; with `RestoreOptions::salvage` it loads the undamaged entries.
//! - The rest of each entry's lifetime, its tags and, under the same policy, its place in the order of
//!   eviction are restored. Entries that have expired since the file was written are left out. The
//!   reports of saving and loading count what was left out, by reason.
//! - If the new cache is smaller, the hottest entries stay.
//! - `postcard` is small and fast. `json` can be read by people, and carries types that need a
//!   self-describing format. `bincode` is version 1.3 of that crate, which is no longer maintained.
//!   Saving refuses, with an error, a value that the serializer cannot carry exactly.
//! - A change that comes after an entry was written does not reach the file. Repeat invalidations after
//!   loading, if the entries must not come back.
//! - With the feature `async` the same calls exist as futures, under any runtime. With `zstd` snapshots
//!   can be compressed.
//!
//! The program `larder` shows what a snapshot holds (`inspect`, `dump`), verifies it (`verify`) and
//! converts it to another serializer (`convert`).
