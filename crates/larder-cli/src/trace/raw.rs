//! Raw little-endian keys of a fixed width, one after the other.

use std::hash::Hash;

use crate::trace::columns::{Collector, Columns};
use crate::trace::error::TraceError;
use crate::trace::input::Input;

pub(super) fn read<const N: usize, K: Hash + Eq>(
    input: &mut Input,
    max_requests: u32,
    key_of: fn([u8; N]) -> K,
) -> Result<Columns, TraceError> {
    let mut requests = Collector::new(max_requests);
    while let Some(record) = input.next_record()? {
        requests.push(key_of(record)).map_err(|problem| input.bad_record(problem))?;
    }
    Ok(requests.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::input::tests::{gzip, input, zstd};

    fn bytes(keys: &[u64]) -> Vec<u8> {
        keys.iter().flat_map(|key| key.to_le_bytes()).collect()
    }

    #[test]
    fn keys_are_renumbered_by_first_appearance() {
        let wide = bytes(&[u64::MAX, 5, u64::MAX, 5 << 32]);
        for packed in [wide.clone(), gzip(&wide), zstd(&wide)] {
            let columns = read(&mut input(packed), 10, u64::from_le_bytes).unwrap();
            assert_eq!(columns.requests, [0, 1, 0, 2]);
        }
        let columns = read(&mut input(wide), 10, u32::from_le_bytes).unwrap();
        assert_eq!(columns.requests, [0, 0, 1, 2, 0, 0, 2, 1]);
    }

    #[test]
    fn a_cut_off_tail_names_the_byte_where_the_record_starts() {
        let whole = bytes(&[1, 2]);
        for (kept, at) in [(3, 0), (15, 8)] {
            for packed in [whole[..kept].to_vec(), gzip(&whole[..kept])] {
                let failure = read(&mut input(packed), 10, u64::from_le_bytes).unwrap_err();
                let start = format!("t: byte {at}: {} bytes are left of a record of 8", kept - at);
                assert!(failure.to_string().starts_with(&start), "{failure}");
            }
        }
    }
}
