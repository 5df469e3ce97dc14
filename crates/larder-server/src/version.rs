//! Versions: a number for each write, which also tells its time.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

// 63              10 9        0
// | microseconds    | thread   |
const THREAD_BITS: u32 = 10;
const THREADS: u64 = 1 << THREAD_BITS;

/// The version of a value: a number that no other write of the process has.
///
/// Versions made by one thread increase. A version begins with the time of the write in microseconds, so the
/// age of a value follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

/// The last version of the threads beyond the first 1,023, which share a number.
static LAST_SHARED: AtomicU64 = AtomicU64::new(0);
static THREADS_SEEN: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The number of this thread, from 1 on; 0 if too many came before it.
    static THREAD: u64 = {
        let number = THREADS_SEEN.fetch_add(1, Ordering::Relaxed);
        if number < THREADS { number } else { 0 }
    };
    static LAST: Cell<u64> = const { Cell::new(0) };
    /// The time of the batch that this thread executes, in microseconds, or one of the two constants below.
    static BATCH_US: Cell<u64> = const { Cell::new(NO_BATCH) };
}

/// No batch is under way: each version reads the clock.
const NO_BATCH: u64 = 0;
/// The first version of the batch reads the clock.
const UNREAD: u64 = 1;

/// While it lives, the versions that this thread makes have one time, so that only the first reads the clock.
/// They increase nevertheless.
pub(crate) struct VersionBatch(());

impl VersionBatch {
    #[inline]
    pub(crate) fn begin() -> Self {
        BATCH_US.set(UNREAD);
        Self(())
    }
}

impl Drop for VersionBatch {
    fn drop(&mut self) {
        BATCH_US.set(NO_BATCH);
    }
}

/// The time for a new version.
#[inline]
fn version_time_us() -> u64 {
    // A thread that is ending may have no such variable any more.
    let of_batch = |time: &Cell<u64>| {
        if time.get() == UNREAD {
            time.set(now_us());
        }
        time.get()
    };
    match BATCH_US.try_with(of_batch) {
        Ok(NO_BATCH) | Err(_) => now_us(),
        Ok(time) => time,
    }
}

impl Version {
    /// A version that no other write has.
    #[must_use]
    pub fn next() -> Self {
        // A thread that is ending may have no such variables any more; then it shares a number.
        let own = THREAD.try_with(|thread| *thread).unwrap_or(0);
        let now = (version_time_us() << THREAD_BITS) | own;
        if own == 0 {
            let next = |last: u64| now.max(last.saturating_add(THREADS));
            // Relaxed: the number alone matters.
            let last = LAST_SHARED
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
            return Self(next(last.unwrap_or_default()));
        }
        let next = LAST.with(|last| {
            last.set(now.max(last.get().saturating_add(THREADS) & !(THREADS - 1) | own));
            last.get()
        });
        Self(next)
    }

    /// The version of this number, as a client has given it.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// How long ago the write was, by the system's clock; zero if that has been set back.
    #[must_use]
    pub fn age(self) -> Duration {
        Duration::from_micros(now_us().saturating_sub(self.0 >> THREAD_BITS))
    }
}

/// The number by which a client of memcached names a version: its `cas` number.
///
/// Memcached counts them from 1, and some clients read 32 bits and take a longer number for none, so that
/// they would overwrite what they meant to compare. A token therefore has 32 bits: those of the microseconds
/// and the thread that change fastest. Two writes of one key have the same token if they are 71 minutes and
/// 35 seconds apart to the microsecond. A version so small that only a client can have chosen it is its own
/// token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CasToken(u64);

const TOKEN_BITS: u32 = 32;
const MAX_TOKEN: u64 = (1 << TOKEN_BITS) - 1;

impl CasToken {
    /// The token that names a version.
    pub(crate) const fn of(version: Version) -> Self {
        if version.0 <= MAX_TOKEN {
            return Self(version.0);
        }
        let thread = (version.0 & (THREADS - 1)) << (TOKEN_BITS - THREAD_BITS);
        let token = ((version.0 >> THREAD_BITS) ^ thread) & MAX_TOKEN;
        // 0 means no version.
        Self(if token == 0 { 1 } else { token })
    }

    /// The token of this number, as a client has given it.
    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// Whether it names the version.
    pub(crate) fn names(self, version: Version) -> bool {
        self == Self::of(version) || self.0 == version.0
    }

    /// Whether it names a later version. That is known only of versions that clients have chosen.
    pub(crate) const fn is_after(self, version: Version) -> bool {
        version.0 <= MAX_TOKEN && self.0 > version.0
    }
}

fn now_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    #[test]
    fn token_names_its_version_in_32_bits() {
        let mut last = CasToken(0);
        for _ in 0..10_000 {
            let version = Version::next();
            let token = CasToken::of(version);
            assert!(token.number() > 0 && token.number() <= u64::from(u32::MAX));
            assert!(token.names(version) && CasToken::from_number(token.number()).names(version));
            assert!(!last.names(version), "the token of the write before");
            last = token;
        }
    }

    #[test]
    fn number_that_a_client_has_chosen_is_its_own_token() {
        let (seven, large) = (Version::from_number(7), Version::from_number(1 << 40));
        assert_eq!(CasToken::of(seven).number(), 7);
        assert!(
            CasToken::from_number(8).is_after(seven) && !CasToken::from_number(7).is_after(seven)
        );
        assert!(CasToken::from_number(1 << 40).names(large));
    }

    #[test]
    fn no_two_writes_have_the_same_version() {
        let make = || {
            let mut versions: Vec<_> = (0..5_000).map(|_| Version::next()).collect();
            let batch = VersionBatch::begin();
            versions.extend((0..5_000).map(|_| Version::next()));
            drop(batch);
            versions.push(Version::next());
            versions
        };
        let threads: Vec<_> = (0..8).map(|_| thread::spawn(make)).collect();
        let mut seen = HashSet::new();
        for thread in threads {
            let versions = thread.join().unwrap();
            assert!(versions.is_sorted());
            assert!(versions.into_iter().all(|version| seen.insert(version)));
        }
    }
}
