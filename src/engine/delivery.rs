//! Which thread notifies the listener, and when.
//!
//! A thread that has run maintenance delivers what waits, after it has released the lock; but not
//! while it is pinned, is dropping keys and values, or is inside this cache's listener or one of
//! its gates. Then the maintenance thread does it, or, with inline maintenance, the outer delivery
//! or the next call. A thread waits for deliveries of others only where [`crate::base::reentrancy`]
//! allows it.
#![forbid(unsafe_code)]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;

use super::{Engine, Partition};
use crate::base::error::FlushError;
use crate::base::mode::Maintenance;
use crate::base::reentrancy::{self, Scope};
use crate::base::sync::{self, AtomicBool, Ordering};
use crate::listener::{Channel, Listening};
use crate::reclaim;

/// Notifications that one call delivers in background mode: other calls deliver, too.
const MOST_AT_ONCE: usize = 64;

/// What an engine with a listener has for it.
pub(crate) struct Deliveries<K, V> {
    pub(crate) listening: Arc<Listening<K, V>>,
    /// Hands the delivery of a partition to the executor, if there is one.
    pub(crate) schedule: OnceLock<Box<dyn Fn(usize) + Send + Sync>>,
    /// Whether something was left undelivered, for the next thread that may deliver.
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

    fn may_deliver(&self) -> bool {
        // Within a gate the listener, which may change the cache, could want to enter it.
        let is_within_gate = self.atomic.as_ref().is_some_and(|atomic| atomic.refuses_changes());
        !reclaim::is_pinned_here()
            && !reentrancy::is_inside_any(Scope::Dropping)
            && !self.is_inside_listener()
            && !is_within_gate
    }

    /// Whether there is an atomic listener that this thread must not notify now of what maintenance
    /// takes out: so it must take nothing out.
    #[inline]
    pub(super) fn cannot_notify(&self) -> bool {
        self.atomic.as_ref().is_some_and(|atomic| {
            let is_busy = atomic.refuses_changes() || atomic.is_evicting();
            is_busy || reclaim::is_pinned_here() || reentrancy::is_inside_any(Scope::Dropping)
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
            // Relaxed: the thread within the listener is this one, or comes by in any case.
            deliveries.has_undelivered.store(true, Ordering::Relaxed);
            return;
        }
        // At the end of the cache jobs find it closed, and `deliver_all` delivers everything.
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

    /// Delivers what the listener itself has removed, in whichever partition.
    fn deliver_remaining(&self, deliveries: &Deliveries<K, V>) {
        while deliveries.has_undelivered.swap(false, Ordering::Relaxed) {
            self.channels().for_each(|channel| channel.deliver(usize::MAX));
        }
    }

    /// What the executor's job does.
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

    /// A job was dropped without having run: the next delivery asks for another one.
    pub(crate) fn forget_job(&self, partition: usize) {
        if let Some(channel) = &self.partitions[partition].channel {
            channel.begin_job();
        }
    }

    /// Holds a writer back while the listener does not keep up, if it is to be.
    pub(super) fn await_room(&self, partition: &Partition<K, V>) {
        let Some(channel) = &partition.channel else { return };
        if !channel.is_full() || !reentrancy::may_wait() || !self.may_deliver() {
            return;
        }
        let backoff = Backoff::new();
        while channel.is_full() {
            self.deliver(partition);
            if channel.is_left_alone() {
                // The executor has panicked, or dropped the job: nobody else may ever come.
                let _inside = reentrancy::enter(Scope::Listener, self);
                channel.deliver(MOST_AT_ONCE);
            }
            if backoff.is_completed() {
                sync::nap();
            } else {
                backoff.snooze();
            }
        }
    }

    /// Delivers everything that waits, at the end of the cache, where no other thread is inside of it.
    pub(super) fn deliver_last(&self) {
        let _inside = reentrancy::enter(Scope::Listener, self);
        self.channels().for_each(|channel| channel.deliver(usize::MAX));
    }

    /// Delivers everything that waits, and waits for what others are delivering, for as long as
    /// `patience` without progress.
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
