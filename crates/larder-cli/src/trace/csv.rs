//! CSV: a column of keys and optional columns of sizes in bytes, TTLs in seconds and times.

// Which column is which, and whether the first line names them.
mod header;
// The records, one at a time, in bounded memory.
mod records;
// The columns, the delimiter and the first line as requested.
mod options;

use crate::trace::columns::{Collector, Columns};
use crate::trace::digest::Digests;
use crate::trace::error::{Excerpt, Problem, TraceError};
use crate::trace::input::Input;
use crate::trace::lifetime::{NO_TTL, TimeUnit, parse_time_ns, parse_ttl_ns};
use crate::trace::number::parse_amount;
use crate::trace::warning::Warning;

use self::header::{Indices, is_header};
use self::records::{Record, RecordReader};

pub(crate) use self::options::{Column, CsvOptions, Header};

/// Delimiters of other tools; one in a file of a single column leads to a warning.
const OTHER_DELIMITERS: [u8; 4] = [b';', b'\t', b'|', b','];

pub(super) fn read(
    input: &mut Input,
    options: &CsvOptions,
    max_requests: u32,
) -> Result<Columns, TraceError> {
    let mut requests = Requests::new(options, max_requests);
    input.begin_text()?;
    let mut records = RecordReader::new(input, options);
    if !records.advance()? {
        return Ok(requests.collector.finish());
    }
    let first = records.record();
    requests.warn_of_delimiter(&first);
    let columns = first.columns();
    let indices = Indices::find(options, &first).map_err(|problem| first.bad(&records, problem))?;
    // The second line may decide whether the first is a request.
    let (first, has_second) = (first.to_owned(), records.advance()?);
    let second = has_second.then(|| records.record());
    let is_header = match options.header() {
        Header::Names => true,
        Header::Request => false,
        Header::Auto => {
            let is_header = is_header(&first.record(), second.as_ref(), &indices);
            if is_header {
                let names = first.record().names();
                requests.collector.warn(Warning::HeaderFound { line: first.line, names });
            }
            is_header
        }
    };
    if !is_header {
        let first = first.record();
        requests.add(&first, &indices).map_err(|problem| first.bad(&records, problem))?;
    }
    let mut is_there = has_second;
    while is_there {
        let record = records.record();
        let done = match record.columns() {
            given if given == columns => requests.add(&record, &indices),
            given => Err(Problem::UnevenColumns { given, expected: columns }),
        };
        done.map_err(|problem| record.bad(&records, problem))?;
        is_there = records.advance()?;
    }
    Ok(requests.collector.finish())
}

struct Requests {
    collector: Collector<(u64, u64)>,
    digests: Digests,
    time_unit: TimeUnit,
    delimiter: Option<u8>,
}

impl Requests {
    fn new(options: &CsvOptions, max_requests: u32) -> Self {
        Requests {
            collector: Collector::new(max_requests),
            digests: Digests::default(),
            time_unit: options.time_unit,
            delimiter: options.delimiter,
        }
    }

    fn warn_of_delimiter(&mut self, first: &Record<'_>) {
        if first.columns() > 1 || self.delimiter.is_some() {
            return;
        }
        let text = first.field(0);
        let seen = OTHER_DELIMITERS.into_iter().find(|delimiter| text.contains(delimiter));
        if let Some(seen) = seen.map(char::from) {
            self.collector.warn(Warning::OtherDelimiter { line: first.line, seen });
        }
    }

    fn add(&mut self, record: &Record<'_>, columns: &Indices) -> Result<(), Problem> {
        let key = record.field(columns.key);
        if key.is_empty() {
            return Err(Problem::EmptyKey);
        }
        if key.contains(&b'\n') {
            self.collector.warn(Warning::KeyOverLines { line: record.line });
        }
        if has_exponent(key) {
            let key = Excerpt::new(key);
            self.collector.warn(Warning::RoundedKey { line: record.line, key });
        }
        let size_bytes = columns.size.map(|size| parse_size(record.field(size))).transpose()?;
        if let Some(time) = columns.time {
            let time_ns = parse_time_ns(record.field(time), self.time_unit)?;
            self.collector.add_time(time_ns, record.line, columns.ttl.is_some());
        }
        if let Some(ttl) = columns.ttl {
            let ttl_ns = match record.field(ttl) {
                b"" => NO_TTL,
                field => parse_ttl_ns(field)?,
            };
            self.collector.add_ttl(ttl_ns);
        }
        let key = self.digests.of(key);
        match size_bytes {
            None => self.collector.push(key),
            Some(size_bytes) => self.collector.push_sized(key, size_bytes),
        }
    }
}

/// A size, which is at most the largest weight of an entry.
fn parse_size(field: &[u8]) -> Result<u32, Problem> {
    let max = u64::from(u32::MAX);
    let size_bytes = parse_amount("size", field, u64::MAX).map_err(|problem| match problem {
        Problem::NotANumber { field, given, .. } => Problem::NotANumber { field, given, max },
        Problem::EmptyNumber { field, .. } => Problem::EmptyNumber { field, max },
        other => other,
    })?;
    u32::try_from(size_bytes).map_err(|_| Problem::SizeTooLarge { given: Excerpt::new(field), max })
}

