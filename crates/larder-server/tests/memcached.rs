//! The protocols of memcached, over a socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use larder::Cache;
use larder::test::FakeClock;
use larder_server::{Bytes, Hub, Server, ServerConfig, Value};

struct Served {
    server: Server,
    cache: Cache<Bytes, Value>,
    clock: FakeClock,
}

fn serve(change: impl FnOnce(&mut ServerConfig)) -> Served {
    let (hub, clock) = (Hub::new(), FakeClock::new());
    let cache = Cache::builder()
        .capacity(100_000)
        .clock(clock.clone())
        .listener(hub.listener())
        .build()
        .unwrap();
    let mut config = ServerConfig::default();
    config.address.set_port(0);
    config.threads = 2;
    config.memcached_address = Some(config.address);
    change(&mut config);
    let server = Server::start(cache.clone(), hub, config).unwrap();
    Served { server, cache, clock }
}

struct Client(TcpStream);

impl Served {
    fn client(&self) -> Client {
        let stream = TcpStream::connect(self.server.memcached_address().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client(stream)
    }
}

impl Client {
    /// Sends `request`, and reads exactly what is expected.
    fn expect(&mut self, request: &str, expected: &str) {
        self.0.write_all(request.as_bytes()).unwrap();
        let mut answer = vec![0; expected.len()];
        self.0.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), expected, "{request:?}");
    }

    /// Sends `request`, and reads a line.
    fn line(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.0.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line[..line.len() - 2]).into_owned()
    }

    /// The version of a key.
    fn version(&mut self, key: &str) -> u64 {
        let line = self.line(&format!("mg {key} c\r\n"));
        line.strip_prefix("HD c").unwrap_or_else(|| panic!("{line}")).parse().unwrap()
    }

    /// Wins the lease of a key, and returns its version.
    fn lease(&mut self, key: &str) -> u64 {
        let line = self.line(&format!("mg {key} c N30\r\n"));
        let version = line.strip_prefix("HD c").and_then(|rest| rest.strip_suffix(" W"));
        version.unwrap_or_else(|| panic!("{line}")).parse().unwrap()
    }
}

#[test]
fn text_commands_store_and_read() {
    let served = serve(|_| {});
    let mut client = served.client();
    client.expect("set a 7 0 5\r\nhello\r\n", "STORED\r\n");
    client.expect("get a b a\r\n", "VALUE a 7 5\r\nhello\r\nVALUE a 7 5\r\nhello\r\nEND\r\n");
    client.expect("add a 0 0 1\r\nx\r\n", "NOT_STORED\r\n");
    client.expect("replace b 0 0 1\r\nx\r\n", "NOT_STORED\r\n");
    client.expect("append a 0 0 1\r\n!\r\n", "STORED\r\n");
    client.expect("prepend a 0 0 1\r\n>\r\n", "STORED\r\n");
    client.expect("get a\r\n", "VALUE a 7 7\r\n>hello!\r\nEND\r\n");
    client.expect("append c 0 0 1\r\n!\r\n", "NOT_STORED\r\n");
    client.expect("delete a\r\n", "DELETED\r\n");
    client.expect("delete a\r\n", "NOT_FOUND\r\n");
    client.expect("set n 0 0 2\r\n10\r\n", "STORED\r\n");
    client.expect("incr n 5\r\ndecr n 100\r\nincr m 1\r\n", "15\r\n0\r\nNOT_FOUND\r\n");
    client.expect("set n 0 0 20 noreply\r\n18446744073709551615\r\nincr n 1\r\n", "0\r\n");
    client.expect("set t 0 0 4\r\ntext\r\n", "STORED\r\n");
    let error = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
    client.expect("incr t 1\r\n", error);
    client.expect("incr n x\r\n", "CLIENT_ERROR invalid numeric delta argument\r\n");
    client.expect("verbosity 1\r\n", "OK\r\n");
    assert!(client.line("version\r\n").starts_with("VERSION "));
    client.expect("flush_all\r\nget n\r\n", "OK\r\nEND\r\n");
    client.expect("nonsense\r\n", "ERROR\r\n");
    assert!(served.cache.is_empty());
}

