//! Snapshots: a cache's entries as bytes, and back.
//!
//! A snapshot holds the key and value of each entry, its remaining lifetime, its tags, its weight, its counter
//! of accesses, and its standing in the policy, so that a restored cache continues where the saved one stopped.
//! It is written while the cache serves: the entries are visited a few hundred at a time, so that saving takes
//! little memory and does not stop other threads. It is read with distrust: a checksum covers every byte, memory
//! for a length is allocated only as its bytes arrive, and the cache is not changed until the whole snapshot has been
//! found good.
//!
//! ```text
//!   Cache ──walk, serialize──▶ records ──frame, checksums──▶ bytes ──packed if wanted──▶ any `Write`
//!   Cache ◀──coldest first── entries, all good ◀── records ◀── bytes ◀── any `Read`
//! ```
//!
//! A [`Serializer`] makes the payloads; it is chosen by name and may be the user's. The frame around them is
//! always the same (`snapshot/frame.rs` draws it), so [`Info::read`] describes a file, and checks whether it is
//! whole, without knowing any types.
//!
//! # Time and tags
//! A snapshot records when each entry expires, and the system time at which its saving began. The lifetimes go on
//! while it is stored: entries that have expired when it is loaded are left out. If the system's clock was set
//! back since, no time has passed.
//!
//! An entry with a [tag](crate::Cache::insert_with_tags) that was invalidated before the entry was written is left out.
//! The others keep their tags, so that after loading [`invalidate_tag`](crate::Cache::invalidate_tag) reaches them.
//! Like any other change, an invalidation after an entry was written does not reach the file: to keep such an entry out
//! after a restart, invalidate its tag again after loading.
//!
//! # What a serializer cannot carry
//! A save fails rather than write a value that cannot be read, or that would be read as another value: see
//! [`SnapshotError::Unreadable`] and [`SnapshotError::Inexact`]. To ensure that, it reads a few records back: the
//! first one, and each that has a kind of value in a place where no record before it had one.
//!
//! | | `bincode`, `postcard` | `json` |
//! |---|---|---|
//! | floating-point numbers that are infinite or NaN | exact | refused |
//! | `Some(None)`, `Some(())` | exact | refused |
//! | maps whose keys are other than strings, numbers and unit variants | exact | refused |
//! | values that need a self-describing format: `serde_json::Value`, untagged enums | refused | exact |
//! | flattened structures, fields with `skip_serializing_if` | refused | exact |
//! | values nested more than 126 deep | refused | refused |
//!
//! # Features
//! `snapshot` adds this module; `bincode`, `json` and `postcard` add the serializers of these names, `zstd` adds
//! packing, and `async` adds saving and loading as futures.
//!
//! # Examples
#![cfg_attr(feature = "json", doc = "```")]
#![cfg_attr(not(feature = "json"), doc = "```ignore")]
//! use larder::Cache;
//! use larder::snapshot::{RestoreOptions, SaveOptions, Serializers};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("pages.json");
//! let cache: Cache<String, u64> = Cache::new(100);
//! cache.insert("a".to_owned(), 1);
//! let serializer = Serializers::standard().get("json")?;
//! cache.save_to_path(&path, &SaveOptions::new(serializer))?;
//!
//! let restored: Cache<String, u64> = Cache::new(100);
//! let loaded = restored.load_from_path(&path, &RestoreOptions::new())?;
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
pub use report::{LoadSummary, Saved};
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

/// The default limit on the size of a record, for saving and loading.
const MAX_RECORD_BYTES: u64 = 1 << 30;
/// The default limit on how many times its size a packed snapshot unpacks to. Writers stay below it, whatever
/// they pack.
const MAX_EXPANSION: u32 = 256;

/// Options for writing a snapshot.
#[derive(Clone)]
pub struct SaveOptions {
    codec: Codec,
    zstd_level: Option<i32>,
    max_record_bytes: u64,
    is_checked: bool,
    at: Option<SystemTime>,
}

impl SaveOptions {
    /// Writes with `serializer`, not packed.
    #[must_use]
    pub fn new(serializer: Arc<dyn Serializer>) -> Self {
        let max_record_bytes = MAX_RECORD_BYTES;
        let codec = Codec::new(serializer);
        Self { codec, zstd_level: None, max_record_bytes, is_checked: true, at: None }
    }

