//! Servers that are started for a measurement, and stopped after it.
//!
//! Each listens on a free port of 127.0.0.1, is bound to given processors, and keeps nothing on disk.
//! What it writes to its standard error appears on that of this process.

use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::requests::Protocol;

/// How long a server may take until it accepts a connection.
const START: Duration = Duration::from_secs(20);

/// A program that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `redis-server`
    Redis,
    /// `memcached`
    Memcached,
    /// `larder serve`
    Larder,
}

/// A server to measure: `PROGRAM[:THREADS[:PROTOCOL]]`, such as `redis`, `memcached:2` or
/// `larder:1:text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What is started.
    pub program: Program,
    /// Threads that serve.
    pub threads: usize,
    /// How the clients talk to it.
    pub protocol: Protocol,
}

impl Display for Subject {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let program = match self.program {
            Program::Redis => "redis",
            Program::Memcached => "memcached",
            Program::Larder => "larder",
        };
        write!(f, "{program}:{}:{}", self.threads, self.protocol.name())
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (program, usual) = match parts.next() {
            Some("redis") => (Program::Redis, Protocol::Resp),
            Some("memcached") => (Program::Memcached, Protocol::Text),
            Some("larder") => (Program::Larder, Protocol::Resp),
            _ => return Err("the program is redis, memcached or larder".to_owned()),
        };
        let threads = match parts.next() {
            None => 1,
            Some(number) => match number.parse() {
                Ok(threads) if threads > 0 => threads,
                _ => return Err(format!("`{number}` is not a number of threads")),
            },
        };
        let protocol = match parts.next() {
            None => usual,
            Some("resp") => Protocol::Resp,
            Some("text") => Protocol::Text,
            Some("meta") => Protocol::Meta,
            Some(name) => return Err(format!("`{name}` is not resp, text or meta")),
        };
        if parts.next().is_some() {
            return Err("there is nothing after the protocol".to_owned());
        }
        let speaks = match program {
            Program::Redis => protocol == Protocol::Resp,
            Program::Memcached => protocol != Protocol::Resp,
            Program::Larder => true,
        };
        if !speaks {
            return Err(format!("this program does not speak {}", protocol.name()));
        }
        Ok(Self { program, threads, protocol })
    }
}

/// A running server. Dropping it stops the process.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts `subject` bound to `cpus`, a list as for `taskset`, and waits until it accepts
    /// connections. `larder` is the program that is started for a larder.
    ///
    /// # Errors
    /// If the program or `taskset` is not installed, if it ends, or if it does not accept
    /// connections in time.
    pub fn start(subject: Subject, larder: &Path, cpus: &str, capacity: u64) -> io::Result<Self> {
        let port = free_port()?;
        let threads = subject.threads.to_string();
        let text = |text: &str| text.to_owned();
        let (program, hint, arguments) = match subject.program {
            Program::Redis => {
                let port = port.to_string();
                let fixed = "--bind 127.0.0.1 --save  --appendonly no --maxclients 10000 --port";
                let mut arguments: Vec<String> = fixed.split(' ').map(text).collect();
                arguments.extend([port, text("--io-threads"), threads]);
                (Path::new("redis-server"), "Debian's package redis-server has it", arguments)
            }
            Program::Memcached => {
                // The user counts only if root starts it, which it otherwise refuses.
                let fixed = "-l 127.0.0.1 -U 0 -m 4096 -c 2048 -u nobody -p";
                let mut arguments: Vec<String> = fixed.split(' ').map(text).collect();
                arguments.extend([port.to_string(), text("-t"), threads]);
                (Path::new("memcached"), "Debian's package memcached has it", arguments)
            }
            Program::Larder => {
                let fixed = "serve --bind 127.0.0.1 --threads";
                let mut arguments: Vec<String> = fixed.split(' ').map(text).collect();
                let other = free_port()?.to_string();
                let (resp, memcached) = match subject.protocol {
                    Protocol::Resp => (port.to_string(), other),
                    Protocol::Text | Protocol::Meta => (other, port.to_string()),
                };
                arguments.extend([threads, text("--port"), resp, text("--memcached-port")]);
                arguments.extend([memcached, text("--capacity"), capacity.to_string()]);
                (larder, "`cargo build --release` makes it, and `--larder` names it", arguments)
            }
        };
        // `taskset` would otherwise be what is found.
        if let Err(error) = probe(program) {
            let message = format!("cannot run {}: {error}; {hint}", program.display());
            return Err(io::Error::new(error.kind(), message));
        }
        let mut command = Command::new("taskset");
        command.args(["-c", cpus]).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot run taskset, of util-linux: {error}"))
        })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self { child, address };
        server.wait_until_it_accepts(subject)?;
        Ok(server)
    }

    fn wait_until_it_accepts(&mut self, subject: Subject) -> io::Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("{subject} ended at once, {status}")));
            }
            match TcpStream::connect(self.address) {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > START => {
                    let seconds = START.as_secs();
                    let message = format!("{subject} does not accept after {seconds} s: {error}");
                    return Err(io::Error::new(ErrorKind::TimedOut, message));
                }
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, and there is nothing to do if it cannot be stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line of what `program --version` prints.
///
/// # Errors
/// If it cannot be run.
pub fn version(program: &Path) -> io::Result<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

fn probe(program: &Path) -> io::Result<()> {
    version(program).map(drop)
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_with_their_defaults_and_written_in_full() {
        for (text, full) in [
            ("redis", "redis:1:resp"),
            ("memcached:2", "memcached:2:text"),
            ("memcached:1:meta", "memcached:1:meta"),
            ("larder:2:text", "larder:2:text"),
        ] {
            let subject: Subject = text.parse().unwrap();
            assert_eq!(subject.to_string(), full);
            assert_eq!(full.parse(), Ok(subject));
        }
        for text in ["", "valkey", "redis:0", "redis:x", "redis:1:text", "memcached:1:resp"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
        assert!("larder:1:resp:1".parse::<Subject>().is_err());
    }

    #[test]
    fn a_program_that_is_not_installed_is_named() {
        let subject = "larder".parse().unwrap();
        let error = Server::start(subject, Path::new("/nowhere/larder"), "0", 1).unwrap_err();
        assert!(error.to_string().contains("/nowhere/larder"), "{error}");
    }
}
