//! CSV: a column of keys, optionally one of sizes in bytes and one of TTLs in seconds.

use std::str::FromStr;

use csv_core::{ReadRecordResult, ReaderBuilder};

use super::text::Digests;
use super::{Collector, Columns, parse_number};
use crate::error::{Excerpt, Position, Problem, TraceError};
use crate::input::{Input, MAX_LINE_BYTES};

/// More columns than that are no trace.
const MAX_COLUMNS: usize = 4096;

/// A column, by the name in the first line or by number from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Number(usize),
    Name(String),
}

impl FromStr for Column {
    type Err = ColumnError;

    fn from_str(given: &str) -> Result<Self, ColumnError> {
        match given.parse() {
            Ok(0) => Err(ColumnError::Zero),
            Ok(number) => Ok(Column::Number(number)),
            Err(_) if given.is_empty() => Err(ColumnError::Empty),
            Err(_) => Ok(Column::Name(given.to_owned())),
        }
    }
}

/// Why an argument names no column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ColumnError {
    #[error("columns count from 1")]
    Zero,
    #[error("an empty name; give the column's name or its number")]
    Empty,
}

/// What the first line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Names,
    Request,
}

/// Where the columns are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CsvOptions {
    pub(crate) key: Column,
    pub(crate) size: Option<Column>,
    pub(crate) ttl: Option<Column>,
    /// `None` takes a tab for names with `.tsv`, else a comma.
    pub(crate) delimiter: Option<u8>,
    pub(crate) header: Header,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions {
            key: Column::Number(1),
            size: None,
            ttl: None,
            delimiter: None,
            header: Header::Request,
        }
    }
}

impl CsvOptions {
    fn has_header(&self) -> bool {
        let is_name = |column: &Column| matches!(column, Column::Name(_));
        self.header == Header::Names
            || is_name(&self.key)
            || self.size.as_ref().is_some_and(is_name)
            || self.ttl.as_ref().is_some_and(is_name)
    }
}

pub(super) fn read(
    input: &mut Input,
    options: &CsvOptions,
    max_requests: u32,
) -> Result<Columns, TraceError> {
    let mut requests =
        Requests { collector: Collector::new(max_requests), digests: Digests::default() };
    input.skip_byte_order_mark()?;
    let mut records = Records::new(input, options);
    let mut indices = None;
    while records.advance()? {
        let done = match &indices {
            Some((indices, columns)) => {
                records.expect_columns(*columns).and_then(|()| requests.add(&records, indices))
            }
            None => Indices::find(options, &records).and_then(|found| {
                let (found, _) = indices.insert((found, records.columns));
                if options.has_header() { Ok(()) } else { requests.add(&records, found) }
            }),
        };
        done.map_err(|problem| records.bad_record(problem))?;
    }
    Ok(requests.collector.finish())
}

/// The records of a file, one at a time.
///
/// A record lives in buffers of a fixed length: a quote that is never closed makes one record of
/// the whole rest, which must not gather in memory.
struct Records<'a> {
    input: &'a mut Input,
    parser: csv_core::Reader,
    text: Vec<u8>,
    /// Where each field ends in `text`.
    ends: Vec<usize>,
    columns: usize,
    /// Of the first byte of the record.
    line: u64,
    line_ends: u64,
    /// Whether the parser has seen nothing yet.
    is_fresh: bool,
}

impl<'a> Records<'a> {
    fn new(input: &'a mut Input, options: &CsvOptions) -> Self {
        let is_tsv = input.name().to_ascii_lowercase().contains(".tsv");
        let delimiter = options.delimiter.unwrap_or(if is_tsv { b'\t' } else { b',' });
        Records {
            input,
            parser: ReaderBuilder::new().delimiter(delimiter).build(),
            text: vec![0; MAX_LINE_BYTES as usize],
            ends: vec![0; MAX_COLUMNS],
            columns: 0,
            line: 0,
            line_ends: 0,
            is_fresh: true,
        }
    }

