//! Trace files. Whatever the bytes are, each parser returns a consistent trace or an error with its
//! position; none panics or exceeds its memory, and a packed file gives the same trace as the plain
//! one.
//!
//! The first byte of an input chooses the format, the second the columns, and the third the packing
//! of the rest.
//!
//! Bugs that were planted one at a time and found: a key gets a new number at each request (by the
//! seeds), the first digit of a number is read without a check that there is one (after 2,675
//! executions), the bound on requests is 300 too high (after 171,517).

#![no_main]

use std::io::{Cursor, Write};

use libfuzzer_sys::fuzz_target;

#[allow(
    dead_code,
    unused_imports,
    reason = "the program's own modules, of which the parsers are driven here"
)]
#[path = "../../crates/larder-cli/src"]
mod cli {
    pub(crate) mod trace;
}

use cli::trace;

use trace::error::TraceError;
use trace::{CsvOptions, Format, Input, ReadOptions, Trace};

const FORMATS: [Option<Format>; 8] = [
    Some(Format::Text),
    Some(Format::Csv),
    Some(Format::Arc),
    Some(Format::Lirs),
    Some(Format::U32),
    Some(Format::U64),
    Some(Format::OracleGeneral),
    None,
];
const NAMES: [&str; 4] = ["t.csv", "t.tsv.zst", "t.oracleGeneral", "t"];
const MAX_REQUESTS: u32 = 1000;

fn packed(how: u8, bytes: &[u8]) -> Vec<u8> {
    match how % 4 {
        1 => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("memory takes all");
            encoder.finish().expect("memory takes all")
        }
        2 => zstd::encode_all(bytes, 1).expect("memory takes all"),
        _ => bytes.to_vec(),
    }
}

fn read(name: &str, bytes: Vec<u8>, options: &ReadOptions) -> Result<Trace, TraceError> {
    Trace::read(Input::new(name, Cursor::new(bytes))?, options)
}

/// Checks that a trace is consistent.
fn check(trace: &Trace) {
    let mut known = 0;
    for &id in &trace.requests {
        assert!(id <= known, "ids are numbered by first appearance");
        known = known.max(id + 1);
    }
    assert_eq!(known, trace.distinct_keys);
    assert!(!trace.requests.is_empty() && trace.requests.len() <= MAX_REQUESTS as usize);
    assert!(trace.one_hit_wonders() <= trace.distinct_keys);
    if let Some(sizes) = &trace.sizes_bytes {
        assert_eq!(sizes.len(), trace.requests.len());
        assert!(trace.footprint_bytes() <= Some(sizes.iter().map(|&size| u64::from(size)).sum()));
    }
    if let Some(ttl) = &trace.ttl {
        assert!(ttl.requests <= trace.requests.len() as u64);
        assert!(ttl.shortest_seconds <= ttl.longest_seconds);
    }
}

fuzz_target!(|data: &[u8]| {
    let [format, columns, how, rest @ ..] = data else { return };
    let column = |number: u8| trace::Column::Number(usize::from(number % 4) + 1);
    let csv = CsvOptions {
        key: column(*columns),
        size: (columns & 4 != 0).then(|| column(columns >> 3)),
        ttl: (columns & 32 != 0).then(|| column(columns >> 6)),
        ..CsvOptions::default()
    };
    let format_of = FORMATS[usize::from(format % 8)];
    // Without a rate, TTLs are counted but not used.
    let rate = (how & 64 != 0).then_some(1_000.0);
    let options = ReadOptions { format: format_of, csv, max_requests: MAX_REQUESTS, rate };
    let name = NAMES[usize::from(format >> 3) % NAMES.len()];
    let plain = read(name, rest.to_vec(), &options);
    match &plain {
        Ok(trace) => check(trace),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // A file that looks packed would be unpacked once only, so packing it again would differ.
    if how % 4 != 3 && !rest.is_empty() && plain.is_ok() {
        let looks_packed = [&[0x1f, 0x8b][..], &[0x28, 0xb5]].iter().any(|it| rest.starts_with(it))
            || rest.get(1..4) == Some(&[0x2a, 0x4d, 0x18]);
        if !looks_packed {
            let unpacked = read(name, packed(*how, rest), &options);
            assert_eq!(unpacked.ok().as_ref(), plain.as_ref().ok());
        }
    }
});
