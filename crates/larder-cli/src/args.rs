//! The command line.

use std::path::PathBuf;
use std::thread;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint, value_parser};

use crate::capacity::{self, CapacityArg, Weights};
use crate::generate::{KeyFormat, Pattern};
use crate::replay::ReplayOptions;
use crate::simulate::SimulateOptions;
use crate::snapshot::{ConvertArgs, DumpArgs, InspectArgs, VerifyArgs};
use crate::trace::{Column, CsvOptions, Format, Header, ReadOptions, TimeUnit};

const POLICIES: [&str; 6] = ["lru", "lfu", "fifo", "sieve", "s3_fifo", "window_tiny_lfu"];
const MAX_THREADS: u16 = 1024;

const EXAMPLES: &str = "\
Examples:
  larder                                       replay the bundled trace: the file pages of a build
  larder --policies lru,sieve --capacities 5%  the same, shorter
  larder replay trace.lis --capacities 1000,10% --plot curve.svg
  larder replay log.csv.zst --key-column url --size-column bytes --weights size --capacities 64M
  larder simulate trace.lis --capacities 1000,10% --policies lru,s3_fifo,ref-arc,opt
  larder simulate --generate zipf,loop --keys 10000 --plot curves.svg
  larder simulate log.csv --key-column url --ttl-column ttl --time-column when --csv
  larder generate zipf --keys 100000 --exponent 0.9 --output zipf.u32.zst

Exit code: 0 done, 1 a file could not be read or written, 2 wrong arguments or a malformed trace.";

/// Replays traces through a larder cache: hit ratio, throughput and latency by policy and capacity.
///
/// Without a command, it replays a bundled trace: the file pages that a cargo session asked the
/// kernel for.
#[derive(Debug, Parser)]
#[command(name = "larder", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) replay: ReplayArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replay traces from several threads through one shared cache
    ///
    /// Each request is a get, and an insert on a miss. Every policy meets every capacity with a
    /// fresh cache. With TTLs (--ttl-column) and times (--time-column or --rate), entries expire by
    /// the trace's own time: the cache's clock shows the time of the request, so an hour of a trace
    /// passes as fast as it is replayed.
    Replay {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        replay: ReplayArgs,
    },
    /// Simulate policies without threads: exact hit ratios, beside the optimum
    ///
    /// The library's policies run as in a cache with inline maintenance and one partition, each
    /// request a lookup, and an insertion on a miss. With TTLs (--ttl-column) and times
    /// (--time-column or --rate), entries expire by the trace's own time: the library's leave at their
    /// deadline, those of ref- policies are renewed in place at the next request, which is a miss, and
    /// opt, which knows no TTLs, stays a bound.
    Simulate {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        simulate: SimulateArgs,
    },
    /// Say what a snapshot of a cache holds, without knowing its types
    Inspect(InspectArgs),
    /// Look at every checksum of a snapshot; nothing is said of one that is whole
    Verify(VerifyArgs),
    /// Copy a snapshot by another serializer, or packed otherwise
    Convert(ConvertArgs),
    /// Write a snapshot's entries as JSON, one to a line
    ///
    /// Each has `key`, `value`, `expires_at` and `expires_in_s` as of the saving (null: never),
    /// `has_expired`, `tags`, `weight` and `frequency`. Numbers that JSON has no way to write are
    /// strings: "NaN", "inf", "-inf".
    Dump(DumpArgs),
    /// Write a synthetic trace, the same for the same seed everywhere
    Generate(GenerateArgs),
    /// Say what is in traces, without a replay
    Info {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        shown: Shown,
    },
    /// Print a script that completes commands and options in a shell
    ///
    /// For bash: larder completions bash > ~/.local/share/bash-completion/completions/larder
    Completions { shell: clap_complete::Shell },
    /// Print a manual page
    ///
    /// To read one at once: larder man simulate | man -l -
    Man {
        /// Of a command [default: of larder itself]
        command: Option<String>,
    },
}

