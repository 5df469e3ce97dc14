//! Statistics of the keys of a store, counted if there are few, and otherwise estimated from a sample.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::Store;
use crate::value::ENTRY_BYTES;
use crate::version::Version;

/// Up to this many entries are all visited.
const SAMPLE_ENTRIES: usize = 2048;
/// How many are visited in one step.
const STEP_ENTRIES: usize = 128;

/// The keys of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct DatabaseSample {
    pub(crate) keys: u64,
    pub(crate) expiring: u64,
    /// The mean time that the expiring keys have left.
    pub(crate) mean_left: Duration,
}

/// What the keys are like.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeyspaceSample {
    /// The databases that have keys, by number.
    pub(crate) databases: BTreeMap<u16, DatabaseSample>,
    /// The memory of all entries.
    pub(crate) bytes: u64,
}

impl Store {
    /// Visits about two thousand entries, or all if there are not many more, and concludes from them. The time does not
    /// depend on the number of entries.
    pub(crate) fn sample(&self) -> KeyspaceSample {
        let len = self.cache().len();
        let is_complete = len <= SAMPLE_ENTRIES;
        let random = ahash::RandomState::new().hash_one(Version::next().number());
        let mut cursor = if is_complete { 0 } else { random };
        let (mut visited, mut bytes) = (0_u64, 0_u64);
        let mut sums: BTreeMap<u8, (DatabaseSample, Duration)> = BTreeMap::new();
        let mut visits = 0;
        // A step may visit fewer entries, so the steps are bounded too.
        while visits < SAMPLE_ENTRIES || is_complete {
            cursor = self.cache().scan(cursor, STEP_ENTRIES, |stored, value, info| {
                let (sum, left) = sums.entry(Self::split_key(stored).0).or_default();
                visited += 1;
                sum.keys += 1;
                bytes += (ENTRY_BYTES + stored.heap_bytes() + value.heap_bytes()) as u64;
                if let Some(expires_in) = info.expires_in {
                    sum.expiring += 1;
                    *left = left.saturating_add(expires_in);
                }
            });
            visits += STEP_ENTRIES;
            if cursor == 0 && is_complete {
                break;
            }
        }
        // Counts of a sample, as counts of all.
        let scaled = |count: u64| match is_complete || visited == 0 {
            true => count,
            false => {
                let product = u128::from(count) * len as u128 / u128::from(visited);
                u64::try_from(product).unwrap_or(u64::MAX)
            }
        };
        let concluded = |(namespace, (sum, left)): (u8, (DatabaseSample, Duration))| {
            let divisor = u32::try_from(sum.expiring).unwrap_or(u32::MAX).max(1);
            let (keys, expiring) = (scaled(sum.keys), scaled(sum.expiring));
            let database = DatabaseSample { keys, expiring, mean_left: left / divisor };
            (self.database_of(namespace), database)
        };
        KeyspaceSample {
            databases: sums.into_iter().map(concluded).collect(),
            bytes: scaled(bytes),
        }
    }
}
