//! Commands about how long keys live.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use larder::Maintenance;
use larder::test::FakeClock;

use crate::client::{Client, TestServer, check};

fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// A server whose cache has a clock that the test moves.
fn with_clock() -> (TestServer, FakeClock) {
    let clock = FakeClock::new();
    let server = TestServer::start_with(
        |builder| builder.clock(clock.clone()).maintenance(Maintenance::Inline),
        |_| {},
    );
    (server, clock)
}

#[test]
fn a_lifetime_is_given_asked_for_and_taken_away() {
    check(&[
        ("TTL a", ":-2"),
        ("PTTL a", ":-2"),
        ("EXPIRETIME a", ":-2"),
        ("PEXPIRETIME a", ":-2"),
        ("PERSIST a", ":0"),
        ("EXPIRE a 100", ":0"),
        ("SET a 1", "+OK"),
        ("TTL a", ":-1"),
        ("PTTL a", ":-1"),
        ("EXPIRETIME a", ":-1"),
        ("PEXPIRETIME a", ":-1"),
        ("PERSIST a", ":0"),
        ("EXPIRE a 100", ":1"),
        ("TTL a", ":100"),
        ("PEXPIRE a 200000", ":1"),
        ("TTL a", ":200"),
        ("GET a", "\"1\""),
        ("PERSIST a", ":1"),
        ("PERSIST a", ":0"),
        ("TTL a", ":-1"),
        ("EXPIREAT a 14000000420", ":1"),
        ("EXPIRETIME a", ":14000000420"),
        ("PEXPIRETIME a", ":14000000420000"),
        ("PEXPIREAT a 14000000420123", ":1"),
        ("PEXPIRETIME a", ":14000000420123"),
        ("EXPIRETIME a", ":14000000420"),
        ("SET a 2", "+OK"),
        ("TTL a", ":-1"),
    ]);
}

/// A lifetime that is longer than the cache can count is cut, whichever command gives it, and is not none.
#[test]
fn a_lifetime_of_more_than_500_years_is_one_of_500() {
    let year = 365 * 24 * 60 * 60 * 1000;
    for command in [
        "SET a 1 PX 9223372036854775",
        "SET a 1 PXAT 9223372036854775807",
        "PSETEX a 9223372036854775 1",
        "GETEX a PX 9223372036854775",
        "PEXPIRE a 9223372036854775",
        "EXPIREAT a 9223372036854775",
    ] {
        let server = TestServer::start();
        let mut client = server.client();
        client.run("SET a 1");
        let reply = client.run(command);
        let left = client.run("PTTL a");
        let left_ms: i64 = left[1..].parse().unwrap();
        assert!((499 * year..=500 * year).contains(&left_ms), "{command} {reply}: {left}");
        assert_eq!(client.run("PERSIST a"), ":1", "{command}");
    }
}

#[test]
fn a_time_that_is_past_removes_the_key() {
    check(&[
        ("SET a 1", "+OK"),
        ("EXPIRE a -1", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "+OK"),
        ("PEXPIRE a 0", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "+OK"),
        ("EXPIREAT a 1", ":1"),
        ("TTL a", ":-2"),
        ("SET a 1", "+OK"),
        ("PEXPIREAT a -9223372036854770000", ":1"),
        ("TTL a", ":-2"),
        ("EXPIRE a -1", ":0"),
    ]);
}

#[test]
fn a_lifetime_beyond_all_times_is_refused() {
    let refused = "-ERR invalid expire time in 'expire' command";
    check(&[
        ("SET a 1", "+OK"),
        ("EXPIRE a 9223370399119966", refused),
        ("EXPIRE a 9223372036854776", refused),
        ("EXPIRE a 18446744073709561", refused),
        ("EXPIRE a -9223372036854776", refused),
        ("EXPIRE a -9999999999999999", refused),
        ("PEXPIRE a 9223372036854770000", "-ERR invalid expire time in 'pexpire' command"),
        ("EXPIREAT a 9223372036854776", "-ERR invalid expire time in 'expireat' command"),
        ("TTL a", ":-1"),
        ("PEXPIREAT a 9223372036854770000", ":1"),
        ("EXISTS a", ":1"),
        ("EXPIRE a x", "-ERR value is not an integer or out of range"),
        ("EXPIRE a 1.5", "-ERR value is not an integer or out of range"),
        ("EXPIRE a 9223372036854775808", "-ERR value is not an integer or out of range"),
        ("EXPIRE a", "-ERR wrong number of arguments for 'expire' command"),
        ("TTL", "-ERR wrong number of arguments for 'ttl' command"),
    ]);
}

