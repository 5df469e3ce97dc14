//! Waiting until everything is freed, and the end of a cache.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::Engine;
use super::partition::Partition;
use crate::base::error::FlushError;
use crate::base::reentrancy::{self, Scope};
use crate::base::sync::{self, Ordering};
use crate::memory;
use crate::reclaim::{self, Freeable, Ticket};

/// How long `flush` waits without progress while a guard holds reclamation back.
const FLUSH_PATIENCE: Duration = Duration::from_millis(250);

/// Runs `free`, which drops keys and values but does not panic.
pub(super) fn while_dropping<R>(free: impl FnOnce() -> R) -> R {
    // The scope belongs to no cache: maintenance that a drop causes, in any cache, frees nothing, so that
    // drops do not nest on the stack.
    let _inside = reentrancy::enter(Scope::Dropping, &());
    free()
}

impl<K, V> Engine<K, V> {
    /// Frees everything that was retired before the call.
    pub(crate) fn flush(&self) -> Result<(), FlushError> {
        if reentrancy::is_inside_any(Scope::Dropping) {
            return Err(FlushError::WithinDrop);
        }
        self.apply_pending();
        if self.deliveries.is_some() {
            self.deliver_all(FLUSH_PATIENCE)?;
            // Releases the entries whose notifications were delivered.
            self.apply_pending();
        }
        let mut target: Option<Ticket> = None;
        for partition in &self.partitions {
            target = target.max(partition.seal());
        }
        if let Some(target) = target {
            Self::await_grace_period(target)?;
        }
        for partition in &self.partitions {
            let (free, phase) = partition.take_ready();
            self.free(partition, free, phase);
            if !reentrancy::may_wait() && partition.is_freeing() {
                return Err(FlushError::WithinListener);
            }
            partition.await_freed();
        }
        if let Some(known) = &self.known {
            known.flush()?;
        }
        memory::trim();
        Ok(())
    }

    fn await_grace_period(target: Ticket) -> Result<(), FlushError> {
        if reclaim::completed() < target && reclaim::is_pinned_here() {
            return Err(FlushError::PinnedHere);
        }
        let mut last = reclaim::completed();
        let mut since = Instant::now();
        loop {
            reclaim::advance();
            let completed = reclaim::completed();
            if completed >= target {
                return Ok(());
            }
            if completed != last {
                (last, since) = (completed, Instant::now());
            } else if since.elapsed() > FLUSH_PATIENCE {
                return Err(FlushError::PinnedElsewhere { waited: reclaim::lag() });
            }
            sync::thread::yield_now();
        }
    }

    /// Drops every key and value. For the last user of the engine, when no other thread is inside it any
    /// more.
    pub(crate) fn tear_down(&self) {
        // Relaxed: only this thread reads it. Nothing expires from now on, so that this ends whatever the
        // user's clock does.
        self.is_ending.store(true, Ordering::Relaxed);
        // Apply waiting events, so that each entry is either in the table or retired. Deliver the
        // notifications that this brings, and retire their entries. Listeners and drops may meanwhile
        // cause more events.
        loop {
            self.apply_pending();
            self.deliver_last();
            self.apply_pending();
            for partition in &self.partitions {
                let all = partition.core.lock().retired.take_all();
                while_dropping(|| all.dispose());
            }
            if !self.partitions.iter().any(Partition::has_anything_left) {
                break;
            }
        }
        let mut batch = Vec::new();
        let free = |batch| while_dropping(|| Freeable::<K, V>::last(batch).dispose());
        self.table.drain(|entry| {
            batch.push(entry);
            if batch.len() == reclaim::MAX_BATCH {
                free(std::mem::take(&mut batch));
            }
        });
        free(batch);
        if let Some(known) = &self.known {
            known.end();
        }
        memory::trim();
    }

    /// Takes the locks that a thread may hold while it only reads, for the time of a fork.
    #[cfg(all(unix, not(larder_loom)))]
    pub(crate) fn hold_for_fork(&self) -> impl Sized + '_ {
        // In the order in which other threads take them.
        let loans = sync::lock_for_fork(&self.loans);
        let partitions = self.partitions.iter().map(Partition::hold_for_fork).collect::<Vec<_>>();
        let shadow = self.shadow.as_ref().map(|shadow| shadow.hold_for_fork());
        let namespaces = self.namespace_shadows.as_ref().map(|shadows| shadows.hold_for_fork());
        let quotas = self.quotas.as_ref().map(|quotas| quotas.hold_for_fork());
        (loans, partitions, shadow, namespaces, quotas)
    }

    /// Whether the cache is being torn down.
    pub(super) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }
}
