//! The settings of loading: how long values may be used after their deadlines, when they are renewed, and
//! how long a load may take.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use super::Builder;
use crate::base::error::BuildError;
use crate::base::mode::Maintenance;
use crate::cache::{Cache, KnownMissing};
use crate::expiry::ClockKind;

/// The most keys that are remembered as missing: the capacity, or `MISSING_BY_WEIGHT` if only weights are bounded,
/// divided by `MISSING_PART`; at least `MIN_MISSING`.
const MISSING_PART: usize = 4;
const MISSING_BY_WEIGHT: usize = 1 << 16;
const MIN_MISSING: usize = 64;

impl<K, V, S> Builder<K, V, S> {
    /// Renews each value once `age` has passed since it was loaded or stored: the calls that load return the
    /// old value while one loader fetches the new one. More than zero, and less than the
    /// [time to live](Self::time_to_live). Default: values are not renewed by age.
    ///
    /// Only a call finds that a value has to be renewed, so a value that is not used is not renewed and
    /// expires. A refresh that fails leaves the old value where it is until its own end, and the next try
    /// waits for the [throttle](Self::refresh_throttle). Expiry never waits for a refresh. Plain lookups such
    /// as [`get`](crate::Cache::get) renew nothing.
    ///
    /// The cache then [keeps ages](Self::keep_ages), for 16 bytes for each entry, or 8 for an entry that can
    /// expire.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let rates = larder::Cache::<String, f64>::builder()
    ///     .capacity(1_000)
    ///     .time_to_live(Duration::from_secs(600))
    ///     .refresh_after_write(Duration::from_secs(60))
    ///     .build()?;
    /// # assert!(rates.is_empty());
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn refresh_after_write(mut self, age: Duration) -> Self {
        self.time.loading.refresh_after_write = Some(age);
        self
    }

    /// Keeps each expired value for `time` after its deadline, so that the calls that load can return it
    /// while one loader renews it. More than zero. Default: an expired value is not used.
    ///
    /// All other calls treat the entry as expired: no lookup and no iteration returns it, and an insertion
    /// of its key adds a new entry. Until it is renewed, replaced, removed or evicted, or until `time` has
    /// passed, it takes room and counts in [`Cache::len`](crate::Cache::len). If
    /// [`stale_if_error`](Self::stale_if_error) is set too, it stays for the longer of the two times. The
    /// policy may evict it, and valid entries while it is there. Deadlines are then kept to 2 nanoseconds,
    /// and entries expire up to a nanosecond early.
    pub fn stale_while_revalidate(mut self, time: Duration) -> Self {
        self.time.loading.stale_while_revalidate = Some(time);
        self
    }

    /// Keeps each expired value for `time` after its deadline, so that the calls that load can return it if
    /// its loader fails. More than zero. Default: a loader's error is returned.
    ///
    /// What [`stale_while_revalidate`](Self::stale_while_revalidate) says of expired values holds here too.
    /// After a failure, the value is returned without another try until the
    /// [throttle](Self::refresh_throttle) allows one.
    pub fn stale_if_error(mut self, time: Duration) -> Self {
        self.time.loading.stale_if_error = Some(time);
        self
    }

    /// Renews values at random some time before their deadlines, the earlier the longer their loads took, so
    /// that callers seldom wait for a load, and values that expire together are not all loaded together.
    /// `beta` is a finite number above 0; 1 suits most loads, and a higher one renews earlier. Default: values
    /// are not renewed before their deadlines.
    ///
    /// Each call that loads and finds a valid value renews it with a probability that grows as the deadline
    /// comes near. With `beta` 1, a value that is used often is renewed a few times its load's duration before
    /// the deadline. This is the method XFetch of Vattani, Chierichetti and Lowenstein, "Optimal
    /// Probabilistic Cache Stampede Prevention" (VLDB 2015). A value that was inserted without a load is not
    /// renewed early.
    pub fn early_refresh(mut self, beta: f64) -> Self {
        self.time.loading.early_refresh = Some(beta);
        self
    }

