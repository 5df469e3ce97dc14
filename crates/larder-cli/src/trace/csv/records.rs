//! The records of a CSV file.

use csv_core::{ReadRecordResult, ReaderBuilder};

use crate::trace::csv::options::CsvOptions;
use crate::trace::error::{Excerpt, Position, Problem, TraceError};
use crate::trace::input::{Input, MAX_LINE_BYTES};

/// The most columns that a trace may have.
const MAX_COLUMNS: usize = 4096;

/// Reads the records of a file, one at a time.
///
/// A record is held in buffers of a fixed length: an unclosed quote turns the whole rest of the
/// file into one record, which must not accumulate in memory.
pub(super) struct RecordReader<'a> {
    input: &'a mut Input,
    parser: csv_core::Reader,
    text: Vec<u8>,
    /// Where each field ends in `text`.
    ends: Vec<usize>,
    columns: usize,
    /// The line of the record's first byte.
    line: u64,
    line_ends: u64,
    /// Whether the last byte read was a carriage return, which ends a line with or without a line
    /// feed after it.
    is_behind_return: bool,
    /// Whether the parser has not seen any byte yet.
    is_fresh: bool,
}

impl<'a> RecordReader<'a> {
    pub(super) fn new(input: &'a mut Input, options: &CsvOptions) -> Self {
        let delimiter = delimiter(input.name(), options);
        RecordReader {
            input,
            parser: ReaderBuilder::new().delimiter(delimiter).build(),
            text: vec![0; MAX_LINE_BYTES as usize],
            ends: vec![0; MAX_COLUMNS],
            columns: 0,
            line: 0,
            line_ends: 0,
            is_behind_return: false,
            is_fresh: true,
        }
    }

    /// Reads the next record; false after the last.
    pub(super) fn advance(&mut self) -> Result<bool, TraceError> {
        // The parser counts leading line ends as part of the next record, which would then have the
        // wrong line.
        while let [b'\r' | b'\n', ..] = self.fill()? {
            self.consume(1)?;
        }
        self.line = self.line_ends + 1;
        self.columns = 0;
        let mut text_bytes = 0;
        let mut is_begun = false;
        loop {
            // If the parser saw a whole byte order mark in its first call, it would skip it, even
            // after line ends; the result would then depend on how the file is split into reads.
            let most = if std::mem::take(&mut self.is_fresh) { 1 } else { usize::MAX };
            let bytes = self.input.fill()?;
            let is_end = bytes.is_empty();
            // At the end of the file the parser treats an open quote as closed. A line end does not
            // close it, so an additional one reveals it.
            let bytes = if is_end && is_begun { b"\n" } else { &bytes[..bytes.len().min(most)] };
            let (result, read, written, ended) = self.parser.read_record(
                bytes,
                &mut self.text[text_bytes..],
                &mut self.ends[self.columns..],
            );
            if !is_end {
                self.consume(read)?;
                is_begun |= read > 0;
            }
            text_bytes += written;
            self.columns += ended;
            match result {
                ReadRecordResult::InputEmpty if is_end && is_begun => {
                    return Err(self.bad_record(Problem::OpenQuote));
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(false),
                ReadRecordResult::OutputFull => {
                    let limit_bytes = MAX_LINE_BYTES;
                    return Err(self.bad_record(Problem::LineTooLong { limit_bytes }));
                }
                ReadRecordResult::OutputEndsFull => {
                    return Err(self.bad_record(Problem::TooManyColumns { limit: MAX_COLUMNS }));
                }
            }
        }
        if self.text[..text_bytes].contains(&0) {
            return Err(self.bad_record(Problem::NulByte));
        }
        Ok(true)
    }

    fn fill(&mut self) -> Result<&[u8], TraceError> {
        self.input.set_line(self.line_ends + 1);
        self.input.fill()
    }

    fn consume(&mut self, bytes: usize) -> Result<(), TraceError> {
        let mut is_behind_return = self.is_behind_return;
        let mut line_ends = 0;
        for &byte in &self.fill()?[..bytes] {
            // A line feed after a carriage return ends the same line.
            line_ends += u64::from(byte == b'\r' || (byte == b'\n' && !is_behind_return));
            is_behind_return = byte == b'\r';
        }
        self.is_behind_return = is_behind_return;
        self.line_ends += line_ends;
        self.input.consume(bytes);
        Ok(())
    }

    pub(super) fn record(&self) -> Record<'_> {
        Record { text: &self.text, ends: &self.ends[..self.columns], line: self.line }
    }

    fn bad_record(&self, problem: Problem) -> TraceError {
        self.input.malformed(Position::Line(self.line), problem)
    }
}

fn delimiter(name: &str, options: &CsvOptions) -> u8 {
    let is_tsv = name.to_ascii_lowercase().contains(".tsv");
    options.delimiter.unwrap_or(if is_tsv { b'\t' } else { b',' })
}

/// One record.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    text: &'a [u8],
    ends: &'a [usize],
    pub(super) line: u64,
}

impl<'a> Record<'a> {
    pub(super) fn columns(&self) -> usize {
        self.ends.len()
    }

    /// A field without the white space around it; `index` is below `columns`.
    pub(super) fn field(&self, index: usize) -> &'a [u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text[start..self.ends[index]].trim_ascii()
    }

    pub(super) fn field_or_empty(&self, index: usize) -> &'a [u8] {
        if index < self.columns() { self.field(index) } else { b"" }
    }

    pub(super) fn names(&self) -> Excerpt {
        let names: Vec<&[u8]> = (0..self.columns()).map(|index| self.field(index)).collect();
        Excerpt::new(&names.join(&b", "[..]))
    }

    pub(super) fn to_owned(self) -> FirstRecord {
        FirstRecord { text: self.text.to_vec(), ends: self.ends.to_vec(), line: self.line }
    }

    pub(super) fn bad(&self, records: &RecordReader<'_>, problem: Problem) -> TraceError {
        records.input.malformed(Position::Line(self.line), problem)
    }
}

/// A copy of the first record, kept while the second is read.
pub(super) struct FirstRecord {
    text: Vec<u8>,
    ends: Vec<usize>,
    pub(super) line: u64,
}

impl FirstRecord {
    pub(super) fn record(&self) -> Record<'_> {
        Record { text: &self.text, ends: &self.ends, line: self.line }
    }
}
