//! What a near cache counts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a near cache has done since it was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NearStats {
    /// Whether a connection is open at the moment, to every server that has keys.
    pub is_connected: bool,
    /// How many servers have keys.
    pub servers: usize,
    /// The state of the circuit breaker.
    pub breaker: BreakerState,
    /// Whether the server tracks what is read over it. If not, values are held for `max_stale` at most.
    pub is_tracked: bool,
    /// Why the server does not track, in its words.
    pub refusal: Option<String>,
    /// Reads that memory has answered; `None` unless they are
    /// [counted](crate::NearBuilder::count_hits).
    pub hits: Option<u64>,
    /// Reads for which the server was asked, and had a value.
    pub server_hits: u64,
    /// Reads for which the server was asked, and had none.
    pub server_misses: u64,
    /// Reads that waited for another caller's request, or for that of the same key in the same call.
    pub shared: u64,
    /// Values and absences that were stored in memory.
    pub fills: u64,
    /// Values that were fetched and not stored, because the key was changed meanwhile.
    pub fills_refused: u64,
    /// Keys that the server has invalidated.
    pub invalidations: u64,
    /// Invalidations of all keys.
    pub flushes: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// Connections that were lost, or given up because nothing came from them.
    pub losses: u64,
    /// Commands that a cluster has sent on to another server.
    pub redirections: u64,
    /// Slots of a cluster that another server has got, whose keys memory has forgotten.
    pub slots_moved: u64,
    /// Masters that have taken over, by the word of sentinels.
    pub masters_changed: u64,
    /// Attempts to open a connection that have failed.
    pub failed_connects: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Calls that failed because the server did not answer in time; also counted as errors.
    pub timeouts: u64,
    /// Writes that the server has acknowledged.
    pub writes: u64,
    /// Writes that were accepted and not carried out, because the server has refused them, or the cache or its runtime
    /// ended. Only with [`WriteMode::Behind`](crate::WriteMode::Behind).
    pub lost_writes: u64,
    /// Writes that wait to be sent at the moment.
    pub pending_writes: u64,
    /// Loaders that were run.
    pub loads: u64,
    /// Loaded values that were not stored, because another process had begun to load, or had changed the key, since
    /// the loader began; see [`one_load_in_fleet`](crate::NearBuilder::one_load_in_fleet).
    pub late_loads: u64,
    /// Tags that were invalidated by this process.
    pub tag_invalidations: u64,
    /// Values of the server that were taken for absent, because one of their tags was invalidated.
    pub tag_misses: u64,
    /// Stale values that were served because the server took longer than the soft timeout; also counted as stale hits.
    pub soft_timeouts: u64,
    /// Values that were served although the server could not be asked.
    pub stale_hits: u64,
    /// Values of the server that could not be read, and were taken for absent.
    pub unreadable: u64,
    /// Keys of the server that could not be decoded.
    pub foreign_keys: u64,
}

/// What calls do that need the server; [`NearStats::breaker`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// There is a connection, and calls use it.
    Closed,
    /// A connection was lost or none was opened yet, and the first attempt is under way: calls wait for it.
    #[default]
    Trying,
    /// The last attempt has failed: calls fail at once, and attempts go on in the background.
    Open,
}

impl fmt::Display for NearStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = match (self.is_connected, self.is_tracked) {
            (true, true) => "tracked",
            (true, false) => "connected without tracking",
            (false, _) => "not connected",
        };
        write!(f, "{connection}")?;
        if let Some(hits) = self.hits {
            write!(f, ", {hits} hits in memory")?;
        }
        write!(
            f,
            ", {} hits and {} misses of the server, {} invalidations, {} fills refused, {} connections \
             lost, {} errors",
            self.server_hits,
            self.server_misses,
            self.invalidations,
            self.fills_refused,
            self.losses,
            self.errors
        )
    }
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// The counters behind [`NearStats`]. A read that memory answers touches `hits` alone.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
            /// Only if they are to be counted.
            pub(crate) hits: AtomicU64,
        }

        impl Counters {
            pub(crate) fn read(&self) -> NearStats {
                NearStats {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    ..NearStats::default()
                }
            }
        }
    };
}

counters!(
    server_hits,
    server_misses,
    shared,
    fills,
    fills_refused,
    invalidations,
    flushes,
    connects,
    losses,
    redirections,
    slots_moved,
    masters_changed,
    failed_connects,
    errors,
    timeouts,
    writes,
    lost_writes,
    loads,
    late_loads,
    tag_invalidations,
    tag_misses,
    soft_timeouts,
    stale_hits,
    unreadable,
    foreign_keys
);

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds `number`.
pub(crate) fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}
