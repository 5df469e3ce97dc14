//! The frame: everything of a snapshot but the payloads, which are the serializer's.
//!
//! All numbers are little-endian and checksums are CRC-32 (IEEE). A frame comes in two forms with
//! the same fields in the same order: bytes, and text for serializers that write text, where each
//! number is its bytes in hexadecimal followed by a space, a string its length and itself, and each
//! part ends with a line feed.
//!
//! ```text
//! header   magic:8 version:4 flags:4 serializer policy types saved_at_ns:8 expected:8 crc:4
//!          (three strings, each length:4 and its bytes)
//! record   length:4 expires_in_ns:8 weight:4 frequency:4 warmth:4 word:4 crc:4 payload:length
//! ...      flag 1: all from the first record on is packed by zstd
//! end      2^32-1:4 count:8 crc:4
//! ```
//!
//! The checksum of the header covers all before it, that of a record its fields and its payload,
//! that of the end its fields and the checksums of all records in order: a record that is missing,
//! doubled or moved is noticed. Nothing may follow the end.
//!
//! A reader believes nothing: a length is compared with its bound before anything is allocated, and
//! memory grows with the bytes that are really there.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};

use super::error::{Part, SnapshotError};

pub(crate) const VERSION: u32 = 1;
pub(crate) const FLAG_ZSTD: u32 = 1;
const MAGIC_BYTES: [u8; 8] = *b"\x89LARDER\n";
const MAGIC_TEXT: [u8; 8] = *b"%larder\n";
/// In the place of a record's length.
const END: u32 = u32::MAX;
/// No string of the header is longer.
const MAX_NAME: u32 = 1024;
/// Memory for a record grows by this, or by an eighth, as its bytes arrive.
const STEP: usize = 64 * 1024;
/// No deadline.
const NEVER: u64 = u64::MAX;

/// How the numbers are written.
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

/// What stands before the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) form: Form,
    pub(crate) flags: u32,
    pub(crate) serializer: String,
    pub(crate) policy: String,
    pub(crate) types: String,
    /// Nanoseconds since 1970.
    pub(crate) saved_at_ns: u64,
    /// Entries that there were when the saving began.
    pub(crate) expected: u64,
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) expires_in_ns: Option<u64>,
    pub(crate) weight: u32,
    pub(crate) frequency: u8,
    pub(crate) warmth: u32,
    pub(crate) word: u32,
}

/// Puts the parts of a frame together.
pub(crate) struct Encoder {
    form: Form,
    count: u64,
    records: crc32fast::Hasher,
}

/// A part under construction: what is written, and the checksum of what it means.
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
    pub(crate) fn begin(header: &Header, out: &mut Vec<u8>) -> Self {
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
        Self { form, count: 0, records: crc32fast::Hasher::new() }
    }

    /// Appends a record to `out`. `payload` is shorter than 2^32 - 1.
    pub(crate) fn record(&mut self, meta: Meta, payload: &[u8], out: &mut Vec<u8>) {
        let length = u32::try_from(payload.len()).expect("the caller has looked at its length");
        let mut bytes = [0; 28];
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..12].copy_from_slice(&meta.expires_in_ns.unwrap_or(NEVER).to_le_bytes());
        bytes[12..16].copy_from_slice(&meta.weight.to_le_bytes());
        bytes[16..20].copy_from_slice(&u32::from(meta.frequency).to_le_bytes());
        bytes[20..24].copy_from_slice(&meta.warmth.to_le_bytes());
        bytes[24..28].copy_from_slice(&meta.word.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes);
        crc.update(payload);
        let crc = crc.finalize().to_le_bytes();
        self.records.update(&crc);
        self.count += 1;
        if self.form == Form::Bytes {
            out.extend_from_slice(&bytes);
        } else {
            for range in [0..4, 4..12, 12..16, 16..20, 20..24, 24..28] {
                put(self.form, &bytes[range], out);
            }
        }
        put(self.form, &crc, out);
        out.extend_from_slice(payload);
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

/// Reads numbers of a form and counts the bytes.
pub(crate) struct Source<R> {
    form: Form,
    reader: R,
    at: u64,
}

