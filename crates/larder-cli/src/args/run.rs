//! What replays and simulations share: capacities and what these count.

use clap::{Args, ValueEnum};

use crate::capacity::{self, CapacityArg, Weights};

pub(super) const MAX_THREADS: u16 = 1024;

/// At which capacities to run, and what they count.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[arg(long, value_name = "LIST", value_delimiter = ',', help = capacities_help())]
    capacities: Vec<CapacityArg>,
    /// What an entry weighs: one, or its size in bytes (a size of 0 counts as 1)
    #[arg(long, value_enum, default_value_t = WeightsArg::One)]
    weights: WeightsArg,
}

impl RunArgs {
    /// The capacities that were given, or else the defaults of tables or of plots.
    pub(crate) fn capacities(&self, is_plotted: bool) -> Vec<CapacityArg> {
        let default =
            if is_plotted { &capacity::DEFAULTS_FOR_PLOT[..] } else { &capacity::DEFAULTS };
        match &self.capacities[..] {
            [] => {
                default.iter().map(|text| text.parse().expect("a constant that parses")).collect()
            }
            given => given.to_vec(),
        }
    }

    pub(super) fn weights(&self) -> Weights {
        match self.weights {
            WeightsArg::One => Weights::Entries,
            WeightsArg::Size => Weights::Bytes,
        }
    }
}

fn capacities_help() -> String {
    format!(
        "Capacities, separated by commas: entries, or bytes with --weights size (K, M, G and T are \
         powers of 1024: 1M is 1,048,576), or a share of the distinct keys or of their bytes, such as \
         5% [default: {}; with --plot {}]",
        capacity::DEFAULTS.join(","),
        capacity::DEFAULTS_FOR_PLOT.join(","),
    )
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WeightsArg {
    One,
    Size,
}
