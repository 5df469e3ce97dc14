//! The settings of time: how long entries may live, and by which clock.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::Builder;
use crate::expiry::{self, Clock, Expiry};

impl<K, V, S> Builder<K, V, S> {
    /// Lets each entry expire once `time` has passed since it was inserted or its value was replaced. More
    /// than zero. Default: entries do not expire by age.
    ///
    /// An entry is valid as long as no more than `time` has passed. Afterwards no lookup and no iteration
    /// returns it, and an insertion of its key adds a new entry. Maintenance removes it within a
    /// [tick](Self::timer_tick), in background mode even if the cache is not used.
    ///
    /// An entry that can expire takes 24 bytes more: 8 for its deadline and 16 for its timer. It takes
    /// another 8 with a [time to idle](Self::time_to_idle), 16 with an [`Expiry`] or 24 with both, and up to
    /// 8 with [jitter](Self::jitter) or if it has a lifetime of its own. If an entry has several lifetimes,
    /// [`crate::expiry`] says which one counts.
    #[doc(alias("expireAfterWrite", "expire_after_write"))]
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.time.time_to_live = Some(time);
        self
    }

    /// Lets each entry expire once it has been neither looked up nor replaced for `time`. More than zero.
    /// Default: entries do not expire by disuse.
    ///
    /// Every lookup that counts as a [use](crate::Cache::get) starts the time anew. To save a write on each
    /// hit of a hot entry, the time may start before the lookup: by up to a 64th of `time`, and at most 268
    /// milliseconds.
    #[doc(alias("expireAfterAccess", "expire_after_access"))]
    pub fn time_to_idle(mut self, time: Duration) -> Self {
        self.time.time_to_idle = Some(time);
        self
    }

    /// Lets `expiry` compute how long each entry may live, within what its other lifetimes allow
    /// ([`crate::expiry`] has the rule). Default: there is no `Expiry`.
    #[doc(alias("expire_after", "expireAfter"))]
    pub fn expiry(mut self, expiry: impl Expiry<K, V> + 'static) -> Self {
        self.time.expiry = Some(Arc::new(expiry));
        self
    }

    /// Lengthens or shortens each lifetime by a random part of itself, up to `fraction`, so that entries that
    /// were inserted together do not expire together. From 0 to 1. Default: 0.
    ///
    /// It applies to lifetimes that count from an insertion or replacement: the
    /// [time to live](Self::time_to_live), the answers of [`Expiry::after_create`] and
    /// [`Expiry::after_update`], and a lifetime given with an insertion. The part depends on the key's hash
    /// and the time alone, so it is the same in each run if the hasher and the clock are.
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.time.jitter = fraction;
        self
    }

    /// Removes each expired entry at most `tick` after its deadline, unless expiry is
    /// [lazy](Self::expire_lazily) or loads [may use](Self::stale_if_error) its value for longer. Default: 2^24
    /// nanoseconds, which is about 17 milliseconds.
    ///
    /// The tick is rounded down to a power of two of nanoseconds. No call returns an expired entry in any
    /// case: the tick is how long the entry may still take memory and count in
    /// [`Cache::len`](crate::Cache::len). In background mode the maintenance thread wakes at most twice in a
    /// tick while entries expire. With inline maintenance, calls that write and
    /// [`run_pending`](crate::Cache::run_pending) remove the expired entries.
    pub fn timer_tick(mut self, tick: Duration) -> Self {
        self.time.timer_tick = Some(tick);
        self
    }

    /// Leaves expired entries in the cache until a call removes them. Default: timers remove them, within a
    /// [tick](Self::timer_tick).
    ///
    /// No lookup and no iteration returns an expired entry in any case. With lazy expiry it takes room, and
    /// counts in [`Cache::len`](crate::Cache::len), until it is removed
    /// ([`Cache::remove_expired`](crate::Cache::remove_expired), or any removal of its key), replaced or
    /// evicted. The policy may evict valid entries while expired ones remain. So a caller can tell an expired
    /// key from a missing one ([`Cache::remove_if_expired`](crate::Cache::remove_if_expired)), and no thread
    /// wakes for timers.
    pub fn expire_lazily(mut self) -> Self {
        self.time.is_expiry_lazy = true;
        self
    }

    /// Keeps the time at which each value was inserted, so that the [age](crate::EntryInfo::age) of
    /// every entry is known. Default: only the ages of some entries that can expire are known. It costs 16
    /// bytes for each entry, or 8 for an entry that can expire. A listener of either kind implies it.
    ///
    /// # Examples
    /// ```
    /// let cache = larder::Cache::builder().capacity(100).keep_ages().build()?;
    /// cache.insert("key", 1);
    /// assert!(cache.inspect("key").and_then(|info| info.age).is_some());
    /// # Ok::<(), larder::BuildError>(())
    /// ```
    pub fn keep_ages(mut self) -> Self {
        self.time.wants_ages = true;
        self
    }

    /// Takes the time from `clock`. Default: [`MonotonicClock`](crate::expiry::MonotonicClock). Hits on
    /// entries with deadlines are cheapest with a [`TickingClock`](crate::expiry::TickingClock).
    #[doc(alias = "ticker")]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.time.clock = expiry::ClockKind::of(clock);
        self
    }
}
