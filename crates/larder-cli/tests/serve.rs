//! `larder serve` as a program: its settings, its end, and the files that it saves.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A server that runs, killed when the test ends.
struct Served {
    process: Child,
    messages: BufReader<Box<dyn Read>>,
    address: String,
}

fn larder() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.arg("serve");
    // The settings of the one who runs the test do not count.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LARDER_") {
            command.env_remove(name);
        }
    }
    command
}

impl Served {
    /// Starts a server at a free port.
    fn start(args: &[&str]) -> Self {
        let mut process = larder()
            .args(["--port", "0", "--threads", "2"])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr: Box<dyn Read> = Box::new(process.stderr.take().unwrap());
        let mut messages = BufReader::new(stderr);
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(messages.read_line(&mut line).unwrap(), 0, "it ended: {said}");
            if let Some(address) =
                line.trim_end().strip_prefix("larder: serving clients of Redis at ")
            {
                break address.to_owned();
            }
            said += &line;
        };
        Self { process, messages, address }
    }

    fn client(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        BufReader::new(stream)
    }

    fn call(&self, line: &str) -> String {
        call(&mut self.client(), line)
    }

    /// Sends a signal, and returns the exit code and what was said.
    fn end_by(mut self, signal: &str) -> (Option<i32>, String) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
        self.wait()
    }

    fn wait(&mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.messages.read_to_string(&mut said).unwrap();
        (self.process.wait().unwrap().code(), said)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a line, and returns the first line of the reply, or a byte string's content.
fn call(client: &mut BufReader<TcpStream>, line: &str) -> String {
    client.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    let mut reply = String::new();
    client.read_line(&mut reply).unwrap();
    let reply = reply.trim_end().to_owned();
    match reply.strip_prefix('$').map(|length| length.parse::<i64>().unwrap()) {
        None => reply,
        Some(-1) => "nil".to_owned(),
        Some(length) => {
            let mut content = vec![0; usize::try_from(length).unwrap() + 2];
            client.read_exact(&mut content).unwrap();
            String::from_utf8(content[..content.len() - 2].to_vec()).unwrap()
        }
    }
}

fn check(args: &[&str]) -> Output {
    larder().arg("--check").args(args).output().unwrap()
}

fn config(folder: &Path, text: &str) -> String {
    let path = folder.join("larder.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn wrong_settings_are_refused_with_their_field_and_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, parts) in [
        ("port = 1\nmax-memory = \"1 gallon\"\n", &["line 2", "max-memory", "no size"][..]),
        ("port = 70000\n", &["line 1", "port", "70000"]),
        ("speed = 3\n", &["line 1", "unknown field `speed`", "expected"]),
        ("port = 1\n\nthreads = 0\n", &["threads", "line 3", "use 1 or more"]),
        ("policy = \"best\"\n", &["line 1", "policy", "best"]),
        ("tls-port = 1\n", &["tls-port", "line 1", "without tls-certificate"]),
        ("password = \"a\"\npassword-file = \"b\"\n", &["password", "line 1", "leave one out"]),
        ("save-every = \"5min\"\n", &["save-every", "line 1", "without save"]),
        ("port = 0\nsave = \"/nowhere/cache\"\n", &["save", "line 2", "no folder /nowhere"]),
        ("save = \"/\"\n", &["save", "line 1", "/ is a folder"]),
        ("save-every = \"soon\"\n", &["line 1", "no length of time"]),
        ("databases = 0\n", &["databases", "line 1", "from 1 to 256"]),
        ("port = \n", &["line 1"]),
        ("capacity = 0\n", &["capacity", "line 1", "use 1 or more"]),
        ("max-memory = \"0\"\n", &["max-memory", "line 1", "store nothing"]),
        ("max-clients = 0\n", &["max-clients", "line 1", "use 1 or more"]),
        ("max-argument = \"0\"\n", &["max-argument", "line 1", "use more"]),
        ("time-to-live = \"0s\"\n", &["time-to-live", "line 1", "keeps nothing"]),
        ("port = 7\nhttp-port = 7\n", &["http-port", "line 2", "7 is port too"]),
        ("memcached-port = 6379\n", &["memcached-port", "line 1", "6379 is port too"]),
        ("unixsocket = \"/nowhere/socket\"\n", &["unixsocket", "line 1", "no folder /nowhere"]),
        (&format!("unixsocket = \"/{}\"\n", "x".repeat(200)), &["unixsocket", "line 1", "SUN_LEN"]),
    ] {
        let path = config(folder.path(), text);
        let output = check(&["--config", &path]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        for part in parts {
            assert!(said.contains(part), "{text}: {said} has no {part:?}");
        }
    }
    let good = config(folder.path(), "port = 0\nmax-memory = \"1mb\"\npolicy = \"lru\"\n");
    assert_eq!(check(&["--config", &good]).status.code(), Some(0));
}

#[test]
fn the_check_reads_the_files_that_the_settings_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("text"), "no snapshot").unwrap();
    fs::create_dir(path("folder")).unwrap();
    let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());
    for (args, code, part) in [
        (["--config", "/nowhere/larder.toml"], 1, "cannot read /nowhere/larder.toml"),
        (["--password-file", "/nowhere/word"], 1, "password-file: cannot read /nowhere/word"),
        (["--load", &path("text")], 2, "not a snapshot"),
        (["--load", &path("folder")], 1, "is a directory"),
        (["--load", &path("pipe")], 2, "FIFO"),
        (["--save", &path("pipe")], 2, "is no regular file"),
        (["--unixsocket", &path("text")], 2, "is there, and no socket"),
    ] {
        let output = check(&args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(part), "{args:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    }
    assert_eq!(check(&["--load", "/nowhere/yet"]).status.code(), Some(0));
    let save = path("cache.snapshot");
    assert_eq!(check(&["--save", &save]).status.code(), Some(0));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "the check leaves nothing behind");
    #[cfg(target_os = "linux")]
    {
        let output = check(&["--save", "/proc/cache"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("save: cannot write a file in /proc: "), "{said}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn a_signal_that_comes_as_soon_as_the_server_serves_ends_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let file = folder.path().join(round.to_string());
        let served = Served::start(&["--save", file.to_str().unwrap()]);
        assert_eq!(served.end_by("-TERM").0, Some(0), "round {round}");
        assert!(file.is_file());
    }
}

#[test]
fn a_server_whose_messages_nobody_reads_saves_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.snapshot");
    let mut served = Served::start(&["--save", file.to_str().unwrap(), "--http-port", "0"]);
    assert_eq!(served.call("SET key value"), "+OK");
    // The pipe has no reader from here on, as after `larder serve 2>&1 | head -1`.
    served.messages = BufReader::new(Box::new(std::io::empty()));
    assert_eq!(served.end_by("-TERM").0, Some(0));
    assert!(file.is_file());
}

#[test]
fn the_command_line_comes_before_the_environment_and_both_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = config(folder.path(), "databases = 3\nthreads = 0\n");
    let run = |environment: Option<&str>, args: &[&str]| {
        let mut command = larder();
        command.args(["--check", "--config", &path]).args(args);
        if let Some(threads) = environment {
            command.env("LARDER_THREADS", threads);
        }
        command.output().unwrap().status.code()
    };
    assert_eq!(run(None, &[]), Some(2), "the file says 0");
    assert_eq!(run(Some("1"), &[]), Some(0));
    assert_eq!(run(Some("1"), &["--threads", "0"]), Some(2));
    assert_eq!(run(Some("0"), &["--threads", "2"]), Some(0));
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.snapshot");
    let file = file.to_str().unwrap();
    let options = ["--save", file, "--load", file];
    let served = Served::start(&options);
    let mut client = served.client();
    for number in 0..1000 {
        assert_eq!(call(&mut client, &format!("SET key:{number} {number} EX 1000")), "+OK");
    }
    assert_eq!(call(&mut client, "LARDER.TAG key:1 some"), ":1");
    assert_eq!(call(&mut client, "HSET hash field value"), ":1");
    assert_eq!(served.end_by("-TERM").0, Some(0));

    let served = Served::start(&options);
    assert_eq!(served.call("DBSIZE"), ":1001");
    assert_eq!(served.call("GET key:999"), "999");
    assert_eq!(served.call("HGET hash field"), "value");
    let left: i64 = served.call("TTL key:0")[1..].parse().unwrap();
    assert!((900..=1000).contains(&left), "{left}");
    assert_eq!(served.call("LARDER.INVALIDATE some"), ":1");
    assert_eq!(served.call("GET key:1"), "nil");
    // The command ends it as a signal does.
    assert_eq!(served.call("SET last word"), "+OK");
    let mut client = served.client();
    client.get_mut().write_all(b"SHUTDOWN\r\n").unwrap();
    let mut served = served;
    assert_eq!(served.wait().0, Some(0));
    let served = Served::start(&options);
    assert_eq!(served.call("GET last"), "word");
}

