//! Sockets, TLS, limits, and the end of a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use larder::Cache;
use larder_server::{Bytes, Hub, Server, ServerConfig, StartError, TlsConfig, Value};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::TestServer;

fn start(configure: impl FnOnce(&mut ServerConfig)) -> Result<Server, StartError> {
    let hub = Hub::new();
    let cache: Cache<Bytes, Value> =
        Cache::builder().capacity(10_000).listener(hub.listener()).build().unwrap();
    let mut config = ServerConfig::default();
    config.address.set_port(0);
    configure(&mut config);
    Server::start(cache, hub, config)
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn expect(stream: &mut impl Read, expected: &str) {
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), expected);
}

/// Whether the server has closed the connection, after sending whatever.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = [0; 65_536];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn web_pages_cannot_send_commands() {
    let server = start(|_| {}).unwrap();
    for request in [
        "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET a page\r\n",
        "GET / HTTP/1.1\r\nhost: localhost\r\n\r\nSET a page\r\n",
    ] {
        let mut page = connect(&server);
        page.write_all(request.as_bytes()).unwrap();
        assert!(is_closed(&mut page), "{request}");
    }
    let mut client = connect(&server);
    client.write_all(b"GET a\r\nposts\r\nPING\r\n").unwrap();
    let unknown = "-ERR unknown command 'posts', with args beginning with: \r\n+PONG\r\n";
    expect(&mut client, &format!("$-1\r\n{unknown}"));
}