#[test]
fn a_version_guards_a_value() {
    let served = serve(|_| {});
    let mut client = served.client();
    client.expect("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    let version = client.version("a");
    client.expect(&format!("cas a 0 0 1 {version}\r\n2\r\n"), "STORED\r\n");
    client.expect(&format!("cas a 0 0 1 {version}\r\n3\r\n"), "EXISTS\r\n");
    client.expect("cas b 0 0 1 5\r\n3\r\n", "NOT_FOUND\r\n");
    let version = client.version("a");
    client.expect("gets a\r\n", &format!("VALUE a 0 1 {version}\r\n2\r\nEND\r\n"));
    // The same content is another value.
    client.expect("set a 0 0 1\r\n2\r\n", "STORED\r\n");
    client.expect(&format!("cas a 0 0 1 {version}\r\n3\r\n"), "EXISTS\r\n");
    // A version of the client's own.
    client.expect("ms a 1 E77\r\n9\r\nmg a c v\r\n", "HD\r\nVA 1 c77\r\n9\r\n");
    client.expect("ms a 1 C78\r\n0\r\n", "EX\r\n");
    client.expect("ms a 1 C77 E79\r\n0\r\nmg a c\r\n", "HD\r\nHD c79\r\n");
}

#[test]
fn entries_expire_by_the_clock_of_the_cache() {
    let served = serve(|_| {});
    let mut client = served.client();
    client.expect("set a 0 100 1\r\n1\r\n", "STORED\r\n");
    client.expect("set b 0 -1 1\r\n1\r\nget b\r\n", "STORED\r\nEND\r\n");
    client.expect("mg a t\r\nmg a t T50\r\nmg a t\r\n", "HD t100\r\nHD t50\r\nHD t50\r\n");
    served.clock.advance(Duration::from_secs(49));
    client.expect("touch a 200\r\ntouch b 1\r\n", "TOUCHED\r\nNOT_FOUND\r\n");
    served.clock.advance(Duration::from_secs(199));
    client.expect("gat 10 a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    client.expect("set d 0 0 1\r\n1\r\n", "STORED\r\n");
    client.expect("gat -1 d\r\ngat -1 d\r\n", "VALUE d 0 1\r\n1\r\nEND\r\nEND\r\n");
    served.clock.advance(Duration::from_secs(11));
    client.expect("get a\r\n", "END\r\n");
    client.expect("set c 0 0 1\r\n1\r\n", "STORED\r\n");
    client.expect("touch c 5\r\nincr c 1\r\n", "TOUCHED\r\n2\r\n");
    served.clock.advance(Duration::from_secs(6));
    client.expect("get c\r\n", "END\r\n");
}

#[test]
fn meta_commands_return_what_their_flags_ask_for() {
    let served = serve(|_| {});
    let mut client = served.client();
    client.expect("mg a\r\nmg a v\r\nmg a v q\r\nmn\r\n", "EN\r\nEN\r\nMN\r\n");
    client.expect("ms a 2 F5 T0 Oxy k\r\nhi\r\n", "HD Oxy ka\r\n");
    client.expect("mg a s v f t k Oq1\r\n", "VA 2 s2 f5 t-1 ka Oq1\r\nhi\r\n");
    client.expect("ms a 2 q\r\nho\r\nmn\r\n", "MN\r\n");
    client.expect("ms a 1 ME\r\nx\r\nms b 1 MR\r\nx\r\n", "NS\r\nNS\r\n");
    client.expect("ms e 1 ME C7\r\nx\r\nms e 1 ME C7\r\nx\r\n", "HD\r\nNS\r\n");
    client.expect("ms a 1 MA\r\n!\r\nms a 1 MP\r\n?\r\n", "HD\r\nHD\r\n");
    client.expect("mg a v\r\n", "VA 4\r\n?ho!\r\n");
    client.expect("ms b 1 MA\r\nx\r\nms b 1 MA N0\r\nx\r\n", "NS\r\nHD\r\n");
    client.expect("mg b v\r\n", "VA 1\r\nx\r\n");
    client.expect("ma n\r\nma n N0 J13 v\r\nma n v\r\n", "NF\r\nVA 2\r\n13\r\nVA 2\r\n14\r\n");
    client.expect("ma n D10 MD v t\r\n", "VA 1 t-1\r\n4\r\n");
    client.expect("md n q\r\nmd n q\r\nmd n\r\n", "NF\r\nNF\r\n");
    // A key in base 64: "foo".
    client.expect("ms Zm9v 1 b k\r\n1\r\n", "HD kZm9v b\r\n");
    client.expect("mg foo v\r\nmg Zm9v b k v\r\n", "VA 1\r\n1\r\nVA 1 kZm9v b\r\n1\r\n");
    client.expect("mg a v v\r\n", "CLIENT_ERROR duplicate flag\r\n");
    client.expect("mg a !\r\n", "CLIENT_ERROR invalid flag\r\n");
    client.expect("ms a x\r\n", "CLIENT_ERROR bad command line format\r\n");
    client.expect("mg\r\n", "CLIENT_ERROR bad command line format\r\n");
    client.expect("me nothing\r\n", "EN\r\n");
    assert!(client.line("me a\r\n").starts_with("ME a exp=-1 la="));
}

#[test]
fn every_answer_says_which_request_it_is_for() {
    let served = serve(|_| {});
    let mut client = served.client();
    client.expect("mg a v k O1\r\nmg YQ== b k O2 c t\r\n", "EN ka O1\r\nEN kYQ== b O2\r\n");
    client.expect("ms a 1 O3 k MR c s\r\nx\r\n", "NS O3 ka c0 s1\r\n");
    client.expect("md a O4 k t\r\nma a O5 k t c q\r\n", "NF O4 ka\r\nNF O5 ka\r\n");
    client.expect("ma a N0 J5 v q\r\nma a v q\r\nma a v\r\n", "VA 1\r\n7\r\n");
    // What says nothing to a command, or is there for proxies, is not an error.
    client.expect("mg a s Px L1 S\r\n", "CLIENT_ERROR invalid flag\r\n");
    client.expect("mg a s Px L1 x\r\nmd none v t\r\n", "HD s1\r\nNF\r\n");
    client.expect("mg a u s\r\n", "HD s1\r\n");
}

#[test]
fn joining_data_returns_the_version_and_length_of_the_whole() {
    let served = serve(|_| {});
    let mut client = served.client();
    client.expect("ms a 2\r\nab\r\n", "HD\r\n");
    let line = client.line("ms a 3 MA s c\r\ncde\r\n");
    let version = line.strip_prefix("HD s5 c").unwrap_or_else(|| panic!("{line}"));
    assert_eq!(client.version("a").to_string(), version);
    client.expect(&format!("ms a 1 C{version} MP s\r\n>\r\n"), "HD s6\r\n");
    // A client that has this version needs no value.
    let version = client.version("a");
    client.expect(&format!("mg a v s C{version}\r\n"), "HD s6\r\n");
    client.expect("mg a v s C1\r\n", "VA 6 s6\r\n>abcde\r\n");
}

#[test]
fn nothing_is_answered_to_those_who_want_no_reply() {
    let served = serve(|config| config.request_limits.argument_bytes = 1000);
    let mut client = served.client();
    client.expect("set t 0 0 4\r\ntext\r\n", "STORED\r\n");
    let long = "x".repeat(1001);
    for request in [
        "incr t 1 noreply\r\n",
        "incr t x noreply\r\n",
        "touch t x noreply\r\n",
        "flush_all x noreply\r\n",
        "verbosity x noreply\r\n",
        "set a 0 x 1 noreply\r\n1\r\n",
        "cas a 0 0 1 x noreply\r\n1\r\n",
        &format!("delete {} noreply\r\n", "k".repeat(251)),
        &format!("set a 0 0 1001 noreply\r\n{long}\r\n"),
        &format!("append t 0 0 999 noreply\r\n{}\r\n", &long[..999]),
    ] {
        client.expect(&format!("{request}mn\r\n"), "MN\r\n");
    }
    client.expect("set a 0 0 1 noreply\r\nabcmn\r\n", "MN\r\n");
    client.expect("nonsense noreply\r\nmn\r\n", "ERROR\r\nMN\r\n");
    client.expect("get noreply\r\n", "END\r\n");
}

#[test]
fn one_client_wins_the_lease_of_a_missing_key() {
    let served = serve(|_| {});
    let (mut first, mut second) = (served.client(), served.client());
    let version = first.lease("k");
    second.expect("mg k v N30\r\n", "VA 0 Z\r\n\r\n");
    second.expect("mg k v\r\n", "EN\r\n");
    assert!(!served.cache.contains_key(b"k".as_slice()), "nobody else sees a lease");
    first.expect(&format!("ms k 3 C{version}\r\nnew\r\n"), "HD\r\n");
    second.expect("mg k v N30\r\n", "VA 3\r\nnew\r\n");
    // A removal while the winner loads makes its value stale.
    first.expect("md k\r\n", "HD\r\n");
    let version = first.lease("k");
    served.cache.remove(b"k".as_slice());
    first.expect(&format!("ms k 3 C{version}\r\nold\r\nmg k v\r\n"), "NF\r\nEN\r\n");
}

#[test]
fn a_stale_value_is_used_until_one_client_has_loaded_a_new_one() {
    let served = serve(|_| {});
    let (mut first, mut second) = (served.client(), served.client());
    first.expect("ms k 3\r\nold\r\nmd k I T30\r\n", "HD\r\nHD\r\n");
    let line = first.line("mg k c t\r\n");
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[2..], ["t30", "W", "X"], "{line}");
    second.expect("mg k v\r\n", "VA 3 X Z\r\nold\r\n");
    first.expect(&format!("ms k 3 C{}\r\nnew\r\n", &words[1][1..]), "HD\r\n");
    second.expect("mg k v\r\n", "VA 3\r\nnew\r\n");
    // Early, before it expires.
    first.expect("ms k 3 T20\r\nnew\r\nmg k v R30\r\n", "HD\r\nVA 3 W\r\nnew\r\n");
    second.expect("mg k v R30\r\n", "VA 3 Z\r\nnew\r\n");
    first.expect("ms k 3 T60\r\nnow\r\nmg k v R30\r\n", "HD\r\nVA 3\r\nnow\r\n");
    // A late write with an old version is stored as stale.
    first.expect("ms k 3 I C1\r\nodd\r\n", "HD\r\n");
    second.expect("mg k v\r\n", "VA 3 W X\r\nodd\r\n");
    // Also a client that asks for nothing else learns that it is to load a fresh one.
    first.expect("md k I\r\nmg k\r\nmg k\r\n", "HD\r\nHD W X\r\nHD X Z\r\n");
    // A number that is counted from a stale one is stale.
    first.expect("ms n 1\r\n5\r\nmd n I\r\nma n\r\nincr n 1\r\n", "HD\r\nHD\r\nHD\r\n7\r\n");
    second.expect("mg n v\r\n", "VA 1 W X\r\n7\r\n");
    // A late write lives no longer for that, and nobody else is told to load it.
    first.expect(
        "ms k 3 T60\r\nnow\r\nms k 3 I C1 T0\r\nodd\r\nmg k t v\r\n",
        "HD\r\nHD\r\nVA 3 t60 W X\r\nodd\r\n",
    );
    first.expect("ms k 3 I C1\r\nold\r\nmg k v\r\n", "HD\r\nVA 3 X Z\r\nold\r\n");
}

#[test]
fn hostile_input_is_refused_and_costs_little() {
    let served = serve(|config| config.request_limits.argument_bytes = 1000);
    let mut client = served.client();
    let bad_line = "CLIENT_ERROR bad command line format\r\n";
    client.expect("set a 0 0 1001\r\n", "SERVER_ERROR object too large for cache\r\n");
    client.expect(&("x".repeat(1001) + "\r\nmn\r\n"), "MN\r\n");
    client.expect("set a 0 0 1\r\nabc", "CLIENT_ERROR bad data chunk\r\n");
    client.expect("\r\n\r\n", "ERROR\r\nERROR\r\n");
    client.expect("set a 0 0 -1\r\n", bad_line);
    client.expect("set a 0 0 99999999999999999999\r\n", bad_line);
    client.expect(&format!("get {}\r\n", "k".repeat(251)), bad_line);
    client.expect("get a\u{1}b\r\n", bad_line);
    client.expect(&format!("get {}", "k".repeat(70_000)), "CLIENT_ERROR line too long\r\n");
    let mut rest = Vec::new();
    let _ = client.0.read_to_end(&mut rest);
    assert_eq!(rest, b"", "the connection is closed");
}

#[test]
fn any_number_of_keys_is_read_by_one_line() {
    let served = serve(|_| {});
    let mut client = served.client();
    let keys: Vec<String> = (0..8_000).map(|number| format!("{number:0>100}")).collect();
    client.expect(&format!("set {} 0 0 1\r\nx\r\n", keys[7_999]), "STORED\r\n");
    let line = format!("get {}\r\n", keys.join(" "));
    assert!(line.len() > 800_000);
    let (first, rest) = line.split_at(200_000);
    client.0.write_all(first.as_bytes()).unwrap();
    client.expect(rest, &format!("VALUE {} 0 1\r\nx\r\nEND\r\n", keys[7_999]));
    // Other lines are not that long.
    client.expect(&"set ".repeat(20_000), "CLIENT_ERROR line too long\r\n");
}

#[test]
fn web_pages_cannot_send_commands() {
    let served = serve(|_| {});
    let mut client = served.client();
    client.0.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nset a 0 0 1\r\nx\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = client.0.read_to_end(&mut answer);
    assert_eq!(String::from_utf8_lossy(&answer), "ERROR\r\n");
    assert!(served.cache.is_empty());
}

#[test]
fn a_password_is_asked_for() {
    let served = serve(|config| config.password = Some("secret".to_owned()));
    let mut client = served.client();
    client.expect("get a\r\n", "CLIENT_ERROR unauthenticated\r\n");
    client.expect("set x 0 0 10\r\nuser wrong\r\n", "CLIENT_ERROR authentication failure\r\n");
    client.expect("set x 0 0 11\r\nuser secret\r\nget a\r\n", "STORED\r\nEND\r\n");
    assert!(served.cache.is_empty());
}

#[test]
fn many_clients_count_and_compare() {
    let served = Arc::new(serve(|_| {}));
    served.client().expect("set n 0 0 1\r\n0\r\nset c 0 0 1\r\n0\r\n", "STORED\r\nSTORED\r\n");
    let count = |served: Arc<Served>| {
        let mut client = served.client();
        for _ in 0..250 {
            client.line("incr n 1\r\n");
            loop {
                let found = client.line("gets c\r\n");
                let version = found.rsplit(' ').next().unwrap().to_owned();
                let old: u64 = client.line("").parse().unwrap();
                assert_eq!(client.line(""), "END");
                let new = (old + 1).to_string();
                let len = new.len();
                if client.line(&format!("cas c 0 0 {len} {version}\r\n{new}\r\n")) == "STORED" {
                    break;
                }
            }
        }
    };
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let served = Arc::clone(&served);
            std::thread::spawn(move || count(served))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let both = "VALUE n 0 4\r\n1000\r\nVALUE c 0 4\r\n1000\r\nEND\r\n";
    served.client().expect("get n c\r\n", both);
}
