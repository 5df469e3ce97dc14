//! Servers of the tests' own.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use redis::aio::MultiplexedConnection;

use super::until;

/// A server on loopback, which ends with its owner.
pub(super) struct Server {
    program: PathBuf,
    port: u16,
    child: Child,
    folder: tempfile::TempDir,
}

/// The programs that can be tested with. What is left out is said once, past the capture of test output.
fn programs() -> Vec<PathBuf> {
    static FOUND: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_programs).clone()
}

fn find_programs() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let skip = |what: &str| {
        let _ = writeln!(std::io::stderr(), "SKIPPED: larder-near over {what}");
    };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    for name in ["redis-server", "valkey-server"] {
        match std::env::split_paths(&folders)
            .map(|folder| folder.join(name))
            .find(|it| it.is_file())
        {
            Some(program) => found.push(program),
            None => skip(&format!("{name}, which is not installed")),
        }
    }
    match std::env::var_os("LARDER_SERVER") {
        Some(program) => found.push(program.into()),
        None => skip("larder serve, which LARDER_SERVER does not name"),
    }
    found
}

/// Runs a test once with each kind of server.
pub(super) async fn with_each(mut test: impl AsyncFnMut(&mut Server)) {
    for program in programs() {
        let mut server = Server::start(program).await;
        println!("with {}", server.program.display());
        test(&mut server).await;
    }
}

/// Runs a test with the first kind of server that is there.
pub(super) async fn with_one(mut test: impl AsyncFnMut(&mut Server)) {
    if let Some(mut server) = any().await {
        test(&mut server).await;
    }
}

/// A server of the first kind that is there.
pub(super) async fn any() -> Option<Server> {
    let program = programs().into_iter().next()?;
    Some(Server::start(program).await)
}

impl Server {
    async fn start(program: PathBuf) -> Self {
        // Another process may take the port before the server does; then it ends, and another is tried.
        for _ in 0..20 {
            let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let folder = tempfile::tempdir().unwrap();
            let child = spawn(&program, port, folder.path());
            let mut server = Self { program: program.clone(), port, child, folder };
            if server.answers().await {
                return server;
            }
        }
        panic!("{} does not start", program.display());
    }

    /// Waits until the server answers; false if it has ended.
    async fn answers(&mut self) -> bool {
        let mut has_ended = false;
        let (child, port) = (&mut self.child, self.port);
        until("the server starts", async || {
            has_ended = child.try_wait().unwrap().is_some();
            has_ended || connect(port).await.is_ok()
        })
        .await;
        !has_ended
    }

    pub(super) fn is_larder(&self) -> bool {
        self.program.file_name().is_some_and(|name| name == "larder")
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub(super) async fn client(&self) -> MultiplexedConnection {
        connect(self.port).await.unwrap()
    }

    /// Kills the server, as a crash does.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, without data.
    pub(super) async fn start_again(&mut self) {
        self.child = spawn(&self.program, self.port, self.folder.path());
        assert!(self.answers().await, "the server does not start again");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &PathBuf, port: u16, folder: &std::path::Path) -> Child {
    let mut command = Command::new(program);
    let port = port.to_string();
    if program.file_name().is_some_and(|name| name == "larder") {
        command.args(["serve", "--port", &port]);
    } else {
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    }
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

async fn connect(port: u16) -> redis::RedisResult<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let config =
        redis::AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// Carries out one command of the test's own.
pub(super) async fn run<T: redis::FromRedisValue>(
    client: &mut MultiplexedConnection,
    command: &[&str],
) -> T {
    let mut packed = redis::Cmd::new();
    for part in command {
        packed.arg(*part);
    }
    packed.query_async(client).await.unwrap()
}
