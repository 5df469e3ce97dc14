//! Clients of Redis that send anything, in any pieces: no panic, no memory for what has not arrived, the same
//! requests however they are cut, and a cache that is in order afterwards.
#![no_main]

mod clients;

use larder_server::drive::Driver;
use larder_server::{RequestLimits, RequestParser};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_first() else { return };
    parse_in_pieces(bytes, usize::from(cut % 16) + 1);
    clients::take_turns(bytes, usize::from(cut) + 1, Driver::redis);
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
