//! Client-side caching.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use larder::Cache;
use larder_server::{Bytes, Hub, Server, ServerConfig, Value};

use crate::client::{Client, RespValue, TestServer, array, bulk};
use crate::connection::id;

/// An invalidation, as version 3 of the protocol pushes it.
fn invalidation(keys: &[&str]) -> RespValue {
    RespValue::Push(vec![bulk("invalidate"), array(keys.iter().map(bulk))])
}

/// The invalidation of everything.
fn invalidation_of_all() -> RespValue {
    RespValue::Push(vec![bulk("invalidate"), RespValue::Null])
}

/// A client of version 3 that tracks.
#[track_caller]
fn tracking(server: &TestServer, options: &str) -> Client {
    let mut client = server.client();
    client.call(&["HELLO", "3"]);
    assert_eq!(client.run(&format!("CLIENT TRACKING ON {options}")), "+OK");
    client
}

/// Fails unless the client has received all pushes that were posted before this call.
#[track_caller]
fn assert_no_push(client: &mut Client) {
    // What was posted before a request comes before its reply.
    client.run("PING");
    assert_eq!(client.take_pushes(), []);
}

#[test]
fn what_was_posted_before_a_request_comes_before_its_reply() {
    let server = TestServer::start();
    for options in ["", "BCAST"] {
        let (mut client, mut writer) = (tracking(&server, options), server.client());
        for round in 0..100 {
            client.run("GET k");
            writer.run("INCR k");
            client.run("PING");
            assert_eq!(client.take_pushes(), [invalidation(&["k"])], "{options} {round}");
        }
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let switch = |what: &str| {
        format!(
            "-ERR You can't switch {what} before disabling tracking for this client, and then re-enabling it with \
             a different mode."
        )
    };
    let (switch_bcast, switch_opt) = (switch("BCAST mode on/off"), switch("OPTIN/OPTOUT mode"));
    let overlap = "Prefixes for a single client must not overlap.";
    let provided = format!("-ERR Prefix 'a' overlaps with another provided prefix 'ab'. {overlap}");
    let existing =
        format!("-ERR Prefix 'foobar' overlaps with an existing prefix 'foo'. {overlap}");
    let caching = "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT \
                   mode enabled";
    let yes = "-ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
    let no = "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
    crate::client::check(&[
        ("CLIENT TRACKINGINFO", "[\"flags\" [\"off\"] \"redirect\" :-1 \"prefixes\" []]"),
        ("CLIENT GETREDIR", ":-1"),
        ("CLIENT TRACKING", "-ERR wrong number of arguments for 'client|tracking' command"),
        ("CLIENT TRACKING foo", "-ERR syntax error"),
        ("CLIENT TRACKING on foo", "-ERR syntax error"),
        ("CLIENT TRACKING on REDIRECT", "-ERR syntax error"),
        ("CLIENT TRACKING on REDIRECT x", "-ERR value is not an integer or out of range"),
        (
            "CLIENT TRACKING on REDIRECT 999999",
            "-ERR The client ID you want redirect to does not exist",
        ),
        ("CLIENT TRACKING on PREFIX x", "-ERR PREFIX option requires BCAST mode to be enabled"),
        ("CLIENT TRACKING on BCAST OPTIN", "-ERR OPTIN and OPTOUT are not compatible with BCAST"),
        (
            "CLIENT TRACKING on OPTIN OPTOUT",
            "-ERR You can't specify both OPTIN mode and OPTOUT mode",
        ),
        ("CLIENT TRACKING on BCAST PREFIX a PREFIX ab", &provided),
        ("CLIENT CACHING yes", caching),
        ("CLIENT TRACKING on", "+OK"),
        ("CLIENT TRACKING on BCAST", &switch_bcast),
        ("CLIENT CACHING yes", yes),
        ("CLIENT CACHING no", no),
        ("CLIENT CACHING foo", "-ERR syntax error"),
        ("CLIENT TRACKING on OPTIN", "+OK"),
        ("CLIENT TRACKING on OPTOUT", &switch_opt),
        ("CLIENT CACHING yes", "+OK"),
        (
            "CLIENT TRACKINGINFO",
            "[\"flags\" [\"on\" \"optin\" \"caching-yes\"] \"redirect\" :0 \"prefixes\" []]",
        ),
        ("PING", "+PONG"),
        ("CLIENT TRACKINGINFO", "[\"flags\" [\"on\" \"optin\"] \"redirect\" :0 \"prefixes\" []]"),
        ("CLIENT TRACKING off", "+OK"),
        ("CLIENT TRACKING on OPTOUT NOLOOP", "+OK"),
        ("CLIENT CACHING no", "+OK"),
        (
            "CLIENT TRACKINGINFO",
            "[\"flags\" [\"on\" \"optout\" \"caching-no\" \"noloop\"] \"redirect\" :0 \"prefixes\" []]",
        ),
        ("CLIENT TRACKING off", "+OK"),
        ("CLIENT TRACKING on BCAST PREFIX foo", "+OK"),
        ("CLIENT TRACKING on BCAST PREFIX foobar", &existing),
        ("CLIENT TRACKING on BCAST PREFIX zoo", "+OK"),
        (
            "CLIENT TRACKINGINFO",
            "[\"flags\" [\"on\" \"bcast\"] \"redirect\" :0 \"prefixes\" [\"foo\" \"zoo\"]]",
        ),
        ("CLIENT GETREDIR", ":0"),
        ("CLIENT TRACKING off", "+OK"),
    ]);
}

#[test]
fn a_read_key_is_invalidated_once_by_each_way_to_change_it() {
    let server = TestServer::start();
    let (mut client, mut writer) = (tracking(&server, ""), server.client());
    for change in [
        "SET k 1",
        "INCR k",
        "APPEND k x",
        "SET k 2 KEEPTTL",
        "EXPIRE k 100",
        "PERSIST k",
        "RENAME k other",
        "SET k 2",
        "GETDEL k",
        "SET k 3",
        "DEL k",
    ] {
        client.run("STRLEN k");
        writer.run(change);
        assert_eq!(client.push(), invalidation(&["k"]), "{change}");
        // Not read again, so nobody has a copy.
        writer.run("SETNX k 1");
        assert_no_push(&mut client);
    }
    // Several keys, of which one was missing, and one that was only written.
    writer.run("SET a 1");
    client.run("MGET a missing");
    client.run("INCR b");
    writer.run("INCR b");
    writer.run("SET missing 1");
    writer.run("SET a 2");
    assert_eq!(client.push(), invalidation(&["missing"]));
    assert_eq!(client.push(), invalidation(&["a"]));
    // Not tracked any more.
    client.run("GET a");
    client.run("CLIENT TRACKING OFF");
    writer.run("SET a 3");
    assert_no_push(&mut client);
}

#[test]
fn own_changes_are_told_after_the_replies_unless_they_are_not_to_be() {
    let server = TestServer::start();
    let mut client = tracking(&server, "");
    client.run("SET a 1");
    client.run("GET a");
    client.send_raw(b"MULTI\r\nINCR a\r\nGET b\r\nEXEC\r\n");
    let received: Vec<_> = (0..5).map(|_| client.receive().to_string()).collect();
    let push = ">[\"invalidate\" [\"a\"]]";
    assert_eq!(received, ["+OK", "+QUEUED", "+QUEUED", "[:2 nil]", push]);
    // What was read in the transaction is tracked.
    server.client().run("SET b 1");
    assert_eq!(client.push(), invalidation(&["b"]));

    let mut client = tracking(&server, "NOLOOP");
    client.run("MGET a b");
    client.run("SET a 1");
    assert_no_push(&mut client);
    server.client().run("SET b 1");
    assert_eq!(client.push(), invalidation(&["b"]));
}

#[test]
fn copies_can_be_opted_in_and_out() {
    let server = TestServer::start();
    let (mut client, mut writer) = (tracking(&server, "OPTIN"), server.client());
    client.run("GET a");
    writer.run("SET a 1");
    assert_no_push(&mut client);
    client.run("CLIENT CACHING YES");
    client.run("CLIENT GETNAME");
    client.run("GET a");
    client.run("GET b");
    writer.run("SET b 1");
    writer.run("SET a 1");
    assert_eq!(client.push(), invalidation(&["a"]));
    // In a transaction it counts for all commands.
    client.send_raw(b"CLIENT CACHING YES\r\nMULTI\r\nGET a\r\nGET b\r\nEXEC\r\n");
    (0..5).for_each(|_| drop(client.reply()));
    client.run("GET c");
    writer.run("MSET c 1 b 1");
    assert_eq!(client.push(), invalidation(&["b"]));

    let mut client = tracking(&server, "OPTOUT");
    client.run("CLIENT CACHING NO");
    client.run("GET a");
    client.run("GET b");
    writer.run("SET a 1");
    writer.run("SET b 1");
    assert_eq!(client.push(), invalidation(&["b"]));
}

#[test]
fn prefixes_are_broadcast_in_one_message_for_a_batch() {
    let server = TestServer::start();
    let (mut client, mut writer) =
        (tracking(&server, "BCAST PREFIX a: PREFIX b:"), server.client());
    writer.run("MSET a:1 1 c:1 1 a:2 1");
    assert_eq!(client.push(), invalidation(&["a:1", "a:2"]));
    writer
        .send_raw(b"MULTI\r\nINCR a:1\r\nINCR b:1\r\nINCR a:2\r\nINCR b:2\r\nINCR a:1\r\nEXEC\r\n");
    assert_eq!(client.push(), invalidation(&["a:1", "a:2"]));
    assert_eq!(client.push(), invalidation(&["b:1", "b:2"]));
    client.run("SET a:1 1");
    assert_eq!(client.push(), invalidation(&["a:1"]));
    assert_eq!(client.run("CLIENT TRACKING ON BCAST PREFIX c:"), "+OK");
    writer.run("SET c:1 1");
    assert_eq!(client.push(), invalidation(&["c:1"]));
    // There is one message for a removed key, though the cache reports its removal too.
    writer.run("GETDEL a:1");
    assert_eq!(client.push(), invalidation(&["a:1"]));
    server.cache.flush().unwrap();
    assert_no_push(&mut client);

    let (mut all, mut other) = (tracking(&server, "BCAST NOLOOP"), server.client());
    all.run("SET x 1");
    other.run("SET y 1");
    all.run("SET x 1");
    assert_eq!(all.push(), invalidation(&["y"]));
    server.cache.flush().unwrap();
    assert_no_push(&mut all);
}

#[test]
fn invalidations_are_redirected_to_another_client() {
    let server = TestServer::start();
    let (mut receiver, mut client, mut writer) =
        (server.client(), server.client(), server.client());
    let number = id(&mut receiver);
    receiver.run("SUBSCRIBE __redis__:invalidate");
    assert_eq!(client.run(&format!("CLIENT TRACKING ON REDIRECT {number}")), "+OK");
    assert_eq!(client.run("CLIENT GETREDIR"), format!(":{number}"));
    client.run("GET a");
    writer.run("SET a 1");
    let message = "[\"message\" \"__redis__:invalidate\" [\"a\"]]";
    assert_eq!(receiver.receive().to_string(), message);
    // The receiver may speak version 3, and so may the reader.
    let (mut new, mut reader) = (server.client(), server.client());
    new.call(&["HELLO", "3"]);
    let number = id(&mut new);
    reader.call(&["HELLO", "3"]);
    assert_eq!(reader.run(&format!("CLIENT TRACKING ON REDIRECT {number}")), "+OK");
    reader.run("GET a");
    writer.run("SET a 1");
    assert_eq!(new.push(), invalidation(&["a"]));
    // The receiver goes, of which the reader is notified with the next invalidation.
    reader.run("GET a");
    new.run("QUIT");
    assert!(new.is_closed());
    crate::connection::wait_until(|| {
        !writer.run(&format!("CLIENT LIST ID {number}")).contains("id=")
    });
    writer.run("SET a 1");
    let broken = vec![bulk("tracking-redir-broken"), RespValue::Integer(number)];
    assert_eq!(reader.push(), RespValue::Push(broken));
    let info = reader.call(&["CLIENT", "TRACKINGINFO"]);
    let flags = info.field("flags").unwrap();
    assert_eq!(flags.to_string(), "~[\"on\" \"broken_redirect\"]");
    let line = writer.run(&format!("CLIENT LIST ID {}", id(&mut reader)));
    assert!(line.contains(" flags=tR "), "{line}");
}

#[test]
fn pushes_come_although_replies_are_off() {
    let server = TestServer::start();
    let (mut client, mut writer) = (tracking(&server, ""), server.client());
    client.run("GET a");
    client.send(&["CLIENT", "REPLY", "OFF"]);
    client.send(&["GET", "b"]);
    client.send(&["CLIENT", "REPLY", "ON"]);
    assert_eq!(client.reply(), RespValue::ok());
    client.send(&["CLIENT", "REPLY", "OFF"]);
    writer.run("MSET a 1 b 1");
    assert_eq!(client.receive(), invalidation(&["a"]));
    assert_eq!(client.receive(), invalidation(&["b"]));
}

#[test]
fn a_flush_notifies_all_once() {
    let server = TestServer::start();
    let (mut reader, mut all, mut writer) =
        (tracking(&server, ""), tracking(&server, "BCAST PREFIX x"), server.client());
    for flush in ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC", "LARDER.INVALIDATE tag"] {
        writer.run("MSET a 1 b 1 c 1");
        writer.run("LARDER.TAG a tag");
        reader.run("MGET a b");
        reader.run("GET a");
        all.run("PING");
        reader.take_pushes();
        writer.run(flush);
        assert_eq!(reader.push(), invalidation_of_all(), "{flush}");
        assert_eq!(all.push(), invalidation_of_all(), "{flush}");
        // The cache reports the removals too; those by commands are left out.
        if flush.starts_with("FLUSH") {
            server.cache.flush().unwrap();
            assert_no_push(&mut reader);
            assert_no_push(&mut all);
        }
    }
    // In the own transaction it comes after the reply.
    reader.send_raw(b"MULTI\r\nFLUSHALL\r\nEXEC\r\n");
    let received: Vec<_> = (0..4).map(|_| reader.receive().to_string()).collect();
    assert_eq!(received, ["+OK", "+QUEUED", "[+OK]", ">[\"invalidate\" nil]"]);
}

