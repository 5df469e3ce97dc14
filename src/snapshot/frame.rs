//! The frame: everything of a snapshot except the payloads, which the serializer writes.
//!
//! All numbers are little-endian, and checksums are CRC-32 (IEEE). A frame has one of two forms with the same
//! fields in the same order: bytes, or text for serializers that write text. In text, each number is its bytes
//! in hexadecimal followed by a space, a string is its length followed by its characters and a space, and each
//! part ends with a line feed.
//!
//! ```text
//! header   magic:8 version:4 flags:4 serializer policy types saved_at_ns:8 expected:8 crc:4
//!          (three strings, each length:4 and its bytes)
//! record   length:4 expires_in_ns:8 weight:4 frequency:4 warmth:4 word:4 crc:4 payload:length
//!          with flag 2: tags:4 before crc, and after crc that many bytes of tags (each length:4 and its bytes)
//! filler   2^32-2:4 length:4 0:4 crc:4 and length letters; flag 8 only
//! end      2^32-1:4 count:8 crc:4
//! ```
//!
//! With flag 1, everything from the first record on is packed by zstd. Earlier builds wrote frames without the
//! flags 2 and 8, and refuse frames that have them.
//!
//! The checksum of the header covers everything before it; that of a record its fields, tags and payload; that of
//! filler its fields and letters; and that of the end its fields and the checksums of all records and fillers in
//! order, so that a missing, repeated or moved record is noticed. Nothing may follow the end.
//!
//! Filler is written into a packed frame where records pack so well that a reader with a limit on the
//! [expansion](super::RestoreOptions::max_expansion) would refuse them. Its letters hardly pack, so the file becomes
//! as large as the limit requires.
//!
//! A reader trusts nothing: it compares a length with its limit before it allocates, and memory grows only as the
//! bytes arrive.
#![forbid(unsafe_code)]

use super::error::SnapshotError;
use crate::tags::MAX_TAGS;

mod decoder;

#[cfg(feature = "zstd")]
pub(crate) use decoder::TooPacked;
pub(crate) use decoder::{Decoder, FrameItem, Source};

pub(crate) const VERSION: u32 = 1;
pub(crate) const FLAG_ZSTD: u32 = 1;
/// Whether records have tags.
pub(crate) const FLAG_TAGS: u32 = 2;
/// Whether there may be filler. (Flag 4 is not used, and no snapshot was ever written with it.)
pub(crate) const FLAG_FILLER: u32 = 8;
const MAGIC_BYTES: [u8; 8] = *b"\x89LARDER\n";
const MAGIC_TEXT: [u8; 8] = *b"%larder\n";
/// Marks the end, in the place of a record's length.
const END: u32 = u32::MAX;
/// Marks filler, in the place of a record's length.
const FILLER: u32 = u32::MAX - 1;
/// The largest payload that a record can have.
pub(crate) const MAX_PAYLOAD: u64 = FILLER as u64 - 1;
/// The longest string of a header, in bytes.
const MAX_NAME: u32 = 1024;
/// Memory for a record grows by this, or by an eighth if that is more, as its bytes arrive.
pub(crate) const STEP: usize = 64 * 1024;
/// What `expires_in_ns` is for an entry without a deadline.
const NEVER: u64 = u64::MAX;

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Bytes,
    Text,
}

impl Form {
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Bytes => MAGIC_BYTES,
            Self::Text => MAGIC_TEXT,
        }
    }
}

/// The fields before the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) form: Form,
    pub(crate) flags: u32,
    pub(crate) serializer: String,
    pub(crate) policy: String,
    pub(crate) types: String,
    /// Nanoseconds since 1970.
    pub(crate) saved_at_ns: u64,
    /// The number of entries in the cache when the saving began.
    pub(crate) expected: u64,
}

/// The fields before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) expires_in_ns: Option<u64>,
    pub(crate) weight: u32,
    pub(crate) frequency: u8,
    pub(crate) warmth: u32,
    pub(crate) word: u32,
}

/// Writes the parts of a frame.
pub(crate) struct Encoder {
    form: Form,
    has_tags: bool,
    count: u64,
    records: crc32fast::Hasher,
}

/// A part that is being written, and the checksum of its fields.
struct Fields<'o> {
    form: Form,
    crc: crc32fast::Hasher,
    out: &'o mut Vec<u8>,
}

impl Fields<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        put(self.form, bytes, self.out);
    }

    fn put_text(&mut self, text: &str) {
        let mut end = text.len().min(MAX_NAME as usize);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = &text[..end];
        self.put(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        self.crc.update(text.as_bytes());
        self.out.extend_from_slice(text.as_bytes());
        if self.form == Form::Text {
            self.out.push(b' ');
        }
    }
}

fn put(form: Form, bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    match form {
        Form::Bytes => out.extend_from_slice(bytes),
        Form::Text => {
            for byte in bytes {
                out.push(DIGITS[usize::from(byte >> 4)]);
                out.push(DIGITS[usize::from(byte & 15)]);
            }
            out.push(b' ');
        }
    }
}

fn end_line(form: Form, out: &mut Vec<u8>) {
    if form == Form::Text {
        out.push(b'\n');
    }
}

