//! A `redis-server` on loopback without files, which ends with its owner.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

pub(crate) struct OwnServer {
    child: Child,
    address: String,
}

impl OwnServer {
    pub(crate) fn start() -> Result<Self, Failure> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .stdout(Stdio::null())
            .spawn()?;
        let server = Self { child, address: format!("redis://127.0.0.1:{port}") };
        // It is ready when it can be connected to.
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("redis-server does not start".into());
            }
            std::thread::yield_now();
        }
        Ok(server)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the server has counted.
pub(crate) struct ServerCounts {
    pub(crate) commands: u64,
}

impl ServerCounts {
    pub(crate) fn read(address: &str) -> Result<Self, Failure> {
        let mut connection = redis::Client::open(address)?.get_connection()?;
        let info: String = redis::cmd("INFO").arg("stats").query(&mut connection)?;
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        Ok(Self { commands: line.ok_or("a number that INFO lacks")?.trim().parse()? })
    }
}
