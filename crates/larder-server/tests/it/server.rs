//! Commands about the server: what it is and does, its parameters, the list of its commands, its end.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use larder::Cache;
use larder_server::{Bytes, Hub, Persistence, Server, ServerConfig, Value};

use crate::client::{Client, RespValue, TestServer, check};

/// The text of a reply, which is a byte string or, in version 3, a text for people.
fn text(value: &RespValue) -> String {
    match value {
        RespValue::Verbatim(text) => text.clone(),
        other => String::from_utf8(other.bytes().to_vec()).unwrap(),
    }
}

/// The fields of `INFO`, as clients parse them.
fn info(client: &mut Client, sections: &[&str]) -> BTreeMap<String, String> {
    let reply = client.call(&[&["INFO"], sections].concat());
    let text = text(&reply);
    let lines = text.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn info_has_what_clients_parse() {
    let server = TestServer::start();
    let mut client = server.client();
    for (command, _) in [("SET a 1", 0), ("GET a", 0), ("GET b", 0), ("EXPIRE a 100", 0)] {
        client.run(command);
    }
    client.run("GET");
    let fields = info(&mut client, &[]);
    for (name, value) in [
        ("redis_version", "7.4.0"),
        ("redis_mode", "standalone"),
        ("loading", "0"),
        ("role", "master"),
        ("connected_clients", "1"),
        ("cluster_enabled", "0"),
        ("keyspace_hits", "1"),
        ("keyspace_misses", "1"),
        ("total_commands_processed", "6"),
        ("errorstat_ERR", "count=1"),
        ("maxmemory", "0"),
        ("larder_entries", "1"),
        ("larder_capacity", "100000"),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
    assert_eq!(fields["tcp_port"], server.address().port().to_string());
    assert_eq!(fields["run_id"].len(), 40);
    assert!(!fields.contains_key("cmdstat_get"));
    let (keys, ttl) = fields["db0"].split_once(",avg_ttl=").unwrap();
    assert_eq!(keys, "keys=1,expires=1");
    assert!((99_000..=100_000).contains(&ttl.parse().unwrap()));
    let used: u64 = fields["used_memory"].parse().unwrap();
    assert!((50..500).contains(&used), "{used}");
    if cfg!(target_os = "linux") {
        assert!(fields["used_memory_rss"].parse::<u64>().unwrap() > 1 << 20);
    }
}

#[test]
fn info_shows_the_sections_that_it_is_asked_for() {
    let server = TestServer::start();
    let mut client = server.client();
    client.run("SET a 1");
    assert_eq!(text(&client.call(&["INFO", "none"])), "");
    let two = text(&client.call(&["info", "KEYSPACE", "cluster"]));
    assert_eq!(
        two,
        "# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"
    );
    let counts = info(&mut client, &["commandstats"]);
    assert!(counts["cmdstat_info"].starts_with("calls=3,usec="), "{counts:?}");
    for (sections, title, is_shown) in [
        ("everything", "# Modules", true),
        ("all", "# Modules", false),
        ("all", "# Commandstats", true),
        ("default", "# Commandstats", false),
        ("default", "# Larder", true),
    ] {
        let text = text(&client.call(&["INFO", sections]));
        assert_eq!(text.contains(title), is_shown, "{title} of {sections}");
    }
    client.run("HELLO 3");
    assert!(matches!(client.call(&["INFO"]), RespValue::Verbatim(_)));
}

#[test]
fn the_keys_of_many_are_estimated() {
    let server = TestServer::start();
    for key in 0_u32..20_000 {
        let key = Bytes::from(format!("{key}").as_str());
        server.cache.insert(key, Value::from("0123456789"));
    }
    let fields = info(&mut server.client(), &["keyspace", "memory"]);
    let keys = fields["db0"].split_once(",expires=0").unwrap().0.strip_prefix("keys=").unwrap();
    assert_eq!(keys, "20000");
    let used: usize = fields["used_memory"].parse().unwrap();
    assert!((20_000 * 50..20_000 * 500).contains(&used), "{used}");
}

#[test]
fn counts_begin_anew_after_a_reset() {
    let server = TestServer::start();
    let mut client = server.client();
    for command in ["SET a 1", "GET a", "GET b", "FOO", "CONFIG RESETSTAT", "GET a"] {
        client.run(command);
    }
    let fields = info(&mut client, &["everything"]);
    assert_eq!((&*fields["keyspace_hits"], &*fields["keyspace_misses"]), ("1", "0"));
    assert!(!fields.contains_key("errorstat_ERR") && !fields.contains_key("cmdstat_set"));
    assert!(fields["cmdstat_get"].starts_with("calls=1,"));
    assert_eq!(fields["total_connections_received"], "0");
}

#[test]
fn parameters_are_read_and_changed() {
    let failed = |name: &str, reason: &str| {
        format!("-ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
    };
    let letters = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
    let failures = [
        ("CONFIG SET maxmemory foo", failed("maxmemory", "argument must be a memory value")),
        ("CONFIG SET databases 3", failed("databases", "can't set immutable config")),
        (
            "CONFIG SET maxclients 0",
            failed("maxclients", "argument must be between 1 and 4294967295 inclusive"),
        ),
        (
            "CONFIG SET maxclients x",
            failed("maxclients", "argument couldn't be parsed into an integer"),
        ),
        ("CONFIG SET hz 10 hz 11", failed("hz", "duplicate parameter")),
        ("CONFIG SET notify-keyspace-events zy", failed("notify-keyspace-events", letters)),
        ("CONFIG SET activedefrag maybe", failed("activedefrag", "argument must be 'yes' or 'no'")),
        (
            "CONFIG SET client-output-buffer-limit \"foo 1 2 3\"",
            failed(
                "client-output-buffer-limit",
                "Invalid client class specified in buffer limit configuration.",
            ),
        ),
        (
            "CONFIG SET timeout 5 proto-max-bulk-len 5",
            failed(
                "proto-max-bulk-len",
                "argument must be between 1048576 and 9223372036854775807 inclusive",
            ),
        ),
    ];
    let failures: Vec<_> =
        failures.iter().map(|(command, reply)| (*command, reply.as_str())).collect();
    let events = "CONFIG GET notify-keyspace-events";
    check(&[
        ("CONFIG SET timeout 0", "+OK"),
        ("CONFIG GET timeout", "[\"timeout\" \"0\"]"),
        ("CONFIG GET none", "[]"),
        ("CONFIG SET TimeOut 100 maxclients 5000", "+OK"),
        ("CONFIG GET timeo*", "[\"timeout\" \"100\"]"),
        ("CONFIG GET MAXCLI?NTS none", "[\"maxclients\" \"5000\"]"),
        ("CONFIG SET notify-keyspace-events KEA", "+OK"),
        (events, "[\"notify-keyspace-events\" \"AKE\"]"),
        ("CONFIG SET notify-keyspace-events Kg$", "+OK"),
        (events, "[\"notify-keyspace-events\" \"g$K\"]"),
        ("CONFIG SET notify-keyspace-events \"\"", "+OK"),
        (events, "[\"notify-keyspace-events\" \"\"]"),
        ("CONFIG SET proto-max-bulk-len 2mb", "+OK"),
        ("CONFIG GET proto-max-bulk-len", "[\"proto-max-bulk-len\" \"2097152\"]"),
        ("CONFIG SET proto-max-bulk-len 536870912", "+OK"),
        ("CONFIG SET hash-max-listpack-entries 7", "+OK"),
        ("CONFIG GET hash-max-listpack-entries", "[\"hash-max-listpack-entries\" \"7\"]"),
        ("CONFIG SET hash-max-listpack-entries 512", "+OK"),
        ("CONFIG SET foo 3", "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'"),
        ("CONFIG SET hz", "-ERR wrong number of arguments for 'config|set' command"),
        ("CONFIG SET hz 10 x", "-ERR syntax error"),
        ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command"),
        ("CONFIG foo", "-ERR unknown subcommand 'foo'. Try CONFIG HELP."),
        ("CONFIG REWRITE", "-ERR The server is running without a config file"),
        ("CONFIG SET timeout 0 maxclients 10000", "+OK"),
        ("CONFIG GET databases", "[\"databases\" \"16\"]"),
        ("CONFIG GET appendonly", "[\"appendonly\" \"no\"]"),
        ("CONFIG RESETSTAT", "+OK"),
    ]);
    check(&failures);
    // What was set before the failure is as it was.
    check(&[failures[8], ("CONFIG GET timeout", "[\"timeout\" \"0\"]")]);
}

#[test]
fn the_bound_on_weight_is_changed_by_its_parameter() {
    let server = TestServer::start_with(
        |builder| builder.max_weight(1 << 20).weigher(|_, _| 1000).partitions(1),
        |_| {},
    );
    let mut client = server.client();
    assert_eq!(client.run("CONFIG GET maxmemory"), "[\"maxmemory\" \"1048576\"]");
    assert_eq!(client.run("CONFIG SET maxmemory 100kb"), "+OK");
    assert_eq!(server.cache.max_weight(), Some(102_400));
    assert_eq!(client.run("CONFIG SET maxmemory 0"), "+OK");
    assert_eq!(client.run("CONFIG GET maxmemory"), "[\"maxmemory\" \"0\"]");
    for key in 0..200 {
        client.call(&["SET", &key.to_string(), "x"]);
    }
    assert_eq!(client.run("DBSIZE"), ":200");
    assert_eq!(client.run("CONFIG SET maxmemory 10k"), "+OK");
    server.cache.run_pending();
    assert_eq!(client.run("DBSIZE"), ":10");
    let unbounded = TestServer::start();
    let reply = unbounded.client().run("CONFIG SET maxmemory 1gb");
    assert!(reply.contains("the cache was built without that bound"), "{reply}");
}

#[test]
fn what_cannot_change_may_be_set_to_what_it_is() {
    let server = TestServer::start();
    let mut client = server.client();
    let port = server.address().port();
    assert_eq!(client.run(&format!("CONFIG SET bind 127.0.0.1 port {port} daemonize no")), "+OK");
    let reply = client.run("CONFIG SET daemonize yes");
    assert!(reply.ends_with("'daemonize') - can't set immutable config"), "{reply}");
}

#[test]
fn commands_that_would_add_are_refused_while_no_entry_fits() {
    let server =
        TestServer::start_with(|builder| builder.max_weight(1 << 20).weigher(|_, _| 1000), |_| {});
    let mut client = server.client();
    let refusal = "OOM command not allowed when used memory > 'maxmemory'.";
    client.run("SET a 1");
    assert_eq!(client.run("CONFIG SET maxmemory 1"), "+OK");
    assert_eq!(client.run("CONFIG GET maxmemory"), "[\"maxmemory\" \"1\"]");
    assert_eq!(client.run("DBSIZE"), ":0");
    assert_eq!(client.run("SET a 2"), format!("-{refusal}"));
    assert_eq!(client.run("GET a"), "nil");
    assert_eq!(client.run("DEL a"), ":0");
    // Queued before: the transaction fails as a whole, unless it only reads.
    assert_eq!(client.run("CONFIG SET maxmemory 0"), "+OK");
    let mut other = server.client();
    for (queued, executed) in [
        ("SET a 3", format!("-EXECABORT Transaction discarded because of: {refusal}")),
        ("GET a", "[nil]".to_owned()),
    ] {
        client.run("MULTI");
        assert_eq!(client.run(queued), "+QUEUED");
        assert_eq!(other.run("CONFIG SET maxmemory 100b"), "+OK");
        assert_eq!(client.run("EXEC"), executed);
        assert_eq!(other.run("CONFIG SET maxmemory 0"), "+OK");
    }
    assert_eq!(client.run("SET a 4"), "+OK");
    assert_eq!(client.run("GET a"), "\"4\"");
}

#[test]
fn limits_of_requests_and_clients_change_at_once() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.run("CONFIG SET proto-max-bulk-len 1mb maxclients 1"), "+OK");
    client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1048577\r\n");
    assert_eq!(client.reply().to_string(), "-ERR Protocol error: invalid bulk length");
    // The connection takes the only place until it has ended.
    assert!(client.is_closed());
    let config = ServerConfig::default();
    assert_eq!(config.max_clients, 10_000);
    let refused = TestServer::start();
    let mut first = refused.client();
    assert_eq!(first.run("CONFIG SET maxclients 1"), "+OK");
    let mut second = refused.client();
    assert_eq!(second.reply().to_string(), "-ERR max number of clients reached");
    assert!(second.is_closed());
}

#[test]
fn a_password_that_is_set_holds_for_those_who_come_later() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.run("CONFIG SET requirepass secret"), "+OK");
    assert_eq!(client.run("PING"), "+PONG");
    assert_eq!(server.client().run("PING"), "-NOAUTH Authentication required.");
    assert_eq!(client.run("CONFIG GET requirepass"), "[\"requirepass\" \"secret\"]");
    assert_eq!(client.run("CONFIG SET requirepass \"\""), "+OK");
    assert_eq!(server.client().run("PING"), "+PONG");
}

