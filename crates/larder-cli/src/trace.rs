//! A trace in memory: requests as dense ids, and what is known of their sizes.
//!
//! Owns the formats and how one is told by a file's name. Keys are renumbered by first appearance,
//! so that a replay costs four bytes a request, whatever the keys were. While it is read, a trace
//! takes less than 120 bytes a request, and [`ReadOptions::max_requests`] bounds their number: a
//! file that expands without end (a decompression bomb, an ARC count of 2^40) is refused there.

pub(crate) mod error;
mod warning;
mod lifetime;
mod text;
mod csv;
mod arc;
mod lirs;
mod raw;
mod oracle_general;

pub(crate) use self::csv::{Column, CsvOptions, Header};
pub(crate) use self::lifetime::{Lifetimes, TimeSpan, TimeUnit, TtlSummary};
pub(crate) use self::warning::Warning;

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

use crate::error::{Excerpt, Position, Problem, TraceError};
use crate::input::{Input, split_compression};

/// How a trace is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    /// A key a line: any bytes, without the white space around them
    Text,
    /// Separated columns: a key, optionally a size in bytes, a TTL in seconds and a time
    Csv,
    /// Lines `start count ...`, each standing for `count` blocks from `start` on
    Arc,
    /// A block number a line; lines that start with `*` are skipped
    Lirs,
    /// Raw little-endian 32-bit keys
    U32,
    /// Raw little-endian 64-bit keys
    U64,
    /// libCacheSim's records of 24 bytes: time, key, size, next access
    OracleGeneral,
}

/// What [`Format::of_name`] knows, for the message when it does not help.
const KNOWN_NAMES: &str = "known are .txt, .keys, .csv, .tsv, .arc, .lis, .lirs, .trc, .u32, \
                           .u64, *oracleGeneral*, each also with .gz or .zst";
const FORMATS: &str = "text, csv, arc, lirs, u32, u64 or oracle-general";

impl Format {
    /// The name that `--format` takes.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn of_name(file: &str) -> Option<Self> {
        let bare = split_compression(file).0.to_ascii_lowercase();
        let name = bare.rsplit(['/', '\\']).next().unwrap_or(&bare);
        // Before the ending: such files are called `w01.oracleGeneral.bin`.
        if name.contains("oraclegeneral") {
            return Some(Format::OracleGeneral);
        }
        match name.rsplit_once('.')?.1 {
            "txt" | "keys" => Some(Format::Text),
            "csv" | "tsv" => Some(Format::Csv),
            "arc" | "lis" => Some(Format::Arc),
            "lirs" | "trc" => Some(Format::Lirs),
            "u32" => Some(Format::U32),
            "u64" => Some(Format::U64),
            _ => None,
        }
    }
}

/// How to read a trace.
#[derive(Clone, Debug)]
pub(crate) struct ReadOptions {
    /// `None` tells it by the name.
    pub(crate) format: Option<Format>,
    pub(crate) csv: CsvOptions,
    pub(crate) max_requests: u32,
    /// Requests a second, of a trace with TTLs and without times.
    pub(crate) rate: Option<f64>,
}

/// A whole trace.
#[derive(Debug, PartialEq)]
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) format: Format,
    /// Ids from 0 to `distinct_keys`, numbered by first appearance.
    pub(crate) requests: Vec<u32>,
    pub(crate) distinct_keys: u32,
    /// As long as `requests`.
    pub(crate) sizes_bytes: Option<Vec<u32>>,
    /// `Some` if the trace has a TTL at all.
    pub(crate) ttl: Option<TtlSummary>,
    /// `Some` if the trace has times.
    pub(crate) span: Option<TimeSpan>,
    /// `Some` if entries expire: there are TTLs, and times to hold them against.
    pub(crate) lifetimes: Option<Lifetimes>,
    pub(crate) warnings: Vec<Warning>,
}