impl<R: Read> Source<R> {
    /// Fills `bytes` or says that the snapshot is cut off.
    fn exact(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) => return Err(SnapshotError::CutOff { at: self.at }),
                Ok(read) => {
                    filled += read;
                    self.at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
        Ok(())
    }

    fn io(&self, error: io::Error) -> SnapshotError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => SnapshotError::CutOff { at: self.at },
            // What the unpacking says of bytes that it did not write.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
                match error.get_ref().and_then(|it| it.downcast_ref::<TooPacked>()) {
                    Some(TooPacked(limit)) => SnapshotError::TooPacked { limit: *limit },
                    None if error.raw_os_error().is_some() => SnapshotError::Io(error),
                    None => SnapshotError::Damaged { part: Part::Packing, at: self.at },
                }
            }
            _ => SnapshotError::Io(error),
        }
    }

    fn number<const N: usize>(&mut self, part: Part) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        if self.form == Form::Bytes {
            self.exact(&mut bytes)?;
            return Ok(bytes);
        }
        let at = self.at;
        for byte in &mut bytes {
            let mut digits = [0; 2];
            self.exact(&mut digits)?;
            let digit = |digit: u8| match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            };
            let (Some(high), Some(low)) = (digit(digits[0]), digit(digits[1])) else {
                return Err(SnapshotError::Damaged { part, at });
            };
            *byte = high << 4 | low;
        }
        self.expect(b' ', part)?;
        Ok(bytes)
    }

    fn expect(&mut self, expected: u8, part: Part) -> Result<(), SnapshotError> {
        if self.form == Form::Bytes {
            return Ok(());
        }
        let at = self.at;
        let mut byte = [0];
        self.exact(&mut byte)?;
        if byte[0] == expected { Ok(()) } else { Err(SnapshotError::Damaged { part, at }) }
    }

    /// Replaces what `into` holds by the next `len` bytes.
    fn bytes(&mut self, len: usize, into: &mut Vec<u8>) -> Result<(), SnapshotError> {
        into.clear();
        while into.len() < len {
            let filled = into.len();
            let step = (len - filled).min(STEP.max(filled / 8));
            into.reserve_exact(step);
            into.resize(filled + step, 0);
            self.exact(&mut into[filled..])?;
        }
        Ok(())
    }

    fn text(
        &mut self,
        crc: &mut crc32fast::Hasher,
        scratch: &mut Vec<u8>,
    ) -> Result<String, SnapshotError> {
        let at = self.at;
        let length = self.number::<4>(Part::Header)?;
        crc.update(&length);
        let length = u32::from_le_bytes(length);
        let damaged = SnapshotError::Damaged { part: Part::Header, at };
        if length > MAX_NAME {
            return Err(damaged);
        }
        self.bytes(length as usize, scratch)?;
        crc.update(scratch);
        self.expect(b' ', Part::Header)?;
        std::str::from_utf8(scratch).map(str::to_owned).map_err(|_| damaged)
    }

    /// Reads the header.
    pub(crate) fn begin(reader: R) -> Result<(Self, Header), SnapshotError> {
        let mut source = Self { form: Form::Bytes, reader, at: 0 };
        let mut magic = [0; 8];
        match source.exact(&mut magic) {
            // Too short even for that, and so nothing of ours.
            Err(SnapshotError::CutOff { .. }) => return Err(SnapshotError::NotASnapshot),
            other => other?,
        }
        source.form = match magic {
            MAGIC_BYTES => Form::Bytes,
            MAGIC_TEXT => Form::Text,
            _ => return Err(SnapshotError::NotASnapshot),
        };
        let mut crc = crc32fast::Hasher::new();
        crc.update(&magic);
        let version = source.number::<4>(Part::Header)?;
        crc.update(&version);
        match u32::from_le_bytes(version) {
            VERSION => {}
            0 => return Err(SnapshotError::Damaged { part: Part::Header, at: 8 }),
            given => return Err(SnapshotError::NewerVersion { given, newest: VERSION }),
        }
        let mut scratch = Vec::new();
        let flags = source.number::<4>(Part::Header)?;
        crc.update(&flags);
        let serializer = source.text(&mut crc, &mut scratch)?;
        let policy = source.text(&mut crc, &mut scratch)?;
        let types = source.text(&mut crc, &mut scratch)?;
        let saved_at = source.number::<8>(Part::Header)?;
        crc.update(&saved_at);
        let expected = source.number::<8>(Part::Header)?;
        crc.update(&expected);
        let at = source.at;
        if source.number::<4>(Part::Header)? != crc.finalize().to_le_bytes() {
            return Err(SnapshotError::Damaged { part: Part::Header, at });
        }
        source.expect(b'\n', Part::Header)?;
        let header = Header {
            form: source.form,
            flags: u32::from_le_bytes(flags),
            serializer,
            policy,
            types,
            saved_at_ns: u64::from_le_bytes(saved_at),
            expected: u64::from_le_bytes(expected),
        };
        Ok((source, header))
    }

    /// The same place, read by what `wrap` makes of the reader.
    pub(crate) fn try_map<T>(
        self,
        wrap: impl FnOnce(R) -> io::Result<T>,
    ) -> Result<Source<T>, SnapshotError> {
        let (form, at) = (self.form, self.at);
        Ok(Source { form, reader: wrap(self.reader)?, at })
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }
}

