//! A warm start.
//!
//! With the feature `snapshot`, a cache can be saved to a file and loaded after a restart; `bincode`,
//! `json` and `postcard` bring serializers, and keys and values implement serde's traits.
//!
#![cfg_attr(feature = "json", doc = "```")]
#![cfg_attr(not(feature = "json"), doc = "```ignore")]
//! use larder::Cache;
//! use larder::snapshot::{LoadOptions, SaveOptions, Serializers};
//!
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("pages.snapshot");
//!
//! // Before the program ends, or every few minutes: other threads go on using the cache.
//! let cache: Cache<String, u64> = Cache::new(1_000);
//! cache.insert("a".to_owned(), 1);
//! let json = SaveOptions::new(Serializers::standard().get("json")?);
//! cache.save_to_path(&file, &json)?;
//!
//! // After it has started anew.
//! let warm: Cache<String, u64> = Cache::new(1_000);
//! let loaded = warm.load_from_path(&file, &LoadOptions::new())?;
//! assert_eq!((loaded.entries, warm.get("a")), (1, Some(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - The file appears whole or not at all: it is written under another name and renamed.
//! - Loading checks everything before it changes the cache. A damaged file is an error, and the cache
//!   stays as it was; `LoadOptions::salvage` takes what is left.
//! - The rest of each entry's life, its tags and, under the same policy, its place in the order come
//!   back. Time goes on while the file lies there: what has expired since is left out. What saving and
//!   loading return counts what was left out, by reason.
//! - If the new cache is smaller, the hottest entries stay.
//! - `postcard` is small and fast, `json` can be read and carries values that say what they are;
//!   `bincode` is version 1.3 of that crate, which is no longer maintained. Values that a serializer
//!   cannot carry exactly are refused with an error when they are saved.
//! - A change that comes after an entry was written does not reach the file. Invalidate again after
//!   loading what must not come back.
//! - With the feature `async` the same calls exist as futures, under any runtime; `zstd` packs.
//!
//! The program `larder` shows what a snapshot holds (`inspect`, `dump`), checks it (`verify`) and
//! changes its serializer (`convert`).