#[cfg(unix)]
#[test]
fn a_socket_in_the_file_system_serves_and_replaces_what_a_server_has_left() {
    use std::os::unix::net::UnixStream;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("larder.sock");
    // Left by a server that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let with_path = |config: &mut ServerConfig| config.unix_socket = Some(path.clone());
    let server = start(with_path).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"SET a 1\r\nGET a\r\n").unwrap();
    expect(&mut client, "+OK\r\n$1\r\n1\r\n");
    // A server that runs keeps its socket.
    assert!(matches!(start(with_path), Err(StartError::ListenAtPath { .. })));
    client.write_all(b"PING\r\n").unwrap();
    expect(&mut client, "+PONG\r\n");
    server.shutdown().unwrap();
    assert!(!path.exists());
    // What is not a socket is not replaced.
    std::fs::write(&path, "mine").unwrap();
    assert!(start(with_path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_port_in_use_is_an_error() {
    for threads in [1, 2] {
        let server = start(|config| config.threads = threads).unwrap();
        for others in [1, 2] {
            let second = start(|config| {
                config.address = server.address();
                config.threads = others;
            });
            assert!(matches!(second, Err(StartError::Listen { .. })), "{threads} {others}");
        }
    }
}

#[test]
fn clients_connect_within_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let with_tls = |certificate: &std::path::Path| {
        let tls = TlsConfig {
            address: ([127, 0, 0, 1], 0).into(),
            certificate: certificate.to_owned(),
            key: key.clone(),
        };
        start(|config| config.tls = Some(tls))
    };
    assert!(matches!(with_tls(&folder.path().join("missing.pem")), Err(StartError::Tls(_))));
    assert!(matches!(with_tls(&key), Err(StartError::Tls(_))), "a key is no certificate");

    let server = with_tls(&certificate).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(server.tls_address().unwrap()).unwrap();
    let mut client = StreamOwned::new(connection, stream);
    let large = "x".repeat(1_000_000);
    write!(client, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\n{large}\r\n").unwrap();
    client.write_all(b"GET a\r\n").unwrap();
    expect(&mut client, &format!("+OK\r\n$1000000\r\n{large}\r\n"));
    // The same store, and plain text is refused at this door.
    let mut plain = connect(&server);
    plain.write_all(b"STRLEN a\r\n").unwrap();
    expect(&mut plain, ":1000000\r\n");
    let mut wrong = TcpStream::connect(server.tls_address().unwrap()).unwrap();
    wrong.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    wrong.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    assert!(is_closed(&mut wrong));
}

#[test]
fn too_many_clients_are_refused_until_one_leaves() {
    let server = start(|config| config.max_clients = 2).unwrap();
    let mut first = connect(&server);
    let mut second = connect(&server);
    for client in [&mut first, &mut second] {
        client.write_all(b"PING\r\n").unwrap();
        expect(client, "+PONG\r\n");
    }
    let mut third = connect(&server);
    expect(&mut third, "-ERR max number of clients reached\r\n");
    drop(first);
    // The server notices in a moment that the first has gone.
    loop {
        let mut next = connect(&server);
        next.write_all(b"PING\r\n").unwrap();
        let mut answer = [0; 5];
        if next.read_exact(&mut answer).is_ok() && answer == *b"+PONG" {
            break;
        }
    }
}

#[test]
fn idle_clients_are_disconnected() {
    let server = start(|config| config.idle_timeout = Some(Duration::from_millis(50))).unwrap();
    let mut client = connect(&server);
    client.write_all(b"PING\r\n*2\r\n$4\r\nECHO\r\n").unwrap();
    expect(&mut client, "+PONG\r\n");
    assert!(is_closed(&mut client));
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    let server = start(|config| config.write_timeout = Duration::from_millis(200)).unwrap();
    let mut writer = connect(&server);
    let large = "x".repeat(1 << 20);
    write!(writer, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{large}\r\n", large.len()).unwrap();
    expect(&mut writer, "+OK\r\n");
    let mut client = connect(&server);
    client.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    // More than all buffers of the system hold. In the end the server hangs up, so a write fails.
    let failed = (0..100_000).any(|_| client.write_all(&b"GET a\r\n".repeat(100)).is_err());
    assert!(failed);
    // Others are served.
    writer.write_all(b"STRLEN a\r\n").unwrap();
    expect(&mut writer, ":1048576\r\n");
}

#[test]
fn replies_that_are_too_long_end_the_connection() {
    let server = start(|config| config.max_output_bytes = 1 << 20).unwrap();
    let mut client = connect(&server);
    let large = "x".repeat(1 << 19);
    write!(client, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{large}\r\n", large.len()).unwrap();
    expect(&mut client, "+OK\r\n");
    client.write_all(b"MGET a a a\r\n").unwrap();
    assert!(is_closed(&mut client));
    let mut next = connect(&server);
    next.write_all(b"MGET a\r\n").unwrap();
    expect(&mut next, &format!("*1\r\n${}\r\n{large}\r\n", large.len()));
}

#[test]
fn what_all_clients_have_under_way_is_bounded() {
    let server = start(|config| config.max_buffer_bytes = 8 << 20).unwrap();
    let part = format!("*2\r\n$4\r\nECHO\r\n$100000000\r\n{}", "x".repeat(3 << 20));
    // Three of them need more than the bound, so one at least is disconnected.
    let mut clients: Vec<TcpStream> = (0..4).map(|_| connect(&server)).collect();
    let results: Vec<bool> =
        clients.iter_mut().map(|client| client.write_all(part.as_bytes()).is_ok()).collect();
    let mut good = connect(&server);
    good.write_all(b"PING\r\n").unwrap();
    expect(&mut good, "+PONG\r\n");
    for client in &clients {
        client.set_nonblocking(true).unwrap();
    }
    let mut is_one_closed = results.contains(&false);
    while !is_one_closed {
        is_one_closed = clients.iter_mut().any(|client| {
            !matches!(client.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        std::thread::yield_now();
    }
}

#[test]
fn what_a_client_keeps_in_the_server_counts_as_under_way() {
    let name = "x".repeat(1 << 20);
    let tracking = "CLIENT TRACKING ON BCAST PREFIX";
    for (before, command) in
        [("MULTI", "SET a"), ("PING", "WATCH"), ("HELLO 3", "SUBSCRIBE"), ("HELLO 3", tracking)]
    {
        let server = start(|config| config.max_buffer_bytes = 12 << 20).unwrap();
        let mut client = connect(&server);
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        std::thread::scope(|scope| {
            let mut stream = client.try_clone().unwrap();
            let ended = scope.spawn(move || is_closed(&mut stream));
            let _ = write!(client, "{before}\r\n");
            let words: Vec<&str> = command.split(' ').collect();
            for number in 10..50 {
                let last = format!("{number}{name}");
                let words: Vec<&str> = words.iter().copied().chain([last.as_str()]).collect();
                // It fails once the server has hung up.
                let _ = client.write_all(&crate::client::encoded(&words));
            }
            assert!(ended.join().unwrap(), "{command}");
        });
        let mut next = connect(&server);
        next.write_all(b"PING\r\n").unwrap();
        expect(&mut next, "+PONG\r\n");
    }
}

#[test]
fn replies_of_a_transaction_are_bounded_and_all_its_commands_executed() {
    let configure = |config: &mut ServerConfig| config.max_output_bytes = 1 << 20;
    let server = TestServer::start_with(|builder| builder, configure);
    let mut client = server.client();
    client.call(&["SET", "a", &"x".repeat(1 << 19)]);
    for line in ["MULTI", "INCR n", "GET a", "GET a", "GET a", "INCR n"] {
        client.run(line);
    }
    assert!(client.run("EXEC").starts_with("-ERR"));
    assert_eq!(client.run("GET n"), "\"2\"");
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_a_long_reply() {
    let server = start(|config| config.write_timeout = Duration::from_millis(1_500)).unwrap();
    let mut client = connect(&server);
    let mut idle = connect(&server);
    idle.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
    // More than the buffers of the system hold, several times.
    client.write_all(b"SETRANGE a 33554431 x\r\nGET a\r\n").unwrap();
    expect(&mut client, ":33554432\r\n$33554432\r\n");
    let (mut left, mut part) = ((32 << 20) + 2, vec![0; 512 << 10]);
    while left > 0 {
        // The client is slow, by a wait for what never comes; all takes longer than the time for writing.
        assert!(idle.read(&mut [0]).is_err());
        let bytes = client.read(&mut part).unwrap();
        assert!(bytes > 0, "the server hung up");
        left -= bytes;
    }
}

#[test]
fn a_command_without_reply_that_waits_has_none() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send_raw(b"CLIENT REPLY SKIP\r\nSAVE\r\n");
    assert_eq!(client.run("PING"), "+PONG");
}

#[test]
fn the_end_of_a_server_closes_its_connections_after_their_replies() {
    let served = TestServer::start();
    let mut clients: Vec<_> = (0..20).map(|_| served.client()).collect();
    for client in &mut clients {
        client.call(&["SET", "a", "1"]);
    }
    drop(served);
    for client in &mut clients {
        assert!(client.is_closed());
    }
}
