//! Snapshots: a cache's entries as bytes, and back.
//!
//! A snapshot keeps of each entry its key, its value, how long it may yet live, its weight, its
//! counter of accesses, and where its policy has it, so that a cache that is restored goes on where
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
//! # Time
//! A snapshot notes for how long each entry may yet live and the time of day at which it was begun.
//! Time goes on while it lies there: what would have expired until it is loaded is left out. Should
//! the time of day have been set back since, no time has passed. Entries with
//! [tags](crate::Cache::insert_with_tags) are not saved, for an invalidation does not reach a file.
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
#[cfg(feature = "bincode")]
use std::borrow::Cow;
use std::hash::{BuildHasher, Hash};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Saving};

mod error;
mod serializer;
mod limits;
mod frame;
mod contents;
mod info;
mod file;
#[cfg(feature = "async")]
mod future;

pub use error::{Part, SnapshotError};
pub use info::{Info, convert, convert_path};
#[cfg(feature = "bincode")]
pub use serializer::Bincode;
#[cfg(feature = "json")]
pub use serializer::Json;
#[cfg(feature = "postcard")]
pub use serializer::Postcard;
pub use serializer::{RegistryError, Serializer, SerializerError, Serializers, erased_serde};

#[cfg(feature = "quick")]
pub(crate) use contents::Contents;
#[cfg(feature = "quick")]
pub(crate) use file::{Existing, open, write_atomically};
#[cfg(all(feature = "async", feature = "quick"))]
pub(crate) use future::on_a_thread;
#[cfg(feature = "quick")]
pub(crate) use serializer::check_name;

use frame::{Encoder, FLAG_ZSTD, Form, Header, Meta};

/// The largest payload that a record can have.
const MAX_PAYLOAD: u64 = u32::MAX as u64 - 1;

/// How a snapshot is to be written.
#[derive(Clone)]
pub struct SaveOptions {
    serializer: Arc<dyn Serializer>,
    zstd_level: Option<i32>,
    at: Option<SystemTime>,
}

impl SaveOptions {
    /// By `serializer`, not packed.
    #[must_use]
    pub fn new(serializer: Arc<dyn Serializer>) -> Self {
        Self { serializer, zstd_level: None, at: None }
    }

    /// Packs the records with Zstandard, at a level from 1 (fast) to 19 (small). Default: they are
    /// not packed.
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
            .field("serializer", &self.serializer.name())
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
            max_record_bytes: 64 << 20,
            max_expansion: 256,
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

    /// Refuses records whose key and value take more bytes. Default: 64 MiB.
    #[must_use]
    pub fn max_record_bytes(mut self, bytes: u64) -> Self {
        self.max_record_bytes = bytes.min(MAX_PAYLOAD);
        self
    }

    /// Refuses packed snapshots of more than a MiB that unpack to more than so many times their
    /// size. Default: 256.
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

/// What was saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Entries.
    pub entries: u64,
    /// Bytes, before they were packed.
    pub bytes: u64,
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded {
    /// Entries that were put into the cache. If they are more than it may hold, the coldest have
    /// made room for the others.
    pub entries: u64,
    /// Entries that have expired since they were saved.
    pub expired: u64,
    /// Entries that were too heavy for the cache.
    pub rejected: u64,
    /// Records that were damaged or no entries of the types asked for. 0 unless
    /// [salvaging](LoadOptions::salvage).
    pub damaged: u64,
    /// How many more entries there were when the snapshot was begun than records were found.
    /// Likewise.
    pub missing: u64,
    /// Where the frame is broken, and everything was given up from there on. Likewise.
    pub broken_at: Option<u64>,
}

impl Loaded {
    /// Whether nothing was lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged == 0 && self.missing == 0 && self.broken_at.is_none()
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
    /// or not, and never twice. Entries are serialized a few hundred at a time, for which the
    /// calling thread is [pinned](Self::pin); it writes while it is not. Each partition's policy is
    /// asked once for its order, during which writers of that partition may wait for it.
    ///
    /// # Errors
    /// If `writer` fails, or a key or value cannot be serialized. Something may have been written.
    ///
    /// # Panics
    /// If a key's or value's `Serialize` does.
    ///
    /// # Complexity
    /// O(n), and 8 bytes for each entry besides what a few hundred serialized ones take.
    pub fn save_to(
        &self,
        mut writer: impl Write,
        options: &SaveOptions,
    ) -> Result<Saved, SnapshotError> {
        let form = if options.serializer.is_binary() { Form::Bytes } else { Form::Text };
        let header = Header {
            form,
            flags: if options.zstd_level.is_some() { FLAG_ZSTD } else { 0 },
            serializer: options.serializer.name().to_ascii_lowercase(),
            policy: self.policy_name().to_owned(),
            types: format!("{}, {}", type_name::<K>(), type_name::<V>()),
            saved_at_ns: nanoseconds_since_1970(options.at),
            expected: self.len() as u64,
        };
        let mut out = Vec::new();
        let encoder = Encoder::begin(&header, &mut out);
        writer.write_all(&out)?;
        let bytes = out.len() as u64;
        out.clear();
        let mut saved = match options.zstd_level {
            None => self.save_records(encoder, &mut writer, out, options)?,
            #[cfg(feature = "zstd")]
            Some(level) => {
                let mut packer = zstd::stream::write::Encoder::new(&mut writer, level)?;
                packer.include_checksum(true)?;
                let saved = self.save_records(encoder, &mut packer, out, options)?;
                packer.finish()?;
                saved
            }
            #[cfg(not(feature = "zstd"))]
            Some(_) => unreachable!("nobody can set a level"),
        };
        writer.flush()?;
        saved.bytes += bytes;
        Ok(saved)
    }

