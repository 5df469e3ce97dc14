//! Who tells the listener, and when.
//!
//! Whoever has run maintenance delivers what waits, after it has let go of the lock: but not while
//! the thread is pinned, is dropping keys and values, or is within this cache's listener. Then the
//! maintenance thread does it, or, with inline maintenance, the outer delivery or the next call.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;

use super::{Engine, Maintenance, Partition, is_freeing};
use crate::error::FlushError;
use crate::listener::{Channel, Listening, Room};
use crate::maintainer;
use crate::reclaim;
use crate::sync::{self, AtomicBool, Ordering};

/// Notifications that one call delivers in background mode: others are at it, too.
const MOST_AT_ONCE: usize = 64;

/// What an engine with a listener has for it.
pub(crate) struct Deliveries<K, V> {
    pub(crate) listening: Arc<Listening<K, V>>,
    /// Hands the delivery of a partition to the executor, if there is one.
    pub(crate) schedule: OnceLock<Box<dyn Fn(usize) + Send + Sync>>,
    /// A delivery was left to whoever comes by next.
    is_left: AtomicBool,
}

impl<K, V> Deliveries<K, V> {
    pub(crate) fn new(listening: Arc<Listening<K, V>>) -> Self {
        Self { listening, schedule: OnceLock::new(), is_left: AtomicBool::new(false) }
    }
}

thread_local! {
    /// The engines whose listeners this thread is within, the innermost last.
    static WITHIN: RefCell<Vec<*const ()>> = const { RefCell::new(Vec::new()) };
}

/// Marks the thread as within the listener of an engine.
struct Within;

impl Within {
    fn enter(engine: *const ()) -> Self {
        let _ = WITHIN.try_with(|within| within.borrow_mut().push(engine));
        Self
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        let _ = WITHIN.try_with(|within| within.borrow_mut().pop());
    }
}

impl<K, V> Engine<K, V> {
    fn is_within_listener(&self) -> bool {
        let is_own = |engine: &*const ()| ptr::eq(*engine, ptr::from_ref(self).cast());
        WITHIN.try_with(|within| within.borrow().iter().any(is_own)).unwrap_or(false)
    }

    fn may_deliver(&self) -> bool {
        // Within a gate the listener, which may change the cache, could want to enter it.
        let is_within_gate = self.atomic.as_ref().is_some_and(|atomic| atomic.refuses_changes());
        !reclaim::is_pinned_here() && !is_freeing() && !self.is_within_listener() && !is_within_gate
    }

    /// Whether there is an atomic listener that this thread must not tell now of what maintenance
    /// takes out: so it must take nothing out.
    #[inline]
    pub(super) fn must_not_tell(&self) -> bool {
        self.atomic.as_ref().is_some_and(|atomic| {
            let is_busy = atomic.refuses_changes() || atomic.is_taking_out();
            is_busy || reclaim::is_pinned_here() || is_freeing()
        })
    }

    /// Delivers what waits in `partition`, if this thread may. No lock may be held.
    #[inline]
    pub(super) fn deliver(&self, partition: &Partition<K, V>) {
        if let (Some(deliveries), Some(channel)) = (&self.deliveries, &partition.channel)
            && channel.has_work()
        {
            self.deliver_from(deliveries, partition, channel);
        }
    }

    #[cold]
    fn deliver_from(
        &self,
        deliveries: &Deliveries<K, V>,
        partition: &Partition<K, V>,
        channel: &Channel<K, V>,
    ) {
        if !self.may_deliver() {
            // Relaxed: whoever is within the listener is this thread, or comes by anyway.
            deliveries.is_left.store(true, Ordering::Relaxed);
            return;
        }
        if let Some(schedule) = deliveries.schedule.get() {
            channel.schedule(|| schedule(partition.index));
            return;
        }
        let most = match self.mode {
            Maintenance::Background => MOST_AT_ONCE,
            Maintenance::Inline => usize::MAX,
        };
        let _within = Within::enter(ptr::from_ref(self).cast());
        channel.deliver(most);
        if self.mode == Maintenance::Inline {
            self.deliver_left(deliveries);
        }
    }

    /// Delivers what the listener itself has removed, in whichever partition.
    fn deliver_left(&self, deliveries: &Deliveries<K, V>) {
        while deliveries.is_left.swap(false, Ordering::Relaxed) {
            self.channels().for_each(|channel| channel.deliver(usize::MAX));
        }
    }

    /// What the executor's job does.
    pub(crate) fn deliver_as_job(&self, partition: usize) {
        if let (Some(deliveries), Some(channel)) =
            (&self.deliveries, &self.partitions[partition].channel)
        {
            channel.begin_job();
            let _within = Within::enter(ptr::from_ref(self).cast());
            channel.deliver(usize::MAX);
            self.deliver_left(deliveries);
        }
        if self.mode == Maintenance::Background {
            maintainer::notify();
        }
    }

    /// Holds a writer back while the listener does not keep up, if it is to be.
    pub(super) fn await_room(&self, partition: &Partition<K, V>) {
        let Some(channel) = &partition.channel else { return };
        if channel.room() == Room::Some || !self.may_deliver() {
            return;
        }
        let backoff = Backoff::new();
        while channel.room() == Room::None {
            self.deliver(partition);
            if backoff.is_completed() {
                sync::nap();
            } else {
                backoff.snooze();
            }
        }
    }

    /// Delivers everything that waits, and waits for what others are delivering, for as long as
    /// `patience` without progress.
    pub(super) fn deliver_all(&self, patience: Option<Duration>) -> Result<(), FlushError> {
        let Some(deliveries) = &self.deliveries else { return Ok(()) };
        let delivered = || deliveries.listening.delivered.load(Ordering::Relaxed);
        let (mut last, mut since) = (delivered(), Instant::now());
        for channel in self.channels() {
            let backoff = Backoff::new();
            while !channel.is_idle() {
                if patience.is_some() && self.is_within_listener() {
                    return Err(FlushError::WithinListener);
                }
                if patience.is_some() && reclaim::is_pinned_here() {
                    return Err(FlushError::PinnedHere);
                }
                let _within = Within::enter(ptr::from_ref(self).cast());
                channel.deliver(usize::MAX);
                let now = delivered();
                if now != last {
                    (last, since) = (now, Instant::now());
                } else if patience.is_some_and(|patience| since.elapsed() > patience) {
                    return Err(FlushError::ListenerBusy { waited: since.elapsed() });
                }
                if backoff.is_completed() {
                    sync::nap();
                } else {
                    backoff.snooze();
                }
            }
        }
        Ok(())
    }

    fn channels(&self) -> impl Iterator<Item = &Channel<K, V>> {
        self.partitions.iter().filter_map(|partition| partition.channel.as_ref())
    }

    /// Notifications that wait to be delivered.
    pub(super) fn notifications_waiting(&self) -> u64 {
        self.channels().map(|channel| channel.waiting() as u64).sum()
    }
}
