//! Servers of the tests' own.

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use larder_server::{Hub, ServerConfig};
use redis::aio::MultiplexedConnection;

use super::until;

/// A server on loopback, which ends with its owner.
pub(super) struct Server {
    program: Program,
    options: Vec<String>,
    /// What its process is given besides its options.
    variables: Vec<(&'static str, OsString)>,
    port: u16,
    running: Running,
    folder: tempfile::TempDir,
}

/// What serves.
#[derive(Clone)]
pub(super) enum Program {
    /// A program of its own.
    File(PathBuf),
    /// `larder-server`, in the process of the tests.
    Here,
}

/// A server that was started; [`Running::No`] after it was killed.
enum Running {
    File(Child),
    Here(#[expect(dead_code, reason = "its drop ends it")] larder_server::Server),
    No,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Here => f.write_str("larder-server in this process"),
        }
    }
}

impl Program {
    fn is_larder(&self) -> bool {
        match self {
            Self::File(path) => path.file_name().is_some_and(|name| name == "larder"),
            Self::Here => true,
        }
    }
}

/// The programs that can be tested with. What is left out is said once, past the capture of test output.
fn programs() -> Vec<Program> {
    static FOUND: OnceLock<Vec<Program>> = OnceLock::new();
    FOUND.get_or_init(find_programs).clone()
}

fn find_programs() -> Vec<Program> {
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
            Some(program) => found.push(Program::File(program)),
            None => skip(&format!("{name}, which is not installed")),
        }
    }
    match std::env::var_os("LARDER_SERVER") {
        Some(program) => found.push(Program::File(program.into())),
        // The same code, without the program around it.
        None => {
            skip("larder serve, which LARDER_SERVER does not name");
            found.push(Program::Here);
        }
    }
    found
}

/// Runs a test once with each kind of server.
pub(super) async fn with_each(mut test: impl AsyncFnMut(&mut Server)) {
    for program in programs() {
        let mut server = Server::start(program).await;
        println!("with {}", server.program);
        test(&mut server).await;
    }
}

/// Runs a test with the first kind of server that is there.
pub(super) async fn with_one(mut test: impl AsyncFnMut(&mut Server)) {
    if let Some(mut server) = any().await {
        test(&mut server).await;
    }
}

/// The programs that can be part of a cluster, and be watched by sentinels.
pub(super) fn programs_for_several() -> Vec<Program> {
    programs().into_iter().filter(|program| !program.is_larder()).collect()
}

/// A server of the first kind that is there.
pub(super) async fn any() -> Option<Server> {
    let program = programs().into_iter().next()?;
    Some(Server::start(program).await)
}

impl Server {
    async fn start(program: Program) -> Self {
        Self::start_with(program, &[]).await
    }

    /// Starts a server with options besides those that all have.
    pub(super) async fn start_with(program: Program, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self::start_given(program, options, Vec::new()).await
    }

    /// Starts a server with variables of its environment.
    pub(super) async fn start_given(
        program: Program,
        options: Vec<String>,
        variables: Vec<(&'static str, OsString)>,
    ) -> Self {
        // Another process may take the port before the server does; then it ends, and another is tried.
        for _ in 0..20 {
            let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let folder = tempfile::tempdir().unwrap();
            let mut server = Self {
                program: program.clone(),
                options: options.clone(),
                variables: variables.clone(),
                port,
                running: Running::No,
                folder,
            };
            server.start_process();
            if server.answers().await {
                return server;
            }
        }
        panic!("{program} does not start {options:?}");
    }

    /// Starts a sentinel, which writes what it knows to a file.
    pub(super) async fn start_sentinel(program: Program, file: String) -> Self {
        Self::start_with(program, &[&file, "--sentinel"]).await
    }

    /// Waits until the server answers; false if it has ended.
    async fn answers(&mut self) -> bool {
        let mut has_ended = false;
        let (running, port) = (&mut self.running, self.port);
        until("the server starts", async || {
            has_ended = match running {
                Running::File(child) => child.try_wait().unwrap().is_some(),
                Running::Here(_) => false,
                Running::No => true,
            };
            has_ended || connect(port).await.is_ok()
        })
        .await;
        !has_ended
    }

    pub(super) fn is_larder(&self) -> bool {
        self.program.is_larder()
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

    /// Sends a signal to the server, such as `STOP`.
    pub(super) fn signal(&self, name: &str) {
        let Running::File(child) = &self.running else { panic!("it has no process") };
        let id = child.id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(id).status().unwrap().success());
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills the server, as a crash does.
    pub(super) fn kill(&mut self) {
        if let Running::File(child) = &mut self.running {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        self.running = Running::No;
    }

    /// Removes the folder in which the server would save its data, if that has not happened yet.
    pub(super) fn lose_folder(&self) {
        if self.folder.path().exists() {
            std::fs::remove_dir_all(self.folder.path()).unwrap();
        }
    }

    /// Another server of the same kind, without data.
    pub(super) async fn another(&self) -> Self {
        Self::start(self.program.clone()).await
    }

    /// Lets this server have what `other` has saved when it is started again.
    pub(super) fn take_data_of(&self, other: &Self) {
        let file = "dump.rdb";
        std::fs::copy(other.folder().join(file), self.folder().join(file)).unwrap();
    }

    /// Starts it again on the same port, without data.
    pub(super) async fn start_again(&mut self) {
        self.start_process();
        assert!(self.answers().await, "the server does not start again");
    }

    fn start_process(&mut self) {
        self.running = match &self.program {
            Program::File(path) => Running::File(self.spawn(path)),
            Program::Here => serve_here(self.port),
        };
    }

    fn spawn(&self, program: &Path) -> Child {
        let mut command = Command::new(program);
        let port = self.port.to_string();
        if let [file, rest @ ..] = &self.options[..]
            && rest.iter().any(|option| option == "--sentinel")
        {
            command.arg(file).args(["--sentinel", "--port", &port, "--bind", "127.0.0.1"]);
        } else if self.program.is_larder() {
            command.args(["serve", "--port", &port]);
        } else {
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
            command.args(["--appendonly", "no"]).args(&self.options);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Running::File(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Without data, and as a server that saves nothing.
fn serve_here(port: u16) -> Running {
    let hub = Hub::new();
    let cache =
        larder::Cache::builder().capacity(100_000).listener(hub.listener()).build().unwrap();
    let mut config = ServerConfig::default();
    config.address.set_port(port);
    config.threads = 1;
    // The port may be another process's by now.
    larder_server::Server::start(cache, hub, config).map_or(Running::No, Running::Here)
}

pub(super) async fn connect(port: u16) -> redis::RedisResult<MultiplexedConnection> {
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