/// Whether the key is a number such as `1.2e+06`.
fn has_exponent(key: &[u8]) -> bool {
    // The first byte and the absence of an `e` rule out most keys cheaply.
    key.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-')
        && key.iter().any(|byte| matches!(byte, b'e' | b'E'))
        && key.iter().any(|byte| matches!(byte, b'.' | b'+'))
        && std::str::from_utf8(key).is_ok_and(|text| text.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::input::tests::{gzip, input, trickle, zstd};

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
            assert_eq!(columns.ttls_ns, [60_000_000_000, NO_TTL, 500_000_000]);
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
            ("k,s,t\na,4294967296,1\n", "t:2: size `4294967296` is more than an entry"),
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

    fn warnings(text: impl AsRef<[u8]>, options: &CsvOptions) -> Vec<String> {
        let columns = read(&mut input(text), options, 9).unwrap();
        columns.warnings.iter().map(ToString::to_string).collect()
    }

    fn with_size() -> CsvOptions {
        CsvOptions { size: Some(Column::Number(2)), ..CsvOptions::default() }
    }

    #[test]
    fn utf_16_of_a_spreadsheet_is_read_and_its_faults_have_lines() {
        let bytes = |text: &str| -> Vec<u8> {
            let units = std::iter::once(0xfeff).chain(text.encode_utf16());
            units.flat_map(u16::to_le_bytes).collect()
        };
        let options = CsvOptions { delimiter: Some(b'\t'), ..by_name("schl\u{fc}ssel", "s", "t") };
        let text = "schl\u{fc}ssel\ts\tt\r\n\u{e4}\t5\t\r\n\u{f6}\t6\t\r\n\u{e4}\t5\t\r\n";
        for mut input in [input(bytes(text)), trickle(&bytes(text)), input(gzip(&bytes(text)))] {
            let columns = read(&mut input, &options, 3).unwrap();
            assert_eq!(columns.requests, [0, 1, 0]);
            assert_eq!(columns.sizes_bytes, Some(vec![5, 6, 5]));
        }
        let broken = [&bytes("k\n1\n2\n")[..], &[0, 0xdc, b'\n', 0]].concat();
        let failure = read(&mut input(broken), &CsvOptions::default(), 3).unwrap_err().to_string();
        assert!(failure.starts_with("t:4: malformed UTF-16"), "{failure}");
        let failure = read(&mut input(b"k\n1\0\n"), &CsvOptions::default(), 3).unwrap_err();
        assert!(failure.to_string().starts_with("t:2: a NUL byte"), "{failure}");
    }

    #[test]
    fn sizes_are_read_as_tools_write_floats() {
        let text = "a,123.0\nb,1e+06\nc,\"7\"\nd,\"8.0\"\ne,4294967295.0\n";
        let columns = read(&mut input(text), &with_size(), 9).unwrap();
        assert_eq!(columns.sizes_bytes, Some(vec![123, 1_000_000, 7, 8, u32::MAX]));
        for (text, start) in [
            ("a,1\nb,\n", "t:2: the size is empty; use a whole number from 0 to 4294967295"),
            ("a,1\nb,1.5\n", "t:2: size `1.5` is not allowed"),
            ("a,1\nb,-1\n", "t:2: size `-1` is not allowed"),
            ("a,1\nb,nan\n", "t:2: size `nan` is not allowed"),
            ("a,1\nb,4294967296\n", "t:2: size `4294967296` is more than an entry can weigh"),
            ("a,1\nb,5e+09\n", "t:2: size `5e+09` is more than an entry can weigh"),
        ] {
            let failure = failure(text, &with_size());
            assert!(failure.starts_with(start), "{failure}");
        }
    }

    #[test]
    fn an_open_quote_names_the_line_where_it_is_opened() {
        for (text, line) in [
            ("a\nb\n\"c\nd\n", 3),
            ("\"a", 1),
            ("a\n\"", 2),
            ("a,1\nb,\"1\n", 2),
            ("a\n\"b\"\"\n", 2),
        ] {
            for mut input in [input(text), trickle(text.as_bytes())] {
                let options = CsvOptions { header: Header::Request, ..CsvOptions::default() };
                let failure = read(&mut input, &options, 9).unwrap_err().to_string();
                let start = format!("t:{line}: a quote is opened here and never closed");
                assert!(failure.starts_with(&start), "{text}: {failure}");
            }
        }
        for text in ["a\n\"b\"", "a\n\"b\"\n", "a\n\"b\nc\"", "\"a\"\"\"\n\n\nb", "a\n\"b\"\"\""] {
            for mut input in [input(text), trickle(text.as_bytes())] {
                let requests = read(&mut input, &CsvOptions::default(), 9).unwrap().requests;
                assert_eq!(requests, [0, 1], "{text}");
            }
        }
    }

    #[test]
    fn a_key_that_goes_on_in_the_next_line_is_warned_of() {
        // The two open quotes close each other, and the number of columns is right.
        let warned = warnings("a,1\n\"b,1\nc,1\n\"d,1\n", &CsvOptions::default());
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert!(warned[0].starts_with("the key in line 2 goes on"), "{warned:?}");
    }

    #[test]
    fn a_header_is_recognized_unless_the_options_decide() {
        let sized = with_size();
        let key_alone = CsvOptions::default();
        let timed = CsvOptions { time: Some(Column::Number(2)), ..CsvOptions::default() };
        for (text, options, is_header) in [
            ("url,bytes\n/a,1\n/a,2\n", &sized, true),
            ("url,bytes\n", &sized, true),
            ("key\n1\n1\n", &key_alone, true),
            ("id,op,time\n1,get,7\n1,get,8\n", &key_alone, true),
            ("url,when\n/a,2024-05-31T12:00:00Z\n/a,2024-05-31T12:00:00Z\n", &timed, true),
            ("/a,2024-05-31T12:00:00Z\n/a,2024-05-31T12:00:00Z\n", &timed, false),
            ("/a,1\n/a,2\n", &sized, false),
            ("a\nb\na\n", &key_alone, false),
            ("1\n2\n", &key_alone, false),
            ("a,1\nb,2\n", &key_alone, false),
            ("a\n", &key_alone, false),
            ("URL,method\n/a,GET\n", &key_alone, true),
            ("/a,method\n/a,GET\n", &key_alone, false),
        ] {
            let columns = read(&mut input(text), options, 9).unwrap();
            let found = columns.warnings.iter().any(|warning| {
                warning.to_string().contains("is taken for the names of the columns")
            });
            assert_eq!(found, is_header, "{text}");
            let lines = text.lines().count();
            assert_eq!(columns.requests.len(), lines - usize::from(is_header), "{text}");
            // A header that was announced leads to no warning.
            let names = CsvOptions { header: Header::Names, ..options.clone() };
            let columns = read(&mut input(text), &names, 9).unwrap();
            assert_eq!(columns.requests.len(), lines - 1, "{text}");
            assert_eq!(columns.warnings, [], "{text}");
        }
        let options = CsvOptions { header: Header::Request, ..sized };
        assert!(failure("url,bytes\n/a,1\n", &options).starts_with("t:1: size `bytes`"));
        let failure = failure("url,bytes\n/a,x\n", &with_size());
        assert!(failure.starts_with("t:1: size `bytes` is not allowed"), "{failure}");
    }

    #[test]
    fn another_delimiter_is_warned_of_where_none_was_named() {
        let key_alone = CsvOptions::default();
        let warned = warnings("/a;1\n/b;2\n", &key_alone);
        assert!(warned[0].contains("--delimiter ';'"), "{warned:?}");
        let warned = warnings("/a\t1\n/b\t2\n", &key_alone);
        assert!(warned[0].contains("--delimiter '\\t'"), "{warned:?}");
        let named = CsvOptions { delimiter: Some(b','), ..key_alone };
        assert_eq!(warnings("/a;1\n/b;2\n", &named).len(), 0);
    }

    #[test]
    fn keys_that_were_rounded_are_warned_of_and_others_are_not() {
        let key_alone = CsvOptions { header: Header::Request, ..CsvOptions::default() };
        let warned = warnings("1\n1.23457e+08\n2e+10\n", &key_alone);
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert!(warned[0].starts_with("the key `1.23457e+08` in line 2"), "{warned:?}");
        assert_eq!(warnings("12e4f\n5e3\nabe+7\n1.0\n-1\n", &key_alone).len(), 0);
    }

    #[test]
    fn lines_are_counted_however_they_end() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["k,s,t", "a,1,1", "", "b,x,1", ""].join(end);
            let failure = failure(&text, &by_name("k", "s", "t"));
            assert!(failure.starts_with("t:4: size `x`"), "{end:?}: {failure}");
        }
    }

    #[test]
    fn times_that_go_back_or_are_far_off_are_warned_of() {
        let options = CsvOptions {
            time: Some(Column::Number(2)),
            ttl: Some(Column::Number(3)),
            header: Header::Request,
            ..CsvOptions::default()
        };
        let warned = warnings("a,5,1\nb,3,1\nc,4,1\nd,6,1\n", &options);
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert!(
            warned[0].starts_with("2 requests, the first in line 2, are earlier"),
            "{warned:?}"
        );
        let warned = warnings("a,1700000000000,1\n", &options);
        assert!(warned[0].contains("pass --time-unit"), "{warned:?}");
        let in_ms = CsvOptions { time_unit: TimeUnit::Milliseconds, ..options };
        assert_eq!(warnings("a,1700000000000,1\n", &in_ms).len(), 0);
        assert!(failure("a,5,1\nb,,1\n", &in_ms).starts_with("t:2: time `` is not allowed"));
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
    fn a_byte_order_mark_is_not_part_of_the_first_name() {
        let options = CsvOptions { key: Column::Name("k".into()), ..CsvOptions::default() };
        let columns = read(&mut input(b"\xef\xbb\xbfk\n1\n"), &options, 3).unwrap();
        assert_eq!(columns.requests, [0]);
    }

    #[test]
    fn a_byte_order_mark_counts_only_at_the_start_however_the_bytes_are_split() {
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
}