#[test]
fn a_second_server_at_one_address_says_why_it_ends_once() {
    let first = Served::start(&[]);
    let port = first.address.rsplit(':').next().unwrap();
    let output = larder().args(["--port", port]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen at {}", first.address)), "{said}");
    assert_eq!(said.matches("os error").count(), 1, "{said}");
}

#[test]
fn a_server_says_where_it_serves_and_whom_it_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("larder.sock");
    let socket = socket.to_str().unwrap();
    let open = ["--bind", "0.0.0.0", "--unixsocket", socket];
    let (code, said) = Served::start(&open).end_by("-TERM");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("at {socket}\n")), "{said}");
    assert!(said.contains("other machines are refused"), "{said}");
    let (_, said) = Served::start(&["--bind", "0.0.0.0", "--password", "a"]).end_by("-TERM");
    assert!(!said.contains("refused"), "{said}");
}

#[test]
fn a_save_that_fails_says_what_the_system_said() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let served = Served::start(&["--save", gone.join("cache").to_str().unwrap()]);
    fs::remove_dir(&gone).unwrap();
    let reply = served.call("SAVE");
    assert!(reply.contains("cannot save to") && reply.contains("os error"), "{reply}");
}

#[test]
fn a_damaged_file_is_refused_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.snapshot");
    fs::write(&file, "no snapshot").unwrap();
    let output = larder().args(["--port", "0", "--load", file.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("cannot load"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "no snapshot");
}

#[test]
fn a_kill_during_a_save_leaves_the_old_file_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.snapshot");
    let file = path.to_str().unwrap();
    let value = "v".repeat(500);
    let mut saved = 0_u32;
    for round in 1..=50_u32 {
        let served = Served::start(&["--save", file, "--load", file]);
        let mut client = served.client();
        // Each whole file has one number, in all of its entries.
        let found = call(&mut client, "GET key:0");
        let number = found.split(':').next().unwrap().parse().unwrap_or(0);
        assert!(number == saved || number + 1 == round, "{number} after {saved}");
        if number > 0 {
            for key in (0..500).step_by(37) {
                let found = call(&mut client, &format!("GET key:{key}"));
                assert_eq!(found, format!("{number}:{value}"), "key {key} of round {round}");
            }
            assert_eq!(call(&mut client, "DBSIZE"), ":500");
        }
        saved = number;
        for key in 0..500 {
            assert_eq!(call(&mut client, &format!("SET key:{key} {round}:{value}")), "+OK");
        }
        assert_eq!(call(&mut client, "BGSAVE"), "+Background saving started");
        // A little later each time, by requests instead of a clock.
        for _ in 0..round {
            call(&mut client, "PING");
        }
        assert_eq!(served.end_by("-KILL").0, None);
    }
}
