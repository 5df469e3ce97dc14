//! The encodings of text: UTF-16 is transcoded to UTF-8, everything else passes unchanged.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

/// The length of the longest byte order mark.
pub(super) const MARK_BYTES: usize = 3;

/// The encoding that a byte order mark at the start of `head` names, and the length of the mark.
pub(super) fn of(head: &[u8]) -> Option<(&'static Encoding, usize)> {
    Encoding::for_bom(head)
}

/// Whether text of that encoding needs no transcoding.
pub(super) fn is_utf8(encoding: &'static Encoding) -> bool {
    encoding == UTF_8
}

/// Transcodes text to UTF-8. A malformed character is an error and is not replaced: two keys that
/// differ only there would become one.
pub(super) struct Transcoder<R> {
    source: R,
    decoder: Decoder,
    text: Box<[u8]>,
    /// The unread part of `text`.
    from: usize,
    to: usize,
    is_at_end: bool,
    /// Whether the source is malformed after `text`.
    is_malformed: bool,
    /// Shared with the reader of lines, to distinguish malformed text from a file that cannot be
    /// read.
    has_failed: Rc<Cell<bool>>,
}

const TEXT_BYTES: usize = 16 * 1024;

impl<R: BufRead> Transcoder<R> {
    pub(super) fn new(source: R, encoding: &'static Encoding, has_failed: Rc<Cell<bool>>) -> Self {
        Transcoder {
            source,
            decoder: encoding.new_decoder_without_bom_handling(),
            text: vec![0; TEXT_BYTES].into_boxed_slice(),
            from: 0,
            to: 0,
            is_at_end: false,
            is_malformed: false,
            has_failed,
        }
    }

    /// Refills `text` if it is empty and the source has more.
    fn refill(&mut self) -> io::Result<()> {
        while self.from == self.to && !self.is_at_end {
            if self.is_malformed {
                self.has_failed.set(true);
                return Err(io::ErrorKind::InvalidData.into());
            }
            let bytes = self.source.fill_buf()?;
            let is_last = bytes.is_empty();
            let (result, read, written) =
                self.decoder.decode_to_utf8_without_replacement(bytes, &mut self.text, is_last);
            self.source.consume(read);
            (self.from, self.to) = (0, written);
            match result {
                // The text before it is returned first, so that the error names the right line.
                DecoderResult::Malformed(..) => self.is_malformed = true,
                DecoderResult::InputEmpty => self.is_at_end = is_last,
                DecoderResult::OutputFull => {}
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Transcoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.refill()?;
        let given = buffer.len().min(self.to - self.from);
        buffer[..given].copy_from_slice(&self.text[self.from..self.from + given]);
        self.from += given;
        Ok(given)
    }
}
