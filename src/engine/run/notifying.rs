//! What a run of maintenance does if there is a listener (`listener`, "The order of removals").
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::Amount;
use crate::engine::evict::{Left, NotifyAt};
use crate::entry::{EntryMeta, EntryPtr};
use crate::expiry::Timing;
use crate::listener::{Channel, Notification};
use crate::reclaim::Retired;

/// A buffer for at most this many delivered notifications is kept for the next run.
const MAX_KEPT: usize = 256;

/// What a run needs if there is a listener.
pub(in crate::engine) struct RunListener<'a, K, V> {
    pub(in crate::engine) channel: &'a Channel<K, V>,
    pub(in crate::engine) deferred: &'a mut VecDeque<(u32, Notification<K, V>)>,
    pub(in crate::engine) delivered: &'a mut Vec<Notification<K, V>>,
    /// Entries linked when the run began.
    pub(in crate::engine) linked: usize,
}

/// Where a run retires entries, and counts that.
pub(in crate::engine) struct Retiring<'a, K, V> {
    pub(in crate::engine) retired: &'a mut Retired<K, V>,
    pub(in crate::engine) counted: &'a mut Amount,
}

impl<K, V> Retiring<'_, K, V> {
    #[inline]
    pub(in crate::engine) fn retire(&mut self, entry: EntryPtr, meta: &EntryMeta) {
        let weight = u64::from(meta.weight());
        self.counted.add(weight);
        self.retired.list().retire(entry, weight);
    }

    fn release(&mut self, notification: Notification<K, V>) {
        let (old, new) = notification.release();
        for entry in [Some(old), new].into_iter().flatten() {
            let meta = entry.meta();
            if meta.is_finished() {
                self.retire(entry, meta);
            }
        }
    }
}

impl<K, V> RunListener<'_, K, V> {
    /// Creates the notification that an entry has left, and sends or defers it.
    pub(in crate::engine) fn notify_left(
        &mut self,
        Left { old, new, when }: Left,
        timing: &Timing,
        retiring: &mut Retiring<'_, K, V>,
    ) {
        let age = timing.age(old).unwrap_or_default();
        let notification = Notification::new(old, new, age);
        match when {
            NotifyAt::Now => self.notify(notification, retiring),
            NotifyAt::Position(position) => self.deferred.push_back((position, notification)),
        }
    }

    fn notify(&mut self, notification: Notification<K, V>, retiring: &mut Retiring<'_, K, V>) {
        if let Err(dropped) = self.channel.offer(notification, self.linked) {
            retiring.release(dropped);
        }
    }

    /// Sends deferred notifications, as far as all events before them were popped, which are those before the
    /// position `popped`.
    #[inline]
    pub(in crate::engine) fn notify_deferred(
        &mut self,
        popped: u32,
        retiring: &mut Retiring<'_, K, V>,
    ) {
        while let Some((position, _)) = self.deferred.front()
            && popped.wrapping_sub(*position).cast_signed() >= 0
            && let Some((_, notification)) = self.deferred.pop_front()
        {
            self.notify(notification, retiring);
        }
    }

    /// Releases the entries whose notifications were delivered.
    #[inline]
    pub(in crate::engine) fn take_back_done(&mut self, retiring: &mut Retiring<'_, K, V>) {
        if !self.channel.take_delivered(self.delivered) {
            return;
        }
        self.delivered.drain(..).for_each(|notification| retiring.release(notification));
        if self.delivered.capacity() > MAX_KEPT {
            *self.delivered = Vec::new();
        }
    }
}
