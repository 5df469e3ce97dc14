//! Connections that keep one batch each on its way, and the clock.
//!
//! A connection sends a batch of pipelined requests with one write, waits for the last of its
//! replies, and sends the next batch: a closed loop. The latency of a batch is the time from just
//! before its write to the moment at which its last reply was judged; it holds what the client
//! spent on other connections meanwhile, as for every client with more connections than threads.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{self, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::keys::{SplitMix64, fill_uniform, scramble, zipf};
use crate::load::requests::{Key, Operation, Protocol, Requests, Verdict, key};

/// A server that has said nothing for so long has stopped.
const SILENCE: Duration = Duration::from_secs(20);

/// So many keys are drawn by Zipf's law before the clock starts, and repeated.
const DRAWN: usize = 1 << 18;

/// Latencies above this are recorded as this.
const MAX_LATENCY_NS: u64 = 60_000_000_000;

/// Which key a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Distribution {
    /// Every key is as likely as any other
    Uniform,
    /// Zipf's law with exponent 0.99
    Zipf,
    /// One key after the other
    Sequential,
}

/// What the clients ask for.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How they talk.
    pub protocol: Protocol,
    /// What they ask for.
    pub operation: Operation,
    /// Requests in a batch.
    pub pipeline: usize,
    /// The length of every value.
    pub value_bytes: usize,
    /// The number of distinct keys.
    pub keys: u64,
    /// How a key is chosen.
    pub distribution: Distribution,
    /// Clients, each with a connection.
    pub clients: usize,
    /// Threads that the clients are spread over.
    pub threads: usize,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After so many requests.
    Requests(u64),
    /// After so long.
    Time(Duration),
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Requests that were replied to.
    pub requests: u64,
    /// From the first request to the last reply.
    pub elapsed: Duration,
    /// Replies that say that the key is absent.
    pub misses: u64,
    /// Replies that are errors.
    pub refused: u64,
    /// Values of another length, or other values.
    pub wrong: u64,
    /// Nanoseconds from the write of a batch to its last reply.
    pub latency: Histogram<u64>,
}

impl Outcome {
    fn new() -> Self {
        let latency = Histogram::new_with_max(MAX_LATENCY_NS, 3);
        Self {
            requests: 0,
            elapsed: Duration::ZERO,
            misses: 0,
            refused: 0,
            wrong: 0,
            latency: latency.expect("three digits and a maximum above 1 are allowed"),
        }
    }

    /// Requests in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency, in microseconds, that `percent` of the batches did not exceed.
    #[must_use]
    pub fn latency_us(&self, percent: f64) -> f64 {
        self.latency.value_at_percentile(percent) as f64 / 1e3
    }

    /// Replies that were not what they had to be.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.misses + self.refused + self.wrong
    }

    fn count(&mut self, verdict: Verdict) {
        self.requests += 1;
        match verdict {
            Verdict::Right => {}
            Verdict::Miss => self.misses += 1,
            Verdict::Refused => self.refused += 1,
            Verdict::Wrong => self.wrong += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.misses += other.misses;
        self.refused += other.refused;
        self.wrong += other.wrong;
        self.latency.add(&other.latency).expect("both have the same bounds");
    }
}

/// All clients of a load, connected.
#[derive(Debug)]
pub struct Clients {
    drivers: Vec<Driver>,
}

impl Clients {
    /// Connects the clients of `load` to `address`.
    ///
    /// # Errors
    /// If a connection is refused.
    pub fn connect(address: SocketAddr, load: &Load) -> io::Result<Self> {
        let threads = load.threads.clamp(1, load.clients.max(1));
        let drivers = (0..threads).map(|thread| {
            let clients = load.clients / threads + usize::from(thread < load.clients % threads);
            Driver::connect(address, load, clients, thread, threads)
        });
        Ok(Self { drivers: drivers.collect::<io::Result<_>>()? })
    }