/// Traces and how to read them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading traces")]
pub(crate) struct Files {
    /// Traces, plain or packed with gzip or zstd; `-` is standard input; none is the bundled trace
    #[arg(value_name = "FILE", help_heading = None, value_hint = ValueHint::FilePath)]
    pub(crate) paths: Vec<PathBuf>,
    /// The format of all of them [default: by the name, with or without .gz or .zst]
    #[arg(long, value_enum, default_value = "auto", hide_default_value = true)]
    format: FormatArg,
    /// CSV: the column of the key, by the name in the first line or by number from 1
    #[arg(long, value_name = "COLUMN", default_value = "1")]
    key_column: Column,
    /// CSV: the column of the size in bytes
    #[arg(long, value_name = "COLUMN")]
    size_column: Option<Column>,
    /// CSV: the column of the time to live in seconds; empty is for ever. Takes
    /// --time-column or --rate, or no entry expires
    #[arg(long, value_name = "COLUMN")]
    ttl_column: Option<Column>,
    /// CSV: the column of the time of the request: a number, or a date such as 2024-05-31T12:00:00Z
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<Column>,
    /// CSV: what numbers in the column of times count
    #[arg(long, value_enum, value_name = "UNIT", default_value_t = TimeUnit::Seconds)]
    time_unit: TimeUnit,
    /// Requests a second, for a trace with TTLs and without times
    #[arg(long, value_name = "N", value_parser = parse_rate, conflicts_with = "time_column")]
    rate: Option<f64>,
    /// CSV: what separates columns, one ASCII character [default: a tab for .tsv, else a comma]
    #[arg(long, value_name = "CHAR", value_parser = parse_delimiter)]
    delimiter: Option<u8>,
    /// CSV: the first line names the columns, also where all are given by number [default: if it
    /// looks like it, with a warning]
    #[arg(long, conflicts_with = "no_header")]
    header: bool,
    /// CSV: the first line is a request, whatever it looks like
    #[arg(long)]
    no_header: bool,
    /// Refuse traces with more requests; reading one takes less than 120 bytes a request
    #[arg(
        long, value_name = "N", default_value_t = 100_000_000,
        value_parser = value_parser!(u32).range(1..)
    )]
    max_requests: u32,
}

#[derive(Clone, Copy, Debug)]
enum FormatArg {
    Auto,
    Is(Format),
}

impl ValueEnum for FormatArg {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            FormatArg::Auto,
            FormatArg::Is(Format::Text),
            FormatArg::Is(Format::Csv),
            FormatArg::Is(Format::Arc),
            FormatArg::Is(Format::Lirs),
            FormatArg::Is(Format::U32),
            FormatArg::Is(Format::U64),
            FormatArg::Is(Format::OracleGeneral),
        ]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        match self {
            FormatArg::Auto => {
                Some(clap::builder::PossibleValue::new("auto").help("By the name of the file"))
            }
            FormatArg::Is(format) => format.to_possible_value(),
        }
    }
}

