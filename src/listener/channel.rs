//! The queue between a partition's maintenance and the listener.
//!
//! Maintenance adds notifications at the end, under the partition's lock. One thread at a time takes
//! them out at the front and calls the listener, without any lock. Maintenance then takes the delivered
//! ones back. What must hold: notifications are delivered in the order in which they were added, each
//! once; the queue's lock is held only to move a few pointers.
//!
//! | state of a notification | owned by | next |
//! |---|---|---|
//! | waiting | the queue | being delivered, by the one thread that set `is_delivering` |
//! | being delivered | that thread | delivered, also if the listener panics |
//! | delivered | the queue | maintenance releases its entries |
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Listening, Overflow, Removal};
use crate::base::cause::RemovalCause;
use crate::base::lock::Lock;
use crate::base::panics::contain;
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::buffer::write_buffer::SHARE;
use crate::entry::{EntryPtr, Hold};
use crate::reclaim::KeepAlive;

/// Short queues get this limit for threads that must not wait.
const LEAST_LIMIT: usize = 64;
const _: () = assert!(LEAST_LIMIT >= SHARE, "a run notifies of as many events");

/// One removal, of which a listener is notified. It holds its entries from its creation until it is
/// released.
pub(crate) struct Notification<K, V> {
    old: KeepAlive<K, V>,
    new: Option<KeepAlive<K, V>>,
    age: Duration,
}

impl<K, V> Notification<K, V> {
    /// A notification of the removal of `old`, which has just left, and whose place `new` has taken. No
    /// other notification holds `old` as its old entry, or `new` as its new one.
    pub(crate) fn new(old: EntryPtr, new: Option<EntryPtr>, age: Duration) -> Self {
        old.meta().hold(Hold::Old);
        if let Some(new) = new {
            new.meta().hold(Hold::New);
        }
        Self { old: KeepAlive::new(old), new: new.map(KeepAlive::new), age }
    }

    /// Releases the entries and returns them, so that maintenance can retire those that nothing needs
    /// any more.
    pub(crate) fn release(self) -> (EntryPtr, Option<EntryPtr>) {
        let (old, new) = (self.old.pointer(), self.new.map(|new| new.pointer()));
        old.meta().release(Hold::Old);
        if let Some(new) = new {
            new.meta().release(Hold::New);
        }
        (old, new)
    }

    fn removal(&self) -> Removal<'_, K, V> {
        let old = self.old.entry();
        let cause = self.old.pointer().meta().cause();
        let new_value = self.new.as_ref().map(|new| &new.entry().value);
        Removal {
            key: &old.key,
            value: &old.value,
            new_value: new_value.filter(|_| cause == RemovalCause::Replaced),
            weight: self.old.pointer().meta().weight(),
            age: self.age,
            cause,
        }
    }
}

/// The queue of one partition.
pub(crate) struct Channel<K, V> {
    listening: Arc<Listening<K, V>>,
    queue: Lock<Queue<K, V>>,
    /// How many notifications wait in `queue`, to be read without its lock.
    waiting: AtomicUsize,
    /// Whether `queue` has delivered notifications that maintenance should take back.
    has_delivered: AtomicBool,
}

struct Queue<K, V> {
    waiting: VecDeque<Notification<K, V>>,
    delivered: Vec<Notification<K, V>>,
    is_delivering: bool,
    /// The executor has a job, or is being handed one, that has not begun.
    is_scheduled: bool,
}

impl<K, V> Channel<K, V> {
    pub(crate) fn new(listening: Arc<Listening<K, V>>) -> Self {
        Self {
            listening,
            queue: Lock::new(Queue {
                waiting: VecDeque::new(),
                delivered: Vec::new(),
                is_delivering: false,
                is_scheduled: false,
            }),
            waiting: AtomicUsize::new(0),
            has_delivered: AtomicBool::new(false),
        }
    }

