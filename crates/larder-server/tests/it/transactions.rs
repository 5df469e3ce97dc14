//! Transactions and watched keys.

use std::thread;

use larder_server::{Bytes, Value};

use crate::client::{TestServer, check};

#[test]
fn commands_are_queued_and_executed_together() {
    check(&[
        ("EXEC", "-ERR EXEC without MULTI"),
        ("DISCARD", "-ERR DISCARD without MULTI"),
        ("MULTI", "+OK"),
        ("MULTI", "-ERR MULTI calls can not be nested"),
        ("SET a 1", "+QUEUED"),
        ("GET a", "+QUEUED"),
        ("SET a 1 FOO", "+QUEUED"),
        ("INCR a", "+QUEUED"),
        ("EXEC", "[+OK \"1\" -ERR syntax error :2]"),
        ("MULTI", "+OK"),
        ("WATCH x", "-ERR WATCH inside MULTI is not allowed"),
        ("PING", "+QUEUED"),
        ("EXEC", "[+PONG]"),
        ("MULTI", "+OK"),
        ("EXEC", "[]"),
        ("MULTI", "+OK"),
        ("SET a 3", "+QUEUED"),
        ("DISCARD", "+OK"),
        ("GET a", "\"2\""),
        ("MULTI", "+OK"),
        ("SET a 3", "+QUEUED"),
        ("RESET", "+RESET"),
        ("EXEC", "-ERR EXEC without MULTI"),
        ("MULTI", "+OK"),
        ("SELECT 99", "+QUEUED"),
        ("ECHO x", "+QUEUED"),
        ("EXEC", "[-ERR DB index is out of range \"x\"]"),
        ("GET a", "\"2\""),
    ]);
}

#[test]
fn a_command_that_cannot_be_queued_makes_the_transaction_fail() {
    let failed = "-EXECABORT Transaction discarded because of previous errors.";
    let arity = "-ERR wrong number of arguments for 'set' command";
    check(&[
        ("MULTI", "+OK"),
        ("SET a", arity),
        ("SET a 2", "+QUEUED"),
        ("EXEC", failed),
        ("GET a", "nil"),
        ("MULTI", "+OK"),
        ("FOO b", "-ERR unknown command 'FOO', with args beginning with: 'b' "),
        ("EXEC", failed),
        ("MULTI", "+OK"),
        ("SET a 3", "+QUEUED"),
        ("CONFIG SET maxmemory", "-ERR wrong number of arguments for 'config|set' command"),
        ("EXEC", failed),
        ("MULTI", "+OK"),
        ("SET a 3", "+QUEUED"),
        ("client nosuch", "-ERR unknown subcommand 'nosuch'. Try CLIENT HELP."),
        ("EXEC", failed),
        ("GET a", "nil"),
        ("MULTI", "+OK"),
        (
            "EXEC x",
            "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command",
        ),
        ("EXEC", "-ERR EXEC without MULTI"),
        ("MULTI", "+OK"),
        ("DISCARD x", "-ERR wrong number of arguments for 'discard' command"),
        ("DISCARD", "+OK"),
        ("MULTI", "+OK"),
        ("SET a", arity),
        ("DISCARD", "+OK"),
        ("MULTI", "+OK"),
        ("SET a 5", "+QUEUED"),
        ("EXEC", "[+OK]"),
    ]);
}

#[test]
fn a_transaction_fails_once_a_watched_key_has_changed() {
    check(&[
        ("WATCH k", "+OK"),
        ("MULTI", "+OK"),
        ("PING", "+QUEUED"),
        ("EXEC", "[+PONG]"),
        ("WATCH k", "+OK"),
        ("SET k 1", "+OK"),
        ("MULTI", "+OK"),
        ("SET x 1", "+QUEUED"),
        ("EXEC", "nil"),
        ("GET x", "nil"),
        // The watch has ended with that.
        ("MULTI", "+OK"),
        ("EXEC", "[]"),
        ("WATCH k other", "+OK"),
        ("SET k 1", "+OK"),
        ("UNWATCH", "+OK"),
        ("MULTI", "+OK"),
        ("EXEC", "[]"),
        ("WATCH k", "+OK"),
        ("SET k 1", "+OK"),
        ("MULTI", "+OK"),
        ("DISCARD", "+OK"),
        ("MULTI", "+OK"),
        ("EXEC", "[]"),
        // The same key of another database is another key.
        ("WATCH k", "+OK"),
        ("SELECT 9", "+OK"),
        ("SET k 2", "+OK"),
        ("MULTI", "+OK"),
        ("EXEC", "[]"),
        // It is as it was, and has changed all the same.
        ("WATCH gone", "+OK"),
        ("SET gone 1", "+OK"),
        ("GETDEL gone", "\"1\""),
        ("MULTI", "+OK"),
        ("EXEC", "nil"),
        ("GETDEL k", "\"2\""),
        ("SELECT 0", "+OK"),
        ("WATCH", "-ERR wrong number of arguments for 'watch' command"),
        // Both failures at once: that of the queue wins.
        ("WATCH k", "+OK"),
        ("MULTI", "+OK"),
        ("FOO", "-ERR unknown command 'FOO', with args beginning with: "),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
    ]);
}

