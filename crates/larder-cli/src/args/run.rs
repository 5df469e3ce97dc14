//! What replays and simulations share: threads, capacities and what these count.

use clap::ValueEnum;

use crate::args::output::PlotArgs;
use crate::capacity::{self, CapacityArg, Weights};

pub(super) const MAX_THREADS: u16 = 1024;

pub(super) fn capacities_help() -> String {
    format!(
        "Capacities, separated by commas: entries, or bytes with --weights size (K, M, G and T are \
         powers of 1024: 1M is 1,048,576), or a share of the distinct keys or of their bytes, such as \
         5% [default: {}; with --plot {}]",
        capacity::DEFAULTS.join(","),
        capacity::DEFAULTS_FOR_PLOT.join(","),
    )
}

/// The capacities that were given, or else the defaults: those of a plot if one is drawn.
pub(super) fn capacities_or_default(given: &[CapacityArg], plot: &PlotArgs) -> Vec<CapacityArg> {
    let default =
        if plot.file.is_some() { &capacity::DEFAULTS_FOR_PLOT[..] } else { &capacity::DEFAULTS };
    match given {
        [] => default.iter().map(|text| text.parse().expect("a constant that parses")).collect(),
        given => given.to_vec(),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum WeightsArg {
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