    /// Sends requests until `limit`, and waits for all replies. The connections stay open.
    ///
    /// # Errors
    /// If a connection breaks, or the server stops or replies with something unintelligible.
    ///
    /// # Panics
    /// If a thread panicked.
    pub fn drive(&mut self, limit: Limit) -> io::Result<Outcome> {
        let start = Instant::now();
        let threads = self.drivers.len() as u64;
        let outcomes: Vec<io::Result<Outcome>> = if let [driver] = &mut *self.drivers {
            vec![driver.drive(limit, start)]
        } else {
            thread::scope(|scope| {
                let drivers = self.drivers.iter_mut().zip(0..);
                let running: Vec<_> = drivers
                    .map(|(driver, thread)| {
                        let limit = match limit {
                            Limit::Time(_) => limit,
                            Limit::Requests(n) => {
                                Limit::Requests(n / threads + u64::from(thread < n % threads))
                            }
                        };
                        scope.spawn(move || driver.drive(limit, start))
                    })
                    .collect();
                let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join();
                running.into_iter().map(|one| join(one).expect("a client panicked")).collect()
            })
        };
        let mut all = Outcome::new();
        for outcome in outcomes {
            all.add(&outcome?);
        }
        all.elapsed = start.elapsed();
        Ok(all)
    }
}

/// The connections of one thread.
#[derive(Debug)]
struct Driver {
    requests: Requests,
    choice: KeyChoice,
    pipeline: usize,
    poll: Poll,
    connections: Vec<Connection>,
    /// The batch that is being made, and what is being read. Shared by all connections, so that
    /// these bytes stay in the processor's cache.
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// The keys of the batch that is on its way, and how many of them have been replied to.
    batch: Vec<Key>,
    replied: usize,
    sent_at: Instant,
    /// The part of the batch for which the kernel had no room.
    unsent: Vec<u8>,
    /// The beginning of a reply whose rest has not arrived.
    partial: Vec<u8>,
}

