//! A cache's bound that follows the memory in use: [`MemoryFollower`].
//!
//! ```text
//!   MemorySource ──usage──▶ controller ──bound──▶ Cache::set_capacity or set_max_weight
//!   (the process, its cgroup,   hysteresis:          evicts the excess
//!    or one of your own)        │
//!                               │   used
//!        target ────────────────┤ above: shrink, by the share of the excess
//!        target × (1 - band) ───┤ between: no change
//!                               │ below, and the cache is full: grow, by an eighth at most
//! ```
//!
//! The library's maintenance thread reads the source at an [interval](FollowerBuilder::interval);
//! [`adjust`](MemoryFollower::adjust) reads it at any time. Readings do not overlap. The source is read,
//! and values are dropped, under no lock.
#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::base::panics::contain;
use crate::base::sync::{self, Mutex};
use crate::cache::Cache;
use crate::expiry::clock::{Clock, MonotonicClock};
use crate::periodic::{Periodic, Task};

mod controller;
mod error;
mod source;

pub use error::FollowError;
pub use source::{CgroupMemory, MemorySource, ProcessMemory, Usage};

use controller::{Controller, Range};

/// A bound of a cache that a follower can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// The bound on the number of entries, set by [`Cache::set_capacity`].
    Entries,
    /// The bound on the sum of weights, set by [`Cache::set_max_weight`].
    Weight,
}

/// Keeps a bound of a cache at what the memory of the process, or of its cgroup, allows.
///
/// While more memory than its target is in use, it shrinks the bound by the share of the excess, and by at
/// most half at a time. While less than the target minus a band is in use, it lets the bound of a full cache
/// grow by at most an eighth at a time. In between it changes nothing, so the bound does not oscillate. The
/// bound stays within [`range`](FollowerBuilder::range).
///
/// Eviction returns memory to the allocator, which may keep it: a source that counts the memory that the
/// system has given to the process then sees no change. So after it has lowered the bound, the follower waits
/// for three readings before it lowers it again, unless the use rises. If the allocator keeps everything, the
/// bound ends at the lower end of the range. A [source of your own](MemorySource) that asks the allocator
/// how much is in use avoids that.
///
/// The follower holds a handle of the cache. When it is dropped, it stops, and the bound stays as it is.
///
/// # Concurrency
/// Any number of threads may use the cache meanwhile, and call [`adjust`](Self::adjust). If another thread
/// sets the bound, the follower continues from there.
///
/// # Examples
/// ```
/// use std::io;
/// use std::sync::{Arc, Mutex};
/// use larder::Cache;
/// use larder::pressure::{MemoryFollower, Usage};
///
/// let cache: Cache<u32, u32> = Cache::builder().capacity(1_000).partitions(1).build()?;
/// let in_use = Arc::new(Mutex::new(0));
/// let read = Arc::clone(&in_use);
/// let follower = MemoryFollower::builder(&cache)
///     .source(move || Ok::<_, io::Error>(Usage::new(*read.lock().unwrap(), None)))
///     .target(1_000_000)
///     .by_hand()
///     .start()?;
/// *in_use.lock().unwrap() = 2_000_000;
/// assert!(follower.adjust()? < 1_000);
/// *in_use.lock().unwrap() = 100_000;
/// (0..1_000).for_each(|key| drop(cache.insert(key, key)));
/// for _ in 0..40 {
///     follower.adjust()?;
///     (0..1_000).for_each(|key| drop(cache.insert(key, key)));
///     cache.run_pending();
/// }
/// assert_eq!(cache.capacity(), Some(1_000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MemoryFollower {
    inner: Arc<FollowerInner>,
    periodic: Option<Arc<Periodic>>,
}

struct FollowerInner {
    followed: Box<dyn Followed>,
    source: Box<dyn MemorySource>,
    /// `None` follows the limit that the source reports.
    target: Option<u64>,
    state: Mutex<FollowerState>,
}

struct FollowerState {
    controller: Controller,
    status: Status,
    /// Whether a thread is reading the source.
    is_reading: bool,
}

/// What a follower has read and done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The last reading.
    pub usage: Option<Usage>,
    /// The bytes in use that it aims at: the target that was set, or nine tenths of the last reading's limit.
    pub target: u64,
    /// How often it has lowered the bound.
    pub shrinks: u64,
    /// How often it has raised the bound.
    pub grows: u64,
    /// How many readings failed, because the source returned an error or panicked.
    pub failures: u64,
}

/// A cache of any types.
trait Followed: Send + Sync {
    fn bound(&self) -> u64;
    fn filled(&self) -> u64;
    fn set_bound(&self, bound: u64) -> Result<(), FollowError>;
}

