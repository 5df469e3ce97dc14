//! Snapshots: a cache's entries as bytes, and back.
//!
//! A snapshot keeps of each entry its key, its value, how long it may yet live, its tags, its weight,
//! its counter of accesses, and where its policy has it, so that a cache that is restored goes on where
//! the one that was saved stopped. It is made while the cache serves: the entries are walked a few
//! hundred at a time, so that saving takes little memory and stops nobody. It is read with distrust:
//! every byte is covered by a checksum, lengths are believed only as far as there are bytes, and
//! nothing of a cache is changed before the whole snapshot was found good.
//!
//! ```text
//!   Cache ──walk, serialize──▶ records ──frame, checksums──▶ bytes ──packed if wanted──▶ any `Write`
//!   Cache ◀──coldest first── entries, all good ◀── records ◀── bytes ◀── any `Read`
//! ```
//!
//! Payloads are made by a [`Serializer`], which is chosen by name and may be the user's; the frame
//! around them is always the same (`snapshot/frame.rs` draws it), so what a file is, and whether it is
//! whole, can be told without knowing any types: [`Info::read`].
//!
//! # Time and tags
//! A snapshot notes when each entry expires and the time of day at which it was begun. Time goes on
//! while it lies there: what would have expired until it is loaded is left out. Should the time of
//! day have been set back since, no time has passed.
//!
//! An entry whose [tag](crate::Cache::insert_with_tags) was invalidated before it was written is left
//! out; the others have their tags again once they are loaded, so that
//! [`invalidate_tag`](crate::Cache::invalidate_tag) reaches them. An invalidation that comes after an
//! entry was written does not reach the file, as no other change does: what must not come back after a
//! restart has to be invalidated again after loading.
//!
//! # What a serializer cannot carry
//! A save fails rather than write what nobody can read, or what comes back as something else: see
//! [`SnapshotError::Unreadable`] and [`SnapshotError::Inexact`]. Of what is saved a few records are read
//! back for that, the first one and whichever has something in a place where none before it had.
//!
//! | | `bincode`, `postcard` | `json` |
//! |---|---|---|
//! | numbers that are infinite or not a number | exact | refused |
//! | `Some(None)`, `Some(())` | exact | refused |
//! | maps with keys that are no strings, numbers or plain variants | exact | refused |
//! | values that say what they are: `serde_json::Value`, untagged enums | refused | exact |
//! | flattened structures, fields with `skip_serializing_if` | refused | exact |
//! | values more than 126 deep | refused | refused |
//!
//! # Features
//! `snapshot` brings this module; `bincode`, `json` and `postcard` bring the serializers of these
//! names, `zstd` brings packing, `async` brings saving and loading as futures.
//!
//! # Examples
#![cfg_attr(feature = "json", doc = "```")]
#![cfg_attr(not(feature = "json"), doc = "```ignore")]
//! use larder::Cache;
//! use larder::snapshot::{LoadOptions, SaveOptions, Serializers};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("pages.json");
//! let cache: Cache<String, u64> = Cache::new(100);
//! cache.insert("a".to_owned(), 1);
//! let serializer = Serializers::standard().get("json")?;
//! cache.save_to_path(&path, &SaveOptions::new(serializer))?;
//!
//! let restored: Cache<String, u64> = Cache::new(100);
//! let loaded = restored.load_from_path(&path, &LoadOptions::new())?;
//! assert_eq!((loaded.entries, restored.get("a")), (1, Some(1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

use std::any::type_name;
use std::cell::RefCell;
use std::hash::{BuildHasher, Hash};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::{Cache, LeftOut, SavedMeta, Saving};
use crate::tags::TagSet;

mod info;
mod records;
#[cfg(feature = "async")]
pub(crate) mod future;
pub(crate) mod file;
mod writer;
pub(crate) mod contents;
#[cfg(feature = "zstd")]
mod packing;
mod codec;
mod limits;
mod frame;
mod report;
pub(crate) mod error;
mod watch;
pub(crate) mod serializer;

pub use error::{Part, SnapshotError};
pub use info::{Info, convert, convert_path};
pub use records::{Record, Records};
pub use report::{Loaded, Saved};
#[cfg(feature = "bincode")]
pub use serializer::Bincode;
#[cfg(feature = "json")]
pub use serializer::Json;
#[cfg(feature = "postcard")]
pub use serializer::Postcard;
pub use serializer::{RegistryError, Serializer, SerializerError, Serializers, erased_serde};
pub use watch::Loss;

use codec::Codec;
use frame::{Form, FrameHeader, MAX_PAYLOAD, Meta};
use writer::{ReadBack, Writer};

