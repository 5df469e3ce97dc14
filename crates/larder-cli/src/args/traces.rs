//! Which traces to read, and how.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint, value_parser};

use crate::sizes::{Correlation, Sizes};
use crate::trace::{Column, CsvOptions, Format, Header, ReadOptions, TimeUnit, Trace};

/// Traces and how to read them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading traces")]
pub(crate) struct TraceArgs {
    /// Traces, plain or packed with gzip or zstd; `-` is standard input [default: the bundled
    /// trace]
    #[arg(value_name = "FILE", help_heading = None, value_hint = ValueHint::FilePath)]
    pub(crate) paths: Vec<PathBuf>,
    /// The format of all traces [default: by the file name, with or without .gz or .zst]
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    format: FormatArg,
    /// CSV: the column of the key, by the name in the first line or by number from 1
    #[arg(long, value_name = "COLUMN", default_value = "1")]
    key_column: Column,
    /// CSV: the column of the size in bytes
    #[arg(long, value_name = "COLUMN")]
    size_column: Option<Column>,
    /// CSV: the column of the time to live in seconds; an empty field means forever. Without
    /// --time-column or --rate no entry expires
    #[arg(long, value_name = "COLUMN")]
    ttl_column: Option<Column>,
    /// CSV: the column of the time of the request: a number, or a date such as 2024-05-31T12:00:00Z
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<Column>,
    /// CSV: the unit of numbers in the column of times
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = TimeUnit::Seconds)]
    time_unit: TimeUnit,
    /// Requests per second, for a trace that has TTLs but no times
    #[arg(long, value_name = "N", value_parser = parse_rate, conflicts_with = "time_column")]
    rate: Option<f64>,
    /// CSV: what separates columns, one ASCII character [default: a tab for .tsv, else a comma]
    #[arg(long, value_name = "CHAR", value_parser = parse_delimiter)]
    delimiter: Option<u8>,
    /// CSV: the first line names the columns, even if all columns are given by number [default: if
    /// the line looks like a header, with a warning]
    #[arg(long, conflicts_with = "no_header")]
    header: bool,
    /// CSV: the first line is a request, even if it looks like a header
    #[arg(long)]
    no_header: bool,
    /// Refuse traces with more requests; reading a trace takes less than 120 bytes per request
    #[arg(
        long, value_name = "N", default_value_t = 100_000_000,
        value_parser = value_parser!(u32).range(1..)
    )]
    max_requests: u32,
    /// Make up sizes for traces that have none, also for generated ones; with several
    /// distributions, separated by commas, a trace is taken once with each
    #[arg(long, value_enum, value_name = "DISTRIBUTIONS", value_delimiter = ',')]
    sizes: Vec<Sizes>,
    /// How made-up sizes depend on popularity; with several, a trace is taken once with each
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        value_delimiter = ',',
        default_value = "none",
        requires = "sizes"
    )]
    size_correlation: Vec<Correlation>,
    /// The seed of made-up sizes
    #[arg(long, value_name = "N", default_value_t = 1, requires = "sizes")]
    size_seed: u64,
}

#[derive(Clone, Copy, Debug)]
enum FormatArg {
    Auto,
    Named(Format),
}

impl ValueEnum for FormatArg {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            FormatArg::Auto,
            FormatArg::Named(Format::Text),
            FormatArg::Named(Format::Csv),
            FormatArg::Named(Format::Arc),
            FormatArg::Named(Format::Lirs),
            FormatArg::Named(Format::U32),
            FormatArg::Named(Format::U64),
            FormatArg::Named(Format::OracleGeneral),
        ]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        match self {
            FormatArg::Auto => {
                Some(clap::builder::PossibleValue::new("auto").help("By the name of the file"))
            }
            FormatArg::Named(format) => format.to_possible_value(),
        }
    }
}

impl TraceArgs {
    /// Calls `show` with the trace, once for each combination of made-up sizes if it has none.
    pub(crate) fn with_sizes<E>(
        &self,
        trace: Trace,
        mut show: impl FnMut(&Trace) -> Result<(), E>,
    ) -> Result<(), E> {
        if trace.sizes_bytes.is_some() || self.sizes.is_empty() {
            return show(&trace);
        }
        let mut bare = trace;
        for &sizes in &self.sizes {
            for &correlation in &self.size_correlation {
                let name = bare.name.clone();
                bare.make_up_sizes(sizes, correlation, self.size_seed);
                show(&bare)?;
                (bare.name, bare.sizes_bytes) = (name, None);
            }
        }
        Ok(())
    }

    pub(crate) fn read_options(&self) -> ReadOptions {
        ReadOptions {
            format: match self.format {
                FormatArg::Auto => None,
                FormatArg::Named(format) => Some(format),
            },
            csv: CsvOptions {
                key: self.key_column.clone(),
                size: self.size_column.clone(),
                ttl: self.ttl_column.clone(),
                time: self.time_column.clone(),
                time_unit: self.time_unit,
                delimiter: self.delimiter,
                header: match (self.header, self.no_header) {
                    (true, _) => Header::Names,
                    (_, true) => Header::Request,
                    _ => Header::Auto,
                },
            },
            max_requests: self.max_requests,
            rate: self.rate,
        }
    }
}

/// Why an argument is not a delimiter.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("use one ASCII character, or \\t for a tab")]
struct DelimiterError;

fn parse_delimiter(given: &str) -> Result<u8, DelimiterError> {
    match given.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        b"\\t" => Ok(b'\t'),
        _ => Err(DelimiterError),
    }
}

/// Why an argument is not a rate.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("use a number of requests a second above 0, at most 1e9")]
struct RateError;

fn parse_rate(given: &str) -> Result<f64, RateError> {
    let rate = given.parse().ok();
    rate.filter(|rate: &f64| *rate > 0.0 && *rate <= 1e9).ok_or(RateError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_can_be_written_as_an_escape() {
        assert_eq!(parse_delimiter("\\t").unwrap(), b'\t');
        assert_eq!(parse_delimiter(";").unwrap(), b';');
        assert!(parse_delimiter("").is_err() && parse_delimiter("ü").is_err());
    }
}
