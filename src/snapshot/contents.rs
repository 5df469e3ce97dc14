//! Reading a whole snapshot, checking it, and inserting its entries into a cache.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::io::{BufReader, Read};

use serde::de::DeserializeOwned;

use super::codec::Codec;
use super::error::{Part, SnapshotError};
use super::frame::{
    Decoder, FLAG_FILLER, FLAG_TAGS, FLAG_ZSTD, Form, FrameHeader, FrameItem, Source,
};
use super::{LoadSummary, MAX_RECORD_BYTES, RestoreOptions, duration, nanoseconds_since_1970};
use crate::base::error::Rejection;
use crate::base::hash::KeyHash;
use crate::cache::{Arrival, Cache, Restored};

/// The size of the buffer for reading.
const BUFFER: usize = 64 * 1024;

/// Entries of a snapshot that was found good, ready to be inserted into the cache they were read for.
pub(crate) struct Contents<'c, K, V, S> {
    cache: &'c Cache<K, V, S>,
    /// In chunks that never move: one growing list would be in memory twice while it is copied.
    chunks: Vec<Vec<Arrival<K, V>>>,
    /// Entries that the cache rejects, mostly because they are too heavy: the reason, and the hash.
    rejected: Vec<(Rejection, KeyHash)>,
    room: CacheRoom,
    /// The number of the entries in all chunks, and their weight.
    len: u64,
    weight: u64,
    loaded: LoadSummary,
}

/// The entries of one chunk.
const CHUNK: usize = 1024;

/// The most that a cache can hold.
#[derive(Clone, Copy)]
struct CacheRoom {
    entries: u64,
    weight: u64,
}

impl CacheRoom {
    fn of<K, V, S>(cache: &Cache<K, V, S>) -> Self {
        Self {
            entries: cache.capacity().map_or(u64::MAX, |entries| entries as u64),
            weight: cache.max_weight().unwrap_or(u64::MAX),
        }
    }

    /// Whether so many entries are held that some of them should be dropped.
    fn is_exceeded(self, entries: u64, weight: u64) -> bool {
        entries > self.entries.saturating_mul(2).saturating_add(CHUNK as u64)
            || weight > self.weight.saturating_mul(2) && entries > 1
    }

    /// Whether so many entries may be kept. That is more than fits the cache, because partitions fill unevenly.
    fn is_enough(self, entries: u64, weight: u64) -> bool {
        entries <= self.entries.saturating_add(self.entries / 2).saturating_add(CHUNK as u64 / 2)
            && weight <= self.weight.saturating_add(self.weight / 2)
    }
}