/// How large a record may be unless options say otherwise, on both sides.
const MAX_RECORD_BYTES: u64 = 1 << 30;
/// To how many times its size a packed snapshot may unpack unless options say otherwise. Writers keep
/// to it, whatever they are given to pack.
const MAX_EXPANSION: u32 = 256;

/// How a snapshot is to be written.
#[derive(Clone)]
pub struct SaveOptions {
    codec: Codec,
    zstd_level: Option<i32>,
    max_record_bytes: u64,
    is_checked: bool,
    at: Option<SystemTime>,
}

impl SaveOptions {
    /// By `serializer`, not packed.
    #[must_use]
    pub fn new(serializer: Arc<dyn Serializer>) -> Self {
        let max_record_bytes = MAX_RECORD_BYTES;
        let codec = Codec::new(serializer);
        Self { codec, zstd_level: None, max_record_bytes, is_checked: true, at: None }
    }

    /// Refuses entries that take more bytes, which would not be [loaded](LoadOptions::max_record_bytes)
    /// either unless the same is said there. Default: 1 GiB.
    #[must_use]
    pub fn max_record_bytes(mut self, bytes: u64) -> Self {
        self.max_record_bytes = bytes.min(MAX_PAYLOAD);
        self
    }

    /// Reads nothing back while it is written. For serializers that can only write; default: what is
    /// written is [known to be readable](crate::snapshot#what-a-serializer-cannot-carry).
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.is_checked = false;
        self
    }

    /// Packs the records with Zstandard, at a level from 1 (fast) to 19 (small). Default: they are
    /// not packed.
    ///
    /// Where they pack very well, letters that mean nothing are put between them, so that the snapshot
    /// is at least a 128th of what it unpacks to: readers believe [no
    /// more](LoadOptions::max_expansion) of one that they do not trust.
    #[cfg(feature = "zstd")]
    #[must_use]
    pub fn zstd(mut self, level: i32) -> Self {
        self.zstd_level = Some(level.clamp(1, 19));
        self
    }

    /// Takes `time` for the time of day. Default: the system's.
    #[must_use]
    pub fn at(mut self, time: SystemTime) -> Self {
        self.at = Some(time);
        self
    }
}

impl std::fmt::Debug for SaveOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaveOptions")
            .field("serializer", &self.codec.name())
            .field("zstd_level", &self.zstd_level)
            .finish_non_exhaustive()
    }
}

/// How a snapshot is to be read.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    serializers: Serializers,
    max_record_bytes: u64,
    max_expansion: u32,
    is_salvage: bool,
    at: Option<SystemTime>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl LoadOptions {
    /// By the standard serializers, all or nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            serializers: Serializers::standard(),
            max_record_bytes: MAX_RECORD_BYTES,
            max_expansion: MAX_EXPANSION,
            is_salvage: false,
            at: None,
        }
    }

    /// The serializers to look the snapshot's own up in. Default: [`Serializers::standard`].
    #[must_use]
    pub fn serializers(mut self, serializers: Serializers) -> Self {
        self.serializers = serializers;
        self
    }

    /// Refuses records whose key, value and tags take more bytes. Default: 1 GiB. Memory grows only
    /// with the bytes that are really there.
    #[must_use]
    pub fn max_record_bytes(mut self, bytes: u64) -> Self {
        self.max_record_bytes = bytes.min(MAX_PAYLOAD);
        self
    }

    /// Refuses packed snapshots of more than a MiB that unpack to more than so many times their
    /// size. Default: 256, below which [saving](SaveOptions) keeps them, except for snapshots that
    /// earlier builds packed: raise it for those.
    #[must_use]
    pub fn max_expansion(mut self, times: u32) -> Self {
        self.max_expansion = times;
        self
    }

    /// Takes what is left of a damaged snapshot. Default: a snapshot with any damage is refused.
    ///
    /// Records that are damaged, or no entries of the types asked for, are passed over; where the
    /// frame itself is broken, the rest is given up. [`Loaded`] says what was lost. A header must be
    /// undamaged all the same.
    #[must_use]
    pub fn salvage(mut self) -> Self {
        self.is_salvage = true;
        self
    }

    /// Takes `time` for the time of day. Default: the system's.
    #[must_use]
    pub fn at(mut self, time: SystemTime) -> Self {
        self.at = Some(time);
        self
    }
}

