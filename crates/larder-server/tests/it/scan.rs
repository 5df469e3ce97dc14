//! Commands that visit many keys.

use std::collections::BTreeSet;

use larder_server::{Bytes, SmallHash, Value};

use crate::client::{Client, RespValue, TestServer, check};

/// All keys that a complete iteration returns, each as often as it was returned.
fn scanned(client: &mut Client, options: &[&str]) -> Vec<String> {
    let (mut cursor, mut keys) = ("0".to_owned(), Vec::new());
    loop {
        let reply = client.call(&[&["SCAN", &cursor], options].concat());
        let [next, found] = reply.members() else { panic!("not two members: {reply}") };
        keys.extend(found.members().iter().map(text));
        cursor = text(next);
        if cursor == "0" {
            return keys;
        }
    }
}

fn text(value: &RespValue) -> String {
    String::from_utf8(value.bytes().to_vec()).unwrap()
}

fn filled(keys: usize) -> TestServer {
    let server = TestServer::start();
    for key in 0..keys {
        server.cache.insert(Bytes::from(format!("key:{key}").as_str()), Value::from("x"));
    }
    server
}

#[test]
fn a_complete_scan_returns_every_key_once() {
    let server = filled(1000);
    let mut client = server.client();
    for options in [&[][..], &["COUNT", "5"], &["COUNT", "700"], &["COUNT", "9223372036854775807"]]
    {
        let keys = scanned(&mut client, options);
        assert_eq!(keys.len(), 1000, "{options:?}");
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 1000);
    }
    let matching = scanned(&mut client, &["MATCH", "key:*5", "COUNT", "100"]);
    assert_eq!(matching.len(), 100);
    assert!(matching.iter().all(|key| key.ends_with('5')));
    assert_eq!(scanned(&mut client, &["MATCH", "*", "TYPE", "STRING"]).len(), 1000);
    assert_eq!(scanned(&mut client, &["TYPE", "hash"]), [""; 0]);
    let count = client.call(&["SCAN", "0", "COUNT", "10"]);
    assert!((10..50).contains(&count.members()[1].members().len()));
}

#[test]
fn a_scan_returns_what_stays_while_other_keys_come_and_go() {
    let server = filled(500);
    let (mut client, mut writer) = (server.client(), server.client());
    let (mut cursor, mut keys, mut round) = ("0".to_owned(), BTreeSet::new(), 0);
    loop {
        let reply = client.call(&["SCAN", &cursor]);
        keys.extend(reply.members()[1].members().iter().map(text));
        cursor = text(&reply.members()[0]);
        writer.call(&["SET", &format!("other:{round}"), "x"]);
        writer.call(&["DEL", &format!("other:{}", round / 2)]);
        round += 1;
        if cursor == "0" {
            break;
        }
    }
    assert!((0..500).all(|key| keys.contains(&format!("key:{key}"))));
}

#[test]
fn each_database_is_visited_by_itself() {
    let server = TestServer::start();
    let mut client = server.client();
    for (database, key) in [("0", "a"), ("1", "b"), ("2", "c"), ("2", "\\xff\\x01d")] {
        client.call(&["SELECT", database]);
        assert_eq!(client.run(&format!("SET \"{key}\" 1")), "+OK");
    }
    assert_eq!(client.run("DBSIZE"), ":2");
    client.run("SELECT 1");
    assert_eq!(client.run("KEYS *"), "[\"b\"]");
    assert_eq!(scanned(&mut client, &[]), ["b"]);
    client.run("SELECT 0");
    assert_eq!(client.run("KEYS *"), "[\"a\"]");
    client.run("FLUSHDB");
    client.run("SELECT 2");
    assert_eq!(client.run("DBSIZE"), ":2");
}

#[test]
fn keys_match_patterns() {
    check(&[
        ("KEYS *", "[]"),
        ("SET hello 1", "+OK"),
        ("SET a]b 1", "+OK"),
        ("KEYS h?llo", "[\"hello\"]"),
        ("KEYS h[a-f]llo", "[\"hello\"]"),
        ("KEYS h[^e]llo", "[]"),
        ("KEYS *]*", "[\"a]b\"]"),
        ("KEYS HELLO", "[]"),
        ("KEYS", "-ERR wrong number of arguments for 'keys' command"),
        ("DEL a]b", ":1"),
        ("KEYS *", "[\"hello\"]"),
    ]);
}

#[test]
fn the_arguments_of_a_scan_are_checked() {
    check(&[
        ("SCAN 0", "[\"0\" []]"),
        ("SCAN x", "-ERR invalid cursor"),
        ("SCAN 0x1", "-ERR invalid cursor"),
        ("SCAN 18446744073709551616", "-ERR invalid cursor"),
        ("SCAN 0 COUNT 0", "-ERR syntax error"),
        ("SCAN 0 COUNT x", "-ERR value is not an integer or out of range"),
        ("SCAN 0 MATCH", "-ERR syntax error"),
        ("SCAN 0 foo bar", "-ERR syntax error"),
        ("SCAN 18446744073709551615", "[\"0\" []]"),
        ("HSCAN none 0", "[\"0\" []]"),
        ("HSCAN none x", "-ERR invalid cursor"),
        ("HSCAN none 0 TYPE string", "[\"0\" []]"),
        ("SET a 1", "+OK"),
        ("HSCAN a 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

#[test]
fn a_small_hash_is_scanned_in_one_step() {
    let server = TestServer::start();
    let mut hash = SmallHash::new();
    for field in ["a", "b", "c"] {
        hash.set(field.as_bytes(), b"1").unwrap();
    }
    server.cache.insert(Bytes::from("h"), Value::from_hash(hash));
    let mut client = server.client();
    for (command, reply) in [
        ("HSCAN h 0", r#"["0" ["a" "1" "b" "1" "c" "1"]]"#),
        ("HSCAN h 0 COUNT 1 MATCH [bc]", r#"["0" ["b" "1" "c" "1"]]"#),
        ("HSCAN h 0 TYPE hash", "-ERR syntax error"),
        ("HSCAN h 0 COUNT 0", "-ERR syntax error"),
        ("HSCAN h 0 NOVALUES", r#"["0" ["a" "b" "c"]]"#),
        ("TYPE h", "+hash"),
        ("SCAN 0 TYPE hash", r#"["0" ["h"]]"#),
        ("OBJECT ENCODING h", "\"listpack\""),
    ] {
        assert_eq!(client.run(command), reply, "{command}");
    }
}