#[test]
fn emptying_swapping_and_new_deadlines_are_changes() {
    check(&[
        ("SET k 1", "+OK"),
        ("WATCH k", "+OK"),
        ("EXPIRE k 100", ":1"),
        ("MULTI", "+OK"),
        ("EXEC", "nil"),
        ("WATCH k", "+OK"),
        ("PERSIST k", ":1"),
        ("MULTI", "+OK"),
        ("EXEC", "nil"),
        ("WATCH k", "+OK"),
        ("FLUSHALL", "+OK"),
        ("MULTI", "+OK"),
        ("EXEC", "nil"),
        // It is as missing as before.
        ("WATCH k", "+OK"),
        ("FLUSHDB", "+OK"),
        ("MULTI", "+OK"),
        ("EXEC", "[]"),
        ("WATCH k", "+OK"),
        ("DEL k", ":0"),
        ("MULTI", "+OK"),
        ("EXEC", "[]"),
        ("SET k 1", "+OK"),
        ("WATCH k", "+OK"),
        ("SWAPDB 0 1", "+OK"),
        ("MULTI", "+OK"),
        ("EXEC", "nil"),
        ("WATCH k", "+OK"),
        ("SWAPDB 0 1", "+OK"),
        ("MULTI", "+OK"),
        ("EXEC", "nil"),
        ("WATCH k", "+OK"),
        ("RENAME k other", "+OK"),
        ("MULTI", "+OK"),
        ("EXEC", "nil"),
        ("WATCH k", "+OK"),
        ("COPY other k", ":1"),
        ("MULTI", "+OK"),
        ("EXEC", "nil"),
        ("FLUSHALL", "+OK"),
    ]);
}

#[test]
fn changes_by_the_program_and_by_time_are_seen_too() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut exec_after = |change: &dyn Fn()| {
        assert_eq!(client.run("WATCH k"), "+OK");
        change();
        assert_eq!(client.run("MULTI"), "+OK");
        client.run("EXEC")
    };
    let key = || Bytes::from("k");
    let insert = || {
        let _ = server.cache.insert(key(), Value::from("1"));
    };
    let remove = || drop(server.cache.remove(&key()));
    assert_eq!(exec_after(&|| ()), "[]");
    assert_eq!(exec_after(&insert), "nil");
    assert_eq!(exec_after(&insert), "nil");
    assert_eq!(exec_after(&remove), "nil");
    // As absent as before.
    assert_eq!(exec_after(&remove), "[]");
    let expired = || {
        server.cache.expire_after(&key(), Some(std::time::Duration::ZERO));
        assert_eq!(server.cache.get(&key()), None);
    };
    // With a deadline, which can be moved.
    let hour = std::time::Duration::from_secs(3600);
    let insert_dated = || {
        let _ = server.cache.insert_with_ttl(key(), Value::from("1"), hour);
    };
    insert_dated();
    assert_eq!(exec_after(&expired), "nil");
    // It had expired before it was watched, and its remains may go.
    let swept = || server.cache.flush().unwrap();
    insert_dated();
    expired();
    assert_eq!(exec_after(&swept), "[]");
}

#[test]
fn nobody_sees_half_of_a_transaction() {
    let server = TestServer::start();
    let rounds = 300;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = server.client();
                for _ in 0..rounds {
                    client.send_raw(b"MULTI\r\nINCR x\r\nINCR y\r\nEXEC\r\n");
                    (0..4).for_each(|_| drop(client.reply()));
                }
            });
        }
        scope.spawn(|| {
            let mut client = server.client();
            for _ in 0..rounds {
                client.send_raw(b"MULTI\r\nGET x\r\nGET y\r\nEXEC\r\n");
                (0..3).for_each(|_| drop(client.reply()));
                let seen = client.reply();
                assert_eq!(seen.members()[0], seen.members()[1]);
            }
        });
    });
    assert_eq!(server.client().run("GET y"), format!("\"{}\"", rounds * 2));
}

#[test]
fn optimistic_increments_are_all_counted() {
    let server = TestServer::start();
    server.client().run("SET n 0");
    let (threads, rounds) = (4, 50);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut client = server.client();
                let mut done = 0;
                while done < rounds {
                    assert_eq!(client.run("WATCH n"), "+OK");
                    let seen = client.call(&["GET", "n"]);
                    let seen: u64 = String::from_utf8_lossy(seen.bytes()).parse().unwrap();
                    assert_eq!(client.run("MULTI"), "+OK");
                    assert_eq!(client.run(&format!("SET n {}", seen + 1)), "+QUEUED");
                    done += u64::from(client.run("EXEC") == "[+OK]");
                }
            });
        }
    });
    assert_eq!(server.client().run("GET n"), format!("\"{}\"", threads * rounds));
}

#[test]
fn the_queue_of_a_transaction_is_bounded() {
    let server = TestServer::start_with(
        |builder| builder,
        |config| config.request_limits.request_bytes = 8192,
    );
    let mut client = server.client();
    assert_eq!(client.run("MULTI"), "+OK");
    let value = "x".repeat(1000);
    let mut queued = 0;
    loop {
        match client.call(&["SET", "a", &value]).to_string().as_str() {
            "+QUEUED" => queued += 1,
            error => {
                assert!(error.starts_with("-ERR the queued commands take too much"), "{error}");
                break;
            }
        }
        assert!(queued < 9);
    }
    // What comes after it takes no memory any more.
    assert_eq!(client.run("SET a 1"), "+QUEUED");
    assert_eq!(client.run("EXEC"), "-EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(client.run("GET a"), "nil");
}
