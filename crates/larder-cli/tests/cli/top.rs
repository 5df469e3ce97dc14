//! `larder top`, against a server and against metrics.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output};
use std::thread;

use larder::Cache;
use larder_server::{Bytes, Hub, Server, ServerConfig, Value};

use crate::{larder, stderr, stdout};

/// A server with one entry, and where it serves HTTP.
fn serve(password: Option<&str>) -> (Server, String) {
    let hub = Hub::new();
    let cache: Cache<Bytes, Value> =
        Cache::builder().capacity(100).listener(hub.listener()).build().unwrap();
    cache.insert("key".into(), "value".into());
    cache.run_pending();
    let mut config = ServerConfig::default();
    config.address = (Ipv4Addr::LOCALHOST, 0).into();
    config.http_address = Some(config.address);
    config.threads = 1;
    config.password = password.map(str::to_owned);
    let server = Server::start(cache, hub, config).unwrap();
    let url = format!("http://{}", server.http_address().unwrap());
    (server, url)
}

fn top(url: &str, password: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["top", "--once", "--url", url])
        .env("LARDER_PASSWORD", password)
        .output()
        .unwrap()
}

/// Answers each request with `answer`, whatever it asks for.
fn answer_always(answer: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let length = answer.len();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}");
            let _ = stream.write_all(format!("{head}\r\n\r\n{answer}").as_bytes());
        }
    });
    url
}

#[test]
fn one_reading_of_a_server_is_printed() {
    let (server, url) = serve(None);
    let text = stdout(&top(&url, ""));
    assert!(text.starts_with(&url), "{text}");
    for line in [
        "cache server (window_tiny_lfu)",
        "  entries                1 of 100",
        "  inserted               1",
        "  hot key                        key",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is missing in\n{text}");
    }
    // The metrics say the same; they name no keys.
    let metrics = stdout(&top(&format!("{url}/metrics"), ""));
    assert!(metrics.contains("  entries                1 of 100\n"), "{metrics}");
    assert!(!metrics.contains("hot key"));
    server.shutdown().unwrap();
    let gone = top(&url, "");
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("does not answer"), "{}", stderr(&gone));
}

#[test]
fn a_server_with_a_password_is_asked_with_it() {
    let (_server, url) = serve(Some("secret"));
    assert!(stdout(&top(&url, "secret")).contains("cache server"));
    for wrong in ["", "other"] {
        let refused = top(&url, wrong);
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains("set LARDER_PASSWORD"), "{}", stderr(&refused));
    }
}

#[test]
fn metrics_of_several_caches_are_printed_without_what_a_terminal_would_obey() {
    let url = answer_always(
        "larder_cache_info{cache=\"one\",policy=\"lru\"} 1\n\
         larder_entries{cache=\"one\"} 5\n\
         larder_cache_info{cache=\"two\u{1b}[2J\",policy=\"sieve\"} 1\n",
    );
    // It is not the status of a server, so it is read as metrics.
    let text = stdout(&top(&url, ""));
    assert!(
        text.contains("cache one (lru)\n") && text.contains("cache two·[2J (sieve)\n"),
        "{text}"
    );
    assert!(text.contains("  hit ratio              lookups are not counted\n"), "{text}");
    let one = stdout(&larder(&["top", "--once", "--url", &url, "--cache", "one"]));
    assert!(one.contains("cache one") && !one.contains("cache two"), "{one}");
    let unknown = larder(&["top", "--once", "--url", &url, "--cache", "three"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("there is no cache `three`; there are one, two"));
}

#[test]
fn what_is_not_larder_is_refused() {
    for (answer, expected) in
        [("up 1\n", "has no metrics of a larder cache"), ("<html>", "line 1 of http://")]
    {
        let output = top(&answer_always(answer), "");
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    for bad in ["localhost", "https://localhost", "ftp://a", "http://", ""] {
        let output = top(bad, "");
        assert_eq!(output.status.code(), Some(2), "{bad}");
        assert!(stderr(&output).starts_with(&format!("error: `{bad}` is no address")));
    }
    let output = larder(&["top", "--url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("use --once"));
    assert_eq!(larder(&["top", "--url", "http://a", "--interval", "0"]).status.code(), Some(2));
}
