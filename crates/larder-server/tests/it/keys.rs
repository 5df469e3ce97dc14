//! Commands about keys of any type, and about databases.

use std::collections::BTreeMap;
use std::time::Duration;

use larder::InsertOptions;
use larder_server::{Bytes, Value};

use crate::client::{Client, RespValue, TestServer, check};

#[test]
fn keys_are_removed_and_counted() {
    check(&[
        ("SET a 1", "+OK"),
        ("SET b 2", "+OK"),
        ("EXISTS a b c a", ":3"),
        ("TOUCH a b c a", ":3"),
        ("DEL a c a", ":1"),
        ("UNLINK b b", ":1"),
        ("EXISTS a b", ":0"),
        ("DEL", "-ERR wrong number of arguments for 'del' command"),
        ("TYPE a", "+none"),
        ("SET a 1", "+OK"),
        ("TYPE a", "+string"),
        ("DBSIZE", ":1"),
        ("RANDOMKEY", "\"a\""),
        ("FLUSHDB SYNC ASYNC", "-ERR syntax error"),
        ("FLUSHDB foo", "-ERR syntax error"),
        ("FLUSHDB async", "+OK"),
        ("DBSIZE", ":0"),
        ("RANDOMKEY", "nil"),
        ("FLUSHALL SYNC", "+OK"),
    ]);
}

#[test]
fn a_key_is_renamed_with_its_lifetime() {
    check(&[
        ("RENAME a b", "-ERR no such key"),
        ("RENAME a a", "-ERR no such key"),
        ("RENAMENX a b", "-ERR no such key"),
        ("SET a 1", "+OK"),
        ("EXPIRE a 100", ":1"),
        ("SET b 2", "+OK"),
        ("RENAMENX a b", ":0"),
        ("RENAMENX a a", ":0"),
        ("RENAME a a", "+OK"),
        ("RENAME a b", "+OK"),
        ("GET a", "nil"),
        ("GET b", "\"1\""),
        ("TTL b", ":100"),
        ("SET b 3", "+OK"),
        ("RENAMENX b c", ":1"),
        ("TTL c", ":-1"),
        ("GET c", "\"3\""),
        ("EXISTS a b c", ":1"),
    ]);
}

#[test]
fn a_key_is_copied_within_a_database_and_to_another() {
    check(&[
        ("COPY a b", ":0"),
        ("SET a 1", "+OK"),
        ("EXPIRE a 100", ":1"),
        ("COPY a a", "-ERR source and destination objects are the same"),
        ("COPY a a DB 0", "-ERR source and destination objects are the same"),
        ("COPY a b", ":1"),
        ("COPY a b", ":0"),
        ("SET a 2", "+OK"),
        ("COPY a b", ":0"),
        ("TTL b", ":100"),
        ("COPY a b replace", ":1"),
        ("GET b", "\"2\""),
        ("TTL b", ":-1"),
        ("COPY a b DB 77", "-ERR DB index is out of range"),
        ("COPY a b DB -1", "-ERR DB index is out of range"),
        ("COPY a b DB x", "-ERR value is not an integer or out of range"),
        ("COPY a b DB", "-ERR syntax error"),
        ("COPY a b foo", "-ERR syntax error"),
        ("COPY a a DB 9", ":1"),
        ("COPY a a DB 9", ":0"),
        ("COPY b a DB 9 REPLACE", ":1"),
        ("SELECT 9", "+OK"),
        ("GET a", "\"2\""),
        ("DBSIZE", ":1"),
        ("FLUSHDB", "+OK"),
        ("SELECT 0", "+OK"),
        ("DBSIZE", ":2"),
    ]);
}

