//! Clocks: what time it is, and how cheaply that can be told.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::contain::contain;
use crate::sync::{AtomicU64, Ordering};
use crate::system_time;

/// Tells the time by which a cache's entries expire.
///
/// A cache takes the moment at which it is built for the beginning of its time, and asks its
/// clock from several threads, on each lookup of an entry that has a deadline, and under its own
/// locks: a clock must be quick, and must not use the cache.
///
/// # Strange clocks
/// A clock may stand still: then nothing expires. It may jump ahead: then what is due by the new
/// time is expired. It may jump back: what a lookup has found expired stays so, and everything
/// else gets the time that the jump took longer to live. A clock that panics stands, for that one
/// reading, where maintenance has last read it; the panic is counted in
/// [`Stats::maintenance_panics`](crate::Stats::maintenance_panics) and goes no further.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since some moment that stays the same.
    fn now_ns(&self) -> u64;

    /// Two times between which it is now, the earlier and the later one, for less than the price
    /// of [`now_ns`](Self::now_ns). Most lookups need no more: an entry whose deadline is behind
    /// both is valid.
    ///
    /// Default: both are what `now_ns` says.
    fn around_ns(&self) -> (u64, u64) {
        let now = self.now_ns();
        (now, now)
    }
}

/// The default: the system's monotonic clock, with the full resolution.
///
/// On Linux, where a deadline is further away than a second, lookups only read the time of the
/// kernel's last timer interrupt, which takes a few nanoseconds, and rely on that interrupt to be
/// less than a second late; and a time to live of more than a second counts from there, so that it
/// is up to one interrupt (1 to 10 milliseconds) shorter than was asked for. Elsewhere the full
/// clock is read each time.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MonotonicClock;

/// For how long a timer interrupt may be overdue.
const SLACK_NS: u64 = 1_000_000_000;

impl Clock for MonotonicClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        system_time::now_ns()
    }

    #[inline]
    fn around_ns(&self) -> (u64, u64) {
        match system_time::coarse_ns() {
            Some(coarse) => (coarse, coarse.saturating_add(SLACK_NS)),
            None => {
                let now = system_time::now_ns();
                (now, now)
            }
        }
    }
}

/// The system's monotonic clock in the resolution of the kernel's timer interrupt, 1 to 10
/// milliseconds, on Linux; elsewhere the same as [`MonotonicClock`].
///
/// Every reading takes a few nanoseconds, also that of deadlines less than a second away.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CoarseClock;

impl Clock for CoarseClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        system_time::coarse_ns().unwrap_or_else(system_time::now_ns)
    }
}

/// A clock for tests, which stands still until it is told to go on. Clones are one clock.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::{Cache, Maintenance, test::FakeClock};
///
/// let clock = FakeClock::new();
/// let cache = Cache::builder()
///     .capacity(100)
///     .time_to_live(Duration::from_secs(60))
///     .clock(clock.clone())
///     .maintenance(Maintenance::Inline)
///     .build()?;
/// cache.insert("key", 1);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(cache.get("key"), Some(1));
/// clock.advance(Duration::from_nanos(1));
/// assert_eq!(cache.get("key"), None);
/// # Ok::<(), larder::BuildError>(())
/// ```
#[derive(Clone, Default)]
pub struct FakeClock {
    now_ns: Arc<AtomicU64>,
}

impl FakeClock {
    /// A clock that stands at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock ahead, and lets caches in background mode know. Saturates.
    pub fn advance(&self, by: Duration) {
        let now = self.now_ns.load(Ordering::SeqCst);
        self.set(Duration::from_nanos(now.saturating_add(nanoseconds(by))));
    }

    /// Moves the clock to `time` since its zero, ahead or back.
    pub fn set(&self, time: Duration) {
        // SeqCst: before the maintenance thread is told; it reads the clock after it has said
        // that it sleeps (`maintainer`).
        self.now_ns.store(nanoseconds(time), Ordering::SeqCst);
        crate::maintainer::notify();
    }

    /// Where the clock stands.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.now_ns.load(Ordering::SeqCst))
    }
}

impl Clock for FakeClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for FakeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FakeClock").field(&self.time()).finish()
    }
}

/// Whole nanoseconds, saturating.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A cache's clock, and what its time is.
///
/// The cache's time is nanoseconds since it was built, plus one: 0 is no time but a deadline that
/// is past for ever. It never reaches `u64::MAX`, which is no deadline at all.
pub(crate) struct CacheTime {
    source: Source,
    start_ns: u64,
    /// The last reading by maintenance.
    last_ns: AtomicU64,
    panics: AtomicU64,
}

enum Source {
    /// The default, which the compiler can see through.
    Monotonic(MonotonicClock),
    Custom(Arc<dyn Clock>),
}

impl CacheTime {
    pub(crate) fn new(clock: Option<Arc<dyn Clock>>) -> Self {
        let source = clock.map_or(Source::Monotonic(MonotonicClock), Source::Custom);
        let mut time =
            Self { source, start_ns: 0, last_ns: AtomicU64::new(0), panics: AtomicU64::new(0) };
        time.start_ns = time.read(Clock::now_ns).unwrap_or(0);
        time.last_ns = AtomicU64::new(1);
        time
    }

    /// Now.
    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        let now = match &self.source {
            Source::Monotonic(clock) => Some(clock.now_ns()),
            Source::Custom(_) => self.read(Clock::now_ns),
        };
        now.map_or_else(|| self.last_ns.load(Ordering::Relaxed), |now| self.since_start(now))
    }

    /// Two times between which it is now.
    #[inline]
    pub(crate) fn around_ns(&self) -> (u64, u64) {
        let around = match &self.source {
            Source::Monotonic(clock) => Some(clock.around_ns()),
            Source::Custom(_) => self.read(Clock::around_ns),
        };
        match around {
            Some((early, late)) => (self.since_start(early), self.since_start(late)),
            None => {
                let last = self.last_ns.load(Ordering::Relaxed);
                (last, last)
            }
        }
    }

    /// Whether `deadline_ns`, a time, is surely not past, as far as a cheap look tells.
    #[inline]
    pub(crate) fn is_surely_not_past(&self, deadline_ns: u64) -> bool {
        let (_, late) = match &self.source {
            Source::Monotonic(clock) => {
                let (early, late) = clock.around_ns();
                (early, late.saturating_sub(self.start_ns))
            }
            Source::Custom(_) => self.around_ns(),
        };
        // Not yet the cache's time, which is one more: so not equal, either.
        late < deadline_ns
    }

    /// Now, as maintenance reads it: later readings that fail stand there.
    pub(crate) fn note_now_ns(&self) -> u64 {
        let now = self.now_ns();
        self.last_ns.store(now, Ordering::Relaxed);
        now
    }

    /// Whether the clock goes as the system's does, so that one can sleep until a time.
    pub(crate) fn is_real(&self) -> bool {
        matches!(self.source, Source::Monotonic(_))
    }

    /// Panics of the clock so far.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    #[inline]
    fn since_start(&self, clock_ns: u64) -> u64 {
        clock_ns.saturating_sub(self.start_ns).min(u64::MAX - 2) + 1
    }

    fn read<R>(&self, reading: impl FnOnce(&dyn Clock) -> R) -> Option<R> {
        let read = match &self.source {
            Source::Monotonic(clock) => Some(reading(clock)),
            Source::Custom(clock) => contain(|| reading(&**clock)),
        };
        if read.is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}
