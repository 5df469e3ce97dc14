//! Packing with Zstandard. Writer and reader count the bytes on both sides of it: the writer keeps the expansion
//! low enough, and the reader refuses a higher one.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io::{self, BufReader, Read, Write};
use std::rc::Rc;

use super::frame::TooPacked;

/// A snapshot may unpack to this many bytes, whatever its size.
const FREE: u64 = 1 << 20;
/// The expansion that writers allow: half of the readers' limit, since the encoder may not have written all yet.
const MAX_EXPANSION: u64 = super::MAX_EXPANSION as u64 / 2;
/// 8 MiB: no level of the writer needs a larger window, and no file can make a reader allocate one.
const MAX_WINDOW_LOG: u32 = 23;

pub(crate) struct CountingReader<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

/// Packs what is written to it, and counts the bytes that it has passed on.
pub(crate) struct Packing<'w> {
    encoder: zstd::stream::write::Encoder<'static, CountingWriter<'w>>,
    written: Rc<Cell<u64>>,
    unpacked: u64,
    letters: u64,
}

struct CountingWriter<'w> {
    inner: &'w mut dyn Write,
    written: Rc<Cell<u64>>,
}

impl Write for CountingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.written.set(self.written.get() + written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<'w> Packing<'w> {
    pub(crate) fn new(inner: &'w mut dyn Write, level: i32) -> io::Result<Self> {
        let written = Rc::new(Cell::new(0));
        let inner = CountingWriter { inner, written: Rc::clone(&written) };
        let mut encoder = zstd::stream::write::Encoder::new(inner, level)?;
        encoder.include_checksum(true)?;
        Ok(Self { encoder, written, unpacked: 0, letters: 0 })
    }

    /// How many letters of filler have to be written before the next `bytes` bytes.
    pub(crate) fn missing(&self, bytes: u64) -> u32 {
        // A letter takes 6 bits when it is packed.
        let sure = self.written.get().max(self.letters / 4 * 3);
        let needed = (self.unpacked + bytes).saturating_sub(FREE / 2).div_ceil(MAX_EXPANSION);
        match needed.saturating_sub(sure) {
            0 => 0,
            // At least one piece of a reasonable size.
            missing => u32::try_from(missing.div_ceil(3) * 4).unwrap_or(u32::MAX).max(4096),
        }
    }

    /// Counts letters of filler that are written next.
    pub(crate) fn count_letters(&mut self, letters: u32) {
        self.letters += u64::from(letters);
    }

    /// Ends the packed part and returns the writer.
    pub(crate) fn finish(self) -> io::Result<&'w mut dyn Write> {
        Ok(self.encoder.finish()?.inner)
    }
}

impl Write for Packing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.encoder.write(bytes)?;
        self.unpacked += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

pub(crate) struct Unpacking<R: Read> {
    decoder: zstd::stream::read::Decoder<'static, BufReader<CountingReader<R>>>,
    read: Rc<Cell<u64>>,
    unpacked: u64,
    max_expansion: u32,
    is_over: bool,
}

impl<R: Read> Unpacking<R> {
    pub(crate) fn new(inner: R, max_expansion: u32) -> io::Result<Self> {
        let read = Rc::new(Cell::new(0));
        let counting = CountingReader { inner, read: Rc::clone(&read) };
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
            // A byte after the packed part is returned, so that the decoder of the frame sees it.
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
