//! Commands about strings.

use std::time::Duration;

use crate::client::{RespValue, TestServer, array, bulk, check};

#[test]
fn a_string_is_read_as_it_was_set() {
    check(&[
        ("GET a", "nil"),
        ("SET a 1", "+OK"),
        ("GET a", "\"1\""),
        ("set \"\" \"\\x00\\r\\n\"", "+OK"),
        ("GeT \"\"", "\"\\x00\\r\\n\""),
        ("SET a \"\"", "+OK"),
        ("GET a", "\"\""),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("GET a b", "-ERR wrong number of arguments for 'get' command"),
        ("SET a", "-ERR wrong number of arguments for 'set' command"),
        ("SET", "-ERR wrong number of arguments for 'set' command"),
        ("SET a b c", "-ERR syntax error"),
    ]);
}

#[test]
fn set_keeps_to_its_conditions() {
    check(&[
        ("SET a 1 XX", "nil"),
        ("GET a", "nil"),
        ("SET a 1 NX", "+OK"),
        ("SET a 2 NX", "nil"),
        ("SET a 2 xx", "+OK"),
        ("GET a", "\"2\""),
        ("SET a 3 NX XX", "-ERR syntax error"),
        ("SET a 3 XX NX", "-ERR syntax error"),
        ("SET a 3 NX NX", "nil"),
        ("SET b 3 nx nX", "+OK"),
        ("GET b", "\"3\""),
    ]);
}

#[test]
fn set_with_get_returns_the_old_string() {
    check(&[
        ("SET a 1 GET", "nil"),
        ("SET a 2 GET", "\"1\""),
        ("SET a 3 XX GET", "\"2\""),
        ("SET a 4 GET NX", "\"3\""),
        ("GET a", "\"3\""),
        ("SET b 1 NX GET", "nil"),
        ("SET b 2 NX GET", "\"1\""),
        ("GET b", "\"1\""),
        ("SET c 1 XX GET", "nil"),
        ("GET c", "nil"),
        ("SET a 5 GET GET EX 100", "\"3\""),
        ("SET a 6 KEEPTTL GET", "\"5\""),
        ("HSET h f v", ":1"),
        ("SET h 1 GET", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SET h 1 NX GET", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SET h 1 NX", "nil"),
        ("HGET h f", "\"v\""),
        ("SET h 1", "+OK"),
        ("GET h", "\"1\""),
    ]);
}

#[test]
fn options_of_set_that_contradict_each_other_are_an_error() {
    check(&[
        ("SET a 1 EX", "-ERR syntax error"),
        ("SET a 1 EX 10 PX 10", "-ERR syntax error"),
        ("SET a 1 EX 10 EXAT 10", "-ERR syntax error"),
        ("SET a 1 KEEPTTL EX 10", "-ERR syntax error"),
        ("SET a 1 EX 10 KEEPTTL", "-ERR syntax error"),
        ("SET a 1 PXAT 10 EXAT 10", "-ERR syntax error"),
        ("SET a 1 PERSIST", "-ERR syntax error"),
        ("SET a 1 KEEPTTL KEEPTTL", "+OK"),
        ("SET a 1 EX 10 EX 20", "+OK"),
        ("SET a 1 EX NX", "-ERR value is not an integer or out of range"),
        ("SET a 1 NX EX", "-ERR syntax error"),
        ("SET a 1 XX EX 10 NX", "-ERR syntax error"),
        ("SET a 1 10", "-ERR syntax error"),
    ]);
}

