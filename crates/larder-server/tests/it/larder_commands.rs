//! The commands that Redis does not have.

use larder::{Maintenance, Policy, ShadowConfig};

use crate::client::{RespValue, TestServer};

#[test]
fn tags_are_given_and_invalidated() {
    let server = TestServer::start();
    let mut client = server.client();
    for (command, reply) in [
        ("LARDER.TAG a x", ":0"),
        ("LARDER.TAGS a", "nil"),
        ("SET a 1", "+OK"),
        ("LARDER.TAGS a", "[]"),
        ("EXPIRE a 100", ":1"),
        ("LARDER.TAG a x y", ":1"),
        ("LARDER.TAGS a", "[\"x\" \"y\"]"),
        ("GET a", "\"1\""),
        ("TTL a", ":100"),
        ("SET b 2", "+OK"),
        ("LARDER.TAG b y", ":1"),
        ("LARDER.TAG a z", ":1"),
        ("LARDER.TAGS a", "[\"z\"]"),
        ("LARDER.INVALIDATE none", ":0"),
        ("LARDER.INVALIDATE y none", ":1"),
        ("EXISTS a b", ":1"),
        ("LARDER.EXPLAIN b", "\"missing: invalidated by a tag\""),
        ("SET b 3", "+OK"),
        ("GET b", "\"3\""),
        ("LARDER.TAG a 1 2 3 4 5", "-ERR a key has at most 4 tags"),
        (&format!("LARDER.TAG a 1 {}", "x".repeat(251)), "-ERR a tag has at most 250 bytes"),
        ("LARDER.TAGS a", "[\"z\"]"),
        ("LARDER.TAG a \"\\xff\"", "-ERR a tag must be UTF-8 text"),
        ("LARDER.TAG a", "-ERR wrong number of arguments for 'larder.tag' command"),
        ("LARDER.INVALIDATE z", ":1"),
        ("EXISTS a", ":0"),
    ] {
        assert_eq!(client.run(command), reply, "{command}");
    }
}

#[test]
fn a_key_is_explained() {
    let server = TestServer::start_with(
        |builder| builder.explain_misses(100).maintenance(Maintenance::Inline),
        |_| {},
    );
    let mut client = server.client();
    client.run("SET a 1");
    client.run("EXPIRE a 100");
    client.run("SET b 1");
    client.run("DEL b");
    let present = client.run("LARDER.EXPLAIN a");
    assert!(present.starts_with("\"present: ") && present.contains("expires in"), "{present}");
    assert_eq!(client.run("LARDER.EXPLAIN b"), "\"missing: removed\"");
    client.run("SELECT 1");
    assert_eq!(client.run("LARDER.EXPLAIN a"), "\"missing: never seen\"");
}

#[test]
fn the_hottest_keys_are_those_of_the_database() {
    let server = TestServer::start_with(
        |builder| builder.policy(Policy::lfu()).maintenance(Maintenance::Inline).partitions(1),
        |_| {},
    );
    let mut client = server.client();
    for (database, uses) in [("0", 3), ("1", 0)] {
        client.call(&["SELECT", database]);
        for key in 1..=30 {
            let name = format!("{database}:{key}");
            client.call(&["SET", &name, "1"]);
            for _ in 0..key * uses {
                client.call(&["GET", &name]);
            }
        }
        // With use, so that the order is known.
        for _ in 0..2 {
            client.call(&["GET", &format!("{database}:1")]);
        }
    }
    assert_eq!(client.run("LARDER.HOTTEST 1"), "[\"1:1\"]");
    assert_eq!(client.call(&["LARDER.HOTTEST"]).members().len(), 10);
    assert_eq!(client.call(&["LARDER.HOTTEST", "100"]).members().len(), 30);
    client.run("SELECT 0");
    assert_eq!(client.run("LARDER.HOTTEST 2"), "[\"0:30\" \"0:29\"]");
    assert_eq!(client.run("LARDER.HOTTEST 0"), "[]");
    for count in ["-1", "10001"] {
        let reply = client.run(&format!("LARDER.HOTTEST {count}"));
        assert_eq!(reply, "-ERR count must be from 0 to 10000");
    }
}

#[test]
fn shadow_caches_report_their_hit_ratios() {
    let without = TestServer::start();
    assert_eq!(without.client().run("LARDER.SHADOW"), "nil");
    let server = TestServer::start_with(
        |builder| {
            let shadow = ShadowConfig::new().multiples([0.5, 1.0, 2.0]);
            builder.capacity(100).shadow(shadow).maintenance(Maintenance::Inline)
        },
        |_| {},
    );
    let mut client = server.client();
    for round in 0..4 {
        for key in 0..100 {
            let key = format!("key:{key}");
            client.call(&["GET", &key]);
            if round == 0 {
                client.call(&["SET", &key, "x"]);
            }
        }
    }
    server.cache.run_pending();
    let points = client.call(&["LARDER.SHADOW"]);
    assert_eq!(points.members().len(), 3);
    let point = &points.members()[2];
    assert_eq!(point.field("capacity"), Some(&RespValue::Integer(200)));
    assert_eq!(point.field("multiple").unwrap().bytes(), b"2");
    assert!(point.field("hit_ratio").is_some());
    client.run("HELLO 3");
    let points = client.call(&["LARDER.SHADOW"]);
    assert_eq!(points.members()[0].field("multiple"), Some(&RespValue::Double(0.5)));
    let info = client.call(&["INFO", "larder"]).to_string();
    assert!(info.contains("larder_shadow_") && info.contains("_0.5:hit_ratio="), "{info}");
}
