//! The command line.

// The options of each kind of command.
mod replay;
mod simulate;
mod generate;
mod traces;
// What several of them share.
mod run;
mod output;

use clap::{Parser, Subcommand};

use crate::serve::ServeArgs;
use crate::snapshot::{ConvertArgs, DumpArgs, InspectArgs, VerifyArgs};
use crate::top::TopArgs;

pub(crate) use self::generate::GenerateArgs;
pub(crate) use self::output::{OutputArgs, OutputFormat, PlotArgs};
pub(crate) use self::replay::ReplayArgs;
pub(crate) use self::simulate::SimulateArgs;
pub(crate) use self::traces::TraceArgs;

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
    /// Each request is a get, followed by an insert on a miss. Each combination of policy and
    /// capacity starts with a fresh cache. With TTLs (--ttl-column) and times (--time-column or
    /// --rate), entries expire by the trace's own time: the cache's clock shows the time of the
    /// request, so an hour of a trace passes as fast as it is replayed.
    Replay {
        #[command(flatten)]
        files: TraceArgs,
        #[command(flatten)]
        replay: ReplayArgs,
    },
    /// Simulate policies without threads: exact hit ratios, beside the optimum
    ///
    /// The library's policies run as in a cache with inline maintenance and one partition. A
    /// request is a lookup, followed by an insertion on a miss. With TTLs (--ttl-column) and times
    /// (--time-column or --rate), entries expire by the trace's own time: the library's policies
    /// remove an entry at its deadline, ref- policies renew it in place at the next request, which
    /// is a miss, and opt ignores TTLs and remains an upper bound.
    Simulate {
        #[command(flatten)]
        files: TraceArgs,
        #[command(flatten)]
        simulate: SimulateArgs,
    },
    /// Serve a cache to clients of Redis and memcached
    Serve(ServeArgs),
    /// Show on the terminal what a server, or any process that serves its metrics, does
    ///
    /// The address is that of `larder serve --http-port`, or of the metrics of a process that uses the
    /// library. If the server has a password, set LARDER_PASSWORD.
    Top(TopArgs),
    /// Describe a snapshot of a cache, without knowing its types
    Inspect(InspectArgs),
    /// Check every checksum of a snapshot; an intact one prints nothing
    Verify(VerifyArgs),
    /// Copy a snapshot with another serializer or another compression
    Convert(ConvertArgs),
    /// Write a snapshot's entries as JSON, one per line
    ///
    /// Each line has `key`, `value`, `expires_at`, `expires_in_s` (counted from the time of saving;
    /// both are null if the entry never expires), `has_expired`, `tags`, `weight` and `frequency`.
    /// Numbers that JSON cannot represent are written as strings: "NaN", "inf", "-inf".
    Dump(DumpArgs),
    /// Write a synthetic trace, the same for the same seed everywhere
    Generate(GenerateArgs),
    /// Describe traces without replaying them
    Info {
        #[command(flatten)]
        files: TraceArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print a shell script that completes commands and options
    ///
    /// For bash: larder completions bash > ~/.local/share/bash-completion/completions/larder
    Completions { shell: clap_complete::Shell },
    /// Print a manual page
    ///
    /// To read one at once: larder man simulate | man -l -
    Man {
        /// The command that the page describes [default: larder itself]
        command: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::CapacityArg;
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
        assert_eq!(short.replay.run.capacities(false), [CapacityArg::Percent(5.0)]);
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
            cli.replay.run.capacities(cli.replay.output.is_plotted())
        };
        assert_eq!(capacities(&[]).len(), 4);
        let curve = capacities(&["--plot", "a.SVG"]);
        assert_eq!(curve.first(), Some(&CapacityArg::Percent(0.1)));
        assert_eq!(curve.last(), Some(&CapacityArg::Percent(100.0)));
        assert!(curve.len() >= 10, "{curve:?}");
        assert_eq!(capacities(&["--plot", "a.svg", "--capacities", "7"]).len(), 1);
    }
}