/// What a reader met.
pub(crate) enum Item {
    /// A record whose payload is in the buffer.
    Record(Meta),
    /// A record of that many payload bytes whose checksum does not hold.
    Damaged,
    /// The end, and whether count and checksum of all records hold.
    End { is_whole: bool },
}

/// Takes a frame apart.
pub(crate) struct Decoder<R> {
    source: Source<R>,
    max_record_bytes: u64,
    count: u64,
    records: crc32fast::Hasher,
}

impl<R: Read> Decoder<R> {
    /// Goes on after the header.
    pub(crate) fn new(source: Source<R>, max_record_bytes: u64) -> Self {
        Self { source, max_record_bytes, count: 0, records: crc32fast::Hasher::new() }
    }

    /// The next part; the payload of a record replaces what `payload` holds.
    pub(crate) fn next(&mut self, payload: &mut Vec<u8>) -> Result<Item, SnapshotError> {
        let mut bytes = [0; 28];
        let (length, crc);
        if self.source.form == Form::Bytes {
            // Few reads for a record: the end is as long as its half.
            let head = self.source.number::<16>(Part::Record)?;
            length = first(&head);
            if u32::from_le_bytes(length) == END {
                let (count, crc) = head[4..].split_at(8);
                return self.end(first(count), first(crc));
            }
            let tail = self.source.number::<16>(Part::Record)?;
            bytes[..16].copy_from_slice(&head);
            bytes[16..].copy_from_slice(&tail[..12]);
            crc = first(&tail[12..]);
        } else {
            length = self.source.number::<4>(Part::Record)?;
            if u32::from_le_bytes(length) == END {
                let count = self.source.number::<8>(Part::End)?;
                let crc = self.source.number::<4>(Part::End)?;
                return self.end(count, crc);
            }
            bytes[..4].copy_from_slice(&length);
            bytes[4..12].copy_from_slice(&self.source.number::<8>(Part::Record)?);
            for start in [12, 16, 20, 24] {
                bytes[start..start + 4].copy_from_slice(&self.source.number::<4>(Part::Record)?);
            }
            crc = self.source.number::<4>(Part::Record)?;
        }
        let length = u64::from(u32::from_le_bytes(length));
        if length > self.max_record_bytes {
            let limit = self.max_record_bytes;
            return Err(SnapshotError::RecordTooLong { given: length, limit });
        }
        self.source.bytes(usize::try_from(length).unwrap_or(usize::MAX), payload)?;
        self.source.expect(b'\n', Part::Record)?;
        let mut actual = crc32fast::Hasher::new();
        actual.update(&bytes);
        actual.update(payload);
        self.records.update(&crc);
        self.count += 1;
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let expires_in_ns = u64::from(word(4)) | u64::from(word(8)) << 32;
        let frequency = u8::try_from(word(16));
        let (true, Ok(frequency)) = (actual.finalize().to_le_bytes() == crc, frequency) else {
            return Ok(Item::Damaged);
        };
        Ok(Item::Record(Meta {
            expires_in_ns: (expires_in_ns != NEVER).then_some(expires_in_ns),
            weight: word(12),
            frequency,
            warmth: word(20),
            word: word(24),
        }))
    }

