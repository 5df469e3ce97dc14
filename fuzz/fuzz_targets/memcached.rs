//! Clients of memcached that send anything, in any pieces: no panic, no memory for what has not arrived, and a
//! cache that is in order afterwards.
#![no_main]

mod clients;

use larder_server::drive::Driver;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_first() else { return };
    // A delayed flush needs a runtime.
    if bytes.windows(5).any(|window| window == b"flush") {
        return;
    }
    clients::take_turns(bytes, usize::from(cut) + 1, Driver::memcached);
});