#[test]
fn a_lifetime_is_given_only_in_place_of_what_the_options_say() {
    let incompatible = "-ERR NX and XX, GT or LT options at the same time are not compatible";
    check(&[
        ("SET a 1", "+OK"),
        ("EXPIRE a 100 XX", ":0"),
        ("EXPIRE a 100 GT", ":0"),
        ("EXPIRE a 100 XX GT", ":0"),
        ("EXPIRE a 100 XX LT", ":0"),
        ("TTL a", ":-1"),
        ("EXPIRE a 100 LT", ":1"),
        ("EXPIRE a 200 NX", ":0"),
        ("EXPIRE a 200 LT", ":0"),
        ("EXPIRE a 50 GT", ":0"),
        ("TTL a", ":100"),
        ("EXPIRE a 200 gt", ":1"),
        ("TTL a", ":200"),
        ("EXPIRE a 100 xx lt", ":1"),
        ("TTL a", ":100"),
        ("EXPIRE a 300 XX", ":1"),
        ("TTL a", ":300"),
        ("PERSIST a", ":1"),
        ("EXPIRE a 100 NX", ":1"),
        ("PEXPIREAT a 14000000420123", ":1"),
        ("PEXPIREAT a 14000000420123 GT", ":0"),
        ("PEXPIREAT a 14000000420123 LT", ":0"),
        ("PEXPIREAT a 14000000420124 GT", ":1"),
        ("PEXPIREAT a 14000000420123 LT", ":1"),
        ("EXPIRE none 100 GT", ":0"),
        ("EXPIRE a 100 NX XX", incompatible),
        ("EXPIRE a 100 GT NX", incompatible),
        ("EXPIRE a 100 LT NX", incompatible),
        ("EXPIRE a 100 LT GT", "-ERR GT and LT options at the same time are not compatible"),
        ("EXPIRE a 100 foo", "-ERR Unsupported option foo"),
        ("EXPIRE a x foo", "-ERR Unsupported option foo"),
    ]);
}

#[test]
fn a_key_expires_exactly_when_its_time_is_over() {
    let (server, clock) = with_clock();
    let mut client = server.client();
    client.run("SET a 1");
    assert_eq!(client.run("PEXPIRE a 1500"), ":1");
    assert_eq!(client.run("TTL a"), ":2");
    clock.advance(Duration::from_millis(1));
    assert_eq!((client.run("TTL a"), client.run("PTTL a")), (":1".into(), ":1499".into()));
    clock.advance(Duration::from_micros(1_498_999));
    assert_eq!((client.run("GET a"), client.run("PTTL a")), ("\"1\"".into(), ":1".into()));
    // It lives as long as no more than its lifetime has passed.
    clock.advance(Duration::from_nanos(1001));
    for command in ["GET a", "RANDOMKEY"] {
        assert_eq!(client.run(command), "nil", "{command}");
    }
    for (command, reply) in [
        ("TTL a", ":-2"),
        ("EXISTS a", ":0"),
        ("EXPIRE a 10", ":0"),
        ("PERSIST a", ":0"),
        ("DEL a", ":0"),
        ("TYPE a", "+none"),
        ("KEYS *", "[]"),
        ("RENAME a b", "-ERR no such key"),
        ("COPY a b", ":0"),
    ] {
        assert_eq!(client.run(command), reply, "{command}");
    }
}

#[test]
fn a_key_that_was_persisted_does_not_expire() {
    let (server, clock) = with_clock();
    let mut client = server.client();
    client.run("SET a 1");
    client.run("EXPIRE a 10");
    clock.advance(Duration::from_secs(9));
    assert_eq!(client.run("PERSIST a"), ":1");
    clock.advance(Duration::from_secs(100));
    assert_eq!(client.run("GET a"), "\"1\"");
    client.run("EXPIRE a 10");
    assert_eq!(client.run("RENAME a b"), "+OK");
    assert_eq!(client.run("COPY b c"), ":1");
    clock.advance(Duration::from_secs(11));
    assert_eq!(client.run("EXISTS b c"), ":0");
}

#[test]
fn a_deadline_is_returned_as_it_was_given() {
    // By the system's clock, which this server uses. It becomes a lifetime, and a deadline again, at moments that
    // are as far apart as the thread loses its processor in between; otherwise it is exact.
    let server = TestServer::start();
    let mut client = server.client();
    for seconds in [2, 100, 3600, 86_400 * 365] {
        let at = unix_ms() + seconds * 1000 + 123;
        client.run("SET a 1");
        let began = Instant::now();
        let is_at = |client: &mut Client, key: &str, at: i64| {
            let shown = client.run(&format!("PEXPIRETIME {key}"));
            let shown: i64 =
                shown.strip_prefix(':').and_then(|ms| ms.parse().ok()).expect("a time");
            let most_apart = (began.elapsed().as_micros() + 499) / 1000;
            assert!(u128::from(shown.abs_diff(at)) <= most_apart, "{shown}, {at}, {most_apart}");
        };
        assert_eq!(client.run(&format!("PEXPIREAT a {at}")), ":1");
        is_at(&mut client, "a", at);
        // Again, with an entry that has room for a deadline.
        assert_eq!(client.run(&format!("PEXPIREAT a {}", at + 1)), ":1");
        is_at(&mut client, "a", at + 1);
        assert_eq!(client.run("RENAME a b"), "+OK");
        is_at(&mut client, "b", at + 1);
    }
}
