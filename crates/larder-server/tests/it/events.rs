//! The events of keys that commands of strings and hashes cause: those of redis-server 7.0.15.

use crate::client::{Client, RespValue, TestServer};

/// The names of the events that have come up to the message `end`.
fn events(subscriber: &mut Client) -> String {
    let mut names = Vec::new();
    loop {
        let message = subscriber.receive();
        let channel = String::from_utf8_lossy(message.members()[2].bytes()).into_owned();
        let name = channel.split_once(':').unwrap().1;
        if name == "end" {
            return names.join(" ");
        }
        names.push(name.to_owned());
    }
}

#[test]
fn commands_cause_the_events_of_redis() {
    let server = TestServer::start();
    let (mut client, mut subscriber) = (server.client(), server.client());
    assert_eq!(client.run("CONFIG SET notify-keyspace-events KEA"), "+OK");
    let subscribed = subscriber.run("PSUBSCRIBE __keyevent@0__:*");
    assert!(subscribed.starts_with("[\"psubscribe\""), "{subscribed}");
    for (command, expected) in [
        ("SET a 1", "set"),
        ("SET a 1 EX 100", "set expire"),
        ("SET a 1 PX 1000000 NX", ""),
        ("SET a 2 KEEPTTL", "set"),
        ("SET a 2 GET", "set"),
        ("SET a 2 EX 100 GET", "set expire"),
        ("SET a 1 XX", "set"),
        ("SETNX a 1", ""),
        ("SETNX b 1", "set"),
        ("SETEX a 100 1", "set expire"),
        ("PSETEX a 100000 1", "set expire"),
        ("GETSET a 1", "set"),
        ("GETEX a", ""),
        ("GETEX a EX 100", "expire"),
        ("GETEX a PERSIST", "persist"),
        ("GETEX a PERSIST", ""),
        ("GETEX a EXAT 1", "del"),
        ("GETDEL b", "del"),
        ("GETDEL b", ""),
        ("APPEND c x", "append"),
        ("SETRANGE c 0 yy", "setrange"),
        ("MSET d 1 e 2", "set set"),
        ("MSETNX d 1 f 2", ""),
        ("MSETNX g 1 f 2", "set set"),
        ("INCR n", "incrby"),
        ("DECRBY n 3", "incrby"),
        ("INCRBYFLOAT n 1.5", "incrbyfloat"),
        ("SETBIT m 3 1", "setbit"),
        ("SETBIT m 3 1", ""),
        ("HSET h a 1 b 2", "hset"),
        ("HSET h a 1", "hset"),
        ("HSETNX h a 1", ""),
        ("HSETNX h c 1", "hset"),
        ("HINCRBY h n 1", "hincrby"),
        ("HINCRBYFLOAT h n 1.5", "hincrbyfloat"),
        ("HDEL h x", ""),
        ("HDEL h a x", "hdel"),
        ("HDEL h b c n", "hdel del"),
        ("HMSET h2 a 1", "hset"),
        ("SET h2 x", "set"),
    ] {
        client.run(command);
        assert_eq!(client.run("PUBLISH __keyevent@0__:end x"), ":1");
        assert_eq!(events(&mut subscriber), expected, "{command}");
    }
}

#[test]
fn lookups_count_as_hits_and_misses_as_with_redis() {
    let server = TestServer::start();
    let mut client = server.client();
    client.run("SET a 1");
    client.run("HSET h f v");
    for (command, hits, misses) in [
        ("GET a", 1, 0),
        ("GET b", 0, 1),
        ("MGET a b a", 2, 1),
        ("STRLEN a", 1, 0),
        ("GETRANGE b 0 1", 0, 1),
        ("GETBIT a 0", 1, 0),
        ("BITCOUNT a", 1, 0),
        ("LCS a b", 1, 1),
        ("GETEX a", 1, 0),
        ("GETEX a EX 100", 1, 0),
        ("GETSET a 1", 1, 0),
        ("SET a 1 GET", 1, 0),
        ("GETDEL b", 0, 1),
        ("HGET h f", 1, 0),
        ("HGET h x", 1, 0),
        ("HMGET b x", 0, 1),
        ("HGETALL h", 1, 0),
        ("HLEN b", 0, 1),
        // A write is not a lookup.
        ("SET a 1", 0, 0),
        ("SET b 1 XX", 0, 0),
        ("SETNX a 1", 0, 0),
        ("INCR a", 0, 0),
        ("APPEND a 1", 0, 0),
        ("SETRANGE a 0 1", 0, 0),
        ("HSET h f v", 0, 0),
        ("HDEL h x", 0, 0),
    ] {
        assert_eq!(client.run("CONFIG RESETSTAT"), "+OK");
        client.run(command);
        let info = client.call(&["INFO", "stats"]);
        let text = match &info {
            RespValue::Verbatim(text) => text.clone(),
            bulk => String::from_utf8_lossy(bulk.bytes()).into_owned(),
        };
        for (name, expected) in [("keyspace_hits", hits), ("keyspace_misses", misses)] {
            let line = format!("{name}:{expected}");
            assert!(text.lines().any(|found| found == line), "{line} after {command}: {text}");
        }
    }
}
