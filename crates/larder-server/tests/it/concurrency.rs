//! Commands of many clients on the same keys.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::client::{Client, TestServer};

const CLIENTS: usize = 8;
const ROUNDS: usize = 200;

/// Runs `f` with a client and its number, in as many threads as there are clients, which begin together.
fn at_once<R: Send>(server: &TestServer, f: impl Fn(&mut Client, usize) -> R + Sync) -> Vec<R> {
    let start = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (start, f) = (&start, &f);
                scope.spawn(move || {
                    let mut client = server.client();
                    start.wait();
                    f(&mut client, number)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn server() -> TestServer {
    TestServer::start_with(|builder| builder, |config| config.threads = 4)
}

#[test]
fn no_increment_is_lost() {
    let server = server();
    let mut seen: Vec<i64> = at_once(&server, |client, _| {
        let mut seen = Vec::new();
        for _ in 0..ROUNDS {
            seen.push(client.call(&["INCR", "n"]).integer());
            client.run("INCRBYFLOAT f 0.5");
            client.run("HINCRBY h n 1");
            client.run("HINCRBYFLOAT h f 0.5");
        }
        seen
    })
    .concat();
    seen.sort_unstable();
    let all = CLIENTS * ROUNDS;
    assert_eq!(seen, (1..=all as i64).collect::<Vec<_>>(), "each client sees its own number");
    let mut client = server.client();
    assert_eq!(client.run("GET f"), format!("\"{}\"", all / 2));
    assert_eq!(client.run("HMGET h n f"), format!("[\"{all}\" \"{}\"]", all / 2));
}

#[test]
fn no_appended_part_is_lost() {
    let server = server();
    at_once(&server, |client, number| {
        for round in 0..ROUNDS {
            client.run(&format!("APPEND log {number}"));
            client.run(&format!("SETRANGE parts {} x", number * ROUNDS + round));
            client.run(&format!("SETBIT bits {} 1", number * ROUNDS + round));
            client.run(&format!("HSET hash {number}:{round} x"));
        }
    });
    let mut client = server.client();
    let log = client.call(&["GET", "log"]);
    for number in 0..CLIENTS {
        let digit = b'0' + u8::try_from(number).unwrap();
        assert_eq!(log.bytes().iter().filter(|byte| **byte == digit).count(), ROUNDS);
    }
    assert_eq!(client.call(&["GET", "parts"]).bytes(), vec![b'x'; CLIENTS * ROUNDS]);
    assert_eq!(client.run("BITCOUNT bits"), format!(":{}", CLIENTS * ROUNDS));
    assert_eq!(client.run("HLEN hash"), format!(":{}", CLIENTS * ROUNDS));
}

#[test]
fn exactly_one_client_wins() {
    let server = server();
    for round in 0..ROUNDS {
        let won = at_once(&server, |client, number| {
            let setnx = client.run(&format!("SETNX a{round} {number}")) == ":1";
            let lock = client.run(&format!("SET b{round} {number} NX PX 100000")) == "+OK";
            let both = client.run(&format!("MSETNX c{round} {number} d{round} {number}")) == ":1";
            let field = client.run(&format!("HSETNX h{round} f {number}")) == ":1";
            let first = client.run(&format!("SET e{round} {number} NX GET")) == "nil";
            [setnx, lock, both, field, first]
        });
        for command in 0..5 {
            let winners = won.iter().filter(|won| won[command]).count();
            assert_eq!(winners, 1, "command {command} of round {round}");
        }
    }
    let mut client = server.client();
    at_once(&server, |client, _| client.run("SET prize x"));
    let taken = at_once(&server, |client, _| client.run("GETDEL prize") == "\"x\"");
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    assert_eq!(client.run("GET prize"), "nil");
}

#[test]
fn keys_of_one_mset_change_together() {
    let server = server();
    at_once(&server, |client, number| {
        for round in 0..ROUNDS {
            if number % 2 == 0 {
                client.run(&format!("MSET x {number}:{round} y {number}:{round}"));
            } else {
                let seen = client.call(&["MGET", "x", "y"]);
                assert_eq!(seen.members()[0], seen.members()[1]);
            }
        }
    });
}

#[test]
fn every_old_value_is_returned_once() {
    let server = server();
    let mut seen = at_once(&server, |client, number| {
        (0..ROUNDS)
            .map(|round| client.run(&format!("GETSET a {number}:{round}")))
            .collect::<Vec<_>>()
    })
    .concat();
    seen.push(server.client().run("GET a"));
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), CLIENTS * ROUNDS + 1, "all values, and nil");
}

#[test]
fn a_new_lifetime_is_seen_at_once_beside_changes_that_keep_it() {
    const LIFETIMES: usize = 4_000;
    let server = server();
    let is_done = AtomicBool::new(false);
    at_once(&server, |client, number| {
        if number > 0 {
            while !is_done.load(Ordering::Relaxed) {
                client.send_raw(&b"INCR n\r\nAPPEND n 1\r\n".repeat(20));
                (0..40).for_each(|_| drop(client.reply()));
            }
            return;
        }
        for _ in 0..LIFETIMES {
            client.send_raw(b"SET n 0 EX 50\r\nEXPIRE n 100000\r\nTTL n\r\n");
            let replies: Vec<_> = (0..3).map(|_| client.reply()).collect();
            is_done.store(replies[2].integer() <= 50, Ordering::Relaxed);
            assert!(replies[2].integer() > 50, "the lifetime before is seen");
        }
        is_done.store(true, Ordering::Relaxed);
    });
}