impl Encoder {
    /// Appends the header to `out`.
    pub(crate) fn begin(header: &FrameHeader, out: &mut Vec<u8>) -> Self {
        let form = header.form;
        out.extend_from_slice(&form.magic());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&form.magic());
        let mut fields = Fields { form, crc, out };
        fields.put(&VERSION.to_le_bytes());
        fields.put(&header.flags.to_le_bytes());
        fields.put_text(&header.serializer);
        fields.put_text(&header.policy);
        fields.put_text(&header.types);
        fields.put(&header.saved_at_ns.to_le_bytes());
        fields.put(&header.expected.to_le_bytes());
        let crc = fields.crc.finalize();
        put(form, &crc.to_le_bytes(), out);
        end_line(form, out);
        let has_tags = header.flags & FLAG_TAGS != 0;
        Self { form, has_tags, count: 0, records: crc32fast::Hasher::new() }
    }

    /// Appends a record to `out`. `payload` and `tags`, which [`put_tag`] encoded, have at most [`MAX_PAYLOAD`] bytes
    /// each.
    pub(crate) fn record(&mut self, meta: Meta, tags: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        let checked = "the caller has checked the length";
        let length = u32::try_from(payload.len()).expect(checked);
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..12].copy_from_slice(&meta.expires_in_ns.unwrap_or(NEVER).to_le_bytes());
        bytes[12..16].copy_from_slice(&meta.weight.to_le_bytes());
        bytes[16..20].copy_from_slice(&u32::from(meta.frequency).to_le_bytes());
        bytes[20..24].copy_from_slice(&meta.warmth.to_le_bytes());
        bytes[24..28].copy_from_slice(&meta.word.to_le_bytes());
        bytes[28..].copy_from_slice(&u32::try_from(tags.len()).expect(checked).to_le_bytes());
        let bytes = if self.has_tags { &bytes[..] } else { &bytes[..28] };
        let mut crc = crc32fast::Hasher::new();
        crc.update(bytes);
        if self.has_tags {
            crc.update(tags);
        }
        crc.update(payload);
        let crc = crc.finalize().to_le_bytes();
        self.records.update(&crc);
        self.count += 1;
        if self.form == Form::Bytes {
            out.extend_from_slice(bytes);
        } else {
            for range in [0..4, 4..12, 12..16, 16..20, 20..24, 24..28, 28..32] {
                if let Some(field) = bytes.get(range) {
                    put(self.form, field, out);
                }
            }
        }
        put(self.form, &crc, out);
        if self.has_tags && !tags.is_empty() {
            put(self.form, tags, out);
        }
        out.extend_from_slice(payload);
        end_line(self.form, out);
    }

    /// Appends filler of `length` letters to `out`.
    #[cfg(feature = "zstd")]
    pub(crate) fn filler(&mut self, length: u32, out: &mut Vec<u8>) {
        const LETTERS: [u8; 64] =
            *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut fields = [0; 12];
        fields[..4].copy_from_slice(&FILLER.to_le_bytes());
        fields[4..8].copy_from_slice(&length.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&fields);
        // Xorshift, with another seed for each filler: repeated letters would pack.
        let mut state = self.count.wrapping_add(out.len() as u64) << 32 | u64::from(length) | 1;
        let letters: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                LETTERS[(state >> 58) as usize]
            })
            .collect();
        crc.update(&letters);
        let crc = crc.finalize().to_le_bytes();
        self.records.update(&crc);
        for field in fields.chunks_exact(4) {
            put(self.form, field, out);
        }
        put(self.form, &crc, out);
        out.extend_from_slice(&letters);
        end_line(self.form, out);
    }

    /// Appends the end to `out`; returns the number of records.
    pub(crate) fn end(self, out: &mut Vec<u8>) -> u64 {
        let (form, crc) = (self.form, self.records);
        let mut fields = Fields { form, crc, out };
        fields.put(&END.to_le_bytes());
        fields.put(&self.count.to_le_bytes());
        let crc = fields.crc.finalize();
        put(form, &crc.to_le_bytes(), out);
        end_line(form, out);
        self.count
    }
}

/// Appends a tag to the tags of a record.
pub(crate) fn put_tag(name: &str, tags: &mut Vec<u8>) -> Result<(), SnapshotError> {
    let given = name.len() as u64;
    let Some(length) = u32::try_from(given).ok().filter(|_| given <= MAX_PAYLOAD) else {
        return Err(SnapshotError::RecordTooLong { given, limit: MAX_PAYLOAD });
    };
    tags.extend_from_slice(&length.to_le_bytes());
    tags.extend_from_slice(name.as_bytes());
    Ok(())
}

/// The tags in `bytes`, and a `None` where the bytes are malformed.
fn tags(bytes: &[u8]) -> impl Iterator<Item = Option<&str>> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest.take().filter(|rest| !rest.is_empty())?;
        let name = bytes.split_first_chunk().and_then(|(length, after)| {
            after.split_at_checked(u32::from_le_bytes(*length) as usize)
        });
        Some(name.and_then(|(name, after)| {
            rest = Some(after);
            std::str::from_utf8(name).ok()
        }))
    })
}

/// Whether `bytes` are tags that an entry can have.
fn are_tags(bytes: &[u8]) -> bool {
    let mut count = 0;
    // One more than allowed is enough: names can be empty, so the bytes do not limit their number.
    tags(bytes).take(MAX_TAGS + 1).all(|tag| {
        count += 1;
        tag.is_some()
    }) && count <= MAX_TAGS
}