impl Trace {
    /// Refuses what cannot be a trace, without opening it: a pipe can be opened only once.
    pub(crate) fn check(path: &Path, options: &ReadOptions) -> Result<(), TraceError> {
        if path != Path::new("-") {
            let file = path.display().to_string();
            let is_folder = path.metadata().map(|metadata| metadata.is_dir());
            match is_folder.map_err(|source| TraceError::Open { file: file.clone(), source })? {
                true => {
                    let source = io::ErrorKind::IsADirectory.into();
                    Err(TraceError::Read { file, source })
                }
                false => format_of(&file, options).map(drop),
            }
        } else {
            Ok(())
        }
    }

    /// Reads a whole trace.
    pub(crate) fn read(mut input: Input, options: &ReadOptions) -> Result<Self, TraceError> {
        let format = format_of(input.name(), options)?;
        let max = options.max_requests;
        let mut columns = match format {
            Format::Text => text::read(&mut input, max),
            Format::Csv => csv::read(&mut input, &options.csv, max),
            Format::Arc => arc::read(&mut input, max),
            Format::Lirs => lirs::read(&mut input, max),
            Format::U32 => raw::read(&mut input, max, u32::from_le_bytes),
            Format::U64 => raw::read(&mut input, max, u64::from_le_bytes),
            Format::OracleGeneral => oracle_general::read(&mut input, max),
        }?;
        let name = input.name().to_owned();
        if columns.requests.is_empty() {
            return Err(TraceError::Empty { file: name });
        }
        if format != Format::Csv && options.csv != CsvOptions::default() {
            columns.warnings.push(Warning::NoColumns { format });
        }
        let has_times = !columns.times_ns.is_empty() || options.rate.is_some();
        let ttl = TtlSummary::of(&columns.ttls_ns, has_times);
        if ttl.is_some() && !has_times {
            columns.warnings.push(Warning::NoTimes);
        }
        let lifetimes = ttl.filter(|ttl| ttl.is_replayed).map(|_| match options.rate {
            Some(rate) if columns.times_ns.is_empty() => Lifetimes::at_rate(rate, columns.ttls_ns),
            _ => Lifetimes::new(columns.times_ns, columns.ttls_ns),
        });
        Ok(Trace {
            name,
            format,
            requests: columns.requests,
            distinct_keys: columns.distinct_keys,
            sizes_bytes: columns.sizes_bytes,
            ttl,
            span: columns.span.found(),
            lifetimes,
            warnings: columns.warnings,
        })
    }

    /// A trace of generated keys.
    pub(crate) fn of_keys(
        name: String,
        keys: impl Iterator<Item = u32>,
        max_requests: u32,
    ) -> Result<Self, TraceError> {
        let mut all = Collector::new(max_requests);
        for (position, key) in keys.enumerate() {
            if let Err(problem) = all.push(key) {
                let position = Position::Byte(4 * position as u64);
                return Err(TraceError::Malformed { file: name, position, problem });
            }
        }
        if all.requests.is_empty() {
            return Err(TraceError::Empty { file: name });
        }
        let Columns { requests, distinct_keys, .. } = all.finish();
        let format = Format::U32;
        Ok(Trace {
            name,
            format,
            requests,
            distinct_keys,
            sizes_bytes: None,
            ttl: None,
            span: None,
            lifetimes: None,
            warnings: Vec::new(),
        })
    }

    /// The bytes of all keys together, each at the size of its last request.
    pub(crate) fn footprint_bytes(&self) -> Option<u64> {
        let sizes = self.sizes_bytes.as_ref()?;
        let mut last = vec![0; self.distinct_keys as usize];
        for (&id, &size_bytes) in self.requests.iter().zip(sizes) {
            last[id as usize] = size_bytes;
        }
        Some(last.into_iter().map(u64::from).sum())
    }