struct Following<K, V, S> {
    cache: Cache<K, V, S>,
    bound: Bound,
}

impl<K, V, S> Followed for Following<K, V, S>
where
    K: Hash + Eq + Send + Sync,
    V: Send + Sync,
    S: BuildHasher + Send + Sync,
{
    fn bound(&self) -> u64 {
        bound_of(&self.cache, self.bound).unwrap_or(u64::MAX)
    }

    fn filled(&self) -> u64 {
        match self.bound {
            Bound::Entries => self.cache.len() as u64,
            Bound::Weight => self.cache.weight(),
        }
    }

    fn set_bound(&self, bound: u64) -> Result<(), FollowError> {
        match self.bound {
            Bound::Entries => self.cache.set_capacity(usize::try_from(bound).unwrap_or(usize::MAX)),
            Bound::Weight => self.cache.set_max_weight(bound),
        }
        .map_err(FollowError::Resize)
    }
}

fn bound_of<K, V, S>(cache: &Cache<K, V, S>, bound: Bound) -> Option<u64> {
    match bound {
        Bound::Entries => cache.capacity().map(|entries| entries as u64),
        Bound::Weight => cache.max_weight(),
    }
}

impl MemoryFollower {
    /// Configures a follower of a bound of `cache`.
    pub fn builder<K, V, S>(cache: &Cache<K, V, S>) -> FollowerBuilder<K, V, S> {
        FollowerBuilder {
            cache: cache.clone(),
            bound: None,
            source: None,
            target: None,
            band: 0.1,
            range: None,
            interval: Some(Duration::from_secs(1)),
            clock: None,
        }
    }

    /// Reads the source, changes the bound if necessary, and returns it. If another thread is doing so at the
    /// moment, the call only returns the bound.
    ///
    /// # Errors
    /// If the source failed or panicked; the bound is unchanged, and [`Status::failures`] counts it.
    pub fn adjust(&self) -> Result<u64, FollowError> {
        self.inner.adjust()
    }

    /// What the follower has read and done so far.
    #[must_use]
    pub fn status(&self) -> Status {
        sync::lock(&self.inner.state).status.clone()
    }

    /// Stops the readings by the maintenance thread, and waits for one that is running, unless it is called
    /// from within that. [`adjust`](Self::adjust) still works.
    pub fn stop(&self) {
        if let Some(periodic) = &self.periodic {
            periodic.stop();
        }
    }
}

impl Drop for MemoryFollower {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for MemoryFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFollower").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Task for FollowerInner {
    fn run(&self) {
        // The status counts failures.
        let _ = self.adjust();
    }
}

impl FollowerInner {
    fn adjust(&self) -> Result<u64, FollowError> {
        /// Ends the reading, also if the drop of a value panics.
        struct Reading<'i>(&'i FollowerInner);
        impl Drop for Reading<'_> {
            fn drop(&mut self) {
                sync::lock(&self.0.state).is_reading = false;
            }
        }
        {
            let mut state = sync::lock(&self.state);
            if state.is_reading {
                return Ok(self.followed.bound());
            }
            state.is_reading = true;
        }
        let _reading = Reading(self);
        let (usage, target) = match contain(|| reading(&*self.source, self.target)) {
            Some(Ok(reading)) => reading,
            failed => {
                sync::lock(&self.state).status.failures += 1;
                return Err(match failed {
                    Some(Err(error)) => FollowError::Unreadable(error),
                    _ => FollowError::Panicked,
                });
            }
        };
        let (bound, filled) = (self.followed.bound(), self.followed.filled());
        let next = {
            let state = &mut *sync::lock(&self.state);
            state.status.usage = Some(usage);
            if let Some(target) = target.filter(|target| *target != state.status.target) {
                state.status.target = target;
                state.controller.set_target(target);
            }
            state.controller.next_bound(usage.used, bound, filled)
        };
        let Some(next) = next else { return Ok(bound) };
        self.followed.set_bound(next)?;
        let status = &mut sync::lock(&self.state).status;
        if next < bound {
            status.shrinks += 1;
        } else {
            status.grows += 1;
        }
        Ok(next)
    }
}

/// The usage and the target for it; no target if none was given and the source knows no limit.
fn reading(
    source: &dyn MemorySource,
    target: Option<u64>,
) -> std::io::Result<(Usage, Option<u64>)> {
    match target {
        Some(target) => {
            source.read_with_target(target).map(|(usage, target)| (usage, Some(target)))
        }
        None => source.read().map(|usage| {
            // With a limit of 0 the target stays as it was.
            (usage, usage.limit.map(source::target_below).filter(|target| *target > 0))
        }),
    }
}

