//! The bytes of a trace: opens the file, decompresses it, counts bytes, and cuts them into lines or
//! records.
//!
//! Owns decompression, the encodings of text and the limit on the length of a line; the parsers
//! decide what a line or a record means. Memory stays bounded whatever the bytes are: a line by
//! [`MAX_LINE_BYTES`], zstd by the 128 MiB window that its decoder allows. The number of requests,
//! which the parsers count, bounds how far a file may expand.

mod gzip;
mod encoding;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::rc::Rc;

use crate::trace::compression::{Compression, other_packing};
use crate::trace::error::{Position, Problem, TraceError};

use self::encoding::Transcoder;
use self::gzip::GzipMembers;

/// The longest line that a text trace may have.
pub(crate) const MAX_LINE_BYTES: u64 = 64 * 1024;

const BUFFER_BYTES: usize = 64 * 1024;

/// A decompressed trace and the current position in it.
pub(crate) struct Input {
    name: String,
    compression: Compression,
    reader: BufReader<Box<dyn Read>>,
    /// Set when the file itself could not be read; any other error comes from the decoder.
    has_source_failed: Rc<Cell<bool>>,
    offset_bytes: u64,
    /// The start of the last record read.
    record_start_bytes: u64,
    line: u64,
    /// Whether the first bytes have been checked for a byte order mark.
    is_text: bool,
    /// Set when UTF-16 text turned out to be malformed.
    has_encoding_failed: Rc<Cell<bool>>,
}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> Result<Self, TraceError> {
        if path == Path::new("-") {
            return Self::new("standard input", io::stdin());
        }
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Self::new(name, file),
            Err(source) => Err(TraceError::Open { file: name, source }),
        }
    }

    /// Reads `bytes`, which error messages call `name`.
    pub(crate) fn new(
        name: impl Into<String>,
        bytes: impl Read + 'static,
    ) -> Result<Self, TraceError> {
        let name = name.into();
        let has_source_failed = Rc::new(Cell::new(false));
        let mut source = WatchedSource { bytes, has_failed: Rc::clone(&has_source_failed) };
        let mut head = Vec::with_capacity(Compression::MAGIC_BYTES);
        if let Err(source) =
            source.by_ref().take(Compression::MAGIC_BYTES as u64).read_to_end(&mut head)
        {
            return Err(TraceError::Read { file: name, source });
        }
        if let Some(packing) = other_packing(&head) {
            let (position, problem) = (Position::Byte(0), Problem::OtherPacking { packing });
            return Err(TraceError::Malformed { file: name, position, problem });
        }
        let compression = Compression::of(&head);
        let bytes = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(source));
        let reader: Box<dyn Read> = match compression {
            Compression::None => Box::new(bytes),
            Compression::Gzip => Box::new(GzipMembers::new(bytes)),
            Compression::Zstd => match zstd::Decoder::with_buffer(bytes) {
                Ok(decoder) => Box::new(decoder),
                Err(source) => return Err(TraceError::Read { file: name, source }),
            },
        };
        Ok(Input {
            name,
            compression,
            reader: BufReader::with_capacity(BUFFER_BYTES, reader),
            has_source_failed,
            offset_bytes: 0,
            record_start_bytes: 0,
            line: 0,
            is_text: false,
            has_encoding_failed: Rc::default(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The next line without its line end, or `None` after the last. The result borrows `line`.
    pub(crate) fn next_line<'a>(
        &mut self,
        line: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>, TraceError> {
        self.begin_text()?;
        line.clear();
        // One byte more than the limit distinguishes a line that is too long from one that just
        // fits.
        let read = self.reader.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', line);
        match read {
            Err(failure) => return Err(self.read_failure(failure)),
            Ok(0) => return Ok(None),
            Ok(given) => self.offset_bytes += given as u64,
        }
        self.line += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() as u64 > MAX_LINE_BYTES {
            return Err(self.bad_line(Problem::LineTooLong { limit_bytes: MAX_LINE_BYTES }));
        }
        if line.contains(&0) {
            return Err(self.bad_line(Problem::NulByte));
        }
        let text = line.trim_ascii();
        if text.contains(&b'\r') {
            return Err(self.bad_line(Problem::LoneCarriageReturn));
        }
        Ok(Some(text))
    }

    /// Sets the current line, which errors name, for a parser that cuts lines itself.
    pub(crate) fn set_line(&mut self, line: u64) {
        self.line = line - 1;
    }

    /// Skips a byte order mark and, if the mark is that of UTF-16, which spreadsheets write,
    /// transcodes the text to UTF-8. A parser that cuts lines itself has to call this first.
    pub(crate) fn begin_text(&mut self) -> Result<(), TraceError> {
        if std::mem::replace(&mut self.is_text, true) {
            return Ok(());
        }
        let mut head = Vec::with_capacity(encoding::MARK_BYTES);
        let read = self.reader.by_ref().take(encoding::MARK_BYTES as u64).read_to_end(&mut head);
        if let Err(failure) = read {
            return Err(self.read_failure(failure));
        }
        let nothing: Box<dyn Read> = Box::new(io::empty());
        let rest = std::mem::replace(&mut self.reader, BufReader::with_capacity(0, nothing));
        if head == b"PK\x03" {
            let problem = Problem::OtherPacking { packing: "zip, as a spreadsheet's own file is" };
            return Err(self.malformed(Position::Line(1), problem));
        }
        let mut head = Cursor::new(head);
        let found = encoding::of(head.get_ref());
        if let Some((_, mark_bytes)) = found {
            self.offset_bytes += mark_bytes as u64;
            head.set_position(mark_bytes as u64);
        }
        let bytes = head.chain(rest);
        let text: Box<dyn Read> = match found {
            Some((encoding, _)) if !encoding::is_utf8(encoding) => {
                let has_failed = Rc::clone(&self.has_encoding_failed);
                Box::new(Transcoder::new(bytes, encoding, has_failed))
            }
            _ => Box::new(bytes),
        };
        self.reader = BufReader::with_capacity(BUFFER_BYTES, text);
        Ok(())
    }

    /// The next bytes, empty only at the end of the file; for a parser that cuts them itself.
    pub(crate) fn fill(&mut self) -> Result<&[u8], TraceError> {
        // The buffer is filled first and borrowed afterwards, or the borrow would still be live
        // where the error is built.
        if let Err(failure) = fill_uninterrupted(&mut self.reader) {
            return Err(self.read_failure(failure));
        }
        Ok(self.reader.buffer())
    }

    /// Marks as read that many of the bytes that [`Self::fill`] returned.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.offset_bytes += bytes as u64;
    }

    /// The next `N` bytes, or `None` after the last record.
    pub(crate) fn next_record<const N: usize>(&mut self) -> Result<Option<[u8; N]>, TraceError> {
        self.record_start_bytes = self.offset_bytes;
        let mut record = [0; N];
        let mut given = 0;
        while given < N {
            let bytes = self.fill()?;
            let more = bytes.len().min(N - given);
            record[given..given + more].copy_from_slice(&bytes[..more]);
            if more == 0 {
                return match given {
                    0 => Ok(None),
                    _ => Err(self.bad_record(Problem::TruncatedRecord { given, record: N })),
                };
            }
            self.consume(more);
            given += more;
        }
        Ok(Some(record))
    }

    /// Reports `problem` in the last line read.
    pub(crate) fn bad_line(&self, problem: Problem) -> TraceError {
        self.malformed(Position::Line(self.line), problem)
    }

    /// Reports `problem` in the last record read.
    pub(crate) fn bad_record(&self, problem: Problem) -> TraceError {
        self.malformed(Position::Byte(self.record_start_bytes), problem)
    }

    pub(crate) fn malformed(&self, position: Position, problem: Problem) -> TraceError {
        TraceError::Malformed { file: self.name.clone(), position, problem }
    }

    /// Turns a failed read into an error of the machine, of the compression or of the encoding.
    fn read_failure(&self, reason: io::Error) -> TraceError {
        if self.has_encoding_failed.get() {
            // The line that was being read, not the last complete one.
            return self.malformed(Position::Line(self.line + 1), Problem::BadUtf16);
        }
        if self.has_source_failed.get() || self.compression == Compression::None {
            return TraceError::Read { file: self.name.clone(), source: reason };
        }
        let problem = Problem::Corrupt { compression: self.compression, reason };
        self.malformed(Position::Byte(self.offset_bytes), problem)
    }
}

fn fill_uninterrupted(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        match reader.fill_buf() {
            Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
            filled => return filled.map(drop),
        }
    }
}

