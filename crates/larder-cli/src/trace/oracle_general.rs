//! libCacheSim's oracleGeneral: packed little-endian records of 24 bytes.
//!
//! ```text
//! 0            4                    12            16                       24
//! |  time:u32  |      key:u64       |  size:u32   |  next access:i64       |
//! ```
//!
//! There are no TTLs, so only the first and the last time are kept. The next access, an oracle for
//! optimal policies, is not used.

use crate::trace::columns::{Collector, Columns};
use crate::trace::error::TraceError;
use crate::trace::input::Input;

const RECORD_BYTES: usize = 24;

pub(super) fn read(input: &mut Input, max_requests: u32) -> Result<Columns, TraceError> {
    let mut requests = Collector::new(max_requests);
    while let Some(record) = input.next_record::<RECORD_BYTES>()? {
        let [t0, t1, t2, t3, k0, k1, k2, k3, k4, k5, k6, k7, s0, s1, s2, s3, ..] = record;
        let key = u64::from_le_bytes([k0, k1, k2, k3, k4, k5, k6, k7]);
        let size_bytes = u32::from_le_bytes([s0, s1, s2, s3]);
        let time_seconds = u32::from_le_bytes([t0, t1, t2, t3]);
        requests.add_time(u64::from(time_seconds) * 1_000_000_000, 0, false);
        requests.push_sized(key, size_bytes).map_err(|problem| input.bad_record(problem))?;
    }
    Ok(requests.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::input::tests::{input, zstd};

    fn record(key: u64, size_bytes: u32) -> Vec<u8> {
        let mut record = 77_u32.to_le_bytes().to_vec();
        record.extend(key.to_le_bytes());
        record.extend(size_bytes.to_le_bytes());
        record.extend((-1_i64).to_le_bytes());
        record
    }

    #[test]
    fn keys_and_sizes_are_read() {
        let bytes = [record(9, 100), record(u64::MAX, 0), record(9, u32::MAX)].concat();
        for packed in [bytes.clone(), zstd(&bytes)] {
            let columns = read(&mut input(packed), 10).unwrap();
            assert_eq!(columns.requests, [0, 1, 0]);
            assert_eq!(columns.sizes_bytes, Some(vec![100, 0, u32::MAX]));
        }
    }

    #[test]
    fn a_cut_off_tail_names_the_byte_where_the_record_starts() {
        for (records, cut) in [(1, 1), (2, 23), (2, 1)] {
            let whole = record(1, 1).repeat(records);
            let failure = read(&mut input(&whole[..whole.len() - cut]), 10).unwrap_err();
            let start = format!("t: byte {}: {} bytes are left", 24 * (records - 1), 24 - cut);
            assert!(failure.to_string().starts_with(&start), "{failure}");
        }
    }
}
