//! The commands: what each reads, in which order it runs, and where its results go.

use std::io::{self, IsTerminal, Write};

use clap::CommandFactory;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::{
    Cli, Command, GenerateArgs, OutputFormat, PlotArgs, ReplayArgs, SimulateArgs, TraceArgs,
};
use crate::capacity::{Weights, resolve_all};
use crate::error::{CommandError, ReplayError};
use crate::generate::{Existing, Keys, write_keys};
use crate::harmless::{harmless, harmless_lines};
use crate::plot::{self, Panel, miss_ratio_curves};
use crate::replay::{ReplayOptions, check, replay};
use crate::report::{
    Measure, Replay, ReplayReport, Rows, SimulateReport, Simulation, TraceInfo, TraceReplay,
    TraceSimulation, csv, info_table, measure_table, replay_table, summary_table,
};
use crate::simulate::{SimPolicy, SimulateOptions, cost_of_all, simulate};
use crate::snapshot;
use crate::top;
use crate::trace::Input;
use crate::trace::{CsvOptions, Format, ReadOptions, Trace};

/// The trace of a run without arguments; `data/README.md` describes how it was recorded.
const BUNDLED: &[u8] = include_bytes!("../data/build-pages.u32.zst");
const BUNDLED_NAME: &str = "build-pages (bundled)";

pub(crate) fn run(cli: Cli) -> Result<(), CommandError> {
    match cli.command {
        None => replay_all(None, &cli.replay),
        Some(Command::Replay { files, replay }) => replay_all(Some(&files), &replay),
        Some(Command::Simulate { files, simulate }) => simulate_all(&files, &simulate),
        Some(Command::Serve(args)) => Ok(crate::serve::serve(args)?),
        Some(Command::Top(args)) => match args.is_once() {
            true => print(&top::snapshot(&args)?),
            false => Ok(top::watch(&args)?),
        },
        Some(Command::Inspect(args)) => print(&snapshot::inspect(&args)?),
        Some(Command::Verify(args)) => Ok(snapshot::verify(&args)?),
        Some(Command::Convert(args)) => print(&snapshot::convert(&args)?),
        Some(Command::Dump(args)) => snapshot::dump(&args, &mut io::stdout().lock()),
        Some(Command::Generate(args)) => generate(&args),
        Some(Command::Info { files, output }) => info(&files, output.format()),
        Some(Command::Completions { shell }) => completions(shell),
        Some(Command::Man { command }) => man(command.as_deref()),
    }
}

/// Reads the given traces one at a time, so that only one is in memory.
fn for_each_trace(
    files: Option<&TraceArgs>,
    mut show: impl FnMut(&Trace) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    match files {
        Some(files) if !files.paths.is_empty() => {
            let options = files.read_options();
            // Errors that can be found at once are reported before the first run, which may be
            // long.
            files.paths.iter().try_for_each(|path| Trace::check(path, &options))?;
            for path in &files.paths {
                let trace = Trace::read(Input::open(path)?, &options)?;
                for warning in &trace.warnings {
                    warn(&format!("{}: {warning}", trace.name));
                }
                files.with_sizes(trace, &mut show)?;
            }
            Ok(())
        }
        _ => {
            let options = ReadOptions {
                format: Some(Format::U32),
                csv: CsvOptions::default(),
                max_requests: u32::MAX,
                rate: None,
            };
            let trace = Trace::read(Input::new(BUNDLED_NAME, BUNDLED)?, &options)?;
            match files {
                Some(files) => files.with_sizes(trace, show),
                None => show(&trace),
            }
        }
    }
}

fn replay_all(files: Option<&TraceArgs>, args: &ReplayArgs) -> Result<(), CommandError> {
    let (options, output) = (args.options(), args.output.format());
    check(&args.policies, &options)?;
    args.output.plot.check()?;
    let mut report = ReplayReport::new(&options);
    for_each_trace(files, |trace| {
        let replayed = replay_trace(trace, args, &options)?;
        if output == OutputFormat::Table {
            let table = replay_table(&replayed.replays);
            let text = format!("{}\n{table}\n", replayed.trace.headline());
            args.output.plot.after(print_lines(&text))?;
        }
        report.traces.push(replayed);
        Ok(())
    })?;
    args.output.plot.after(print_report(&report, output, || report.footer()))?;
    args.output.plot.draw(report.traces.iter().map(TraceReplay::panel))
}

