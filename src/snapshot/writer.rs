//! Writing records: each is checked while it is serialized, framed, and packed if requested.
#![forbid(unsafe_code)]

use std::io::Write;

use serde::Serialize;

use super::codec::Codec;
use super::error::SnapshotError;
use super::frame::{self, Encoder, FLAG_FILLER, FLAG_TAGS, FLAG_ZSTD, Form, FrameHeader, Meta};
#[cfg(feature = "zstd")]
use super::packing::Packing;
use super::serializer::SerializerError;
use super::watch::Watch;
use super::{SaveOptions, limits};

/// Reads a payload back and drops the value.
pub(super) type ReadBack = fn(&Codec, &mut Vec<u8>) -> Result<(), SerializerError>;

/// A snapshot that is being written.
pub(super) struct Writer<'w> {
    options: &'w SaveOptions,
    read_back: ReadBack,
    watch: Watch,
    encoder: Encoder,
    /// Records that are serialized but not written yet, and their payloads one after the other.
    payloads: Vec<u8>,
    pending: Vec<Pending>,
    /// The number of entries that were serialized.
    serialized: u64,
    out: Vec<u8>,
    /// The number of bytes before packing.
    bytes: u64,
    sink: Sink<'w>,
}

/// A record that was serialized but not written yet.
struct Pending {
    meta: Meta,
    tags: Vec<u8>,
    /// The end of its payload, which begins at the end of the one before.
    end: usize,
    /// Its number, and its key as JSON, if it has to be read back.
    suspect: Option<(u64, Option<String>)>,
    is_left_out: bool,
}

enum Sink<'w> {
    Plain(&'w mut dyn Write),
    #[cfg(feature = "zstd")]
    Packed(Packing<'w>),
}

impl Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(writer) => writer.write_all(bytes),
            #[cfg(feature = "zstd")]
            Self::Packed(packing) => packing.write_all(bytes),
        }
    }
}

impl<'w> Writer<'w> {
    /// Writes the header, and fills in its form, flags and serializer by `options`.
    pub(super) fn begin(
        writer: &'w mut dyn Write,
        mut header: FrameHeader,
        options: &'w SaveOptions,
        read_back: ReadBack,
    ) -> Result<Self, SnapshotError> {
        header.form = if options.codec.is_binary() { Form::Bytes } else { Form::Text };
        header.serializer = options.codec.name().to_ascii_lowercase();
        header.flags = FLAG_TAGS;
        if options.zstd_level.is_some() {
            header.flags |= FLAG_ZSTD | FLAG_FILLER;
        }
        let mut out = Vec::new();
        let encoder = Encoder::begin(&header, &mut out);
        writer.write_all(&out)?;
        let bytes = out.len() as u64;
        out.clear();
        let sink = match options.zstd_level {
            None => Sink::Plain(writer),
            #[cfg(feature = "zstd")]
            Some(level) => Sink::Packed(Packing::new(writer, level)?),
            #[cfg(not(feature = "zstd"))]
            Some(_) => unreachable!("a level cannot be set without the feature"),
        };
        let watch = Watch::new(options.codec.format());
        let (payloads, pending) = (Vec::new(), Vec::new());
        Ok(Self {
            options,
            read_back,
            watch,
            encoder,
            payloads,
            pending,
            serialized: 0,
            out,
            bytes,
            sink,
        })
    }