/// The packed bytes; remembers whether reading them failed.
struct WatchedSource<R> {
    bytes: R,
    has_failed: Rc<Cell<bool>>,
}

impl<R: Read> Read for WatchedSource<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let given = self.bytes.read(buffer);
        if given.as_ref().is_err_and(|failure| failure.kind() != io::ErrorKind::Interrupted) {
            self.has_failed.set(true);
        }
        given
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    /// An input over bytes in memory, for the parsers' tests.
    pub(crate) fn input(bytes: impl AsRef<[u8]>) -> Input {
        Input::new("t", Cursor::new(bytes.as_ref().to_vec())).unwrap()
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    /// An input whose bytes come one at a time.
    pub(crate) fn trickle(bytes: &[u8]) -> Input {
        struct Trickle(Cursor<Vec<u8>>);
        impl Read for Trickle {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let one = buffer.len().min(1);
                self.0.read(&mut buffer[..one])
            }
        }
        Input::new("t", Trickle(Cursor::new(bytes.to_vec()))).unwrap()
    }

    fn lines(mut input: Input) -> Result<Vec<String>, TraceError> {
        let mut line = Vec::new();
        let mut all = Vec::new();
        while let Some(text) = input.next_line(&mut line)? {
            all.push(String::from_utf8(text.to_vec()).unwrap());
        }
        Ok(all)
    }

    #[test]
    fn lines_come_out_alike_however_the_file_is_packed() {
        let text = b"a\r\n  b\n\nlast";
        let two_frames = [zstd(b"a\r\n  b\n"), zstd(b"\nlast")].concat();
        let two_members = [gzip(b"a\r\n  b\n"), gzip(b"\nlast")].concat();
        // A skippable frame: magic number, length 3, three bytes.
        let skipped = [b"\x50\x2a\x4d\x18\x03\0\0\0xyz".to_vec(), zstd(text)].concat();
        for packed in [text.to_vec(), gzip(text), zstd(text), two_frames, two_members, skipped] {
            assert_eq!(lines(input(packed)).unwrap(), ["a", "b", "", "last"]);
        }
    }

    #[test]
    fn cut_off_compression_is_malformed_and_names_the_offset() {
        let noise: Vec<u8> =
            (0..200_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        for packed in [gzip(&noise), zstd(&noise)] {
            for kept in [packed.len() - 1, packed.len() / 2, 5] {
                let mut input = input(&packed[..kept]);
                let failure = loop {
                    match input.next_record::<4>() {
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("{kept} bytes of {} passed as whole", packed.len()),
                        Err(failure) => break failure,
                    }
                };
                assert!(
                    matches!(
                        failure,
                        TraceError::Malformed {
                            position: Position::Byte(_),
                            problem: Problem::Corrupt { .. },
                            ..
                        }
                    ),
                    "{failure}"
                );
            }
        }
    }

    #[test]
    fn garbage_after_a_magic_number_is_malformed() {
        for magic in [&b"\x1f\x8b\x08"[..], b"\x28\xb5\x2f\xfd"] {
            let failure = lines(input([magic, &[0xaa; 100]].concat())).unwrap_err();
            assert!(matches!(failure, TraceError::Malformed { .. }), "{failure}");
        }
    }

    #[test]
    fn files_of_other_packers_are_refused_by_name() {
        for (bytes, name) in [
            (&b"\xfd7zXZ\0\0\x04"[..], "xz"),
            (b"BZh91AY&SY\xe3\x12", "bzip2"),
            (b"PK\x03\x04\x14\0", "zip"),
        ] {
            let failure = Input::new("t", bytes).and_then(lines).unwrap_err().to_string();
            assert!(failure.contains(&format!("packed with {name}")), "{failure}");
        }
        // A text key and raw keys may start with these bytes.
        assert_eq!(lines(input("BZh9 is a key")).unwrap(), ["BZh9 is a key"]);
        assert_eq!(input(b"PK\x03\x04").next_record().unwrap(), Some(*b"PK\x03\x04"));
    }

    #[test]
    fn a_failing_disk_is_not_reported_as_a_malformed_file() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("disk on fire"))
            }
        }
        let packed = gzip(b"some lines\n");
        let half = Cursor::new(packed[..12].to_vec()).chain(Failing);
        let failure = lines(Input::new("t", half).unwrap()).unwrap_err();
        assert!(matches!(failure, TraceError::Read { .. }), "{failure}");
    }

    #[test]
    fn a_bomb_in_one_line_is_refused_at_the_line_limit() {
        let bomb = vec![b'a'; 8 << 20];
        for packed in [gzip(&bomb), zstd(&bomb)] {
            let mut input = input(packed);
            let mut line = Vec::new();
            let failure = input.next_line(&mut line).unwrap_err();
            assert!(failure.to_string().starts_with("t:1: a line of more than"), "{failure}");
            assert!(line.capacity() as u64 <= 4 * MAX_LINE_BYTES);
        }
    }

    #[test]
    fn a_line_of_just_the_limit_is_allowed() {
        let longest = "k".repeat(MAX_LINE_BYTES as usize);
        assert_eq!(lines(input(format!("{longest}\nb\n"))).unwrap(), [longest.as_str(), "b"]);
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_line() {
        assert_eq!(lines(input(b"\xef\xbb\xbfa\n\xef\xbb\xbfb")).unwrap(), ["a", "\u{feff}b"]);
    }

    fn utf_16(text: &str, is_little: bool) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units
            .flat_map(|unit| if is_little { unit.to_le_bytes() } else { unit.to_be_bytes() })
            .collect()
    }

    #[test]
    fn utf_16_with_a_mark_reads_as_the_same_text() {
        let text = "a\r\nb\u{e9}\u{1f980}\n\n\u{feff}last";
        for is_little in [true, false] {
            let bytes = utf_16(text, is_little);
            for input in [input(&bytes), trickle(&bytes), input(gzip(&bytes)), input(zstd(&bytes))]
            {
                let expected = ["a", "b\u{e9}\u{1f980}", "", "\u{feff}last"];
                assert_eq!(lines(input).unwrap(), expected, "{is_little}");
            }
        }
    }

    #[test]
    fn malformed_utf_16_names_its_line() {
        // Half of a surrogate pair, a pair in the wrong order, and half of a code unit at the end.
        for (tail, line) in [
            (&[0x3d, 0xd8, b'x', 0][..], 2),
            (&[0x80, 0xde, 0x3d, 0xd8, b'\n', 0], 2),
            (&[b'\n', 0, b'c', 0, b'd'], 3),
        ] {
            let bytes = [&utf_16("a\nb", true)[..], tail].concat();
            for input in [input(&bytes), trickle(&bytes), input(gzip(&bytes))] {
                let failure = lines(input).unwrap_err().to_string();
                assert!(failure.starts_with(&format!("t:{line}: malformed UTF-16")), "{failure}");
            }
        }
    }

    #[test]
    fn text_that_is_not_what_it_seems_is_refused_with_its_line() {
        for (bytes, start) in [
            // UTF-32, and UTF-16 without a byte order mark.
            (&b"\xff\xfe\0\0a\0\0\0\n\0\0\0"[..], "t:1: a NUL byte"),
            (b"a\0\n\0", "t:1: a NUL byte"),
            // Lines that end in a bare carriage return would become one line.
            (b"a\n\rb\rc\r", "t:2: a carriage return within a line"),
        ] {
            let failure = lines(input(bytes)).unwrap_err().to_string();
            assert!(failure.starts_with(start), "{failure}");
        }
    }

    #[test]
    fn a_nul_byte_in_text_names_its_line() {
        let failure = lines(input(b"a\nb\0c\n")).unwrap_err();
        assert!(failure.to_string().starts_with("t:2: a NUL byte"), "{failure}");
    }

    #[test]
    fn a_cut_off_record_names_the_byte_where_it_starts() {
        let mut input = input([1, 2, 3, 4, 5, 6]);
        assert_eq!(input.next_record::<4>().unwrap(), Some([1, 2, 3, 4]));
        let failure = input.next_record::<4>().unwrap_err().to_string();
        assert!(failure.starts_with("t: byte 4: 2 bytes are left of a record of 4"), "{failure}");
    }
}