    /// Renews each value once `share` of its lifetime has passed, as
    /// [`refresh_after_write`](Self::refresh_after_write) does after a fixed time. Above 0 and below 1.
    /// Default: values are not renewed by the share of their lifetimes.
    ///
    /// The lifetime is the time from the insertion to the deadline; a [time to idle](Self::time_to_idle) does
    /// not count. The cache then [keeps ages](Self::keep_ages).
    pub fn eager_refresh(mut self, share: f64) -> Self {
        self.time.loading.eager_refresh = Some(share);
        self
    }

    /// Does not try to renew a value again within `pause` after a loader has failed for its key. Default: one
    /// second. With zero the next call tries again.
    ///
    /// The cache remembers the failures of up to 1,024 keys. If more keys fail, those that share a place in
    /// its table are tried again earlier.
    pub fn refresh_throttle(mut self, pause: Duration) -> Self {
        self.time.loading.refresh_throttle = Some(pause);
        self
    }

    /// Gives a load up once it has taken longer than `bound`, by the cache's [clock](Self::clock): one of the
    /// callers that wait for it runs its own loader, and the value of the old load is not stored. More than
    /// zero. Default: one minute.
    ///
    /// This is what frees a key whose loader hangs, or whose future is not polled any more. A caller that
    /// does not want to wait so long gives a deadline of its own with the call.
    pub fn load_timeout(mut self, bound: Duration) -> Self {
        self.time.loading.load_timeout = Some(bound);
        self
    }

    /// Returns a stale value, if there is one, once a caller has waited for its load for `bound`, while the
    /// load goes on in the background. More than zero, and less than the
    /// [hard timeout](Self::hard_timeout). Default: callers wait.
    ///
    /// It needs [`stale_while_revalidate`](Self::stale_while_revalidate) or
    /// [`stale_if_error`](Self::stale_if_error), or there are no stale values. It matters only within
    /// `stale_if_error`, because `stale_while_revalidate` returns stale values without any waiting, and only for
    /// caches with a bound loader, whose loads can run in the background; without one, [`build`](Self::build) fails.
    pub fn soft_timeout(mut self, bound: Duration) -> Self {
        self.time.loading.soft_timeout = Some(bound);
        self
    }

    /// Returns an error once a caller has waited for a load for `bound`, while the load goes on in the
    /// background. More than zero. Default: callers wait.
    ///
    /// It holds for caches with a bound loader, whose loads can run in the background; without one,
    /// [`build`](Self::build) fails.
    pub fn hard_timeout(mut self, bound: Duration) -> Self {
        self.time.loading.hard_timeout = Some(bound);
        self
    }

    /// Remembers for `time` that a key has no value, if its loader says so, so that the next calls do not
    /// load it again. More than zero. Default: that a key has no value is not remembered.
    ///
    /// Any change of the key by another call forgets it.
    pub fn negative_time_to_live(mut self, time: Duration) -> Self {
        self.time.loading.negative_time_to_live = Some(time);
        self
    }

    /// Notes that a loader will be bound to the cache.
    pub(crate) fn with_loader(mut self) -> Self {
        self.time.loading.has_loader = true;
        self
    }
}

impl<K, V, S> Builder<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
{
    /// The memory for keys without a value, if it was asked for.
    pub(super) fn known_missing(&self) -> Result<Option<KnownMissing>, BuildError> {
        let Some(time_to_live) = self.time.loading.negative_time_to_live else { return Ok(None) };
        let entries = self.capacity.unwrap_or(MISSING_BY_WEIGHT) / MISSING_PART;
        let (clock, jitter) = (self.time.clock.clone(), self.time.jitter);
        let entries = entries.max(MIN_MISSING);
        build_missing(entries, time_to_live, self.maintenance, clock, jitter).map(Some)
    }
}

/// Builds the memory of keys without a value.
///
/// Not generic, so that the cache of these keys is compiled with this crate.
fn build_missing(
    capacity: usize,
    time_to_live: Duration,
    maintenance: Maintenance,
    clock: ClockKind,
    jitter: f64,
) -> Result<KnownMissing, BuildError> {
    let keys = Cache::builder().capacity(capacity).time_to_live(time_to_live);
    let mut keys = keys.maintenance(maintenance);
    keys.time.clock = clock;
    keys.time.jitter = jitter;
    keys.build().map(KnownMissing::new)
}
