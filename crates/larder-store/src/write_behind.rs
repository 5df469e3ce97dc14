//! The settings of write-behind.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use larder::Clock;
use larder::expiry::MonotonicClock;

use crate::error::{DeadLetter, TierBuildError};
use crate::queue::QueueBounds;
use crate::store::{Durability, Record};

/// What a write does that finds the queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// It waits for room, at most for the tier's [patience](WriteBehind::patience).
    #[default]
    Wait,
    /// It fails with [`TierError::QueueFull`](crate::TierError::QueueFull).
    Fail,
}

/// How long the writer waits after a failed attempt.
///
/// Of the attempts that have failed in a row, the first is followed by a wait of up to `first`, and each
/// further one by up to twice as long as the one before, but never more than `most`. Each wait is chosen
/// at random from the upper half of that time, so that writers whose store comes back do not all return at
/// once ("Exponential Backoff and Jitter", Marc Brooker, AWS Architecture Blog, 2015: "equal jitter").
#[derive(Clone)]
pub struct Backoff(Pauses);

#[derive(Clone)]
enum Pauses {
    Exponential { first: Duration, most: Duration },
    Custom(Arc<dyn Fn(u32) -> Duration + Send + Sync>),
}

impl Backoff {
    /// Waits of up to `first`, doubled after each failure up to `most`.
    pub const fn exponential(first: Duration, most: Duration) -> Self {
        Self(Pauses::Exponential { first, most })
    }

    /// Waits of your own: the closure is given how many attempts have failed in a row, at least 1. If it
    /// panics, the writer waits for a second.
    pub fn custom(pause: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Self(Pauses::Custom(Arc::new(pause)))
    }

    pub(crate) fn pause(&self, failures: u32) -> Duration {
        match &self.0 {
            Pauses::Exponential { first, most } => {
                jittered(longest(*first, *most, failures), RandomState::new().hash_one(failures))
            }
            Pauses::Custom(pause) => pause(failures),
        }
    }
}

impl Default for Backoff {
    /// From 50 milliseconds to 30 seconds.
    fn default() -> Self {
        Self::exponential(Duration::from_millis(50), Duration::from_secs(30))
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pauses::Exponential { first, most } => {
                f.debug_struct("Exponential").field("first", first).field("most", most).finish()
            }
            Pauses::Custom(_) => f.write_str("Custom"),
        }
    }
}

fn longest(first: Duration, most: Duration, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(most)
}

/// A time from the upper half of `longest`.
fn jittered(longest: Duration, random: u64) -> Duration {
    let half = longest / 2;
    // The 32 highest bits as a fraction of 1.
    half + half.mul_f64((random >> 32) as f64 / 4_294_967_296.0)
}

type Weigher<K, V> = Arc<dyn Fn(&K, &Record<V>) -> u64 + Send + Sync>;
type OnGiveUp<K, V, E> = Arc<dyn Fn(&DeadLetter<K, V, E>) + Send + Sync>;

/// The settings of write-behind: a write goes into the cache and into a bounded queue, from which a writer
/// carries it to the store.
///
/// See [`StoredCache`](crate::StoredCache#write-behind) for what is promised.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder_store::{Durability, WriteBehind};
///
/// let behind: WriteBehind<u64, String, std::io::Error> = WriteBehind::new()
///     .durability(Durability::Durable)
///     .max_entries(100_000)
///     .delay(Duration::from_millis(2))
///     .on_give_up(|letter| eprintln!("lost {:?}", letter.key));
/// # let _ = behind;
/// ```
pub struct WriteBehind<K, V, E> {
    pub(crate) durability: Durability,
    pub(crate) when_full: WhenFull,
    max_entries: usize,
    max_weight: u64,
    weigher: Option<Weigher<K, V>>,
    batch_entries: usize,
    delay: Duration,
    pub(crate) backoff: Backoff,
    give_up_after: Option<u32>,
    pub(crate) patience: Duration,
    pub(crate) on_give_up: Option<OnGiveUp<K, V, E>>,
    clock: Arc<dyn Clock>,
}

impl<K, V, E> WriteBehind<K, V, E> {
    /// The default of each setting.
    #[must_use]
    pub fn new() -> Self {
        Self {
            durability: Durability::Memory,
            when_full: WhenFull::Wait,
            max_entries: 16_384,
            max_weight: u64::MAX,
            weigher: None,
            batch_entries: 256,
            delay: Duration::ZERO,
            backoff: Backoff::default(),
            give_up_after: None,
            patience: Duration::from_secs(30),
            on_give_up: None,
            clock: Arc::new(MonotonicClock::default()),
        }
    }

    /// When a write is acknowledged, which is when the call returns `Ok`: with
    /// [`Memory`](Durability::Memory), the default, once it is in the queue; with
    /// [`Durable`](Durability::Durable) once the store has committed it. Calls that wait at the same time
    /// are committed together.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// What a write does that finds the queue full. Default: it waits.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// How many writes the queue holds at most, with those that the store has at the moment and the dead
    /// letters. Default 16,384; at least 1.
    #[must_use]
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// How much the writes in the queue weigh at most, as `weigher` says for each key and record. A removal
    /// weighs nothing. Default: no bound; at least 1.
    ///
    /// If `weigher` panics, the write fails with that panic, and nothing has changed.
    #[must_use]
    pub fn max_weight(
        mut self,
        weight: u64,
        weigher: impl Fn(&K, &Record<V>) -> u64 + Send + Sync + 'static,
    ) -> Self {
        self.max_weight = weight;
        self.weigher = Some(Arc::new(weigher));
        self
    }