impl Driver {
    fn connect(
        address: SocketAddr,
        load: &Load,
        clients: usize,
        thread: usize,
        threads: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(clients);
        for token in 0..clients {
            let stream = net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(token), interest)?;
            connections.push(Connection {
                stream,
                batch: Vec::with_capacity(load.pipeline),
                replied: 0,
                sent_at: Instant::now(),
                unsent: Vec::new(),
                partial: Vec::new(),
            });
        }
        let requests = Requests::new(load.protocol, load.operation, load.value_bytes);
        // A whole batch of replies, so that one read suffices, and a byte for knowing that there is
        // nothing more.
        let incoming = vec![0; (load.pipeline + 1) * (requests.reply_bytes() + 64) + 8_192];
        Ok(Self {
            requests,
            choice: KeyChoice::new(load, thread, threads),
            pipeline: load.pipeline,
            poll,
            connections,
            outgoing: Vec::new(),
            incoming,
        })
    }

    fn drive(&mut self, limit: Limit, start: Instant) -> io::Result<Outcome> {
        let mut outcome = Outcome::new();
        let mut events = Events::with_capacity(1_024);
        let mut left = match limit {
            Limit::Requests(requests) => requests,
            Limit::Time(_) => u64::MAX,
        };
        let mut busy = 0;
        for token in 0..self.connections.len() {
            busy += usize::from(self.send(token, &mut left)?);
        }
        while busy > 0 {
            match self.poll.poll(&mut events, Some(SILENCE)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            if events.is_empty() {
                let message = format!("no reply for {} seconds", SILENCE.as_secs());
                return Err(io::Error::new(ErrorKind::TimedOut, message));
            }
            for event in &events {
                let token = event.token().0;
                if self.connections[token].batch.is_empty() {
                    continue;
                }
                self.flush(token)?;
                if !self.receive(token, &mut outcome)? {
                    continue;
                }
                let now = Instant::now();
                let took = now.duration_since(self.connections[token].sent_at);
                let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                outcome.latency.saturating_record(took_ns.max(1));
                if matches!(limit, Limit::Time(time) if now.duration_since(start) >= time) {
                    left = 0;
                }
                busy -= usize::from(!self.send(token, &mut left)?);
            }
        }
        Ok(outcome)
    }

    /// Sends the next batch of a connection; returns whether there was one to send.
    fn send(&mut self, token: usize, left: &mut u64) -> io::Result<bool> {
        let connection = &mut self.connections[token];
        connection.batch.clear();
        connection.replied = 0;
        let requests = (self.pipeline as u64).min(*left);
        if requests == 0 {
            return Ok(false);
        }
        *left -= requests;
        self.outgoing.clear();
        for _ in 0..requests {
            let key = key(self.choice.next());
            connection.batch.push(key);
            self.requests.push(&mut self.outgoing, &key);
        }
        connection.sent_at = Instant::now();
        let sent = write(&mut connection.stream, &self.outgoing)?;
        connection.unsent.extend_from_slice(&self.outgoing[sent..]);
        Ok(true)
    }

    /// Sends what the kernel had no room for earlier.
    fn flush(&mut self, token: usize) -> io::Result<()> {
        let connection = &mut self.connections[token];
        if !connection.unsent.is_empty() {
            let sent = write(&mut connection.stream, &connection.unsent)?;
            connection.unsent.drain(..sent);
        }
        Ok(())
    }

    /// Reads and judges what has arrived; returns whether the batch is complete.
    fn receive(&mut self, token: usize, outcome: &mut Outcome) -> io::Result<bool> {
        let Self { requests, connections, incoming, .. } = self;
        let connection = &mut connections[token];
        loop {
            let kept = connection.partial.len();
            incoming[..kept].copy_from_slice(&connection.partial);
            let read = match connection.stream.read(&mut incoming[kept..]) {
                Ok(0) => return Err(closed()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let arrived = &incoming[..kept + read];
            let mut at = 0;
            while let Some(key) = connection.batch.get(connection.replied) {
                let Some((verdict, len)) = requests.judge(&arrived[at..], key)? else { break };
                outcome.count(verdict);
                connection.replied += 1;
                at += len;
            }
            let rest = &arrived[at..];
            connection.partial.clear();
            if connection.replied == connection.batch.len() {
                // Nothing else is on its way, so the connection need not be read until it is empty:
                // what arrives later is announced anew.
                return if rest.is_empty() { Ok(true) } else { Err(unasked(rest)) };
            }
            connection.partial.extend_from_slice(rest);
            // A read that fills less than the buffer has emptied the socket.
            if kept + read < incoming.len() {
                return Ok(false);
            }
            if rest.len() == incoming.len() {
                return Err(io::Error::other("a reply is longer than any that was asked for"));
            }
        }
    }
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(closed()),
            Ok(n) => sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

fn closed() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the server closed a connection")
}

fn unasked(rest: &[u8]) -> io::Error {
    let shown = rest[..rest.len().min(64)].escape_ascii();
    io::Error::new(ErrorKind::InvalidData, format!("more replies than requests: `{shown}`"))
}

/// Chooses keys.
#[derive(Debug)]
enum KeyChoice {
    Uniform { distinct: u64, random: SplitMix64 },
    Drawn { keys: Vec<u64>, at: usize },
    Sequential { distinct: u64, next: u64, step: u64 },
}

impl KeyChoice {
    fn new(load: &Load, thread: usize, threads: usize) -> Self {
        let distinct = load.keys;
        let seed = thread as u64 + 1;
        match load.distribution {
            Distribution::Uniform => Self::Uniform { distinct, random: SplitMix64::new(seed) },
            Distribution::Zipf => Self::Drawn { keys: zipf(distinct, DRAWN, seed), at: 0 },
            Distribution::Sequential => {
                Self::Sequential { distinct, next: thread as u64, step: threads as u64 }
            }
        }
    }

    #[inline]
    fn next(&mut self) -> u64 {
        match self {
            Self::Uniform { distinct, random } => {
                let mut key = [0];
                fill_uniform(&mut key, *distinct, random);
                key[0]
            }
            Self::Drawn { keys, at } => {
                let key = keys[*at];
                *at = (*at + 1) % keys.len();
                key
            }
            Self::Sequential { distinct, next, step } => {
                let key = scramble(*next % *distinct);
                *next += *step;
                key
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use super::*;

    const LOAD: Load = Load {
        protocol: Protocol::Text,
        operation: Operation::Get,
        pipeline: 3,
        value_bytes: 16,
        keys: 10,
        distribution: Distribution::Sequential,
        clients: 2,
        threads: 1,
    };

    /// Serves two connections at a time; `reply` gets the number of a request and its key.
    fn drive_against(
        load: Load,
        limit: Limit,
        reply: impl Fn(usize, &str) -> String + Sync,
    ) -> io::Result<Outcome> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::scope(|scope| {
            for _ in 0..load.clients {
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().unwrap();
                    stream.set_nodelay(true).unwrap();
                    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    for (n, line) in lines.map_while(Result::ok).enumerate() {
                        let key = line.trim_start_matches("get ");
                        if stream.write_all(reply(n, key).as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
            // Dropping the clients closes their connections, which ends the threads.
            Clients::connect(address, &load)?.drive(limit)
        })
    }

    fn value(key: &str) -> String {
        format!("VALUE {key} 0 16\r\n{key}\r\nEND\r\n")
    }

    #[test]
    fn all_requests_are_sent_and_all_replies_counted() {
        for threads in [1, 2] {
            let load = Load { threads, ..LOAD };
            let outcome = drive_against(load, Limit::Requests(1_000), |n, key| match n {
                0 => "END\r\n".to_owned(),
                1 => "SERVER_ERROR out of memory\r\n".to_owned(),
                2 => format!("VALUE {key} 0 16\r\n0123456789abcdef\r\nEND\r\n"),
                _ => value(key),
            });
            let outcome = outcome.unwrap();
            assert_eq!(outcome.requests, 1_000);
            assert_eq!((outcome.misses, outcome.refused, outcome.wrong), (2, 2, 2));
            assert_eq!(outcome.failures(), 6);
            // 500 requests are 167 batches on each thread's connections, or 334 on one's.
            let batches = outcome.latency.len();
            assert!((334..=336).contains(&batches), "{batches}");
            assert!(outcome.rate() > 0.0 && outcome.latency_us(50.0) > 0.0);
        }
    }

    #[test]
    fn a_run_by_time_ends_with_whole_batches() {
        let limit = Limit::Time(Duration::from_millis(1));
        let outcome = drive_against(LOAD, limit, |_, key| value(key)).unwrap();
        assert!(outcome.requests >= 6 && outcome.requests.is_multiple_of(3));
        assert_eq!(outcome.failures(), 0);
        assert_eq!(outcome.latency.len() * 3, outcome.requests);
    }

    #[test]
    fn replies_in_pieces_are_put_together() {
        let load = Load { value_bytes: 4_096, pipeline: 16, ..LOAD };
        let filler: String = ('a'..='z').cycle().take(4_080).collect();
        let outcome = drive_against(load, Limit::Requests(320), |_, key| {
            format!("VALUE {key} 0 4096\r\n{key}{filler}\r\nEND\r\n")
        });
        assert_eq!(outcome.unwrap().failures(), 0);
    }

    #[test]
    fn a_reply_too_many_and_a_reply_that_is_not_one_are_errors() {
        let twice = drive_against(LOAD, Limit::Requests(6), |_, key| value(key).repeat(2));
        assert_eq!(twice.unwrap_err().kind(), ErrorKind::InvalidData);
        let resp = Load { protocol: Protocol::Resp, pipeline: 1, ..LOAD };
        let wrong = drive_against(resp, Limit::Requests(2), |_, _| "what\r\n".to_owned());
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn keys_in_order_are_each_chosen_once_by_all_threads_together() {
        let mut chosen: Vec<u64> = Vec::new();
        for thread in 0..2 {
            let mut choice = KeyChoice::new(&LOAD, thread, 2);
            chosen.extend((0..5).map(|_| choice.next()));
        }
        let mut all: Vec<u64> = (0..10).map(scramble).collect();
        chosen.sort_unstable();
        all.sort_unstable();
        assert_eq!(chosen, all);
    }
}
