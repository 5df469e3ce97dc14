//! What can be told of a snapshot without its entries' types, and a snapshot's change of serializer.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contents::{open, serializer_of};
use super::error::{Part, SnapshotError};
use super::file;
use super::frame::{self, Encoder, FLAG_ZSTD, Form, Header, Item, Meta, VERSION};
use super::{LoadOptions, SaveOptions, Saved, deserialize, nanoseconds_since_1970};

/// What a snapshot is and holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The version of the format.
    pub version: u32,
    /// The name of the serializer.
    pub serializer: String,
    /// The name of the policy that the cache had.
    pub policy: String,
    /// The types of key and value as the compiler that saved it names them: a hint for people.
    pub types: String,
    /// Whether it is lines of text, unless it is packed.
    pub is_text: bool,
    /// Whether the records are packed.
    pub is_packed: bool,
    /// When its saving began.
    pub saved_at: SystemTime,
    /// Records.
    pub entries: u64,
    /// Those that have a deadline.
    pub expiring: u64,
    /// Those whose deadline has passed.
    pub expired: u64,
    /// The weight of all.
    pub weight: u64,
    /// The bytes of keys and values, as they are serialized.
    pub payload_bytes: u64,
    /// Those of the longest record.
    pub longest_bytes: u64,
    /// All bytes, unpacked.
    pub bytes: u64,
    /// The first damage, when [salvaging](LoadOptions::salvage): the records that are counted come
    /// before it.
    pub damaged_at: Option<u64>,
}

impl Info {
    /// Reads all of a snapshot and looks at every checksum, in memory for a single record. The
    /// serializer need not be known, and payloads are not looked into.
    ///
    /// # Errors
    /// If the snapshot is damaged, unless [salvaging](LoadOptions::salvage) and the header is whole.
    pub fn read(reader: impl Read, options: &LoadOptions) -> Result<Self, SnapshotError> {
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
                Ok(Item::Record(meta)) => {
                    info.count(meta, payload.len() as u64, passed_ns);
                    continue;
                }
                Ok(Item::End { is_whole: true }) => break,
                Ok(Item::End { .. }) => SnapshotError::Damaged { part: Part::End, at },
                Ok(Item::Damaged) => SnapshotError::Damaged { part: Part::Record, at },
                Err(error) => error,
            };
            if !options.is_salvage || matches!(damage, SnapshotError::Io(_)) {
                return Err(damage);
            }
            info.damaged_at = Some(at);
            break;
        }
        info.bytes = decoder.at();
        Ok(info)
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

/// Copies a snapshot of keys `K` and values `V` by another serializer, or packed otherwise. All else
/// stays as it is, the time of saving too. In memory for a single record.
///
/// # Errors
/// If anything is wrong with the snapshot, or `writer` fails. What was written then is no snapshot.
///
/// # Examples
#[cfg_attr(all(feature = "bincode", feature = "json"), doc = "```")]
#[cfg_attr(not(all(feature = "bincode", feature = "json")), doc = "```ignore")]
/// use larder::Cache;
/// use larder::snapshot::{LoadOptions, SaveOptions, Serializers, convert};
///
/// let cache: Cache<String, u64> = Cache::new(100);
/// cache.insert("a".to_owned(), 1);
/// let serializers = Serializers::standard();
/// let (mut binary, mut readable) = (Vec::new(), Vec::new());
/// cache.save_to(&mut binary, &SaveOptions::new(serializers.get("bincode")?))?;
/// let to = SaveOptions::new(serializers.get("json")?);
/// convert::<String, u64>(&*binary, &mut readable, &LoadOptions::new(), &to)?;
/// assert!(String::from_utf8(readable)?.contains(r#"["a",1]"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn convert<K, V>(
    reader: impl Read,
    mut writer: impl Write,
    from: &LoadOptions,
    to: &SaveOptions,
) -> Result<Saved, SnapshotError>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    let (mut decoder, mut header) = open(reader, from)?;
    let serializer = serializer_of(&header, from)?;
    header.form = if to.serializer.is_binary() { Form::Bytes } else { Form::Text };
    header.serializer = to.serializer.name().to_ascii_lowercase();
    header.flags = if to.zstd_level.is_some() { FLAG_ZSTD } else { 0 };
    let mut copy = |writer: &mut dyn Write, mut encoder: Encoder| {
        let (mut payload, mut converted, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let (mut records, mut bytes) = (0, 0);
        loop {
            let at = decoder.at();
            match decoder.next(&mut payload)? {
                Item::Record(meta) => {
                    let entry = deserialize::<(K, V)>(&*serializer, &mut payload)
                        .map_err(|source| SnapshotError::Deserialize { record: records, source })?;
                    records += 1;
                    super::serialize(&*to.serializer, &entry, &mut converted)?;
                    let before = out.len();
                    encoder.record(meta, &converted, &mut out);
                    bytes += (out.len() - before) as u64;
                    frame::write_if_long(&mut out, &mut &mut *writer)?;
                }
                Item::Damaged => return Err(SnapshotError::Damaged { part: Part::Record, at }),
                Item::End { is_whole: false } => {
                    return Err(SnapshotError::Damaged { part: Part::End, at });
                }
                Item::End { is_whole: true } => break,
            }
        }
        let before = out.len();
        let entries = encoder.end(&mut out);
        bytes += (out.len() - before) as u64;
        writer.write_all(&out)?;
        Ok(Saved { entries, bytes })
    };
    let mut out = Vec::new();
    let encoder = Encoder::begin(&header as &Header, &mut out);
    writer.write_all(&out)?;
    let mut saved = match to.zstd_level {
        None => copy(&mut writer, encoder)?,
        #[cfg(feature = "zstd")]
        Some(level) => {
            let mut packer = zstd::stream::write::Encoder::new(&mut writer, level)?;
            packer.include_checksum(true)?;
            let saved = copy(&mut packer, encoder)?;
            packer.finish()?;
            saved
        }
        #[cfg(not(feature = "zstd"))]
        Some(_) => unreachable!("nobody can set a level"),
    };
    writer.flush()?;
    saved.bytes += out.len() as u64;
    Ok(saved)
}

/// As [`convert`], from the file `from` to the file `to`, which appears whole or not at all; it may
/// be the same.
///
/// # Errors
/// As [`convert`], and whatever the file system says. An old `to` is then as before.
pub fn convert_path<K, V>(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    load: &LoadOptions,
    save: &SaveOptions,
) -> Result<Saved, SnapshotError>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    let reader = file::open(from.as_ref())?;
    file::write_atomically(to.as_ref(), file::Existing::Replace, |writer| {
        convert::<K, V>(reader, writer, load, save)
    })
}