#[test]
fn commands_that_only_administrators_of_redis_need_are_answered() {
    check(&[
        ("SLOWLOG GET x", "-ERR count should be greater than or equal to -1"),
        ("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1"),
        ("SLOWLOG RESET", "+OK"),
        ("LATENCY LATEST", "[]"),
        ("LATENCY HISTORY command", "[]"),
        ("LATENCY RESET", ":0"),
        ("LATENCY foo", "-ERR unknown subcommand 'foo'. Try LATENCY HELP."),
        ("FUNCTION FLUSH", "+OK"),
        ("FUNCTION FLUSH ASYNC", "+OK"),
        ("FUNCTION FLUSH foo", "-ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
        ("ACL WHOAMI", "\"default\""),
        ("CLUSTER INFO", "-ERR This instance has cluster support disabled"),
        ("SHUTDOWN foo", "-ERR syntax error"),
        ("SHUTDOWN ABORT", "-ERR No shutdown in progress."),
        ("TIME x", "-ERR wrong number of arguments for 'time' command"),
        ("LASTSAVE x", "-ERR wrong number of arguments for 'lastsave' command"),
    ]);
}

#[test]
fn no_command_is_kept_as_slow() {
    let server = TestServer::start();
    let mut client = server.client();
    for (command, reply) in [("SLOWLOG GET", "[]"), ("SLOWLOG GET 10", "[]"), ("SLOWLOG LEN", ":0")]
    {
        assert_eq!(client.run(command), reply, "{command}");
    }
}

#[test]
fn the_time_is_that_of_the_system() {
    let server = TestServer::start();
    let mut client = server.client();
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(now.as_micros()).unwrap()
    };
    let (before, reply, after) = (now(), client.call(&["TIME"]), now());
    let [seconds, microseconds] = reply.members() else { panic!("{reply}") };
    let number = |value: &RespValue| text(value).parse::<i64>().unwrap();
    let told = number(seconds) * 1_000_000 + number(microseconds);
    assert!(before <= told && told <= after);
    let saved = client.call(&["LASTSAVE"]).integer();
    assert!(saved <= after / 1_000_000 && saved > after / 1_000_000 - 600);
    assert!(text(&client.call(&["LOLWUT"])).starts_with("larder "));
}

