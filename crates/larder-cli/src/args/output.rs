//! How results are shown.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, ValueHint};

/// How results are shown.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
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
pub(crate) enum OutputFormat {
    Table,
    Json,
    Csv,
}

impl OutputArgs {
    pub(crate) fn format(self) -> OutputFormat {
        match (self.json, self.csv) {
            (true, _) => OutputFormat::Json,
            (_, true) => OutputFormat::Csv,
            _ => OutputFormat::Table,
        }
    }
}

/// Whether and where to draw a plot.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct PlotArgs {
    /// Plot the miss ratio by capacity as SVG, with one curve per policy
    #[arg(
        long = "plot", id = "plot", value_name = "FILE.svg", value_hint = ValueHint::FilePath,
        value_parser = PathBufValueParser::new().try_map(parse_svg_path)
    )]
    pub(crate) file: Option<PathBuf>,
    /// Overwrite the plot if it exists
    #[arg(long, requires = "plot")]
    pub(crate) force: bool,
}

/// What replays and simulations show.
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    pub(crate) plot: PlotArgs,
    /// Show no progress bar
    #[arg(long, help_heading = "Output")]
    quiet: bool,
}

impl ResultArgs {
    pub(crate) fn format(&self) -> OutputFormat {
        self.output.format()
    }

    pub(crate) fn is_plotted(&self) -> bool {
        self.plot.file.is_some()
    }

    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && self.format() == OutputFormat::Table
    }
}

/// Why an argument does not name a plot.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("pictures are SVG; use a name that ends in .svg")]
struct NotSvgError;

fn parse_svg_path(given: PathBuf) -> Result<PathBuf, NotSvgError> {
    match given.extension() {
        Some(suffix) if suffix.eq_ignore_ascii_case("svg") => Ok(given),
        _ => Err(NotSvgError),
    }
}
