//! Clients of Redis that send anything, in any pieces: no panic, no memory for what has not arrived, the same
//! requests however they are cut, and a cache that is in order afterwards.
#![no_main]

use larder::{Cache, Maintenance};
use larder_server::drive::Driver;
use larder_server::{Bytes, Hub, RequestLimits, RequestParser, ServerConfig, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_first() else { return };
    parse_in_pieces(bytes, usize::from(cut % 16) + 1);

    let hub = Hub::new();
    let cache: Cache<Bytes, Value> = Cache::builder()
        .capacity(64)
        .max_weight(1 << 20)
        .weigher(|key: &Bytes, value: &Value| (key.len() + value.heap_bytes() + 1) as u32)
        .maintenance(Maintenance::Inline)
        .listener(hub.listener())
        .build()
        .expect("the settings are right");
    let mut config = ServerConfig::default();
    config.request_limits.argument_bytes = 1 << 16;
    let driver = Driver::new(cache.clone(), hub, config);
    let (mut first, mut second) = (driver.redis(), driver.redis());
    // Two clients in turns, so that one is notified of what the other does.
    for (index, piece) in bytes.chunks(usize::from(cut) + 1).enumerate() {
        let client = if index % 2 == 0 { &mut first } else { &mut second };
        if client.send(piece).is_none() {
            break;
        }
        assert!(client.waiting_bytes() <= bytes.len());
    }
    cache.run_pending();
    cache.validate();
});

/// All requests up to the first error, and whether there was one.
fn parse(bytes: &[u8], piece: usize) -> (Vec<Vec<Vec<u8>>>, bool) {
    let limits = RequestLimits::default();
    let (mut parser, mut buffer, mut requests) = (RequestParser::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match parser.parse(&buffer, &limits) {
                Ok(None) => break,
                Ok(Some(end)) => {
                    requests.push(parser.arguments(&buffer).map(<[u8]>::to_vec).collect());
                    parser.reset();
                    buffer.drain(..end);
                }
                Err(_) => return (requests, true),
            }
        }
    }
    (requests, false)
}

fn parse_in_pieces(bytes: &[u8], piece: usize) {
    let whole = parse(bytes, bytes.len().max(1));
    let cut = parse(bytes, piece);
    assert_eq!(whole, cut);
}
