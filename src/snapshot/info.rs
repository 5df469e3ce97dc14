//! Describing a snapshot without the types of its entries, and converting it to another serializer.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contents::{codec_of, is_damage, open};
use super::error::{Part, SnapshotError};
use super::file;
use super::frame::{FLAG_ZSTD, Form, FrameItem, Meta, VERSION};
use super::writer::Writer;
use super::{RestoreOptions, SaveOptions, Saved, nanoseconds_since_1970, read_back};

/// A description of a snapshot and its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Info {
    /// The version of the format.
    pub version: u32,
    /// The name of the serializer.
    pub serializer: String,
    /// The name of the policy that the cache had.
    pub policy: String,
    /// The types of key and value, as the compiler names them: a hint for people.
    pub types: String,
    /// Whether it consists of lines of text, before packing.
    pub is_text: bool,
    /// Whether the records are packed.
    pub is_packed: bool,
    /// When the saving began.
    pub saved_at: SystemTime,
    /// The number of records.
    pub entries: u64,
    /// Records that have a deadline.
    pub expiring: u64,
    /// Records whose deadline has passed.
    pub expired: u64,
    /// Records that have tags.
    pub tagged: u64,
    /// The sum of their weights.
    pub weight: u64,
    /// The bytes of the serialized keys and values.
    pub payload_bytes: u64,
    /// The bytes of the longest serialized key and value.
    pub longest_bytes: u64,
    /// All bytes of the snapshot, unpacked.
    pub bytes: u64,
    /// The byte of the first damage, when [salvaging](RestoreOptions::salvage): only records before it are counted.
    pub damaged_at: Option<u64>,
}

impl Info {
    /// Reads a whole snapshot and checks every checksum, with memory for one record. The serializer need not be
    /// registered, because payloads are not deserialized.
    ///
    /// # Errors
    /// If the snapshot is damaged, unless the header is whole and `options` [salvage](RestoreOptions::salvage) the
    /// rest; or if it exceeds a limit of `options`. When salvaging, a length of more than 1 GiB
    /// counts as damage.
    pub fn read(reader: impl Read, options: &RestoreOptions) -> Result<Self, SnapshotError> {
        let (mut decoder, header) = open(reader, options)?;
        let mut info = Self {
            version: VERSION,
            is_text: header.form == Form::Text,
            is_packed: header.flags & FLAG_ZSTD != 0,
            saved_at: UNIX_EPOCH + Duration::from_nanos(header.saved_at_ns),
            serializer: header.serializer,
            policy: header.policy,
            types: header.types,
            entries: 0,
            expiring: 0,
            expired: 0,
            tagged: 0,
            weight: 0,
            payload_bytes: 0,
            longest_bytes: 0,
            bytes: 0,
            damaged_at: None,
        };
        let passed_ns = nanoseconds_since_1970(options.at).saturating_sub(header.saved_at_ns);
        let mut payload = Vec::new();
        loop {
            let at = decoder.at();
            let damage = match decoder.next(&mut payload) {
                Ok(FrameItem::Record(meta)) => {
                    info.count(meta, payload.len() as u64, passed_ns);
                    info.tagged += u64::from(!decoder.coded_tags().is_empty());
                    continue;
                }
                Ok(FrameItem::End { is_whole: true }) => break,
                Ok(FrameItem::End { .. }) => SnapshotError::Damaged { part: Part::End, at },
                Ok(FrameItem::Damaged) => SnapshotError::Damaged { part: Part::Record, at },
                Err(error) => error,
            };
            if !options.is_salvage || !is_damage(&damage) {
                return Err(damage);
            }
            info.damaged_at = Some(at);
            break;
        }
        info.bytes = decoder.at();
        Ok(info)
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

    fn count(&mut self, meta: Meta, payload_bytes: u64, passed_ns: u64) {
        self.entries += 1;
        self.weight = self.weight.saturating_add(u64::from(meta.weight));
        self.payload_bytes += payload_bytes;
        self.longest_bytes = self.longest_bytes.max(payload_bytes);
        if let Some(left) = meta.expires_in_ns {
            self.expiring += 1;
            self.expired += u64::from(left <= passed_ns);
        }
    }
}

/// Copies a snapshot of keys `K` and values `V` with another serializer or packing. Everything else stays the
/// same, including the time of saving and the tags. Needs memory for a few records.
///
/// # Errors
/// If the snapshot is damaged or unsuitable, `writer` fails, or the other serializer cannot carry an entry
/// exactly. The bytes that were written are not a snapshot then.
///
/// # Examples
#[cfg_attr(all(feature = "bincode", feature = "json"), doc = "```")]
#[cfg_attr(not(all(feature = "bincode", feature = "json")), doc = "```ignore")]
/// use larder::Cache;
/// use larder::snapshot::{RestoreOptions, SaveOptions, Serializers, convert};
///
/// let cache: Cache<String, u64> = Cache::new(100);
/// cache.insert("a".to_owned(), 1);
/// let serializers = Serializers::standard();
/// let (mut binary, mut readable) = (Vec::new(), Vec::new());
/// cache.save_to(&mut binary, &SaveOptions::new(serializers.get("bincode")?))?;
/// let to = SaveOptions::new(serializers.get("json")?);
/// convert::<String, u64>(&*binary, &mut readable, &RestoreOptions::new(), &to)?;
/// assert!(String::from_utf8(readable)?.contains(r#"["a",1]"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn convert<K, V>(
    reader: impl Read,
    mut writer: impl Write,
    from: &RestoreOptions,
    to: &SaveOptions,
) -> Result<Saved, SnapshotError>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    let (mut decoder, header) = open(reader, from)?;
    let codec = codec_of(&header, from)?;
    let mut copy = Writer::begin(&mut writer, header, to, read_back::<K, V>)?;
    let (mut payload, mut records, mut tagged) = (Vec::new(), 0, 0);
    loop {
        let at = decoder.at();
        match decoder.next(&mut payload)? {
            FrameItem::Record(meta) => {
                let (key, value) = codec
                    .deserialize::<(K, V)>(&mut payload)
                    .map_err(|source| SnapshotError::Deserialize { record: records, source })?;
                records += 1;
                let tags = decoder.coded_tags().to_vec();
                tagged += u64::from(!tags.is_empty());
                copy.serialize(&key, &value, meta, tags)?;
                if copy.is_full() {
                    copy.write_pending()?;
                }
            }
            FrameItem::Damaged => return Err(SnapshotError::Damaged { part: Part::Record, at }),
            FrameItem::End { is_whole: false } => {
                return Err(SnapshotError::Damaged { part: Part::End, at });
            }
            FrameItem::End { is_whole: true } => break,
        }
    }
    let (entries, bytes) = copy.finish()?;
    Ok(Saved { entries, bytes, tagged, ..Saved::default() })
}

/// As [`convert`], from the file `from` to the file `to`, which appears whole or not at all. Both may be the same
/// file.
///
/// # Errors
/// As [`convert`], and the errors of the file system. An old file `to` is unchanged in that case.
pub fn convert_path<K, V>(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    load: &RestoreOptions,
    save: &SaveOptions,
) -> Result<Saved, SnapshotError>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    let (from, to) = (from.as_ref(), to.as_ref());
    let reader = file::open(from).map_err(|error| error.at(from))?;
    file::write_atomically(to, file::Existing::Replace, |writer| {
        convert::<K, V>(reader, writer, load, save).map_err(|error| match error {
            // It may be about either file.
            SnapshotError::Io(_) => error,
            error => error.at(from),
        })
    })
    .map_err(|error| error.at(to))
}