/// Sets up a [`MemoryFollower`].
#[must_use = "a builder does nothing until `start`"]
pub struct FollowerBuilder<K, V, S> {
    cache: Cache<K, V, S>,
    bound: Option<Bound>,
    source: Option<Box<dyn MemorySource>>,
    target: Option<u64>,
    band: f64,
    range: Option<(u64, u64)>,
    interval: Option<Duration>,
    clock: Option<Arc<dyn Clock>>,
}

impl<K, V, S> FollowerBuilder<K, V, S> {
    /// Chooses the bound to set. Default: the bound on weight if the cache has one, else the one on entries.
    pub fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    /// Reads the use of memory from `source`. Default: [`CgroupMemory`] if the process is in a cgroup with a limit,
    /// else [`ProcessMemory`].
    pub fn source(mut self, source: impl MemorySource) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Sets how many bytes may be in use. Default: nine tenths of the limit in each reading, so that the
    /// target follows a limit that changes.
    ///
    /// With [`CgroupMemory`] the target bounds the use of the process's own group.
    pub fn target(mut self, bytes: u64) -> Self {
        self.target = Some(bytes);
        self
    }

    /// Sets how far below the target the use must be for the bound to grow, as a fraction of the target, from
    /// 0 to below 1. Default: 0.1.
    pub fn band(mut self, fraction: f64) -> Self {
        self.band = fraction;
        self
    }

    /// Keeps the bound from `least` to `most`. Default: from a sixteenth of its value at
    /// [`start`](Self::start), but no less than one for each partition, up to that value. A bound of 0, which
    /// switches the cache off, stays 0.
    pub fn range(mut self, least: u64, most: u64) -> Self {
        self.range = Some((least, most));
        self
    }

    /// Lets the maintenance thread read the source once in every `interval`. Default: a second.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// Leaves all readings to [`MemoryFollower::adjust`]; the maintenance thread makes none.
    pub fn by_hand(mut self) -> Self {
        self.interval = None;
        self
    }

    /// Measures the interval by `clock`. Default: [`MonotonicClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }
}

impl<K, V, S> FollowerBuilder<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Reads the source once, and starts following.
    ///
    /// # Errors
    /// If the cache has no such bound, the source cannot be read, there is neither a target nor a
    /// limit, or a setting is out of range. The bound is unchanged in that case.
    pub fn start(self) -> Result<MemoryFollower, FollowError> {
        let Self { cache, bound, source, target, band, range, interval, clock } = self;
        let has_weight = cache.max_weight().is_some();
        let kind = bound.unwrap_or(if has_weight { Bound::Weight } else { Bound::Entries });
        let bound = bound_of(&cache, kind).ok_or(FollowError::Unbounded { bound: kind })?;
        let partitions = cache.partitions() as u64;
        let default_range = ((bound / 16).max(partitions), bound.max(partitions));
        let (least, most) = range.unwrap_or(default_range);
        if least < partitions || most < least {
            return Err(FollowError::BadRange { least, most, partitions });
        }
        if !(0.0..1.0).contains(&band) {
            return Err(FollowError::BadBand { given: band });
        }
        if interval == Some(Duration::ZERO) {
            return Err(FollowError::ZeroInterval);
        }
        let source = source.unwrap_or_else(source::standard);
        if target == Some(0) {
            return Err(FollowError::ZeroTarget);
        }
        let (usage, aim) = contain(|| reading(&*source, target))
            .ok_or(FollowError::Panicked)?
            .map_err(FollowError::Unreadable)?;
        let aim = aim.ok_or(match usage.limit {
            Some(_) => FollowError::ZeroTarget,
            None => FollowError::NoTarget,
        })?;
        let state = FollowerState {
            controller: Controller::new(aim, band, Range { least, most }),
            status: Status { usage: Some(usage), target: aim, ..Status::default() },
            is_reading: false,
        };
        let followed = Box::new(Following { cache, bound: kind });
        let inner = Arc::new(FollowerInner { followed, source, target, state: Mutex::new(state) });
        let periodic = interval.map(|interval| {
            let follows_system_clock = clock.is_none();
            let clock = clock.unwrap_or_else(|| Arc::new(MonotonicClock));
            let task: Weak<FollowerInner> = Arc::downgrade(&inner);
            Periodic::start(interval, clock, follows_system_clock, task)
        });
        Ok(MemoryFollower { inner, periodic })
    }
}

impl<K, V, S> fmt::Debug for FollowerBuilder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowerBuilder")
            .field("bound", &self.bound)
            .field("target", &self.target)
            .field("band", &self.band)
            .field("range", &self.range)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