    fn save_records(
        &self,
        mut encoder: Encoder,
        writer: &mut impl Write,
        mut out: Vec<u8>,
        options: &SaveOptions,
    ) -> Result<Saved, SnapshotError> {
        let serializer = &*options.serializer;
        let mut saving = Saving::new(self);
        let (mut payload, mut failure, mut bytes) = (Vec::new(), None, 0);
        while saving.step(|key, value, info, warmth, word| {
            if failure.is_none() {
                let meta = Meta {
                    expires_in_ns: info.expires_in.map(crate::expiry::clock::nanoseconds),
                    weight: info.weight,
                    frequency: info.frequency,
                    warmth,
                    word,
                };
                match serialize(serializer, &(key, value), &mut payload) {
                    Ok(()) => encoder.record(meta, &payload, &mut out),
                    Err(error) => failure = Some(error),
                }
            }
        }) {
            if let Some(failure) = failure {
                return Err(failure);
            }
            bytes += out.len() as u64;
            frame::write_if_long(&mut out, writer)?;
            bytes -= out.len() as u64;
        }
        let entries = encoder.end(&mut out);
        bytes += out.len() as u64;
        writer.write_all(&out)?;
        Ok(Saved { entries, bytes })
    }

    /// Saves all entries to the file `path`, which appears whole or not at all.
    ///
    /// The snapshot is written beside `path` under another name, flushed to the disk and then
    /// renamed: whatever happens, there is the old file or the new one. The new one has the
    /// permissions of the old one, or is its owner's alone. After a crash, a file whose name begins
    /// with `.larder-` may be left. Otherwise as [`save_to`](Self::save_to).
    ///
    /// # Errors
    /// As `save_to`, and whatever the file system says. The old file is then as before.
    pub fn save_to_path(
        &self,
        path: impl AsRef<Path>,
        options: &SaveOptions,
    ) -> Result<Saved, SnapshotError> {
        file::write_atomically(path.as_ref(), file::Existing::Replace, |writer| {
            self.save_to(writer, options)
        })
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
    /// An entry without a deadline gets what the cache gives to new ones.
    ///
    /// Other threads may use the cache meanwhile; they see entries come one by one.
    ///
    /// # Errors
    /// If anything is wrong with the snapshot. The cache is then as before.
    ///
    /// # Panics
    /// If `Deserialize`, `Hash`, `Eq` or the weigher does; only the last three can leave the cache
    /// with a part of the entries.
    ///
    /// # Complexity
    /// O(n log n). Holds the entries in memory before they are inserted, and one record's bytes.
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
    /// As `load_from`, and whatever the file system says.
    pub fn load_from_path(
        &self,
        path: impl AsRef<Path>,
        options: &LoadOptions,
    ) -> Result<Loaded, SnapshotError> {
        self.load_from(file::open(path.as_ref())?, options)
    }
}

/// A payload that is to be a line of text has a line feed in it.
#[derive(Debug)]
struct LineFeed;

impl std::fmt::Display for LineFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a serializer that says it writes lines of text wrote a line feed")
    }
}

impl std::error::Error for LineFeed {}

/// Whether values need not be handed over part by part, as to a serializer that anybody may have
/// written: that takes as long as all else.
#[cfg(feature = "bincode")]
fn is_bincode(serializer: &dyn Serializer) -> bool {
    (serializer as &dyn std::any::Any).is::<Bincode>()
}

/// Replaces what `payload` holds by `value`.
fn serialize(
    serializer: &dyn Serializer,
    value: &impl Serialize,
    payload: &mut Vec<u8>,
) -> Result<(), SnapshotError> {
    payload.clear();
    let written = match () {
        #[cfg(feature = "bincode")]
        () if is_bincode(serializer) => Bincode::write(value, payload),
        () => serializer.serialize(value, payload),
    };
    written.map_err(SnapshotError::Serialize)?;
    if !serializer.is_binary() && payload.contains(&b'\n') {
        return Err(SnapshotError::Serialize(SerializerError::new(LineFeed)));
    }
    let given = payload.len() as u64;
    if given > MAX_PAYLOAD {
        return Err(SnapshotError::RecordTooLong { given, limit: MAX_PAYLOAD });
    }
    Ok(())
}

/// The value in `payload`, read within bounds. What `payload` holds then is of no use.
fn deserialize<T: for<'de> Deserialize<'de>>(
    serializer: &dyn Serializer,
    payload: &mut Vec<u8>,
) -> Result<T, SerializerError> {
    let budget = limits::Budget::for_payload(payload.len());
    #[cfg(feature = "bincode")]
    if is_bincode(serializer) {
        let mut bytes = Cow::Owned(std::mem::take(payload));
        let value =
            Bincode::read(&mut bytes, |it| T::deserialize(limits::Limited::new(it, &budget)));
        *payload = bytes.into_owned();
        return value;
    }
    let mut value = None;
    serializer.deserialize(payload, &mut |deserializer| {
        value = Some(T::deserialize(limits::Limited::new(deserializer, &budget))?);
        Ok(())
    })?;
    value.ok_or_else(|| SerializerError::new(NothingTaken))
}

/// A serializer never offered its deserializer.
#[derive(Debug)]
struct NothingTaken;

impl std::fmt::Display for NothingTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the serializer has handed on no deserializer")
    }
}

impl std::error::Error for NothingTaken {}

fn duration(nanoseconds: u64) -> Duration {
    Duration::from_nanos(nanoseconds)
}
