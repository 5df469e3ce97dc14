//! Commands about small hashes.

use larder_server::MAX_HASH_BYTES;

use crate::client::{TestServer, check};

#[test]
fn fields_are_set_and_read() {
    check(&[
        ("HSET h a 1 b 2", ":2"),
        ("HSET h a 3 c 4 c 5", ":1"),
        ("HGET h a", "\"3\""),
        ("HGET h c", "\"5\""),
        ("HGET h missing", "nil"),
        ("HGET missing a", "nil"),
        ("HGETALL h", "[\"a\" \"3\" \"b\" \"2\" \"c\" \"5\"]"),
        ("HKEYS h", "[\"a\" \"b\" \"c\"]"),
        ("HVALS h", "[\"3\" \"2\" \"5\"]"),
        ("HLEN h", ":3"),
        ("HMGET h a missing c a", "[\"3\" nil \"5\" \"3\"]"),
        ("HMGET missing a b", "[nil nil]"),
        ("HEXISTS h a", ":1"),
        ("HEXISTS h missing", ":0"),
        ("HEXISTS missing a", ":0"),
        ("HSTRLEN h a", ":1"),
        ("HSTRLEN h missing", ":0"),
        ("HSTRLEN missing a", ":0"),
        ("HGETALL missing", "[]"),
        ("HKEYS missing", "[]"),
        ("HVALS missing", "[]"),
        ("HLEN missing", ":0"),
        ("HMSET h a 1 d 2", "+OK"),
        ("HMSET new a 1", "+OK"),
        ("HSETNX h a 9", ":0"),
        ("HSETNX h e 9", ":1"),
        ("HSETNX fresh a 1", ":1"),
        ("HGETALL h", "[\"a\" \"1\" \"b\" \"2\" \"c\" \"5\" \"d\" \"2\" \"e\" \"9\"]"),
        ("HSET h \"\" \"\"", ":1"),
        ("HGET h \"\"", "\"\""),
    ]);
}

#[test]
fn fields_are_removed_and_the_last_one_takes_the_key_along() {
    check(&[
        ("HSET h a 1 b 2 c 3", ":3"),
        ("HDEL h a", ":1"),
        ("HDEL h a", ":0"),
        ("HDEL h a b b missing", ":1"),
        ("HLEN h", ":1"),
        ("HDEL h c", ":1"),
        ("HGETALL h", "[]"),
        ("HDEL h c", ":0"),
        ("HDEL missing a b", ":0"),
        ("HSET h a 1 b 2", ":2"),
        ("HDEL h a b c", ":2"),
        ("MGET h", "[nil]"),
    ]);
}

#[test]
fn numbers_of_fields_are_added() {
    check(&[
        ("HINCRBY h a 5", ":5"),
        ("HINCRBY h a -7", ":-2"),
        ("HINCRBY h a 0", ":-2"),
        ("HSET h b 9223372036854775807", ":1"),
        ("HINCRBY h b 1", "-ERR increment or decrement would overflow"),
        ("HINCRBY h b -1", ":9223372036854775806"),
        ("HSET h c \" 1\"", ":1"),
        ("HINCRBY h c 1", "-ERR hash value is not an integer"),
        ("HINCRBY h a x", "-ERR value is not an integer or out of range"),
        ("HINCRBY h a", "-ERR wrong number of arguments for 'hincrby' command"),
        ("HSET h c 1.5", ":0"),
        ("HINCRBY h c 1", "-ERR hash value is not an integer"),
        ("HINCRBYFLOAT h c 0.1", "\"1.6\""),
        ("HINCRBYFLOAT h a 1e3", "\"998\""),
        ("HINCRBYFLOAT h new 0.25", "\"0.25\""),
        ("HINCRBYFLOAT h a x", "-ERR value is not a valid float"),
        ("HINCRBYFLOAT h a inf", "-ERR value is NaN or Infinity"),
        ("HINCRBYFLOAT h a nan", "-ERR value is not a valid float"),
        ("HSET h big 1e4932", ":1"),
        ("HINCRBYFLOAT h big 1e4932", "-ERR increment would produce NaN or Infinity"),
        ("HSET h d text", ":1"),
        ("HINCRBYFLOAT h d 1", "-ERR hash value is not a float"),
        ("HINCRBYFLOAT h d", "-ERR wrong number of arguments for 'hincrbyfloat' command"),
        ("HINCRBY missing a 1", ":1"),
        ("HINCRBYFLOAT missing2 a 1", "\"1\""),
        ("HGET h b", "\"9223372036854775806\""),
    ]);
}

