//! A bound that follows how much memory there is: [`MemoryFollower`].
//!
//! ```text
//!   MemorySource ──usage──▶ controller ──bound──▶ Cache::set_capacity or set_max_weight
//!   (the process, its cgroup,   hysteresis:          evicts what is too much
//!    or one of your own)        │
//!                               │   used
//!        target ────────────────┤ above: shrink, by the share that is too much
//!        target × (1 - band) ───┤ between: leave it
//!                               │ below, and the cache is full: grow, by an eighth at most
//! ```
//!
//! Every look is one reading of the source, at an [interval](FollowerBuilder::interval) by the
//! library's maintenance thread, or [when asked](MemoryFollower::adjust). Looks do not overlap. The
//! source is read and values are dropped under no lock.
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

/// Which of a cache's bounds follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// That on the number of entries, by [`Cache::set_capacity`].
    Entries,
    /// That on the sum of weights, by [`Cache::set_max_weight`].
    Weight,
}

/// Keeps a bound of a cache at what the memory of the process, or of its cgroup, allows.
///
/// Above its target it shrinks the bound, by the share of memory that is too much and at most by
/// half at a time; below the target and a band under it, a full cache's bound grows again, by at
/// most an eighth at a time. In between nothing happens, so the bound does not swing. It stays
/// within [`range`](FollowerBuilder::range).
///
/// Evicting frees memory to the allocator, which may keep it: a source that counts what the system
/// has given to the process then sees no change. So after a step down the follower waits for three
/// looks before the next, unless use rises; and where an allocator keeps all, the bound ends at the
/// lower end of the range. A [source of your own](MemorySource) that asks the allocator for what is
/// in use mends that.
///
/// It holds a handle of the cache, and ends when it is dropped; the bound stays where it is then.
///
/// # Concurrency
/// Any number of threads may use the cache meanwhile, and call [`adjust`](Self::adjust). A bound that
/// others set is where it goes on from.
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
    /// `None` follows the limit that the source tells.
    target: Option<u64>,
    state: Mutex<FollowerState>,
}

struct FollowerState {
    controller: Controller,
    status: Status,
    /// A reading is under way.
    is_reading: bool,
}

/// What a follower has done and seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The last reading.
    pub usage: Option<Usage>,
    /// How many bytes it aims at: what was set, or nine tenths of the last reading's limit.
    pub target: u64,
    /// How often it has lowered the bound.
    pub shrinks: u64,
    /// How often it has raised the bound.
    pub grows: u64,
    /// How many looks came to nothing because the source failed or panicked.
    pub failures: u64,
}

/// A cache, of whatever types.
trait Followed: Send + Sync {
    fn bound(&self) -> u64;
    fn held(&self) -> u64;
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

    fn held(&self) -> u64 {
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
    /// A follower of a bound of `cache`, to be set up and started.
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

    /// Reads the source and moves the bound, if it should move. Returns the bound. If another look
    /// is under way, nothing is done.
    ///
    /// # Errors
    /// If the source failed or panicked; the bound is as before, and [`Status::failures`] counts it.
    pub fn adjust(&self) -> Result<u64, FollowError> {
        self.inner.look()
    }

    /// What it has done so far.
    #[must_use]
    pub fn status(&self) -> Status {
        sync::lock(&self.inner.state).status.clone()
    }

    /// Ends the looks of the maintenance thread; waits for one that is under way, unless it is called
    /// from within it. [`adjust`](Self::adjust) still works.
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
        // Counted in the status.
        let _ = self.look();
    }
}

impl FollowerInner {
    fn look(&self) -> Result<u64, FollowError> {
        /// Also if a value's drop panics.
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
        let _looking = Reading(self);
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
        let (bound, held) = (self.followed.bound(), self.followed.held());
        let next = {
            let state = &mut *sync::lock(&self.state);
            state.status.usage = Some(usage);
            if let Some(target) = target.filter(|target| *target != state.status.target) {
                state.status.target = target;
                state.controller.set_target(target);
            }
            state.controller.next_bound(usage.used, bound, held)
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

/// What is in use, and what may be; no target if none was given and the source knows no limit.
fn reading(
    source: &dyn MemorySource,
    target: Option<u64>,
) -> std::io::Result<(Usage, Option<u64>)> {
    match target {
        Some(target) => {
            source.read_with_target(target).map(|(usage, target)| (usage, Some(target)))
        }
        None => source.read().map(|usage| {
            // A limit of 0 would leave nothing to aim at; the target is then as before.
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
    /// Which bound follows. Default: that on weight if the cache has one, else that on entries.
    pub fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    /// Where use is read. Default: [`CgroupMemory`] if the process is in a cgroup with a limit, else
    /// [`ProcessMemory`].
    pub fn source(mut self, source: impl MemorySource) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// How many bytes may be in use. Default: nine tenths of the limit that the source tells, at each
    /// look anew, so that the target follows a limit that changes.
    ///
    /// With [`CgroupMemory`] it bounds the use of this process's own group.
    pub fn target(mut self, bytes: u64) -> Self {
        self.target = Some(bytes);
        self
    }

    /// How far below the target use must be for the bound to grow, as a fraction of the target.
    /// Default: 0.1.
    pub fn band(mut self, fraction: f64) -> Self {
        self.band = fraction;
        self
    }

    /// The least and the most that the bound may be. Default: from a sixteenth of what it is at
    /// [`start`](Self::start), but no less than one for each partition, to all of it. A bound of 0, of
    /// a cache that is switched off, stays.
    pub fn range(mut self, least: u64, most: u64) -> Self {
        self.range = Some((least, most));
        self
    }

    /// How often the maintenance thread looks. Default: a second.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// The maintenance thread does not look, only [`MemoryFollower::adjust`] does.
    pub fn by_hand(mut self) -> Self {
        self.interval = None;
        self
    }

    /// Tells the time by `clock`. Default: [`MonotonicClock`].
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
    /// Reads the source once, and follows from then on.
    ///
    /// # Errors
    /// If the cache has no such bound, the source cannot be read, there is neither a target nor a
    /// limit, or a setting is out of range. The bound is as before then.
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