fn nanoseconds_since_1970(time: Option<SystemTime>) -> u64 {
    let time = time.unwrap_or_else(SystemTime::now);
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl<K, V, S> Cache<K, V, S>
where
    K: Serialize,
    V: Serialize,
{
    /// Writes all entries to `writer`.
    ///
    /// Other threads may use the cache meanwhile. An entry that is there all the time is saved
    /// exactly once; one that comes, goes or is replaced meanwhile is saved as it is at some moment,
    /// or not, and never twice. None is written that has expired, or of which a tag was invalidated,
    /// before its batch is. Entries are serialized a few hundred at a time, for which the
    /// calling thread is [pinned](Self::pin); it writes while it is not. Each partition's policy is
    /// asked once for its order, during which writers of that partition may wait for it.
    ///
    /// [`Saved`] counts what was left out, by reason.
    ///
    /// # Errors
    /// If `writer` fails, or a key or value cannot be serialized, or not such that it [can be
    /// read](crate::snapshot#what-a-serializer-cannot-carry) and is the same then. Something may have
    /// been written.
    ///
    /// # Panics
    /// If a key's or value's `Serialize` or `Deserialize` does.
    ///
    /// # Complexity
    /// O(n), and 8 bytes for each entry besides what a few hundred serialized ones take.
    pub fn save_to(&self, writer: impl Write, options: &SaveOptions) -> Result<Saved, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        self.save_to_as::<K, V>(writer, options)
    }

    /// As [`save_to`](Self::save_to), for a cache whose keys or values are not what they will be read
    /// as: `K2` and `V2`, such as `String` for `&str`.
    ///
    /// # Errors
    /// As `save_to`.
    ///
    /// # Examples
    #[cfg_attr(feature = "bincode", doc = "```")]
    #[cfg_attr(not(feature = "bincode"), doc = "```ignore")]
    /// use larder::Cache;
    /// use larder::snapshot::{LoadOptions, SaveOptions, Serializers};
    ///
    /// let names: Cache<&str, u64> = Cache::new(100);
    /// names.insert("a", 1);
    /// let mut file = Vec::new();
    /// let bincode = SaveOptions::new(Serializers::standard().get("bincode")?);
    /// names.save_to_as::<String, u64>(&mut file, &bincode)?;
    /// let loaded: Cache<String, u64> = Cache::new(100);
    /// loaded.load_from(&*file, &LoadOptions::new())?;
    /// assert_eq!(loaded.get("a"), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save_to_as<K2, V2>(
        &self,
        mut writer: impl Write,
        options: &SaveOptions,
    ) -> Result<Saved, SnapshotError>
    where
        K2: DeserializeOwned,
        V2: DeserializeOwned,
    {
        self.save(&mut writer, options, (type_name::<K2>(), type_name::<V2>()), read_back::<K2, V2>)
    }

    fn save(
        &self,
        writer: &mut dyn Write,
        options: &SaveOptions,
        (key, value): (&str, &str),
        read_back: ReadBack,
    ) -> Result<Saved, SnapshotError> {
        let header = FrameHeader {
            // Form, flags and serializer are the writer's.
            form: Form::Bytes,
            flags: 0,
            serializer: String::new(),
            policy: self.policy_name().to_owned(),
            types: format!("{key}, {value}"),
            saved_at_ns: nanoseconds_since_1970(options.at),
            expected: self.len() as u64,
        };
        let mut saving = Saving::new(self);
        let writer = RefCell::new(Writer::begin(writer, header, options, read_back)?);
        let failure = RefCell::new(None);
        // Of the present batch, whether each is tagged and unevictable.
        let batch = RefCell::new(Vec::new());
        let mut saved = Saved::default();
        let mut show = |key: &K, value: &V, seen: SavedMeta<'_>| {
            if failure.borrow().is_some() {
                return;
            }
            let meta = Meta {
                expires_in_ns: seen.expires_in.map(crate::expiry::clock::nanoseconds),
                weight: seen.weight,
                frequency: seen.frequency,
                warmth: seen.warmth,
                word: seen.word,
            };
            let mut tags = Vec::new();
            let mut names = seen.tags.into_iter().flat_map(TagSet::names);
            let put = names.try_for_each(|name| frame::put_tag(name, &mut tags));
            let is_tagged = !tags.is_empty();
            let serialized =
                put.and_then(|()| writer.borrow_mut().serialize(key, value, meta, tags));
            batch.borrow_mut().push(Some((is_tagged, seen.is_unevictable)));
            *failure.borrow_mut() = serialized.err();
        };
        let withdraw = |number: usize| {
            writer.borrow_mut().leave_out(number);
            if let Some(shown) = batch.borrow_mut().get_mut(number) {
                *shown = None;
            }
        };
        while saving.step(&mut show, withdraw) {
            if let Some(failure) = failure.take() {
                return Err(failure);
            }
            writer.borrow_mut().write_pending()?;
            for (is_tagged, is_unevictable) in batch.borrow_mut().drain(..).flatten() {
                saved.tagged += u64::from(is_tagged);
                saved.unevictable += u64::from(is_unevictable);
            }
        }
        let (entries, bytes) = writer.into_inner().finish()?;
        let LeftOut { expired, invalidated } = saving.left_out;
        Ok(Saved { entries, bytes, expired, invalidated, ..saved })
    }

    /// Saves all entries to the file `path`, which appears whole or not at all.
    ///
    /// The snapshot is written beside `path` under another name, flushed to the disk and then
    /// renamed: whatever happens, there is the old file or the new one. The new one has the
    /// permissions of the old one, or is its owner's alone. Where `path` is a symbolic link, what it
    /// names is replaced or made, and the link stays. After a crash, a file whose name begins
    /// with `.larder-` may be left. Otherwise as [`save_to`](Self::save_to).
    ///
    /// # Errors
    /// As `save_to`; [`NotAFile`](SnapshotError::NotAFile) where `path` is a FIFO, a socket or a device;
    /// and whatever the file system says. What was there is then as before.
    pub fn save_to_path(
        &self,
        path: impl AsRef<Path>,
        options: &SaveOptions,
    ) -> Result<Saved, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        self.save_to_path_as::<K, V>(path, options)
    }

    /// As [`save_to_path`](Self::save_to_path), for a cache whose keys or values are not what they will
    /// be read as; see [`save_to_as`](Self::save_to_as).
    ///
    /// # Errors
    /// As `save_to_path`.
    pub fn save_to_path_as<K2, V2>(
        &self,
        path: impl AsRef<Path>,
        options: &SaveOptions,
    ) -> Result<Saved, SnapshotError>
    where
        K2: DeserializeOwned,
        V2: DeserializeOwned,
    {
        let path = path.as_ref();
        file::write_atomically(path, file::Existing::Replace, |writer| {
            self.save_to_as::<K2, V2>(writer, options)
        })
        .map_err(|error| error.at(path))
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + DeserializeOwned,
    V: DeserializeOwned,
    S: BuildHasher,
{
    /// Puts the entries of a snapshot into the cache, once all of it was read and found good.
    ///
    /// Entries of the snapshot replace those of the same keys; others stay, as far as there is room.
    /// They are inserted the coldest first, so that the hottest remain if they are too many, and if
    /// the cache has the policy that the saved one had, its order and counts are restored as well.
    /// An entry without a deadline gets what the cache gives to new ones. Entries have the tags again
    /// that they had.
    ///
    /// Other threads may use the cache meanwhile; they see entries come one by one.
    ///
    /// # Errors
    /// If anything is wrong with the snapshot. The cache is then as before. [`Loaded`] counts what was
    /// left out otherwise, by reason.
    ///
    /// # Panics
    /// If `Deserialize`, `Hash`, `Eq` or the weigher does; only the last three can leave the cache
    /// with a part of the entries.
    ///
    /// # Complexity
    /// O(n log n). Holds the entries in memory before they are inserted, though no more than about
    /// twice as many, or twice as heavy ones, as the cache can hold; and one record's bytes.
    pub fn load_from(
        &self,
        reader: impl Read,
        options: &LoadOptions,
    ) -> Result<Loaded, SnapshotError> {
        Ok(contents::Contents::read(self, reader, options)?.put_in())
    }

    /// As [`load_from`](Self::load_from), from the file `path`.
    ///
    /// # Errors
    /// As `load_from`; [`NotAFile`](SnapshotError::NotAFile) where `path` is a FIFO, a socket or a device,
    /// none of which is waited for; and whatever the file system says.
    pub fn load_from_path(
        &self,
        path: impl AsRef<Path>,
        options: &LoadOptions,
    ) -> Result<Loaded, SnapshotError> {
        let path = path.as_ref();
        let load = || self.load_from(file::open(path)?, options);
        load().map_err(|error| error.at(path))
    }
}

/// Whether a payload is an entry of keys `K` and values `V`.
fn read_back<K: DeserializeOwned, V: DeserializeOwned>(
    codec: &Codec,
    payload: &mut Vec<u8>,
) -> Result<(), SerializerError> {
    codec.deserialize::<(K, V)>(payload).map(drop)
}

fn duration(nanoseconds: u64) -> Duration {
    Duration::from_nanos(nanoseconds)
}
