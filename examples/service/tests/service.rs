//! The service is started, asked, stopped and started again, as a user would do it.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "in tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::thread;

struct Service {
    process: Child,
    output: BufReader<ChildStdout>,
    address: String,
    /// What it has printed before its address.
    greeting: String,
}

impl Service {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_larder-service"))
            .arg(folder)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let (mut greeting, mut line) = (String::new(), String::new());
        while !line.starts_with("listening on ") {
            greeting.push_str(&std::mem::take(&mut line));
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "it has ended: {greeting}");
        }
        let address = line.trim().rsplit('/').next().unwrap().to_owned();
        Self { process, output, address, greeting }
    }

    /// The status and the body of the answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head = "Host: localhost\r\nConnection: close\r\nContent-Type: application/json";
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "")
    }

    fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.get("/metrics");
        let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap().parse().unwrap()
    }

    /// Asks the process to end, and returns what it has printed since it was started.
    fn stop(mut self) -> String {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert!(self.process.wait().unwrap().success());
        rest
    }
}

/// So that a test that fails leaves no process behind.
impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const ROPE: &str = r#"{"name":"rope","category":"tools","price":8.0}"#;
const TEA: &str = r#"{"name":"tea","category":"food","price":4.0}"#;

#[test]
fn rows_are_read_once_and_come_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path());
    assert_eq!(service.greeting, "");
    assert_eq!(service.ask("PUT", "/products/1", ROPE).0, 204);
    assert_eq!(service.ask("PUT", "/products/2", TEA).0, 204);

    // Clients that come together share one read of the database.
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                assert_eq!(service.get("/products/1"), (200, ROPE.to_owned()));
            });
        }
    });
    assert_eq!(service.metric("loads"), 1);
    assert_eq!(service.get("/products/2"), (200, TEA.to_owned()));

    // The tag of a category reaches its products, and no others.
    let (status, said) = service.ask("POST", "/categories/tools/discount?percent=25", "");
    assert_eq!((status, said.as_str()), (200, "1 products cost 25 % less\n"));
    assert!(service.get("/products/1").1.contains(r#""price":6.0"#));
    assert_eq!(service.get("/products/2"), (200, TEA.to_owned()));
    assert_eq!(service.metric("loads"), 3);

    // A write is seen at once.
    assert_eq!(service.ask("PUT", "/products/1", ROPE).0, 204);
    assert_eq!(service.get("/products/1"), (200, ROPE.to_owned()));

    // That there is no such product is remembered, until there is one.
    assert_eq!(service.get("/products/3").0, 404);
    assert_eq!(service.get("/products/3").0, 404);
    assert_eq!((service.metric("loads"), service.metric("negative_hits")), (5, 1));
    assert_eq!(service.ask("PUT", "/products/3", TEA).0, 204);
    assert_eq!(service.get("/products/3"), (200, TEA.to_owned()));
    assert!(service.stop().ends_with("saved 3 products\n"));

    let service = Service::start(folder.path());
    assert_eq!(service.greeting, "loaded 3 products\n");
    assert_eq!(service.get("/products/1"), (200, ROPE.to_owned()));
    assert_eq!(service.get("/products/3"), (200, TEA.to_owned()));
    assert_eq!(service.metric("loads"), 0, "after a restart, no row is read again");
    let (_, said) = service.ask("POST", "/categories/tools/discount?percent=50", "");
    assert_eq!(said, "1 products cost 50 % less\n");
    assert!(service.get("/products/1").1.contains(r#""price":4.0"#), "tags come back too");
    drop(service);

    // It was killed, and the snapshot was from before the discount: the cache starts empty.
    let service = Service::start(folder.path());
    assert_eq!(service.greeting, "");
    assert!(service.get("/products/1").1.contains(r#""price":4.0"#));
}

#[test]
fn bad_requests_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path());
    assert_eq!(service.get("/products/rope").0, 400);
    assert_eq!(service.ask("PUT", "/products/1", "{").0, 400);
    assert_eq!(service.ask("PUT", "/products/1", r#"{"name":"rope"}"#).0, 422);
    assert_eq!(service.ask("POST", "/categories/tools/discount?percent=x", "").0, 400);
    assert_eq!(service.get("/nothing").0, 404);
    assert_eq!(service.metric("entries"), 0);
}
