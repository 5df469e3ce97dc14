//! Weighing a new entry, refusing one that is too heavy, and borrowing weight for a heavy one.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hash};

use super::Cache;
use crate::base::error::Rejection;
use crate::base::hash::KeyHash;
use crate::engine::Loan;
use crate::entry::Owned;
use crate::reclaim;

/// The weight of an entry that is to be inserted.
#[derive(Clone, Copy)]
pub(super) struct Weight {
    pub(super) units: u32,
    /// Whether it is above the share of the key's partition, which then has to borrow for the entry if that
    /// can be evicted.
    pub(super) is_above_share: bool,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Weighs an entry. Refuses one that is heavier than the whole cache may be, and any entry if a bound
    /// is 0.
    pub(super) fn weigh(&self, key: &K, value: &V, hash: KeyHash) -> Result<Weight, Rejection> {
        let units = self.shared.settings.weigher.as_ref().map_or(1, |weigher| weigher(key, value));
        if self.shared.engine.stores_nothing() {
            return Err(Rejection::StoresNothing);
        }
        let is_above_share = u64::from(units) > self.shared.engine.weight_share(hash);
        if is_above_share {
            self.check_heavy(units)?;
        }
        Ok(Weight { units, is_above_share })
    }

    #[cold]
    fn check_heavy(&self, units: u32) -> Result<(), Rejection> {
        let (weight, limit) = (u64::from(units), self.shared.engine.max_weight());
        if weight > limit { Err(Rejection::TooHeavy { weight, limit }) } else { Ok(()) }
    }

    /// Borrows weight for `new` if it is heavy and evictable. Keep the loan through all attempts to store
    /// `new`, until the change is reported or given up.
    ///
    /// # Panics
    /// If the key's `Eq` does; nothing has changed in that case.
    #[inline]
    pub(super) fn borrow_for(
        &self,
        new: &Owned<K, V>,
        weight: Weight,
        hash: KeyHash,
    ) -> Option<Loan<'_, K, V>> {
        if weight.is_above_share { self.borrow_for_heavy(new, weight, hash) } else { None }
    }

    #[cold]
    fn borrow_for_heavy(
        &self,
        new: &Owned<K, V>,
        weight: Weight,
        hash: KeyHash,
    ) -> Option<Loan<'_, K, V>> {
        if new.as_ptr().meta().is_unevictable() {
            return None;
        }
        new.set_heavy();
        let replaced = {
            let guard = reclaim::pin();
            let old = self.find(new.key(), hash, &guard).map(|(pointer, _)| pointer);
            old.filter(|old| old.meta().is_heavy()).map_or(0, |old| old.meta().weight())
        };
        Some(self.shared.engine.borrow_weight(hash, weight.units, replaced))
    }

    /// The same for an entry of a snapshot, which was weighed earlier.
    #[cfg(feature = "snapshot")]
    pub(super) fn borrow_for_arrival(
        &self,
        new: &Owned<K, V>,
        hash: KeyHash,
    ) -> Option<Loan<'_, K, V>> {
        let units = new.as_ptr().meta().weight();
        let is_above_share = u64::from(units) > self.shared.engine.weight_share(hash);
        self.borrow_for(new, Weight { units, is_above_share }, hash)
    }
}