    fn end(&mut self, count: [u8; 8], given: [u8; 4]) -> Result<Item, SnapshotError> {
        let mut crc = self.records.clone();
        crc.update(&END.to_le_bytes());
        crc.update(&count);
        let is_whole =
            given == crc.finalize().to_le_bytes() && u64::from_le_bytes(count) == self.count;
        self.source.expect(b'\n', Part::End)?;
        // Through whatever unpacks, so that its own checksum is looked at as well.
        // Not `exact`: a packing that is cut off is no end.
        loop {
            match self.source.reader.read(&mut [0]) {
                Ok(0) => return Ok(Item::End { is_whole }),
                Ok(_) => {
                    return Err(SnapshotError::Damaged { part: Part::Rest, at: self.source.at });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.source.io(error)),
            }
        }
    }

    pub(crate) fn at(&self) -> u64 {
        self.source.at()
    }
}

/// The first bytes, of which there are enough.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&bytes[..N]);
    taken
}

/// Unpacked bytes are too many.
#[derive(Debug)]
struct TooPacked(u32);

impl std::fmt::Display for TooPacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unpacks to more than {} times its size", self.0)
    }
}

impl std::error::Error for TooPacked {}

/// Packed bytes, which are counted, and what they unpack to.
#[cfg(feature = "zstd")]
pub(crate) mod packed {
    use std::cell::Cell;
    use std::io::{self, BufReader, Read};
    use std::rc::Rc;

    use super::TooPacked;

    /// That much a snapshot may always unpack to.
    const FREE: u64 = 1 << 20;
    /// 8 MiB: what the writer's level needs at most, and all that a hostile file gets.
    const MAX_WINDOW_LOG: u32 = 23;

    pub(crate) struct Counting<R> {
        inner: R,
        read: Rc<Cell<u64>>,
    }

    impl<R: Read> Read for Counting<R> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let read = self.inner.read(into)?;
            self.read.set(self.read.get() + read as u64);
            Ok(read)
        }
    }

    pub(crate) struct Unpacking<R: Read> {
        decoder: zstd::stream::read::Decoder<'static, BufReader<Counting<R>>>,
        read: Rc<Cell<u64>>,
        unpacked: u64,
        max_expansion: u32,
        is_over: bool,
    }

    impl<R: Read> Unpacking<R> {
        pub(crate) fn new(inner: R, max_expansion: u32) -> io::Result<Self> {
            let read = Rc::new(Cell::new(0));
            let counting = Counting { inner, read: Rc::clone(&read) };
            let mut decoder = zstd::stream::read::Decoder::new(counting)?.single_frame();
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Ok(Self { decoder, read, unpacked: 0, max_expansion, is_over: false })
        }
    }

    impl<R: Read> Read for Unpacking<R> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.is_over {
                return Ok(0);
            }
            let read = self.decoder.read(into)?;
            if read == 0 && !into.is_empty() {
                self.is_over = true;
                // What follows the packed part shows as a byte too many.
                return self.decoder.get_mut().read(&mut into[..1]);
            }
            self.unpacked += read as u64;
            let allowed = self.read.get().saturating_mul(u64::from(self.max_expansion));
            if self.unpacked > allowed.saturating_add(FREE) {
                return Err(io::Error::other(TooPacked(self.max_expansion)));
            }
            Ok(read)
        }
    }
}

/// Hands on what it is given, in larger pieces.
pub(crate) fn write_if_long(out: &mut Vec<u8>, to: &mut impl Write) -> io::Result<()> {
    if out.len() >= STEP {
        to.write_all(out)?;
        out.clear();
    }
    Ok(())
}
