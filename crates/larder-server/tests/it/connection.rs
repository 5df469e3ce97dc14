//! Commands about the connection and about clients.

use std::time::{Duration, Instant};

use crate::client::{Client, RespValue, TestServer, bulk, check};

/// Waits until `condition` holds, and fails the test if it does not in half a minute.
#[track_caller]
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the condition does not hold after half a minute"
        );
        std::thread::yield_now();
    }
}

/// The number of a client.
pub(crate) fn id(client: &mut Client) -> i64 {
    client.call(&["CLIENT", "ID"]).integer()
}

/// The lines of `CLIENT LIST`.
fn list(client: &mut Client) -> Vec<String> {
    let reply = client.call(&["CLIENT", "LIST"]);
    String::from_utf8_lossy(reply.bytes()).lines().map(str::to_owned).collect()
}

/// A field of a line of `CLIENT LIST`.
#[track_caller]
fn field<'l>(line: &'l str, name: &str) -> &'l str {
    let found = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {line}"))
}

#[test]
fn greetings_and_echoes() {
    check(&[
        ("PING", "+PONG"),
        ("PING hello", "\"hello\""),
        ("PING a b", "-ERR wrong number of arguments for 'ping' command"),
        ("ECHO x", "\"x\""),
        ("ECHO", "-ERR wrong number of arguments for 'echo' command"),
        ("SELECT x", "-ERR value is not an integer or out of range"),
        ("SELECT 99", "-ERR DB index is out of range"),
        ("SELECT -1", "-ERR DB index is out of range"),
        ("SELECT 9", "+OK"),
        ("RESET", "+RESET"),
        ("QUIT", "+OK"),
    ]);
}

#[test]
fn hello_refuses_what_it_does_not_know() {
    check(&[
        ("HELLO 5", "-NOPROTO unsupported protocol version"),
        ("HELLO abc", "-ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'"),
        ("HELLO 3 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'"),
        (
            "HELLO 3 SETNAME \"a b\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.",
        ),
        ("HELLO 3 AUTH nobody x", "-WRONGPASS invalid username-password pair or user is disabled."),
    ]);
    // None of these has changed the version.
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.run("HELLO 3 FOO"), "-ERR Syntax error in HELLO option 'FOO'");
    assert_eq!(client.call(&["HELLO"]).field("proto"), Some(&RespValue::Integer(2)));
    assert_eq!(client.call(&["HELLO", "3", "SETNAME", "me"]).field("proto").unwrap().integer(), 3);
    assert_eq!(client.run("CLIENT GETNAME"), "\"me\"");
    assert!(matches!(client.call(&["HELLO"]), RespValue::Map(_)));
}

#[test]
fn without_a_password_any_is_right() {
    check(&[
        ("AUTH", "-ERR wrong number of arguments for 'auth' command"),
        (
            "AUTH x",
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        ),
        ("AUTH default x", "+OK"),
        ("AUTH nobody x", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("AUTH a b c", "-ERR syntax error"),
    ]);
}

#[test]
fn a_client_must_give_the_password_first() {
    let server = TestServer::start_with(
        |builder| builder,
        |config| config.password = Some("secret".to_owned()),
    );
    let mut client = server.client();
    let refused = "-NOAUTH Authentication required.";
    for command in ["PING", "GET a", "SET a 1", "MULTI", "SUBSCRIBE a", "CLIENT ID", "SELECT 1"] {
        assert_eq!(client.run(command), refused, "{command}");
    }
    let hello = client.run("HELLO 3");
    assert!(hello.starts_with("-NOAUTH HELLO must be called"), "{hello}");
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    for guess in ["AUTH wrong", "AUTH secre", "AUTH secrets", "AUTH nobody secret"] {
        assert_eq!(client.run(guess), wrong, "{guess}");
    }
    assert_eq!(client.run("HELLO 3 AUTH default wrong"), wrong);
    assert_eq!(client.run("GET a"), refused);
    assert_eq!(client.run("AUTH default secret"), "+OK");
    assert_eq!(client.run("SET a 1"), "+OK");
    // A wrong guess does not take back what was proved.
    assert_eq!(client.run("AUTH wrong"), wrong);
    assert_eq!(client.run("GET a"), "\"1\"");
    // `RESET` does.
    assert_eq!(client.run("RESET"), "+RESET");
    assert_eq!(client.run("GET a"), refused);
    let mut other = server.client();
    assert!(matches!(other.call(&["HELLO", "3", "AUTH", "default", "secret"]), RespValue::Map(_)));
    assert_eq!(other.run("GET a"), "\"1\"");
    let mut third = server.client();
    assert_eq!(third.run("AUTH secret"), "+OK");
}

#[test]
fn a_client_that_has_quit_is_answered_no_more() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send_raw(b"SET a 1\r\nQUIT\r\nSET a 2\r\n");
    assert_eq!(client.reply(), RespValue::ok());
    assert_eq!(client.reply(), RespValue::ok());
    assert!(client.is_closed());
    assert_eq!(server.client().run("GET a"), "\"1\"");
}