#[test]
fn a_key_is_moved_and_databases_are_swapped() {
    check(&[
        ("SET a 1", "+OK"),
        ("SET b 2", "+OK"),
        ("MOVE a 0", "-ERR source and destination objects are the same"),
        ("MOVE a x", "-ERR value is not an integer or out of range"),
        ("MOVE a 77", "-ERR DB index is out of range"),
        ("EXPIRE a 100", ":1"),
        ("MOVE a 9", ":1"),
        ("MOVE a 9", ":0"),
        ("SET a 3", "+OK"),
        ("MOVE a 9", ":0"),
        ("SELECT 9", "+OK"),
        ("GET a", "\"1\""),
        ("TTL a", ":100"),
        ("SWAPDB 0 9", "+OK"),
        ("GET a", "\"3\""),
        ("GET b", "\"2\""),
        ("DBSIZE", ":2"),
        ("SELECT 0", "+OK"),
        ("GET a", "\"1\""),
        ("RANDOMKEY", "\"a\""),
        ("SWAPDB 0 0", "+OK"),
        ("SWAPDB x 1", "-ERR invalid first DB index"),
        ("SWAPDB 1 x", "-ERR invalid second DB index"),
        ("SWAPDB 1 99", "-ERR DB index is out of range"),
        ("FLUSHDB", "+OK"),
        ("SELECT 9", "+OK"),
        ("DBSIZE", ":2"),
        ("FLUSHALL", "+OK"),
        ("DBSIZE", ":0"),
    ]);
}

#[test]
fn what_redis_would_store_is_told_of_a_value() {
    check(&[
        ("SET int 12345", "+OK"),
        ("SET short abc", "+OK"),
        ("SET 01 01", "+OK"),
        ("SET long 123456789012345678901234567890123456789012345", "+OK"),
        ("OBJECT ENCODING int", "\"int\""),
        ("OBJECT encoding short", "\"embstr\""),
        ("OBJECT ENCODING 01", "\"embstr\""),
        ("OBJECT ENCODING long", "\"raw\""),
        ("OBJECT REFCOUNT short", ":1"),
        ("OBJECT IDLETIME short", ":0"),
        ("OBJECT ENCODING none", "nil"),
        ("OBJECT FREQ none", "nil"),
        ("OBJECT IDLETIME none", "nil"),
        ("OBJECT REFCOUNT none", "nil"),
        ("OBJECT foo", "-ERR unknown subcommand 'foo'. Try OBJECT HELP."),
        ("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command"),
        ("MEMORY USAGE none", "nil"),
        ("MEMORY USAGE none SAMPLES x", "-ERR value is not an integer or out of range"),
        ("MEMORY USAGE none foo", "-ERR syntax error"),
        ("MEMORY USAGE", "-ERR wrong number of arguments for 'memory|usage' command"),
        ("MEMORY foo", "-ERR unknown subcommand 'foo'. Try MEMORY HELP."),
    ]);
}

#[test]
fn the_use_and_the_memory_of_a_key_are_told() {
    let server = TestServer::start();
    let mut client = server.client();
    client.run("SET small 1");
    client.call(&[b"SET".as_slice(), b"large", &[b'x'; 5000]]);
    let small = client.call(&["MEMORY", "USAGE", "small"]).integer();
    let large = client.call(&["MEMORY", "USAGE", "large", "SAMPLES", "5"]).integer();
    assert!(small < 200 && large - small >= 4999, "{small} and {large}");
    let help = client.call(&["OBJECT", "HELP"]);
    assert!(help.members()[0].to_string().starts_with("+OBJECT <subcommand>"));
    server.cache.run_pending();
    assert!(client.call(&["OBJECT", "FREQ", "small"]).integer() >= 0);
    let stats = client.call(&["MEMORY", "STATS"]);
    assert_eq!(stats.field("keys.count"), Some(&RespValue::Integer(2)));
    assert!(stats.field("dataset.bytes").unwrap().integer() > 5000);
    assert!(String::from_utf8_lossy(client.call(&["MEMORY", "DOCTOR"]).bytes()).contains("bytes"));
    assert_eq!(client.run("MEMORY PURGE"), "+OK");
}

#[test]
fn a_renamed_moved_or_copied_key_keeps_tags_and_stays_unevictable() {
    let server = TestServer::start();
    let mut client = server.client();
    let hour = InsertOptions::new().ttl(Duration::from_secs(3600)).tags(&["x", "y"]);
    server.cache.insert_with(Bytes::from("a"), Value::from("1"), hour.unevictable());
    assert_eq!(client.run("RENAME a b"), "+OK");
    assert_eq!(client.run("COPY b c"), ":1");
    assert_eq!(client.run("MOVE b 1"), ":1");
    for key in [b"c".as_slice(), b"\xff\x01b"] {
        assert_eq!(server.cache.tags_of(key).unwrap(), ["x", "y"]);
        assert_eq!(server.cache.is_unevictable(key), Some(true));
        let left = server.cache.inspect(key).unwrap().expires_in.unwrap();
        assert!(left > Duration::from_secs(3500) && left <= Duration::from_secs(3600));
    }
    assert!(server.cache.invalidate_tag("x"));
    assert_eq!(client.run("EXISTS c"), ":0");
}