    /// How many keys are asked for only once: no cache can hit them.
    pub(crate) fn one_hit_wonders(&self) -> u32 {
        let mut counts = vec![0_u8; self.distinct_keys as usize];
        for &id in &self.requests {
            counts[id as usize] = counts[id as usize].saturating_add(1);
        }
        // No more than `distinct_keys`, which is a `u32`.
        counts.into_iter().filter(|&count| count == 1).count() as u32
    }
}

/// The format that was asked for, or that the name tells.
fn format_of(name: &str, options: &ReadOptions) -> Result<Format, TraceError> {
    options.format.or_else(|| Format::of_name(name)).ok_or_else(|| {
        let file = name.to_owned();
        TraceError::UnknownFormat { file, known: KNOWN_NAMES, formats: FORMATS }
    })
}

/// What a parser has read.
#[derive(Debug)]
struct Columns {
    requests: Vec<u32>,
    distinct_keys: u32,
    sizes_bytes: Option<Vec<u32>>,
    /// As long as `requests` if there is a column of them, else empty; so are the TTLs.
    times_ns: Vec<u64>,
    ttls_ns: Vec<u64>,
    span: TimeSpan,
    warnings: Vec<Warning>,
}

/// Numbers keys and collects requests, up to a limit.
struct Collector<K> {
    ids: HashMap<K, u32>,
    requests: Vec<u32>,
    sizes_bytes: Vec<u32>,
    times_ns: Vec<u64>,
    ttls_ns: Vec<u64>,
    span: TimeSpan,
    latest_ns: u64,
    /// The first line whose time goes back, and how many do.
    back: Option<(u64, u64)>,
    warnings: Vec<Warning>,
    max_requests: u32,
}

impl<K: Hash + Eq> Collector<K> {
    fn new(max_requests: u32) -> Self {
        Collector {
            ids: HashMap::new(),
            requests: Vec::new(),
            sizes_bytes: Vec::new(),
            times_ns: Vec::new(),
            ttls_ns: Vec::new(),
            span: TimeSpan::NONE,
            latest_ns: 0,
            back: None,
            warnings: Vec::new(),
            max_requests,
        }
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Refuses before anything is stored, so that a hostile count costs nothing.
    fn reserve(&self, requests: u64) -> Result<(), Problem> {
        if requests > u64::from(self.max_requests) - self.requests.len() as u64 {
            return Err(Problem::TooManyRequests { limit: self.max_requests });
        }
        Ok(())
    }

    fn push(&mut self, key: K) -> Result<(), Problem> {
        self.reserve(1)?;
        // Fewer keys than requests, and those are at most `u32::MAX`.
        let next = self.ids.len() as u32;
        self.requests.push(*self.ids.entry(key).or_insert(next));
        Ok(())
    }

    fn push_sized(&mut self, key: K, size_bytes: u32) -> Result<(), Problem> {
        self.push(key)?;
        self.sizes_bytes.push(size_bytes);
        Ok(())
    }

    /// The time of the next request, in that line; `is_kept` if entries may expire.
    fn add_time(&mut self, time_ns: u64, line: u64, is_kept: bool) {
        if time_ns < self.latest_ns {
            self.back.get_or_insert((line, 0)).1 += 1;
        }
        self.latest_ns = self.latest_ns.max(time_ns);
        self.span.add(time_ns);
        if is_kept {
            self.times_ns.push(time_ns);
        }
    }

    fn add_ttl(&mut self, ttl_ns: u64) {
        self.ttls_ns.push(ttl_ns);
    }

    /// Notes a warning, once for each kind.
    fn warn(&mut self, warning: Warning) {
        let kind = std::mem::discriminant(&warning);
        if self.warnings.iter().all(|other| std::mem::discriminant(other) != kind) {
            self.warnings.push(warning);
        }
    }

    fn finish(mut self) -> Columns {
        if let Some((line, requests)) = self.back.filter(|_| !self.times_ns.is_empty()) {
            self.warn(Warning::TimesGoBack { line, requests });
        }
        if self.span.is_far() {
            self.warn(Warning::FarTimes);
        }
        Columns {
            distinct_keys: self.ids.len() as u32,
            sizes_bytes: (!self.sizes_bytes.is_empty()).then_some(self.sizes_bytes),
            requests: self.requests,
            times_ns: self.times_ns,
            ttls_ns: self.ttls_ns,
            span: self.span,
            warnings: self.warnings,
        }
    }
}

/// A whole number of at most `max` that stands for something, as a key does: every digit counts, so
/// it may end in `.0`, but not have an exponent, which means that it was rounded.
fn parse_number(field: &'static str, given: &[u8], max: u64) -> Result<u64, Problem> {
    let number = parse_amount(field, given, max)?;
    if given.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return Err(Problem::Rounded { field, given: Excerpt::new(given) });
    }
    Ok(number)
}