#[test]
fn a_table_that_is_full_invalidates_what_it_has_no_room_for() {
    let server = TestServer::start();
    let (mut client, mut writer) = (tracking(&server, ""), server.client());
    for number in 0..250 {
        client.run(&format!("GET {number}"));
    }
    let info = writer.run("INFO stats");
    assert!(info.contains("tracking_total_keys:250\\r\\ntracking_total_items:250"), "{info}");
    assert_eq!(writer.run("CONFIG SET tracking-table-max-keys 10"), "+OK");
    let mut invalidated = std::collections::HashSet::new();
    for _ in 0..240 {
        assert!(invalidated.insert(client.push().to_string()), "invalidated twice");
    }
    assert_no_push(&mut client);
    // One more key, and one of the eleven is invalidated.
    client.run("GET more");
    assert!(invalidated.insert(client.push().to_string()), "invalidated twice");
    assert_no_push(&mut client);
    assert!(writer.run("INFO stats").contains("tracking_total_keys:10\\r"));
    assert_eq!(
        writer.run("CONFIG GET tracking-table-max-keys"),
        "[\"tracking-table-max-keys\" \"10\"]"
    );
}

#[test]
fn changes_by_the_program_evictions_and_expirations_are_noticed() {
    let server = TestServer::start_with(|builder| builder.capacity(100), |_| {});
    let (mut client, mut writer) = (tracking(&server, ""), server.client());
    let cache = &server.cache;
    let insert = |text: &str| {
        let _ = cache.insert(Bytes::from("k"), Value::from(text));
    };
    writer.run("SET k 1");
    client.run("GET k");
    insert("2");
    assert_eq!(client.push(), invalidation(&["k"]));
    // A value that a command has written, and the program writes again.
    writer.run("SET k 3");
    let written = cache.get(b"k".as_slice()).unwrap();
    writer.run("SET k 4");
    client.run("GET k");
    cache.insert(Bytes::from("k"), written);
    assert_eq!(client.push(), invalidation(&["k"]));
    assert_eq!(client.run("GET k"), "\"3\"");
    cache.remove(b"k".as_slice());
    assert_eq!(client.push(), invalidation(&["k"]));
    // By time.
    writer.run("SET k 1 PX 1");
    client.run("STRLEN k");
    cache.flush().unwrap();
    assert_eq!(client.push(), invalidation(&["k"]));
    // By the bound.
    writer.run("SET k 1");
    client.run("GET k");
    let mut rounds = 0;
    while cache.contains_key(b"k".as_slice()) {
        rounds += 1;
        assert!(rounds < 10_000, "nothing is evicted");
        writer.run(&format!("SET {rounds} x"));
        writer.run(&format!("GET {rounds}"));
        cache.flush().unwrap();
    }
    assert_eq!(client.push(), invalidation(&["k"]));
}