    /// Goes to the next record; false after the last.
    fn advance(&mut self) -> Result<bool, TraceError> {
        // The parser takes line ends for the start of the next record; its line would be wrong.
        while let [b'\r' | b'\n', ..] = self.input.fill()? {
            self.consume(1)?;
        }
        self.line = self.line_ends + 1;
        self.columns = 0;
        let mut text_bytes = 0;
        loop {
            // The parser would skip a byte order mark behind line ends too, if it saw all of it at
            // once, and so take a file for another that comes in other pieces.
            let most = if std::mem::take(&mut self.is_fresh) { 1 } else { usize::MAX };
            let bytes = self.input.fill()?;
            let (result, read, written, ended) = self.parser.read_record(
                &bytes[..bytes.len().min(most)],
                &mut self.text[text_bytes..],
                &mut self.ends[self.columns..],
            );
            self.consume(read)?;
            text_bytes += written;
            self.columns += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => return Ok(true),
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
    }

    fn consume(&mut self, bytes: usize) -> Result<(), TraceError> {
        let given = &self.input.fill()?[..bytes];
        self.line_ends += given.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.input.consume(bytes);
        Ok(())
    }

    fn expect_columns(&self, expected: usize) -> Result<(), Problem> {
        match self.columns {
            given if given == expected => Ok(()),
            given => Err(Problem::UnevenColumns { given, expected }),
        }
    }

    /// A field without the white space around it; `index` is below `columns`.
    fn field(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text[start..self.ends[index]].trim_ascii()
    }

    fn bad_record(&self, problem: Problem) -> TraceError {
        self.input.malformed(Position::Line(self.line), problem)
    }
}

/// Columns as indices into a record.
struct Indices {
    key: usize,
    size: Option<usize>,
    ttl: Option<usize>,
}

impl Indices {
    fn find(options: &CsvOptions, first: &Records<'_>) -> Result<Self, Problem> {
        let given = first.columns;
        let find = |column: &Column| match column {
            Column::Number(number) if *number <= given => Ok(number - 1),
            Column::Number(number) => Err(Problem::TooFewColumns { number: *number, given }),
            Column::Name(name) => {
                let found = (0..given).find(|&index| first.field(index) == name.as_bytes());
                found.ok_or_else(|| {
                    let names: Vec<&[u8]> = (0..given).map(|index| first.field(index)).collect();
                    let has = Excerpt::new(&names.join(&b", "[..]));
                    Problem::UnknownColumn { name: name.clone(), has }
                })
            }
        };
        Ok(Indices {
            key: find(&options.key)?,
            size: options.size.as_ref().map(find).transpose()?,
            ttl: options.ttl.as_ref().map(find).transpose()?,
        })
    }
}

struct Requests {
    collector: Collector<(u64, u64)>,
    digests: Digests,
}

impl Requests {
    fn add(&mut self, record: &Records<'_>, columns: &Indices) -> Result<(), Problem> {
        let key = record.field(columns.key);
        if key.is_empty() {
            return Err(Problem::EmptyKey);
        }
        let key = self.digests.of(key);
        if let Some(ttl) = columns.ttl {
            let field = record.field(ttl);
            if !field.is_empty() {
                self.collector.ttl.add(parse_ttl_seconds(field)?);
            }
        }
        match columns.size {
            None => self.collector.push(key),
            Some(size) => {
                let size_bytes = parse_number("size", record.field(size), u32::MAX.into())?;
                // Within range by the line above.
                self.collector.push_sized(key, size_bytes as u32)
            }
        }
    }
}

fn parse_ttl_seconds(field: &[u8]) -> Result<f64, Problem> {
    std::str::from_utf8(field)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
        .ok_or_else(|| Problem::NotATtl { given: Excerpt::new(field) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::tests::{gzip, input, trickle, zstd};
    use crate::trace::TtlSummary;

    fn by_name(key: &str, size: &str, ttl: &str) -> CsvOptions {
        CsvOptions {
            key: key.parse().unwrap(),
            size: Some(size.parse().unwrap()),
            ttl: Some(ttl.parse().unwrap()),
            ..CsvOptions::default()
        }
    }

    fn failure(text: &str, options: &CsvOptions) -> String {
        read(&mut input(text), options, 3).unwrap_err().to_string()
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let text = "ttl,size, url \n60,100,\"a,\nb\"\n,200,c\n0.5,300,\"a,\nb\"\n";
        for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
            let columns = read(&mut input(bytes), &by_name("url", "size", "ttl"), 3).unwrap();
            assert_eq!(columns.requests, [0, 1, 0]);
            assert_eq!(columns.sizes_bytes, Some(vec![100, 200, 300]));
            let ttl = TtlSummary { requests: 2, shortest_seconds: 0.5, longest_seconds: 60.0 };
            assert_eq!(columns.ttl, ttl);
        }
    }

    #[test]
    fn columns_by_number_make_the_first_line_a_request() {
        let columns = read(&mut input("a\nb\na"), &CsvOptions::default(), 3).unwrap();
        assert_eq!(columns.requests, [0, 1, 0]);
        let options = CsvOptions { header: Header::Names, ..CsvOptions::default() };
        assert_eq!(read(&mut input("a\nb\na"), &options, 3).unwrap().requests, [0, 1]);
    }

    #[test]
    fn a_tab_separates_files_named_tsv_and_any_byte_on_demand() {
        let options = CsvOptions { key: Column::Number(2), ..CsvOptions::default() };
        let mut tsv = Input::new("a.tsv", &b"1,5\tx\n2\ty\n"[..]).unwrap();
        assert_eq!(read(&mut tsv, &options, 3).unwrap().requests, [0, 1]);
        let options = CsvOptions { delimiter: Some(b';'), ..options };
        assert_eq!(read(&mut input("1;x\n2;x\n"), &options, 3).unwrap().requests, [0, 0]);
    }

    #[test]
    fn a_malformed_line_is_named_wherever_it_is() {
        let options = by_name("k", "s", "t");
        for (text, start) in [
            ("k,s\n", "t:1: no column is named `t`; the first line has `k, s`"),
            ("k,s,t\na,x,1\nb,1,1\n", "t:2: size `x` is not allowed; use a whole number"),
            ("k,s,t\na,4294967296,1\n", "t:2: size `4294967296` is not allowed"),
            ("k,s,t\na,1,1\n\nb,1\nc,1,1\n", "t:4: 2 columns, the lines before have 3"),
            ("k,s,t\na,1,1\nb,1,1\n ,1,1", "t:4: the key is empty"),
            ("k,s,t\r\na,1,1\r\n\r\nb,x,1\r\n", "t:4: size `x` is not allowed"),
            ("k,s,t\n\"a\n\na\",1,1\nb,x,1\n", "t:5: size `x` is not allowed"),
            (
                "\n\n\"x\ny\",s,t\nx,1,1",
                "t:3: no column is named `k`; the first line has `x\\ny, s",
            ),
            ("k,s,t\na,1,-1\n", "t:2: TTL `-1` is not allowed; use seconds from 0"),
            ("k,s,t\na,1,inf\n", "t:2: TTL `inf` is not allowed"),
            ("k,s,t\na,1,NaN\n", "t:2: TTL `NaN` is not allowed"),
            ("k,s,t\na,1,1\nb,1,1\nc,1,1\nd,1,1\n", "t:5: more than 3 requests"),
        ] {
            let failure = failure(text, &options);
            assert!(failure.starts_with(start), "{failure}");
        }
        let options = CsvOptions { key: Column::Number(3), ..CsvOptions::default() };
        assert!(
            failure("a,b\n", &options).starts_with("t:1: column 3 is asked for, but there are 2")
        );
    }

    #[test]
    fn a_quote_that_is_never_closed_does_not_gather_the_file() {
        let text = format!("a\nb\n\"{}", "x\n".repeat(1 << 20));
        let failure = failure(&text, &CsvOptions::default());
        assert!(failure.starts_with("t:3: a line of more than 65536 bytes"), "{failure}");
    }

    #[test]
    fn a_line_of_delimiters_is_refused_at_the_limit_of_columns() {
        let failure = failure(&",".repeat(1 << 20), &CsvOptions::default());
        assert!(failure.starts_with("t:1: more than 4096 columns"), "{failure}");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_name() {
        let options = CsvOptions { key: Column::Name("k".into()), ..CsvOptions::default() };
        let columns = read(&mut input(b"\xef\xbb\xbfk\n1\n"), &options, 3).unwrap();
        assert_eq!(columns.requests, [0]);
    }

    #[test]
    fn a_byte_order_mark_is_one_at_the_start_alone_however_the_bytes_come() {
        let mark = b"\xef\xbb\xbf";
        let at_start = [&mark[..], b"k\nk\n"].concat();
        let behind_lines = [&b"\n\r"[..], mark, b"k\nk\n"].concat();
        let twice = [&mark[..], mark, b"k\nk\n"].concat();
        let cut = b"\xef\xbb\n\xef\xbb".to_vec();
        for (bytes, requests) in [
            (at_start, &[0, 0][..]),
            (behind_lines, &[0, 1]),
            (twice, &[0, 1]),
            (cut, &[0, 0]),
            (mark.to_vec(), &[]),
        ] {
            let packed = [bytes.clone(), gzip(&bytes), zstd(&bytes)];
            for mut input in packed.iter().flat_map(|bytes| [input(bytes), trickle(bytes)]) {
                let columns = read(&mut input, &CsvOptions::default(), 3).unwrap();
                assert_eq!(columns.requests, requests, "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_column_is_a_name_or_a_number_from_one() {
        assert_eq!("2".parse(), Ok(Column::Number(2)));
        assert_eq!("id".parse(), Ok(Column::Name("id".into())));
        assert_eq!("0".parse::<Column>(), Err(ColumnError::Zero));
        assert_eq!("".parse::<Column>(), Err(ColumnError::Empty));
    }
}
