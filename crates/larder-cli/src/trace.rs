//! Traces: the requests as dense ids, with their sizes, times and times to live if there are any.
//!
//! Owns the formats and their detection by file name. Keys are renumbered by first appearance, so
//! that a replay needs four bytes per request, whatever the keys were. While a trace is read, it
//! takes less than 120 bytes per request, and [`ReadOptions::max_requests`] bounds the number of
//! requests, which stops a file that expands without end (a decompression bomb, an ARC count of
//! 2^40).

// One parser for each format.
mod csv;
mod text;
mod arc;
mod lirs;
mod raw;
mod oracle_general;
// What all parsers fill: requests with renumbered keys.
mod columns;
// Keys of any length as 128 bits.
mod digest;
// Whole numbers as tools write them.
mod number;
// Times and times to live.
mod lifetime;
// What is odd about a trace that is read nevertheless.
mod warning;
// The formats, and which one a file's name stands for.
mod format;
// The bytes of a file, decompressed and cut into lines or records.
pub(crate) mod input;
// What can be wrong with a trace, and where.
pub(crate) mod error;
// How a file is packed.
mod compression;

use std::io;
use std::path::Path;

use crate::trace::columns::{Collector, Columns};
use crate::trace::error::{Position, TraceError};

pub(crate) use crate::trace::compression::{Compression, split_compression};
pub(crate) use crate::trace::csv::{Column, CsvOptions, Header};
pub(crate) use crate::trace::format::Format;
pub(crate) use crate::trace::input::Input;
pub(crate) use crate::trace::lifetime::{Lifetimes, TimeSpan, TimeUnit, TtlSummary};
pub(crate) use crate::trace::warning::Warning;

/// How to read a trace.
#[derive(Clone, Debug)]
pub(crate) struct ReadOptions {
    /// `None` chooses it by the file name.
    pub(crate) format: Option<Format>,
    pub(crate) csv: CsvOptions,
    pub(crate) max_requests: u32,
    /// Requests per second of a trace that has TTLs but no times.
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
    /// `Some` if entries expire, for which a trace needs TTLs and times.
    pub(crate) lifetimes: Option<Lifetimes>,
    pub(crate) warnings: Vec<Warning>,
}

impl Trace {
    /// Refuses a path that cannot be a trace, without opening it: a pipe can be opened only once.
    pub(crate) fn check(path: &Path, options: &ReadOptions) -> Result<(), TraceError> {
        if path != Path::new("-") {
            let file = path.display().to_string();
            let is_folder = path.metadata().map(|metadata| metadata.is_dir());
            match is_folder.map_err(|source| TraceError::Open { file: file.clone(), source })? {
                true => {
                    let source = io::ErrorKind::IsADirectory.into();
                    Err(TraceError::Read { file, source })
                }
                false => Format::of(&file, options.format).map(drop),
            }
        } else {
            Ok(())
        }
    }

    /// Reads a whole trace.
    pub(crate) fn read(mut input: Input, options: &ReadOptions) -> Result<Self, TraceError> {
        let format = Format::of(input.name(), options.format)?;
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
        if all.is_empty() {
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

    /// The bytes of all keys together, each counted at the size of its last request.
    pub(crate) fn footprint_bytes(&self) -> Option<u64> {
        let sizes = self.sizes_bytes.as_ref()?;
        let mut last = vec![0; self.distinct_keys as usize];
        for (&id, &size_bytes) in self.requests.iter().zip(sizes) {
            last[id as usize] = size_bytes;
        }
        Some(last.into_iter().map(u64::from).sum())
    }

    /// The number of keys that are requested only once, which no cache can hit.
    pub(crate) fn one_hit_wonders(&self) -> u32 {
        let mut counts = vec![0_u8; self.distinct_keys as usize];
        for &id in &self.requests {
            counts[id as usize] = counts[id as usize].saturating_add(1);
        }
        // No more than `distinct_keys`, which is a `u32`.
        counts.into_iter().filter(|&count| count == 1).count() as u32
    }
}

#[cfg(test)]
impl Trace {
    /// A trace of these ids, with or without sizes.
    pub(crate) fn of_ids(requests: &[u32], sizes_bytes: Option<Vec<u32>>) -> Self {
        Trace {
            name: "t".into(),
            format: Format::U32,
            requests: requests.to_vec(),
            distinct_keys: requests.iter().max().map_or(0, |last| last + 1),
            sizes_bytes,
            ttl: None,
            span: None,
            lifetimes: None,
            warnings: Vec::new(),
        }
    }

    /// A trace in which small ids are more popular; the same for the same seed.
    pub(crate) fn random(seed: u64, keys: u64, length: usize) -> Self {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        let requests: Vec<u32> =
            (0..length).map(|_| (next() % keys).min(next() % keys) as u32).collect();
        Trace::of_ids(&requests, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::input::tests::{gzip, input, zstd};
    use std::io::Cursor;

    use clap::ValueEnum;

    const MAX: u32 = 1000;

    fn options(format: Option<Format>, max_requests: u32) -> ReadOptions {
        ReadOptions { format, csv: CsvOptions::default(), max_requests, rate: None }
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
            // A LIRS line allows no blank in a number; the test beside its parser covers the limit.
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
                // Mostly the characters of the text formats.
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
        let trace = Trace::of_ids(&[0, 1, 0, 2], Some(vec![10, 20, 5, u32::MAX]));
        assert_eq!(trace.footprint_bytes(), Some(25 + u64::from(u32::MAX)));
        assert_eq!(trace.one_hit_wonders(), 2);
    }

    #[test]
    fn a_name_with_a_known_ending_needs_no_format() {
        let input = Input::new("a.u32", Cursor::new(vec![9, 0, 0, 0])).unwrap();
        let trace = Trace::read(input, &options(None, MAX)).unwrap();
        assert_eq!((trace.format, trace.requests), (Format::U32, vec![0]));
    }
}
