//! Which thread delivers notifications to the listener, and when.
//!
//! A thread that has run maintenance delivers the waiting notifications after it has released the
//! partition's lock, unless it is pinned, is dropping keys and values, or is inside this cache's
//! listener or within one of its gates. Then the maintenance thread delivers them later, or, with
//! inline maintenance, the outer delivery or the next call. A thread waits for another thread's
//! delivery only where [`crate::base::reentrancy`] allows it.
#![forbid(unsafe_code)]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::{Engine, Partition};
use crate::base::error::FlushError;
use crate::base::mode::Maintenance;
use crate::base::reentrancy::{self, Scope};
use crate::base::sync::{self, AtomicBool, Backoff, Ordering};
use crate::listener::{Channel, Listening};
use crate::reclaim;

/// How many notifications one call delivers in background mode. Other calls deliver the rest.
const MOST_AT_ONCE: usize = 64;

/// The listener of a cache, and what the engine needs to deliver notifications to it.
pub(crate) struct Deliveries<K, V> {
    pub(crate) listening: Arc<Listening<K, V>>,
    /// Hands the delivery of a partition to the executor, if there is one.
    pub(crate) schedule: OnceLock<Box<dyn Fn(usize) + Send + Sync>>,
    /// Whether a thread left notifications undelivered, for the next one that may deliver them.
    has_undelivered: AtomicBool,
}

impl<K, V> Deliveries<K, V> {
    pub(crate) fn new(listening: Arc<Listening<K, V>>) -> Self {
        Self { listening, schedule: OnceLock::new(), has_undelivered: AtomicBool::new(false) }
    }
}

impl<K, V> Engine<K, V> {
    fn is_inside_listener(&self) -> bool {
        reentrancy::is_inside(Scope::Listener, self)
    }

    /// Whether this thread may call a listener of this cache. Within a gate it may not, because the
    /// listener could change the cache, which would need the gate.
    fn may_notify(&self) -> bool {
        !self.atomic.as_ref().is_some_and(|atomic| atomic.refuses_changes())
            && !reclaim::is_pinned_here()
            && !reentrancy::is_inside_any(Scope::Dropping)
    }

    fn may_deliver(&self) -> bool {
        self.may_notify() && !self.is_inside_listener()
    }

    /// Whether there is an atomic listener that this thread must not call now. Then its runs of
    /// maintenance must take no entry out.
    #[inline]
    pub(super) fn cannot_notify(&self) -> bool {
        self.atomic.as_ref().is_some_and(|atomic| atomic.is_evicting() || !self.may_notify())
    }

    /// Delivers notifications that wait in `partition`, if this thread may. The thread must hold no lock.
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
            // Relaxed: this thread reads it once its own delivery ends, or another thread delivers
            // with one of the next calls.
            deliveries.has_undelivered.store(true, Ordering::Relaxed);
            return;
        }
        // At the end of the cache, jobs find it closed, and `deliver_last` delivers everything.
        if !self.is_ending()
            && let Some(schedule) = deliveries.schedule.get()
        {
            let _inside = reentrancy::enter(Scope::Executor, self);
            channel.schedule(|| schedule(partition.index));
            return;
        }
        let most = match self.mode {
            Maintenance::Background => MOST_AT_ONCE,
            Maintenance::Inline => usize::MAX,
        };
        let _inside = reentrancy::enter(Scope::Listener, self);
        channel.deliver(most);
        if self.mode == Maintenance::Inline {
            self.deliver_remaining(deliveries);
        }
    }

    /// Delivers the notifications of what the listener itself has removed, in all partitions.
    fn deliver_remaining(&self, deliveries: &Deliveries<K, V>) {
        while deliveries.has_undelivered.swap(false, Ordering::Relaxed) {
            self.channels().for_each(|channel| channel.deliver(usize::MAX));
        }
    }

    /// Delivers the notifications of one partition, as a job of the executor.
    pub(crate) fn deliver_as_job(&self, partition: usize) {
        if let (Some(deliveries), Some(channel)) =
            (&self.deliveries, &self.partitions[partition].channel)
        {
            channel.begin_job();
            let _inside = reentrancy::enter(Scope::Listener, self);
            channel.deliver(usize::MAX);
            self.deliver_remaining(deliveries);
        }
        if self.mode == Maintenance::Background {
            self.attendance.notify();
        }
    }

    /// Notes that a job was dropped without having run. The next delivery asks for another one.
    pub(crate) fn forget_job(&self, partition: usize) {
        if let Some(channel) = &self.partitions[partition].channel {
            channel.begin_job();
        }
    }

    /// Delays a writer while the listener does not keep up, if the queue has a bound and the thread may
    /// wait.
    pub(super) fn await_room(&self, partition: &Partition<K, V>) {
        let Some(channel) = &partition.channel else { return };
        if !channel.is_full() || !reentrancy::may_wait() || !self.may_deliver() {
            return;
        }
        let backoff = Backoff::new();
        while channel.is_full() {
            self.deliver(partition);
            if channel.is_unattended() {
                // The executor has panicked or dropped the job, so perhaps no other thread delivers.
                let _inside = reentrancy::enter(Scope::Listener, self);
                channel.deliver(MOST_AT_ONCE);
            }
            sync::snooze_or_nap(&backoff);
        }
    }

    /// Delivers everything that waits, at the end of the cache, when no other thread is inside it.
    pub(super) fn deliver_last(&self) {
        let _inside = reentrancy::enter(Scope::Listener, self);
        self.channels().for_each(|channel| channel.deliver(usize::MAX));
    }

    /// Delivers everything that waits, and waits for other threads' deliveries, until there is no
    /// progress for as long as `patience`.
    pub(super) fn deliver_all(&self, patience: Duration) -> Result<(), FlushError> {
        let Some(deliveries) = &self.deliveries else { return Ok(()) };
        let delivered = || deliveries.listening.delivered.load(Ordering::Relaxed);
        let (mut last, mut since) = (delivered(), Instant::now());
        for channel in self.channels() {
            let backoff = Backoff::new();
            while !channel.is_idle() {
                if self.is_inside_listener() {
                    return Err(FlushError::WithinListener);
                }
                if reclaim::is_pinned_here() {
                    return Err(FlushError::PinnedHere);
                }
                {
                    let _inside = reentrancy::enter(Scope::Listener, self);
                    channel.deliver(usize::MAX);
                }
                let now = delivered();
                if now != last {
                    (last, since) = (now, Instant::now());
                } else if !reentrancy::may_wait() && !channel.is_idle() {
                    return Err(FlushError::WithinListener);
                } else if since.elapsed() > patience {
                    return Err(FlushError::ListenerBusy { waited: since.elapsed() });
                }
                sync::snooze_or_nap(&backoff);
            }
        }
        Ok(())
    }

    fn channels(&self) -> impl Iterator<Item = &Channel<K, V>> {
        self.partitions.iter().filter_map(|partition| partition.channel.as_ref())
    }

    /// How many notifications wait to be delivered.
    pub(super) fn notifications_waiting(&self) -> u64 {
        self.channels().map(|channel| channel.waiting() as u64).sum()
    }
}
