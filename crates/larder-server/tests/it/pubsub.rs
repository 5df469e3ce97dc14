//! Channels, patterns and keyspace events.

use std::thread;

use crate::client::{Client, RespValue, TestServer, bulk};
use crate::connection::wait_until;

fn push(members: &[&str]) -> RespValue {
    RespValue::Push(members.iter().map(bulk).collect())
}

/// Runs commands on one client and compares the replies, of which one command may have several.
#[track_caller]
fn exchange(client: &mut Client, commands: &[(&str, &[&str])]) {
    for (command, expected) in commands {
        client.send(&command.split(' ').collect::<Vec<_>>());
        for expected in *expected {
            assert_eq!(client.receive().to_string(), *expected, "reply to {command}");
        }
    }
}

#[test]
fn subscriptions_are_counted_and_end() {
    let server = TestServer::start();
    let mut client = server.client();
    exchange(
        &mut client,
        &[
            ("SUBSCRIBE a b", &["[\"subscribe\" \"a\" :1]", "[\"subscribe\" \"b\" :2]"]),
            ("SUBSCRIBE a", &["[\"subscribe\" \"a\" :2]"]),
            ("PSUBSCRIBE a* x?", &["[\"psubscribe\" \"a*\" :3]", "[\"psubscribe\" \"x?\" :4]"]),
            ("SSUBSCRIBE s", &["[\"ssubscribe\" \"s\" :1]"]),
            ("PING", &["[\"pong\" \"\"]"]),
            ("PING x", &["[\"pong\" \"x\"]"]),
            ("UNSUBSCRIBE b", &["[\"unsubscribe\" \"b\" :3]"]),
            ("UNSUBSCRIBE nope", &["[\"unsubscribe\" \"nope\" :3]"]),
            ("UNSUBSCRIBE", &["[\"unsubscribe\" \"a\" :2]"]),
            ("UNSUBSCRIBE", &["[\"unsubscribe\" nil :2]"]),
            ("PUNSUBSCRIBE x?", &["[\"punsubscribe\" \"x?\" :1]"]),
            ("PUNSUBSCRIBE", &["[\"punsubscribe\" \"a*\" :0]"]),
            ("PUNSUBSCRIBE", &["[\"punsubscribe\" nil :0]"]),
            // It is still subscribed to the channel of a shard.
            (
                "GET a",
                &[
                    "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
                   allowed in this context",
                ],
            ),
            ("SUNSUBSCRIBE s", &["[\"sunsubscribe\" \"s\" :0]"]),
            ("SUNSUBSCRIBE", &["[\"sunsubscribe\" nil :0]"]),
            ("GET a", &["nil"]),
            ("SUBSCRIBE", &["-ERR wrong number of arguments for 'subscribe' command"]),
            ("SUBSCRIBE a", &["[\"subscribe\" \"a\" :1]"]),
            ("FOO", &["-ERR unknown command 'FOO', with args beginning with: "]),
            ("RESET", &["+RESET"]),
            ("GET a", &["nil"]),
        ],
    );
    assert_eq!(server.client().run("PUBLISH a x"), ":0");
}

