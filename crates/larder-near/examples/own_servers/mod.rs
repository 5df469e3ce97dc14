//! Servers on loopback that an example starts itself, and that end with it: one, or a cluster of three.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Longer than servers need to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `redis-server` without files.
pub(crate) struct OwnServer {
    child: Child,
    port: u16,
}

impl OwnServer {
    /// `None` if there is no such program. The file names its nodes if it is to be one of a cluster.
    pub(crate) fn start(cluster_file: Option<&str>) -> Result<Option<Self>, Failure> {
        // The port of a cluster's own connections is higher by 10,000.
        let port = loop {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
                break port;
            }
        };
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        if let Some(file) = cluster_file {
            command.args(["--cluster-enabled", "yes", "--cluster-config-file", file]);
            command.current_dir(std::env::temp_dir());
        }
        let Ok(child) = command.stdout(Stdio::null()).spawn() else { return Ok(None) };
        let server = Self { child, port };
        // It is ready when it can be connected to.
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("redis-server does not start".into());
            }
            std::thread::yield_now();
        }
        Ok(Some(server))
    }

    pub(crate) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three masters, each with a third of the slots.
pub(crate) struct OwnCluster {
    servers: Vec<OwnServer>,
    files: Vec<String>,
}

impl OwnCluster {
    /// `None` if there is no `redis-server`.
    pub(crate) fn start() -> Result<Option<Self>, Failure> {
        let mut cluster = Self { servers: Vec::new(), files: Vec::new() };
        for number in 0..3 {
            let file = format!("larder-near-{}-{number}.conf", std::process::id());
            let Some(server) = OwnServer::start(Some(&file))? else { return Ok(None) };
            cluster.servers.push(server);
            cluster.files.push(file);
        }
        for (number, server) in cluster.servers.iter().enumerate() {
            let mut client = redis::Client::open(server.address())?.get_connection()?;
            let (first, last) = (16_384 * number / 3, 16_384 * (number + 1) / 3 - 1);
            let run = |client: &mut redis::Connection, arguments: &[String]| {
                redis::cmd("CLUSTER").arg(arguments).query::<()>(client)
            };
            let text =
                |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect::<Vec<_>>();
            run(&mut client, &text(&["SET-CONFIG-EPOCH", &(number + 1).to_string()]))?;
            run(&mut client, &text(&["ADDSLOTSRANGE", &first.to_string(), &last.to_string()]))?;
            let port = cluster.servers[0].port.to_string();
            run(&mut client, &text(&["MEET", "127.0.0.1", &port]))?;
        }
        let deadline = Instant::now() + PATIENCE;
        for server in &cluster.servers {
            let mut client = redis::Client::open(server.address())?.get_connection()?;
            loop {
                let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut client)?;
                if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") {
                    break;
                }
                if Instant::now() > deadline {
                    return Err("the cluster does not form".into());
                }
                std::thread::yield_now();
            }
        }
        Ok(Some(cluster))
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(OwnServer::address).collect()
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        self.servers.clear();
        for file in &self.files {
            let _ = std::fs::remove_file(std::env::temp_dir().join(file));
        }
    }
}

/// What a server has counted.
pub(crate) struct ServerCounts {
    pub(crate) commands: u64,
    /// In bytes.
    pub(crate) memory: u64,
}

impl ServerCounts {
    pub(crate) fn read(address: &str) -> Result<Self, Failure> {
        let mut connection = redis::Client::open(address)?.get_connection()?;
        let info: String = redis::cmd("INFO").query(&mut connection)?;
        let field = |name: &str| -> Result<u64, Failure> {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            Ok(line.ok_or("a number that INFO lacks")?.trim().parse()?)
        };
        Ok(Self { commands: field("total_commands_processed")?, memory: field("used_memory")? })
    }
}
