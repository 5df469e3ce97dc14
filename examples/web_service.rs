//! A web service without dependencies, which reads its database through a cache, and starts warm from a snapshot.
//! It listens on the loopback interface, sends itself some requests, restarts and ends. `examples/service` is one
//! with a web framework and a database.
//!
//! `cargo run --features json --example web_service`

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use larder::Cache;
use larder::snapshot::{RestoreOptions, SaveOptions, Serializers};

const WORKERS: usize = 4;

struct Service<'d> {
    database: &'d Mutex<HashMap<String, String>>,
    cache: Cache<String, String>,
}

impl<'d> Service<'d> {
    fn new(database: &'d Mutex<HashMap<String, String>>) -> Result<Self, Box<dyn Error>> {
        let cache = Cache::<String, String>::builder()
            .name("notes")
            .max_weight(16 << 20)
            .weigher(|name, note| (name.len() + note.len()).try_into().unwrap_or(u32::MAX))
            .time_to_live(Duration::from_secs(3_600))
            .negative_time_to_live(Duration::from_secs(5))
            .count_lookups()
            .build()?;
        Ok(Self { database, cache })
    }

    fn answer(&self, method: &str, name: &str, body: String) -> (&'static str, String) {
        match method {
            "GET" if name == "stats" => ("200 OK", self.cache.stats().to_string()),
            "GET" => {
                // If workers ask for the same note at the same time, one of them reads the database.
                let load = || self.lock().get(name).cloned();
                match self.cache.optionally_get_or_insert_with(name, load) {
                    Some(note) => ("200 OK", note),
                    None => ("404 Not Found", String::new()),
                }
            }
            "PUT" => {
                // The database is changed before the cache, so that a load that has read the old
                // note is not kept.
                self.lock().insert(name.to_owned(), body);
                self.cache.remove(name);
                ("204 No Content", String::new())
            }
            _ => ("405 Method Not Allowed", String::new()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one request. Returns whether it was the one that ends the service.
    fn serve(&self, stream: TcpStream) -> io::Result<bool> {
        let mut reader = BufReader::new(&stream);
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = String::new();
        reader.take(length).read_to_string(&mut body)?;
        let (status, text) = self.answer(method, path.trim_start_matches('/'), body);
        write!(
            &stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )?;
        Ok(method == "STOP")
    }
}

/// Starts a service from `file` if it exists, lets `ask` send it requests, stops it and saves the
/// cache.
fn run(
    database: &Mutex<HashMap<String, String>>,
    file: &Path,
    ask: impl FnOnce(SocketAddr) -> io::Result<()> + Send,
) -> Result<(), Box<dyn Error>> {
    let service = Service::new(database)?;
    if file.exists() {
        let loaded = service.cache.load_from_path(file, &RestoreOptions::new())?;
        println!("loaded {} notes", loaded.entries);
    }
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                // A client that closes its connection early does not end the service.
                while let Ok((stream, _)) = listener.accept() {
                    if service.serve(stream).unwrap_or(false) {
                        break;
                    }
                }
            });
        }
        // Runs on its own thread, so that the workers are stopped even if an assertion fails there.
        let asked = scope.spawn(|| ask(address)).join();
        for _ in 0..WORKERS {
            request(address, "STOP", "/", "")?;
        }
        asked.unwrap_or_else(|_| Err(io::Error::other("an assertion of the client has failed")))
    })?;
    let json = SaveOptions::new(Serializers::standard().get("json")?);
    println!("saved {} notes", service.cache.save_to_path(file, &json)?.entries);
    Ok(())
}

fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "{method} {path} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response.split_once("\r\n\r\n").map(|(_, text)| text.to_owned()).unwrap_or_default())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("notes.snapshot");
    let database = Mutex::new(HashMap::new());

    run(&database, &file, |address| {
        for number in 0..100 {
            request(address, "PUT", &format!("/note-{number}"), &format!("text {number}"))?;
        }
        for number in 0..100 {
            let text = request(address, "GET", &format!("/note-{number}"), "")?;
            assert_eq!(text, format!("text {number}"));
        }
        request(address, "PUT", "/note-7", "changed")?;
        assert_eq!(request(address, "GET", "/note-7", "")?, "changed");
        Ok(())
    })?;

    // The database is empty now, so all answers after the restart come from the snapshot.
    database.lock().unwrap_or_else(PoisonError::into_inner).clear();
    run(&database, &file, |address| {
        for number in (0..100).filter(|number| *number != 7) {
            let text = request(address, "GET", &format!("/note-{number}"), "")?;
            assert_eq!(text, format!("text {number}"));
        }
        assert_eq!(request(address, "GET", "/note-7", "")?, "changed");
        let stats = request(address, "GET", "/stats", "")?;
        assert!(stats.starts_with("hits=100 misses=0 "), "{stats}");
        println!("after the restart: {stats}");
        Ok(())
    })
}