    /// Serializes an entry, for [`write_pending`](Self::write_pending) to write. `tags` are encoded by
    /// [`frame::put_tag`].
    pub(super) fn serialize<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
        meta: Meta,
        tags: Vec<u8>,
    ) -> Result<(), SnapshotError> {
        let codec = &self.options.codec;
        let start = self.payloads.len();
        let pair = (key, value);
        let watched = self.watch.over(&pair);
        let written = codec.serialize(&watched, &mut self.payloads);
        let record = self.serialized;
        if let Err(source) = written {
            let Some(loss) = self.watch.loss() else {
                return Err(SnapshotError::Serialize(source));
            };
            let serializer = codec.name().to_ascii_lowercase();
            return Err(SnapshotError::Inexact { record, key: shown(key), serializer, loss });
        }
        let payload = self.payloads.get(start..).unwrap_or_default();
        if !codec.is_binary() && payload.contains(&b'\n') {
            return Err(SnapshotError::Serialize(SerializerError::new(LineFeed)));
        }
        let (given, limit) = ((payload.len() + tags.len()) as u64, self.options.max_record_bytes);
        if given > limit {
            return Err(SnapshotError::RecordTooLong { given, limit });
        }
        let noted = self.watch.noted();
        // So many elements that a reader may refuse them.
        let is_doubtful = noted.elements > limits::max_elements(payload.len()) / 2;
        let is_suspect = self.options.is_checked && (noted.is_new || is_doubtful);
        let suspect = is_suspect.then(|| (record, shown(key)));
        let end = self.payloads.len();
        self.pending.push(Pending { meta, tags, end, suspect, is_left_out: false });
        self.serialized += 1;
        Ok(())
    }

    /// Leaves out an entry that was serialized; `which` is its number among the pending ones.
    pub(super) fn leave_out(&mut self, which: usize) {
        if let Some(pending) = self.pending.get_mut(which) {
            pending.is_left_out = true;
        }
    }

    /// Whether enough records are pending to write them.
    pub(super) fn is_full(&self) -> bool {
        self.payloads.len() >= frame::STEP
    }

    /// Reads the suspect records among the pending ones back, and writes all of them.
    pub(super) fn write_pending(&mut self) -> Result<(), SnapshotError> {
        let mut start = 0;
        for pending in std::mem::take(&mut self.pending) {
            let payload = &self.payloads[start..pending.end];
            start = pending.end;
            if pending.is_left_out {
                continue;
            }
            if let Some((record, key)) = pending.suspect {
                let codec = &self.options.codec;
                if let Err(source) = (self.read_back)(codec, &mut payload.to_vec()) {
                    let serializer = codec.name().to_ascii_lowercase();
                    return Err(SnapshotError::Unreadable { record, key, serializer, source });
                }
            }
            #[cfg(feature = "zstd")]
            if let Sink::Packed(packing) = &mut self.sink {
                // The bytes that come next: those not written yet, and the record with its fields.
                let ahead = self.out.len() + payload.len() + 2 * pending.tags.len() + 128;
                let letters = packing.missing(ahead as u64);
                if letters > 0 {
                    packing.count_letters(letters);
                    self.encoder.filler(letters, &mut self.out);
                }
            }
            self.encoder.record(pending.meta, &pending.tags, payload, &mut self.out);
            if self.out.len() >= frame::STEP {
                self.write_out()?;
            }
        }
        self.payloads.clear();
        self.write_out()
    }

    fn write_out(&mut self) -> Result<(), SnapshotError> {
        self.sink.write(&self.out)?;
        self.bytes += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }

    /// Writes the end. Returns the number of records, and of bytes before packing.
    pub(super) fn finish(mut self) -> Result<(u64, u64), SnapshotError> {
        self.write_pending()?;
        let entries = self.encoder.end(&mut self.out);
        self.sink.write(&self.out)?;
        self.bytes += self.out.len() as u64;
        match self.sink {
            Sink::Plain(writer) => writer.flush()?,
            #[cfg(feature = "zstd")]
            Sink::Packed(packing) => packing.finish()?.flush()?,
        }
        Ok((entries, self.bytes))
    }
}

/// The key for an error message.
#[cfg(feature = "json")]
fn shown(key: &(impl Serialize + ?Sized)) -> Option<String> {
    /// Longer keys are cut off.
    const MAX_BYTES: usize = 100;
    let mut text = serde_json::to_string(key).ok()?;
    if text.len() > MAX_BYTES {
        let mut end = MAX_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    Some(text)
}

/// Without JSON no key can be shown.
#[cfg(not(feature = "json"))]
fn shown(_key: &(impl Serialize + ?Sized)) -> Option<String> {
    None
}

/// A payload that should be one line of text contains a line feed.
#[derive(Debug)]
struct LineFeed;

impl std::fmt::Display for LineFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a serializer of text wrote a line feed")
    }
}

impl std::error::Error for LineFeed {}