impl Files {
    pub(crate) fn read_options(&self) -> ReadOptions {
        ReadOptions {
            format: match self.format {
                FormatArg::Auto => None,
                FormatArg::Is(format) => Some(format),
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

/// Why an argument is no delimiter.
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

/// Why an argument is no rate.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("use a number of requests a second above 0, at most 1e9")]
struct RateError;

fn parse_rate(given: &str) -> Result<f64, RateError> {
    let rate = given.parse().ok();
    rate.filter(|rate: &f64| *rate > 0.0 && *rate <= 1e9).ok_or(RateError)
}

/// How to replay and what to show.
#[derive(Debug, Args)]
#[command(next_help_heading = "Replay")]
pub(crate) struct ReplayArgs {
    /// Policies, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values = POLICIES)]
    pub(crate) policies: Vec<String>,
    #[arg(long, value_name = "LIST", value_delimiter = ',', help = capacities_help())]
    capacities: Vec<CapacityArg>,
    /// Threads that share the cache [default: the cores, from 2 to 8]; 1 keeps the exact order
    #[arg(
        long, value_name = "N",
        value_parser = value_parser!(u16).range(1..=i64::from(MAX_THREADS))
    )]
    threads: Option<u16>,
    /// Who does the work of eviction
    #[arg(long, value_enum, default_value_t = Maintenance::Background)]
    maintenance: Maintenance,
    /// Parts that policy and capacity are split into, a power of two [default: the cache decides]
    #[arg(long, value_name = "N")]
    partitions: Option<usize>,
    /// What an entry weighs: one, or its size in bytes (a size of 0 counts as 1)
    #[arg(long, value_enum, default_value_t = WeightsArg::One)]
    weights: WeightsArg,
    /// Run the trace N times through the same cache; the figures are of all passes
    #[arg(
        long, value_name = "N", default_value_t = 1,
        value_parser = value_parser!(u32).range(1..)
    )]
    repeat: u32,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    pub(crate) drawn: Drawn,
    /// Show no progress bar
    #[arg(long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

fn capacities_help() -> String {
    format!(
        "Capacities, separated by commas: entries, or bytes with --weights size (K, M, G and T are \
         powers of 1024: 1M is 1,048,576), or a share of the distinct keys or of their bytes, such as \
         5% [default: {}; with --plot {}]",
        capacity::USUAL.join(","),
        capacity::OF_A_CURVE.join(","),
    )
}

/// How results are shown.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Shown {
    /// Print one JSON document instead of tables
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV instead of tables: a header, whose names are those of --json, and a row for each
    /// result
    #[arg(long)]
    csv: bool,
}

/// The form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    Json,
    Csv,
}

impl Shown {
    pub(crate) fn output(self) -> Output {
        match (self.json, self.csv) {
            (true, _) => Output::Json,
            (_, true) => Output::Csv,
            _ => Output::Table,
        }
    }
}

/// Whether and where a picture is drawn.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Drawn {
    /// Draw miss ratio by capacity, a curve for each policy, as SVG
    #[arg(
        long, value_name = "FILE.svg", value_hint = ValueHint::FilePath,
        value_parser = PathBufValueParser::new().try_map(parse_svg_path)
    )]
    pub(crate) plot: Option<PathBuf>,
    /// Overwrite the picture if it exists
    #[arg(long, requires = "plot")]
    pub(crate) force: bool,
}

/// Why an argument names no picture.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("pictures are SVG; use a name that ends in .svg")]
struct NotSvgError;

fn parse_svg_path(given: PathBuf) -> Result<PathBuf, NotSvgError> {
    match given.extension() {
        Some(suffix) if suffix.eq_ignore_ascii_case("svg") => Ok(given),
        _ => Err(NotSvgError),
    }
}

