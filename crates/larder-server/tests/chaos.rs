//! Clients that disconnect, stall and send garbage, beside others that behave well: no request of the latter
//! fails, memory stays bounded, and no descriptor is left open.
//!
//! `LARDER_CHAOS_SECONDS` says for how long; by default a few seconds. A program of its own, because it
//! counts the descriptors of the process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use larder::Cache;
use larder_server::{Bytes, Hub, Server, ServerConfig, Value};

/// What the server may take beyond what it had at the beginning: the cache, buffers, and slack.
const MAX_GROWTH_BYTES: usize = 400 << 20;
const MAX_BUFFERS_BYTES: usize = 64 << 20;

/// The same numbers for a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        request.extend_from_slice(arg);
        request.extend_from_slice(b"\r\n");
    }
    request
}

fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

/// A client of Redis that behaves well, and checks each reply.
fn behave(address: SocketAddr, seed: u64, stop: &AtomicBool, requests: &AtomicU64) {
    let mut random = Random(seed);
    let mut stream = connect(address);
    let counter = format!("counter:{seed}");
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("good:{seed}:{}", random.below(100));
        let len = random.below(3000) as usize;
        let value = random.bytes(len);
        let mut batch = request(&[b"SET", key.as_bytes(), &value]);
        batch.extend(request(&[b"GET", key.as_bytes()]));
        batch.extend(request(&[b"INCR", counter.as_bytes()]));
        stream.write_all(&batch).unwrap();
        expect(&mut stream, b"+OK\r\n");
        expect(&mut stream, format!("${len}\r\n").as_bytes());
        expect(&mut stream, &[value.as_slice(), b"\r\n"].concat());
        count += 1;
        expect(&mut stream, format!(":{count}\r\n").as_bytes());
        requests.fetch_add(3, Ordering::Relaxed);
        if random.below(50) == 0 {
            stream = connect(address);
        }
    }
}

/// A client of memcached that behaves well.
fn behave_by_memcached(address: SocketAddr, seed: u64, stop: &AtomicBool, requests: &AtomicU64) {
    let mut random = Random(seed);
    let mut stream = connect(address);
    while !stop.load(Ordering::Relaxed) {
        let key = format!("mc:{seed}:{}", random.below(100));
        let number = random.below(1 << 40).to_string();
        let len = number.len();
        let batch = format!("set {key} 0 0 {len}\r\n{number}\r\nmg {key} v\r\n");
        stream.write_all(batch.as_bytes()).unwrap();
        expect(&mut stream, format!("STORED\r\nVA {len}\r\n{number}\r\n").as_bytes());
        requests.fetch_add(2, Ordering::Relaxed);
    }
}

