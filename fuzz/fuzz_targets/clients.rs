//! Two clients of one server in turns, for the targets of both protocols.

use larder::{Cache, Maintenance};
use larder_server::drive::{Drive, DrivenClient, Driver};
use larder_server::{Bytes, Hub, ServerConfig, Value};

/// Sends `bytes` in pieces of this length, from two clients in turns, so that one is notified of what the other
/// does. No more bytes may wait than were sent, and the cache must be in order at the end.
pub fn take_turns<C: Drive>(
    bytes: &[u8],
    piece: usize,
    connect: impl Fn(&Driver) -> DrivenClient<C>,
) {
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
    let (mut first, mut second) = (connect(&driver), connect(&driver));
    for (index, bytes) in bytes.chunks(piece).enumerate() {
        let client = if index % 2 == 0 { &mut first } else { &mut second };
        if client.send(bytes).is_none() {
            break;
        }
        assert!(client.waiting_bytes() <= piece * (index + 1));
    }
    cache.run_pending();
    cache.validate();
}