/// What was asked for, or what is usual for what is shown.
fn capacities_or_default(given: &[CapacityArg], drawn: &Drawn) -> Vec<CapacityArg> {
    let default = if drawn.plot.is_some() { &capacity::OF_A_CURVE[..] } else { &capacity::USUAL };
    match given {
        [] => default.iter().map(|text| text.parse().expect("a constant that parses")).collect(),
        given => given.to_vec(),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Maintenance {
    /// A thread of the library, and writers that find work to do
    Background,
    /// The calling threads alone
    Inline,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WeightsArg {
    One,
    Size,
}

impl From<WeightsArg> for Weights {
    fn from(weights: WeightsArg) -> Self {
        match weights {
            WeightsArg::One => Weights::Entries,
            WeightsArg::Size => Weights::Bytes,
        }
    }
}

impl ReplayArgs {
    pub(crate) fn output(&self) -> Output {
        self.shown.output()
    }

    pub(crate) fn capacities(&self) -> Vec<CapacityArg> {
        capacities_or_default(&self.capacities, &self.drawn)
    }

    pub(crate) fn options(&self) -> ReplayOptions {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        ReplayOptions {
            threads: self.threads.map_or_else(|| cores.clamp(2, 8), usize::from),
            maintenance: match self.maintenance {
                Maintenance::Background => larder::Maintenance::Background,
                Maintenance::Inline => larder::Maintenance::Inline,
            },
            partitions: self.partitions,
            weights: self.weights.into(),
            passes: self.repeat,
        }
    }
}

/// What to simulate and what to show.
#[derive(Debug, Args)]
#[command(next_help_heading = "Simulation")]
pub(crate) struct SimulateArgs {
    /// Policies, separated by commas: the library's, published ones (ref-lru, ref-fifo, ref-lfu,
    /// ref-arc, ref-lirs, ref-2q) and opt, the bound of all [default: the library's, ref-arc and
    /// ref-lirs without --weights size, and opt]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) policies: Vec<String>,
    #[arg(long, value_name = "LIST", value_delimiter = ',', help = capacities_help())]
    capacities: Vec<CapacityArg>,
    /// Threads, each of which simulates one policy at one capacity at a time [default: the cores]
    #[arg(
        long, value_name = "N",
        value_parser = value_parser!(u16).range(1..=i64::from(MAX_THREADS))
    )]
    threads: Option<u16>,
    /// What an entry weighs: one, or its size in bytes (a size of 0 counts as 1)
    #[arg(long, value_enum, default_value_t = WeightsArg::One)]
    weights: WeightsArg,
    /// Generate traces of these patterns and simulate them too, separated by commas
    #[arg(long, value_enum, value_name = "PATTERNS", value_delimiter = ',')]
    generate: Vec<PatternArg>,
    #[command(flatten)]
    pub(crate) generated: Generated,
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    pub(crate) drawn: Drawn,
    /// Show no progress bar
    #[arg(long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

impl SimulateArgs {
    pub(crate) fn output(&self) -> Output {
        self.shown.output()
    }

    pub(crate) fn capacities(&self) -> Vec<CapacityArg> {
        capacities_or_default(&self.capacities, &self.drawn)
    }

    pub(crate) fn options(&self) -> SimulateOptions {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        SimulateOptions {
            threads: self.threads.map_or(cores, usize::from),
            weights: self.weights.into(),
            seed: self.generated.seed,
        }
    }

    /// Names and patterns of the traces to generate.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = (String, Pattern)> {
        self.generate.iter().map(|&pattern| {
            let name = pattern.to_possible_value().map_or_else(String::new, |value| {
                format!("{} (seed {})", value.get_name(), self.generated.seed)
            });
            (name, self.generated.pattern(pattern))
        })
    }
}

/// What to write where.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[arg(value_enum)]
    pattern: PatternArg,
    #[command(flatten)]
    pub(crate) generated: Generated,
    /// Where to write; packed if the name ends in .gz or .zst; `-` is standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// How to write keys [default: u32 for names with .u32, else text]
    #[arg(long, value_enum)]
    pub(crate) format: Option<KeyFormat>,
    /// Overwrite the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

impl GenerateArgs {
    pub(crate) fn pattern(&self) -> Pattern {
        self.generated.pattern(self.pattern)
    }
}

/// How a generated trace is to be.
#[derive(Debug, Args)]
#[command(next_help_heading = "Generated traces")]
pub(crate) struct Generated {
    /// How many requests
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) requests: u64,
    /// How many keys; for scan, the popular ones
    #[arg(
        long, value_name = "N", default_value_t = 100_000,
        value_parser = value_parser!(u32).range(1..)
    )]
    keys: u32,
    /// The same seed gives the same trace, and in a simulation the same hashes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Zipf, scan, shift: how uneven the popularity is, from 0 (not at all) to 20
    #[arg(long, value_name = "S", default_value_t = 0.9)]
    exponent: f64,
    /// Scan, shift: the requests between two scans or two moves of the popularity
    #[arg(
        long, value_name = "N", default_value_t = 50_000,
        value_parser = value_parser!(u64).range(1..)
    )]
    every: u64,
    /// Scan: the keys of one scan, each asked for once and never again
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    length: u64,
    /// Shift: the keys by which the popularity moves on
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    step: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PatternArg {
    /// A few keys get most requests: key k in proportion to 1 / (k + 1)^exponent
    Zipf,
    /// All keys get the same
    Uniform,
    /// Zipf, with scans of keys that are asked for once and never again
    Scan,
    /// All keys in turn, again and again
    Loop,
    /// Zipf, but the popularity moves on to other keys
    Shift,
}