#[test]
fn reset_makes_a_connection_as_it_was() {
    let server = TestServer::start();
    let (mut client, mut other) = (server.client(), server.client());
    let number = id(&mut client);
    client.call(&["HELLO", "3", "SETNAME", "me"]);
    for command in ["SELECT 3", "CLIENT TRACKING ON", "SUBSCRIBE channel", "WATCH a", "MULTI"] {
        client.send(&command.split(' ').collect::<Vec<_>>());
        client.receive();
    }
    assert_eq!(client.call(&["RESET"]), RespValue::Simple("RESET".to_owned()));
    assert_eq!(client.run("CLIENT GETNAME"), "nil");
    assert_eq!(client.run("EXEC"), "-ERR EXEC without MULTI");
    assert_eq!(client.run("CLIENT GETREDIR"), ":-1");
    assert_eq!(client.call(&["HELLO"]).field("proto").unwrap().integer(), 2);
    assert_eq!(other.run("PUBLISH channel x"), ":0");
    let lines = list(&mut other);
    let line = lines.iter().find(|line| field(line, "id") == number.to_string()).unwrap();
    assert_eq!((field(line, "db"), field(line, "flags"), field(line, "watch")), ("0", "N", "0"));
}

#[test]
fn names_are_text_without_spaces() {
    let error = "-ERR Client names cannot contain spaces, newlines or special characters.";
    check(&[
        ("CLIENT", "-ERR wrong number of arguments for 'client' command"),
        ("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP."),
        ("CLIENT GETNAME", "nil"),
        ("CLIENT SETNAME \"a b\"", error),
        ("CLIENT SETNAME \"a\\nb\"", error),
        ("CLIENT SETNAME abc", "+OK"),
        ("client getname", "\"abc\""),
        ("CLIENT SETNAME \"\"", "+OK"),
        ("CLIENT GETNAME", "nil"),
        ("CLIENT GETNAME x", "-ERR wrong number of arguments for 'client|getname' command"),
        ("CLIENT NO-EVICT on", "+OK"),
        ("CLIENT NO-EVICT foo", "-ERR syntax error"),
        ("CLIENT UNBLOCK 99", ":0"),
        ("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range"),
        ("CLIENT UNBLOCK 99 FOO", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
    ]);
    // What Redis 7.0 does not have yet.
    let server = TestServer::start();
    let mut client = server.client();
    for (command, expected) in [
        ("CLIENT SETINFO LIB-NAME redis-py", "+OK"),
        ("CLIENT SETINFO lib-ver 8.1", "+OK"),
        (
            "CLIENT SETINFO LIB-NAME \"a b\"",
            "-ERR lib-name cannot contain spaces, newlines or special characters.",
        ),
        ("CLIENT SETINFO foo x", "-ERR Unrecognized option 'foo'"),
        ("CLIENT NO-TOUCH on", "+OK"),
        ("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-ip", "+OK"),
    ] {
        assert_eq!(client.run(command), expected, "{command}");
    }
    let info = client.call(&["CLIENT", "INFO"]);
    let info = String::from_utf8_lossy(info.bytes()).into_owned();
    assert_eq!((field(&info, "lib-name"), field(&info, "lib-ver")), ("redis-py", "8.1"));
    let help = client.call(&["CLIENT", "HELP"]);
    assert!(help.members().len() > 20);
}

#[test]
fn the_list_shows_what_clients_are_at() {
    let server = TestServer::start();
    // One after another: of two that connect at once, either may have the lower number.
    let mut client = server.client();
    let number = id(&mut client);
    let mut other = server.client();
    let other_number = id(&mut other);
    other.call(&["HELLO", "3", "SETNAME", "other"]);
    other.run("SELECT 3");
    other.run("CLIENT TRACKING ON BCAST");
    other.run("WATCH a b");
    other.run("MULTI");
    other.run("GET a");
    let lines = list(&mut client);
    assert_eq!(lines.len(), 2);
    assert_eq!(field(&lines[0], "id"), number.to_string());
    assert_eq!(field(&lines[0], "cmd"), "client|list");
    assert_eq!(field(&lines[0], "flags"), "N");
    let shown = &lines[1];
    assert_eq!(field(shown, "id"), other_number.to_string());
    for (name, expected) in [
        ("name", "other"),
        ("db", "3"),
        ("flags", "xtB"),
        ("multi", "1"),
        ("watch", "2"),
        ("resp", "3"),
        ("redir", "0"),
        ("cmd", "get"),
        ("user", "default"),
        ("laddr", &server.address().to_string()),
    ] {
        assert_eq!(field(shown, name), expected, "{name} in {shown}");
    }
    let only = client.call(&["CLIENT", "LIST", "ID", &other_number.to_string(), "12345"]);
    assert_eq!(String::from_utf8_lossy(only.bytes()).lines().count(), 1);
    let none = client.call(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    assert_eq!(none, bulk(""));
    for (command, expected) in [
        ("CLIENT LIST TYPE foo", "-ERR Unknown client type 'foo'"),
        ("CLIENT LIST TYPE master", "\"\""),
        ("CLIENT LIST ID", "-ERR syntax error"),
        ("CLIENT LIST ID x", "-ERR Invalid client ID"),
        ("CLIENT LIST FOO", "-ERR syntax error"),
    ] {
        assert_eq!(client.run(command), expected, "{command}");
    }
}

#[test]
fn clients_are_killed_by_what_they_are() {
    check(&[
        ("CLIENT KILL", "-ERR wrong number of arguments for 'client|kill' command"),
        ("CLIENT KILL 1.2.3.4:5", "-ERR No such client"),
        ("CLIENT KILL ID 0", "-ERR client-id should be greater than 0"),
        ("CLIENT KILL ID 99999", ":0"),
        ("CLIENT KILL TYPE foo", "-ERR Unknown client type 'foo'"),
        ("CLIENT KILL USER nobody", "-ERR No such user 'nobody'"),
        ("CLIENT KILL SKIPME maybe", "-ERR syntax error"),
        ("CLIENT KILL FOO bar", "-ERR syntax error"),
        ("CLIENT KILL ID 1 ADDR", "-ERR syntax error"),
    ]);
    let server = TestServer::start();
    let (mut client, mut other, mut subscriber) =
        (server.client(), server.client(), server.client());
    let me = id(&mut client);
    subscriber.run("SUBSCRIBE a");
    assert_eq!(client.run("CLIENT KILL TYPE pubsub"), ":1");
    assert!(subscriber.is_closed());
    let other_id = id(&mut other);
    assert_eq!(client.run(&format!("CLIENT KILL ID {other_id} TYPE pubsub")), ":0");
    assert_eq!(client.run(&format!("CLIENT KILL ID {other_id} USER default")), ":1");
    assert!(other.is_closed());
    assert_eq!(client.run(&format!("CLIENT KILL ID {me}")), ":0");
    assert_eq!(client.run("CLIENT KILL MAXAGE 1000 SKIPME no"), ":0");
    assert_eq!(client.run(&format!("CLIENT KILL ID {me} SKIPME no")), ":1");
    assert!(client.is_closed());
}

#[test]
fn a_client_that_does_not_read_its_replies_can_be_killed() {
    let server = TestServer::start();
    let (mut client, mut stuck) = (server.client(), server.client());
    let number = id(&mut stuck);
    assert_eq!(client.call(&[b"SET", &b"big"[..], &vec![b'x'; 1 << 20]]), RespValue::ok());
    stuck.send_raw(&b"GET big\r\n".repeat(100));
    // It is at the first of them at the earliest when its last command is shown as such.
    let shown =
        |line: &String| field(line, "id") == number.to_string() && field(line, "cmd") == "get";
    wait_until(|| list(&mut client).iter().any(shown));
    assert_eq!(client.run(&format!("CLIENT KILL ID {number}")), ":1");
    wait_until(|| list(&mut client).len() == 1);
}

#[test]
fn replies_can_be_switched_off_and_skipped() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.run("CLIENT REPLY FOO"), "-ERR syntax error");
    let mut run = |lines: &[&str]| {
        for line in lines {
            client.send(&line.split(' ').collect::<Vec<_>>());
        }
        client.reply().to_string()
    };
    assert_eq!(run(&["CLIENT REPLY SKIP", "PING lost", "PING found"]), "\"found\"");
    assert_eq!(run(&["CLIENT REPLY OFF", "PING", "FOO", "GET", "CLIENT REPLY ON"]), "+OK");
    assert_eq!(run(&["CLIENT REPLY OFF", "CLIENT REPLY SKIP", "PING", "CLIENT REPLY ON"]), "+OK");
    assert_eq!(run(&["CLIENT REPLY SKIP", "CLIENT REPLY ON"]), "+OK");
    assert_eq!(run(&["CLIENT REPLY SKIP", "RESET", "PING"]), "+PONG");
    assert_eq!(run(&["CLIENT REPLY OFF", "SUBSCRIBE", "SSUBSCRIBE", "CLIENT REPLY ON"]), "+OK");
    assert_eq!(run(&["PING last"]), "\"last\"");
}