    /// Limits the size of an entry in bytes; a larger one fails the save. Default: 1 GiB. To load larger entries,
    /// raise [the limit there](RestoreOptions::max_record_bytes), too.
    #[must_use]
    pub fn max_record_bytes(mut self, bytes: u64) -> Self {
        self.max_record_bytes = bytes.min(MAX_PAYLOAD);
        self
    }

    /// Does not read any record back, for serializers that can only write. Default: a few records are
    /// [read back](crate::snapshot#what-a-serializer-cannot-carry).
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.is_checked = false;
        self
    }

    /// Packs the records with Zstandard, at a level from 1 (fast) to 19 (small). Default: they are
    /// not packed.
    ///
    /// If the records pack very well, filler bytes are written between them, so that the snapshot has at
    /// least a 128th of its unpacked size: readers [refuse](RestoreOptions::max_expansion) a greater expansion.
    #[cfg(feature = "zstd")]
    #[must_use]
    pub fn zstd(mut self, level: i32) -> Self {
        self.zstd_level = Some(level.clamp(1, 19));
        self
    }

    /// Uses `time` as the current time. Default: the time of the system.
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

/// Options for reading a snapshot.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    serializers: Serializers,
    max_record_bytes: u64,
    max_expansion: u32,
    is_salvage: bool,
    at: Option<SystemTime>,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl RestoreOptions {
    /// Reads with the standard serializers, and refuses a damaged snapshot.
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

    /// Looks up the snapshot's serializer in `serializers`. Default: [`Serializers::standard`].
    #[must_use]
    pub fn serializers(mut self, serializers: Serializers) -> Self {
        self.serializers = serializers;
        self
    }

    /// Limits the size of a record: its key, value and tags, in bytes. Default: 1 GiB. Memory is allocated only as
    /// the bytes arrive.
    #[must_use]
    pub fn max_record_bytes(mut self, bytes: u64) -> Self {
        self.max_record_bytes = bytes.min(MAX_PAYLOAD);
        self
    }

    /// Refuses packed snapshots that unpack to more than a MiB and more than `times` their size. Default: 256.
    /// [Saving](SaveOptions) stays below that.
    #[must_use]
    pub fn max_expansion(mut self, times: u32) -> Self {
        self.max_expansion = times;
        self
    }

    /// Loads the undamaged part of a damaged snapshot. Default: a snapshot with any damage is refused.
    ///
    /// Records that are damaged, or are not entries of the requested types, are skipped. From a place on where the
    /// frame itself is broken, nothing is loaded. [`LoadSummary`] says what was lost. The header must be undamaged in
    /// any case. A snapshot that exceeds a limit is refused, because it may be undamaged, unless a record seems to be longer
    /// than 1 GiB.
    #[must_use]
    pub fn salvage(mut self) -> Self {
        self.is_salvage = true;
        self
    }

    /// Uses `time` as the current time. Default: the time of the system.
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
    /// Other threads may use the cache meanwhile. An entry that is in the cache during the whole call is saved
    /// exactly once. One that is inserted, removed or replaced meanwhile is saved in one of its states or not at
    /// all, and never twice. An entry that expired, or lost a tag to an invalidation, before its batch is written is
    /// left out. Entries are serialized a few hundred at a time, while the calling thread is [pinned](Self::pin); it is
    /// not pinned while it writes. Each partition's policy is asked once for its order; meanwhile writers of that
    /// partition may wait.
    ///
    /// [`Saved`] counts what was left out, by reason.
    ///
    /// # Errors
    /// If `writer` fails, or a key or value cannot be serialized, or [could not be read back as the same
    /// value](crate::snapshot#what-a-serializer-cannot-carry). A part may have been written.
    ///
    /// # Panics
    /// If the `Serialize` or `Deserialize` of a key or value panics.
    ///
    /// # Complexity
    /// O(n). Takes 8 bytes for each entry, and the memory of a few hundred serialized ones.
    pub fn save_to(&self, writer: impl Write, options: &SaveOptions) -> Result<Saved, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        self.save_to_as::<K, V>(writer, options)
    }

    /// As [`save_to`](Self::save_to), for a cache whose keys or values will be read as other types: as `K2` and
    /// `V2`, such as `String` for `&str`.
    ///
    /// # Errors
    /// As `save_to`.
    ///
    /// # Examples
    #[cfg_attr(feature = "bincode", doc = "```")]
    #[cfg_attr(not(feature = "bincode"), doc = "```ignore")]
    /// use larder::Cache;
    /// use larder::snapshot::{RestoreOptions, SaveOptions, Serializers};
    ///
    /// let names: Cache<&str, u64> = Cache::new(100);
    /// names.insert("a", 1);
    /// let mut file = Vec::new();
    /// let bincode = SaveOptions::new(Serializers::standard().get("bincode")?);
    /// names.save_to_as::<String, u64>(&mut file, &bincode)?;
    /// let loaded: Cache<String, u64> = Cache::new(100);
    /// loaded.load_from(&*file, &RestoreOptions::new())?;
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
            // The writer fills in form, flags and serializer.
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
        // Whether each entry of the current batch is tagged and unevictable; `None` if it was left out.
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
            let is_tagged = seen.tags.is_some_and(|tags| tags.names().next().is_some());
            let names = seen.tags.into_iter().flat_map(TagSet::names);
            let mut names = seen.namespace.as_deref().into_iter().chain(names);
            let put = names.try_for_each(|name| frame::put_tag(name, &mut tags));
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
    /// The snapshot is written beside `path` under another name, flushed to the disk and then renamed, so that
    /// after a crash at any moment the old file or the new one exists. The new one has the permissions of the old
    /// one; without an old one, only its owner can use it. If `path` is a symbolic link, the link stays, and its
    /// target is replaced or created. A crash may leave a file whose name begins with `.larder-`. Otherwise as
    /// [`save_to`](Self::save_to).
    ///
    /// # Errors
    /// As `save_to`; [`NotAFile`](SnapshotError::NotAFile) if `path` is a FIFO, a socket or a device; and the
    /// errors of the file system. An old file is unchanged in that case.
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

    /// As [`save_to_path`](Self::save_to_path), for a cache whose keys or values will be read as other types; see
    /// [`save_to_as`](Self::save_to_as).
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
    /// Inserts the entries of a snapshot into the cache, once the whole snapshot has been read and found good.
    ///
    /// Entries of the snapshot replace those of the same keys; other entries stay, as far as there is room. The
    /// coldest ones are inserted first, so that the hottest remain if there are too many. If the cache has the
    /// policy of the saved one, the policy's order and counts are restored, too. An entry without a deadline gets
    /// the cache's lifetime for new entries. Tags are restored.
    ///
    /// Other threads may use the cache meanwhile; entries appear one by one.
    ///
    /// # Errors
    /// If the snapshot is damaged or unsuitable. The cache is unchanged in that case. [`LoadSummary`] counts entries
    /// that were left out for other reasons.
    ///
    /// # Panics
    /// If `Deserialize`, `Hash`, `Eq` or the weigher panics; only the last three can leave the cache with a part of
    /// the entries.
    ///
    /// # Complexity
    /// O(n log n). Holds in memory, until they are inserted, at most about twice the entries or weight that the cache
    /// can hold, and the bytes of one record.
    pub fn load_from(
        &self,
        reader: impl Read,
        options: &RestoreOptions,
    ) -> Result<LoadSummary, SnapshotError> {
        Ok(contents::Contents::read(self, reader, options)?.put_in())
    }

    /// As [`load_from`](Self::load_from), from the file `path`.
    ///
    /// # Errors
    /// As `load_from`; [`NotAFile`](SnapshotError::NotAFile) if `path` is a FIFO, a socket or a device, for which
    /// the call does not wait; and the errors of the file system.
    pub fn load_from_path(
        &self,
        path: impl AsRef<Path>,
        options: &RestoreOptions,
    ) -> Result<LoadSummary, SnapshotError> {
        let path = path.as_ref();
        let load = || self.load_from(file::open(path)?, options);
        load().map_err(|error| error.at(path))
    }
}

/// Reads a payload as a key `K` and a value `V`, and drops them.
fn read_back<K: DeserializeOwned, V: DeserializeOwned>(
    codec: &Codec,
    payload: &mut Vec<u8>,
) -> Result<(), SerializerError> {
    codec.deserialize::<(K, V)>(payload).map(drop)
}

fn duration(nanoseconds: u64) -> Duration {
    Duration::from_nanos(nanoseconds)
}