    /// How many writes a batch has at most. Default 256; at least 1.
    #[must_use]
    pub fn batch_entries(mut self, entries: usize) -> Self {
        self.batch_entries = entries;
        self
    }

    /// How long a write waits in the queue for others of its batch, and for newer writes of its key, which
    /// replace it. Default zero: the writer takes what there is whenever it is free. A flush, a full batch,
    /// or a queue that is half full ends the wait. In durable mode callers wait as much longer.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// How long the writer waits after a failed attempt. Default: [`Backoff::default`].
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// After how many failed attempts a write is given up and becomes a dead letter; the last of them is an
    /// attempt with this write alone. Default: never; at least 1.
    ///
    /// A write that fails with a [permanent](crate::ErrorKind::Permanent) error is given up as soon as it has
    /// failed alone, whatever this setting says.
    #[must_use]
    pub fn give_up_after(mut self, attempts: u32) -> Self {
        self.give_up_after = Some(attempts);
        self
    }

    /// How long a call waits at most: for room in the queue, for the store to commit (in durable mode), for a
    /// flush and for the end. Default 30 seconds. Zero waits not at all; a time beyond the system's range
    /// waits for ever. Calls of an asynchronous tier wait for ever, because a future can be dropped; there
    /// only the end of the writer is bounded by it.
    ///
    /// It does not bound the calls of the store that a thread makes itself: its reads, and its own flush.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A closure that is called for each write that is given up, by the writer or by the call that closes
    /// the tier, when the write is among the dead letters. A panic in it is contained.
    #[must_use]
    pub fn on_give_up(
        mut self,
        report: impl Fn(&DeadLetter<K, V, E>) + Send + Sync + 'static,
    ) -> Self {
        self.on_give_up = Some(Arc::new(report));
        self
    }

    /// The clock by which records expire in the queue, and by which it is known how long a write has
    /// [waited](Self::delay). The writer sleeps by the system's time all the same. Default: the system's
    /// monotonic clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    pub(crate) fn check(&self) -> Result<(), TierBuildError> {
        let zero = |setting| Err(TierBuildError::Zero { setting });
        match self {
            Self { max_entries: 0, .. } => zero("max_entries"),
            Self { max_weight: 0, .. } => zero("max_weight"),
            Self { batch_entries: 0, .. } => zero("batch_entries"),
            Self { give_up_after: Some(0), .. } => zero("give_up_after"),
            _ => Ok(()),
        }
    }

    pub(crate) fn bounds(&self) -> (QueueBounds, Arc<dyn Clock>) {
        let bounds = QueueBounds {
            max_entries: self.max_entries,
            max_weight: self.max_weight,
            batch_entries: self.batch_entries,
            delay: self.delay,
            give_up_after: self.give_up_after,
        };
        (bounds, Arc::clone(&self.clock))
    }

    pub(crate) fn weigh(&self, key: &K, record: Option<&Record<V>>) -> u64 {
        match (&self.weigher, record) {
            (Some(weigher), Some(record)) => weigher(key, record),
            _ => 0,
        }
    }
}

impl<K, V, E> Default for WriteBehind<K, V, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V, E> Clone for WriteBehind<K, V, E> {
    fn clone(&self) -> Self {
        Self {
            weigher: self.weigher.clone(),
            backoff: self.backoff.clone(),
            on_give_up: self.on_give_up.clone(),
            clock: Arc::clone(&self.clock),
            ..*self
        }
    }
}

impl<K, V, E> fmt::Debug for WriteBehind<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBehind")
            .field("durability", &self.durability)
            .field("when_full", &self.when_full)
            .field("max_entries", &self.max_entries)
            .field("max_weight", &self.max_weight)
            .field("batch_entries", &self.batch_entries)
            .field("delay", &self.delay)
            .field("backoff", &self.backoff)
            .field("give_up_after", &self.give_up_after)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_most_and_never_overflow() {
        let (first, most) = (Duration::from_millis(50), Duration::from_secs(30));
        let pauses: Vec<_> = [1, 2, 3, 9, 10, 11, 33, 34, u32::MAX]
            .map(|failures| longest(first, most, failures).as_millis())
            .into();
        assert_eq!(pauses, [50, 100, 200, 12_800, 25_600, 30_000, 30_000, 30_000, 30_000]);
        assert_eq!(longest(Duration::MAX, Duration::MAX, 40), Duration::MAX);
    }

    #[test]
    fn jitter_stays_in_the_upper_half() {
        let longest = Duration::from_secs(1);
        assert_eq!(jittered(longest, 0), longest / 2);
        assert_eq!(jittered(longest, 1 << 63), longest * 3 / 4);
        assert!(jittered(longest, u64::MAX) <= longest);
        assert!(jittered(Duration::MAX, u64::MAX) <= Duration::MAX);
        assert_eq!(jittered(Duration::ZERO, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn pauses_of_one_failure_differ() {
        let backoff = Backoff::default();
        let pauses: std::collections::HashSet<_> = (0..50).map(|_| backoff.pause(5)).collect();
        assert!(pauses.len() > 25);
    }
}