impl Generated {
    fn pattern(&self, pattern: PatternArg) -> Pattern {
        let Generated { keys, exponent, every: every_requests, .. } = *self;
        let (scan_keys, step_keys) = (self.length, self.step);
        match pattern {
            PatternArg::Zipf => Pattern::Zipf { keys, exponent },
            PatternArg::Uniform => Pattern::Uniform { keys },
            PatternArg::Scan => Pattern::Scan { keys, exponent, every_requests, scan_keys },
            PatternArg::Loop => Pattern::Loop { keys },
            PatternArg::Shift => Pattern::Shift { keys, exponent, every_requests, step_keys },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_work_with_and_without_the_command() {
        let short = Cli::try_parse_from(["larder", "--policies", "lru,fifo", "--capacities", "5%"]);
        let short = short.unwrap();
        assert!(short.command.is_none());
        assert_eq!(short.replay.policies, ["lru", "fifo"]);
        assert_eq!(short.replay.capacities(), [CapacityArg::Percent(5.0)]);
        let long = Cli::try_parse_from(["larder", "replay", "a.txt", "b.txt", "--threads", "3"]);
        let Some(Command::Replay { files, replay }) = long.unwrap().command else {
            panic!("not a replay");
        };
        assert_eq!((files.paths.len(), replay.options().threads), (2, 3));
    }

    #[test]
    fn arguments_out_of_range_are_refused() {
        for args in [
            &["--threads", "0"][..],
            &["--repeat", "0"],
            &["--capacities", "0"],
            &["--capacities", "5%,x"],
            &["replay", "a", "--max-requests", "0"],
            &["replay", "a", "--max-requests", "4294967296"],
            &["replay", "a", "--delimiter", "ab"],
            &["replay", "a", "--key-column", "0"],
            &["generate", "zipf", "--output", "-", "--keys", "0"],
            &["generate", "shift", "--output", "-", "--every", "0"],
            &["--quiet", "replay", "a"],
            &["replay", "a", "--json", "--csv"],
            &["replay", "a", "--plot", "curve.png"],
            &["replay", "a", "--plot", "svg"],
            &["replay", "a", "--force"],
            &["replay", "a", "--header", "--no-header"],
            &["replay", "a", "--rate", "0"],
            &["replay", "a", "--rate", "1", "--time-column", "2"],
        ] {
            let all = ["larder"].iter().chain(args);
            assert!(Cli::try_parse_from(all).is_err(), "{args:?}");
        }
    }

    #[test]
    fn a_curve_has_capacities_that_are_spread_over_decades() {
        let capacities = |args: &[&str]| {
            let cli = Cli::try_parse_from(["larder"].iter().chain(args)).unwrap();
            cli.replay.capacities()
        };
        assert_eq!(capacities(&[]).len(), 4);
        let curve = capacities(&["--plot", "a.SVG"]);
        assert_eq!(curve.first(), Some(&CapacityArg::Percent(0.1)));
        assert_eq!(curve.last(), Some(&CapacityArg::Percent(100.0)));
        assert!(curve.len() >= 10, "{curve:?}");
        assert_eq!(capacities(&["--plot", "a.svg", "--capacities", "7"]).len(), 1);
    }

    #[test]
    fn a_tab_can_be_written_as_an_escape() {
        assert_eq!(parse_delimiter("\\t").unwrap(), b'\t');
        assert_eq!(parse_delimiter(";").unwrap(), b';');
        assert!(parse_delimiter("").is_err() && parse_delimiter("ü").is_err());
    }
}
