//! A snapshot that was read and found good: entries on their way into a cache.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::io::{BufReader, Read};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::error::{Part, SnapshotError};
use super::frame::{Decoder, Form, Header, Item, Meta, Source};
use super::serializer::Serializer;
use super::{LoadOptions, Loaded, deserialize, duration, nanoseconds_since_1970};
use crate::cache::{Cache, Restored};
use crate::error::Inserted;

/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;

/// Entries with all that is known of them, the coldest first.
pub(crate) struct Contents<K, V> {
    /// In pieces that never move: a list that grows as a whole is in memory twice for a moment.
    chunks: Vec<Vec<Option<Decoded<K, V>>>>,
    policy: String,
    loaded: Loaded,
}

/// Entries of a chunk.
const CHUNK: usize = 256;

struct Decoded<K, V> {
    key: K,
    value: V,
    expires_in_ns: u64,
    warmth: u32,
    word: u32,
    frequency: u8,
}

/// No deadline.
const NEVER: u64 = u64::MAX;

impl<K: DeserializeOwned, V: DeserializeOwned> Contents<K, V> {
    /// Reads all of a snapshot.
    pub(crate) fn read(reader: impl Read, options: &LoadOptions) -> Result<Self, SnapshotError> {
        let (mut decoder, header) = open(reader, options)?;
        let serializer = serializer_of(&header, options)?;
        let mut contents =
            Self { chunks: Vec::new(), policy: header.policy.clone(), loaded: Loaded::default() };
        contents.read_records(&mut decoder, &header, &*serializer, options)?;
        Ok(contents)
    }

    fn read_records(
        &mut self,
        decoder: &mut Decoder<impl Read>,
        header: &Header,
        serializer: &dyn Serializer,
        options: &LoadOptions,
    ) -> Result<(), SnapshotError> {
        let now_ns = nanoseconds_since_1970(options.at);
        let passed_ns = now_ns.saturating_sub(header.saved_at_ns);
        let mut payload = Vec::new();
        let mut records = 0_u64;
        loop {
            let at = decoder.at();
            let item = match decoder.next(&mut payload) {
                Ok(item) => item,
                Err(error) if options.is_salvage && is_damage(&error) => {
                    self.loaded.broken_at = Some(at);
                    break;
                }
                Err(error) => return Err(error),
            };
            let meta = match item {
                Item::End { is_whole: true } => break,
                Item::Record(meta) => meta,
                Item::Damaged if options.is_salvage => {
                    self.loaded.damaged += 1;
                    records += 1;
                    continue;
                }
                Item::End { is_whole: false } if options.is_salvage => {
                    self.loaded.broken_at = Some(at);
                    break;
                }
                Item::Damaged => {
                    return Err(SnapshotError::Damaged { part: Part::Record, at });
                }
                Item::End { .. } => {
                    return Err(SnapshotError::Damaged { part: Part::End, at });
                }
            };
            records += 1;
            match deserialize::<(K, V)>(serializer, &payload) {
                Ok((key, value)) => {
                    let left_ns = meta.expires_in_ns.map(|left| left.saturating_sub(passed_ns));
                    if left_ns == Some(0) {
                        self.loaded.expired += 1;
                        continue;
                    }
                    let Meta { warmth, word, frequency, .. } = meta;
                    let expires_in_ns = left_ns.unwrap_or(NEVER);
                    self.push(Decoded { key, value, expires_in_ns, warmth, word, frequency });
                }
                Err(_) if options.is_salvage => self.loaded.damaged += 1,
                Err(source) => {
                    return Err(SnapshotError::Deserialize { record: records - 1, source });
                }
            }
        }
        if !self.loaded.is_whole() {
            self.loaded.missing = header.expected.saturating_sub(records);
        }
        Ok(())
    }

    fn push(&mut self, entry: Decoded<K, V>) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(Some(entry)),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(Some(entry));
                self.chunks.push(chunk);
            }
        }
    }
}

impl<K, V> Contents<K, V> {
    /// Puts all entries into `cache`.
    pub(crate) fn put_into<S>(self, cache: &Cache<K, V, S>) -> Loaded
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        let mut loaded = self.loaded;
        let is_same_policy = self.policy == cache.policy_name();
        let mut chunks = self.chunks;
        let mut order: Vec<(u32, usize)> = chunks
            .iter()
            .flatten()
            .enumerate()
            .filter_map(|(at, entry)| Some((entry.as_ref()?.warmth, at)))
            .collect();
        // Partitions take turns, and equals stay in the order of the file.
        order.sort_unstable();
        for (_, at) in order {
            let Some(entry) = chunks[at / CHUNK][at % CHUNK].take() else { continue };
            let Decoded { key, value, expires_in_ns, word, frequency, .. } = entry;
            let restored = Restored {
                ttl: (expires_in_ns != NEVER).then(|| duration(expires_in_ns)),
                frequency,
                word: is_same_policy.then_some(word),
            };
            match cache.restore(key, value, restored) {
                Inserted::Rejected(_) => loaded.rejected += 1,
                Inserted::Added | Inserted::Replaced => loaded.entries += 1,
            }
        }
        loaded
    }
}

/// Reads a header and gets ready for the records behind it.
pub(super) fn open<'r>(
    reader: impl Read + 'r,
    options: &LoadOptions,
) -> Result<(Decoder<Box<dyn Read + 'r>>, Header), SnapshotError> {
    let (source, header) = Source::begin(BufReader::with_capacity(BUFFER, reader))?;
    let source: Source<Box<dyn Read + 'r>> = match header.flags {
        0 => source.try_map(|inner| Ok(Box::new(inner) as Box<dyn Read + 'r>))?,
        #[cfg(feature = "zstd")]
        super::frame::FLAG_ZSTD => source.try_map(|inner| {
            super::frame::packed::Unpacking::new(inner, options.max_expansion)
                .map(|unpacking| Box::new(BufReader::with_capacity(BUFFER, unpacking)) as _)
        })?,
        flags => return Err(SnapshotError::Unsupported { flags }),
    };
    Ok((Decoder::new(source, options.max_record_bytes), header))
}

/// The serializer that a snapshot was written with.
pub(super) fn serializer_of(
    header: &Header,
    options: &LoadOptions,
) -> Result<Arc<dyn Serializer>, SnapshotError> {
    let serializer = options.serializers.get(&header.serializer)?;
    let form = if serializer.is_binary() { Form::Bytes } else { Form::Text };
    if form != header.form {
        return Err(SnapshotError::Damaged { part: Part::Header, at: 0 });
    }
    Ok(serializer)
}

/// Whether the bytes are to blame, and not the machine.
fn is_damage(error: &SnapshotError) -> bool {
    matches!(
        error,
        SnapshotError::CutOff { .. }
            | SnapshotError::Damaged { .. }
            | SnapshotError::RecordTooLong { .. }
    )
}
