//! A server of a test, and clients that speak the protocol of Redis with it.
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "for all tests, of which each uses a part")]

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use larder::{Builder, Cache};
use larder_server::{Bytes, Hub, Server, ServerConfig, Value};

/// How long a client waits for a reply before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server at a free port of this machine, with the cache that it serves.
pub(crate) struct TestServer {
    server: Server,
    pub(crate) cache: Cache<Bytes, Value>,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::start_with(|builder| builder, |_| {})
    }

    /// Starts with other settings of the cache and of the server.
    pub(crate) fn start_with(
        build: impl FnOnce(Builder<Bytes, Value>) -> Builder<Bytes, Value>,
        configure: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let hub = Hub::new();
        let builder = Cache::builder().capacity(100_000).listener(hub.listener());
        let cache = build(builder).build().unwrap();
        let mut config = ServerConfig::default();
        config.address.set_port(0);
        configure(&mut config);
        let server = Server::start(cache.clone(), hub, config).unwrap();
        Self { server, cache }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// How long a key has left; `None` if it is missing or never expires.
    pub(crate) fn time_to_live(&self, key: &str) -> Option<Duration> {
        self.cache.inspect(key.as_bytes())?.expires_in
    }
}

/// A value of the protocol, as a client receives it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RespValue {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// A null of any kind.
    Null,
    Array(Vec<RespValue>),
    Map(Vec<(RespValue, RespValue)>),
    Set(Vec<RespValue>),
    Push(Vec<RespValue>),
    Boolean(bool),
    Double(f64),
    BigNumber(String),
    Verbatim(String),
}

/// A byte string.
pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> RespValue {
    RespValue::Bulk(bytes.as_ref().to_vec())
}

/// An array.
pub(crate) fn array(members: impl IntoIterator<Item = RespValue>) -> RespValue {
    RespValue::Array(members.into_iter().collect())
}

impl RespValue {
    pub(crate) fn ok() -> Self {
        Self::Simple("OK".to_owned())
    }

    /// The number of an integer. Anything else fails the test.
    #[track_caller]
    pub(crate) fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("not an integer: {other}"),
        }
    }

    /// The bytes of a byte string. Anything else fails the test.
    #[track_caller]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bulk(bytes) => bytes,
            other => panic!("not a byte string: {other}"),
        }
    }

    /// The members of an array, a set or a push. Anything else fails the test.
    #[track_caller]
    pub(crate) fn members(&self) -> &[Self] {
        match self {
            Self::Array(members) | Self::Set(members) | Self::Push(members) => members,
            other => panic!("no members: {other}"),
        }
    }

    /// The value of a key of a map, or of an array that has keys and values in turns.
    pub(crate) fn field(&self, key: &str) -> Option<&Self> {
        let is_key = |candidate: &Self| match candidate {
            Self::Bulk(bytes) => bytes == key.as_bytes(),
            Self::Simple(text) => text == key,
            _ => false,
        };
        match self {
            Self::Map(pairs) => {
                pairs.iter().find_map(|(name, value)| is_key(name).then_some(value))
            }
            Self::Array(members) => {
                let mut pairs = members.chunks_exact(2);
                pairs.find_map(|pair| is_key(&pair[0]).then_some(&pair[1]))
            }
            _ => None,
        }
    }
}

/// One line, for tables of commands and replies: `+OK`, `-ERR text`, `:1`, `"bytes"`, `nil`, `[:1 "a"]`,
/// `{"key" => :1}`, `~[…]` for a set, `>[…]` for a push, `#t`, `,1.5`, `=text`, `(12345`.
impl fmt::Display for RespValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list(f: &mut fmt::Formatter<'_>, head: &str, members: &[RespValue]) -> fmt::Result {
            write!(f, "{head}[")?;
            for (index, member) in members.iter().enumerate() {
                write!(f, "{}{member}", if index > 0 { " " } else { "" })?;
            }
            f.write_str("]")
        }
        match self {
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Null => f.write_str("nil"),
            Self::Array(members) => list(f, "", members),
            Self::Map(pairs) => {
                f.write_str("{")?;
                for (index, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{key} => {value}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
            Self::Set(members) => list(f, "~", members),
            Self::Push(members) => list(f, ">", members),
            Self::Boolean(true) => f.write_str("#t"),
            Self::Boolean(false) => f.write_str("#f"),
            Self::Double(number) => write!(f, ",{number}"),
            Self::BigNumber(text) => write!(f, "({text}"),
            Self::Verbatim(text) => write!(f, "={text}"),
        }
    }
}