    /// Adds a notification, or returns it if too many wait. `linked` is how many entries were linked in
    /// the partition before this run of maintenance, which may take out all of them.
    pub(crate) fn offer(
        &self,
        notification: Notification<K, V>,
        linked: usize,
    ) -> Result<(), Notification<K, V>> {
        let limit = match self.listening.overflow {
            Overflow::Drop => self.listening.queue,
            // Writers that may wait do so before this limit, which is for threads that must not. One run
            // may add a notification for each event that it applies and each entry of the partition.
            Overflow::Block => {
                let twice = self.listening.queue.max(LEAST_LIMIT).saturating_mul(2);
                twice.saturating_add(LEAST_LIMIT).saturating_add(linked)
            }
        };
        let mut queue = self.queue.lock();
        if queue.waiting.len() >= limit {
            self.listening.dropped.fetch_add(1, Ordering::Relaxed);
            return Err(notification);
        }
        queue.waiting.push_back(notification);
        self.note(&queue);
        Ok(())
    }

    /// Puts the notifications that were delivered into `taken`, which is empty. False if there are none.
    pub(crate) fn take_delivered(&self, taken: &mut Vec<Notification<K, V>>) -> bool {
        // Relaxed: a hint. The next run, which `has_work` asks for, takes what this one misses.
        if !self.has_delivered.load(Ordering::Relaxed) {
            return false;
        }
        let mut queue = self.queue.lock();
        std::mem::swap(&mut queue.delivered, taken);
        self.note(&queue);
        true
    }

    /// Calls the listener for up to `most` notifications, unless another thread delivers. Runs user
    /// code, so the thread must hold no lock and no guard.
    pub(crate) fn deliver(&self, most: usize) {
        let mut notification = {
            let mut queue = self.queue.lock();
            if queue.is_delivering || most == 0 {
                return;
            }
            let Some(first) = queue.waiting.pop_front() else { return };
            queue.is_delivering = true;
            first
        };
        for count in 1.. {
            let listen = &self.listening.listen;
            if contain(|| listen(&notification.removal())).is_none() {
                self.listening.panics.fetch_add(1, Ordering::Relaxed);
            }
            self.listening.delivered.fetch_add(1, Ordering::Relaxed);
            let mut queue = self.queue.lock();
            queue.delivered.push(notification);
            let next = if count < most { queue.waiting.pop_front() } else { None };
            // Under the lock: a thread that adds a notification after this finds that no thread
            // delivers.
            queue.is_delivering = next.is_some();
            self.note(&queue);
            match next {
                Some(next) => notification = next,
                None => return,
            }
        }
    }

    /// Hands the executor a job by `submit`, unless it has one that has not begun, or nothing waits.
    pub(crate) fn schedule(&self, submit: impl FnOnce()) {
        {
            let mut queue = self.queue.lock();
            if queue.is_scheduled || queue.waiting.is_empty() {
                return;
            }
            queue.is_scheduled = true;
        }
        if contain(submit).is_none() {
            self.listening.panics.fetch_add(1, Ordering::Relaxed);
            self.begin_job();
        }
    }

    /// Notes that the job runs, or never will. From now on the executor may be handed another one.
    pub(crate) fn begin_job(&self) {
        self.queue.lock().is_scheduled = false;
    }

    /// Takes the queue's lock, for the time of a fork.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn hold_for_fork(&self) -> impl Sized + '_ {
        self.queue.lock_for_fork()
    }

    /// Whether nothing waits and nothing is being delivered.
    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        queue.waiting.is_empty() && !queue.is_delivering
    }

    /// Whether a notification waits, no thread delivers, and the executor has no job that will.
    pub(crate) fn is_unattended(&self) -> bool {
        let queue = self.queue.lock();
        !queue.waiting.is_empty() && !queue.is_delivering && !queue.is_scheduled
    }

    /// Whether writers have to wait, because more notifications wait than the queue's bound allows.
    pub(crate) fn is_full(&self) -> bool {
        self.listening.overflow == Overflow::Block && self.waiting() > self.listening.queue
    }

    /// How many notifications wait.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether notifications wait to be delivered or taken back.
    pub(crate) fn has_work(&self) -> bool {
        self.waiting() > 0 || self.has_delivered.load(Ordering::Relaxed)
    }

    /// Notes the state of `queue` where it is read without the lock.
    fn note(&self, queue: &Queue<K, V>) {
        self.waiting.store(queue.waiting.len(), Ordering::Relaxed);
        self.has_delivered.store(!queue.delivered.is_empty(), Ordering::Relaxed);
    }
}
