//! Which synthetic trace to generate.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint, value_parser};

use crate::generate::{KeyFormat, Pattern};

/// What to write where.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[arg(value_enum)]
    pattern: PatternArg,
    #[command(flatten)]
    pub(crate) generated: GeneratorArgs,
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

/// The parameters of a generated trace.
#[derive(Debug, Args)]
#[command(next_help_heading = "Generated traces")]
pub(crate) struct GeneratorArgs {
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
    /// Scan, shift: the number of requests between two scans or two shifts
    #[arg(
        long, value_name = "N", default_value_t = 50_000,
        value_parser = value_parser!(u64).range(1..)
    )]
    every: u64,
    /// Scan: the number of keys in one scan, each requested once and never again
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    length: u64,
    /// Shift: by how many keys the popularity moves
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    step: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PatternArg {
    /// A few keys get most requests: key k in proportion to 1 / (k + 1)^exponent
    Zipf,
    /// All keys are equally popular
    Uniform,
    /// Zipf, with scans of keys that are requested once and never again
    Scan,
    /// All keys in turn, over and over
    Loop,
    /// Zipf, but other keys become popular from time to time
    Shift,
}

impl GeneratorArgs {
    pub(super) fn pattern(&self, pattern: PatternArg) -> Pattern {
        let GeneratorArgs { keys, exponent, every: every_requests, .. } = *self;
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