#[test]
fn the_program_can_say_that_it_has_added_a_key_or_changed_many() {
    let hub = Hub::new();
    let cache: Cache<Bytes, Value> =
        Cache::builder().capacity(100).listener(hub.listener()).build().unwrap();
    let mut config = ServerConfig::default();
    config.address.set_port(0);
    let server = Server::start(cache.clone(), hub.clone(), config).unwrap();
    let mut client = Client::connect(server.address());
    client.call(&["HELLO", "3"]);
    client.run("CLIENT TRACKING ON");
    assert_eq!(client.run("GET k"), "nil");
    let key = Bytes::from("k");
    cache.insert(key.clone(), Value::from("1"));
    hub.notify_changed(&key);
    assert_eq!(client.push(), invalidation(&["k"]));
    cache.insert_with_tags(key, Value::from("1"), ["tag"]);
    assert_eq!(client.run("GET k"), "\"1\"");
    cache.invalidate_tag("tag");
    hub.notify_all_changed();
    // The cache reports the value that was replaced, and the one that the tag ended, when maintenance comes
    // to them, which may be after the read above.
    let mut push = client.push();
    while push == invalidation(&["k"]) {
        push = client.push();
    }
    assert_eq!(push, invalidation_of_all());
    assert_eq!(client.run("GET k"), "nil");
}