#[test]
fn commands_wait_as_long_as_clients_are_paused() {
    let server = TestServer::start();
    let (mut client, mut other) = (server.client(), server.client());
    for (command, expected) in [
        ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range"),
        ("CLIENT PAUSE -1", "-ERR timeout is negative"),
        ("CLIENT PAUSE 10 FOO", "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
        ("CLIENT UNPAUSE", "+OK"),
        ("CLIENT PAUSE 1000000 WRITE", "+OK"),
        ("GET a", "nil"),
    ] {
        assert_eq!(client.run(command), expected, "{command}");
    }
    // Those that only read, or queue, go on.
    other.send_raw(b"GET a\r\nMULTI\r\nSET a 1\r\nEXEC\r\nGET a\r\n");
    let replies: Vec<_> = (0..3).map(|_| other.reply().to_string()).collect();
    assert_eq!(replies, ["nil", "+OK", "+QUEUED"]);
    assert_eq!(client.run("GET a"), "nil");
    assert_eq!(client.run("CLIENT UNPAUSE"), "+OK");
    assert_eq!(
        (other.reply().to_string(), other.reply().to_string()),
        ("[+OK]".into(), "\"1\"".into())
    );
    // All commands wait until the time has passed.
    let begun = Instant::now();
    assert_eq!(client.run("CLIENT PAUSE 50"), "+OK");
    assert_eq!(other.run("PING"), "+PONG");
    assert!(begun.elapsed() >= Duration::from_millis(50));
    // A command that waits does not keep the server from ending.
    assert_eq!(client.run("CLIENT PAUSE 1000000"), "+OK");
    other.send(&["PING"]);
    drop(server);
}

#[test]
fn a_name_that_would_fill_the_list_of_clients_is_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    let name = "x".repeat(2_000);
    assert!(client.call(&["CLIENT", "SETNAME", &name]).to_string().starts_with("-ERR"));
    assert!(client.call(&["CLIENT", "SETINFO", "LIB-NAME", &name]).to_string().starts_with("-ERR"));
    assert_eq!(client.run("CLIENT GETNAME"), "nil");
    assert_eq!(client.call(&["CLIENT", "SETNAME", &name[..1_000]]).to_string(), "+OK");
}
