//! Errors, one type for each stage, and the exit code of each.
//!
//! Exit code 2 means that the input or the arguments are wrong, as for clap's own errors; 1 means
//! that the machine failed: a file cannot be opened, or the disk is full.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use larder::BuildError;
use larder::snapshot::{RegistryError, SnapshotError};

use crate::trace::error::TraceError;

/// Why a replay or a simulation could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReplayError {
    #[error("cannot build a cache with policy {policy}")]
    Build { policy: String, source: BuildError },
    #[error("--weights size needs sizes, and {file} has none; see --size-column and --sizes")]
    NoSizes { file: String },
    #[error("--costs by-size needs sizes, and {file} has none; see --size-column and --sizes")]
    NoSizesForCosts { file: String },
    #[error("unknown policy `{given}`; known are {known}")]
    UnknownPolicy { given: String, known: String },
    #[error("--against names {given}, which is not simulated; add it to --policies")]
    NotSimulated { given: String },
    #[error("{policy} is defined for entries of one weight; leave it or --weights size out")]
    OneWeight { policy: &'static str },
}

/// Why a trace could not be generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum GenerateError {
    #[error("{option} {given} is not allowed; use {allowed}")]
    OutOfRange { option: &'static str, given: f64, allowed: &'static str },
    #[error("{given} keys are asked for; a trace holds at most {max}")]
    TooManyKeys { given: u64, max: u64 },
    #[error("{} exists already; pass --force to overwrite it", file.display())]
    Exists { file: PathBuf },
}

/// What is wrong with a snapshot, or with what was asked of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SnapshotFailure {
    /// An error that names its file.
    #[error(transparent)]
    Snapshot(SnapshotError),
    #[error("{}", file.display())]
    File { file: PathBuf, source: SnapshotError },
    #[error("the file may be sound; raise the limit by --max-record-bytes or --max-expansion")]
    Limit(#[source] SnapshotError),
    #[error(
        "the snapshot has {what} of type `{says}`, which {serializer} reads as no other; leave --{what} out"
    )]
    OtherType { what: &'static str, says: String, serializer: String },
    #[error(transparent)]
    Serializer(#[from] RegistryError),
    #[error("cannot tell the types of `{types}`; pass --key and --value")]
    UnknownTypes { types: String },
    #[error("{} exists already; pass --force to overwrite it", file.display())]
    Exists { file: PathBuf },
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}

impl From<SnapshotError> for SnapshotFailure {
    fn from(source: SnapshotError) -> Self {
        if source.is_limit() { Self::Limit(source) } else { Self::Snapshot(source) }
    }
}

/// Why a plot could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PlotError {
    #[error("cannot draw the miss-ratio curve")]
    Draw(#[from] plotters::drawing::DrawingAreaErrorKind<io::Error>),
    #[error("{} exists already; pass --force to overwrite it", file.display())]
    Exists { file: PathBuf },
    #[error("{} is no regular file; name another picture", file.display())]
    NotAFile { file: PathBuf },
}

/// Why a server could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ServeError {
    #[error("cannot read {}", path.display())]
    ReadConfig { path: PathBuf, source: io::Error },
    #[error("{}", path.display())]
    Config { path: PathBuf, source: toml::de::Error },
    #[error("{field}{place}: {problem}")]
    Setting { field: &'static str, place: String, problem: String },
    #[error("{field}{place}: cannot {what} {}", path.display())]
    File {
        field: &'static str,
        place: String,
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot load {}", path.display())]
    Load { path: PathBuf, source: SnapshotError },
    #[error(transparent)]
    Start(#[from] larder_server::StartError),
    #[error(transparent)]
    Save(#[from] larder_server::SaveError),
    #[error("cannot wait for signals")]
    Signals(#[from] ctrlc::Error),
}

/// Why `larder top` cannot show anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TopError {
    #[error("`{given}` is no address; use one as http://127.0.0.1:9180")]
    BadUrl { given: String },
    #[error("{url} does not answer")]
    NoAnswer { url: String, source: Box<ureq::Error> },
    #[error("{url} wants a password; set LARDER_PASSWORD")]
    PasswordWanted { url: String },
    #[error("{url} answers {status}")]
    Status { url: String, status: u16 },
    #[error("{url} answers something else than the status of a server")]
    NotAStatus { url: String, source: serde_json::Error },
    #[error("{url} has no metrics of a larder cache")]
    NoMetrics { url: String },
    #[error("line {line} of {url} is no sample")]
    NotASample { url: String, line: usize },
    #[error("there is no cache `{given}`; there are {known}")]
    UnknownCache { given: String, known: String },
    #[error("the output is no terminal; use --once")]
    NoTerminal,
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CommandError {
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error(transparent)]
    Plot(#[from] PlotError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotFailure),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Top(#[from] TopError),
    #[error("there is no command `{given}`; there are {known}")]
    UnknownCommand { given: String, known: String },
    #[error("cannot write {to}")]
    Write { to: String, source: io::Error },
}

impl CommandError {
    pub(crate) fn write(to: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let to = to.into();
        move |source| CommandError::Write { to, source }
    }

    pub(crate) fn is_broken_pipe(&self) -> bool {
        match self {
            CommandError::Write { source, .. } => source.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            CommandError::Trace(TraceError::Open { .. } | TraceError::Read { .. })
            | CommandError::Plot(PlotError::Draw(_))
            | CommandError::Serve(
                ServeError::Start(_)
                | ServeError::ReadConfig { .. }
                | ServeError::File { .. }
                | ServeError::Save(_)
                | ServeError::Signals(_),
            )
            | CommandError::Top(TopError::NoAnswer { .. } | TopError::Terminal(_))
            | CommandError::Write { .. } => ExitCode::from(1),
            CommandError::Snapshot(
                SnapshotFailure::File { source, .. } | SnapshotFailure::Snapshot(source),
            )
            | CommandError::Serve(ServeError::Load { source, .. })
                if source.is_io() =>
            {
                ExitCode::from(1)
            }
            CommandError::Trace(_)
            | CommandError::Replay(_)
            | CommandError::Generate(_)
            | CommandError::Plot(_)
            | CommandError::Serve(_)
            | CommandError::Top(_)
            | CommandError::UnknownCommand { .. }
            | CommandError::Snapshot(_) => ExitCode::from(2),
        }
    }
}

/// An error and its causes on one line.
pub(crate) fn with_causes(failure: &dyn Error) -> String {
    let mut line = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_input_and_failed_machine_have_their_own_exit_codes() {
        let empty = CommandError::from(TraceError::Empty { file: "t".into() });
        assert_eq!(format!("{:?}", empty.exit_code()), format!("{:?}", ExitCode::from(2)));
        let full = CommandError::write("t")(io::ErrorKind::StorageFull.into());
        assert_eq!(format!("{:?}", full.exit_code()), format!("{:?}", ExitCode::from(1)));
        assert!(!full.is_broken_pipe());
        assert!(CommandError::write("t")(io::ErrorKind::BrokenPipe.into()).is_broken_pipe());
    }
}