/// A connection to a server.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    /// The pushes that came before a reply.
    pushes: VecDeque<RespValue>,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: impl ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), pushes: VecDeque::new() }
    }

    /// Sends a command and returns the reply. Pushes that come before it are kept for
    /// [`push`](Self::push).
    #[track_caller]
    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> RespValue {
        self.send(args);
        self.reply()
    }

    /// Sends a command in one line of words, which may be in double quotes with the escapes of Rust's byte
    /// strings, and returns the reply in one line.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> String {
        self.call(&words(line)).to_string()
    }

    /// Sends a command without waiting for the reply.
    #[track_caller]
    pub(crate) fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.send_raw(&encoded(args));
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// The next reply.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> RespValue {
        loop {
            match self.receive() {
                push @ RespValue::Push(_) => self.pushes.push_back(push),
                reply => return reply,
            }
        }
    }

    /// The next push, which has come before a reply or is waited for.
    #[track_caller]
    pub(crate) fn push(&mut self) -> RespValue {
        self.pushes.pop_front().unwrap_or_else(|| match self.receive() {
            push @ RespValue::Push(_) => push,
            reply => panic!("not a push: {reply}"),
        })
    }

    /// The pushes that have come before the replies so far.
    pub(crate) fn take_pushes(&mut self) -> Vec<RespValue> {
        self.pushes.drain(..).collect()
    }

    /// Whether the server has closed the connection. Waits for that, or for bytes, which are not consumed.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.stream.fill_buf().is_ok_and(<[u8]>::is_empty)
    }

    /// The next value, be it a reply or a push.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> RespValue {
        let line = self.line();
        let (kind, rest) = line.split_at(1);
        let length = || rest.parse::<usize>();
        match kind {
            "+" => RespValue::Simple(rest.to_owned()),
            "-" => RespValue::Error(rest.to_owned()),
            ":" => RespValue::Integer(rest.parse().unwrap()),
            "," => RespValue::Double(rest.parse().unwrap()),
            "(" => RespValue::BigNumber(rest.to_owned()),
            "#" => RespValue::Boolean(rest == "t"),
            "_" => RespValue::Null,
            "$" | "*" if rest == "-1" => RespValue::Null,
            "$" => RespValue::Bulk(self.bytes(length().unwrap())),
            "=" => {
                let text = String::from_utf8(self.bytes(length().unwrap())).unwrap();
                RespValue::Verbatim(text[4..].to_owned())
            }
            "*" => RespValue::Array(self.values(length().unwrap())),
            "~" => RespValue::Set(self.values(length().unwrap())),
            ">" => RespValue::Push(self.values(length().unwrap())),
            "%" => {
                let pairs = (0..length().unwrap()).map(|_| (self.receive(), self.receive()));
                RespValue::Map(pairs.collect())
            }
            _ => panic!("not a value of the protocol: {line:?}"),
        }
    }

    #[track_caller]
    fn values(&mut self, count: usize) -> Vec<RespValue> {
        (0..count).map(|_| self.receive()).collect()
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.len() > 2, "the server has closed the connection, or sent {line:?}");
        line.strip_suffix("\r\n").expect("a line ends with a line feed").to_owned()
    }

    #[track_caller]
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count + 2];
        self.stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes[count..], b"\r\n");
        bytes.truncate(count);
        bytes
    }
}

/// A request as it is sent.
pub(crate) fn encoded<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        request.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
        request.extend_from_slice(arg.as_ref());
        request.extend_from_slice(b"\r\n");
    }
    request
}

/// The words of a line: see [`Client::run`].
#[track_caller]
pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    let (mut words, mut rest) = (Vec::new(), line.as_bytes().trim_ascii());
    while !rest.is_empty() {
        let mut word = Vec::new();
        if let Some(mut quoted) = rest.strip_prefix(b"\"") {
            rest = loop {
                match *quoted {
                    [b'"', ref after @ ..] => break after,
                    [b'\\', b'x', high, low, ref after @ ..] => {
                        let digits = [high, low];
                        let digits = std::str::from_utf8(&digits).unwrap();
                        word.push(u8::from_str_radix(digits, 16).unwrap());
                        quoted = after;
                    }
                    [b'\\', escaped, ref after @ ..] => {
                        word.push(match escaped {
                            b'n' => b'\n',
                            b'r' => b'\r',
                            b't' => b'\t',
                            b'0' => 0,
                            other => other,
                        });
                        quoted = after;
                    }
                    [byte, ref after @ ..] => {
                        word.push(byte);
                        quoted = after;
                    }
                    [] => panic!("a quote is not closed: {line}"),
                }
            };
        } else {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            word.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    words
}

/// Runs commands, in lines as [`Client::run`] takes them, one after another at a fresh server, and compares the
/// replies. With a server at `LARDER_REFERENCE`, its replies are compared too.
#[track_caller]
pub(crate) fn check(commands: &[(&str, &str)]) {
    let server = TestServer::start();
    let mut client = server.client();
    for (command, expected) in commands {
        assert_eq!(client.run(command), *expected, "reply to {command}");
    }
    check_reference(commands);
}

/// The second half of [`check`], if there is a server to compare with.
#[track_caller]
fn check_reference(commands: &[(&str, &str)]) {
    /// The tests share the other server.
    static TURN: Mutex<()> = Mutex::new(());
    let Ok(address) = std::env::var("LARDER_REFERENCE") else { return };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut client = Client::connect(address);
    assert_eq!(client.run("FLUSHALL"), "+OK");
    for (command, expected) in commands {
        assert_eq!(client.run(command), *expected, "reply of the reference to {command}");
    }
}
