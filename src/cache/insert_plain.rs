//! Insertions without options, which most are.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use super::options::Traits;
use crate::base::cause::RemovalCause;
use crate::base::error::Inserted;
use crate::base::hash::KeyHash;
use crate::base::stats::Counter;
use crate::buffer::write_buffer::Event;
use crate::engine::history::Absence;
use crate::entry::{EntryPtr, Owned};
use crate::expiry::EntryTtl;
use crate::reclaim::{self, Guard};

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Stores an entry without traits. In plain caches, which most are, there is nothing else to do.
    #[inline]
    pub(super) fn store_plain(&self, key: K, value: V, hash: KeyHash) -> Inserted {
        if !self.shared.settings.is_plain {
            return self.store_unwatched(key, value, hash);
        }
        let engine = &self.shared.engine;
        let place = engine.table.place(hash);
        place.prefetch_head();
        let Some(report) = engine.plain_report(hash) else {
            return self.store_unwatched(key, value, hash);
        };
        let new = Owned::new(hash, 1, key, value);
        place.prefetch_entry();
        engine.mark_changed(hash);
        let guard = reclaim::pin();
        let (new, old) = engine.table.upsert_plain(new, place, &guard);
        // Nothing panics from here until the change is reported.
        let Some(old) = old else {
            self.count(Counter::Inserts, &guard);
            report.submit(&Event::Inserted(new), guard);
            return Inserted::Added;
        };
        let is_replacement = self.note_overwritten(old, hash, &guard);
        report.submit(&Event::Replaced { new, old }, guard);
        if is_replacement { Inserted::Replaced } else { Inserted::Added }
    }

    /// Notes why an entry was replaced, and counts that. False if it was not valid any more.
    #[inline]
    fn note_overwritten(&self, old: EntryPtr, hash: KeyHash, guard: &Guard) -> bool {
        let cause = self.cause_of(old, RemovalCause::Replaced);
        self.shared.engine.note_removal(old, hash, cause, Absence::Removed);
        self.count_replaced(old, cause, guard)
    }

    /// Stores an entry without traits. Many caches have neither listeners nor an [`Expiry`](crate::Expiry), and
    /// do not remember keys without values: then no user code runs between the steps, and the change needs no
    /// reservation.
    #[inline(never)]
    fn store_unwatched(&self, key: K, value: V, hash: KeyHash) -> Inserted {
        if !self.shared.settings.is_unwatched {
            return self.store(key, value, Traits::default(), hash);
        }
        let engine = &self.shared.engine;
        engine.table.prefetch_bucket(hash);
        engine.prefetch_report(hash);
        let weight = match self.weigh(&key, &value, hash) {
            Ok(weight) => weight,
            Err(rejection) => return self.reject_and_remove(&key, rejection, hash),
        };
        let new = self.make(hash, weight.units, key, value, Traits::default());
        engine.table.prefetch_entry(hash);
        if weight.is_above_share {
            let _loan = self.borrow_for(&new, weight, hash);
            return self.store_entry(new, hash, Some(EntryTtl::Default), |_| ());
        }
        engine.mark_changed(hash);
        let guard = reclaim::pin();
        let Ok((new, old)) = engine.table.upsert(new, |_, _| true, &guard) else {
            unreachable!("no attempt is declined")
        };
        // Nothing panics from here until the change is reported.
        let Some(old) = old else {
            self.count(Counter::Inserts, &guard);
            drop(guard);
            engine.submit(&Event::Inserted(new), hash);
            return Inserted::Added;
        };
        let is_replacement = self.note_overwritten(old, hash, &guard);
        drop(guard);
        engine.submit(&Event::Replaced { new, old }, hash);
        if is_replacement { Inserted::Replaced } else { Inserted::Added }
    }
}