impl<'c, K, V, S> Contents<'c, K, V, S>
where
    K: Hash + Eq + DeserializeOwned,
    V: DeserializeOwned,
    S: BuildHasher,
{
    /// Reads a whole snapshot for `cache`, which does not change.
    pub(crate) fn read(
        cache: &'c Cache<K, V, S>,
        reader: impl Read,
        options: &RestoreOptions,
    ) -> Result<Self, SnapshotError> {
        let (mut decoder, header) = open(reader, options)?;
        let codec = codec_of(&header, options)?;
        let (chunks, rejected) = (Vec::new(), Vec::new());
        let (room, loaded) = (CacheRoom::of(cache), LoadSummary::default());
        let mut contents = Self { cache, chunks, rejected, room, len: 0, weight: 0, loaded };
        contents.read_records(&mut decoder, &header, &codec, options)?;
        Ok(contents)
    }

    fn read_records(
        &mut self,
        decoder: &mut Decoder<impl Read>,
        header: &FrameHeader,
        codec: &Codec,
        options: &RestoreOptions,
    ) -> Result<(), SnapshotError> {
        let now_ns = nanoseconds_since_1970(options.at);
        let passed_ns = now_ns.saturating_sub(header.saved_at_ns);
        let is_same_policy = header.policy == self.cache.policy_name();
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
                FrameItem::End { is_whole: true } => break,
                FrameItem::Record(meta) => meta,
                FrameItem::Damaged if options.is_salvage => {
                    self.loaded.damaged += 1;
                    records += 1;
                    continue;
                }
                FrameItem::End { is_whole: false } if options.is_salvage => {
                    self.loaded.broken_at = Some(at);
                    break;
                }
                FrameItem::Damaged => {
                    return Err(SnapshotError::Damaged { part: Part::Record, at });
                }
                FrameItem::End { .. } => {
                    return Err(SnapshotError::Damaged { part: Part::End, at });
                }
            };
            records += 1;
            match codec.deserialize::<(K, V)>(&mut payload) {
                Ok((key, value)) => {
                    let left_ns = meta.expires_in_ns.map(|left| left.saturating_sub(passed_ns));
                    if left_ns == Some(0) {
                        self.loaded.expired += 1;
                        continue;
                    }
                    let restored = Restored {
                        ttl: left_ns.map(duration),
                        frequency: meta.frequency,
                        word: is_same_policy.then_some(meta.word),
                    };
                    // Partitions alternate, and entries of the same warmth stay in the order of the file.
                    let place = (meta.warmth, u32::try_from(records).unwrap_or(u32::MAX));
                    let tags = decoder.tags();
                    match self.cache.arrival(key, value, restored, tags, place) {
                        Ok(arrival) => self.push(arrival),
                        Err(rejected) => self.rejected.push(rejected),
                    }
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

    fn push(&mut self, arrival: Arrival<K, V>) {
        self.len += 1;
        self.weight += u64::from(arrival.weight());
        self.push_one(arrival);
        if self.room.is_exceeded(self.len, self.weight) {
            self.drop_coldest();
        }
    }

    /// Drops the coldest entries, for which the cache has no room: a snapshot may hold many more than fit.
    fn drop_coldest(&mut self) {
        let mut all: Vec<_> = std::mem::take(&mut self.chunks).into_iter().flatten().collect();
        all.sort_unstable_by_key(|arrival| std::cmp::Reverse(arrival.place()));
        let (mut entries, mut weight) = (0, 0);
        let has_room = |arrival: &&Arrival<K, V>| {
            entries += 1;
            weight += u64::from(arrival.weight());
            self.room.is_enough(entries, weight)
        };
        let fitting = all.iter().take_while(has_room).count();
        self.loaded.no_room += (all.len() - fitting) as u64;
        all.truncate(fitting);
        (self.len, self.weight) = (0, 0);
        for arrival in all {
            self.len += 1;
            self.weight += u64::from(arrival.weight());
            self.push_one(arrival);
        }
    }

    fn push_one(&mut self, arrival: Arrival<K, V>) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(arrival),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(arrival);
                self.chunks.push(chunk);
            }
        }
    }

    /// Inserts all entries into the cache.
    pub(crate) fn put_in(self) -> LoadSummary {
        let Self { cache, chunks, rejected, mut loaded, .. } = self;
        let mut arrivals = Vec::with_capacity(chunks.iter().map(Vec::len).sum());
        chunks.into_iter().for_each(|chunk| arrivals.extend(chunk));
        let arrived = cache.restore(arrivals);
        loaded.entries = arrived.entries;
        loaded.replaced = arrived.replaced;
        loaded.no_room += arrived.evicted;
        for (rejection, _) in &rejected {
            match rejection {
                Rejection::WithinListener => loaded.within_listener += 1,
                _ => loaded.rejected += 1,
            }
        }
        rejected.into_iter().for_each(|rejected| cache.refuse_arrival(rejected));
        loaded
    }
}

/// Reads a header, and returns a decoder for the records after it.
pub(super) fn open<'r>(
    reader: impl Read + 'r,
    options: &RestoreOptions,
) -> Result<(Decoder<Box<dyn Read + 'r>>, FrameHeader), SnapshotError> {
    let (source, header) = Source::begin(BufReader::with_capacity(BUFFER, reader))?;
    let known = FLAG_ZSTD | FLAG_TAGS | FLAG_FILLER;
    let source: Source<Box<dyn Read + 'r>> = match header.flags & FLAG_ZSTD {
        _ if header.flags & !known != 0 => {
            return Err(SnapshotError::Unsupported { flags: header.flags });
        }
        0 => source.try_map(|inner| Ok(Box::new(inner) as Box<dyn Read + 'r>))?,
        #[cfg(feature = "zstd")]
        FLAG_ZSTD => source.try_map(|inner| {
            super::packing::Unpacking::new(inner, options.max_expansion)
                .map(|unpacking| Box::new(BufReader::with_capacity(BUFFER, unpacking)) as _)
        })?,
        #[cfg(not(feature = "zstd"))]
        _ => return Err(SnapshotError::Unsupported { flags: header.flags }),
        #[cfg(feature = "zstd")]
        _ => unreachable!("only one flag is selected"),
    };
    Ok((Decoder::new(source, header.flags, options.max_record_bytes), header))
}

/// The codec for the serializer that a snapshot was written with.
pub(super) fn codec_of(
    header: &FrameHeader,
    options: &RestoreOptions,
) -> Result<Codec, SnapshotError> {
    let serializer = options.serializers.get(&header.serializer)?;
    let form = if serializer.is_binary() { Form::Bytes } else { Form::Text };
    if form != header.form {
        return Err(SnapshotError::Damaged { part: Part::Header, at: 0 });
    }
    Ok(Codec::new(serializer))
}

/// Whether the fault lies in the bytes of the snapshot, and not in the system or in a limit that may have to be raised.
/// A length beyond the default limit is more likely damaged than the length of a record.
pub(super) fn is_damage(error: &SnapshotError) -> bool {
    match error {
        SnapshotError::CutOff { .. } | SnapshotError::Damaged { .. } => true,
        SnapshotError::RecordTooLong { given, .. } => *given > MAX_RECORD_BYTES,
        _ => false,
    }
}