#[test]
fn messages_reach_subscribers_of_channels_and_patterns() {
    let server = TestServer::start();
    let (mut old, mut new, mut publisher) = (server.client(), server.client(), server.client());
    new.call(&["HELLO", "3"]);
    for client in [&mut old, &mut new] {
        client.send(&["SUBSCRIBE", "news"]);
        client.receive();
        client.send(&["PSUBSCRIBE", "n[aeiou]w*"]);
        client.receive();
    }
    assert_eq!(publisher.run("PUBLISH news hello"), ":4");
    assert_eq!(publisher.run("PUBLISH now hi"), ":2");
    assert_eq!(publisher.run("PUBLISH nows \"\\x00\\r\\n\""), ":2");
    assert_eq!(publisher.run("PUBLISH other x"), ":0");
    assert_eq!(publisher.run("SPUBLISH news x"), ":0");
    for (client, head) in [(&mut old, ""), (&mut new, ">")] {
        for expected in [
            "[\"message\" \"news\" \"hello\"]",
            "[\"pmessage\" \"n[aeiou]w*\" \"news\" \"hello\"]",
            "[\"pmessage\" \"n[aeiou]w*\" \"now\" \"hi\"]",
            "[\"pmessage\" \"n[aeiou]w*\" \"nows\" \"\\x00\\r\\n\"]",
        ] {
            assert_eq!(client.receive().to_string(), format!("{head}{expected}"));
        }
    }
    for (command, expected) in [
        ("PUBSUB NUMSUB news nope", "[\"news\" :2 \"nope\" :0]"),
        ("PUBSUB NUMSUB", "[]"),
        ("PUBSUB NUMPAT", ":1"),
        ("PUBSUB CHANNELS", "[\"news\"]"),
        ("PUBSUB CHANNELS x*", "[]"),
        ("PUBSUB SHARDCHANNELS", "[]"),
        ("PUBSUB SHARDNUMSUB s", "[\"s\" :0]"),
        ("PUBSUB FOO", "-ERR unknown subcommand 'FOO'. Try PUBSUB HELP."),
        ("PUBSUB NUMPAT x", "-ERR wrong number of arguments for 'pubsub|numpat' command"),
        ("PUBSUB", "-ERR wrong number of arguments for 'pubsub' command"),
    ] {
        assert_eq!(publisher.run(command), expected, "{command}");
    }
    drop((old, new));
    wait_until(|| publisher.run("PUBSUB NUMPAT") == ":0");
    assert_eq!(publisher.run("PUBSUB CHANNELS"), "[]");
}

#[test]
fn shards_have_channels_of_their_own() {
    let server = TestServer::start();
    let (mut client, mut publisher) = (server.client(), server.client());
    client.send(&["SSUBSCRIBE", "a"]);
    client.receive();
    assert_eq!(publisher.run("PUBLISH a x"), ":0");
    assert_eq!(publisher.run("SPUBLISH a x"), ":1");
    assert_eq!(client.receive().to_string(), "[\"smessage\" \"a\" \"x\"]");
    assert_eq!(publisher.run("PUBSUB SHARDCHANNELS"), "[\"a\"]");
    assert_eq!(publisher.run("PUBSUB SHARDNUMSUB a"), "[\"a\" :1]");
}

#[test]
fn a_message_to_oneself_comes_after_the_reply() {
    let server = TestServer::start();
    let mut client = server.client();
    client.call(&["HELLO", "3"]);
    client.send(&["SUBSCRIBE", "a"]);
    client.receive();
    client.send(&["PUBLISH", "a", "x"]);
    assert_eq!(client.receive(), RespValue::Integer(1));
    assert_eq!(client.receive(), push(&["message", "a", "x"]));
    // A client of version 3 may do other things, a transaction too.
    client.send_raw(b"MULTI\r\nPUBLISH a y\r\nGET k\r\nEXEC\r\n");
    let received: Vec<_> = (0..5).map(|_| client.receive().to_string()).collect();
    let message = ">[\"message\" \"a\" \"y\"]";
    assert_eq!(received, ["+OK", "+QUEUED", "+QUEUED", "[:1 nil]", message]);
}

#[test]
fn no_message_comes_after_the_end_of_its_subscription() {
    let server = TestServer::start();
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut publisher = server.client();
            // Until the subscriber has gone.
            while publisher.run("PUBLISH done x") == ":1" {
                publisher.run("PUBLISH a x");
            }
        });
        let mut client = server.client();
        client.call(&["HELLO", "3"]);
        let (mut messages, mut rounds) = (0, 0);
        client.send(&["SUBSCRIBE", "done"]);
        while rounds < 200 || messages == 0 {
            client.send(&["SUBSCRIBE", "a"]);
            client.send(&["UNSUBSCRIBE", "a"]);
            let mut is_subscribed = false;
            loop {
                let received = client.receive().to_string();
                if received.starts_with(">[\"subscribe\" \"a\"") {
                    is_subscribed = true;
                } else if received.starts_with(">[\"unsubscribe\" \"a\"") {
                    break;
                } else if received.starts_with(">[\"message\" \"a\"") {
                    assert!(is_subscribed, "a message out of its subscription");
                    messages += 1;
                }
            }
            rounds += 1;
            if publisher.is_finished() {
                break;
            }
        }
        drop(client);
    });
}