#[test]
fn keys_are_chosen_at_random() {
    let server = TestServer::start();
    let mut client = server.client();
    // Of few keys all are equally likely; among more, the order of the hashes makes some difference.
    for (database, keys) in [("0", 20), ("3", 10)] {
        client.call(&["SELECT", database]);
        for key in 0..keys {
            client.call(&["SET", &format!("{database}:{key}"), "1"]);
        }
    }
    for (database, keys, at_least) in [("0", 20, 1), ("3", 10, 120)] {
        client.call(&["SELECT", database]);
        let mut seen = BTreeMap::new();
        // A key of ten is chosen 200 times in the mean, and fewer than 120 times with a probability below 10^-8. With
        // twenty, each is expected dozens of times.
        for _ in 0..2000 {
            let key = client.call(&["RANDOMKEY"]).bytes().to_vec();
            assert!(key.starts_with(database.as_bytes()));
            *seen.entry(key).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), keys);
        assert!(seen.values().all(|&times| times >= at_least), "{seen:?}");
    }
}

#[test]
fn no_client_sees_a_key_missing_while_it_is_renamed() {
    let server = TestServer::start();
    server.client().run("SET a 1");
    let rename = |mut client: Client| {
        for _ in 0..300 {
            client.run("RENAME a b");
            client.run("RENAME b a");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| rename(server.client()));
        let mut client = server.client();
        for _ in 0..1000 {
            assert_eq!(client.run("EXISTS a b"), ":1");
        }
    });
}

/// The keyspace events of some commands, each as `event key`.
fn events_of(commands: &[&str]) -> Vec<String> {
    let server = TestServer::start();
    let (mut client, mut subscriber) = (server.client(), server.client());
    assert_eq!(client.run("CONFIG SET notify-keyspace-events EA"), "+OK");
    subscriber.run("HELLO 3");
    subscriber.send(&["PSUBSCRIBE", "__keyevent@*"]);
    subscriber.push();
    for command in commands {
        client.run(command);
    }
    client.run("SET end 1");
    let mut events = Vec::new();
    loop {
        let push = subscriber.push();
        let [.., channel, key] = push.members() else { panic!("{push}") };
        let text = |value: &RespValue| String::from_utf8(value.bytes().to_vec()).unwrap();
        let (channel, key) = (text(channel), text(key));
        if key == "end" {
            return events;
        }
        events.push(format!("{} {key}", channel.strip_prefix("__keyevent@").unwrap()));
    }
}

#[test]
fn each_key_that_changes_is_an_event() {
    assert_eq!(
        events_of(&[
            "SET a 1",
            "SET b 1",
            "RENAME a c",
            "RENAME c b",
            "COPY b c",
            "COPY b c REPLACE",
            "COPY b c",
            "MOVE b 3",
            "DEL b c none",
            "SET a 1",
            "SET b 1",
            "UNLINK a b",
        ]),
        [
            "0__:set a",
            "0__:set b",
            "0__:rename_from a",
            "0__:rename_to c",
            "0__:rename_from c",
            "0__:rename_to b",
            "0__:copy_to c",
            "0__:copy_to c",
            "0__:move_from b",
            "3__:move_to b",
            "0__:del c",
            "0__:set a",
            "0__:set b",
            "0__:del a",
            "0__:del b",
        ]
    );
    assert_eq!(
        events_of(&[
            "SET a 1",
            "EXPIRE a 100",
            "PEXPIRE a 100000",
            "EXPIRE a 1 NX",
            "PERSIST a",
            "PERSIST a",
            "PEXPIREAT a 33177117420000",
            "LARDER.TAG a x",
            "EXPIRE a -1",
            "EXPIRE a 100",
        ]),
        ["0__:set a", "0__:expire a", "0__:expire a", "0__:persist a", "0__:expire a", "0__:del a",]
    );
}