#[test]
fn commands_are_listed_with_their_keys() {
    check(&[
        ("COMMAND GETKEYS GET a", "[\"a\"]"),
        ("COMMAND GETKEYS DEL a b c", "[\"a\" \"b\" \"c\"]"),
        ("COMMAND GETKEYS RENAME a b", "[\"a\" \"b\"]"),
        ("COMMAND GETKEYS foo a", "-ERR Invalid command specified"),
        ("COMMAND GETKEYS DBSIZE x", "-ERR The command has no key arguments"),
        ("COMMAND GETKEYS GET a b", "-ERR Invalid number of arguments specified for command"),
        ("COMMAND GETKEYS", "-ERR wrong number of arguments for 'command|getkeys' command"),
        ("COMMAND LIST FILTERBY PATTERN mov?", "[\"move\"]"),
        ("COMMAND LIST FILTERBY MODULE x", "[]"),
        ("COMMAND LIST FILTERBY foo x", "-ERR syntax error"),
        ("COMMAND foo", "-ERR unknown subcommand 'foo'. Try COMMAND HELP."),
        ("COMMAND DOCS none", "[]"),
    ]);
    let server = TestServer::start();
    let mut client = server.client();
    let count = client.call(&["COMMAND", "COUNT"]).integer();
    for command in [&["COMMAND"][..], &["COMMAND", "INFO"], &["COMMAND", "LIST"]] {
        assert_eq!(i64::try_from(client.call(command).members().len()), Ok(count));
    }
    let both = client.call(&["COMMAND", "INFO", "get", "none"]);
    assert_eq!(
        both.to_string(),
        "[[\"get\" :2 [+readonly +fast] :1 :1 :1 [+@string +@read +@fast] [] [] []] nil]"
    );
    let docs = client.call(&["COMMAND", "DOCS", "GET", "get"]);
    assert_eq!(docs.members().len(), 2);
    let group = docs.field("get").and_then(|docs| docs.field("group"));
    assert_eq!(group.map(text).as_deref(), Some("string"));
    client.run("HELLO 3");
    assert!(matches!(client.call(&["COMMAND", "DOCS"]), RespValue::Map(all) if all.len() > 20));
}

/// A server that saves at its end, and what a client says to end it. Returns whether it has saved.
fn saves_when_told(command: &[&str]) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved");
    let hub = Hub::new();
    let cache: Cache<Bytes, Value> =
        Cache::builder().capacity(100).listener(hub.listener()).build().unwrap();
    let mut config = ServerConfig::default();
    config.address.set_port(0);
    config.persistence = Persistence::to(&path);
    let server = Server::start(cache, hub, config).unwrap();
    let mut client = Client::connect(server.address());
    assert_eq!(client.run("SET a 1"), "+OK");
    client.send(command);
    assert!(client.is_closed());
    server.wait_for_shutdown_command();
    server.shutdown().unwrap();
    path.exists()
}

#[test]
fn a_client_ends_the_server_and_says_whether_it_saves() {
    assert!(saves_when_told(&["SHUTDOWN"]));
    assert!(saves_when_told(&["SHUTDOWN", "SAVE"]));
    assert!(!saves_when_told(&["SHUTDOWN", "NOSAVE", "NOW"]));
    let server = TestServer::start();
    let reply = server.client().run("SHUTDOWN SAVE");
    assert!(reply.starts_with("-ERR no file to save to"), "{reply}");
}