#[test]
fn a_client_that_does_not_read_invalidations_is_disconnected() {
    let server =
        TestServer::start_with(|builder| builder, |config| config.max_mail_bytes = 64 << 10);
    let (mut client, mut writer) = (tracking(&server, "BCAST"), server.client());
    let number = id(&mut client);
    let key = "k".repeat(8 << 10);
    let mut sent = 0;
    while writer.run(&format!("CLIENT LIST ID {number}")).contains("id=") {
        sent += 1;
        assert!(sent < 10_000, "the server keeps what nobody reads");
        assert_eq!(writer.call(&["SET", &format!("{key}{sent}"), "1"]), RespValue::ok());
    }
    assert!(sent > 1);
}

#[test]
fn every_invalidation_arrives_in_2000_rounds() {
    let server = TestServer::start();
    let (mut reader, mut writer) = (tracking(&server, ""), server.client());
    // Keys that nobody writes give the writer time between the read of the first key and the end of the command.
    let others: Vec<_> = (0..50).map(|number| format!("other{number}")).collect();
    for round in 0..2000 {
        let key = format!("key{}", round % 7);
        // Sent first, so that read and write meet in every way.
        let read = ["MGET", &key].into_iter().chain(others.iter().map(String::as_str));
        reader.send(&read.collect::<Vec<_>>());
        writer.send(&["SET", &key, &round.to_string()]);
        let seen = reader.reply().members()[0].clone();
        assert_eq!(writer.reply(), RespValue::ok());
        if seen == bulk(round.to_string()) {
            // The write came first. Another one tells whether the read was registered.
            assert_eq!(writer.call(&["SET", &key, "later"]), RespValue::ok());
        }
        assert_eq!(reader.push(), invalidation(&[&key]), "round {round}");
    }
}