#[test]
fn wrong_arguments_of_hashes_are_errors() {
    check(&[
        ("HSET h", "-ERR wrong number of arguments for 'hset' command"),
        ("HSET h a", "-ERR wrong number of arguments for 'hset' command"),
        ("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
        ("HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command"),
        ("HMSET h a", "-ERR wrong number of arguments for 'hmset' command"),
        ("HSETNX h a", "-ERR wrong number of arguments for 'hsetnx' command"),
        ("HSETNX h a 1 b", "-ERR wrong number of arguments for 'hsetnx' command"),
        ("HGET h", "-ERR wrong number of arguments for 'hget' command"),
        ("HGET h a b", "-ERR wrong number of arguments for 'hget' command"),
        ("HMGET h", "-ERR wrong number of arguments for 'hmget' command"),
        ("HGETALL", "-ERR wrong number of arguments for 'hgetall' command"),
        ("HGETALL h a", "-ERR wrong number of arguments for 'hgetall' command"),
        ("HDEL h", "-ERR wrong number of arguments for 'hdel' command"),
        ("HLEN", "-ERR wrong number of arguments for 'hlen' command"),
        ("HEXISTS h", "-ERR wrong number of arguments for 'hexists' command"),
        ("HKEYS", "-ERR wrong number of arguments for 'hkeys' command"),
        ("HVALS", "-ERR wrong number of arguments for 'hvals' command"),
        ("HSTRLEN h", "-ERR wrong number of arguments for 'hstrlen' command"),
        ("HLEN h", ":0"),
    ]);
}

#[test]
fn a_string_is_no_hash() {
    check(&[
        ("SET s 1", "+OK"),
        ("HSET s a 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HMSET s a 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HSETNX s a 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HGET s a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HMGET s a b", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HGETALL s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HKEYS s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HVALS s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HLEN s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HEXISTS s a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HSTRLEN s a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HDEL s a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HINCRBY s a 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HINCRBY s a x", "-ERR value is not an integer or out of range"),
        (
            "HINCRBYFLOAT s a 1",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        ("HINCRBYFLOAT s a x", "-ERR value is not a valid float"),
        ("GET s", "\"1\""),
    ]);
}

#[test]
fn a_hash_is_no_string() {
    check(&[
        ("HSET h a 1", ":1"),
        ("GET h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GETEX h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GETDEL h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GETSET h 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SET h 1 GET", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("APPEND h 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("STRLEN h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GETRANGE h 0 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SETRANGE h 0 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("INCR h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("DECRBY h 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("INCRBYFLOAT h 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("SETBIT h 0 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GETBIT h 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("MGET h", "[nil]"),
        ("HGETALL h", "[\"a\" \"1\"]"),
        ("SET h 1", "+OK"),
        ("GET h", "\"1\""),
    ]);
}

#[test]
fn a_hash_is_a_map_in_the_new_version_of_the_protocol() {
    let server = TestServer::start();
    let mut client = server.client();
    client.call(&["HELLO", "3"]);
    assert_eq!(client.run("HSET h a 1 b 2"), ":2");
    assert_eq!(client.run("HGETALL h"), "{\"a\" => \"1\", \"b\" => \"2\"}");
    assert_eq!(client.run("HGETALL missing"), "{}");
    assert_eq!(client.run("HKEYS h"), "[\"a\" \"b\"]");
    assert_eq!(client.run("HMGET h a c"), "[\"1\" nil]");
}

#[test]
fn a_change_of_a_hash_keeps_its_deadline() {
    let server = TestServer::start();
    let mut client = server.client();
    client.run("HSET h a 1");
    assert_eq!(client.run("EXPIRE h 100"), ":1");
    for command in ["HSET h b 2", "HINCRBY h a 1", "HDEL h b", "HSETNX h c 1", "HMSET h d 1"] {
        assert!(!client.run(command).starts_with('-'));
        let left = server.time_to_live("h").unwrap();
        assert!((1..=100).contains(&left.as_secs()), "{command}: {left:?}");
    }
    // A key that was removed and made anew has no deadline.
    assert_eq!(client.run("HDEL h a c d"), ":3");
    assert_eq!(client.run("HSET h a 1"), ":1");
    assert_eq!(server.time_to_live("h"), None);
}

#[test]
fn a_hash_beyond_the_limit_stays_as_it_is() {
    let server = TestServer::start();
    let mut client = server.client();
    client.run("HSET h a 1");
    let large = "x".repeat(MAX_HASH_BYTES / 2);
    let error = format!(
        "-ERR a hash takes at most {MAX_HASH_BYTES} bytes; store less in one, or use several keys"
    );
    assert_eq!(client.call(&["HSET", "h", "b", &large]).integer(), 1);
    for command in [
        &["HSET", "h", "c", &large][..],
        &["HSET", "h", "d", "1", "c", &large],
        &["HMSET", "h", "c", &large],
        &["HSETNX", "h", "c", &large],
        &["HSET", "h", "d", "", "e", "", "f", "", "g", "", "i", "", "j", "", "k", "", "c", &large],
        &["HSET", "new", "a", &large, "b", &large],
    ] {
        assert_eq!(client.call(command).to_string(), error, "{:?}", &command[..3]);
    }
    assert_eq!(client.run("HKEYS h"), "[\"a\" \"b\"]");
    assert_eq!(client.run("HLEN new"), ":0");
}

#[test]
fn many_fields_at_once_are_as_one_by_one() {
    let server = TestServer::start();
    let mut client = server.client();
    let names: Vec<String> = (0..30_000).map(|number| format!("field:{number}")).collect();
    let with_key = |name: &str, args: &[&str]| {
        let mut all = vec![name.to_owned(), "h".to_owned()];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        all
    };
    let pairs: Vec<&str> = names.iter().flat_map(|name| [name.as_str(), "v"]).collect();
    assert_eq!(client.call(&with_key("HSET", &pairs)).integer(), 30_000);
    assert_eq!(client.call(&with_key("HSET", &pairs)).integer(), 0);
    let fields: Vec<&str> = names.iter().map(String::as_str).collect();
    let values = client.call(&with_key("HMGET", &fields));
    assert!(values.members().iter().all(|value| value.bytes() == b"v"));
    assert_eq!(client.call(&with_key("HDEL", &fields[1..])).integer(), 29_999);
    assert_eq!(client.run("HGETALL h"), "[\"field:0\" \"v\"]");
}
