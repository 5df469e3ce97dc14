//! `larder serve`: a cache for clients of Redis and memcached.

mod options;
mod units;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use clap::Args;
use larder::snapshot::{Records, RestoreOptions};
use larder_server::{Bytes, Hub, Server, Value};

use self::options::{Options, Settings};
use crate::error::ServeError;

/// The options of `larder serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// A file with any of these options, in TOML, by their long names; the command line and the environment
    /// come first
    #[arg(long, env = "LARDER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only check the options, and the files that they name
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    options: Options,
}

/// Serves until the process is told to end.
pub(crate) fn serve(args: ServeArgs) -> Result<(), ServeError> {
    let settings = Settings::gather(args.options, args.config.as_deref())?;
    let hub = Hub::new();
    let cache = settings.cache(&hub)?;
    let config = settings.server()?;
    if args.check {
        Server::check(&config)?;
        if let Some((path, _)) = settings.load() {
            check_saved(path)?;
        }
        say("the options are right");
        return Ok(());
    }
    if let Some((path, salvage)) = settings.load() {
        let loaded = larder_server::load(&cache, path, salvage)
            .map_err(|source| ServeError::Load { path: path.to_owned(), source })?;
        match loaded {
            Some(summary) => say(&format!("loaded {} entries", summary.entries)),
            None => say(&format!("{} is not there yet; starting empty", path.display())),
        }
    }
    let unix_socket = config.unix_socket.clone();
    let refuses_others = config.protected_mode
        && config.password.is_none()
        && !config.address.ip().to_canonical().is_loopback();
    // Before it serves: from then on there is something to save when a signal comes.
    let (end, ended) = mpsc::channel();
    let signal = end.clone();
    ctrlc::set_handler(move || {
        let _ = signal.send(());
    })?;
    let server = Server::start(cache, hub, config)?;
    say(&format!("serving clients of Redis at {}", server.address()));
    if let Some(address) = server.memcached_address() {
        say(&format!("serving clients of memcached at {address}"));
    }
    if let Some(address) = server.http_address() {
        say(&format!("the page is at http://{address}/"));
    }
    if let Some(path) = &unix_socket {
        say(&format!("serving clients of Redis at {}", path.display()));
    }
    if refuses_others {
        say(
            "clients of other machines are refused, because there is no password (see --protected-mode)",
        );
    }
    if let Some(address) = server.tls_address() {
        say(&format!("serving clients of Redis within TLS at {address}"));
    }
    wait_for_end(&server, end, &ended);
    say("ending");
    server.shutdown()?;
    Ok(())
}

/// Refuses a file that is there and is not a saved cache, by its head alone: a service is checked before each start, and
/// the start reads the whole file.
fn check_saved(path: &Path) -> Result<(), ServeError> {
    if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    Records::<Bytes, Value>::read_path(path, &RestoreOptions::new())
        .map(drop)
        .map_err(|source| ServeError::Load { path: path.to_owned(), source })
}

/// Waits for a signal, or for the command `SHUTDOWN`.
fn wait_for_end(server: &Server, end: Sender<()>, ended: &Receiver<()>) {
    thread::scope(|scope| {
        // It ends with the process, or with the command.
        scope.spawn(move || {
            server.wait_for_shutdown_command();
            let _ = end.send(());
        });
        let _ = ended.recv();
        server.stop_waiting();
    });
}

/// Writes a line for the user to the stream of messages. If nobody reads that any more, the server serves on, and saves
/// the cache at its end.
fn say(line: &str) {
    // In one piece, because other processes may write there too.
    let _ = io::stderr().write_all(format!("larder: {line}\n").as_bytes());
}