/// A client with copies, as libraries have it: a reply is kept unless an invalidation has come before it.
struct NearCache {
    client: Client,
    copies: HashMap<String, Option<String>>,
}

impl NearCache {
    fn apply_pushes(&mut self) {
        for push in self.client.take_pushes() {
            match &push.members()[1] {
                RespValue::Null => self.copies.clear(),
                keys => keys.members().iter().for_each(|key| {
                    self.copies.remove(&*String::from_utf8_lossy(key.bytes()));
                }),
            }
        }
    }

    fn read(&mut self, key: &str) {
        if !self.copies.contains_key(key) {
            let value = match self.client.call(&["GET", key]) {
                RespValue::Null => None,
                value => Some(String::from_utf8_lossy(value.bytes()).into_owned()),
            };
            self.apply_pushes();
            self.copies.insert(key.to_owned(), value);
        }
    }
}

#[test]
fn no_copy_is_stale_after_a_quiet_period() {
    const KEYS: u64 = 20;
    let server = TestServer::start();
    let next = AtomicU64::new(0);
    let rounds = 4000;
    // A generator of numbers that look random, by the position in the sequence of all threads.
    let draw = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        (number < rounds * 4).then(|| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32)
    };
    let mut readers: Vec<NearCache> = thread::scope(|scope| {
        let readers: Vec<_> = ["", "", "OPTOUT", "BCAST"]
            .into_iter()
            .map(|options| {
                let (server, draw) = (&server, &draw);
                scope.spawn(move || {
                    let client = tracking(server, options);
                    let mut near = NearCache { client, copies: HashMap::new() };
                    while let Some(number) = draw() {
                        near.read(&format!("key{}", number % KEYS));
                        if number.is_multiple_of(64) {
                            near.client.run("PING");
                            near.apply_pushes();
                        }
                    }
                    near
                })
            })
            .collect();
        scope.spawn(|| {
            let mut writer = server.client();
            while let Some(number) = draw() {
                let key = format!("key{}", number % KEYS);
                match number % 5 {
                    0 => writer.run(&format!("GETDEL {key}")),
                    _ => writer.run(&format!("SET {key} {number}")),
                };
            }
        });
        // The program changes what is there, and removes it.
        scope.spawn(|| {
            while let Some(number) = draw() {
                let key = Bytes::from(format!("key{}", number % KEYS).as_bytes());
                match number % 3 {
                    0 => drop(server.cache.remove(&key)),
                    _ => drop(server.cache.replace(key, Value::from(&*number.to_string()))),
                }
            }
        });
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    server.cache.flush().unwrap();
    for near in &mut readers {
        near.client.run("PING");
        near.client.run("PING");
        near.apply_pushes();
        for (key, copy) in &near.copies {
            let now = server.cache.get(key.as_bytes());
            let now =
                now.map(|value| String::from_utf8_lossy(value.as_bytes().unwrap()).into_owned());
            assert_eq!(*copy, now, "{key} is stale");
        }
    }
}
