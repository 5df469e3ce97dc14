//! Commands about strings.

use crate::client::{RespValue, TestServer, array, bulk, check};

#[test]
fn a_string_is_read_as_it_was_set() {
    check(&[
        ("GET a", "nil"),
        ("SET a 1", "+OK"),
        ("GET a", "\"1\""),
        ("set \"\" \"\\x00\\r\\n\"", "+OK"),
        ("GeT \"\"", "\"\\x00\\r\\n\""),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("GET a b", "-ERR wrong number of arguments for 'get' command"),
        ("SET a", "-ERR wrong number of arguments for 'set' command"),
        ("SET a b c", "-ERR syntax error"),
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
    client.send(&["GET", "b"]);
    client.send_raw(b"QUIT\r\n");
    assert_eq!(client.reply(), RespValue::Null);
    assert_eq!(client.reply(), RespValue::ok());
    assert!(client.is_closed());
    assert_eq!(client.take_pushes(), []);
    assert_eq!(server.time_to_live("a"), None);
}
