//! The queue between a partition's maintenance and the listener.
//!
//! Maintenance puts notifications in at the end, under the partition's lock; one thread at a time
//! takes them out at the front and calls the listener without any lock; maintenance takes what was
//! delivered back. What must hold: notifications are delivered in the order in which they were put
//! in, each once; the queue's lock is held for a few moves of pointers alone.
//!
//! | state of a notification | who has it | next |
//! |---|---|---|
//! | waiting | the queue | being delivered, by the one thread that set `is_delivering` |
//! | being delivered | that thread | done, also if the listener panics |
//! | done | the queue | maintenance releases its entries |
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Listening, Overflow, Removal};
use crate::base::cause::RemovalCause;
use crate::base::panics::contain;
use crate::base::sync::{self, AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::buffer::write_buffer;
use crate::entry::{EntryPtr, Hold};
use crate::reclaim::KeepAlive;

/// What a listener is given of one removal. It holds its entries from its creation until it is
/// released.
pub(crate) struct Notification<K, V> {
    old: KeepAlive<K, V>,
    new: Option<KeepAlive<K, V>>,
    age: Duration,
}

impl<K, V> Notification<K, V> {
    /// For maintenance, of an entry that has just left, and the one in its place. Neither is held
    /// yet on that side.
    pub(crate) fn new(old: EntryPtr, new: Option<EntryPtr>, age: Duration) -> Self {
        old.meta().hold(Hold::Old);
        if let Some(new) = new {
            new.meta().hold(Hold::New);
        }
        Self { old: KeepAlive::new(old), new: new.map(KeepAlive::new), age }
    }

    /// Releases the entries and returns them: those that are finished now are to be retired.
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

pub(crate) struct Channel<K, V> {
    listening: Arc<Listening<K, V>>,
    queue: Mutex<Queue<K, V>>,
    /// Notifications that wait: what `queue` has, to be looked at without its lock.
    waiting: AtomicUsize,
    /// Whether there is something that maintenance should take back.
    has_done: AtomicBool,
}

struct Queue<K, V> {
    waiting: VecDeque<Notification<K, V>>,
    done: Vec<Notification<K, V>>,
    is_delivering: bool,
    /// A job is on its way to the executor, or there.
    is_scheduled: bool,
}

impl<K, V> Channel<K, V> {
    pub(crate) fn new(listening: Arc<Listening<K, V>>) -> Self {
        Self {
            listening,
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                done: Vec::new(),
                is_delivering: false,
                is_scheduled: false,
            }),
            waiting: AtomicUsize::new(0),
            has_done: AtomicBool::new(false),
        }
    }

    /// Puts a notification in, unless too many wait. `linked` is how many entries the partition
    /// linked before this run of maintenance, all of which it may take out.
    pub(crate) fn offer(
        &self,
        notification: Notification<K, V>,
        linked: usize,
    ) -> Result<(), Notification<K, V>> {
        let limit = match self.listening.overflow {
            Overflow::Drop => self.listening.queue,
            // Writers wait, so this is for those that cannot: a run applies a buffer's worth of
            // events, which may take out all of them.
            Overflow::Block => {
                let slots = write_buffer::SLOTS as usize;
                let twice = self.listening.queue.max(slots).saturating_mul(2);
                twice.saturating_add(slots).saturating_add(linked)
            }
        };
        let mut queue = sync::lock(&self.queue);
        if queue.waiting.len() >= limit {
            self.listening.dropped.fetch_add(1, Ordering::Relaxed);
            return Err(notification);
        }
        queue.waiting.push_back(notification);
        self.note(&queue);
        Ok(())
    }

    /// What was delivered.
    pub(crate) fn take_done(&self) -> Vec<Notification<K, V>> {
        // Relaxed: a hint. What is missed is taken by the next run, which `has_work` asks for.
        if !self.has_done.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut queue = sync::lock(&self.queue);
        let done = std::mem::take(&mut queue.done);
        self.note(&queue);
        done
    }

    /// Calls the listener for up to `most` notifications, unless another thread delivers. Runs user
    /// code: no lock and no guard may be held.
    pub(crate) fn deliver(&self, most: usize) {
        let mut notification = {
            let mut queue = sync::lock(&self.queue);
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
            let mut queue = sync::lock(&self.queue);
            queue.done.push(notification);
            let next = if count < most { queue.waiting.pop_front() } else { None };
            // Under the lock: a thread that puts something in from now on finds that no thread
            // delivers.
            queue.is_delivering = next.is_some();
            self.note(&queue);
            match next {
                Some(next) => notification = next,
                None => return,
            }
        }
    }

    /// Asks for a job of the executor, unless one is on its way.
    pub(crate) fn schedule(&self, submit: impl FnOnce()) {
        {
            let mut queue = sync::lock(&self.queue);
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

    /// The job has come to run, or never will: from now on another one may be asked for.
    pub(crate) fn begin_job(&self) {
        sync::lock(&self.queue).is_scheduled = false;
    }

    /// Takes the queue's lock, for the time of a fork.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn hold_for_fork(&self) -> impl Sized + '_ {
        sync::lock_for_fork(&self.queue)
    }

    /// Whether nothing waits and nothing is being delivered.
    pub(crate) fn is_idle(&self) -> bool {
        let queue = sync::lock(&self.queue);
        queue.waiting.is_empty() && !queue.is_delivering
    }

    /// Whether something waits, and neither a thread delivers nor a job is on its way.
    pub(crate) fn is_left_alone(&self) -> bool {
        let queue = sync::lock(&self.queue);
        !queue.waiting.is_empty() && !queue.is_delivering && !queue.is_scheduled
    }

    /// Whether writers have to wait: more notifications wait than the queue's bound allows.
    pub(crate) fn is_full(&self) -> bool {
        self.listening.overflow == Overflow::Block && self.waiting() > self.listening.queue
    }

    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether something waits to be delivered or taken back.
    pub(crate) fn has_work(&self) -> bool {
        self.waiting() > 0 || self.has_done.load(Ordering::Relaxed)
    }

    fn note(&self, queue: &Queue<K, V>) {
        self.waiting.store(queue.waiting.len(), Ordering::Relaxed);
        self.has_done.store(!queue.done.is_empty(), Ordering::Relaxed);
    }
}
