//! Reading a snapshot's records one by one, without a cache.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;

use super::codec::Codec;
use super::contents::{codec_of, open};
use super::error::{Part, SnapshotError};
use super::frame::{Decoder, FrameHeader, FrameItem};
use super::{RestoreOptions, duration, file};

/// An entry of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// The remaining lifetime when the saving began; `None` if the entry does not expire.
    pub expires_in: Option<Duration>,
    /// The weight of the entry.
    pub weight: u32,
    /// The counter of accesses, if the policy kept one.
    pub frequency: u8,
    /// The tags of the entry.
    pub tags: Vec<String>,
}

/// An iterator over a snapshot's entries in the order of writing, which needs memory for one of them.
///
/// It includes entries that have expired since. It ends after the first error. The entries before that are
/// undamaged, but whether some are missing is known only at the end. With [salvaging](RestoreOptions::salvage), it
/// continues after the error of a damaged record.
///
/// # Examples
#[cfg_attr(feature = "json", doc = "```")]
#[cfg_attr(not(feature = "json"), doc = "```ignore")]
/// use larder::Cache;
/// use larder::snapshot::{RestoreOptions, Records, SaveOptions, Serializers};
///
/// let cache: Cache<String, u64> = Cache::new(100);
/// cache.insert_with_tags("a".to_owned(), 1, ["t"]);
/// let mut file = Vec::new();
/// cache.save_to(&mut file, &SaveOptions::new(Serializers::standard().get("json")?))?;
/// for record in Records::<String, u64>::read(&*file, &RestoreOptions::new())? {
///     let record = record?;
///     assert_eq!((record.key.as_str(), record.value), ("a", 1));
///     assert_eq!(record.tags, ["t"]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Records<'r, K, V> {
    decoder: Decoder<Box<dyn Read + 'r>>,
    header: FrameHeader,
    codec: Codec,
    payload: Vec<u8>,
    number: u64,
    is_salvage: bool,
    is_over: bool,
    types: PhantomData<fn() -> (K, V)>,
}

impl<'r, K: DeserializeOwned, V: DeserializeOwned> Records<'r, K, V> {
    /// Reads the header, and returns an iterator over the records.
    ///
    /// # Errors
    /// If the header is missing or damaged, or the serializer is unknown.
    pub fn read(reader: impl Read + 'r, options: &RestoreOptions) -> Result<Self, SnapshotError> {
        let (decoder, header) = open(reader, options)?;
        let codec = codec_of(&header, options)?;
        Ok(Self {
            decoder,
            header,
            codec,
            payload: Vec::new(),
            number: 0,
            is_salvage: options.is_salvage,
            is_over: false,
            types: PhantomData,
        })
    }

    /// As [`read`](Self::read), from the file `path`.
    ///
    /// # Errors
    /// As `read`; if `path` is not a regular file; and the errors of the file system.
    pub fn read_path(
        path: impl AsRef<Path>,
        options: &RestoreOptions,
    ) -> Result<Self, SnapshotError> {
        let path = path.as_ref();
        let read = || Self::read(file::open(path)?, options);
        read().map_err(|error| error.at(path))
    }

    /// When the saving began.
    #[must_use]
    pub fn saved_at(&self) -> SystemTime {
        UNIX_EPOCH + duration(self.header.saved_at_ns)
    }

    fn take(&mut self) -> Result<Option<Record<K, V>>, SnapshotError> {
        let at = self.decoder.at();
        // The iteration is over unless the record is found good or can be skipped.
        self.is_over = true;
        let meta = match self.decoder.next(&mut self.payload)? {
            FrameItem::End { is_whole: true } => return Ok(None),
            FrameItem::End { .. } => return Err(SnapshotError::Damaged { part: Part::End, at }),
            FrameItem::Damaged => {
                self.number += 1;
                self.is_over = !self.is_salvage;
                return Err(SnapshotError::Damaged { part: Part::Record, at });
            }
            FrameItem::Record(meta) => meta,
        };
        self.is_over = !self.is_salvage;
        let record = self.number;
        self.number += 1;
        let read = self.codec.deserialize::<(K, V)>(&mut self.payload);
        let (key, value) = read.map_err(|source| SnapshotError::Deserialize { record, source })?;
        self.is_over = false;
        Ok(Some(Record {
            key,
            value,
            expires_in: meta.expires_in_ns.map(duration),
            weight: meta.weight,
            frequency: meta.frequency,
            tags: self.decoder.tags().map(str::to_owned).collect(),
        }))
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned> Iterator for Records<'_, K, V> {
    type Item = Result<Record<K, V>, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over { None } else { self.take().transpose() }
    }
}

impl<K, V> fmt::Debug for Records<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("header", &self.header).finish_non_exhaustive()
    }
}