/// A client that does one of the things that a server must survive. What the server does with its connection
/// is the server's affair, so errors are expected.
fn misbehave(address: SocketAddr, random: &mut Random, held: &mut Vec<TcpStream>) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
    let _ = match random.below(9) {
        // It leaves in the middle of a request.
        0 => stream.write_all(b"*3\r\n$3\r\nSET\r\n$5\r\nab"),
        1 => stream.write_all(b"set a 0 0 100000\r\nabc"),
        // Garbage.
        2 => {
            let len = random.below(5000) as usize;
            stream.write_all(&random.bytes(len))
        }
        // Lengths for which there is no memory, or which are not numbers.
        3 => stream.write_all(b"*1048576\r\n$536870912\r\n"),
        4 => stream.write_all(b"*999999999999\r\n"),
        5 => stream.write_all("*1\r\n".repeat(10_000).as_bytes()),
        // It asks for much and reads nothing.
        6 => {
            let big = vec![b'x'; 1 << 20];
            let set = stream.write_all(&request(&[b"SET", b"big", &big]));
            let get = request(&[b"GET", b"big"]).repeat(200);
            set.and_then(|()| stream.write_all(&get))
        }
        // It subscribes to what others publish, and reads nothing.
        7 => stream.write_all(b"SUBSCRIBE noise\r\n"),
        _ => stream.write_all(&request(&[b"PUBLISH", b"noise", &vec![b'n'; 100_000]]).repeat(20)),
    };
    match random.below(3) {
        // It stalls.
        0 => held.push(stream),
        1 => drop(stream.shutdown(Shutdown::Write)),
        _ => {}
    }
    if held.len() > 50 {
        held.swap_remove(random.below(50) as usize);
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn clients_that_misbehave_harm_nobody() {
    let seconds = std::env::var("LARDER_CHAOS_SECONDS").map_or(3, |text| text.parse().unwrap());
    let hub = Hub::new();
    let cache: Cache<Bytes, Value> = Cache::builder()
        .max_weight(64 << 20)
        .weigher(|key: &Bytes, value: &Value| {
            (key.heap_bytes() + value.heap_bytes() + larder_server::ENTRY_BYTES) as u32
        })
        .listener(hub.listener())
        .build()
        .unwrap();
    let mut config = ServerConfig::default();
    config.address.set_port(0);
    config.threads = 2;
    config.memcached_address = Some(config.address);
    config.write_timeout = Duration::from_secs(1);
    config.max_buffer_bytes = MAX_BUFFERS_BYTES;
    config.max_mail_bytes = 1 << 20;
    let server = Server::start(cache.clone(), hub, config).unwrap();
    let (redis, memcached) = (server.address(), server.memcached_address().unwrap());
    // Everything is there once before it is counted.
    behave_once(redis);
    let (first_descriptors, first_bytes) = (descriptors(), resident_bytes());

    let (stop, requests) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut most_bytes = 0;
    thread::scope(|scope| {
        let (stop, requests) = (&stop, &requests);
        for seed in 1..=3 {
            scope.spawn(move || behave(redis, seed, stop, requests));
            scope.spawn(move || behave_by_memcached(memcached, seed, stop, requests));
        }
        for seed in 11..=13 {
            scope.spawn(move || {
                let (mut random, mut held) = (Random(seed), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let address = if random.below(3) == 0 { memcached } else { redis };
                    misbehave(address, &mut random, &mut held);
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            most_bytes = most_bytes.max(resident_bytes());
            thread::park_timeout(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let grown = most_bytes.saturating_sub(first_bytes);
    println!(
        "{} requests of clients that behave; memory grew by {} MiB",
        requests.load(Ordering::Relaxed),
        grown >> 20
    );
    assert!(requests.load(Ordering::Relaxed) > 100);
    assert!(grown < MAX_GROWTH_BYTES, "it grew by {grown} bytes");

    // All clients have gone, so their descriptors are closed, as soon as the server has noticed.
    let deadline = Instant::now() + Duration::from_secs(60);
    while descriptors() > first_descriptors {
        assert!(Instant::now() < deadline, "{} descriptors are left", descriptors());
        thread::yield_now();
    }
    behave_once(redis);
    server.shutdown().unwrap();
    cache.validate();
}

fn behave_once(address: SocketAddr) {
    let mut stream = connect(address);
    stream.write_all(b"PING\r\n").unwrap();
    expect(&mut stream, b"+PONG\r\n");
}

#[test]
fn what_a_client_sends_before_it_leaves_is_executed_or_not_but_never_half() {
    let hub = Hub::new();
    let cache: Cache<Bytes, Value> =
        Cache::builder().capacity(10_000).listener(hub.listener()).build().unwrap();
    let mut config = ServerConfig::default();
    config.address.set_port(0);
    let server = Server::start(cache, hub, config).unwrap();
    for cut in 0..60 {
        let mut stream = connect(server.address());
        let whole = [
            request(&[b"MULTI"]),
            request(&[b"SET", b"a", cut.to_string().as_bytes()]),
            request(&[b"SET", b"b", cut.to_string().as_bytes()]),
            request(&[b"EXEC"]),
        ]
        .concat();
        stream.write_all(&whole[..whole.len() - cut % whole.len()]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        let mut reader = connect(server.address());
        reader.write_all(&request(&[b"MGET", b"a", b"b"])).unwrap();
        let mut values = vec![0; 64];
        let read = reader.read(&mut values).unwrap();
        let text = String::from_utf8_lossy(&values[..read]).into_owned();
        let words: Vec<&str> = text.split("\r\n").collect();
        // An array of two: both are there and equal, or neither.
        match words.len() {
            6 => assert_eq!(words[2], words[4], "{text}"),
            _ => assert_eq!(text, "*2\r\n$-1\r\n$-1\r\n"),
        }
    }
}
