//! Clients of memcached that send anything, in any pieces: no panic, no memory for what has not arrived, and a
//! cache that is in order afterwards.
#![no_main]

use larder::{Cache, Maintenance};
use larder_server::drive::Driver;
use larder_server::{Bytes, Hub, ServerConfig, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_first() else { return };
    // A delayed flush needs a runtime.
    if bytes.windows(5).any(|window| window == b"flush") {
        return;
    }
    let hub = Hub::new();
    let cache: Cache<Bytes, Value> = Cache::builder()
        .capacity(64)
        .maintenance(Maintenance::Inline)
        .listener(hub.listener())
        .build()
        .expect("the settings are right");
    let mut config = ServerConfig::default();
    config.request_limits.argument_bytes = 1 << 16;
    let driver = Driver::new(cache.clone(), hub, config);
    let (mut first, mut second) = (driver.memcached(), driver.memcached());
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