/// Every policy at every capacity, each with a fresh cache.
fn replay_trace(
    trace: &Trace,
    args: &ReplayArgs,
    options: &ReplayOptions,
) -> Result<TraceReplay, CommandError> {
    let info = TraceInfo::of(trace);
    let footprint = footprint(&info, options.weights)?;
    let capacities = resolve_all(&args.run.capacities(args.output.is_plotted()), footprint);
    let runs = capacities.len() * args.policies.len();
    let is_shown = args.output.shows_progress();
    let steps = runs as u64 * info.requests * u64::from(options.passes);
    let progress = progress_bar(is_shown, steps);
    let mut replays = Vec::with_capacity(runs);
    for &capacity in &capacities {
        for policy in &args.policies {
            progress.set_message(format!("{policy} at {capacity}"));
            let measured = replay(trace, policy, capacity, options, &progress)?;
            if measured.rejections > 0 {
                // Printed above the bar, which stays intact.
                progress.suspend(|| {
                    warn(&format!(
                        "{policy} at {capacity} rejected {} entries as heavier than the whole \
                         cache may be; raise the capacity",
                        measured.rejections
                    ));
                });
            }
            replays.push(Replay::of(&measured, options.weights, footprint));
        }
    }
    progress.finish_and_clear();
    Ok(TraceReplay { trace: info, replays })
}

/// The entries or bytes of all keys together.
fn footprint(info: &TraceInfo, weights: Weights) -> Result<u64, ReplayError> {
    match weights {
        Weights::Entries => Ok(u64::from(info.distinct_keys)),
        Weights::Bytes => {
            info.footprint_bytes.ok_or_else(|| ReplayError::NoSizes { file: info.name.clone() })
        }
    }
}

fn simulate_all(files: &TraceArgs, args: &SimulateArgs) -> Result<(), CommandError> {
    args.output.plot.check()?;
    let (options, output) = (args.options(), args.output.format());
    let mut policies =
        args.policies.iter().map(|name| SimPolicy::named(name)).collect::<Result<Vec<_>, _>>()?;
    if policies.is_empty() {
        policies = SimPolicy::usual();
        policies.retain(|policy| policy.check(options.weights).is_ok());
    }
    policies.iter().try_for_each(|policy| policy.check(options.weights))?;
    let against = args.against(&policies)?;
    let mut report = SimulateReport::new(&options);
    let mut show = |trace: &Trace| {
        let simulated = simulate_trace(trace, &policies, args, &options)?;
        if output == OutputFormat::Table {
            let mut text = format!("{}\n", simulated.trace.headline());
            for measure in Measure::ALL {
                if let Some(table) = measure_table(&simulated.simulations, measure) {
                    text += &format!("{table}\n");
                }
            }
            args.output.plot.after(print_lines(&text))?;
        }
        report.traces.push(simulated);
        Ok(())
    };
    let patterns: Vec<_> = args.patterns().collect();
    if !files.paths.is_empty() || patterns.is_empty() {
        for_each_trace(Some(files), &mut show)?;
    }
    for (name, pattern) in patterns {
        let keys = Keys::new(pattern, args.generated.requests, args.generated.seed)?;
        let trace = Trace::of_keys(name, keys, files.read_options().max_requests)?;
        files.with_sizes(trace, &mut show)?;
    }
    if output == OutputFormat::Table {
        for measure in Measure::ALL {
            if let Some(table) = summary_table(&report.traces, measure, &against) {
                args.output.plot.after(print_lines(&format!("{table}\n")))?;
            }
        }
    }
    args.output.plot.after(print_report(&report, output, || report.footer()))?;
    args.output.plot.draw(report.traces.iter().map(TraceSimulation::panel))
}

