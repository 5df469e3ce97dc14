//! A server, and clients of it that speak HTTP and the protocol of Redis by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use larder::{Builder, Cache, Maintenance};
use larder_server::{Bytes, Hub, Server, ServerConfig, Value};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server and its cache, which holds 100 entries.
pub(crate) struct Served {
    pub(crate) cache: Cache<Bytes, Value>,
    pub(crate) server: Server,
}

impl Served {
    pub(crate) fn start(
        build: impl FnOnce(Builder<Bytes, Value>) -> Builder<Bytes, Value>,
        configure: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let hub = Hub::new();
        let builder = Cache::builder().capacity(100).maintenance(Maintenance::Inline);
        let cache = build(builder).listener(hub.listener()).build().unwrap();
        let mut config = ServerConfig::default();
        config.address = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        config.http_address = Some(config.address);
        config.threads = 1;
        configure(&mut config);
        let server = Server::start(cache.clone(), hub, config).unwrap();
        Self { cache, server }
    }

    /// A client of Redis.
    pub(crate) fn connect(&self) -> Connection {
        Connection::new(self.server.address())
    }

    pub(crate) fn connect_http(&self) -> Connection {
        Connection::new(self.server.http_address().unwrap())
    }
}

/// An answer by HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The answer to a request such as `GET /`.
pub(crate) fn ask(served: &Served, line: &str) -> Answer {
    served.connect_http().ask(line)
}

/// The answer to a request that is given whole.
pub(crate) fn exchange(served: &Served, request: &str) -> Answer {
    let mut connection = served.connect_http();
    connection.send(request);
    connection.receive()
}

/// A request without a body, with further headers.
pub(crate) fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")
}

pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    pub(crate) fn ask(&mut self, line: &str) -> Answer {
        self.send(&request(line, ""));
        let mut answer = self.receive_head();
        if !line.starts_with("HEAD") {
            self.receive_body(&mut answer);
        }
        answer
    }

    pub(crate) fn send(&mut self, text: &str) {
        // The server may have refused it before it has read all.
        let _ = self.stream.write_all(text.as_bytes());
    }

    pub(crate) fn receive(&mut self) -> Answer {
        let mut answer = self.receive_head();
        self.receive_body(&mut answer);
        answer
    }

    /// Whether nothing is answered for a while.
    pub(crate) fn has_no_answer(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let is_nothing = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
        peeked.is_err_and(|error| is_nothing(error.kind()))
    }

    /// Sends commands, one on each line, and returns as many lines of replies as there are commands, and the
    /// lines of their values.
    pub(crate) fn exchange(&mut self, commands: &str, replies: usize) -> String {
        self.send(commands);
        let mut all = String::new();
        for _ in 0..replies {
            let line = self.line();
            let value = match line.strip_prefix('$').map(|len| len.parse::<i64>().unwrap()) {
                Some(0..) => self.line() + "\r\n",
                _ => String::new(),
            };
            all += &(line + "\r\n" + &value);
        }
        all
    }

    fn receive_head(&mut self) -> Answer {
        let status = self.line();
        let status = status.split(' ').nth(1).unwrap_or_else(|| panic!("not HTTP: {status:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Answer { status: status.parse().unwrap(), headers, body: String::new() }
    }

    fn receive_body(&mut self, answer: &mut Answer) {
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).unwrap()
    }
}