/// A whole number of at most `max` that counts something. Tools that know nothing but floats write it
/// as `123.0` or as `1e+06`.
fn parse_amount(field: &'static str, given: &[u8], max: u64) -> Result<u64, Problem> {
    if given.is_empty() {
        return Err(Problem::EmptyNumber { field, max });
    }
    whole_number(given).filter(|&number| number <= max).ok_or_else(|| Problem::NotANumber {
        field,
        given: Excerpt::new(given),
        max,
    })
}

/// Digits, perhaps with a fraction and an exponent, if they are a whole number; without the detour
/// over a float, which knows 53 bits only. No sign, which no trace has.
fn whole_number(given: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(given).ok()?;
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if is_digits(text) {
        return text.parse().ok();
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}").parse::<u64>().ok()?;
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_u64.checked_pow(shift.unsigned_abs());
    match shift {
        0.. => digits.checked_mul(power?),
        _ => power.filter(|power| digits % power == 0).map(|power| digits / power),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::tests::{gzip, input, zstd};
    use std::io::Cursor;

    pub(super) const MAX: u32 = 1000;

    fn options(format: Option<Format>, max_requests: u32) -> ReadOptions {
        ReadOptions { format, csv: CsvOptions::default(), max_requests, rate: None }
    }

    #[test]
    fn format_is_told_by_the_name_below_the_compression() {
        for (name, format) in [
            ("a.txt", Some(Format::Text)),
            ("dir.csv/a.TSV.gz", Some(Format::Csv)),
            ("OLTP.lis", Some(Format::Arc)),
            ("loop.trc.zst", Some(Format::Lirs)),
            ("x.u32.zst", Some(Format::U32)),
            ("x.u64", Some(Format::U64)),
            ("w01.oracleGeneral.bin.zst", Some(Format::OracleGeneral)),
            ("cluster52.oracleGeneral.sample10", Some(Format::OracleGeneral)),
            ("oracleGeneral/a.txt", Some(Format::Text)),
            ("dir.txt/trace", None),
            ("trace", None),
            ("a.gz", None),
        ] {
            assert_eq!(Format::of_name(name), format, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_says_what_was_tried() {
        let failure = Trace::read(input("a\n"), &options(None, MAX)).unwrap_err().to_string();
        assert!(failure.contains("format of t by its name"), "{failure}");
        assert!(failure.contains(".lirs") && failure.contains("--format text, csv"), "{failure}");
    }

    #[test]
    fn every_format_refuses_an_empty_file() {
        for &format in Format::value_variants() {
            for bytes in [Vec::new(), gzip(b""), zstd(b"")] {
                let failure = Trace::read(input(bytes), &options(Some(format), MAX)).unwrap_err();
                assert!(matches!(failure, TraceError::Empty { .. }), "{format:?}: {failure}");
            }
        }
    }

    #[test]
    fn every_format_stops_at_the_limit_of_requests() {
        let bytes = b"7 1\n".repeat(6 * 8);
        for &format in Format::value_variants() {
            let failure =
                Trace::read(input(&bytes), &options(Some(format), 3)).unwrap_err().to_string();
            // LIRS takes no blank in a number, and is covered beside its parser.
            let is_refused = failure.contains("more than 3 requests; raise --max-requests");
            assert!(is_refused || format == Format::Lirs, "{format:?}: {failure}");
        }
    }

    #[test]
    fn a_small_file_that_expands_without_end_is_refused() {
        let endless = vec![0; 4 << 20];
        for packed in [gzip(&endless), zstd(&endless)] {
            assert!(packed.len() < endless.len() / 100);
            let failure = Trace::read(input(packed), &options(Some(Format::U32), MAX)).unwrap_err();
            assert!(failure.to_string().contains("t: byte 4000: more than 1000"), "{failure}");
        }
    }

    #[test]
    fn random_bytes_never_panic_in_any_format() {
        let mut state = 1_u64;
        for _ in 0..300 {
            let mut bytes = Vec::new();
            for _ in 0..(state >> 57) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                // Mostly what the text formats are made of.
                bytes.push(b"0123456789 ,\"\n*\0\xff-"[(state >> 40) as usize % 18]);
            }
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            for &format in Format::value_variants() {
                let _ = Trace::read(input(&bytes), &options(Some(format), MAX));
            }
        }
    }

    #[test]
    fn footprint_counts_each_key_at_its_last_size() {
        let trace = Trace {
            name: "t".into(),
            format: Format::Csv,
            requests: vec![0, 1, 0, 2],
            distinct_keys: 3,
            sizes_bytes: Some(vec![10, 20, 5, u32::MAX]),
            ttl: None,
            span: None,
            lifetimes: None,
            warnings: Vec::new(),
        };
        assert_eq!(trace.footprint_bytes(), Some(25 + u64::from(u32::MAX)));
        assert_eq!(trace.one_hit_wonders(), 2);
    }

    #[test]
    fn numbers_are_digits_within_range_and_nothing_else() {
        assert_eq!(parse_number("n", b"18446744073709551615", u64::MAX).unwrap(), u64::MAX);
        assert_eq!(parse_number("n", b"007", 7).unwrap(), 7);
        assert_eq!(parse_number("n", b"7.00", 7).unwrap(), 7);
        for given in ["+1", "-1", " 1", "1 ", "8", "18446744073709551616", "x", "1.5", "\u{661}"] {
            let problem = parse_number("size", given.as_bytes(), 7).unwrap_err().to_string();
            assert!(problem.starts_with("size `"), "{problem}");
            assert!(problem.ends_with("use a whole number from 0 to 7"), "{problem}");
        }
        let problem = parse_number("size", b"", 7).unwrap_err().to_string();
        assert_eq!(problem, "the size is empty; use a whole number from 0 to 7");
        let problem = parse_number("block", b"1.2e+03", u64::MAX).unwrap_err().to_string();
        assert!(problem.starts_with("block `1.2e+03` was rounded"), "{problem}");
    }

    #[test]
    fn amounts_are_read_as_tools_write_floats() {
        for (given, number) in [
            ("123.0", 123),
            ("1e+06", 1_000_000),
            ("1.5E3", 1_500),
            ("2500e-2", 25),
            ("0.0", 0),
            ("18446744073709551615.0", u64::MAX),
            ("9007199254740993.0", 9_007_199_254_740_993),
        ] {
            assert_eq!(parse_amount("n", given.as_bytes(), u64::MAX).unwrap(), number, "{given}");
        }
        for given in
            ["1.5", "1e-1", "1e20", ".5", "e5", "1e", "1.e", "1_000", "0x10", "1e+99999999999"]
        {
            assert!(parse_amount("n", given.as_bytes(), u64::MAX).is_err(), "{given}");
        }
    }

    #[test]
    fn a_name_with_a_known_ending_needs_no_format() {
        let input = Input::new("a.u32", Cursor::new(vec![9, 0, 0, 0])).unwrap();
        let trace = Trace::read(input, &options(None, MAX)).unwrap();
        assert_eq!((trace.format, trace.requests), (Format::U32, vec![0]));
    }
}
