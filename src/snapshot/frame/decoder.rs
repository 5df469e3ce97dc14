//! Reading a frame.
#![forbid(unsafe_code)]

use std::io::{self, Read};

use super::{
    END, FILLER, FLAG_FILLER, FLAG_TAGS, Form, FrameHeader, MAGIC_BYTES, MAGIC_TEXT, MAX_NAME,
    Meta, NEVER, STEP, VERSION, are_tags, tags,
};
use crate::snapshot::error::{Part, SnapshotError};

/// Reads numbers in a form, and counts the bytes.
pub(crate) struct Source<R> {
    form: Form,
    reader: R,
    at: u64,
}

impl<R: Read> Source<R> {
    /// Fills `bytes`, or fails because the snapshot is cut off.
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
            // The errors of unpacking for malformed bytes.
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
        for byte in &mut bytes {
            *byte = self.coded_byte(part)?;
        }
        self.expect(b' ', part)?;
        Ok(bytes)
    }

    /// Reads two hexadecimal digits.
    fn coded_byte(&mut self, part: Part) -> Result<u8, SnapshotError> {
        let at = self.at;
        let mut digits = [0; 2];
        self.exact(&mut digits)?;
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        match (digit(digits[0]), digit(digits[1])) {
            (Some(high), Some(low)) => Ok(high << 4 | low),
            _ => Err(SnapshotError::Damaged { part, at }),
        }
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

    /// Replaces the contents of `into` by the next `len` bytes.
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

    /// Replaces the contents of `into` by the next `len` bytes, which are hexadecimal in text.
    fn coded(&mut self, len: usize, into: &mut Vec<u8>, part: Part) -> Result<(), SnapshotError> {
        if self.form == Form::Bytes {
            return self.bytes(len, into);
        }
        into.clear();
        if len == 0 {
            return Ok(());
        }
        for _ in 0..len {
            into.push(self.coded_byte(part)?);
        }
        self.expect(b' ', part)
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
    pub(crate) fn begin(reader: R) -> Result<(Self, FrameHeader), SnapshotError> {
        let mut source = Self { form: Form::Bytes, reader, at: 0 };
        let mut magic = [0; 8];
        match source.exact(&mut magic) {
            // Too short even for the first bytes of a snapshot.
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
        let header = FrameHeader {
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

    /// Continues at the same place with the reader that `wrap` returns.
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

/// A part of a frame, as it was read.
pub(crate) enum FrameItem {
    /// A record whose payload is in the buffer.
    Record(Meta),
    /// A record that does not match its checksum, or has invalid fields.
    Damaged,
    /// The end, and whether its count and checksum match the records.
    End { is_whole: bool },
}

/// Reads the parts of a frame after its header.
pub(crate) struct Decoder<R> {
    source: Source<R>,
    flags: u32,
    max_record_bytes: u64,
    count: u64,
    records: crc32fast::Hasher,
    /// The tags of the record that was read last, encoded.
    tags: Vec<u8>,
}

impl<R: Read> Decoder<R> {
    /// Continues after the header.
    pub(crate) fn new(source: Source<R>, flags: u32, max_record_bytes: u64) -> Self {
        let records = crc32fast::Hasher::new();
        Self { source, flags, max_record_bytes, count: 0, records, tags: Vec::new() }
    }

    /// The next part that is not filler; the payload of a record replaces the contents of `payload`.
    pub(crate) fn next(&mut self, payload: &mut Vec<u8>) -> Result<FrameItem, SnapshotError> {
        loop {
            let mut bytes = [0; 32];
            // The end and the fields of filler are as long as the first half of a record's fields.
            if self.source.form == Form::Bytes {
                bytes[..16].copy_from_slice(&self.source.number::<16>(Part::Record)?);
            } else {
                bytes[..4].copy_from_slice(&self.source.number::<4>(Part::Record)?);
            }
            match u32::from_le_bytes(first(&bytes)) {
                END => return self.next_end(&bytes),
                FILLER if self.flags & FLAG_FILLER != 0 => {
                    if !self.pass_filler(bytes)? {
                        return Ok(FrameItem::Damaged);
                    }
                }
                length => return self.next_record(length.into(), bytes, payload),
            }
        }
    }

    fn next_end(&mut self, bytes: &[u8; 32]) -> Result<FrameItem, SnapshotError> {
        if self.source.form == Form::Bytes {
            return self.end(first(&bytes[4..]), first(&bytes[12..]));
        }
        let count = self.source.number::<8>(Part::End)?;
        let crc = self.source.number::<4>(Part::End)?;
        self.end(count, crc)
    }

    /// Reads filler piece by piece, and says whether it matches its checksum.
    fn pass_filler(&mut self, mut bytes: [u8; 32]) -> Result<bool, SnapshotError> {
        if self.source.form == Form::Text {
            for start in [4, 8, 12] {
                bytes[start..start + 4].copy_from_slice(&self.source.number::<4>(Part::Record)?);
            }
        }
        let given: [u8; 4] = first(&bytes[12..]);
        let mut left = u64::from(u32::from_le_bytes(first(&bytes[4..])));
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[..12]);
        let mut letters = [0; 4096];
        while left > 0 {
            let piece = &mut letters[..usize::try_from(left).unwrap_or(usize::MAX).min(4096)];
            self.source.exact(piece)?;
            crc.update(piece);
            left -= piece.len() as u64;
        }
        self.source.expect(b'\n', Part::Record)?;
        self.records.update(&given);
        Ok(crc.finalize().to_le_bytes() == given)
    }

    fn next_record(
        &mut self,
        length: u64,
        mut bytes: [u8; 32],
        payload: &mut Vec<u8>,
    ) -> Result<FrameItem, SnapshotError> {
        let has_tags = self.flags & FLAG_TAGS != 0;
        let fields = if has_tags { 32 } else { 28 };
        let crc: [u8; 4] = if self.source.form == Form::Bytes {
            let tail = self.source.number::<16>(Part::Record)?;
            bytes[16..].copy_from_slice(&tail);
            // Without tags, the checksum is where their length would be.
            if has_tags { self.source.number(Part::Record)? } else { first(&tail[12..]) }
        } else {
            bytes[4..12].copy_from_slice(&self.source.number::<8>(Part::Record)?);
            for start in (12..fields).step_by(4) {
                bytes[start..start + 4].copy_from_slice(&self.source.number::<4>(Part::Record)?);
            }
            self.source.number::<4>(Part::Record)?
        };
        let bytes = &bytes[..fields];
        let word = |at: usize| u32::from_le_bytes(first(&bytes[at..]));
        let tags = if has_tags { word(28) } else { 0 };
        let (given, limit) = (length + u64::from(tags), self.max_record_bytes);
        if given > limit {
            return Err(SnapshotError::RecordTooLong { given, limit });
        }
        self.source.coded(tags as usize, &mut self.tags, Part::Record)?;
        self.source.bytes(usize::try_from(length).unwrap_or(usize::MAX), payload)?;
        self.source.expect(b'\n', Part::Record)?;
        let mut actual = crc32fast::Hasher::new();
        actual.update(bytes);
        actual.update(&self.tags);
        actual.update(payload);
        self.records.update(&crc);
        self.count += 1;
        let expires_in_ns = u64::from_le_bytes(first(&bytes[4..]));
        let frequency = u8::try_from(word(16));
        let (true, Ok(frequency)) = (actual.finalize().to_le_bytes() == crc, frequency) else {
            return Ok(FrameItem::Damaged);
        };
        if !self.tags.is_empty() && !are_tags(&self.tags) {
            return Ok(FrameItem::Damaged);
        }
        Ok(FrameItem::Record(Meta {
            expires_in_ns: (expires_in_ns != NEVER).then_some(expires_in_ns),
            weight: word(12),
            frequency,
            warmth: word(20),
            word: word(24),
        }))
    }

    /// The tags of the record that was read last, no more than an entry may have.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &str> {
        tags(&self.tags).map_while(|tag| tag)
    }

    /// The same, encoded.
    pub(crate) fn coded_tags(&self) -> &[u8] {
        &self.tags
    }

    fn end(&mut self, count: [u8; 8], given: [u8; 4]) -> Result<FrameItem, SnapshotError> {
        let mut crc = self.records.clone();
        crc.update(&END.to_le_bytes());
        crc.update(&count);
        let is_whole =
            given == crc.finalize().to_le_bytes() && u64::from_le_bytes(count) == self.count;
        self.source.expect(b'\n', Part::End)?;
        // Reads to the end of the packed bytes, so that unpacking checks its own checksum, too. Not by `exact`, which
        // reports the end and packed bytes that are cut off alike.
        loop {
            match self.source.reader.read(&mut [0]) {
                Ok(0) => return Ok(FrameItem::End { is_whole }),
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

/// The first `N` bytes; the caller passes at least as many.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&bytes[..N]);
    taken
}

/// There are more unpacked bytes than this many times the packed ones.
#[derive(Debug)]
pub(crate) struct TooPacked(pub(crate) u32);

impl std::fmt::Display for TooPacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unpacks to more than {} times its size", self.0)
    }
}

impl std::error::Error for TooPacked {}