#[test]
fn keys_have_events_of_the_classes_that_were_chosen() {
    let server = TestServer::start();
    let (mut client, mut writer) = (server.client(), server.client());
    client.send(&["PSUBSCRIBE", "__key*__:*"]);
    client.receive();
    assert!(writer.run("CONFIG SET notify-keyspace-events q").starts_with("-ERR"));
    writer.run("SET unheard 1");
    assert_eq!(writer.run("CONFIG SET notify-keyspace-events KEA"), "+OK");
    assert_eq!(
        writer.run("CONFIG GET notify-keyspace-events"),
        "[\"notify-keyspace-events\" \"AKE\"]"
    );
    let mut events = |commands: &[&str], expected: &[&str]| {
        for command in commands {
            let reply = writer.run(command);
            assert!(!reply.starts_with('-'), "{command}: {reply}");
        }
        for expected in expected {
            let received = client.receive();
            let [_, _, channel, message] = received.members() else { panic!("{received}") };
            let text = |value: &RespValue| String::from_utf8_lossy(value.bytes()).into_owned();
            assert_eq!(format!("{} {}", text(channel), text(message)), *expected, "{commands:?}");
        }
    };
    events(&["SET a 1"], &["__keyspace@0__:a set", "__keyevent@0__:set a"]);
    events(&["SELECT 9", "DEL a", "SET a 1"], &["__keyspace@9__:a set", "__keyevent@9__:set a"]);
    events(&["DEL a"], &["__keyspace@9__:a del", "__keyevent@9__:del a"]);
    events(
        &["SELECT 0", "CONFIG SET notify-keyspace-events Eg$", "SET a 1 EX 100", "INCR a", "DEL a"],
        &[
            "__keyevent@0__:set a",
            "__keyevent@0__:expire a",
            "__keyevent@0__:incrby a",
            "__keyevent@0__:del a",
        ],
    );
    events(
        &["CONFIG SET notify-keyspace-events En$", "SET a 1", "SET a 2", "HSET h f v"],
        &[
            "__keyevent@0__:new a",
            "__keyevent@0__:set a",
            "__keyevent@0__:set a",
            "__keyevent@0__:new h",
        ],
    );
    events(
        &["CONFIG SET notify-keyspace-events Kgx", "SET a 1 PX 1"],
        &["__keyspace@0__:a expire"],
    );
    server.cache.flush().unwrap();
    events(&[], &["__keyspace@0__:a expired"]);
    // A change by the program is one too.
    server.cache.remove(b"h".as_slice());
    events(&[], &["__keyspace@0__:h del"]);
    // Classes without a channel to publish them on are remembered.
    events(
        &["CONFIG SET notify-keyspace-events g$", "DEL h", "PUBLISH __key__:x last"],
        &["__key__:x last"],
    );
}

#[test]
fn a_subscriber_that_does_not_read_is_disconnected() {
    let server =
        TestServer::start_with(|builder| builder, |config| config.max_mail_bytes = 64 << 10);
    let (mut subscriber, mut publisher) = (server.client(), server.client());
    subscriber.send(&["SUBSCRIBE", "a"]);
    subscriber.receive();
    let message = "x".repeat(16 << 10);
    // What the system buffers is lost, so it takes some more than the bound.
    let mut sent = 0;
    while publisher.call(&["PUBLISH", "a", &message]) == RespValue::Integer(1) {
        sent += 1;
        assert!(sent < 10_000, "the server keeps what nobody reads");
    }
    assert!(sent > 1);
    assert_eq!(publisher.run("PUBSUB NUMSUB a"), "[\"a\" :0]");
}