#[test]
fn times_of_set_that_cannot_be_are_an_error() {
    check(&[
        ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 EX -1", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 PX 0", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 EXAT 0", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 PXAT -5", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 EX ten", "-ERR value is not an integer or out of range"),
        ("SET a 1 EX 1.5", "-ERR value is not an integer or out of range"),
        ("SET a 1 EX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 EX 9223372036854776", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 EX 9223372036854775", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 PX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
        ("SET a 1 PX 9223372036854775808", "-ERR value is not an integer or out of range"),
        ("SET a 1 EXAT 9223372036854776", "-ERR invalid expire time in 'set' command"),
        ("SETEX a 0 1", "-ERR invalid expire time in 'setex' command"),
        ("SETEX a -1 1", "-ERR invalid expire time in 'setex' command"),
        ("SETEX a x 1", "-ERR value is not an integer or out of range"),
        ("SETEX a 9223372036854775807 1", "-ERR invalid expire time in 'setex' command"),
        ("SETEX a 10", "-ERR wrong number of arguments for 'setex' command"),
        ("PSETEX a 0 1", "-ERR invalid expire time in 'psetex' command"),
        ("PSETEX a 9223372036854775807 1", "-ERR invalid expire time in 'psetex' command"),
        ("PSETEX a 10 1 1", "-ERR wrong number of arguments for 'psetex' command"),
        ("GET a", "nil"),
        ("SETEX a 10 1", "+OK"),
        ("GET a", "\"1\""),
        ("PSETEX a 10000 2", "+OK"),
        ("GET a", "\"2\""),
    ]);
}

#[test]
fn a_time_in_the_past_removes_the_key() {
    check(&[
        ("SET a 1", "+OK"),
        ("SET a 2 EXAT 1", "+OK"),
        ("GET a", "nil"),
        ("SET a 2 PXAT 1", "+OK"),
        ("GET a", "nil"),
        ("SET a 1", "+OK"),
        ("SET a 2 PXAT 1 GET", "\"1\""),
        ("GET a", "nil"),
        ("SET a 1", "+OK"),
        ("SET a 2 PXAT 1 NX", "nil"),
        ("GET a", "\"1\""),
        ("SET b 1 XX PXAT 1", "nil"),
        ("SET b 1 NX PXAT 1", "+OK"),
        ("GET b", "nil"),
        ("SET b 1 GET EXAT 1", "nil"),
    ]);
}

#[test]
fn getset_and_setnx_say_what_was_there() {
    check(&[
        ("GETSET a 1", "nil"),
        ("GETSET a 2", "\"1\""),
        ("GET a", "\"2\""),
        ("SETNX a 3", ":0"),
        ("SETNX b 3", ":1"),
        ("GET b", "\"3\""),
        ("GETSET", "-ERR wrong number of arguments for 'getset' command"),
        ("GETSET a", "-ERR wrong number of arguments for 'getset' command"),
        ("SETNX a", "-ERR wrong number of arguments for 'setnx' command"),
        ("HSET h f v", ":1"),
        ("GETSET h 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SETNX h 1", ":0"),
        ("GETDEL h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GETDEL a", "\"2\""),
        ("GETDEL a", "nil"),
        ("GETDEL", "-ERR wrong number of arguments for 'getdel' command"),
        ("GETDEL a b", "-ERR wrong number of arguments for 'getdel' command"),
    ]);
}

#[test]
fn getex_reads_and_checks_its_options() {
    check(&[
        ("GETEX a", "nil"),
        ("GETEX a EX 0", "nil"),
        ("GETEX a EX x", "nil"),
        ("SET a 1", "+OK"),
        ("GETEX a", "\"1\""),
        ("GETEX a EX 0", "-ERR invalid expire time in 'getex' command"),
        ("GETEX a PX -1", "-ERR invalid expire time in 'getex' command"),
        ("GETEX a EX x", "-ERR value is not an integer or out of range"),
        ("GETEX a EX 9223372036854775807", "-ERR invalid expire time in 'getex' command"),
        ("GETEX a PX 9223372036854775807", "-ERR invalid expire time in 'getex' command"),
        ("GETEX a EX", "-ERR syntax error"),
        ("GETEX a EX 10 PERSIST", "-ERR syntax error"),
        ("GETEX a PERSIST EX 10", "-ERR syntax error"),
        ("GETEX a EX 10 PX 10", "-ERR syntax error"),
        ("GETEX a KEEPTTL", "-ERR syntax error"),
        ("GETEX a NX", "-ERR syntax error"),
        ("GETEX a GET", "-ERR syntax error"),
        ("GETEX a PERSIST PERSIST", "\"1\""),
        ("GETEX a EX 10 EX 20", "\"1\""),
        ("GETEX a PXAT 9999999999999", "\"1\""),
        ("GETEX a EXAT 9999999999", "\"1\""),
        ("GETEX a EXAT 1", "\"1\""),
        ("GET a", "nil"),
        ("GETEX", "-ERR wrong number of arguments for 'getex' command"),
        ("HSET h f v", ":1"),
        ("GETEX h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GETEX h EX 10", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GETEX h EX 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GETEX h PERSIST", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

#[test]
fn append_adds_to_the_end() {
    check(&[
        ("APPEND a 1", ":1"),
        ("APPEND a 23", ":3"),
        ("GET a", "\"123\""),
        ("APPEND a \"\"", ":3"),
        ("APPEND b \"\"", ":0"),
        ("GET b", "\"\""),
        ("STRLEN a", ":3"),
        ("STRLEN b", ":0"),
        ("STRLEN c", ":0"),
        ("APPEND a", "-ERR wrong number of arguments for 'append' command"),
        ("STRLEN a b", "-ERR wrong number of arguments for 'strlen' command"),
        ("HSET h f v", ":1"),
        ("APPEND h 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("STRLEN h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

#[test]
fn getrange_takes_positions_from_both_ends() {
    check(&[
        ("SET a \"This is a string\"", "+OK"),
        ("GETRANGE a 0 3", "\"This\""),
        ("GETRANGE a -3 -1", "\"ing\""),
        ("GETRANGE a 0 -1", "\"This is a string\""),
        ("GETRANGE a 10 100", "\"string\""),
        ("GETRANGE a 5 3", "\"\""),
        ("GETRANGE a -1 -3", "\"\""),
        ("GETRANGE a -100 3", "\"This\""),
        ("GETRANGE a -100 -50", "\"T\""),
        ("GETRANGE a 100 200", "\"\""),
        ("GETRANGE a 15 15", "\"g\""),
        ("GETRANGE a 16 16", "\"\""),
        ("GETRANGE a 0 9223372036854775807", "\"This is a string\""),
        ("GETRANGE a -9223372036854775808 9223372036854775807", "\"This is a string\""),
        ("GETRANGE a 0 -9223372036854775808", "\"T\""),
        ("GETRANGE a -100 -100", "\"T\""),
        ("GETRANGE a 0 -100", "\"T\""),
        ("SUBSTR a -6 -1", "\"string\""),
        ("GETRANGE b 0 -1", "\"\""),
        ("GETRANGE a x 1", "-ERR value is not an integer or out of range"),
        ("GETRANGE a 0 1.0", "-ERR value is not an integer or out of range"),
        ("GETRANGE b x 1", "-ERR value is not an integer or out of range"),
        ("GETRANGE a 0", "-ERR wrong number of arguments for 'getrange' command"),
        ("SUBSTR a 0", "-ERR wrong number of arguments for 'substr' command"),
        ("SET e \"\"", "+OK"),
        ("GETRANGE e 0 0", "\"\""),
        ("HSET h f v", ":1"),
        ("GETRANGE h 0 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

#[test]
fn setrange_overwrites_and_fills_with_zeros() {
    check(&[
        ("SETRANGE a 0 \"\"", ":0"),
        ("SETRANGE a 5 \"\"", ":0"),
        ("GET a", "nil"),
        ("SETRANGE a 3 xyz", ":6"),
        ("GET a", "\"\\x00\\x00\\x00xyz\""),
        ("SETRANGE a 1 b", ":6"),
        ("GET a", "\"\\x00b\\x00xyz\""),
        ("SETRANGE a 0 0123456789", ":10"),
        ("SETRANGE a 10 \"\"", ":10"),
        ("GET a", "\"0123456789\""),
        ("SETRANGE a -1 x", "-ERR offset is out of range"),
        ("SETRANGE a x x", "-ERR value is not an integer or out of range"),
        ("SETRANGE a 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        (
            "SETRANGE a 536870911 xy",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
        (
            "SETRANGE a 9223372036854775807 x",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
        ("SETRANGE b 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        (
            "SETRANGE b 4611686018427387904 x",
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
        ("SETRANGE b 536870912 \"\"", ":0"),
        ("GET b", "nil"),
        ("SETRANGE a 1", "-ERR wrong number of arguments for 'setrange' command"),
        ("HSET h f v", ":1"),
        ("SETRANGE h 0 x", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SETRANGE h 0 \"\"", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SETRANGE h -1 \"\"", "-ERR offset is out of range"),
    ]);
}

#[test]
fn mset_and_mget_take_many_keys() {
    check(&[
        ("MSET a 1 b 2 a 3", "+OK"),
        ("MGET a b c", "[\"3\" \"2\" nil]"),
        ("HSET h f v", ":1"),
        ("MGET a h b", "[\"3\" nil \"2\"]"),
        ("MGET", "-ERR wrong number of arguments for 'mget' command"),
        ("MSET", "-ERR wrong number of arguments for 'mset' command"),
        ("MSET a", "-ERR wrong number of arguments for 'mset' command"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
        ("MSET a 1 b 2 c", "-ERR wrong number of arguments for 'mset' command"),
        ("MSETNX c 1 d 2 c 3", ":1"),
        ("MGET c d", "[\"3\" \"2\"]"),
        ("MSETNX e 1 d 2", ":0"),
        ("GET e", "nil"),
        ("MSETNX h 1 e 2", ":0"),
        ("MSETNX e 1 f", "-ERR wrong number of arguments for 'msetnx' command"),
        ("MSETNX e", "-ERR wrong number of arguments for 'msetnx' command"),
        ("MSET h 1", "+OK"),
        ("GET h", "\"1\""),
    ]);
}

#[test]
fn lcs_finds_the_longest_common_subsequence() {
    check(&[
        ("MSET a ohmytext b mynewtext", "+OK"),
        ("LCS a b", "\"mytext\""),
        ("LCS a b LEN", ":6"),
        ("LCS a b IDX", "[\"matches\" [[[:4 :7] [:5 :8]] [[:2 :3] [:0 :1]]] \"len\" :6]"),
        ("LCS a b IDX MINMATCHLEN 4", "[\"matches\" [[[:4 :7] [:5 :8]]] \"len\" :6]"),
        (
            "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
            "[\"matches\" [[[:4 :7] [:5 :8] :4]] \"len\" :6]",
        ),
        (
            "LCS a b idx withmatchlen minmatchlen -1",
            "[\"matches\" [[[:4 :7] [:5 :8] :4] [[:2 :3] [:0 :1] :2]] \"len\" :6]",
        ),
        ("LCS a b IDX MINMATCHLEN 5", "[\"matches\" [] \"len\" :6]"),
        ("LCS a b WITHMATCHLEN", "\"mytext\""),
        ("LCS a b LEN IDX", "-ERR If you want both the length and indexes, please just use IDX."),
        ("LCS a b MINMATCHLEN", "-ERR syntax error"),
        ("LCS a b MINMATCHLEN x", "-ERR value is not an integer or out of range"),
        ("LCS a b OTHER", "-ERR syntax error"),
        ("LCS a", "-ERR wrong number of arguments for 'lcs' command"),
        ("LCS a missing", "\"\""),
        ("LCS missing missing LEN", ":0"),
        ("LCS missing a IDX", "[\"matches\" [] \"len\" :0]"),
        ("LCS a a IDX WITHMATCHLEN", "[\"matches\" [[[:0 :7] [:0 :7] :8]] \"len\" :8]"),
        ("MSET x aXbXcXdX y aYbYYcYd", "+OK"),
        (
            "LCS x y IDX WITHMATCHLEN",
            "[\"matches\" [[[:6 :6] [:7 :7] :1] [[:4 :4] [:5 :5] :1] [[:2 :2] [:2 :2] :1] [[:0 :0] [:0 :0] :1]] \"len\" :4]",
        ),
        ("LCS y x", "\"abcd\""),
        ("HSET h f v", ":1"),
        ("LCS a h", "-ERR The specified keys must contain string values"),
        ("LCS h missing OTHER", "-ERR The specified keys must contain string values"),
    ]);
}

#[test]
fn replies_have_the_form_of_the_version_that_the_client_chose() {
    let server = TestServer::start();
    let mut client = server.client();
    assert_eq!(client.call(&["SET", "a", "1"]), RespValue::ok());
    let old = client.call(&["HELLO", "2"]);
    assert_eq!(old.field("modules"), Some(&array([])));
    assert_eq!(old.members().len(), 14);
    let new = client.call(&["HELLO", "3"]);
    assert!(matches!(new, RespValue::Map(_)));
    assert_eq!(new.field("server"), Some(&bulk("redis")));
    assert_eq!(new.field("proto").unwrap().integer(), 3);
    assert_eq!(client.call(&["GET", "a"]).bytes(), b"1");
    assert_eq!(client.run("MGET a b"), "[\"1\" nil]");
    assert_eq!(client.run("LCS a a IDX"), "{\"matches\" => [[[:0 :0] [:0 :0]]], \"len\" => :1}");
    client.send(&["GET", "b"]);
    client.send_raw(b"QUIT\r\n");
    assert_eq!(client.reply(), RespValue::Null);
    assert_eq!(client.reply(), RespValue::ok());
    assert!(client.is_closed());
    assert_eq!(client.take_pushes(), []);
}

/// How long a key has left, in whole seconds, rounded up.
fn seconds_left(server: &TestServer, key: &str) -> Option<u64> {
    let left = server.time_to_live(key)?;
    Some(left.as_secs() + u64::from(left.subsec_nanos() > 0))
}

#[test]
fn a_write_sets_keeps_or_drops_the_deadline() {
    let server = TestServer::start();
    let mut client = server.client();
    // Each command, and the seconds that the key has left then.
    for (command, left) in [
        ("SET a 1", None),
        ("SET a 1 EX 100", Some(100)),
        ("SET a 1 PX 200000 XX", Some(200)),
        ("SET a 1 NX EX 5", Some(200)),
        ("SET a 1 KEEPTTL", Some(200)),
        ("SET a 1 XX KEEPTTL GET", Some(200)),
        ("SETNX a 2", Some(200)),
        ("APPEND a 1", Some(200)),
        ("SETRANGE a 0 2", Some(200)),
        ("INCR a", Some(200)),
        ("INCRBYFLOAT a 0.5", Some(200)),
        ("SETBIT a 0 0", Some(200)),
        ("GET a", Some(200)),
        ("GETEX a", Some(200)),
        ("GETEX a EX 50", Some(50)),
        ("GETEX a PX 60000", Some(60)),
        ("GETEX a PERSIST", None),
        ("GETEX a PERSIST", None),
        ("SETEX a 70 1", Some(70)),
        ("GETSET a 2", None),
        ("PSETEX a 80000 1", Some(80)),
        ("MSET a 1", None),
        ("SET a 1 EX 90", Some(90)),
        ("SET a 1 GET", None),
        ("SET a 1 EX 90 GET", Some(90)),
        ("SET a 1", None),
        ("SET b 1 KEEPTTL", None),
        ("SET a 1 EX 9000000000", Some(9_000_000_000)),
    ] {
        let reply = client.run(command);
        assert!(!reply.starts_with('-'), "{command}: {reply}");
        assert_eq!(seconds_left(&server, "a"), left, "{command}");
    }
    assert_eq!(seconds_left(&server, "b"), None);
}

#[test]
fn a_deadline_on_the_clock_is_kept() {
    let server = TestServer::start();
    let mut client = server.client();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let in_an_hour = now + Duration::from_secs(3600);
    for command in [
        format!("SET a 1 EXAT {}", in_an_hour.as_secs()),
        format!("SET a 1 PXAT {}", in_an_hour.as_millis()),
        format!("GETEX a EXAT {}", in_an_hour.as_secs()),
        format!("GETEX a PXAT {}", in_an_hour.as_millis()),
    ] {
        client.run(&command);
        let left = server.time_to_live("a").unwrap();
        // The commands take less than a minute.
        assert!((3540..=3600).contains(&left.as_secs()), "{command}: {left:?}");
    }
}

#[test]
fn a_string_becomes_no_longer_than_the_limit() {
    let server = TestServer::start_with(
        |builder| builder,
        |config| config.request_limits.argument_bytes = 100,
    );
    let mut client = server.client();
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    let bad_offset = "-ERR bit offset is not an integer or out of range";
    client.call(&["SET", "a", &"x".repeat(60)]);
    assert_eq!(client.call(&["APPEND", "a", &"y".repeat(41)]).to_string(), too_long);
    assert_eq!(client.call(&["APPEND", "a", &"y".repeat(40)]).integer(), 100);
    assert_eq!(client.run("APPEND a y"), too_long);
    assert_eq!(client.run("SETRANGE a 99 z"), ":100");
    assert_eq!(client.run("SETRANGE a 100 z"), too_long);
    assert_eq!(client.run("SETRANGE b 99 z"), ":100");
    assert_eq!(client.run("SETRANGE c 99 zz"), too_long);
    assert_eq!(client.run("SETBIT d 799 1"), ":0");
    assert_eq!(client.run("SETBIT d 800 1"), bad_offset);
    assert_eq!(client.run("GETBIT d 800"), bad_offset);
    assert_eq!(client.run("MGET c"), "[nil]");
    assert_eq!(client.run("STRLEN a"), ":100");
    let reply = client.run("LCS a a LEN");
    assert!(reply.contains("transient memory for LCS exceeds proto-max-bulk-len"), "{reply}");
    assert_eq!(
        client.run("LCS a missing LEN"),
        "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
    );
}

#[test]
fn a_reply_becomes_no_longer_than_a_request_may_be() {
    let server = TestServer::start_with(
        |builder| builder,
        |config| config.request_limits.request_bytes = 10_000,
    );
    let mut client = server.client();
    client.call(&["SET", "a", &"x".repeat(5000)]);
    client.call(&["HSET", "h", "f", &"x".repeat(5000)]);
    let too_long = "-ERR the reply is longer than a request may be; ask for less at once";
    assert_eq!(client.run("MGET a").len(), 5004);
    assert_eq!(client.run("MGET a a"), too_long);
    assert_eq!(client.run("HMGET h f f"), too_long);
    assert_eq!(client.run("HMGET h f x x x x x x x x").len(), 5004 + 8 * 4);
    assert_eq!(client.run("HMGET h f f f f f f f f f"), too_long);
}

#[test]
fn memcached_flags_stay_with_a_string_that_is_changed() {
    use larder_server::{Bytes, Value};
    let server = TestServer::start();
    let mut client = server.client();
    server.cache.insert(Bytes::from("a"), Value::with_flags((*b"1").into(), 7));
    for command in ["APPEND a 2", "INCR a", "INCRBYFLOAT a 1", "SETRANGE a 1 0", "SETBIT a 7 0"] {
        client.run(command);
        assert_eq!(server.cache.get(b"a".as_slice()).unwrap().flags(), 7, "{command}");
    }
    client.run("SET a 1");
    assert_eq!(server.cache.get(b"a".as_slice()).unwrap().flags(), 0);
}