fn simulate_trace(
    trace: &Trace,
    policies: &[SimPolicy],
    args: &SimulateArgs,
    options: &SimulateOptions,
) -> Result<TraceSimulation, CommandError> {
    let info = TraceInfo::of(trace);
    let footprint = footprint(&info, options.weights)?;
    let capacities = resolve_all(&args.run.capacities(args.output.is_plotted()), footprint);
    let runs: u64 = policies.iter().map(|policy| u64::from(options.runs(policy))).sum();
    let is_shown = args.output.shows_progress();
    let progress = progress_bar(is_shown, capacities.len() as u64 * runs * info.requests);
    let cells = simulate(trace, policies, &capacities, options, &progress)?;
    progress.finish_and_clear();
    let sizes = trace.sizes_bytes.iter().flatten();
    let bytes: u64 = sizes.map(|&size_bytes| u64::from(size_bytes)).sum();
    let cost_of_all = options.costs.map(|costs| cost_of_all(trace, costs, options.seed));
    let of =
        |cell| Simulation::of(cell, options.weights, footprint, info.requests, bytes, cost_of_all);
    let simulations = cells.iter().map(of).collect();
    Ok(TraceSimulation { trace: info, simulations })
}

fn progress_bar(is_shown: bool, requests: u64) -> ProgressBar {
    if !is_shown || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{wide_bar:.cyan} {percent:>3} % {human_pos}/{human_len} requests, {eta} left, {msg:20}",
    )
    .expect("the template is a constant that parses");
    ProgressBar::new(requests).with_style(style)
}

fn generate(args: &GenerateArgs) -> Result<(), CommandError> {
    let keys = Keys::new(args.pattern(), args.generated.requests, args.generated.seed)?;
    let existing = if args.force { Existing::Overwrite } else { Existing::Keep };
    write_keys(keys, &args.output, args.format, existing)
}

fn info(files: &TraceArgs, output: OutputFormat) -> Result<(), CommandError> {
    let mut infos = Vec::new();
    for_each_trace(Some(files), |trace| {
        infos.push(TraceInfo::of(trace));
        Ok(())
    })?;
    print_report(&infos, output, || info_table(&infos).to_string())
}

fn completions(shell: clap_complete::Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "larder", &mut script);
    print_bytes(&script)
}

fn man(command: Option<&str>) -> Result<(), CommandError> {
    let mut larder = Cli::command();
    // Gives a command's page its full name, such as `larder-simulate`.
    larder.build();
    let of = match command {
        None => larder,
        Some(name) => larder.find_subcommand(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = larder.get_subcommands().map(clap::Command::get_name).collect();
            CommandError::UnknownCommand { given: name.to_owned(), known: known.join(", ") }
        })?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(of).render(&mut page).map_err(CommandError::write("the manual page"))?;
    print_bytes(&page)
}

impl PlotArgs {
    /// Refuses a plot that could not be written at the end.
    fn check(&self) -> Result<(), CommandError> {
        match &self.file {
            Some(path) => plot::check_target(path, self.force),
            None => Ok(()),
        }
    }

    /// Goes on after text that nobody reads any more, if there is a plot to draw.
    fn after(&self, printed: Result<(), CommandError>) -> Result<(), CommandError> {
        match printed {
            Err(failure) if failure.is_broken_pipe() && self.file.is_some() => Ok(()),
            other => other,
        }
    }

    fn draw(&self, panels: impl Iterator<Item = Panel>) -> Result<(), CommandError> {
        match &self.file {
            Some(path) => {
                plot::write(path, &miss_ratio_curves(&panels.collect::<Vec<_>>())?, self.force)
            }
            None => Ok(()),
        }
    }
}

/// Prints a report in the requested form; `text` gives what is printed with tables.
fn print_report<R: Rows + Serialize>(
    report: &R,
    output: OutputFormat,
    text: impl FnOnce() -> String,
) -> Result<(), CommandError> {
    match output {
        OutputFormat::Json => {
            let document = serde_json::to_string_pretty(report)
                .map_err(|failure| CommandError::write("standard output")(failure.into()))?;
            print(&format!("{document}\n"))
        }
        OutputFormat::Csv => print(&csv(report)),
        OutputFormat::Table => print_lines(&format!("{}\n", text())),
    }
}

/// Prints text that may have names of files in it.
fn print_lines(text: &str) -> Result<(), CommandError> {
    print(&harmless_lines(text))
}

fn print(text: &str) -> Result<(), CommandError> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(CommandError::write("standard output"))
}

fn warn(text: &str) {
    // If stderr is closed, nobody can be warned.
    let _ = io::stderr().write_all(format!("warning: {}\n", harmless(text)).as_bytes());
}
