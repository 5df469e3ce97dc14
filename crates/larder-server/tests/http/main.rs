//! The page, the metrics and the probes, by HTTP.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

mod dashboard;

use larder::ShadowConfig;
use serde_json::Value as Json;

use crate::support::{Answer, Served, ask, exchange, request};

/// A server with a cache of 100 entries, which knows all that the page shows.
fn serve() -> Served {
    Served::start(|builder| builder.shadow(ShadowConfig::new()).explain_misses(1000), |_| {})
}

fn json(answer: &Answer) -> Json {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

#[test]
fn probes_say_whether_the_server_lives_and_is_ready() {
    let served = serve();
    assert_eq!(ask(&served, "GET /healthz").status, 200);
    assert_eq!(ask(&served, "GET /readyz").status, 200);
    let loading = served.server.begin_loading();
    let answer = ask(&served, "GET /readyz");
    assert_eq!((answer.status, answer.body.as_str()), (503, "loading\n"));
    assert_eq!(json(&ask(&served, "GET /api/status"))["obstacle"], "loading");
    assert!(ask(&served, "GET /metrics").body.contains("\nlarder_server_ready 0\n"));
    assert_eq!(ask(&served, "GET /healthz").status, 200);
    drop(loading);
    assert_eq!(ask(&served, "GET /readyz").status, 200);
}

#[test]
fn the_status_has_the_counters_of_server_and_cache() {
    let served = serve();
    let mut client = served.connect();
    let replies = client.exchange("SET a 1\r\nGET a\r\nGET b\r\nGET\r\n", 4);
    assert!(replies.contains("\r\n$1\r\n1\r\n$-1\r\n-ERR "), "{replies}");
    let status = json(&ask(&served, "GET /api/status"));
    let traffic = &status["traffic"];
    assert_eq!((&traffic["hits"], &traffic["misses"]), (&1.into(), &1.into()), "{status}");
    assert_eq!((&traffic["calls"]["get"], &traffic["failed_calls"]["get"]), (&3.into(), &1.into()));
    assert_eq!(status["cache"]["entries"], 1);
    assert_eq!(status["clients"]["connected"], 1);
    for histogram in ["batches", "eviction_ages"] {
        let len = |field: &str| status[histogram][field].as_array().unwrap().len();
        assert_eq!(len("counts"), len("bounds_s") + 1, "{histogram}");
    }
    let batches = status["batches"]["counts"].as_array().unwrap();
    assert!(batches.iter().map(|count| count.as_u64().unwrap()).sum::<u64>() >= 1);
    assert_eq!(status["shadow"]["points"].as_array().unwrap().len(), 4);
}

#[test]
fn evicted_entries_count_in_the_histogram_of_ages() {
    let served = serve();
    for key in 0..1000 {
        served.cache.insert(key.to_string().as_str().into(), "value".into());
    }
    served.cache.run_pending();
    let status = json(&ask(&served, "GET /api/status"));
    let counts = status["eviction_ages"]["counts"].as_array().unwrap();
    let evicted: u64 = counts.iter().map(|count| count.as_u64().unwrap()).sum();
    assert!(evicted >= 900, "{status}");
    assert_eq!(status["cache"]["evictions"], evicted);
    let metrics = ask(&served, "GET /metrics").body;
    let count = format!("\nlarder_server_eviction_age_seconds_count {evicted}\n");
    assert!(metrics.contains(&count), "{metrics}");
}

#[test]
fn keys_of_any_bytes_are_explained() {
    let served = serve();
    served.cache.insert_with_tags(b"a\0\xff&=".as_slice().into(), "value".into(), ["one", "two"]);
    let present = json(&ask(&served, "GET /api/explain?key=a%00%FF%26%3D"));
    assert_eq!(present["key"], "a\\x00\\xff&=");
    assert_eq!(present["encoded"], "a%00%FF%26%3D");
    assert_eq!(present["entry"]["bytes"], 5);
    let mut tags: Vec<_> = present["entry"]["tags"].as_array().unwrap().iter().collect();
    tags.sort_by_key(|tag| tag.as_str());
    assert_eq!(tags, ["one", "two"]);
    served.cache.remove(b"a\0\xff&=".as_slice());
    let removed = json(&ask(&served, "GET /api/explain?key=a%00%FF%26%3D"));
    assert_eq!((&removed["entry"], &removed["absence"]), (&Json::Null, &"removed".into()));
    let unknown = json(&ask(&served, "GET /api/explain?db=3&key=other"));
    assert_eq!((&unknown["absence"], &unknown["database"]), (&"never_seen".into(), &3.into()));
    for bad in ["", "?", "?key", "?db=1", "?key=a&db=16", "?key=a&db=x", "?key=a&db=-1"] {
        let answer = ask(&served, &format!("GET /api/explain{bad}"));
        assert_eq!(answer.status, 400, "{bad}");
        assert!(json(&answer)["error"].is_string());
    }
    let long = "x".repeat(4097);
    assert_eq!(ask(&served, &format!("GET /api/explain?key={long}")).status, 400);
}

#[test]
fn the_hottest_keys_are_those_that_are_read_most() {
    let served = serve();
    served.cache.insert("idle".into(), "value".into());
    served.cache.run_pending();
    // Nothing was read, so the policy's ranking is shown.
    let keys = json(&ask(&served, "GET /api/hottest"));
    assert_eq!((&keys["keys"][0]["key"], &keys["keys"][0]["share"]), (&"idle".into(), &Json::Null));

    let other = serve();
    let mut client = other.connect();
    let read = "GET missing\r\n".to_owned() + &"GET hot\r\n".repeat(3);
    client.exchange(&("SET hot 1\r\n".to_owned() + &read.repeat(250)), 1001);
    client.exchange(&read.repeat(250), 1000);
    let keys = json(&ask(&other, "GET /api/hottest"));
    let (first, second) = (&keys["keys"][0], &keys["keys"][1]);
    assert_eq!((&first["key"], &first["present"]), (&"hot".into(), &true.into()), "{keys}");
    assert!(first["share"].as_f64().unwrap() > 0.5);
    assert_eq!((&second["key"], &second["present"]), (&"missing".into(), &false.into()), "{keys}");
}

#[test]
fn a_tag_is_invalidated_by_a_request_of_the_page_alone() {
    let served = serve();
    served.cache.insert_with_tags("key".into(), "value".into(), ["tag"]);
    let post = |headers: &str, body: &str| {
        let length = body.len();
        let head = format!("POST /api/invalidate HTTP/1.1\r\nhost: localhost\r\n{headers}");
        exchange(&served, &format!("{head}content-length: {length}\r\n\r\n{body}"))
    };
    let (own, body) = ("content-type: application/json\r\nx-larder: 1\r\n", r#"{"tag": "tag"}"#);
    assert_eq!(post("", body).status, 415);
    assert_eq!(post("content-type: application/json\r\n", body).status, 415);
    assert_eq!(post("content-type: text/plain\r\nx-larder: 1\r\n", body).status, 415);
    assert_eq!(post(&format!("{own}origin: http://evil.example\r\n"), body).status, 403);
    assert_eq!(post(&format!("{own}sec-fetch-site: cross-site\r\n"), body).status, 403);
    for bad in ["", "{}", "[]", r#"{"tag": ""}"#, r#"{"tag": 1}"#, r#"{"tag": "tag", "more": 1}"#] {
        assert_eq!(post(own, bad).status, 400, "{bad}");
    }
    assert_eq!(post(own, &"x".repeat(20_000)).status, 413);
    assert!(served.cache.contains_key(b"key".as_slice()), "nothing of this has had an effect");

    let done = post(&format!("{own}origin: http://localhost\r\n"), body);
    assert_eq!((done.status, &json(&done)["was_known"]), (200, &true.into()));
    assert!(!served.cache.contains_key(b"key".as_slice()));
    assert_eq!(json(&post(own, r#"{"tag": "unheard of"}"#))["was_known"], false);
}

#[test]
fn a_password_protects_all_but_the_probes() {
    let served = Served::start(|builder| builder, |config| config.password = Some("secret".into()));
    let with = |path: &str, password: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: cache.example\r\n");
        exchange(&served, &format!("{head}authorization: Bearer {password}\r\n\r\n"))
    };
    for path in ["/", "/metrics", "/api/status", "/api/hottest", "/api/explain?key=a"] {
        let refused = ask(&served, &format!("GET {path}"));
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Basic "), "{path}");
        assert_eq!(with(path, "Secret").status, 401, "{path}");
        assert_eq!(with(path, "secret").status, 200, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(&served, &format!("GET {path}")).status, 200, "{path}");
    }
}

#[test]
fn without_a_password_the_page_has_only_names_that_no_other_site_can_take() {
    let served = serve();
    let at = |host: &str, path: &str| {
        exchange(&served, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).status
    };
    for path in ["/", "/api/status", "/api/hottest", "/api/explain?key=a"] {
        assert_eq!((at("evil.example", path), at("127.0.0.1:80", path)), (403, 200), "{path}");
    }
    assert_eq!((at("larder.internal", "/metrics"), at("larder.internal", "/healthz")), (200, 200));
}

#[test]
fn answers_have_headers_that_keep_browsers_in_bounds() {
    let served = serve();
    for path in ["/", "/healthz", "/metrics", "/api/status", "/nothing"] {
        let answer = ask(&served, &format!("GET {path}"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'")
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    let (one, two) = (ask(&served, "GET /"), ask(&served, "GET /"));
    assert_ne!(one.header("content-security-policy"), two.header("content-security-policy"));
    let nonce = one.header("content-security-policy").unwrap().split("'nonce-").nth(1).unwrap();
    let nonce = nonce.split('\'').next().unwrap();
    assert_eq!(one.body.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert!(!one.body.contains("{{"));
}

#[test]
fn paths_and_methods_that_do_not_exist_are_refused() {
    let served = serve();
    for (line, status, allow) in [
        ("GET /nothing", 404, None),
        ("POST /nothing", 404, None),
        ("GET //", 404, None),
        ("POST /", 405, Some("GET, HEAD")),
        ("DELETE /metrics", 405, Some("GET, HEAD")),
        ("OPTIONS /api/invalidate", 405, Some("POST")),
        ("GET /api/invalidate", 405, Some("POST")),
    ] {
        let answer = ask(&served, line);
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{line}");
    }
    let head = ask(&served, "HEAD /metrics");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn hostile_requests_are_bounded() {
    let served = serve();
    let long = "x".repeat(40_000);
    let answer = exchange(&served, &request("GET /healthz", &format!("a: {long}\r\n")));
    assert_eq!(answer.status, 431);
    let many: String = (0..100).map(|number| format!("a{number}: 1\r\n")).collect();
    assert_eq!(exchange(&served, &request("GET /healthz", &many)).status, 431);
    assert_eq!(exchange(&served, "\0\u{1}\r\n\r\n").status, 400);
    assert_eq!(ask(&served, "GET /healthz").status, 200);
}

#[test]
fn a_connection_beyond_the_limit_waits_for_another_to_end() {
    let served = serve();
    let mut connections: Vec<_> = (0..64).map(|_| served.connect_http()).collect();
    for connection in &mut connections {
        assert_eq!(connection.ask("GET /healthz").status, 200);
    }
    let mut waiting = served.connect_http();
    waiting.send(&request("GET /healthz", ""));
    assert!(waiting.has_no_answer(), "it was accepted");
    drop(connections.pop());
    assert_eq!(waiting.receive().status, 200);
}

#[test]
fn metrics_are_served_in_both_formats() {
    let served = serve();
    let plain = ask(&served, "GET /metrics");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(plain.body.contains("\nlarder_entries{cache=\"server\"} 0\n"), "{}", plain.body);
    let accept = "accept: application/openmetrics-text; version=1.0.0, text/plain; q=0.5\r\n";
    let open = exchange(&served, &request("GET /metrics", accept));
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"));
}
